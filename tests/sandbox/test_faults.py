"""Each fault does what its profile says, and the audit says how the client took it."""

import io
import json
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.sandbox.faults import BAD_DAY, NONE, Asked, Faults, Profile, Record
from tests.sandbox.github import GitHub
from tests.sandbox.http_server import Call, Response, Server
from tests.sandbox.worktree import Worktree

API = "/api/v3"
REPOSITORY = f"{API}/repos/org/app"
PULLS = f"{REPOSITORY}/pulls"
COMMENTS = f"{REPOSITORY}/issues/1/comments"
PULL = {"head": "update", "base": "main", "title": "Update"}
COMMENT = {"body": "words"}


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Scene:
    """org/app with a pull request, which alice and bot may write to."""

    def __init__(self, directory: Path, server: GitHub) -> None:
        self.server = server
        self.clock = Clock()
        for login in ("alice", "bot"):
            server.add_user(login, token=login)
        self.bare = server.add_repository("org/app", writers=["alice", "bot"])
        self.tree = Worktree(directory / "tree")
        self.tree.commit("one", {"file": "1\n"})
        self.tree.git("checkout", "--quiet", "-b", "update")
        self.tree.commit("update", {"file": "2\n"})
        self.tree.git("push", "--quiet", self.bare, "main", "update")
        assert self.ask("POST", PULLS, PULL).status_code == 201

    def meet(self, profile: Profile, seed: int = 1) -> Faults:
        """Let what follows meet faults."""
        faults = self.server.faults = Faults(profile, seed, self.clock)
        return faults

    def ask(self, method: str, path: str, body: Any = None, *, login: str = "alice") -> requests.Response:
        return requests.request(
            method,
            self.server.url + path,
            json=body,
            headers={"Authorization": f"token {login}"},
            allow_redirects=False,
            timeout=10,
        )

    def comment(self, login: str = "alice") -> requests.Response:
        return self.ask("POST", COMMENTS, COMMENT, login=login)

    def comments(self) -> int:
        (pull,) = self.server.pull_requests("org/app")
        return len(pull.comments)


def request(method: str, path: str, body: Any = None) -> bytes:
    text = json.dumps(body).encode() if body else b""
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: token alice\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text


