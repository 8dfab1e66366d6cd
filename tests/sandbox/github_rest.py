"""GitHub's REST interface, as far as clients of the sandbox use it: one function for each route, in a table.

Refusals are GitHub's, word for word where they have been seen; the thread they were seen in is named beside them.
"""

import base64
import binascii
import functools
import hashlib
import json
import re
import urllib.parse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, TypeVar

from tests.sandbox.bare_repository import SHA
from tests.sandbox.github_bodies import Bodies, Body
from tests.sandbox.github_state import (
    App,
    Comment,
    Issue,
    Label,
    Milestone,
    PullRequest,
    Repository,
    ReviewRequest,
    Status,
    User,
    World,
    now,
)
from tests.sandbox.http_server import Call, Response

API = "/api/v3"
LONGEST = {"title": 256, "body": 65536, "name": 50}
DOCUMENTATION = "https://docs.github.com/rest"
NO_PERMISSION = "Resource not accessible by personal access token"
NO_PERMISSION_OF_APP = "Resource not accessible by integration"


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str, *errors: Body) -> None:
        super().__init__(message)
        self.status = status
        self.body: Body = {"message": message, "documentation_url": DOCUMENTATION, "status": str(status)}
        if errors:
            self.body["errors"] = list(errors)


def _invalid(resource: str, field: str | None = None, message: str | None = None, code: str | None = None) -> NoReturn:
    error: Body = {"resource": resource, "code": code or ("custom" if message else "invalid")}
    if field:
        error["field"] = field
    if message:
        error["message"] = message
    raise Refused(422, "Validation Failed", error)


@dataclass
class Exchange:
    """One request to the REST interface, and what its handler may use."""

    call: Call
    world: World
    user: User | None
    bodies: Bodies
    effects: list[str]
    """What a handler has changed, for `after_effect`."""
    listed: Callable[[list[Any]], list[Any]] = list
    """The items of a list that are shown."""
    found_repository: Repository | None = None
    asking_app: App | None = None

    @property
    def repository(self) -> Repository:
        assert self.found_repository, "this route has no repository"
        return self.found_repository

    @property
    def asker(self) -> User:
        assert self.user, "this route is open to all"
        return self.user

    @property
    def app(self) -> App:
        assert self.asking_app, "this route is not for apps"
        return self.asking_app

    @functools.cached_property
    def data(self) -> Any:
        self.call.body.seek(0)
        text = self.call.body.read()
        try:
            return json.loads(text) if text else {}
        except ValueError:
            raise Refused(400, "Problems parsing JSON") from None

    def text(self, name: str) -> str:
        """A member of the body that must be there."""
        value = self.data.get(name)
        if not isinstance(value, str):
            raise Refused(422, f'Invalid request.\n\n"{name}" wasn\'t supplied.')
        return value

    @functools.cached_property
    def refs(self) -> dict[str, str]:
        return self.repository.git.refs()

    def issue(self, number: str) -> Issue:
        issue = self.repository.issues.get(int(number)) if number.isdigit() else None
        if not issue:
            raise Refused(404, "Not Found")
        return issue

    def pull(self, number: str) -> PullRequest:
        issue = self.issue(number)
        if not isinstance(issue, PullRequest):
            raise Refused(404, "Not Found")
        return issue

    def must_write(self, *, unless: User | None = None) -> None:
        if not self.repository.can_write(self.user) and self.user is not unless:
            raise Refused(403, NO_PERMISSION_OF_APP if self.user and self.user.account else NO_PERMISSION)


Answer = Any
Handler = Callable[..., Answer]
Needs = Literal["nothing", "user", "write", "app"]


@dataclass(frozen=True)
class Route:
    method: str
    pattern: re.Pattern[str]
    needs: Needs
    status: int
    reply: str
    """The model of githubkit-schemas that the answer is; `list[X]`; empty for no body."""
    takes: str
    """The model of the request's body; alternatives with `|`."""
    handler: Handler

    @property
    def changes_repository(self) -> bool:
        return self.method != "GET" and self.handler is not create_fork


ROUTES: list[Route] = []


def route(
    method: str,
    template: str,
    reply: str = "",
    *,
    needs: Needs = "nothing",
    status: int = 0,
    takes: str = "",
) -> Callable[[Handler], Handler]:
    """Enter a handler into the table.

    Args:
        method: GET, POST, ...
        template: the path; `{name}` is one part of it, `{name...}` all the rest.
        reply: the model of the answer.
        needs: who may ask, beyond reading the repository.
        status: of the answer; by default 200, or 204 without a body.
        takes: the model of the request's body.
    """
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", re.sub(r"\{(\w+)\.\.\.\}", r"(?P<\1>.+)", template))

    def enter(handler: Handler) -> Handler:
        code = status or (200 if reply else 204)
        ROUTES.append(Route(method, re.compile(pattern), needs, code, reply, takes, handler))
        return handler

    return enter


