"""Tekton's objects as the sandbox takes them: read from YAML, held against what the runner knows, `$(...)` replaced.

Where Tekton lets something pass that is a mistake in practice (a parameter that nobody declared), this refuses it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

FOLDERS = ("stepactions", "tasks", "pipelines")

Object = dict[str, Any]
Value = str | list[str]
Values = Mapping[str, Value | None]
"""What a reference stands for, by its text without `$()`; None for a result that nobody wrote."""


class Invalid(Exception):
    """Tekton would refuse this, or the sandbox's runner does not know it; the message says which, and where."""


class Unwritten(Exception):
    """A result is referred to that its step did not write."""


def documents(path: Path) -> list[Object]:
    """All documents of a YAML file, read as kubectl does: YAML 1.1, where the plain words `on` and `no` are booleans."""
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 1)
    return [document for document in yaml.load_all(path.read_text(encoding="utf-8")) if document is not None]


def load(path: Path) -> dict[tuple[str, str], Object]:
    """The objects of a file, or of the folders of a directory laid out as `tekton/`, by kind and name."""
    files = (
        [path] if path.is_file() else [file for folder in FOLDERS for file in sorted((path / folder).glob("*.yaml"))]
    )
    objects: dict[tuple[str, str], Object] = {}
    for file in files:
        for document in documents(file):
            check(document, str(file))
            key = document["kind"], document["metadata"]["name"]
            if key in objects:
                raise Invalid(f"{file}: there are two of {key[0]} {key[1]}")
            objects[key] = document
    return objects


_WITHOUT_EFFECT = object()
"""A field that says nothing to a process of this machine."""

# `!` marks a field that must be there; a list is a list of, a set the words it may be, a pair a text or a list of texts.
_VALUE = (str, [str])
_TYPE = {"string", "array"}
_PARAMS = [{"name!": str, "description": str, "type": _TYPE, "default": _VALUE}]
_GIVEN_PARAMS = [{"name!": str, "value!": _VALUE}]
_RESULTS = [{"name!": str, "description": str, "type": {"string"}}]
_RESULTS_OF_VALUES = [{"name!": str, "description": str, "type": {"string"}, "value!": str}]
_WORKSPACES = [{"name!": str, "description": str, "optional": bool}]
_KEYS = [{"key!": str, "path!": str}]
_POD = {"automountServiceAccountToken": _WITHOUT_EFFECT, "securityContext": _WITHOUT_EFFECT}

_STEP_ACTION = {
    "description": str,
    "params": _PARAMS,
    "results": _RESULTS,
    "image!": str,
    "command!": [str],
    "args": [str],
    "env": [{"name!": str, "value!": str}],
    "securityContext": _WITHOUT_EFFECT,
}
_TASK = {
    "description": str,
    "params": _PARAMS,
    "workspaces": _WORKSPACES,
    "results": _RESULTS_OF_VALUES,
    "steps!": [
        {
            "name!": str,
            "ref!": {"name!": str},
            "params": _GIVEN_PARAMS,
            "workspaces": [{"name!": str, "mountPath!": str}],
            "computeResources": _WITHOUT_EFFECT,
        }
    ],
}
_PIPELINE = {
    "description": str,
    "params": _PARAMS,
    "workspaces": _WORKSPACES,
    "results": _RESULTS_OF_VALUES,
    "tasks!": [
        {
            "name!": str,
            "taskRef!": {"kind": {"Task"}, "name!": str},
            "runAfter": [str],
            "params": _GIVEN_PARAMS,
            "workspaces": [{"name!": str, "workspace!": str}],
        }
    ],
}
_PIPELINE_RUN = {
    "pipelineRef": {"name!": str},
    "pipelineSpec": _PIPELINE,
    "params": _GIVEN_PARAMS,
    "workspaces": [
        {
            "name!": str,
            "emptyDir": {},
            "secret": {"secretName!": str, "items": _KEYS},
            "configMap": {"name!": str, "items": _KEYS},
            "persistentVolumeClaim": {"claimName!": str},
            "volumeClaimTemplate": _WITHOUT_EFFECT,
        }
    ],
    "taskRunTemplate": {"serviceAccountName": _WITHOUT_EFFECT, "podTemplate": _POD},
    "taskRunSpecs": [{"pipelineTaskName!": str, "serviceAccountName": _WITHOUT_EFFECT, "podTemplate": _POD}],
}
_METADATA = {"labels": _WITHOUT_EFFECT, "annotations": _WITHOUT_EFFECT}
_NAMED = _METADATA | {"name!": str}
_KINDS = {
    ("tekton.dev/v1beta1", "StepAction"): (_NAMED, _STEP_ACTION),
    ("tekton.dev/v1", "Task"): (_NAMED, _TASK),
    ("tekton.dev/v1", "Pipeline"): (_NAMED, _PIPELINE),
    ("tekton.dev/v1", "PipelineRun"): (_METADATA | {"name": str, "generateName": str}, _PIPELINE_RUN),
}


