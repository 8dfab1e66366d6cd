"""What pins, builds and ships the steps, held against each other: pyproject.toml, lock files, image, Cloud Build."""

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from steps import VERSION
from steps.core.build_context import IgnoreRules, Matched

ROOT = Path(__file__).parent.parent
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "images" / "steps" / "Dockerfile").read_text(encoding="utf-8")
CLOUD_BUILD = YAML(typ="safe").load(ROOT / "cloudbuild.yaml")
STEPS = sorted(path.stem for path in (ROOT / "steps").glob("*.py") if "__main__" in path.read_text(encoding="utf-8"))

RUN_TIME = "images/steps/requirements.txt"
TESTS = "tests/requirements.txt"
MODULE_OF = {
    "gitpython": "git",
    "google-cloud-storage": "google",
    "pygithub": "github",
    "pyyaml": "yaml",
    "ruamel-yaml": "ruamel",
    "prometheus-client": "prometheus_client",
}
"""What a distribution is imported as, when that is another name."""

BROUGHT_ALONG = {"httpx2", "jwt", "requests", "urllib3"}
"""What PyGithub and lightkube work with, and let through: exceptions of these, time-outs, and the adapter that a time for a
whole reply hangs on."""


def declared() -> tuple[list[str], list[str]]:
    """The dependencies of the steps, and those of the tests."""
    project: dict[str, Any] = tomllib.loads(PYPROJECT)
    return project["project"]["dependencies"], project["dependency-groups"]["dev"]


def name_of(requirement: str) -> str:
    """The name of a distribution as PyPI compares names."""
    return re.sub(r"[-_.]+", "-", requirement.partition("==")[0]).lower()


def locked(path: str) -> dict[str, str]:
    """Version of each distribution in a lock file, which holds nothing but distributions, their hashes and comments."""
    text = (ROOT / path).read_text(encoding="utf-8")
    pins = re.findall(
        r"^(\S+)==(\S+?)((?: ; [^\\\n]+)?)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n", text, re.MULTILINE
    )
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    assert len(lines) == len(pins) + sum(hashes.count("--hash=") for *_, hashes in pins)
    return {name_of(name): version for name, version, _, _ in pins}


def test_the_version_of_the_code_is_that_of_the_project() -> None:
    assert tomllib.loads(PYPROJECT)["project"]["version"] == VERSION


