import hashlib
import io
import logging
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steps import command_line
from steps.core.build_context import Destination, PushedImage, SourcePath
from steps.errors import StepError
from steps.prepare_build_context import prepare_build_context
from tests.sandbox.storage import Storage

FROM = "FROM scratch\nCOPY . /\n"
RESULTS = ("context", "context_digest", "dockerfile", "image_url")


def write(root: Path, files: Mapping[str, str]) -> Path:
    """A tree of text files."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, encoding="utf-8")
    return root


def prepare(root: Path, destination: str, **flags: Any) -> dict[str, str]:
    """Run the step and return its results."""
    with tempfile.TemporaryDirectory() as directory:
        paths = {name: Path(directory, name) for name in RESULTS}
        results: dict[str, Any] = {f"{name}_result": path for name, path in paths.items()}
        prepare_build_context(source_dir=root, destination=Destination.parse(destination), **flags, **results)
        return {name: path.read_text(encoding="utf-8") for name, path in paths.items()}


def unpacked(content: bytes) -> dict[str, str | None]:
    """Files with their text, symlinks as `-> target`, directories as None."""
    entries: dict[str, str | None] = {}
    with tarfile.open(fileobj=io.BytesIO(content)) as opened:
        for member in opened:
            file = opened.extractfile(member) if member.isreg() else None
            entries[member.name] = file.read().decode() if file else f"-> {member.linkname}" if member.issym() else None
    return entries


def packed(root: Path, **flags: Any) -> dict[str, str | None]:
    """What the step packs."""
    with tempfile.TemporaryDirectory() as directory:
        prepare(root, f"{directory}/context.tar.gz", **flags)
        return unpacked(Path(directory, "context.tar.gz").read_bytes())


def test_the_dockerfile_is_not_overwritten_by_the_archive(tmp_path: Path) -> None:
    root = write(tmp_path / "src", {"Dockerfile": FROM, "a.txt": "a"})
    with pytest.raises(StepError) as refusal:
        prepare(root, f"{root}/Dockerfile")
    assert str(refusal.value) == f"--destination={root}/Dockerfile is the Dockerfile; give another file"
    assert {path.name: path.read_text() for path in root.iterdir()} == {"Dockerfile": FROM, "a.txt": "a"}


def test_a_directory_is_packed_and_described(tmp_path: Path) -> None:
    root = write(tmp_path / "src", {"web/Dockerfile": FROM, "web/static/a.txt": "a", "other/b.txt": "b"})
    archive = tmp_path / "context.tar.gz"
    results = prepare(root, str(archive), context=SourcePath("web"), image=PushedImage.parse("registry:5000/web:v1"))
    assert (results, unpacked(archive.read_bytes())) == (
        {
            "context": f"tar://{archive}",
            "context_digest": f"sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}",
            "dockerfile": "Dockerfile",
            "image_url": "registry:5000/web:v1",
        },
        {"Dockerfile": FROM, "static": None, "static/a.txt": "a"},
    )


def test_the_whole_source_is_the_context_by_default(tmp_path: Path) -> None:
    root = write(tmp_path / "src", {"Dockerfile": FROM, "a/b": "b"})
    assert packed(root) == {"Dockerfile": FROM, "a": None, "a/b": "b"}


def test_without_an_image_its_result_is_empty(tmp_path: Path) -> None:
    root = write(tmp_path / "src", {"Dockerfile": FROM})
    assert prepare(root, str(tmp_path / "a"))["image_url"] == ""


trees = st.dictionaries(
    st.lists(st.sampled_from(["a", "b", "a.b", "a-b", "é"]), min_size=1, max_size=3).map("/".join),
    st.tuples(st.sampled_from(["file", "program", "symlink"]), st.text(max_size=5)),
    max_size=8,
).filter(lambda tree: not any(f"{one}/" in f"{other}/" for one in tree for other in tree if one != other))


@settings(max_examples=12, deadline=None, database=None)
@given(tree=trees, seed=st.integers())
def test_the_same_files_give_the_same_bytes(tree: dict[str, tuple[str, str]], seed: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        archives = [Path(directory, name) for name in ("first.tar.gz", "second.tar.gz")]
        umask = os.umask(0o022)
        try:
            one = build(Path(directory, "one"), tree)
            prepare(one, str(archives[0]))
            os.umask(0o077)
            order = random.Random(seed)  # noqa: S311 - another order of making them
            two = build(Path(directory, "two"), dict(order.sample(list(tree.items()), len(tree))))
            age(two, order)
            prepare(two, str(archives[1]))
        finally:
            os.umask(umask)
        assert archives[0].read_bytes() == archives[1].read_bytes()


def build(root: Path, tree: Mapping[str, tuple[str, str]]) -> Path:
    write(root, {"Dockerfile": FROM})
    for name, (kind, text) in tree.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if kind == "symlink":
            (root / name).symlink_to("nowhere")
        else:
            (root / name).write_text(text, encoding="utf-8")
            (root / name).chmod((root / name).stat().st_mode | (0o100 if kind == "program" else 0))
    return root


def age(root: Path, order: random.Random) -> None:
    """Other times, and where that is allowed another owner."""
    for path in root.rglob("*"):
        os.utime(path, (order.randrange(1 << 31), order.randrange(1 << 31)), follow_symlinks=False)
        if os.geteuid() == 0:
            os.chown(path, 1234, 5678, follow_symlinks=False)


@pytest.mark.parametrize(
    ("flags", "kept"),
    [
        pytest.param({}, {"Dockerfile": FROM, "a": "a", "sub": None}, id="by default"),
        pytest.param(
            {"keep_git_dir": True},
            {
                ".git": None,
                ".git/HEAD": "ref: refs/heads/main\n",
                "Dockerfile": FROM,
                "a": "a",
                "sub": None,
                "sub/.git": "gitdir: ../.git/modules/sub\n",
            },
            id="when it is wanted",
        ),
    ],
)
def test_git_stays_out(tmp_path: Path, flags: dict[str, bool], kept: dict[str, str | None]) -> None:
    root = write(
        tmp_path / "src",
        {
            "Dockerfile": FROM,
            "a": "a",
            ".git/HEAD": "ref: refs/heads/main\n",
            "sub/.git": "gitdir: ../.git/modules/sub\n",
        },
    )
    assert packed(root, **flags) == kept


COPIED = {".apps-cd/Dockerfile": FROM, ".apps-cd/Dockerfile.dockerignore": ".apps-cd\n"}


@pytest.mark.parametrize(
    ("files", "flags", "kept"),
    [
        pytest.param(
            {"Dockerfile": FROM, ".dockerignore": "*.md\nnode_modules\n!README.md\n", "README.md": "r", "a.md": "a"}
            | {"node_modules/left/index.js": "", "a.js": "j"},
            {},
            {"Dockerfile": FROM, ".dockerignore": "*.md\nnode_modules\n!README.md\n", "README.md": "r", "a.js": "j"},
            id="the context's own",
        ),
        pytest.param(
            {"web/Dockerfile": FROM, "web/Dockerfile.dockerignore": "a\n", "web/.dockerignore": "b\n"}
            | {"web/a": "a", "web/b": "b"},
            {"context": SourcePath("web")},
            {"Dockerfile": FROM, "Dockerfile.dockerignore": "a\n", ".dockerignore": "b\n", "b": "b"},
            id="the Dockerfile's before the context's",
        ),
        pytest.param(
            {"docker/app": FROM, "docker/app.dockerignore": "a\n", "web/.dockerignore": "b\n", "web/a": "a"}
            | {"web/b": "b"},
            {"context": SourcePath("web"), "dockerfile": SourcePath("docker/app")},
            {".dockerignore": "b\n", "b": "b"},
            id="the Dockerfile's though both lie outside the context",
        ),
        pytest.param(
            {"Dockerfile": FROM, ".dockerignore": "*\n!src/**/keep.txt\n", "src/x/keep.txt": "k", "src/x/y": "y"},
            {},
            {"src/x/keep.txt": "k"},
            id="one that ignores itself, the Dockerfile and directories of what is kept",
        ),
        pytest.param(
            {"Dockerfile": FROM, ".dockerignore": "\ufeff# all\r\n\r\n/a/\r\n", "a/b": "b", "c/a": "a"},
            {},
            {"Dockerfile": FROM, ".dockerignore": "\ufeff# all\r\n\r\n/a/\r\n", "c": None, "c/a": "a"},
            id="one from Windows",
        ),
    ],
)
def test_what_an_ignore_file_names_stays_out(
    tmp_path: Path, files: dict[str, str], flags: dict[str, SourcePath], kept: dict[str, str | None]
) -> None:
    root = write(tmp_path / "src", files)
    assert packed(root, **flags) == COPIED | kept


def test_an_ignore_file_without_a_rule_changes_nothing(tmp_path: Path) -> None:
    root = write(tmp_path / "src", {"Dockerfile": FROM, ".dockerignore": "# later\n"})
    assert packed(root) == {"Dockerfile": FROM, ".dockerignore": "# later\n"}


@pytest.mark.parametrize(
    ("files", "name"),
    [
        pytest.param({"web/a": "a"}, ".apps-cd/Dockerfile", id="a name of its own"),
        pytest.param({"web/.apps-cd": "mine"}, ".apps-cd-2/Dockerfile", id="another when that is taken"),
    ],
)
def test_a_dockerfile_outside_the_context_is_packed(tmp_path: Path, files: dict[str, str], name: str) -> None:
    root = write(tmp_path / "src", files | {"docker/web.Dockerfile": FROM})
    archive = tmp_path / "a"
    results = prepare(root, str(archive), context=SourcePath("web"), dockerfile=SourcePath("docker/web.Dockerfile"))
    directory = name.partition("/")[0]
    assert (results["dockerfile"], unpacked(archive.read_bytes())) == (
        name,
        {path.removeprefix("web/"): text for path, text in files.items()}
        | {name: FROM, f"{name}.dockerignore": f"{directory}\n"},
    )


def test_a_dockerfile_that_is_a_symlink_is_packed_as_what_it_says(tmp_path: Path) -> None:
    root = write(tmp_path / "src", {"web/a": "a", "docker/Dockerfile": FROM})
    (root / "web/Dockerfile").symlink_to("a")
    assert packed(root, context=SourcePath("web")) == {
        "a": "a",
        "Dockerfile": "-> a",
        ".apps-cd/Dockerfile": "a",
        ".apps-cd/Dockerfile.dockerignore": ".apps-cd\n",
    }


def test_symlinks_are_packed_as_links(tmp_path: Path) -> None:
    root = write(tmp_path / "src", {"Dockerfile": FROM, "a/b": "b"})
    for name, target in {
        "to-file": "a/b",
        "to-directory": "a",
        "to-nothing": "none",
        "a/up": "..",
        "loop": "loop",
    }.items():
        (root / name).symlink_to(target)
    assert packed(root) == {
        "Dockerfile": FROM,
        "a": None,
        "a/b": "b",
        "a/up": "-> ..",
        "loop": "-> loop",
        "to-directory": "-> a",
        "to-file": "-> a/b",
        "to-nothing": "-> none",
    }


ADVICE = "make it relative and lead inside, name it in .dockerignore, or pack it as it is by --symlinks=keep"


def links(*pairs: tuple[str, str]) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        for name, target in pairs:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).symlink_to(target.format(root=root))

    return make


@pytest.mark.parametrize(
    ("make", "link", "problem"),
    [
        pytest.param(links(("a", "/etc/passwd")), "a -> /etc/passwd", "is absolute", id="absolute"),
        pytest.param(links(("a", "{root}/b")), "a -> {root}/b", "is absolute", id="absolute though inside"),
        pytest.param(links(("a", "../secret")), "a -> ../secret", "leads out of the context", id="to the parent"),
        pytest.param(
            links(("a", "../web-evil/x")), "a -> ../web-evil/x", "leads out of the context", id="to a sibling"
        ),
        pytest.param(
            links(("sub/a", "../../none")), "sub/a -> ../../none", "leads out of the context", id="to nothing outside"
        ),
        pytest.param(
            links(("p/q/d", "../.."), ("z", "p/q/d/../x")),
            "z -> p/q/d/../x",
            "leads out of the context",
            id="by way of another link",
        ),
    ],
)
def test_a_symlink_that_leaves_the_context_is_refused(
    tmp_path: Path, make: Callable[[Path], None], link: str, problem: str
) -> None:
    root = write(tmp_path / "src", {"web/Dockerfile": FROM, "secret": "s", "web-evil/x": "x"})
    make(root / "web")
    (tmp_path / "out").mkdir()
    with pytest.raises(StepError) as caught:
        prepare(root, str(tmp_path / "out/a"), context=SourcePath("web"))
    assert (caught.value.reason, str(caught.value), list((tmp_path / "out").iterdir())) == (
        "symlink",
        f"the symlink {link.format(root=root / 'web')} in the context {problem}; {ADVICE}",
        [],
    )


def test_a_symlink_that_leaves_the_context_is_kept_on_request_and_not_followed(tmp_path: Path) -> None:
    root = write(tmp_path / "src", {"web/Dockerfile": FROM, "secret/key": "s"})
    (root / "web/a").symlink_to("/etc")
    (root / "web/b").symlink_to("../secret")
    assert packed(root, context=SourcePath("web"), symlinks="keep") == {
        "Dockerfile": FROM,
        "a": "-> /etc",
        "b": "-> ../secret",
    }


def test_what_is_ignored_may_be_anything(tmp_path: Path) -> None:
    root = write(tmp_path / "src", {"Dockerfile": FROM, ".dockerignore": "out\n"})
    (root / "out").mkdir()
    (root / "out/link").symlink_to("/etc")
    os.mkfifo(root / "out/pipe")
    (root / os.fsdecode(b"out/\xff")).write_bytes(b"")
    assert packed(root) == COPIED | {"Dockerfile": FROM, ".dockerignore": "out\n"}


def pipe(root: Path) -> None:
    os.mkfifo(root / "sub/odd")


def listening_socket(root: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(root / "sub/odd"))


def not_utf8(root: Path) -> None:
    (root / os.fsdecode(b"sub/caf\xe9")).write_bytes(b"")


def link_to_not_utf8(root: Path) -> None:
    (root / "sub/odd").symlink_to(os.fsdecode(b"caf\xe9"))


def without(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


def replaced(name: str, target: str) -> Callable[[Path], None]:
    def replace(root: Path) -> None:
        (root / name).unlink()
        (root / name).symlink_to(target)

    return replace


SPECIAL = "is a named pipe, a socket or a device; take it away or name it in .dockerignore"


@pytest.mark.parametrize(
    ("change", "flags", "reason", "message"),
    [
        pytest.param(pipe, {}, "special-file", f"sub/odd in the context {SPECIAL}", id="a named pipe"),
        pytest.param(listening_socket, {}, "special-file", f"sub/odd in the context {SPECIAL}", id="a socket"),
        pytest.param(
            not_utf8,
            {},
            "name",
            "the name 'sub/caf\\udce9' in the context is not UTF-8; rename it or name it in .dockerignore",
            id="a name that is not UTF-8",
        ),
        pytest.param(
            link_to_not_utf8,
            {},
            "name",
            "the name 'caf\\udce9' in the context is not UTF-8; rename it or name it in .dockerignore",
            id="a symlink to a name that is not UTF-8",
        ),
        pytest.param(
            without("Dockerfile"),
            {},
            "not-found",
            "there is no Dockerfile 'Dockerfile' in {root}, to which it is relative",
            id="no Dockerfile",
        ),
        pytest.param(
            without("Dockerfile"),
            {"context": "sub", "dockerfile": "a"},
            "not-found",
            "there is no Dockerfile 'a' in {root}, to which it is relative; did you mean sub/a?",
            id="a Dockerfile given relative to the context",
        ),
        pytest.param(
            without("Dockerfile"),
            {"dockerfile": "sub"},
            "not-found",
            "the Dockerfile 'sub' in {root} is not a file",
            id="a directory for a Dockerfile",
        ),
        pytest.param(
            replaced("Dockerfile", "/etc/passwd"),
            {},
            "outside",
            "the Dockerfile 'Dockerfile' leads out of {root}, to /etc/passwd; give one that is inside",
            id="a Dockerfile that is a symlink out",
        ),
        pytest.param(
            lambda root: (root / ".dockerignore").symlink_to("/etc/passwd"),
            {},
            "outside",
            "the ignore file '.dockerignore' leads out of {root}, to /etc/passwd; give one that is inside",
            id="an ignore file that is a symlink out",
        ),
        pytest.param(
            lambda root: (root / "up").symlink_to(".."),
            {"context": "up"},
            "outside",
            "the context 'up' leads out of {root}, to {parent}; give one that is inside",
            id="a context that is a symlink out",
        ),
        pytest.param(
            lambda root: (root / ".dockerignore").write_text("# a\nb[\n"),
            {},
            "ignore-file",
            ".dockerignore, line 2: 'b[' is not a pattern: `[` lacks its `]`",
            id="a pattern that is none",
        ),
        pytest.param(
            lambda root: (root / "Dockerfile.dockerignore").write_bytes(b"\xff"),
            {},
            "ignore-file",
            "Dockerfile.dockerignore is not UTF-8",
            id="an ignore file that is not UTF-8",
        ),
        pytest.param(
            lambda root: (root / ".dockerignore").mkdir(),
            {},
            "not-found",
            "the ignore file '.dockerignore' in {root} is not a file",
            id="a directory for an ignore file",
        ),
        pytest.param(
            lambda root: root,
            {"context": "none"},
            "not-found",
            "there is no context 'none' in {root}",
            id="no context",
        ),
        pytest.param(
            lambda root: root,
            {"context": "sub/a", "dockerfile": "Dockerfile"},
            "not-found",
            "the context 'sub/a' in {root} is not a directory",
            id="a file for a context",
        ),
        pytest.param(
            lambda root: (root / "empty/sub").mkdir(parents=True),
            {"context": "empty", "dockerfile": "Dockerfile"},
            "empty-context",
            "the context 'empty' in {root} holds no file",
            id="an empty context",
        ),
        pytest.param(
            shutil.rmtree,
            {},
            "not-found",
            "--source-dir={root} is not a directory",
            id="no source directory",
        ),
    ],
)
def test_a_source_that_cannot_be_packed_is_an_error_and_leaves_nothing(
    tmp_path: Path, change: Callable[[Path], object], flags: dict[str, str], reason: str, message: str
) -> None:
    root = write(tmp_path / "src", {"Dockerfile": FROM, "sub/a": "a"})
    change(root)
    (tmp_path / "out").mkdir()
    with pytest.raises(StepError) as caught:
        prepare(root, str(tmp_path / "out/a"), **{name: SourcePath(value) for name, value in flags.items()})
    assert (caught.value.reason, str(caught.value), list((tmp_path / "out").iterdir())) == (
        reason,
        message.format(root=root, parent=tmp_path),
        [],
    )


@pytest.fixture
def shared_directory() -> Iterator[Path]:
    """A directory that another user can reach; as root the test becomes that user, for whom modes count."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "out").mkdir()
        (directory / "out").chmod(0o777)
        user = os.geteuid()
        yield directory
        os.seteuid(user)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("sub/a", "cannot read sub/a in the context: Permission denied", id="a file"),
        pytest.param("sub", "cannot read sub in the context: Permission denied", id="a directory"),
    ],
)
def test_what_may_not_be_read_is_an_error_and_leaves_nothing(shared_directory: Path, name: str, message: str) -> None:
    root = write(shared_directory / "src", {"Dockerfile": FROM, "sub/a": "a"})
    (root / name).chmod(0)
    if os.geteuid() == 0:
        os.seteuid(65532)
    with pytest.raises(StepError) as caught:
        prepare_build_context(source_dir=root, destination=Destination(str(shared_directory / "out/a")))
    os.seteuid(os.getuid())
    (root / "sub").chmod(0o755)
    assert (caught.value.reason, str(caught.value), list((shared_directory / "out").iterdir())) == (
        "unreadable",
        message,
        [],
    )


