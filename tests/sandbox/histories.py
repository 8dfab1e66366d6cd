"""Repositories with long histories, made by `git fast-import` as fast as they can be written."""

import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.sandbox.bare_repository import BareRepository, environment

FIRST_DATE = 1_577_836_800
"""2020-01-01, of the first commit; each is a minute after the one before."""


@dataclass(frozen=True)
class Change:
    """A commit on top of a branch.

    Attributes:
        branch: it is made from `start` when it is not there yet.
        files: what is written, by path; None removes it.
    """

    branch: str
    files: Mapping[str, str | None]
    start: str | None = None


def write(path: Path, changes: Iterable[Change], *, default_branch: str = "master") -> BareRepository:
    """A bare repository with commits, one after another; in one that is there they come on top."""
    repository = BareRepository(path) if path.exists() else BareRepository.create(path, default_branch)
    there = {ref.removeprefix("refs/heads/") for ref in repository.refs()}
    begun: set[str] = set()
    start = FIRST_DATE + 60_000_000 * bool(there)
    stream = []
    for number, change in enumerate(changes):
        stream.append(f"commit refs/heads/{change.branch}\n")
        stream.append(f"committer alice <alice@example.com> {start + 60 * number} +0000\ndata 6\nchange\n")
        if change.branch not in begun:
            begun.add(change.branch)
            if change.branch in there:
                stream.append(f"from refs/heads/{change.branch}^0\n")
            elif change.start:
                stream.append(f"from refs/heads/{change.start}\n")
        for name, text in change.files.items():
            stream.append(
                f"D {name}\n" if text is None else f"M 644 inline {name}\ndata {len(text.encode())}\n{text}\n"
            )
    subprocess.run(
        ["git", "fast-import", "--quiet", "--date-format=raw"],
        cwd=path,
        env=environment(),
        input="".join(stream).encode(),
        check=True,
    )
    return repository
