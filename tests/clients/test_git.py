"""git as the steps run it: bounded in time, deaf to its surroundings, its failures in words."""

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from steps.clients.credentials import Credentials
from steps.clients.git import PAUSES, Children, Failed, Git, inherited, isolated, patiently, translated
from steps.core.repository import Repository
from steps.errors import StepError
from tests.sandbox.http_server import Call, Response, Server
from tests.sandbox.worktree import Worktree
from tests.steps.conftest import ROOT, are_gone


@pytest.fixture
def git(tmp_path: Path) -> Iterator[Git]:
    with isolated(tmp_path, Repository.parse("https://example.com/owner/name"), Credentials()) as found:
        yield found


def test_a_server_that_hangs_is_given_up(tmp_path: Path) -> None:
    gone = threading.Event()

    def hang(_: Call) -> Response:
        gone.wait()
        return Response(500)

    server = Server("127.0.0.1", 0, hang)
    url = f"{server.url}/owner/name"
    try:
        with (
            isolated(tmp_path, Repository.parse(url), Credentials(), timeout=0.5) as git,
            pytest.raises(Failed) as caught,
        ):
            git.run("ls-remote", url)
    finally:
        gone.set()
        server.close()
    error = translated(caught.value, f"cannot list {url}")
    assert (str(error), error.reason, error.later) == (
        f"cannot list {url}: the server could not be reached; try again (git says: git ls-remote took more than 0.5 s: timed out)",
        "unreachable",
        True,
    )


