import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from steps.core import applications
from steps.core.applications import Pair
from steps.core.pipeline_run import PARAMS
from tests.tekton import reference

ROOT = Path(__file__).parents[2]


def test_the_readmes_tables_are_what_the_yaml_and_the_types_say(golden: Callable[[Path, str], None]) -> None:
    readme = ROOT / "README.md"
    golden(readme, reference.rendered(readme.read_text(encoding="utf-8"), ROOT / "tekton"))


def test_the_json_schema_is_what_the_types_say(golden: Callable[[Path, str], None]) -> None:
    golden(ROOT / "tekton" / "applications.schema.json", json.dumps(applications.json_schema(), indent=2) + "\n")


def meant(configuration: str) -> list[dict[str, Any]]:
    """The pairs of a configuration without anything to be said of it, but for where it says what."""
    told = applications.parse({"applications.yaml": configuration}, pipeline_params=PARAMS)
    assert told.problems == ()
    return [
        {**dataclasses.asdict(pair), "at": None, "where": None, "source": pair.source, "manifests": pair.manifests}
        for pair in told.pairs
        if isinstance(pair, Pair)
    ]


def test_the_readmes_two_configurations_mean_the_same() -> None:
    blocks = re.findall(
        r"^```yaml\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    ours, kubeflows = (block for block in blocks if "\napplications:\n" in f"\n{block}")
    assert meant(ours) == meant(kubeflows)
    assert len(meant(ours)) == 1
