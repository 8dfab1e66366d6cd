"""What the tests of reconcile share: a GitHub, an API server, a source and manifests, and who plays Tekton and people."""

import contextlib
import hashlib
import hmac
import json
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytest
import requests

from steps.open_pull_request import open_pull_request
from steps.reconcile import reconcile
from tests.sandbox.faults import NONE, Asked, Faults
from tests.sandbox.github import GitHub, Request
from tests.sandbox.http_server import Response
from tests.sandbox.kubernetes import Kubernetes
from tests.sandbox.worktree import Worktree
from tests.steps.conftest import Outcome, Run, in_2026, process
from tests.steps.manifests import rest
from tests.steps.remotes import TEMPLATE

NAMESPACE = "apps-cd"
STATE = "apps-cd-reconciler"
NOW = 1767330000.0
"""2026-01-02T05:00:00Z, by the API server's clock."""
PATIENCE = 30.0
"""Seconds that anything is waited for."""
WEBHOOK_SECRET = "made-up secret"
WRITES = ("create", "update", "patch")

Item = TypeVar("Item")


class Log(list[Item], Generic[Item]):
    """A log that tells when something was added."""

    def __init__(self, changed: threading.Condition) -> None:
        super().__init__()
        self._changed = changed

    def append(self, item: Item) -> None:
        with self._changed:
            super().append(item)
            self._changed.notify_all()


