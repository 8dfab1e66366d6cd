"""An HTTP/1.1 listener, plain or TLS, that hands every request to one function and leaves nothing behind when closed."""

import contextlib
import http.server
import io
import socket
import socketserver
import ssl
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from email.message import Message
from typing import IO, Any


@dataclass
class Call:
    """A request as it came in."""

    method: str
    target: str
    """Path and query, as sent."""
    headers: Message
    body: IO[bytes]
    """The whole body, without transfer coding, on a real file once `fileno` is asked for."""
    base_url: str
    """Scheme, host and port the client used."""

    @property
    def path(self) -> str:
        """The path, still percent-encoded."""
        return urllib.parse.urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.target).query))


@dataclass
class Response:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Iterable[bytes] = b""
    """Pieces are sent as they come, chunked."""
    cut: int | None = None
    """Only `reply[:cut]`, headers included, is sent, and the connection is cut."""
    pause: float = 0
    """If not 0, the reply is sent byte by byte, with so many seconds between them."""


class Server:
    """Listens in threads of this process until closed.

    Args:
        answer: is called for each request, in a thread of its connection; a ConnectionError of it cuts that connection
            without a reply.
        context: makes it HTTPS.
    """

    def __init__(
        self, host: str, port: int, answer: Callable[[Call], Response], context: ssl.SSLContext | None = None
    ) -> None:
        self._listener = _Listener((host, port), _Handler)
        self._listener.answer = answer
        self._listener.scheme = "https" if context else "http"
        if context:
            # The handshake is left to the connection's own thread: a silent client must not keep others waiting.
            self._listener.socket = context.wrap_socket(
                self._listener.socket, server_side=True, do_handshake_on_connect=False
            )
        self.url = f"{self._listener.scheme}://{host}:{self._listener.server_address[1]}"
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening, cut what is still connected, and wait for the threads."""
        self._listener.shutdown()
        self._thread.join()
        self._listener.cut_connections()
        self._listener.server_close()


class _Listener(socketserver.TCPServer):
    # Not http.server.HTTPServer: that looks up the host's full name, which can take seconds without DNS.
    allow_reuse_address = True
    request_queue_size = 128
    answer: Callable[[Call], Response]
    scheme: str

    def __init__(self, *arguments: Any) -> None:
        self._connections: dict[socket.socket, threading.Thread] = {}
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(target=self._serve_connection, args=(request, client_address), daemon=True)
        self._connections[request] = thread
        thread.start()

    def _serve_connection(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except (ConnectionError, ssl.SSLError):
            pass  # the client went away, or does not trust us
        except Exception:  # noqa: BLE001 - what http.server does too: show it and go on
            self.handle_error(request, client_address)
        finally:
            self.shutdown_request(request)
            del self._connections[request]

    def cut_connections(self) -> None:
        for connection, thread in list(self._connections.items()):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            thread.join(5)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def _handle(self) -> None:
        with tempfile.SpooledTemporaryFile(max_size=1 << 20) as body:
            self._read_body(body)
            body.seek(0)
            host = self.headers.get("Host") or "{}:{}".format(*self.server.server_address[:2])
            call = Call(self.command, self.path, self.headers, body, f"{self.server.scheme}://{host}")
            response = self.server.answer(call)
            if response.cut is None and not response.pause:
                self._send(response)
            else:
                self._send_badly(response)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _handle  # noqa: N815 - names of http.server

    def _read_body(self, body: IO[bytes]) -> None:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                self._copy(size, body)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        else:
            self._copy(int(self.headers.get("Content-Length") or 0), body)

    def _copy(self, size: int, body: IO[bytes]) -> None:
        while size:
            piece = self.rfile.read(min(size, 1 << 16))
            if not piece:
                raise ConnectionAbortedError("the client left within a body")
            body.write(piece)
            size -= len(piece)

    def _send_badly(self, response: Response) -> None:
        line = self.wfile
        self.wfile = whole = io.BytesIO()
        try:
            self._send(response)
        finally:
            self.wfile = line
        reply = whole.getvalue()[: response.cut]
        if response.pause:
            for byte in reply:
                line.write(bytes([byte]))
                time.sleep(response.pause)
        else:
            line.write(reply)
        if response.cut is not None:
            raise ConnectionAbortedError("as was asked for")

    def _send(self, response: Response) -> None:
        self.send_response_only(response.status)
        for name, value in {"Server": self.version_string(), "Date": self.date_time_string()}.items():
            if name not in response.headers:
                self.send_header(name, value)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if isinstance(response.body, bytes):
            if response.status not in (204, 304):
                self.send_header("Content-Length", str(len(response.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(response.body)
        else:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in response.body:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name http.server gives it
        pass
