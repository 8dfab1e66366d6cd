"""`make figures`: one update on a cluster, beside the same job done the Tekton catalog's way, four Tasks on a volume.

The ways run in turn, so that all see the same machine; the medians are printed, and the median of the ratios round by round.
The Dockerfile has no work of its own. Pods that do nothing, of both shapes, tell what part is Kubernetes' and Tekton's. What
was wanted stands beside it; nothing fails but ours having more pods. All that was measured is kept in `build/figures.json`.
"""

import dataclasses
import functools
import io
import json
import os
import re
import statistics
import sys
import tarfile
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import Row
from tests.cluster import steps_image
from tests.cluster.cluster import Cluster, CommandError, MissingError
from tests.cluster.world import ClusterWorld
from tests.sandbox import busybox, image, tekton
from tests.sandbox.registry_client import Client, Reference, RegistryError
from tests.sandbox.runner import Run
from tests.sandbox.tekton import Object, Value
from tests.sandbox.world import package
from tests.tekton.update import KUSTOMIZATION

ROUNDS = 3
OUTPUT = steps_image.ROOT / "build/figures.json"

OURS, CATALOG = "ours", "the catalog's way"
TWO_PODS, FOUR_TASKS = "two empty pods of three and four steps", "four empty Tasks on a volume"
SLEEPING = "two pods of three and four steps of `sleep 0.2`"
"""Tekton looks once a second whether the step before has ended; only one that takes no time at all escapes that."""

*CATALOG_TASKS, CATALOG_RUN = tekton.documents(Path(__file__).with_name("catalog.yaml"))

# Runs a command and then tells the most memory that the container had, by cgroup version 2 or 1.
SHOW_PEAK = """\
"$@"
code=$?
cd /sys/fs/cgroup
for file in memory.peak memory/memory.max_usage_in_bytes; do
  if [ -r $file ]; then { printf 'peak of memory: '; cat $file; } >&2; break; fi
done
exit $code
"""
PEAK = re.compile(r"^peak of memory: (\d+)$", re.MULTILINE)
KANIKOS_SHELL = "kaniko/busybox"


Figure = Callable[["Measured"], float]


@dataclass(frozen=True)
class Peak:
    """A line of the table: what the container of a step needed, `mib` is None when its cgroup does not tell."""

    way: str
    step: str
    mib: float | None

    def __str__(self) -> str:
        told = "n/a" if self.mib is None else f"{self.mib:.1f}"
        ours, peer = (told, "") if self.way == OURS else ("", told)
        return f"{f'peak of memory and page cache, {self.step}':<74} {ours:>9} {peer:>9} MiB"


@dataclass(frozen=True)
class Measured:
    """A PipelineRun that succeeded.

    Attributes:
        seconds: from its creation to its `end`, and to the `pull request` if it opened one.
        pods: all that it had, as they were last seen.
        run: what its steps wrote.
    """

    seconds: dict[str, float]
    pods: list[Object]
    run: Run

    @property
    def images(self) -> list[str]:
        """The image of each step."""
        containers = [container for pod in self.pods for container in pod["spec"]["containers"]]
        return [container["image"] for container in containers if container["name"].startswith("step-")]

    @property
    def facts(self) -> Object:
        pods = {
            pod["metadata"]["name"]: {each["name"]: each["image"] for each in pod["spec"]["containers"]}
            for pod in self.pods
        }
        return {"seconds": self.seconds, "pods": pods}


