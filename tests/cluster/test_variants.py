"""Ways to run an update that only a cluster proves."""

import base64
import json
import subprocess
from pathlib import Path

import pytest

from tests.cluster.world import ClusterWorld
from tests.sandbox.registry import Registry
from tests.sandbox.runner import TEKTON, Files, Run
from tests.sandbox.tekton import Object
from tests.sandbox.tls import Authority
from tests.tekton.update import BRANCH, HEAD, Update, operation


def files(world: ClusterWorld, run: Run) -> dict[str, bytes]:
    """What the image of a run holds, by its digest."""
    assert run.succeeded, run.describe()
    return world.files(f"{world.image('example/webapp')}@{run.results['IMAGE_DIGEST']}")


def without(document: Object, *params: str) -> Object:
    """A PipelineRun without some of its parameters."""
    spec = document["spec"]
    return {**document, "spec": {**spec, "params": [each for each in spec["params"] if each["name"] not in params]}}


def test_private_repositories_over_https_with_a_token_and_the_branch_in_a_fork(cluster_world: ClusterWorld) -> None:
    update = Update(cluster_world)
    run = update.start()
    assert (operation(run), files(cluster_world, run)) == ("created", {"page": b"one\n"})
    assert update.proposed() == [(1, "open", HEAD, update.edited(run))]


def test_the_branch_in_the_repository_itself(cluster_world: ClusterWorld) -> None:
    update = Update(cluster_world)
    run = cluster_world.start(without(update.document(), "fork-owner"), secrets=update.all_secrets)
    assert operation(run) == "created"
    assert update.proposed() == [(1, "open", f"example:{BRANCH}", update.edited(run))]


def test_private_repositories_over_ssh_with_known_hosts(cluster_world: ClusterWorld, tmp_path: Path) -> None:
    world, update = cluster_world, Update(cluster_world)
    run = start_over_ssh(update, credentials(world, tmp_path))
    assert (operation(run), files(world, run)) == ("created", {"page": b"one\n"})
    assert run.results["CHAINS-GIT_URL"] == world.ssh.url("example/webapp")
    assert update.proposed() == [(1, "open", f"example:{BRANCH}", update.edited(run))]


def test_an_ssh_server_with_another_key_is_not_talked_to(cluster_world: ClusterWorld, tmp_path: Path) -> None:
    update, secret = Update(cluster_world), credentials(cluster_world, tmp_path)
    host = secret["known_hosts"].split()[0]
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    kind, key, _ = (tmp_path / "other.pub").read_text().split()
    run = start_over_ssh(update, {**secret, "known_hosts": f"{host} {kind} {key}\n"})
    assert run.failed_step == ("build-image", "clone", 1)
    assert "host-key" in run.tasks["build-image"].steps["clone"].log


def credentials(world: ClusterWorld, tmp_path: Path) -> dict[str, str]:
    """What a Secret for the repositories over ssh holds."""
    directory = world.ssh.credentials(tmp_path / "key")
    return {path.name: path.read_text() for path in directory.iterdir()}


def start_over_ssh(update: Update, secret: Files) -> Run:
    world = update.world
    document = update.document(
        app_repo_url=world.ssh.url("example/webapp"), manifests_repo_url=world.ssh.url("example/manifests")
    )
    return world.start(without(document, "fork-owner"), secrets={**update.all_secrets, "git-credentials": secret})


def test_one_stage_of_a_dockerfile_outside_of_its_context(cluster_world: ClusterWorld) -> None:
    base = cluster_world.push_busybox()
    dockerfile = (
        "ARG BASE\nFROM ${BASE} AS build\nARG WORD\nCOPY word /word\nRUN cat /word > /made && echo ${WORD} >> /made\n"
        "FROM scratch AS wanted\nCOPY --from=build /made /made\n"
        "FROM scratch\nCOPY --from=build /nothing /\n"
    )
    source = {"docker/web.Dockerfile": dockerfile, "services/web/word": "from the context\n"}
    update = Update(cluster_world, source)
    run = update.start(
        path_to_context="services/web",
        path_to_docker_file="docker/web.Dockerfile",
        docker_target="wanted",
        extra_args=[f"--build-arg=BASE={base}", "--build-arg=WORD=and, 'a b'"],
    )
    assert files(cluster_world, run) == {"made": b"from the context\nand, 'a b'\n"}


def test_a_registry_with_a_password_and_an_authority_of_its_own(cluster_world: ClusterWorld, tmp_path: Path) -> None:
    world, update = cluster_world, Update(cluster_world)
    authority = Authority(tmp_path / "authority")
    context = authority.server_context([world.host])
    with Registry(world.host, user="builder", password="of the builder", context=context) as registry:
        auth = base64.b64encode(b"builder:of the builder").decode()
        config = json.dumps({"auths": {registry.address: {"auth": auth}}})
        document = update.document(
            image=f"{registry.address}/example/webapp:v1",
            extra_args=[f"--registry-certificate={registry.address}=/kaniko/.docker/ca.crt"],
        )
        secret = {"config.json": config, "ca.crt": authority.file.read_text()}
        workspaces = [each for each in document["spec"]["workspaces"] if each["name"] != "dockerconfig"]
        document["spec"]["workspaces"] = [
            *workspaces,
            {"name": "dockerconfig", "secret": {"secretName": "registry-ca"}},
        ]
        run = world.start(document, secrets={**update.all_secrets, "registry-ca": secret})
        assert operation(run) == "created"
        assert registry.digest("example/webapp", "v1") == run.results["IMAGE_DIGEST"]
        refused = world.start(
            update.document(image=f"{registry.address}/example/webapp:v2"), secrets=update.all_secrets
        )
        assert refused.failed_step == ("build-image", "build", 1)
        assert "certificate" in refused.tasks["build-image"].steps["build"].log


@pytest.mark.parametrize("where", ["bucket", "volume"])
def test_the_build_apart_leaves_nothing_of_the_source_but_the_image(cluster_world: ClusterWorld, where: str) -> None:
    world = cluster_world
    commit = world.add_repository("example/webapp", {"Dockerfile": "FROM scratch\nCOPY page /\n", "page": "apart\n"})
    params = {"app-repo-url": world.public_url("example/webapp"), "image": f"{world.image('example/webapp')}:v1"}
    if where == "bucket":
        world.create_bucket("example-build-contexts")
    secrets: dict[str, Files] = {"registry": {".dockerconfigjson": "{}"}}
    run = world.start(TEKTON / "runs" / f"build-apart-{where}.yaml", dict(params), secrets)
    assert (files(world, run), run.results["CHAINS-GIT_COMMIT"]) == ({"page": b"apart\n"}, commit)
    world.forget()
