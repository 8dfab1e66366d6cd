"""All other hosts of the internet: a proxy that answers for whatever host it is asked for, and remembers who sent what."""

import http.server
import ssl
import threading
import types
from pathlib import Path
from typing import NamedTuple, Self

from tests.sandbox.tls import Authority


class Sent(NamedTuple):
    """A request as it came in."""

    host: str
    target: str
    authorization: str | None


class OtherHosts:
    """Listens from `__enter__` to `__exit__`; over TLS with a certificate for the very host that the client wants.

    It asks for a password on each request, and takes none.

    Args:
        root: where the authority that clients are to trust, `ca_file`, and its certificates are put.
    """

    def __init__(self, root: Path) -> None:
        authority = Authority(root)
        self.ca_file = authority.file
        self.requests: list[Sent] = []
        self._contexts: dict[str, ssl.SSLContext] = {}
        lock = threading.Lock()

        def context(host: str) -> ssl.SSLContext:
            with lock:
                if host not in self._contexts:
                    self._contexts[host] = authority.server_context([host.strip("[]")])
                return self._contexts[host]

        class Handler(_Handler):
            requests = self.requests
            context_for = staticmethod(context)

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    requests: list[Sent]
    tunnel: str | None = None
    timeout = 10

    @staticmethod
    def context_for(host: str) -> ssl.SSLContext:
        raise NotImplementedError

    def do_CONNECT(self) -> None:
        self.tunnel = self.path
        self.send_response(200)
        self.end_headers()
        try:
            self.connection = self.context_for(self.path.rpartition(":")[0]).wrap_socket(
                self.connection, server_side=True
            )
        except OSError:
            self.close_connection = True
            return
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", buffering=0)
        self.close_connection = False

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def _answer(self) -> None:
        self.requests.append(Sent(self.tunnel or self.headers["Host"] or "", self.path, self.headers["Authorization"]))
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="GitHub"')
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 - names of http.server

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name http.server gives it
        pass
