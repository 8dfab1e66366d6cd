"""The README's reference tables, rendered from the YAML that runs."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

BEGIN, END = "<!-- reference: rendered from tekton/ by `make golden` -->", "<!-- end of reference -->"

_KINDS = {"pipelines": "Pipeline", "tasks": "Task", "stepactions": "StepAction"}


def rendered(readme: str, tekton: Path) -> str:
    """The README with its reference made anew.

    Args:
        readme: its text, with the two comments that the tables stand between.
        tekton: the directory of the YAML.
    """
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    sections = [
        section
        for folder, kind in _KINDS.items()
        for path in sorted((tekton / folder).glob("*.yaml"))
        for section in _section(kind, YAML(typ="safe").load(path))
    ]
    return "\n".join([before + BEGIN, "", *sections, END]) + after


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
