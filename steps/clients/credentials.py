"""Reads credentials from the directory that a Secret is mounted at; whatever it reads is concealed from the log at once."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from steps import log
from steps.core.repository import Repository
from steps.errors import StepError

TOKEN_NAMES = ("token", "github_token")
APP_ID_NAMES = ("app-id", "id")
APP_KEY_NAMES = ("private-key", "private-key.pem", "privateKey")


@dataclass(frozen=True)
class Credentials:
    """What a credentials directory holds; all of it is optional.

    Attributes:
        user: sent with the password; `x-access-token` beside a token.
        password: a token or a password.
        store: a `.git-credentials` file as it is.
        ssh_key: an OpenSSH private key.
        known_hosts: the keys of SSH hosts that are trusted.
        ca: a file of PEM certificates that are trusted in place of the system's; absolute.
    """

    user: str | None = None
    password: str | None = None
    store: str | None = None
    ssh_key: str | None = None
    known_hosts: str | None = None
    ca: Path | None = None

    def git_store(self, repository: Repository) -> str:
        """Lines of git-credential-store: each is sent to its own host only, a token or password to the repository's."""
        if (self.store or self.password) and repository.scheme == "http" and not repository.is_on_this_machine:
            raise StepError("auth", f"a credential would cross the network in the clear to {repository}; use https")
        lines = [self.store.strip()] if self.store else []
        if self.password and repository.scheme != "ssh":
            user = quote(self.user or "", safe="")
            lines.append(f"{repository.scheme}://{user}:{quote(self.password, safe='')}@{repository.host}")
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True)
class AppCredentials:
    """What a GitHub App is known by.

    Attributes:
        app: its ID, or its client ID.
        key: its private key, in PEM.
        installation: the ID of its installation, when that is given.
        ca: as that of Credentials.
    """

    app: str
    key: str = field(repr=False)
    installation: int | None = None
    ca: Path | None = None


def read(directory: Path | None) -> Credentials:
    """The credentials in a directory: `token` (or `github_token`), `username` and `password`, `.git-credentials`,
    `ssh-privatekey` and `known_hosts`, `ca.crt`. None is no credentials.
    """
    if directory is None:
        return Credentials()
    if not directory.is_dir():
        raise StepError("not-found", f"the credentials directory {directory} does not exist")
    token = _token(directory)
    password = token or _line(directory / "password")
    user = "x-access-token" if token else _line(directory / "username")
    found = Credentials(
        user=user,
        password=password,
        store=_text(directory / ".git-credentials"),
        ssh_key=_text(directory / "ssh-privatekey"),
        known_hosts=_text(directory / "known_hosts"),
        ca=_ca(directory),
    )
    if password and not user:
        raise StepError(
            "auth",
            f"{directory} holds a password without a username; add a file `username`, or name the password `token`",
        )
    if found.ssh_key and not found.known_hosts:
        raise StepError(
            "auth",
            f"{directory} holds ssh-privatekey without known_hosts; add the host's keys, checked, as `known_hosts`",
        )
    if not (password or found.store or found.ssh_key or found.ca):
        raise StepError(
            "auth",
            f"{directory} holds none of token, username and password, .git-credentials, ssh-privatekey and known_hosts, ca.crt",
        )
    _conceal(found)
    return found


def given(path: Path | None) -> Path | None:
    """A file or directory of a Secret, unless it is an empty directory, as an optional Secret is mounted that is not there.

    To be asked at each use: once there is such a Secret, its files appear in the directory.
    """
    # What a mount has besides files begins with `..`.
    if path and path.is_dir() and all(entry.name.startswith("..") for entry in path.iterdir()):
        return None
    return path


def reader(directory: Path | None, host: str) -> Callable[[Repository], Credentials]:
    """Reads the credentials in a directory whenever they are asked for; a token or password goes to one host alone.

    Args:
        host: as that of `Repository`, in small letters.
    """

    def credentials_of(repository: Repository) -> Credentials:
        found = read(given(directory))
        return found if repository.host.lower() == host else replace(found, user=None, password=None)

    return credentials_of


def read_token(path: Path) -> Credentials:
    """The token in a file, or in the directory of a Secret (`token` or `github_token`), with the `ca.crt` beside it."""
    directory = path if path.is_dir() else None
    token = _token(directory) if directory else _line(path)
    if not token:
        # Without the path: it might be the token itself, given in place of a file.
        where = f"the directory {directory} holds no file `token`" if directory else "it does not exist or is empty"
        raise StepError(
            "auth", f"--github-token must be a file with the token, or the directory of a Secret with one: {where}"
        )
    found = Credentials(user="x-access-token", password=token, ca=_ca(directory) if directory else None)
    _conceal(found)
    return found


def read_app(directory: Path) -> AppCredentials:
    """The GitHub App in the directory of a Secret: `app-id` (or `id`), `private-key` (or `private-key.pem`,
    `privateKey`), and `installation-id` and `ca.crt` if there.
    """
    app = _first(directory, APP_ID_NAMES)
    key = next((text for name in APP_KEY_NAMES if (text := _text(directory / name))), None)
    installation = _line(directory / "installation-id")
    if not app:
        raise StepError("auth", f"{directory} holds no file `app-id`; put the ID of the GitHub App in it")
    if not key:
        raise StepError("auth", f"{directory} holds no file `private-key`; put a private key of the GitHub App in it")
    _conceal_key(key)
    if installation and not (installation.isascii() and installation.isdigit()):
        raise StepError("auth", f"{directory}/installation-id is no number; correct it, or leave it out to look it up")
    return AppCredentials(app, key, int(installation) if installation else None, _ca(directory))


def read_webhook_secret(path: Path) -> str:
    """The secret in a file, or in the directory of a Secret (`secret`), that the deliveries of a webhook are signed with."""
    secret = _line(path / "secret" if path.is_dir() else path)
    if not secret:
        # Without the path: it might be the secret itself, given in place of a file.
        raise StepError(
            "auth",
            "--webhook-secret must be a file with the secret, or the directory of a Secret with a file `secret`: it does not "
            "exist or is empty",
        )
    log.conceal(secret)
    return secret


def _token(directory: Path) -> str | None:
    return _first(directory, TOKEN_NAMES)


def _first(directory: Path, names: tuple[str, ...]) -> str | None:
    return next((text for name in names if (text := _line(directory / name))), None)


def _ca(directory: Path) -> Path | None:
    return (directory / "ca.crt").absolute() if (directory / "ca.crt").is_file() else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise StepError("auth", f"cannot read the credential {path}: {error}") from error


def _line(path: Path) -> str | None:
    text = (_text(path) or "").strip()
    if not text.isprintable():
        raise StepError("auth", f"the credential {path} has several lines or a control character; it must be one line")
    return text or None


def _conceal(found: Credentials) -> None:
    if found.password:
        log.conceal(found.password, user=found.user or "")
    for line in (found.store or "").split():
        try:
            url = urlsplit(line)
        except ValueError as error:
            raise StepError("auth", f".git-credentials holds a line that is no URL: {error}") from None
        if url.password:
            log.conceal(url.password)
            log.conceal(unquote(url.password), user=unquote(url.username or ""))
    _conceal_key(found.ssh_key or "")


def _conceal_key(pem: str) -> None:
    for line in pem.splitlines():
        if not re.fullmatch("-----[^-]*-----", line.strip()):
            log.conceal(line)
