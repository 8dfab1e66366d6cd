"""What the containers of a run can find of secrets, looked into from inside and from the API server."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.gate import Gate, running_pod
from tests.cluster.world import ClusterWorld
from tests.sandbox.runner import Files
from tests.sandbox.tekton import Object
from tests.sandbox.world import BOT
from tests.tekton.update import Update

SPY = Path(__file__).with_name("spy.py").read_text()
SOURCE, MANIFESTS, GITHUB, REGISTRY = (
    "canary-of-source",
    "canary-of-manifests",
    "canary-of-github",
    "canary-of-registry",
)
CANARIES = (SOURCE, MANIFESTS, GITHUB, REGISTRY)
BACKWARDS = [canary[::-1] for canary in CANARIES]

# The Dockerfile runs as root in Kaniko's container; it greps for the canaries without naming them.
DOCKERFILE = f"""\
ARG BASE
FROM ${{BASE}}
RUN find / \\( -path /proc -o -path /sys \\) -prune -o -type f -size -2000k \\
  -exec grep -sl {" ".join(f"-e '[c]{canary[1:]}'" for canary in CANARIES)} {{}} + \\
  | sed 's/^/found: /' | sort; cat /proc/*/environ /proc/*/cmdline 2> /dev/null | tr '\\0' '\\n' \
  | grep -e '[c]anary-of' -e '^DOCKER_CONFIG=' | sed 's/^/in a process: /'; true
