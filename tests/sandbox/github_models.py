"""Holds every exchange with the REST interface against GitHub's own description of it, as githubkit-schemas has it.

Importing the models takes about half a second, so that is done, and they are applied, in a thread beside the server.
"""

import functools
import json
import queue
import threading
from typing import Any

_ERRORS = "ValidationError|ValidationErrorSimple|BasicError"


class Checker:
    """Collects what did not validate."""

    def __init__(self) -> None:
        self._violations: list[str] = []
        self._work: queue.Queue[tuple[str, str, bytes, bool] | None] = queue.Queue()
        self._thread: threading.Thread | None = None

    def add(self, violation: str) -> None:
        self._violations.append(violation)

    def check(self, what: str, model: str, text: bytes, *, request: bool = False) -> None:
        """Let a JSON text be validated, soon.

        Args:
            what: names it in the violation.
            model: a name of githubkit-schemas, `list[X]` of one, or alternatives with `|`; empty for an error's body.
            text: the JSON.
            request: members the model does not know are violations too.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        self._work.put((what, model or _ERRORS, text, request))

    def violations(self) -> list[str]:
        """All that were found in what came in so far."""
        self._work.join()
        return list(self._violations)

    def close(self) -> None:
        if self._thread:
            self._work.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                self._violations += _violations(*work)
            except Exception as error:  # noqa: BLE001 - whatever it is must not end in a test that waits forever
                self._violations.append(f"{work[0]}: cannot be validated: {error!r}")
            finally:
                self._work.task_done()
        self._work.task_done()


def _violations(what: str, model: str, text: bytes, request: bool) -> list[str]:
    from pydantic import ValidationError

    adapter, names = _adapter(model)
    try:
        adapter.validate_json(text, strict=True)
    except ValidationError as error:
        return [f"{what}: {model}: {detail['loc']}: {detail['msg']}" for detail in error.errors()]
    value = json.loads(text)
    if request and names and isinstance(value, dict):
        return [f"{what}: {model} has no member {name!r}" for name in value.keys() - names]
    return []


@functools.cache
def _adapter(model: str) -> tuple[Any, frozenset[str]]:
    """What validates a model, and the names of its members."""
    import typing

    import githubkit_schemas.latest.models as schemas
    from pydantic import TypeAdapter

    kinds: Any = []
    names: set[str] = set()
    for alternative in model.split("|"):
        name = alternative.removeprefix("list[").removesuffix("]")
        kind: Any = str if name == "str" else getattr(schemas, name)
        kinds.append(list[kind] if alternative != name else kind)
        if alternative == name:
            names |= {field.alias or key for key, field in kind.model_fields.items()}
    union: Any = typing.Union[tuple(kinds)]  # noqa: UP007 - of a list made at run time
    return TypeAdapter(union), frozenset(names)
