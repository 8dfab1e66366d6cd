"""Who asks GitHub: whoever has a token, or a GitHub App, which is given a token for an hour."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from steps import log
from steps.clients import credentials
from steps.clients.credentials import Credentials
from steps.clients.github_requests import Patience, Refusal, Reply, Requests, as_number, as_text
from steps.core.repository import Repository, Server
from steps.errors import StepError

FRESH = 600
"""Seconds that a token is valid at least when it is given away."""


class TokenFile:
    """The token in a file, or in the directory of a Secret; when it is rotated, the next one."""

    def __init__(self, path: Path) -> None:
        self.patience = Patience()
        self.known_as: str | None = None
        self._path = path
        self._found = credentials.read_token(path)

    @property
    def ca(self) -> Path | None:
        """PEM certificates that the Secret brings."""
        return self._found.ca

    def token(self) -> str:
        return self._found.password or ""

    def renew(self) -> bool:
        before, self._found = self._found, credentials.read_token(self._path)
        if self._found.password == before.password:
            return False
        self.known_as = None
        return True

    def reread(self, _ca: Path | None) -> None:
        """Take over the token that is there now."""
        self.renew()

    def login(self) -> str | None:
        return None


class App:
    """A GitHub App as its installation on a repository.

    Args:
        directory: of a Secret, with `app-id` and `private-key` in it.
        server: that knows the App.
        repository: that it is installed on.
        ca: PEM certificates trusted in place of the system's; those of the Secret come first.
        counted: see `Requests`.
    """

    def __init__(
        self,
        directory: Path,
        server: Server,
        repository: Repository,
        ca: Path | None,
        counted: Callable[[str], None] | None = None,
    ) -> None:
        self.patience = Patience()
        self.known_as: str | None = None
        self._key = _Key(directory, self.patience)
        self.ca = self._key.known.ca or ca
        """PEM certificates trusted in place of the system's."""
        self._server, self._repository, self._counted = server, repository, counted
        self._requests = self._client()
        self._installation = self._key.known.installation
        self._token = ""
        self._expires = 0.0
        self._lock = threading.Lock()

    def token(self) -> str:
        with self._lock:
            if not self._token or self._expires - time.monotonic() < FRESH:
                self._mint()
            return self._token

    def renew(self) -> bool:
        with self._lock:
            self._mint()
        return True

    def reread(self, ca: Path | None) -> None:
        """Take over the key and certificates that are there now; a token stays when it is another key of the same App."""
        app = self._key.known.app
        if self._key.renew() and self._key.known.app != app:
            with self._lock:
                self._token, self._installation, self.known_as = "", self._key.known.installation, None
        if (now := self._key.known.ca or ca) != self.ca:
            self.ca = now
            self._requests = self._client()

    def _client(self) -> Requests:
        return Requests(self._server, self._repository, self._key, self.ca, self._counted)

    def installation(self) -> int:
        """The ID of the installation.

        Raises:
            StepError: `auth` when there is none.
        """
        with self._lock, self._explained() as what:
            return self._looked_up(what)

    def login(self) -> str | None:
        what = "cannot look up the GitHub App"
        return self._requests.get(what, "/app", lambda reply: f"{as_text(reply.body['slug'])}[bot]")

    def _mint(self) -> None:
        with self._explained() as what:
            path = f"/app/installations/{self._looked_up(what)}/access_tokens"
            self._token, lifetime = self._requests.write(what, "POST", path, {}, _minted, None)
        self._expires = time.monotonic() + lifetime

    def _looked_up(self, what: str) -> int:
        if self._installation is None:
            self._installation = self._requests.get(what, "installation", lambda reply: as_number(reply.body["id"]))
        return self._installation

    @contextlib.contextmanager
    def _explained(self) -> Iterator[str]:
        """Say of a refusal what is to be changed; what is given begins the message."""
        what = f"cannot get a token of the GitHub App for {self._repository.path}"
        try:
            yield what
        except Refusal as refusal:
            advice = {
                401: "GitHub does not take its key; check that app-id and private-key belong together, and the clock",
                404: "it is not installed there; install it on that repository, and leave installation-id out",
            }.get(refusal.status)
            if advice is None:
                raise
            # It may be another one when it is installed again.
            self._installation = self._key.known.installation
            raise StepError("auth", f"{what}: {advice} ({refusal.said})") from refusal


def _minted(reply: Reply) -> tuple[str, float]:
    """A token and for how many seconds it is valid, by the server's clock."""
    token = as_text(reply.body["token"])
    log.conceal(token)
    return token, datetime.fromisoformat(as_text(reply.body["expires_at"])).timestamp() - reply.date


