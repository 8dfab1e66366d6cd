"""Programs written in Go, built once from modules that are pinned beside this file, and kept under `.cache`."""

import collections
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import sh

_HERE = Path(__file__).parent
_CACHE = _HERE.parents[1] / ".cache"


class MissingError(Exception):
    """The program cannot be built here; the message says why and what to install."""


def built(name: str) -> Path:
    """Where the program of the module `tests/sandbox/NAME` is, or will be."""
    version = hashlib.sha256((_HERE / name / "go.sum").read_bytes()).hexdigest()[:16]
    return _CACHE / name / version / name


def program(name: str) -> Path:
    """The program that the `tool` line of the module `tests/sandbox/NAME` names; built unless it is there."""
    path = built(name)
    if not path.exists():
        _build(name, path)
    return path


def _build(name: str, path: Path) -> None:
    from tqdm import tqdm

    if shutil.which("go") is None:
        raise MissingError(f"{name} is built with Go, and there is no `go`: install Go")
    module = _HERE / name
    package = next(line.split()[1] for line in (module / "go.mod").read_text().splitlines() if line.startswith("tool "))
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.write(f"Building {name} with Go, this once: some minutes\n")
    last: collections.deque[str] = collections.deque(maxlen=10)
    with (
        tempfile.TemporaryDirectory(dir=path.parent) as directory,
        tqdm(desc=f"Building {name}", unit=" packages", disable=None) as progress,
    ):

        def count(line: str) -> None:
            last.append(line)
            progress.update()

        output = Path(directory, name)
        flags = ("-v", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", f"-o={output}")
        environment = os.environ | {"CGO_ENABLED": "0", "GOWORK": "off"}
        try:
            sh.Command("go")("build", *flags, package, _cwd=str(module), _env=environment, _err=count)
        except sh.ErrorReturnCode as error:
            raise MissingError(f"Go could not build {name}:\n{''.join(last)}") from error
        output.replace(path)