def check(document: Any, where: str) -> None:
    """Raise Invalid unless every field of an object is one that the runner carries out or may pass over."""
    kind = (document.get("apiVersion"), document.get("kind")) if isinstance(document, dict) else (None, None)
    if kind not in _KINDS:
        known = ", ".join(f"{name} of {version}" for version, name in _KINDS)
        raise Invalid(f"{where}: the sandbox's runner knows {known}, not {kind[1]} of {kind[0]}")
    metadata, spec = _KINDS[kind]
    _check(document, {"apiVersion": str, "kind": str, "metadata!": metadata, "spec!": spec}, where)


def _check(value: Any, shape: Any, where: str) -> None:
    if shape is _WITHOUT_EFFECT:
        return
    if shape is _VALUE:
        shape = _VALUE[isinstance(value, list)]
    if isinstance(shape, dict) and isinstance(value, dict):
        shapes = {name.rstrip("!"): inner for name, inner in shape.items()}
        for name, inner in value.items():
            if name not in shapes:
                raise Invalid(f"{where}: the sandbox's runner does not know {name}")
            _check(inner, shapes[name], f"{where}.{name}")
        for name in shape:
            if name.endswith("!") and name.rstrip("!") not in value:
                raise Invalid(f"{where}: {name.rstrip('!')} is missing")
    elif isinstance(shape, list) and isinstance(value, list):
        for index, item in enumerate(value):
            _check(item, shape[0], f"{where}[{index}]")
        names = [item["name"] for item in value if isinstance(item, dict) and "name" in item]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise Invalid(f"{where}: {twice} is there twice")
    elif not (value in shape if isinstance(shape, set) else isinstance(shape, type) and type(value) is shape):
        raise Invalid(f"{where}: the sandbox's runner does not know {value!r} here")


_REFERENCE = re.compile(r"\$\(([^()]*)\)")
_TEKTONS_OWN = re.compile(r"(params|tasks|steps?|results|workspaces|context|finally|artifacts|inputs|outputs)\b")


def references(value: Any) -> Iterator[str]:
    """What stands in `$()` and is Tekton's to replace, anywhere in a text or in lists and objects of texts."""
    if isinstance(value, str):
        yield from (name for name in _REFERENCE.findall(value) if _TEKTONS_OWN.match(name))
    elif isinstance(value, Mapping | Sequence):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from references(inner)


def fill(template: str, values: Values, where: str) -> str:
    """A text with its references replaced; what is put in is not looked at again."""

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if not _TEKTONS_OWN.match(name):
            return match[0]
        if name not in values:
            raise Invalid(f"{where}: $({name}) stands for nothing here")
        value = values[name]
        if value is None:
            raise Unwritten(f"{where}: $({name}) was not written")
        if isinstance(value, list):
            raise Invalid(f"{where}: $({name}) is a list and must be an item of a list by itself")
        return value

    return _REFERENCE.sub(replace, template)


def fill_list(templates: Sequence[str], values: Values, where: str) -> list[str]:
    """Texts with their references replaced; an item that is `$(params.NAME[*])` alone becomes the items of that list."""
    filled: list[str] = []
    for template in templates:
        match = _REFERENCE.fullmatch(template)
        value = values.get(match[1]) if match else None
        filled += value if isinstance(value, list) else [fill(template, values, where)]
    return filled


def fill_value(template: Value, values: Values, where: str) -> Value:
    return fill(template, values, where) if isinstance(template, str) else fill_list(template, values, where)


def params(spec: Object, given: Mapping[str, Value], where: str) -> dict[str, Value | None]:
    """What `$(params.NAME)` stands for, and `$(params.NAME[*])` for a list: given values over defaults."""
    declared = {param["name"]: param for param in spec.get("params", [])}
    if unknown := sorted(given.keys() - declared.keys()):
        raise Invalid(f"{where}: there is no parameter {', '.join(unknown)}")
    values: dict[str, Value | None] = {}
    for name, param in declared.items():
        if name not in given and "default" not in param:
            raise Invalid(f"{where}: the parameter {name} is missing")
        value = given.get(name, param.get("default", ""))
        kind = param.get("type", "array" if isinstance(param.get("default"), list) else "string")
        if (kind == "array") != isinstance(value, list):
            raise Invalid(f"{where}: the parameter {name} is of type {kind}, not {value!r}")
        values[f"params.{name}[*]" if kind == "array" else f"params.{name}"] = value
    return values


def by_name(items: Sequence[Object]) -> dict[str, Any]:
    """The `value` of each item by its `name`."""
    return {item["name"]: item["value"] for item in items}


_VARIABLE = re.compile(r"\$(?:\$|\(([^()]*)\))")


def expand(text: str, environment: Mapping[str, str]) -> str:
    """What the kubelet makes of a command's word or a variable's value: `$(NAME)` from the container's own variables.

    One that is not set stays as it is, and `$$` becomes `$`.
    """
    return _VARIABLE.sub(lambda match: "$" if match[1] is None else environment.get(match[1], match[0]), text)
