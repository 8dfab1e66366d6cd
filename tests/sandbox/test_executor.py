import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from tests.sandbox import executor, image
from tests.sandbox.dockerfile import DEFAULT_PATH
from tests.sandbox.registry import Registry
from tests.sandbox.storage import Storage
from tests.sandbox.tls import Authority

HELLO = "FROM scratch\nCOPY hello /www/\n"


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        yield registry


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))


@pytest.fixture
def context(tmp_path: Path) -> Path:
    directory = tmp_path / "context"
    write(directory, {"Dockerfile": HELLO, "hello": "hi\n", "sub/a": "A", "sub/deep/b": "B"})
    return directory


def write(directory: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)


def packed(directory: Path) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        archive.add(directory, ".")
    return file.getvalue()


class Result:
    """What a run of the executor left: its exit code, what it said, the digest it wrote."""

    def __init__(self, tmp_path: Path, registry: Registry, *arguments: str) -> None:
        file = tmp_path / "digest"
        self.code = executor.main([*arguments, f"--destination={registry.address}/app:1", f"--digest-file={file}"])
        self.digest = file.read_text() if file.exists() else None


def test_an_image_is_built_pushed_and_its_digest_written(registry: Registry, context: Path, tmp_path: Path) -> None:
    result = Result(tmp_path, registry, f"--context=dir://{context}", "--dockerfile=Dockerfile")
    assert (result.code, result.digest) == (0, registry.digest("app", "1"))
    assert registry.file_system("app", registry.digest("app", "1")) == {"www/hello": b"hi\n"}


def test_it_runs_as_a_program(registry: Registry, context: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.sandbox.executor", f"--context={context}", f"-d={registry.address}/app"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    pushed = f"INFO[0000] Pushed {registry.address}/app@{registry.digest('app', 'latest')}\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, "", pushed)


def test_the_manifest_is_an_oci_image_of_one_layer(registry: Registry, context: Path, tmp_path: Path) -> None:
    Result(tmp_path, registry, f"--context=dir://{context}")
    manifest = json.loads(registry.manifest("app", "1"))
    (layer,) = manifest["layers"]
    configuration = registry.image("app", "1").configuration
    assert (manifest["mediaType"], layer["mediaType"]) == (
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.layer.v1.tar+gzip",
    )
    assert configuration["rootfs"]["diff_ids"] == [image.digest(gzip.decompress(registry.blob("app", layer["digest"])))]


def test_the_same_context_gives_the_same_digest(registry: Registry, context: Path, tmp_path: Path) -> None:
    first = Result(tmp_path, registry, f"--context=dir://{context}").digest
    os.utime(context / "hello", (0, 0))
    assert Result(tmp_path, registry, f"--context=dir://{context}").digest == first


def test_files_with_the_names_of_the_image_have_a_line_for_each_destination(
    registry: Registry, context: Path, tmp_path: Path
) -> None:
    names, tagged = tmp_path / "new" / "names", tmp_path / "tagged"
    result = Result(
        tmp_path,
        registry,
        f"--context={context}",
        f"--destination={registry.address}/other:2",
        f"--image-name-with-digest-file={names}",
        f"--image-name-tag-with-digest-file={tagged}",
    )
    host, digest = registry.address, result.digest
    assert names.read_text() == f"{host}/other@{digest}\n{host}/app@{digest}\n"
    assert tagged.read_text() == f"{host}/other:2@{digest}\n{host}/app:1@{digest}\n"


def test_a_packed_context_is_read(registry: Registry, context: Path, tmp_path: Path) -> None:
    (tmp_path / "context.tar.gz").write_bytes(packed(context))
    Result(tmp_path, registry, f"--context=tar://{tmp_path}/context.tar.gz")
    assert registry.file_system("app", "1") == {"www/hello": b"hi\n"}


def test_a_context_in_cloud_storage_is_read(
    registry: Registry, context: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Storage() as world:
        world.create_bucket("contexts")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", world.url)
        credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]  # google-auth is typed in part
        client = storage.Client(project="p", credentials=credentials)
        client.bucket("contexts").blob("app/1.tar.gz").upload_from_string(packed(context))
        Result(tmp_path, registry, "--context=gs://contexts/app/1.tar.gz")
    assert registry.file_system("app", "1") == {"www/hello": b"hi\n"}


@pytest.mark.parametrize("scheme", ["dir", "tar"])
def test_a_part_of_a_context_is_one(registry: Registry, context: Path, tmp_path: Path, scheme: str) -> None:
    write(context / "part", {"Dockerfile": HELLO, "hello": "part\n"})
    (tmp_path / "packed").write_bytes(packed(context))
    place = {"dir": context, "tar": tmp_path / "packed"}[scheme]
    Result(tmp_path, registry, f"--context={scheme}://{place}", "--context-sub-path=part")
    assert registry.file_system("app", "1") == {"www/hello": b"part\n"}


