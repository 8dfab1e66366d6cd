"""The reconciler's Deployment, what comes of it, and twelve applications at two versions that it follows."""

import json
import os
import random
import re
import select
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import requests
import yaml

from steps.core import run_status
from steps.core.plan import Run
from steps.core.update import marked
from tests.cluster import steps_image
from tests.cluster.cluster import ENVIRONMENT, Cluster
from tests.cluster.fixtures import Installation
from tests.cluster.world import BASELINE, ClusterWorld
from tests.sandbox.github import PullRequestFacts
from tests.sandbox.tekton import Object
from tests.sandbox.worktree import Worktree
from tests.sandbox.world import BOT, package

NAME = "apps-cd-reconciler"
APPLICATIONS = [f"app-{number:02}" for number in range(12)]
VERSIONS = {"main": "main", "v1": "release"}
"""And the branch of each, of all repositories."""
PAIRS = [(application, version) for application in APPLICATIONS for version in VERSIONS]
MANIFESTS = "example/manifests"
PERSON = "alice"
DOCKERFILE = "FROM scratch\nCOPY page /\n"
LONGEST_WAIT = 300.0

Found = TypeVar("Found")


def repository(application: str) -> str:
    """Where an application's source is."""
    return f"example/code-{APPLICATIONS.index(application) // 4}"


class Deployed:
    """A Deployment of the reconciler, and what comes of it.

    Attributes:
        commits: the newest of each application and version.
    """

    def __init__(self, world: ClusterWorld) -> None:
        self.world = world
        self.commits: dict[tuple[str, str], str] = {}
        self._changed = threading.Condition()
        world.github.after_effect = self._notify

    def _notify(self, _effect: str) -> None:
        with self._changed:
            self._changed.notify_all()

    def until(self, look: Callable[[], Found | None], what: str) -> Found:
        """What a look at GitHub finds, which is looked at again whenever somebody has written to it."""
        deadline = time.monotonic() + LONGEST_WAIT
        with self._changed:
            while not (found := look()):
                if not self._changed.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"not in {LONGEST_WAIT:g} s: {what}")
        return found

    def pull_request(self, application: str, version: str, state: str = "open") -> PullRequestFacts | None:
        """The newest pull request of a pair in a state."""
        head = f"example:apps-cd/{version}/{application}"
        found = [each for each in self.world.pull_requests(MANIFESTS) if each.head == head and each.state == state]
        return found[-1] if found else None

    def proposed(self, application: str, version: str) -> PullRequestFacts:
        """The open pull request of a pair, once it proposes the newest commit."""

        def look() -> PullRequestFacts | None:
            found = self.pull_request(application, version)
            update = marked(found.body or "") if found else None
            return found if update and update.source == self.commits[application, version] else None

        return self.until(look, f"a pull request of {application} at {version}")

    def shows(self, reason: str) -> None:
        """Until a replica shows a pair with a reason."""
        deadline = time.monotonic() + LONGEST_WAIT
        while not any(
            re.search(rf'apps_cd_pairs{{reason="{reason}"}} [1-9]', self.page(pod, "/metrics")) for pod in self.pods()
        ):
            assert time.monotonic() < deadline, reason

    def run(self, application: str, version: str, attempt: int = 1) -> Object:
        """The PipelineRun of the newest commit of a pair, once it is there."""
        commit = self.commits[application, version]

        def look(run: Object) -> Object | None:
            noted = run["metadata"].get("annotations", {})
            wanted = (version, commit, str(attempt))
            found = (
                noted.get("apps-cd/version"),
                noted.get("apps-cd/source-commit"),
                noted.get("apps-cd/attempt", "1"),
            )
            return run if found == wanted else None

        selector = f"--selector=apps-cd/application={application}"
        return self.world.cluster.watch("pipelineruns", selector, f"--namespace={self.world.namespace}", until=look)

    def ended(self, name: str) -> Object:
        """A PipelineRun that has ended."""

        def look(run: Object) -> Object | None:
            return run if run.get("status", {}).get("completionTime") else None

        return self.world.cluster.watch("pipelineruns", name, f"--namespace={self.world.namespace}", until=look)

    def runs(self) -> list[Run]:
        """All runs of pairs, as the reconciler reads them."""
        task_runs: dict[str, list[Object]] = {}
        for each in self.world.get("taskruns")["items"]:
            task_runs.setdefault(each["metadata"]["labels"]["tekton.dev/pipelineRun"], []).append(each)
        items = self.world.get("pipelineruns")["items"]
        found = [run_status.run(each, task_runs.get(each["metadata"]["name"], ())) for each in items]
        return [run for run in found if run]

    def event(self, reason: str, application: str, version: str) -> Object:
        """What was told of a pair, once it was."""

        def look(event: Object) -> Object | None:
            note = str(event.get("note"))
            return event if event.get("reason") == reason and note.startswith(f"{application} at {version}:") else None

        return self.world.cluster.watch("events.events.k8s.io", f"--namespace={self.world.namespace}", until=look)

    def memory(self) -> dict[str, Any]:
        """What the reconciler remembers of pairs."""
        data = self.world.get("configmap", NAME).get("data") or {}
        return {key: json.loads(value) for key, value in data.items()}

    def pods(self) -> list[str]:
        """The reconciler's pods."""
        selector = f"--selector=app.kubernetes.io/name={NAME}"
        items = self.world.get("pods", selector)["items"]
        return [each["metadata"]["name"] for each in items if "deletionTimestamp" not in each["metadata"]]

    def page(self, pod: str, path: str) -> str:
        """What the server of a pod says."""
        return self.world.kubectl(
            "get", "--raw", f"/api/v1/namespaces/{self.world.namespace}/pods/{pod}:8080/proxy{path}"
        )

    def is_ready(self) -> None:
        """Until both replicas have looked at everything."""
        self.world.kubectl("rollout", "status", f"deployment/{NAME}", "--timeout=240s")


