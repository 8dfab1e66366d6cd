"""Who asks GitHub: tokens of files, and GitHub Apps at a server that holds their signatures against their key."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from steps import log
from steps.clients.github import GitHub
from steps.clients.github_account import App, TokenFile
from steps.errors import StepError
from tests.clients.github_server import Fault, Forge, reply
from tests.sandbox.http_server import Call, Response

HOUR = 3600


@pytest.fixture(scope="session")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def secret(tmp_path: Path, key: rsa.RSAPrivateKey) -> Path:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    (tmp_path / "app-id").write_text("42\n")
    (tmp_path / "private-key").write_bytes(pem)
    return tmp_path


class Apps:
    """What GitHub has for Apps: installation 5 of App 42 on owner/name, and its tokens ghs_1, ghs_2 ..."""

    def __init__(self, forge: Forge, key: rsa.RSAPrivateKey) -> None:
        self.forge, self.minted = forge, 0
        self.lifetime = HOUR
        self.ahead = 0
        """Seconds that the server's clock is ahead of ours."""
        self._public = key.public_key()
        forge.login = "updater[bot]"
        forge.routes = {
            ("GET", "/app"): self._as_app(lambda: reply(200, {"slug": "updater"})),
            ("GET", "/repos/owner/name/installation"): self._as_app(lambda: reply(200, {"id": 5})),
            ("POST", "/app/installations/5/access_tokens"): self._as_app(self._mint),
        }

    def _as_app(self, answer: Callable[[], Response]) -> Callable[[Call], Response]:
        def checked(call: Call) -> Response:
            scheme, _, token = call.headers["Authorization"].partition(" ")
            try:
                claims = jwt.decode(token, self._public, algorithms=["RS256"])
            except jwt.PyJWTError:
                return reply(401, {"message": "A JSON web token could not be decoded"})
            assert (scheme, claims["iss"]) == ("Bearer", "42")
            assert 59 <= time.time() - claims["iat"] <= 70
            assert claims["exp"] - time.time() <= 600
            return answer()

        return checked

    def _mint(self) -> Response:
        self.minted += 1
        now = datetime.fromtimestamp(int(time.time() + self.ahead), UTC)
        expires = datetime.fromtimestamp(int(time.time() + self.ahead + self.lifetime), UTC)
        body = {"token": f"ghs_{self.minted}_secret", "expires_at": expires.strftime("%Y-%m-%dT%H:%M:%SZ")}
        return reply(201, body, Date=format_datetime(now, usegmt=True))


@pytest.fixture
def apps(key: rsa.RSAPrivateKey) -> Iterator[Apps]:
    forge = Forge()
    yield Apps(forge, key)
    forge.close()


def app(apps: Apps, secret: Path) -> App:
    return App(secret, apps.forge.address, apps.forge.repository, None)


