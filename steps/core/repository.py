"""Values that name things in git: repositories, branches, revisions, commits, people."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Self

from steps.core.text import Line

LONGEST_ADDRESS = 400

_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]"
_PATH = r"(?:[A-Za-z0-9._~+/-]|%20|%[89A-Fa-f][0-9A-Fa-f])+"
_URL = re.compile(rf"(https?|ssh)://(?:([^/@]*)@)?({_HOST})(?::([0-9]{{1,5}}))?/({_PATH})")
_USER = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_SCP = re.compile(rf"(?:{_USER}@)?({_HOST}):(?!/)({_PATH})")
_HEX = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_ABBREVIATION = re.compile(r"[0-9a-f]{4,39}")
_NOT_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//")
_OWNER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?")
_REPOSITORY_NAME = re.compile(r"(?![.-])[A-Za-z0-9._-]+")
_PERSON = re.compile(r"([^<>]+) <([^<>@\s]+@[^<>@\s]+)>")
_TAKEN_OFF_NAMES = " .,:;\"\\'"


@dataclass(frozen=True)
class Repository:
    """A git repository at a server, by https, http or ssh.

    Attributes:
        url: as git takes it; never with a password; at most 400 characters, because it becomes a result.
        scheme: `https`, `http` or `ssh`.
        host: with its port when the URL has one.
        path: below the host, without leading slash and `.git`.
    """

    url: str
    scheme: str
    host: str
    path: str

    @classmethod
    def parse(cls, text: str) -> Self:
        if len(text) > LONGEST_ADDRESS:
            raise ValueError(f"the address of a repository has at most {LONGEST_ADDRESS} characters, not {len(text)}")
        if match := _URL.fullmatch(text):
            scheme, user, host, port, path = match.groups()
            if user is not None and (scheme != "ssh" or not re.fullmatch(_USER, user)):
                raise ValueError(
                    "a URL with a user or password in it would be logged; put them in the credentials directory"
                )
            if port and not 0 < int(port) < 1 << 16:
                raise ValueError(f"{port} is not a port: 1 to 65535")
            host = f"{host}:{port}" if port else host
        elif match := _SCP.fullmatch(text):
            scheme, (host, path) = "ssh", match.groups()
        else:
            raise ValueError(
                f"{_without_user(text)!r} is not the address of a repository: https://HOST/OWNER/NAME, "
                "ssh://git@HOST/OWNER/NAME or git@HOST:OWNER/NAME"
            )
        path = _stem(path)
        if any(part in ("", ".", "..") or part.startswith("-") for part in path.split("/")):
            raise ValueError(
                f"{text!r} names no repository: its path has an empty part, `.`, `..` or one that starts with `-`"
            )
        return cls(text, scheme, host, path)

    @property
    def owner(self) -> str:
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def web_url(self) -> str:
        """Where a browser finds it, as far as an address tells."""
        if self.scheme == "ssh":
            return f"https://{_name_of(self.host)}/{self.path}"
        return f"{self.scheme}://{self.host}/{self.path}"

    @property
    def is_on_this_machine(self) -> bool:
        """Whether the host is a loopback address, so that what is sent to it crosses no network."""
        name = _name_of(self.host).strip("[]")
        try:
            return name == "localhost" or ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False

    @property
    def identity(self) -> str:
        """The same for all ways to write the address of one repository."""
        return f"{self.host.lower()}/{self.path}"

    def over_https(self) -> "Repository":
        """The same repository at its https address when it is given as `git@HOST:OWNER/NAME`; any other as it is."""
        if "://" in self.url:
            return self
        return Repository.parse(f"https://{self.host}/{self.url.partition(':')[2]}")

    def sibling(self, owner: str, name: str | None = None) -> "Repository":
        """The repository of another owner at the same host, such as a fork of this one."""
        path = f"{owner}/{name or self.name}"
        stem = _stem(self.url)
        return Repository(
            stem.removesuffix(self.path) + path + self.url.removeprefix(stem), self.scheme, self.host, path
        )

    def __str__(self) -> str:
        return self.url


def _stem(address: str) -> str:
    return address.rstrip("/").removesuffix(".git")


def _name_of(host: str) -> str:
    """A host without its port."""
    return re.sub(r":[0-9]+$", "", host)


def _without_user(address: str) -> str:
    """An address as it may be logged."""
    without = re.sub(r"^([A-Za-z0-9+.-]+://)?.*@", r"\1***@", address, flags=re.DOTALL)
    return re.sub(r"\?.*", "?***", without, flags=re.DOTALL)


def checked_ref(text: str, what: str) -> str:
    """A name that git takes as (the last parts of) a ref, and as nothing else; or ValueError."""
    parts = Line.parse(text).split("/")
    if (
        not text
        or text in ("@", "HEAD")
        or text.startswith("-")
        or text.endswith(".")
        or _NOT_IN_REF.search(text)
        or any(not part or part.startswith((".", "-")) or part.endswith(".lock") for part in parts)
    ):
        raise ValueError(f"{text!r} is not {what}")
    return text


class Branch(str):
    """The name of a branch, without `refs/heads/`."""

    @classmethod
    def parse(cls, text: str) -> Self:
        if text.startswith("refs/"):
            alone = re.sub(r"refs/(heads/|tags/|)", "", text, count=1)
            raise ValueError(f"{text!r} is a full ref; give the branch alone, such as {alone!r}")
        return cls(checked_ref(text, "the name of a branch"))


class Commit(str):
    """A full commit, 40 hex digits (64 in a SHA-256 repository)."""

    @classmethod
    def parse(cls, text: str) -> Self:
        if not _HEX.fullmatch(text):
            raise ValueError(f"{text!r} is not a full commit; give all 40 digits")
        return cls(text)


class Revision(str):
    """A branch, a tag, a full ref (`refs/...`), `HEAD` or a full commit."""

    @classmethod
    def parse(cls, text: str) -> Self:
        return cls(text if text == "HEAD" else checked_ref(text, "a branch, a tag or a full commit"))

    @property
    def is_commit(self) -> bool:
        return _HEX.fullmatch(self) is not None

    @property
    def may_be_abbreviated(self) -> bool:
        return _ABBREVIATION.fullmatch(self) is not None


@dataclass(frozen=True)
class Person:
    """Who a commit is by: `Name <mail@host>`, without the punctuation that git takes off the ends of both."""

    name: str
    mail: str

    @classmethod
    def parse(cls, text: str) -> Self:
        match = _PERSON.fullmatch(Line.parse(text))
        name, mail = (part.strip(_TAKEN_OFF_NAMES) for part in match.groups()) if match else ("", "")
        if not all((name, *mail.split("@"))):
            raise ValueError(f"{text!r} is not a person: write `Name <mail@host>`")
        return cls(name, mail)

    def __str__(self) -> str:
        return f"{self.name} <{self.mail}>"


@dataclass(frozen=True)
class Server:
    """A GitHub server: `https://HOST`, github.com or a GitHub Enterprise Server; http on a loopback address alone.

    Attributes:
        url: without trailing slash.
        host: with its port when the URL has one.
    """

    url: str
    host: str

    @classmethod
    def parse(cls, text: str) -> Self:
        try:
            repository = Repository.parse(text.lower().rstrip("/") + "/owner/name")
        except ValueError:
            repository = None
        if not repository or repository.path != "owner/name" or repository.scheme == "ssh":
            raise ValueError(
                f"{_without_user(text)!r} is not the address of a GitHub server, such as https://github.example.com"
            )
        if repository.scheme == "http" and not repository.is_on_this_machine:
            raise ValueError(f"{text!r} would send the token in the clear; use https")
        return cls(repository.url.removesuffix("/owner/name"), repository.host)

    @property
    def api_url(self) -> str:
        """Where its REST interface is; on ghe.com as on github.com, else below the server itself."""
        if self == GITHUB or self.host.endswith(".ghe.com"):
            return f"https://api.{self.host}"
        return f"{self.url}/api/v3"


GITHUB = Server("https://github.com", "github.com")


@dataclass(frozen=True)
class Head:
    """Where a branch is pushed to, as hub writes it: `[OWNER[/NAME]:][BRANCH]`; what is left out has its default.

    Attributes:
        owner: of the repository; None is the repository that the pull request is opened on.
        name: of the repository, when the fork is named otherwise.
        branch: None is the update's own branch.
    """

    owner: str | None = None
    name: str | None = None
    branch: Branch | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        place, colon, branch = text.rpartition(":")
        owner, slash, name = place.partition("/")
        if (colon and place and not _OWNER.fullmatch(owner)) or (slash and not _REPOSITORY_NAME.fullmatch(name)):
            raise ValueError(f"{text!r} is not the head of a pull request: [OWNER[/NAME]:][BRANCH]")
        return cls(owner or None, name or None, Branch.parse(branch) if branch else None)
