"""Renders kustomize packages by the program itself, which finds no way to anything that is not there already.

kustomize has no switch for that. So what a package brings in is looked at first, and then it is rendered without git, with
a proxy that nobody answers at, and with limits to time, memory and output.
"""

import os
import re
import resource
import shutil
import tempfile
from pathlib import Path
from typing import IO

from steps.clients import files
from steps.clients.interruption import undisturbed
from steps.core import kustomization, package
from steps.core.package import Inclusion
from steps.core.rendering import Built
from steps.core.text import shown
from steps.errors import StepError

SECONDS = 120
LARGEST = 1 << 26
MEMORY = 1 << 31
MOST_DIRECTORIES = 1000
LONGEST_MESSAGE = 600
_TELLING = [
    re.compile(pattern)
    for pattern in (
        r"kustomization\.\w+ is empty",
        r"security; file '[^']+' is not in or below '[^']+'",
        r"cycle detected: candidate root '[^']+' contains visited root '[^']+'",
        r"(?:lstat|stat|open|read) [^\s:']+: [a-z ]+",
        r"no matches for Id [\w.~|/\[\] -]+",
        r"may not add resource with an already registered id: [\w.~|/\[\] -]+",
        r"unknown field \\?\"[\w.-]+\\?\"",
        r"cannot unmarshal [a-z]+ into Go [a-z ]+[\w.]*",
        r"options\.index [0-9]+ is out of bounds",
        r"yaml: (?:line [0-9]+: )?[a-z ]+",
    )
]
"""What kustomize says of names and places; around it, it may quote what a Secret holds."""


class _Unrenderable(Exception):
    """A package of which no manifests can be made here; the message says why."""


def build(directory: Path, repository: Path | None = None) -> Built:
    """The manifests of a package, as `kustomize build` prints them.

    There are none when it wants something from a server, from out of the repository or of another program, and when kustomize
    refuses it, or takes too long or too much.

    Args:
        directory: of the kustomization.
        repository: the root of the repository that it is in; None when anything on this machine may be included.

    Raises:
        StepError: there is no kustomize.
    """
    program = shutil.which("kustomize")
    if program is None:
        raise StepError(
            "no-kustomize", "rendering: there is no `kustomize` on PATH: install it, or do without --verify"
        )
    try:
        _check(directory, repository)
        with tempfile.TemporaryDirectory() as place:
            return Built(text=_run(program, directory.resolve(), Path(place)))
    except _Unrenderable as why:
        return Built(why_not=str(why))


def _check(directory: Path, repository: Path | None) -> None:
    """Refuse a package unless all that it brings in is there."""
    root = Path(os.path.realpath(repository)) if repository else Path("/")
    seen: set[tuple[Path, bool]] = set()
    left = [(directory, False)]
    while left:
        following, of_plugins = left.pop()
        current = Path(os.path.realpath(following))
        if (current, of_plugins) in seen:
            continue
        seen.add((current, of_plugins))
        if len(seen) > MOST_DIRECTORIES:
            raise _Unrenderable(f"it brings in more than {MOST_DIRECTORIES} directories")
        where, inclusions = _inclusions(current, directory)
        for each in inclusions:
            target = current / each.text
            is_plugin = each.is_plugin or of_plugins
            place = f"line {each.line} of {where} brings in"
            # The functions of `os.path` know that a text that can be no path is none.
            if each.is_remote(exists=os.path.lexists(target)):
                raise _Unrenderable(
                    f"{place} {'a URL' if each.is_document else shown(each.text)}, which is not fetched"
                )
            if is_plugin and os.path.isfile(target) and b"://" in files.read(target, kustomization.LARGEST):  # noqa: PTH113
                raise _Unrenderable(f"{place} {shown(each.text)}, which has a URL, which is not fetched")
            if os.path.isdir(target):  # noqa: PTH112
                if not Path(os.path.realpath(target)).is_relative_to(root):
                    raise _Unrenderable(f"{place} {shown(each.text)}, which leads out of the repository")
                left.append((target, is_plugin))


def _inclusions(current: Path, directory: Path) -> tuple[str, list[Inclusion]]:
    """The name of a directory's kustomization, and what it brings in; nothing when there is none, as kustomize will say."""
    try:
        path = files.find_kustomization(current)
    except StepError as error:
        if error.reason == "not-found" and current != Path(os.path.realpath(directory)):
            return "", []
        raise _Unrenderable(str(error)) from error
    where = os.path.relpath(path, os.path.realpath(directory))
    content = files.read(path, kustomization.LARGEST)
    try:
        if len(content) > kustomization.LARGEST:
            raise _Unrenderable(f"{where} has more than {kustomization.LARGEST} bytes")
        told = package.read(content.decode("utf-8-sig"))
    except (StepError, UnicodeDecodeError) as error:
        raise _Unrenderable(f"nobody can say what {where} brings in: {error}") from error
    for program in told.programs:
        raise _Unrenderable(f"line {program.line} of {where} needs {program.text}, which is not run here")
    return where, told.inclusions


def _run(program: str, directory: Path, place: Path) -> str:
    import sh

    empty = place / "empty"
    empty.mkdir()
    environment = {
        **dict.fromkeys(("PATH", "HOME", "TMPDIR", "XDG_CONFIG_HOME"), str(empty)),
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"),
        "GOMEMLIMIT": str(MEMORY // 4),
    }
    with (place / "output").open("w+b") as output, (place / "errors").open("w+b") as errors:
        child = None
        try:
            with undisturbed():
                child = sh.Command(program)(
                    "build",
                    str(directory),
                    _env=environment,
                    _cwd=str(empty),
                    _out=output,
                    _err=errors,
                    _tty_out=False,
                    _bg=True,
                    _bg_exc=False,
                    _timeout=SECONDS,
                    _new_session=True,
                    _preexec_fn=_limited,
                )
            child.wait()
        except sh.TimeoutException:
            raise _Unrenderable(f"kustomize has not ended within {SECONDS} s") from None
        except sh.ErrorReturnCode as error:
            if output.seek(0, os.SEEK_END) >= LARGEST:
                raise _Unrenderable(f"its manifests have more than {LARGEST} bytes") from None
            raise _Unrenderable(_said(error.exit_code, _text(errors), directory)) from None
        except BaseException:
            if child is not None:
                child.kill_group()
            raise
        return _text(output)


def _limited() -> None:
    """In the child: limits that hold when nobody is left to end it, too."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, LARGEST))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _said(code: int, said: str, directory: Path) -> str:
    """Why kustomize ended, on one line, without the place that the package happens to be in."""
    if code < 0 or "out of memory" in said or "cannot allocate memory" in said:
        return "kustomize was ended: it takes too much time or memory"
    text = " ".join(said.replace(f"{directory}/", "").replace(str(directory), ".").split())
    for telling in _TELLING:
        if found := telling.search(text):
            return f"kustomize says: {shown(found[0].strip())[:LONGEST_MESSAGE]}"
    return "kustomize refuses it: `kustomize build` says why"
