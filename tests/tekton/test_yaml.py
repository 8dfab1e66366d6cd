"""The YAML held against Python, against itself level by level, and against what catalogs and Pod Security ask for."""

import importlib
import inspect
import re
import shutil
import subprocess
import tomllib
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from steps import command_line
from tests.sandbox import tekton
from tests.sandbox.runner import TEKTON
from tests.sandbox.tekton import Object

ROOT = TEKTON.parent
OUR_IMAGE = "apps-cd/steps"
KANIKO = "ghcr.io/osscontainertools/kaniko:v1.28.3"
NOT_STEPS = {"__init__", "command_line", "errors", "log", "passes", "report", "results"}
COMMANDS = {"create-runs", "reconcile", "validate-config"}
"""Run by a person or a program, not by Tekton."""

WITHOUT_A_MODULE = {"kaniko", "run-command"}

CATEGORIES = {
    *("Automation", "Build Tools", "CLI", "Cloud", "Code Quality", "Continuous Integration", "Deployment"),
    *("Developer Tools", "Image Build", "Integration & Delivery", "Git", "Kubernetes", "Messaging", "Monitoring"),
    *("Networking", "Openshift", "Publishing", "Security", "Storage", "Testing"),
}
RESTRICTED = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
BASELINE = {
    "runAsUser": 0,
    "allowPrivilegeEscalation": False,
    "capabilities": {
        "drop": ["ALL"],
        "add": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETUID", "SETGID", "SETFCAP"],
    },
    "seccompProfile": {"type": "RuntimeDefault"},
}


def objects(folder: str) -> dict[str, Object]:
    """The objects of a folder by file name, which is also the name they must have."""
    read = {path.stem: tekton.documents(path) for path in sorted((TEKTON / folder).glob("*.yaml"))}
    return {name: documents[0] for name, documents in read.items() if len(documents) == 1}


STEP_ACTIONS, TASKS, PIPELINES = (objects(folder) for folder in tekton.FOLDERS)
RUNS = objects("runs")
EVERYTHING = {
    f"{folder}/{name}.yaml": document
    for folder, by_name in zip(tekton.FOLDERS, (STEP_ACTIONS, TASKS, PIPELINES), strict=True)
    for name, document in by_name.items()
}
KINDS = {
    "serviceaccounts": ("v1", "ServiceAccount"),
    "stepactions": ("tekton.dev/v1beta1", "StepAction"),
    "tasks": ("tekton.dev/v1", "Task"),
    "pipelines": ("tekton.dev/v1", "Pipeline"),
    "runs": ("tekton.dev/v1", "PipelineRun"),
}
OURS = {name: document for name, document in STEP_ACTIONS.items() if name not in WITHOUT_A_MODULE}

each_of_its_folders = pytest.mark.parametrize(
    "path",
    [path for folder in KINDS for path in sorted((TEKTON / folder).glob("*.yaml"))],
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
each_file = pytest.mark.parametrize("file", EVERYTHING)
each_of_ours = pytest.mark.parametrize("name", OURS)


def names(items: object) -> set[str]:
    return {item["name"] for item in items} if isinstance(items, list) else set()


def params(spec: Object) -> dict[str, Object]:
    return {param["name"]: param for param in spec.get("params", [])}


@each_of_its_folders
def test_a_file_holds_one_object_of_its_folders_kind_and_its_own_name(path: Path) -> None:
    documents = tekton.documents(path)
    assert [(each["apiVersion"], each["kind"]) for each in documents] == [KINDS[path.parent.name]]
    assert documents[0]["metadata"].get("name", path.stem) == path.stem


@pytest.mark.parametrize("file", [*EVERYTHING, *(f"runs/{name}.yaml" for name in RUNS)])
def test_every_field_is_one_that_the_sandbox_runs(file: str) -> None:
    """What is alpha in Tekton (`enum`, `cel`, artifacts) or unwanted here (`script`) is not among them."""
    for document in tekton.documents(TEKTON / file):
        tekton.check(document, file)


@each_file
def test_a_file_has_the_metadata_that_catalogs_ask_for(file: str) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    metadata = EVERYTHING[file]["metadata"]
    annotations = metadata["annotations"]
    assert metadata["labels"] == {"app.kubernetes.io/version": version}
    assert annotations.keys() == {
        f"tekton.dev/{name}" for name in ("pipelines.minVersion", "displayName", "categories", "tags", "platforms")
    }
    assert annotations["tekton.dev/pipelines.minVersion"] == "1.0.0"
    assert set(annotations["tekton.dev/categories"].split(", ")) <= CATEGORIES
    assert re.fullmatch(r"[A-Z][A-Za-z ]+", annotations["tekton.dev/displayName"])
    assert re.fullmatch(r"[a-z ]+(, [a-z ]+)*", annotations["tekton.dev/tags"])
    assert re.fullmatch(r"[a-z]+/[a-z0-9]+(,[a-z]+/[a-z0-9]+)*", annotations["tekton.dev/platforms"])


@each_file
def test_everything_is_described_and_typed(file: str) -> None:
    """Tekton adds a type that is not written out, and then a second `kubectl apply` finds a difference."""
    spec = EVERYTHING[file]["spec"]
    declared = [("params", True), ("results", True), ("workspaces", False)]
    lacking = [
        f"{kind} {item['name']}"
        for kind, typed in declared
        for item in spec.get(kind, [])
        if not item.get("description", "").endswith(".") or (typed and "type" not in item)
    ]
    assert (spec.get("description", "").endswith("."), lacking) == (True, [])


@each_file
def test_names_are_in_kebab_case_unless_a_catalog_or_chains_gave_them(file: str) -> None:
    given = {"IMAGE_URL", "IMAGE_DIGEST", "CHAINS-GIT_URL", "CHAINS-GIT_COMMIT"}
    if file == "tasks/kaniko-build.yaml":
        given |= {"IMAGE", "DOCKERFILE", "CONTEXT", "EXTRA_ARGS", "BUILDER_IMAGE", "TARGET"}
    spec = EVERYTHING[file]["spec"]
    used = {name for kind in ("params", "results", "workspaces", "steps", "tasks") for name in names(spec.get(kind))}
    assert [name for name in sorted(used - given) if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name)] == []


