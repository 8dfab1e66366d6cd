"""A stand-in for Kaniko's executor, where tests have no Go and no root: `python -m tests.sandbox.executor --context=...`.

It takes the flags that chainguard-dev/kaniko v1.25.16 and osscontainertools/kaniko v1.28.3 both know and refuses others
as they do; it reads the context, pulls the base, makes an image of one layer more, and pushes it. A Dockerfile with RUN
is refused. The same input gives the same digest, as Kaniko does only with `--reproducible`.
"""

import gzip
import os
import posixpath
import re
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from tests.sandbox import dockerfile, image
from tests.sandbox.dockerfile import BuildError
from tests.sandbox.image import Image, Tree
from tests.sandbox.registry_client import DOCKER_HUB, Client, Reference, RegistryError, docker_account

_BOOLEANS = {
    *("cache", "cache-copy-layers", "cache-run-layers", "cleanup", "compressed-caching", "force"),
    *("force-build-metadata", "ignore-var-run", "insecure", "insecure-pull", "log-timestamp", "no-push"),
    *("no-push-cache", "push-ignore-immutable-tag-errors", "reproducible", "single-snapshot"),
    *("skip-default-registry-fallback", "skip-push-permission-check", "skip-tls-verify", "skip-tls-verify-pull"),
    *("skip-unused-stages", "use-new-run"),
}
_NUMBERS = {"image-download-retry", "image-fs-extract-retry", "push-retry"}
_TEXTS = {
    *("build-arg", "cache-dir", "cache-repo", "cache-ttl", "context", "context-sub-path", "custom-platform"),
    *("destination", "digest-file", "dockerfile", "ignore-path", "image-name-tag-with-digest-file"),
    *("image-name-with-digest-file", "insecure-registry", "label", "log-format", "registry-certificate"),
    *("registry-map", "registry-mirror", "skip-tls-verify-registry", "snapshot-mode", "target", "verbosity"),
}
_NOT_HERE = {
    *("annotation", "bucket", "compression", "compression-level", "customPlatform", "git", "kaniko-dir"),
    *("oci-layout-path", "registry-client-cert", "snapshotMode", "tar-path", "tarPath", "whitelist-var-run"),
}
_MOST_LINKS = 40
_SHORT = {"c": "context", "d": "destination", "f": "dockerfile", "v": "verbosity"}
_TRUE, _FALSE = {"1", "t", "T", "true", "TRUE", "True"}, {"0", "f", "F", "false", "FALSE", "False"}


def main(arguments: Sequence[str]) -> int:
    """Build and push as the command line says, and return the exit code."""
    try:
        flags = _parse(arguments)
        context, where = _context(flags)
        text = _dockerfile(flags, context)
    except _UsageError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    try:
        _check_push(flags)
        built = _build(flags, text, context, where)
        _push(flags, built)
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


class _UsageError(Exception):
    """What Kaniko reports before it builds."""


class _Flags(dict[str, list[str]]):
    """Every value given, by the flag's name."""

    def text(self, name: str, default: str = "") -> str:
        return self.get(name, [default])[-1]

    def true(self, name: str) -> bool:
        return self.text(name) in _TRUE

    def pairs(self, name: str, separator: str | None = None) -> dict[str, str]:
        given = [part for value in self.get(name, []) for part in (value.split(separator) if separator else [value])]
        return {key: value for key, _, value in (part.partition("=") for part in given)}


