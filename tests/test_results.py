from pathlib import Path

import pytest

from steps import results
from steps.errors import StepError


@pytest.mark.parametrize(
    ("value", "content"),
    [
        pytest.param("text", b"text", id="text stays as it is, without a newline"),
        pytest.param("", b"", id="nothing"),
        pytest.param("a\nb\n", b"a\nb\n", id="lines"),
        pytest.param("caf\u00e9", b"caf\xc3\xa9", id="an accent is UTF-8"),
        pytest.param("True", b"True", id="a text that looks like a truth value"),
        pytest.param(7, b"7", id="a number"),
        pytest.param(0, b"0", id="zero"),
        pytest.param(True, b"true", id="true as Tekton's `when` compares it"),
        pytest.param(False, b"false", id="false"),
    ],
)
def test_a_result_is_its_text(tmp_path: Path, value: str | int | bool, content: bytes) -> None:
    results.write(tmp_path / "result", value)
    assert (tmp_path / "result").read_bytes() == content


def test_a_result_replaces_a_longer_one(tmp_path: Path) -> None:
    for value in ("longer", "new"):
        results.write(tmp_path / "result", value)
    assert (tmp_path / "result").read_bytes() == b"new"


def test_a_result_that_nobody_asked_for_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results.write(None, "text")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "said"),
    [
        pytest.param("missing/result", "No such file or directory", id="a directory that is not there"),
        pytest.param("directory", "Is a directory", id="a directory"),
        pytest.param("file/result", "Not a directory", id="a file in place of a directory"),
    ],
)
def test_a_result_that_cannot_be_written_is_for_the_operator_to_mend(tmp_path: Path, place: str, said: str) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(StepError) as error:
        results.write(tmp_path / place, "text")
    assert (error.value.reason, error.value.exit_code, str(error.value)) == (
        "result",
        1,
        f"cannot write the result {tmp_path / place}: {said}; give a file in a directory that is there",
    )


def test_a_result_that_tekton_would_not_carry_is_refused(tmp_path: Path) -> None:
    results.write(tmp_path / "fits", "n" * 1024)
    with pytest.raises(StepError) as refusal:
        results.write(tmp_path / "context", "\u00e9" * 513)
    assert (refusal.value.reason, str(refusal.value)) == (
        "result",
        "the result context has over 1024 bytes; shorten what it is made of: " + "\u00e9" * 80 + "\u2026",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["fits"]