def test_every_step_has_a_step_action_and_every_step_action_of_ours_a_step() -> None:
    modules = {path.stem.replace("_", "-") for path in (ROOT / "steps").glob("*.py") if path.stem not in NOT_STEPS}
    assert OURS.keys() == modules - COMMANDS
    assert STEP_ACTIONS.keys() - OURS.keys() == WITHOUT_A_MODULE


def signature(name: str) -> tuple[Mapping[str, inspect.Parameter], Mapping[str, Any]]:
    """The parameters of a StepAction's function, and their annotations."""
    module = importlib.import_module(f"steps.{name.replace('-', '_')}")
    function = getattr(module, name.replace("-", "_"))
    return inspect.signature(function).parameters, typing.get_type_hints(function)


@each_of_ours
def test_the_arguments_of_a_step_action_are_its_functions_parameters(name: str) -> None:
    """Each a word `--flag=value`, a result's as `--NAME-result`; a list comes last, behind `--`."""
    spec = OURS[name]["spec"]
    expected, rest = [], []
    for parameter in signature(name)[0].values():
        flag = parameter.name.replace("_", "-")
        if parameter.kind is parameter.VAR_POSITIONAL:
            rest = ["--", f"$(params.{flag}[*])"]
        elif flag.endswith("-result"):
            expected.append(f"--{flag}=$(step.results.{flag.removesuffix('-result')}.path)")
        else:
            expected.append(f"--{flag}=$(params.{flag})")
    assert sorted(spec["args"]) == sorted([*expected, *rest])
    assert spec["args"][len(expected) :] == rest
    assert spec["command"] == ["python", "-m", f"steps.{name.replace('-', '_')}"]
    assert spec["image"] == OUR_IMAGE


@each_of_ours
def test_a_parameter_of_a_step_action_has_its_functions_default(name: str) -> None:
    """An empty text stands for whatever the function's default is; what the function needs has none."""
    parameters, hints = signature(name)
    differing = []
    for param in OURS[name]["spec"]["params"]:
        parameter = parameters[param["name"].replace("-", "_")]
        default = param.get("default", "")
        if parameter.default is parameter.empty:
            agrees = "default" not in param
        else:
            absent = default == "" or parameter.default is None
            agrees = (
                default == "" if absent else command_line.parser(hints[parameter.name])(default) == parameter.default
            )
        if not agrees:
            differing.append(f"{param['name']}: {param.get('default')!r} here, {parameter.default!r} in Python")
    assert differing == []


def test_kanikos_arguments_are_one_word_each_and_its_list_comes_last() -> None:
    *flags, last = STEP_ACTIONS["kaniko"]["spec"]["args"]
    assert [flag for flag in flags if not re.fullmatch(r"--[a-z-]+=\$\([^()]+\)", flag)] == []
    assert last == "$(params.extra-args[*])"


