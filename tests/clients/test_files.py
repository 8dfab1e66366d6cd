import itertools
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from steps.clients.files import find_kustomization, read, replace
from steps.errors import StepError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """An empty repository, beside which there is room for what is not part of it."""
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    return tmp_path / "repository"


@pytest.mark.parametrize("name", ["kustomization.yaml", "kustomization.yml", "Kustomization"])
def test_a_kustomization_is_found_by_each_of_its_names(name: str, tmp_path: Path) -> None:
    (tmp_path / "deployment.yaml").write_text("")
    (tmp_path / name).write_text("")
    assert find_kustomization(tmp_path) == tmp_path / name


def test_a_link_within_the_repository_is_followed(repository: Path) -> None:
    (repository / "base").mkdir()
    (repository / "app").mkdir()
    (repository / "base" / "kustomization.yaml").write_text("")
    (repository / "app" / "kustomization.yaml").symlink_to("../base/kustomization.yaml")
    assert find_kustomization(repository / "app") == repository / "base" / "kustomization.yaml"


def test_a_directory_may_be_a_link_within_the_repository(repository: Path) -> None:
    (repository / "base").mkdir()
    (repository / "base" / "kustomization.yaml").write_text("")
    (repository / "app").symlink_to("base")
    assert find_kustomization(repository / "app") == repository / "app" / "kustomization.yaml"


def test_the_way_to_the_repository_may_lead_over_a_link(repository: Path) -> None:
    (repository / "kustomization.yaml").write_text("")
    (repository.parent / "link").symlink_to(repository)
    assert find_kustomization(repository.parent / "link") == repository.parent / "link" / "kustomization.yaml"


def test_in_a_submodule_a_file_is_found(repository: Path) -> None:
    (repository / "module").mkdir()
    (repository / "module" / ".git").write_text("gitdir: ../.git/modules/module\n")
    (repository / "module" / "kustomization.yaml").write_text("")
    assert find_kustomization(repository / "module") == repository / "module" / "kustomization.yaml"


def nothing(directory: Path) -> None:
    pass


def two(directory: Path) -> None:
    (directory / "kustomization.yaml").write_text("")
    (directory / "Kustomization").write_text("")


def a_directory(directory: Path) -> None:
    (directory / "kustomization.yaml").mkdir()


def a_pipe(directory: Path) -> None:
    os.mkfifo(directory / "kustomization.yaml")


def a_link_to_nothing(directory: Path) -> None:
    (directory / "kustomization.yaml").symlink_to("nothing.yaml")


def a_link_to_itself(directory: Path) -> None:
    (directory / "kustomization.yaml").symlink_to("kustomization.yaml")


def a_link_out_of_the_repository(directory: Path) -> None:
    (directory.parent.parent / "secret.yaml").write_text("")
    (directory / "kustomization.yaml").symlink_to("../../secret.yaml")


def a_directory_that_leads_out_of_the_repository(directory: Path) -> None:
    directory.rmdir()
    other = directory.parent.parent / "other"
    (other / ".git").mkdir(parents=True)
    (other / "kustomization.yaml").write_text("")
    directory.symlink_to(other)


def no_directory(directory: Path) -> None:
    directory.rmdir()


def a_file_for_a_directory(directory: Path) -> None:
    directory.rmdir()
    directory.write_text("")


NOT_FOUND: list[tuple[Callable[[Path], None], str, str]] = [
    (
        nothing,
        "not-found",
        "there is none of kustomization.yaml, kustomization.yml, Kustomization; check the path",
    ),
    (two, "ambiguous", "there are kustomization.yaml and Kustomization; keep one of them"),
    (a_directory, "not-found", "{app}/kustomization.yaml is not a file; put the kustomization there"),
    (a_pipe, "not-found", "{app}/kustomization.yaml is not a file; put the kustomization there"),
    (a_link_to_nothing, "not-found", "No such file or directory ({app}/nothing.yaml); check the path"),
    (
        a_link_to_itself,
        "not-found",
        "Too many levels of symbolic links ({app}/kustomization.yaml); mend the symbolic links",
    ),
    (
        a_link_out_of_the_repository,
        "outside",
        "{app}/kustomization.yaml leads to {outside}/secret.yaml, out of {outside}/repository; give a path within it",
    ),
    (
        a_directory_that_leads_out_of_the_repository,
        "outside",
        "{app}/kustomization.yaml leads to {outside}/other/kustomization.yaml, out of {outside}/repository; give a path within it",
    ),
    (no_directory, "not-found", "No such file or directory ({app}); check the path"),
    (a_file_for_a_directory, "not-found", "this is not a directory; give the one that holds the file"),
]


