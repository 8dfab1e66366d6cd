"""Image references, by the grammar of github.com/distribution/reference."""

import re
from dataclasses import dataclass
from typing import Self

LONGEST_NAME = 255

_COMPONENT = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = rf"(?:{_COMPONENT}(?:\.{_COMPONENT})*|\[[a-fA-F0-9:]+\])"
_PATH_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"(?:{_HOST}(?::[0-9]+)?/)?{_PATH_COMPONENT}(?:/{_PATH_COMPONENT})*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}")
_DESCRIBED = re.compile(r"(?:^|-)g([0-9a-f]{4,64})(?=-|$)")
_BARE = re.compile(r"[0-9a-f]{7,64}")


@dataclass(frozen=True)
class Image:
    """An image reference: `name[:tag][@digest]`.

    Attributes:
        name: registry and repository as written, `gcr.io/project/app` or `app`; at most 255 characters.
        tag: at most 128 of letters, digits, `_.-`.
        digest: `sha256:` and 64 hex digits (or sha384, sha512).
    """

    name: str
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        rest, at, digest = text.partition("@")
        colon = rest.rfind(":")
        if colon > rest.rfind("/") and not rest.endswith("]"):
            name, tag = rest[:colon], rest[colon + 1 :]
        else:
            name, tag = rest, None
        return cls(
            checked_name(name), None if tag is None else checked_tag(tag), checked_digest(digest) if at else None
        )

    @property
    def short_name(self) -> str:
        """The last part of the name's path: `app` of `registry:5000/team/app:v1`."""
        return self.name.rpartition("/")[2]

    def __str__(self) -> str:
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def checked_name(text: str) -> str:
    """The name as it is, or ValueError."""
    if len(text) > LONGEST_NAME:
        raise ValueError(
            f"an image name has at most {LONGEST_NAME} characters, this one has {len(text)}: {text[:80]!r}…"
        )
    if not _NAME.fullmatch(text):
        hint = "; the repository is written in lower case" if _NAME.fullmatch(text.lower()) else ""
        raise ValueError(f"{text!r} is not an image name, such as registry.example.com:5000/team/app{hint}")
    return text


def checked_tag(text: str) -> str:
    """The tag as it is, or ValueError."""
    if not _TAG.fullmatch(text):
        raise ValueError(f"{text!r} is not an image tag: at most 128 of letters, digits, `_`, `.` and `-`")
    return text


def checked_digest(text: str) -> str:
    """The digest as it is, or ValueError."""
    if not _DIGEST.fullmatch(text):
        raise ValueError(f"{text!r} is not an image digest: `sha256:` and 64 hex digits in lower case")
    return text


def commit_of(tag: str) -> str | None:
    """The commit, whole or its first digits, that a tag names as `git describe` does, or alone."""
    if described := _DESCRIBED.findall(tag):
        return str(described[-1])
    return tag if _BARE.fullmatch(tag) else None
