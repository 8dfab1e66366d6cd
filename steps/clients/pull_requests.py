"""What GitHub has of the pull requests of all pairs, kept from pass to pass, so that a pass asks only for what has moved.

`reconcile` looks once a pass, and then asks for each pair; commit statuses and the token that git shows are had here, too,
because they are the same account's.
"""

import itertools
import logging
import math
import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from steps.clients.credentials import Credentials
from steps.clients.github import GitHub, State
from steps.clients.github_account import Accounts
from steps.clients.github_requests import Refusal
from steps.core import pull_request
from steps.core import update as updates
from steps.core.needs_update import Failure
from steps.core.plan import Proposals
from steps.core.pull_request import PullRequest, Seen
from steps.core.repository import Branch, Person, Repository, Server
from steps.core.update import AUTHOR, Application, Update, Version
from steps.errors import StepError

BRANCHES = "apps-cd/"
"""What the branches of `update.branch` begin with."""

MARGIN = 60
"""Seconds that a list may lag behind: what was updated so long before the last that was seen is looked at again."""

MOST_PAGES = 100
"""Of a repository, with 100 pull requests each; which is older has no say any more."""

MOST_READS = 10
"""Times that a list is read from its first page in a pass, because that has changed while the others were read."""

_AT_ONCE = 8
"""Repositories that are asked at a time."""

_log = logging.getLogger("steps.pull_requests")


class PullRequests:
    """The pull requests of the manifests' repositories, as one account sees them.

    Args:
        server: whose API is asked.
        token: `--github-token`.
        app: `--github-app`; one of both is given.
        credentials: `--credentials`, whose `ca.crt` is trusted, too.
        counted: is told the status of each reply, or `none` when none came; from several threads.
    """

    def __init__(
        self,
        server: Server,
        token: Path | None,
        app: Path | None,
        credentials: Path | None,
        counted: Callable[[str], None] | None = None,
    ) -> None:
        self._server, self._counted = server, counted
        self._accounts = Accounts(token, app, server, credentials, counted)
        self._failure: Failure | None = None
        self._listings: dict[str, _Listing] = {}
        self._githubs: dict[tuple[str, Path | None], GitHub] = {}
        self._refusing: set[str] = set()

    def begin(self) -> None:
        """Begin a pass: read the credentials again, and be as patient as ever; what is wrong is told of each pair."""
        try:
            self._accounts.renew()
        except StepError as error:
            self._failure = _failure(error)
        else:
            self._failure = None

    def look(self, repositories: Iterable[Repository]) -> None:
        """See what has become of the pull requests of these repositories; others are forgotten.

        What goes wrong with one is told of its pairs.
        """
        asked = {repository.identity: repository for repository in repositories}
        self._listings = {identity: self._listings.get(identity) or _Listing() for identity in asked}
        _all_at_once(lambda identity: self._look(self._listings[identity], asked[identity]), list(asked))

    def proposals(
        self, manifests: Repository, base: Branch, head_owner: str | None, update: Update, author: Person = AUTHOR
    ) -> Proposals | Failure:
        """The pull requests of an update's branch.

        Those that are open are found whatever they are to be merged into, as one into another base is in the way; see
        `pull_request.open_one`.

        Args:
            manifests: one of those that were looked at.
            base: what the update is to be merged into.
            head_owner: whose fork has the branch; None is the repository itself.
            update: with the key that may have been refused.
            author: of our commits.
        """
        listing = self._listings[manifests.identity]
        if listing.failure:
            return listing.failure
        try:
            return listing.proposals(manifests, base, head_owner, update, author)
        except StepError as error:
            return _failure(error)

    def set_status(
        self, repository: Repository, commit: str, *, context: str, state: State, description: str, url: str | None
    ) -> bool:
        """Give a commit of a source a status, unless it has that already; whether it has it.

        A token that may not is told of in the log, once for each repository.

        Raises:
            StepError: it may be possible later.
        """
        if repository.host.lower() != self._server.host.lower():
            return False
        try:
            self._github(repository).set_status(commit, context=context, state=state, description=description, url=url)
        except StepError as error:
            if error.later:
                raise
            if repository.identity not in self._refusing:
                self._refusing.add(repository.identity)
                why = error.said if isinstance(error, Refusal) else error
                _log.info("commits of %s get no status (%s)", repository, why, extra={"reason": error.reason})
            return False
        return True

    def token_for(self, repository: Repository) -> Credentials | None:
        """What git may show to read a repository; None when it is elsewhere, or the App is not installed there."""
        if repository.scheme != "https" or repository.host.lower() != self._server.host.lower() or self._failure:
            return None
        try:
            us = self._accounts.of(repository)
            return Credentials(user="x-access-token", password=us.token(), ca=self._accounts.ca(us))
        except StepError as error:
            if error.reason != "auth":
                _log.warning("%s; %s is read without", error, repository, extra={"reason": error.reason})
            return None

    def _look(self, listing: "_Listing", repository: Repository) -> None:
        try:
            if self._failure is None:
                listing.look(self._github(repository))
            listing.failure = self._failure
        except StepError as error:
            listing.failure = _failure(error)
        except Exception as error:  # noqa: BLE001 - one repository must not end the others'
            _log.exception("a defect of this program, not of its input")
            text = f"a defect of this program, not of its input: {type(error).__name__}"
            listing.failure = Failure("defect", text)

    def _github(self, repository: Repository) -> GitHub:
        """The client for a repository."""
        if repository.scheme != "ssh" and repository.host.lower() != self._server.host.lower():
            raise StepError(
                "config-error",
                f"{repository} is at {repository.host}, but pull requests are asked for at {self._server.host}; "
                f"give --github-url=https://{repository.host} if that may see the token",
            )
        if "/" in repository.owner or not repository.owner:
            raise StepError("config-error", f"{repository} is not a GitHub repository, OWNER/NAME")
        us = self._accounts.of(repository)
        key = repository.identity, self._accounts.ca(us)
        if key not in self._githubs:
            self._githubs[key] = GitHub(self._server, repository, us, key[1], self._counted)
        return self._githubs[key]