@pytest.mark.parametrize(
    ("make", "reason", "message"), NOT_FOUND, ids=[make.__name__.replace("_", " ") for make, _, _ in NOT_FOUND]
)
def test_what_is_no_kustomization_of_the_repository_is_refused(
    make: Callable[[Path], None], reason: str, message: str, repository: Path
) -> None:
    app = repository / "app"
    app.mkdir()
    make(app)
    with pytest.raises(StepError) as refusal:
        find_kustomization(app)
    told = message.format(app=app, outside=repository.parent)
    assert (refusal.value.reason, str(refusal.value)) == (reason, f"finding the kustomization of {app}: {told}")


def test_without_a_repository_a_link_out_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "kustomization.yaml").write_text("")
    (tmp_path / "app" / "kustomization.yaml").symlink_to("../kustomization.yaml")
    with pytest.raises(StepError) as refusal:
        find_kustomization(tmp_path / "app")
    assert refusal.value.reason == "outside"


@pytest.mark.parametrize(("size", "limit", "length"), [(3, 3, 3), (4, 3, 4), (5, 3, 4)])
def test_reading_ends_one_byte_behind_the_limit(size: int, limit: int, length: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * size)
    assert read(tmp_path / "file", limit) == b"x" * length


def test_reading_what_is_not_there_names_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(StepError) as refusal:
        read(path, 1)
    assert str(refusal.value) == f"reading {path}: No such file or directory ({path}); check the path"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755, 0o664])
def test_a_file_is_replaced_with_its_mode_and_nothing_else_is_left(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(mode)
    replace(path, b"new\r\n\xff")
    assert path.read_bytes() == b"new\r\n\xff"
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_link_to_a_file_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("directory/file")
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory" / "file").write_bytes(b"old")
    replace(tmp_path / "link", b"new")
    assert (tmp_path / "link").readlink() == Path("directory/file")
    assert (tmp_path / "directory" / "file").read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["directory", "file", "link"]


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(StepError) as refusal:
        replace(path, b"new")
    assert str(refusal.value) == f"writing {path}: No such file or directory ({path}); check the path"
    assert list(tmp_path.iterdir()) == []


CHILD = """
import resource, signal, sys
from pathlib import Path
from steps.clients.files import replace
from steps.errors import StepError

def full(path):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        replace(path, b"new" * 1000)
    except StepError as error:
        print(error.reason, error)

def endless(path):
    while True:
        for text in (b"a", b"b"):
            replace(path, text * 100_000)
            print(flush=True)

globals()[sys.argv[1]](Path(sys.argv[2]))
"""


def test_when_there_is_no_room_the_old_file_stays_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    child = [sys.executable, "-c", CHILD, "full", os.fspath(path)]
    out = subprocess.run(child, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    assert out == f"input-output writing {path}: File too large; see what the system says\n"
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("file", b"old")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    tmp_path.chmod(0o555)
    with pytest.raises(StepError) as refusal:
        replace(path, b"new")
    tmp_path.chmod(0o755)
    assert refusal.value.reason == "permission"
    assert str(refusal.value).startswith(f"writing {path}: Permission denied ({tmp_path}/.file.")
    assert str(refusal.value).endswith("); run this as a user who may, or change the mode")
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("file", b"old")]


def test_a_kill_at_any_moment_leaves_the_old_or_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * 100_000)
    for lines in (1, 2, 3, 5, 8):
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, "endless", os.fspath(path)], cwd=ROOT, stdout=subprocess.PIPE
        ) as child:
            assert child.stdout
            assert len(list(itertools.islice(child.stdout, lines))) == lines
            child.kill()
        assert path.read_bytes() in (b"a" * 100_000, b"b" * 100_000)