def _parse(arguments: Sequence[str]) -> _Flags:
    flags, rest = _Flags(), list(arguments)
    while rest:
        token = rest.pop(0)
        if token.startswith("--"):
            name, equals, value = token[2:].partition("=")
        elif token.startswith("-") and token[1:2] in _SHORT:
            name, value = _SHORT[token[1]], token[2:].removeprefix("=")
            equals = value
        elif token.startswith("-"):
            raise _UsageError(f"unknown shorthand flag: {token[1:2]!r} in {token}")
        else:
            raise _UsageError(f'unknown command "{token}" for "executor"')
        if name in _NOT_HERE:
            raise _UsageError(f"the stand-in for Kaniko does not know --{name}; Kaniko itself does")
        if name not in _BOOLEANS | _NUMBERS | _TEXTS:
            raise _UsageError(f"unknown flag: --{name}")
        if not equals and name not in _BOOLEANS:
            if not rest:
                raise _UsageError(f"flag needs an argument: {token}")
            value = rest.pop(0)
        elif not equals:
            value = "true"
        flags.setdefault(name, []).append(_checked(name, value))
    if "destination" not in flags and not flags.true("no-push"):
        raise _UsageError("you must provide --destination, or use --no-push")
    if flags.text("custom-platform", image.PLATFORM) != image.PLATFORM:
        raise _UsageError(f"the stand-in for Kaniko builds for {image.PLATFORM} only")
    return flags


def _checked(name: str, value: str) -> str:
    if name in _BOOLEANS and value not in _TRUE | _FALSE:
        raise _UsageError(
            f'invalid argument "{value}" for "--{name}" flag: strconv.ParseBool: parsing "{value}": invalid syntax'
        )
    if name in _NUMBERS and not re.fullmatch(r"[-+]?\d+", value):
        raise _UsageError(
            f'invalid argument "{value}" for "--{name}" flag: strconv.ParseInt: parsing "{value}": invalid syntax'
        )
    return value


def _context(flags: _Flags) -> tuple[Tree, str]:
    """The files of the context, and the directory that messages call it."""
    scheme, separator, place = flags.text("context", "/workspace/").rpartition("://")
    inside = flags.text("context-sub-path")
    if scheme in ("", "dir"):
        directory = Path(place, inside) if separator else Path(place)
        return _read(directory), str(directory)
    try:
        if scheme == "tar":
            packed = Path(place).read_bytes()
        elif scheme == "gs":
            packed = _download(*place.split("/", 1))
        elif scheme in ("s3", "git", "https"):
            raise _UsageError(f"the stand-in for Kaniko does not read {scheme}://; Kaniko itself does")
        else:
            raise _UsageError(
                "error resolving source context: unknown build context prefix provided, please use one of the "
                "following: gs://, dir://, tar://, s3://, git://, https://"
            )
        unpacked = image.tree([gzip.decompress(packed)])
    except FileNotFoundError as error:
        raise _UsageError(f"error resolving source context: open {place}: no such file or directory") from error
    except gzip.BadGzipFile as error:
        raise _UsageError("error resolving source context: gzip: invalid header") from error
    prefix = f"{inside.strip('/')}/" if inside else ""
    tree = {path.removeprefix(prefix): entry for path, entry in unpacked.items() if path.startswith(prefix)}
    return tree, posixpath.join("/kaniko/buildcontext", inside).rstrip("/")


def _read(directory: Path) -> Tree:
    tree: Tree = {}
    for path in sorted(directory.rglob("*")):
        header = tarfile.TarInfo()
        header.mode = path.lstat().st_mode & 0o7777
        if path.is_symlink():
            header.type, header.linkname = tarfile.SYMTYPE, str(path.readlink())
        elif path.is_dir():
            header.type = tarfile.DIRTYPE
        content = path.read_bytes() if header.isreg() else b""
        header.size = len(content)
        tree[path.relative_to(directory).as_posix()] = (header, content)
    return tree


def _download(bucket: str, name: str) -> bytes:
    from google.api_core.exceptions import NotFound
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    if "STORAGE_EMULATOR_HOST" not in os.environ:
        raise _UsageError("the stand-in for Kaniko reads gs:// with STORAGE_EMULATOR_HOST only")
    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]  # google-auth is typed in part
    client = storage.Client(project="none", credentials=credentials)
    try:
        content: bytes = client.bucket(bucket).blob(name).download_as_bytes()
    except NotFound:
        raise _UsageError("error resolving source context: storage: object doesn't exist") from None
    return content