class Followed(Deployed):
    """Twelve applications at two versions, four of them in each repository.

    Args:
        root: an empty or absent directory.

    Attributes:
        theirs: what a person has committed on a branch of ours.
    """

    def __init__(self, root: Path, cluster: Cluster, installation: Installation) -> None:
        overlay = shutil.copytree(installation.tekton, root / "tekton") / "reconciler" / "overlays" / "prod"
        super().__init__(
            ClusterWorld(root / "world", cluster, overlay, steps_image=installation.image, labels=BASELINE)
        )
        self.world.github.add_user(PERSON, token=PERSON)
        self._trees: dict[str, Worktree] = {}
        self.theirs = ""
        self._begin(root)
        adapt(overlay, self.world, self._configuration(), {"--max-runs": "6"})
        steps_image.pin(overlay, installation.image)

    def push(self, version: str, files: Mapping[str, str]) -> str:
        """Commit files, by `APPLICATION/NAME`, of applications of one repository; the commit is the newest of these pairs."""
        applications = {path.partition("/")[0] for path in files}
        (name,) = {repository(application) for application in applications}
        commit = self._push(name, VERSIONS[version], files)
        self.commits |= {(application, version): commit for application in applications}
        return commit

    def _begin(self, root: Path) -> None:
        for name in [*dict.fromkeys(map(repository, APPLICATIONS)), MANIFESTS]:
            bare = self.world.github.add_repository(name, writers=[BOT, PERSON])
            self._trees[name] = Worktree(root / "trees" / name)
            self._trees[name].git("remote", "add", "origin", bare)
        for version, branch in VERSIONS.items():
            for name in dict.fromkeys(map(repository, APPLICATIONS)):
                own = [each for each in APPLICATIONS if repository(each) == name]
                pages = {f"{each}/page": f"{version}\n" for each in own}
                commit = self._push(name, branch, {**{f"{each}/Dockerfile": DOCKERFILE for each in own}, **pages})
                self.commits |= {(each, version): commit for each in own}
            packages = [
                package(each, self.kustomization(each, version), f"ghcr.io/example/{each}").items()
                for each in APPLICATIONS
            ]
            self._push(MANIFESTS, branch, dict(chain.from_iterable(packages)))

    def _push(self, name: str, branch: str, files: Mapping[str, str]) -> str:
        tree = self._trees[name]
        if tree.run("checkout", "--quiet", branch).returncode:
            tree.git("checkout", "--quiet", "-b", branch)
        commit = tree.commit(f"Change {', '.join(files)}"[:200], files)
        tree.git("push", "--quiet", "origin", branch)
        return commit

    def tag(self, application: str, version: str) -> str:
        return f"{version}-g{self.commits[application, version][:8]}"

    def kustomization(self, application: str, version: str) -> str:
        tag = self.tag(application, version)
        return f"resources:\n- deployment.yaml\nimages:\n- name: ghcr.io/example/{application}\n  newTag: {tag}\n"

    def _configuration(self) -> Object:
        names = list(dict.fromkeys(map(repository, APPLICATIONS)))
        return {
            "applications": [
                {
                    "name": application,
                    "sourceRepo": repository(application),
                    "context": application,
                    "manifestsDir": application,
                    "image": f"ghcr.io/example/{application}",
                    "pushedImage": self.world.image(application),
                }
                for application in APPLICATIONS
            ],
            "versions": [
                {
                    "name": version,
                    "tag": version,
                    "repos": [
                        *({"name": name, "url": self.world.url(name), "branch": branch} for name in names),
                        {"name": "manifests", "url": self.world.url(MANIFESTS), "branch": branch},
                    ],
                }
                for version, branch in VERSIONS.items()
            ],
        }

    def edited(self, application: str, version: str) -> str:
        """The kustomization of a pair's pull request, less the digest."""
        found = self.proposed(application, version)
        text = self.proposal(found, application)
        return "".join(
            line for line in text.splitlines(keepends=True) if "digest" not in line and "newName" not in line
        )

    def as_person(self, method: str, repository: str, path: str, body: Any = None) -> Any:
        """What GitHub answers a person."""
        url = f"{self.world.github.url}/api/v3/repos/{repository}/{path}"
        reply = requests.request(method, url, json=body, headers={"Authorization": f"Bearer {PERSON}"}, timeout=30)
        reply.raise_for_status()
        return reply.json()

    @property
    def heads(self) -> dict[tuple[str, str], str]:
        """The head commits of the open pull requests of pairs."""
        found = {pair: self.pull_request(*pair) for pair in PAIRS}
        return {pair: pull.sha for pair, pull in found.items() if pull}

    def commit_on_branch(self, application: str, version: str) -> None:
        """Have a person commit on the branch of a pair's pull request."""
        tree, branch = self._trees[MANIFESTS], f"apps-cd/{version}/{application}"
        tree.git("fetch", "--quiet", "origin", branch)
        tree.git("checkout", "--quiet", "--detach", "FETCH_HEAD")
        self.theirs = tree.commit("By hand", {f"{application}/by-hand": "\n"})
        tree.git("push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")

    def proposal(self, pull: PullRequestFacts, application: str) -> str:
        """The kustomization of an application, whole, as a pull request has it."""
        tree = self._trees[MANIFESTS]
        bare = tree.git("remote", "get-url", "origin")
        return tree.run("--git-dir", bare, "show", f"{pull.sha}:{application}/kustomization.yaml").stdout

    @contextmanager
    def killing(self) -> Iterator[list[str]]:
        """Pods of the reconciler are killed at random moments, for the time of a `with` block; those that were."""
        killed: list[str] = []
        over = threading.Event()
        chance = random.Random(7)  # noqa: S311 - the same moments each time

        def kill() -> None:
            while not over.wait(chance.uniform(3, 12)):
                # With nobody's name on the Lease both replicas act for a while.
                free = json.dumps({"spec": {"holderIdentity": None}})
                self.world.kubectl("patch", "lease", NAME, "--type=merge", f"--patch={free}")
                pod = chance.choice(self.pods() or [""])
                if pod and not over.wait(2):
                    self.world.kubectl("delete", "pod", pod, "--grace-period=0", "--force", "--ignore-not-found")
                    killed.append(pod)

        thread = threading.Thread(target=kill)
        thread.start()
        try:
            yield killed
        finally:
            over.set()
            thread.join()
        self.is_ready()


