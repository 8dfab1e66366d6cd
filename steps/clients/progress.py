"""A progress bar for whoever watches; nothing where nobody does."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any


def of_bytes(what: str) -> contextlib.AbstractContextManager[Callable[[int], object]]:
    """A function to tell how many more bytes are done, for the time of the block.

    Args:
        what: stands before the bar.
    """
    return _bar(desc=what, unit="B", unit_scale=True, unit_divisor=1024)


def of_items(what: str, total: int) -> contextlib.AbstractContextManager[Callable[[int], object]]:
    """A function to tell how many more of a number of things are done, for the time of the block."""
    return _bar(desc=what, total=total, unit="")


@contextlib.contextmanager
def _bar(**options: Any) -> Iterator[Callable[[int], object]]:
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from tqdm import tqdm

    with tqdm(leave=False, **options) as bar:
        yield bar.update
