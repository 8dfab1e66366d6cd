import json
import logging
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from steps import command_line
from steps.set_image import set_image
from tests.sandbox import go

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
    flags = [f"--changed-result={directory / 'changed'}"]
    if not any(argument.startswith("--kustomization-dir") for argument in arguments):
        flags.append(f"--kustomization-dir={directory}")
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
            ["--kustomization-dir=,", "--", "app:v2"],
            "there is no directory to edit: give at least one as --kustomization-dir=PATH",
            id="commas and no directory",
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


RESULTS = ("changed", "previous-image", "containers-changed", "verified")

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  template:
    spec:
      containers:
      - image: app
        name: app
      - image: envoy:v3
        name: proxy
"""
BASE = """\
resources: [deployment.yaml]   # all there is
images:
- name: app
  newName: r.io/app
  newTag: v1
"""
FILES = {
    "web/base/kustomization.yaml": BASE,
    "web/base/deployment.yaml": DEPLOYMENT,
    "web/prod/kustomization.yaml": "resources: [../base]\nnamePrefix: prod-\n",
}
REFERENCE = f"app=r.io/app:v2@{DIGEST}"
BASE_AFTER = BASE.replace("newTag: v1", f"newTag: v2\n  digest: {DIGEST}")


class Repository:
    """Files in `repository`, a step that edits `web/base` there and verifies it by the real kustomize, and what it tells."""

    def __init__(self, root: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.root, self.path = root, root / "repository"
        self._caplog = caplog
        caplog.set_level(logging.INFO)
        self.write(FILES)

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_text(text)

    def arguments(self, *flags: str, images: tuple[str, ...] = (REFERENCE,)) -> list[str]:
        results = [f"--{name}-result={self.root / name}" for name in RESULTS]
        given = {flag.partition("=")[0] for flag in flags}
        default = [] if "--kustomization-dir" in given else ["--kustomization-dir=web/base"]
        return [f"--repo-dir={self.path}", "--verify", *default, *results, *flags, "--", *images]

    def run(self, *flags: str, images: tuple[str, ...] = (REFERENCE,)) -> int:
        self._caplog.clear()
        return command_line.main(set_image, self.arguments(*flags, images=images))

    @property
    def told(self) -> list[str]:
        return [
            f"{getattr(record, 'reason', record.levelname.lower())}: {record.getMessage()}".replace(f"{self.root}/", "")
            for record in self._caplog.records
            if record.name == "steps.set_image"
        ]

    @property
    def results(self) -> dict[str, str]:
        return {name: (self.root / name).read_text() for name in RESULTS if (self.root / name).exists()}

    @property
    def files(self) -> dict[str, str]:
        return {
            path.relative_to(self.path).as_posix(): path.read_text() for path in self.path.rglob("*") if path.is_file()
        }


@pytest.fixture
def repository(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.setenv("PATH", f"{go.program('kustomize').parent}:{os.environ['PATH']}")
    return Repository(tmp_path, caplog)


def test_the_manifests_are_rendered_before_and_after_and_the_difference_is_told(repository: Repository) -> None:
    assert repository.run("--also-verify=web/prod", f"--rendered-diff={repository.root / 'diff'}") == 0
    assert repository.files == {**FILES, "web/base/kustomization.yaml": BASE_AFTER}
    assert repository.results == {
        "changed": "true",
        "previous-image": "r.io/app:v1",
        "containers-changed": "1",
        "verified": "rendered",
    }
    assert repository.told == [
        f"info: repository/web/base/kustomization.yaml: app: r.io/app:v1 -> r.io/app:v2@{DIGEST}",
        "info: web/base: another image in 1 container",
        "info: web/prod: another image in 1 container",
    ]
    assert (repository.root / "diff").read_text() == dedent(
        f"""\
        --- web/base: Deployment web
        +++ web/base: Deployment web
        @@ -9 +9 @@ spec.template.spec.containers[app].image
        -      - image: r.io/app:v1
        +      - image: r.io/app:v2@{DIGEST}
        --- web/prod: Deployment prod-web
        +++ web/prod: Deployment prod-web
        @@ -9 +9 @@ spec.template.spec.containers[app].image
        -      - image: r.io/app:v1
        +      - image: r.io/app:v2@{DIGEST}
        """
    )


def test_a_second_pass_writes_nothing_and_changes_no_container(repository: Repository) -> None:
    diff = repository.root / "diff"
    assert repository.run() == 0
    assert repository.run(f"--rendered-diff={diff}", "--also-verify=web/prod") == 0
    assert repository.results == {
        "changed": "false",
        "previous-image": f"r.io/app:v2@{DIGEST}",
        "containers-changed": "0",
        "verified": "rendered",
    }
    assert diff.read_text() == ""
    assert repository.told == [
        "info: repository/web/base/kustomization.yaml has it all already: nothing changed",
        "info: web/base: another image in 0 containers",
        "info: web/prod: another image in 0 containers",
    ]


def test_another_way_to_write_the_same_reference_changes_no_container(repository: Repository) -> None:
    assert repository.run() == 0
    assert repository.run("--digest-style=inline") == 0
    assert repository.files["web/base/kustomization.yaml"] == BASE.replace("newTag: v1", f"newTag: v2@{DIGEST}")
    assert (repository.results["changed"], repository.results["containers-changed"]) == ("true", "0")


def test_an_image_that_nothing_has_is_an_error_that_names_the_nearest(repository: Repository) -> None:
    assert repository.run(images=("team/app:v2", "envoy:v4")) == 1
    assert repository.files == FILES
    assert repository.results == {}
    (told,) = repository.told
    assert told == (
        "no-such-image: nothing was changed: web/base: nothing has the image team/app, so that an entry for it would do nothing;"
        " the nearest there are r.io/app, envoy"
    )


def test_an_edit_that_changes_more_than_images_is_undone(repository: Repository) -> None:
    replacement = "source: {kind: Deployment, fieldPath: spec.template.spec.containers.0.image, options: {delimiter: ':', index: 1}}"
    repository.write(
        {
            "web/base/kustomization.yaml": BASE + "replacements:\n- path: tag.yaml\n",
            "web/base/tag.yaml": f"{replacement}\ntargets:\n- select: {{kind: Deployment}}\n"
            "  fieldPaths: [metadata.labels.version]\n  options: {create: true}\n",
        }
    )
    before = repository.files
    assert repository.run(images=("app=r.io/app:v2",)) == 1
    assert repository.files == before
    (told,) = repository.told
    assert told == (
        "unproven: nothing was changed: web/base: Deployment web: metadata.labels.version becomes 'v2' in place of 'v1', and not"
        " an image that is to become r.io/app:v2: see what else of the package depends on that image, or do without --verify"
    )


def test_an_overlay_that_the_edit_breaks_undoes_it(repository: Repository) -> None:
    overlay = "resources: [../base]\nimages:\n- name: r.io/app\n  newName: other/thing\n  newTag: v9\n- name: r.io/new\n  newTag: v7\n"
    repository.write({"web/prod/kustomization.yaml": overlay})
    assert repository.run("--also-verify=web/prod", images=("app=r.io/new:v2",)) == 1
    assert repository.files == {**FILES, "web/prod/kustomization.yaml": overlay}
    (told,) = repository.told
    assert told == (
        "unproven: nothing was changed: web/prod: Deployment web: spec.template.spec.containers[app].image becomes"
        " 'r.io/new:v7' in place of 'other/thing:v9', and not an image that is to become r.io/new:v2: see what else of the"
        " package depends on that image, or do without --verify"
    )


def test_an_overlay_with_an_image_of_its_own_is_told_of(repository: Repository) -> None:
    overlay = "resources: [../base]\nimages:\n- name: r.io/app\n  newTag: v9\n"
    repository.write({"web/prod/kustomization.yaml": overlay})
    assert repository.run("--also-verify=web/prod") == 0
    assert repository.results["containers-changed"] == "1"
    assert repository.told[2:] == [
        "info: web/prod: another image in 0 containers",
        "warning: web/prod includes nothing that was edited, or has those images by itself",
    ]


def test_a_package_that_wants_a_server_is_edited_and_says_that_it_is_not_rendered(repository: Repository) -> None:
    remote = BASE.replace("[deployment.yaml]", "[deployment.yaml, 'https://example.com/more.yaml']")
    repository.write({"web/base/kustomization.yaml": remote})
    why = "line 1 of kustomization.yaml brings in https://example.com/more.yaml, which is not fetched"
    assert repository.run(f"--rendered-diff={repository.root / 'diff'}") == 0
    assert repository.files["web/base/kustomization.yaml"] == remote.replace(
        "newTag: v1", f"newTag: v2\n  digest: {DIGEST}"
    )
    assert repository.results == {
        "changed": "true",
        "previous-image": "r.io/app:v1",
        "containers-changed": "0",
        "verified": "kustomization",
    }
    assert repository.told[1:] == [f"warning: web/base is not rendered: {why}"]
    assert (repository.root / "diff").read_text() == "web/base is not rendered: the log of set-image says why.\n"


def test_an_edit_that_kustomize_refuses_is_undone(repository: Repository) -> None:
    source = "{kind: Deployment, fieldPath: spec.template.spec.containers.0.image, options: {delimiter: ':', index: 2}}"
    repository.write(
        {
            "web/base/kustomization.yaml": BASE.replace("v1", f"v1@{DIGEST}") + "replacements:\n- path: tag.yaml\n",
            "web/base/tag.yaml": f"source: {source}\ntargets:\n- select: {{kind: Deployment}}\n"
            "  fieldPaths: [metadata.labels.version]\n  options: {create: true}\n",
        }
    )
    before = repository.files
    assert repository.run(images=("app=r.io/app:v2",)) == 1
    assert repository.files == before
    (told,) = repository.told
    assert told.startswith(
        "unproven: nothing was changed: web/base cannot be rendered with the new image: kustomize says: "
    )


def test_a_directory_that_is_given_twice_is_one(repository: Repository) -> None:
    assert repository.run("--kustomization-dir=web/base,web/../web/base") == 0
    assert repository.results["containers-changed"] == "1"


def test_what_was_no_reference_is_no_result(repository: Repository) -> None:
    repository.write({"web/base/kustomization.yaml": BASE.replace("newTag: v1", "newTag: <TAG>")})
    assert repository.run() == 0
    assert (repository.results["previous-image"], repository.results["containers-changed"]) == ("", "1")


def test_what_is_included_from_out_of_the_repository_is_not_rendered(repository: Repository) -> None:
    (repository.root / "outside").mkdir()
    (repository.root / "outside" / "kustomization.yaml").write_text("resources: []\n")
    repository.write({"web/base/kustomization.yaml": BASE.replace("[deployment.yaml]", "[../../../outside]")})
    assert repository.run() == 0
    assert repository.results["verified"] == "kustomization"
    (told,) = repository.told[1:]
    assert told == (
        "warning: web/base is not rendered: line 1 of kustomization.yaml brings in ../../../outside, which leads out of the"
        " repository"
    )


COMPONENT = "kind: Component\npatches:\n- path: patch.yaml\nimages:\n- name: app\n  newName: r.io/app\n  newTag: v1\n"
INCLUDING = {
    "web/base/kustomization.yaml": "resources: [deployment.yaml]\ncomponents: [../shared]\n",
    "web/shared/kustomization.yaml": COMPONENT,
    "web/shared/patch.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  replicas: 2\n",
}


def test_a_component_is_proven_by_what_includes_it(repository: Repository) -> None:
    repository.write(INCLUDING)
    assert repository.run("--kustomization-dir=web/shared", "--also-verify=web/base", images=("app=r.io/app:v2",)) == 0
    assert repository.files["web/shared/kustomization.yaml"] == COMPONENT.replace("v1", "v2")
    assert (repository.results["containers-changed"], repository.results["verified"]) == ("1", "rendered")


def test_a_component_alone_is_not_rendered_and_one_that_changes_nothing_stays(repository: Repository) -> None:
    repository.write(INCLUDING)
    own = "--kustomization-dir=web/shared"
    assert repository.run(own, "--also-verify=web/base", images=("other:v2",)) == 1
    assert repository.files == {**FILES, **INCLUDING}
    (told,) = repository.told
    assert told == (
        "no-such-image: nothing was changed: web/shared: nothing has the image other, so that an entry for it would do"
        " nothing; the nearest there are envoy, r.io/app"
    )
    assert repository.run(own, images=("other:v2",)) == 0
    assert repository.results["verified"] == "kustomization"
    assert repository.told[-1] == (
        "warning: web/shared is not rendered: it has no resources of its own; name what includes it by --also-verify"
    )


def test_several_directories_are_edited_in_one_go_or_none_is(repository: Repository) -> None:
    other = {f"jobs/{name}": FILES[f"web/base/{name}"] for name in ("kustomization.yaml", "deployment.yaml")}
    repository.write(other)
    both = "--kustomization-dir=web/base,jobs"
    before = repository.files
    repository.write({"jobs/deployment.yaml": DEPLOYMENT.replace("image: app", "image: none")})
    assert repository.run(both) == 1
    assert repository.files == {**before, "jobs/deployment.yaml": DEPLOYMENT.replace("image: app", "image: none")}
    repository.write(other)
    assert repository.run(both) == 0
    assert repository.files == {
        **before,
        "web/base/kustomization.yaml": BASE_AFTER,
        "jobs/kustomization.yaml": BASE_AFTER,
    }
    assert repository.results["containers-changed"] == "2"


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        pytest.param(
            "--kustomization-dir=../outside",
            "outside: finding repository/../outside: it leads to outside, out of repository; give a path within it",
            id="a directory above the repository",
        ),
        pytest.param(
            "--also-verify=link",
            "outside: finding repository/link: it leads to outside, out of repository; give a path within it",
            id="a link that leads out",
        ),
        pytest.param(
            "--also-verify=web",
            "not-found: finding the kustomization of repository/web: there is none of kustomization.yaml, kustomization.yml,"
            " Kustomization; check the path",
            id="a directory without a kustomization",
        ),
    ],
)
def test_a_directory_that_is_none_of_the_repositorys_is_refused_before_anything_is_written(
    flag: str, message: str, repository: Repository
) -> None:
    (repository.root / "outside").mkdir()
    (repository.root / "outside" / "kustomization.yaml").write_text(BASE)
    (repository.path / "link").symlink_to("../outside")
    assert repository.run(flag) == 1
    assert repository.told == [message]
    assert repository.files["web/base/kustomization.yaml"] == BASE


def test_a_step_that_is_ended_while_it_renders_leaves_the_file_as_it_was(repository: Repository) -> None:
    """A kustomize that renders the first time, and the second time says so and does not end."""
    bin_directory, ready = repository.root / "bin", repository.root / "ready"
    bin_directory.mkdir()
    os.mkfifo(ready)
    (bin_directory / "kustomize").write_text(
        f"#!/bin/sh\n[ -e {repository.root}/once ] || {{ : > {repository.root}/once; exit 0; }}\n"
        f"echo $$ > {ready}\nexec /bin/sleep 600\n"
    )
    (bin_directory / "kustomize").chmod(0o755)
    environment = {**os.environ, "PATH": f"{bin_directory}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "steps.set_image", *repository.arguments()]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL) as step:
        child = ready.read_text().strip()
        assert repository.files["web/base/kustomization.yaml"] == BASE_AFTER
        step.send_signal(signal.SIGTERM)
        assert step.wait(20) == 143
    assert repository.files == FILES
    deadline = time.monotonic() + 20
    while Path("/proc", child).exists() and time.monotonic() < deadline:
        os.sched_yield()
    assert not Path("/proc", child).exists()
