import json
import logging
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from steps import command_line
from steps.set_image import set_image

ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + "a" * 64

BEFORE = """\
# Deployed by hand once.
resources:
  - deployment.yaml
images:
  - name: app   # ours
    newName: registry.example.com/app
    newTag: v1
  - name: proxy
    newTag: v7
"""

AFTER = f"""\
# Deployed by hand once.
resources:
  - deployment.yaml
images:
  - name: app   # ours
    newName: registry.example.com/app
    newTag: v2
    digest: {DIGEST}
  - name: proxy
    newTag: v7
"""

ARGUMENT = f"app=registry.example.com/app:v2@{DIGEST}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "kustomization.yaml"
    path.write_text(BEFORE, encoding="utf-8")
    return path


def run(directory: Path, *arguments: str) -> int:
    """The exit code of the step, with the result in the directory's `changed`."""
    flags = [f"--kustomization-dir={directory}", f"--changed-result={directory / 'changed'}"]
    return command_line.main(set_image, [*flags, *arguments])


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        f"{getattr(record, 'reason', record.levelname.lower())}: {record.getMessage()}" for record in caplog.records
    ]


def test_an_image_is_set_and_the_log_says_from_what_to_what(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    file.chmod(0o640)
    assert run(file.parent, "--", ARGUMENT, "db=mysql:8") == 0
    assert file.read_text() == AFTER + '  - name: db\n    newName: mysql\n    newTag: "8"\n'
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert (file.parent / "changed").read_bytes() == b"true"
    assert sorted(path.name for path in file.parent.iterdir()) == ["changed", "kustomization.yaml"]
    assert told(caplog) == [
        f"info: {file}: app: registry.example.com/app:v1 -> registry.example.com/app:v2@{DIGEST}",
        f"info: {file}: db: no entry -> mysql:8",
        f"warning: {file}: an entry for db was made; without an image of that name it has no effect",
    ]


def test_a_second_pass_writes_nothing(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert run(file.parent, "--", ARGUMENT) == 0
    first = file.stat()
    caplog.set_level(logging.INFO)
    assert run(file.parent, "--", ARGUMENT) == 0
    second = file.stat()
    assert (second.st_ino, second.st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    assert (file.parent / "changed").read_bytes() == b"false"
    assert told(caplog) == [f"info: {file} has it all already: nothing changed"]


@pytest.mark.parametrize(
    ("style", "slots"),
    [
        ("", f"newTag: v2\n    digest: {DIGEST}"),
        ("both", f"newTag: v2\n    digest: {DIGEST}"),
        ("inline", f"newTag: v2@{DIGEST}"),
        ("digest", f"digest: {DIGEST}"),
    ],
)
def test_the_digest_style_is_a_flag(style: str, slots: str, file: Path) -> None:
    assert run(file.parent, f"--digest-style={style}", "--", ARGUMENT) == 0
    assert file.read_text() == BEFORE.replace("newTag: v1", slots)


@pytest.mark.parametrize("name", ["kustomization.yml", "Kustomization"])
def test_a_component_is_edited_under_each_name_of_the_file(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("kind: Component\nimages:\n- name: app\n  newTag: v1\n")
    assert run(tmp_path, "--", "app:v2") == 0
    assert (tmp_path / name).read_text() == "kind: Component\nimages:\n- name: app\n  newTag: v2\n"


def test_a_link_within_the_repository_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "base.yaml").write_text(BEFORE)
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "kustomization.yaml").symlink_to("../base.yaml")
    assert run(tmp_path / "app", "--", ARGUMENT) == 0
    assert (tmp_path / "app" / "kustomization.yaml").readlink() == Path("../base.yaml")
    assert (tmp_path / "base.yaml").read_text() == AFTER


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            BEFORE + "---\n",
            "several-documents: {} stays as it was: line 10: a second document begins: keep one in the file",
            id="two documents",
        ),
        pytest.param(
            BEFORE + "  - name: app\n",
            "duplicate: {} stays as it was: line 10: app has an entry in line 5 already: keep one of the two",
            id="two entries",
        ),
        pytest.param(
            BEFORE + "#" * (1 << 20),
            "too-large: {} stays as it was: line 1: the file has more than 1048576 bytes: is it a kustomization?",
            id="too much",
        ),
    ],
)
def test_what_cannot_be_edited_stays_as_it_was(
    content: str, message: str, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(content)
    before = file.stat()
    assert run(file.parent, "--", ARGUMENT, "new:v1") == 1
    after = file.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert file.read_text() == content
    assert [path.name for path in file.parent.iterdir()] == ["kustomization.yaml"]
    assert told(caplog) == [message.format(file)]


def test_a_directory_with_two_kustomizations_is_refused(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.with_name("Kustomization").write_text(BEFORE)
    assert run(file.parent, "--", ARGUMENT) == 1
    assert told(caplog) == [
        f"ambiguous: finding the kustomization of {file.parent}: there are kustomization.yaml and Kustomization; keep one of them"
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            [],
            "there is no image to set: give at least one, such as `-- app=registry.example.com/app:v2`",
            id="no image",
        ),
        pytest.param(
            ["--", "app:v2", "proxy="],
            "images[1]: 'proxy=' has no image after `=`: write NAME=*:TAG to keep it, NAME:TAG to have none\nTry --help.",
            id="a name and nothing to set",
        ),
        pytest.param(
            ["--digest-style=neither", "--", "app:v2"],
            "--digest-style: 'neither' is not one of both, inline, digest\nTry --help.",
            id="a style that is none",
        ),
    ],
)
def test_a_wrong_command_line_ends_before_anything_is_read(
    arguments: list[str], message: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(tmp_path / "not-there", *arguments) == 2
    assert told(caplog) == [f"usage: {message}"]


def test_the_step_runs_as_a_program(file: Path) -> None:
    flags = [f"--kustomization-dir={file.parent}", "--changed-result=", "--digest-style="]
    command = [sys.executable, "-m", "steps.set_image", *flags, "--", ARGUMENT, "--odd"]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, text=True)
    assert (refused.returncode, refused.stdout, file.read_text()) == (2, "", BEFORE)
    done = subprocess.run(command[:-1], cwd=ROOT, capture_output=True, check=False, text=True)
    assert (done.returncode, done.stdout, file.read_text()) == (0, "", AFTER)
    assert [json.loads(line)["level"] for line in done.stderr.splitlines()] == ["info"]
