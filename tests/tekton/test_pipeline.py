"""The Pipeline apps-cd, end to end in the sandbox: what its steps may see, what a rerun does, how it fails."""

from typing import Any

import pytest

from tests.sandbox.runner import TEKTON, Files, Run
from tests.sandbox.tekton import Value
from tests.sandbox.world import BOT, TOKEN, World

RUN = TEKTON / "runs" / "private-fork.yaml"
REGISTRY_SECRET = "c2VjcmV0OnJlZ2lzdHJ5"
KUSTOMIZATION = "images:\n- name: ghcr.io/example/webapp\n  newTag: v0\n"


@pytest.fixture
def ready(world: World) -> World:
    """Private repositories example/webapp and example/manifests, the latter with a fork of the bot's."""
    world.add_repository("example/webapp", {"Dockerfile": "FROM scratch\nCOPY page /\n", "page": "one\n"}, private=True)
    world.add_repository("example/manifests", {"webapp/base/kustomization.yaml": KUSTOMIZATION}, private=True)
    fork = {"private": True, "writers": [BOT]}
    world.github.add_repository("example-bot/manifests", fork_of="example/manifests", **fork)  # type: ignore[arg-type]  # mixed
    return world


def start(world: World, **params: Value) -> Run:
    given: dict[str, Value] = {
        "app-repo-url": world.url("example/webapp"),
        "manifests-repo-url": world.url("example/manifests"),
        "image": f"{world.image('example/webapp')}:v1",
        "github-url": world.github_url,
        "post-edit-command": ["true"],
        "post-edit-image": world.steps_image,
        **{name.replace("_", "-"): value for name, value in params.items()},
    }
    registry = f'{{"auths": {{"nowhere.example.com": {{"auth": "{REGISTRY_SECRET}"}}}}}}'
    secrets: dict[str, Files] = {
        "registry": {".dockerconfigjson": registry},
        "github-token": world.token(),
        "git-credentials": world.token(),
    }
    return world.start(RUN, given, secrets)


def proposed(world: World) -> list[tuple[int, str, str, str]]:
    """Of each pull request its number, state, head and the kustomization."""
    return [
        (
            pull.number,
            pull.state,
            pull.head,
            world.read("example/manifests", pull.sha, "webapp/base/kustomization.yaml"),
        )
        for pull in world.pull_requests("example/manifests")
    ]


def edited(world: World, run: Run, tag: str = "v1") -> str:
    name, digest = world.image("example/webapp"), run.results["IMAGE_DIGEST"]
    new = f"  newName: {name}\n  newTag: {tag}\n  digest: {digest}\n"
    return KUSTOMIZATION.replace("  newTag: v0\n", new)


def operation(run: Run) -> str:
    assert run.succeeded, run.describe()
    return run.tasks["update-manifests"].results["operation"]


HEAD = "example-bot:apps-cd/v1.0/webapp"


def test_a_newer_image_updates_the_same_pull_request(ready: World) -> None:
    first = start(ready)
    assert (operation(first), proposed(ready)) == ("created", [(1, "open", HEAD, edited(ready, first))])
    ready.push("example/webapp", {"page": "two\n"})
    second = start(ready, image=f"{ready.image('example/webapp')}:v2")
    assert (operation(second), proposed(ready)) == ("updated", [(1, "open", HEAD, edited(ready, second, "v2"))])
    assert first.results["pull-request-url"] == second.results["pull-request-url"]


@pytest.mark.parametrize(
    ("effect", "kill", "rerun"),
    [
        pytest.param(f"push refs/heads/{HEAD.partition(':')[2]}", True, "created", id="killed after the push"),
        pytest.param("create pull request 1", False, "unchanged", id="cancelled after the pull request was created"),
    ],
)
def test_a_rerun_of_an_interrupted_run_ends_in_one_pull_request(
    ready: World, effect: str, kill: bool, rerun: str
) -> None:
    ready.github.after_effect = lambda seen: ready.interrupt(kill=kill) if seen == effect else None
    reproducible = ["--reproducible"]
    interrupted = start(ready, extra_args=reproducible)
    ready.github.after_effect = None
    if interrupted.succeeded:  # Tekton makes a pod anew that was lost without a word
        rerun = "unchanged"
    again = start(ready, extra_args=reproducible)
    assert (operation(again), proposed(ready)) == (rerun, [(1, "open", HEAD, edited(ready, again))])


def test_each_step_sees_the_secrets_that_it_needs_and_no_secret_is_on_a_command_line(ready: World) -> None:
    run = start(ready)
    assert run.succeeded, run.describe()
    steps = {(task.name, step.name): step for task in run.tasks.values() for step in task.steps.values()}
    assert {names: step.mounts for names, step in steps.items()} == {
        ("build-image", "clone"): ["/workspace/app-repo-credentials"],
        ("build-image", "prepare"): [],
        ("build-image", "build"): ["/kaniko/.docker"],
        ("update-manifests", "clone"): ["/workspace/manifests-repo-credentials"],
        ("update-manifests", "set-image"): [],
        ("update-manifests", "run-command"): [],
        ("update-manifests", "open-pull-request"): ["/workspace/github-token", "/workspace/manifests-repo-credentials"],
    }
    written = [
        (names, where)
        for names, step in steps.items()
        for where, text in (
            ("arguments", str(step.arguments)),
            ("environment", str(step.environment)),
            ("log", step.log),
            ("results", str(step.results)),
        )
        if TOKEN in text or REGISTRY_SECRET in text
    ]
    assert written == []


def test_the_post_edit_command_runs_in_the_tree(ready: World) -> None:
    run = start(ready, post_edit_command=["sh", "-c", "pwd; ls; echo found > generated.txt"])
    assert run.succeeded, run.describe()
    assert run.tasks["update-manifests"].steps["run-command"].log == "/workspace/manifests\nwebapp\n"
    (pull,) = ready.pull_requests("example/manifests")
    assert ready.read("example/manifests", pull.sha, "generated.txt") == "found\n"


@pytest.mark.parametrize(
    ("params", "step"),
    [
        pytest.param({"app_repo_revision": "nope"}, ("build-image", "clone", 1), id="a wrong revision"),
        pytest.param({"path_to_docker_file": "nope"}, ("build-image", "prepare", 1), id="no Dockerfile"),
        pytest.param({"extra_args": ["--nope"]}, ("build-image", "build", 1), id="a flag Kaniko lacks"),
        pytest.param(
            {"path_to_manifests_dir": "nope"}, ("update-manifests", "set-image", 1), id="a wrong manifests directory"
        ),
        pytest.param(
            {"post_edit_command": ["false"]},
            ("update-manifests", "run-command", 1),
            id="a post-edit command that fails",
        ),
    ],
)
def test_a_run_that_fails_proposes_nothing(ready: World, params: dict[str, Any], step: tuple[str, str, int]) -> None:
    run = start(ready, **params)
    assert (run.reason, run.failed_step, proposed(ready)) == ("Failed", step, []), run.describe()
