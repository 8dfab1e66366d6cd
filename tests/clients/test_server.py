import hashlib
import hmac
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from steps.clients.server import Server
from steps.core.status_page import Pass, Shown, page, pair_page
from steps.core.status_style import POLICY
from steps.errors import StepError
from tests import plans

SECRET = "made-up secret"
PUSH = json.dumps({"ref": "refs/heads/main", "repository": {"full_name": "example/web.site"}}).encode()


class World:
    """A server, a clock that is set, and what came of deliveries."""

    def __init__(self, directory: Path) -> None:
        self.now = 100.0
        self.pushed: list[str] = []
        self.secret = directory / "secret"
        self.secret.write_text(f"{SECRET}\n")
        self.server = Server(
            0,
            build="1.2.3",
            stale_after=900,
            webhook_secret=directory,
            on_push=self.pushed.append,
            host="127.0.0.1",
            clock=lambda: self.now,
        )

    def ask(self, path: str, method: str = "GET", **keywords: Any) -> requests.Response:
        return requests.request(method, f"http://127.0.0.1:{self.server.port}{path}", timeout=10, **keywords)

    def told(self, path: str, method: str = "GET", **keywords: Any) -> tuple[int, str]:
        reply = self.ask(path, method, **keywords)
        return reply.status_code, reply.text

    def deliver(self, body: bytes = PUSH, event: str = "push", secret: str | None = SECRET) -> tuple[int, str]:
        headers = {"X-GitHub-Event": event, "Content-Type": "application/json"}
        if secret is not None:
            headers["X-Hub-Signature-256"] = f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"
        return self.told("/webhook", "POST", data=body, headers=headers)

    def samples(self) -> dict[str, float]:
        """Those of ours: by name and labels, as Prometheus reads them."""
        return {
            " ".join([each.name, *(f"{name}={value}" for name, value in each.labels.items())]): each.value
            for family in text_string_to_metric_families(self.ask("/metrics").text)
            for each in family.samples
            if each.name.startswith("apps_cd")
        }


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    with world.server:
        yield world


def shown(error: str = "", seconds: float = 3.24) -> Shown:
    last = Pass(plans.NOW, seconds, error)
    return Shown(now=plans.NOW + 1, last=last, next_at=plans.NOW + 600, plan=plans.lived_in())


# Pages


def test_the_status_page_is_that_of_the_last_pass_at_the_time_that_it_is_asked_for(world: World) -> None:
    world.server.show(shown())
    world.now += 59
    seen = Shown(now=plans.NOW + 60, last=Pass(plans.NOW, 3.24), next_at=plans.NOW + 600, plan=plans.lived_in())
    assert world.told("/") == (200, page(seen))
    assert world.told("/?reason=stalled") == (200, page(seen, "stalled"))
    assert world.told("/pairs/katib-controller/v1.9-branch") == (200, pair_page(seen, "katib-controller/v1.9-branch"))


def test_every_reply_has_the_headers_that_keep_a_browser_from_harm(world: World) -> None:
    world.server.show(shown())
    for path in ("/", "/pairs/kfam/master", "/metrics", "/healthz", "/absent"):
        headers = world.ask(path).headers
        assert {name: headers.get(name) for name in ("Content-Security-Policy", "Referrer-Policy", "X-Content-Type-Options", "X-Frame-Options", "Cache-Control", "Server")} == {
            "Content-Security-Policy": POLICY,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Cache-Control": "no-store",
            "Server": None,
        }  # fmt: skip
    assert "frame-ancestors 'none'" in POLICY


def test_before_the_first_pass_there_is_nothing_to_see(world: World) -> None:
    nothing = (503, "no pass has ended yet; reload in a while\n")
    assert (world.told("/"), world.told("/pairs/kfam/master")) == (nothing, nothing)


@pytest.mark.parametrize(
    "path", ["/absent", "/pairs", "/pairs/", "/pairs/kfam", "/pairs/kfam/absent", "/%ff%00", "/metrics/"]
)
def test_there_is_no_page_at(world: World, path: str) -> None:
    world.server.show(shown())
    assert world.ask(path).status_code == 404


