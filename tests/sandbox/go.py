"""Programs written in Go, built once from modules that are pinned beside the tests, and kept under `.cache`."""

import collections
import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import sh

_HERE = Path(__file__).parent
_CACHE = _HERE.parents[1] / ".cache"

# Taken before the tests hide who runs them: modules come through that person's proxy and into that person's caches.
_ENVIRONMENT = os.environ | {"CGO_ENABLED": "0", "GOWORK": "off"}


class MissingError(Exception):
    """The program cannot be built here; the message says why and what to install."""


def built(name: str, within: Path = _HERE, pins: str = "go.mod") -> Path:
    """Where the program of the module `WITHIN/NAME` is, or will be. What it is made of is pinned by one of its .mod files."""
    module = within / name
    sources = [module / pins, (module / pins).with_suffix(".sum"), *sorted(module.glob("*.go"))]
    version = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    return _CACHE / name / version / name


def program(name: str, within: Path = _HERE, pins: str = "go.mod") -> Path:
    """The program that a module's `tool` line names, or that its own source is; built unless it is there."""
    path = built(name, within, pins)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with (path.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                _build(within / name, pins, path)
    return path


def _build(module: Path, pins: str, path: Path) -> None:
    from tqdm import tqdm

    name = module.name
    if shutil.which("go") is None:
        raise MissingError(f"{name} is built with Go, and there is no `go`: install Go")
    tools = (line.split()[1] for line in (module / pins).read_text().splitlines() if line.startswith("tool "))
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
        flags = ("-v", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", f"-modfile={pins}", f"-o={output}")
        try:
            sh.Command("go")("build", *flags, next(tools, "."), _cwd=str(module), _env=_ENVIRONMENT, _err=count)
        except sh.ErrorReturnCode as error:
            raise MissingError(f"Go could not build {name}:\n{''.join(last)}") from error
        output.replace(path)
