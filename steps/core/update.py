"""An update: what the newest image of one (application, version) is proposed by. Whoever must agree on a name asks here."""

import re
from typing import Self

from steps.core.repository import Branch

LONGEST_VERSION = 100

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?")
_MARKER = re.compile(r"<!-- apps-cd commit=([0-9a-f]{40}(?:[0-9a-f]{24})?) -->")


class Application(str):
    """The name of an application: a part of its branch, so letters, digits, `.`, `_` and `-`, at most 100."""

    @classmethod
    def parse(cls, text: str) -> Self:
        if not _NAME.fullmatch(text):
            raise ValueError(f"{text!r} is not an application: at most 100 of letters, digits, `.`, `_` and `-`")
        Branch.parse(text)
        return cls(text)


class Version(str):
    """The name of a version, such as the branch of the manifests: one or more names between slashes."""

    @classmethod
    def parse(cls, text: str) -> Self:
        if len(text) > LONGEST_VERSION or not all(_NAME.fullmatch(part) for part in text.split("/")):
            raise ValueError(
                f"{text!r} is not a version: names of letters, digits, `.`, `_` and `-`, with `/` between them, "
                f"in all at most {LONGEST_VERSION} characters"
            )
        Branch.parse(text)
        return cls(text)


def branch(application: Application, version: Version) -> Branch:
    """The head branch of an update. It is stable, so that a newer image updates the pull request that is open."""
    return Branch.parse(f"apps-cd/{version}/{application}")


def marker(commit: str) -> str:
    """What the body of a pull request ends with, unseen: the commit it describes."""
    return f"<!-- apps-cd commit={commit} -->"


def marked_commit(body: str) -> str | None:
    """The commit that a body describes, or None when it is not ours or its marker was taken out."""
    commits = _MARKER.findall(body)
    return commits[-1] if commits else None
