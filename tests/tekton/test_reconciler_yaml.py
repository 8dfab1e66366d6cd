"""`tekton/reconciler` as kustomize renders it: what it installs, what that may do, and that it fits reconcile's command line."""

import inspect
import re
import shutil
import subprocess
import typing
from pathlib import Path
from typing import Any

import pytest
import yaml

from steps import command_line
from steps.core import applications, pipeline_run
from steps.core.annotations import without_none
from steps.core.applications import Pair
from steps.reconcile import reconcile
from tests.sandbox import go, tekton
from tests.sandbox.runner import TEKTON
from tests.sandbox.tekton import Object
from tests.tekton.test_yaml import EVERYTHING, OUR_IMAGE, OURS, RESTRICTED, params

OVERLAYS = TEKTON / "reconciler" / "overlays"
NAME = "apps-cd-reconciler"
NAMESPACES = {"prod": "apps-cd", "dev": "apps-cd-dev", "dev-sync": "apps-cd-dev"}
PINNED = f"registry.example.com/team/apps-cd:v1@sha256:{'0' * 64}"

each_overlay = pytest.mark.parametrize("overlay", NAMESPACES)


def rendered(directory: Path) -> list[Object]:
    """What `kubectl apply -k DIRECTORY` would apply."""
    command = ["kubectl", "kustomize"] if shutil.which("kubectl") else [str(go.program("kustomize")), "build"]
    done = subprocess.run([*command, directory], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module")
def installed() -> dict[str, list[Object]]:
    return {overlay: rendered(OVERLAYS / overlay) for overlay in NAMESPACES}


def of_kind(objects: list[Object], kind: str) -> dict[str, Object]:
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def deployment(objects: list[Object]) -> Object:
    return of_kind(objects, "Deployment")[NAME]


def pod(objects: list[Object]) -> Object:
    spec: Object = deployment(objects)["spec"]["template"]["spec"]
    return spec


def container(objects: list[Object]) -> Object:
    (only,) = pod(objects)["containers"]
    assert "initContainers" not in pod(objects)
    result: Object = only
    return result


def flags(objects: list[Object]) -> dict[str, str]:
    """The values of the reconciler's flags; each is one word."""
    pairs = [re.fullmatch(r"--([a-z-]+)=(.+)", argument) for argument in container(objects)["args"]]
    assert None not in pairs
    return {pair[1]: pair[2] for pair in pairs if pair}


@each_overlay
def test_one_apply_installs_the_reconciler_and_all_that_its_runs_are_made_of(
    installed: dict[str, list[Object]], overlay: str
) -> None:
    hashed = re.compile(rf"({NAME}-[a-z]+-)[a-z0-9]{{10}}")
    names = [hashed.sub(r"\1HASH", f"{each['kind']} {each['metadata']['name']}") for each in installed[overlay]]
    assert sorted(names) == sorted(
        [
            f"Namespace {NAMESPACES[overlay]}",
            *(f"ServiceAccount apps-cd-{name}" for name in ("build", "update", "reconciler")),
            f"ConfigMap {NAME}-config-HASH",
            f"ConfigMap {NAME}-template-HASH",
            *(f"{kind} {NAME}" for kind in ("ConfigMap", "Lease", "Role", "RoleBinding", "Deployment", "Service")),
            f"NetworkPolicy {NAME}",
            "NetworkPolicy apps-cd-no-ingress",
            *(f"{each['kind']} {each['metadata']['name']}" for each in EVERYTHING.values()),
        ]
    )
    within = {each["metadata"].get("namespace") for each in installed[overlay] if each["kind"] != "Namespace"}
    assert within == {NAMESPACES[overlay]}


@each_overlay
def test_a_namespace_takes_kaniko_and_says_what_is_not_restricted(
    installed: dict[str, list[Object]], overlay: str
) -> None:
    (namespace,) = of_kind(installed[overlay], "Namespace").values()
    assert namespace["metadata"]["labels"] == {
        "pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/warn": "restricted",
    }


@each_overlay
def test_what_it_may_is_this_and_no_more(installed: dict[str, list[Object]], overlay: str) -> None:
    role = of_kind(installed[overlay], "Role")[NAME]
    assert role["rules"] == [
        {"apiGroups": ["tekton.dev"], "resources": ["pipelineruns"], "verbs": ["get", "list", "create", "patch"]},
        {"apiGroups": ["tekton.dev"], "resources": ["taskruns"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [NAME], "verbs": ["get", "update"]},
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": [NAME],
            "verbs": ["get", "update"],
        },
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]},
    ]
    binding = of_kind(installed[overlay], "RoleBinding")[NAME]
    assert (binding["roleRef"], binding["subjects"]) == (
        {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME},
        [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACES[overlay]}],
    )