class _Key:
    """The App itself, which may ask for no more than its tokens."""

    def __init__(self, directory: Path, patience: Patience) -> None:
        self.patience = patience
        self.known_as: str | None = None
        self.known = credentials.read_app(directory)
        self._directory = directory

    def token(self) -> str:
        import jwt
        from github.Auth import AppAuth

        try:
            token = AppAuth(self.known.app, self.known.key).token
        except (ValueError, TypeError, jwt.PyJWTError) as error:
            raise StepError(
                "auth",
                f"the private key of the GitHub App in {self._directory} is no RSA key in PEM; generate one on the App's "
                "page and give the file as it is",
            ) from error
        log.conceal(token)
        return token

    def renew(self) -> bool:
        before, self.known = self.known, credentials.read_app(self._directory)
        return self.known != before

    def login(self) -> str | None:
        return None


class Accounts:
    """Who a process that stays is at GitHub, repository by repository: whoever has the token, or installations of the App.

    Args:
        token: `--github-token`.
        app: `--github-app`; one of both is given.
        server: `--github-url`, which may see the token.
        credentials_directory: `--credentials`, whose `ca.crt` is trusted, too.
        counted: see `Requests`.
    """

    def __init__(
        self,
        token: Path | None,
        app: Path | None,
        server: Server,
        credentials_directory: Path | None,
        counted: Callable[[str], None] | None = None,
    ) -> None:
        _require_one(token, app)
        self._token, self._app, self._server, self._counted = token, app, server, counted
        self._credentials_directory = credentials_directory
        self._ca: Path | None = None
        self._us: TokenFile | None = None
        self._apps: dict[str, App] = {}
        self._installations: dict[int, App] = {}
        self._refused: dict[str, StepError] = {}

    def renew(self) -> None:
        """Read again what the Secrets have, and be as patient as ever with GitHub."""
        self._refused.clear()
        self._ca = credentials.read(credentials.given(self._credentials_directory)).ca
        for each in [self._us] if self._us else self._installations.values():
            each.patience.renew()
            each.reread(self._ca)

    def of(self, repository: Repository) -> TokenFile | App:
        """Who we are for a repository; one installation has one token for all its repositories.

        Raises:
            StepError: `auth` where the App is not installed, which is not asked again until `renew`.
        """
        if self._token:
            self._us = self._us or TokenFile(self._token)
            return self._us
        assert self._app  # noqa: S101 - one of both is given
        path = repository.path.lower()
        if error := self._refused.get(path):
            raise error
        if path not in self._apps:
            found = App(self._app, self._server, repository, self._ca, self._counted)
            try:
                self._apps[path] = self._installations.setdefault(found.installation(), found)
            except StepError as error:
                self._refused[path] = error
                raise
        return self._apps[path]

    def ca(self, us: TokenFile | App) -> Path | None:
        """PEM certificates trusted in place of the system's."""
        return us.ca or self._ca


def account(
    token: Path | None, app: Path | None, server: Server, repository: Repository, credentials_directory: Path | None
) -> TokenFile | App:
    """Who a step is at GitHub, by its flags.

    Args:
        token: `--github-token`.
        app: `--github-app`.
        server: `--github-url`, which may see the token.
        repository: `--url`.
        credentials_directory: `--credentials`, whose `ca.crt` is trusted, too.
    """
    _require_one(token, app)
    if repository.scheme != "ssh" and repository.host.lower() != server.host.lower():
        raise StepError(
            "usage",
            f"--url is at {repository.host}, but the token is for {server.host}; "
            f"give --github-url=https://{repository.host} if that may see it",
        )
    if "/" in repository.owner or not repository.owner:
        raise StepError("usage", f"--url: {repository} is not a GitHub repository, OWNER/NAME")
    if token:
        return TokenFile(token)
    assert app  # noqa: S101 - one of both is given
    return App(app, server, repository, credentials.read(credentials_directory).ca)


def _require_one(token: Path | None, app: Path | None) -> None:
    if (token is None) == (app is None):
        raise StepError(
            "usage",
            "--github-token must be given: a file, or the directory of a Secret with `token` in it; or else --github-app",
        )


def git_credentials(us: TokenFile | App, repository: Repository, directory: Path | None) -> Credentials:
    """What git shows: over ssh the directory's key, otherwise our token."""
    found = credentials.read(directory)
    if repository.scheme == "ssh":
        return found
    return Credentials(user="x-access-token", password=us.token(), ca=us.ca or found.ca)