def fails(call: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(StepError) as caught:
        call()
    return caught.value.reason, str(caught.value)


def asked(apps: Apps) -> list[tuple[str, str]]:
    return [(each.method, each.path.removeprefix("/api/v3")) for each in apps.forge.seen]


LOOK_UP, MINT = ("GET", "/repos/owner/name/installation"), ("POST", "/app/installations/5/access_tokens")


def test_an_app_is_looked_up_and_given_a_token_once(apps: Apps, secret: Path) -> None:
    account = app(apps, secret)
    assert [account.token(), account.token()] == ["ghs_1_secret"] * 2
    assert asked(apps) == [LOOK_UP, MINT]


def test_an_installation_that_is_given_is_not_looked_up(apps: Apps, secret: Path) -> None:
    (secret / "installation-id").write_text("5\n")
    assert app(apps, secret).token() == "ghs_1_secret"
    assert asked(apps) == [MINT]


@pytest.mark.parametrize("ahead", [-HOUR, 0, HOUR])
@pytest.mark.parametrize(
    ("lifetime", "tokens"),
    [
        pytest.param(660, ["ghs_1_secret", "ghs_1_secret"], id="11 minutes left"),
        pytest.param(540, ["ghs_1_secret", "ghs_2_secret"], id="9 minutes left"),
    ],
)
def test_a_token_is_renewed_when_by_the_servers_clock_it_has(
    apps: Apps, secret: Path, monkeypatch: pytest.MonkeyPatch, ahead: int, lifetime: int, tokens: list[str]
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    apps.ahead, apps.lifetime = ahead, lifetime
    account = app(apps, secret)
    assert [account.token(), account.token()] == tokens


def test_an_app_works_under_its_own_name(apps: Apps, secret: Path) -> None:
    apps.forge.add_pull()
    github = GitHub(apps.forge.address, apps.forge.repository, app(apps, secret), None)
    assert github.login == "updater[bot]"
    assert github.pull_request(7).author == "updater[bot]"
    assert asked(apps) == [("GET", "/app"), LOOK_UP, MINT, ("GET", "/repos/owner/name/pulls/7")]


def test_a_token_that_is_not_taken_any_more_is_renewed_once(
    apps: Apps, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    apps.forge.add_pull()
    account = app(apps, secret)
    account.token()
    github = GitHub(apps.forge.address, apps.forge.repository, account, None)

    def refuse(call: Call) -> Response:
        if call.headers["Authorization"] == "Bearer ghs_1_secret":
            return reply(401, {"message": "Bad credentials"})
        return reply(200, apps.forge.pulls[7])

    apps.forge.routes["GET", "/repos/owner/name/pulls/7"] = refuse
    assert github.pull_request(7).number == 7
    apps.forge.routes["GET", "/repos/owner/name/pulls/7"] = lambda _: reply(401, {"message": "Bad credentials"})
    assert fails(lambda: github.pull_request(7))[0] == "auth"
    assert apps.minted == 3


@pytest.mark.parametrize("status", [500, 401, 429])
def test_a_token_is_asked_for_again_after_a_fault(
    apps: Apps, secret: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    apps.forge.faults["POST"] = [Fault(lambda: reply(status, {"message": "no"}, Retry_After="0"))]
    account = app(apps, secret)
    if status == 401:
        assert fails(account.token)[0] == "auth"
    assert account.token() == "ghs_1_secret"


def test_an_app_that_is_not_installed_is_told(apps: Apps, secret: Path) -> None:
    apps.forge.routes[LOOK_UP] = lambda _: reply(404, {"message": "Not Found"})
    assert fails(app(apps, secret).token) == (
        "auth",
        (
            "cannot get a token of the GitHub App for owner/name: it is not installed there; install it on that repository, and "
            "leave installation-id out (Not Found)"
        ),
    )


def test_an_app_with_the_key_of_another_is_told(apps: Apps, secret: Path) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (secret / "private-key").write_bytes(other)
    assert fails(app(apps, secret).token) == (
        "auth",
        (
            "cannot get a token of the GitHub App for owner/name: GitHub does not take its key; check that app-id and private-key "
            "belong together, and the clock (A JSON web token could not be decoded)"
        ),
    )


def test_a_key_that_was_rotated_is_taken_when_the_one_before_is_not(apps: Apps, secret: Path) -> None:
    right = (secret / "private-key").read_bytes()
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (secret / "private-key").write_bytes(other)
    account = app(apps, secret)
    (secret / "private-key").write_bytes(right)
    assert account.token() == "ghs_1_secret"
    assert asked(apps) == [LOOK_UP, LOOK_UP, MINT]


def test_an_app_that_is_installed_again_is_looked_up_again(apps: Apps, secret: Path) -> None:
    account = app(apps, secret)
    account.token()
    apps.forge.routes[LOOK_UP] = lambda _: reply(200, {"id": 6})
    mint = apps.forge.routes.pop(MINT)
    assert fails(account.renew)[0] == "auth"
    apps.forge.routes["POST", "/app/installations/6/access_tokens"] = mint
    assert account.renew()
    assert account.token() == "ghs_2_secret"


@pytest.mark.parametrize(
    "text", ["not-a-key-in-pem", "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n"]
)
def test_a_key_that_is_none_is_told(apps: Apps, secret: Path, text: str) -> None:
    (secret / "private-key").write_text(text)
    assert fails(app(apps, secret).token) == (
        "auth",
        (
            f"the private key of the GitHub App in {secret} is no RSA key in PEM; generate one on the App's page and give the file "
            "as it is"
        ),
    )
    assert apps.forge.seen == []


def test_the_log_hides_what_an_app_is_known_by(apps: Apps, secret: Path) -> None:
    account = app(apps, secret)
    account.token()
    shown = [each.authorization for each in apps.forge.seen]
    lines = (secret / "private-key").read_text().splitlines()[1:-1]
    assert log.redact(json.dumps([account.token(), *shown, *lines])) == json.dumps(
        ["***", *["Bearer ***"] * 2, *["***"] * len(lines)]
    )


def test_an_apps_certificates_are_those_of_its_secret(apps: Apps, secret: Path) -> None:
    assert App(secret, apps.forge.address, apps.forge.repository, Path("/x")).ca == Path("/x")
    (secret / "ca.crt").write_text("PEM")
    assert App(secret, apps.forge.address, apps.forge.repository, Path("/x")).ca == secret / "ca.crt"


def test_a_file_has_a_token_and_says_when_it_is_another(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t-123456\n")
    (tmp_path / "ca.crt").write_text("PEM")
    account = TokenFile(tmp_path)
    seen: list[Any] = [account.token(), account.login(), account.ca, account.renew()]
    (tmp_path / "token").write_text("t-654321\n")
    assert [*seen, account.token(), account.renew(), account.token()] == [
        *("t-123456", None, tmp_path / "ca.crt", False),
        *("t-123456", True, "t-654321"),
    ]
