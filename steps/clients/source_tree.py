"""Directories and files of a source tree; whatever leads out of the tree, by `..` or by a symlink, is refused."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from steps.errors import StepError


def root(source_dir: Path) -> Path:
    """The source directory, absolute and without symlinks."""
    if not source_dir.is_dir():
        raise StepError("not-found", f"--source-dir={source_dir} is not a directory")
    return Path(os.path.realpath(source_dir))


def directory(tree: Path, path: str, what: str) -> Path:
    """A directory of the tree, absolute and without symlinks.

    Args:
        tree: what `root` returned.
        path: relative to the tree, or absolute.
        what: says in messages what the path is for, such as `context`.
    """
    resolved = _resolved(tree, path, what)
    if not resolved.is_dir():
        raise StepError("not-found", f"the {what} {path!r} in {tree} is not a directory")
    return resolved


def file(tree: Path, path: str, what: str) -> Path:
    """A regular file of the tree, like `directory`."""
    resolved = _resolved(tree, path, what)
    if not resolved.is_file():
        raise StepError("not-found", f"the {what} {path!r} in {tree} is not a file")
    return resolved


def _resolved(tree: Path, path: str, what: str) -> Path:
    resolved = Path(os.path.realpath(tree / path))
    if not resolved.is_relative_to(tree):
        raise StepError("outside", f"the {what} {path!r} leads out of {tree}, to {resolved}; give one that is inside")
    if not os.path.lexists(resolved):
        raise StepError("not-found", f"there is no {what} {path!r} in {tree}")
    return resolved


def has(tree: Path, path: str) -> bool:
    """Whether something has this name, be it a symlink to nothing."""
    return os.path.lexists(tree / path)


def names(resolved: Path) -> list[str]:
    """What is in a directory."""
    with _reported(resolved):
        return [entry.name for entry in resolved.iterdir()]


def read(resolved: Path) -> bytes:
    """The bytes of a regular file."""
    with _reported(resolved), open(_open(resolved), "rb") as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise StepError("not-found", f"{resolved} is not a regular file")
        return opened.read()


def _open(resolved: Path) -> int:
    # The path was resolved a moment ago; a symlink now is one that somebody has put there since.
    return os.open(resolved, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)


@contextlib.contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StepError("unreadable", f"cannot read {path}: {error.strerror}") from error
