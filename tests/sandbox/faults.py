"""What can go wrong between a client and GitHub, drawn from a seed, and the audit of how the client took it.

Which fault a request meets depends on the seed, its repository and how many requests of that repository came before,
and on nothing else: runs repeat, whatever goes on beside them.
"""

import dataclasses
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from email.utils import formatdate
from random import Random
from typing import Any, Literal

from tests.sandbox.github_rest import Refused, json_response, moved
from tests.sandbox.http_server import Call, Response

GIT_SHARE = 0.1
"""Git over HTTP meets this part of the rates."""

_NEW = ("create pull request ", "create issue ", "comment on ")
"""Effects that make what lists show later."""

Kind = Literal[
    "server_error",
    "drop",
    "too_many",
    "secondary",
    "redirect",
    "html",
    "truncated",
    "unauthorized",
    "duplicate_item",
    "slow",
]


@dataclass(frozen=True)
class Profile:
    """How often what goes wrong: each is a share of the requests, and a request meets one fault at most."""

    server_error: float = 0.20
    """500, 502, 503 or 504; half of them after the effect."""
    drop: float = 0.05
    """The effect is there, but the connection is cut before the headers or at any byte of the reply."""
    too_many: float = 0.05
    """429, half of them with Retry-After; before the effect."""
    secondary: float = 0.02
    """403 for the secondary rate limit, half of them with Retry-After, some for the primary one with the time of its
    reset; before the effect."""
    redirect: float = 0.01
    """301, or 307 for a write, to the repository's address by its id; before the effect. REST alone."""
    html: float = 0.01
    """200 and a page, before the effect."""
    truncated: float = 0
    """The body ends in its middle, as its Content-Length has it; after the effect."""
    unauthorized: float = 0
    """401, once for each repository and login; before the effect."""
    duplicate_item: float = 0
    """A list shows an item twice. REST alone."""
    slow: float = 0
    """The reply comes byte by byte."""
    lag: float = 0
    """For how many seconds, at most, lists lack what was just created; what is asked for by number is there at once."""
    longest_wait: int = 2
    """How many seconds a Retry-After or a reset is off, at most; it is one second at least."""
    pause: float = 1.0
    """Seconds between two bytes of a slow reply."""

    @property
    def rates(self) -> dict[Kind, float]:
        return {
            "server_error": self.server_error,
            "drop": self.drop,
            "too_many": self.too_many,
            "secondary": self.secondary,
            "redirect": self.redirect,
            "html": self.html,
            "truncated": self.truncated,
            "unauthorized": self.unauthorized,
            "duplicate_item": self.duplicate_item,
            "slow": self.slow,
        }


BAD_DAY = Profile()
"""What no effect is to be there twice under."""
NONE = Profile(server_error=0, drop=0, too_many=0, secondary=0, redirect=0, html=0)


@dataclass(frozen=True)
class Asked:
    """A request, as far as faults depend on it and its record shows it."""

    call: Call
    service: Literal["git", "rest"]
    repository: str
    """Its full name; empty where a request is not about one."""
    by_id: str | None
    """Where a redirect leads; None if the request is not about a repository, or asked at that address already."""
    login: str | None
    token: str | None


@dataclass(frozen=True)
class Record:
    """What the audit keeps of a request."""

    time: float
    """By the clock of the faults, when it came in."""
    method: str
    path: str
    """With the query."""
    status: int
    """Of the reply, also of one that was cut."""
    fault: str | None
    """E.g. `server_error after`, `drop 0`; None if all went well."""
    effects: tuple[str, ...]
    repository: str
    login: str | None

    @property
    def is_write(self) -> bool:
        """Whether it asked the REST interface for a change, at the address where it stayed."""
        return self.path.startswith("/api/v3/") and self.method not in ("GET", "HEAD") and self.status != 307


