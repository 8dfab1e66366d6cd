"""Reads a file from a URL that somebody else may have chosen: from public servers, within limits of size and time."""

import contextlib
import http.client
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any, cast

from steps.core.https_url import HttpsUrl, not_public
from steps.errors import StepError

REDIRECTS = 3
OVERHEAD = 256 << 10
"""Bytes that a reply may have besides its body: headers, and what encloses the pieces of a body."""


def read(url: HttpsUrl, *, limit: int, timeout: float, allow_private: bool = False) -> bytes:
    """What a server has at a URL, whole or not at all, whatever its type.

    Each host's name is resolved once, and what is connected to is an address that was checked. So no proxy of the
    environment is used: behind one it would be the proxy that resolves the name. Certificates are checked with the
    system's authorities, or those of SSL_CERT_FILE. No credential and no cookie is sent.

    Args:
        url: redirects are followed, at most three, and only to https.
        limit: the most bytes that the body may have.
        timeout: seconds for all of it: resolving, connecting, redirects, the last byte.
        allow_private: whether a host may have addresses that are not public, such as private, loopback and link-local
            ones (those of the cloud's metadata server); without it, one of them among its addresses refuses the host.

    Raises:
        StepError: there is no such file, or the server does not give it, gives too much, or must not be asked.
    """
    deadline = time.monotonic() + timeout
    context = ssl.create_default_context()
    context.sslsocket_class = _Connection
    context.set_alpn_protocols(["http/1.1"])
    what, at = f"reading {url}", url
    for _ in range(REDIRECTS + 1):
        with _translated(what, limit, timeout):
            addresses = _resolve(at, deadline)
            if not allow_private:
                _refuse_private(what, at, addresses)
            reply = _get(what, at, addresses, context, limit, deadline)
        if isinstance(reply, bytes):
            return reply
        what, at = f"reading {url}, redirected to {reply}", reply
    raise StepError("redirect", f"{what}: these are more than {REDIRECTS} redirects; give the URL where they end")


def _resolve(url: HttpsUrl, deadline: float) -> list[tuple[int, Any]]:
    """Families and addresses of a URL's host, as sockets take them."""
    answers: queue.SimpleQueue[list[tuple[int, Any]] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
        except OSError as error:
            answers.put(error)
        else:
            answers.put([(family, address) for family, _, _, _, address in found])

    # It cannot be interrupted, so a thread that nobody waits for is left to it.
    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=_left(deadline))
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, OSError):
        raise answer
    return answer


def _refuse_private(what: str, url: HttpsUrl, addresses: list[tuple[int, Any]]) -> None:
    for _, (ip, *_) in addresses:
        if kind := not_public(ip):
            resolved = "" if ip == url.host else f"{url.host} resolves to "
            raise StepError(
                "private-address",
                f"{what}: {resolved}{ip}, {kind}; give the URL of a public server, or --allow-private-addresses",
            )


def _get(
    what: str, url: HttpsUrl, addresses: list[tuple[int, Any]], context: ssl.SSLContext, limit: int, deadline: float
) -> bytes | HttpsUrl:
    """The body of the reply, or where it redirects to."""
    with _connect(addresses, deadline) as plain:
        plain.settimeout(_left(deadline))
        # An end without TLS's own goodbye may be anybody's doing: it must not pass for the end of the body.
        secured = context.wrap_socket(plain, server_hostname=url.host, suppress_ragged_eofs=False)
    with cast("_Connection", secured) as connection:
        connection.deadline, connection.allowance = deadline, limit + OVERHEAD
        connection.settimeout(_left(deadline))
        connection.sendall(
            f"GET {url.target} HTTP/1.1\r\nHost: {url.authority}\r\nUser-Agent: apps-cd\r\nAccept: */*\r\n"
            "Accept-Encoding: identity\r\nConnection: close\r\n\r\n".encode()
        )
        with http.client.HTTPResponse(connection, method="GET") as response:
            response.begin()
            if response.status in (301, 302, 303, 307, 308):
                return _redirected(what, url, response.headers.get("Location"))
            _check(what, response)
            connection.may_end = response.length is None and not response.chunked
            body = response.read(limit + 1)
    if len(body) > limit:
        raise _TooLargeError
    return body


