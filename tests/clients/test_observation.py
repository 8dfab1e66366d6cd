"""What pods ask repositories with: a git of its own for each, with the credentials that are for it."""

import base64
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from steps.clients import git, observation
from steps.clients.credentials import Credentials, reader
from steps.core import applications
from steps.core.applications import Pair
from steps.core.needs_update import Failure
from steps.core.repository import Repository
from tests.clients.test_mirrors import Drawn, draw
from tests.sandbox import git_http, ssh
from tests.sandbox.http_server import Call, Response, Server
from tests.steps.conftest import running

CANARY = "c2VjcmV0LW9mLW9uZS1ob3N0"

FIRST = Drawn("A", {"web/Dockerfile": "FROM scratch\n"})
CONFIGURATION = """\
applications:
  - {name: web, sourceRepo: source, context: web, manifestsDir: base, image: example.com/web}
versions:
  - name: main
    tag: v1
    repos:
      - {name: source, url: SOURCE, branch: main}
      - {name: manifests, url: MANIFESTS, branch: main}
"""


class Host:
    """A server of bare repositories over HTTP, each of which wants a password unless it is open to all.

    Attributes:
        shown: what was sent as `Authorization`.
    """

    def __init__(self, root: Path, *, is_open: bool = False) -> None:
        self.root, self.is_open = root, is_open
        self.shown: list[str] = []
        self.before: Callable[[Call], Response | None] = lambda _: None
        self._server = Server("127.0.0.1", 0, self._answer)
        self.url, self.close = self._server.url, self._server.close

    def _answer(self, call: Call) -> Response:
        shown = call.headers.get("Authorization")
        self.shown += [base64.b64decode(shown.split()[1]).decode()] if shown else []
        if not (shown or self.is_open):
            return Response(401, {"WWW-Authenticate": 'Basic realm="git"'})
        owner, name, rest = call.path.removeprefix("/").split("/", 2)
        path = self.root / owner / f"{name.removesuffix('.git')}.git"
        return self.before(call) or git_http.answer(call, path, f"/{rest}", None, lambda _: None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Bare repositories, o/source and o/manifests."""
    directory = tmp_path / "repositories" / "o"
    directory.mkdir(parents=True)
    draw(directory / "source.git", [FIRST], {"main": "A"})
    draw(directory / "manifests.git", [Drawn("A", {"base/kustomization.yaml": "resources: []\n"})], {"main": "A"})
    return directory.parent


@pytest.fixture
def host(root: Path) -> Iterator[Callable[..., Host]]:
    with contextlib.ExitStack() as started:

        def start(*, is_open: bool = False) -> Host:
            made = Host(root, is_open=is_open)
            started.callback(made.close)
            return made

        yield start


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A credentials directory with a token."""
    directory = tmp_path / "secret"
    directory.mkdir()
    (directory / "token").write_text(CANARY)
    return directory


Observe = Callable[[str, str, Callable[[Repository], Credentials]], str]


@pytest.fixture
def observe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Observe:
    """What is said of the one pair: `seen`, or reason and message, without git's words, of why nothing is."""
    (tmp_path / "homes").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "homes"))

    def call(source: str, manifests: str, credentials_of: Callable[[Repository], Credentials]) -> str:
        text = CONFIGURATION.replace("SOURCE", source).replace("MANIFESTS", manifests)
        pairs = [each for each in applications.parse({"a.yaml": text}, over_ssh=True).pairs if isinstance(each, Pair)]
        with git.isolated_each(Path("/"), credentials_of, timeout=60) as git_of:
            found = observation.observe(pairs, pairs, tmp_path / "src", git_of, timeout=60)["web", "main"]
        assert list((tmp_path / "homes").iterdir()) == []
        return f"{found.reason}: {found.message}".partition(" (git says")[0] if isinstance(found, Failure) else "seen"

    return call


def place(host: Host) -> str:
    """The host of the URLs of a server."""
    return host.url.removeprefix("http://")


def test_a_token_is_shown_to_its_own_host_and_to_no_other(
    host: Callable[..., Host], secret: Path, observe: Observe
) -> None:
    own, other = host(), host(is_open=True)
    assert observe(f"{own.url}/o/source", f"{other.url}/o/manifests", reader(secret, place(own))) == "seen"
    assert (set(own.shown), other.shown) == ({f"x-access-token:{CANARY}"}, [])


def test_another_host_that_asks_for_a_password_gets_none(
    host: Callable[..., Host], secret: Path, observe: Observe
) -> None:
    own, other = host(), host()
    url = f"{other.url}/o/manifests"
    assert observe(f"{own.url}/o/source", url, reader(secret, place(own))) == (
        f"auth: cannot ask {url} for its branches: "
        "the server did not take the credential, or wants one; check the credentials directory"
    )
    assert (set(own.shown), other.shown) == ({f"x-access-token:{CANARY}"}, [])


