"""What to do about the pull request of an update, given what is there.

One branch, at most one open pull request of ours, and the newest source commit is what it proposes. What is not ours is
left alone, and what a person has refused is not proposed again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from steps.core.update import REOPEN_LABEL, Update, marked
from steps.errors import StepError

Operation = Literal["created", "updated", "unchanged", "closed", "superseded", "vetoed", "none"]

MergeMethod = Literal["merge", "squash", "rebase"]

Relation = Literal["ahead", "behind", "diverged", "identical"]
"""How one commit stands to another: ahead of it when it has that one in its history."""


@dataclass(frozen=True)
class PullRequest:
    """A pull request as GitHub has it.

    Attributes:
        number: positive.
        url: its page.
        author: login of who opened it.
        head: where its branch is, `OWNER/NAME:BRANCH`; empty when that repository is gone.
        base: the branch that it is to be merged into.
        sha: the head commit.
        state: `merged` is closed, too.
        title: one line.
        body: Markdown, with our marker when we wrote it.
        labels: names of labels on it.
        assignees: logins.
        milestone: title, or None.
        created: seconds since 1970, as all times here; 0 when it is not known.
        updated: when anybody did anything with it last.
    """

    number: int
    url: str
    author: str
    head: str
    base: str
    sha: str
    state: Literal["open", "closed", "merged"]
    title: str
    body: str
    labels: frozenset[str] = frozenset()
    assignees: frozenset[str] = frozenset()
    milestone: str | None = None
    created: float = 0
    updated: float = 0

    @property
    def proposes(self) -> Update | None:
        """What it proposes, when its text is ours."""
        return marked(self.body)


@dataclass(frozen=True)
class Commit:
    """A commit of a head branch that its base lacks.

    Attributes:
        sha: 40 hex digits.
        author: `Name <mail>`.
        committer: `Name <mail>`.
        login: the author's account, when the address belongs to one and GitHub was asked.
    """

    sha: str
    author: str
    committer: str
    login: str | None = None


@dataclass(frozen=True)
class Tip:
    """The head branch as the server has it.

    Attributes:
        commit: its commit.
        update: what the message of that commit says that it proposes, when it is ours.
        foreign: its commits that somebody else wrote or committed and the base lacks.
    """

    commit: str
    update: Update | None = None
    foreign: tuple[Commit, ...] = ()


@dataclass(frozen=True)
class Seen:
    """What there is before anything is done.

    Attributes:
        pull_requests: those of the head branch, open or not.
        us: our login.
        base: the branch that is proposed to.
        tip: the head branch, or None.
    """

    pull_requests: tuple[PullRequest, ...]
    us: str
    base: str
    tip: Tip | None


def foreign(commits: Sequence[Commit], us: str) -> tuple[Commit, ...]:
    """The commits that somebody else wrote or committed; a branch that has one is not ours to push to.

    Args:
        us: `Name <mail>` of our own commits.
    """
    return tuple(commit for commit in commits if (commit.author, commit.committer) != (us, us))


def is_ours(pull_request: PullRequest, update: Update, us: str) -> bool:
    """Whether a pull request of the update's branch was opened by us, for it, and still says so."""
    proposes = pull_request.proposes
    return pull_request.author.lower() == us.lower() and proposes is not None and proposes.is_of(update)


def ours(seen: Seen, update: Update) -> list[PullRequest]:
    """Our pull requests of the update into its base, the newest first."""
    found = [each for each in seen.pull_requests if each.base == seen.base and is_ours(each, update, seen.us)]
    return sorted(found, key=lambda each: each.number, reverse=True)


def open_one(seen: Seen, update: Update) -> PullRequest | None:
    """Our open pull request of the update.

    Raises:
        StepError: the branch is proposed by somebody else, or into another base: moved to our commit, it would bring
            that into what is not ours.
    """
    found = None
    for each in seen.pull_requests:
        if each.state != "open":
            continue
        if not is_ours(each, update, seen.us):
            raise StepError(
                "foreign-pull-request",
                f"{each.url} by {each.author} proposes the same branch and is not ours, or its text has lost our marker; "
                "it is left alone. Merge or close it, or give another --version",
            )
        if each.base != seen.base:
            raise StepError(
                "other-base",
                f"{each.url} proposes the same branch to be merged into {each.base}; give each base a --version of its own",
            )
        found = each
    return found


