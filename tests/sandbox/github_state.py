"""What GitHub knows beside git: users, repositories, issues and pull requests. What git knows is asked of git.

`Network.settle` carries a pull request along with its branches, as GitHub does after each push.
"""

import dataclasses
import datetime as dt
import itertools
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import jwt

from tests.sandbox.bare_repository import BareRepository


def now() -> str:
    return _written(dt.datetime.now(dt.UTC))


def _written(time: dt.datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(eq=False)
class User:
    id: int
    login: str
    organization: bool
    account: "User | None" = None
    """Of the bot of an app: whose repositories it may write to."""
    created_at: str = field(default_factory=now)

    @property
    def email(self) -> str:
        return f"{self.id}+{self.login}@users.noreply.github.com"


@dataclass(eq=False)
class App:
    id: int
    slug: str
    owners: frozenset[str] | None
    """Whose repositories it is installed for, in lower case; None for all."""
    bot: User
    """With what is the app's own, beside its installations."""
    installations: list["Installation"] = field(default_factory=list)


@dataclass(eq=False)
class Installation:
    id: int
    app: App
    bot: User
    """Who is to be seen as the author of what is done with its tokens; all bots of an app have one name and id."""
    created_at: str = field(default_factory=now)

    @property
    def account(self) -> User:
        assert self.bot.account
        return self.bot.account


@dataclass(eq=False)
class Label:
    id: int
    name: str
    color: str
    description: str | None = None


@dataclass(eq=False)
class Milestone:
    id: int
    number: int
    title: str
    creator: User
    description: str | None = None
    state: str = "open"
    created_at: str = field(default_factory=now)
    closed_at: str | None = None


@dataclass(eq=False)
class Comment:
    id: int
    user: User
    body: str
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)


@dataclass(eq=False)
class Status:
    id: int
    sha: str
    creator: User
    state: str
    context: str
    description: str | None
    target_url: str | None
    created_at: str = field(default_factory=now)


@dataclass(eq=False)
class ReviewRequest:
    id: int
    by: User
    of: "User | str"
    """A person, or the slug of a team."""
    created_at: str = field(default_factory=now)


@dataclass(eq=False, kw_only=True)
class Issue:
    id: int
    number: int
    repository: "Repository"
    title: str
    body: str | None
    user: User
    state: Literal["open", "closed"] = "open"
    state_reason: str | None = None
    labels: list[Label] = field(default_factory=list)
    assignees: list[User] = field(default_factory=list)
    milestone: Milestone | None = None
    comments: list[Comment] = field(default_factory=list)
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)
    closed_at: str | None = None
    closed_by: User | None = None

    def close(self, user: User) -> None:
        self.state, self.closed_by = "closed", user
        self.closed_at = self.updated_at = now()

    def reopen(self) -> None:
        self.state, self.closed_by, self.closed_at = "open", None, None
        self.updated_at = now()


@dataclass(frozen=True)
class AutoMerge:
    enabled_by: User
    method: str
    title: str | None
    message: str | None


@dataclass(eq=False, kw_only=True)
class PullRequest(Issue):
    head_repository: "Repository"
    head_branch: str
    base_branch: str
    draft: bool
    maintainer_can_modify: bool
    reviewers: list[User] = field(default_factory=list)
    teams: list[str] = field(default_factory=list)
    review_requests: "list[ReviewRequest]" = field(default_factory=list)
    """All that there ever were."""
    base_when_closed: str | None = None
    merged_at: str | None = None
    merged_by: User | None = None
    merge_commit: str | None = None
    auto_merge: AutoMerge | None = None

    @property
    def head_ref(self) -> str:
        return f"refs/heads/{self.head_branch}"

    @property
    def pull_ref(self) -> str:
        return f"refs/pull/{self.number}/head"

    @property
    def head_label(self) -> str:
        return f"{self.head_repository.owner.login}:{self.head_branch}"

    @property
    def base_ref(self) -> str:
        return f"refs/heads/{self.base_branch}"

    def head(self, refs: Mapping[str, str]) -> str:
        """The commit at the head, by the refs of its repository; it stays what it was once the pull request is closed."""
        return refs[self.pull_ref]

    def base(self, refs: Mapping[str, str]) -> str:
        """The commit at the base, or where the base was when the pull request was closed."""
        return self.base_when_closed or refs[self.base_ref]

    def close(self, user: User) -> None:
        if self.state == "open":
            refs = self.repository.git.refs()
            self.base_when_closed = refs.get(self.base_ref, self.base_when_closed)
            self.auto_merge = None
        super().close(user)

    def reopen(self) -> None:
        self.base_when_closed = None
        super().reopen()

    def age(self, seconds: int) -> None:
        """Move all its times back."""
        for name in ("created_at", "updated_at", "closed_at", "merged_at"):
            if then := getattr(self, name):
                setattr(self, name, _written(dt.datetime.fromisoformat(then) - dt.timedelta(seconds=seconds)))

    def merge(self, user: User, commit: str, base: str) -> None:
        """Note that `commit` brought the head into the base, which was at `base` before."""
        super().close(user)
        self.merged_by, self.merged_at = user, self.closed_at
        self.merge_commit, self.base_when_closed = commit, base