class Bench:
    """A namespace with both ways installed, and the repositories that they work on."""

    def __init__(self, world: ClusterWorld) -> None:
        self.world = world
        self.builder_image = world.cluster.builder_image
        world.add_repository("example/webapp", {"Dockerfile": "FROM scratch\nCOPY page /\n", "page": "hello\n"})
        world.add_repository("example/manifests", package("webapp/base", KUSTOMIZATION))
        world.add_secrets({"registry": {".dockerconfigjson": "{}"}, "github-token": world.token()})
        world.kubectl("create", "--filename=-", given=CATALOG_TASKS)

    def round(self, version: str) -> dict[str, Measured]:
        """One run of each way, for a version of which there is no pull request yet."""
        return {
            OURS: self.ours(version),
            CATALOG: self.catalog(version),
            TWO_PODS: self.measure(empty(self.world.steps_image, [3, 4])),
            SLEEPING: self.measure(empty(self.world.steps_image, [3, 4], command=["sleep", "0.2"])),
            FOUR_TASKS: self.measure(empty(self.world.steps_image, [1, 1, 1, 1], volume=True)),
        }

    def ours(self, version: str) -> Measured:
        params = {**self._params, "version": version, "github-url": self.world.github_url}
        return self.measure(self.world.tekton_directory / "runs/apps-cd.yaml", params)

    def catalog(self, version: str) -> Measured:
        params = {
            **self._params,
            "branch": f"catalog/{version}",
            "api-url": f"{self.world.github_url}/api/v3",
            "repository": "example/manifests",
            "steps-image": self.world.steps_image,
        }
        return self.measure(CATALOG_RUN, params)

    @property
    def _params(self) -> dict[str, Value]:
        return {
            "app-repo-url": self.world.public_url("example/webapp"),
            "image": f"{self.world.image('example/webapp')}:v1",
            "builder-image": self.builder_image,
            "manifests-repo-url": self.world.url("example/manifests"),
        }

    def measure(self, document: Object | Path, params: Mapping[str, Value] | None = None) -> Measured:
        """Carry out a PipelineRun: it is created when kubectl is back, and there is a pull request when GitHub has it."""
        world, moments = self.world, dict[str, float]()

        def note(effect: str) -> None:
            if effect.startswith("create pull request "):
                moments["pull request"] = time.perf_counter()

        world.github.after_effect = note
        before = json.loads(self._pods(limit=1))["metadata"]["resourceVersion"]
        name = world.create(document, params)
        created = time.perf_counter()
        ended = world.cluster.watch("pipelinerun", name, f"--namespace={world.namespace}", until=_ended)
        moments["end"] = time.perf_counter()
        run = world.look(ended)
        assert run.succeeded, run.describe()
        return Measured(
            {what: moment - created for what, moment in moments.items()}, self._pods_since(before, name), run
        )

    def _pods_since(self, version: str, run_name: str) -> list[Object]:
        """The pods of a PipelineRun since a version of the cluster's objects, the affinity assistant's, too, which is gone."""
        label = f"tekton.dev/pipelineRun={run_name}"
        told = self._pods(watch="true", timeoutSeconds=1, resourceVersion=version, labelSelector=label)
        pods = {}
        for event in map(json.loads, told.splitlines()):
            if event["type"] == "ERROR":
                raise CommandError(f"there is no telling the pods of {run_name}: {event['object']['message']}")
            pods[event["object"]["metadata"]["name"]] = event["object"]
        return list(pods.values())

    def _pods(self, **query: str | int) -> str:
        path = f"/api/v1/namespaces/{self.world.namespace}/pods?{urllib.parse.urlencode(query)}"
        return self.world.cluster.kubectl("get", f"--raw={path}")

    def memory(self) -> Iterator[Peak]:
        """The peak of each step's container, of a run that is not timed: from now on all steps tell theirs."""
        self.builder_image = self._builder_with_a_shell()
        for kind in ("stepactions", "tasks"):
            objects = self.world.get(kind)["items"]
            for each in objects:
                for step in [each["spec"]] if kind == "stepactions" else each["spec"]["steps"]:
                    if "ref" not in step:
                        step["command"] = _telling_peak(step)
            self.world.kubectl("replace", "--filename=-", given=objects)
        for way, measured in {OURS: self.ours("memory"), CATALOG: self.catalog("memory")}.items():
            for task in measured.run.tasks.values():
                for step in task.steps.values():
                    peak = PEAK.search(step.log)
                    yield Peak(way, f"{task.name}/{step.name}", int(peak[1]) / 2**20 if peak else None)

    def _builder_with_a_shell(self) -> str:
        """Kaniko's image with a shell beside the executor, where no build sees it."""
        program = image.files(image.tree(busybox.whole().layers))["bin/busybox"]
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as archive:
            header = tarfile.TarInfo(KANIKOS_SHELL)
            header.mode, header.size = 0o755, len(program)
            archive.addfile(header, io.BytesIO(program))
        base = pull(self.world.cluster.builder_image)
        reference = Reference.parse(self.world.image("kaniko:with-a-shell"))
        Client(reference.registry).push(reference, image.make(layer.getvalue(), base.configuration["config"], base))
        return str(reference)


def _ended(run: Object) -> Object | None:
    return run if "completionTime" in run.get("status", {}) else None


def _telling_peak(step: Object) -> list[str]:
    """What takes the place of a step's command, or of its script, which is removed."""
    if script := step.pop("script", ""):
        interpreter = script.splitlines()[0].removeprefix("#!").split()
        return ["sh", "-c", SHOW_PEAK, "sh", *interpreter, "-c", script]
    shell = [f"/{KANIKOS_SHELL}", "sh"] if step["command"] == ["/kaniko/executor"] else ["sh"]
    return [*shell, "-c", SHOW_PEAK, "sh", *step["command"]]