def test_an_archive_in_the_context_does_not_pack_itself(tmp_path: Path) -> None:
    root = write(tmp_path / "src", {"Dockerfile": FROM, "out/.context.tar.gz.0123abcd.partial": "of a killed run"})
    archive = root / "out/context.tar.gz"
    first = prepare(root, str(archive))
    entries = unpacked(archive.read_bytes())
    assert (prepare(root, str(archive)), entries) == (first, {"Dockerfile": FROM, "out": None})


@pytest.mark.parametrize(
    ("destination", "message"),
    [
        pytest.param(
            "none/a", "cannot write {root}/none/a: No such file or directory", id="a directory that is not there"
        ),
        pytest.param(
            "src",
            "--destination={root}/src is a directory; name the file, as in {root}/src/context.tar.gz",
            id="a directory",
        ),
    ],
)
def test_a_destination_that_cannot_be_written_is_an_error(tmp_path: Path, destination: str, message: str) -> None:
    root = write(tmp_path / "src", {"Dockerfile": FROM})
    with pytest.raises(StepError) as caught:
        prepare(root, str(tmp_path / destination))
    assert (caught.value.reason, str(caught.value)) == ("unwritable", message.format(root=tmp_path))


def test_the_log_tells_sizes_and_what_looks_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write(tmp_path / "src", {"Dockerfile": FROM, ".dockerignore": "*.log\n", ".env": "K=1", "a.txt": "a" * 2000})
    with caplog.at_level(logging.INFO, "steps"):
        prepare(root, str(tmp_path / "a"))
    size = (tmp_path / "a").stat().st_size
    largest = [
        "          2,000 a.txt",
        "             22 Dockerfile",
        "              6 .dockerignore",
        "              3 .env",
    ]
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "leaving out what .dockerignore says"),
        (
            "INFO",
            "\n".join([f"packed 4 files and 0 symlinks: 2,031 bytes into {size}; largest:", *largest]),
        ),
        (
            "WARNING",
            "the context holds what looks like secrets; if they are, keep them out by an ignore file: .env",
        ),
    ]