@dataclass(eq=False)
class Repository:
    id: int
    owner: User
    name: str
    git: BareRepository
    private: bool
    writers: set[str]
    parent: "Repository | None"
    archived: bool = False
    allow_auto_merge: bool = False
    created_at: str = field(default_factory=now)
    issues: dict[int, Issue] = field(default_factory=dict)
    labels: list[Label] = field(default_factory=list)
    milestones: list[Milestone] = field(default_factory=list)
    statuses: list[Status] = field(default_factory=list)
    base_seen: dict[str, str] = field(default_factory=dict)
    """Where the base branches of open pull requests were when last looked at."""

    @property
    def full_name(self) -> str:
        return f"{self.owner.login}/{self.name}"

    @property
    def pulls(self) -> list[PullRequest]:
        return [issue for issue in self.issues.values() if isinstance(issue, PullRequest)]

    @property
    def root(self) -> "Repository":
        return self.parent.root if self.parent else self

    def is_of(self, login: str) -> bool:
        return self.owner.login.lower() == login.lower()

    def can_write(self, user: User | None) -> bool:
        if user is None:
            return False
        return self.owner in (user, user.account) or user.login.lower() in self.writers

    def can_read(self, user: User | None) -> bool:
        return not self.private or self.can_write(user)

    def label(self, name: str) -> Label | None:
        return next((label for label in self.labels if label.name.lower() == name.lower()), None)


