"""What the versions of Tekton that we support say of YAML: Tekton's own Go code, built from `validate` beside this file."""

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.sandbox import go

_HERE = Path(__file__).parent


def _version(pins: Path) -> str:
    (version,) = re.findall(r"\bgithub\.com/tektoncd/pipeline (v\S+)", pins.read_text(encoding="utf-8"))
    return str(version)


VERSIONS = {_version(pins): pins.name for pins in sorted((_HERE / "validate").glob("*.mod"))}


def problems(version: str, texts: Mapping[str, str]) -> dict[str, list[str]]:
    """Why each text, of one or more YAML documents, would be refused when it is applied; an empty list if it is not.

    Raises go.MissingError where Tekton's code cannot be built.
    """
    program = go.program("validate", _HERE, VERSIONS[version])
    answer = subprocess.run([program], input=json.dumps(texts), stdout=subprocess.PIPE, encoding="utf-8", check=True)
    found: dict[str, list[str]] = json.loads(answer.stdout)
    return found
