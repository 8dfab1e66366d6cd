"""The README's commands for a cluster, run as they stand there: only addresses, files and the namespace are replaced."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
import yaml

from steps.core.update import marked
from tests.cluster import steps_image
from tests.cluster.cluster import ENVIRONMENT, Cluster
from tests.cluster.fixtures import Installation
from tests.cluster.following import DOCKERFILE, MANIFESTS, NAME, Deployed, adapt
from tests.cluster.world import ClusterWorld
from tests.sandbox.runner import TEKTON
from tests.sandbox.tekton import Object
from tests.sandbox.world import TOKEN, example, package

README = (TEKTON.parent / "README.md").read_text(encoding="utf-8")


def commands(heading: str) -> list[str]:
    """The commands of a section, each on one line, without those of its subsections."""
    section = re.split(rf"^##+ {re.escape(heading)}\n", README, flags=re.MULTILINE)[1]
    text = "\n".join(re.findall(r"^```sh\n(.*?)^```$", re.split(r"\n##+ ", section)[0], flags=re.DOTALL | re.MULTILINE))
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
        "operation": "created",
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


@pytest.fixture
def deployed(tmp_path: Path, home: Path, cluster: Cluster, installation: Installation) -> Iterator[Deployed]:
    """A reconciler of the example's configuration, set up as it says."""
    edit, pin, apply, token, registry, status = commands("Set up a cluster")
    shutil.copytree(installation.tekton, home / "tekton")
    for name in (".venv", "steps"):
        (home / name).symlink_to(TEKTON.parent / name)
    with ClusterWorld(tmp_path / "world", cluster, installation.tekton) as world:
        deployed = Deployed(world)
        # Nobody here knows the authority of the other.
        (home / ".gitconfig").write_text(f'[url "{world.github.url}/"]\n  insteadOf = {world.github_url}/\n')
        files = {"Dockerfile": DOCKERFILE, "page": "one\n", "api/Dockerfile": DOCKERFILE, "api/page": "one\n"}
        deployed.commits["webapp", "main"] = deployed.commits["api", "main"] = world.add_repository(
            "example/webapp", files
        )
        api = package("api", "resources:\n- deployment.yaml\n", "ghcr.io/example/api")
        world.add_repository(MANIFESTS, {**example("manifests"), **api})
        overlay = home / edit.removeprefix("$EDITOR ").removesuffix("/applications.yaml")
        adapt(overlay, world, written(overlay, world), {"--attempts": "1"})
        shell(re.sub(re.escape("registry.example.com/team/apps-cd:v0.1.0"), installation.image, pin), home)
        assert "created" in {line.rpartition(" ")[2] for line in shell(apply, home).splitlines()}
        shell(here(token, world), home)
        shell(here(registry, world), home)
        world.add_secrets({"github-token": world.token(), "authority": world.authority})
        shell(here(status, world), home)
        yield deployed
        assert world.violations == []


def written(overlay: Path, world: ClusterWorld) -> Object:
    """The configuration that an overlay has for an example, less what keeps it from being carried out."""
    text = (overlay / "applications.yaml").read_text()
    configuration: Object = yaml.safe_load(text.replace("https://github.com/", f"{world.github_url}/"))
    del configuration["suspend"]
    for application in configuration["applications"]:
        application["pushedImage"] = world.image(application["name"])
    return configuration