class Faults:
    """To be put into `GitHub.faults`.

    Args:
        profile: what goes wrong how often.
        seed: of all that is drawn.
        clock: what lag, waits and the audit are measured by.
    """

    def __init__(self, profile: Profile, seed: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.log: list[Record] = []
        """All requests, in the order in which they were answered."""
        self.impatient: list[Record] = []
        """REST requests that came before the end of a wait that was announced to their token."""
        self._profile, self._seed, self._clock = profile, seed, clock
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._refused_once: set[tuple[str, str]] = set()
        self._waits: dict[str | None, float] = {}
        self._listed_from: dict[int, float] = {}

    def listed(self, items: list[Any]) -> list[Any]:
        """The items of a list that do not lag behind."""
        now = self._clock()
        return [item for item in items if self._listed_from.get(item.get("id"), now) <= now]

    def answer(self, asked: Asked, effects: list[str], answer: Callable[[], Response]) -> Response:
        """Answer a request as the profile has it.

        Args:
            asked: the request.
            effects: where `answer` notes what it changed.
            answer: answers it as it should be; is not called where the fault comes before the effect.
        """
        came = self._clock()
        with self._lock:
            key = asked.service, asked.repository.lower()
            self._counts[key] += 1
            # Not secret; and a text as seed is hashed the same way in every process.
            random = Random(f"{self._seed} {key} {self._counts[key]}")  # noqa: S311
            fault = self._draw(asked, random)
            early = asked.service == "rest" and came < self._waits.get(asked.token, came)
        name: str | None = None
        response: Response | None = None
        if fault:
            name, response = self._before(fault, asked, random)
        if response is None:
            response = answer()
            if self._profile.lag and any(effect.startswith(_NEW) for effect in effects):
                listed_from = self._clock() + random.uniform(0, self._profile.lag)
                self._listed_from[json.loads(_whole(response.body))["id"]] = listed_from
            if fault:
                name, response = self._after(fault, asked, response, random)
        record = Record(
            came,
            asked.call.method,
            asked.call.target,
            response.status,
            name,
            tuple(effects),
            asked.repository,
            asked.login,
        )
        with self._lock:
            self.log.append(record)
            if early:
                self.impatient.append(record)
        return response

    def _draw(self, asked: Asked, random: Random) -> Kind | None:
        share = GIT_SHARE if asked.service == "git" else 1
        drawn = random.random() / share
        for kind, rate in self._profile.rates.items():
            drawn -= rate
            if drawn < 0:
                return kind if self._applies(kind, asked) else None
        return None

    def _applies(self, kind: Kind, asked: Asked) -> bool:
        if kind == "redirect":
            return asked.by_id is not None
        if kind == "unauthorized":
            key = asked.repository.lower(), asked.login or ""
            once = asked.login is not None and key not in self._refused_once
            self._refused_once.add(key)
            return once
        return True

    def _before(self, fault: Kind, asked: Asked, random: Random) -> tuple[str | None, Response | None]:
        """What is answered in place of an effect, if the fault is of that kind."""
        match fault:
            case "server_error" if random.random() < 0.5:
                return "server_error before", _server_error(random)
            case "too_many":
                return fault, self._limited(429, asked, random, waits=random.random() < 0.5)
            case "secondary":
                drawn = random.random()
                if asked.service == "rest" and drawn > 0.75:
                    return "primary", self._exhausted(asked, random)
                # Git is told by 429 alone; its 403 is for those who may not.
                return fault, self._limited(403 if asked.service == "rest" else 429, asked, random, waits=drawn < 0.5)
            case "redirect":
                assert asked.by_id
                return fault, moved(asked.call, asked.by_id)
            case "html":
                return fault, _page(200, "Just a moment...")
            case "unauthorized":
                return fault, _error(401, "Bad credentials", {"WWW-Authenticate": 'Basic realm="GitHub"'})
        return None, None

    def _after(self, fault: Kind, asked: Asked, response: Response, random: Random) -> tuple[str | None, Response]:
        """What becomes of the answer, if the fault is of that kind."""
        if fault == "slow":
            return fault, dataclasses.replace(response, pause=self._profile.pause)
        response = dataclasses.replace(response, body=_whole(response.body))
        assert isinstance(response.body, bytes)
        match fault:
            case "server_error":
                return "server_error after", _server_error(random)
            case "drop":
                # From the end, so that it is never the whole reply; the headers have 90 bytes at least.
                cut = 0 if random.random() < 0.3 else -random.randint(1, len(response.body) + 90)
                return f"drop {cut}", dataclasses.replace(response, cut=cut)
            case "truncated" if len(response.body) > 1:
                end = random.randrange(1, len(response.body))
                return fault, dataclasses.replace(response, body=response.body[:end])
            case "duplicate_item" if asked.service == "rest" and response.body.startswith(b"[{"):
                items = json.loads(response.body)
                at = random.randrange(len(items))
                items.insert(at, items[at])
                return fault, dataclasses.replace(response, body=json.dumps(items, ensure_ascii=False).encode())
        return None, response

    def _limited(self, status: int, asked: Asked, random: Random, *, waits: bool) -> Response:
        headers = {}
        # Git shows nobody a Retry-After, so there is none to heed.
        if waits and asked.service == "rest":
            seconds = random.randint(1, self._profile.longest_wait)
            headers["Retry-After"] = str(seconds)
            self._announce(asked.token, seconds)
        return _error(
            status,
            "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
            headers,
        )

    def _exhausted(self, asked: Asked, random: Random) -> Response:
        now = time.time()
        reset = math.ceil(now) + random.randint(1, self._profile.longest_wait)
        self._announce(asked.token, reset - now)
        headers = {
            "Date": formatdate(now, usegmt=True),
            "X-RateLimit-Limit": "5000",
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": str(reset),
        }
        return _error(403, f"API rate limit exceeded for {asked.login or '127.0.0.1'}.", headers)

    def _announce(self, token: str | None, seconds: float) -> None:
        with self._lock:
            self._waits[token] = max(self._clock() + seconds, self._waits.get(token, 0))


def _whole(body: bytes | Iterable[bytes]) -> bytes:
    return body if isinstance(body, bytes) else b"".join(body)


def _error(status: int, message: str, headers: dict[str, str]) -> Response:
    return json_response(status, Refused(status, message).body, headers)


def _server_error(random: Random) -> Response:
    status = random.choice((500, 502, 503, 504))
    return _error(status, "Server Error", {}) if random.random() < 0.5 else _page(status, "Unicorn!")


def _page(status: int, title: str) -> Response:
    text = f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
    return Response(status, {"Content-Type": "text/html; charset=utf-8"}, text.encode())
