"""What is remembered from pass to pass, as the data of a ConfigMap: one key for each pair, and JSON as its value."""

import hashlib
import json
import re
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from steps.core.moments import is_moment
from steps.core.plan import Attempt, Cause, Event, Key, Memory

LARGEST = 900_000
"""Bytes of all keys and values: etcd takes 1.5 MiB of an object, and the API server 1 MiB of a ConfigMap's data."""

LONGEST_KEY = 253
MOST = 1_000_000
"""No pair has been tried as often."""

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SIMPLE = re.compile(r"[A-Za-z0-9_-]+"), re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def read(data: Mapping[str, object]) -> tuple[dict[Key, Memory], list[str]]:
    """What the data of a ConfigMap remembers, and the keys of what nobody can read, which is forgotten."""
    memories, bad = {}, []
    for key, text in data.items():
        memory = _memory(text)
        if memory is None or key_of(memory) != key:
            bad.append(key)
        else:
            memories[memory.key] = memory
    return memories, sorted(bad)


def written(memories: Iterable[Memory]) -> dict[str, str]:
    """The data that remembers: the same for the same memories; what was noted long ago is left out when it is too much."""
    entries = sorted(
        ((key_of(memory), _value(memory), _noted(memory)) for memory in memories), key=lambda it: (-it[2], it[0])
    )
    kept, size = {}, 0
    for key, value, _ in entries:
        size += len(key) + len(value)
        if size > LARGEST:
            break
        kept[key] = value
    return dict(sorted(kept.items()))


def key_of(memory: Memory) -> str:
    """The key of a pair: application and version, shortened and told apart by a hash when a ConfigMap has no such key."""
    key = ".".join(memory.key)
    if len(key) <= LONGEST_KEY and all(map(re.fullmatch, _SIMPLE, memory.key)):
        return key
    digest = hashlib.sha256(json.dumps(memory.key).encode()).hexdigest()[:16]
    # Two dots stand in no simple key after its first part, so that no name of a pair can look like this one.
    return f"{re.sub('[^A-Za-z0-9_-]', '-', key)[:200]}..{digest}"


def _noted(memory: Memory) -> float:
    return max((attempt.noted for attempt in memory.attempts), default=0)


def _value(memory: Memory) -> str:
    attempts = [
        {name: value for name, value in vars(attempt).items() if value is not None} for attempt in memory.attempts
    ]
    return json.dumps(
        {**vars(memory), "attempts": attempts, "told": sorted(memory.told)}, sort_keys=True, separators=(",", ":")
    )


def _memory(text: object) -> Memory | None:
    """What a value remembers; None when it is none that `written` wrote."""
    try:
        value: Any = json.loads(_text(text))
        return Memory(
            application=_text(value["application"]),
            version=_text(value["version"]),
            commit=_one(value["commit"], _COMMIT),
            first=_text(value["first"]),
            attempts=tuple(_attempt(each) for each in _list(value["attempts"])),
            told=frozenset(_of(each, typing.get_args(Event)) for each in _list(value["told"])),
        )
    except (ValueError, TypeError, LookupError, RecursionError):
        return None


def _attempt(value: Any) -> Attempt:
    cause: Cause | None = _of(value["cause"], typing.get_args(Cause)) if "cause" in value else None
    ended = _time(value["ended"]) if "ended" in value else None
    return Attempt(_number(value["number"]), _time(value["noted"]), _number(value["tries"]), ended, cause)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or not value:
        raise ValueError("no text of one line")
    return value


def _one(value: object, pattern: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError("another text")
    return value


def _of(value: object, known: tuple[Any, ...]) -> Any:
    if value not in known:
        raise ValueError("an unknown word")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("no list")
    return value


def _time(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not is_moment(value):
        raise ValueError("no time")
    return float(value)


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MOST:
        raise ValueError("no number of an attempt")
    return value
