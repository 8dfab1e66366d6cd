"""The README's commands for a cluster, run as they stand there: only addresses, files and the namespace are replaced."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cluster import steps_image
from tests.cluster.cluster import ENVIRONMENT, Cluster
from tests.cluster.fixtures import Installation
from tests.cluster.world import ClusterWorld
from tests.sandbox.runner import TEKTON
from tests.sandbox.world import TOKEN, example

README = (TEKTON.parent / "README.md").read_text(encoding="utf-8")


def commands(heading: str) -> list[str]:
    """The commands of a section, each on one line."""
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    text = "\n".join(re.findall(r"^```sh\n(.*?)^```$", section, flags=re.DOTALL | re.MULTILINE))
    return [line for line in text.replace("\\\n", " ").splitlines() if line]


def shell(line: str, directory: Path) -> str:
    """Run a line of a shell as a person would; what it prints."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line],
        cwd=directory,
        env={**ENVIRONMENT, "HOME": str(directory)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with the files that the commands name."""
    directory = tmp_path / "home"
    (directory / ".docker").mkdir(parents=True)
    (directory / ".docker" / "config.json").write_text(json.dumps({"auths": {}}))
    for name in ("TOKEN_FILE", "KEY_FILE", "KNOWN_HOSTS_FILE", "PEM_FILE"):
        (directory / name).write_text(TOKEN)
    return directory


def here(line: str, world: ClusterWorld) -> str:
    """A command with this world's namespace."""
    return line.replace("--namespace=apps-cd ", f"--namespace={world.namespace} ")


def test_a_cluster_is_installed_as_it_says(
    tmp_path: Path, home: Path, cluster: Cluster, installation: Installation
) -> None:
    build, pin, create, apply = commands("Install in a cluster")
    assert shlex.split(build)[:3] == ["make", "image", "push"]  # the image is there: Kaniko has built it
    name = re.escape("registry.example.com/team/apps-cd:v0.1.0")
    shutil.copytree(steps_image.yaml(tmp_path / "yaml", cluster), home / "tekton")
    shell(re.sub(name, installation.image, pin), home)
    own = (home / "tekton" / "kustomization.yaml").read_text()
    assert installation.image.partition("@")[2] in own
    with ClusterWorld(tmp_path / "world", cluster, installation.tekton) as world:
        assert create == "kubectl create namespace apps-cd"
        assert {line.rpartition(" ")[2] for line in shell(here(apply, world), home).splitlines()} == {"unchanged"}


def test_the_secrets_and_the_start_are_as_it_says_and_what_is_proposed_runs(
    cluster_world: ClusterWorld, home: Path
) -> None:
    world = cluster_world
    base = world.push_busybox()
    files = example("webapp")
    commit = world.add_repository("example/webapp", files)
    world.add_repository("example/manifests", example("manifests"))
    token, registry, start = commands("Start it")
    shell(here(token, world), home)
    shell(here(registry, world), home)
    world.add_secrets({"github-token": world.token(), "authority": world.authority})

    image = world.image("example/webapp")
    start = here(start, world)
    assert "--param=image=ghcr.io/example/webapp:vmain" in start
    start = start.replace("--param=image=ghcr.io/example/webapp", f"--param=image={image}")
    start = start.replace("https://github.com/example/webapp.git", world.public_url("example/webapp"))
    start = start.replace("https://github.com/example/manifests.git", world.url("example/manifests"))
    start += (
        f" --param=github-url={world.github_url} --param=extra-args=--build-arg=BASE={base}"
        " --workspace=name=manifests-repo-credentials,secret=authority"
    )
    printed = shell(start, home)
    (run,) = world.get("pipelineruns")["items"]
    ended = world.wait(run["metadata"]["name"])
    assert ended.succeeded, printed
    assert TOKEN not in printed
    (pull,) = world.pull_requests("example/manifests")
    digest = ended.results["IMAGE_DIGEST"]
    assert ended.results == {
        "IMAGE_URL": f"{image}:vmain",
        "IMAGE_DIGEST": digest,
        "CHAINS-GIT_URL": world.public_url("example/webapp"),
        "CHAINS-GIT_COMMIT": commit,
        "pull-request-url": f"{world.github_url}/example/manifests/pull/1",
    }
    assert pull.head == "example:apps-cd/main/webapp"

    package = home / "package"
    for name in ("kustomization.yaml", "deployment.yaml", "service.yaml"):
        package.mkdir(exist_ok=True)
        (package / name).write_text(world.read("example/manifests", pull.sha, f"webapp/base/{name}"))
    world.kubectl("apply", f"--kustomize={package}")
    world.kubectl("rollout", "status", "deployment/webapp", "--timeout=120s")
    (wanted,) = {pod["spec"]["containers"][0]["image"] for pod in world.get("pods", "--selector=app=webapp")["items"]}
    assert wanted == f"{image}:vmain@{digest}"
    page = world.kubectl("get", f"--raw=/api/v1/namespaces/{world.namespace}/services/webapp:80/proxy/index.html")
    assert page == files["www/index.html"].decode()


def test_the_credentials_are_made_as_it_says(cluster_world: ClusterWorld, home: Path) -> None:
    for line in commands("Credentials"):
        shell(here(line, cluster_world), home)
    secrets = {each["metadata"]["name"]: sorted(each["data"]) for each in cluster_world.get("secrets")["items"]}
    assert secrets == {
        "git-credentials": ["token"],
        "git-over-ssh": ["known_hosts", "ssh-privatekey"],
        "github-app": ["app-id", "private-key"],
    }
    account = cluster_world.get("serviceaccount", "apps-cd-build")
    annotations = account["metadata"]["annotations"]
    assert annotations["iam.gke.io/gcp-service-account"] == "ACCOUNT@PROJECT.iam.gserviceaccount.com"


def test_the_runs_of_dozens_of_applications_are_made_and_created_as_it_says(
    cluster_world: ClusterWorld, home: Path
) -> None:
    world = cluster_world
    for repository in ("webapp", "manifests"):
        world.add_repository(f"example/{repository}", example(repository))
    for name in (".venv", "steps", "tekton"):
        (home / name).symlink_to(TEKTON.parent / name)
    repos = [
        f"      - {{name: {name}, url: {world.public_url(f'example/{name}')}, branch: main}}"
        for name in ("webapp", "manifests")
    ]
    (home / "applications.yaml").write_text(
        "applications:\n  - {name: webapp, sourceRepo: webapp, manifestsDir: webapp/base, image: ghcr.io/example/webapp}\n"
        "versions:\n  - name: main\n    tag: vmain\n    repos:\n" + "\n".join(repos) + "\n"
    )
    validate, create_runs, create = commands("Dozens of applications")
    assert json.loads(shell(validate, home)) == {"problems": []}
    (pair,) = json.loads(shell(create_runs, home))["pairs"]
    assert (pair["status"], [pair["file"]]) == ("needed", [path.name for path in (home / "build/runs").iterdir()])
    assert shell(here(create, world), home) == f"pipelinerun.tekton.dev/{pair['run']} created\n"


def test_no_command_of_it_is_left_out() -> None:
    sections = re.findall(r"^## (.+)$", README, flags=re.MULTILINE)
    with_cluster = [section for section in sections if any("--namespace=apps-cd" in line for line in commands(section))]
    assert with_cluster == ["Install in a cluster", "Start it", "Dozens of applications", "Credentials"]