def empty(name: str, counts: Sequence[int], *, command: Sequence[str] = ("true",), volume: bool = False) -> Object:
    """A PipelineRun of Tasks that follow each other, each of so many steps of an image that do nothing, or next to it."""
    workspaces = [each for each in CATALOG_RUN["spec"]["workspaces"] if volume and "volumeClaimTemplate" in each]
    declared = [{"name": each["name"]} for each in workspaces]
    tasks = [
        {
            "name": f"task{number}",
            "runAfter": [f"task{number - 1}"] if number else [],
            "taskSpec": {"steps": [{"image": name, "command": list(command)}] * count, "workspaces": declared},
            "workspaces": declared,
        }
        for number, count in enumerate(counts)
    ]
    spec = {
        "pipelineSpec": {"tasks": tasks, "workspaces": declared},
        "workspaces": workspaces,
        "taskRunTemplate": CATALOG_RUN["spec"]["taskRunTemplate"],
    }
    return {**CATALOG_RUN, "metadata": {"generateName": "empty-"}, "spec": spec}


@functools.cache
def pull(name: str) -> image.Image:
    reference = Reference.parse(name)
    return Client(reference.registry).pull(reference)


def megabytes(measured: Measured) -> float:
    """What a node pulls for the steps of a run; layers that images have in common count once."""
    blobs = {digest: content for name in set(measured.images) for digest, content in pull(name).blobs.items()}
    return sum(map(len, blobs.values())) / 1e6


def comparisons(rounds: Sequence[Mapping[str, Measured]]) -> Iterator[Row]:
    """The lines that set ours beside another way: medians, and the median of the ratios round by round."""

    def row(what: str, ours: Figure, peer: Figure, unit: str, wanted: float | None = None, way: str = CATALOG) -> Row:
        pairs = [(ours(measured[OURS]), peer(measured[way])) for measured in rounds]
        medians = [statistics.median(figures) for figures in zip(*pairs, strict=True)]
        return Row(f"{what} / {way}", medians[0], medians[1], statistics.median(a / b for a, b in pairs), wanted, unit)

    def opened(measured: Measured) -> float:
        return measured.seconds["pull request"]

    def ended(measured: Measured) -> float:
        return measured.seconds["end"]

    def pods(measured: Measured) -> float:
        return len(measured.pods)

    def steps(measured: Measured) -> float:
        return len(measured.images)

    def images(measured: Measured) -> float:
        return len(set(measured.images))

    yield row("creation to pull request", opened, opened, "s")
    yield row("creation to pull request", opened, ended, "s", 1.2, TWO_PODS)
    yield row("creation to pull request", opened, ended, "s", None, SLEEPING)
    yield row("creation to end", ended, ended, "s")
    yield row("creation to end", ended, ended, "s", None, FOUR_TASKS)
    yield row("pods, with the affinity assistant's", pods, pods, "", 0.5)
    yield row("containers of steps", steps, steps, "")
    yield row("images of these", images, images, "")
    yield row("what these are to pull, layers in common once", megabytes, megabytes, "MB")


def main() -> None:
    """Print the table, keep all of it, and fail when ours has more pods."""
    try:
        cluster = Cluster.from_environment()
    except MissingError as error:
        sys.exit(str(error))
    kept: dict[str, Any] = {"versions": cluster.versions, "cores": os.cpu_count(), "table": []}
    with tempfile.TemporaryDirectory() as directory:
        name = steps_image.bootstrap(cluster, Path(directory))
        pinned = steps_image.yaml(Path(directory, "pinned"), cluster, name)
        with ClusterWorld(Path(directory, "world"), cluster, pinned, steps_image=name) as world:
            bench = Bench(world)
            bench.ours("warm"), bench.catalog("warm")
            rounds = [bench.round(f"v{number}") for number in range(ROUNDS)]
            kept["rounds"] = [{way: measured.facts for way, measured in each.items()} for each in rounds]
            print(f"{'ours / peer':<74} {'ours':>9} {'peer':>9} {'':<4} {'ratio':>6} {'wanted':>7}")
            for lines in (comparisons(rounds), bench.memory()):
                try:
                    for line in lines:
                        print(line, flush=True)
                        kept["table"].append(dataclasses.asdict(line))
                except RegistryError as error:
                    print(f"n/a: {error}")
                    kept["table"].append(f"n/a: {error}")
            assert world.violations == []
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(kept, indent=1) + "\n")
    if any(len(measured[OURS].pods) > len(measured[CATALOG].pods) for measured in rounds):
        sys.exit("ours has more pods")


if __name__ == "__main__":
    main()