@each_file
def test_what_is_referred_to_is_declared_and_what_is_declared_is_referred_to(file: str) -> None:
    spec = EVERYTHING[file]["spec"]
    declared = {f"params.{name}{'[*]' * (param['type'] == 'array')}" for name, param in params(spec).items()}
    declared |= {f"workspaces.{name}" for name in names(spec.get("workspaces"))}
    used = {re.sub(r"^(workspaces\.[^.]+)\.(path|bound)$", r"\1", reference) for reference in tekton.references(spec)}
    # A default cannot refer to a workspace: it holds the path where workspaces are.
    used |= {f"workspaces.{name}" for name in re.findall(r"/workspace/([a-z-]+)/", str(spec.get("params")))}
    elsewhere: set[str] = set()
    if file.startswith("stepactions/"):
        declared |= {f"step.results.{name}.path" for name in names(spec.get("results"))}
    elif file.startswith("tasks/"):
        used |= {f"workspaces.{name}" for step in spec["steps"] for name in names(step.get("workspaces"))}
        for step in spec["steps"]:
            results = names(STEP_ACTIONS[step["ref"]["name"]]["spec"].get("results"))
            elsewhere |= {"context.taskRun.namespace"} | {
                f"steps.{step['name']}.results.{result}" for result in results
            }
    else:
        used |= {f"workspaces.{each['workspace']}" for task in spec["tasks"] for each in task.get("workspaces", [])}
        for task in spec["tasks"]:
            results = names(TASKS[task["taskRef"]["name"]]["spec"].get("results"))
            elsewhere |= {"context.pipelineRun.name"} | {f"tasks.{task['name']}.results.{result}" for result in results}
    assert {"undeclared": used - declared - elsewhere, "unused": declared - used} == {
        "undeclared": set(),
        "unused": set(),
    }


def callers() -> Iterator[tuple[str, Object, Object, Object]]:
    """Each step of a Task and each task of a Pipeline: a title, what calls it, the call, and what is called."""
    for file, document in EVERYTHING.items():
        for step in document["spec"].get("steps", []):
            yield f"{file}, {step['name']}", document["spec"], step, STEP_ACTIONS[step["ref"]["name"]]["spec"]
        for task in document["spec"].get("tasks", []):
            yield f"{file}, {task['name']}", document["spec"], task, TASKS[task["taskRef"]["name"]]["spec"]
    for name, document in RUNS.items():
        for task in document["spec"].get("pipelineSpec", {}).get("tasks", []):
            spec = document["spec"]["pipelineSpec"]
            yield f"runs/{name}.yaml, {task['name']}", spec, task, TASKS[task["taskRef"]["name"]]["spec"]
        if reference := document["spec"].get("pipelineRef"):
            yield f"runs/{name}.yaml", {}, document["spec"], PIPELINES[reference["name"]]["spec"]


CALLS = {title: rest for title, *rest in callers()}
each_call = pytest.mark.parametrize("title", CALLS)


ANOTHER_THING = {
    ("pipelines/apps-cd.yaml, update-manifests", "image"),  # the image that was built, by its digest
    ("tasks/prepare-build-context.yaml, clone", "destination"),  # of the tree; the Task's is the archive's
    ("tasks/update-manifests.yaml, run-command", "image"),  # the one that the command runs in
}


@each_call
def test_a_parameter_is_handed_on_as_the_one_of_the_same_name(title: str) -> None:
    caller, call, _ = CALLS[title]
    given, own = params(call), params(caller)
    assert {
        name: param["value"]
        for name, param in given.items()
        if name in own
        and param["value"] not in (f"$(params.{name})", [f"$(params.{name}[*])"])
        and (title, name) not in ANOTHER_THING
    } == {}


@each_call
def test_a_call_gives_the_parameters_that_are_needed_and_no_unknown_ones(title: str) -> None:
    _, call, called = CALLS[title]
    given, declared = params(call), params(called)
    needed = {name for name, param in declared.items() if "default" not in param}
    mistyped = {
        name
        for name, param in given.items()
        if name in declared and isinstance(param["value"], list) != (declared[name]["type"] == "array")
    }
    assert {"unknown": given.keys() - declared.keys(), "missing": needed - given.keys(), "mistyped": mistyped} == {
        "unknown": set(),
        "missing": set(),
        "mistyped": set(),
    }


UNLIKE = {"verify": ["true", "false"]}  # the command asks for a kustomize on PATH only of those who want the proof