@pytest.mark.parametrize("url", ["https://example.com/owner/name", "ssh://git@example.com/owner/name"])
def test_no_credential_is_put_into_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    secret = "c2VjcmV0LW9mLW1pbmU"
    known = Credentials(user="bot", password=secret, ssh_key=f"-----BEGIN\n{secret}\n-----END", known_hosts="h k v\n")
    with isolated(tmp_path, Repository.parse(url), known):
        files = {path.name: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert sorted(files) == ["gitconfig", "known_hosts"]
    assert [name for name, text in files.items() if secret in text] == []


def test_sigterm_at_the_start_of_a_child_leaves_no_child(tmp_path: Path) -> None:
    programs, started = tmp_path / "programs", tmp_path / "started"
    programs.mkdir()
    (programs / "env").write_text(f"#!/bin/sh\necho $$ >> {started}\nkill -TERM $PPID\nexec sleep 60\n")
    (programs / "env").chmod(0o755)
    command = [sys.executable, "-m", "steps.clone_repository", "--url=https://example.com/o/n", "--revision=main"]
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    for number in range(5):
        destination = tmp_path / str(number)
        done = subprocess.run([*command, f"--destination={destination}"], env=environment, check=False, timeout=20)
        assert (done.returncode, destination.exists()) == (143, False)
    children = [int(line) for line in started.read_text().split()]
    assert (len(children), [child for child in children if Path(f"/proc/{child}").exists()]) == (5, [])


def test_an_interruption_at_the_first_word_with_a_child_is_told_as_what_it_is(
    git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal may come before Python has noted what it is to read from the child."""
    whole: Any = subprocess.Popen._communicate  # type: ignore[attr-defined]  # noqa: SLF001 - where the signal comes

    def interrupted(*_: Any) -> None:
        monkeypatch.setattr(subprocess.Popen, "_communicate", whole)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "_communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        git.run("version")
    assert git.run("version").startswith("git version ")


def test_a_failure_has_gits_words_and_an_accepted_code_is_none(git: Git) -> None:
    with pytest.raises(Failed) as caught:
        git.run("rev-parse", "--verify", "HEAD")
    assert caught.value.stderr == "fatal: not a git repository (or any of the parent directories): .git\n"
    assert git.run("config", "--get", "no.such", accept=[1]) == ""


def test_a_name_that_is_not_utf_8_goes_in_and_comes_out_as_it_is(git: Git) -> None:
    git.run("init", "--quiet")
    name = b"\xff\xfe".decode("utf-8", "surrogateescape")
    entry = f"100644 blob {git.run('hash-object', '-w', '--stdin', stdin=b'x')}\t{name}\0"
    tree = git.run("mktree", "-z", stdin=entry.encode("utf-8", "surrogateescape"))
    assert git.run("ls-tree", "-z", tree) == entry


def test_nothing_of_a_users_or_a_systems_configuration_is_read(git: Git) -> None:
    git.run("init", "--quiet")
    origins = git.run("config", "--list", "--show-origin", "--null").split("\0")[::2]
    kinds = {origin.rpartition("/")[2] for origin in origins}
    assert kinds == {"gitconfig", "config", ""}
    assert len({origin for origin in origins if origin.endswith("/gitconfig")}) == 1


def test_a_credential_does_not_cross_the_network_in_the_clear(tmp_path: Path) -> None:
    url = Repository.parse("http://example.com/owner/name")
    with pytest.raises(StepError) as caught, isolated(tmp_path, url, Credentials(user="bot", password="hunter22")):
        pass
    assert str(caught.value) == f"a credential would cross the network in the clear to {url}; use https"


@pytest.mark.parametrize(
    ("stderr", "reason", "later"),
    [
        pytest.param(
            "fatal: Authentication failed for 'https://h/o/n/'", "auth", False, id="a token that is not taken"
        ),
        pytest.param(
            "fatal: could not read Username for 'https://h': terminal prompts disabled",
            "auth",
            False,
            id="no token where one is wanted",
        ),
        pytest.param("git@h: Permission denied (publickey).", "auth", False, id="a key that is not taken"),
        pytest.param("Host key verification failed.", "host-key", False, id="an unknown host"),
        pytest.param(
            "fatal: unable to access 'https://h/': SSL certificate problem: self-signed certificate",
            "tls",
            False,
            id="an untrusted certificate, says OpenSSL",
        ),
        pytest.param(
            "fatal: unable to access 'https://h/': server certificate verification failed. CAfile: none CRLfile: none",
            "tls",
            False,
            id="an untrusted certificate, says GnuTLS",
        ),
        pytest.param("remote: Repository not found.", "not-found", False, id="no repository, over https"),
        pytest.param("ERROR: Repository not found.", "not-found", False, id="no repository, over ssh"),
        pytest.param(
            "fatal: repository 'https://h/o/tls-proxy.git/' not found",
            "not-found",
            False,
            id="no repository, whose name holds the word of another cause",
        ),
        pytest.param("fatal: transport 'ext' not allowed", "protocol", False, id="a protocol that is not used"),
        pytest.param(
            "remote: error: GH006: Protected branch update failed for refs/heads/main.",
            "refused",
            False,
            id="a protected branch",
        ),
        pytest.param(
            "remote: error: GH013: Repository rule violations found for refs/heads/main.",
            "refused",
            False,
            id="a ruleset",
        ),
        pytest.param("remote: Permission to o/n.git denied to bot.", "refused", False, id="no right to push"),
        pytest.param("fatal: write error: No space left on device", "disk", False, id="a full disk"),
        pytest.param(
            "fatal: unable to access 'https://h/': Could not resolve host: h", "unreachable", True, id="an unknown name"
        ),
        pytest.param(
            "fatal: unable to access 'https://h/': Failed to connect to h port 443: Connection refused",
            "unreachable",
            True,
            id="a closed port",
        ),
        pytest.param(
            "error: RPC failed; HTTP 502 curl 22 The requested URL returned error: 502", "unreachable", True, id="502"
        ),
        pytest.param(
            "fatal: unable to access 'https://h/': The requested URL returned error: 429",
            "unreachable",
            True,
            id="too many requests",
        ),
        pytest.param(
            "error: RPC failed; curl 28 Operation too slow. Less than 1000 bytes/sec transferred the last 60 seconds",
            "unreachable",
            True,
            id="a server that hangs",
        ),
        pytest.param("fatal: the remote end hung up unexpectedly", "unreachable", True, id="a lost connection"),
        pytest.param(
            "fatal: unable to access 'https://h/': Empty reply from server", "unreachable", True, id="no reply at all"
        ),
        pytest.param(
            "fatal: unable to access 'https://h/o/n/': transfer closed with 54 bytes remaining to read",
            "unreachable",
            True,
            id="a connection that is cut within an answer",
        ),
        pytest.param(
            "error: RPC failed; HTTP 429 curl 22 The requested URL returned error: 429",
            "unreachable",
            True,
            id="a limit of requests",
        ),
        pytest.param(
            "fatal: https://h/o/n.git/info/refs not valid: is this a git repository?",
            "unreachable",
            True,
            id="a page of a proxy in place of git's answer",
        ),
        pytest.param(
            "fatal: unable to access 'https://h/': OpenSSL SSL_read: Connection reset by peer, errno 104",
            "unreachable",
            True,
            id="a connection over TLS that was reset",
        ),
        pytest.param(
            "fatal: unable to access 'https://h/': gnutls_handshake() failed: The TLS connection was non-properly terminated.",
            "unreachable",
            True,
            id="one that broke off",
        ),
        pytest.param(
            " ! [remote rejected] x -> x (Internal Server Error)", "unreachable", True, id="a server that is in trouble"
        ),
        pytest.param("fatal: something new", "git", False, id="what nobody has seen yet"),
    ],
)
def test_a_failure_is_put_down_to(stderr: str, reason: str, later: bool) -> None:
    error = translated(Failed("fetch", 128, stderr), "cannot fetch https://h/o/n")
    assert (error.reason, error.later) == (reason, later)


def test_what_git_says_is_said_once_without_its_marks() -> None:
    stderr = "remote: error: no  \nfatal: no\nfatal: broken\n\n"
    error = translated(Failed("fetch", 128, stderr), "cannot fetch https://h/o/n")
    assert str(error) == "cannot fetch https://h/o/n: git says: no; broken"


def test_a_failure_names_the_subcommand_and_not_the_options_before_it(git: Git) -> None:
    with pytest.raises(Failed, match=r"^git rev-parse ended 128: fatal: not a git repository"):
        git.run("-c", "core.abbrev=7", "--no-pager", "rev-parse", "--verify", "HEAD")


# In the configuration of whoever calls.


def environment_of(git: Git) -> dict[str, str]:
    """What a child of git sees; names of ours begin with a letter, and values have no newline."""
    lines = git.run("-c", "alias.shown=!env", "shown").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def test_the_configuration_and_the_environment_of_the_caller_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("[some]\n\tsetting = of the caller\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "some.other")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "of the environment")
    monkeypatch.setenv("ANYTHING", "else")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("GIT_TERMINAL_PROMPT", "1")
    with inherited(tmp_path) as git:
        found = environment_of(git)
        assert [git.run("config", f"some.{name}") for name in ("setting", "other")] == [
            "of the caller",
            "of the environment",
        ]
    assert {
        name: found.get(name) for name in ("ANYTHING", "HOME", "LC_ALL", "GIT_TERMINAL_PROMPT", "GIT_SSH_COMMAND")
    } == {
        "ANYTHING": "else",
        "HOME": os.environ["HOME"],
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_SSH_COMMAND": None,
    }


def test_what_leads_git_to_the_repository_of_a_hook_does_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = subprocess.run(["git", "rev-parse", "--local-env-vars"], capture_output=True, text=True, check=True)
    names = {name for name in listed.stdout.split() if not name.startswith("GIT_CONFIG_")}
    names |= {"GIT_QUARANTINE_PATH", "GIT_NAMESPACE", "GIT_LITERAL_PATHSPECS", "GIT_ICASE_PATHSPECS"}
    elsewhere = str(tmp_path / "elsewhere")
    for name in names:
        monkeypatch.setenv(name, elsewhere)
    with inherited(tmp_path) as git:
        assert [name for name, value in environment_of(git).items() if value == elsewhere] == []
    assert {"GIT_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"} <= names


def test_an_ssh_key_is_the_only_one_that_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_SSH_COMMAND", "ssh -i another")
    Path("a key").touch()
    with inherited(tmp_path, ssh_key=Path("a key")) as git:
        found = environment_of(git)["GIT_SSH_COMMAND"]
    assert found == f"ssh -i '{tmp_path}/a key' -oIdentitiesOnly=yes -oBatchMode=yes"


def test_a_password_is_asked_of_nobody(tmp_path: Path) -> None:
    server = Server("127.0.0.1", 0, lambda _: Response(401, {"WWW-Authenticate": 'Basic realm="x"'}))
    try:
        with inherited(tmp_path) as git, pytest.raises(Failed) as caught:
            git.run("ls-remote", f"{server.url}/owner/name")
    finally:
        server.close()
    assert caught.value.stderr == f"fatal: could not read Username for '{server.url}': terminal prompts disabled\n"


def test_git_within_a_repository_does_not_answer_for_the_one_around_it(tmp_path: Path) -> None:
    around = Worktree(tmp_path / "around")
    around.commit("Mine")
    inner = around.path / "inner"
    inner.mkdir()
    with inherited(around.path) as git:
        assert git.run("rev-parse", "HEAD") == around.git("rev-parse", "HEAD")
        within = git.within(inner)
        with pytest.raises(Failed) as caught:
            within.run("rev-parse", "HEAD")
        assert caught.value.stderr == f"fatal: not a git repository: '{inner}'\n"
        inner.rmdir()
        with pytest.raises(Failed):
            within.run("rev-parse", "HEAD")
        inner.mkdir()
        within.run("init", "--quiet", "--bare", "--template=")
        assert (within.run("rev-parse", "--absolute-git-dir"), (inner / "HEAD").exists()) == (str(inner), True)


def test_git_keeps_open_what_it_is_told_to_hold(tmp_path: Path) -> None:
    with inherited(tmp_path) as git, (tmp_path / "lock").open("w") as lock:
        git.run("init", "--quiet", "--bare", "--template=")
        seen = [
            each.run("-c", f"alias.held=!readlink /proc/$$/fd/{lock.fileno()}", "held", accept=[1])
            for each in (git.within(tmp_path), git.within(tmp_path, [lock.fileno()]))
        ]
    assert seen == ["", str(tmp_path / "lock")]


def test_leaving_ends_all_processes_at_once_in_whatever_thread_they_are_waited_for(tmp_path: Path) -> None:
    mark, fifo = uuid.uuid4().hex, tmp_path / "fifo"
    os.mkfifo(fifo)
    problems: list[str] = []

    def wait(git: Git) -> None:
        try:
            git.run("-c", f"alias.wait=!echo > {fifo}; sh -c 'sleep 600; : {mark}'; : {mark}", "wait")
        except StepError as error:
            problems.append(f"{error.reason}: {error}")

    with inherited(tmp_path) as git:
        threads = [threading.Thread(target=wait, args=(each,)) for each in (git, git, git.within(tmp_path))]
        for thread in threads:
            thread.start()
            assert fifo.read_text() == "\n"
        assert mark in "".join(_command_lines())
    for thread in threads:
        thread.join(10)
    assert [thread.is_alive() for thread in threads] == [False] * 3
    assert problems == ["terminated: git was ended"] * 3
    assert [line for line in _command_lines() if mark in line] == []
    wait(git)
    assert problems == ["terminated: git was ended"] * 4
    assert [line for line in _command_lines() if mark in line] == []


def _command_lines() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes().decode(errors="replace")
        except OSError:
            continue


def test_leaving_by_an_error_ends_them_as_well(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), inherited(tmp_path) as git:
        raise KeyboardInterrupt
    with pytest.raises(StepError) as caught:
        git.check()
    assert (caught.value.reason, str(caught.value)) == ("terminated", "git was ended")


def sleeping() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(["sleep", "600"], start_new_session=True)


def test_children_that_run_are_ended_and_none_is_started_later() -> None:
    children = Children()
    process = sleeping()
    with children.starting() as tell:
        tell(process)
    children.check()
    children.end()
    assert process.wait(10) == -signal.SIGKILL
    with pytest.raises(StepError, match=r"^git was ended$"), children.starting():
        pytest.fail("this is begun")
    children.end()


def test_children_that_are_done_are_left_alone() -> None:
    children = Children()
    process = sleeping()
    with children.starting() as tell:
        tell(process)
    children.ended(process)
    children.end()
    assert process.poll() is None
    process.kill()
    process.wait()


def test_a_child_that_is_just_being_started_is_ended_too(tmp_path: Path) -> None:
    """Each of these programs ends itself and its children at another moment after it has begun to start one."""
    (tmp_path / "git").write_text("#!/bin/sh\n[ $1 = log ] || exec echo git version 2.39.5\nexec sleep 600\n")
    (tmp_path / "git").chmod(0o755)
    program = """
import contextlib, os, pathlib, sys, threading, time
from steps.clients.git import inherited

def start(git):
    with contextlib.suppress(BaseException):
        git.run("log")

with inherited(pathlib.Path(sys.argv[1])) as git:
    threading.Thread(target=start, args=[git]).start()
    end = time.perf_counter() + float(sys.argv[2])
    while time.perf_counter() < end:
        pass
os._exit(0)
"""
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "MARK": str(tmp_path), "PYTHONPATH": str(ROOT)}
    programs = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(number / 2000)], env=environment)
        for number in range(16)
    ]
    assert [each.wait(60) for each in programs] == [0] * len(programs)
    assert are_gone(str(tmp_path))


TORN = "fatal: unable to access 'https://example.com/o/n/': The requested URL returned error: 502"


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was slept, which takes no time."""
    seconds: list[float] = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    return seconds


class Read:
    """A read that fails as often as it is told to, and how often it was called."""

    def __init__(self, *failures: Failed) -> None:
        self._failures = list(failures)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self._failures:
            raise self._failures.pop(0)
        return "read"


@pytest.mark.parametrize("failures", range(4))
def test_a_read_that_the_server_broke_off_is_tried_again(
    slept: list[float], caplog: pytest.LogCaptureFixture, failures: int
) -> None:
    read = Read(*[Failed("fetch", 128, TORN)] * failures)
    assert patiently(read) == "read"
    assert (read.calls, len(caplog.messages)) == (failures + 1, failures)
    assert [pause / 2 <= seconds <= pause for seconds, pause in zip(slept, PAUSES, strict=False)] == [True] * failures


def test_a_read_that_the_server_breaks_off_four_times_is_given_up(slept: list[float]) -> None:
    read = Read(*[Failed("fetch", 128, TORN)] * 9)
    with pytest.raises(Failed):
        patiently(read)
    assert (read.calls, len(slept)) == (4, 3)


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(
            Failed("fetch", 128, "fatal: Authentication failed for 'https://example.com/o/n'"), id="no access"
        ),
        pytest.param(Failed("fetch", 128, "fatal: couldn't find remote ref refs/heads/x"), id="what is not there"),
        pytest.param(
            Failed("fetch", -1, "git fetch took more than 900 s: timed out", timed_out=True), id="a time that is over"
        ),
    ],
)
def test_a_read_that_will_not_do_better_is_tried_once(slept: list[float], failure: Failed) -> None:
    read = Read(failure)
    with pytest.raises(Failed) as caught:
        patiently(read)
    assert (caught.value, read.calls, slept) == (failure, 1, [])
