"""Builds the part of a Dockerfile that needs no container: what the stand-in for Kaniko's executor understands."""

import copy
import io
import json
import posixpath
import re
import shlex
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.sandbox import image
from tests.sandbox.image import Image, Tree

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_UNSUPPORTED = {"RUN", "ONBUILD", "HEALTHCHECK", "SHELL", "MAINTAINER"}
_ARCHIVE = re.compile(r"\.(tar|tgz|tbz2|txz|tar\.\w+)$")
_VARIABLE = re.compile(r"\\\$|\$(?P<plain>\w+)|\$\{(?P<name>\w+)(?::(?P<sign>[-+])(?P<word>[^}]*))?\}")


class BuildError(Exception):
    """The build fails; the message is Kaniko's where Kaniko fails as well."""


@dataclass
class _Stage:
    """A stage so far: everything a container of it would see, what was added to the base, and how it starts."""

    base: Image | None = None
    tree: Tree = field(default_factory=dict)
    added: Tree = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, str]:
        return self.arguments | dict(variable.split("=", 1) for variable in self.config["Env"])

    @property
    def directory(self) -> str:
        return str(self.config.get("WorkingDir", "/"))

    def put(self, path: str, header: tarfile.TarInfo, content: bytes) -> None:
        parent = posixpath.dirname(path)
        if parent and parent not in self.tree:
            self.put(parent, _directory(), b"")
        self.tree[path] = self.added[path] = (header, content)

    def image(self) -> Image:
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as archive:
            for path, (header, content) in sorted(self.added.items()):
                named = copy.copy(header)  # TarInfo.replace is younger than Debian's Python
                named.name, named.mtime, named.uname, named.gname = path, 0, "", ""
                archive.addfile(named, io.BytesIO(content))
        return image.make(layer.getvalue(), self.config, self.base)


def build(
    text: str,
    context: Tree,
    *,
    where: str,
    arguments: Mapping[str, str],
    labels: Mapping[str, str],
    target: str,
    pull: Callable[[str], Image],
) -> Image:
    """The image of a stage: its base and one layer.

    Args:
        text: the Dockerfile.
        context: the files COPY and ADD take.
        where: the context's directory, for messages.
        arguments: values of ARG.
        labels: set besides those of the Dockerfile, which win.
        target: name of the stage; '' is the last one.
        pull: gives the image of a reference in FROM.
    """
    instructions = _parse(text)
    names = [_from(rest)[1] for _, name, rest in instructions if name == "FROM"]
    if target and target.lower() not in names:
        raise BuildError(f"Error finding target stage: {target} is not a valid target build stage")
    wanted = names.index(target.lower()) if target else len(names) - 1
    globals_: dict[str, str] = {}
    stages: list[_Stage] = []
    for line, name, rest in instructions:
        if name == "FROM":
            if len(stages) > wanted:
                break
            stages.append(_start(_expand(_from(rest)[0], globals_), names, stages, pull))
        elif name == "ARG":
            into = stages[-1].arguments if stages else globals_
            known = stages[-1].variables if stages else globals_
            for word in shlex.split(rest):
                key, equals, default = word.partition("=")
                if key in arguments or equals or key in globals_:
                    into[key] = arguments.get(key, _expand(default, known) if equals else globals_.get(key, ""))
        elif not stages:
            raise BuildError(f"parsing dockerfile: no build stage in current context (line {line})")
        elif name in ("COPY", "ADD"):
            _copy(stages[-1], line, name, rest, _source(rest, names, stages, context), where)
        else:
            _configure(stages[-1], line, name, rest)
    stage = stages[wanted]
    if labels:
        stage.config["Labels"] = dict(labels) | stage.config.get("Labels", {})
    return stage.image()


