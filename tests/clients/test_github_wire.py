"""The adapter that gives each request a time in whole, against servers that have all the time in the world."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import requests

from steps.clients.github_wire import Deadline


@contextmanager
def server(serve: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """A server that hands its one connection to a function until the test is over."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)

        def accept() -> None:
            connection, _ = listener.accept()
            with connection:
                serve(connection, over)

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        over.set()
        thread.join()


def silent(_: socket.socket, over: threading.Event) -> None:
    over.wait(10)


def trickling(head: bytes) -> Callable[[socket.socket, threading.Event], None]:
    def serve(connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(head)
        while not over.wait(0.05):
            connection.sendall(b"x")

    return serve


@pytest.mark.parametrize(
    "serve",
    [
        pytest.param(silent, id="says nothing"),
        pytest.param(trickling(b"HTTP/1.1 200 OK\r\nX-Long: "), id="sends a header byte by byte"),
        pytest.param(trickling(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"), id="sends a body byte by byte"),
        pytest.param(trickling(b"HTTP/1.1 200 OK\r\n\r\n"), id="sends a body without end"),
    ],
)
def test_a_request_ends_in_time_when_the_server(serve: Callable[[socket.socket, threading.Event], None]) -> None:
    with server(serve) as url, requests.Session() as session:
        session.mount("http://", Deadline(0.4))
        begun = time.monotonic()
        with pytest.raises(requests.ReadTimeout):
            session.get(url)
        assert 0.3 < time.monotonic() - begun < 10  # without a deadline: for ever


def test_what_is_not_connected_in_time_is_not_sent_any_more() -> None:
    received = []

    def serve(connection: socket.socket, _: threading.Event) -> None:
        received.append(connection.recv(65536))

    with server(serve) as url, requests.Session() as session:
        session.mount("http://", Deadline(1e-9))
        with pytest.raises(requests.RequestException):
            session.post(url, data=b"a write")
    assert received == [b""]


def test_a_whole_reply_in_time_is_read() -> None:
    def serve(connection: socket.socket, _: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    with server(serve) as url, requests.Session() as session:
        session.mount("http://", Deadline(5))
        assert session.get(url).text == "hello"