def test_an_ignore_file_that_leaves_nothing_is_worth_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write(tmp_path / "src", {"Dockerfile": FROM, ".dockerignore": "*\n"})
    assert packed(root) == COPIED
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "the ignore file leaves nothing of the context"
    ]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Storage]:
    with Storage() as world:
        world.create_bucket("contexts")
        (tmp_path / "tmp").mkdir()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", world.url)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
        yield world


def test_a_bucket_gets_an_object_named_by_its_content_once(world: Storage, tmp_path: Path) -> None:
    root = write(tmp_path / "src", {"Dockerfile": FROM, "a": "a"})
    prepare(root, str(tmp_path / "context.tar.gz"))
    content = (tmp_path / "context.tar.gz").read_bytes()
    name = f"web/builds/{hashlib.sha256(content).hexdigest()}.tar.gz"
    first = prepare(root, "gs://contexts/web/builds/")
    os.utime(root / "a", (1, 1))
    sent = [request for request in world.requests if request[0] != "GET"]
    second = prepare(root, "gs://contexts/web/builds/")
    assert (
        first,
        second,
        world.objects("contexts"),
        [request for request in world.requests if request[0] != "GET"],
        list((tmp_path / "tmp").iterdir()),
    ) == (
        {
            "context": f"gs://contexts/{name}",
            "context_digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
            "dockerfile": "Dockerfile",
            "image_url": "",
        },
        first,
        {name: content},
        sent,
        [],
    )


