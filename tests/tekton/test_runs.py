"""Every PipelineRun that we ship for copying is run, with nothing replaced but addresses; where GitHub has an
authority of its own, that is given, too."""

import base64
import json
from pathlib import Path

import pytest

from tests.sandbox import tekton
from tests.sandbox.registry import Registry
from tests.sandbox.runner import TEKTON, Run
from tests.sandbox.tekton import Object, Value
from tests.sandbox.world import BOT, World, package

ACCOUNT = "builder", "password-of-builder"
KUSTOMIZATION = """\
resources:
  - deployment.yaml
images:
  - name: ghcr.io/example/webapp   # as in deployment.yaml
    newTag: v0
"""
MAKEFILE = "generate-changed-only:\n\tcp webapp/base/kustomization.yaml webapp/base/copy.yaml\n"


def params(document: Object) -> set[str]:
    """The parameters that a PipelineRun may be given."""
    spec = document["spec"]
    pipeline = spec.get("pipelineSpec")
    if not pipeline:
        (read,) = tekton.documents(TEKTON / "pipelines" / f"{spec['pipelineRef']['name']}.yaml")
        pipeline = read["spec"]
    return {param["name"] for param in pipeline["params"]}


def start(world: World, registry: Registry, file: Path) -> tuple[Run, dict[str, str]]:
    """Run it, and say what it had to build, as Chains reads it."""
    (document,) = tekton.documents(file)
    private = "app-repo-credentials" in {each["name"] for each in document["spec"]["workspaces"]}
    commit = world.add_repository(
        "example/webapp", {"Dockerfile": "FROM scratch\nCOPY page /page\n", "page": "hello\n"}, private=private
    )
    manifests = {**package("webapp/base", KUSTOMIZATION), "Makefile": MAKEFILE}
    world.add_repository("example/manifests", manifests, private=private)
    world.github.add_repository("example-bot/manifests", private=private, fork_of="example/manifests", writers=[BOT])
    url = (world.url if private else world.public_url)("example/webapp")
    addresses: dict[str, Value] = {
        "app-repo-url": url,
        "manifests-repo-url": world.url("example/manifests"),
        "image": f"{registry.address}/example/webapp:vmain",
        "github-url": world.github_url,
    }
    known = params(document)
    given = {param["name"] for param in document["spec"]["params"]}
    if "destination" in given:
        world.create_bucket("example-build-contexts")
    if "post-edit-image" in given:
        addresses["post-edit-image"] = world.tools_image()
    login = base64.b64encode(":".join(ACCOUNT).encode()).decode()
    run = world.start(
        file,
        params={name: value for name, value in addresses.items() if name in known},
        secrets={
            "registry": {".dockerconfigjson": json.dumps({"auths": {registry.address: {"auth": login}}})},
            "github-token": world.token(),
            "git-credentials": world.token(),
        },
    )
    return run, {"CHAINS-GIT_URL": url, "CHAINS-GIT_COMMIT": commit}


@pytest.mark.parametrize("file", sorted((TEKTON / "runs").glob("*.yaml")), ids=lambda file: file.stem)
def test_a_run_to_copy_does_what_it_says(world: World, file: Path) -> None:
    with Registry(world.host, user=ACCOUNT[0], password=ACCOUNT[1]) as registry:
        run, built = start(world, registry, file)
        assert run.succeeded, run.describe()
        digest = registry.digest("example/webapp", "vmain")
        assert registry.file_system("example/webapp", "vmain") == {"page": b"hello\n"}
    image = f"{registry.address}/example/webapp"
    pull_requests = world.pull_requests("example/manifests")
    results = {"IMAGE_URL": f"{image}:vmain", "IMAGE_DIGEST": digest, **built}
    if "update-manifests" not in run.tasks:
        assert (run.results, pull_requests) == (results, [])
        return
    (pull,) = pull_requests
    page = f"{world.github_url}/example/manifests/pull/1"
    assert run.results == {**results, "pull-request-url": page, "operation": "created"}
    edited = KUSTOMIZATION.replace(
        "    newTag: v0\n", f"    newName: {image}\n    newTag: vmain\n    digest: {digest}\n"
    )
    assert world.read("example/manifests", pull.sha, "webapp/base/kustomization.yaml") == edited
