"""Requests to GitHub's REST interface, as often as is right: a read until it is answered, a write once.

Nothing is sent while GitHub asks for patience. PyGithub would repeat a write whose reply was lost, and makes an object
without a number of whatever came in place of a reply; so replies are taken as they come, and each is checked.
"""

import email.utils
import json
import logging
import math
import random
import re
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from steps import log
from steps.core.repository import Repository, Server
from steps.errors import StepError

if TYPE_CHECKING:
    from steps.clients.github_wire import Wire

TRIES = 12
PATIENCE = 120
"""Seconds that an account waits in all, for GitHub's limits and for replies that do not come."""

LAG = (0, 1, 2, 4, 8, 8, 7)
"""Seconds between looks at a list: it may take 30 s until it shows what was written."""

GAP = 1
"""Seconds between the end of a write and the next, as GitHub asks for."""

SECONDARY_LIMIT = 60
"""Seconds to wait at a limit of which GitHub does not say when it ends."""

LONGEST_LIMIT = 3600
"""Seconds after which a limit is tried, whatever its end is said to be: GitHub counts by the hour, and who waits may stay
for months."""

REPLY = 60
"""Seconds that a whole reply may take."""

LONGEST_REPLY = 500
"""Characters of an error of GitHub's, or of a page in its place, that a message repeats."""

LONGEST_LIST = 1000
"""Pages."""

MOST_KEPT = 8
"""Replies that are kept for being asked for again."""

REDIRECTS = 3

LIMITS = (
    "rate limit",
    "abuse detection",
    "submitted too quickly",
    "wait a few minutes",
    "retry your request again later",
    "login attempts exceeded",
)
"""What GitHub says at a limit, beside its status."""

_log = logging.getLogger("steps.github")

Result = TypeVar("Result")


class NotSent(Exception):
    """A request that cannot have reached the server."""


class Lost(Exception):
    """A request without a reply."""


class Untrusted(Exception):
    """A server whose certificate is not trusted."""


@dataclass(frozen=True)
class Reply:
    """What a server answered.

    Attributes:
        headers: by their names in lower case.
    """

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def body(self) -> Any:
        """What its JSON stands for.

        Raises:
            ValueError: it is no JSON.
        """
        return json.loads(self.text)

    @property
    def date(self) -> float:
        """When the server gave it, in seconds since 1970; without its word, now."""
        return _date(self.headers.get("date")) or time.time()

    @property
    def retry_after(self) -> float | None:
        """How many seconds the server asks to be left alone, by its own clock."""
        asked = self.headers.get("retry-after", "").strip()
        if asked.isdecimal():
            return float(asked)
        reset, date = self.headers.get("x-ratelimit-reset", ""), _date(self.headers.get("date"))
        end = _date(asked)
        if end is None and self.headers.get("x-ratelimit-remaining") == "0" and reset.isdecimal():
            end = float(reset)
        return max(0.0, end - date) if end is not None and date is not None else None

    @property
    def said(self) -> str:
        """An error in GitHub's words."""
        try:
            data = self.body
        except ValueError:
            data = None
        if not isinstance(data, dict):
            return _cut(self.text) or str(self.status)
        errors = data.get("errors")
        details = [
            str(item.get("message") or " ".join(str(item[key]) for key in ("field", "code") if key in item))
            if isinstance(item, dict)
            else str(item)
            for item in (errors if isinstance(errors, list) else [errors] if errors else [])
        ]
        message = data.get("message")
        return _cut("; ".join([str(message)] * bool(message) + details)) or str(self.status)


class Refusal(StepError):
    """GitHub's no, with its status and its words."""

    def __init__(self, reason: str, message: str, reply: Reply) -> None:
        super().__init__(reason, message)
        self.status, self.said = reply.status, reply.said


@dataclass(frozen=True)
class _Closed:
    """A time in which nothing may be sent."""

    until: float
    """By the clock of time.monotonic()."""
    at: float
    """The same by the server's clock, in seconds since 1970."""
    reason: str
    said: str


