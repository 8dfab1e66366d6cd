"""Reads a configuration, which is a file, the YAML files of a directory, or what a URL has, and the template of its runs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from steps.clients import files
from steps.core import applications, pipeline_run
from steps.core.applications import LARGEST, Configuration
from steps.core.https_url import HttpsUrl
from steps.core.pipeline_run import Template
from steps.core.text import FilePath
from steps.core.typed_yaml import Problem
from steps.errors import StepError

T = TypeVar("T")

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


@dataclass(frozen=True)
class Configured:
    """What was read.

    Attributes:
        template: None when there is none that can be used.
        told: what the configuration says.
        problems: of both, those of the template first.
    """

    template: Template | None
    told: Configuration
    problems: tuple[Problem, ...]

    def usable(self) -> Template:
        """The template, or StepError when no run can be made."""
        if self.template is None or self.told.is_lost:
            errors = [str(problem) for problem in self.problems if problem.severity == "error"]
            raise StepError("config-error", "\n".join(["nothing was made:", *errors]))
        return self.template


def read(config: ConfigLocation, template: Path | None, *, over_ssh: bool, allow_private: bool) -> Configured:
    """A configuration, held against the parameters that the template's Pipeline has.

    Args:
        template: None when it is not looked at; the Pipeline is taken for ours.
        over_ssh: see `applications.parse`.
        allow_private: see `texts`.

    Raises:
        StepError: a file cannot be read.
    """
    frame, problems = None, list[Problem]()
    if template:
        frame, problems = pipeline_run.read_template(str(template), text(template))
    params = pipeline_run.PARAMS if template is None else frame.known_params if frame else None
    told = applications.parse(texts(config, allow_private=allow_private), over_ssh=over_ssh, pipeline_params=params)
    return Configured(frame, told, (*problems, *told.problems))


def texts(location: ConfigLocation, *, allow_private: bool) -> dict[str, str]:
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
    if not location.path.is_dir():
        return {str(location.path): text(location.path)}
    contents = _again(lambda: _directory(location.path))
    if not contents:
        raise StepError("not-found", f"reading the configuration {location.path}: no *.yaml is in this directory")
    return {name: _decoded(name, content) for name, content in contents.items()}


def text(path: Path) -> str:
    """The text of one file."""
    return _decoded(str(path), _again(lambda: files.read(path, LARGEST)))


def _directory(directory: Path) -> dict[str, bytes]:
    """What the YAML files of a directory hold, all of them of the same version when it is a mounted ConfigMap."""
    # All files of a mounted ConfigMap lead through this link, which is pointed elsewhere when the ConfigMap changes.
    link = directory / "..data"
    current = link.resolve() if link.is_dir() else directory
    names = [name for name in files.names(current) if name.endswith((".yaml", ".yml")) and name[0] != "."]
    return {str(directory / name): files.read(current / name, LARGEST) for name in names}


def _again(read: Callable[[], T]) -> T:
    """What is read; once more when something was gone, as in a mounted ConfigMap that was changed meanwhile."""
    try:
        return read()
    except StepError as error:
        if error.reason != "not-found":
            raise
        return read()


def _decoded(name: str, content: bytes) -> str:
    if len(content) > LARGEST:
        raise StepError("too-large", f"{name} has more than {LARGEST} bytes: split it into files of one directory")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise StepError("not-utf-8", f"{name}:{line}: this is not UTF-8: save the file in that encoding") from None
