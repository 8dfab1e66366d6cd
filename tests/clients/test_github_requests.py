"""Requests that are sent again and again, as a process that stays sends them."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from steps.clients.github_account import TokenFile
from steps.clients.github_requests import MOST_KEPT, Requests
from steps.errors import StepError
from tests.clients.github_server import Fault, Forge, drop, reply
from tests.sandbox.http_server import Call, Response


@pytest.fixture
def forge() -> Iterator[Forge]:
    found = Forge()
    yield found
    found.close()


class Asker:
    """Asks for paths that are lists of their own name, and what it was answered."""

    def __init__(self, forge: Forge, directory: Path) -> None:
        (directory / "token").write_text("token-123456")
        self.statuses: list[str] = []
        self.version = 1
        self.forge = forge
        self._requests = Requests(
            forge.address, forge.repository, TokenFile(directory / "token"), None, self.statuses.append
        )

    def ask(self, path: str, *, again: bool = True) -> list[str]:
        self.forge.routes["GET", f"/repos/owner/name/{path}"] = self._answer
        return self._requests.get(f"cannot read {path}", path, lambda reply: list(reply.body), again=again)

    def _answer(self, call: Call) -> Response:
        etag = f'"{self.version}"'
        if call.headers.get("If-None-Match") == etag:
            return Response(304, {"ETag": etag})
        return reply(200, [call.path.rpartition("/")[2], str(self.version)], ETag=etag)


@pytest.fixture
def asker(forge: Forge, tmp_path: Path) -> Asker:
    return Asker(forge, tmp_path)


def test_what_is_as_it_was_is_the_same_object(asker: Asker) -> None:
    first = asker.ask("a")
    assert first == ["a", "1"]
    assert asker.ask("a") is first
    asker.version = 2
    assert [asker.ask("a"), asker.ask("a")] == [["a", "2"]] * 2
    assert asker.statuses == ["200", "304", "200", "304"]


def test_what_is_asked_once_is_not_kept(asker: Asker) -> None:
    assert [asker.ask("a", again=False), asker.ask("a"), asker.ask("a", again=False)] == [["a", "1"]] * 3
    assert asker.statuses == ["200"] * 3


def test_the_replies_that_were_had_last_are_kept(asker: Asker) -> None:
    for name in range(MOST_KEPT):
        asker.ask(f"{name}")
    asker.ask("0")
    asker.ask("another")
    asker.statuses.clear()
    assert [asker.ask(name) for name in ("0", "2", "1")] == [[name, "1"] for name in ("0", "2", "1")]
    assert asker.statuses == ["304", "304", "200"]


def test_a_request_without_a_reply_is_counted_too(forge: Forge, asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    answers = [drop, lambda: reply(502, {})]
    forge.weather = lambda: Fault(answers.pop(0)) if answers else None
    assert asker.ask("a") == ["a", "1"]
    assert asker.statuses == ["none", "502", "200"]


def test_a_304_that_was_not_asked_for_is_no_answer(forge: Forge, asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    forge.weather = lambda: Fault(lambda: Response(304))
    with pytest.raises(StepError) as caught:
        asker.ask("a")
    assert (caught.value.reason, caught.value.later) == ("moved", True)