def _dockerfile(flags: _Flags, context: Tree) -> str:
    name = flags.text("dockerfile", "Dockerfile")
    if Path(name).is_file():
        return Path(name).read_text(encoding="utf-8")
    path = posixpath.normpath(name)
    for _ in range(_MOST_LINKS):
        if path not in context or not context[path][0].issym():
            break
        path = posixpath.normpath(posixpath.join(posixpath.dirname(path), context[path][0].linkname))
    if path not in context or not context[path][0].isreg():
        raise _UsageError(
            "error resolving dockerfile path: "
            "please provide a valid path to a Dockerfile within the build context with --dockerfile"
        )
    return context[path][1].decode()


def _build(flags: _Flags, text: str, context: Tree, where: str) -> Image:
    arguments = {
        key: value if equals else os.environ.get(key, "")
        for key, equals, value in (argument.partition("=") for argument in flags.get("build-arg", []))
    }
    try:
        return dockerfile.build(
            text,
            context,
            where=where,
            arguments=arguments,
            labels=flags.pairs("label"),
            target=flags.text("target"),
            pull=lambda reference: _pull(flags, reference),
        )
    except (BuildError, RegistryError) as error:
        raise BuildError(f"error building image: {error}") from error


def _pull(flags: _Flags, text: str) -> Image:
    reference = Reference.parse(text)
    mapped = [value for key, value in flags.pairs("registry-map", ";").items() if key == reference.registry]
    mirrors = flags.get("registry-mirror", []) if reference.registry == DOCKER_HUB else []
    registries = [*mapped, *mirrors]
    if not (registries and flags.true("skip-default-registry-fallback")):
        registries.append(reference.registry)
    failure = None
    for registry in registries:
        try:
            return _client(flags, registry, "-pull").pull(reference)
        except RegistryError as error:
            failure = error
    raise BuildError(f"unable to complete operation after 0 attempts, last error: {failure}")


def _check_push(flags: _Flags) -> None:
    if flags.true("no-push") or flags.true("skip-push-permission-check"):
        return
    stage = "getting tag for destination"
    try:
        for destination in flags["destination"]:
            reference = Reference.parse(destination)
            stage = f'checking push permission for "{destination}"'
            _client(flags, reference.registry).check_push(reference)
    except RegistryError as error:
        raise BuildError(
            "error checking push permissions -- make sure you entered the correct tag name, and that you are "
            f"authenticated correctly, and try again: {stage}: {error}"
        ) from error


def _push(flags: _Flags, built: Image) -> None:
    references = [Reference.parse(destination) for destination in flags.get("destination", [])]
    for name, content in {
        "digest-file": built.digest,
        "image-name-with-digest-file": "".join(f"{each.name}@{built.digest}\n" for each in references),
        "image-name-tag-with-digest-file": "".join(f"{each.name}:{each.tag}@{built.digest}\n" for each in references),
    }.items():
        if name in flags:
            Path(flags.text(name)).parent.mkdir(parents=True, exist_ok=True)
            Path(flags.text(name)).write_text(content, encoding="utf-8")
    if flags.true("no-push"):
        return
    for reference in references:
        try:
            _client(flags, reference.registry).push(reference, built)
        except RegistryError as error:
            raise BuildError(f"error pushing image: failed to push to destination {reference}: {error}") from error
        sys.stderr.write(f"INFO[0000] Pushed {reference.name}@{built.digest}\n")


def _client(flags: _Flags, registry: str, kind: str = "") -> Client:
    """A client with what the flags say of a registry; `kind` is `-pull` for the flags that concern pulling."""
    verify: bool | str = flags.pairs("registry-certificate").get(registry, True)
    if flags.true(f"skip-tls-verify{kind}") or registry in flags.get("skip-tls-verify-registry", []):
        verify = False
    plain = flags.true(f"insecure{kind}") or registry in flags.get("insecure-registry", [])
    return Client(registry, plain=plain, verify=verify, account=docker_account(registry))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
