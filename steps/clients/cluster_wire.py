"""Requests to the API server of Kubernetes, over the connection that lightkube makes of a kubeconfig or service account.

Its own requests keep the server's `Date` to themselves, have one time-out for all, and cannot ask for strict fields.
"""

import email.utils
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
from lightkube.config.client_adapter import Client, ConnectionParams
from lightkube.config.kubeconfig import KubeConfig
from lightkube.core.exceptions import ConfigError

from steps.errors import StepError

CONNECT, READ, WRITE = 5, 30, 4
"""Seconds: to connect, between two pieces of the reply to a read, and of the reply to a write."""

LONGEST_SAID = 500


class Unanswered(Exception):
    """A request without a reply, or with one that is not Kubernetes'; it may have been carried out."""


@dataclass(frozen=True)
class Reply:
    """What the API server answered.

    Attributes:
        body: an object of Kubernetes; of an error, its Status.
        date: by the server's clock, in seconds since 1970; None without its word.
        after: how many seconds later the server wants to be asked again.
    """

    status: int
    body: Mapping[str, Any]
    date: float | None
    after: int | None

    @property
    def said(self) -> str:
        """An error in the server's words."""
        return str(self.body.get("message") or self.status)[:LONGEST_SAID]

    @property
    def reason(self) -> object:
        """Of an error: `AlreadyExists`, `Expired` and the like."""
        return self.body.get("reason")


class Wire:
    """A connection, made again from its configuration after whatever speaks against it.

    Args:
        counted: is told the status of every reply, and `none` when there was none.
    """

    def __init__(self, counted: Callable[[str], None]) -> None:
        self._counted = counted
        self._client: httpx2.Client | None = None

    def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
        patience: float = math.inf,
    ) -> Reply:
        """Send one request.

        Args:
            patience: seconds that nothing may take longer than.

        Raises:
            Unanswered: there was no reply of Kubernetes.
            StepError: there is no configuration.
        """
        if self._client is None:
            self._client = self._connect()
        try:
            reply = self._client.request(
                method,
                path,
                params=query,
                content=None if body is None else json.dumps(body).encode(),
                headers=None if body is None else {"Content-Type": content_type},
                timeout=httpx2.Timeout(
                    min(patience, READ if method == "GET" else WRITE), connect=min(patience, CONNECT, WRITE)
                ),
            )
        except (ConfigError, OSError) as error:
            raise StepError("auth", f"cannot reach the API server of Kubernetes: {error}") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            self._counted("none")
            self.close()
            raise Unanswered(str(error) or type(error).__name__) from error
        if reply.status_code == 401:
            self.close()
        return Reply(reply.status_code, _body(reply), _date(reply.headers.get("date")), _after(reply.headers))

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def _connect(self) -> httpx2.Client:
        lacking = (
            "there is no way to the API server of Kubernetes: give the path of a kubeconfig in KUBECONFIG, or run in a "
            "pod with a service account and its token"
        )
        try:
            config = KubeConfig.from_env().get()
            if config is None or config.user is None:
                raise ConfigError("the kubeconfig has no current context, or one without a user")  # noqa: TRY301 - it is one of them
            client = Client(config, ConnectionParams(timeout=httpx2.Timeout(CONNECT)))
        except Exception as error:  # lightkube lets through whatever its parsers say of a file
            raise StepError("auth", f"{lacking} ({' '.join(str(error).split())})") from error
        client.event_hooks = {"response": [lambda reply: self._counted(str(reply.status_code))]}
        return client


def _body(reply: httpx2.Response) -> Mapping[str, Any]:
    try:
        body = json.loads(reply.content)
    except (ValueError, RecursionError):
        body = None
    if isinstance(body, dict):
        return body
    if reply.status_code < 400:
        raise Unanswered(f"{reply.status_code} with something that is no object of Kubernetes")
    return {"message": " ".join(reply.text[:LONGEST_SAID].split())}


def _date(text: str | None) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp() if text else None
    except ValueError:
        return None


def _after(headers: Mapping[str, str]) -> int | None:
    text = headers.get("retry-after", "")
    return int(text) if text.isdecimal() and len(text) < 7 else None