class World:
    """kubeflow/source and kubeflow/manifests at a GitHub, an API server, and a configuration of both.

    Attributes:
        now: by the API server's clock.
        temporary: where a process has its temporary files.
        flags: of reconcile, as the Deployment gives them.
        first: the first commit of the source.
    """

    def __init__(self, root: Path, github: GitHub, run: Run, patch: pytest.MonkeyPatch) -> None:
        self.root, self.github, self._run = root, github, run
        self.now = NOW
        self._changed, self._over, self._silent = threading.Condition(), threading.Event(), False
        self.kubernetes = Kubernetes(root, NAMESPACE, lambda: self.now)
        self.calls: Log[tuple[str, str, int]] = Log(self._changed)
        self.requests: Log[Request] = Log(self._changed)
        self.kubernetes.requests, self.github.requests = self.calls, self.requests
        self.temporary = root / "tmp"
        self.temporary.mkdir()
        patch.setenv("KUBECONFIG", str(self.kubernetes.kubeconfig))
        patch.setenv("TMPDIR", str(self.temporary))
        for resource in ("configmaps", "leases"):
            self.kubernetes.add(resource, {"metadata": {"name": STATE}})
        self.bare: dict[str, Path] = {}
        self.source, self.manifests = self.add("source"), self.add("manifests")
        self.config, self.template, self.token = (
            root / "applications.yaml",
            root / "template.yaml",
            root / "github-token",
        )
        self.template.write_text(TEMPLATE)
        self.token.write_text("token-of-bot\n")
        self.first = self.build("web", "1")
        self.give("web", "v0")
        self.configure("web")
        self.flags: dict[str, Any] = {
            "config": self.config,
            "template": self.template,
            "namespace": NAMESPACE,
            "src_dir": root / "src",
            "github_url": github.url,
            "github_token": self.token,
        }

    # Repositories and people

    def add(self, name: str) -> Worktree:
        """A repository kubeflow/NAME, and somebody's tree of it."""
        self.bare[name] = self.github.add_repository(f"kubeflow/{name}", writers=["alice", "bot"])
        return in_2026(Worktree(self.root / "trees" / name))

    def push(self, tree: Worktree) -> None:
        tree.git("push", "--quiet", "--force", self.bare[tree.path.name], "main")

    def build(self, application: str, content: str, tree: Worktree | None = None) -> str:
        """Push a commit that changes what an application is built from."""
        tree = tree or self.source
        files = {f"{application}/Dockerfile": "FROM scratch\nCOPY . /\n", f"{application}/a": content}
        commit = tree.commit(f"Change {application} to {content}", files)
        self.push(tree)
        return commit

    def give(self, application: str, tag: str) -> None:
        """Push manifests that give an application's image a tag."""
        text = f"images:\n- name: example.com/{application}\n  newTag: {tag}\n"
        self.manifests.commit(f"Use {tag}", {f"{application}/kustomization.yaml": text})
        self.push(self.manifests)

    def configure(self, *applications: str, more: str = "", sources: Mapping[str, str] | None = None) -> None:
        """Write a configuration of applications, by default of the repository `source`."""
        lines = ["applications:"]
        for name in applications:
            source = (sources or {}).get(name, "source")
            lines.append(
                f"  - {{name: {name}, sourceRepo: {source}, context: {name}, manifestsDir: {name}, image: example.com/{name}}}"
            )
        lines += ["versions:", "  - name: main", "    tag: vmain", "    repos:"]
        lines += [
            f"      - {{name: {name}, url: {self.github.url}/kubeflow/{name}, branch: main}}" for name in self.bare
        ]
        self.config.write_text("\n".join(lines) + "\n" + more)

    def say(self, method: str, path: str, login: str = "alice", **body: Any) -> None:
        """Something that a person does to pull requests."""
        rest(self.github, method, path, body, login)

    def statuses(self, commit: str) -> list[tuple[str, str, str]]:
        """Context, state and words of what was said of a commit of the source, the newest first."""
        url = f"{self.github.url}/api/v3/repos/kubeflow/source/commits/{commit}/statuses"
        reply = requests.get(url, headers={"Authorization": "token token-of-alice"}, timeout=PATIENCE)
        return [(each["context"], each["state"], each["description"]) for each in reply.json()]

    def be_an_app(self) -> None:
        """Let the account be a GitHub App, which is somebody over https alone."""
        secret = self.root / "github-app"
        secret.mkdir()
        key = self.github.add_app("updater", app_id=42, owners=["kubeflow"])
        for name, text in {"app-id": "42", "private-key": key, "ca.crt": self.github.ca_file.read_text()}.items():
            (secret / name).write_text(text)
        del self.flags["github_token"]
        self.flags |= {"github_app": secret, "github_url": self.github.tls_url}
        self.config.write_text(self.config.read_text().replace(self.github.url, self.github.tls_url))

    # Runs

    def runs(self) -> list[str]:
        return self.kubernetes.names("pipelineruns")

    def succeed(self, name: str, operation: str = "created", page: str = "") -> None:
        results = [{"name": "operation", "value": operation}, {"name": "pull-request-url", "value": page}]
        self._end(name, "True", "Succeeded", "Tasks Completed: 4", results=results)

    def fail(self, name: str, message: str = "the build has failed") -> None:
        """Let a run fail by what it builds."""
        task = {"name": f"{name}-build", "labels": {"tekton.dev/pipelineRun": name, "tekton.dev/pipelineTask": "build"}}
        self.kubernetes.add("taskruns", {"metadata": task, **self._ended("False", "Failed", message)})
        self._end(
            name, "False", "Failed", "Tasks Completed: 1", childReferences=[{"kind": "TaskRun", "name": task["name"]}]
        )

    def _end(self, name: str, status: str, reason: str, message: str, **more: Any) -> None:
        self.kubernetes.change("pipelineruns", name, self._ended(status, reason, message, **more))

    def _ended(self, status: str, reason: str, message: str, **more: Any) -> dict[str, Any]:
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.now))
        condition = {"type": "Succeeded", "status": status, "reason": reason, "message": message}
        return {"status": {"conditions": [condition], "completionTime": at, **more}}

    def propose(self, commit: str, application: str = "web") -> str:
        """Let a step of a run open its pull request, and return its page."""
        tree = self.root / "tree"
        shutil.rmtree(tree, ignore_errors=True)
        shutil.copytree(self.manifests.path, tree, ignore=shutil.ignore_patterns(".git"))
        tag = f"vmain-g{commit[:8]}"
        (tree / application / "kustomization.yaml").write_text(
            f"images:\n- name: example.com/{application}\n  newTag: {tag}\n"
        )
        page = self.root / "page"
        outcome = self._run(
            open_pull_request,
            repo_dir=tree,
            url=f"{self.github.url}/kubeflow/manifests",
            base="main",
            base_commit=self.manifests.git("rev-parse", "main"),
            application=application,
            version="main",
            image=f"example.com/{application}:{tag}",
            source_url=f"{self.github.url}/kubeflow/source",
            source_commit=commit,
            source_branch="main",
            github_url=self.github.url,
            github_token=self.token,
            pull_request_url_result=page,
        )
        assert outcome.code == 0, outcome
        return page.read_text()

    # Passes

    def once(self, **flags: Any) -> "Report":
        """One pass, and what it said."""
        outcome = self._run(reconcile, **{**self.flags, "once": "true", "format": "json", **flags})
        return Report(outcome, self.plain)

    def told(self, **flags: Any) -> Outcome:
        """One pass of which nothing is taken for granted; what changes from test to test has a word of its own."""
        outcome = self._run(reconcile, **{**self.flags, **flags})
        return Outcome(outcome.code, self.plain(outcome.problem), self.plain(outcome.stdout))

    def plain(self, text: str) -> str:
        """A text without our port, hashes of what has that in it, and the time of what GitHub did."""
        text = re.sub(r"\b([a-z]+-main-[0-9a-f]{8})-[0-9a-f]{8}\b", r"\1-hash", text.replace(self.github.url, "GITHUB"))
        return text.replace(str(self.root), "ROOT")

    def said(self) -> tuple[list[str], list[str]]:
        """What the API server and GitHub's REST interface were asked since the last call: verb, what and status."""
        calls = [f"{verb} {_resource(path)} {status}" for verb, path, status in self.calls]
        asked = [
            f"{each.method} {each.path.removeprefix('/api/v3').partition('?')[0]} {each.status}"
            for each in self.requests
            if each.path.startswith("/api/")
        ]
        self.calls.clear()
        self.requests.clear()
        return calls, asked

    def writes(self) -> list[str]:
        """What could have changed something since the last call of `said` or this."""
        git = [each.path for each in self.requests if "git-receive-pack" in each.path]
        calls, asked = self.said()
        return [
            *(call for call in calls if call.split()[0] in WRITES),
            *(each for each in asked if not each.startswith("GET ")),
            *git,
        ]

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds that a request changes."""
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE), (self.calls[-20:], list(self.requests)[-20:])

    def count(self, verb: str, resource: str) -> int:
        """How many requests of a kind the API server has had."""
        return sum(each == verb and _resource(path) == resource for each, path, _ in self.calls)

    @contextlib.contextmanager
    def started(self, **flags: Any) -> Iterator["Child"]:
        """The reconciler as a process of its own, pass after pass."""
        port = free_port()
        child = Child(process("reconcile", **{**self.flags, "port": port, "interval": "1s", **flags}), port)
        try:
            yield child
        finally:
            self.speak()
            child.kill()

    def silence(self, what: str) -> None:
        """Let GitHub say nothing to requests with this in their path, until `speak`."""

        def hold(request: str) -> None:
            if what in request:
                with self._changed:
                    self._silent = True
                    self._changed.notify_all()
                self._over.wait(PATIENCE)

        self.github.before_answer = hold

    def until_silent(self) -> None:
        """Wait until a request is not answered, by GitHub or the API server."""
        self.until(lambda: self._silent or any(status == 0 for *_, status in self.calls))

    def speak(self) -> None:
        """Let GitHub answer again."""
        self.github.before_answer = None
        self._over.set()

    def broken(self, full_name: str, method: str = "") -> contextlib.AbstractContextManager[None]:
        """GitHub answers 500 to whatever is asked of a repository, by default with any method, but not to git."""
        return self.answering(500, b'{"message": "Server Error"}', full_name, method)

    @contextlib.contextmanager
    def answering(
        self, status: int, body: bytes, full_name: str = "kubeflow/manifests", method: str = ""
    ) -> Iterator[None]:
        """GitHub answers the same to whatever is asked of a repository, by default with any method, but not to git."""
        answer = Response(status, {"Content-Type": "application/json"}, body)
        self.github.faults = _Broken(full_name, method, answer)
        try:
            yield
        finally:
            self.github.faults = None


class Report:
    """What a pass said, as JSON."""

    def __init__(self, outcome: Outcome, plain: Callable[[str], str]) -> None:
        self.code = outcome.code
        self.problem = plain(outcome.problem)
        self.data: dict[str, Any] = json.loads(plain(outcome.stdout)) if outcome.stdout else {}

    @property
    def reasons(self) -> dict[str, str]:
        return {pair["application"]: pair["reason"] for pair in self.data["pairs"]}

    @property
    def pair(self) -> dict[str, Any]:
        (only,) = self.data["pairs"]
        found: dict[str, Any] = only
        return found


class Child:
    """A reconciler that runs."""

    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        self.process, self.port = process, port

    def ask(self, path: str) -> tuple[int, str]:
        reply = requests.get(f"http://127.0.0.1:{self.port}{path}", timeout=PATIENCE)
        return reply.status_code, reply.text

    def until(self, path: str, text: str) -> None:
        """Wait until a page has something."""
        end, told = time.monotonic() + PATIENCE, ""
        while time.monotonic() < end:
            with contextlib.suppress(requests.ConnectionError):  # it begins to listen
                if text in (told := self.ask(path)[1]):
                    return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.05)
        raise AssertionError(f"{path} does not have {text!r}: {told}")

    def numbers(self) -> dict[str, float]:
        """Its own metrics, without what tells how long something took and when."""
        lines = [line.rpartition(" ") for line in self.ask("/metrics")[1].splitlines() if line.startswith("apps_cd_")]
        return {name: float(value) for name, _, value in lines if not re.search("bucket|_seconds$|_sum", name)}

    def push(self, repository: str = "kubeflow/source", secret: str = WEBHOOK_SECRET) -> int:
        """What GitHub says of a push."""
        body = json.dumps({"ref": "refs/heads/main", "repository": {"full_name": repository}}).encode()
        signature = f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"
        headers = {"X-GitHub-Event": "push", "X-Hub-Signature-256": signature, "Content-Type": "application/json"}
        url = f"http://127.0.0.1:{self.port}/webhook"
        return requests.post(url, data=body, headers=headers, timeout=PATIENCE).status_code

    def end(self) -> tuple[int, float, list[dict[str, Any]]]:
        """End it by SIGTERM: its exit code, how many seconds that took, and its log."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        _, log = self.process.communicate(timeout=PATIENCE)
        seconds = time.monotonic() - began
        return self.process.returncode, seconds, [json.loads(line) for line in log.splitlines()]

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=PATIENCE)


class _Broken(Faults):
    """One answer for one repository, and nothing else goes wrong."""

    def __init__(self, full_name: str, method: str, answer: Response) -> None:
        super().__init__(NONE, 0)
        self._full_name, self._method, self._answer = full_name, method, answer

    def answer(self, asked: Asked, effects: list[str], answer: Callable[[], Response]) -> Response:
        is_meant = asked.service == "rest" and self._method in ("", asked.call.method)
        if is_meant and asked.repository == self._full_name:
            return self._answer
        return super().answer(asked, effects, answer)


def free_port() -> int:
    """A port that nobody listens at, below those that Linux gives to connections: nobody gets it before it is used."""
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311 - not secret
        with contextlib.suppress(OSError), socket.create_server(("", port)):
            return port


def _resource(path: str) -> str:
    """Resource and name of a path of the API server's, below the namespace."""
    return path.partition(f"/namespaces/{NAMESPACE}/")[2].partition("/")[0]