@each_overlay
def test_the_reconcilers_pods_alone_have_a_token_of_the_cluster(
    installed: dict[str, list[Object]], overlay: str
) -> None:
    accounts = of_kind(installed[overlay], "ServiceAccount")
    assert {each["automountServiceAccountToken"] for each in accounts.values()} == {False}
    assert (pod(installed[overlay])["serviceAccountName"], pod(installed[overlay])["automountServiceAccountToken"]) == (
        NAME,
        True,
    )


@pytest.mark.parametrize(("overlay", "read_only"), [("prod", True), ("dev", True), ("dev-sync", False)])
def test_it_is_restricted_as_the_steps_are(
    installed: dict[str, list[Object]], overlay: str, *, read_only: bool
) -> None:
    spec = pod(installed[overlay])
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container(installed[overlay])["securityContext"] == {**RESTRICTED, "readOnlyRootFilesystem": read_only}
    assert spec.keys() & {"hostNetwork", "hostPID", "hostIPC"} == set()


@each_overlay
def test_what_it_takes_is_limited(installed: dict[str, list[Object]], overlay: str) -> None:
    resources = container(installed[overlay])["resources"]
    amounts = {"cpu", "memory", "ephemeral-storage"}
    assert (resources["requests"].keys(), resources["limits"].keys()) == (amounts, amounts)
    directories = [each for each in pod(installed[overlay])["volumes"] if "emptyDir" in each]
    assert {each["name"]: each["emptyDir"].keys() for each in directories} == {
        "copies": {"sizeLimit"},
        "tmp": {"sizeLimit"},
    }


@each_overlay
def test_secrets_are_files_of_its_group_and_may_be_missing(installed: dict[str, list[Object]], overlay: str) -> None:
    volumes = pod(installed[overlay])["volumes"]
    secrets = {each["name"]: each["secret"] for each in volumes if "secret" in each}
    assert secrets == {
        name: {"secretName": name, "optional": True, "defaultMode": 0o440}
        for name in ("github-token", "github-app", "git-credentials", "webhook")
    }
    kinds = {kind for each in volumes for kind in each if kind != "name"}
    assert kinds == {"configMap", "secret", "emptyDir"}
    variables = container(installed[overlay])["env"]
    assert [each["name"] for each in variables if "valueFrom" in each] == ["NAMESPACE"]


@each_overlay
def test_every_path_of_its_flags_is_mounted_and_everything_mounted_is_in_a_flag(
    installed: dict[str, list[Object]], overlay: str
) -> None:
    mounts = container(installed[overlay])["volumeMounts"]
    assert sorted(each["name"] for each in mounts) == sorted(
        each["name"] for each in pod(installed[overlay])["volumes"]
    )
    writable = {each["mountPath"] for each in mounts if not each.get("readOnly")}
    paths = {value for value in flags(installed[overlay]).values() if value.startswith("/")}
    directories = {path.rpartition("/")[0] if path.endswith(".yaml") else path for path in paths}
    assert directories | {"/tmp"} == {each["mountPath"] for each in mounts}
    assert writable == {flags(installed[overlay])["src-dir"], "/tmp"}


