import os
import shutil
import threading
from pathlib import Path

import pytest

from steps.clients import configuration
from steps.clients.configuration import ConfigLocation
from steps.core.applications import LARGEST
from steps.errors import StepError


def read(path: Path) -> dict[str, str]:
    return configuration.texts(ConfigLocation.parse(str(path)), allow_private=False)


def test_a_directory_is_its_yaml_files_by_name(tmp_path: Path) -> None:
    for name in ("b.yml", "a.yaml", "README.md", ".hidden.yaml", "..data"):
        (tmp_path / name).write_text(name)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "c.yaml").write_text("deeper")
    assert read(tmp_path) == {str(tmp_path / "a.yaml"): "a.yaml", str(tmp_path / "b.yml"): "b.yml"}


class Mounted:
    """A ConfigMap as Kubernetes mounts it: links that lead through `..data` to a directory of the version."""

    def __init__(self, root: Path, **contents: str) -> None:
        self.root = root
        self.version = 0
        self.change(**contents)
        for name in contents:
            (root / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")

    def change(self, **contents: str) -> Path:
        """Put another version in place, and return where the one before it is."""
        before = self.directory
        self.version += 1
        self.directory.mkdir(parents=True)
        for name, content in contents.items():
            (self.directory / f"{name}.yaml").write_text(content)
        (self.root / "..data_tmp").symlink_to(self.directory.name)
        (self.root / "..data_tmp").rename(self.root / "..data")
        return before

    @property
    def directory(self) -> Path:
        return self.root / f"..2026_01_02_03_04_05.{self.version}"

    def of(self, text: str) -> dict[str, str]:
        """What is read when both files hold a text."""
        return {str(self.root / f"{name}.yaml"): text for name in ("a", "b")}


def test_a_mounted_config_map_is_its_files_and_no_version_of_them_twice(tmp_path: Path) -> None:
    mounted = Mounted(tmp_path / "mounted", a="old", b="old")
    assert read(mounted.root) == mounted.of("old")
    mounted.change(a="new", b="new")
    assert read(mounted.root) == mounted.of("new")


def test_a_file_of_a_mounted_config_map_is_read_as_it_is_now(tmp_path: Path) -> None:
    mounted = Mounted(tmp_path / "mounted", applications="old")
    path = mounted.root / "applications.yaml"
    assert read(path) == {str(path): "old"}
    shutil.rmtree(mounted.change(applications="new"))
    assert read(path) == {str(path): "new"}


@pytest.mark.parametrize("is_gone", [True, False], ids=["the old version is gone", "the old version is still there"])
def test_a_config_map_that_changes_while_it_is_read_is_the_old_or_the_new_one(tmp_path: Path, is_gone: bool) -> None:
    mounted = Mounted(tmp_path / "mounted", a="", b="old")
    pipe = mounted.directory / "a.yaml"
    pipe.unlink()
    os.mkfifo(pipe)

    def change() -> None:
        with pipe.open("w") as first:  # from here on it is being read
            before = mounted.change(a="new", b="new")
            if is_gone:
                shutil.rmtree(before)
            first.write("old")

    thread = threading.Thread(target=change)
    thread.start()
    assert read(mounted.root) == mounted.of("new" if is_gone else "old")
    thread.join()


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert list(read(tmp_path / "a.yaml").values()) == ["a: 1\n"]


@pytest.mark.parametrize(
    ("content", "reason", "message"),
    [
        pytest.param(b"a\nb\xff\n", "not-utf-8", "{}:2: this is not UTF-8: save the file in that encoding", id="not UTF-8"),
        pytest.param(b"#" * (LARGEST + 1), "too-large", "{} has more than 1048576 bytes: split it into files of one directory", id="too large"),
        pytest.param(None, "not-found", "reading {}: No such file or directory ({}); check the path", id="not there"),
    ],
)  # fmt: skip
def test_what_is_no_configuration_is_refused(tmp_path: Path, content: bytes | None, reason: str, message: str) -> None:
    path = tmp_path / "a.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StepError) as refused:
        read(path)
    assert (refused.value.reason, str(refused.value)) == (reason, message.format(path, path))


def test_a_directory_without_yaml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StepError) as refused:
        read(tmp_path)
    assert str(refused.value) == f"reading the configuration {tmp_path}: no *.yaml is in this directory"


@pytest.mark.parametrize(
    "text",
    ["http://example.com/a.yaml", "https://user:secret@example.com/a.yaml", "file:///etc/passwd", "a\nb", "a" * 256],
    ids=lambda text: repr(text[:50]),
)
def test_an_address_that_is_not_read_is_a_malformed_value(text: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the text is compared
        ConfigLocation.parse(text)
    assert "secret" not in str(refused.value)
