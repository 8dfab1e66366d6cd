from collections.abc import Callable
from pathlib import Path

from tests.tekton import reference

ROOT = Path(__file__).parents[2]


def test_the_readmes_reference_is_what_the_yaml_says(golden: Callable[[Path, str], None]) -> None:
    readme = ROOT / "README.md"
    golden(readme, reference.rendered(readme.read_text(encoding="utf-8"), ROOT / "tekton"))
