"""One request to GitHub over the network: sent once, and its reply read whole within a time.

PyGithub's requester sends it, without its ways to repeat one: it would follow a redirect of a write, and of a read
without the query, and ask again for ever after a 202. This module is slow to load; `github_requests` loads it when it
sends the first request.
"""

import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import requests
import urllib3.connection
import urllib3.exceptions
from github.Requester import (
    HTTPRequestsConnectionClass,
    HTTPSRequestsConnectionClass,
    Requester,
    RequestsResponse,
)
from requests.adapters import HTTPAdapter

from steps.clients.github_requests import Lost, NotSent, Reply, Untrusted

CONNECT = 10
"""Seconds that each address of the server may take to accept a connection."""


class Wire:
    """A GitHub server.

    Args:
        api_url: its REST interface; a request goes to its host only, and redirects are not followed.
        ca: PEM certificates trusted in place of the usual ones.
        seconds: that a whole reply may take.
    """

    def __init__(self, api_url: str, ca: Path | None, seconds: int) -> None:
        self._requester = _Requester(
            auth=None,
            base_url=api_url,
            timeout=seconds,
            user_agent="apps-cd",
            per_page=100,
            verify=str(ca) if ca else True,
            retry=None,
            pool_size=None,
        )

    def send(
        self, verb: str, url: str, query: Mapping[str, Any] | None, body: object, token: str, etag: str = ""
    ) -> Reply:
        """The reply to a request, whatever it says.

        Args:
            etag: of the reply that is had already, so that 304 is enough.

        Raises:
            NotSent: it cannot have reached the server.
            Lost: whether it was carried out is not known.
            Untrusted: the server is not who it should be.
        """
        asked = {"Authorization": f"Bearer {token}"} | ({"If-None-Match": etag} if etag else {})
        try:
            status, headers, text = self._requester.requestJson(verb, url, dict(query or {}), asked, body)
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, ValueError, OverflowError) as error:
            # The last two are PyGithub's, of headers that hold no numbers, or none that there are.
            causes = list(_causes(error))
            kind: type[Exception] = Lost
            if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
                kind = Untrusted
            elif any(isinstance(cause, _UNSENT) for cause in causes):
                kind = NotSent
            raise kind(str(causes[-1])) from error
        return Reply(status, headers, text)


_UNSENT = (
    requests.exceptions.ConnectTimeout,
    requests.exceptions.ProxyError,
    urllib3.exceptions.NewConnectionError,
)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error of requests, and what it was made of: urllib3's and the socket's."""
    yield error
    for cause in (getattr(error, "reason", None), *error.args[:1]):
        if isinstance(cause, BaseException):
            yield from _causes(cause)
            return


def _once(response: RequestsResponse) -> RequestsResponse:
    """A reply with the statuses that PyGithub acts upon exchanged for those that it hands on and that mean as much here."""
    response.status = {301: 308, 202: 503}.get(response.status, response.status)
    return response


class _Http(HTTPRequestsConnectionClass):
    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.session.mount("http://", Deadline(self.timeout or 0))

    def getresponse(self) -> RequestsResponse:
        return _once(super().getresponse())


class _Https(HTTPSRequestsConnectionClass):
    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.session.mount("https://", Deadline(self.timeout or 0))

    def getresponse(self) -> RequestsResponse:
        return _once(super().getresponse())


class _Requester(Requester):
    """PyGithub's requester, with a connection of ours for each request: one that was kept may be gone when it is used."""


_Requester.injectConnectionClasses(_Http, _Https)


class Deadline(HTTPAdapter):
    """Sends a request of `requests` and reads the whole reply within a time, also when it comes byte by byte.

    Args:
        seconds: for all of it: resolving, connecting, the last byte.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def send(self, request: requests.PreparedRequest, *arguments: Any, **keywords: Any) -> requests.Response:
        keywords |= {"stream": False, "timeout": (CONNECT, self._seconds)}
        self._end = time.monotonic() + self._seconds
        answer: Future[requests.Response] = Future()

        def ask() -> None:
            try:
                response = HTTPAdapter.send(self, request, *arguments, **keywords)
                _ = response.content
                answer.set_result(response)
            except BaseException as error:  # noqa: BLE001 - raised again where the reply is waited for
                answer.set_exception(error)

        # Resolving cannot be interrupted, and each read has a time of its own: a thread that nobody waits for is left to both.
        threading.Thread(target=ask, daemon=True).start()
        try:
            return answer.result(self._seconds)
        except TimeoutError:
            raise requests.exceptions.ReadTimeout(f"no whole reply within {self._seconds:g} s") from None

    def get_connection_with_tls_context(self, *arguments: Any, **keywords: Any) -> Any:
        pool = super().get_connection_with_tls_context(*arguments, **keywords)
        kinds: dict[Any, Any] = {
            urllib3.connection.HTTPConnection: _Plain,
            urllib3.connection.HTTPSConnection: _Secured,
        }
        if kind := kinds.get(type(pool).ConnectionCls):
            pool.ConnectionCls = type(kind.__name__, (kind,), {"end": self._end})
        return pool


class _Plain(urllib3.connection.HTTPConnection):
    end: float

    def connect(self) -> None:
        super().connect()
        _refuse_late(self, self.end)


class _Secured(urllib3.connection.HTTPSConnection):
    end: float

    def connect(self) -> None:
        super().connect()
        _refuse_late(self, self.end)


def _refuse_late(connection: urllib3.connection.HTTPConnection, end: float) -> None:
    """Whoever waited has given up and may have asked again: what is sent now would be carried out a second time."""
    if time.monotonic() >= end:
        connection.close()
        raise urllib3.exceptions.ConnectTimeoutError(connection, "the connection came too late")
