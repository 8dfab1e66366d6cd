"""What to do about a pull request, given what is there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from steps.core.update import marked_commit
from steps.errors import StepError

Operation = Literal["created", "updated", "unchanged", "none"]


@dataclass(frozen=True)
class PullRequest:
    """An open pull request as GitHub has it.

    Attributes:
        number: positive.
        url: its page.
        base: the branch that it is to be merged into.
        body: Markdown, with our marker when we wrote it.
        labels: names of labels on it.
        assignees: logins.
        milestone: title, or None.
    """

    number: int
    url: str
    base: str
    body: str
    labels: frozenset[str] = frozenset()
    assignees: frozenset[str] = frozenset()
    milestone: str | None = None


@dataclass(frozen=True)
class Commit:
    """A commit of the head branch that the base lacks.

    Attributes:
        sha: 40 hex digits.
        author: `Name <mail>`.
        committer: `Name <mail>`.
    """

    sha: str
    author: str
    committer: str


def foreign(commits: list[Commit], us: str) -> list[Commit]:
    """The commits that somebody else wrote or committed; a branch that has one is not ours to push to.

    Args:
        us: `Name <mail>` of our own commits.
    """
    return [commit for commit in commits if (commit.author, commit.committer) != (us, us)]


def at_base(open_ones: Sequence[PullRequest], base: str) -> PullRequest | None:
    """Of the open pull requests of one branch the one into `base`; StepError when the branch serves another base, too.

    Moved to a commit of this base, the branch would bring this base's commits into the other one.
    """
    for other in open_ones:
        if other.base != base:
            raise StepError(
                "other-base",
                f"{other.url} proposes the same branch to be merged into {other.base}; give each base a --version of its own",
            )
    return open_ones[0] if open_ones else None


def operation(found: PullRequest | None, commit: str, *, pushed: bool) -> Operation:
    """What becomes of the pull request.

    A text that describes the commit already is left alone: a person may have edited it since.

    Args:
        found: the open pull request of the branch, if there is one.
        commit: the head commit it is to have.
        pushed: whether the branch had to be moved to that commit.
    """
    if found is None:
        return "created"
    return "updated" if pushed or marked_commit(found.body) != commit else "unchanged"