@each_call
def test_a_parameter_handed_on_under_its_name_has_one_default(title: str) -> None:
    caller, call, called = CALLS[title]
    handed_on = {name for name, param in params(call).items() if param["value"] == f"$(params.{name})"}
    missing = "no default"
    defaults = {
        name: [params(spec)[name].get("default", missing) for spec in (caller, called)] for name in sorted(handed_on)
    }
    unlike = {name: both for name, both in defaults.items() if both[0] != both[1] and missing not in both}
    assert unlike == {name: both for name, both in UNLIKE.items() if name in unlike}


@each_call
def test_a_call_binds_the_workspaces_that_are_needed_and_no_unknown_ones(title: str) -> None:
    caller, call, called = CALLS[title]
    if "ref" in call:
        assert names(call.get("workspaces")) <= names(caller.get("workspaces"))
        return
    declared = {each["name"]: each.get("optional", False) for each in called.get("workspaces", [])}
    given = {each["name"]: each for each in call.get("workspaces", [])}
    sources = {each["name"]: each.get("optional", False) for each in caller.get("workspaces", [])}
    lacking = {
        name
        for name, optional in declared.items()
        if not optional and (name not in given or sources.get(given[name].get("workspace")))
    }
    assert (given.keys() - declared.keys(), lacking) == (set(), set())


CREDENTIALS = {
    "build-image": {"clone": {"app-repo-credentials"}, "build": {"dockerconfig"}},
    "kaniko-build": {"build": {"dockerconfig"}},
    "prepare-build-context": {"clone": {"app-repo-credentials"}, "prepare": {"google-credentials"}},
    "update-manifests": {
        "clone": {"manifests-repo-credentials"},
        "open-pull-request": {"manifests-repo-credentials", "github-token", "github-app"},
    },
    "close-superseded-pull-requests": {"close": {"manifests-repo-credentials", "github-token", "github-app"}},
}


def test_credentials_are_seen_by_the_steps_that_use_them_alone() -> None:
    mounted = {
        name: {step["name"]: names(step["workspaces"]) for step in document["spec"]["steps"] if "workspaces" in step}
        for name, document in TASKS.items()
    }
    assert mounted == CREDENTIALS


def test_workspaces_seen_by_all_steps_of_a_task_hold_no_credentials() -> None:
    open_ = {
        name: names(document["spec"].get("workspaces")) - set().union(*CREDENTIALS[name].values())
        for name, document in TASKS.items()
    }
    assert open_ == {
        "build-image": set(),
        "kaniko-build": {"source"},
        "prepare-build-context": {"output"},
        "update-manifests": set(),
        "close-superseded-pull-requests": set(),
    }


def test_no_task_holds_credentials_of_a_registry_and_of_github() -> None:
    registry, github = (
        {"dockerconfig", "google-credentials"},
        {"github-token", "github-app", "manifests-repo-credentials"},
    )
    both = [
        name
        for name, document in TASKS.items()
        if names(document["spec"].get("workspaces")) & registry and names(document["spec"].get("workspaces")) & github
    ]
    assert both == []


@pytest.mark.parametrize("name", STEP_ACTIONS)
def test_a_step_has_no_more_rights_than_it_needs(name: str) -> None:
    assert STEP_ACTIONS[name]["spec"]["securityContext"] == (BASELINE if name == "kaniko" else RESTRICTED)


def test_images_are_ours_or_parameters_with_a_tagged_default() -> None:
    images = {name: document["spec"]["image"] for name, document in STEP_ACTIONS.items()}
    assert images == {
        **dict.fromkeys(OURS, OUR_IMAGE),
        "kaniko": "$(params.builder-image)",
        "run-command": "$(params.image)",
    }
    defaults = {
        (file, param["name"]): param["default"]
        for file, document in EVERYTHING.items()
        for param in document["spec"].get("params", [])
        if param["name"].lower().replace("_", "-") in ("builder-image", "post-edit-image")
        or (file, param["name"]) == ("stepactions/run-command.yaml", "image")
    }
    assert defaults == {
        ("stepactions/kaniko.yaml", "builder-image"): KANIKO,
        ("tasks/build-image.yaml", "builder-image"): KANIKO,
        ("tasks/kaniko-build.yaml", "BUILDER_IMAGE"): KANIKO,
        ("pipelines/apps-cd.yaml", "builder-image"): KANIKO,
        ("stepactions/run-command.yaml", "image"): OUR_IMAGE,
        ("tasks/update-manifests.yaml", "post-edit-image"): OUR_IMAGE,
        ("pipelines/apps-cd.yaml", "post-edit-image"): OUR_IMAGE,
    }


@pytest.mark.parametrize("path", sorted(TEKTON.rglob("*.yaml")), ids=lambda path: str(path.relative_to(TEKTON)))
def test_no_archived_kaniko_and_no_moving_tag(path: Path) -> None:
    assert re.findall(r"gcr\.io/kaniko-project\S*|\S+:latest\b", path.read_text(encoding="utf-8")) == []


