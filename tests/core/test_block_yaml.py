from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from steps.core.block_yaml import written
from steps.core.typed_yaml import Value

WRITTEN: list[Any] = [
    pytest.param({"a": "b"}, "a: b", id="a text"),
    pytest.param(
        {"a": 1, "b": -2, "c": True, "d": False, "e": None},
        "a: 1\nb: -2\nc: true\nd: false\ne: null",
        id="what is no text",
    ),
    pytest.param({"a": 1.5}, "a: 1.5", id="a number with a fraction"),
    pytest.param({"a": {"b": {"c": "d"}}, "e": "f"}, "a:\n  b:\n    c: d\ne: f", id="mappings in mappings"),
    pytest.param({"a": ["b", "c"]}, "a:\n  - b\n  - c", id="a list stands further in than its key"),
    pytest.param(
        {"a": [{"b": "c", "d": ["e"]}, {"f": "g"}]},
        "a:\n  - b: c\n    d:\n      - e\n  - f: g",
        id="mappings in a list",
    ),
    pytest.param({"a": [["b", "c"], ["d"]]}, "a:\n  - - b\n    - c\n  - - d", id="lists in a list"),
    pytest.param({"a": [[{"b": ["c"]}]]}, "a:\n  - - b:\n        - c", id="a mapping in a list in a list"),
    pytest.param({"a": {}, "b": [], "c": [{}, []]}, "a: {}\nb: []\nc:\n  - {}\n  - []", id="what is empty"),
    pytest.param({"a": "r.io:5000/team/app:v1.10"}, "a: r.io:5000/team/app:v1.10", id="an image"),
    pytest.param({"a": "https://github.com/o/n.git"}, "a: https://github.com/o/n.git", id="an address"),
    pytest.param({"a": "git@github.com:o/n.git"}, "a: git@github.com:o/n.git", id="an address for ssh"),
    pytest.param({"apps-cd/source-commit": "0123abcd"}, "apps-cd/source-commit: 0123abcd", id="a key with a slash"),
    pytest.param({"a": "."}, "a: .", id="a directory"),
    pytest.param({"a": "bug,o/team"}, "a: bug,o/team", id="words with a comma between"),
    pytest.param({"a": "1.2.3"}, "a: 1.2.3", id="three numbers"),
    pytest.param({"a": ""}, 'a: ""', id="an empty text"),
    pytest.param({"a": "a b"}, 'a: "a b"', id="a blank"),
    pytest.param({"a": "two\nlines"}, r'a: "two\nlines"', id="two lines"),
    pytest.param({"a": "$(params.x)"}, 'a: "$(params.x)"', id="a variable of Tekton"),
    pytest.param({"a": '"quoted" \\'}, r'a: "\"quoted\" \\"', id="quotes and a backslash"),
    pytest.param({"a": "größer 🚀"}, 'a: "größer 🚀"', id="letters of other languages"),
    pytest.param(
        {"a": "\x7f\x85\u2028\ufeff"}, r'a: "\u007f\u0085\u2028\ufeff"', id="characters that YAML does not take"
    ),
    pytest.param({"1": "2", "true": "no"}, '"1": "2"\n"true": "no"', id="keys that are no text without quotes"),
]


@pytest.mark.parametrize(("value", "text"), WRITTEN)
def test_a_mapping_is_written_in_block_form(value: dict[str, Value], text: str) -> None:
    assert written(value) == text + "\n"


NOT_PLAIN = [
    *("y", "Y", "n", "yes", "No", "ON", "off", "true", "False", "null", "~", "=", "<<"),
    *("<", ">", "-", "?", ":", "*", "&", "!", "%", "@", "`", "|", "#", ",", "'", "[", "]", "{", "}", "[]", "{}"),
    *("1", "-1", "+1", "1.10", "1.", ".5", "1e3", "1E5", "12e03", "1e+3", "1_000", "012", "08", "0o17", "0x1F", "0b11"),
    *("0x_", "0b_", "0B", "._", ".inf", ".NaN", "-.inf", "1:30", "190:20:30", "1:30.5"),
    *("2026-01-01", "2026-1-1", "2026-01-01T10:00:00"),
    *(
        "a:",
        ":a",
        "a::",
        "#a",
        "-a",
        "--flag",
        "--flag=1:2",
        "*a",
        "&a",
        "!a",
        "%a",
        "@a",
        "`a",
        "[a",
        "{a",
        "'a",
    ),
]


@pytest.mark.parametrize("text", NOT_PLAIN)
def test_what_a_parser_might_take_for_anything_else_is_quoted(text: str) -> None:
    assert written({text: [text, {"a": text}]}) == f'"{text}":\n  - "{text}"\n  - a: "{text}"\n'


pieces = st.sampled_from(
    [
        *NOT_PLAIN,
        *(": ", " #", "- ", "\n", "\r\n", "\t", " ", '"', "\\", "\\n", "ä", "🚀", "\x00", "\x1b", "\x85"),
        *("\u2028", "\ufeff", "\ufffe", "a", "0", "_", ".", "/", "...", "---", "$(a)", "{{a}}", "https://h/a"),
    ]
)
texts = st.lists(pieces, max_size=3).map("".join) | st.text(max_size=12)
values = st.recursive(
    texts | st.booleans() | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.dictionaries(texts, values, min_size=1, max_size=3))
def test_parsers_of_yaml_1_1_and_1_2_read_what_was_written(value: dict[str, Value]) -> None:
    text = written(value)
    by_pyyaml = yaml.safe_load(text)
    by_ruamel = YAML(typ="safe", pure=True).load(text)
    # By their representations, because True equals 1.
    assert (repr(by_pyyaml), repr(by_ruamel)) == (repr(value), repr(value))
