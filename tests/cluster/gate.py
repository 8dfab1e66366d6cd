"""Holds a step where it is, so that a case can look at it or end it: at a request to the sandbox's GitHub, or by a signal."""

import subprocess
import threading
import types
from collections.abc import Callable
from typing import Self

from tests.cluster.cluster import ENVIRONMENT, LONGEST_WAIT
from tests.cluster.world import ClusterWorld
from tests.sandbox.github import GitHub
from tests.sandbox.tekton import Object

# Stops the process of a module when it comes, says so, and lets it go on when it is told to.
_STOPPER = """
import os, pathlib, signal, sys, time
wanted = [b"-m", sys.argv[1].encode()]
def find():
    while True:
        for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if path.read_bytes().split(b"\\0")[1:3] == wanted:
                    return int(path.parent.name)
            except OSError:
                pass
        time.sleep(0.005)
print("waiting", flush=True)
process = find()
os.kill(process, signal.SIGSTOP)
print("stopped", flush=True)
sys.stdin.readline()
os.kill(process, signal.SIGCONT)
"""


class Gate:
    """Holds the first request that is wanted, for the time of a `with` block or until it is opened.

    Args:
        github: who is asked.
        wanted: says of `METHOD PATH` whether it is the one.
    """

    def __init__(self, github: GitHub, wanted: Callable[[str], bool]) -> None:
        self._github, self._wanted = github, wanted
        self._reached, self._opened = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._gave_up = False

    def __enter__(self) -> Self:
        self._github.before_answer = self._hold
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self._github.before_answer = None
        self.open()
        assert not self._gave_up, "the request was let through before anybody opened the gate"

    def wait(self) -> None:
        """Until the request is there."""
        if not self._reached.wait(LONGEST_WAIT):
            raise TimeoutError(f"the request did not come in {LONGEST_WAIT:g} s")

    def open(self) -> None:
        self._opened.set()

    def _hold(self, request: str) -> None:
        with self._lock:
            first = self._wanted(request) and not self._reached.is_set()
            if first:
                self._reached.set()
        if first:
            self._gave_up = not self._opened.wait(LONGEST_WAIT)


class Stopper:
    """Stops the process of one of our steps as soon as it starts, for the time of a `with` block.

    Args:
        world: where.
        pod: its containers must run.
        step: the name of the step.
        module: what it runs, such as `steps.set_image`.
    """

    def __init__(self, world: ClusterWorld, pod: str, step: str, module: str) -> None:
        at = f"--namespace={world.namespace}"
        exec_in = ["kubectl", "exec", at, "--stdin", pod, f"--container=step-{step}", "--"]
        self._command = [*exec_in, "python", "-c", _STOPPER, module]

    def __enter__(self) -> Self:
        self._child = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
        )
        self._expect("waiting")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self._child.kill()
        self._child.communicate()

    def wait(self) -> None:
        """Until the process is stopped."""
        self._expect("stopped")

    def open(self) -> None:
        """Let the process go on."""
        assert self._child.stdin
        try:
            self._child.stdin.write("\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            pass  # its container is gone

    def _expect(self, word: str) -> None:
        assert self._child.stdout
        timer = threading.Timer(LONGEST_WAIT, self._child.kill)
        timer.start()
        line = self._child.stdout.readline().strip()
        timer.cancel()
        if line != word:
            raise TimeoutError(f"the step was not {word} but {line!r}")


def running_pod(world: ClusterWorld, run_name: str, task: str, step: str) -> str:
    """The pod of a task, once the container of a step runs; those of later steps do then, too, and wait."""
    selector = f"--selector=tekton.dev/pipelineRun={run_name},tekton.dev/pipelineTask={task}"

    def runs(pod: Object) -> str | None:
        states = {state["name"]: state["state"] for state in pod["status"].get("containerStatuses", [])}
        name: str = pod["metadata"]["name"]
        return name if "running" in states.get(f"step-{step}", {}) else None

    return world.cluster.watch("pods", selector, f"--namespace={world.namespace}", until=runs, timeout=LONGEST_WAIT)
