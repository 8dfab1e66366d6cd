"""What tests on a cluster share. The image of the steps and our YAML pinned to it are made once for all workers."""

import fcntl
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster
    from tests.cluster.world import ClusterWorld


@dataclass(frozen=True)
class Installation:
    """What every case has applied.

    Attributes:
        image: of our steps, by digest.
        tekton: a directory like `tekton/`, pinned to that image.
    """

    image: str
    tekton: Path


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--world") == "cluster":
        from tests.cluster.cluster import Cluster, MissingError

        try:
            Cluster.from_environment()
        except MissingError as error:
            raise pytest.UsageError(str(error)) from None
        from tests.cluster.world import ClusterWorld

        ClusterWorld.keep_failed = config.getoption("--keep-failed")


def pytest_report_header(config: pytest.Config) -> list[str]:
    if config.getoption("--world") != "cluster":
        return []
    from tests.cluster.cluster import Cluster

    return [f"{name}: {version}" for name, version in Cluster.from_environment().versions.items()]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """With a test that failed on the cluster, show what became of its namespace."""
    report: pytest.TestReport = yield  # type: ignore[assignment]  # what the wrapped hook returns
    if item.config.getoption("--world") == "cluster" and report.failed:
        from tests.cluster.world import ClusterWorld

        for world in ClusterWorld.open:
            world.fail()
        report.sections += [(f"namespace {namespace}", text) for namespace, text in ClusterWorld.diagnoses]
        ClusterWorld.diagnoses.clear()
    return report  # type: ignore[return-value]  # how pluggy's wrappers return


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Makes something, as JSON has it, once for all workers of a session."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if hasattr(request.config, "workerinput") else base

    def make(name: str, maker: Callable[[Path], Any]) -> Any:
        file = shared / f"{name}.json"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not file.exists():
                file.write_text(json.dumps(maker(Path(tempfile.mkdtemp(prefix=name, dir=shared)))))
        return json.loads(file.read_text())

    return make


@pytest.fixture(scope="session")
def cluster() -> "Cluster":
    from tests.cluster.cluster import Cluster

    return Cluster.from_environment()


@pytest.fixture(scope="session")
def installation(cluster: "Cluster", once: Callable[..., Any]) -> Installation:
    """The image that the image builds, and the YAML that runs in it."""
    from tests.cluster import steps_image
    from tests.cluster.world import ClusterWorld

    def build(directory: Path) -> dict[str, str]:
        first = steps_image.bootstrap(cluster, directory)
        pinned = steps_image.yaml(directory / "bootstrap", cluster, first)
        with ClusterWorld(directory / "built", cluster, pinned) as world:
            image = steps_image.build(world)
        steps_image.yaml(directory / "pinned", cluster, image)
        return {"image": image, "tekton": str(directory / "pinned")}

    made = once("installation", build)
    return Installation(made["image"], Path(made["tekton"]))


@pytest.fixture
def cluster_world(
    tmp_path: Path, cluster: "Cluster", installation: Installation, once: Callable[..., Any]
) -> "Iterator[ClusterWorld]":
    from tests.cluster import steps_image
    from tests.cluster.world import ClusterWorld

    def tools() -> str:
        image: str = once(
            "tools", lambda directory: steps_image.tools(cluster, directory, installation.tekton, installation.image)
        )
        return image

    image = installation.image
    with ClusterWorld(tmp_path / "world", cluster, installation.tekton, steps_image=image, tools=tools) as world:
        yield world
        assert world.violations == []
