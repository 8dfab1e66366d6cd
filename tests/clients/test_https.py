import contextlib
import socket
import socketserver
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from steps.clients.https import read
from steps.core.https_url import HttpsUrl
from steps.errors import StepError
from tests.sandbox.http_server import Call, Response, Server
from tests.sandbox.tls import Authority

CONFIG = b"applications: []\n"
LIMIT = 1000
MOMENT = 1.0
"""Seconds for a read that cannot end well; far less than a server of these tests would go on for."""
GOES_ON = 20
INSTEAD = "give the URL of a public server, or --allow-private-addresses"
TRUST = "mend it, or name a file with its authority's certificate in SSL_CERT_FILE"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def context(authority: Authority) -> ssl.SSLContext:
    return authority.server_context(["127.0.0.1", "public.example", "localhost"])


@pytest.fixture(autouse=True)
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))


class Site:
    """A server on 127.0.0.1 that gives each path its answer and remembers what it was asked."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.pages: dict[str, Response] = {}
        self.calls: list[Call] = []
        self._server = Server("127.0.0.1", 0, self._answer, context)
        self.url = self._server.url
        self.port = int(self.url.rpartition(":")[2])
        self.close = self._server.close

    def _answer(self, call: Call) -> Response:
        self.calls.append(call)
        return self.pages[call.path]


@pytest.fixture
def site(context: ssl.SSLContext) -> Iterator[Site]:
    with contextlib.closing(Site(context)) as site:
        yield site


@pytest.fixture
def elsewhere(context: ssl.SSLContext) -> Iterator[Site]:
    with contextlib.closing(Site(context)) as site:
        yield site


Speak = Callable[[ssl.SSLSocket], None]


@pytest.fixture
def over() -> Iterator[threading.Event]:
    """Set at the end of a test, for those who would go on."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def peer(context: ssl.SSLContext, over: threading.Event) -> Iterator[Callable[[Speak], str]]:
    """Start a server that reads a request and then says what a function says, in no HTTP but its own."""
    with contextlib.ExitStack() as servers:

        def start(speak: Speak) -> str:
            class Handler(socketserver.BaseRequestHandler):
                def handle(self) -> None:
                    with (
                        contextlib.suppress(OSError),
                        context.wrap_socket(self.request, server_side=True) as connection,
                    ):
                        request = b""
                        while not request.endswith(b"\r\n\r\n"):
                            request += (piece := connection.recv(4096))
                            if not piece:
                                return
                        speak(connection)

            return servers.enter_context(listening(Handler))

        yield start
        over.set()  # before the servers wait for their connections


@contextlib.contextmanager
def listening(handler: type[socketserver.BaseRequestHandler]) -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"https://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def says(*pieces: bytes, goodbye: bool = True) -> Speak:
    """Sends pieces and closes the connection, with TLS's own goodbye or without."""

    def speak(connection: ssl.SSLSocket) -> None:
        for piece in pieces:
            connection.sendall(piece)
        if goodbye:
            connection.unwrap()

    return speak


class Internet:
    """Names with their answers, one a look-up, and public addresses that lead to this machine."""

    def __init__(self) -> None:
        self.names: dict[str, list[list[str]]] = {}
        self.hosts: dict[str, int] = {}
        self.looked_up: list[str] = []
        self.connected: list[str] = []

    def getaddrinfo(self, host: str, port: int, *, type: int) -> list[Any]:  # noqa: A002 - the name socket gives it
        self.looked_up.append(host)
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, type, 6, "", (address, port))
            for address in self.names[host].pop(0)
        ]

    def connect(self, connection: socket.socket, address: tuple[str, int]) -> None:
        self.connected.append(address[0])
        if address[0] not in self.hosts:
            raise ConnectionRefusedError(111, "Connection refused")
        CONNECT(connection, ("127.0.0.1", self.hosts[address[0]]))


CONNECT = socket.socket.connect
PUBLIC = ("8.8.8.8", "9.9.9.9")