def _connect(addresses: list[tuple[int, Any]], deadline: float) -> socket.socket:
    """A connection to the first address that takes one; each has its share of the time that is left."""
    errors = []
    for position, (family, address) in enumerate(addresses):
        with contextlib.ExitStack() as opened:
            try:
                connection = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
                connection.settimeout(_left(deadline) / (len(addresses) - position))
                connection.connect(address)
            except OSError as error:
                errors.append(error)
            else:
                opened.pop_all()
                return connection
    raise errors[0]


def _redirected(what: str, url: HttpsUrl, location: str | None) -> HttpsUrl:
    if location is None:
        raise StepError("redirect", f"{what}: the server redirects without a Location header; check the URL")
    try:
        return url.redirected(location)
    except ValueError as error:
        raise StepError("redirect", f"{what}: the server redirects to what is not followed: {error}") from error


def _check(what: str, response: http.client.HTTPResponse) -> None:
    status = response.status
    if status in (401, 403):
        raise StepError(
            "auth",
            f"{what}: the server answered {status}, and no credential is ever sent; give a URL that anybody may read",
        )
    if status in (404, 410):
        raise StepError("not-found", f"{what}: the server answered {status}; check the URL")
    if status in (408, 429) or status >= 500:
        raise StepError("server", f"{what}: the server answered {status}; try again later", later=True)
    if status != 200:
        raise StepError("server", f"{what}: the server answered {status}, not 200; check the URL")
    for header, plain in (("Content-Encoding", "identity"), ("Transfer-Encoding", "chunked")):
        encoding = response.headers.get(header, plain)
        if encoding.lower() != plain:
            raise StepError(
                "encoding", f"{what}: the reply's {header} is {encoding[:40]!r}; have the server send the file as it is"
            )


class _TooLargeError(Exception):
    pass


class _Connection(ssl.SSLSocket):
    """Receives until a deadline, however slow the pieces are, and only so much; an end is an error unless it may be one.

    http.client alone would wait anew for each piece, read on to the end behind a chunk of the size -1, and take less
    than the Content-Length for the whole.
    """

    deadline: float
    allowance: int
    may_end = False

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        self.settimeout(_left(self.deadline))
        received = super().recv_into(buffer, nbytes, flags)
        self.allowance -= received
        if self.allowance < 0:
            raise _TooLargeError
        if not received and not self.may_end:
            raise ConnectionResetError("the server ended it within the reply")
        return received


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


@contextlib.contextmanager
def _translated(what: str, limit: int, timeout: float) -> Iterator[None]:
    try:
        yield
    except _TooLargeError as error:
        raise StepError(
            "too-large", f"{what}: the reply has more than {limit} bytes; give the URL of a smaller file"
        ) from error
    except TimeoutError as error:
        raise StepError(
            "timeout",
            f"{what}: it did not arrive within {timeout:g} s; check that the server can be reached",
            later=True,
        ) from error
    except socket.gaierror as error:
        raise StepError(
            "dns",
            f"{what}: the name of the host cannot be resolved ({error.strerror}); check the URL",
            later=error.errno == socket.EAI_AGAIN,
        ) from error
    except ssl.SSLCertVerificationError as error:
        raise StepError(
            "tls",
            f"{what}: the server's certificate is not trusted: {error.verify_message.rstrip('.')}; mend it, or name a file "
            "with its authority's certificate in SSL_CERT_FILE",
        ) from error
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
        raise StepError(
            "connection", f"{what}: the server broke off the connection; try again later", later=True
        ) from error
    except ssl.SSLError as error:
        raise StepError(
            "tls", f"{what}: no TLS with the server: {error.reason}; check its port and settings"
        ) from error
    except OSError as error:
        raise StepError(
            "connection",
            f"{what}: the connection failed: {error.strerror or error}; check the server, or try again later",
            later=True,
        ) from error
    except (http.client.HTTPException, ValueError) as error:  # ValueError is what a chunk of size -5 ends with
        raise StepError(
            "no-http", f"{what}: the reply is no HTTP that can be read; check host and port of the URL"
        ) from error