def _parse(text: str) -> list[tuple[int, str, str]]:
    """The instructions: line number, name in capitals, the rest with its lines joined."""
    instructions = []
    pending, start = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#") or not line.strip():
            continue
        start = start if pending else number
        if line.rstrip().endswith("\\"):
            pending += line.rstrip()[:-1] + " "
            continue
        name, _, rest = (pending + line).strip().partition(" ")
        instructions.append((start, name.upper(), rest.strip()))
        pending = ""
    known = {"FROM", "ARG", "COPY", "ADD", *_CONFIGURE, *_UNSUPPORTED}
    for start, name, _ in instructions:
        if name not in known:
            raise BuildError(f"parsing dockerfile: dockerfile parse error on line {start}: unknown instruction: {name}")
        if name in _UNSUPPORTED:
            raise BuildError(f"the stand-in for Kaniko does not know {name} (line {start}); Kaniko itself does")
    if not any(name == "FROM" for _, name, _ in instructions):
        raise BuildError("parsing dockerfile: no build stage in current context")
    return instructions


def _from(rest: str) -> tuple[str, str]:
    """The reference of a FROM, not expanded yet, and the stage's name in small letters or ''."""
    words = [word for word in rest.split() if not word.startswith("--")]
    return words[0], words[2].lower() if len(words) == 3 and words[1].upper() == "AS" else ""


def _start(reference: str, names: Sequence[str], stages: Sequence[_Stage], pull: Callable[[str], Image]) -> _Stage:
    if reference.lower() in names[: len(stages)]:
        below = stages[names.index(reference.lower())]
        return _Stage(below.base, dict(below.tree), dict(below.added), {**below.config})
    if reference == "scratch":
        return _Stage(config={"Env": [DEFAULT_PATH]})
    base = pull(reference)
    return _Stage(base, image.tree(base.layers), config={"Env": [DEFAULT_PATH]} | base.configuration.get("config", {}))


def _source(rest: str, names: Sequence[str], stages: Sequence[_Stage], context: Tree) -> Tree:
    match = re.search(r"--from=(\S+)", rest)
    if match is None:
        return context
    if match[1].lower() in names[: len(stages) - 1]:
        return stages[names.index(match[1].lower())].tree
    if match[1].isdigit() and int(match[1]) < len(stages) - 1:
        return stages[int(match[1])].tree
    raise BuildError(f"the stand-in for Kaniko copies from the context and from earlier stages, not from {match[1]}")


def _copy(stage: _Stage, line: int, name: str, rest: str, source: Tree, where: str) -> None:
    options, words = {}, rest
    while match := re.match(r"--(\w+)=(\S+)\s+", words):
        options[match[1]] = match[2]
        words = words[match.end() :]
    *paths, destination = [_expand(word, stage.variables) for word in _words(words)]
    odd = [path for path in paths if re.search(r"[*?\[]|://|^<<", path) or (name == "ADD" and _ARCHIVE.search(path))]
    if odd or options.keys() - {"from", "chown", "chmod"} or not paths:
        raise BuildError(f"the stand-in for Kaniko does not know this {name} (line {line}): {rest}")
    directory = posixpath.normpath(posixpath.join(stage.directory, destination)).strip("/")
    there = directory in stage.tree and _is_directory(stage.tree[directory])
    into = destination.endswith("/") or destination == "." or len(paths) > 1 or there
    for path in paths:
        start = posixpath.normpath("/" + path).strip("/")
        if start and start not in source:
            place = f"{where}/{start}" if "from" not in options else f"/kaniko/{options['from']}/{start}"
            raise BuildError(
                "error building stage: failed to get files used from context: "
                f"failed to get fileinfo for {place}: lstat {place}: no such file or directory"
            )
        if start and not _is_directory(source[start]):
            end = posixpath.join(directory, posixpath.basename(start)) if into else directory
            stage.put(end, _owned(source[start][0], options), source[start][1])
            continue
        prefix = f"{start}/" if start else ""
        for below in sorted(below for below in source if below.startswith(prefix)):
            header, content = source[below]
            stage.put(posixpath.join(directory, below.removeprefix(prefix)), _owned(header, options), content)


