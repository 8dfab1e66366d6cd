"""Plain values of the command line that are text."""

import re
from typing import Self

LONGEST_PATH = 2048
"""Bytes: half of what Linux takes, because a path may go on from a directory that has a name, too."""

LONGEST_NAME = 255

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_REORDERING = re.compile(r"[\u202a-\u202e\u2066-\u2069]")
_NOT_IN_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Text(str):
    """Text of several lines, as a person writes it into a message; line ends become one line feed."""

    @classmethod
    def parse(cls, text: str) -> Self:
        text = text.replace("\r\n", "\n")
        if match := _NOT_IN_TEXT.search(text):
            line = text.count("\n", 0, match.start()) + 1
            raise ValueError(f"line {line} of the text has the control character {match[0]!r}; take it out")
        return cls(text)


class Line(str):
    """Text of one line without control characters, and without those that show it in another order than it has."""

    @classmethod
    def parse(cls, text: str) -> Self:
        if match := _CONTROL.search(text) or _REORDERING.search(text):
            raise ValueError(
                f"{text!r} has a control character at position {match.start() + 1}; write it on one line, without"
            )
        return cls(text)


class FilePath(Line):
    """A path that a file system can have, whether or not there is something."""

    @classmethod
    def parse(cls, text: str) -> Self:
        path = super().parse(text)
        size, longest = len(path.encode()), max(len(name.encode()) for name in path.split("/"))
        if size > LONGEST_PATH or longest > LONGEST_NAME:
            raise ValueError(
                f"{text[:80]!r}… is too long for a path: at most {LONGEST_PATH} bytes, and {LONGEST_NAME} between slashes"
            )
        return path


def counted(count: int, what: str) -> str:
    """`1 commit`, `2 commits`."""
    return f"{count} {what}" + ("" if count == 1 else "s")


def shown(text: str) -> str:
    """A text as one line: what would act on a terminal, show it in another order, or not be seen, as an escape."""
    return "".join(each if each.isprintable() else _escape(each) for each in text)


def shown_lines(text: str) -> str:
    """The same of several lines, which stay, as their tabs do."""
    return "".join(each if each.isprintable() or each in "\n\t" else _escape(each) for each in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
