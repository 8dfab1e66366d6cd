"""The reconciler's HTTP server: the status page, metrics, probes, and GitHub's webhook."""

import dataclasses
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs

from steps.clients import credentials
from steps.core import status_page, webhook
from steps.core.status_page import Shown
from steps.core.status_style import POLICY
from steps.errors import StepError

THREADS = 4
CONNECTIONS = 500
SILENCE = 30
"""Seconds after which a connection is closed on which nothing comes or goes."""
LARGEST_PAGE = 64 << 20
"""Bytes that are kept in memory for a client that reads slowly: files cannot be written where this runs."""

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
HTML = "text/html; charset=utf-8"
TEXT = "text/plain; charset=utf-8"

_log = logging.getLogger("steps.server")


@dataclass(frozen=True)
class _Reply:
    status: int
    body: bytes
    kind: str = TEXT
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _State:
    """What the last pass left, and when that was by our own clock."""

    shown: Shown
    at: float


class Server:
    """Serves from the moment it is made until it is closed, in threads of its own.

    Args:
        port: 0 for any that is free.
        build: the version of this program, for the metrics.
        stale_after: seconds without the end of a pass after which `/healthz` fails.
        webhook_secret: a file with the secret of GitHub's webhook, or the directory of a Secret; there is no webhook without it,
            or as long as the directory is empty.
        on_push: called with OWNER/NAME when GitHub tells of a push, from any thread, for each delivery and any repository,
            also a second time for the same push; it must not block.
        host: the address to listen at; by default all of this machine's.
        clock: monotonic, in seconds.

    Raises:
        StepError: the port is taken, or may not be listened at.
    """

    def __init__(
        self,
        port: int,
        *,
        build: str,
        stale_after: float,
        webhook_secret: Path | None = None,
        on_push: Callable[[str], None] | None = None,
        host: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        import waitress.server

        from steps.clients.metrics import Metrics

        # It warns of each request that finds no thread waiting.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self.metrics = Metrics(build)
        self._stale_after, self._clock, self._started = stale_after, clock, clock()
        self._webhook_secret, self._on_push = webhook_secret, on_push
        self._state: _State | None = None
        listening = _listen(host, port)
        self.port: int = listening.getsockname()[1]
        self._sockets: dict[int, Any] = {}
        self._closing = threading.Event()
        self._server = waitress.server.create_server(
            self._answer,
            map=self._sockets,
            sockets=[listening],
            threads=THREADS,
            ident=None,
            channel_timeout=SILENCE,
            cleanup_interval=SILENCE,
            connection_limit=CONNECTIONS,
            max_request_header_size=32 << 10,
            max_request_body_size=webhook.LARGEST + 1,
            inbuf_overflow=2 * webhook.LARGEST,
            outbuf_overflow=LARGEST_PAGE,
            log_socket_errors=False,
        )
        self._thread = threading.Thread(target=self._serve, name="server", daemon=True)
        self._thread.start()

    def show(self, shown: Shown) -> None:
        """Show what a pass left, also that of a standby; to be called whenever one has ended, also in failure.

        Args:
            shown: what there is to see at the end of the pass; its `now` goes on by itself.
        """
        self.metrics.show(shown)
        self._state = _State(shown, self._clock())

    def close(self) -> None:
        """End all connections, and free the port."""
        self._closing.set()
        self._server.pull_trigger()
        self._thread.join()
        # Whoever still answers wakes the loop at the end of it, so what that is done with is closed last.
        self._server.task_dispatcher.shutdown(timeout=2)
        self._server.asyncore.close_all(self._sockets, ignore_all=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        while not self._closing.is_set():
            self._server.asyncore.loop(timeout=10, map=self._sockets, use_poll=True, count=1)

    def _answer(
        self, environ: dict[str, Any], start: Callable[[str, list[tuple[str, str]]], object]
    ) -> Iterable[bytes]:
        reply = self._reply(environ)
        headers = {**HEADERS, **reply.headers, "Content-Type": reply.kind, "Content-Length": str(len(reply.body))}
        start(f"{reply.status} {HTTPStatus(reply.status).phrase}", list(headers.items()))
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else reply.body]

    def _reply(self, environ: dict[str, Any]) -> _Reply:
        path = environ["PATH_INFO"].encode("latin-1").decode(errors="replace")
        if path == "/webhook":
            return self._allowed(environ, ("POST",)) or self._delivered(environ)
        pages: dict[str, Callable[[], _Reply]] = {
            "/": lambda: self._page(environ["QUERY_STRING"]),
            "/metrics": self._measured,
            "/healthz": self._healthy,
            "/readyz": self._ready,
        }
        if path.startswith("/pairs/"):
            pages[path] = lambda: self._pair(path.removeprefix("/pairs/"))
        if path not in pages:
            return _said(404, "there is no such page")
        return self._allowed(environ, ("GET", "HEAD")) or pages[path]()

    def _allowed(self, environ: dict[str, Any], methods: tuple[str, ...]) -> _Reply | None:
        if environ["REQUEST_METHOD"] in methods:
            return None
        allowed = ", ".join(methods)
        return _said(405, f"this is for {allowed}", {"Allow": allowed})

    def _seen(self) -> Shown | None:
        """What there is to see, at this moment of the plan's clock."""
        if (state := self._state) is None:
            return None
        return dataclasses.replace(state.shown, now=state.shown.now + self._clock() - state.at)

    def _page(self, query: str) -> _Reply:
        if (shown := self._seen()) is None:
            return _said(503, "no pass has ended yet; reload in a while")
        only = parse_qs(query).get("reason", [None])[0]
        return _Reply(200, status_page.page(shown, only).encode(), HTML)

    def _pair(self, path: str) -> _Reply:
        if (shown := self._seen()) is None:
            return _said(503, "no pass has ended yet; reload in a while")
        page = status_page.pair_page(shown, path)
        return _said(404, "the configuration has no such pair") if page is None else _Reply(200, page.encode(), HTML)

    def _measured(self) -> _Reply:
        from steps.clients.metrics import CONTENT_TYPE

        return _Reply(200, self.metrics.text(), CONTENT_TYPE)

    def _healthy(self) -> _Reply:
        state = self._state
        age = self._clock() - (state.at if state else self._started)
        if age <= self._stale_after:
            return _said(200, "ok")
        since = f"the last pass ended {age:.0f} s ago" if state else f"no pass has ended in {age:.0f} s since the start"
        return _said(503, f"stale: {since}, and {self._stale_after:.0f} s are allowed")

    def _ready(self) -> _Reply:
        return _said(200, "ready") if self._state else _said(503, "starting: no pass has ended yet")

    def _delivered(self, environ: dict[str, Any]) -> _Reply:
        """A delivery of the webhook; nothing of it is looked at before its signature is found to be right."""
        path = credentials.given(self._webhook_secret)
        if path is None or self._on_push is None:
            return _said(404, "no webhook is configured: see --webhook-secret")
        body = environ["wsgi.input"].read(webhook.LARGEST + 1)
        if len(body) > webhook.LARGEST:
            return _said(413, f"a delivery has at most {webhook.LARGEST} bytes")
        signature = environ.get("HTTP_X_HUB_SIGNATURE_256")
        if not signature:
            return _said(401, "the delivery is not signed; give the webhook its secret at GitHub")
        try:
            secret = credentials.read_webhook_secret(path)
        except StepError as error:
            _log.error("webhook: %s", error)
            return _said(503, "the secret of the webhook cannot be read here; see the log")
        if not webhook.is_signed(body, signature, secret):
            return _said(403, "the signature is not that of our secret; give both sides the same")
        event = environ.get("HTTP_X_GITHUB_EVENT")
        if event != "push":
            return _said(200, "pong") if event == "ping" else _said(202, "ignored: this is no push")
        try:
            name = webhook.repository(body)
        except ValueError as error:
            return _said(400, str(error))
        self._on_push(name)
        return _said(202, "a pass will follow")


def _said(status: int, text: str, headers: Mapping[str, str] | None = None) -> _Reply:
    return _Reply(status, f"{text}\n".encode(), headers=headers or {})


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens, for IPv6 and IPv4 where the machine has both."""
    is_dual = not host and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if is_dual or ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, dualstack_ipv6=is_dual, backlog=128)
    except OSError as error:
        raise StepError(
            "port",
            f"cannot listen at port {port}: {os.strerror(error.errno or 0)}; end what uses it, or give another --port",
        ) from error