@each_overlay
def test_its_flags_are_those_of_reconcile(installed: dict[str, list[Object]], overlay: str) -> None:
    hints = typing.get_type_hints(reconcile)
    parameters = inspect.signature(reconcile).parameters
    given = {name.replace("-", "_"): value for name, value in flags(installed[overlay]).items()}
    needed = {name for name, each in parameters.items() if each.default is each.empty}
    assert (given.keys() - parameters.keys(), needed - given.keys()) == (set(), set())
    for name, value in given.items():
        command_line.parser(without_none(hints[name]))(value.replace("$(NAMESPACE)", NAMESPACES[overlay]))


def test_it_is_run_by_its_module_and_for_dev_by_a_watcher_with_the_same_arguments(
    installed: dict[str, list[Object]],
) -> None:
    command = ["python", "-m", "steps.reconcile"]
    assert [container(installed[overlay])["command"] for overlay in ("prod", "dev")] == [command, command]
    watched = container(installed["dev-sync"])
    assert watched["command"][:2] + watched["command"][-4:] == ["watchmedo", "auto-restart", "--", *command]
    assert watched["args"] == container(installed["dev"])["args"]


@pytest.mark.parametrize("overlay", ["prod", "dev"])
def test_everything_meets_at_one_port(installed: dict[str, list[Object]], overlay: str) -> None:
    objects = installed[overlay]
    of_pods = deployment(objects)["spec"]["template"]["metadata"]["labels"]
    (port,) = container(objects)["ports"]
    assert (port["name"], str(port["containerPort"])) == ("http", flags(objects)["port"])
    probes = {name: each["httpGet"] for name, each in container(objects).items() if name.endswith("Probe")}
    assert probes == {
        "startupProbe": {"path": "/healthz", "port": "http"},
        "livenessProbe": {"path": "/healthz", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "http"},
    }
    service = of_kind(objects, "Service")[NAME]["spec"]
    assert [(each["port"], each["targetPort"]) for each in service["ports"]] == [(80, "http")]
    (monitor,) = tekton.documents(TEKTON / "reconciler" / "alerts" / "podmonitor.yaml")
    assert [each["port"] for each in monitor["spec"]["podMetricsEndpoints"]] == ["http"]
    policy = of_kind(objects, "NetworkPolicy")[NAME]["spec"]
    selectors = [service["selector"], monitor["spec"]["selector"]["matchLabels"], policy["podSelector"]["matchLabels"]]
    selectors.append(deployment(objects)["spec"]["selector"]["matchLabels"])
    assert selectors == [of_pods] * 4


@each_overlay
def test_nobody_reaches_its_namespace_but_prometheus_and_it_reaches_no_metadata_server(
    installed: dict[str, list[Object]], overlay: str
) -> None:
    policies = {name: each["spec"] for name, each in of_kind(installed[overlay], "NetworkPolicy").items()}
    assert policies.pop("apps-cd-no-ingress") == {"podSelector": {}, "policyTypes": ["Ingress"]}
    policy = policies.pop(NAME)
    assert (policies, policy["policyTypes"]) == ({}, ["Ingress", "Egress"])
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    assert policy["ingress"] == [{"ports": [{"port": "http", "protocol": "TCP"}], "from": [monitoring]}]
    names, servers = policy["egress"]
    assert names == {"ports": [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]}
    assert servers["ports"] == [{"port": port, "protocol": "TCP"} for port in (443, 6443)]
    blocks = {each["ipBlock"]["cidr"]: each["ipBlock"]["except"] for each in servers["to"]}
    assert blocks.keys() == {"0.0.0.0/0", "::/0"}
    assert "169.254.0.0/16" in blocks["0.0.0.0/0"]


@pytest.mark.parametrize(("overlay", "replicas"), [("prod", 2), ("dev", 1), ("dev-sync", 1)])
def test_a_rollout_has_the_new_one_ready_before_the_old_one_goes(
    installed: dict[str, list[Object]], overlay: str, replicas: int
) -> None:
    spec = deployment(installed[overlay])["spec"]
    assert (spec["replicas"], spec["strategy"]["rollingUpdate"]) == (replicas, {"maxSurge": 1, "maxUnavailable": 0})
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] == 30


