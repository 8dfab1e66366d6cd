"""A small base image that runs, made of the system's own busybox: what `FROM busybox` is where no registry is reached."""

import functools
import io
import struct
import tarfile
from pathlib import Path

import sh

from tests.sandbox import image
from tests.sandbox.registry import Registry

_PROGRAM = Path("/bin/busybox")
_PT_INTERP = 3


class MissingError(Exception):
    """There is no busybox that runs by itself; the message says what to install."""


def put(registry: Registry, name: str = "library/busybox", tag: str = "1") -> str:
    """Store the image `name:tag` and return its digest."""
    return registry.put(name, tag, whole())


@functools.cache
def whole() -> image.Image:
    """The image; MissingError when it cannot be made here."""
    return image.make(_layer(), {"Cmd": ["sh"], "Env": ["PATH=/bin"]})


def _layer() -> bytes:
    if not (_PROGRAM.is_file() and _is_static(_PROGRAM.read_bytes())):
        raise MissingError(f"there is no static {_PROGRAM}; install the package busybox-static")
    applets = [name for name in str(sh.Command(str(_PROGRAM))("--list")).split() if name != "busybox"]
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        for name, mode in (("bin", 0o755), ("etc", 0o755), ("root", 0o700), ("tmp", 0o1777)):
            _add(archive, name, tarfile.DIRTYPE, mode)
        _add(archive, "bin/busybox", tarfile.REGTYPE, 0o755, _PROGRAM.read_bytes())
        for name in applets:
            _add(archive, f"bin/{name}", tarfile.SYMTYPE, 0o777, link="busybox")
        users = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/tmp:/bin/false\n"
        _add(archive, "etc/passwd", tarfile.REGTYPE, 0o644, users)
        _add(archive, "etc/group", tarfile.REGTYPE, 0o644, b"root:x:0:\nnobody:x:65534:\n")
    return layer.getvalue()


def _add(archive: tarfile.TarFile, name: str, kind: bytes, mode: int, content: bytes = b"", *, link: str = "") -> None:
    header = tarfile.TarInfo(name)
    header.type, header.mode, header.size, header.linkname = kind, mode, len(content), link
    archive.addfile(header, io.BytesIO(content))


def _is_static(program: bytes) -> bool:
    """Whether an ELF program names no interpreter, which would load shared libraries."""
    if program[:5] != b"\x7fELF\x02":
        return False
    (table,) = struct.unpack_from("<Q", program, 32)
    size, count = struct.unpack_from("<HH", program, 54)
    kinds = [struct.unpack_from("<I", program, table + index * size)[0] for index in range(count)]
    return _PT_INTERP not in kinds
