"""Credentials as Secrets hold them: what is read, what is refused, and that the log hides them from then on."""

from pathlib import Path

import pytest

from steps import log
from steps.clients.credentials import AppCredentials, Credentials, read, read_app, read_token, reader
from steps.core.repository import Repository
from steps.errors import StepError

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n-----END OPENSSH PRIVATE KEY-----\n"


def secret(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (directory / name).write_text(text)
    return directory


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({"token": "t-123456\n"}, Credentials(user="x-access-token", password="t-123456"), id="a token"),
        pytest.param(
            {"github_token": "t-123456"},
            Credentials(user="x-access-token", password="t-123456"),
            id="a token by its older name",
        ),
        pytest.param(
            {"username": "bot\n", "password": "p 123456\n"},
            Credentials(user="bot", password="p 123456"),
            id="a username and a password",
        ),
        pytest.param(
            {"token": "t-123456", "username": "bot", "password": "p-123456"},
            Credentials(user="x-access-token", password="t-123456"),
            id="a token before a password",
        ),
        pytest.param(
            {".git-credentials": "https://bot:p-123456@h\n"},
            Credentials(store="https://bot:p-123456@h\n"),
            id="a .git-credentials",
        ),
        pytest.param(
            {"ssh-privatekey": KEY, "known_hosts": "h ssh-ed25519 AAAA\n"},
            Credentials(ssh_key=KEY, known_hosts="h ssh-ed25519 AAAA\n"),
            id="a key and its hosts",
        ),
    ],
)
def test_a_directory_holds(tmp_path: Path, files: dict[str, str], expected: Credentials) -> None:
    assert read(secret(tmp_path, files)) == expected


def test_no_directory_is_no_credentials() -> None:
    assert read(None) == Credentials()


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        pytest.param(
            {"password": "p-123456"},
            "{directory} holds a password without a username; add a file `username`, or name the password `token`",
            id="a password alone",
        ),
        pytest.param(
            {"ssh-privatekey": KEY},
            "{directory} holds ssh-privatekey without known_hosts; add the host's keys, checked, as `known_hosts`",
            id="a key alone",
        ),
        pytest.param(
            {"token": "one\ntwo"},
            "the credential {directory}/token has several lines or a control character; it must be one line",
            id="a token of two lines",
        ),
        pytest.param(
            {".git-credentials": "https://[bot:p-123456@h\n"},
            ".git-credentials holds a line that is no URL: Invalid IPv6 URL",
            id="a .git-credentials with a line that is no URL",
        ),
        pytest.param(
            {"token": ""},
            "{directory} holds none of token, username and password, .git-credentials, ssh-privatekey and known_hosts, ca.crt",
            id="an empty token",
        ),
    ],
)
def test_a_directory_is_refused_with(tmp_path: Path, files: dict[str, str], problem: str) -> None:
    with pytest.raises(StepError) as caught:
        read(secret(tmp_path, files))
    assert (caught.value.reason, str(caught.value)) == ("auth", problem.format(directory=tmp_path))


def test_a_token_is_read_from_a_file_or_from_a_secrets_directory(tmp_path: Path) -> None:
    secret(tmp_path, {"token": "t-123456\n", "ca.crt": "PEM"})
    assert read_token(tmp_path / "token") == Credentials(user="x-access-token", password="t-123456")
    assert read_token(tmp_path) == Credentials(user="x-access-token", password="t-123456", ca=tmp_path / "ca.crt")


