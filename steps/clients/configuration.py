"""Reads a configuration: a file, the YAML files of a directory, or what a URL has."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from steps.clients import files
from steps.core.applications import LARGEST
from steps.core.https_url import HttpsUrl
from steps.core.text import FilePath
from steps.errors import StepError

TIMEOUT = 10.0
"""Seconds that a URL may take."""


@dataclass(frozen=True)
class ConfigLocation:
    """Where a configuration is; `url` is None for a path."""

    path: Path
    url: HttpsUrl | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        if "://" in text:
            return cls(Path(), HttpsUrl.parse(text))
        return cls(Path(FilePath.parse(text)))


def read(location: ConfigLocation, *, allow_private: bool) -> dict[str, str]:
    """The texts of a configuration by their names.

    Args:
        allow_private: whether a URL may lead to an address that is not public.

    Raises:
        StepError: it cannot be read, or is more than a configuration can be.
    """
    if location.url:
        from steps.clients import https  # 30 ms that only this branch pays

        content = https.read(location.url, limit=LARGEST, timeout=TIMEOUT, allow_private=allow_private)
        return {str(location.url): _decoded(str(location.url), content)}
    paths = [location.path]
    if location.path.is_dir():
        found = [path for path in location.path.iterdir() if path.suffix in (".yaml", ".yml") and path.name[0] != "."]
        paths = sorted(found)
        if not paths:
            raise StepError("not-found", f"reading the configuration {location.path}: no *.yaml is in this directory")
    return {str(path): text(path) for path in paths}


def text(path: Path) -> str:
    """The text of one file."""
    return _decoded(str(path), files.read(path, LARGEST))


def _decoded(name: str, content: bytes) -> str:
    if len(content) > LARGEST:
        raise StepError("too-large", f"{name} has more than {LARGEST} bytes: split it into files of one directory")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise StepError("not-utf-8", f"{name}:{line}: this is not UTF-8: save the file in that encoding") from None
