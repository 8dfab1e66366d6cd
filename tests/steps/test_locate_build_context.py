import logging
import tarfile
from pathlib import Path

import pytest

from steps import command_line
from steps.core.build_context import Destination, PushedImage, SourcePath
from steps.locate_build_context import locate_build_context
from steps.prepare_build_context import prepare_build_context

RESULTS = ("context", "dockerfile", "image-url")


def locate(tmp_path: Path, *flags: str) -> tuple[int, list[str]]:
    """Run the step as a command: its exit code and, when that is 0, its results."""
    paths = [tmp_path / name for name in RESULTS]
    argv = [*flags, *(f"--{path.name}-result={path}" for path in paths)]
    code = command_line.main(locate_build_context, ["--image=registry/web:v1", *argv])
    return code, [path.read_text(encoding="utf-8") for path in paths if path.exists()]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tree with a Dockerfile at the top, one in each of two services, and an archive."""
    root = tmp_path / "source"
    for name in ("Dockerfile", "web/Dockerfile", "api/build/api.Dockerfile"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("FROM scratch\n")
    with tarfile.open(root / "web.tar.gz", "w:gz") as archive:
        archive.add(root / "web/Dockerfile", "build/Dockerfile")
    return root


@pytest.mark.parametrize(
    ("flags", "results"),
    [
        pytest.param([], ["dir://{source}", "{source}/Dockerfile"], id="the source directory by default"),
        pytest.param(
            ["--context=./", "--dockerfile=./Dockerfile"],
            ["dir://{source}", "{source}/Dockerfile"],
            id="the defaults of the catalog's kaniko",
        ),
        pytest.param(
            ["--context=web", "--dockerfile=web/Dockerfile"],
            ["dir://{source}/web", "{source}/web/Dockerfile"],
            id="a directory and a Dockerfile relative to the source",
        ),
        pytest.param(
            ["--context=api", "--dockerfile=build/api.Dockerfile"],
            ["dir://{source}/api", "{source}/api/build/api.Dockerfile"],
            id="a Dockerfile relative to the context",
        ),
        pytest.param(
            ["--context=web"],
            ["dir://{source}/web", "{source}/Dockerfile"],
            id="a Dockerfile at both places, of which Kaniko takes the source's",
        ),
        pytest.param(
            ["--context=dir://{source}/web"], ["dir://{source}/web", "{source}/Dockerfile"], id="an absolute directory"
        ),
        pytest.param(
            ["--context=tar://web.tar.gz", "--dockerfile=build/Dockerfile"],
            ["tar://{source}/web.tar.gz", "build/Dockerfile"],
            id="an archive",
        ),
    ],
)
def test_a_context_in_the_source_directory_is_found(
    tmp_path: Path, source: Path, flags: list[str], results: list[str]
) -> None:
    given = [flag.format(source=source) for flag in flags]
    expected = [result.format(source=source) for result in results]
    assert locate(tmp_path, f"--source-dir={source}", *given) == (0, [*expected, "registry/web:v1"])


@pytest.mark.parametrize(
    "context", ["gs://contexts/web/0123.tar.gz", "s3://contexts/web.tar.gz", "https://host/web.tar.gz"]
)
def test_a_context_elsewhere_is_left_to_kaniko(tmp_path: Path, context: str) -> None:
    assert locate(tmp_path, f"--context={context}", "--source-dir=", "--dockerfile=.apps-cd/Dockerfile") == (
        0,
        [context, ".apps-cd/Dockerfile", "registry/web:v1"],
    )


def test_what_prepare_build_context_says_is_handed_over_as_it_is(tmp_path: Path, source: Path) -> None:
    (source / "web/.dockerignore").write_text("*.log\n")
    said = [tmp_path / "said-context", tmp_path / "said-dockerfile", tmp_path / "said-image"]
    prepare_build_context(
        source_dir=source,
        destination=Destination(str(source / "context.tar.gz")),
        context=SourcePath("web"),
        image=PushedImage.parse("registry/web:v1"),
        context_result=said[0],
        dockerfile_result=said[1],
        image_url_result=said[2],
    )
    results = [path.read_text() for path in said]
    assert locate(tmp_path, f"--source-dir={source}", f"--context={results[0]}", f"--dockerfile={results[1]}") == (
        0,
        results,
    )


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        pytest.param(
            ["--context=none"], 1, "there is no context 'none' in {source}", id="a directory that is not there"
        ),
        pytest.param(
            ["--context=web/Dockerfile"], 1, "the context 'web/Dockerfile' in {source} is not a directory", id="a file"
        ),
        pytest.param(
            ["--context=tar://web"], 1, "the context 'web' in {source} is not a file", id="a directory for an archive"
        ),
        pytest.param(
            ["--context=tar://Dockerfile"],
            1,
            "cannot read {source}/Dockerfile as tar.gz, which Kaniko wants: not a gzip file",
            id="an archive that is none",
        ),
        pytest.param(
            ["--context=tar://web.tar.gz"],
            1,
            "there is no Dockerfile 'Dockerfile' in the archive {source}/web.tar.gz",
            id="an archive without the Dockerfile",
        ),
        pytest.param(
            ["--context=web", "--dockerfile=none"],
            1,
            "there is no Dockerfile 'none' in {source}, nor in the context {source}/web",
            id="no Dockerfile",
        ),
        pytest.param(["--dockerfile=web"], 1, "the Dockerfile '{source}/web' in {source} is not a file", id="no file"),
        pytest.param(
            ["--context=../"],
            1,
            "the context '../' leads out of {source}, to {parent}; give one that is inside",
            id="a context above the source",
        ),
        pytest.param(
            ["--context=dir:///etc"],
            1,
            "the context '/etc' leads out of {source}, to /etc; give one that is inside",
            id="a context of the machine",
        ),
        pytest.param(
            ["--context=tar://out"],
            1,
            "the context 'out' leads out of {source}, to {parent}/secret; give one that is inside",
            id="an archive that is a symlink out",
        ),
        pytest.param(
            ["--source-dir=", "--context=web"],
            2,
            "--source-dir must be given for the context dir://web",
            id="a path without a source",
        ),
        pytest.param(
            ["--dockerfile=../Dockerfile"],
            2,
            "--dockerfile: '../Dockerfile' leads out of the repository\nTry --help.",
            id="a Dockerfile above the source",
        ),
        pytest.param(
            ["--context=gs://contexts"],
            2,
            "--context: 'gs://contexts': Kaniko cannot read an object of the name ''; write it in ASCII, without spaces "
            "and any of ?#%*[]\nTry --help.",
            id="a bucket without an object",
        ),
    ],
)
def test_a_context_that_does_not_fit_is_an_error(
    tmp_path: Path, source: Path, caplog: pytest.LogCaptureFixture, flags: list[str], code: int, message: str
) -> None:
    (source / "out").symlink_to(tmp_path / "secret")
    given = dict(flag.split("=", 1) for flag in [f"--source-dir={source}", *flags])
    with caplog.at_level(logging.INFO):
        outcome = locate(tmp_path, *(f"{name}={value}" for name, value in given.items()))
    assert (outcome, [record.getMessage() for record in caplog.records]) == (
        (code, []),
        [message.format(source=source, parent=tmp_path)],
    )