def test_a_query_that_means_nothing_shows_no_pairs(world: World) -> None:
    world.server.show(shown())
    assert "No pair is &lt;x&gt;." in world.ask("/?reason=<x>").text
    assert world.told("/?" + "&".join("a=b" for _ in range(20)))[0] == 200


def test_head_is_a_get_without_the_body(world: World) -> None:
    world.server.show(shown())
    got, headed = world.ask("/"), world.ask("/", "HEAD")
    assert (headed.status_code, headed.content) == (200, b"")
    assert headed.headers["Content-Length"] == str(len(got.content))


@pytest.mark.parametrize(("path", "method", "allow"), [("/", "POST", "GET, HEAD"), ("/metrics", "DELETE", "GET, HEAD"), ("/pairs/kfam/master", "PUT", "GET, HEAD"), ("/webhook", "GET", "POST")])  # fmt: skip
def test_another_method_is_refused(world: World, path: str, method: str, allow: str) -> None:
    reply = world.ask(path, method)
    assert (reply.status_code, reply.headers["Allow"], reply.text) == (405, allow, f"this is for {allow}\n")


def test_any_name_of_the_host_will_do(world: World) -> None:
    assert world.told("/healthz", headers={"Host": "evil.example"}) == (200, "ok\n")


# Probes


def test_it_is_ready_once_a_pass_has_ended(world: World) -> None:
    assert world.told("/readyz") == (503, "starting: no pass has ended yet\n")
    world.server.show(Shown(plans.NOW, Pass(plans.NOW, 0.1), leads=False))
    assert world.told("/readyz") == (200, "ready\n")


def test_it_is_stale_when_a_pass_is_overdue(world: World) -> None:
    world.now += 900
    assert world.told("/healthz") == (200, "ok\n")
    world.now += 1
    assert world.told("/healthz") == (503, "stale: no pass has ended in 901 s since the start, and 900 s are allowed\n")
    world.server.show(shown())
    assert world.told("/healthz") == (200, "ok\n")
    world.now += 1000
    assert world.told("/healthz") == (503, "stale: the last pass ended 1000 s ago, and 900 s are allowed\n")


# Metrics


def test_prometheus_reads_what_the_passes_left(world: World) -> None:
    world.server.show(shown())
    world.server.show(shown(error="the API server is unreachable", seconds=31))
    world.server.metrics.count_request("github", 304)
    world.server.metrics.count_request("github", 304)
    world.server.metrics.count_request("kubernetes", "lost")
    world.server.metrics.count_run()
    samples = world.samples()
    buckets = {name: value for name, value in samples.items() if "_bucket" in name}
    pairs = {name.partition("=")[2]: value for name, value in samples.items() if name.startswith("apps_cd_pairs ")}
    assert {name: value for name, value in samples.items() if name not in buckets and "apps_cd_pairs" not in name} == {
        "apps_cd_queue_length": 2,
        "apps_cd_leader": 1,
        "apps_cd_last_success_timestamp_seconds": plans.NOW,
        "apps_cd_pass_duration_seconds_count": 2,
        "apps_cd_pass_duration_seconds_sum": 34.24,
        "apps_cd_passes_total result=succeeded": 1,
        "apps_cd_passes_total result=failed": 1,
        "apps_cd_passes_total result=standby": 0,
        "apps_cd_requests_total code=304 server=github": 2,
        "apps_cd_requests_total code=lost server=kubernetes": 1,
        "apps_cd_runs_created_total": 1,
        "apps_cd_build_info version=1.2.3": 1,
    }
    assert (buckets["apps_cd_pass_duration_seconds_bucket le=5.0"], buckets["apps_cd_pass_duration_seconds_bucket le=60.0"]) == (1, 2)  # fmt: skip
    assert sum(pairs.values()) == 48
    assert (pairs["up-to-date"], pairs["queued"], pairs["timeout"]) == (24, 2, 1)
    assert "process_resident_memory_bytes" in world.ask("/metrics").text


def test_a_standby_does_not_count_as_success(world: World) -> None:
    world.server.show(Shown(plans.NOW, Pass(plans.NOW, 0.1), leads=False))
    samples = world.samples()
    assert (samples["apps_cd_passes_total result=standby"], samples["apps_cd_pass_duration_seconds_count"]) == (1, 0)
    assert "apps_cd_last_success_timestamp_seconds" not in samples


