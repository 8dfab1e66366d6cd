"""What `kubectl apply -k tekton` and an overlay of the reconciler make of a namespace, and what Pod Security says of the pods."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.fixtures import Installation
from tests.cluster.following import NAME
from tests.cluster.world import BASELINE, ClusterWorld
from tests.sandbox import tekton
from tests.sandbox.tekton import Object
from tests.sandbox.world import World
from tests.tekton.update import HEAD, Update, operation

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


def test_a_second_apply_changes_nothing(cluster_world: ClusterWorld) -> None:
    lines = cluster_world.kubectl("apply", f"--kustomize={cluster_world.tekton_directory}").splitlines()
    folders = ("serviceaccounts", *tekton.FOLDERS)
    files = [file for folder in folders for file in (cluster_world.tekton_directory / folder).glob("*.yaml")]
    assert len(lines) == len(files)
    assert [line for line in lines if not line.endswith(" unchanged")] == []


def test_the_image_of_the_steps_is_pinned_by_digest_wherever_it_stands(
    cluster_world: ClusterWorld, installation: Installation
) -> None:
    found = json.loads(
        cluster_world.kubectl("get", "stepactions.tekton.dev,tasks.tekton.dev,pipelines.tekton.dev", "--output=json")
    )
    objects = {f"{each['kind']} {each['metadata']['name']}": json.dumps(each["spec"]) for each in found["items"]}
    ours = {name for name, text in objects.items() if "apps-cd/steps" in text}
    assert {name for name in ours if installation.image in objects[name]} == ours
    assert {name for name in objects if name.startswith("StepAction")} - ours == {"StepAction kaniko"}
    assert re.fullmatch(r".+@sha256:[0-9a-f]{64}", installation.image)


def test_only_kanikos_container_is_more_than_restricted(cluster_world: ClusterWorld) -> None:
    run = Update(cluster_world).start()
    assert operation(run) == "created"
    warnings = {
        pod["metadata"]["labels"]["tekton.dev/pipelineTask"]: warning_of(cluster_world, pod)
        for pod in cluster_world.cluster.pods(cluster_world.namespace, run.name)
    }
    assert warnings.pop("update-manifests") == ""
    text = warnings.pop("build-image")
    assert (warnings, containers_in(text)) == ({}, {"step-build"}), text
    assert 'violate PodSecurity "restricted:latest"' in text


def containers_in(warning: str) -> set[str]:
    """The containers that a warning names."""
    lists = re.findall(r'containers? ("[^"]+"(?:, "[^"]+")*)', warning)
    return {name for each in lists for name in re.findall(r'"([^"]+)"', each)}


def warning_of(world: ClusterWorld, pod: Object) -> str:
    """What the API server says when the pod is created once more."""
    again = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "again"}, "spec": pod["spec"]}
    again["spec"].pop("nodeName", None)
    return world.cluster.warnings(
        "create", "--dry-run=server", "--filename=-", f"--namespace={world.namespace}", given=again
    )


@pytest.fixture
def restricted(tmp_path: Path, cluster: Cluster, installation: Installation) -> ClusterWorld:
    return ClusterWorld(
        tmp_path / "world", cluster, installation.tekton, steps_image=installation.image, labels=RESTRICTED
    )


def test_update_manifests_runs_alone_where_restricted_is_enforced(restricted: ClusterWorld) -> None:
    with restricted as world:
        update = Update(world)
        document = alone(update, world)
        run = world.start(document, secrets=update.all_secrets)
        assert operation(run) == "created"
        assert [(number, state, head) for number, state, head, _ in update.proposed()] == [(1, "open", HEAD)]


def alone(update: Update, world: World) -> Object:
    """A PipelineRun of the Task `update-manifests` alone, for an image that somebody else built."""
    whole = update.document()
    (task,) = tekton.documents(Path("tekton/tasks/update-manifests.yaml"))
    given = tekton.by_name(whole["spec"]["params"])
    known = {param["name"] for param in task["spec"]["params"]}
    params = {name: value for name, value in given.items() if name in known}
    params["image"] = f"{world.image('example/webapp')}:v1@sha256:{'0' * 64}"
    bound = {each["name"] for each in whole["spec"]["workspaces"]}
    names = [each["name"] for each in task["spec"]["workspaces"] if each["name"] in bound]
    part = {
        "name": "update-manifests",
        "taskRef": {"kind": "Task", "name": "update-manifests"},
        "params": [{"name": name, "value": value} for name, value in params.items()],
        "workspaces": [{"name": name, "workspace": name} for name in names],
    }
    spec = {**whole["spec"], "pipelineSpec": {"workspaces": [{"name": name} for name in names], "tasks": [part]}}
    del spec["pipelineRef"], spec["params"]
    spec["workspaces"] = [each for each in spec["workspaces"] if each["name"] in names]
    return {**whole, "spec": spec}


@pytest.fixture
def reconciler(tmp_path: Path, cluster: Cluster, installation: Installation) -> Iterator[ClusterWorld]:
    """With the reconciler of an overlay as it stands, which has no image yet."""
    overlay = shutil.copytree(installation.tekton, tmp_path / "tekton") / "reconciler" / "overlays" / "prod"
    world = ClusterWorld(tmp_path / "world", cluster, overlay)
    kustomization = overlay / "kustomization.yaml"
    kustomization.write_text(kustomization.read_text().replace("namespace: apps-cd", f"namespace: {world.namespace}"))
    with world:
        yield world


def test_the_reconciler_may_this_and_no_more_than_any_account(reconciler: ClusterWorld) -> None:
    anybody = permissions(reconciler, "default")
    assert permissions(reconciler, NAME) - anybody == {
        ("pipelineruns.tekton.dev", "[]", "[get list create patch]"),
        ("taskruns.tekton.dev", "[]", "[get list]"),
        ("configmaps", f"[{NAME}]", "[get update]"),
        ("leases.coordination.k8s.io", f"[{NAME}]", "[get update]"),
        ("events.events.k8s.io", "[]", "[create]"),
    }
    assert permissions(reconciler, "apps-cd-build") == permissions(reconciler, "apps-cd-update") == anybody


def permissions(world: ClusterWorld, account: str) -> set[tuple[str, str, str]]:
    """What a service account may in its namespace: resources, names of them, verbs."""
    listed = world.kubectl("auth", "can-i", "--list", f"--as=system:serviceaccount:{world.namespace}:{account}")
    rows = [re.fullmatch(r"(\S*) +(\[.*?\]) +(\[.*?\]) +(\[.*?\])", line) for line in listed.splitlines()[1:]]
    assert None not in rows, listed
    return {(row[1] or row[2], row[3], row[4]) for row in rows if row}


def test_the_reconciler_is_restricted_without_a_warning(reconciler: ClusterWorld) -> None:
    assert reconciler.get("namespace", reconciler.namespace)["metadata"]["labels"].items() >= BASELINE.items()
    assert warning_of(reconciler, reconciler.get("deployment", NAME)["spec"]["template"]) == ""
