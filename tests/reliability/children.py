"""Steps as processes, hundreds of them: forked from one that has loaded all libraries, on a clock that runs faster.

`python -m tests.reliability.children` is that process: it reads one call a line, forks, and writes the child's number and,
when that has ended, how. A child is what `python -m steps.NAME` would be: an argv, a log, an exit code, and a death of its
own. What sleeps there sleeps SPEED times shorter, and the monotonic clock runs SPEED times faster; the sandbox's faults are
given the same clock.
"""

import contextlib
import dataclasses
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from tests.steps.conftest import argv

ROOT = Path(__file__).parents[2]
SPEED = 50.0
FUNCTIONS = {
    "open_pull_request": "steps.open_pull_request",
    "close_superseded_pull_requests": "steps.close_superseded_pull_requests",
    "prepare_build_context": "steps.prepare_build_context",
    "plain_pygithub": "tests.reliability.peers",
}
"""What may be called, and its module."""

_sleep, _monotonic = time.sleep, time.monotonic


def clock() -> float:
    """Seconds on the clock of the children."""
    return _monotonic() * SPEED


def wait(seconds: float) -> None:
    """Let time pass on the clock of the children."""
    _sleep(seconds / SPEED)


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code (negative for a signal), what it printed, and its log, a JSON object a line."""

    code: int
    stdout: str
    log: str

    @property
    def reasons(self) -> list[str]:
        """The reasons in the log, the last one that of a failure."""
        entries = [json.loads(line) for line in self.log.splitlines()]
        return [entry["reason"] for entry in entries if "reason" in entry]


class Parent:
    """The process that children are forked from, as a context manager; they run one after the other.

    Args:
        directory: for what children print, and for their temporary files.
        environment: of the children, besides PATH.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._directory = directory
        directory.mkdir(parents=True)
        self._environment = {
            "PATH": os.environ["PATH"],
            "TMPDIR": str(directory),
            "HOME": str(directory),
            **environment,
        }
        self.child: int | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=ROOT,
            env={**self._environment, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        with self._process:
            self._process.kill()

    def run(self, step: str, flags: Mapping[str, Any], *more: str) -> Ended:
        """Carry out a step to its end."""
        out, log = self._directory / "stdout", self._directory / "log"
        call = {"step": step, "argv": [*argv(dict(flags)), *more], "stdout": str(out), "log": str(log)}
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(call) + "\n")
        self._process.stdin.flush()
        self.child = int(self._process.stdout.readline())
        code = int(self._process.stdout.readline())
        self.child = None
        return Ended(code, out.read_text(), log.read_text())

    def kill(self) -> None:
        """End the child that goes on at once, and what it has started."""
        if self.child:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.child, signal.SIGKILL)


def _main() -> None:
    functions: dict[str, Callable[..., None]] = {
        name: getattr(importlib.import_module(module), name) for name, module in FUNCTIONS.items()
    }
    for library in ("git", "steps.clients.github_wire", "google.cloud.storage", "fire", "fire.decorators"):
        importlib.import_module(library)
    gc.freeze()
    time.sleep = wait  # type: ignore[assignment]  # no step sleeps anything but seconds
    time.monotonic = clock
    for line in sys.stdin:
        call = json.loads(line)
        child = os.fork()
        if child == 0:
            _be(functions[call["step"]], call)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _be(step: Callable[..., None], call: dict[str, Any]) -> None:
    """Become a process of a step, as its own command line would start it."""
    from steps import command_line

    code = 1
    try:
        os.setsid()
        for name, descriptor in (("stdout", 1), ("log", 2)):
            os.dup2(os.open(call[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv = [step.__name__, *call["argv"]]
        command_line.run(step)
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _main()
