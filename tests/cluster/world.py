"""The world of a case on a cluster: Tekton runs the steps, in a namespace of the case's own with our YAML applied.

GitHub and git are the sandbox's, in this process, by HTTPS with an authority of their own; registry and storage are servers
that the pods reach.
"""

import base64
import contextlib
import functools
import json
import re
import secrets as random
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from tests.cluster.cluster import Cluster, CommandError
from tests.cluster.storage import Storage
from tests.sandbox import tekton
from tests.sandbox.runner import Files, Run, Step, Task
from tests.sandbox.tekton import Object, Value
from tests.sandbox.world import World

BASELINE = {"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted"}

_MANIFESTS, _AUTHORITY = "manifests-repo-credentials", "authority"


class ClusterWorld(World):
    """A namespace, and what a case wants in it.

    Args:
        root: an empty or absent directory for what it keeps.
        cluster: where.
        tekton_directory: what is applied, a directory like `tekton/`.
        steps_image: what it is pinned to.
        tools: makes the image of `tools_image`.
        labels: of the namespace.

    Attributes:
        open: those whose namespace is there.
        diagnoses: of each that failed its namespace and what became of it.
        keep_failed: whether namespaces of failed ones stay.
    """

    open: ClassVar[list["ClusterWorld"]] = []
    diagnoses: ClassVar[list[tuple[str, str]]] = []
    keep_failed: ClassVar[bool] = False

    def __init__(
        self,
        root: Path,
        cluster: Cluster,
        tekton_directory: Path,
        *,
        steps_image: str = "",
        tools: Callable[[], str] | None = None,
        labels: Mapping[str, str] = BASELINE,
    ) -> None:
        super().__init__(root)
        self.cluster, self.tekton_directory = cluster, tekton_directory
        self.host, self.registry_address = cluster.host, cluster.registry
        self.steps_image = steps_image
        self.namespace = f"apps-cd-test-{random.token_hex(4)}"
        self._failed = False
        self._tools, self._labels = tools, labels
        self._live: list[str] = []
        self._own = {"storage"}  # names that runs have not made

    def __enter__(self) -> Self:
        metadata = {"name": self.namespace, "labels": dict(self._labels)}
        self.cluster.kubectl(
            "create", "--filename=-", given={"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        )
        self.open.append(self)
        try:
            self.kubectl("apply", f"--kustomize={self.tekton_directory}")
        except CommandError as failure:
            self.__exit__(type(failure), failure, failure.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        if error:
            self.fail()
        try:
            if not (self._failed and self.keep_failed):
                self.cluster.kubectl("delete", "namespace", self.namespace, "--wait=false")
        finally:
            self.open.remove(self)
            super().__exit__(kind, error, trace)

    def fail(self) -> None:
        """Tell what became of it, before it goes, once."""
        if not self._failed:
            self._failed = True
            self.diagnoses.append((self.namespace, self.cluster.diagnosis(self.namespace)))

    def kubectl(self, *arguments: str, given: Object | Sequence[Object] | None = None) -> str:
        return self.cluster.kubectl(f"--namespace={self.namespace}", *arguments, given=given)

    def tkn(self, *arguments: str) -> str:
        return self.cluster.tkn(*arguments, f"--namespace={self.namespace}")

    def get(self, *arguments: str) -> Any:
        return self.cluster.get(*arguments, f"--namespace={self.namespace}")

    @property
    def authority(self) -> Files:  # type: ignore[override]  # known once GitHub runs
        return {"ca.crt": self.github.ca_file.read_text()}

    @property
    def github_url(self) -> str:
        return self.github.tls_url

    def image(self, name: str) -> str:
        """What an image of the registry is called; names of two cases do not meet."""
        return f"{self.registry_address}/{self.namespace}/{name}"

    def tools_image(self) -> str:
        assert self._tools, "this world has no image of tools"
        return self._tools()

    @functools.cached_property
    def storage(self) -> Storage:
        return Storage(self.cluster, self.namespace)

    def create_bucket(self, name: str) -> None:
        self.storage.create_bucket(name)

    def add_secrets(self, secrets: Mapping[str, Files]) -> None:
        """Make Secrets, or give them another content."""
        for name, files in secrets.items():
            self.kubectl("apply", "--filename=-", given=_secret(name, files))
            self._own.add(name)

    def start(
        self,
        run: Object | Path,
        params: Mapping[str, Value] | None = None,
        secrets: Mapping[str, Files] | None = None,
    ) -> Run:
        return self.wait(self.create(run, params, secrets))

    def create(
        self,
        run: Object | Path,
        params: Mapping[str, Value] | None = None,
        secrets: Mapping[str, Files] | None = None,
    ) -> str:
        """Create a PipelineRun as `start` does, and return its name."""
        self.add_secrets(secrets or {})
        created = self.kubectl("create", "--filename=-", "--output=name", given=self.document(run, params))
        name = created.strip().rpartition("/")[2]
        self._live.append(name)
        return name

    def document(self, run: Object | Path, params: Mapping[str, Value] | None = None) -> Object:
        """A PipelineRun as it is created here: with other parameters, and with GitHub's authority for the manifests."""
        (document,) = tekton.documents(run) if isinstance(run, Path) else (run,)
        spec = {**document["spec"]}
        given = {**tekton.by_name(spec.get("params", [])), **(params or {})}
        spec["params"] = [{"name": name, "value": value} for name, value in given.items()]
        bound = spec.get("workspaces", [])
        if "pipelineRef" in spec and _MANIFESTS not in {each["name"] for each in bound}:
            self.add_secrets({_AUTHORITY: self.authority})
            spec["workspaces"] = [*bound, {"name": _MANIFESTS, "secret": {"secretName": _AUTHORITY}}]
        if "storage" in self.__dict__:
            template = spec.get("taskRunTemplate", {})
            environment = [{"name": "STORAGE_EMULATOR_HOST", "value": self.storage.url}]
            pod = {**template.get("podTemplate", {}), "env": environment}
            spec["taskRunTemplate"] = {**template, "podTemplate": pod}
        return {**document, "spec": spec}

    def wait(self, name: str) -> Run:
        """What became of a PipelineRun, when it has ended."""
        ended = self.cluster.watch("pipelinerun", name, f"--namespace={self.namespace}", until=_ended)
        if name in self._live:
            self._live.remove(name)
        return self.look(ended)

    def look(self, ended: Object) -> Run:
        """A PipelineRun with the logs of its pods, as far as they are still there."""
        name = ended["metadata"]["name"]
        condition = _condition(ended)
        reason = "Succeeded" if condition["status"] == "True" else condition["reason"]
        run = Run(name, reason, condition["message"], _results(ended))
        pods = {pod["metadata"]["name"]: pod for pod in self.cluster.pods(self.namespace, name)}
        selector = f"--selector=tekton.dev/pipelineRun={name}"
        task_runs = self.get("taskruns", selector, "--sort-by=.metadata.creationTimestamp")["items"]
        for task_run in task_runs:
            task = Task(task_run["metadata"]["labels"]["tekton.dev/pipelineTask"], results=_results(task_run))
            run.tasks[task.name] = task
            pod = pods.get(task_run.get("status", {}).get("podName", ""))
            logs = self.logs(pod["metadata"]["name"]) if pod else {}
            for state in task_run.get("status", {}).get("steps", []):
                if state.get("terminationReason") == "Skipped":
                    continue
                container = f"step-{state['name']}"
                spec = _container(pod, container) if pod else {}
                task.steps[state["name"]] = _step(state, spec, logs.get(container, ""))
        return run

    def logs(self, pod: str) -> dict[str, str]:
        """What each container of a pod wrote."""
        try:
            text = self.kubectl("logs", pod, "--all-containers", "--prefix", "--ignore-errors")
        except CommandError:
            return {}  # the pod has gone meanwhile
        logs: dict[str, str] = {}
        for line in text.splitlines(keepends=True):
            if match := re.match(r"\[pod/[^/]+/([^\]]+)\] ", line):
                logs[match[1]] = logs.get(match[1], "") + line[match.end() :]
        return logs

    def interrupt(self, *, kill: bool) -> None:
        for name in list(self._live):
            pods = [pod["metadata"]["name"] for pod in self.cluster.pods(self.namespace, name) if _is_live(pod)]
            if kill and pods:
                self.kubectl("delete", "pod", *pods, "--grace-period=0", "--force")
            elif not kill:
                self.cancel(name)
            for pod in pods:
                with contextlib.suppress(CommandError):  # gone before we look
                    self.kubectl("wait", "--for=delete", f"pod/{pod}", "--timeout=120s")
        self.have_tekton_look()

    def have_tekton_look(self) -> None:
        """Make Tekton look at its TaskRuns: one whose pod goes while Tekton writes to it waits for its time-out otherwise."""
        self.kubectl("annotate", "taskruns", "--all", "--overwrite", f"apps-cd-test/look={random.token_hex(4)}")

    def leftovers(self) -> dict[str, str | None]:
        """What runs have made in the namespace, and which object owns it, `KIND/NAME`."""
        kinds = "taskruns,pods,persistentvolumeclaims,statefulsets.apps,configmaps,secrets"
        found = {}
        for each in self.get(kinds)["items"]:
            metadata = each["metadata"]
            if metadata["name"] in self._own or each["kind"] + metadata["name"] == "ConfigMapkube-root-ca.crt":
                continue
            owners = [f"{owner['kind']}/{owner['name']}" for owner in metadata.get("ownerReferences", [])]
            found[f"{each['kind']}/{metadata['name']}"] = next(iter(owners), None)
        return found

    def forget(self) -> None:
        """Delete all runs, and see that nothing was there that they did not own, and that nothing stays."""
        assert [name for name, owner in self.leftovers().items() if owner is None] == []
        self.kubectl("delete", "pipelineruns", "--all", "--wait=true", "--cascade=foreground")
        assert self.leftovers() == {}

    def cancel(self, name: str) -> None:
        """What a person does who wants a PipelineRun to end."""
        self.tkn("pipelinerun", "cancel", name)


def _secret(name: str, files: Files) -> Object:
    data = {
        key: base64.b64encode(value.encode() if isinstance(value, str) else value).decode()
        for key, value in files.items()
    }
    kind = "kubernetes.io/dockerconfigjson" if ".dockerconfigjson" in files else "Opaque"
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": kind, "data": data}


def _condition(run: Object) -> dict[str, str]:
    found = [each for each in run.get("status", {}).get("conditions", []) if each["type"] == "Succeeded"]
    return found[0] if found else {"status": "Unknown", "reason": "", "message": ""}


def _ended(run: Object) -> Object | None:
    return run if _condition(run)["status"] != "Unknown" else None


def _results(run: Object) -> dict[str, str]:
    return {result["name"]: result["value"] for result in run.get("status", {}).get("results", [])}


def _is_live(pod: Object) -> bool:
    return pod["status"].get("phase") in ("Pending", "Running")


def _container(pod: Object, name: str) -> Object:
    container: Object = next(each for each in pod["spec"]["containers"] if each["name"] == name)
    return container


def _step(state: Object, container: Object, log: str) -> Step:
    words = container.get("args", [])
    if "--" in words:  # Tekton's entrypoint, and what it is to start
        words = [words[words.index("-entrypoint") + 1], *words[words.index("--") + 1 :]]
    return Step(
        state["name"],
        container.get("image", ""),
        words,
        {each["name"]: each.get("value", json.dumps(each.get("valueFrom"))) for each in container.get("env", [])},
        sorted(
            mount["mountPath"]
            for mount in container.get("volumeMounts", [])
            if mount["mountPath"] != "/workspace" and not mount["mountPath"].startswith("/tekton/")
        ),
        state.get("terminated", {}).get("exitCode"),
        log,
        results=_results({"status": state}),
    )
