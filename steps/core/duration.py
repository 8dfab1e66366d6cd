"""How long something takes, as a person writes it."""

import re
from typing import Self

LONGEST = 7 * 86_400
"""Seconds."""

_UNITS = {"h": 3600, "m": 60, "s": 1}
_DURATION = re.compile("".join(f"(?:([0-9]{{1,6}}){unit})?" for unit in _UNITS))


class Duration(int):
    """Seconds, from one to those of seven days; written as `600s`, `10m` or `1h30m`."""

    @classmethod
    def parse(cls, text: str) -> Self:
        match = _DURATION.fullmatch(text)
        if not text or not match:
            hint = f": write {text}s for seconds" if text.isascii() and text.isdigit() else ""
            raise ValueError(f"{text!r} is not a duration, such as 600s, 10m or 1h30m{hint}")
        seconds = sum(int(number or 0) * unit for number, unit in zip(match.groups(), _UNITS.values(), strict=True))
        if not 1 <= seconds <= LONGEST:
            raise ValueError(f"{text!r} is not between 1s and {cls(LONGEST)}")
        return cls(seconds)

    def __str__(self) -> str:
        left, parts = int(self), []
        for unit, size in _UNITS.items():
            parts += [f"{left // size}{unit}"] if left // size else []
            left %= size
        return "".join(parts) or "0s"
