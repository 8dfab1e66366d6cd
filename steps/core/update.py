"""An update: what the newest image of one (application, version) is proposed by. Whoever must agree on a name asks here."""

import re
from dataclasses import dataclass, fields, replace
from typing import Literal, Self

from steps.core.image import Image
from steps.core.repository import Branch, Commit, Person

AUTHOR = Person("apps-cd", "apps-cd@noreply.invalid")
"""Of our commits, unless a step is told otherwise."""
LONGEST_VERSION = 100
REOPEN_LABEL = "apps-cd/reopen"
"""On a pull request that was closed it says that the same image may be proposed again."""

OPENING = "<!-- apps-cd text -->"
"""What our part of the body of a pull request begins with, unseen."""

Remark = Literal["foreign-commit", "in-base", "superseded"]
"""What a comment of ours says; of each kind a pull request gets one."""
CLOSES: tuple[Remark, ...] = ("in-base", "superseded")
"""Those that go before a close of ours."""

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?")
_VALUES = r"((?: [a-z-]+=[A-Za-z0-9._/:@\[\]-]+)+)"
_MARKER = re.compile(rf"<!-- apps-cd{_VALUES} -->")
_TRAILER = re.compile(rf"^Apps-cd:{_VALUES}$", re.MULTILINE)


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


@dataclass(frozen=True)
class Update:
    """What is proposed, as the commit of its branch and the text of its pull request note it for whoever comes next.

    Attributes:
        application: what is updated.
        version: of what.
        image: what it becomes.
        source: the commit that the image was built from, 40 hex digits.
        source_date: the committer date of that commit, in seconds since 1970.
        commit: the commit of the branch, 40 hex digits; only the text of a pull request notes it.
    """

    application: str
    version: str
    image: str | None = None
    source: str | None = None
    source_date: int | None = None
    commit: str | None = None

    @property
    def key(self) -> str | None:
        """What a person who closes the pull request has refused: it is not proposed again."""
        return self.source or self.image or self.commit

    def is_of(self, other: "Update") -> bool:
        """Whether both are updates of the same."""
        return (self.application, self.version) == (other.application, other.version)


def update(
    application: Application,
    version: Version,
    image: Image | None = None,
    source: Commit | None = None,
    source_date: int | None = None,
) -> Update:
    """The update that these arguments of a step stand for."""
    return Update(application, version, str(image) if image else None, source, source_date)


def branch(application: Application, version: Version) -> Branch:
    """The head branch of an update. It is stable, so that a newer image updates the pull request that is open."""
    return Branch.parse(f"apps-cd/{version}/{application}")


def marker(what: Update) -> str:
    """What our part of the body of a pull request ends with, unseen."""
    return f"<!-- apps-cd{_written(what)} -->"


def marked(body: str) -> Update | None:
    """What a body says that it proposes, or None when it is not ours or its marker was taken out."""
    return _read(_MARKER.findall(body, max(body.find(OPENING), 0)))


def trailer(what: Update) -> str:
    """The last line of the message of a commit; without the image, whose `@` may be read as a mention there."""
    return f"Apps-cd:{_written(replace(what, image=None, commit=None))}"


def trailed(message: str) -> Update | None:
    """What the message of a commit says that it proposes, or None when it is not ours."""
    return _read(_TRAILER.findall(message)[-1:])


def remark_marker(remark: Remark) -> str:
    """What a comment of ours ends with, unseen."""
    return f"<!-- apps-cd remark={remark} -->"


def _written(what: Update) -> str:
    values = {field.name.replace("_", "-"): getattr(what, field.name) for field in fields(what)}
    return "".join(f" {name}={value}" for name, value in values.items() if value is not None)


def _read(found: list[str]) -> Update | None:
    for text in found:
        values = dict(item.split("=", 1) for item in text.split())
        if "application" in values and "version" in values:
            date = values.get("source-date", "")
            return Update(
                values["application"],
                values["version"],
                values.get("image"),
                _commit(values.get("source")),
                int(date) if date.isascii() and date.isdigit() and len(date) <= 12 else None,
                _commit(values.get("commit")),
            )
    return None


def _commit(text: str | None) -> str | None:
    try:
        return Commit.parse(text or "")
    except ValueError:
        return None
