"""The real Kaniko, where it has been built, and the stand-in held against it."""

import json
import re
import tarfile
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from tests.sandbox import busybox, executor, image, kaniko
from tests.sandbox.registry import Registry
from tests.sandbox.storage import Storage

try:
    KANIKO = kaniko.find()
    REASON = "no executor of Kaniko has been built yet; `make demo` builds one"
except kaniko.KanikoError as error:
    KANIKO = None
    REASON = str(error)
with_kaniko = pytest.mark.skipif(KANIKO is None, reason=REASON)
with_ids = pytest.mark.skipif(
    KANIKO is not None and KANIKO.unshare[-1] == "--map-root-user",
    reason="this user has no range of ids in /etc/subuid, so Kaniko cannot give files to others",
)


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        yield registry


def pack_busybox(registry: Registry) -> None:
    try:
        busybox.put(registry)
    except busybox.MissingError as error:
        pytest.skip(str(error))


@pytest.fixture
def base(registry: Registry) -> str:
    pack_busybox(registry)
    return f"{registry.address}/library/busybox:1"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    directory = tmp_path / "workspace"
    directory.mkdir()
    tmp_path.chmod(0o755)
    return directory


def write(directory: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)


def run(workspace: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """The exit code of the real Kaniko, which sees the workspace under its own name, and what it said."""
    assert KANIKO is not None
    lines: list[str] = []
    mounts = {str(workspace): workspace}
    code = kaniko.run(KANIKO, arguments, mounts=mounts, environment=environment or {}, log=lines.append)
    return code, "".join(lines)


APPLICATION = """
ARG BASE
FROM ${BASE} AS made
RUN mkdir /made && id -u > /made/by
FROM ${BASE}
COPY index.html /www/
COPY --from=made /made /made
RUN echo 'joe:x:1000:1000::/tmp:/bin/sh' >> /etc/passwd && rm /bin/vi && mkdir /empty
CMD ["httpd", "-f", "-h", "/www"]
"""


@with_kaniko
def test_an_image_is_really_built_with_the_mounts_of_a_step_and_pulled_back(tmp_path: Path) -> None:
    assert KANIKO is not None
    write(tmp_path, {"workspace/Dockerfile": APPLICATION, "workspace/index.html": "hello\n", "tekton/results/x": ""})
    passwd = Path("/etc/passwd").read_bytes()
    lines: list[str] = []
    with Registry(user="bot", password="secret") as registry:
        account = {"username": "bot", "password": "secret"}
        write(tmp_path, {"docker/config.json": json.dumps({"auths": {registry.address: account}})})
        pack_busybox(registry)
        code = kaniko.run(
            KANIKO,
            [
                "--context=dir:///workspace",
                "--dockerfile=Dockerfile",
                f"--build-arg=BASE={registry.address}/library/busybox:1",
                f"--destination={registry.address}/app:1",
                "--digest-file=/tekton/results/digest",
            ],
            mounts={
                "/workspace": tmp_path / "workspace",
                "/tekton": tmp_path / "tekton",
                "/kaniko/.docker": tmp_path / "docker",
            },
            environment={},
            log=lines.append,
        )
    assert code == 0, "".join(lines)
    digest = (tmp_path / "tekton/results/digest").read_text()
    entries = image.tree(registry.image("app", digest).layers)
    base = registry.file_system("library/busybox", "1")
    assert digest == registry.digest("app", "1")
    assert image.files(entries) == base | {
        "etc/passwd": base["etc/passwd"] + b"joe:x:1000:1000::/tmp:/bin/sh\n",
        "made/by": b"0\n",
        "www/index.html": b"hello\n",
    }
    assert ("bin/vi" in entries, entries["empty"][0].isdir(), "bin/sh" in entries) == (False, True, True)
    assert registry.image("app", digest).configuration["config"]["Cmd"] == ["httpd", "-f", "-h", "/www"]
    assert Path("/etc/passwd").read_bytes() == passwd
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} == {
        "docker/config.json",
        "tekton/results/digest",
        "tekton/results/x",
        "workspace/Dockerfile",
        "workspace/index.html",
    }


@with_kaniko
def test_the_exit_code_is_that_of_the_command_that_failed(base: str, workspace: Path) -> None:
    write(workspace, {"Dockerfile": f"FROM {base}\nRUN exit 7\n"})
    code, said = run(workspace, f"--context=dir://{workspace}", "--no-push")
    assert (code, said.splitlines()[-1]) == (
        7,
        (
            "error building image: error building stage: failed to execute command: "
            "waiting for process to exit: exit status 7"
        ),
    )


