"""A cluster with Tekton, as kubectl and tkn reach it; which one, the environment says.

Nothing here waits by the clock: whatever is waited for is watched.
"""

import functools
import ipaddress
import json
import os
import re
import shlex
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from tests.sandbox import busybox, kaniko, ssh
from tests.sandbox.tekton import Object

OLDEST_TEKTON = (1, 0)
LONGEST_WAIT = 300.0
"""Seconds."""

Found = TypeVar("Found")

ENVIRONMENT = {
    **os.environ,
    "KUBECONFIG": os.pathsep.join(
        str(Path(path).absolute()) for path in os.environ.get("KUBECONFIG", "").split(os.pathsep)
    ),
}
"""Of kubectl and tkn: the one that the tests were called in, because a kubeconfig may name a program that wants it."""

_PRIVATE = [ipaddress.ip_network(each) for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]
_RUN_LABEL = "tekton.dev/pipelineRun"


class MissingError(Exception):
    """There is no cluster to run on; the message says what to provide."""


class CommandError(Exception):
    """kubectl or tkn failed; the message is what it said."""


@dataclass(frozen=True)
class Cluster:
    """Where the tests run.

    Attributes:
        registry: `HOST:PORT` that nodes, pods and the test reach, over plain HTTP, at a private address.
        host: the address at which pods reach servers of the test.
        builder_image: Kaniko's executor.
    """

    registry: str
    host: str
    builder_image: str

    @classmethod
    @functools.cache
    def from_environment(cls) -> Self:
        """The cluster of KUBECONFIG, looked at once; MissingError when something is not there."""
        programs = ("kubectl", "tkn", "kustomize", "git")
        problems = [f"there is no {name}: install it" for name in programs if shutil.which(name) is None]
        if ssh.PROGRAM is None:
            problems.append("there is no sshd: install the package openssh-server")
        try:
            busybox.whole()
        except busybox.MissingError as error:
            problems.append(str(error))
        for name, meaning in {
            "KUBECONFIG": "of a cluster with Tekton",
            "REGISTRY": "HOST:PORT of a registry over plain http that nodes, pods and this machine reach",
            "HOST_IP": "the address of this machine at which pods reach it",
        }.items():
            if not os.environ.get(name):
                problems.append(f"{name} is not set: {meaning}")
        cluster = cls(
            registry=os.environ.get("REGISTRY", ""),
            host=os.environ.get("HOST_IP", ""),
            builder_image=os.environ.get("BUILDER_IMAGE") or kaniko.IMAGE,
        )
        if not problems:
            problems = list(cluster._problems())
        if problems:
            raise MissingError("the tests on a cluster cannot run:\n- " + "\n- ".join(problems))
        return cluster

    def _problems(self) -> Iterator[str]:
        for name, address in {"REGISTRY": self.registry.rpartition(":")[0], "HOST_IP": self.host}.items():
            if not _is_private(address):
                yield f"{name} has the address {address!r}: give a private one (10.*, 172.16.* to 172.31.*, 192.168.*), which Kaniko reaches over plain http"
        try:
            version = tuple(map(int, re.findall(r"\d+", self.tekton_version)))
            flags = self.get("configmap", "feature-flags", "--namespace=tekton-pipelines")["data"]
        except CommandError as error:
            yield f"Tekton Pipelines does not answer in the cluster of KUBECONFIG: {error}"
            return
        if version < OLDEST_TEKTON:
            yield f"Tekton Pipelines is {self.tekton_version}: 1.0 or newer is needed"
        if flags.get("set-security-context") != "true":
            yield 'set-security-context is not "true" in the ConfigMap feature-flags of tekton-pipelines'

    @property
    def tekton_version(self) -> str:
        version: str = self.get("configmap", "pipelines-info", "--namespace=tekton-pipelines")["data"]["version"]
        return version

    @property
    def versions(self) -> dict[str, str]:
        """What runs, for whoever reads the report."""
        kubernetes = json.loads(self.kubectl("version", "--output=json"))["serverVersion"]["gitVersion"]
        return {"Kubernetes": kubernetes, "Tekton Pipelines": self.tekton_version, "Kaniko": self.builder_image}

    def kubectl(self, *arguments: str, given: Object | Sequence[Object] | None = None) -> str:
        """Run kubectl and return what it prints; `given` are objects for `--filename=-`."""
        return _run("kubectl", *arguments, text=_list(given)).stdout

    def warnings(self, *arguments: str, given: Object) -> str:
        """What the API server warns of when kubectl does something."""
        return "".join(_run("kubectl", *arguments, text=_list(given)).stderr)

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", "--output=json", *arguments))

    def watch(self, *arguments: str, until: Callable[[Object], Found | None], timeout: float = LONGEST_WAIT) -> Found:
        """Look at objects as they change until something is found in one.

        Args:
            arguments: of `kubectl get`.
            until: what is looked for in an object; None is not found yet.
            timeout: seconds.

        Raises:
            TimeoutError: the message is the last object seen.
        """
        command = ["kubectl", "get", "--watch", "--output=json", *arguments]
        seen: Object = {}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
        ) as child:
            timer = threading.Timer(timeout, child.kill)
            timer.start()
            try:
                assert child.stdout
                assert child.stderr
                for seen in _objects(child.stdout):
                    found = until(seen)
                    if found is not None:
                        return found
                if timer.is_alive():
                    raise CommandError(f"{' '.join(command)} ended: {child.stderr.read()}")
            finally:
                timer.cancel()
                child.kill()
        status = json.dumps(seen.get("status"), indent=1)
        raise TimeoutError(f"not in {timeout:g} s: {' '.join(arguments)}; its status was {status}")

    def pods(self, namespace: str, run_name: str) -> list[Object]:
        """The pods of a PipelineRun by age."""
        pods: list[Object] = self.get("pods", f"--namespace={namespace}", f"--selector={_RUN_LABEL}={run_name}")[
            "items"
        ]
        return sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def diagnosis(self, namespace: str) -> str:
        """All that a person wants to see who wonders what went wrong in a namespace."""
        at = f"--namespace={namespace}"
        commands = [
            ["kubectl", "get", at, "pipelineruns,taskruns,pods"],
            ["kubectl", "describe", at, "pipelineruns,taskruns,pods"],
            ["kubectl", "get", at, "events", "--sort-by=.lastTimestamp"],
        ]
        try:
            runs = self.kubectl("get", at, "pipelineruns", "--output=name").split()
        except CommandError:
            runs = []
        commands += [["tkn", "pipelinerun", "logs", at, name.partition("/")[2]] for name in runs]
        parts = []
        for command in commands:
            try:
                text = _run(*command).stdout
            except (CommandError, subprocess.TimeoutExpired) as error:
                text = f"{error}\n"
            parts.append(f"$ {' '.join(command)}\n{text}")
        return "\n".join(parts)

    def tkn(self, *arguments: str) -> str:
        """Run tkn and return what it prints."""
        return _run("tkn", *arguments).stdout


def _run(*command: str, text: str = "") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, check=False, timeout=LONGEST_WAIT, env=ENVIRONMENT
    )
    if done.returncode:
        raise CommandError(f"{shlex.join(command)[:200]}: {done.stderr.strip()}{done.stdout.strip()}")
    return done


def _list(given: Object | Sequence[Object] | None) -> str:
    """Objects as kubectl reads them."""
    objects = [given] if isinstance(given, dict) else given or []
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}) if objects else ""


def _is_private(address: str) -> bool:
    try:
        return any(ipaddress.ip_address(address) in network for network in _PRIVATE)
    except ValueError:
        return False


def _objects(stream: Any) -> Iterator[Object]:
    """JSON objects that follow each other, each as soon as it is complete: kubectl indents all but the braces."""
    lines: list[str] = []
    for line in stream:
        lines.append(line)
        if line.rstrip() == "}":
            yield json.loads("".join(lines))
            lines = []
