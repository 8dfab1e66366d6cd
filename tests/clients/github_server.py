"""A GitHub of one repository whose replies can be lost, late, or somebody else's: what its client is held against."""

import json
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from steps.core.repository import Repository
from steps.core.repository import Server as Address
from tests.sandbox.http_server import Call, Response, Server

Answer = Callable[[], Response]


def reply(status: int, body: Any, **headers: str) -> Response:
    kind = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, kind, json.dumps(body).encode())


def page(status: int, text: str) -> Response:
    return Response(status, {"Content-Type": "text/html"}, text.encode())


def drop() -> Response:
    raise ConnectionAbortedError


def half() -> Response:
    def body() -> Any:
        yield b'{"number"'
        raise ConnectionAbortedError

    return Response(201, {"Content-Type": "application/json"}, body())


@dataclass
class Fault:
    """What a request is answered with in place of GitHub's reply, and whether it is carried out all the same."""

    answer: Answer
    applied: bool = False


@dataclass
class Seen:
    """A request: when it came and went by the clock of time.monotonic(), and what it was."""

    began: float
    ended: float
    method: str
    path: str
    authorization: str


@dataclass
class Forge:
    """The state of the repository, and how it is to answer.

    Attributes:
        faults: of requests whose method they are named for, in their order; `*` is any.
        weather: the fault of a request that has none of its own.
        lag: seconds until what was created is listed.
    """

    name: str = "owner/name"
    login: str = "bot"
    lag: float = 0
    pulls: dict[int, dict[str, Any]] = field(default_factory=dict)
    comments: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    milestones: list[dict[str, Any]] = field(default_factory=list)
    ignored: set[str] = field(default_factory=set)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    routes: dict[tuple[str, str], Callable[[Call], Response]] = field(default_factory=dict)
    context: ssl.SSLContext | None = None
    weather: Callable[[], Fault | None] = lambda: None
    seen: list[Seen] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._server = Server("127.0.0.1", 0, self._answer, self.context)
        self.url, self.close = self._server.url, self._server.close
        self.address = Address.parse(self.url)
        self.repository = Repository.parse(f"{self.url}/owner/name")

    def counted(self, method: str, path: str = "") -> int:
        """How many requests of a method went below a path."""
        return sum(each.method == method and path in each.path for each in self.seen)

    def add_pull(self, **values: Any) -> dict[str, Any]:
        number = len(self.pulls) + 7
        head, repository = values.pop("branch", "apps-cd/v1/web"), values.pop("repository", self.name)
        self.pulls[number] = {
            "number": number,
            "node_id": f"node-{number}",
            "html_url": f"{self.url}/{self.name}/pull/{number}",
            "user": {"login": self.login},
            "state": "open",
            "merged_at": None,
            "title": "t",
            "body": "b",
            "labels": [],
            "assignees": [],
            "requested_reviewers": [],
            "requested_teams": [],
            "milestone": None,
            "auto_merge": None,
            "closed_by": None,
            "created": time.monotonic(),
            "created_at": "2020-01-01T00:00:00Z",
            "updated_at": "2020-01-02T00:00:00Z",
            "head": {"ref": head, "sha": "a" * 40, "repo": {"full_name": repository} if repository else None},
            "base": {"ref": values.pop("base", "main")},
        } | values
        return self.pulls[number]

    def _answer(self, call: Call) -> Response:
        seen = Seen(time.monotonic(), 0, call.method, call.path, call.headers["Authorization"] or "")
        self.seen.append(seen)
        try:
            queue = self.faults.get(call.method) or self.faults.get("*") or []
            fault = queue.pop(0) if queue else self.weather()
            if fault is None:
                return self._carried_out(call)
            if fault.applied:
                self._carried_out(call)
            return fault.answer()
        finally:
            seen.ended = time.monotonic()

    def _carried_out(self, call: Call) -> Response:
        path = call.path.removeprefix("/api/v3")
        data = json.loads(call.body.read() or b"null")
        call.body.seek(0)
        if route := self.routes.get((call.method, path)):
            return route(call)
        if (call.method, path) == ("GET", "/user"):
            return reply(200, {"login": self.login})
        if path == "/api/graphql":
            return self._graphql(data)
        match call.method, path.removeprefix(f"/repos/{self.name}"):
            case "GET", "":
                return reply(200, {"full_name": self.name})
            case "GET", "/pulls":
                return self._list(call, list(self.pulls.values()))
            case "POST", "/pulls":
                return self._create(data)
            case "GET", "/milestones":
                return self._list(call, self.milestones)
            case _:
                pass
        if (match := re.fullmatch(rf"/repos/{self.name}/(?:pulls|issues)/(\d+)(?:/(\w+))?", path)) and (
            pull := self.pulls.get(int(match[1]))
        ):
            return self._about(call, pull, match[2], data)
        return reply(404, {"message": "Not Found"})

    def _about(self, call: Call, pull: dict[str, Any], part: str | None, data: Any) -> Response:
        match call.method, part:
            case "GET", None:
                return reply(200, pull)
            case "PATCH", None:
                if "milestone" in data:
                    data["milestone"] = {"title": self.milestones[data["milestone"] - 1]["title"]}
                pull.update(data)
                return reply(200, pull)
            case "GET", "comments":
                return self._list(call, self.comments)
            case "POST", "comments":
                number = len(self.comments) + 1
                self.comments.append(
                    {
                        "id": number,
                        "html_url": f"{pull['html_url']}#issuecomment-{number}",
                        "user": {"login": self.login},
                        "body": data["body"],
                        "created": time.monotonic(),
                    }
                )
                return reply(201, self.comments[-1])
            case "GET", "events":
                return self._list(call, self.events)
            case "POST", "labels":
                pull["labels"] += [{"name": name} for name in data["labels"]]
                return reply(200, pull["labels"])
            case "POST", "assignees":
                pull["assignees"] += [{"login": name} for name in data["assignees"] if name not in self.ignored]
                return reply(201, pull)
            case "POST", "requested_reviewers":
                pull["requested_reviewers"] += [{"login": name} for name in data["reviewers"]]
                pull["requested_teams"] += [{"slug": name} for name in data["team_reviewers"]]
                asked = [("requested_reviewer", {"login": name}) for name in data["reviewers"]]
                asked += [("requested_team", {"slug": name}) for name in data["team_reviewers"]]
                self.events += [{"event": "review_requested", kind: whom} for kind, whom in asked]
                return reply(201, pull)
            case _:
                return reply(404, {"message": "Not Found"})

    def _create(self, data: dict[str, Any]) -> Response:
        branch = data["head"].rpartition(":")[2]
        if any(
            (each["state"], each["head"]["ref"], each["base"]["ref"]) == ("open", branch, data["base"])
            for each in self.pulls.values()
        ):
            return refused(f"A pull request already exists for {self.name.partition('/')[0]}:{branch}.")
        return reply(201, self.add_pull(branch=branch, base=data["base"], title=data["title"], body=data["body"]))

    def _list(self, call: Call, items: list[dict[str, Any]]) -> Response:
        shown = [
            each
            for each in items
            if time.monotonic() - each.get("created", -1e9) >= self.lag
            and (call.query.get("state") != "open" or each["state"] == "open")
        ]
        first = (int(call.query.get("page", "1")) - 1) * 2
        more = f'<{self.url}{call.path}?page={first // 2 + 2}&state={call.query.get("state")}>; rel="next"'
        return reply(200, shown[first : first + 2], **({"Link": more} if len(shown) > first + 2 else {}))

    def _graphql(self, data: dict[str, Any]) -> Response:
        if "viewer" in data["query"]:
            return reply(200, {"data": {"viewer": {"login": self.login}}})
        given = data["variables"]["input"]
        for pull in self.pulls.values():
            if pull["node_id"] == given["pullRequestId"]:
                pull["auto_merge"] = {"merge_method": given["mergeMethod"]}
        return reply(200, {"data": {"enablePullRequestAutoMerge": {"pullRequest": {"id": given["pullRequestId"]}}}})


def refused(message: str) -> Response:
    error = {"resource": "PullRequest", "code": "custom", "message": message}
    return reply(422, {"message": "Validation Failed", "errors": [error], "status": "422"})
