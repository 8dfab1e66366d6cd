"""A progress bar for whoever watches; nothing where nobody does."""

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def of_bytes(what: str) -> Iterator[Callable[[int], object]]:
    """A function to tell how many more bytes are done, for the time of the block.

    Args:
        what: stands before the bar.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from tqdm import tqdm

    with tqdm(desc=what, unit="B", unit_scale=True, unit_divisor=1024, leave=False) as bar:
        yield bar.update
