import gzip
import io
import random
import resource
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from steps.clients import archive
from steps.core.build_context import IgnoreRules, Selection
from steps.errors import StepError

EVERYTHING = Selection(IgnoreRules(), keep_git_dir=True, archive=None)


def pack(directory: Path, *, extra: Mapping[str, bytes] | None = None, **options: Any) -> bytes:
    output = io.BytesIO()
    archive.pack(directory, EVERYTHING, extra or {}, output, **options)
    return output.getvalue()


def headers(content: bytes) -> list[tuple[object, ...]]:
    with tarfile.open(fileobj=io.BytesIO(content)) as opened:
        return [(m.name, m.type, m.mode, m.size, m.linkname, m.mtime, m.uid, m.gid, m.uname, m.gname) for m in opened]


def contents(content: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(content)) as opened:
        return {m.name: file.read() for m in opened if m.isreg() and (file := opened.extractfile(m))}


def test_an_archive_holds_names_kinds_and_modes_and_nothing_of_its_maker(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir(mode=0o700)
    (tmp_path / "bin/run").write_bytes(b"#!")
    (tmp_path / "bin/run").chmod(0o4700)
    (tmp_path / "bin-1").write_bytes(b"")
    (tmp_path / "bin-1").chmod(0o666)
    (tmp_path / "bin.txt").hardlink_to(tmp_path / "bin/run")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("bin/run")
    made = (315532800, 0, 0, "", "")
    assert headers(pack(tmp_path)) == [
        ("bin", tarfile.DIRTYPE, 0o755, 0, "", *made),
        ("bin-1", tarfile.REGTYPE, 0o644, 0, "", *made),
        ("bin.txt", tarfile.REGTYPE, 0o755, 2, "", *made),
        ("bin/run", tarfile.REGTYPE, 0o755, 2, "", *made),
        ("empty", tarfile.DIRTYPE, 0o755, 0, "", *made),
        ("link", tarfile.SYMTYPE, 0o777, 0, "bin/run", *made),
    ]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("n" * 100, id="as long as a header holds"),
        pytest.param("n" * 101, id="one longer"),
        pytest.param("/".join(["d" * 90] * 11), id="a path of a thousand bytes"),
        pytest.param("日本" * 17, id="not ASCII, and longer in bytes than in letters"),
        pytest.param("a b\n\t'\"\\*", id="signs that a shell or a terminal minds"),
    ],
)
def test_a_name_comes_back_as_it_was(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    assert contents(pack(tmp_path)) == {name: b"x"}


def test_a_long_target_of_a_symlink_comes_back_as_it_was(tmp_path: Path) -> None:
    target = "/".join(["nowhere"] * 20)
    (tmp_path / "link").symlink_to(target)
    assert [header[4] for header in headers(pack(tmp_path))] == [target]


def test_added_files_stand_in_their_order(tmp_path: Path) -> None:
    for name in ("#first", "last"):
        (tmp_path / name).write_bytes(name.encode())
    packed = pack(tmp_path, extra={".apps-cd/b": b"B" * 513, ".apps-cd/a": b"A"})
    assert list(contents(packed).items()) == [
        ("#first", b"#first"),
        (".apps-cd/a", b"A"),
        (".apps-cd/b", b"B" * 513),
        ("last", b"last"),
    ]


def fill(directory: Path) -> dict[str, bytes]:
    """Files whose ends lie on, before and after the ends of blocks and pieces."""
    generator = random.Random(7)  # noqa: S311 - bytes that are not all alike
    sizes = [0, 1, 511, 512, 513, archive.PIECE - 512, archive.PIECE - 1, archive.PIECE, 3 * archive.PIECE + 5]
    files = {f"{number}-{size}": generator.randbytes(size) for number, size in enumerate(sizes)}
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return files


def test_files_of_all_sizes_come_back_as_they_were(tmp_path: Path) -> None:
    files = fill(tmp_path)
    assert contents(pack(tmp_path)) == files


def test_the_bytes_do_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    fill(tmp_path)
    assert len({pack(tmp_path, threads=threads) for threads in (1, 2, 5)}) == 1


def test_tar_and_gzip_of_the_system_read_it(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    fill(source)
    (tmp_path / "a.tar.gz").write_bytes(pack(source))
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["gzip", "-t", tmp_path / "a.tar.gz"], check=True)
    subprocess.run(["tar", "-C", tmp_path / "unpacked", "-xzf", tmp_path / "a.tar.gz"], check=True)
    assert subprocess.run(["diff", "-r", source, tmp_path / "unpacked"], check=False).returncode == 0


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize(
    ("change", "reason", "message"),
    [
        pytest.param(
            lambda path: path.write_bytes(b""),
            "changed",
            "big in the context was changed while it was read; run again",
            id="it shrinks",
        ),
        pytest.param(
            grow,
            "changed",
            "big in the context was changed while it was read; run again",
            id="it grows",
        ),
        pytest.param(
            lambda path: path.with_name("small").unlink(),
            "unreadable",
            "cannot read small in the context: No such file or directory",
            id="the next one is gone",
        ),
        pytest.param(
            lambda path: path.with_name("small").unlink() or path.with_name("small").symlink_to("/etc/passwd"),
            "unreadable",
            "cannot read small in the context: Too many levels of symbolic links",
            id="the next one becomes a symlink",
        ),
        pytest.param(
            lambda path: path.with_name("sub").rename(path.with_name("was")) and path.with_name("sub").symlink_to("/"),
            "unreadable",
            "cannot read sub in the context: Not a directory",
            id="a directory becomes a symlink",
        ),
    ],
)
def test_a_tree_that_changes_meanwhile_is_an_error(
    tmp_path: Path, change: Callable[[Path], object], reason: str, message: str
) -> None:
    (tmp_path / "big").write_bytes(bytes(2 * archive.PIECE))
    (tmp_path / "small").write_bytes(b"x")
    (tmp_path / "sub").mkdir()
    changes = iter([change])

    def progress(_: int) -> None:
        for once in changes:
            once(tmp_path / "big")

    with pytest.raises(StepError) as caught:
        pack(tmp_path, progress=progress)
    assert (caught.value.reason, str(caught.value)) == (reason, message)


class Enough(Exception):
    """Ends a packing of which only the beginning is wanted."""


def test_a_file_larger_than_a_header_can_say_has_its_size_all_the_same(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(8**11)
    output = io.BytesIO()
    pieces = iter(range(32))

    def progress(_: int) -> None:
        if next(pieces, None) is None:
            raise Enough

    with pytest.raises(Enough):
        archive.pack(tmp_path, EVERYTHING, {}, output, progress=progress)
    output.seek(0)
    with tarfile.open(fileobj=output, mode="r|gz") as opened:
        member = opened.next()
    assert member is not None
    assert (member.name, member.size) == ("sparse", 8**11)


def test_progress_adds_up_to_the_tar(tmp_path: Path) -> None:
    fill(tmp_path)
    done: list[int] = []
    packed = pack(tmp_path, progress=done.append)
    assert sum(done) == len(gzip.decompress(packed))


def test_memory_does_not_grow_with_the_tree(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(256 << 20)
    script = f"""
import io, pathlib, re
from steps.clients import archive
from steps.core.build_context import IgnoreRules, Selection
archive.pack(pathlib.Path({str(tmp_path)!r}), Selection(IgnoreRules(), False, None), {{}}, io.BytesIO(), threads=8)
print(re.search(r"VmHWM:\\s*(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])
"""
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert int(run.stdout) < 100 * 1024


def test_a_file_that_is_created_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with archive.created(path) as output:
        output.write(b"new")
        output.flush()
        before = path.exists()
    assert (before, path.read_bytes(), list(tmp_path.iterdir())) == (False, b"new", [path])


def test_a_file_whose_making_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def write() -> None:
        with archive.created(path) as output:
            output.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"old", [path])


@pytest.mark.parametrize(
    ("path", "message"),
    [
        pytest.param("none/a", "No such file or directory", id="a directory that is not there"),
        pytest.param("file/a", "Not a directory", id="a file for a directory"),
    ],
)
def test_a_file_that_cannot_be_created_is_an_error(tmp_path: Path, path: str, message: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StepError) as caught, archive.created(tmp_path / path):
        pass
    assert (caught.value.reason, str(caught.value)) == ("unwritable", f"cannot write {tmp_path / path}: {message}")


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "source/noise").write_bytes(random.Random(1).randbytes(3 << 20))  # noqa: S311 - does not compress
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(StepError) as caught, archive.created(tmp_path / "out/a") as output:
            archive.pack(tmp_path / "source", EVERYTHING, {}, output)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (caught.value.reason, str(caught.value), list((tmp_path / "out").iterdir())) == (
        "unwritable",
        "cannot write the archive: File too large",
        [],
    )


@pytest.mark.parametrize(
    ("name", "held"),
    [
        pytest.param("Dockerfile", True, id="as written"),
        pytest.param("a/Dockerfile", True, id="with a dot before it"),
        pytest.param("a", False, id="a directory"),
        pytest.param("b/Dockerfile", False, id="what is not there"),
    ],
)
def test_an_archive_is_asked_for_a_file(tmp_path: Path, name: str, *, held: bool) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as made:
        for member in ("Dockerfile", "./a/Dockerfile"):
            made.addfile(tarfile.TarInfo(member))
        directory = tarfile.TarInfo("a")
        directory.type = tarfile.DIRTYPE
        made.addfile(directory)
    assert archive.holds(tmp_path / "a.tar.gz", name) is held


def tar_of_noise() -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as made:
        member = tarfile.TarInfo("noise")
        member.size = 10000
        made.addfile(member, io.BytesIO(random.Random(1).randbytes(member.size)))  # noqa: S311 - does not compress
    return output.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"plain text", "not a gzip file", id="no gzip"),
        pytest.param(gzip.compress(tar_of_noise())[:5000], "unexpected end of data", id="a file cut short"),
        pytest.param(gzip.compress(b"plain text" * 100), "invalid header", id="no tar"),
    ],
)
def test_a_file_that_is_no_archive_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(StepError) as caught:
        archive.holds(tmp_path / "a", "Dockerfile")
    assert (caught.value.reason, str(caught.value)) == (
        "unreadable",
        f"cannot read {tmp_path / 'a'} as tar.gz, which Kaniko wants: {message}",
    )