def adapt(overlay: Path, world: ClusterWorld, configuration: Object, flags: Mapping[str, str]) -> None:
    """Have an overlay of ours be for a world: its namespace, the addresses of its servers, and a day that is short.

    Args:
        configuration: of `applications.yaml`.
        flags: of the reconciler, in place of, or besides, what it has.
    """
    base = overlay.parents[1] / "base"
    container = yaml.safe_load((base / "deployment.yaml").read_text())["spec"]["template"]["spec"]["containers"][0]
    arguments = dict(flag.split("=", 1) for flag in container["args"])
    arguments |= {"--interval": "5s", "--retry-delay": "1s", "--github-url": world.github_url, **flags}
    template = yaml.safe_load((base / "template.yaml").read_text())
    template["spec"]["params"] = [
        {"name": "github-url", "value": world.github_url},
        {"name": "extra-args", "value": ["--insecure", "--insecure-pull"]},
    ]
    template["spec"]["workspaces"] = [
        {"name": "github-token", "secret": {"secretName": "github-token"}},
        {"name": "app-repo-credentials", "secret": {"secretName": "authority"}},
        {"name": "manifests-repo-credentials", "secret": {"secretName": "authority"}},
    ]
    kustomization = yaml.safe_load((overlay / "kustomization.yaml").read_text())
    kustomization["namespace"] = world.namespace
    kustomization["configMapGenerator"].append(
        {"name": f"{NAME}-template", "behavior": "replace", "files": ["template.yaml"]}
    )
    kustomization["patches"] = [
        _patch(
            "Deployment",
            "/spec/template/spec/containers/0/args",
            [f"{name}={value}" for name, value in arguments.items()],
        ),
        # The servers of a test listen at ports of their own.
        _patch("NetworkPolicy", "/spec/egress", [{}]),
    ]
    for name, content in {
        "applications.yaml": configuration,
        "template.yaml": template,
        "kustomization.yaml": kustomization,
    }.items():
        (overlay / name).write_text(yaml.safe_dump(content, sort_keys=False))


def _patch(kind: str, path: str, value: object) -> Object:
    patch = json.dumps([{"op": "replace", "path": path, "value": value}])
    return {"target": {"kind": kind, "name": NAME}, "patch": patch}


def restart_api_server(start: str) -> None:
    """End the API server, which is a process of this machine, and have it started again.

    Args:
        start: a command that starts it, and returns when it answers.
    """
    found = subprocess.run(["pgrep", "--exact", "kube-apiserver"], check=True, capture_output=True, text=True)
    process = int(found.stdout)
    handle = os.pidfd_open(process)
    os.kill(process, signal.SIGKILL)
    select.select([handle], [], [], 60)
    os.close(handle)
    subprocess.run(shlex.split(start), check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL, timeout=LONGEST_WAIT)
