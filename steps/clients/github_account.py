"""Who asks GitHub: whoever has a token, or a GitHub App, which is given a token for an hour."""

import threading
import time
from datetime import datetime
from pathlib import Path

from steps import log
from steps.clients import credentials
from steps.clients.credentials import AppCredentials, Credentials
from steps.clients.github_requests import Patience, Refusal, Reply, Requests, as_number, as_text
from steps.core.repository import Repository, Server
from steps.errors import StepError

FRESH = 600
"""Seconds that a token is valid at least when it is given away."""


class TokenFile:
    """The token in a file, or in the directory of a Secret; when it is rotated, the next one."""

    def __init__(self, path: Path) -> None:
        self.patience = Patience()
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
        return self._found.password != before.password

    def login(self) -> str | None:
        return None


class App:
    """A GitHub App as its installation on a repository.

    Args:
        directory: of a Secret, with `app-id` and `private-key` in it.
        server: that knows the App.
        repository: that it is installed on.
        ca: PEM certificates trusted in place of the system's; those of the Secret come first.
    """

    def __init__(self, directory: Path, server: Server, repository: Repository, ca: Path | None) -> None:
        known = credentials.read_app(directory)
        self.patience = Patience()
        self.ca = known.ca or ca
        """PEM certificates trusted in place of the system's."""
        self._requests = Requests(server, repository, _Key(directory, known, self.patience), self.ca)
        self._repository = repository
        self._installation = known.installation
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

    def login(self) -> str | None:
        what = "cannot look up the GitHub App"
        return self._requests.get(what, "/app", lambda reply: f"{as_text(reply.body['slug'])}[bot]")

    def _mint(self) -> None:
        what = f"cannot get a token of the GitHub App for {self._repository.path}"
        try:
            if self._installation is None:
                self._installation = self._requests.get(what, "installation", lambda reply: as_number(reply.body["id"]))
            path = f"/app/installations/{self._installation}/access_tokens"
            self._token, lifetime = self._requests.write(what, "POST", path, {}, _minted, None)
        except Refusal as refusal:
            advice = {
                401: "GitHub does not take its key; check that app-id and private-key belong together, and the clock",
                404: "it is not installed there; install it on that repository, and leave installation-id out",
            }.get(refusal.status)
            if advice is None:
                raise
            raise StepError("auth", f"{what}: {advice} ({refusal.said})") from refusal
        self._expires = time.monotonic() + lifetime


def _minted(reply: Reply) -> tuple[str, float]:
    """A token and for how many seconds it is valid, by the server's clock."""
    token = as_text(reply.body["token"])
    log.conceal(token)
    return token, datetime.fromisoformat(as_text(reply.body["expires_at"])).timestamp() - reply.date


class _Key:
    """The App itself, which may ask for no more than its tokens."""

    def __init__(self, directory: Path, known: AppCredentials, patience: Patience) -> None:
        self.patience = patience
        self._directory, self._known = directory, known

    def token(self) -> str:
        import jwt
        from github.Auth import AppAuth

        try:
            token = AppAuth(self._known.app, self._known.key).token
        except (ValueError, TypeError, jwt.PyJWTError) as error:
            raise StepError(
                "auth",
                f"the private key of the GitHub App in {self._directory} is no RSA key in PEM; generate one on the App's "
                "page and give the file as it is",
            ) from error
        log.conceal(token)
        return token

    def renew(self) -> bool:
        return False

    def login(self) -> str | None:
        return None


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
    if (token is None) == (app is None):
        raise StepError(
            "usage",
            "--github-token must be given: a file, or the directory of a Secret with `token` in it; or else --github-app",
        )
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


def git_credentials(us: TokenFile | App, repository: Repository, directory: Path | None) -> Credentials:
    """What git shows: over ssh the directory's key, otherwise our token."""
    found = credentials.read(directory)
    if repository.scheme == "ssh":
        return found
    return Credentials(user="x-access-token", password=us.token(), ca=us.ca or found.ca)