@pytest.mark.parametrize("requirement", [*declared()[0], *declared()[1]])
def test_a_dependency_is_pinned_and_says_what_it_is_for(requirement: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", requirement)
    assert len(re.findall(rf'^  "{re.escape(requirement)}",  # \S.{{4,}}$', PYPROJECT, re.MULTILINE)) == 1


@pytest.mark.parametrize(
    ("path", "requirements"),
    [
        pytest.param(RUN_TIME, declared()[0], id="of the image"),
        pytest.param(TESTS, [*declared()[0], *declared()[1]], id="of the tests"),
    ],
)
def test_a_lock_file_holds_what_is_declared(path: str, requirements: list[str]) -> None:
    pins = locked(path)
    wanted = {name_of(requirement): requirement.partition("==")[2] for requirement in requirements}
    assert {name: pins.get(name) for name in wanted} == wanted


def test_tests_run_with_the_versions_of_the_image() -> None:
    assert locked(RUN_TIME).items() <= locked(TESTS).items()


def test_the_steps_import_what_is_declared_and_nothing_else() -> None:
    imported = set()
    for path in (ROOT / "steps").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).partition(".")[0])
    names = map(name_of, declared()[0])
    assert imported - sys.stdlib_module_names - {"steps"} - BROUGHT_ALONG == {
        MODULE_OF.get(name, name) for name in names
    }


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments, each on one line."""
    text = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    pairs = (line.partition(" ") for line in text.splitlines() if line)
    return [(name, value) for name, _, value in pairs]


def arguments_of(instruction: str) -> list[str]:
    return [value for name, value in instructions() if name == instruction]


def test_every_base_image_is_a_build_argument_with_a_public_tag() -> None:
    defaults = dict(value.split("=") for value in arguments_of("ARG"))
    bases = [re.fullmatch(r"\$\{(\w+)\}(?: AS \w+)?", value) for value in arguments_of("FROM")]
    assert sorted(base[1] for base in bases if base) == sorted(defaults)
    assert None not in bases
    # `make pin` writes a digest behind the tag.
    unpinned = {name: image.partition("@sha256:")[0] for name, image in defaults.items()}
    assert {name: image.rpartition(":")[0] for name, image in unpinned.items()} == {
        "PYTHON_IMAGE": "python",
        "KUSTOMIZE_IMAGE": "registry.k8s.io/kustomize/kustomize",
    }
    assert unpinned["PYTHON_IMAGE"].startswith("python:3.11-slim")


def test_the_image_installs_the_lock_file_by_its_hashes() -> None:
    copied = [shlex.split(value) for value in arguments_of("COPY")]
    [place] = [target for *sources, target in copied if sources == [RUN_TIME]]
    [install] = [
        words for value in arguments_of("RUN") if "install" in (words := shlex.split(value)) and "pip" in words
    ]
    assert install[:2] == ["pip", "install"]
    assert {"--no-deps", "--require-hashes"} <= set(install)
    assert install[-2:] == ["--requirement", place]


def test_the_image_runs_as_nobody_in_particular_and_imports_only_what_it_brings() -> None:
    assert instructions()[-1] == ("USER", "65532:65532")
    environment = dict(pair.split("=") for value in arguments_of("ENV") for pair in value.split())
    assert {name: environment.get(name) for name in ("HOME", "TMPDIR", "PYTHONSAFEPATH", "PYTHONPATH")} == {
        "HOME": "/tekton/home",
        "TMPDIR": "/tekton/home",
        "PYTHONSAFEPATH": "1",
        "PYTHONPATH": "/opt/apps-cd",
    }
    assert ["steps", "/opt/apps-cd/steps"] in [shlex.split(value) for value in arguments_of("COPY")]


def ignored(path: str) -> bool:
    """Whether a path stays out of the context of the image."""
    rules = IgnoreRules.parse((ROOT / ".dockerignore").read_text(encoding="utf-8"))
    matched: Matched = ()
    verdict = False
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        verdict, matched = rules.judge("/".join(parts[:depth]), matched)
    return verdict


def test_the_context_of_the_image_is_what_it_copies() -> None:
    sources = [
        source
        for value in arguments_of("COPY")
        if not value.startswith("--from=")
        for source in shlex.split(value)[:-1]
    ]
    assert sorted(sources) == [RUN_TIME, "steps"]
    wanted = [RUN_TIME, *(path.relative_to(ROOT).as_posix() for path in (ROOT / "steps").rglob("*.py"))]
    unwanted = [".git/config", ".venv/installed", "README.md", "steps/core/__pycache__/text.cpython-311.pyc", TESTS]
    assert [path for path in wanted if ignored(path)] == []
    assert [path for path in unwanted if not ignored(path)] == []


def make(*words: str) -> str:
    """The commands that make would run."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "--dry-run", "--always-make", *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def make_commands() -> list[list[str]]:
    """The words behind each `make` of Cloud Build."""
    commands = []
    for step in CLOUD_BUILD["steps"]:
        if step["entrypoint"] == "make":
            commands.append(step["args"])
        else:
            commands += [
                words[1:] for part in step["args"][1].split(" && ") if (words := shlex.split(part))[0] == "make"
            ]
    return commands


def test_cloud_build_tests_builds_asks_for_help_and_pushes() -> None:
    targets = [word for words in make_commands() for word in words if "=" not in word]
    assert targets == ["test", "image", "image-help", "push"]


def test_cloud_build_builds_what_it_asks_and_pushes() -> None:
    image = "europe-west1-docker.pkg.dev/a-project/apps-cd/steps:latest"
    assert resolved("${_IMAGE}:${_TAG}") == image
    in_shell = [step["args"] for step in CLOUD_BUILD["steps"] if step["entrypoint"] == "sh"]
    assert [(flag, [resolved(word) for word in rest]) for flag, _, *rest in in_shell] == [("-c", [image])] * 2
    # `$$` is a dollar to Cloud Build, and `$0` what follows the script.
    assert [words[-1].replace("$$0", image) for words in make_commands()[1:]] == [f"IMAGE={image}"] * 2
    assert f"docker build --file images/steps/Dockerfile --tag {image} " in make("image", f"IMAGE={image}")
    assert make("push", f"IMAGE={image}") == f"docker push {image}\n"


def test_every_entrypoint_is_asked_for_help() -> None:
    [steps] = re.findall(r"^for step in (.*?); do docker run .* python -m steps\.\$step --help ", make("image-help"))
    assert steps.split() == STEPS


def test_every_substitution_of_cloud_build_is_declared_and_used() -> None:
    used = set(re.findall(r"(?<!\$)\$\{?(\w+)", (ROOT / "cloudbuild.yaml").read_text(encoding="utf-8")))
    assert used == {*CLOUD_BUILD["substitutions"], "PROJECT_ID"}
    assert CLOUD_BUILD["options"] == {"dynamicSubstitutions": True}


def resolved(text: str) -> str:
    """A text as Cloud Build fills it in."""
    values = {**CLOUD_BUILD["substitutions"], "PROJECT_ID": "a-project"}
    while match := re.search(r"\$\{(\w+)\}", text):
        text = text.replace(match[0], values[match[1]])
    return text


def test_every_target_of_the_makefile_is_explained() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    [phony] = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    explained = re.findall(r"^([a-z-]+):.*?## \S", text, re.MULTILINE)
    assert sorted(phony.split()) == sorted(explained)
