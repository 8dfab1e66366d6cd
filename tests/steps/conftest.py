"""What the tests of the steps share: a GitHub with repositories, and a way to call a step as its command line does."""

import contextlib
import logging
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from steps import command_line
from tests.sandbox.github import GitHub, Request
from tests.sandbox.worktree import Worktree
from tests.steps import kubeflow as kubeflow_files

if TYPE_CHECKING:
    from tests.steps.manifests import Manifests
    from tests.steps.remotes import Remotes

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Outcome:
    """How a step ended.

    Attributes:
        code: the exit code.
        problem: `reason: message` of what went wrong, without what git says, whose words change with its version.
        stdout: all of it.
    """

    code: int = 0
    problem: str = ""
    stdout: str = ""


class Run(Protocol):
    def __call__(self, step: Callable[..., None], **flags: Any) -> Outcome: ...


def argv(flags: dict[str, Any]) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in flags.items() if value is not None]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Run:
    """Calls a step in this process with flags; one that is None is left out."""
    caplog.set_level(logging.INFO)

    def call(step: Callable[..., None], **flags: Any) -> Outcome:
        caplog.clear()
        code = command_line.main(step, argv(flags))
        problems = [
            f"{record.reason}: {re.split(r'[ :]+[(]?git says: ', record.getMessage())[0]}"
            for record in caplog.records
            if hasattr(record, "reason")
        ]
        return Outcome(code, "\n".join(problems), capsys.readouterr().out)

    return call


def process(
    step: str,
    *more: str,
    python: str = sys.executable,
    environment: dict[str, str] | None = None,
    directory: Path = ROOT,
    **flags: Any,
) -> "subprocess.Popen[str]":
    """Starts a step as a process in a directory; `more` are flags as they are."""
    return subprocess.Popen(
        [python, "-m", f"steps.{step}", *argv(flags), *more],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def github(tmp_path: Path) -> Iterator[GitHub]:
    """A GitHub with an organization kubeflow, and people: alice, who maintains, a bot, who may push, and a stranger."""
    with GitHub(tmp_path / "github") as server:
        server.add_user("kubeflow", organization=True)
        for login in ("alice", "bot", "stranger"):
            server.add_user(login, token=f"token-of-{login}")
        yield server
    assert server.violations == []


def in_2026(tree: Worktree) -> Worktree:
    """Its commits get a date of their own, so that they are the same in each run."""
    tree.environment |= {"GIT_AUTHOR_DATE": "2026-01-02T03:04:05Z", "GIT_COMMITTER_DATE": "2026-01-02T03:04:06Z"}
    return tree


def hurry(patch: pytest.MonkeyPatch) -> None:
    """What is waited for takes no time; but `subprocess` looks again and again for a child's end, and is to leave it the processor."""
    sleep = time.sleep
    patch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.001)))


def running() -> str:
    """The arguments and the environment of every process of this machine that we may look at."""
    found = []
    for path in [*Path("/proc").glob("[0-9]*/cmdline"), *Path("/proc").glob("[0-9]*/environ")]:
        with contextlib.suppress(OSError):
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(found)


def are_gone(*marks: str) -> bool:
    """Whether no process has all of these in its arguments or its environment; one that was killed may take a moment to end."""
    deadline = time.monotonic() + 10
    while any(all(mark in line for mark in marks) for line in running().splitlines()):
        if time.monotonic() > deadline:
            return False
    return True


def publish(repository: Path, bare: Path) -> None:
    """Give a bare repository what another one has, as a push of everything would."""
    for part in ("objects", "refs"):
        shutil.copytree(repository / ".git" / part, bare / part, dirs_exist_ok=True)


def on_request(github: GitHub, tell: Callable[[Request], None]) -> None:
    """Have each request told after it took effect, and before its reply is complete."""

    class Log(list[Request]):
        def append(self, request: Request) -> None:
            super().append(request)
            tell(request)

    github.requests = Log(github.requests)


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.steps.manifests import make_history

    return make_history(tmp_path_factory.mktemp("history") / "tree")


@pytest.fixture
def manifests(github: GitHub, history: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> "Manifests":
    """A repository kubeflow/manifests, and a working tree of it; what a step waits for takes no time."""
    from tests.steps.manifests import make_manifests

    hurry(monkeypatch)
    return make_manifests(github, history, tmp_path, run)


@pytest.fixture
def remotes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Remotes":
    """Repositories and a configuration for create_runs."""
    from tests.steps.remotes import Remotes  # it builds on this module

    return Remotes(tmp_path, monkeypatch)


@pytest.fixture
def kubeflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The configuration and template of kubeflow's apps-cd, and repositories for it where git finds them."""
    found = kubeflow_files.files()
    kubeflow_files.make(found[0], tmp_path / "remotes", commits=60)
    (tmp_path / "gitconfig").write_text(f'[url "file://{tmp_path}/remotes/"]\n\tinsteadOf = https://github.com/\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    return found
