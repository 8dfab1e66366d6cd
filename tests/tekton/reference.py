"""The README's reference tables, rendered from the YAML that runs and from the types of the configuration."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from steps.core import applications, typed_yaml

CONFIGURATION = (
    "<!-- configuration: rendered from steps/core/applications.py by `make golden` -->",
    "<!-- end of configuration -->",
)
BEGIN, END = "<!-- reference: rendered from tekton/ by `make golden` -->", "<!-- end of reference -->"

_KINDS = {"pipelines": "Pipeline", "tasks": "Task", "stepactions": "StepAction"}


def rendered(readme: str, tekton: Path) -> str:
    """The README with its tables made anew.

    Args:
        readme: its text, with the comments that the tables stand between.
        tekton: the directory of the YAML.
    """
    readme = _between(readme, *CONFIGURATION, [_configuration()])
    sections = [
        section
        for folder, kind in _KINDS.items()
        for path in sorted((tekton / folder).glob("*.yaml"))
        for section in _section(kind, YAML(typ="safe").load(path))
    ]
    return _between(readme, BEGIN, END, sections)


def _between(readme: str, begin: str, end: str, sections: Iterable[str]) -> str:
    before, _, rest = readme.partition(begin)
    _, _, after = rest.partition(end)
    return "\n".join([before + begin, "", *sections, end]) + after


def _configuration() -> str:
    lines = ["| Key | | |", "|---|---|---|"]
    for key in typed_yaml.keys(applications.File):
        shape = f"**required**, {key.shape}" if key.is_required else key.shape
        lines.append(f"| `{key.path}` | {shape} | {key.meaning} |")
    return "\n".join(lines) + "\n"


def _section(kind: str, resource: Mapping[str, Any]) -> Iterable[str]:
    spec = resource["spec"]
    yield f"### {kind} `{resource['metadata']['name']}`\n\n{spec['description'].strip()}\n"
    tables = {
        "Parameter": [(p["name"], _default(p), p["description"]) for p in spec.get("params", [])],
        "Workspace": [
            (w["name"], "optional" if w.get("optional") else "**required**", w["description"])
            for w in spec.get("workspaces", [])
        ],
        "Result": [(r["name"], "", r["description"]) for r in spec.get("results", [])],
    }
    for title, rows in tables.items():
        if rows:
            yield _table(title, rows)


def _default(param: Mapping[str, Any]) -> str:
    if "default" not in param:
        return "**required**"
    default = param["default"]
    if isinstance(default, list):
        return f"`[{', '.join(default)}]`"
    return f"`{default}`" if default else "empty"


def _table(title: str, rows: Iterable[tuple[str, str, str]]) -> str:
    lines = [f"| {title} | Default | |" if title == "Parameter" else f"| {title} | | |", "|---|---|---|"]
    lines += [f"| `{name}` | {default} | {description} |" for name, default, description in rows]
    return "\n".join(lines) + "\n"
