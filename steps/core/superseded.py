"""Which of our open pull requests another one of ours has taken the place of."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from steps.core.image import Image
from steps.core.pull_request import Commit, PullRequest
from steps.core.update import Application, Version, branch

MOST_COMMITS = 250
"""As many of a pull request as GitHub lists."""

_SEED_BRANCH = re.compile(r"update_(?P<image>.+)_(?P<tag>[^_]+)")
"""Branches of kubeflow's apps-cd, `update_<last part of the image>_<tag>`; both parts may have underscores, the tag's commit
none, so that what stands behind the last one is at least the end of the tag."""
_OF_COMMIT = re.compile(r"-g[0-9a-f]{4,64}$")


class Line(NamedTuple):
    """What pull requests have in common of which only the newest is wanted.

    Attributes:
        base: the branch that they are to be merged into.
        image: the last part of the image's name.
        prefix: what its tags begin with.
    """

    base: str
    image: str
    prefix: str


class Superseded(NamedTuple):
    """A pull request that is to be closed, and the one that took its place."""

    old: PullRequest
    new: PullRequest


def superseded(pull_requests: Sequence[PullRequest], us: str, successor: PullRequest | None = None) -> list[Superseded]:
    """What is to be closed, the oldest first.

    Args:
        pull_requests: open ones of a repository, anybody's.
        us: our login.
        successor: which one has taken the place of others; None is whichever is the newest of its kind.
    """
    ours = [each for each in pull_requests if each.state == "open" and _is_ours(each, us)]
    news = [successor] if successor else ours
    found = []
    for old in sorted(ours, key=lambda each: each.number):
        candidates = [new for new in news if new.number != old.number and _takes_place(new, old)]
        if candidates:
            found.append(Superseded(old, max(candidates, key=_rank)))
    return found


def is_carried_only_by(commits: Sequence[Commit], us: str, person: str) -> bool:
    """Whether all commits of a branch are ours, and nobody has amended one, so that it may be deleted.

    Args:
        commits: as GitHub lists them.
        us: our login.
        person: `Name <mail>` of our commits, whose address need not belong to an account.
    """
    return len(commits) < MOST_COMMITS and all(
        (commit.author == person or (commit.login or "").lower() == us.lower())
        and commit.committer in (commit.author, person)
        for commit in commits
    )


def has_own_branch(pull_request: PullRequest) -> bool:
    """Whether the branch is one that an update, or kubeflow's apps-cd, has for itself: of another one somebody chose the name."""
    name, update = pull_request.head.partition(":")[2], pull_request.proposes
    if update is None:
        return _seed_line(pull_request) is not None
    try:
        return name == branch(Application.parse(update.application), Version.parse(update.version))
    except ValueError:
        return False


def _is_ours(pull_request: PullRequest, us: str) -> bool:
    by_us = pull_request.author.lower() == us.lower()
    return by_us and (pull_request.proposes is not None or _seed_line(pull_request) is not None)


def _rank(pull_request: PullRequest) -> tuple[bool, int]:
    return pull_request.proposes is not None, pull_request.number


def _takes_place(new: PullRequest, old: PullRequest) -> bool:
    if new.base != old.base or new.head == old.head or not _is_newer(new, old):
        return False
    if new.proposes and old.proposes:
        return new.proposes.is_of(old.proposes)
    line = _line(new)
    return line is not None and line == _line(old)


def _is_newer(new: PullRequest, old: PullRequest) -> bool:
    """By the dates of the source commits, as far as both tell them: an older build may have opened the later one."""
    dates = [each.proposes.source_date if each.proposes else None for each in (new, old)]
    if dates[0] is not None and dates[1] is not None and dates[0] != dates[1]:
        return dates[0] > dates[1]
    return _rank(new) > _rank(old)


def _line(pull_request: PullRequest) -> Line | None:
    if pull_request.proposes is None:
        return _seed_line(pull_request)
    try:
        image = Image.parse(pull_request.proposes.image or "")
    except ValueError:
        return None
    return Line(pull_request.base, image.short_name, _prefix(image.tag or ""))


def _seed_line(pull_request: PullRequest) -> Line | None:
    match = _SEED_BRANCH.fullmatch(pull_request.head.rpartition(":")[2])
    return Line(pull_request.base, match["image"], _prefix(match["tag"])) if match else None


def _prefix(tag: str) -> str:
    """A tag without the commit."""
    return _OF_COMMIT.sub("", tag)
