from pathlib import Path

import pytest

from steps.clients import configuration
from steps.clients.configuration import ConfigLocation
from steps.core.applications import LARGEST
from steps.errors import StepError


def read(path: Path) -> dict[str, str]:
    return configuration.read(ConfigLocation.parse(str(path)), allow_private=False)


def test_a_directory_is_its_yaml_files_by_name(tmp_path: Path) -> None:
    for name in ("b.yml", "a.yaml", "README.md", ".hidden.yaml", "..data"):
        (tmp_path / name).write_text(name)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "c.yaml").write_text("deeper")
    assert read(tmp_path) == {str(tmp_path / "a.yaml"): "a.yaml", str(tmp_path / "b.yml"): "b.yml"}


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
