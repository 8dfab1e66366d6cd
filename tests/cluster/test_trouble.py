"""What goes wrong in a run, what its user is told by tkn, and that a rerun after the cure ends as if nothing had happened."""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.cluster.cluster import CommandError
from tests.cluster.world import ClusterWorld
from tests.sandbox.runner import Files
from tests.sandbox.tekton import Object, Value
from tests.tekton.update import HEAD, Update, operation

CONSUMES = "RUN head -c 400m /dev/zero | tail\n"
"""Holds 400 MB in memory."""


def limited(document: Object) -> Object:
    """A run whose build may have 64 MiB."""
    resources = {"limits": {"memory": "64Mi"}}
    step = {"name": "build", "computeResources": resources}
    specs = [*document["spec"].get("taskRunSpecs", []), {"pipelineTaskName": "build-image", "stepSpecs": [step]}]
    return {**document, "spec": {**document["spec"], "taskRunSpecs": specs}}


def hurried(document: Object) -> Object:
    """A run that may take some seconds."""
    return {**document, "spec": {**document["spec"], "timeouts": {"pipeline": "8s"}}}


def as_it_is(document: Object) -> Object:
    return document


@dataclass(frozen=True)
class Trouble:
    """Something wrong with a run.

    Args:
        told: what `tkn pipelinerun describe` or `logs` says among other things.
        source: files of the source that are wrong.
        params: parameters that are wrong; `{closed}` is the address of a port where nobody listens.
        secrets: Secrets that are wrong.
        spec: what else is, done to the PipelineRun.
    """

    told: str
    source: dict[str, str | bytes] = field(default_factory=dict)
    params: dict[str, Value] = field(default_factory=dict)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    spec: Callable[[Object], Object] = as_it_is


TROUBLES = {
    "a Dockerfile that fails": Trouble(
        "error building image: error building stage",
        source={"Dockerfile": "ARG BASE\nFROM ${BASE}\nRUN echo no good && exit 3\n"},
    ),
    "a wrong revision": Trouble("has no branch or tag nope", params={"app_repo_revision": "nope"}),
    "a short commit": Trouble("if it is a commit, give all 40 digits", params={"app_repo_revision": "abcdef12"}),
    "a wrong manifests directory": Trouble(
        "/workspace/manifests/nope: No such file or directory", params={"path_to_manifests_dir": "nope"}
    ),
    "a bad token": Trouble("the server did not take the credential", secrets={"github-token": {"token": "nobodys"}}),
    "a bad token for the source": Trouble(
        "the server did not take the credential", secrets={"git-credentials": {"token": "nobodys"}}
    ),
    "a registry that is down": Trouble("connection refused", params={"image": "{closed}/example/webapp:v1"}),
    "too little memory": Trouble(
        "StepOOM", source={"Dockerfile": f"ARG BASE\nFROM ${{BASE}}\n{CONSUMES}"}, spec=limited
    ),
    "too little time": Trouble(
        'failed to finish within "8s"', source={"Dockerfile": "ARG BASE\nFROM ${BASE}\nRUN sleep 60\n"}, spec=hurried
    ),
}
GOOD = {"Dockerfile": "ARG BASE\nFROM ${BASE}\nCOPY page /\n", "page": "one\n"}


def told(world: ClusterWorld, name: str) -> str:
    """What a user sees of a run who asks tkn, whose `logs` may itself end with an error for a run that failed."""
    try:
        logs = world.tkn("pipelinerun", "logs", name)
    except CommandError as error:
        logs = str(error)
    return world.tkn("pipelinerun", "describe", name) + logs


def closed(host: str) -> str:
    """An address where nobody listens."""
    with socket.socket() as listener:
        listener.bind((host, 0))
        return f"{host}:{listener.getsockname()[1]}"


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
def test_the_user_is_told_and_a_rerun_after_the_cure_ends_well(cluster_world: ClusterWorld, trouble: Trouble) -> None:
    world = cluster_world
    update = Update(world, {**GOOD, **trouble.source})
    flags: dict[str, Any] = {"extra_args": [f"--build-arg=BASE={world.push_busybox()}"]}
    params = {
        name: value.replace("{closed}", closed(world.host)) if isinstance(value, str) else value
        for name, value in trouble.params.items()
    }
    wrong: dict[str, Files] = {name: {**world.authority, **files} for name, files in trouble.secrets.items()}
    document = trouble.spec(update.document(**flags, **params))
    run = world.start(document, secrets={**update.all_secrets, **wrong})
    assert not run.succeeded
    assert trouble.told in told(world, run.name)
    assert update.proposed() == []

    world.push("example/webapp", GOOD)
    again = world.start(update.document(**flags), secrets=update.all_secrets)
    assert operation(again) == "created"
    assert update.proposed() == [(1, "open", HEAD, update.edited(again))]
    world.forget()


def test_a_push_that_is_refused_is_told(cluster_world: ClusterWorld) -> None:
    update = Update(cluster_world)
    cluster_world.github.add_repository("stranger/manifests", fork_of="example/manifests", writers=[])
    run = cluster_world.start(update.document(fork_owner="stranger"), secrets=update.all_secrets)
    assert run.failed_step == ("update-manifests", "open-pull-request", 1)
    assert "the server refuses; check what the credential may do" in told(cluster_world, run.name)
    assert update.proposed() == []
    assert operation(update.start()) == "created"


def test_an_image_that_the_manifests_do_not_name_is_told(cluster_world: ClusterWorld) -> None:
    update = Update(cluster_world)
    run = update.start(src_image_url="ghcr.io/example/other", application="webapp")
    assert run.failed_step == ("update-manifests", "set-image", 1)
    message = (
        "nothing was changed: webapp/base: nothing has the image ghcr.io/example/other, so that an entry for it would do"
        " nothing; the nearest there are ghcr.io/example/webapp"
    )
    assert message in told(cluster_world, run.name)
    assert update.proposed() == []
    again = update.start()
    assert operation(again) == "created"
    assert update.proposed() == [(1, "open", HEAD, update.edited(again))]
