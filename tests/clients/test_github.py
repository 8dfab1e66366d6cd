"""PyGithub as the steps use it, against servers that answer as GitHub, proxies and broken networks do."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from steps.clients.github import GitHub
from steps.core.pull_request import PullRequest
from steps.core.repository import Branch, Repository
from steps.core.repository import Server as Address
from steps.errors import StepError
from tests.sandbox.http_server import Call, Response, Server

BRANCH, BASE = Branch("apps-cd/v1/web"), Branch("main")
Calls = list[tuple[str, str]]


class Answers:
    """A server that gives one answer to everything, and remembers what it was asked and with which token."""

    def __init__(self) -> None:
        self.calls: Calls = []
        self.answer: Callable[[Call], Response] = lambda _: Response(500)
        self._server = Server("127.0.0.1", 0, self._answer)
        self.url, self.close = self._server.url, self._server.close
        self.repository = Repository.parse(f"{self.url}/owner/name")

    def _answer(self, call: Call) -> Response:
        self.calls.append((call.method, call.path))
        return self.answer(call)

    def client(self) -> GitHub:
        return GitHub(Address.parse(self.url), self.repository, "token-123456", None)


@pytest.fixture
def server() -> Iterator[Answers]:
    found = Answers()
    yield found
    found.close()


@pytest.fixture
def elsewhere() -> Iterator[Answers]:
    found = Answers()
    yield found
    found.close()


def reply(status: int, body: Any, **headers: str) -> Response:
    kind = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, kind, json.dumps(body).encode())


def page(status: int, text: str) -> Response:
    return Response(status, {"Content-Type": "text/html"}, text.encode())


def pull(server: Answers, *, number: int = 7, head: str = "owner/name", branch: str = BRANCH, base: str = BASE) -> Any:
    return {
        "url": f"{server.url}/api/v3/repos/owner/name/pulls/{number}",
        "number": number,
        "html_url": f"{server.url}/owner/name/pull/{number}",
        "body": None,
        "labels": [],
        "assignees": [],
        "milestone": None,
        "head": {"ref": branch, "repo": {"full_name": head} if head else None},
        "base": {"ref": base, "repo": {"full_name": "owner/name"}},
    }


def found(server: Answers, number: int = 7) -> PullRequest:
    return PullRequest(number, f"{server.url}/owner/name/pull/{number}", BASE, "")


ATTEMPTS: dict[str, Callable[[GitHub, Repository], object]] = {
    "list": lambda github, head: github.open_pull_requests(head, BRANCH),
    "open": lambda github, head: github.create(
        head, BRANCH, BASE, title="t", body="b", draft=False, maintainer_edits=True
    ),
    "edit": lambda github, _: github.edit(7, title="t", body="b"),
}
SAID = {
    "list": "cannot list the pull requests of owner/name",
    "open": "cannot open a pull request on owner/name",
    "edit": "cannot edit pull request 7 of owner/name",
}


@pytest.mark.parametrize("attempt", ["list", "open", "edit"])
@pytest.mark.parametrize(
    ("answer", "reason", "later", "problem"),
    [
        pytest.param(
            reply(401, {"message": "Bad credentials"}),
            "auth",
            False,
            "{attempt}: GitHub does not take the token; give a valid one (Bad credentials)",
            id="a bad token",
        ),
        pytest.param(
            reply(403, {"message": "Resource not accessible by personal access token"}),
            "refused",
            False,
            "{attempt}: the token may not; it needs contents and pull requests, read and write (Resource not accessible by personal "
            "access token)",
            id="a token without the right",
        ),
        pytest.param(
            reply(404, {"message": "Not Found"}),
            "not-found",
            False,
            "{attempt}: there is no such repository, or the token may not see it (Not Found)",
            id="no repository",
        ),
        pytest.param(
            reply(403, {"message": "You have exceeded a secondary rate limit."}, Retry_After="3600"),
            "rate-limit",
            True,
            "{attempt}: GitHub's rate limit is used up; try again later (You have exceeded a secondary rate limit.)",
            id="a secondary rate limit, without waiting an hour",
        ),
        pytest.param(
            reply(429, {"message": "slow down"}, Retry_After="60"),
            "rate-limit",
            True,
            "{attempt}: GitHub's rate limit is used up; try again later (slow down)",
            id="too many requests, without waiting a minute",
        ),
        pytest.param(
            reply(503, {"message": "Unavailable"}),
            "unreachable",
            True,
            "{attempt}: GitHub answered 503; try again later (Unavailable)",
            id="a server error",
        ),
    ],
)
def test_a_refusal_is_told_once(
    server: Answers,
    attempt: str,
    answer: Response,
    reason: str,
    later: bool,
    problem: str,
) -> None:
    server.answer = lambda _: answer
    with pytest.raises(StepError) as caught:
        ATTEMPTS[attempt](server.client(), server.repository)
    error = caught.value
    assert (error.reason, error.later, str(error)) == (reason, later, problem.format(attempt=SAID[attempt]))
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    ("attempt", "answer", "reason", "later"),
    [
        pytest.param("list", page(200, "<html>"), "unreachable", True, id="a page in place of a list"),
        pytest.param("open", page(200, "<html>"), "unreachable", True, id="a page in place of a new pull request"),
        pytest.param("edit", page(200, "<html>"), "unreachable", True, id="a page in place of an edited one"),
        pytest.param("list", page(200, '[{"number": 1'), "unreachable", True, id="half a list"),
        pytest.param("open", page(201, '{"number": 1'), "unreachable", True, id="half a new pull request"),
        pytest.param("open", reply(201, []), "unreachable", True, id="a list in place of a new pull request"),
        pytest.param(
            "open",
            reply(307, {"message": "Moved Permanently", "url": "http://127.0.0.1:1/"}, Location="http://127.0.0.1:1/"),
            "moved",
            False,
            id="a renamed repository, which a new pull request is not carried over to",
        ),
        pytest.param(
            "edit",
            reply(307, {"message": "Moved Permanently"}),
            "unreachable",
            True,
            id="a renamed repository at an edit",
        ),
    ],
)
def test_an_answer_without_a_pull_request_is_no_success(
    server: Answers,
    attempt: str,
    answer: Response,
    reason: str,
    later: bool,
) -> None:
    server.answer = lambda _: answer
    with pytest.raises(StepError) as caught:
        ATTEMPTS[attempt](server.client(), server.repository)
    assert (caught.value.reason, caught.value.later) == (reason, later)
    assert len(server.calls) == 1


@pytest.mark.parametrize("attempt", ["list", "open", "edit"])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_to_another_host_does_not_get_the_token(
    server: Answers, elsewhere: Answers, attempt: str, status: int
) -> None:
    elsewhere_url = elsewhere.url.replace("127.0.0.1", "localhost")
    server.answer = lambda call: reply(status, {}, Location=f"{elsewhere_url}{call.target}")
    with pytest.raises(StepError):
        ATTEMPTS[attempt](server.client(), server.repository)
    assert elsewhere.calls == []


@pytest.mark.parametrize("attempt", ["list", "open", "edit"])
def test_a_server_that_is_down_is_worth_another_try(server: Answers, attempt: str) -> None:
    server.close()
    with pytest.raises(StepError) as caught:
        ATTEMPTS[attempt](server.client(), server.repository)
    assert (caught.value.reason, caught.value.later) == ("unreachable", True)


def test_a_lost_answer_is_not_asked_for_again(server: Answers) -> None:
    def lose(_: Call) -> Response:
        raise ConnectionAbortedError

    server.answer = lose
    with pytest.raises(StepError) as caught:
        ATTEMPTS["open"](server.client(), server.repository)
    assert (caught.value.reason, caught.value.later) == ("unreachable", True)
    assert server.calls == [("POST", "/api/v3/repos/owner/name/pulls")]


def test_a_pull_request_that_is_open_already_is_taken_over(server: Answers) -> None:
    message = f"A pull request already exists for owner:{BRANCH}."
    error = {"resource": "PullRequest", "code": "custom", "message": message}
    refusal = {"message": "Validation Failed", "errors": [error]}
    server.answer = lambda call: reply(422, refusal) if call.method == "POST" else reply(200, [pull(server)])
    assert ATTEMPTS["open"](server.client(), server.repository) == found(server)


def test_a_pull_request_that_is_refused_is_told_with_the_reason(server: Answers) -> None:
    errors = [
        {"resource": "PullRequest", "field": "base", "code": "invalid"},
        {"message": "No commits between a and b"},
    ]
    server.answer = lambda _: reply(422, {"message": "Validation Failed", "errors": errors})
    with pytest.raises(StepError) as caught:
        ATTEMPTS["open"](server.client(), server.repository)
    assert str(caught.value) == (
        f"cannot open a pull request of owner:{BRANCH} on owner/name: Validation Failed; base invalid; No commits between a and b"
    )


def test_a_list_that_was_not_filtered_is_searched_to_its_end(server: Answers) -> None:
    strange = [
        pull(server, number=1, head="stranger/name"),
        pull(server, number=2, head=""),
        pull(server, number=3, branch="apps-cd/v1/web-two"),
    ]

    def answer(call: Call) -> Response:
        if call.query.get("page") == "2":
            return reply(200, [pull(server)])
        return reply(200, strange, Link=f'<{server.url}{call.path}?page=2>; rel="next"')

    server.answer = answer
    assert server.client().open_pull_requests(server.repository, BRANCH) == [found(server)]


def test_a_long_page_of_an_error_is_cut(server: Answers) -> None:
    server.answer = lambda _: page(502, "<html>" + "x" * 10_000)
    with pytest.raises(StepError) as caught:
        ATTEMPTS["list"](server.client(), server.repository)
    assert len(str(caught.value)) < 700