class Patience:
    """What one account has waited, and how long GitHub asks it to."""

    def __init__(self) -> None:
        self._left: float = PATIENCE
        self._written = -math.inf
        self._closed: _Closed | None = None
        self._limits = 0

    def renew(self) -> None:
        """Let what follows wait as long as ever; what GitHub has asked for stays."""
        self._left = PATIENCE
        if not self.is_closed:
            self._limits = 0

    def enter(self, what: str, *, write: bool) -> None:
        """Wait until a request may be sent."""
        now = time.monotonic()
        if self._closed and self._closed.until > now:
            seconds = self._closed.until - now
            if seconds > self._left:
                raise StepError(
                    self._closed.reason,
                    f"{what}: {self._closed.said}; come back in {math.ceil(seconds)} s, "
                    f"at {time.strftime('%H:%M:%SZ', time.gmtime(math.ceil(self._closed.at)))}",
                    later=True,
                    after=math.ceil(seconds),
                )
            self._sleep(seconds)
        if write and (early := self._written + GAP - time.monotonic()) > 0:
            self._sleep(early)

    @property
    def is_closed(self) -> bool:
        """Whether GitHub asks to be left alone just now."""
        return self._closed is not None and self._closed.until > time.monotonic()

    def leave(self, *, write: bool) -> None:
        """Take note that a request is over."""
        if write:
            self._written = time.monotonic()

    def close(self, seconds: float | None, reply: Reply, reason: str, said: str) -> None:
        """Let nothing be sent for a while.

        Args:
            seconds: None is GitHub's minimum, and twice as long each further time.
        """
        if seconds is None:
            seconds = SECONDARY_LIMIT * 2**self._limits
            self._limits += 1
        seconds = min(seconds, LONGEST_LIMIT)
        until = time.monotonic() + seconds
        if self._closed is None or until > self._closed.until:
            self._closed = _Closed(until, reply.date + seconds, reason, said)

    def wait(self, seconds: float, error: StepError) -> None:
        """Wait a while, or end with the error when that would be too long."""
        if seconds > self._left:
            error.after = error.after or math.ceil(seconds)
            raise error
        self._sleep(seconds)

    def spend(self, seconds: float) -> None:
        """Take note of a time that was lost without a reply."""
        self._left -= seconds

    def _sleep(self, seconds: float) -> None:
        self._left -= seconds
        time.sleep(seconds)


class Account(Protocol):
    """Who asks."""

    patience: Patience
    known_as: str | None
    """Whose name is on what is written, once that was asked."""

    def token(self) -> str:
        """A token that is valid for ten minutes at least, as far as that is known."""

    def renew(self) -> bool:
        """Look for another token, because GitHub did not take this one; whether there is one."""

    def login(self) -> str | None:
        """Whose name is on what is written; None when GitHub tells whoever has the token."""