@pytest.mark.parametrize(
    ("text", "files"),
    [
        pytest.param("COPY hello /a/b", {"a/b": b"hi\n"}, id="a file becomes the destination"),
        pytest.param(
            "COPY hello /a/", {"a/hello": b"hi\n"}, id="a file goes into a destination that ends with a slash"
        ),
        pytest.param("WORKDIR /a\nCOPY hello .", {"a/hello": b"hi\n"}, id="a relative destination is below WORKDIR"),
        pytest.param(
            "WORKDIR /a/hello\nCOPY hello /a/hello",
            {"a/hello/hello": b"hi\n"},
            id="a file goes into a directory that is there",
        ),
        pytest.param("COPY sub /a", {"a/a": b"A", "a/deep/b": b"B"}, id="of a directory its content is taken"),
        pytest.param(
            "COPY hello sub /a/", {"a/hello": b"hi\n", "a/a": b"A", "a/deep/b": b"B"}, id="several go into a directory"
        ),
        pytest.param('COPY ["hello", "/a b"]', {"a b": b"hi\n"}, id="a path with a space is written in JSON"),
        pytest.param("ADD hello /a", {"a": b"hi\n"}, id="a plain file is added"),
        pytest.param("ENV D=/d\nCOPY hello $D/${E:-e}", {"d/e": b"hi\n"}, id="variables are replaced"),
        pytest.param("COPY \\\n  # a remark\n  hello /a", {"a": b"hi\n"}, id="a line goes on, past a remark"),
        pytest.param("copy hello /a", {"a": b"hi\n"}, id="an instruction in small letters"),
    ],
)
def test_files_are_copied(
    registry: Registry, context: Path, tmp_path: Path, text: str, files: dict[str, bytes]
) -> None:
    write(context, {"Dockerfile": f"FROM scratch\n{text}\n"})
    assert Result(tmp_path, registry, f"--context={context}").code == 0
    assert registry.file_system("app", "1") == files


def test_the_context_itself_is_copied_with_its_links(registry: Registry, context: Path, tmp_path: Path) -> None:
    (context / "link").symlink_to("hello")
    write(context, {"Dockerfile": "FROM scratch\nCOPY . /\n"})
    Result(tmp_path, registry, f"--context={context}")
    entries = image.tree(registry.image("app", "1").layers)
    assert (sorted(entries), entries["link"][0].linkname) == (
        ["Dockerfile", "hello", "link", "sub", "sub/a", "sub/deep", "sub/deep/b"],
        "hello",
    )


def test_owner_and_mode_are_set(registry: Registry, context: Path, tmp_path: Path) -> None:
    write(context, {"Dockerfile": "FROM scratch\nCOPY --chown=5:6 --chmod=600 hello /a\n"})
    Result(tmp_path, registry, f"--context={context}")
    header, _ = image.tree(registry.image("app", "1").layers)["a"]
    assert (header.uid, header.gid, header.mode) == (5, 6, 0o600)


def test_the_base_is_pulled_and_kept_below(registry: Registry, context: Path, tmp_path: Path) -> None:
    write(context, {"base": 'FROM scratch\nENV A=base\nLABEL of=base\nCMD ["a"]\nCOPY sub/a /a\n'})
    executor.main([f"--context={context}", "--dockerfile=base", f"--destination={registry.address}/base:1"])
    write(context, {"Dockerfile": "ARG BASE\nFROM ${BASE}\nENV B=$A\nCOPY hello /hello\n"})
    Result(tmp_path, registry, f"--context={context}", f"--build-arg=BASE={registry.address}/base:1")
    assert registry.image("app", "1").configuration["config"] == {
        "Env": [DEFAULT_PATH, "A=base", "B=base"],
        "Labels": {"of": "base"},
        "Cmd": ["a"],
    }
    assert registry.file_system("app", "1") == {"a": b"A", "hello": b"hi\n"}


@pytest.mark.parametrize(
    ("base", "flag"),
    [
        pytest.param("base:1", "--registry-mirror={}", id="a mirror of Docker Hub"),
        pytest.param(
            "registry.example/library/base:1", "--registry-map=registry.example={}", id="another registry for one"
        ),
    ],
)
def test_the_base_comes_from(registry: Registry, context: Path, tmp_path: Path, base: str, flag: str) -> None:
    executor.main([f"--context={context}", f"--destination={registry.address}/library/base:1"])
    write(context, {"Dockerfile": f"FROM {base}\n"})
    Result(tmp_path, registry, f"--context={context}", flag.format(registry.address))
    assert registry.file_system("app", "1") == {"www/hello": b"hi\n"}