def find_route(method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    """The route of a path below /api/v3, and the parts its template names."""
    for entry in ROUTES:
        match = entry.pattern.fullmatch(path)
        if match and entry.method == method:
            return entry, {name: urllib.parse.unquote(part) for name, part in match.groupdict().items()}
    return None


def token_of(authorization: str) -> str | None:
    """The token of an Authorization header, in any of the three ways GitHub takes it."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() in ("token", "bearer"):
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return None
    return None


def answer(entry: Route, parts: dict[str, str], exchange: Exchange) -> Response:
    """Check who asks for what, run the handler, and render what it returns.

    Raises:
        Refused: with the error that is the answer.
    """
    if "owner" in parts:
        full_name = f"{parts.pop('owner')}/{parts.pop('repo')}"
        repository = exchange.world.find(full_name)
        if repository and exchange.asking_app:
            installation = exchange.world.installation(exchange.asking_app, repository.owner)
            exchange.user = installation.bot if installation else None
        if repository is None or not repository.can_read(exchange.user):
            raise Refused(404, "Not Found")
        if repository.full_name.lower() != full_name.lower():
            return moved(exchange.call, address_by_id(exchange.call, repository))
        exchange.found_repository = repository
        exchange.world.settle(repository, None)
    if entry.needs in ("user", "write") and exchange.user is None:
        raise Refused(401, "Requires authentication")
    if entry.needs == "write":
        exchange.must_write()
    if exchange.found_repository and exchange.found_repository.archived and entry.changes_repository:
        raise Refused(403, "Repository was archived so is read-only.")
    body = entry.handler(exchange, **parts)
    if not entry.reply:
        return Response(entry.status)
    headers: dict[str, str] = {}
    if isinstance(body, list) and exchange.call.method == "GET":
        body, headers = _page(exchange.listed(body), exchange.call)
    response = json_response(entry.status, body, headers)
    return _conditional(response, exchange.call) if entry.method == "GET" else response


def _conditional(response: Response, call: Call) -> Response:
    """A reply with its ETag, or 304 when the client says that it has that one."""
    assert isinstance(response.body, bytes)
    digest = hashlib.sha256(response.headers.get("Link", "").encode() + response.body).hexdigest()
    tagged = response.headers | {"ETag": f'W/"{digest}"', "Cache-Control": "private, max-age=60, s-maxage=60"}
    if tagged["ETag"] in call.headers.get("If-None-Match", "").split(", "):
        return Response(304, tagged)
    return Response(response.status, tagged, response.body)


def address_by_id(call: Call, repository: Repository) -> str:
    """Where a request for a repository is answered, whatever the repository is renamed to."""
    rest = call.target.split("/", 6)[6:]
    return "/".join([f"{call.base_url}{API}/repositories/{repository.id}", *rest])


def moved(call: Call, address: str) -> Response:
    """GitHub's redirect, as octokit/fixtures has it (rename-repository)."""
    body = {
        "message": "Moved Permanently",
        "url": address,
        "documentation_url": "https://docs.github.com/v3/#http-redirects",
    }
    return json_response(301 if call.method in ("GET", "HEAD") else 307, body, {"Location": address})


def json_response(status: int, body: Any, headers: dict[str, str] | None = None) -> Response:
    kind = {"Content-Type": "application/json; charset=utf-8", "X-GitHub-Media-Type": "github.v3; format=json"}
    return Response(status, kind | (headers or {}), json.dumps(body, ensure_ascii=False).encode())


def _page(items: list[Any], call: Call) -> tuple[list[Any], dict[str, str]]:
    """The part of a list that was asked for, and a Link header to the others."""
    query = call.query
    size = min(max(int(query.get("per_page", "30")), 1), 100)
    number = max(int(query.get("page", "1")), 1)
    last = max(-(-len(items) // size), 1)
    links: dict[str, int] = {}
    if number > 1:
        links |= {"prev": number - 1, "first": 1}
    if number < last:
        links |= {"next": number + 1, "last": last}
    url = call.base_url + call.path
    header = ", ".join(
        f'<{url}?{urllib.parse.urlencode(query | {"page": page})}>; rel="{name}"' for name, page in links.items()
    )
    return items[(number - 1) * size : number * size], {"Link": header} if header else {}


# Users


@route("GET", "/user", "PublicUser", needs="user")
def get_authenticated_user(x: Exchange) -> Answer:
    if x.asker.account:
        raise Refused(403, NO_PERMISSION_OF_APP)
    return x.bodies.full_user(x.asker)


@route("GET", "/users/{login}", "PublicUser")
def get_user(x: Exchange, login: str) -> Answer:
    user = x.world.user(login)
    if not user:
        raise Refused(404, "Not Found")
    return x.bodies.full_user(user)


# Repositories


@route("GET", "/repos/{owner}/{repo}", "FullRepository")
def get_repository(x: Exchange) -> Answer:
    return x.bodies.full_repository(x.repository)


@route("GET", "/repos/{owner}/{repo}/forks", "list[MinimalRepository]")
def list_forks(x: Exchange) -> Answer:
    forks = [fork for fork in x.world.repositories() if fork.parent is x.repository and fork.can_read(x.user)]
    return [x.bodies.repository(fork) for fork in forks]


@route(
    "POST",
    "/repos/{owner}/{repo}/forks",
    "FullRepository",
    needs="user",
    status=202,
    takes="ReposOwnerRepoForksPostBody",
)
def create_fork(x: Exchange) -> Answer:
    owner = x.world.user(x.data["organization"]) if x.data.get("organization") else x.asker
    if not owner:
        _invalid("Fork", "organization")
    for other in x.world.network(x.repository):
        if other.owner is owner and other.parent is x.repository:
            return x.bodies.full_repository(other)
    fork = x.world.add_repository(
        owner,
        x.data.get("name") or x.repository.name,
        private=x.repository.private,
        writers={x.asker.login},
        parent=x.repository,
        default_branch=x.repository.git.default_branch(),
    )
    x.effects.append(f"create fork {fork.full_name}")
    return x.bodies.full_repository(fork)


# Git


@route("GET", "/repos/{owner}/{repo}/git/ref/{ref...}", "GitRef")
def get_ref(x: Exchange, ref: str) -> Answer:
    sha = x.refs.get(f"refs/{ref}")
    if not sha:
        raise Refused(404, "Not Found")
    return x.bodies.ref(f"refs/{ref}", sha, x.repository)


@route("GET", "/repos/{owner}/{repo}/git/matching-refs/{ref...}", "list[GitRef]")
def list_matching_refs(x: Exchange, ref: str) -> Answer:
    return [x.bodies.ref(name, sha, x.repository) for name, sha in x.refs.items() if name.startswith(f"refs/{ref}")]


@route(
    "POST", "/repos/{owner}/{repo}/git/refs", "GitRef", needs="write", status=201, takes="ReposOwnerRepoGitRefsPostBody"
)
def create_ref(x: Exchange) -> Answer:
    ref, sha = x.text("ref"), x.text("sha")
    if ref in x.refs:
        raise Refused(422, "Reference already exists")
    if not (ref.startswith("refs/") and ref.count("/") > 1 and x.repository.git.is_valid_ref(ref)):
        raise Refused(422, f"{ref} is not a valid ref name.")
    _move_ref(x, ref, sha)
    return x.bodies.ref(ref, sha, x.repository)


@route(
    "PATCH",
    "/repos/{owner}/{repo}/git/refs/{ref...}",
    "GitRef",
    needs="write",
    takes="ReposOwnerRepoGitRefsRefPatchBody",
)
def update_ref(x: Exchange, ref: str) -> Answer:
    name, sha = f"refs/{ref}", x.text("sha")
    before = x.refs.get(name)
    if not before:
        raise Refused(422, "Reference does not exist")
    if not x.data.get("force") and _commit_exists(x, sha) and not x.repository.git.is_ancestor(before, sha):
        raise Refused(422, "Update is not a fast forward")
    _move_ref(x, name, sha)
    return x.bodies.ref(name, sha, x.repository)


@route("DELETE", "/repos/{owner}/{repo}/git/refs/{ref...}", needs="write")
def delete_ref(x: Exchange, ref: str) -> Answer:
    if f"refs/{ref}" not in x.refs:
        raise Refused(422, "Reference does not exist")
    x.repository.git.update_ref(f"refs/{ref}", "")
    x.world.settle(x.repository, x.user)
    x.effects.append(f"delete refs/{ref}")


def _move_ref(x: Exchange, ref: str, sha: str) -> None:
    if not _commit_exists(x, sha):
        raise Refused(422, "Object does not exist")
    x.repository.git.update_ref(ref, sha)
    x.world.settle(x.repository, x.user)
    x.effects.append(f"update {ref}")


def _commit_exists(x: Exchange, sha: str) -> bool:
    return bool(SHA.fullmatch(sha)) and x.repository.git.resolve(sha) is not None


@route("GET", "/repos/{owner}/{repo}/branches", "list[ShortBranch]")
def list_branches(x: Exchange) -> Answer:
    prefix = "refs/heads/"
    return [
        x.bodies.short_branch(ref.removeprefix(prefix), sha, x.repository)
        for ref, sha in x.refs.items()
        if ref.startswith(prefix)
    ]


@route("GET", "/repos/{owner}/{repo}/branches/{branch...}", "BranchWithProtection")
def get_branch(x: Exchange, branch: str) -> Answer:
    sha = x.refs.get(f"refs/heads/{branch}")
    if not sha:
        raise Refused(404, "Branch not found")
    return x.bodies.branch(branch, sha, x.repository)


@route("GET", "/repos/{owner}/{repo}/commits", "list[Commit]")
def list_commits(x: Exchange) -> Answer:
    query = x.call.query
    tip = x.repository.git.resolve(query.get("sha") or x.repository.git.default_branch())
    if not tip:
        if "sha" not in query:
            raise Refused(409, "Git Repository is empty.")
        raise Refused(404, "Not Found")
    commits = x.repository.git.commits(tip, path=query.get("path", ""))
    return [x.bodies.commit(commit, x.repository) for commit in commits]


@route("GET", "/repos/{owner}/{repo}/commits/{ref...}/status", "CombinedCommitStatus")
def get_combined_status(x: Exchange, ref: str) -> Answer:
    return x.bodies.combined_status(_commit(x, ref), x.repository)


@route("GET", "/repos/{owner}/{repo}/commits/{ref...}/statuses", "list[Status]")
@route("GET", "/repos/{owner}/{repo}/statuses/{ref...}", "list[Status]")
def list_statuses(x: Exchange, ref: str) -> Answer:
    sha = _commit(x, ref)
    return [x.bodies.status(status, x.repository) for status in reversed(x.repository.statuses) if status.sha == sha]


@route("GET", "/repos/{owner}/{repo}/commits/{ref...}", "Commit")
def get_commit(x: Exchange, ref: str) -> Answer:
    return x.bodies.full_commit(x.repository.git.commit(_commit(x, ref)), x.repository)


def _commit(x: Exchange, ref: str) -> str:
    sha = x.repository.git.resolve(ref)
    if not sha:
        raise Refused(422, f"No commit found for SHA: {ref}")
    return sha


@route(
    "POST",
    "/repos/{owner}/{repo}/statuses/{sha}",
    "Status",
    needs="write",
    status=201,
    takes="ReposOwnerRepoStatusesShaPostBody",
)
def create_status(x: Exchange, sha: str) -> Answer:
    if not _commit_exists(x, sha):
        raise Refused(422, f"No commit found for SHA: {sha}")
    status = Status(
        x.world.new_id(),
        sha,
        x.asker,
        x.text("state"),
        x.data.get("context") or "default",
        x.data.get("description"),
        x.data.get("target_url"),
    )
    x.repository.statuses.append(status)
    x.effects.append(f"status of {sha}")
    return x.bodies.status(status, x.repository)


@route("GET", "/repos/{owner}/{repo}/compare/{basehead...}", "CommitComparison")
def compare(x: Exchange, basehead: str) -> Answer:
    base_text, dots, head_text = basehead.partition("...")
    base, head = _compared(x, base_text), _compared(x, head_text)
    if not (dots and base and head):
        raise Refused(404, "Not Found")
    if not x.repository.git.merge_base(base, head):
        raise Refused(404, f"No common ancestor between {base_text} and {head_text}.")
    return x.bodies.comparison(base, head, x.repository, basehead)


def _compared(x: Exchange, text: str) -> str | None:
    """The commit of one side of a comparison: a revision, `owner:revision` or `owner:repository:revision`."""
    *names, revision = text.split(":")
    if not names:
        return x.repository.git.resolve(revision)
    for other in x.world.network(x.repository):
        if [name.lower() for name in names] == [other.owner.login.lower(), other.name.lower()][: len(names)]:
            return other.git.resolve(revision) if other.can_read(x.user) else None
    return None


# Pull requests


@route("GET", "/repos/{owner}/{repo}/pulls", "list[PullRequestSimple]")
def list_pulls(x: Exchange) -> Answer:
    query = x.call.query
    pulls = _in_state(x.repository.pulls, query.get("state", "open"))
    # GitHub ignores a filter that does not name the owner.
    owner, colon, branch = query.get("head", "").partition(":")
    if colon:
        pulls = [pull for pull in pulls if pull.head_branch == branch and pull.head_repository.is_of(owner)]
    if "base" in query:
        pulls = [pull for pull in pulls if pull.base_branch == query["base"]]
    sort = query.get("sort", "created")
    descending = query.get("direction", "desc" if sort == "created" else "asc") == "desc"
    key: Callable[[PullRequest], Any] = {
        "updated": lambda pull: (pull.updated_at, pull.number),
        "popularity": lambda pull: (len(pull.comments), pull.number),
    }.get(sort, lambda pull: pull.number)
    return [x.bodies.pull(pull) for pull in sorted(pulls, key=key, reverse=descending)]


AnIssue = TypeVar("AnIssue", bound=Issue)


def _refuse_too_long(x: Exchange, resource: str) -> None:
    for field, maximum in LONGEST.items():
        if len(x.data.get(field) or "") > maximum:
            _invalid(resource, field, f"{field} is too long (maximum is {maximum} characters)")


def _in_state(issues: Iterable[AnIssue], state: str) -> list[AnIssue]:
    return [issue for issue in issues if state in ("all", issue.state)]


@route(
    "POST",
    "/repos/{owner}/{repo}/pulls",
    "PullRequest",
    needs="user",
    status=201,
    takes="ReposOwnerRepoPullsPostBody",
)
def create_pull(x: Exchange) -> Answer:
    base_branch, (head_repository, head_branch) = x.text("base"), _head(x)
    issue = _converted_issue(x)
    _refuse_too_long(x, "Issue")
    title = issue.title if issue else x.data.get("title")
    if not title:
        _invalid("PullRequest", "title", code="missing_field")
    base = x.refs.get(f"refs/heads/{base_branch}")
    head = head_repository.git.refs().get(f"refs/heads/{head_branch}") if head_repository else None
    if not base or not head or not head_repository:
        fields = [name for name, sha in (("base", base), ("head", head)) if not sha]
        raise Refused(
            422,
            "Validation Failed",
            *({"resource": "PullRequest", "field": name, "code": "invalid"} for name in fields),
        )
    _refuse_duplicate(x, head_repository, head_branch, base_branch)
    _refuse_nothing_to_merge(x, head_repository, head_branch, head, base_branch, base)
    if not (head_repository.can_write(x.user) or x.repository.can_write(x.user)):
        _invalid("PullRequest", message="must be a collaborator", code="unprocessable")
    across = head_repository is not x.repository
    if across and x.data.get("maintainer_can_modify", True) and not head_repository.can_write(x.user):
        # electron/trop#93
        _invalid("PullRequest", "fork_collab", "fork_collab Fork collab can't be granted by someone without permission")
    pull = PullRequest(
        id=x.world.new_id(),
        number=issue.number if issue else len(x.repository.issues) + 1,
        repository=x.repository,
        title=title,
        body=issue.body if issue else x.data.get("body"),
        user=x.asker,
        head_repository=head_repository,
        head_branch=head_branch,
        base_branch=base_branch,
        draft=bool(x.data.get("draft")),
        maintainer_can_modify=across and x.data.get("maintainer_can_modify", True),
    )
    if issue:
        pull.labels, pull.assignees = issue.labels, issue.assignees
        pull.milestone, pull.comments = issue.milestone, issue.comments
    x.repository.git.update_ref(pull.pull_ref, head)
    x.repository.base_seen[base_branch] = base
    x.repository.issues[pull.number] = pull
    x.effects.append(f"create pull request {pull.number}")
    return x.bodies.full_pull(pull)


def _head(x: Exchange) -> tuple[Repository | None, str]:
    """The repository and the branch a new pull request comes from."""
    owner, _, branch = x.text("head").rpartition(":")
    network = list(x.world.network(x.repository))
    if x.data.get("head_repo"):
        name = x.data["head_repo"].rpartition("/")[2].lower()
        network = [repository for repository in network if repository.name.lower() == name]
        owner = x.data["head_repo"].rpartition("/")[0] or owner
    if owner:
        network = [repository for repository in network if repository.is_of(owner)]
    return next((repository for repository in network if repository.can_read(x.user)), None), branch


def _converted_issue(x: Exchange) -> Issue | None:
    if x.data.get("issue") is None:
        return None
    issue = x.repository.issues.get(x.data["issue"])
    if issue is None or isinstance(issue, PullRequest):
        _invalid("PullRequest", "issue")
    return issue


def _refuse_duplicate(
    x: Exchange, head_repository: Repository, head_branch: str, base_branch: str, *, but: PullRequest | None = None
) -> None:
    for pull in _in_state(x.repository.pulls, "open"):
        same = (pull.head_repository, pull.head_branch, pull.base_branch) == (head_repository, head_branch, base_branch)
        if same and pull is not but:
            # google/go-github#1441, vsoch/pull-request-action#86
            _invalid("PullRequest", message=f"A pull request already exists for {pull.head_label}.")


def _refuse_nothing_to_merge(
    x: Exchange, head_repository: Repository, head_branch: str, head: str, base_branch: str, base: str
) -> None:
    git = x.repository.git
    head_name, base_name = head_branch, base_branch
    if head_repository is not x.repository:
        head_name, base_name = f"{head_repository.owner.login}:{head_name}", f"{x.repository.owner.login}:{base_name}"
    if git.is_ancestor(head, base):
        # tgymnich/fork-sync#112
        _invalid("PullRequest", message=f"No commits between {base_name} and {head_name}")
    if not git.merge_base(head, base):
        # cilium/cilium#47088
        _invalid("PullRequest", message=f"The {head_name} branch has no history in common with {base_name}")


@route("GET", "/repos/{owner}/{repo}/pulls/{number}", "PullRequest")
def get_pull(x: Exchange, number: str) -> Answer:
    return x.bodies.full_pull(x.pull(number))


@route(
    "PATCH",
    "/repos/{owner}/{repo}/pulls/{number}",
    "PullRequest",
    needs="user",
    takes="ReposOwnerRepoPullsPullNumberPatchBody",
)
def update_pull(x: Exchange, number: str) -> Answer:
    pull = x.pull(number)
    x.must_write(unless=pull.user)
    _refuse_too_long(x, "Issue")
    if x.data.get("base", pull.base_branch) != pull.base_branch:
        _change_base(x, pull, x.data["base"])
    if "state" in x.data:
        _change_state(x, pull, x.data["state"])
    pull.maintainer_can_modify = x.data.get("maintainer_can_modify", pull.maintainer_can_modify)
    _change_text(x, pull)
    x.effects.append(f"update pull request {number}")
    return x.bodies.full_pull(pull)


def _change_text(x: Exchange, issue: Issue) -> None:
    if x.data.get("title") == "":
        _invalid("Issue", "title", code="missing_field")
    issue.title = x.data.get("title") or issue.title
    issue.body = x.data.get("body", issue.body)
    issue.updated_at = now()


def _change_base(x: Exchange, pull: PullRequest, branch: str) -> None:
    base = x.refs.get(f"refs/heads/{branch}")
    if pull.state == "closed":
        _invalid("PullRequest", "base", "Cannot change the base branch of a closed pull request.")
    if not base:
        _invalid("PullRequest", "base")
    _refuse_duplicate(x, pull.head_repository, pull.head_branch, branch)
    if x.repository.git.is_ancestor(pull.head(x.refs), base):
        message = f"There are no new commits between base branch '{branch}' and head branch '{pull.head_branch}'"
        _invalid("PullRequest", "base", message)
    pull.base_branch = branch
    x.repository.base_seen[branch] = base


def _change_state(x: Exchange, issue: Issue, state: str) -> None:
    if state == issue.state:
        return
    if state == "closed":
        issue.close(x.asker)
        return
    if isinstance(issue, PullRequest):
        tip = _reopenable_head(x, issue)
        issue.reopen()
        x.repository.git.update_ref(issue.pull_ref, tip)
        x.repository.base_seen[issue.base_branch] = x.refs[issue.base_ref]
    else:
        issue.reopen()


def _reopenable_head(x: Exchange, pull: PullRequest) -> str:
    """Where the head of a closed pull request is now, if GitHub opens it again."""

    def refuse(why: str) -> NoReturn:
        _invalid("PullRequest", "state", f"state cannot be changed. {why}")

    tip, base = pull.head_repository.git.refs().get(pull.head_ref), x.refs.get(pull.base_ref)
    if pull.merged_at:
        refuse("The pull request cannot be reopened.")
    if not tip or not base:
        # pytorch/pytorch#114423
        refuse(f"The {pull.base_branch if tip else pull.head_branch} branch has been deleted.")
    if not x.repository.git.is_ancestor(pull.head(x.refs), tip):
        # cilium/cilium#47088
        refuse(f"The {pull.head_branch} branch was force-pushed or recreated.")
    if x.repository.git.is_ancestor(tip, base):
        refuse(f"There are no new commits on the {pull.head_label} branch.")
    _refuse_duplicate(x, pull.head_repository, pull.head_branch, pull.base_branch, but=pull)
    return tip


@route("GET", "/repos/{owner}/{repo}/pulls/{number}/commits", "list[Commit]")
def list_pull_commits(x: Exchange, number: str) -> Answer:
    pull = x.pull(number)
    commits = x.repository.git.commits(pull.head(x.refs), without=pull.base(x.refs))
    return [x.bodies.commit(commit, pull.head_repository) for commit in reversed(commits)]


@route("GET", "/repos/{owner}/{repo}/pulls/{number}/files", "list[DiffEntry]")
def list_pull_files(x: Exchange, number: str) -> Answer:
    pull = x.pull(number)
    head, base = pull.head(x.refs), pull.base(x.refs)
    changes = x.repository.git.diff(x.repository.git.merge_base(base, head) or base, head)
    return x.bodies.files(changes, head, pull.head_repository)


@route("GET", "/repos/{owner}/{repo}/pulls/{number}/merge")
def is_merged(x: Exchange, number: str) -> Answer:
    if not x.pull(number).merged_at:
        raise Refused(404, "Not Found")


@route(
    "PUT",
    "/repos/{owner}/{repo}/pulls/{number}/merge",
    "PullRequestMergeResult",
    needs="write",
    takes="ReposOwnerRepoPullsPullNumberMergePutBody",
)
def merge_pull(x: Exchange, number: str) -> Answer:
    pull, git = x.pull(number), x.repository.git
    head, base = pull.head(x.refs), pull.base(x.refs)
    if pull.draft and pull.state == "open":
        raise Refused(405, "Pull Request is still a draft")
    tree = git.merged_tree(base, head) if pull.state == "open" else None
    if not tree:
        raise Refused(405, "Pull Request is not mergeable")
    if x.data.get("sha", head) != head:
        raise Refused(409, "Head branch was modified. Review and try the merge again.")
    method = x.data.get("merge_method", "merge")
    if method not in ("merge", "squash"):
        raise Refused(405, f"The sandbox does not merge by {method}.")
    if method == "merge":
        title = f"Merge pull request #{pull.number} from {pull.head_repository.owner.login}/{pull.head_branch}"
        parents, text = [base, head], pull.title
    else:
        title, text, parents = f"{pull.title} (#{pull.number})", pull.body or "", [base]
    message = f"{x.data.get('commit_title') or title}\n\n{x.data.get('commit_message') or text}\n"
    commit = git.create_commit(tree, parents, message, x.asker.login, x.asker.email)
    git.update_ref(pull.base_ref, commit, base)
    pull.merge(x.asker, commit, base)
    x.world.settle(x.repository, x.user)
    x.effects.append(f"merge pull request {number}")
    return {"sha": commit, "merged": True, "message": "Pull Request successfully merged"}


@route(
    "POST",
    "/repos/{owner}/{repo}/pulls/{number}/requested_reviewers",
    "PullRequestSimple",
    needs="write",
    status=201,
    takes="ReposOwnerRepoPullsPullNumberRequestedReviewersPostBodyAnyof0"
    "|ReposOwnerRepoPullsPullNumberRequestedReviewersPostBodyAnyof1",
)
def request_reviewers(x: Exchange, number: str) -> Answer:
    pull = x.pull(number)
    users = [x.world.user(login) for login in x.data.get("reviewers") or []]
    teams = x.data.get("team_reviewers") or []
    if pull.user in users:
        raise Refused(422, "Review cannot be requested from pull request author.")
    found = [user for user in users if user and x.repository.can_write(user)]
    if len(found) < len(users) or (teams and not x.repository.owner.organization):
        # Dolibarr/dolibarr#32024
        raise Refused(
            422,
            "Reviews may only be requested from collaborators. One or more of the users or teams you specified is not "
            f"a collaborator of the {x.repository.full_name} repository.",
        )
    people = [user for user in found if user not in pull.reviewers]
    groups = [team for team in teams if team not in pull.teams]
    pull.reviewers += people
    pull.teams += groups
    pull.review_requests += [ReviewRequest(x.world.new_id(), x.asker, each) for each in (*people, *groups)]
    pull.updated_at = now()
    x.effects.append(f"request review of {number}")
    return x.bodies.pull(pull)


@route("GET", "/repos/{owner}/{repo}/pulls/{number}/requested_reviewers", "PullRequestReviewRequest")
def list_requested_reviewers(x: Exchange, number: str) -> Answer:
    body = x.bodies.pull(x.pull(number))
    return {"users": body["requested_reviewers"], "teams": body["requested_teams"]}


@route(
    "DELETE",
    "/repos/{owner}/{repo}/pulls/{number}/requested_reviewers",
    "PullRequestSimple",
    needs="write",
    takes="ReposOwnerRepoPullsPullNumberRequestedReviewersDeleteBody",
)
def remove_requested_reviewers(x: Exchange, number: str) -> Answer:
    pull = x.pull(number)
    logins = {login.lower() for login in x.data.get("reviewers") or []}
    pull.reviewers = [user for user in pull.reviewers if user.login.lower() not in logins]
    pull.teams = [team for team in pull.teams if team not in (x.data.get("team_reviewers") or [])]
    x.effects.append(f"remove review request of {number}")
    return x.bodies.pull(pull)


# Issues, which every pull request is too


@route("GET", "/repos/{owner}/{repo}/issues", "list[Issue]")
def list_issues(x: Exchange) -> Answer:
    query = x.call.query
    issues = _in_state(x.repository.issues.values(), query.get("state", "open"))
    wanted = {name.lower() for name in query.get("labels", "").split(",") if name}
    issues = [issue for issue in issues if wanted <= {label.name.lower() for label in issue.labels}]
    descending = query.get("direction", "desc") == "desc"
    return [x.bodies.issue(issue) for issue in sorted(issues, key=lambda issue: issue.number, reverse=descending)]


@route("POST", "/repos/{owner}/{repo}/issues", "Issue", needs="user", status=201, takes="ReposOwnerRepoIssuesPostBody")
def create_issue(x: Exchange) -> Answer:
    if not x.data.get("title"):
        _invalid("Issue", "title", code="missing_field")
    issue = Issue(
        id=x.world.new_id(),
        number=len(x.repository.issues) + 1,
        repository=x.repository,
        title=x.data["title"],
        body=x.data.get("body"),
        user=x.asker,
    )
    _change_decorations(x, issue)
    x.repository.issues[issue.number] = issue
    x.effects.append(f"create issue {issue.number}")
    return x.bodies.issue(issue)


@route("GET", "/repos/{owner}/{repo}/issues/{number}", "Issue")
def get_issue(x: Exchange, number: str) -> Answer:
    return x.bodies.issue(x.issue(number))


@route(
    "PATCH",
    "/repos/{owner}/{repo}/issues/{number}",
    "Issue",
    needs="user",
    takes="ReposOwnerRepoIssuesIssueNumberPatchBody",
)
def update_issue(x: Exchange, number: str) -> Answer:
    issue = x.issue(number)
    x.must_write(unless=issue.user)
    _refuse_too_long(x, "Issue")
    _change_decorations(x, issue)
    if "state" in x.data:
        _change_state(x, issue, x.data["state"])
    issue.state_reason = x.data.get("state_reason", issue.state_reason)
    _change_text(x, issue)
    x.effects.append(f"update issue {number}")
    return x.bodies.issue(issue)


def _change_decorations(x: Exchange, issue: Issue) -> None:
    """Labels, assignees and milestone of a body; all are looked up before anything is changed."""
    if not x.repository.can_write(x.user):
        return  # GitHub drops them without a word
    milestone, assignees = issue.milestone, issue.assignees
    if "milestone" in x.data:
        number = x.data["milestone"]
        milestone = next((entry for entry in x.repository.milestones if entry.number == number), None)
        if number not in (None, "") and milestone is None:
            _invalid("Issue", "milestone")
    if x.data.get("assignees") is not None:
        assignees = _assignable(x, x.data["assignees"])
    if x.data.get("labels") is not None:
        issue.labels = _labels(x, x.data["labels"])
    issue.milestone, issue.assignees = milestone, assignees


def _labels(x: Exchange, names: Sequence[Any]) -> list[Label]:
    """The labels of these names; those a repository does not have are created, as GitHub does."""
    found: list[Label] = []
    for entry in names:
        name = entry if isinstance(entry, str) else entry["name"]
        label = x.repository.label(name)
        if not label:
            label = Label(x.world.new_id(), name, "ededed")
            x.repository.labels.append(label)
        if label not in found:
            found.append(label)
    return found


def _assignable(x: Exchange, logins: Sequence[str]) -> list[User]:
    users = []
    for login in logins:
        user = x.world.user(login)
        if not user or not x.repository.can_write(user):
            raise Refused(
                422,
                "Validation Failed",
                {"value": login, "resource": "Issue", "field": "assignees", "code": "invalid"},
            )
        users.append(user)
    return users


@route("GET", "/repos/{owner}/{repo}/issues/{number}/comments", "list[IssueComment]")
def list_comments(x: Exchange, number: str) -> Answer:
    issue = x.issue(number)
    return [x.bodies.comment(comment, issue) for comment in issue.comments]


@route(
    "POST",
    "/repos/{owner}/{repo}/issues/{number}/comments",
    "IssueComment",
    needs="user",
    status=201,
    takes="ReposOwnerRepoIssuesIssueNumberCommentsPostBody",
)
def create_comment(x: Exchange, number: str) -> Answer:
    issue = x.issue(number)
    if not x.text("body").strip():
        _invalid("IssueComment", "body", code="missing_field")
    _refuse_too_long(x, "IssueComment")
    comment = Comment(x.world.new_id(), x.asker, x.text("body"))
    issue.comments.append(comment)
    issue.updated_at = now()
    x.effects.append(f"comment on {number}")
    return x.bodies.comment(comment, issue)


@route("GET", "/repos/{owner}/{repo}/issues/{number}/events", "list[ReviewRequestedIssueEvent]")
def list_events(x: Exchange, number: str) -> Answer:
    """Those of requested reviews; of others GitHub has more than forty kinds."""
    issue = x.issue(number)
    requests = issue.review_requests if isinstance(issue, PullRequest) else []
    return [x.bodies.review_requested(request, issue) for request in requests]


@route("GET", "/repos/{owner}/{repo}/issues/comments/{number}", "IssueComment")
def get_comment(x: Exchange, number: str) -> Answer:
    issue, comment = _comment(x, number)
    return x.bodies.comment(comment, issue)


@route(
    "PATCH",
    "/repos/{owner}/{repo}/issues/comments/{number}",
    "IssueComment",
    needs="user",
    takes="ReposOwnerRepoIssuesCommentsCommentIdPatchBody",
)
def update_comment(x: Exchange, number: str) -> Answer:
    issue, comment = _comment(x, number)
    x.must_write(unless=comment.user)
    comment.body, comment.updated_at = x.text("body"), now()
    x.effects.append(f"update comment on {issue.number}")
    return x.bodies.comment(comment, issue)


@route("DELETE", "/repos/{owner}/{repo}/issues/comments/{number}", needs="user")
def delete_comment(x: Exchange, number: str) -> Answer:
    issue, comment = _comment(x, number)
    x.must_write(unless=comment.user)
    issue.comments.remove(comment)
    x.effects.append(f"delete comment on {issue.number}")


def _comment(x: Exchange, number: str) -> tuple[Issue, Comment]:
    for issue in x.repository.issues.values():
        for comment in issue.comments:
            if str(comment.id) == number:
                return issue, comment
    raise Refused(404, "Not Found")


# Labels, milestones, assignees


@route("GET", "/repos/{owner}/{repo}/labels", "list[Label]")
def list_labels(x: Exchange) -> Answer:
    return [x.bodies.label(label, x.repository) for label in x.repository.labels]


@route("POST", "/repos/{owner}/{repo}/labels", "Label", needs="write", status=201, takes="ReposOwnerRepoLabelsPostBody")
def create_label(x: Exchange) -> Answer:
    name = x.text("name")
    if x.repository.label(name):
        _invalid("Label", "name", code="already_exists")
    _refuse_too_long(x, "Label")
    label = Label(x.world.new_id(), name, x.data.get("color") or "ededed", x.data.get("description"))
    x.repository.labels.append(label)
    x.effects.append(f"create label {name}")
    return x.bodies.label(label, x.repository)


@route("GET", "/repos/{owner}/{repo}/labels/{name}", "Label")
def get_label(x: Exchange, name: str) -> Answer:
    label = x.repository.label(name)
    if not label:
        raise Refused(404, "Not Found")
    return x.bodies.label(label, x.repository)


@route("GET", "/repos/{owner}/{repo}/issues/{number}/labels", "list[Label]")
def list_issue_labels(x: Exchange, number: str) -> Answer:
    return [x.bodies.label(label, x.repository) for label in x.issue(number).labels]


@route(
    "POST",
    "/repos/{owner}/{repo}/issues/{number}/labels",
    "list[Label]",
    needs="write",
    takes="ReposOwnerRepoIssuesIssueNumberLabelsPostBodyOneof0|list[str]",
)
def add_issue_labels(x: Exchange, number: str) -> Answer:
    issue = x.issue(number)
    wanted = _labels(x, _label_names(x))
    return _relabel(x, issue, [*issue.labels, *(label for label in wanted if label not in issue.labels)])


@route(
    "PUT",
    "/repos/{owner}/{repo}/issues/{number}/labels",
    "list[Label]",
    needs="write",
    takes="ReposOwnerRepoIssuesIssueNumberLabelsPutBodyOneof0|list[str]",
)
def set_issue_labels(x: Exchange, number: str) -> Answer:
    return _relabel(x, x.issue(number), _labels(x, _label_names(x)))


@route("DELETE", "/repos/{owner}/{repo}/issues/{number}/labels", needs="write")
def remove_issue_labels(x: Exchange, number: str) -> Answer:
    _relabel(x, x.issue(number), [])


@route("DELETE", "/repos/{owner}/{repo}/issues/{number}/labels/{name}", "list[Label]", needs="write")
def remove_issue_label(x: Exchange, number: str, name: str) -> Answer:
    issue, label = x.issue(number), x.repository.label(name)
    if label not in issue.labels:
        raise Refused(404, "Label does not exist")
    return _relabel(x, issue, [other for other in issue.labels if other is not label])


def _label_names(x: Exchange) -> Sequence[Any]:
    names: Sequence[Any] = x.data if isinstance(x.data, list) else x.data.get("labels", [])
    return names


def _relabel(x: Exchange, issue: Issue, labels: list[Label]) -> list[Body]:
    issue.labels, issue.updated_at = labels, now()
    x.effects.append(f"label {issue.number}")
    return [x.bodies.label(label, x.repository) for label in labels]


@route("GET", "/repos/{owner}/{repo}/milestones", "list[Milestone]")
def list_milestones(x: Exchange) -> Answer:
    state = x.call.query.get("state", "open")
    found = [milestone for milestone in x.repository.milestones if state in ("all", milestone.state)]
    return [x.bodies.milestone(milestone, x.repository) for milestone in found]


@route(
    "POST",
    "/repos/{owner}/{repo}/milestones",
    "Milestone",
    needs="write",
    status=201,
    takes="ReposOwnerRepoMilestonesPostBody",
)
def create_milestone(x: Exchange) -> Answer:
    title, milestones = x.text("title"), x.repository.milestones
    if any(milestone.title == title for milestone in milestones):
        _invalid("Milestone", "title", code="already_exists")
    state = x.data.get("state", "open")
    milestone = Milestone(x.world.new_id(), len(milestones) + 1, title, x.asker, x.data.get("description"), state=state)
    milestones.append(milestone)
    x.effects.append(f"create milestone {milestone.number}")
    return x.bodies.milestone(milestone, x.repository)


@route("GET", "/repos/{owner}/{repo}/milestones/{number}", "Milestone")
def get_milestone(x: Exchange, number: str) -> Answer:
    for milestone in x.repository.milestones:
        if str(milestone.number) == number:
            return x.bodies.milestone(milestone, x.repository)
    raise Refused(404, "Not Found")


@route("GET", "/repos/{owner}/{repo}/assignees", "list[SimpleUser]")
def list_assignees(x: Exchange) -> Answer:
    users = [x.world.user(login) for login in sorted({x.repository.owner.login, *x.repository.writers})]
    return [x.bodies.user(user) for user in users if user and not user.organization]


@route("GET", "/repos/{owner}/{repo}/assignees/{login}")
@route("GET", "/repos/{owner}/{repo}/collaborators/{login}", needs="write")
def check_assignee(x: Exchange, login: str) -> Answer:
    if not x.repository.can_write(x.world.user(login)):
        raise Refused(404, "Not Found")


@route(
    "POST",
    "/repos/{owner}/{repo}/issues/{number}/assignees",
    "Issue",
    needs="write",
    status=201,
    takes="ReposOwnerRepoIssuesIssueNumberAssigneesPostBody",
)
def add_assignees(x: Exchange, number: str) -> Answer:
    issue = x.issue(number)
    users = (x.world.user(login) for login in x.data.get("assignees", []))
    # Unlike with PATCH, GitHub leaves out without a word whom it cannot assign.
    issue.assignees += [user for user in users if user and x.repository.can_write(user) and user not in issue.assignees]
    x.effects.append(f"assign {number}")
    return x.bodies.issue(issue)


@route(
    "DELETE",
    "/repos/{owner}/{repo}/issues/{number}/assignees",
    "Issue",
    needs="write",
    takes="ReposOwnerRepoIssuesIssueNumberAssigneesDeleteBody",
)
def remove_assignees(x: Exchange, number: str) -> Answer:
    issue = x.issue(number)
    logins = {login.lower() for login in x.data.get("assignees", [])}
    issue.assignees = [user for user in issue.assignees if user.login.lower() not in logins]
    x.effects.append(f"assign {number}")
    return x.bodies.issue(issue)
