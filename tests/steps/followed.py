"""A reconciler that follows many repositories, and what its passes cost; GitHub and the API server are in this process."""

import contextlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple, Self

import requests
from ruamel.yaml import YAML

from tests.sandbox.github import GitHub
from tests.sandbox.kubernetes import Kubernetes
from tests.steps.conftest import ROOT
from tests.steps.reconciling import STATE, WEBHOOK_SECRET, Child, free_port

TOKEN = "token-of-bot"
PATIENCE = 600.0
"""Seconds that a pass may take."""


class Measured(NamedTuple):
    """What a pass cost.

    Attributes:
        kubernetes: requests to the API server, with two of the Lease's.
        writes: of them those that change something else than the Lease.
        github: requests to GitHub's REST interface.
        unchanged: of them those that were answered 304, which cost no quota.
        git: requests by git.
    """

    seconds: float
    kubernetes: int
    writes: int
    github: int
    unchanged: int
    git: int


class Followed:
    """Runs `python -m steps.reconcile` for the time of a `with` block, which makes a pass whenever that is asked for.

    Args:
        directory: has the repositories in `remotes/OWNER/NAME`; gets all other files.
        config: as for github.com.
        pushed: OWNER/NAME of one of its repositories.
    """

    def __init__(self, directory: Path, config: Path, pushed: str, github: GitHub, kubernetes: Kubernetes) -> None:
        self._github, self._kubernetes, self._pushed = github, kubernetes, pushed
        github.add_user("bot", token=TOKEN)
        for path in sorted((directory / "remotes").glob("*/*")):
            bare = github.add_repository(f"{path.parent.name}/{path.name.removesuffix('.git')}", writers=["bot"])
            bare.rename(bare.with_suffix(".empty"))
            path.rename(bare)
        text = re.sub(
            "(?:https://github[.]com/|git@github[.]com:)", f"{github.url}/", config.read_text(encoding="utf-8")
        )
        for name, content in {"applications.yaml": text, "github-token": TOKEN, "webhook": WEBHOOK_SECRET}.items():
            (directory / name).write_text(content, encoding="utf-8")
        for resource in ("configmaps", "leases"):
            kubernetes.add(resource, {"metadata": {"name": STATE}})
        port = free_port()
        flags = {
            "config": directory / "applications.yaml",
            "template": ROOT / "tekton/runs/apps-cd.yaml",
            "namespace": "apps-cd",
            "src-dir": directory / "src",
            "github-url": github.url,
            "github-token": directory / "github-token",
            "webhook-secret": directory / "webhook",
            "interval": "24h",
            "port": port,
        }
        environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "KUBECONFIG": str(kubernetes.kubeconfig)}
        with (directory / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "steps.reconcile", *(f"--{name}={value}" for name, value in flags.items())],
                cwd=ROOT, env=environment, stderr=log, text=True,
            )  # fmt: skip
        self._child = Child(process, port)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()

    def begin(self) -> None:
        """Let Tekton begin all runs: it copies the Pipeline into each."""
        pipeline = YAML(typ="safe").load(ROOT / "tekton/pipelines/apps-cd.yaml")
        condition = {"type": "Succeeded", "status": "Unknown", "reason": "Running", "message": "Tasks Completed: 0"}
        for name in self._kubernetes.names("pipelineruns"):
            status = {"conditions": [condition], "pipelineSpec": pipeline["spec"]}
            self._kubernetes.change("pipelineruns", name, {"status": status})

    def measured(self, number: int) -> Measured:
        """Make a pass, the how manieth it is, and tell what it cost."""
        self._kubernetes.requests.clear()
        self._github.requests.clear()
        before = self.seconds
        self._child.push(self._pushed)
        self.end_of_pass(number)
        calls = list(self._kubernetes.requests)
        asked = [request for request in self._github.requests if request.path.startswith("/api/")]
        return Measured(
            self.seconds - before,
            len(calls),
            sum(verb in ("create", "update", "patch") and "/leases/" not in path for verb, path, _ in calls),
            len(asked),
            sum(request.status == 304 for request in asked),
            len(self._github.requests) - len(asked),
        )

    def end_of_pass(self, number: int) -> None:
        """Wait until so many passes have ended well."""
        end = time.monotonic() + PATIENCE
        while self._number('apps_cd_passes_total{result="succeeded"}') < number:
            if time.monotonic() > end or self._child.process.poll() is not None:
                raise TimeoutError("the pass does not end")
            time.sleep(0.2)

    @property
    def seconds(self) -> float:
        """What all passes so far have taken."""
        return self._number("apps_cd_pass_duration_seconds_sum")

    @property
    def memory(self) -> float:
        """The most that the process had so far, MiB."""
        status = Path(f"/proc/{self._child.process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024

    def _number(self, name: str) -> float:
        with contextlib.suppress(requests.ConnectionError):  # it begins to listen
            for line in self._child.ask("/metrics")[1].splitlines():
                if line.startswith(f"{name} "):
                    return float(line.rpartition(" ")[2])
        return 0
