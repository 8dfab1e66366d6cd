"""GitHub Enterprise in a process: git over HTTP, the REST interface and web pages over the same bare repositories.

What git knows is read from git at each request and never stored; see `github_state` for the rest of the state,
`github_rest` for the routes, `git_http` for git's part and `page` for what a browser is shown.
"""

import contextlib
import functools
import re
import threading
import time
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from tests.sandbox import git_http, github_apps, github_graphql, github_rest, page
from tests.sandbox.faults import Asked, Faults
from tests.sandbox.github_bodies import Bodies
from tests.sandbox.github_models import Checker
from tests.sandbox.github_rest import API, Exchange, Refused
from tests.sandbox.github_state import PullRequest, Repository, User, World, now
from tests.sandbox.http_server import Call, Response, Server
from tests.sandbox.tls import Authority


@dataclass(frozen=True)
class Request:
    """A request as the log keeps it."""

    method: str
    path: str
    """With the query."""
    login: str | None
    """Who it was, by the token."""
    authorization: bool
    """An Authorization header came with it."""
    status: int
    user_agent: str
    time: float = field(default_factory=monotonic)
    """By time.monotonic, when it came in."""
    body: bytes = b""
    """What was sent; of git's requests nothing is kept."""


@dataclass(frozen=True)
class PullRequestFacts:
    """A pull request as a test asks for it."""

    number: int
    state: str
    title: str
    body: str | None
    user: str
    head: str
    """`owner:branch`."""
    base: str
    sha: str
    """The head commit."""
    labels: tuple[str, ...]
    assignees: tuple[str, ...]
    reviewers: tuple[str, ...]
    """Requested ones; teams as `@owner/team`."""
    milestone: str | None
    comments: tuple[str, ...]
    draft: bool
    merged: bool
    maintainer_can_modify: bool
    closed_by: str | None
    auto_merge: str | None = None
    """How it is to be merged once nothing is in the way."""