@pytest.fixture
def internet(monkeypatch: pytest.MonkeyPatch) -> Internet:
    internet = Internet()
    monkeypatch.setattr(socket, "getaddrinfo", internet.getaddrinfo)
    monkeypatch.setattr(socket.socket, "connect", lambda *of: internet.connect(*of))  # noqa: PLW0108 - a method would not get the socket
    return internet


@pytest.fixture
def unconnected(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody may be connected to."""
    connected: list[Any] = []
    monkeypatch.setattr(socket.socket, "connect", lambda _connection, address: connected.append(address))
    yield
    assert connected == []


def failure(url: str, *, timeout: float = GOES_ON, allow_private: bool = True) -> tuple[str, str, bool]:
    """The reason and message of the error that a read ends with, and whether it may succeed later."""
    with pytest.raises(StepError) as caught:
        read(HttpsUrl.parse(url), limit=LIMIT, timeout=timeout, allow_private=allow_private)
    return caught.value.reason, str(caught.value), caught.value.later


def content(url: str, limit: int = LIMIT) -> bytes:
    return read(HttpsUrl.parse(url), limit=limit, timeout=GOES_ON, allow_private=True)


HTML = b"<!doctype html><title>Sign in</title>"


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Response(200, {}, CONFIG), id="in one piece"),
        pytest.param(Response(200, {}, [CONFIG[:3], CONFIG[3:]]), id="chunked"),
        pytest.param(Response(200, {"Content-Encoding": "identity"}, CONFIG), id="said to be as it is"),
    ],
)
def test_a_file_is_read(site: Site, reply: Response) -> None:
    site.pages["/config.yaml"] = reply
    assert content(f"{site.url}/config.yaml") == CONFIG


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([b"HTTP/1.1 200 OK\r\n\r\n" + CONFIG], id="without a length"),
        pytest.param([b"HTTP/1.0 200 OK\r\n\r\n" + CONFIG], id="of an old server"),
        pytest.param([bytes([byte]) for byte in b"HTTP/1.1 200 OK\r\n\r\n" + CONFIG], id="byte by byte"),
        pytest.param(
            [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n" + CONFIG], id="behind a reply that is none"
        ),
    ],
)
def test_a_file_ends_where_the_server_says_goodbye(peer: Callable[[Speak], str], pieces: list[bytes]) -> None:
    assert content(peer(says(*pieces))) == CONFIG


def test_a_page_for_people_is_read_as_it_is(site: Site) -> None:
    site.pages["/config.yaml"] = Response(200, {"Content-Type": "text/html"}, HTML)
    assert content(f"{site.url}/config.yaml") == HTML


def test_an_empty_file_is_read(site: Site) -> None:
    site.pages["/config.yaml"] = Response(200)
    assert content(f"{site.url}/config.yaml") == b""


def test_a_request_has_nothing_that_tells_who_asks(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("default login somebody password s3cret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    site.pages["/config.yaml"] = Response(200, {"Set-Cookie": "a=b"}, CONFIG)
    content(f"{site.url}/config.yaml?ref=main&x=%20")
    content(f"{site.url}/config.yaml?ref=main&x=%20")
    assert [(call.method, call.target, dict(call.headers.items())) for call in site.calls] == [
        (
            "GET",
            "/config.yaml?ref=main&x=%20",
            {
                "Host": f"127.0.0.1:{site.port}",
                "User-Agent": "apps-cd",
                "Accept": "*/*",
                "Accept-Encoding": "identity",
                "Connection": "close",
            },
        )
    ] * 2


def test_a_proxy_of_the_environment_is_not_used(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    site.pages["/config.yaml"] = Response(200, {}, CONFIG)
    assert content(f"{site.url}/config.yaml") == CONFIG


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(site: Site, elsewhere: Site, status: int) -> None:
    site.pages["/a"] = Response(status, {"Location": "/b?c"})
    site.pages["/b"] = Response(status, {"Location": f"{elsewhere.url}/config.yaml"})
    elsewhere.pages["/config.yaml"] = Response(200, {}, CONFIG)
    assert content(f"{site.url}/a") == CONFIG
    assert [call.target for call in site.calls + elsewhere.calls] == ["/a", "/b?c", "/config.yaml"]


def test_three_redirects_are_followed_and_a_fourth_is_not(site: Site) -> None:
    for number in range(5):
        site.pages[f"/{number}"] = Response(302, {"Location": f"/{number + 1}?token=s3cret"})
    site.pages["/5"] = Response(200, {}, CONFIG)
    assert content(f"{site.url}/2") == CONFIG
    assert failure(f"{site.url}/1") == (
        "redirect",
        f"reading {site.url}/1, redirected to {site.url}/5?***: these are more than 3 redirects; give the URL where they end",
        False,
    )
    assert [call.path for call in site.calls] == ["/2", "/3", "/4", "/5", "/1", "/2", "/3", "/4"]


@pytest.mark.parametrize(
    ("location", "told"),
    [
        (
            "http://127.0.0.1/config.yaml?token=s3cret",
            "'http://127.0.0.1/config.yaml?***' is no https URL; write https://HOST/PATH",
        ),
        ("file:///etc/passwd", "'file:///etc/passwd' is no https URL; write https://HOST/PATH"),
        (
            "https://u:s3cret@127.0.0.1/",
            "a URL with a user or password in it would be logged; take them out, nothing is sent of them",
        ),
        ("https://127.0.0.1:0/", "0 is not a port: 1 to 65535"),
        ("/a\tb", r"its Location header has the character '\t'"),
    ],
)
def test_a_redirect_to_what_could_not_be_given_is_not_followed(site: Site, location: str, told: str) -> None:
    site.pages["/a"] = Response(302, {"Location": location})
    assert failure(f"{site.url}/a") == (
        "redirect",
        f"reading {site.url}/a: the server redirects to what is not followed: {told}",
        False,
    )


def test_a_redirect_to_nowhere_is_an_error(site: Site) -> None:
    site.pages["/a"] = Response(302)
    assert failure(f"{site.url}/a") == (
        "redirect",
        f"reading {site.url}/a: the server redirects without a Location header; check the URL",
        False,
    )


@pytest.mark.parametrize(
    ("host", "resolved", "kind"),
    [
        ("127.0.0.1", "127.0.0.1", "a loopback address"),
        ("169.254.169.254", "169.254.169.254", "a link-local address"),
        ("kubernetes.default.svc", "kubernetes.default.svc resolves to 10.96.0.1", "a private address"),
        # The host that redirects, whose name means another address by now.
        ("public.example", "public.example resolves to 192.168.0.1", "a private address"),
    ],
)
def test_a_redirect_to_a_private_address_is_refused(
    site: Site, internet: Internet, host: str, resolved: str, kind: str
) -> None:
    site.pages["/a"] = Response(302, {"Location": f"https://{host}/b?c"})
    internet.hosts = {PUBLIC[0]: site.port}
    internet.names = {host: [[resolved.rpartition(" ")[2]]]}
    internet.names["public.example"] = [[PUBLIC[0]], ["192.168.0.1"]]
    assert failure("https://public.example/a", allow_private=False) == (
        "private-address",
        f"reading https://public.example/a, redirected to https://{host}/b?***: {resolved}, {kind}; {INSTEAD}",
        False,
    )
    assert internet.connected == [PUBLIC[0]]


@pytest.mark.parametrize(
    ("host", "address", "kind"),
    [
        ("127.0.0.1", "127.0.0.1", "a loopback address"),
        ("2130706433", "127.0.0.1", "a loopback address"),
        ("0x7f000001", "127.0.0.1", "a loopback address"),
        ("0177.0.0.1", "127.0.0.1", "a loopback address"),
        ("127.1", "127.0.0.1", "a loopback address"),
        ("[::1]", "::1", "a loopback address"),
        ("[::ffff:127.0.0.1]", "::ffff:127.0.0.1", "a loopback address"),
        ("[64:ff9b::127.0.0.1]", "64:ff9b::7f00:1", "a loopback address"),
        ("169.254.169.254", "169.254.169.254", "a link-local address"),
        ("2852039166", "169.254.169.254", "a link-local address"),
        ("[fe80::1]", "fe80::1", "a link-local address"),
        ("[::ffff:a9fe:a9fe]", "::ffff:169.254.169.254", "a link-local address"),
        ("[fd00:ec2::254]", "fd00:ec2::254", "a private address"),
        ("10.0.0.1", "10.0.0.1", "a private address"),
        ("172.16.0.1", "172.16.0.1", "a private address"),
        ("192.168.0.1", "192.168.0.1", "a private address"),
        ("100.64.0.1", "100.64.0.1", "a carrier's private address"),
        ("224.0.0.1", "224.0.0.1", "a multicast address"),
        ("[ff02::1]", "ff02::1", "a multicast address"),
        ("0.0.0.0", "0.0.0.0", "no address of a host"),  # noqa: S104 - nothing is bound
        ("0", "0.0.0.0", "no address of a host"),  # noqa: S104 - nothing is bound
        ("[::]", "::", "no address of a host"),
        ("240.0.0.1", "240.0.0.1", "a reserved address"),
        ("[2002:7f00:1::]", "2002:7f00:1::", "a reserved address"),
        ("[2001:0:7f00:1::]", "2001:0:7f00:1::", "a reserved address"),
    ],
)
@pytest.mark.usefixtures("unconnected")
def test_an_address_that_is_not_public_is_refused_in_all_its_forms(host: str, address: str, kind: str) -> None:
    resolved = address if host.strip("[]") == address else f"{host.strip('[]')} resolves to {address}"
    assert failure(f"https://{host}/x?token=s3cret", allow_private=False) == (
        "private-address",
        f"reading https://{host}/x?***: {resolved}, {kind}; {INSTEAD}",
        False,
    )


@pytest.mark.usefixtures("unconnected")
def test_a_name_of_this_machine_is_refused() -> None:
    reason, message, later = failure("https://localhost/x", allow_private=False)
    assert (reason, "a loopback address" in message, later) == ("private-address", True, False)


def test_one_private_address_among_public_ones_refuses_a_name(internet: Internet) -> None:
    internet.names["public.example"] = [[PUBLIC[0], "10.0.0.1", PUBLIC[1]]]
    assert failure("https://public.example/", allow_private=False)[0] == "private-address"
    assert internet.connected == []


def test_a_name_is_resolved_once_and_what_was_checked_is_connected_to(site: Site, internet: Internet) -> None:
    site.pages["/config.yaml"] = Response(200, {}, CONFIG)
    internet.names["public.example"] = [[PUBLIC[0]], ["127.0.0.1"]]
    internet.hosts = {PUBLIC[0]: site.port}
    assert read(HttpsUrl.parse("https://public.example/config.yaml"), limit=LIMIT, timeout=GOES_ON) == CONFIG
    assert (internet.looked_up, internet.connected) == (["public.example"], [PUBLIC[0]])
    assert site.calls[0].headers["Host"] == "public.example"


def test_the_next_address_is_tried_when_one_takes_no_connection(site: Site, internet: Internet) -> None:
    site.pages["/config.yaml"] = Response(200, {}, CONFIG)
    internet.names["public.example"] = [["2606:4700::1111", *PUBLIC]]
    internet.hosts = {PUBLIC[1]: site.port}
    assert read(HttpsUrl.parse("https://public.example/config.yaml"), limit=LIMIT, timeout=GOES_ON) == CONFIG
    assert internet.connected == ["2606:4700::1111", *PUBLIC]


@pytest.mark.parametrize(
    ("number", "later"),
    [pytest.param(socket.EAI_NONAME, False, id="unknown"), pytest.param(socket.EAI_AGAIN, True, id="now")],
)
def test_a_name_that_cannot_be_resolved_is_an_error(monkeypatch: pytest.MonkeyPatch, number: int, later: bool) -> None:
    def unresolved(*_: object, **__: object) -> None:
        raise socket.gaierror(number, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    assert failure("https://nowhere.example/x?token=s3cret") == (
        "dns",
        "reading https://nowhere.example/x?***: the name of the host cannot be resolved (no such name); check the URL",
        later,
    )


def test_a_refused_connection_is_worth_trying_later() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{unused.getsockname()[1]}/x"
        assert failure(url) == (
            "connection",
            f"reading {url}: the connection failed: Connection refused; check the server, or try again later",
            True,
        )


def test_a_certificate_of_an_unknown_authority_is_refused(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(Authority(tmp_path).file))
    assert failure(f"{site.url}/x?token=s3cret") == (
        "tls",
        f"reading {site.url}/x?***: the server's certificate is not trusted: unable to get local issuer certificate; {TRUST}",
        False,
    )
    assert site.calls == []


def test_a_certificate_of_another_host_is_refused(authority: Authority) -> None:
    mismatch = "IP address mismatch, certificate is not valid for '127.0.0.1'"
    with contextlib.closing(Site(authority.server_context(["other.example"]))) as site:
        assert failure(f"{site.url}/x") == (
            "tls",
            f"reading {site.url}/x: the server's certificate is not trusted: {mismatch}; {TRUST}",
            False,
        )
        assert site.calls == []


def test_a_server_without_tls_is_an_error() -> None:
    server = Server("127.0.0.1", 0, lambda _: Response(200))
    with contextlib.closing(server):
        url = server.url.replace("http:", "https:")
        assert failure(f"{url}/x") == (
            "tls",
            f"reading {url}/x: no TLS with the server: WRONG_VERSION_NUMBER; check its port and settings",
            False,
        )


@pytest.mark.parametrize(
    ("status", "reason", "told", "later"),
    [
        (404, "not-found", "the server answered 404; check the URL", False),
        (410, "not-found", "the server answered 410; check the URL", False),
        *(
            (
                status,
                "auth",
                f"the server answered {status}, and no credential is ever sent; give a URL that anybody may read",
                False,
            )
            for status in (401, 403)
        ),
        *(
            (status, "server", f"the server answered {status}; try again later", True)
            for status in (408, 429, 500, 502, 503, 504)
        ),
        *(
            (status, "server", f"the server answered {status}, not 200; check the URL", False)
            for status in (204, 206, 304, 400, 418)
        ),
    ],
)
def test_another_answer_than_the_file_is_an_error(site: Site, status: int, reason: str, told: str, later: bool) -> None:
    site.pages["/x"] = Response(status, {}, CONFIG)
    assert failure(f"{site.url}/x?token=s3cret") == (reason, f"reading {site.url}/x?***: {told}", later)


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ("Content-Encoding: gzip\r\nContent-Length: 3", "Content-Encoding is 'gzip'"),
        ("Content-Encoding: br\r\nContent-Length: 3", "Content-Encoding is 'br'"),
        ("Transfer-Encoding: gzip, chunked", "Transfer-Encoding is 'gzip, chunked'"),
    ],
)
def test_a_compressed_reply_is_refused(peer: Callable[[Speak], str], headers: str, told: str) -> None:
    url = peer(says(f"HTTP/1.1 200 OK\r\n{headers}\r\n\r\nabc".encode()))
    assert failure(url) == (
        "encoding",
        f"reading {url}/: the reply's {told}; have the server send the file as it is",
        False,
    )


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="of another protocol"),
        pytest.param(b"<html></html>\n", id="without a status line"),
        pytest.param(b"HTTP/2 200 OK\r\n\r\n", id="of another version"),
        pytest.param(b"HTTP/1.1 many OK\r\n\r\n", id="without a number"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA: " + b"a" * 70000, id="with a header without end"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"A: a\r\n" * 101, id="with headers without end"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nmany\r\n", id="with a chunk of many bytes"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc", id="with a chunk of -5 bytes"),
    ],
)
def test_a_reply_that_is_no_http_is_an_error(peer: Callable[[Speak], str], reply: bytes) -> None:
    url = peer(says(reply))
    assert failure(url) == (
        "no-http",
        f"reading {url}/: the reply is no HTTP that can be read; check host and port of the URL",
        False,
    )


@pytest.mark.parametrize("goodbye", [True, False], ids=["with a goodbye", "without"])
@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(b"", id="before it begins"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Ty", id="in its headers"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", id="before its body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n12345678", id="in its body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n12345678", id="in a chunk"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n123456789\r\n", id="between chunks"),
    ],
)
def test_a_reply_that_ends_midway_is_an_error_worth_trying_later(
    peer: Callable[[Speak], str], reply: bytes, goodbye: bool
) -> None:
    url = peer(says(reply, goodbye=goodbye))
    reason, message, later = failure(url)
    assert (reason, message.startswith(f"reading {url}/: the "), later) == ("connection", True, True)


def test_a_body_without_a_length_must_end_with_a_goodbye(peer: Callable[[Speak], str]) -> None:
    url = peer(says(b"HTTP/1.1 200 OK\r\n\r\n" + CONFIG, goodbye=False))
    assert failure(url) == (
        "connection",
        f"reading {url}/: the server broke off the connection; try again later",
        True,
    )


def reply_of(size: int, how: str) -> bytes:
    body = b"x" * size
    return (
        b"HTTP/1.1 200 OK\r\n"
        + {
            "length": b"Content-Length: %d\r\n\r\n%s" % (size, body),
            "chunked": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (size, body),
            "end": b"\r\n" + body,
        }[how]
    )


@pytest.mark.parametrize("how", ["length", "chunked", "end"])
def test_a_body_may_be_as_large_as_the_limit_and_no_larger(peer: Callable[[Speak], str], how: str) -> None:
    assert content(peer(says(reply_of(LIMIT, how)))) == b"x" * LIMIT
    url = peer(says(reply_of(LIMIT + 1, how)))
    assert failure(f"{url}/x?token=s3cret") == (
        "too-large",
        f"reading {url}/x?***: the reply has more than 1000 bytes; give the URL of a smaller file",
        False,
    )


@pytest.mark.parametrize(
    ("start", "again"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n", b"x" * 4096, id="of a known length"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 4096, id="of no length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1000\r\n%s\r\n" % (b"x" * 4096), id="in chunks"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", b"x" * 4096, id="in a chunk of size -1"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1;" + b"x" * 4096 + b"\r\nx\r\n",
            id="in wide chunks",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            b"X: %s\r\n" % (b"x" * 4096),
            id="behind its body",
        ),
        pytest.param(b"", b"HTTP/1.1 100 Continue\r\nX: %s\r\n\r\n" % (b"x" * 4096), id="before its headers"),
    ],
)
def test_an_endless_reply_is_left_before_it_has_taken_memory(
    peer: Callable[[Speak], str], over: threading.Event, start: bytes, again: bytes
) -> None:
    url = peer(goes_on(over, start, again))
    tracemalloc.start()
    try:
        reason, message, later = failure(url)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (reason, later, most < 2 << 20) == ("too-large", False, True), message


def goes_on(over: threading.Event, start: bytes, again: bytes, pause: float = 0) -> Speak:
    """Sends a start, and then the same again and again."""

    def speak(connection: ssl.SSLSocket) -> None:
        connection.sendall(start)
        while not over.wait(pause):
            connection.sendall(again)

    return speak


def late(url: str) -> tuple[str, str, bool]:
    """What a read in a moment ends with, and that it ends then."""
    start = time.monotonic()
    ended = failure(url, timeout=MOMENT)
    assert MOMENT <= time.monotonic() - start < GOES_ON / 4
    return ended


def timed_out(what: str) -> tuple[str, str, bool]:
    return (
        "timeout",
        f"{what}: it did not arrive within {MOMENT:g} s; check that the server can be reached",
        True,
    )


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"", id="in the status line"),
        pytest.param(b"HTTP/1.1 200 OK\r\n", id="in a header"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", id="in a body of known length"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", id="in a body of no length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", id="in the size of a chunk"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e7\r\n", id="in a chunk"),
    ],
)
def test_a_server_that_sends_byte_after_byte_ends_at_the_deadline(
    peer: Callable[[Speak], str], over: threading.Event, start: bytes
) -> None:
    url = peer(goes_on(over, start, b"1", pause=MOMENT / 8))
    assert late(f"{url}/x?token=s3cret") == timed_out(f"reading {url}/x?***")


def test_a_server_that_does_not_answer_ends_at_the_deadline(
    peer: Callable[[Speak], str], over: threading.Event
) -> None:
    def speak(_: ssl.SSLSocket) -> None:
        over.wait(GOES_ON)

    url = peer(speak)
    assert late(url) == timed_out(f"reading {url}/")


@pytest.mark.parametrize(
    ("start", "again"),
    [
        pytest.param(b"", b"", id="silent"),
        pytest.param(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03", b"\0", id="byte after byte"),
    ],
)
def test_a_server_that_does_not_finish_the_handshake_ends_at_the_deadline(
    over: threading.Event, start: bytes, again: bytes
) -> None:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.request.sendall(start)
                while not over.wait(MOMENT / 8):
                    self.request.sendall(again)

    with listening(Handler) as url:
        assert late(url) == timed_out(f"reading {url}/")
        over.set()


@pytest.fixture
def unaccepting() -> Iterator[int]:
    """A port whose queue of connections is full, so that another one is neither taken nor refused."""
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            client = sockets.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_a_server_that_takes_no_connection_ends_at_the_deadline(unaccepting: int) -> None:
    assert late(f"https://127.0.0.1:{unaccepting}/") == timed_out(f"reading https://127.0.0.1:{unaccepting}/")


def test_an_address_that_takes_no_connection_leaves_time_for_the_next(
    unaccepting: int, site: Site, internet: Internet
) -> None:
    site.pages["/"] = Response(200, {}, CONFIG)
    internet.names["public.example"] = [[*PUBLIC]]
    internet.hosts = {PUBLIC[0]: unaccepting, PUBLIC[1]: site.port}
    assert read(HttpsUrl.parse("https://public.example/"), limit=LIMIT, timeout=4 * MOMENT) == CONFIG
    assert internet.connected == [*PUBLIC]


def test_when_no_address_takes_a_connection_the_first_one_tells_why(unaccepting: int, internet: Internet) -> None:
    internet.names["public.example"] = [[*PUBLIC]]
    internet.hosts = {PUBLIC[0]: unaccepting}
    assert failure("https://public.example/", timeout=MOMENT) == timed_out("reading https://public.example/")
    assert internet.connected == [*PUBLIC]


def test_a_name_server_that_does_not_answer_ends_at_the_deadline(
    over: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: object, **__: object) -> list[Any]:
        over.wait(GOES_ON)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    assert late("https://slow.example/") == timed_out("reading https://slow.example/")


def test_all_redirects_together_have_one_deadline(peer: Callable[[Speak], str], over: threading.Event) -> None:
    def speak(connection: ssl.SSLSocket) -> None:
        over.wait(MOMENT * 0.4)
        says(b"HTTP/1.1 302 Found\r\nLocation: /again\r\n\r\n")(connection)

    url = peer(speak)
    assert late(url) == timed_out(f"reading {url}/, redirected to {url}/again")
