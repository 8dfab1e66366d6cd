"""Runs our Pipelines without a cluster: every step's own command as a process, with what Tekton would hand it.

`tekton` says what of Tekton's objects is known here, `containers` how a step becomes a process.
"""

import contextlib
import json
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.sandbox import containers, kaniko, tekton
from tests.sandbox.containers import Container, Image
from tests.sandbox.tekton import Invalid, Object, Unwritten, Value

TEKTON = containers.REPOSITORY / "tekton"

_CONTAINERS_MESSAGE, _PODS_MESSAGES = 4096, 12288  # bytes that Kubernetes keeps of termination messages
_SUFFIX = "x7k2p"
"""What the API server appends to a generateName; another each time."""
NAMESPACE = "apps-cd"
_STARTED_AT = {"key": "StartedAt", "value": "2026-01-31T23:59:59.999Z", "type": 3}

Files = Mapping[str, str | bytes]
"""What a Secret or ConfigMap holds."""


@dataclass
class Step:
    """A step that was started.

    Attributes:
        arguments: command and arguments, in the container's paths.
        environment: the variables that the StepAction and the runner set.
        mounts: what this step sees besides `/workspace`, which all of its Task share.
        exit_code: None while it runs.
        log: all its output; `stdout` is that part of it alone.
        results: what it wrote.
    """

    name: str
    image: str
    arguments: list[str]
    environment: dict[str, str]
    mounts: list[str] = field(default_factory=list)
    exit_code: int | None = None
    log: str = ""
    stdout: str = ""
    results: dict[str, str] = field(default_factory=dict)


@dataclass
class Task:
    """A Task of a run: the steps that were started, and the results."""

    name: str
    steps: dict[str, Step] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)


@dataclass
class Run:
    """A PipelineRun and what became of it.

    Attributes:
        reason: `Running`, `Succeeded`, `Failed` or `Cancelled`.
        message: which step failed, and how.
        tasks: those that were started.
    """

    name: str
    reason: str = "Running"
    message: str = ""
    results: dict[str, str] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        return self.reason == "Succeeded"

    @property
    def failed_step(self) -> tuple[str, str, int] | None:
        """Task, step and exit code of the first step that did not end well."""
        steps = ((task.name, step) for task in self.tasks.values() for step in task.steps.values())
        return next(((task, step.name, step.exit_code) for task, step in steps if step.exit_code), None)

    def describe(self) -> str:
        """All of it as text, for a person who wonders why it failed."""
        lines = [f"{self.name}: {self.reason}. {self.message}".rstrip()]
        for task in self.tasks.values():
            for step in task.steps.values():
                lines.append(f"--- {task.name}, {step.name}: {' '.join(step.arguments)}")
                lines += step.log.splitlines()
                lines.append(f"--- exit code {step.exit_code}")
                lines += [f"    {name}: {value}" for name, value in step.results.items()]
        return "\n".join([*lines, *(f"{name}: {value}" for name, value in self.results.items())]) + "\n"


class _Failed(Exception):
    """The run ends here; the message says where and why."""


class Runner:
    """Runs PipelineRuns, one or several at once.

    Args:
        resources: a directory like `tekton/`, or a file with all StepActions, Tasks and Pipelines.
        images: how containers run, by the image's name, besides those of our steps and of Kaniko.
        extra_environment: variables of every container, as a pod template's `env`.
        output: is called with Task, step and line, as lines come; from threads.
        before_step: is called with Task, step and its container before it starts.
        timeout: seconds after which a step is ended, and the run has failed.
        grace: seconds between SIGTERM and SIGKILL for such a step.
    """

    def __init__(
        self,
        resources: Path = TEKTON,
        *,
        images: Mapping[str, Image] | None = None,
        extra_environment: Mapping[str, str] | None = None,
        output: Callable[[str, str, str], None] | None = None,
        before_step: Callable[[str, str, Container], None] | None = None,
        timeout: float = 300,
        grace: float = 30,
    ) -> None:
        self.objects = tekton.load(resources)
        self.images = {
            containers.STEPS_IMAGE: containers.steps_image(),
            kaniko.IMAGE: containers.kaniko_stand_in(),
            **(images or {}),
        }
        self.environment = dict(extra_environment or {})
        self.output = output or (lambda _task, _step, _line: None)
        self.before_step = before_step or (lambda _task, _step, _container: None)
        self.timeout, self.grace = timeout, grace
        self._lock = threading.Lock()
        self._live: list[_Execution] = []

    def run(
        self,
        pipeline_run: Object | Path,
        *,
        params: Mapping[str, Value] | None = None,
        secrets: Mapping[str, Files] | None = None,
        config_maps: Mapping[str, Files] | None = None,
    ) -> Run:
        """Run a PipelineRun to its end.

        Args:
            pipeline_run: the object, or a file with it.
            params: parameters in place of, or besides, those of the object.
            secrets: Secrets by name.
            config_maps: ConfigMaps by name.

        Raises:
            Invalid: Tekton would not take it, or it needs something that is not known here. Nothing was run, unless a
                Task further on is the matter.
        """
        if isinstance(pipeline_run, Path):
            (document,), where = tekton.documents(pipeline_run), pipeline_run.name
        else:
            document, where = pipeline_run, "the PipelineRun"
        tekton.check(document, where)
        keys = {"secret": secrets or {}, "configMap": config_maps or {}}
        with tempfile.TemporaryDirectory(prefix="run-", ignore_cleanup_errors=True) as directory:
            execution = _Execution(self, document, where, Path(directory).resolve(), keys)
            with self._lock:
                self._live.append(execution)
            try:
                execution.carry_out(params or {})
            finally:
                with self._lock:
                    self._live.remove(execution)
        return execution.run

    def cancel(self, grace: float = 30) -> None:
        """End the steps that run now, and the runs they belong to, as `tkn pipelinerun cancel` does.

        Args:
            grace: seconds between SIGTERM and SIGKILL; 0 is SIGKILL at once, as when a node is lost.
        """
        with self._lock:
            live = list(self._live)
        for execution in live:
            execution.cancel(grace)


