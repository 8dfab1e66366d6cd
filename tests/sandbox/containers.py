"""Containers of steps as processes of this machine, and images as ways to run them; no root and no container engine.

A container sees directories under paths of its own (`/workspace`). A process on this machine cannot, so those paths are
replaced in its command and environment by where they are here, and back again in what it leaves behind. Kaniko's executor
brings a chroot of its own, where they are mounted instead.
"""

import os
import posixpath
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from tests.sandbox import go, kaniko

REPOSITORY = Path(__file__).parents[2]
STEPS_IMAGE = "apps-cd/steps"

NOT_FOUND = 127


def to_host(text: str, mounts: Mapping[str, Path]) -> str:
    """A text with the container's paths replaced, where a path can begin: at its start, after `=`, and after `tar://`."""
    paths = "|".join(re.escape(path) for path in sorted(mounts, key=len, reverse=True))
    return re.sub(rf"(^|=|://)({paths})(?=/|$)", lambda match: f"{match[1]}{mounts[match[2]]}", text)


def to_container(text: str, mounts: Mapping[str, Path]) -> str:
    """A text with the places of this machine replaced by the container's paths."""
    for path, place in sorted(mounts.items(), key=lambda mount: len(str(mount[1])), reverse=True):
        text = text.replace(str(place), path)
    return text


@dataclass
class Container:
    """A container that is to run once.

    Args:
        arguments: command and arguments, in the container's paths.
        environment: variables beside the image's, in the container's paths.
        mounts: directories of this machine by their path inside.
        scratch: an empty directory for whatever the image needs outside of `mounts`.
        output: is called with `stdout` or `stderr` and a line, from threads.
        timeout: seconds after which it is ended.
        grace: seconds between SIGTERM and SIGKILL when it is ended.
    """

    arguments: Sequence[str]
    environment: Mapping[str, str]
    mounts: Mapping[str, Path]
    scratch: Path
    output: Callable[[str, str], None]
    timeout: float
    grace: float
    timed_out: bool = False
    _process: "subprocess.Popen[bytes] | None" = None
    _ended: bool = False
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _exited: threading.Event = field(default_factory=threading.Event)

    def execute(self, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
        """Run a program of this machine to its end, which is the end of all it started in its process group."""
        try:
            process = self._start(arguments, environment)
        except (FileNotFoundError, PermissionError) as error:
            self.output("stderr", f"{arguments[0]}: {error.strerror}\n")
            return NOT_FOUND
        timer = threading.Timer(self.timeout, self._time_out)
        streams = {"stdout": process.stdout, "stderr": process.stderr}
        readers = [threading.Thread(target=self._read, args=stream, daemon=True) for stream in streams.items()]
        for thread in (timer, *readers):
            thread.start()
        try:
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        finally:
            timer.cancel()
            self._exited.set()
            with self._lock:  # not reaped yet, so its process group cannot be another's
                self._signal(signal.SIGKILL)
                process.wait()
                self._process = None
            for reader in readers:
                reader.join()
        return process.returncode if process.returncode >= 0 else 128 - process.returncode

    def _start(self, arguments: Sequence[str], environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        with self._lock:
            self._process = subprocess.Popen(
                arguments,
                env=environment,
                cwd=self.scratch,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            if self._ended:
                self._signal(signal.SIGKILL)
            return self._process

    def _read(self, name: str, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                self.output(name, line.decode(errors="replace"))

    def _time_out(self) -> None:
        self.timed_out = True
        self.end(self.grace)

    def end(self, grace: float) -> None:
        """End the program as the kubelet does: SIGTERM, and SIGKILL after so many seconds (0: at once)."""
        with self._lock:
            self._ended = True
            self._signal(signal.SIGTERM if grace else signal.SIGKILL)
        if not self._exited.wait(grace):
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with self._lock:
            if self._process:
                os.killpg(self._process.pid, number)


class Image(Protocol):
    """A way to run the containers of an image."""

    def run(self, container: Container) -> int:
        """Run it to its end and return its exit code."""


@dataclass(frozen=True)
class OnHost:
    """An image whose programs are this machine's.

    Args:
        environment: what the image sets, in the container's paths; nothing else but PATH is there.
        programs: what runs in place of a program, by its name on the PATH or its path in the image.
        mounts: directories of this machine by their path in the image.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    programs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    mounts: Mapping[str, Path] = field(default_factory=dict)

    def run(self, container: Container) -> int:
        for name, command in self.programs.items():
            script = container.scratch / posixpath.basename(name)
            script.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
            script.chmod(0o755)
        mounts = {**self.mounts, **container.mounts}
        search = {"PATH": f"{container.scratch}:{os.environ['PATH']}"}
        environment = {**search, **self.environment, **container.environment}
        program, *arguments = container.arguments
        if program in self.programs:
            program = str(container.scratch / posixpath.basename(program))
        return container.execute(
            [to_host(argument, mounts) for argument in (program, *arguments)],
            {name: to_host(value, mounts) for name, value in environment.items()},
        )


@dataclass(frozen=True)
class Kaniko:
    """Kaniko's image, run by the real executor. A build that is ended or takes too long goes on to its own end."""

    executor: kaniko.Executor

    def run(self, container: Container) -> int:
        return kaniko.run(
            self.executor,
            container.arguments[1:],
            mounts=container.mounts,
            environment=container.environment,
            log=lambda line: container.output("stderr", line),
        )


def steps_image() -> Image:
    """The image of our steps: this checkout, with the environment that its Dockerfile sets."""
    text = (REPOSITORY / "images" / "steps" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    words = [word for line in text.splitlines() if line.startswith("ENV ") for word in shlex.split(line)[1:]]
    environment = dict(word.split("=", 1) for word in words)
    programs = {"python": [sys.executable], "kustomize": [str(go.program("kustomize"))]}
    return OnHost(environment, programs, {environment["PYTHONPATH"]: REPOSITORY})


def kaniko_stand_in() -> Image:
    """Kaniko's image, run by the stand-in for its executor."""
    command = ["env", f"PYTHONPATH={REPOSITORY}", sys.executable, "-m", "tests.sandbox.executor"]
    environment = {"HOME": "/tekton/home", "DOCKER_CONFIG": "/kaniko/.docker/"}
    return OnHost(environment, {"/kaniko/executor": command})