class GitHub:
    """The server, as a context manager: it listens from `__enter__` to `__exit__`.

    Args:
        root: where the bare repositories and the certificate authority's files are put.
        host: the address to listen at.
        port: of plain HTTP; 0 for a free one. HTTPS always takes a free one.
    """

    def __init__(self, root: Path, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.requests: list[Request] = []
        self.before_answer: Callable[[str], None] | None = None
        """Is called with method and path of a request before anything of it took effect; what it waits for the client
        waits for, too. A ConnectionError it raises cuts the connection."""
        self.after_effect: Callable[[str], None] | None = None
        """Is called right after a write took effect and before the reply is sent, e.g. with `push refs/heads/x`,
        `create pull request 1`, `update pull request 1`, `comment on 1`, `label 1`. A ConnectionError it raises cuts the
        connection instead of the reply."""
        self.faults: Faults | None = None
        """What goes wrong on the way; None for nothing."""
        self._host, self._ports = host, (port, 0)
        self.clock: Callable[[], float] = time.time
        """The seconds since the epoch, by which tokens of apps expire."""
        self._world = World(root, lambda: self.clock())  # noqa: PLW0108 - a test may replace it
        self._authority = Authority(root / ".tls")
        self.ca_file = self._authority.file
        self._checker = Checker()
        # Requests to the REST interface and pages are answered one after the other; git's run beside each other.
        self._lock = threading.RLock()

    def __enter__(self) -> typing.Self:
        self._listen()
        return self

    def _listen(self) -> None:
        names = list(dict.fromkeys([self._host, "127.0.0.1", "localhost"]))
        with contextlib.ExitStack() as stack:
            plain = Server(self._host, self._ports[0], self._dispatch)
            stack.callback(plain.close)
            secure = Server(self._host, self._ports[1], self._dispatch, self._authority.server_context(names))
            stack.callback(secure.close)
            self._stack = stack.pop_all()
        self.url, self.tls_url = plain.url, secure.url

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Nobody listens at its ports, for the time of a `with` block; what it knows stays."""
        self._stack.close()
        try:
            yield
        finally:
            self._ports = (_port(self.url), _port(self.tls_url))
            self._listen()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self._stack.close()
        self._checker.close()

    def add_user(self, login: str, *, token: str | None = None, organization: bool = False) -> None:
        """Make a user known; again with another token, they have both."""
        self._world.add_user(login, token, organization=organization)

    def add_repository(
        self,
        full_name: str,
        *,
        private: bool = False,
        writers: Sequence[str] = (),
        fork_of: str | None = None,
        default_branch: str = "main",
        archived: bool = False,
        allow_auto_merge: bool = False,
    ) -> Path:
        """Create a repository, whose owner becomes a user if there is none of that name.

        Args:
            full_name: `OWNER/NAME`.
            private: only the owner and writers see it.
            writers: logins that may push, beside the owner.
            fork_of: the repository whose branches and tags are copied.
            default_branch: what HEAD points at.
            archived: nobody may write to it.
            allow_auto_merge: pull requests may be told to merge themselves.

        Returns:
            The path of the bare repository.
        """
        login, _, name = full_name.partition("/")
        parent = self._repository(fork_of) if fork_of else None
        with self._lock:
            owner = self._world.add_user(login, None, organization=False)
            repository = self._world.add_repository(
                owner, name, private=private, writers=set(writers), parent=parent, default_branch=default_branch
            )
            repository.archived, repository.allow_auto_merge = archived, allow_auto_merge
        return repository.git.path

    def add_app(self, slug: str, *, app_id: int, owners: Sequence[str] | None) -> str:
        """Make a GitHub App known and install it.

        Args:
            slug: its name in addresses; it acts as `SLUG[bot]`.
            app_id: who signs its tokens.
            owners: it is installed for all repositories of these; None for those of everybody.

        Returns:
            Its private key, as PEM.
        """
        self._world.add_app(slug, app_id, None if owners is None else frozenset(map(str.lower, owners)))
        return github_apps.private_key()

    def expire_tokens(self) -> None:
        """End all tokens of installations at once."""
        self._world.expire_tokens()

    def archive_repository(self, full_name: str) -> None:
        """From now on nobody may write to it."""
        self._repository(full_name).archived = True

    def add_closed_pull_requests(self, full_name: str, branch: str, count: int) -> None:
        """Add closed pull requests of a branch by the owner, many at once."""
        repository = self._repository(full_name)
        refs = repository.git.refs()
        with self._lock:
            for _ in range(count):
                pull = PullRequest(
                    id=self._world.new_id(),
                    number=len(repository.issues) + 1,
                    repository=repository,
                    title="Update",
                    body="Words.",
                    user=repository.owner,
                    head_repository=repository,
                    head_branch=branch,
                    base_branch=repository.git.default_branch(),
                    draft=False,
                    maintainer_can_modify=False,
                    state="closed",
                    closed_at=now(),
                    closed_by=repository.owner,
                )
                pull.base_when_closed = refs[pull.base_ref]
                repository.git.update_ref(pull.pull_ref, refs[pull.head_ref])
                repository.issues[pull.number] = pull

    def age_pull_requests(self, full_name: str, seconds: int) -> None:
        """Make the pull requests of a repository as if all that was done with them was done earlier."""
        with self._lock:
            for pull in self._repository(full_name).pulls:
                pull.age(seconds)

    def rename_repository(self, full_name: str, new_full_name: str) -> None:
        """Give a repository another name, or another owner; requests at the old one are redirected.

        The bare repository stays where it is.
        """
        login, _, name = new_full_name.partition("/")
        with self._lock:
            owner = self._world.add_user(login, None, organization=False)
            self._world.rename_repository(self._repository(full_name), owner, name)

    @property
    def violations(self) -> list[str]:
        """What clients sent or this server answered against GitHub's own description, and routes it does not have."""
        return self._checker.violations()

    def pull_requests(self, full_name: str) -> list[PullRequestFacts]:
        """The pull requests of a repository by number, as they are now."""
        with self._lock:
            repository = self._repository(full_name)
            self._world.settle(repository, None)
            refs = repository.git.refs()
            return [_facts(pull, pull.head(refs)) for pull in repository.pulls]

    def _repository(self, full_name: str) -> Repository:
        repository = self._world.repository(full_name)
        if repository is None:
            raise KeyError(full_name)
        return repository

    def _dispatch(self, call: Call) -> Response:
        """Answer any request, git's, the REST interface's or a browser's."""
        came = monotonic()
        if self.before_answer:
            self.before_answer(f"{call.method} {call.path}")
        authorization = call.headers.get("Authorization", "")
        token = _token(call)
        user = self._world.user_of_token(token) if token else None
        effects: list[str] = []
        answer = functools.partial(self._answer, call, user, effects, refused=bool(authorization) and user is None)
        login = user.login if user else None
        asked = self._asked(call, login, token) if self.faults else None
        response = self.faults.answer(asked, effects, answer) if self.faults and asked else answer()
        self.requests.append(
            Request(
                method=call.method,
                path=call.target,
                login=login,
                authorization=bool(authorization),
                status=response.status,
                user_agent=call.headers.get("User-Agent", ""),
                time=came,
                body=_text(call) if _is_rest(call) else b"",
            )
        )
        for effect in effects:
            if self.after_effect:
                self.after_effect(effect)
        return response

    def _asked(self, call: Call, login: str | None, token: str | None) -> Asked | None:
        """What faults are to know of a request; None of a browser's, which meets none."""
        if _is_rest(call):
            path = self._named(call.path.removeprefix(API))
            match = re.fullmatch(r"/repos/([^/]+/[^/]+)(/.*)?", path)
            repository = self._world.find(match[1]) if match else None
            by_id = None
            if match and repository and path == call.path.removeprefix(API):
                by_id = github_rest.address_by_id(call, repository)
            name = repository.full_name if repository else match[1] if match else ""
            return Asked(call, "rest", name, by_id, login, token)
        full_name, inner = _git_path(call)
        repository = self._world.find(full_name)
        if not git_http.service(call, inner):
            return None
        return Asked(call, "git", repository.full_name if repository else full_name, None, login, token)

    def _named(self, path: str) -> str:
        """A path below the REST interface's, with a repository's name where it has its id."""
        match = re.fullmatch(r"/repositories/(\d+)(/.*)?", path)
        repository = self._world.repository_of_id(int(match[1])) if match else None
        return f"/repos/{repository.full_name}{match[2] or ''}" if match and repository else path

    def _answer(self, call: Call, user: User | None, effects: list[str], *, refused: bool) -> Response:
        if _is_rest(call):
            with self._lock:
                return self._answer_rest(call, user, effects, refused=refused)
        full_name, inner = _git_path(call)
        if git_http.service(call, inner):
            return self._answer_git(call, full_name, inner, user, effects, refused)
        with self._lock:
            return page.answer(call, self._world)

    def _answer_rest(self, call: Call, user: User | None, effects: list[str], *, refused: bool) -> Response:
        what = f"{call.method} {call.path}"
        if call.path == github_graphql.PATH:
            return self._answer_graphql(call, user, effects, refused=refused)
        found = github_rest.find_route(call.method, self._named(call.path.removeprefix(API)))
        if not found:
            self._checker.add(f"no such route in the sandbox: {what}")
        # What an app shows is none of the tokens that are known.
        if refused and not (found and found[0].needs == "app"):
            return self._refusal(what, Refused(401, "Bad credentials"))
        if not found:
            return self._refusal(what, Refused(404, "Not Found"))
        route, parts = found
        if route.takes:
            self._checker.check(f"request of {what}", route.takes, _text(call) or b"{}", request=True)
        exchange = Exchange(call, self._world, user, Bodies(self._world, call.base_url, user), effects)
        if self.faults:
            exchange.listed = self.faults.listed
        try:
            if route.needs == "app":
                exchange.asking_app = github_apps.app_of_token(self._world, _token(call))
            response = github_rest.answer(route, parts, exchange)
        except Refused as refusal:
            return self._refusal(what, refusal)
        except Exception as error:
            self._checker.add(f"{what}: {error!r}")
            raise
        if route.reply and response.status < 300:
            self._checker.check(f"reply to {what}", route.reply, typing.cast("bytes", response.body))
        return response

    def _answer_graphql(self, call: Call, user: User | None, effects: list[str], *, refused: bool) -> Response:
        if refused:
            return self._refusal(f"{call.method} {call.path}", Refused(401, "Bad credentials"))
        exchange = Exchange(call, self._world, user, Bodies(self._world, call.base_url, user), effects)
        try:
            return github_graphql.answer(exchange)
        except Refused as refusal:
            return self._refusal(f"{call.method} {call.path}", refusal)
        except github_graphql.UnknownOperation as unknown:
            self._checker.add(f"no such GraphQL operation in the sandbox: {unknown}")
            return github_rest.json_response(200, {"errors": [{"message": "The sandbox has no such operation."}]})

    def _refusal(self, what: str, refusal: Refused) -> Response:
        response = github_rest.json_response(refusal.status, refusal.body)
        self._checker.check(f"reply {refusal.status} to {what}", "", typing.cast("bytes", response.body))
        return response

    def _answer_git(
        self,
        call: Call,
        full_name: str,
        path_info: str,
        user: User | None,
        effects: list[str],
        refused: bool,
    ) -> Response:
        repository = self._world.find(full_name)
        push = git_http.service(call, path_info) == "git-receive-pack"
        readable = repository is not None and repository.can_read(user)
        if refused:
            return _challenge("Invalid username or token.")
        if user is None and (push or not readable):
            return _challenge("Repository not found." if not push else "Authentication required.")
        if repository is None or not readable:
            return _plain(404, "Repository not found.")
        if repository.full_name.lower() != full_name.lower():
            suffix = ".git" if call.path.removesuffix(path_info).endswith(".git") else ""
            query = call.target.partition("?")[2]
            address = f"{call.base_url}/{repository.full_name}{suffix}{path_info}"
            return Response(301, {"Location": f"{address}?{query}" if query else address})
        if push and not repository.can_write(user):
            login = user.login if user else ""
            return _plain(403, f"Permission to {repository.full_name}.git denied to {login}.")
        if push and repository.archived:
            return _plain(403, "This repository was archived so it is read-only.")
        pushed = functools.partial(self._pushed, repository, user, effects)
        return git_http.answer(call, repository.git.path, path_info, user.login if user else None, pushed)

    def _pushed(self, repository: Repository, user: User | None, effects: list[str], refs: list[str]) -> None:
        with self._lock:
            self._world.settle(repository, user)
        effects += [f"push {ref}" for ref in refs]


def _token(call: Call) -> str | None:
    return github_rest.token_of(call.headers.get("Authorization", ""))


def _is_rest(call: Call) -> bool:
    return call.path.startswith("/api/")


def _git_path(call: Call) -> tuple[str, str]:
    """The full name of the repository that git asks for, and the path behind it."""
    owner, _, rest = call.path.removeprefix("/").partition("/")
    name, _, inner = rest.partition("/")
    return f"{owner}/{name.removesuffix('.git')}", f"/{inner}"


def _text(call: Call) -> bytes:
    call.body.seek(0)
    return call.body.read()


def _challenge(text: str) -> Response:
    response = _plain(401, text)
    response.headers["WWW-Authenticate"] = 'Basic realm="GitHub"'
    return response


def _plain(status: int, text: str) -> Response:
    return Response(status, {"Content-Type": "text/plain; charset=UTF-8"}, f"{text}\n".encode())


def _facts(pull: PullRequest, sha: str) -> PullRequestFacts:
    return PullRequestFacts(
        number=pull.number,
        state=pull.state,
        title=pull.title,
        body=pull.body,
        user=pull.user.login,
        head=pull.head_label,
        base=pull.base_branch,
        sha=sha,
        labels=tuple(label.name for label in pull.labels),
        assignees=tuple(user.login for user in pull.assignees),
        reviewers=(
            *(user.login for user in pull.reviewers),
            *(f"@{pull.repository.owner.login}/{team}" for team in pull.teams),
        ),
        milestone=pull.milestone.title if pull.milestone else None,
        comments=tuple(comment.body for comment in pull.comments),
        draft=pull.draft,
        merged=pull.merged_at is not None,
        maintainer_can_modify=pull.maintainer_can_modify,
        closed_by=pull.closed_by.login if pull.closed_by else None,
        auto_merge=pull.auto_merge.method if pull.auto_merge else None,
    )


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])