_PER_TASK = Path()
"""In place of a directory: each Task has an empty one of its own."""


class _Execution:
    """One run of a PipelineRun."""

    def __init__(
        self, runner: Runner, document: Object, where: str, directory: Path, keys: Mapping[str, Mapping[str, Files]]
    ) -> None:
        metadata = document["metadata"]
        self.run = Run(metadata.get("name") or f"{metadata.get('generateName', '')}{_SUFFIX}")
        self._runner, self._directory, self._keys = runner, directory, keys
        self._spec, self._where = document["spec"], where
        self._cancelled = threading.Event()
        self._container: Container | None = None
        self._log_lock = threading.Lock()

    def cancel(self, grace: float) -> None:
        self._cancelled.set()
        if container := self._container:
            container.end(grace)

    def carry_out(self, params: Mapping[str, Value]) -> None:
        pipeline, where = self._pipeline()
        values = tekton.params(pipeline, {**tekton.by_name(self._spec.get("params", [])), **params}, self._where)
        values["context.pipelineRun.name"] = self.run.name
        volumes = self._volumes(pipeline)
        specs = {each["name"]: self._object("Task", each["taskRef"]["name"], where) for each in pipeline["tasks"]}
        for each in self._spec.get("taskRunSpecs", []):
            if each["pipelineTaskName"] not in specs:
                raise Invalid(f"{self._where}.taskRunSpecs: {where} has no task {each['pipelineTaskName']}")
        for name, spec in specs.items():
            values.update({f"tasks.{name}.results.{result['name']}": None for result in spec.get("results", [])})
        try:
            for each in _ordered(pipeline["tasks"], where):
                name = each["name"]
                there = f"{where}, task {name}"
                given = _filled(each, values, there)
                bound = {item["name"]: _bound(volumes, item["workspace"], there) for item in each.get("workspaces", [])}
                task = self.run.tasks[name] = Task(name)
                self._task(task, specs[name], given, bound, f"Task {each['taskRef']['name']}")
                values.update({f"tasks.{name}.results.{key}": value for key, value in task.results.items()})
        except (_Failed, Unwritten) as failure:
            self.run.reason = "Cancelled" if self._cancelled.is_set() else "Failed"
            self.run.message = str(failure)
        else:
            self.run.reason = "Succeeded"
        for result in pipeline.get("results", []):
            with contextlib.suppress(Unwritten):
                self.run.results[result["name"]] = tekton.fill(
                    result["value"], values, f"{where}, result {result['name']}"
                )

    def _object(self, kind: str, name: str, where: str) -> Object:
        if (kind, name) not in self._runner.objects:
            raise Invalid(f"{where}: there is no {kind} {name}")
        spec: Object = self._runner.objects[kind, name]["spec"]
        return spec

    def _pipeline(self) -> tuple[Object, str]:
        if ("pipelineRef" in self._spec) == ("pipelineSpec" in self._spec):
            raise Invalid(f"{self._where}: there must be either pipelineRef or pipelineSpec")
        if "pipelineSpec" in self._spec:
            return self._spec["pipelineSpec"], f"the Pipeline of {self._where}"
        name = self._spec["pipelineRef"]["name"]
        return self._object("Pipeline", name, self._where), f"Pipeline {name}"

    def _volumes(self, pipeline: Object) -> dict[str, Path | None]:
        """A directory for each workspace of the Pipeline; None for one that is not bound."""
        declared = {each["name"]: each.get("optional", False) for each in pipeline.get("workspaces", [])}
        volumes = {name: None for name, optional in declared.items() if optional}
        bindings = {each["name"]: each for each in self._spec.get("workspaces", [])}
        if unknown := sorted(bindings.keys() - declared.keys()):
            raise Invalid(f"{self._where}: there is no workspace {', '.join(unknown)}")
        if missing := sorted(declared.keys() - bindings.keys() - volumes.keys()):
            raise Invalid(f"{self._where}: the workspace {', '.join(missing)} is missing")
        return {**volumes, **{name: self._volume(binding) for name, binding in bindings.items()}}

    def _volume(self, binding: Object) -> Path:
        where = f"{self._where}, workspace {binding['name']}"
        kinds = [kind for kind in binding if kind != "name"]
        if len(kinds) != 1:
            raise Invalid(f"{where}: it must be bound to one thing, not {kinds}")
        kind, source = kinds[0], binding[kinds[0]]
        if kind == "emptyDir":
            return _PER_TASK
        if kind in self._keys:
            directory = _directory(self._directory / "keys" / binding["name"])
            name = source["secretName" if kind == "secret" else "name"]
            if name not in self._keys[kind]:
                raise Invalid(f"{where}: there is no {kind} {name}")
            _write_keys(directory, self._keys[kind][name], source.get("items"), where)
            return directory
        return _directory(self._directory / kind / source.get("claimName", binding["name"]))

    def _task(
        self, task: Task, spec: Object, given: Mapping[str, Value], bound: Mapping[str, Path | None], where: str
    ) -> None:
        values = tekton.params(spec, given, where)
        values["context.taskRun.namespace"] = NAMESPACE
        declared = {each["name"]: each.get("optional", False) for each in spec.get("workspaces", [])}
        if unknown := sorted(bound.keys() - declared.keys()):
            raise Invalid(f"{where}: there is no workspace {', '.join(unknown)}")
        if missing := sorted(name for name, optional in declared.items() if not optional and not bound.get(name)):
            raise Invalid(f"{where}: the workspace {', '.join(missing)} is missing")
        lifted = [result["value"] for result in spec.get("results", [])]
        if twice := sorted({value for value in lifted if lifted.count(value) > 1}):
            raise Invalid(f"{where}: Tekton lifts {', '.join(twice)} into one result only")
        with tempfile.TemporaryDirectory(dir=self._directory, prefix="pod-", ignore_cleanup_errors=True) as pod:
            volumes = {
                name: _directory(Path(pod, "volumes", name)) if volume == _PER_TASK else volume
                for name, volume in bound.items()
                if volume
            }
            for name in declared:
                values[f"workspaces.{name}.bound"] = str(name in volumes).lower()
            isolated = {each["name"] for step in spec["steps"] for each in step.get("workspaces", [])}
            if unknown := sorted(isolated - declared.keys()):
                raise Invalid(f"{where}: there is no workspace {', '.join(unknown)}")
            limit = min(_CONTAINERS_MESSAGE, _PODS_MESSAGES // (len(spec["steps"]) + 1))
            for step in spec["steps"]:
                paths = {name: f"/workspace/{name}" for name in declared if name not in isolated}
                paths |= {each["name"]: each["mountPath"] for each in step.get("workspaces", [])}
                for name in declared:
                    path = paths.get(name, f"/workspace/{name}")
                    values[f"workspaces.{name}.path"] = path if name in volumes else ""
                mounts = {paths[name]: volume for name, volume in volumes.items() if name in paths}
                self._step(task, Path(pod), step, values, mounts, limit, f"{where}, step {step['name']}")
        for result in spec.get("results", []):
            with contextlib.suppress(Unwritten):
                task.results[result["name"]] = tekton.fill(result["value"], values, f"{where}, result {result['name']}")

    def _step(
        self,
        task: Task,
        pod: Path,
        spec: Object,
        values: dict[str, Value | None],
        volumes: Mapping[str, Path],
        limit: int,
        where: str,
    ) -> None:
        name, action = spec["name"], self._object("StepAction", spec["ref"]["name"], where)
        own = tekton.params(action, _filled(spec, values, where), where)
        places = {
            each["name"]: f"/tekton/steps/step-{name}/results/{each['name']}" for each in action.get("results", [])
        }
        own.update({f"step.results.{result}.path": path for result, path in places.items()})
        from_steps = {each["name"] for each in spec.get("params", []) if "$(steps." in json.dumps(each["value"])}
        if any(reference.removeprefix("params.") in from_steps for reference in tekton.references(action["image"])):
            raise Invalid(f"{where}: an image cannot be the result of a step")
        environment = dict(self._runner.environment)
        for variable in action.get("env", []):
            value = tekton.fill(variable["value"], own, where)
            environment[variable["name"]] = tekton.expand(value, environment)
        words = tekton.fill_list([*action["command"], *action.get("args", [])], own, where)
        arguments = [tekton.expand(word, environment) for word in words]
        image = tekton.fill(action["image"], own, where)
        if image not in self._runner.images:
            known = ", ".join(sorted(self._runner.images))
            raise Invalid(f"{where}: the sandbox's runner has no image {image}, only {known}")

        mounts = {"/workspace": _directory(pod / "workspace"), "/tekton": _directory(pod / "tekton"), **volumes}
        _directory(pod / "tekton" / "home")
        results = _directory(pod / "tekton" / "steps" / f"step-{name}" / "results")
        for path in volumes:
            if path.startswith("/workspace/"):
                _directory(pod / path.lstrip("/"))  # where it is mounted, the other steps see an empty directory
        step = task.steps[name] = Step(name, image, arguments, environment, sorted(volumes))
        container = Container(
            arguments,
            environment,
            mounts,
            _directory(pod / "scratch" / name),
            lambda stream, line: self._log(task.name, step, stream, containers.to_container(line, mounts)),
            self._runner.timeout,
            self._runner.grace,
        )
        self._runner.before_step(task.name, name, container)
        self._container = container
        if self._cancelled.is_set():
            raise _Failed(f"{where}: cancelled before it started")
        step.exit_code = self._runner.images[image].run(container)
        self._container = None
        for result in places:
            if (results / result).is_file():
                text = (results / result).read_text(encoding="utf-8", errors="replace")
                step.results[result] = containers.to_container(text, mounts)
            values[f"steps.{name}.results.{result}"] = step.results.get(result)
        if self._cancelled.is_set():
            raise _Failed(f"{where}: cancelled")
        if container.timed_out:
            raise _Failed(f"{where}: not done in {self._runner.timeout:g} s")
        if step.exit_code:
            raise _Failed(f"{where}: exited with code {step.exit_code}")
        message = [*({"key": key, "value": text, "type": 4} for key, text in step.results.items()), _STARTED_AT]
        if len(json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()) > limit:
            raise _Failed(f"{where}: Termination message is above max allowed size {limit}, caused by large results")

    def _log(self, task: str, step: Step, stream: str, line: str) -> None:
        with self._log_lock:
            step.log += line
            if stream == "stdout":
                step.stdout += line
            self._runner.output(task, step.name, line)


def _filled(spec: Object, values: Mapping[str, Value | None], where: str) -> dict[str, Value]:
    """The parameters that a task of a Pipeline or a step of a Task is given."""
    given = tekton.by_name(spec.get("params", []))
    return {name: tekton.fill_value(value, values, f"{where}, parameter {name}") for name, value in given.items()}


def _bound(volumes: Mapping[str, Path | None], name: str, where: str) -> Path | None:
    if name not in volumes:
        raise Invalid(f"{where}: there is no workspace {name}")
    return volumes[name]


def _ordered(tasks: Sequence[Object], where: str) -> Iterator[Object]:
    """The tasks of a Pipeline, each after those whose results it takes and those it names in `runAfter`."""
    waiting = {task["name"]: task for task in tasks}
    before = {
        name: {
            *task.get("runAfter", []),
            *(part.split(".")[1] for part in tekton.references(task.get("params", [])) if part.startswith("tasks.")),
        }
        for name, task in waiting.items()
    }
    if unknown := sorted(set().union(*before.values()) - waiting.keys()):
        raise Invalid(f"{where}: there is no task {', '.join(unknown)}")
    while waiting:
        ready = [name for name in waiting if not before[name] & waiting.keys()]
        if not ready:
            raise Invalid(f"{where}: {', '.join(waiting)} wait for each other")
        yield waiting.pop(ready[0])


def _write_keys(directory: Path, keys: Files, items: Sequence[Mapping[str, str]] | None, where: str) -> None:
    """What the kubelet makes of a Secret: links to links to files."""
    chosen = {key: key for key in keys} if items is None else {item["path"]: item["key"] for item in items}
    _directory(directory / "..2026")
    (directory / "..data").symlink_to("..2026")
    for path, key in chosen.items():
        if key not in keys:
            raise Invalid(f"{where}: there is no key {key}")
        content = keys[key]
        (directory / "..2026" / path).write_bytes(content.encode() if isinstance(content, str) else content)
        (directory / path).symlink_to(f"..data/{path}")


def _directory(path: Path) -> Path:
    """Make a directory that everybody may write to, as the kubelet does."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o777)
    return path