def test_kaniko_build_can_stand_in_for_the_catalogs_kaniko() -> None:
    spec = TASKS["kaniko-build"]["spec"]
    assert {name: (param["type"], param.get("default")) for name, param in params(spec).items()} == {
        "IMAGE": ("string", None),
        "DOCKERFILE": ("string", "./Dockerfile"),
        "CONTEXT": ("string", "./"),
        "EXTRA_ARGS": ("array", []),
        "BUILDER_IMAGE": ("string", KANIKO),
        "TARGET": ("string", ""),
    }
    assert names(spec["workspaces"]) == {"source", "dockerconfig"}
    assert names(spec["results"]) == {"IMAGE_DIGEST", "IMAGE_URL"}


def test_kaniko_finds_dockerconfig_where_its_image_looks_for_it() -> None:
    paths = [
        each["mountPath"]
        for document in TASKS.values()
        for step in document["spec"]["steps"]
        for each in step.get("workspaces", [])
        if each["name"] == "dockerconfig"
    ]
    assert paths == ["/kaniko/.docker", "/kaniko/.docker"]


def test_chains_finds_what_was_built_among_the_results() -> None:
    chains = {"IMAGE_URL", "IMAGE_DIGEST", "CHAINS-GIT_URL", "CHAINS-GIT_COMMIT"}
    assert names(PIPELINES["apps-cd"]["spec"]["results"]) == {*chains, "pull-request-url", "operation"}
    assert names(TASKS["build-image"]["spec"]["results"]) == {*chains, "commit", "url", "committer-date"}


@pytest.mark.parametrize("name", TASKS)
def test_a_result_of_a_step_becomes_one_result_of_its_task_because_tekton_forgets_the_others(name: str) -> None:
    values = [result["value"] for result in TASKS[name]["spec"]["results"]]
    assert len(values) == len(set(values))


@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_by_a_service_account_of_ours_that_mounts_no_token(name: str) -> None:
    accounts = list(objects("serviceaccounts").values())
    assert {account["automountServiceAccountToken"] for account in accounts} == {False}
    spec = RUNS[name]["spec"]
    used = [spec["taskRunTemplate"], *spec.get("taskRunSpecs", [])]
    assert {each["serviceAccountName"] for each in used} <= {account["metadata"]["name"] for account in accounts}
    assert spec["taskRunTemplate"]["podTemplate"]["automountServiceAccountToken"] is False


def test_the_kustomization_installs_every_file() -> None:
    (base,) = tekton.documents(TEKTON / "base" / "kustomization.yaml")
    installed = {
        folder: tekton.documents(TEKTON / folder / "Kustomization")[0]["resources"]
        for folder in KINDS
        if folder != "runs"
    }
    assert base["resources"] == [f"../{folder}" for folder in installed]
    assert installed == {folder: sorted(path.name for path in (TEKTON / folder).glob("*.yaml")) for folder in installed}


def test_one_line_of_the_kustomization_pins_the_image_everywhere(tmp_path: Path) -> None:
    from steps.set_image import set_image

    if not shutil.which("kubectl"):
        pytest.skip("there is no kubectl to render the kustomization with")
    pinned = f"registry.example.com/team/apps-cd:v1@sha256:{'0' * 64}"
    shutil.copytree(TEKTON, tmp_path / "tekton")
    command_line.main(set_image, [f"--kustomization-dir={tmp_path / 'tekton'}", "--", f"{OUR_IMAGE}={pinned}"])
    rendered = subprocess.run(
        ["kubectl", "kustomize", tmp_path / "tekton"], capture_output=True, text=True, check=False
    )
    assert rendered.stderr == ""
    (tmp_path / "rendered.yaml").write_text(rendered.stdout, encoding="utf-8")
    images = {}
    for document in tekton.documents(tmp_path / "rendered.yaml"):
        if document["kind"] == "StepAction":
            images[document["metadata"]["name"]] = document["spec"]["image"]
        for name, param in params(document.get("spec", {})).items():
            if name in ("image", "post-edit-image") and param.get("default"):
                images[f"{document['kind']} {document['metadata']['name']}"] = param["default"]
    assert images == {
        **dict.fromkeys(OURS, pinned),
        "kaniko": "$(params.builder-image)",
        "run-command": "$(params.image)",
        **dict.fromkeys(("StepAction run-command", "Task update-manifests", "Pipeline apps-cd"), pinned),
    }
    assert OUR_IMAGE not in rendered.stdout