@contextmanager
def going_on(line: str, directory: Path) -> Iterator[str]:
    """Have a command go on, for the time of a `with` block; the first line that it prints."""
    with subprocess.Popen(
        shlex.split(line), cwd=directory, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout
        try:
            yield child.stdout.readline()
        finally:
            child.terminate()


def test_the_reconciler_shows_what_it_does_and_applying_it_again_changes_nothing(
    deployed: Deployed, home: Path
) -> None:
    world = deployed.world
    pull = deployed.proposed("webapp", "main")
    deployed.ended(deployed.run("webapp", "main")["metadata"]["name"])
    deployed.shows("pull-request-open")
    forward, explain = commands("See why")
    table = shell(f"{here(explain, world)} --github-url={world.github_url}", home)
    address = f"{world.github_url}/{MANIFESTS}/pull/{pull.number}"
    assert [line.split()[:3] for line in table.splitlines()[1:2]] == [["webapp", "main", "pull-request-open"]], table
    assert address in table
    with going_on(here(forward, world).replace(" 8080:80", " :80"), home) as line:
        port = re.search(r":(\d+) -> ", line)
        assert port, line
        page = requests.get(f"http://127.0.0.1:{port[1]}/", timeout=30).text
    assert address in page
    before = world.get("configmap,lease", NAME)["items"]
    apply = commands("Set up a cluster")[2]
    assert {line.rpartition(" ")[2] for line in shell(apply, home).splitlines()} == {"unchanged"}
    after = world.get("configmap,lease", NAME)["items"]
    assert [each.get("data") for each in after] == [each.get("data") for each in before]
    assert [each["spec"]["holderIdentity"] for each in after if "spec" in each]


def test_an_application_is_added_as_it_says(deployed: Deployed, home: Path) -> None:
    world = deployed.world
    validate, apply = commands("Add an application")
    overlay = home / apply.rpartition(" ")[2]
    (before,) = mounted(world)
    configuration = yaml.safe_load((overlay / "applications.yaml").read_text())
    configuration["applications"].append(
        {
            "name": "api",
            "sourceRepo": "webapp",
            "context": "api",
            "manifestsDir": "api",
            "image": "ghcr.io/example/api",
            "pushedImage": world.image("api"),
        }
    )
    (overlay / "applications.yaml").write_text(yaml.safe_dump(configuration))
    (warning,) = json.loads(shell(validate, home))["problems"]
    assert warning["message"].endswith(" has no entry for ghcr.io/example/api: one is made by the first update")
    changed = [line for line in shell(apply, home).splitlines() if not line.endswith(" unchanged")]
    (after,) = mounted(world)
    assert changed == [f"configmap/{after} created", f"deployment.apps/{NAME} configured"]
    assert after != before
    deployed.proposed("webapp", "main")
    pull = deployed.proposed("api", "main")
    assert f"newName: {world.image('api')}\n" in world.read(MANIFESTS, pull.sha, "api/kustomization.yaml")


def mounted(world: ClusterWorld) -> list[str]:
    """The ConfigMap of the configuration that the Deployment mounts."""
    volumes = world.get("deployment", NAME)["spec"]["template"]["spec"]["volumes"]
    return [each["configMap"]["name"] for each in volumes if each["name"] == "config"]


def test_a_pair_that_is_stalled_is_tried_anew_as_it_says(deployed: Deployed, home: Path) -> None:
    world = deployed.world
    deployed.proposed("webapp", "main")
    base = world.image("busybox:1")
    deployed.commits["webapp", "main"] = world.push("example/webapp", {"Dockerfile": f"FROM {base}\nCOPY page /\n"})
    deployed.event("Stalled", "webapp", "main")
    failed = deployed.run("webapp", "main")["metadata"]
    pull = deployed.pull_request("webapp", "main")
    assert pull
    update = marked(pull.body or "")
    assert update
    assert update.source != deployed.commits["webapp", "main"]
    assert world.push_busybox() == base
    for line in commands("When a pair is stalled"):
        shell(here(line, world).replace("APPLICATION", "webapp").replace("VERSION", "main"), home)
    assert deployed.proposed("webapp", "main").number == pull.number
    again = deployed.run("webapp", "main")["metadata"]
    assert (again["name"], again["uid"] != failed["uid"]) == (failed["name"], True)


def test_production_is_pushed_as_it_says(deployed: Deployed, home: Path, installation: Installation) -> None:
    """What skaffold says that it has built is what it says, less the build."""
    build, pin, apply, secret = commands("Push production")
    file = home / re.findall(r"--file-output=(\S+)", build)[0]
    shell(build.partition(" && skaffold ")[0], home)
    file.write_text(json.dumps({"builds": [{"imageName": "apps-cd/steps", "tag": installation.image}]}))
    shell(pin, home)
    assert {line.rpartition(" ")[2] for line in shell(apply, home).splitlines()} == {"unchanged"}
    shell(here(secret, deployed.world), home)
    assert list(deployed.world.get("secret", "kaniko-registry")["data"]) == ["config.json"]


def test_no_command_of_it_is_left_out() -> None:
    """Those of `Develop the reconciler` are skaffold's, and make the namespace that skaffold.yaml names."""
    sections = re.findall(r"^##+ (.+)$", README, flags=re.MULTILINE)
    with_cluster = [section for section in sections if any("kubectl" in line for line in commands(section))]
    assert with_cluster == [
        "Install in a cluster",
        "Start it",
        "Dozens of applications",
        "Set up a cluster",
        "See why",
        "Add an application",
        "When a pair is stalled",
        "Push production",
        "Develop the reconciler",
        "Credentials",
        "Develop",
    ]
