"""Plays on several grounds at once, each in a process of its own."""

import itertools
import multiprocessing
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from tests.reliability.places import TOKEN, Ground
from tests.reliability.secrets import encodings

WORKERS = 6
"""More than cores: most of the time a step waits, for a limit to pass or a list to catch up."""

Play = Callable[[Ground, Any], Counter[str]]

_GROUNDS: list[Ground] = []
_PATTERNS = encodings(TOKEN).values()


def spread(play: Play, items: Iterable[Any], workers: int = WORKERS) -> Counter[str]:
    """What a play counts, in all; and how often the token was found where it does not belong.

    Args:
        play: a function of a module, called on a ground with an item.
        items: what it is played for.
    """
    context = multiprocessing.get_context("spawn")
    total: Counter[str] = Counter()
    with (
        tempfile.TemporaryDirectory(prefix="apps-cd-", ignore_cleanup_errors=True) as directory,
        ProcessPoolExecutor(workers, context, _enter, (directory,)) as executor,
    ):
        for counts in executor.map(_played, itertools.repeat(play), items):
            total.update(counts)
    return total


def _enter(directory: str) -> None:
    """Make the ground of this process; it goes with the process and the directory."""
    _GROUNDS.append(Ground(Path(directory, str(os.getpid()))).__enter__())


def _played(play: Play, item: Any) -> Counter[str]:
    (ground,) = _GROUNDS
    before = len(ground.github.requests), len(ground.github.violations)
    try:
        counts = play(ground, item)
    except Exception as error:  # noqa: BLE001 - one that breaks off is counted, and the others go on
        counts = Counter({f"broken off, {item}: {error!r}": 1})
    said = [request.body for request in ground.github.requests[before[0] :]]
    said += [text.encode() for text in ground.heard]
    ground.heard.clear()
    counts["token found"] += sum(pattern in text for text in said for pattern in _PATTERNS)
    counts["violations of GitHub's models"] += len(ground.github.violations) - before[1]
    return counts