class _Brief(NamedTuple):
    """What is taken of each pull request that is listed.

    Attributes:
        kept: with no more of its text than our marker; None of a branch that is none of an update's.
    """

    number: int
    updated: float
    kept: PullRequest | None


def _brief(found: PullRequest) -> _Brief:
    if not _branch(found).startswith(BRANCHES):
        return _Brief(found.number, found.updated, None)
    proposes = found.proposes
    kept = replace(found, body=updates.marker(proposes) if proposes else "", assignees=frozenset(), milestone=None)
    return _Brief(found.number, found.updated, kept)


class _Listing:
    """The pull requests of a repository.

    Attributes:
        github: who was asked last.
        failure: why it was of no use.
    """

    def __init__(self) -> None:
        self.github: GitHub | None = None
        self.failure: Failure | None = None
        self._first: Sequence[_Brief] | None = None
        self._newest = -math.inf
        self._known: dict[int, PullRequest] = {}
        self._of_branch: dict[str, list[PullRequest]] = {}
        self._names: set[str] = set()
        self._forks: dict[str, str] = {}
        self._refused: dict[int, tuple[float, bool]] = {}
        self._foreign: dict[int, tuple[str, Person, bool]] = {}

    def look(self, github: GitHub) -> None:
        """Read the list from its beginning as far as it may have changed, until nothing moved meanwhile."""
        self.github = github
        first, newest, known = self._first, self._newest, dict(self._known)
        for _ in range(MOST_READS):
            pages = github.pull_requests_by_update(_brief)
            before, first = first, next(pages)
            if first is before:
                break
            end, read = newest - MARGIN, 0
            for page in itertools.islice(itertools.chain([first], pages), MOST_PAGES):
                read += 1
                for each in page:
                    newest = max(newest, each.updated)
                    known.pop(each.number, None)
                    if each.kept:
                        known[each.number] = each.kept
                if any(each.updated < end for each in page):
                    break
            if read == 1:
                break
        self._names.add(github.repository.path.lower())
        if first is self._first:
            return
        self._first, self._newest, self._known = first, newest, known
        self._of_branch = defaultdict(list)
        for number in sorted(known, reverse=True):
            self._of_branch[_branch(known[number])].append(known[number])
        self._forks.clear()

    def proposals(
        self, manifests: Repository, base: Branch, head_owner: str | None, update: Update, author: Person
    ) -> Proposals:
        github = self.github
        assert github  # noqa: S101 - it was looked at
        branch = updates.branch(Application(update.application), Version(update.version))
        names = self._heads(github, manifests, head_owner)
        found = tuple(
            each
            for each in self._of_branch.get(branch, ())
            if each.head.partition(":")[0].lower() in names and (each.base == base or each.state == "open")
        )
        seen = Seen(found, github.login, base, None)
        closed = pull_request.veto(seen, update)
        return Proposals(
            us=seen.us,
            found=found,
            refused=closed if closed and self._is_refused(github, closed) else None,
            is_foreign=any(self._is_foreign(github, each, author) for each in pull_request.ours(seen, update)),
        )

    def _heads(self, github: GitHub, manifests: Repository, head_owner: str | None) -> set[str]:
        """The names that the repository of the branch has and had, in lower case."""
        if head_owner is None or head_owner.lower() == manifests.owner.lower():
            return {manifests.path.lower(), *self._names}
        fork = manifests.sibling(head_owner)
        if fork.path not in self._forks:
            self._forks[fork.path] = github.present(fork).path.lower()
        return {fork.path.lower(), self._forks[fork.path]}

    def _is_refused(self, github: GitHub, closed: PullRequest) -> bool:
        """Whether a person closed it."""
        updated, refused = self._refused.get(closed.number, (None, False))
        if updated != closed.updated:
            refused = github.is_refused(closed.number)
            self._refused[closed.number] = closed.updated, refused
        return refused

    def _is_foreign(self, github: GitHub, ours: PullRequest, author: Person) -> bool:
        """Whether somebody else put commits on the branch of our pull request, as far as it is open."""
        if ours.state != "open" or ours.proposes is None or ours.proposes.commit == ours.sha:
            return False
        *of, foreign = self._foreign.get(ours.number, ("", author, False))
        if of != [ours.sha, author]:
            foreign = bool(pull_request.foreign(github.commits(ours.number), str(author)))
            self._foreign[ours.number] = ours.sha, author, foreign
        return foreign


def _branch(found: PullRequest) -> str:
    return found.head.partition(":")[2]


def _failure(error: StepError) -> Failure:
    return Failure(error.reason, str(error), error.later)


def _all_at_once(call: Callable[[str], None], items: Sequence[str]) -> None:
    """Call something with each of the items, in threads that do not outlive the process, as those of an executor do."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for item in items:
        waiting.put(item)

    def work() -> None:
        while True:
            try:
                item = waiting.get_nowait()
            except queue.Empty:
                return
            call(item)

    threads = [threading.Thread(target=work, daemon=True) for _ in items[:_AT_ONCE]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
