"""Reproducible tar.gz files: the same tree gives the same bytes, whoever packs it, when and on how many cores.

The tar is cut into pieces of 1 MiB and each is a gzip member of its own, so that several cores compress at once; to every
reader the members in a row are one stream (RFC 1952, 2.2). The headers are written here because tarfile needs 30 µs for
each, and 30 ms to load.
"""

import contextlib
import hashlib
import heapq
import os
import posixpath
import secrets
import stat
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, NamedTuple

from steps.core.build_context import Contents, Matched, Selection, link_problem, partial_affixes, shown
from steps.errors import StepError

PIECE = 1 << 20
MODIFIED = 315532800
MOST_THREADS = 8

_FILE, _SYMLINK, _DIRECTORY, _EXTENDED = b"0", b"2", b"5", b"x"
_BLOCK = 512
_HEADER = struct.Struct("100s8s8s8s12s12s8s1s100s8s247x")
_LONGEST_NAME = 100
_LARGEST_FILE = 8**11 - 1
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


@dataclass(frozen=True)
class Packed:
    """What `pack` wrote.

    Attributes:
        contents: what of the directory is in it.
        sha256: of the bytes written, 64 hex digits.
        size: their number.
    """

    contents: Contents
    sha256: str
    size: int


@contextlib.contextmanager
def created(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes its name when the block ends well, and leaves nothing behind when it does not."""
    prefix, suffix = partial_affixes(path.name)
    partial = path.with_name(f"{prefix}{secrets.token_hex(4)}{suffix}")
    try:
        with partial.open("xb") as output:
            yield output
            output.flush()
            os.fsync(output.fileno())
        partial.replace(path)
    except OSError as error:
        raise StepError("unwritable", f"cannot write {path}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def pack(
    directory: Path,
    selection: Selection,
    extra: Mapping[str, bytes],
    output: BinaryIO,
    *,
    keep_links: bool = False,
    progress: Callable[[int], object] = lambda _: None,
    threads: int | None = None,
) -> Packed:
    """Write a directory as tar.gz.

    Args:
        directory: absolute and without symlinks.
        selection: which of its paths to take.
        extra: files to add, by path; there are none of these names in the directory.
        output: where the bytes go.
        keep_links: take symlinks that are absolute or lead out of the directory, which are errors otherwise.
        progress: called with the number of bytes of each piece of the tar, once it is full.
        threads: how many compress; None is one for each core this process may use.
    """
    contents = Contents()
    with ThreadPoolExecutor(threads or min(MOST_THREADS, len(os.sched_getaffinity(0)))) as pool:
        stream = _Stream(pool, output, progress)
        with _opened(directory, ".") as descriptor:
            added = (_Member(path.encode(), path, _FILE, content=extra[path]) for path in sorted(extra))
            for member in heapq.merge(_walk(descriptor, "", (), selection), added, key=itemgetter(0)):
                _write(member, stream, contents, directory, keep_links=keep_links)
        stream.end()
    return Packed(contents, stream.sha256.hexdigest(), stream.size)


class _Member(NamedTuple):
    """An entry of the archive: of the directory, or given with its content.

    `parent` is the descriptor of the directory that has it by this `name`, open only until the next one is asked for.
    """

    encoded: bytes
    path: str
    kind: bytes
    name: str = ""
    parent: int = -1
    content: bytes | None = None


def _walk(directory: int, prefix: str, above: Matched, selection: Selection) -> Iterator[_Member]:
    """The members below a directory, in the order of the bytes of their paths.

    `a` comes before `a.txt` and that before `a/b`: so a directory and what is in it are listed apart.
    """
    listed: list[tuple[bytes, str, bytes | None, str, Matched]] = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                name = entry.name
                path = prefix + name
                kept, entered, matched = selection.judge(path, above)
                if kept:
                    listed.append((_encoded(path), path, _kind(entry, path), name, ()))
                if entered and entry.is_dir(follow_symlinks=False):
                    listed.append((_encoded(path + "/"), path, None, name, matched))
    except OSError as error:
        raise _unreadable(prefix or ".", error) from error
    for encoded, path, kind, name, matched in sorted(listed):
        if kind is not None:
            yield _Member(encoded, path, kind, name, directory)
        else:
            with _opened(name, path, directory) as descriptor:
                yield from _walk(descriptor, path + "/", matched, selection)


def _kind(entry: "os.DirEntry[str]", path: str) -> bytes:
    if entry.is_file(follow_symlinks=False):
        return _FILE
    if entry.is_dir(follow_symlinks=False):
        return _DIRECTORY
    if entry.is_symlink():
        return _SYMLINK
    raise StepError(
        "special-file",
        f"{shown(path)} in the context is a named pipe, a socket or a device; take it away or name it in .dockerignore",
    )


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise StepError(
            "name", f"the name {shown(text)} in the context is not UTF-8; rename it or name it in .dockerignore"
        ) from None


def _unreadable(path: str, error: OSError) -> StepError:
    return StepError("unreadable", f"cannot read {shown(path)} in the context: {error.strerror}")


@contextlib.contextmanager
def _opened(directory: str | Path, path: str, parent: int | None = None) -> Iterator[int]:
    try:
        descriptor = os.open(directory, _FLAGS | os.O_DIRECTORY, dir_fd=parent)
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write(member: _Member, stream: "_Stream", contents: Contents, directory: Path, *, keep_links: bool) -> None:
    if member.content is not None:
        stream.write(_header(member.encoded, _FILE, 0o644, len(member.content)))
        stream.write(member.content)
        stream.pad(len(member.content))
    elif member.kind == _FILE:
        contents.add_file(member.path, _write_file(member, stream))
    elif member.kind == _DIRECTORY:
        stream.write(_header(member.encoded + b"/", _DIRECTORY, 0o755))
    else:
        stream.write(_header(member.encoded, _SYMLINK, 0o777, target=_target(member, directory, keep_links=keep_links)))
        contents.symlinks += 1


def _target(member: _Member, directory: Path, *, keep_links: bool) -> bytes:
    try:
        target = os.readlink(member.name, dir_fd=member.parent)
    except OSError as error:
        raise _unreadable(member.path, error) from error
    resolved = os.path.realpath(directory / member.path)
    problem = None if keep_links else link_problem(target, resolved, str(directory))
    if problem:
        raise StepError(
            "symlink",
            f"the symlink {shown(member.path)} -> {shown(target)} in the context {problem}; make it relative and lead "
            "inside, name it in .dockerignore, or pack it as it is by --symlinks=keep",
        )
    return _encoded(target)


def _write_file(member: _Member, stream: "_Stream") -> int:
    """Write a regular file and return its size."""
    try:
        descriptor = os.open(member.name, _FLAGS, dir_fd=member.parent)
        try:
            status = os.fstat(descriptor)
            size = status.st_size
            stream.write(_header(member.encoded, _FILE, 0o755 if status.st_mode & stat.S_IXUSR else 0o644, size))
            same = stat.S_ISREG(status.st_mode) and stream.copy(descriptor, size)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _unreadable(member.path, error) from error
    if not same:
        raise StepError("changed", f"{shown(member.path)} in the context was changed while it was read; run again")
    return size


def _header(name: bytes, kind: bytes, mode: int, size: int = 0, target: bytes = b"") -> bytes:
    """The ustar header of a member; what does not fit into it goes before it, as pax has it."""
    extended = b""
    if len(name) > _LONGEST_NAME:
        extended += _record(b"path", name)
    if len(target) > _LONGEST_NAME:
        extended += _record(b"linkpath", target)
    if size > _LARGEST_FILE:
        extended += _record(b"size", b"%d" % size)
        size = 0
    block = _block(name[:_LONGEST_NAME], kind, mode, size, target[:_LONGEST_NAME])
    if not extended:
        return block
    return _block(b"pax", _EXTENDED, 0o644, len(extended), b"") + extended + bytes(-len(extended) % _BLOCK) + block


def _record(keyword: bytes, value: bytes) -> bytes:
    """A pax record, which begins with its own length, the digits included."""
    rest = b" %b=%b\n" % (keyword, value)
    length = len(rest) + len(str(len(rest)))
    return b"%d%b" % (len(rest) + len(str(length)), rest)


def _block(name: bytes, kind: bytes, mode: int, size: int, link: bytes) -> bytes:
    none = b"0000000\0"
    fields = (name, b"%07o\0" % mode, none, none, b"%011o\0" % size, b"%011o\0" % MODIFIED)
    rest = (kind, link, b"ustar\x0000")
    checksum = sum(b"".join((*fields, b" " * 8, *rest)))
    return _HEADER.pack(*fields, b"%06o\0 " % checksum, *rest)


class _Stream:
    """Cuts a tar into pieces, has them compressed and writes them in their order."""

    def __init__(self, pool: ThreadPoolExecutor, output: BinaryIO, progress: Callable[[int], object]) -> None:
        self.sha256 = hashlib.sha256()
        self.size = 0
        self._pool = pool
        self._output = output
        self._progress = progress
        self._queue: deque[Future[bytes]] = deque()
        self._piece = memoryview(bytearray(PIECE))
        self._used = 0

    def write(self, content: bytes) -> None:
        rest = memoryview(content)
        while rest:
            part = rest[: PIECE - self._used]
            self._piece[self._used : self._used + len(part)] = part
            self._advance(len(part))
            rest = rest[len(part) :]

    def copy(self, descriptor: int, size: int) -> bool:
        """Write what a file holds; False when that is not the number of bytes expected."""
        left = size
        while left:
            count = os.readv(descriptor, [self._piece[self._used : self._used + left]])
            if not count:
                return False
            self._advance(count)
            left -= count
        self.pad(size)
        return not os.read(descriptor, 1)

    def pad(self, size: int) -> None:
        """Fill up the last block of a file; a piece is zeros at first, and ends where a block ends."""
        self._advance(-size % _BLOCK)

    def end(self) -> None:
        """Write the end of the tar and wait for all that is under way."""
        self.write(bytes(2 * _BLOCK))
        self._submit()
        while self._queue:
            self._emit()

    def _advance(self, count: int) -> None:
        self._used += count
        if self._used == PIECE:
            self._submit()

    def _submit(self) -> None:
        self._queue.append(self._pool.submit(zlib.compress, self._piece[: self._used], 1, 31))
        self._progress(self._used)
        self._piece = memoryview(bytearray(PIECE))
        self._used = 0
        if len(self._queue) > 2 * MOST_THREADS:
            self._emit()

    def _emit(self) -> None:
        compressed = self._queue.popleft().result()
        self.sha256.update(compressed)
        self.size += len(compressed)
        try:
            self._output.write(compressed)
        except OSError as error:
            raise StepError("unwritable", f"cannot write the archive: {error.strerror}") from error


def holds(file: Path, path: str) -> bool:
    """Whether a tar.gz has a file of this path, written as it is or with `./` before it."""
    import tarfile

    try:
        with tarfile.open(file, "r|gz") as opened:
            return any(posixpath.normpath(member.name) == path and not member.isdir() for member in opened)
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise StepError("unreadable", f"cannot read {file} as tar.gz, which Kaniko wants: {error}") from error
