"""GitHub as the steps use it, against servers that answer as GitHub, proxies and broken networks do."""

import itertools
import json
import logging
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from steps import log
from steps.clients.github import GitHub
from steps.clients.github_account import TokenFile
from steps.core.pull_request import Comparison, PullRequest, SourceCommit
from steps.core.repository import Branch, Repository
from steps.errors import StepError
from tests.clients.github_server import Fault, Forge, drop, half, page, refused, reply
from tests.sandbox.http_server import Call, Response
from tests.sandbox.tls import Authority

BRANCH, BASE = Branch("apps-cd/v1/web"), Branch("main")
SHA = "a" * 40
KEY = "<!-- key -->"
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"
SECOND = 1445412480


class Clock:
    """The standard library's clock, in which sleeping takes no time."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._real = time.monotonic

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def monotonic(self) -> float:
        return self._real() + sum(self.slept)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(time, "sleep", found.sleep)
    monkeypatch.setattr(time, "monotonic", found.monotonic)
    return found


@pytest.fixture
def forge() -> Iterator[Forge]:
    found = Forge()
    yield found
    found.close()


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("token-123456")
    return path


@pytest.fixture
def github(forge: Forge, token: Path) -> GitHub:
    return GitHub(forge.address, forge.repository, TokenFile(token), None)


def create(github: GitHub, forge: Forge, **values: Any) -> PullRequest:
    text: dict[str, Any] = {"title": "t", "body": "b"}
    return github.create(forge.repository, BRANCH, BASE, **text | values, draft=False, maintainer_edits=True)


def is_found(forge: Forge, **values: Any) -> PullRequest:
    fields: dict[str, Any] = {
        "number": 7,
        "url": f"{forge.url}/owner/name/pull/7",
        "author": "bot",
        "head": f"owner/name:{BRANCH}",
        "base": "main",
        "sha": SHA,
        "state": "open",
        "title": "t",
        "body": "b",
        "created": 1577836800,
        "updated": 1577923200,
    }
    return PullRequest(**fields | values)


def ends(call: Callable[[], object]) -> tuple[str, bool, int | None, str]:
    with pytest.raises(StepError) as caught:
        call()
    return caught.value.reason, caught.value.later, caught.value.after, str(caught.value)


WRITES: dict[str, Callable[[GitHub, Forge], object]] = {
    "create": create,
    "edit": lambda github, _: github.edit(7, title="new", body="text"),
    "close": lambda github, _: github.close(7),
    "comment": lambda github, _: github.comment(7, f"hello {KEY}", KEY),
    "label": lambda github, forge: github.decorate(
        is_found(forge), labels=["one"], assignees=[], reviewers=[], milestone=None
    ),
    "assign": lambda github, forge: github.decorate(
        is_found(forge), labels=[], assignees=["alice"], reviewers=[], milestone=None
    ),
    "review": lambda github, forge: github.decorate(
        is_found(forge), labels=[], assignees=[], reviewers=["carol"], milestone=None
    ),
    "auto-merge": lambda github, forge: github.enable_auto_merge(is_found(forge), "squash", "a" * 40),
}
EFFECTS: dict[str, Callable[[Forge], object]] = {
    "create": lambda forge: [(each["title"], each["state"]) for each in forge.pulls.values()],
    "edit": lambda forge: [(each["title"], each["body"]) for each in forge.pulls.values()],
    "close": lambda forge: [each["state"] for each in forge.pulls.values()],
    "comment": lambda forge: [each["body"] for each in forge.comments],
    "label": lambda forge: forge.pulls[7]["labels"],
    "assign": lambda forge: forge.pulls[7]["assignees"],
    "review": lambda forge: forge.pulls[7]["requested_reviewers"],
    "auto-merge": lambda forge: forge.pulls[7]["auto_merge"],
}
DONE: dict[str, object] = {
    "create": [("t", "open")],
    "edit": [("new", "text")],
    "close": ["closed"],
    "comment": [f"hello {KEY}"],
    "label": [{"name": "one"}],
    "assign": [{"login": "alice"}],
    "review": [{"login": "carol"}],
    "auto-merge": {"merge_method": "SQUASH"},
}
VERBS = {"edit": "PATCH", "close": "PATCH"}
AMBIGUOUS: dict[str, Callable[[], Response]] = {
    "a 502": lambda: page(502, "<html>"),
    "a 503 of GitHub": lambda: reply(503, {"message": "Unavailable"}),
    "a dropped connection": drop,
    "a reply that breaks off": half,
    "half of a JSON": lambda: page(201, '{"number": 7, "html'),
    "a page in place of a reply": lambda: page(200, "<html>"),
    "a list in place of an object": lambda: reply(201, [7]),
    "an object without anything": lambda: reply(201, {}),
    "nothing at all": lambda: Response(204),
    "another number": lambda: reply(200, {"number": 99, "id": 0}),
    "a redirect that may follow upon what was done": lambda: reply(302, {}, Location="/"),
}


def prepared(forge: Forge, write: str) -> None:
    if write != "create":
        forge.add_pull()


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(
    "applied", [pytest.param(True, id="and it was done"), pytest.param(False, id="and it was not")]
)
@pytest.mark.parametrize("answer", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_a_write_is_done_once_when_its_reply_is(
    forge: Forge, github: GitHub, write: str, applied: bool, answer: Callable[[], Response]
) -> None:
    prepared(forge, write)
    forge.faults[VERBS.get(write, "POST")] = [Fault(answer, applied)]
    WRITES[write](github, forge)
    assert EFFECTS[write](forge) == DONE[write]
    assert forge.counted(VERBS.get(write, "POST")) == (1 if applied else 2)


@pytest.mark.parametrize("write", ["create", "edit", "close", "comment"])
def test_a_write_whose_reply_is_lost_twice_is_given_up_and_may_be_tried_later(
    forge: Forge, github: GitHub, write: str
) -> None:
    prepared(forge, write)
    forge.faults[VERBS.get(write, "POST")] = [Fault(drop)] * 3
    assert ends(lambda: WRITES[write](github, forge))[:2] == ("unreachable", True)
    assert forge.counted(VERBS.get(write, "POST")) == 2


@pytest.mark.parametrize("write", WRITES)
def test_a_write_is_done_once_when_all_reads_about_it_fail_at_first(forge: Forge, github: GitHub, write: str) -> None:
    prepared(forge, write)
    answers = [*AMBIGUOUS.values(), drop]
    forge.faults = {
        VERBS.get(write, "POST"): [Fault(drop, applied=True)],
        "GET": [
            Fault(each) for each in answers if each is not AMBIGUOUS["a redirect that may follow upon what was done"]
        ],
    }
    WRITES[write](github, forge)
    assert EFFECTS[write](forge) == DONE[write]


CERTAIN: dict[str, Callable[[], Response]] = {
    "a 429": lambda: reply(429, {"message": "slow down"}, Retry_After="1"),
    "a secondary limit": lambda: reply(403, {"message": "You have exceeded a secondary rate limit."}, Retry_After="2"),
    "a used up limit": lambda: reply(
        403,
        {"message": "API rate limit exceeded"},
        X_RateLimit_Remaining="0",
        X_RateLimit_Reset=str(SECOND + 3),
        Date=DATE,
    ),
    "a 307 of a repository that has its name still": lambda: reply(307, {"message": "Moved"}, Location="/elsewhere"),
    "a 308 to another host": lambda: reply(308, {}, Location="http://localhost:1/"),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("answer", CERTAIN.values(), ids=CERTAIN)
def test_a_write_that_was_not_done_for_certain_is_sent_again_after(
    forge: Forge, github: GitHub, write: str, answer: Callable[[], Response]
) -> None:
    prepared(forge, write)
    forge.faults[VERBS.get(write, "POST")] = [Fault(answer)] * 3
    WRITES[write](github, forge)
    assert EFFECTS[write](forge) == DONE[write]
    assert forge.counted(VERBS.get(write, "POST")) == 4


@pytest.mark.parametrize("lag", [1, 10, 29])
def test_a_pull_request_that_is_not_listed_yet_is_waited_for(forge: Forge, github: GitHub, lag: int) -> None:
    forge.lag = lag
    forge.faults["POST"] = [Fault(AMBIGUOUS["a 502"], applied=True)]
    assert create(github, forge) == is_found(forge)
    assert len(forge.pulls) == 1


@pytest.mark.parametrize("lag", [1, 10, 29])
def test_a_comment_that_is_not_listed_yet_is_waited_for(forge: Forge, github: GitHub, lag: int) -> None:
    forge.add_pull()
    forge.lag = lag
    forge.faults["POST"] = [Fault(drop, applied=True)]
    assert github.comment(7, f"hello {KEY}", KEY)
    assert len(forge.comments) == 1


def test_a_pull_request_that_is_never_listed_is_left_to_a_later_try(forge: Forge, github: GitHub) -> None:
    forge.add_pull()
    forge.lag = 10_000
    assert ends(lambda: create(github, forge)) == (
        "unreachable",
        True,
        None,
        f"cannot open a pull request on owner/name: GitHub has one of owner:{BRANCH} already, but does not list it",
    )


def test_a_pull_request_that_is_open_already_is_taken_over_with_the_text_that_it_has(
    forge: Forge, github: GitHub
) -> None:
    forge.add_pull(title="old")
    assert create(github, forge, title="new") == is_found(forge, title="old")
    assert EFFECTS["create"](forge) == [("old", "open")]


def test_a_pull_request_of_somebody_else_is_not_taken_over(forge: Forge, github: GitHub) -> None:
    forge.add_pull(user={"login": "alice"})
    assert ends(lambda: create(github, forge)) == (
        "foreign-pull-request",
        False,
        None,
        (
            f"{forge.url}/owner/name/pull/7 by alice proposes the same branch and is not ours; it is left alone. Merge or close "
            "it, or give another --version"
        ),
    )
    assert forge.counted("PATCH") == 0


def test_a_fork_that_others_may_not_push_to_is_proposed_without(forge: Forge, github: GitHub) -> None:
    sent: list[Any] = []

    def answer(call: Call) -> Response:
        sent.append(json.loads(call.body.read()))
        if sent[-1]["maintainer_can_modify"]:
            error = {
                "resource": "PullRequest",
                "field": "fork_collab",
                "code": "custom",
                "message": "fork_collab denied",
            }
            return reply(422, {"message": "Validation Failed", "errors": [error]})
        return reply(201, forge.add_pull(repository="fork/other"))

    forge.routes["POST", "/repos/owner/name/pulls"] = answer
    head = forge.repository.sibling("fork", "other")
    found = github.create(head, BRANCH, BASE, title="t", body="b", draft=True, maintainer_edits=True)
    assert found == is_found(forge, head=f"fork/other:{BRANCH}")
    assert sent == [
        {
            "title": "t",
            "body": "b",
            "head": f"fork:{BRANCH}",
            "base": "main",
            "draft": True,
            "maintainer_can_modify": allowed,
        }
        for allowed in (True, False)
    ]


def test_a_pull_request_that_is_refused_is_told_with_the_reason(forge: Forge, github: GitHub) -> None:
    errors = [
        {"resource": "PullRequest", "field": "base", "code": "invalid"},
        {"message": "No commits between a and b"},
    ]
    forge.faults["POST"] = [Fault(lambda: reply(422, {"message": "Validation Failed", "errors": errors}))]
    assert ends(lambda: create(github, forge))[3] == (
        f"cannot open a pull request of owner:{BRANCH} on owner/name: Validation Failed; base invalid; No commits between a and b"
    )


def test_a_comment_is_written_once(forge: Forge, github: GitHub) -> None:
    forge.add_pull()
    forge.comments += [{"user": None, "body": None}, {"user": {"login": "alice"}, "body": f"quoting {KEY}"}]
    assert not github.is_remarked(7, KEY)
    assert [github.comment(7, f"hello {KEY}", KEY) for _ in range(3)] == [True, False, False]
    assert github.is_remarked(7, KEY)
    assert [each["body"] for each in forge.comments[2:]] == [f"hello {KEY}"]


def test_a_pull_request_that_is_closed_already_is_closed(forge: Forge, github: GitHub) -> None:
    forge.add_pull(state="closed", merged_at="2020-01-01T00:00:00Z", closed_by={"login": "alice"})
    forge.faults["PATCH"] = [Fault(lambda: refused("it is merged"))]
    github.close(7)
    assert github.pull_request(7) == is_found(forge, state="merged")
    assert github.closed_by(7) == "alice"


def test_nobody_has_closed_an_open_pull_request(forge: Forge, github: GitHub) -> None:
    forge.add_pull()
    assert github.closed_by(7) is None


def test_the_pull_requests_of_a_branch_are_all_of_it_and_no_other(forge: Forge, github: GitHub) -> None:
    forge.add_pull(state="closed", merged_at="2020-01-01T00:00:00Z", body=None)
    forge.add_pull(repository="stranger/name")
    forge.add_pull(repository=None)
    forge.add_pull(branch=f"{BRANCH}-two")
    forge.add_pull(
        labels=[{"name": "one"}],
        assignees=[{"login": "alice"}],
        milestone={"title": "1.0"},
        user=None,
        repository="Owner/Name",
    )
    merged = is_found(forge, state="merged", body="")
    newest = is_found(
        forge,
        number=11,
        url=f"{forge.url}/owner/name/pull/11",
        author="",
        head=f"Owner/Name:{BRANCH}",
        labels=frozenset({"one"}),
        assignees=frozenset({"alice"}),
        milestone="1.0",
    )
    assert github.pull_requests(forge.repository, BRANCH) == (newest, merged)
    assert [each.number for each in github.open_pull_requests()] == [11, 10, 9, 8]


def test_one_that_is_listed_on_two_pages_is_one(forge: Forge, github: GitHub) -> None:
    for _ in range(4):
        forge.add_pull()
    forge.pulls[8] = forge.pulls[9]
    assert [each.number for each in github.open_pull_requests()] == [10, 9, 7]


def test_decorations_are_added_where_they_are_missing(
    forge: Forge, github: GitHub, caplog: pytest.LogCaptureFixture
) -> None:
    forge.add_pull()
    forge.milestones = [{"title": name, "number": n} for n, name in enumerate(["0.9", "0.10", "One"], 1)]
    there = is_found(forge, labels=frozenset({"Bug"}), assignees=frozenset({"alice"}))
    decorations: dict[str, Any] = {
        "labels": ["bug", "new"],
        "assignees": ["Alice", "bob"],
        "reviewers": ["carol", "org/team"],
        "milestone": "one",
    }
    github.decorate(there, **decorations)
    pull = forge.pulls[7]
    assert pull["labels"] == [{"name": "new"}]
    assert pull["assignees"] == [{"login": "bob"}]
    assert (pull["requested_reviewers"], pull["requested_teams"]) == ([{"login": "carol"}], [{"slug": "team"}])
    assert pull["milestone"] == {"title": "One"}
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("events", "asked"),
    [
        pytest.param([], ["carol", "team"], id="nobody was asked"),
        pytest.param(
            [{"event": "labeled"}, {"event": "review_requested"}], ["carol", "team"], id="nobody that is known"
        ),
        pytest.param(
            [{"event": "review_requested", "requested_reviewer": {"login": "Carol"}}],
            ["team"],
            id="the person was asked",
        ),
        pytest.param(
            [
                {"event": "review_requested", "requested_team": {"slug": "team"}},
                {"event": "review_request_removed", "requested_team": {"slug": "team"}},
                {"event": "review_request_removed", "requested_reviewer": {"login": "carol"}},
            ],
            ["carol"],
            id="the team was asked, and somebody took that back",
        ),
        pytest.param(
            [
                {"event": "review_requested", "requested_reviewer": {"login": "dave"}},
                {"event": "labeled"},
                {"event": "review_requested", "requested_reviewer": {"login": "carol"}},
                {"event": "review_requested", "requested_team": {"slug": "team"}},
            ],
            [],
            id="both were asked, on the second page",
        ),
    ],
)
def test_a_review_is_asked_for_once(
    forge: Forge, github: GitHub, events: list[dict[str, Any]], asked: list[str]
) -> None:
    pull = forge.add_pull()
    forge.events = events
    github.decorate(is_found(forge), labels=[], assignees=[], reviewers=["carol", "org/team"], milestone=None)
    assert [each["login"] for each in pull["requested_reviewers"]] + [
        each["slug"] for each in pull["requested_teams"]
    ] == asked
    assert forge.counted("POST") == bool(asked)


def test_decorations_that_are_refused_are_told_and_keep_no_other_away(
    forge: Forge, github: GitHub, caplog: pytest.LogCaptureFixture
) -> None:
    forge.add_pull()
    forge.ignored = {"bob"}
    forge.faults["POST"] = [
        Fault(lambda: reply(403, {"message": "Resource not accessible"})),
        *[Fault(AMBIGUOUS["a 502"], applied=True)],
        Fault(AMBIGUOUS["a 502"]),
        Fault(lambda: refused("Reviews may only be requested from collaborators.")),
    ]
    github.decorate(is_found(forge), labels=["x"], assignees=["alice", "bob"], reviewers=["carol"], milestone="none")
    github.enable_auto_merge(is_found(forge), "merge", "a" * 40)
    forge.routes["POST", "/api/graphql"] = lambda _: reply(
        200, {"data": None, "errors": [{"type": "UNPROCESSABLE", "message": "Auto merge is not allowed"}]}
    )
    github.enable_auto_merge(is_found(forge), "merge", "a" * 40)
    forge.pulls[7]["auto_merge"] = None
    github.enable_auto_merge(is_found(forge), "merge", "a" * 40)
    assert caplog.messages == [
        (
            "cannot set the labels of pull request 7: the token may not; it needs contents and pull requests, read and write "
            "(Resource not accessible); the pull request stands without"
        ),
        (
            "cannot set the assignees of pull request 7: GitHub answered 502; try again later (<html>); the pull request stands "
            "without"
        ),
        (
            "cannot set the reviewers of pull request 7: GitHub refuses (422: Validation Failed; Reviews may only be requested "
            "from collaborators.); the pull request stands without"
        ),
        "owner/name has no open milestone 'none'; the pull request stands without",
        (
            "cannot enable auto-merge of pull request 7: GitHub refuses (Auto merge is not allowed); the pull request stands "
            "without"
        ),
    ]
    forge.pulls[7]["assignees"] = []
    caplog.clear()
    github.decorate(is_found(forge), labels=[], assignees=["alice", "bob"], reviewers=[], milestone=None)
    assert caplog.messages == [
        "cannot set the assignees of pull request 7: GitHub left out bob; the pull request stands without"
    ]


def commit(forge: Forge, n: int) -> dict[str, Any]:
    return {
        "sha": f"{n:040}",
        "commit": {"message": f"Change {n}\n\nwhy", "author": {"name": "Ann"}},
        "author": {"login": "ann"} if n % 2 else None,
        "html_url": f"{forge.url}/src/app/commit/{n}",
    }


@pytest.mark.parametrize("total", [0, 3, 100, 101, 200, 250])
def test_two_commits_of_a_source_are_compared(forge: Forge, github: GitHub, total: int) -> None:
    def answer(call: Call) -> Response:
        first = (int(call.query["page"]) - 1) * 100
        return reply(
            200,
            {
                "status": "ahead",
                "total_commits": total,
                "html_url": f"{forge.url}/src/app/compare/a...b",
                "commits": [commit(forge, n) for n in range(1, total + 1)][first : first + 100],
            },
        )

    forge.routes["GET", "/repos/src/app/compare/a...b"] = answer
    source = Repository.parse(f"{forge.url}/src/app")
    newest = [
        SourceCommit(f"{n:040}", f"Change {n}", "ann" if n % 2 else "Ann", f"{forge.url}/src/app/commit/{n}")
        for n in range(total, max(0, total - 100), -1)
    ]
    assert github.compare(source, "a", "b") == Comparison(
        "ahead", total, tuple(newest), f"{forge.url}/src/app/compare/a...b"
    )


def test_the_tip_of_a_source_is_read(forge: Forge, github: GitHub) -> None:
    forge.routes["GET", "/repos/src/app/branches/release/1"] = lambda _: reply(200, {"commit": {"sha": SHA}})
    assert github.branch_tip(Repository.parse(f"{forge.url}/src/app"), Branch("release/1")) == SHA


@pytest.mark.parametrize("status", [403, 404])
def test_a_source_that_may_not_be_read_is_unknown(forge: Forge, github: GitHub, status: int) -> None:
    forge.faults["*"] = [Fault(lambda: reply(status, {"message": "no"}))] * 2
    source = Repository.parse(f"{forge.url}/src/app")
    assert (github.compare(source, "a", "b"), github.branch_tip(source, BASE)) == (None, None)


def test_a_source_elsewhere_is_not_asked_for(forge: Forge, github: GitHub) -> None:
    source = Repository.parse("https://elsewhere.example/src/app")
    assert (github.compare(source, "a", "b"), github.branch_tip(source, BASE)) == (None, None)
    assert forge.seen == []


def test_a_source_is_not_unknown_because_of_a_limit(forge: Forge, github: GitHub) -> None:
    forge.faults["*"] = [Fault(CERTAIN["a secondary limit"])]
    forge.routes["GET", "/repos/src/app/branches/main"] = lambda _: reply(200, {"commit": {"sha": SHA}})
    assert github.branch_tip(Repository.parse(f"{forge.url}/src/app"), BASE) == SHA


def test_the_login_is_asked_for_once(forge: Forge, github: GitHub) -> None:
    assert [github.login, github.login] == ["bot", "bot"]
    assert [(each.method, each.path) for each in forge.seen] == [("GET", "/api/v3/user")]


def test_the_login_of_a_token_that_is_no_users_is_the_viewers(forge: Forge, github: GitHub) -> None:
    forge.login = "app[bot]"
    forge.routes["GET", "/user"] = lambda _: reply(403, {"message": "Resource not accessible by integration"})
    assert github.login == "app[bot]"


def test_a_rotated_token_is_read_again(forge: Forge, github: GitHub, token: Path) -> None:
    forge.add_pull()

    def rotate() -> Response:
        token.write_text("token-654321")
        return reply(401, {"message": "Bad credentials"})

    forge.faults["*"] = [Fault(rotate)]
    github.close(7)
    assert EFFECTS["close"](forge) == ["closed"]
    assert [each.authorization for each in forge.seen] == ["Bearer token-123456", "Bearer token-654321"]


def test_writes_are_a_second_apart(forge: Forge, github: GitHub) -> None:
    found = create(github, forge)
    github.decorate(found, labels=["x"], assignees=["alice"], reviewers=["bob"], milestone=None)
    github.comment(7, f"hello {KEY}", KEY)
    github.edit(7, title="new", body="text")
    github.close(7)
    writes = [each for each in forge.seen if each.method != "GET"]
    assert len(writes) == 7
    assert [second.began - first.ended >= 0.99 for first, second in itertools.pairwise(writes)] == [True] * 6


@pytest.mark.parametrize("answer", [CERTAIN["a 429"], CERTAIN["a secondary limit"], CERTAIN["a used up limit"]])
def test_nothing_is_sent_while_github_asks_for_patience(
    forge: Forge, github: GitHub, answer: Callable[[], Response]
) -> None:
    forge.add_pull()
    forge.faults["*"] = [Fault(answer)] * 2
    github.pull_request(7)
    seconds = {"1": 1, "2": 2}.get(answer().headers.get("Retry-After", ""), 3)
    assert [second.began - first.ended >= seconds - 0.01 for first, second in itertools.pairwise(forge.seen)] == [
        True,
        True,
    ]


def test_a_limit_of_unknown_length_is_waited_for_a_minute_and_then_given_up(
    forge: Forge, github: GitHub, clock: Clock
) -> None:
    forge.faults["*"] = [Fault(lambda: reply(429, {"message": "slow down"}, Date=DATE))] * 9
    assert ends(lambda: github.pull_request(7)) == (
        "rate-limit",
        True,
        120,
        "cannot read pull request 7 of owner/name: GitHub's rate limit is used up (slow down); come back in 120 s, at 07:30:00Z",
    )
    assert [round(seconds) for seconds in clock.slept] == [60]


@pytest.mark.parametrize(
    ("headers", "after", "at"),
    [
        pytest.param({"Retry_After": "3600"}, 3600, "08:28:00Z", id="Retry-After"),
        pytest.param({"Retry_After": "Wed, 21 Oct 2015 07:31:00 GMT"}, 180, "07:31:00Z", id="Retry-After with a date"),
        pytest.param(
            {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": str(SECOND + 600)},
            600,
            "07:38:00Z",
            id="X-RateLimit-Reset",
        ),
    ],
)
def test_a_long_wait_ends_at_once_by_the_servers_clock_and_nothing_more_is_sent(
    forge: Forge, github: GitHub, clock: Clock, headers: dict[str, str], after: int, at: str
) -> None:
    message = "You have exceeded a secondary rate limit."
    forge.faults["*"] = [Fault(lambda: reply(403, {"message": message}, Date=DATE, **headers))]
    for _ in range(2):
        assert ends(lambda: github.pull_request(7)) == (
            "rate-limit",
            True,
            after,
            f"cannot read pull request 7 of owner/name: GitHub's rate limit is used up ({message}); come back in {after} s, at {at}",
        )
    assert (len(forge.seen), clock.slept) == (1, [])


def test_an_outage_that_github_gives_an_end_for_is_waited_for(forge: Forge, github: GitHub) -> None:
    unavailable = reply(503, {"message": "Maintenance"}, Retry_After="900", Date=DATE)
    forge.faults["*"] = [Fault(lambda: unavailable)]
    assert ends(lambda: github.pull_request(7)) == (
        "unreachable",
        True,
        900,
        "cannot read pull request 7 of owner/name: GitHub answered 503 (Maintenance); come back in 900 s, at 07:43:00Z",
    )


def test_a_reply_with_a_number_beyond_all_numbers_is_as_good_as_none(forge: Forge, github: GitHub) -> None:
    forge.add_pull()
    forge.faults["*"] = [Fault(lambda: reply(200, {}, X_RateLimit_Reset="9" * 400))]
    assert github.pull_request(7).number == 7


@pytest.mark.parametrize(
    "answer", [page, lambda status, text: reply(status, {"message": text})], ids=["a page", "JSON"]
)
def test_a_secret_that_a_reply_repeats_is_not_cut_in_two(
    forge: Forge, github: GitHub, answer: Callable[[int, str], Response]
) -> None:
    secret = "made-up-secret-of-a-proxy"
    log.conceal(secret)
    forge.faults["*"] = [Fault(lambda: answer(403, "x" * 490 + secret))]
    assert ends(lambda: github.pull_request(7))[3].partition("xxx")[2].strip("x)") == "***"


def test_a_read_is_tried_twelve_times_within_a_minute(forge: Forge, github: GitHub, clock: Clock) -> None:
    forge.faults["*"] = [Fault(AMBIGUOUS["a 502"])] * 20
    assert ends(lambda: github.pull_request(7)) == (
        "unreachable",
        True,
        None,
        "cannot read pull request 7 of owner/name: GitHub answered 502; try again later (<html>)",
    )
    assert (len(forge.seen), len(clock.slept)) == (12, 11)
    assert [seconds <= min(8, 0.5 * 2**n) for n, seconds in enumerate(clock.slept)] == [True] * 11


def test_a_read_that_github_has_taken_on_for_later_is_not_waited_for_without_end(forge: Forge, github: GitHub) -> None:
    forge.add_pull()
    forge.faults["*"] = [Fault(lambda: reply(202, {}))] * 20
    assert ends(lambda: github.pull_request(7))[:2] == ("unreachable", True)
    assert len(forge.seen) == 12


def test_the_time_that_a_server_lets_pass_without_a_reply_is_waited_too(
    forge: Forge, github: GitHub, clock: Clock
) -> None:
    def fall_silent() -> Response:
        clock.sleep(60)
        return drop()

    forge.faults["*"] = [Fault(fall_silent)] * 12
    assert ends(lambda: github.pull_request(7))[:2] == ("unreachable", True)
    assert len(forge.seen) == 2


def test_a_server_that_is_down_is_worth_another_try(forge: Forge, github: GitHub) -> None:
    forge.close()
    for write, attempt in (
        (create, "cannot open a pull request on owner/name"),
        (WRITES["edit"], "cannot edit pull request 7 of owner/name"),
        (lambda *_: github.open_pull_requests(), "cannot list the pull requests of owner/name"),
    ):
        reason, later, _, text = ends(lambda write=write: write(github, forge))  # type: ignore[misc]
        assert (reason, later) == ("unreachable", True)
        assert text.startswith(f"{attempt}: GitHub could not be reached: ")
        assert text.endswith("Connection refused")


def test_a_server_is_trusted_by_the_certificate_that_is_given(token: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    forge = Forge(context=authority.server_context(["127.0.0.1"]))
    forge.add_pull()
    strange = GitHub(forge.address, forge.repository, TokenFile(token), None)
    reason, later, _, text = ends(lambda: strange.close(7))
    assert (reason, later) == ("tls", False)
    assert text.startswith("cannot close pull request 7 of owner/name: the server's certificate is not trusted (")
    assert text.endswith("); give its authority's as ca.crt")
    assert forge.seen == []
    GitHub(forge.address, forge.repository, TokenFile(token), authority.file).close(7)
    assert EFFECTS["close"](forge) == ["closed"]
    forge.close()


def test_a_renamed_repository_is_followed_and_told_once(
    forge: Forge, github: GitHub, caplog: pytest.LogCaptureFixture
) -> None:
    forge.name = "new/other"
    location = f"{forge.url}/api/v3/repositories/1"
    moved = {"message": "Moved Permanently", "url": location}
    for path in ("/repos/owner/name/pulls", "/repos/owner/name"):
        forge.routes["POST", path] = lambda _: reply(307, moved, Location=f"{location}/pulls")
        forge.routes["GET", path] = lambda call: reply(
            301, moved, Location=call.target.replace("/repos/owner/name", "/repositories/1")
        )
    forge.routes["GET", "/repositories/1"] = lambda _: reply(200, {"full_name": "new/other"})
    forge.add_pull(state="closed")
    closed, opened = (
        is_found(
            forge, number=number, state=state, url=f"{forge.url}/new/other/pull/{number}", head=f"new/other:{BRANCH}"
        )
        for number, state in ((7, "closed"), (8, "open"))
    )
    assert github.pull_requests(forge.repository, BRANCH) == (closed,)
    assert create(github, forge) == opened
    assert github.pull_requests(forge.repository, BRANCH) == (opened, closed)
    assert caplog.messages == ["the repository owner/name is now new/other; give its present URL"]


def test_a_repository_that_is_renamed_before_a_write_is_followed(
    forge: Forge, github: GitHub, caplog: pytest.LogCaptureFixture
) -> None:
    def rename() -> Response:
        forge.name = "owner/other"
        return reply(307, {"message": "Moved Permanently"}, Location=f"{forge.url}/api/v3/repositories/1/pulls")

    forge.routes["GET", "/repos/owner/name"] = lambda _: reply(200, {"full_name": "owner/other"})
    forge.faults["POST"] = [Fault(drop), Fault(rename)]
    assert create(github, forge).url == f"{forge.url}/owner/other/pull/7"
    assert caplog.messages == ["the repository owner/name is now owner/other; give its present URL"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_to_another_host_does_not_get_the_token(forge: Forge, github: GitHub, status: int) -> None:
    elsewhere = Forge()
    forge.add_pull()
    location = elsewhere.url.replace("127.0.0.1", "localhost")
    forge.faults["*"] = [Fault(lambda: reply(status, {}, Location=f"{location}/api/v3/user"))] * 99
    for call in (lambda: github.login, lambda: github.close(7), github.open_pull_requests):
        ends(call)
    assert elsewhere.seen == []
    elsewhere.close()


def test_a_next_page_elsewhere_is_not_asked_for(forge: Forge, github: GitHub) -> None:
    link = f'<{forge.url.replace("127.0.0.1", "localhost")}/api/v3/x?page=2>; rel="next"'
    forge.routes["GET", "/repos/owner/name/pulls"] = lambda _: reply(200, [], Link=link)
    assert ends(github.open_pull_requests)[0] == "unreachable"


def test_a_page_of_a_pull_request_elsewhere_is_no_answer_of_github(forge: Forge, github: GitHub) -> None:
    forge.add_pull(html_url="https://evil.example/owner/name/pull/7")
    assert ends(lambda: github.pull_request(7))[3] == (
        "cannot read pull request 7 of owner/name: the answer is not GitHub's; is --github-url right? "
        "(https://evil.example/owner/name/pull/7 is elsewhere)"
    )


def test_a_long_page_of_an_error_is_cut(forge: Forge, github: GitHub) -> None:
    forge.faults["*"] = [Fault(lambda: page(502, "<html>" + "x" * 10_000))] * 12
    assert len(ends(github.open_pull_requests)[3]) < 700


ARCHIVED = "the repository is archived, so nothing can be written; unarchive it"
BAD_TOKEN = "GitHub does not take the token; give a valid one"
NO_RIGHT = "the token may not; it needs contents and pull requests, read and write"
UNSEEN = "there is no such repository, or the token may not see it"


@pytest.mark.parametrize(
    ("status", "said", "reason", "problem"),
    [
        (401, "Bad credentials", "auth", BAD_TOKEN),
        (401, "Requires authentication", "auth", BAD_TOKEN),
        (401, "Must specify two-factor authentication OTP code.", "auth", BAD_TOKEN),
        (401, "A JSON web token could not be decoded", "auth", BAD_TOKEN),
        (403, "Resource not accessible by personal access token", "refused", NO_RIGHT),
        (403, "Resource not accessible by integration", "refused", NO_RIGHT),
        (403, "Must have push access to repository", "refused", NO_RIGHT),
        (403, "Must have admin rights to Repository.", "refused", NO_RIGHT),
        (403, "Resource protected by organization SAML enforcement.", "refused", NO_RIGHT),
        (403, "Sorry. Your account was suspended", "refused", NO_RIGHT),
        (403, "Although you appear to have the correct authorization credentials, the `org` ...", "refused", NO_RIGHT),
        (403, "`org` forbids access via a fine-grained personal access token", "refused", NO_RIGHT),
        (403, "Your IP address is not permitted to access this resource", "refused", NO_RIGHT),
        (403, "Unable to create comment because issue is locked.", "refused", NO_RIGHT),
        (403, "Protected branch update failed", "refused", NO_RIGHT),
        (403, "Repository was archived so is read-only.", "archived", ARCHIVED),
        (403, "Repository is archived and can not be modified", "archived", ARCHIVED),
        (422, "Repository was archived so is read-only.", "archived", ARCHIVED),
        (403, "Repository access blocked", "not-found", UNSEEN),
        (403, "This repository has been disabled.", "not-found", UNSEEN),
        (451, "Repository access blocked", "not-found", UNSEEN),
        (404, "Not Found", "not-found", UNSEEN),
        (404, "Branch not found", "not-found", UNSEEN),
        (410, "Issues are disabled for this repo", "not-found", UNSEEN),
        (410, "This issue was deleted", "not-found", UNSEEN),
        (400, "Problems parsing JSON", "refused", None),
        (405, "Pull Request is not mergeable", "refused", None),
        (406, "Sorry, the diff exceeded the maximum number of lines", "refused", None),
        (409, "Git Repository is empty.", "refused", None),
        (409, "Repository rule violations found", "refused", None),
        (415, "Unsupported 'Accept' header", "refused", None),
        (422, "Validation Failed", "refused", None),
        (422, "Required status check is expected.", "refused", None),
        (422, "GH013: Repository rule violations found for refs/heads/main.", "refused", None),
        (422, "Draft pull requests are not supported in this repository.", "refused", None),
        (422, "Body is too long (maximum is 65536 characters)", "refused", None),
        (422, "Changes must be made through a pull request.", "refused", None),
        (422, "Cannot change the base branch of a closed pull request.", "refused", None),
        (423, "Locked", "refused", None),
        (428, "Precondition Required", "refused", None),
    ],
)
@pytest.mark.parametrize("attempt", ["read pull request 7", "edit pull request 7"])
def test_a_refusal_is_told_once(
    forge: Forge, github: GitHub, attempt: str, status: int, said: str, reason: str, problem: str | None
) -> None:
    method = "GET" if "read" in attempt else "PATCH"
    forge.add_pull()
    forge.faults[method] = [Fault(lambda: reply(status, {"message": said}))]
    call = (lambda: github.pull_request(7)) if method == "GET" else (lambda: github.edit(7, title="new", body="text"))
    told = f"{problem} ({said})" if problem else f"GitHub refuses ({status}: {said})"
    assert ends(call) == (reason, False, None, f"cannot {attempt} of owner/name: {told}")
    assert forge.counted(method) == 1


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (403, "API rate limit exceeded for user ID 1."),
        (403, "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."),
        (403, "You have triggered an abuse detection mechanism."),
        (403, "Maximum number of login attempts exceeded. Please try again later."),
        (422, "Validation Failed: was submitted too quickly"),
        (429, "Too Many Requests"),
    ],
)
def test_a_limit_is_waited_for_whatever_it_is_called(
    forge: Forge, github: GitHub, clock: Clock, status: int, said: str
) -> None:
    forge.add_pull()
    forge.faults["*"] = [Fault(lambda: reply(status, {"message": said}))]
    github.close(7)
    assert [round(seconds) for seconds in clock.slept] == [60]


def test_no_credential_is_in_the_log(forge: Forge, github: GitHub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    forge.add_pull()
    forge.faults["*"] = [Fault(drop), Fault(AMBIGUOUS["a 502"])]
    github.close(7)
    assert "token-123456" not in caplog.text


def weather(seed: int) -> Callable[[], Fault | None]:
    """Faults as they come: a fifth of the requests get a 5xx, half of them after they were carried out, and so on."""
    chance = random.Random(seed)  # noqa: S311 - the same each time

    def next_fault() -> Fault | None:
        kind = chance.random()
        applied = chance.random() < 0.5
        for share, answers in (
            (0.2, [AMBIGUOUS["a 502"], AMBIGUOUS["a 503 of GitHub"]]),
            (0.05, [drop, half]),
            (0.05, [AMBIGUOUS["a page in place of a reply"], AMBIGUOUS["half of a JSON"]]),
        ):
            if kind < share:
                return Fault(chance.choice(answers), applied)
            kind -= share
        return Fault(chance.choice(list(CERTAIN.values()))) if kind < 0.05 else None

    return next_fault


@pytest.mark.parametrize("seed", range(25))
def test_whatever_the_weather_there_is_one_pull_request_with_one_comment(
    forge: Forge, token: Path, clock: Clock, seed: int
) -> None:
    forge.weather, forge.lag = weather(seed), seed % 10
    forge.milestones = [{"title": "1.0", "number": 1}]

    def run() -> StepError | None:
        github = GitHub(forge.address, forge.repository, TokenFile(token), None)
        try:
            found = create(github, forge)
            github.decorate(found, labels=["x"], assignees=["alice"], reviewers=["bob"], milestone="1.0")
            github.edit(found.number, title="new", body="text")
            github.comment(found.number, f"hello {KEY}", KEY)
        except StepError as error:
            clock.sleep(60)
            return error
        return None

    failed = list(itertools.takewhile(lambda error: error is not None, (run() for _ in range(6))))
    assert len(failed) < 6
    assert all(error and error.later for error in failed)
    assert [(each["title"], each["body"]) for each in forge.pulls.values()] == [("new", "text")]
    assert [each["body"] for each in forge.comments] == [f"hello {KEY}"]
    writes = [each for each in forge.seen if each.method != "GET"]
    assert [second.began - first.ended >= 0.99 for first, second in itertools.pairwise(writes)] == [True] * (
        len(writes) - 1
    )