def test_a_token_directory_must_hold_a_token(tmp_path: Path) -> None:
    with pytest.raises(StepError, match=f" the directory {tmp_path} holds no file `token`$"):
        read_token(secret(tmp_path, {"ca.crt": "PEM"}))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({"app-id": "42\n", "private-key": KEY}, AppCredentials("42", KEY), id="an ID and a key"),
        pytest.param({"id": "Iv1.abc", "privateKey": KEY}, AppCredentials("Iv1.abc", KEY), id="their shorter names"),
        pytest.param(
            {"app-id": "42", "private-key.pem": KEY, "installation-id": "5\n"},
            AppCredentials("42", KEY, 5),
            id="the key as GitHub's file, and an installation",
        ),
    ],
)
def test_a_directory_holds_an_app_as(tmp_path: Path, files: dict[str, str], expected: AppCredentials) -> None:
    assert read_app(secret(tmp_path, files)) == expected


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        pytest.param(
            {"private-key": KEY},
            "{directory} holds no file `app-id`; put the ID of the GitHub App in it",
            id="no ID",
        ),
        pytest.param(
            {"app-id": "42", "private-key": ""},
            "{directory} holds no file `private-key`; put a private key of the GitHub App in it",
            id="no key",
        ),
        pytest.param(
            {"app-id": "42", "private-key": KEY, "installation-id": "on kubeflow"},
            "{directory}/installation-id is no number; correct it, or leave it out to look it up",
            id="an installation by another name",
        ),
    ],
)
def test_an_app_is_refused_with(tmp_path: Path, files: dict[str, str], problem: str) -> None:
    with pytest.raises(StepError) as caught:
        read_app(secret(tmp_path, files))
    assert (caught.value.reason, str(caught.value)) == ("auth", problem.format(directory=tmp_path))


@pytest.mark.parametrize(
    ("files", "texts"),
    [
        pytest.param(
            {"token": "to/ken+1=23"},
            ["to/ken+1=23", "to%2Fken%2B1%3D23", "dG8va2VuKzE9MjM", "eC1hY2Nlc3MtdG9rZW46dG8va2VuKzE9MjM"],
            id="a token",
        ),
        pytest.param(
            {"username": "bot", "password": "pass word"},
            ["pass word", "pass%20word", "Ym90OnBhc3Mgd29yZA"],
            id="a password",
        ),
        pytest.param(
            {".git-credentials": "https://bot:pass%20word%21@h\n"},
            ["pass%20word%21", "pass word!", "Ym90OnBhc3Mgd29yZCE"],
            id="a .git-credentials",
        ),
        pytest.param(
            {"ssh-privatekey": KEY, "known_hosts": "h ssh-ed25519 AAAA"}, ["b3BlbnNzaC1rZXktdjEA"], id="a key"
        ),
    ],
)
def test_the_log_hides(tmp_path: Path, files: dict[str, str], texts: list[str]) -> None:
    read(secret(tmp_path, files))
    assert [log.redact(f"<{text}>") for text in texts] == ["<***>"] * len(texts)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param(
            "https://h:8443/o/n", "https://bot:p%40ss%2Fword@h:8443\n", id="over https, for its host and port"
        ),
        pytest.param(
            "http://127.0.0.1:80/o/n", "http://bot:p%40ss%2Fword@127.0.0.1:80\n", id="over http on this machine"
        ),
        pytest.param("ssh://git@h/o/n", "", id="not over ssh"),
    ],
)
def test_a_password_is_stored_for_its_own_host(url: str, expected: str) -> None:
    assert Credentials(user="bot", password="p@ss/word").git_store(Repository.parse(url)) == expected


def test_a_stored_credential_does_not_cross_the_network_in_the_clear(tmp_path: Path) -> None:
    (tmp_path / ".git-credentials").write_text("http://u:secretpass@git.example.com\n")
    known = read(tmp_path)
    with pytest.raises(StepError) as refusal:
        known.git_store(Repository.parse("http://git.example.com/a/b.git"))
    assert str(refusal.value) == (
        "a credential would cross the network in the clear to http://git.example.com/a/b.git; use https"
    )


def test_a_secret_that_is_mounted_later_is_read_from_then_on(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    read_for = reader(tmp_path, "git.example.com")
    repository = Repository.parse("https://git.example.com/team/web")
    assert read_for(repository) == Credentials()
    secret(tmp_path, {"username": "bot", "password": "p-123456"})
    assert read_for(repository) == Credentials(user="bot", password="p-123456")
