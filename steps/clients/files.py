"""Files that are read with a limit, and written as a whole or not at all."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from steps.errors import StepError

KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")

_MEND = {
    errno.ENOENT: ("not-found", "check the path"),
    errno.ENOTDIR: ("not-found", "check the path"),
    errno.EEXIST: ("in-the-way", "give another path, or move what has this name"),
    errno.EISDIR: ("in-the-way", "give another path, or move what has this name"),
    errno.ELOOP: ("not-found", "mend the symbolic links"),
    errno.EACCES: ("permission", "run this as a user who may, or change the mode"),
    errno.EPERM: ("permission", "run this as a user who may, or change the mode"),
    errno.EROFS: ("read-only", "mount the volume for writing"),
    errno.ENOSPC: ("disk-full", "make room on the volume"),
    errno.EDQUOT: ("disk-full", "make room in the quota"),
}


def find_kustomization(directory: Path) -> Path:
    """The kustomization file of a directory.

    A symbolic link is followed as long as it stays in the repository (the directories upwards that have a `.git`, else the
    directory itself); the path returned is then where it leads to.

    Raises:
        StepError: there is none, or more than one; it is no regular file, or it leads out of the repository.
    """
    what = f"finding the kustomization of {directory}"
    with _translated(what):
        if not stat.S_ISDIR(directory.stat().st_mode):
            raise StepError("not-found", f"{what}: this is not a directory; give the one that holds the file")
        found = [name for name in KUSTOMIZATIONS if os.path.lexists(directory / name)]
        if not found:
            raise StepError("not-found", f"{what}: there is none of {', '.join(KUSTOMIZATIONS)}; check the path")
        if len(found) > 1:
            raise StepError("ambiguous", f"{what}: there are {' and '.join(found)}; keep one of them")
        path = directory / found[0]
        target = Path(os.path.realpath(path, strict=True))
        for repository in _repositories(directory):
            if not target.is_relative_to(repository):
                raise StepError(
                    "outside", f"{what}: {path} leads to {target}, out of {repository}; give a path within it"
                )
        if not stat.S_ISREG(target.stat().st_mode):
            raise StepError("not-found", f"{what}: {path} is not a file; put the kustomization there")
    return target if path.is_symlink() else path


def hold_within(directory: Path, root: Path) -> None:
    """Refuse a directory that leads out of another one, by `..` or by a link.

    Raises:
        StepError: it does, or is not there.
    """
    with _translated(f"finding {directory}"):
        target, top = (Path(os.path.realpath(path, strict=True)) for path in (directory, root))
    if not target.is_relative_to(top):
        raise StepError("outside", f"finding {directory}: it leads to {target}, out of {root}; give a path within it")


def _repositories(directory: Path) -> list[Path]:
    """The repositories that a directory is in by its name, whatever links are part of it; itself, when there is none."""
    absolute = Path(os.path.abspath(directory))  # noqa: PTH100 - resolve() would follow a link that leads out
    found = [parent for parent in (absolute, *absolute.parents) if (parent / ".git").exists()] or [absolute]
    return [Path(os.path.realpath(repository)) for repository in found]


def read(path: Path, limit: int) -> bytes:
    """What a file holds, cut off one byte behind the limit, so that the reader sees that there is more."""
    with _translated(f"reading {path}"), path.open("rb") as file:
        return file.read(limit + 1)


def write(path: Path, data: bytes) -> None:
    """Make a file, or replace what it holds when that differs, whole or not at all.

    Raises:
        StepError: it cannot be written; it holds what it held.
    """
    with _translated(f"writing {path}"):
        with contextlib.suppress(FileNotFoundError):
            if path.read_bytes() == data:
                return
        temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def make_directory(directory: Path) -> None:
    """Make a directory, and those above it, unless it is there.

    Raises:
        StepError: it cannot be made, or something else has its name.
    """
    with _translated(f"making the directory {directory}"):
        directory.mkdir(parents=True, exist_ok=True)


def names(directory: Path) -> list[str]:
    """The names of all that is in a directory, in order."""
    with _translated(f"reading {directory}"):
        return sorted(os.listdir(directory))  # noqa: PTH208 - names are what is wanted


def regular(directory: Path) -> list[str]:
    """The names of the regular files of a directory, and of nothing else that is there."""
    with _translated(f"reading {directory}"), os.scandir(directory) as entries:
        return sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))


def remove(path: Path) -> None:
    """Remove a file, which may be gone already."""
    with _translated(f"removing {path}"):
        path.unlink(missing_ok=True)


def replace(path: Path, data: bytes) -> None:
    """Replace what a file holds, so that at any moment, also after a crash, it holds the old bytes or the new ones.

    Args:
        path: a file that exists; its mode is kept, and a symbolic link to it stays one.
        data: the new bytes.

    Raises:
        StepError: it cannot be written; it holds what it held.
    """
    with _translated(f"writing {path}"):
        path = Path(os.path.realpath(path, strict=True))
        mode = stat.S_IMODE(path.stat().st_mode)
        temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(descriptor, mode)
                os.fsync(descriptor)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync(path.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason, mend = _MEND.get(error.errno or 0, ("input-output", "see what the system says"))
        where = f" ({error.filename})" if error.filename else ""
        raise StepError(reason, f"{what}: {error.strerror}{where}; {mend}") from error