@each_overlay
def test_what_it_remembers_is_shipped_empty_so_that_applying_it_again_keeps_it(
    installed: dict[str, list[Object]], overlay: str
) -> None:
    for kind in ("ConfigMap", "Lease"):
        assert of_kind(installed[overlay], kind)[NAME].keys() == {"apiVersion", "kind", "metadata"}
    assert flags(installed[overlay])["state"] == NAME


def mounted(objects: list[Object]) -> dict[str, str]:
    """The names of the ConfigMaps that are mounted."""
    return {each["name"]: each["configMap"]["name"] for each in pod(objects)["volumes"] if "configMap" in each}


@pytest.mark.parametrize("changed", ["config", "template"])
def test_a_change_of_the_configuration_or_the_template_is_a_rollout(tmp_path: Path, changed: str) -> None:
    copy = shutil.copytree(TEKTON, tmp_path / "tekton")
    before = rendered(copy / "reconciler/overlays/prod")
    file = {"config": "overlays/prod/applications.yaml", "template": "base/template.yaml"}[changed]
    with (copy / "reconciler" / file).open("a", encoding="utf-8") as text:
        text.write("# changed\n")
    after = rendered(copy / "reconciler/overlays/prod")
    for objects in (before, after):
        assert set(mounted(objects).values()) <= of_kind(objects, "ConfigMap").keys()
    names = {name: mounted(after)[name] for name in mounted(before) if mounted(after)[name] != mounted(before)[name]}
    assert list(names) == [changed]


@pytest.mark.parametrize("overlay", ["prod", "dev"])
def test_the_example_configuration_and_the_template_make_the_runs_that_tekton_runs_shows(
    installed: dict[str, list[Object]], overlay: str
) -> None:
    maps = of_kind(installed[overlay], "ConfigMap")
    made = []
    for template in (
        maps[mounted(installed[overlay])["template"]]["data"]["template.yaml"],
        (TEKTON / "runs" / "apps-cd.yaml").read_text(encoding="utf-8"),
    ):
        frame, problems = pipeline_run.read_template("template.yaml", template)
        assert frame, problems
        texts = maps[mounted(installed[overlay])["config"]]["data"]
        told = applications.parse(texts, pipeline_params=frame.known_params)
        assert (problems, told.problems) == ([], ())
        assert [pair.suspended for pair in told.pairs if isinstance(pair, Pair)] == [True]
        made.append(
            [spec_of(pipeline_run.render(frame, pair, "a" * 40).text) for pair in told.pairs if isinstance(pair, Pair)]
        )
    assert made[0] == made[1]


def spec_of(run: str) -> Object:
    document = yaml.safe_load(run)
    return {**document["spec"], "params": tekton.by_name(document["spec"]["params"])}


@pytest.mark.parametrize("overlay", ["prod", "dev"])
def test_one_line_of_an_overlay_pins_the_image_everywhere(tmp_path: Path, overlay: str) -> None:
    from steps.set_image import set_image

    copy = shutil.copytree(TEKTON, tmp_path / "tekton") / "reconciler" / "overlays" / overlay
    command_line.main(set_image, [f"--kustomization-dir={copy}", "--", f"{OUR_IMAGE}={PINNED}"])
    objects = rendered(copy)
    images = {name: each["spec"]["image"] for name, each in of_kind(objects, "StepAction").items() if name in OURS}
    images[NAME] = container(objects)["image"]
    assert images == dict.fromkeys((*OURS, NAME), PINNED)
    defaults: dict[str, Any] = {
        f"{each['kind']} {each['metadata']['name']}": param["default"]
        for each in objects
        if each["kind"] in ("StepAction", "Task", "Pipeline")
        for name, param in params(each["spec"]).items()
        if name in ("image", "post-edit-image") and param.get("default")
    }
    named = ("StepAction run-command", "Task update-manifests", "Pipeline apps-cd")
    assert defaults == dict.fromkeys(named, PINNED)
    assert OUR_IMAGE not in str(objects)