STAGES = """
ARG NAME=world
FROM scratch AS one
ARG NAME
ARG OTHER=other
ENV SAID="hello $NAME" OLD=x
ENV OLD the old form
COPY hello /from/one
FROM scratch AS Two
COPY --from=one /from/one /from/two
FROM one
LABEL stage=three "in words"=yes
EXPOSE 80 90/udp
VOLUME /data
USER 7
WORKDIR /a
WORKDIR b
STOPSIGNAL 9
ENTRYPOINT ["/x", "y"]
CMD echo $SAID
COPY --from=1 /from /from
"""


def test_stages_copy_from_each_other_and_the_last_one_is_built(
    registry: Registry, context: Path, tmp_path: Path
) -> None:
    write(context, {"Dockerfile": STAGES})
    result = Result(
        tmp_path, registry, f"--context={context}", "--build-arg=NAME=you", "--label=stage=flag", "--label=more=flag"
    )
    assert result.code == 0
    assert registry.file_system("app", "1") == {"from/one": b"hi\n", "from/two": b"hi\n"}
    assert registry.image("app", "1").configuration["config"] == {
        "Env": [DEFAULT_PATH, "SAID=hello you", "OLD=the old form"],
        "Labels": {"stage": "three", "in words": "yes", "more": "flag"},
        "ExposedPorts": {"80/tcp": {}, "90/udp": {}},
        "Volumes": {"/data": {}},
        "User": "7",
        "WorkingDir": "/a/b",
        "StopSignal": "9",
        "Entrypoint": ["/x", "y"],
        "Cmd": ["/bin/sh", "-c", "echo $SAID"],
    }


@pytest.mark.parametrize("target", ["two", "TWO"])
def test_a_target_is_the_last_stage_built(registry: Registry, context: Path, tmp_path: Path, target: str) -> None:
    write(context, {"Dockerfile": STAGES})
    Result(tmp_path, registry, f"--context={context}", f"--target={target}")
    assert registry.file_system("app", "1") == {"from/two": b"hi\n"}


