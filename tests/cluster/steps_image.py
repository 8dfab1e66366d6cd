"""The image of our steps, built in the cluster by our own Task, and our YAML pinned to it.

The Task needs an image to run in, so there are two builds. The first is Kaniko's StepAction alone, with the context that
this checkout's prepare_build_context packs; the second is the Task `build-image` in the image of the first.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.cluster.cluster import Cluster
from tests.cluster.world import ClusterWorld
from tests.sandbox import kaniko
from tests.sandbox.registry_client import Client, Reference, RegistryError
from tests.sandbox.runner import TEKTON
from tests.sandbox.storage import Storage
from tests.sandbox.tekton import Object, Value

ROOT = TEKTON.parent
DOCKERFILE = "images/steps/Dockerfile"
NAME = "apps-cd/steps"


def yaml(directory: Path, cluster: Cluster, image: str = "") -> Path:
    """A copy of `tekton/` for a cluster: with its Kaniko, and, by set_image, with an image of the steps."""
    copy = shutil.copytree(TEKTON, directory)
    texts = {file: file.read_text() for file in copy.rglob("*.yaml")}
    assert any(kaniko.IMAGE in text for text in texts.values())
    for file, text in texts.items():
        file.write_text(text.replace(kaniko.IMAGE, cluster.builder_image))
    if image:
        pin(copy, image)
    return copy


def pin(kustomization: Path, image: str) -> None:
    """Have a kustomization use an image of the steps."""
    _step("set_image", f"--kustomization-dir={kustomization}", "--", f"{NAME}={image}")


def bootstrap(cluster: Cluster, directory: Path) -> str:
    """An image of the steps that needed none, by digest; one of the same content that is there already is taken."""
    with Storage(cluster.host) as storage:
        storage.create_bucket("contexts")
        results = {name: directory / name for name in ("context", "context-digest", "dockerfile")}
        flags = [f"--{name}-result={path}" for name, path in results.items()]
        _step(
            "prepare_build_context",
            f"--source-dir={ROOT}",
            f"--dockerfile={DOCKERFILE}",
            "--destination=gs://contexts",
            *flags,
            storage=storage.url,
        )
        context, digest, dockerfile = (path.read_text() for path in results.values())
        image = f"{cluster.registry}/{NAME}:context-{digest.removeprefix('sha256:')[:12]}"
        if found := existing(image):
            return f"{image}@{found}"
        with ClusterWorld(directory / "world", cluster, yaml(directory / "tekton", cluster)) as world:
            flags = build_flags(cluster)
            params = _given({"context": context, "dockerfile": dockerfile, "destination": image, "extra-args": flags})
            step = {"name": "build", "ref": {"name": "kaniko"}, "params": params}
            result = {"name": "digest", "value": "$(steps.build.results.digest)"}
            template = {"env": [{"name": "STORAGE_EMULATOR_HOST", "value": storage.url}]}
            run = world.start(_task_run("bootstrap", {"taskSpec": {"steps": [step], "results": [result]}}, template))
            assert run.succeeded, run.describe()
            return f"{image}@{run.tasks['bootstrap'].results['digest']}"


def build(world: ClusterWorld) -> str:
    """Build the checkout's own image by the Task `build-image` from a repository that holds the checkout; by digest."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    files = {name: (ROOT / name).read_bytes() for name in listed.split("\0") if name and (ROOT / name).is_file()}
    world.add_repository("apps-cd/apps-cd", files)
    params: dict[str, Value] = {
        "app-repo-url": world.public_url("apps-cd/apps-cd"),
        "app-repo-revision": "main",
        "path-to-docker-file": DOCKERFILE,
        "image": f"{world.registry_address}/{NAME}:built",
        "extra-args": build_flags(world.cluster),
    }
    return _build_image(world, params)


def _build_image(world: ClusterWorld, params: Mapping[str, Value]) -> str:
    spec = {
        "taskRef": {"kind": "Task", "name": "build-image"},
        "params": _given(params),
    }
    run = world.start(_task_run("build-image", spec, {}))
    assert run.succeeded, run.describe()
    results = run.tasks["build-image"].results
    return f"{results['IMAGE_URL'].rpartition(':')[0]}@{results['IMAGE_DIGEST']}"


def tools(cluster: Cluster, directory: Path, tekton: Path, image: str) -> str:
    """Build an image with make, for commands of a manifests repository, and return it by digest."""
    dockerfile = (
        f"FROM {image}\nUSER 0\n"
        "RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*\n"
        "USER 65532\n"
    )
    with ClusterWorld(directory / "world", cluster, tekton) as world:
        world.add_repository("example/tools", {"Dockerfile": dockerfile})
        params: dict[str, Value] = {
            "app-repo-url": world.public_url("example/tools"),
            "app-repo-revision": "main",
            "image": f"{cluster.registry}/apps-cd/tools:built",
            "extra-args": build_flags(cluster),
        }
        return _build_image(world, params)


def _given(params: Mapping[str, Value]) -> list[Object]:
    return [{"name": name, "value": value} for name, value in params.items()]


def build_flags(cluster: Cluster) -> list[str]:
    """How Kaniko finds base images, and layers of its own of an earlier build, in the cluster's registry first."""
    return [
        f"--registry-mirror={cluster.registry}",
        f"--registry-map=registry.k8s.io={cluster.registry}",
        "--insecure",
        "--insecure-pull",
        "--cache=true",
        f"--cache-repo={cluster.registry}/{NAME}-cache",
    ]


def existing(image: str) -> str | None:
    """The digest of an image in a registry, if it is there."""
    reference = Reference.parse(image)
    try:
        return Client(reference.registry).digest(reference)
    except RegistryError:
        return None


def _task_run(name: str, spec: Object, template: Object) -> Object:
    """A PipelineRun of a single task."""
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"generateName": f"{name}-"},
        "spec": {
            "pipelineSpec": {"tasks": [{"name": name, **spec}]},
            "taskRunTemplate": {"podTemplate": {"automountServiceAccountToken": False, **template}},
        },
    }


def _step(name: str, *arguments: str, storage: str = "") -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **({"STORAGE_EMULATOR_HOST": storage} if storage else {})}
    subprocess.run([sys.executable, "-m", f"steps.{name}", *arguments], check=True, env=environment)
