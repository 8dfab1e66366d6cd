"""git, in a configuration of our own or in that of whoever calls: the only import of GitPython.

In a configuration of our own (`isolated`, `isolated_each`) nothing a repository brings along is run: no system, user or tree configuration
is read, there are no hooks, no filters, no fsmonitor, no protocols but https, http and ssh, and no environment but what is
listed here. A credential lies in memory that the other containers of a pod have no name for, and never on a file system,
which they share; git's own `store` helper reads it there, and gives it to the host it belongs to.

In that of the caller (`inherited`) git has the credential helpers, proxies and `insteadOf` that it has on a command line.
"""

import logging
import os
import random
import re
import shlex
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from steps.clients.credentials import Credentials
from steps.clients.interruption import undisturbed
from steps.core.repository import Repository
from steps.errors import StepError

TIMEOUT = 900.0
"""Seconds that one call of git may take."""
PAUSES = (1.0, 2.0, 4.0)
"""Seconds, at most, between the tries of a call that reads a server."""

_KEPT = {
    *("PATH", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *(name for proxy in ("http_proxy", "https_proxy", "all_proxy", "no_proxy") for name in (proxy, proxy.upper())),
}

# What `git rev-parse --local-env-vars` lists, but for configuration: git sets it for hooks, and it leads to another repository.
_OF_A_REPOSITORY = {
    *("GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_CONFIG"),
    *("GIT_OBJECT_DIRECTORY", "GIT_DIR", "GIT_WORK_TREE", "GIT_IMPLICIT_WORK_TREE", "GIT_GRAFT_FILE"),
    *("GIT_INDEX_FILE", "GIT_NO_REPLACE_OBJECTS", "GIT_REPLACE_REF_BASE", "GIT_PREFIX", "GIT_SHALLOW_FILE"),
    *("GIT_INTERNAL_SUPER_PREFIX", "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_LITERAL_PATHSPECS"),
    *("GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS", "GIT_QUARANTINE_PATH"),
}

_CONFIG = """\
[core]
\thooksPath = /dev/null
\tfsmonitor = false
\tattributesFile = /dev/null
\texcludesFile = /dev/null
[init]
\tdefaultBranch = main
\ttemplateDir =
[safe]
\tdirectory = *
[gc]
\tauto = 0
[maintenance]
\tauto = false
[advice]
\tdetachedHead = false
[transfer]
\tcredentialsInUrl = die
[http]
\tlowSpeedLimit = 1000
\tlowSpeedTime = 60
[protocol]
\tversion = 2
"""

_log = logging.getLogger("steps.git")


class Children:
    """The processes of git that go on, so that they can be ended from another thread than the ones that wait for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] | None = set()

    @contextmanager
    def starting(self) -> Iterator["Callable[[subprocess.Popen[bytes]], None]"]:
        """While one is started, and told: `end` waits for that, as nobody may be left to end it afterwards."""
        with self._lock:
            if self._running is None:
                raise _ended()
            yield self._running.add

    def ended(self, process: "subprocess.Popen[bytes]") -> None:
        """One has ended by itself."""
        with self._lock:
            if self._running is not None:
                self._running.discard(process)

    def check(self) -> None:
        """Raise StepError when they were ended."""
        if self._running is None:
            raise _ended()

    def end(self) -> None:
        """Kill all of them; none is started from now on."""
        with self._lock:
            running, self._running = self._running or set(), None
        for process in running:
            kill(process)


def _ended() -> StepError:
    return StepError("terminated", "git was ended")


class Git:
    """Runs git in one directory. Made by `isolated`, `isolated_each` and `inherited`.

    Args:
        directory: where git runs.
        environment: variables that git gets besides those kept.
        timeout: seconds that one call may take.
        children: what its processes are told to.
        held: descriptors that git and its children keep open, such as that of a lock.
    """

    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str],
        timeout: float,
        children: Children | None = None,
        held: Sequence[int] = (),
    ) -> None:
        import git

        self._git = git.Git(os.fspath(directory))
        self._not_found = git.GitCommandNotFound
        self._directory = directory
        self._environment = environment
        self._timeout = timeout
        self._children = children or Children()
        self._held = held

    def within(self, repository: Path, held: Sequence[int] = ()) -> "Git":
        """The same git in a bare repository, whatever its state: never in one around it, and fetching only when told to."""
        own = {"GIT_DIR": os.fspath(repository.absolute()), "GIT_NO_LAZY_FETCH": "1"}
        return Git(repository, {**self._environment, **own}, self._timeout, self._children, held)

    def within_seconds(self, most: float) -> "Git":
        """The same git, with less patience."""
        return Git(self._directory, self._environment, min(most, self._timeout), self._children, self._held)

    def check(self) -> None:
        """Raise StepError when the context that git is used in was left, so that what it says means nothing any more."""
        self._children.check()

    def run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        accept: Sequence[int] = (),
    ) -> str:
        """What git prints, without the last newline.

        Args:
            arguments: a subcommand and its arguments; values of users stand behind `--` or `--end-of-options`, or
                were parsed into a type that cannot start with a dash.
            stdin: what git reads.
            environment: variables for this call alone.
            accept: exit codes besides 0 that are no failure.

        Raises:
            Failed: git ended with another code, or took too long.
        """
        out = self.output(*arguments, stdin=stdin, environment=environment, accept=accept)
        return out.decode("utf-8", "surrogateescape").removesuffix("\n")

    def output(
        self,
        *arguments: str,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        accept: Sequence[int] = (),
    ) -> bytes:
        """All bytes that git prints; see `run`."""
        command = next(word for word in arguments if not word.startswith("-") and "=" not in word)
        own = {**self._environment, **(environment or {})}
        # GitPython adds the environment of this process to the one it is given.
        unset = [f"--unset={name}" for name in os.environ if name not in _KEPT and name not in own]
        process: subprocess.Popen[bytes] | None = None
        try:
            with undisturbed(), self._children.starting() as tell:
                running = self._git.execute(
                    [*(["env", *unset] if unset else []), "git", *arguments],
                    istream=subprocess.PIPE,
                    as_process=True,
                    env=own,
                    start_new_session=True,
                    pass_fds=self._held,
                )
                process = running.proc
                assert process is not None  # noqa: S101 - true until GitPython's wrapper goes out of scope, and ends it
                tell(process)
            try:
                out, err = process.communicate(stdin, timeout=self._timeout)
            finally:
                self._children.ended(process)
        except self._not_found as error:
            raise StepError("not-found", "there is no git on PATH; install it") from error
        except BaseException as error:
            if process:
                # Not by communicate: where it was interrupted it may not be called again.
                with suppress(BrokenPipeError), process:
                    kill(process)
            if isinstance(error, subprocess.TimeoutExpired):
                said = f"git {command} took more than {self._timeout:g} s: timed out"
                raise Failed(command, -1, said, timed_out=True) from error
            raise
        self.check()
        if process.returncode not in (0, *accept):
            raise Failed(command, process.returncode, err.decode(errors="replace"))
        return bytes(out)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill its group, because git leaves its transport helpers behind when it is killed alone."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class Failed(Exception):
    """A call of git ended badly; `stderr` says how, in git's words, unless it took too long."""

    def __init__(self, command: str, code: int, stderr: str, *, timed_out: bool = False) -> None:
        super().__init__(f"git {command} ended {code}: {stderr}")
        self.stderr = stderr
        self.timed_out = timed_out

    @property
    def may_pass(self) -> bool:
        """Whether the same call may succeed in a moment."""
        return not self.timed_out and translated(self, "").later


GitOf = Callable[[Repository], Git]
"""git for a repository; StepError when its credentials cannot be had."""

Result = TypeVar("Result")


def patiently(read: Callable[[], Result]) -> Result:
    """What a call that only reads a server returns; when the server or the network broke it off, it is tried again."""
    for pause in PAUSES:
        try:
            return read()
        except Failed as error:
            if not error.may_pass:
                raise
            _log.warning("trying again: %s", error)
            time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - so that many do not come back at once
    return read()


_CAUSES = (
    (
        r"Authentication failed|could not read (Username|Password)|Permission denied \(|HTTP (Basic: Access denied|401)|error: 401",
        ("auth", "the server did not take the credential, or wants one; check the credentials directory", False),
    ),
    (
        r"Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED|No .* host key is known",
        ("host-key", "the host's key is not the one in known_hosts; add it there if it is right", False),
    ),
    (
        r"(SSL|TLS|gnutls).*(reset|SYSCALL|timed out|unexpected eof|non-properly terminated|Error in the p)|rate limit|\[remote rejected\].*Internal Server Error|error in commit_refs",
        ("unreachable", "the connection broke off, or the server is busy; try again", True),
    ),
    (r"certificate|SSL|TLS", ("tls", "the host's certificate is not trusted; add its authority as ca.crt to the credentials", False)),
    (r"Repository not found|repository .* not found|does not appear to be a git repo", ("not-found", "there is no such repository, or the credential may not see it", False)),
    (r"transport '.*' not allowed", ("protocol", "only https, http and ssh are used", False)),
    (r"repository was archived", ("archived", "the repository is archived, so nothing can be written; unarchive it", False)),
    (r"protected branch|GH006|GH013|pre-receive hook declined|error: 403|Permission to .* denied|not authorized", ("refused", "the server refuses; check what the credential may do, and branch protection", False)),
    (r"No space left", ("disk", "make room", False)),
    (
        r"not valid: is this a git repository|invalid server response|bad line length|protocol error|unexpected flush packet|expected flush|expected '?acknowledgments|expected ''|git-http-push failed",
        ("unreachable", "the answer is not that of a git server; is the URL right, or a proxy in between?", True),
    ),
    (
        r"Could not resolve host|Connection|connect to|timed out|timeout|early EOF|Empty reply|hung up|HTTP (429|5)|error: (429|5)|RPC failed|Operation too slow|transfer closed|remaining to read|(Recv|Send) failure|Broken pipe|not closed cleanly",
        ("unreachable", "the server could not be reached; try again", True),
    ),
)  # fmt: skip


def translated(error: Failed, attempt: str) -> StepError:
    """git's failure as a message for a person.

    Args:
        attempt: what was tried, on what: `cannot fetch https://...`.
    """
    said = "; ".join(
        dict.fromkeys(
            re.sub(r"^((fatal|error|remote): *)+", "", line).strip()
            for line in error.stderr.splitlines()
            if line.strip()
        )
    )
    # Names stand in quotes; none of them is a cause.
    text = re.sub(r"'[^'\n]*'", "''", error.stderr)
    for pattern, (reason, advice, later) in _CAUSES:
        if re.search(pattern, text, re.IGNORECASE):
            return StepError(reason, f"{attempt}: {advice} (git says: {said})", later=later)
    return StepError("git", f"{attempt}: git says: {said}")


@contextmanager
def isolated(
    directory: Path, repository: Repository, credentials: Credentials, *, timeout: float = TIMEOUT
) -> Iterator[Git]:
    """git in a directory, with a configuration that lives as long as the context.

    Args:
        directory: where git runs; it must exist.
        repository: where the token or password of the credentials belongs.
        credentials: what is shown to servers.
        timeout: seconds that one call of git may take.
    """
    with isolated_each(directory, lambda _: credentials, timeout=timeout) as git_of:
        yield git_of(repository)


@contextmanager
def isolated_each(
    directory: Path, credentials_of: Callable[[Repository], Credentials], *, timeout: float = TIMEOUT
) -> Iterator[GitOf]:
    """The same for any number of repositories, each with a configuration of its own, asked for in whatever thread.

    When the context is left all its processes are ended, in whatever thread they are waited for.

    Args:
        directory: where git runs; it must exist.
        credentials_of: what is shown to the servers that a repository leads to; called once for each that is asked for.
        timeout: seconds that one call of git may take.
    """
    children, kept, lock = Children(), ExitStack(), threading.Lock()

    def git_of(repository: Repository) -> Git:
        credentials = credentials_of(repository)
        with lock:
            children.check()
            home = Path(kept.enter_context(tempfile.TemporaryDirectory(prefix="apps-cd-git-")))
            environment = _environment(home, repository, credentials, kept)
        return Git(directory, environment, timeout, children)

    try:
        yield git_of
    finally:
        children.end()
        with lock:
            kept.close()


@contextmanager
def inherited(directory: Path, *, ssh_key: Path | None = None, timeout: float = TIMEOUT) -> Iterator[Git]:
    """git in a directory, in the configuration and environment of whoever calls; it never asks anybody anything.

    When the context is left all its processes are ended, in whatever thread they are waited for.

    Args:
        directory: where git runs; it must exist.
        ssh_key: the private key that ssh shows, and no other.
        timeout: seconds that one call of git may take.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _OF_A_REPOSITORY}
    environment |= {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    if ssh_key:
        if not ssh_key.is_file():
            raise StepError("usage", f"--ssh-key={ssh_key} is not a file; give the private key")
        environment["GIT_SSH_COMMAND"] = shlex.join(
            ["ssh", "-i", os.fspath(ssh_key.absolute()), "-oIdentitiesOnly=yes", "-oBatchMode=yes"]
        )
    children = Children()
    try:
        yield Git(directory, environment, timeout, children)
    finally:
        children.end()


def _environment(home: Path, repository: Repository, credentials: Credentials, secrets: ExitStack) -> dict[str, str]:
    config = home / "gitconfig"
    text = _CONFIG
    if store := credentials.git_store(repository):
        # git would have the helper write, too: what the server took, and what it did not.
        file = secrets.enter_context(_in_memory(store))
        text += f'[credential]\n\thelper = "!f() {{ test $1 != get || git credential-store --file={file} get; }}; f"\n'
    config.write_text(text)
    return {
        **({"GIT_SSL_CAINFO": str(credentials.ca)} if credentials.ca else {}),
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(config),
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_ALLOW_PROTOCOL": "https:http:ssh",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_SSH_COMMAND": _ssh(home, repository, credentials, secrets),
    }


def _ssh(home: Path, repository: Repository, credentials: Credentials, secrets: ExitStack) -> str:
    if repository.scheme == "ssh" and not credentials.ssh_key:
        raise StepError(
            "auth", f"{repository} is read over ssh; give a credentials directory with ssh-privatekey and known_hosts"
        )
    # OpenSSH refuses a key that others may read, as a mounted Secret is, and one without a last newline.
    key = secrets.enter_context(_in_memory(f"{credentials.ssh_key.strip()}\n")) if credentials.ssh_key else os.devnull
    (home / "known_hosts").write_text(credentials.known_hosts or "", encoding="utf-8")
    options = {
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": home / "known_hosts",
        "GlobalKnownHostsFile": "/dev/null",
        "ConnectTimeout": "30",
        "ServerAliveInterval": "15",
    }
    return shlex.join(["ssh", "-F", "none", "-i", key, *(f"-o{name}={value}" for name, value in options.items())])


@contextmanager
def _in_memory(text: str) -> Iterator[str]:
    """A file without a place in any directory, which children of this process read by the name given."""
    descriptor = os.memfd_create("credential")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o600)
        file.write(text)
        file.flush()
        yield f"/proc/{os.getpid()}/fd/{descriptor}"