def test_a_build_argument_without_a_value_is_taken_from_the_environment(
    registry: Registry, context: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAME", "environment")
    write(context, {"Dockerfile": STAGES})
    Result(tmp_path, registry, f"--context={context}", "--build-arg=NAME")
    assert "SAID=hello environment" in registry.image("app", "1").configuration["config"]["Env"]


def test_the_account_of_the_docker_configuration_is_used(context: Path, tmp_path: Path) -> None:
    with Registry(user="bot", password="secret") as registry:
        account = {"auth": b64encode(b"bot:secret").decode()}
        write(tmp_path / "docker", {"config.json": json.dumps({"auths": {registry.address: account}})})
        result = Result(tmp_path, registry, f"--context={context}")
        assert (result.code, result.digest) == (0, registry.digest("app", "1"))


def test_a_certificate_is_trusted_when_it_is_given(context: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    with Registry(context=authority.server_context(["127.0.0.1"])) as registry:
        trust = f"--registry-certificate={registry.address}={authority.file}"
        codes = [Result(tmp_path, registry, f"--context={context}", *more).code for more in ((), (trust,))]
    assert codes == [1, 0]


USAGE = [
    pytest.param(["--nope=1"], "unknown flag: --nope", id="a flag nobody knows"),
    pytest.param(["--image-format=oci"], "unknown flag: --image-format", id="a flag only one of the Kanikos knows"),
    pytest.param(["-x"], "unknown shorthand flag: 'x' in -x", id="a letter nobody knows"),
    pytest.param(["extra"], 'unknown command "extra" for "executor"', id="a word that is no flag"),
    pytest.param(["--target"], "flag needs an argument: --target", id="a flag without its value"),
    pytest.param(
        ["--cache=maybe"],
        'invalid argument "maybe" for "--cache" flag: strconv.ParseBool: parsing "maybe": invalid syntax',
        id="a truth value that is none",
    ),
    pytest.param(
        ["--push-retry=x"],
        'invalid argument "x" for "--push-retry" flag: strconv.ParseInt: parsing "x": invalid syntax',
        id="a number that is none",
    ),
    pytest.param(
        ["--tar-path=x"],
        "the stand-in for Kaniko does not know --tar-path; Kaniko itself does",
        id="a flag the stand-in does not know",
    ),
    pytest.param([], "you must provide --destination, or use --no-push", id="no destination"),
    pytest.param(
        ["--no-push", "--context=dir:///nonexistent"],
        "error resolving dockerfile path: please provide a valid path to a Dockerfile within the build context with --dockerfile",
        id="a directory that is missing",
    ),
    pytest.param(
        ["--no-push", "--context=tar:///nonexistent"],
        "error resolving source context: open /nonexistent: no such file or directory",
        id="a tar that is missing",
    ),
    pytest.param(
        ["--no-push", f"--context=tar://{__file__}"],
        "error resolving source context: gzip: invalid header",
        id="a tar that is not packed",
    ),
    pytest.param(
        ["--no-push", "--context=foo://x"],
        "error resolving source context: unknown build context prefix provided, please use one of the following: gs://, dir://, tar://, s3://, git://, https://",
        id="a context of no known kind",
    ),
    pytest.param(
        ["--no-push", "--context=s3://bucket/x"],
        "the stand-in for Kaniko does not read s3://; Kaniko itself does",
        id="a context the stand-in does not read",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), USAGE)
def test_a_command_line_is_refused_for(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert (executor.main(arguments), capsys.readouterr().err) == (1, f"Error: {message}\n")


def test_an_object_that_is_missing_is_said_to_be(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Storage() as world:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", world.url)
        assert Result(tmp_path, registry, "--context=gs://contexts/none").code == 1
    assert capsys.readouterr().err == "Error: error resolving source context: storage: object doesn't exist\n"


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        pytest.param(
            HELLO,
            ["--target=two"],
            "Error finding target stage: two is not a valid target build stage",
            id="a target that is no stage",
        ),
        pytest.param(
            "FROM scratch\nCOPY none /",
            [],
            "error building stage: failed to get files used from context: failed to get fileinfo for {context}/none: lstat {context}/none: no such file or directory",
            id="a file that is missing",
        ),
        pytest.param(
            "FROM scratch\nCOPPY a /",
            [],
            "parsing dockerfile: dockerfile parse error on line 2: unknown instruction: COPPY",
            id="an instruction nobody knows",
        ),
        pytest.param(
            "FROM scratch\nUSER",
            [],
            "parsing dockerfile: dockerfile parse error on line 2: USER requires an argument",
            id="an instruction without its argument",
        ),
        pytest.param("FROM ${NOTHING}", [], "could not parse reference: ", id="a base that is not given"),
        pytest.param(
            "FROM {registry}/none:1",
            [],
            "unable to complete operation after 0 attempts, last error: GET http://{registry}/v2/none/manifests/1: MANIFEST_UNKNOWN: manifest unknown: none:1",
            id="a base that is missing",
        ),
        pytest.param("# nothing", [], "parsing dockerfile: no build stage in current context", id="no stage"),
        pytest.param(
            "FROM scratch\nRUN true",
            [],
            "the stand-in for Kaniko does not know RUN (line 2); Kaniko itself does",
            id="a command to run",
        ),
        pytest.param(
            "FROM scratch\nCOPY *.txt /",
            [],
            "the stand-in for Kaniko does not know this COPY (line 2): *.txt /",
            id="a pattern",
        ),
        pytest.param(
            "FROM scratch\nADD a.tar.gz /",
            [],
            "the stand-in for Kaniko does not know this ADD (line 2): a.tar.gz /",
            id="an archive to unpack",
        ),
        pytest.param(
            "FROM scratch\nCOPY --from=busybox a /",
            [],
            "the stand-in for Kaniko copies from the context and from earlier stages, not from busybox",
            id="an image to copy from",
        ),
        pytest.param(
            "FROM scratch\nCOPY --chown=joe hello /",
            [],
            "the stand-in for Kaniko knows owners by number only, not joe",
            id="an owner by name",
        ),
    ],
)
def test_a_build_fails_without_a_digest_for(
    registry: Registry,
    context: Path,
    tmp_path: Path,
    text: str,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = {"{registry}": registry.address, "{context}": str(context)}
    for name, value in names.items():
        text, message = text.replace(name, value), message.replace(name, value)
    write(context, {"Dockerfile": text})
    result = Result(tmp_path, registry, f"--context=dir://{context}", *arguments)
    assert (result.code, result.digest) == (1, None)
    assert capsys.readouterr().err == f"error building image: {message}\n"


def test_who_may_not_push_is_told_before_the_build(
    context: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Registry(user="bot", password="secret") as registry:
        result = Result(tmp_path, registry, f"--context={context}")
    assert (result.code, result.digest) == (1, None)
    assert capsys.readouterr().err == (
        "error checking push permissions -- make sure you entered the correct tag name, and that you are authenticated "
        f'correctly, and try again: checking push permission for "{registry.address}/app:1": '
        f"POST http://{registry.address}/v2/app/blobs/uploads/: UNAUTHORIZED: authentication required\n"
    )


def test_nothing_is_pushed_with_no_push(registry: Registry, context: Path, tmp_path: Path) -> None:
    result = Result(tmp_path, registry, f"--context={context}", "--no-push")
    assert (result.code, result.digest is None, registry.requests) == (0, False, [])
