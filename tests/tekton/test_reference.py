import json
from collections.abc import Callable
from pathlib import Path

from steps.core import applications
from tests.tekton import reference

ROOT = Path(__file__).parents[2]


def test_the_readmes_tables_are_what_the_yaml_and_the_types_say(golden: Callable[[Path, str], None]) -> None:
    readme = ROOT / "README.md"
    golden(readme, reference.rendered(readme.read_text(encoding="utf-8"), ROOT / "tekton"))


def test_the_json_schema_is_what_the_types_say(golden: Callable[[Path, str], None]) -> None:
    golden(ROOT / "tekton" / "applications.schema.json", json.dumps(applications.json_schema(), indent=2) + "\n")
