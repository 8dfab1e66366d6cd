import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.sandbox.world import World

pytest_plugins = ["tests.cluster.fixtures"]

_OF_SOMEBODY = ("GIT_", "GH_", "GITHUB_", "SSH_", "DOCKER_", "GOOGLE_", "CLOUDSDK_", "XDG_", "STORAGE_")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--renew-golden", action="store_true", help="write golden files in place of comparing with them")
    parser.addoption("--world", choices=["sandbox", "cluster"], default="sandbox", help="where PipelineRuns are run")
    parser.addoption("--keep-failed", action="store_true", help="leave the namespace of a failed test in the cluster")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The tests that need a cluster are those of `--world=cluster` alone."""
    on_cluster = config.getoption("--world") == "cluster"
    return True if collection_path.name == "cluster" and collection_path.is_dir() and not on_cluster else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--renew-golden"):
        items[:] = [item for item in items if "golden" in getattr(item, "fixturenames", ())]


def pytest_collection_finish() -> None:
    """What thousands of cases are made of stays: looking whether it is garbage, again and again, is a tenth of the time."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Compare a text with the file that holds it whole; `make golden` writes the file in place of that."""

    def compare(path: Path, text: str) -> None:
        if request.config.getoption("--renew-golden"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"{path.name} is stale; `make golden` renews it"

    return compare


@pytest.fixture(scope="session", autouse=True)
def nobodys_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of whoever runs the tests is seen: no configuration, no credential, no proxy."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith(_OF_SOMEBODY) or name.lower().endswith("_proxy"):
                patch.delenv(name)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        patch.setenv("GIT_TERMINAL_PROMPT", "0")
        yield


@pytest.fixture
def world(request: pytest.FixtureRequest) -> Any:
    """The world of a case, the sandbox or, with `--world=cluster`, a namespace of a cluster."""
    return request.getfixturevalue("cluster_world" if request.config.getoption("--world") == "cluster" else "sandbox")


@pytest.fixture
def sandbox(tmp_path: Path) -> "Iterator[World]":
    from tests.sandbox.world import Sandbox  # all of it, for those who use it

    with Sandbox(tmp_path / "world") as world:
        yield world
        assert world.violations == []