def test_a_reason_that_no_pair_has_any_more_goes_to_0(world: World) -> None:
    world.server.show(shown())
    world.server.show(Shown(plans.NOW, Pass(plans.NOW, 0.1), leads=False))
    samples = world.samples()
    assert samples["apps_cd_pairs reason=stalled"] == samples["apps_cd_leader"] == 0
    assert "apps_cd_pairs reason=timeout" not in samples


# Clients


def test_slow_clients_hinder_nobody(world: World) -> None:
    slow = [socket.create_connection(("127.0.0.1", world.server.port)) for _ in range(20)]
    try:
        for number, each in enumerate(slow):
            each.sendall(b"POST /webhook HTTP/1.1\r\nContent-Length: 100\r\n" + (b"\r\n{" if number % 2 else b""))
        assert world.told("/healthz") == (200, "ok\n")
    finally:
        for each in slow:
            each.close()


def test_what_is_no_http_is_refused(world: World) -> None:
    with socket.create_connection(("127.0.0.1", world.server.port), timeout=10) as client:
        client.sendall(b"\0\1\2 nonsense\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.0 400 ")
    assert world.told("/healthz") == (200, "ok\n")


def test_a_port_that_is_taken_is_said(world: World) -> None:
    port = world.server.port
    with pytest.raises(StepError) as raised:
        Server(port, build="", stale_after=1, host="127.0.0.1")
    assert (raised.value.reason, str(raised.value)) == (
        "port",
        f"cannot listen at port {port}: Address already in use; end what uses it, or give another --port",
    )


def test_when_it_is_closed_the_port_is_free_and_connections_end() -> None:
    server = Server(0, build="", stale_after=1, host="127.0.0.1")
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
        reply = client.makefile("rb")
        assert reply.readline() == b"HTTP/1.1 200 OK\r\n"
        server.close()
        assert reply.read().endswith(b"\r\n\r\nok\n")
    Server(server.port, build="", stale_after=1, host="127.0.0.1").close()


def test_by_default_all_addresses_are_listened_at() -> None:
    with Server(0, build="", stale_after=1) as server:
        assert requests.get(f"http://127.0.0.1:{server.port}/healthz", timeout=10).text == "ok\n"


# The webhook


def test_a_signed_push_starts_a_pass(world: World) -> None:
    assert world.deliver() == (202, "a pass will follow\n")
    assert world.pushed == ["example/web.site"]


def test_a_push_that_is_replayed_is_told_again_and_no_more(world: World) -> None:
    assert [world.deliver()[0] for _ in range(3)] == [202, 202, 202]
    assert world.pushed == ["example/web.site"] * 3


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({}, 401, id="no signature"),
        pytest.param({"X-Hub-Signature-256": ""}, 401, id="an empty one"),
        pytest.param({"X-Hub-Signature": "sha1=" + "0" * 40}, 401, id="only the old one"),
        pytest.param({"X-Hub-Signature-256": "sha256=" + "0" * 64}, 403, id="a wrong one"),
        pytest.param({"X-Hub-Signature-256": "sha256="}, 403, id="a short one"),
        pytest.param({"X-Hub-Signature-256": "sha256=\xe9" + "0" * 63}, 403, id="one that is no number"),
        pytest.param(
            {"X-Hub-Signature-256": hmac.new(SECRET.encode(), PUSH, hashlib.sha256).hexdigest()},
            403,
            id="without its kind",
        ),
    ],
)
def test_what_is_not_signed_has_no_effect(world: World, headers: dict[str, str], status: int) -> None:
    assert world.told("/webhook", "POST", data=PUSH, headers={"X-GitHub-Event": "push", **headers})[0] == status
    assert world.pushed == []


def test_a_body_is_not_read_before_its_signature_is(world: World) -> None:
    assert world.deliver(b"no JSON", secret="another") == (
        403,
        "the signature is not that of our secret; give both sides the same\n",
    )