def test_a_bucket_that_is_missing_is_an_error_and_leaves_nothing(world: Storage, tmp_path: Path) -> None:
    root = write(tmp_path / "src", {"Dockerfile": FROM})
    with pytest.raises(StepError) as caught:
        prepare(root, "gs://missing")
    assert (caught.value.reason, world.objects("contexts"), list((tmp_path / "tmp").iterdir())) == ("not-found", {}, [])


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        pytest.param(
            "--context=/etc",
            "--context: '/etc' is absolute; write it relative to the root of the repository",
            id="context",
        ),
        pytest.param(
            "--context=a/../..", "--context: 'a/../..' leads out of the repository", id="context above the source"
        ),
        pytest.param(
            "--dockerfile=../x", "--dockerfile: '../x' leads out of the repository", id="Dockerfile above the source"
        ),
        pytest.param(
            "--destination=s3://b/p",
            "--destination: 's3://b/p' is neither a file nor gs://BUCKET/PREFIX",
            id="destination",
        ),
        pytest.param(
            "--image=Web:v1",
            "--image: 'Web' is not an image name, such as registry.example.com:5000/team/app; the repository is written in "
            "lower case",
            id="image",
        ),
        pytest.param("--symlinks=follow", "--symlinks: 'follow' is not one of refuse, keep", id="symlinks"),
    ],
)
def test_a_malformed_value_ends_with_2_and_nothing_touched(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, flag: str, message: str
) -> None:
    root = write(tmp_path / "src", {"Dockerfile": FROM})
    flags = {"--source-dir": str(root), "--destination": str(tmp_path / "a"), **dict([flag.split("=", 1)])}
    code = command_line.main(prepare_build_context, [f"{name}={value}" for name, value in flags.items()])
    assert (code, [record.getMessage() for record in caplog.records], sorted(tmp_path.iterdir())) == (
        2,
        [f"{message}\nTry --help."],
        [root],
    )