def exchange(url: str, sent: bytes) -> bytes:
    """All that comes until the connection ends."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as line:
        line.sendall(sent)
        return b"".join(iter(lambda: line.recv(1 << 16), b""))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with GitHub(tmp_path / "github") as server:
        yield Scene(tmp_path, server)
        assert server.violations == []


# What goes wrong


def test_nothing_goes_wrong_without_rates(scene: Scene) -> None:
    faults = scene.meet(NONE)
    assert scene.comment().status_code == 201
    scene.tree.git("fetch", "--quiet", f"{scene.server.url}/org/app", "main")
    assert {record.fault for record in faults.log} == {None}


def test_half_of_the_server_errors_come_after_the_effect(scene: Scene) -> None:
    faults = scene.meet(replace(NONE, server_error=1))
    replies = [scene.comment() for _ in range(40)]
    assert {reply.status_code for reply in replies} == {500, 502, 503, 504}
    assert {reply.headers["Content-Type"] for reply in replies} == {
        "application/json; charset=utf-8",
        "text/html; charset=utf-8",
    }
    effects = {record.fault: record.effects for record in faults.log}
    assert effects == {"server_error before": (), "server_error after": ("comment on 1",)}
    assert scene.comments() == sum(bool(record.effects) for record in faults.log)
    assert 10 < scene.comments() < 30


def test_a_connection_is_cut_anywhere_in_the_reply_to_what_took_effect(scene: Scene) -> None:
    faults = scene.meet(replace(NONE, drop=1))
    received = [exchange(scene.server.url, request("POST", COMMENTS, COMMENT)) for _ in range(40)]
    assert scene.comments() == 40
    assert {record.effects for record in faults.log} == {("comment on 1",)}
    whole = b"HTTP/1.1 201 Created\r\n"
    kinds = Counter("nothing" if not part else "body" if b"\r\n\r\n" in part else "headers" for part in received)
    assert set(kinds) == {"nothing", "headers", "body"}
    assert all(part.startswith(whole[: len(part)]) for part in received)
    for part in received:
        head, end, body = part.partition(b"\r\n\r\n")
        if end:
            length = int(head.lower().partition(b"content-length: ")[2].split()[0])
            assert len(body) < length


def test_too_many_requests_come_before_the_effect_half_with_a_time_to_wait(scene: Scene) -> None:
    scene.meet(replace(NONE, too_many=1, longest_wait=3))
    replies = [scene.comment() for _ in range(40)]
    assert {reply.status_code for reply in replies} == {429}
    waits = Counter(reply.headers.get("Retry-After") for reply in replies)
    assert set(waits) == {None, "1", "2", "3"}
    assert 10 < waits[None] < 30
    assert scene.comments() == 0


def test_the_rate_limits_name_when_they_end_or_do_not(scene: Scene) -> None:
    faults = scene.meet(replace(NONE, secondary=1))
    replies = [scene.comment() for _ in range(40)]
    secondary = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
    primary = "API rate limit exceeded for alice."
    told = Counter(
        (reply.status_code, reply.json()["message"], *sorted({"Retry-After", "X-RateLimit-Reset"} & set(reply.headers)))
        for reply in replies
    )
    assert set(told) == {(403, secondary, "Retry-After"), (403, secondary), (403, primary, "X-RateLimit-Reset")}
    assert 10 < told[403, secondary, "Retry-After"] < 30
    assert {record.fault for record in faults.log} == {"secondary", "primary"}
    for reply in replies:
        if "X-RateLimit-Reset" in reply.headers:
            date = parsedate_to_datetime(reply.headers["Date"]).timestamp()
            assert reply.headers["X-RateLimit-Remaining"] == "0"
            assert 1 <= int(reply.headers["X-RateLimit-Reset"]) - date <= 3
    assert scene.comments() == 0


def test_a_redirect_leads_to_the_same_by_the_id_of_the_repository(scene: Scene) -> None:
    number = scene.ask("GET", REPOSITORY).json()["id"]
    faults = scene.meet(replace(NONE, redirect=1))
    for method, path, body, status in (
        ("GET", "", None, 301),
        ("GET", "/issues/1/comments?per_page=2", None, 301),
        ("POST", "/issues/1/comments", COMMENT, 307),
    ):
        reply = scene.ask(method, REPOSITORY + path, body)
        address = f"{API}/repositories/{number}{path}"
        assert (reply.status_code, reply.headers["Location"]) == (status, scene.server.url + address)
        assert reply.json() == {
            "message": "Moved Permanently",
            "url": scene.server.url + address,
            "documentation_url": "https://docs.github.com/v3/#http-redirects",
        }
        assert scene.ask(method, address, body).ok
    assert scene.comments() == 1
    assert [record.fault for record in faults.log] == ["redirect", None] * 3
    assert {record.repository for record in faults.log} == {"org/app"}


def test_a_page_comes_in_place_of_an_answer(scene: Scene) -> None:
    scene.meet(replace(NONE, html=1))
    reply = scene.comment()
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert reply.text.startswith("<!DOCTYPE html>")
    assert scene.comments() == 0


def test_a_truncated_reply_is_as_long_as_it_says(scene: Scene) -> None:
    scene.meet(replace(NONE, truncated=1))
    reply = scene.comment()
    assert (reply.status_code, int(reply.headers["Content-Length"])) == (201, len(reply.content))
    with pytest.raises(requests.JSONDecodeError):
        reply.json()
    assert scene.comments() == 1


def test_a_token_is_refused_once(scene: Scene) -> None:
    scene.meet(replace(NONE, unauthorized=1))
    replies = [scene.comment(login) for login in ("alice", "alice", "bot", "alice")]
    assert [reply.status_code for reply in replies] == [401, 201, 401, 201]
    assert replies[0].json()["message"] == "Bad credentials"
    assert scene.comments() == 2


def test_a_list_shows_an_item_twice(scene: Scene) -> None:
    ids = [scene.comment().json()["id"] for _ in range(3)]
    scene.meet(replace(NONE, duplicate_item=1))
    listed = [comment["id"] for comment in scene.ask("GET", COMMENTS).json()]
    assert (len(listed), sorted(set(listed))) == (4, ids)
    assert scene.ask("GET", f"{PULLS}/1").json()["number"] == 1


def test_a_slow_reply_comes_byte_by_byte(scene: Scene) -> None:
    scene.meet(replace(NONE, slow=1, pause=0.0001))
    reply = scene.comment()
    assert (reply.status_code, reply.json()["body"]) == (201, "words")
    assert reply.elapsed.total_seconds() > 0.0001 * 100, "the headers alone are longer"


def test_what_is_new_is_missing_from_lists_for_a_while(scene: Scene) -> None:
    scene.meet(replace(NONE, lag=30))
    scene.tree.git("push", "--quiet", scene.bare, "update:refs/heads/other")
    pull = scene.ask("POST", PULLS, PULL | {"head": "other"}).json()
    comment = scene.comment().json()

    def listed() -> tuple[list[int], list[int], list[int]]:
        pulls, issues = (scene.ask("GET", f"{REPOSITORY}/{kind}").json() for kind in ("pulls", "issues"))
        return (
            [entry["number"] for entry in pulls],
            [entry["number"] for entry in issues],
            [entry["id"] for entry in scene.ask("GET", COMMENTS).json()],
        )

    assert listed() == ([1], [1], [])
    assert scene.ask("GET", f"{PULLS}/{pull['number']}").status_code == 200
    assert scene.ask("GET", f"{REPOSITORY}/issues/comments/{comment['id']}").json()["body"] == "words"
    scene.clock.now += 30
    assert listed() == ([2, 1], [2, 1], [comment["id"]])


def test_git_meets_a_tenth_of_it(scene: Scene) -> None:
    faults = scene.meet(replace(NONE, server_error=1))
    for _ in range(60):
        requests.get(f"{scene.server.url}/org/app/info/refs?service=git-upload-pack", timeout=10)
    assert 1 <= sum(record.fault is not None for record in faults.log) <= 15
    assert {record.repository for record in faults.log} == {"org/app"}


@pytest.mark.parametrize("kind", ["server_error", "drop", "too_many", "html", "truncated", "unauthorized"])
def test_git_fails_when_it_meets(scene: Scene, kind: str) -> None:
    # Ten times the whole is all of git's requests.
    faults = scene.meet(replace(NONE, **{kind: 10}))
    url = scene.server.url.replace("://", "://alice:alice@") + "/org/app"
    assert scene.tree.run("push", "--quiet", url, "update:refs/heads/pushed").returncode != 0
    assert [record.fault for record in faults.log if record.fault]


def test_a_push_whose_reply_is_lost_took_effect(scene: Scene) -> None:
    tip = scene.tree.git("rev-parse", "update")
    url = scene.server.url.replace("://", "://alice:alice@") + "/org/app"
    faults = scene.meet(replace(NONE, drop=5))
    lost = [
        number
        for number in range(20)
        if scene.tree.run("push", "--quiet", url, f"update:refs/heads/{number}").returncode != 0
        and faults.log[-1].effects == (f"push refs/heads/{number}",)
    ]
    assert lost
    for number in lost:
        assert scene.tree.git("ls-remote", scene.bare, f"refs/heads/{number}").split()[0] == tip


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        pytest.param(0, b"", id="before its first byte"),
        pytest.param(12, b"HTTP/1.1 200", id="within its headers"),
        pytest.param(-1, b"\r\n\r\nbod", id="before its last byte"),
    ],
)
def test_a_server_cuts_a_reply(cut: int, expected: bytes) -> None:
    server = Server("127.0.0.1", 0, lambda _: Response(200, {}, b"body", cut=cut))
    try:
        received = exchange(server.url, b"GET / HTTP/1.1\r\n\r\n")
    finally:
        server.close()
    assert received[-len(expected) :] == expected if cut < 0 else received == expected


# Runs repeat


def met(scene: Scene, profile: Profile, seed: int, *, beside: bool = False) -> list[tuple[str, int, str | None]]:
    """What 30 comments and lists of them met; beside them, another repository is asked for, if wanted."""
    faults = scene.meet(profile, seed)
    for _ in range(30):
        for method in ("POST", "GET"):
            if beside:
                exchange(scene.server.url, request("GET", f"{API}/repos/org/other"))
            exchange(scene.server.url, request(method, COMMENTS, COMMENT if method == "POST" else None))
    return [(record.method, record.status, record.fault) for record in faults.log if record.repository == "org/app"]


def test_the_same_seed_makes_the_same_faults_whatever_goes_on_beside(scene: Scene) -> None:
    scene.server.add_repository("org/other")
    first = met(scene, BAD_DAY, 7)
    assert met(scene, BAD_DAY, 7, beside=True) == first
    assert met(scene, BAD_DAY, 8) != first


def test_the_shares_are_those_of_the_profile(scene: Scene) -> None:
    faults = scene.meet(BAD_DAY)
    call = Call("GET", PULLS, Message(), io.BytesIO(), "http://github.test")
    for number in range(4000):
        asked = Asked(call, "rest", f"org/{number}", "http://github.test/by-id", "alice", "alice")
        faults.answer(asked, [], lambda: Response(200, {}, b"{}"))
    kinds = Counter((record.fault or "none").split()[0] for record in faults.log)
    shares = {kind: round(count / 4000, 2) for kind, count in kinds.items()}
    assert shares.pop("none") == pytest.approx(0.66, abs=0.03)
    assert shares.pop("server_error") == pytest.approx(0.20, abs=0.03)
    assert shares.pop("secondary") + shares.pop("primary") == pytest.approx(0.02, abs=0.01)
    assert shares == {
        "drop": pytest.approx(0.05, abs=0.015),
        "too_many": pytest.approx(0.05, abs=0.015),
        "redirect": pytest.approx(0.01, abs=0.01),
        "html": pytest.approx(0.01, abs=0.01),
    }


# The audit


def test_the_log_has_every_request_with_what_it_did(scene: Scene) -> None:
    faults = scene.meet(NONE)
    scene.comment()
    scene.clock.now = 1001
    scene.ask("GET", f"{COMMENTS}?page=1", login="bot")
    requests.get(f"{scene.server.url}/org/app.git/info/refs?service=git-upload-pack", timeout=10)
    requests.get(f"{scene.server.url}/org/app", timeout=10)
    git = "/org/app.git/info/refs?service=git-upload-pack"
    assert faults.log == [
        Record(1000, "POST", COMMENTS, 201, None, ("comment on 1",), "org/app", "alice"),
        Record(1001, "GET", f"{COMMENTS}?page=1", 200, None, (), "org/app", "bot"),
        Record(1001, "GET", git, 200, None, (), "org/app", None),
    ]
    assert [(entry.body, entry.path) for entry in scene.server.requests[1:]] == [
        (json.dumps(COMMENT).encode(), COMMENTS),
        (b"", f"{COMMENTS}?page=1"),
        (b"", git),
        (b"", "/org/app"),
    ]
    times = [entry.time for entry in scene.server.requests]
    assert times == sorted(times)


@pytest.mark.parametrize("profile", [replace(NONE, too_many=1), replace(NONE, secondary=1)], ids=["429", "403"])
def test_who_does_not_wait_is_impatient(scene: Scene, profile: Profile) -> None:
    faults = scene.meet(profile)
    while True:
        reply = scene.comment()
        if {"Retry-After", "X-RateLimit-Reset"} & set(reply.headers):
            break
    assert faults.impatient == []
    scene.ask("GET", COMMENTS, login="bot")
    assert faults.impatient == [], "the wait was announced to another"
    scene.clock.now += 0.9
    scene.ask("GET", COMMENTS)
    assert faults.impatient == [faults.log[-1]]
    scene.clock.now += 60
    scene.ask("GET", COMMENTS)
    assert len(faults.impatient) == 1


def test_a_write_that_follows_its_redirect_is_one(scene: Scene) -> None:
    faults = scene.meet(replace(NONE, redirect=1))
    requests.post(
        scene.server.url + COMMENTS, json=COMMENT, headers={"Authorization": "token alice"}, timeout=10
    ).raise_for_status()
    assert [record.status for record in faults.log] == [307, 201]
    assert [record.is_write for record in faults.log] == [False, True]