def test_a_secret_that_is_replaced_holds_from_then_on(world: World) -> None:
    world.secret.write_text("a newer secret")
    assert (world.deliver()[0], world.deliver(secret="a newer secret")[0]) == (403, 202)


def test_a_secret_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "any-name").write_text(SECRET)
    pushed: list[str] = []
    with Server(
        0, build="", stale_after=1, host="127.0.0.1", webhook_secret=tmp_path / "any-name", on_push=pushed.append
    ) as server:
        signature = hmac.new(SECRET.encode(), PUSH, hashlib.sha256).hexdigest()
        headers = {"X-GitHub-Event": "push", "X-Hub-Signature-256": f"sha256={signature}"}
        reply = requests.post(f"http://127.0.0.1:{server.port}/webhook", data=PUSH, headers=headers, timeout=10)
    assert (reply.status_code, pushed) == (202, ["example/web.site"])


def test_a_secret_that_is_mounted_later_holds_from_then_on(world: World) -> None:
    world.secret.unlink()
    assert world.deliver() == (404, "no webhook is configured: see --webhook-secret\n")
    world.secret.write_text(SECRET)
    assert world.deliver()[0] == 202


@pytest.mark.parametrize("text", ["", "\n"])
def test_without_a_secret_that_can_be_read_nothing_is_believed(
    world: World, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    world.secret.write_text(text)
    assert world.deliver(secret="") == (503, "the secret of the webhook cannot be read here; see the log\n")
    assert world.pushed == []
    assert caplog.messages == ["webhook: --webhook-secret must be a file with the secret, or the directory of a Secret with a file `secret`: it does not exist or is empty"]  # fmt: skip


def test_without_a_secret_there_is_no_webhook() -> None:
    with Server(0, build="", stale_after=1, host="127.0.0.1", on_push=list.append) as server:  # type: ignore[arg-type]  # never called
        reply = requests.post(f"http://127.0.0.1:{server.port}/webhook", data=PUSH, timeout=10)
    assert (reply.status_code, reply.text) == (404, "no webhook is configured: see --webhook-secret\n")


@pytest.mark.parametrize(
    ("event", "told"), [("ping", (200, "pong\n")), ("issues", (202, "ignored: this is no push\n"))]
)
def test_other_events_have_no_effect(world: World, event: str, told: tuple[int, str]) -> None:
    assert (world.deliver(event=event), world.pushed) == (told, [])


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"payload=%7B%7D", id="a form"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b"[" * 500_000, id="too deep"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'{"repository": "example/web"}', id="a repository that is text"),
        pytest.param(b'{"repository": {"full_name": 1}}', id="a name that is a number"),
        pytest.param(b'{"repository": {"full_name": "example"}}', id="a name without owner"),
        pytest.param(b'{"repository": {"full_name": "a/b/c"}}', id="a name with too many parts"),
        pytest.param(b'{"repository": {"full_name": "a/b\\n"}}', id="a name with a line end"),
        pytest.param(b'{"repository": {"full_name": "-a/b"}}', id="a name that looks like a flag"),
    ],
)
def test_a_push_that_names_no_repository_is_refused(world: World, body: bytes) -> None:
    assert (world.deliver(body)[0], world.pushed) == (400, [])


def test_a_delivery_of_1_mib_is_read_and_a_larger_one_is_not(world: World) -> None:
    largest = PUSH + b" " * ((1 << 20) - len(PUSH))
    assert world.deliver(largest) == (202, "a pass will follow\n")
    assert world.deliver(largest + b" ")[0] == 413
    assert world.pushed == ["example/web.site"]


@pytest.mark.parametrize("head", [b"Content-Length: 10485760", b"Transfer-Encoding: chunked"])
def test_a_body_of_10_mib_is_refused_while_it_comes(world: World, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", world.server.port), timeout=10) as client:
        client.sendall(b"POST /webhook HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")
        piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        try:
            for _ in range(160):
                client.sendall(piece)
        except OSError:
            pass  # it has hung up, as it may
        try:
            reply = client.recv(100)
        except ConnectionResetError:
            reply = b"HTTP/1.1 413 "
        assert reply.startswith((b"HTTP/1.1 413 ", b"HTTP/1.0 413 "))
    assert world.told("/healthz") == (200, "ok\n")