@with_kaniko
def test_a_directory_that_cannot_be_mounted_ends_with_125(workspace: Path) -> None:
    assert KANIKO is not None
    lines: list[str] = []
    missing = {"/workspace": workspace / "missing"}
    assert kaniko.run(KANIKO, ["version"], mounts=missing, environment={}, log=lines.append) == 125
    assert "missing" in "".join(lines)


@with_kaniko
def test_nothing_of_the_environment_comes_in_but_what_is_given(
    base: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(workspace, {"Dockerfile": f"FROM {base}\nARG GIVEN\nARG OURS\nRUN echo [$GIVEN] [$OURS]\n"})
    monkeypatch.setenv("OURS", "outside")
    flags = ("--no-push", "--build-arg=GIVEN", "--build-arg=OURS")
    _, said = run(workspace, f"--context=dir://{workspace}", *flags, environment={"GIVEN": "inside"})
    assert "[inside] []" in said.splitlines()


@pytest.mark.parametrize("target", ["/", "workspace", "/workspace/..", "/workspace/", "//"])
def test_a_mount_that_could_lie_outside_the_chroot_is_refused(target: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not an absolute path below /"):
        kaniko.run(kaniko.Container("false"), [], mounts={target: tmp_path}, environment={})


def test_an_engine_is_told_to_run_kanikos_image(tmp_path: Path) -> None:
    engine = tmp_path / "engine"
    engine.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 3\n')
    engine.chmod(0o755)
    lines: list[str] = []
    code = kaniko.run(
        kaniko.Container(str(engine)),
        ["--context=dir:///workspace", "--no-push"],
        mounts={"/workspace": tmp_path},
        environment={"STORAGE_EMULATOR_HOST": "http://127.0.0.1:1"},
        log=lines.append,
    )
    assert (code, "".join(lines).splitlines()) == (
        3,
        [
            "run",
            "--rm",
            "--network=host",
            f"--volume={tmp_path}:/workspace",
            "--env=STORAGE_EMULATOR_HOST=http://127.0.0.1:1",
            "ghcr.io/osscontainertools/kaniko:v1.28.3",
            "--context=dir:///workspace",
            "--no-push",
        ],
    )


COPIES = """
FROM scratch
WORKDIR /there
COPY hello there
COPY hello here/
COPY hello /file
COPY sub /sub
COPY sub/ hello link /several/
COPY . /all
ADD hello /added
COPY --chmod=600 hello /secret
"""
OWNED = "FROM scratch\nCOPY --chown=5:6 hello /owned\nCOPY hello /copied\n"
STAGES = """
ARG NAME=world
FROM scratch AS one
ARG NAME
ARG OTHER=other
ENV SAID="hello $NAME" OLD=x NONE=${NOTHING:-none} SOME=${OTHER:+some}
ENV OLD the old form
COPY hello /from/one
FROM scratch AS Two
COPY --from=one /from/one /from/two
FROM scratch
LABEL stage=three "in words"=yes
WORKDIR /a
WORKDIR b
COPY --from=1 /from /from
EXPOSE 80 90/udp
USER 7
STOPSIGNAL 9
ENTRYPOINT ["/x", "y"]
CMD echo $SAID
VOLUME /data
"""
ON_BASE = 'ARG BASE\nFROM ${BASE}\nENV A=b\nCOPY hello /www/\nEXPOSE 8080\nCMD ["httpd"]\n'


class Both:
    """A context, and everything it can be built with: registries with and without an account, Cloud Storage."""

    def __init__(self, workspace: Path, registry: Registry, private: Registry, world: Storage) -> None:
        self.workspace, self._registries = workspace, (private, registry)
        self.context, self._digest = workspace / "context", workspace / "digest"
        write(self.context, {"hello": "hi\n", "sub/a": "A", "sub/deep/b": "B"})
        (self.context / "link").symlink_to("hello")
        account = {"auth": b64encode(b"bot:secret").decode()}
        write(workspace / "docker", {"config.json": json.dumps({"auths": {private.address: account}})})
        self.environment = {"DOCKER_CONFIG": str(workspace / "docker"), "STORAGE_EMULATOR_HOST": world.url}
        self.names = {"registry": registry.address, "private": private.address, "workspace": str(workspace)}
        self._world = world

    def pack(self, owner: int) -> None:
        def owned(header: tarfile.TarInfo) -> tarfile.TarInfo:
            header.uid = header.gid = owner
            return header

        packed = self.workspace / "context.tar.gz"
        with tarfile.open(packed, mode="w:gz") as archive:
            archive.add(self.context, ".", filter=owned)
        self._world.create_bucket("contexts")
        credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]  # google-auth is typed in part
        client = storage.Client(project="p", credentials=credentials, client_options={"api_endpoint": self._world.url})
        client.bucket("contexts").blob("a/b.tar.gz").upload_from_filename(str(packed))

    def outcome(self, code: int, said: str) -> list[Any]:
        """What a build came to: its exit code, its error, whether it wrote a digest, what an image holds."""
        lines = [line for line in said.partition("Usage:")[0].splitlines() if not re.search("INFO|WARN", line)]
        if not self._digest.exists():
            return [code, lines]
        digest = self._digest.read_text()
        self._digest.unlink()
        for registry in self._registries:
            if ("PUT", "/v2/app/manifests/1", 201) in registry.requests:
                built = registry.image("app", digest)
        return [code, lines, built.configuration["config"], described(image.tree(built.layers))]


@pytest.fixture
def both(workspace: Path, registry: Registry) -> Iterator[Both]:
    with Storage() as world, Registry(user="bot", password="secret") as private:
        yield Both(workspace, registry, private, world)


@with_kaniko
@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        pytest.param(COPIES, [], id="copies of all kinds"),
        pytest.param(OWNED, [], id="files of others", marks=with_ids),
        pytest.param(
            OWNED, ["--context=tar://{workspace}/context.tar.gz"], id="packed files of others", marks=with_ids
        ),
        pytest.param(STAGES, ["--build-arg=NAME=you", "--label=stage=flag", "--label=more=flag"], id="stages"),
        pytest.param(STAGES, ["--target=TWO"], id="a target"),
        pytest.param(ON_BASE, ["--build-arg=BASE={base}"], id="a base"),
        pytest.param(ON_BASE, ["--build-arg=BASE=busybox:1", "--registry-mirror={registry}"], id="a mirror"),
        pytest.param(COPIES, ["--context=tar://{workspace}/context.tar.gz"], id="a packed context"),
        pytest.param(COPIES, ["--context=gs://contexts/a/b.tar.gz"], id="a context in Cloud Storage"),
        pytest.param(COPIES, ["--destination={private}/app:1"], id="a registry with an account"),
        pytest.param(COPIES, ["--destination={private}/app:1", "--unknown"], id="a flag nobody knows"),
        pytest.param(COPIES, ["--cache=maybe"], id="a truth value that is none"),
        pytest.param(COPIES, ["--destination=A/B:1"], id="a name in capitals"),
        pytest.param(COPIES, ["--target=three"], id="a target that is no stage"),
        pytest.param(COPIES, ["--dockerfile=none"], id="a Dockerfile that is missing"),
        pytest.param(COPIES, ["--context=gs://contexts/none"], id="an object that is missing"),
        pytest.param("FROM scratch\nCOPY none /", [], id="a file that is missing"),
        pytest.param("FROM {registry}/none:1", [], id="a base that is missing"),
        pytest.param("FROM ${NOTHING}", [], id="a base that is not given"),
    ],
)
def test_the_stand_in_does_as_kaniko_does_with(
    both: Both,
    base: str,
    text: str,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = both.names | {"base": base}
    write(both.context, {"Dockerfile": replaced(text, names)})
    both.pack(owner=7 if text is OWNED else 0)
    flags = {"--context": f"dir://{both.context}", "--destination": f"{names['registry']}/app:1"}
    flags["--digest-file"] = f"{both.workspace}/digest"
    given = [replaced(argument, names) for argument in arguments]
    command = [f"{flag}={value}" for flag, value in flags.items() if not re.search(f"{flag}=", " ".join(given))]

    real = both.outcome(*run(both.workspace, *command, *given, environment=both.environment))
    for name, value in both.environment.items():
        monkeypatch.setenv(name, value)
    stand_in = both.outcome(executor.main([*command, *given]), capsys.readouterr().err)

    assert stand_in == real


def replaced(text: str, names: Mapping[str, object]) -> str:
    for name, value in names.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text


def described(entries: image.Tree) -> dict[str, Any]:
    """What matters of a tree, without times and the names of owners."""
    return {
        path: (header.type, header.mode, header.uid, header.gid, header.linkname, content)
        for path, (header, content) in entries.items()
    }


def test_the_machines_root_is_refused_before_the_first_command_that_writes() -> None:
    # By reading alone: to try it would put this machine's files at stake.
    lines = kaniko._CHROOT.splitlines()  # noqa: SLF001 - the script is the danger, and has no other name
    refusal = lines.index('refuse_machine "$root"  # before anything is written')
    first_write = next(n for n, line in enumerate(lines) if line.startswith(("mount", "mkdir", "cd", "chmod", "for ")))
    assert refusal < first_write
