import os
from collections.abc import Callable
from pathlib import Path

import pytest

from steps.clients import source_tree
from steps.errors import StepError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree and a sibling whose name begins alike."""
    (tmp_path / "app/sub").mkdir(parents=True)
    (tmp_path / "app/sub/file").write_text("text")
    (tmp_path / "app-evil").mkdir()
    (tmp_path / "app-evil/file").write_text("secret")
    (tmp_path / "app/out").symlink_to("../app-evil")
    (tmp_path / "app/in").symlink_to("sub")
    return source_tree.root(tmp_path / "app")


def test_a_source_directory_may_be_a_symlink(tmp_path: Path, tree: Path) -> None:
    (tmp_path / "link").symlink_to("app")
    assert source_tree.root(tmp_path / "link") == tree


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("sub/file", id="as it is"),
        pytest.param("in/file", id="by way of a symlink inside"),
        pytest.param("sub/../in/./file", id="with detours"),
        pytest.param("../app/sub/file", id="out and in again"),
    ],
)
def test_a_file_inside_is_found(tree: Path, path: str) -> None:
    assert source_tree.file(tree, path, "Dockerfile") == tree / "sub/file"


@pytest.mark.parametrize(
    ("path", "target"),
    [
        pytest.param("../app-evil/file", "{parent}/app-evil/file", id="by dots, to a sibling whose name begins alike"),
        pytest.param("out/file", "{parent}/app-evil/file", id="by a symlink"),
        pytest.param("out/none", "{parent}/app-evil/none", id="to what is not there"),
        pytest.param("/etc/passwd", "/etc/passwd", id="by an absolute path"),
    ],
)
@pytest.mark.parametrize("find", [source_tree.file, source_tree.directory])
def test_nothing_outside_is_found(tree: Path, path: str, target: str, find: Callable[..., Path]) -> None:
    with pytest.raises(StepError) as caught:
        find(tree, path, "Dockerfile")
    assert (caught.value.reason, str(caught.value)) == (
        "outside",
        f"the Dockerfile {path!r} leads out of {tree}, to {target.format(parent=tree.parent)}; give one that is inside",
    )


def test_a_symlink_put_in_the_place_of_a_file_is_not_followed(tree: Path) -> None:
    found = source_tree.file(tree, "sub/file", "Dockerfile")
    found.unlink()
    found.symlink_to(tree.parent / "app-evil/file")
    with pytest.raises(StepError) as caught:
        source_tree.read(found)
    assert (caught.value.reason, str(caught.value)) == (
        "unreadable",
        f"cannot read {found}: Too many levels of symbolic links",
    )


def test_a_pipe_put_in_the_place_of_a_file_is_not_waited_for(tree: Path) -> None:
    found = source_tree.file(tree, "sub/file", "Dockerfile")
    found.unlink()
    os.mkfifo(found)
    with pytest.raises(StepError) as caught:
        source_tree.read(found)
    assert (caught.value.reason, str(caught.value)) == ("not-found", f"{found} is not a regular file")