class Requests:
    """The requests of one account to one server, about one repository.

    Args:
        server: whose interface is asked; the token is sent there only.
        repository: what a path is below, unless it starts with a slash.
        account: who asks.
        ca: PEM certificates trusted in place of the system's.
        counted: is told the status of each reply, or `none` when none came.
    """

    def __init__(
        self,
        server: Server,
        repository: Repository,
        account: Account,
        ca: Path | None,
        counted: Callable[[str], None] | None = None,
    ) -> None:
        self._server, self._account, self._ca, self._counted = server, account, ca, counted
        self.path = repository.path
        """OWNER/NAME; another one once GitHub has told that the repository was renamed."""
        self._patience = account.patience
        self._wire: Wire | None = None
        self._kept: dict[str, tuple[str, Any]] = {}
        # Beside the interface's /v3 on a server of one's own, below it on github.com.
        self._graphql = server.api_url.removesuffix("/v3") + "/graphql"

    def get(
        self,
        what: str,
        path: str,
        parse: Callable[[Reply], Result],
        query: Mapping[str, Any] | None = None,
        *,
        again: bool = False,
    ) -> Result:
        """What a path holds.

        Args:
            what: begins the message of an error: `cannot ...`.
            path: or the URL of a further page.
            parse: takes a reply of success, and raises LookupError, TypeError, ValueError or AttributeError when it is
                none.
            again: whether it is asked for again and again: what is as it was is the same object, and GitHub does not
                count the request.
        """
        if not again:
            return self._ask(what, "GET", path, query, None, parse, None)
        key = f"{path}?{urllib.parse.urlencode(query or {})}"
        etag, before = self._kept.get(key, ("", None))

        def parsed(reply: Reply) -> Result:
            found: Result = before if reply.status == 304 else parse(reply)
            self._kept.pop(key, None)
            self._kept[key] = (etag if reply.status == 304 else reply.headers.get("etag", ""), found)
            if len(self._kept) > MOST_KEPT:
                del self._kept[next(iter(self._kept))]
            return found

        return self._ask(what, "GET", path, query, None, parsed, None, etag)

    def pages(
        self,
        what: str,
        path: str,
        parse: Callable[[Any], Result],
        query: Mapping[str, Any] | None = None,
        *,
        again: bool = False,
    ) -> Iterator[Sequence[Result]]:
        """The items of a list, each parsed, page by page as they are wanted.

        Args:
            again: see `get`; of the first page.
        """

        def page(reply: Reply) -> tuple[Sequence[Result], str | None]:
            items = reply.body
            if not isinstance(items, list):
                raise TypeError("there is no list in it")
            return [parse(item) for item in items], self._next(reply)

        target: str | None = path
        asked: Mapping[str, Any] | None = {**(query or {}), "per_page": 100}
        for _ in range(LONGEST_LIST):
            if target is None:
                return
            items, target = self.get(what, target, page, asked, again=again)
            yield items
            asked, again = None, False

    def list(
        self, what: str, path: str, parse: Callable[[Any], Result], query: Mapping[str, Any] | None = None
    ) -> list[Result]:
        """All items of a list, each parsed."""
        return [item for page in self.pages(what, path, parse, query) for item in page]

    def write(
        self,
        what: str,
        verb: str,
        path: str,
        body: object,
        parse: Callable[[Reply], Result],
        find: Callable[[], Result | None] | None,
    ) -> Result:
        """What a write was answered with; it is carried out once.

        Args:
            find: looks for what a write has done whose reply was lost; without it, doing it twice does no harm.
        """
        return self._ask(what, verb, path, None, body, parse, find)

    def graphql(
        self,
        what: str,
        query: str,
        variables: Mapping[str, Any],
        parse: Callable[[Any], Result],
        find: Callable[[], Result | None] | None = None,
    ) -> Result:
        """The data that a query was answered with, or a mutation, which needs a `find`."""

        def data(reply: Reply) -> Result:
            body = reply.body
            if errors := body.get("errors"):
                if any(isinstance(each, dict) and each.get("type") == "RATE_LIMITED" for each in errors):
                    raise self._limited(what, reply)
                raise _Fault(Refusal("refused", f"{what}: GitHub refuses ({reply.said})", reply), again=False)
            return parse(body["data"])

        body = {"query": query, "variables": variables}
        return self._ask(what, "POST", self._graphql, None, body, data, find)

    def await_listed(self, what: str, look: Callable[[], Result | None]) -> Result | None:
        """What a look finds that may not be listed yet."""
        for seconds in LAG:
            error = f"{what}: whether it was done cannot be seen yet; try again later"
            self._patience.wait(seconds, StepError("unreachable", error, later=True))
            if (found := look()) is not None:
                return found
        return None

    def _ask(
        self,
        what: str,
        verb: str,
        path: str,
        query: Mapping[str, Any] | None,
        body: object,
        parse: Callable[[Reply], Result],
        find: Callable[[], Result | None] | None,
        etag: str = "",
    ) -> Result:
        is_write = verb != "GET" and not (path == self._graphql and find is None)
        is_renewed = is_lost = False
        for attempt in range(TRIES):
            token = self._account.token()
            self._patience.enter(what, write=is_write)
            begun = time.monotonic()
            try:
                return self._try(what, verb, path, query, body, parse, (token, etag))
            except _Fault as found:
                fault = found
            finally:
                self._patience.leave(write=is_write)
            if fault.error.reason == "auth" and not is_renewed and self._account.renew():
                is_renewed = True
                continue
            if not fault.again:
                break
            if not fault.is_answered:
                self._patience.spend(time.monotonic() - begun)
            if fault.error.reason == "moved" and verb != "GET":
                self._follow()
            if not fault.is_certain and find is not None:
                if (done := find()) is not None:
                    return done
                if is_lost:
                    break
                is_lost = True
            if attempt < TRIES - 1 and not self._patience.is_closed:
                self._patience.wait(random.uniform(0, min(8, 0.5 * 2**attempt)), fault.error)  # noqa: S311 - spreads tries
        raise fault.error

    def _try(
        self,
        what: str,
        verb: str,
        path: str,
        query: Mapping[str, Any] | None,
        body: object,
        parse: Callable[[Reply], Result],
        shown: tuple[str, str],
    ) -> Result:
        """What one request is answered with; a redirect of a read is followed.

        Args:
            shown: the token, and the ETag of a reply that is kept.
        """
        reply = self._send(what, verb, self._url(path), query, body, shown)
        moved = None
        for _ in range(REDIRECTS):
            if verb != "GET" or reply.status == 304 or not 300 <= reply.status < 400:
                break
            moved, target = self._fault(what, reply), self._target(what, reply)
            if not path.startswith(("/", "http")) and self._follow():
                moved, target = None, self._url(path)
            else:
                query = None
            reply = self._send(what, verb, target, query, None, shown)
        if moved and reply.status == 404:
            raise moved
        if reply.status >= 300 and not (reply.status == 304 and shown[1]):
            raise self._fault(what, reply)
        try:
            return parse(reply)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            text = f"{what}: the answer is not GitHub's; is --github-url right? ({error})"
            raise _Fault(StepError("unreachable", text, later=True), is_certain=False) from error

    def _send(
        self, what: str, verb: str, url: str, query: Mapping[str, Any] | None, body: object, shown: tuple[str, str]
    ) -> Reply:
        if self._wire is None:
            from steps.clients.github_wire import Wire

            self._wire = Wire(self._server.api_url, self._ca, REPLY)
        status = "none"
        try:
            reply = self._wire.send(verb, url, query, body, *shown)
            status = str(reply.status)
        except Untrusted as error:
            text = f"{what}: the server's certificate is not trusted ({error}); give its authority's as ca.crt"
            raise _Fault(StepError("tls", text), again=False) from error
        except (NotSent, Lost) as error:
            text = f"{what}: GitHub could not be reached: {error}"
            is_certain = isinstance(error, NotSent)
            raise _Fault(
                StepError("unreachable", text, later=True), is_certain=is_certain, is_answered=False
            ) from error
        finally:
            if self._counted:
                self._counted(status)
        return reply

    def _url(self, path: str) -> str:
        return path if path.startswith(("/", "http")) else f"/repos/{self.path}/{path}"

    def _is_ours(self, url: str) -> bool:
        """Whether the token may be sent to a URL."""
        api = self._server.api_url
        return url.lower().startswith(urllib.parse.urljoin(api, "/").lower())

    def _target(self, what: str, reply: Reply) -> str:
        """Where a read is redirected to."""
        location = urllib.parse.urljoin(self._server.api_url, reply.headers.get("location", ""))
        if self._is_ours(location):
            return location
        text = (
            f"{what}: the answer is not GitHub's; is --github-url right? (it redirects to {location[:LONGEST_REPLY]})"
        )
        raise _Fault(StepError("unreachable", text, later=True))

    def _next(self, reply: Reply) -> str | None:
        """The URL of the page behind a page of a list."""
        for url in re.findall(r'<([^<>]+)>;[^<>]*rel="next"', reply.headers.get("link", "")):
            if not self._is_ours(url):
                raise ValueError(f"its next page is at {url[:LONGEST_REPLY]}")
            return str(url)
        return None

    def _follow(self) -> bool:
        """Ask for the repository's present name; whether it is another one than before."""
        what = f"cannot look up the repository {self.path}"
        name = self.get(what, f"/repos/{self.path}", lambda reply: as_text(reply.body["full_name"]))
        if name.lower() == self.path.lower():
            return False
        _log.warning("the repository %s is now %s; give its present URL", self.path, name, extra={"reason": "moved"})
        self.path = name
        return True

    def _fault(self, what: str, reply: Reply) -> "_Fault":
        """Why a reply is no success."""
        status, said = reply.status, reply.said
        words = said.lower()
        if not reply.text.strip() and 400 <= status < 500:
            # GitHub says why; a reply that was cut off does not.
            error = f"{what}: GitHub answered {status} without a word; try again later"
            return _Fault(StepError("unreachable", error, later=True), is_certain=False)
        if status == 401:
            error = f"{what}: GitHub does not take the token; give a valid one ({said})"
            return _Fault(Refusal("auth", error, reply), again=False)
        if (
            status == 429
            or any(words_of_limit in words for words_of_limit in LIMITS)
            or (status == 403 and ("retry-after" in reply.headers or reply.headers.get("x-ratelimit-remaining") == "0"))
        ):
            return self._limited(what, reply)
        if status < 400:
            error = f"{what}: GitHub answered {said!r} in place of an object; was the repository renamed? give its present URL"
            # One to another place by GET may follow upon what was carried out.
            return _Fault(StepError("moved", error, later=True), is_certain=status not in (302, 303))
        if status >= 500 or status == 408:
            told = f"GitHub answered {status}"
            if (seconds := reply.retry_after) is not None:
                self._patience.close(seconds, reply, "unreachable", f"{told} ({said})")
            error = f"{what}: {told}; try again later ({said})"
            return _Fault(StepError("unreachable", error, later=True), is_certain=False)
        if "archived" in words or "read-only" in words:
            error = f"{what}: the repository is archived, so nothing can be written; unarchive it ({said})"
            return _Fault(Refusal("archived", error, reply), again=False)
        if status in (404, 410, 451) or "repository access blocked" in words or "has been disabled" in words:
            error = f"{what}: there is no such repository, or the token may not see it ({said})"
            return _Fault(Refusal("not-found", error, reply), again=False)
        if status == 403:
            error = f"{what}: the token may not; it needs contents and pull requests, read and write ({said})"
            return _Fault(Refusal("refused", error, reply), again=False)
        return _Fault(Refusal("refused", f"{what}: GitHub refuses ({status}: {said})", reply), again=False)

    def _limited(self, what: str, reply: Reply) -> "_Fault":
        """The fault of a rate limit, during which nothing is sent any more."""
        told = f"GitHub's rate limit is used up ({reply.said})"
        self._patience.close(reply.retry_after, reply, "rate-limit", told)
        return _Fault(StepError("rate-limit", f"{what}: {told}; try again later", later=True))


class _Fault(Exception):
    """A try that failed.

    Args:
        error: what it ends with when there is no further try.
        again: whether a further try may do better.
        is_certain: whether nothing was carried out for certain.
        is_answered: whether the server answered at all.
    """

    def __init__(
        self, error: StepError, *, again: bool = True, is_certain: bool = True, is_answered: bool = True
    ) -> None:
        super().__init__(str(error))
        self.error, self.again, self.is_certain, self.is_answered = error, again, is_certain, is_answered


def as_text(value: object) -> str:
    """A text of a reply."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text"[:LONGEST_REPLY])
    return value


def as_number(value: object) -> int:
    """A number or ID of a reply: positive."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise TypeError(f"{value!r} is no positive number"[:LONGEST_REPLY])
    return value


def _cut(text: str) -> str:
    """The beginning of a text, in which no secret is cut in two, as half of one would not be known for one."""
    return log.redact(text[: 4 * LONGEST_REPLY])[:LONGEST_REPLY]


def _date(text: str | None) -> float | None:
    """The seconds since 1970 of a date as HTTP writes it."""
    try:
        return email.utils.parsedate_to_datetime(text).timestamp() if text else None
    except ValueError:
        return None
