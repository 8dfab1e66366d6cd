"""Cloud Storage in a thread: gcp-storage-emulator, which ignores preconditions, behind a layer that honours them.

google-cloud-storage and Kaniko reach it when their environment holds `STORAGE_EMULATOR_HOST=<Storage.url>`.
"""

import io
import json
import logging
import threading
from collections.abc import Callable
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

from gcp_storage_emulator import server, storage
from gcp_storage_emulator.handlers import buckets

from tests.sandbox.http_server import Call, Response, Server

for _name in ("gcp_storage_emulator", "api.object", "api.bucket"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

_OTHER_CONDITIONS = {"ifGenerationNotMatch", "ifMetagenerationMatch", "ifMetagenerationNotMatch"}


class Storage:
    """A Cloud Storage server for the time of a `with` block, its buckets in memory.

    Attributes:
        url: `http://HOST:PORT`, the value of `STORAGE_EMULATOR_HOST` for clients.
        requests: what was asked so far, as (method, path without the query, status).
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.requests: list[tuple[str, str, int]] = []
        self.after_effect: Callable[[str], None] | None = None
        """Is called right after a write took effect and before the reply is sent."""
        self._store = _Store(use_memory_fs=True)
        self._lock = threading.Lock()
        self._server = Server(host, port, self._answer)
        self.url = self._server.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()

    def create_bucket(self, name: str) -> None:
        with self._lock:
            buckets.create_bucket(name, self._store)

    def objects(self, bucket: str) -> dict[str, bytes]:
        """What a bucket holds, by object name."""
        with self._lock:
            return {name: self._store.get_file(bucket, name) for name in self._store.objects.get(bucket, {})}

    def _answer(self, call: Call) -> Response:
        with self._lock:
            response = self._respond(call)
            self.requests.append((call.method, call.path, response.status))
        if self.after_effect and call.method != "GET" and response.status < 400:
            self.after_effect(f"{call.method} {call.path}")
        return response

    def _respond(self, call: Call) -> Response:
        required = call.query.get("ifGenerationMatch")
        if "Transfer-Encoding" in call.headers:  # the emulator would take the decoded body for an empty one
            return _error(HTTPStatus.LENGTH_REQUIRED, "the stand-in wants a Content-Length")
        if _OTHER_CONDITIONS & call.query.keys() or (required and call.method in ("GET", "PATCH")):
            return _error(HTTPStatus.NOT_IMPLEMENTED, "the stand-in does not know this precondition")
        self._store.required_generation = required
        exchange = _Exchange(call, self._store)
        try:
            server.Router(exchange).handle(call.method)
        except _PreconditionError:
            return _error(
                HTTPStatus.PRECONDITION_FAILED, "At least one of the pre-conditions you specified did not hold."
            )
        return exchange.response()


class _PreconditionError(Exception):
    pass


class _Store(storage.Storage):  # type: ignore[misc]  # the emulator ships no types
    """The emulator's store, which writes and deletes only when the object has the generation the request named."""

    required_generation: str | None = None

    def _check(self, bucket: str, name: str) -> None:
        current = self.objects.get(bucket, {}).get(name, {}).get("generation", "0")
        if self.required_generation not in (None, current):
            raise _PreconditionError

    def create_file(self, bucket: str, name: str, *rest: Any) -> None:
        self._check(bucket, name)
        super().create_file(bucket, name, *rest)

    def create_resumable_upload(self, bucket: str, name: str, resource: dict[str, Any]) -> Any:
        self._check(bucket, name)
        return super().create_resumable_upload(bucket, name, resource)

    def delete_file(self, bucket: str, name: str) -> None:
        self._check(bucket, name)
        super().delete_file(bucket, name)


class _Exchange:
    """What the emulator's router wants of http.server: a request to read, and calls that build the response."""

    def __init__(self, call: Call, store: _Store) -> None:
        self.path, self.headers, self.rfile = call.target, call.headers, call.body
        self.storage = store
        self.server = self
        self.server_address = ("", 0)  # only asked for where no Host header names it
        self.wfile = io.BytesIO()
        self._status = 0
        self._headers: dict[str, str] = {}

    def send_response(self, status: int, phrase: str) -> None:  # noqa: ARG002 - as http.server's
        self._status = status

    def send_header(self, name: str, value: str) -> None:
        self._headers[name] = value

    def end_headers(self) -> None:
        del self._headers["Content-Length"]  # our server counts for itself

    def response(self) -> Response:
        return Response(self._status, self._headers, self.wfile.getvalue())


def _error(status: HTTPStatus, message: str) -> Response:
    body = json.dumps({"error": {"code": status, "message": message}}).encode()
    return Response(status, {"Content-Type": "application/json"}, body)
