"""OCI images as values: made from layers, and read back as the files a container would see."""

import gzip
import hashlib
import io
import json
import platform
import posixpath
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEXES = {
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
}
_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
PLATFORM = f"linux/{_ARCHITECTURE}"
"""What images are made for: this machine."""
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"

Tree = dict[str, tuple[tarfile.TarInfo, bytes]]
"""Entries by path without a leading slash, each with its header and, for a regular file, its bytes."""


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(frozen=True)
class Image:
    """A manifest and what it names.

    Attributes:
        manifest: the manifest's JSON, whose sha256 is the image's digest.
        blobs: the configuration and the layers, by digest.
    """

    manifest: bytes
    blobs: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        return digest(self.manifest)

    @property
    def configuration(self) -> dict[str, Any]:
        """The whole configuration: `architecture`, `os`, `config`, `rootfs`."""
        configuration: dict[str, Any] = json.loads(self.blobs[json.loads(self.manifest)["config"]["digest"]])
        return configuration

    @property
    def layers(self) -> list[bytes]:
        """The layers as they are stored, the lowest first."""
        return [self.blobs[layer["digest"]] for layer in json.loads(self.manifest)["layers"]]


def make(layer: bytes, config: Mapping[str, Any], base: Image | None = None) -> Image:
    """An image for this machine, of one layer or of one more than its base. The same input gives the same digest.

    Args:
        layer: an uncompressed tar.
        config: how a container starts: `Cmd`, `Env`, `Labels` and so on.
        base: the image below.
    """
    packed = gzip.compress(layer, mtime=0)
    below = base.layers if base else []
    configuration = json.dumps(
        {
            "architecture": _ARCHITECTURE,
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": dict(config),
            "rootfs": {
                "type": "layers",
                "diff_ids": [*(base.configuration["rootfs"]["diff_ids"] if base else []), digest(layer)],
            },
        },
        sort_keys=True,
    ).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor(_CONFIG, configuration),
        "layers": [_descriptor(_LAYER, content) for content in [*below, packed]],
    }
    blobs = {digest(content): content for content in [configuration, *below, packed]}
    return Image(json.dumps(manifest, sort_keys=True).encode(), blobs)


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(content), "size": len(content)}


def tree(layers: Iterable[bytes]) -> Tree:
    """The file system that layers (tar or tar.gz, the lowest first) make, whiteouts applied."""
    entries: Tree = {}
    for layer in layers:
        members = list(_members(layer))
        for path, _, _ in members:
            directory, name = posixpath.split(path)
            if name == ".wh..wh..opq":
                _remove_below(entries, directory)
            elif name.startswith(".wh."):
                _remove(entries, posixpath.join(directory, name.removeprefix(".wh.")))
        for path, header, content in members:
            if posixpath.basename(path).startswith(".wh."):
                continue
            if not (header.isdir() and path in entries and entries[path][0].isdir()):
                _remove(entries, path)
            entries[path] = entries[_normal(header.linkname)] if header.islnk() else (header, content)
    return entries


def files(entries: Tree) -> dict[str, bytes]:
    """The regular files of a tree, by path without a leading slash."""
    return {path: content for path, (header, content) in sorted(entries.items()) if header.isfile()}


def _members(layer: bytes) -> Iterator[tuple[str, tarfile.TarInfo, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        for header in archive:
            path = _normal(header.name)
            if path:
                content = archive.extractfile(header) if header.isfile() else None
                yield path, header, content.read() if content else b""


def _normal(name: str) -> str:
    return posixpath.normpath("/" + name).strip("/")


def _remove(entries: Tree, path: str) -> None:
    entries.pop(path, None)
    _remove_below(entries, path)


def _remove_below(entries: Tree, directory: str) -> None:
    for path in [path for path in entries if path.startswith(directory + "/" if directory else "")]:
        del entries[path]