class World:
    """Users, tokens and repositories; names are compared without case, as on GitHub.

    Args:
        root: where the bare repositories are made, as `OWNER/NAME.git`.
        clock: the seconds since the epoch, by which tokens of apps expire.
    """

    def __init__(self, root: Path, clock: Callable[[], float]) -> None:
        self._root = root
        self.clock = clock
        self._ids = itertools.count(1001)
        self._users: dict[str, User] = {}
        self._tokens: dict[str, User] = {}
        self._apps: dict[str, App] = {}
        self._installation_tokens: dict[str, tuple[User, int]] = {}
        self._repositories: dict[str, Repository] = {}
        self._renamed: dict[str, Repository] = {}

    def new_id(self) -> int:
        return next(self._ids)

    def add_user(self, login: str, token: str | None, *, organization: bool) -> User:
        user = self._users.setdefault(login.lower(), User(self.new_id(), login, organization))
        user.organization = user.organization or organization
        if token is not None:
            self._tokens[token] = user
        return user

    def user(self, login: str) -> User | None:
        return self._users.get(login.lower())

    def user_of_token(self, token: str) -> User | None:
        if token in self._installation_tokens:
            bot, expires_at = self._installation_tokens[token]
            return bot if self.clock() < expires_at else None
        return self._tokens.get(token)

    def add_app(self, slug: str, number: int, owners: frozenset[str] | None) -> None:
        bot = self.add_user(f"{slug}[bot]", None, organization=False)
        self._apps[str(number)] = App(number, slug, owners, bot)

    def app(self, number: str) -> App | None:
        return self._apps.get(number)

    def installation(self, app: App, account: User) -> Installation | None:
        """The installation of an app for the repositories of a user or an organization, if it is to have one."""
        if app.owners is not None and account.login.lower() not in app.owners:
            return None
        for installation in app.installations:
            if installation.account is account:
                return installation
        installation = Installation(self.new_id(), app, dataclasses.replace(app.bot, account=account))
        app.installations.append(installation)
        return installation

    def add_installation_token(self, installation: Installation) -> tuple[str, str]:
        """A token that is good for an hour, in the form they have since April 2026, and the end of that hour."""
        claims = {"iid": installation.id, "jti": secrets.token_hex(8)}
        token = f"ghs_{installation.app.id}_{jwt.encode(claims, secrets.token_bytes(32), 'HS256')}"
        expires_at = int(self.clock()) + 3600
        self._installation_tokens[token] = installation.bot, expires_at
        return token, _written(dt.datetime.fromtimestamp(expires_at, dt.UTC))

    def expire_tokens(self) -> None:
        self._installation_tokens.clear()

    def user_of_email(self, email: str) -> User | None:
        """Who a commit's address belongs to: `ID+LOGIN@users.noreply.github.com`."""
        match = re.fullmatch(r"(?:\d+\+)?([^@]+)@users\.noreply\.github\.com", email)
        return self.user(match[1]) if match else None

    def add_repository(
        self,
        owner: User,
        name: str,
        *,
        private: bool,
        writers: set[str],
        parent: Repository | None,
        default_branch: str,
    ) -> Repository:
        self._refuse_taken(f"{owner.login}/{name}")
        git = BareRepository.create(self._root / owner.login / f"{name}.git", default_branch)
        if parent:
            git.share_objects(parent.git)
            git.copy_refs(parent.git)
        logins = {login.lower() for login in writers}
        repository = Repository(self.new_id(), owner, name, git, private, logins, parent)
        self._repositories[repository.full_name.lower()] = repository
        return repository

    def rename_repository(self, repository: Repository, owner: User, name: str) -> None:
        """Move a repository to another name, or to another owner; it is found by the old one, too."""
        self._refuse_taken(f"{owner.login}/{name}")
        before = repository.full_name.lower()
        self._renamed[before] = self._repositories.pop(before)
        repository.owner, repository.name = owner, name
        self._repositories[repository.full_name.lower()] = repository

    def _refuse_taken(self, full_name: str) -> None:
        if self.find(full_name):
            raise ValueError(f"there is or was a repository {full_name}")

    def repository(self, full_name: str) -> Repository | None:
        return self._repositories.get(full_name.lower())

    def find(self, full_name: str) -> Repository | None:
        """The repository of a name that it has or had."""
        return self.repository(full_name) or self._renamed.get(full_name.lower())

    def repository_of_id(self, number: int) -> Repository | None:
        # A copy: faults ask for it while others are added.
        return next((entry for entry in list(self._repositories.values()) if entry.id == number), None)

    def repositories(self) -> list[Repository]:
        return sorted(self._repositories.values(), key=lambda repository: repository.full_name.lower())

    def network(self, repository: Repository) -> Iterator[Repository]:
        """A repository and all forks, parents and siblings of it, itself first."""
        yield repository
        for other in self.repositories():
            if other is not repository and other.root is repository.root:
                yield other

    def settle(self, repository: Repository, user: User | None) -> None:
        """Let the pull requests of a whole network follow what happened to their branches.

        A new head is taken over; a merged one is noted; one whose branch is gone, or has nothing to offer any more, is
        closed.

        Args:
            repository: one of the network.
            user: who pushed, as far as is known.
        """
        for base in self.network(repository):
            pulls = [pull for pull in base.pulls if pull.state == "open"]
            if not pulls:
                continue
            heads = {head: head.git.refs() for head in {pull.head_repository for pull in pulls}}
            refs = heads.get(base) or base.git.refs()
            before = base.base_seen
            base.base_seen = {pull.base_branch: refs[pull.base_ref] for pull in pulls if pull.base_ref in refs}
            for pull in pulls:
                tip = heads[pull.head_repository].get(pull.head_ref)
                _follow(pull, refs[pull.pull_ref], tip, before[pull.base_branch], base.base_seen, user)


def _follow(
    pull: PullRequest, known: str, tip: str | None, base_before: str, bases: dict[str, str], user: User | None
) -> None:
    git = pull.repository.git
    base = bases.get(pull.base_branch)
    actor = user or pull.head_repository.owner
    if base and git.is_ancestor(known, base):
        pull.merge(actor, base, base_before)
    elif tip is None or base is None:
        pull.base_when_closed = base_before
        pull.close(actor)
    elif tip != known:
        git.update_ref(pull.pull_ref, tip)
        pull.updated_at = now()
        if git.is_ancestor(tip, base):
            pull.close(actor)