def _owned(header: tarfile.TarInfo, options: Mapping[str, str]) -> tarfile.TarInfo:
    owned = copy.copy(header)
    if "chown" in options:
        owner, _, group = options["chown"].partition(":")
        if not (owner.isdigit() and (group or owner).isdigit()):
            raise BuildError(f"the stand-in for Kaniko knows owners by number only, not {options['chown']}")
        owned.uid, owned.gid = int(owner), int(group or owner)
    if "chmod" in options:
        owned.mode = int(options["chmod"], 8)
    return owned


def _is_directory(entry: tuple[tarfile.TarInfo, bytes]) -> bool:
    return entry[0].isdir()


def _directory() -> tarfile.TarInfo:
    header = tarfile.TarInfo()
    header.type, header.mode = tarfile.DIRTYPE, 0o755
    return header


def _configure(stage: _Stage, line: int, name: str, rest: str) -> None:
    if not rest:
        raise BuildError(f"parsing dockerfile: dockerfile parse error on line {line}: {name} requires an argument")
    _CONFIGURE[name](stage, rest)


def _env(stage: _Stage, rest: str) -> None:
    pairs = _pairs(rest, stage.variables)
    kept = [variable for variable in stage.config["Env"] if variable.partition("=")[0] not in pairs]
    stage.config["Env"] = [*kept, *(f"{key}={value}" for key, value in pairs.items())]


def _label(stage: _Stage, rest: str) -> None:
    stage.config["Labels"] = stage.config.get("Labels", {}) | _pairs(rest, stage.variables)


def _pairs(rest: str, variables: Mapping[str, str]) -> dict[str, str]:
    words = shlex.split(rest)
    if "=" not in words[0]:
        key, _, value = rest.partition(" ")
        return {key: _expand(value.strip(), variables)}
    return {key: _expand(value, variables) for key, _, value in (word.partition("=") for word in words)}


def _workdir(stage: _Stage, rest: str) -> None:
    path = posixpath.normpath(posixpath.join(stage.directory, _expand(rest, stage.variables)))
    stage.config["WorkingDir"] = path
    if path.strip("/") and path.strip("/") not in stage.tree:
        stage.put(path.strip("/"), _directory(), b"")


def _set(key: str) -> Callable[[_Stage, str], None]:
    def setter(stage: _Stage, rest: str) -> None:
        stage.config[key] = _expand(rest, stage.variables)

    return setter


def _command(key: str) -> Callable[[_Stage, str], None]:
    def setter(stage: _Stage, rest: str) -> None:
        words = _array(rest)
        stage.config[key] = ["/bin/sh", "-c", rest] if words is None else words

    return setter


def _each(key: str, suffix: str = "") -> Callable[[_Stage, str], None]:
    def setter(stage: _Stage, rest: str) -> None:
        words = [_expand(word, stage.variables) for word in _words(rest)]
        new: dict[str, Any] = {word if "/" in word else word + suffix: {} for word in words}
        stage.config[key] = stage.config.get(key, {}) | new

    return setter


_CONFIGURE: dict[str, Callable[[_Stage, str], None]] = {
    "ENV": _env,
    "LABEL": _label,
    "WORKDIR": _workdir,
    "USER": _set("User"),
    "STOPSIGNAL": _set("StopSignal"),
    "EXPOSE": _each("ExposedPorts", "/tcp"),
    "VOLUME": _each("Volumes"),
    "CMD": _command("Cmd"),
    "ENTRYPOINT": _command("Entrypoint"),
}


def _words(rest: str) -> list[str]:
    words = _array(rest)
    return rest.split() if words is None else words


def _array(rest: str) -> list[str] | None:
    try:
        words = json.loads(rest)
    except ValueError:
        return None
    return words if isinstance(words, list) else None


def _expand(text: str, variables: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if match[0] == r"\$":
            return "$"
        known = variables.get(match["plain"] or match["name"], "")
        if match["sign"]:
            return match["word"] if bool(known) == (match["sign"] == "+") else known
        return known

    return _VARIABLE.sub(value, text)