@pytest.mark.parametrize(
    "destination", [pytest.param("out/a", id="a file"), pytest.param("gs://contexts", id="a bucket")]
)
def test_sigterm_ends_with_143_and_leaves_nothing(tmp_path: Path, destination: str) -> None:
    root = write(tmp_path / "src", {"Dockerfile": FROM})
    os.truncate(write(root, {"endless": ""}) / "endless", 1 << 40)
    for name in ("out", "tmp"):
        (tmp_path / name).mkdir()
    argv = [sys.executable, "-m", "steps.prepare_build_context", f"--source-dir={root}", f"--destination={destination}"]
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp"), "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(argv, cwd=tmp_path, env=environment, stderr=subprocess.PIPE) as child:
        deadline = time.monotonic() + 30
        while not list(tmp_path.glob("*/**/.*.partial")):
            assert child.poll() is None
            assert time.monotonic() < deadline
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=30)
    assert (child.returncode, list((tmp_path / "out").iterdir()), list((tmp_path / "tmp").iterdir())) == (143, [], [])


def test_a_disk_that_is_full_is_an_error_and_keeps_what_was_there(tmp_path: Path) -> None:
    root = write(tmp_path / "src", {"Dockerfile": FROM})
    (root / "noise").write_bytes(random.Random(1).randbytes(3 << 20))  # noqa: S311 - does not compress
    write(tmp_path / "out", {"a": "old"})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(StepError) as caught:
            prepare_build_context(source_dir=root, destination=Destination(str(tmp_path / "out/a")))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (caught.value.reason, {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}) == (
        "unwritable",
        {"a": "old"},
    )