def test_a_host_that_leads_to_another_does_not_bring_the_token_along(
    host: Callable[..., Host], secret: Path, observe: Observe
) -> None:
    own, other = host(), host()
    own.before = lambda call: Response(302, {"Location": f"{other.url}{call.target}"})
    told = observe(f"{own.url}/o/source", f"{own.url}/o/manifests", reader(secret, place(own)))
    assert told.partition(":")[0] == "auth"
    assert (set(own.shown), other.shown) == ({f"x-access-token:{CANARY}"}, [])


def test_credentials_of_several_hosts_are_each_shown_to_their_own(
    host: Callable[..., Host], secret: Path, observe: Observe
) -> None:
    one, two = host(), host()
    (secret / "token").unlink()
    lines = [f"http://{name}:{CANARY}-{name}@{place(each)}\n" for name, each in (("one", one), ("two", two))]
    (secret / ".git-credentials").write_text("".join(lines))
    assert observe(f"{one.url}/o/source", f"{two.url}/o/manifests", reader(secret, "github.com")) == "seen"
    assert (set(one.shown), set(two.shown)) == ({f"one:{CANARY}-one"}, {f"two:{CANARY}-two"})


def test_credentials_are_read_anew_each_time(host: Callable[..., Host], secret: Path, observe: Observe) -> None:
    own = host()
    credentials_of = reader(secret, place(own))
    for token in ("first-of-two", "second-of-two"):
        (secret / "token").write_text(token)
        own.shown.clear()
        assert observe(f"{own.url}/o/source", f"{own.url}/o/manifests", credentials_of) == "seen"
        assert set(own.shown) == {f"x-access-token:{token}"}


def test_credentials_that_are_not_there_are_told(host: Callable[..., Host], tmp_path: Path, observe: Observe) -> None:
    own = host()
    told = observe(f"{own.url}/o/source", f"{own.url}/o/manifests", reader(tmp_path / "none", place(own)))
    assert told == f"not-found: the credentials directory {tmp_path / 'none'} does not exist"


def test_repositories_are_read_over_ssh_with_the_key_of_the_credentials(
    root: Path, tmp_path: Path, observe: Observe
) -> None:
    if ssh.PROGRAM is None:
        pytest.skip("sshd is not installed")
    with ssh.SshServer(root) as server:
        credentials_of = reader(server.credentials(tmp_path / "keys"), "github.com")
        assert observe(server.url("o/source"), server.url("o/manifests"), credentials_of) == "seen"
        told = observe(server.url("o/source"), server.url("o/manifests"), lambda _: Credentials())
    assert told == (
        f"auth: {server.url('o/source')} is read over ssh; give a credentials directory with ssh-privatekey and known_hosts"
    )


def test_many_passes_leave_no_more_behind_than_one(
    host: Callable[..., Host], tmp_path: Path, secret: Path, observe: Observe
) -> None:
    own = host()

    def needed() -> tuple[int, set[str], list[str]]:
        """Descriptors, threads and files after a pass; those of a server's connection may still be closing."""
        assert observe(f"{own.url}/o/source", f"{own.url}/o/manifests", reader(secret, place(own))) == "seen"
        for thread in threading.enumerate():
            if thread.name.startswith("ThreadPoolExecutor"):
                thread.join(10)
        threads = {thread.name for thread in threading.enumerate() if not thread.name.startswith("Thread-")}
        files = sorted(f"{path} {path.stat().st_size}" for path in (tmp_path / "src").rglob("*") if path.is_file())
        memory = [path for path in Path("/proc/self/fd").iterdir() if "memfd" in _target(path)]
        return len(memory), threads, files

    assert [needed() for _ in range(4)] == [needed()] * 4


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # that of the listing itself
        return ""


def test_a_pass_that_is_broken_off_ends_all_that_it_waits_for(host: Callable[..., Host], observe: Observe) -> None:
    """A signal comes while both repositories are asked by a server that says nothing."""
    own, both, over = host(is_open=True), threading.Barrier(3), threading.Event()

    def hang(_: Call) -> Response:
        both.wait(30)
        over.wait(30)
        return Response(503)

    class Broken(BaseException):
        pass

    def broken(*_: object) -> None:
        raise Broken

    def interrupt() -> None:
        both.wait(30)
        os.kill(os.getpid(), signal.SIGUSR1)

    own.before = hang
    before = signal.signal(signal.SIGUSR1, broken)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(Broken):
            observe(f"{own.url}/o/source", f"{own.url}/o/manifests", lambda _: Credentials())
        deadline = time.monotonic() + 5  # far less than git is given
        while f"{own.url}/o/" in running():
            assert time.monotonic() < deadline
        for each in threading.enumerate():
            if each.name.startswith("ThreadPoolExecutor"):
                each.join(10)
                assert not each.is_alive()
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)
