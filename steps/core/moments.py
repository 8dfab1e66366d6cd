"""Times as people and programs write them, and as seconds since 1970."""

from datetime import UTC, datetime

LATEST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
"""Whatever is told to be later is no time: there are to be some after it."""

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def parsed(text: object) -> float | None:
    """The seconds since 1970 of a time as Kubernetes writes it, RFC 3339; None for anything else."""
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    if moment is None or moment.tzinfo is None:
        return None
    seconds = moment.timestamp()
    return seconds if is_moment(seconds) else None


def is_moment(seconds: float) -> bool:
    """Whether it is between 1970 and `LATEST`, so that it can be written, and what comes soon after it."""
    return 0 <= seconds < LATEST


def iso(seconds: float) -> str:
    """As in RFC 3339, to the second: `2026-11-26T20:28:05Z`."""
    return f"{datetime.fromtimestamp(seconds // 1, UTC):%Y-%m-%dT%H:%M:%SZ}"


def utc(seconds: float) -> str:
    """For a person: `2026-11-26 20:28:05 UTC`."""
    return f"{datetime.fromtimestamp(seconds // 1, UTC):%Y-%m-%d %H:%M:%S UTC}"


def span(seconds: float) -> str:
    """How long that is, in the largest unit that it has one of: `3 h`, `0 s`."""
    whole = max(0, int(seconds))
    for size, unit in _UNITS:
        if whole >= size:
            return f"{whole // size} {unit}"
    return f"{whole} s"