"""


@pytest.fixture
def update(cluster_world: ClusterWorld) -> Update:
    """An update whose every Secret holds something else."""
    source = {"Dockerfile": DOCKERFILE}
    for token in (SOURCE, MANIFESTS, GITHUB):
        cluster_world.github.add_user(BOT, token=token)
    auth = base64.b64encode(f"builder:{REGISTRY}".encode()).decode()
    secrets: dict[str, Files] = {
        "registry": {
            ".dockerconfigjson": json.dumps({"auths": {"registry.example.com": {"auth": auth, "x": REGISTRY}}})
        },
        "github-token": {**cluster_world.token(), "token": GITHUB},
        "git-source": {**cluster_world.token(), "token": SOURCE},
        "git-manifests": {**cluster_world.token(), "token": MANIFESTS},
    }
    return Update(cluster_world, source, secrets)


def document(update: Update) -> Object:
    """The run, each of whose workspaces has a Secret of its own."""
    base = update.world.push_busybox()
    run = update.document(extra_args=[f"--build-arg=BASE={base}"])
    names = {"app-repo-credentials": "git-source", "manifests-repo-credentials": "git-manifests"}
    workspaces = [
        {**each, "secret": {"secretName": names[each["name"]]}} if each["name"] in names else each
        for each in run["spec"]["workspaces"]
    ]
    return {**run, "spec": {**run["spec"], "workspaces": workspaces}}


def look(world: ClusterWorld, pod: str, step: str) -> list[list[str]]:
    """What a program finds that is run in a step's container, as the step's user."""
    found: list[list[str]] = json.loads(
        world.kubectl("exec", pod, f"--container=step-{step}", "--", "python", "-c", SPY, *BACKWARDS)
    )
    return found


def test_each_container_holds_what_its_step_needs_and_the_build_pod_no_token_of_github(
    update: Update, cluster_world: ClusterWorld
) -> None:
    world = cluster_world
    found: dict[tuple[str, str], list[list[str]]] = {}
    name = ""
    for task, repository, steps in (
        ("build-image", "webapp", ("clone", "prepare")),
        ("update-manifests", "manifests", ("clone", "set-image", "run-command", "open-pull-request")),
    ):
        # All containers of a pod run from its start, those of later steps wait: so one look while the first is held.
        with Gate(world.github, lambda request, at=f"GET /example/{repository}.git/info/refs": request == at) as gate:  # type: ignore[misc]  # the default binds early
            name = name or world.create(document(update), secrets=update.all_secrets)
            gate.wait()
            pod = running_pod(world, name, task, "clone")
            found |= {(task, step): look(world, pod, step) for step in steps}
    assert name
    run = world.wait(name)
    assert run.succeeded, run.describe()
    manifests = ["/workspace/manifests-repo-credentials", MANIFESTS]
    assert found == {
        ("build-image", "clone"): [["/workspace/app-repo-credentials", SOURCE]],
        ("build-image", "prepare"): [],
        ("update-manifests", "clone"): [manifests],
        ("update-manifests", "set-image"): [],
        ("update-manifests", "run-command"): [],
        ("update-manifests", "open-pull-request"): [["/workspace/github-token", GITHUB], manifests],
    }
    log = run.tasks["build-image"].steps["build"].log
    seen = sorted({line.partition(": ")[2] for line in log.splitlines() if line.startswith("found: ")})
    assert [path for path in seen if not path.startswith("/kaniko/.docker/")] == []
    assert any(path.endswith("/config.json") for path in seen)  # where it may be
    in_processes = {line.partition(": ")[2].strip() for line in log.splitlines() if line.startswith("in a process: ")}
    assert in_processes == {"DOCKER_CONFIG=/kaniko/.docker/"}  # found to show that a look finds


def test_no_secret_stands_in_what_the_api_server_knows_of_a_run(update: Update, cluster_world: ClusterWorld) -> None:
    run = cluster_world.start(document(update), secrets=update.all_secrets)
    assert run.succeeded, run.describe()
    kinds = "pipelineruns,taskruns,pods,events,configmaps"
    text = cluster_world.kubectl("get", kinds, "--output=json") + run.describe()
    written = [base64.b64encode(canary.encode()).decode().rstrip("=") for canary in CANARIES]
    assert [canary for canary in (*CANARIES, *written) if canary in text] == []


def test_a_pod_is_nobody_to_the_cluster_and_has_the_secrets_of_its_own_task(
    update: Update, cluster_world: ClusterWorld
) -> None:
    run = cluster_world.start(document(update), secrets=update.all_secrets)
    assert run.succeeded, run.describe()
    pods = cluster_world.cluster.pods(cluster_world.namespace, run.name)
    secrets: dict[str, Any] = {}
    for pod in pods:
        task = pod["metadata"]["labels"]["tekton.dev/pipelineTask"]
        volumes = pod["spec"]["volumes"]
        secrets[task] = sorted(volume["secret"]["secretName"] for volume in volumes if "secret" in volume)
        assert [volume for volume in volumes if "projected" in volume] == []
        containers = pod["spec"]["containers"] + pod["spec"].get("initContainers", [])
        mounted = {mount["mountPath"] for container in containers for mount in container.get("volumeMounts", [])}
        assert [path for path in mounted if path.startswith("/var/run/secrets")] == []
        assert [each for container in containers for each in container.get("env", []) if "valueFrom" in each] == []
        assert [container["name"] for container in containers if "envFrom" in container] == []
    assert secrets == {"build-image": ["git-source", "registry"], "update-manifests": ["git-manifests", "github-token"]}


@pytest.mark.parametrize("name", ["build-image", "update-manifests"])
def test_no_step_leaves_a_secret_to_the_steps_after_it(update: Update, cluster_world: ClusterWorld, name: str) -> None:
    task = cluster_world.get("tasks.tekton.dev", name)
    steps = [step["name"] for step in task["spec"]["steps"]]
    cluster_world.kubectl("apply", "--filename=-", given=with_spies(task, cluster_world.steps_image))
    run = cluster_world.start(document(update), secrets=update.all_secrets)
    assert run.succeeded, run.describe()
    spies = {step.name: step.log.strip() for step in run.tasks[name].steps.values() if step.name.startswith("spy-")}
    found = spies.pop("spy-leave")
    assert spies == {f"spy-{step}": "[]" for step in steps}
    assert json.loads(found) == [["/workspace/left", SOURCE]]  # a look finds what is there


def with_spies(task: Object, image: str) -> Object:
    """A Task with a step after each of its steps that looks around as the same user."""
    security = {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    steps = []
    for step in task["spec"]["steps"]:
        spy = {
            "name": f"spy-{step['name']}",
            "image": image,
            "command": ["python", "-c", SPY],
            "args": BACKWARDS,
            "securityContext": security,
        }
        steps += [step, spy]
    metadata = {"name": task["metadata"]["name"]}
    program = f"import pathlib; pathlib.Path('/workspace/left').write_text('{BACKWARDS[0]}'[::-1])"
    leave = {**spy, "name": "leave", "command": ["python", "-c", program], "args": []}
    steps += [leave, {**spy, "name": "spy-leave"}]
    return {**task, "metadata": metadata, "spec": {**task["spec"], "steps": steps}}
