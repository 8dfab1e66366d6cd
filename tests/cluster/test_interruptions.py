"""A run that is cancelled, or loses its pod, in each of its steps; a rerun ends as if nothing had happened."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.cluster.gate import Gate, Stopper, running_pod
from tests.cluster.world import ClusterWorld
from tests.sandbox.tekton import Object
from tests.tekton.update import HEAD, Update

SOURCE = {
    "Dockerfile": "ARG BASE\nFROM ${BASE}\nARG HELD\nCOPY page /\nRUN wget -q -O - ${HELD} || true\n",
    "page": "one\n",
}


@dataclass(frozen=True)
class Place:
    """A step, and the request of it, or the module that it runs, at which it is held."""

    task: str
    step: str
    request: str = ""
    module: str = ""


PLACES = [
    Place("build-image", "clone", "GET /example/webapp.git/info/refs"),
    Place("build-image", "prepare", module="steps.prepare_build_context"),
    Place("build-image", "build", "GET /held"),
    Place("update-manifests", "clone", "GET /example/manifests.git/info/refs"),
    Place("update-manifests", "set-image", module="steps.set_image"),
    Place("update-manifests", "run-command", "GET /held-after-edit/info/refs"),
    Place("update-manifests", "open-pull-request", "GET /api/v3/repos/example/manifests/pulls"),
]
FIRST = {place.task: place for place in PLACES if place.step == "clone"}


@contextlib.contextmanager
def held(world: ClusterWorld, name: str, place: Place, gate: Gate) -> Iterator[str]:
    """The pod of a run while the step is held; `gate` is at its request, or at that of its Task's first step."""
    gate.wait()
    pod = running_pod(world, name, place.task, place.step)
    if not place.module:
        yield pod
        return
    with Stopper(world, pod, place.step, place.module) as stopper:
        gate.open()
        stopper.wait()
        yield pod
        stopper.open()


def gate_of(world: ClusterWorld, place: Place) -> Gate:
    wanted = place.request or FIRST[place.task].request
    return Gate(world.github, lambda request: request == wanted)


def pipeline_with_retries(world: ClusterWorld) -> Object:
    """Our Pipeline as it is applied, each of whose tasks is tried twice."""
    pipeline: Object = world.get("pipelines.tekton.dev", "apps-cd")
    pipeline["metadata"] = {"name": "with-retries"}
    for task in pipeline["spec"]["tasks"]:
        task["retries"] = 1
    return pipeline


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place.step} of {place.task}")
def test_an_update_survives_what_happens_to_its_pod_in(cluster_world: ClusterWorld, place: Place) -> None:
    world, update = cluster_world, Update(cluster_world, SOURCE)
    base = world.push_busybox()
    url = world.github.url
    document = update.document(
        extra_args=[f"--build-arg=BASE={base}", f"--build-arg=HELD={url}/held"],
        post_edit_command=["sh", "-c", f"git ls-remote {url}/held-after-edit 2> /dev/null || true"],
    )

    with gate_of(world, place) as gate:
        name = world.create(document, secrets=update.all_secrets)
        with held(world, name, place, gate) as pod:
            world.cancel(name)
        gone(world, pod)
    cancelled = world.wait(name)
    assert cancelled.reason == "Cancelled"
    assert re.search(rf"{place.task} .*TaskRunCancelled", world.tkn("pipelinerun", "describe", name))
    assert update.proposed() == []

    with gate_of(world, place) as gate:
        name = world.create(document)
        with held(world, name, place, gate) as pod:
            world.kubectl("delete", "pod", pod, "--wait=false")
        gone(world, pod)
    lost = world.wait(name)
    if not lost.succeeded:  # else Tekton made the pod anew, because it was gone before Tekton looked
        assert lost.reason == "Failed", lost.describe()
        assert re.search(rf"{place.task} .*Failed", world.tkn("pipelinerun", "describe", name))
        assert update.proposed() == []

    world.kubectl("apply", "--filename=-", given=pipeline_with_retries(world))
    document["spec"]["pipelineRef"]["name"] = "with-retries"
    with gate_of(world, place) as gate:
        name = world.create(document)
        with held(world, name, place, gate) as pod:
            uid = world.get("pod", pod)["metadata"]["uid"]
            world.kubectl("delete", "pod", pod, "--wait=false")
        gone(world, pod)
    retried = world.wait(name)
    assert retried.succeeded, retried.describe()
    assert uid not in [each["metadata"]["uid"] for each in world.cluster.pods(world.namespace, name)]
    assert update.proposed() == [(1, "open", HEAD, update.edited(retried))]

    world.forget()


def gone(world: ClusterWorld, pod: str) -> None:
    world.kubectl("wait", "--for=delete", f"pod/{pod}", "--timeout=60s")
    world.have_tekton_look()
