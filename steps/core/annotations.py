"""What annotations of parameters and fields say, for those who read values by them."""

import types
import typing
from typing import Any


def without_none(hint: Any) -> Any:
    """The annotation itself, or what `X | None` is beside None."""
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    # `Literal[...] | None` is a typing.Union, `str | None` is not.
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    return kinds[0] if union and len(kinds) == 1 else hint
