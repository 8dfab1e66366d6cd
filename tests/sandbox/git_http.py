"""Git over HTTP: `git http-backend`, the reference implementation, as a child for each request."""

import io
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from tests.sandbox import bare_repository
from tests.sandbox.http_server import Call, Response

SERVICES = ("git-upload-pack", "git-receive-pack")


def service(call: Call, path_info: str) -> str | None:
    """Which of git's two services a request below a repository is for; None for anything else.

    Args:
        call: the request.
        path_info: its path behind the repository's, e.g. `/info/refs`.
    """
    name = call.query.get("service", "") if path_info == "/info/refs" else path_info.removeprefix("/")
    return name if name in SERVICES else None


def answer(
    call: Call, repository: Path, path_info: str, login: str | None, pushed: Callable[[list[str]], None]
) -> Response:
    """Run git's own server on a request that may be answered.

    Args:
        call: the request.
        repository: the bare repository.
        path_info: the request's path behind the repository's.
        login: who asks; receive-pack wants somebody.
        pushed: is told, before anything is sent, which refs a push changed.
    """
    call.body.seek(0, 2)
    length = call.body.tell()
    call.body.seek(0)
    environment = bare_repository.environment() | {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_PROJECT_ROOT": str(repository),
        "PATH_INFO": path_info,
        "QUERY_STRING": call.target.partition("?")[2],
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_USER": login or "",
        "REQUEST_METHOD": call.method,
        "CONTENT_TYPE": call.headers.get("Content-Type", ""),
        "CONTENT_LENGTH": str(length),
        "HTTP_CONTENT_ENCODING": call.headers.get("Content-Encoding", ""),
        "GIT_PROTOCOL": call.headers.get("Git-Protocol", ""),
    }
    child = subprocess.Popen(
        ["git", "http-backend"],
        env={name: value for name, value in environment.items() if value},
        stdin=call.body,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdout
    status, headers = _read_headers(child.stdout)
    if path_info == "/git-receive-pack":
        # Read to the end: the push has taken effect before the first byte is sent.
        body = b"".join(_pieces(child))
        pushed(_updated_refs(body))
        return Response(status, headers, body)
    pieces = _pieces(child)
    # Begun, so that it ends the child also when a client has left before the first piece.
    next(pieces)
    return Response(status, headers, pieces)


def _read_headers(stream: IO[bytes]) -> tuple[int, dict[str, str]]:
    headers = {}
    while line := stream.readline().strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name] = value.strip()
    if not headers:
        return 500, {}
    return int(headers.pop("Status", "200 OK").split()[0]), headers


def _pieces(child: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """Nothing, and then the child's output as it comes; the child is gone at the end, also when the client leaves early."""
    stream = child.stdout
    assert isinstance(stream, io.BufferedReader)
    with child:
        try:
            yield b""
            while piece := stream.read1(1 << 16):
                yield piece
        except GeneratorExit:
            child.kill()
            raise


def _updated_refs(reply: bytes) -> list[str]:
    """The refs that receive-pack reports as updated, in its band 1 or without bands."""
    report = b"".join(line[1:] for line in _packet_lines(reply) if line[:1] == b"\1") or reply
    lines = b"\n".join(_packet_lines(report)).decode(errors="replace")
    return re.findall(r"^ok (refs/\S+)", lines, flags=re.MULTILINE)


def _packet_lines(data: bytes) -> Iterable[bytes]:
    """https://git-scm.com/docs/protocol-common#_pkt_line_format"""
    at = 0
    while at + 4 <= len(data):
        size = max(int(data[at : at + 4], 16), 4)
        yield data[at + 4 : at + size]
        at += size