def rivals(seen: Seen, update: Update) -> list[Update]:
    """The updates that ours may have been overtaken by: what the branch has, what was proposed last and what was merged last,
    as far as their sources are known and others than ours.
    """
    proposed = ours(seen, update)
    last, merged = proposed[:1], [each for each in proposed if each.state == "merged"][:1]
    tip = seen.tip.update if seen.tip else None
    found = [tip if tip and tip.is_of(update) else None, *(each.proposes for each in (*last, *merged))]
    others = {each.source: each for each in found if each and each.source not in (None, update.source)}
    return list(others.values()) if update.source else []


def is_newer(
    update: Update,
    other: Update,
    relation: Relation | None,
    *,
    is_on_branch: bool | None = None,
    other_is_on_branch: bool | None = None,
) -> bool:
    """Whether an update is to follow another one, rather than the other way round.

    What is proposed last is taken to be the newer one when nothing else tells.

    Args:
        update: with a source.
        other: with another source.
        relation: how our source commit stands to the other's; None when the source cannot be read.
        is_on_branch: whether our commit is at the tip of the configured branch, or, when neither is, in its history; None
            when that is not known.
        other_is_on_branch: the same of the other's.
    """
    if is_on_branch is not None and other_is_on_branch is not None and is_on_branch != other_is_on_branch:
        return is_on_branch
    if relation in ("ahead", "behind"):
        return relation == "ahead"
    return update.source_date is None or other.source_date is None or update.source_date >= other.source_date


def veto(seen: Seen, update: Update) -> PullRequest | None:
    """The pull request whose close says, if a person closed it, that what we propose is not wanted."""
    for each in ours(seen, update):
        if each.state == "merged":
            return None
        if each.state == "closed" and each.proposes and each.proposes.key == update.key:
            return None if REOPEN_LABEL in each.labels else each
    return None


def follows(seen: Seen, update: Update) -> PullRequest | None:
    """The pull request that a new one takes the place of, when that was closed and not merged."""
    last = next(iter(ours(seen, update)), None)
    return last if last and last.state == "closed" else None


def operation(
    seen: Seen, update: Update, *, is_overtaken: bool = False, is_vetoed: bool = False
) -> tuple[Operation, PullRequest | None]:
    """What is to become of the update, and which pull request of ours it is about.

    Args:
        seen: what there is.
        update: what is to be there; it has no commit when the base has that already.
        is_overtaken: whether something newer was proposed already.
        is_vetoed: whether a person closed what `veto` names.

    Raises:
        StepError: somebody else's pull request is in the way.
    """
    found = open_one(seen, update)
    last = next(iter(ours(seen, update)), None)
    if is_overtaken:
        return "superseded", last
    if update.commit is None:
        return ("closed" if found else "none"), found
    if is_vetoed:
        return "vetoed", veto(seen, update)
    if found is None:
        return "created", None
    is_there = seen.tip is not None and seen.tip.commit == update.commit
    return ("unchanged" if is_there and found.proposes == update else "updated"), found


@dataclass(frozen=True)
class SourceCommit:
    """A commit of the source: 40 hex digits, the first line of its message, who wrote it (login or name), its page."""

    sha: str
    title: str
    author: str
    url: str


@dataclass(frozen=True)
class Comparison:
    """How one commit of the source stands to another, and what lies between.

    Attributes:
        relation: of the newer image's commit to the older one's.
        total: how many commits the one has that the other has not.
        commits: these, the newest first, at most 100.
        url: the page that compares both.
    """

    relation: Relation
    total: int
    commits: tuple[SourceCommit, ...]
    url: str
