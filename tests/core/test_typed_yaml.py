import textwrap
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import pytest

from steps.core.located_yaml import Node
from steps.core.typed_yaml import (
    Key,
    Position,
    Problem,
    Reader,
    Section,
    Value,
    declared,
    did_you_mean,
    fields_of,
    key_of,
    keys,
    schema,
)

FILE = "house.yaml"


class Colour(str):
    @classmethod
    def parse(cls, text: str) -> Self:
        if not text.islower():
            raise ValueError(f"{text!r} is not a colour in small letters")
        return cls(text)


@dataclass(frozen=True)
class Size:
    """What has a grammar of its own: `3x4`."""

    shape: ClassVar = "text `WIDTHxHEIGHT`"

    width: int
    height: int

    @classmethod
    def read(cls, reader: Reader, node: Node) -> Self | None:
        text = reader.scalar(node, "`size`")
        width, x, height = (text or "").partition("x")
        if text is not None and not (x and width.isdecimal() and height.isdecimal()):
            reader.refuse(node, f"`size`: {text!r} is not WIDTHxHEIGHT")
            return None
        return None if text is None else cls(int(width), int(height))

    @classmethod
    def schema(cls) -> dict[str, Any]:
        return {"type": "string", "pattern": "^[0-9]+x[0-9]+$"}


@dataclass(frozen=True, kw_only=True)
class Window(Section):
    """What stands in a wall."""

    name: str = declared("What it is called.")
    side: Literal["north", "south"] = declared("Where it looks.", default="south")


@dataclass(frozen=True, kw_only=True)
class Painted(Section):
    """What has a colour."""

    wall_colour: Colour | None = declared("Of its walls.", default=None)


@dataclass(frozen=True, kw_only=True)
class House(Painted):
    """What people live in."""

    street: str = declared("Where it stands.")
    size: Size | None = declared("How large it is.", default=None)
    is_let: bool = declared("Whether tenants live there.", default=False)
    door: Window | None = declared("The one that may be opened.", default=None)
    windows: tuple[Window, ...] = declared("All others.", default=())
    nicknames: tuple[Colour, ...] | None = declared("What people call it.", default=None)


def read(text: str) -> tuple[House | None, list[str]]:
    """A house and the problems with it, as `line:column: message`."""
    reader = Reader(FILE)
    root = reader.document(textwrap.dedent(text).removeprefix("\n"))
    house = reader.mapping(root, House, "a house") if root else None
    return house, [str(problem).removeprefix(f"{FILE}:").replace(" error: ", " ") for problem in reader.problems]


def at(line: int, column: int) -> Position:
    return Position(FILE, line, column)


def test_a_mapping_is_read_as_its_class_says() -> None:
    house, problems = read(
        """
        street: 1.10
        size: 3x4
        isLet: true
        wallColour: red
        door: {name: main}
        windows:
          - name: kitchen
            side: north
          - {name: "012"}
        nicknames: [blue, "no"]
        """
    )
    nowhere: dict[str, Any] = {"at": at(0, 0), "keys_at": {}}
    assert house == House(
        street="1.10",
        size=Size(3, 4),
        is_let=True,
        wall_colour=Colour("red"),
        door=Window(name="main", **nowhere),
        windows=(Window(name="kitchen", side="north", **nowhere), Window(name="012", **nowhere)),
        nicknames=(Colour("blue"), Colour("no")),
        **nowhere,
    )
    assert problems == []


def test_a_mapping_knows_where_it_and_its_values_stand() -> None:
    house, _ = read(
        """
        # a comment
        street: Elm
        windows:
          - side: north
            name: &name kitchen
          - {side: south, name: *name}
        """
    )
    assert house
    assert (house.at, house.keys_at) == (at(2, 1), {"street": at(2, 9), "windows": at(4, 3)})
    assert [(window.at, window.where("name"), window.where("side")) for window in house.windows] == [
        (at(4, 5), at(5, 11), at(4, 11)),
        (at(6, 5), at(6, 25), at(6, 12)),
    ]
    assert house.where("size") == house.at


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        pytest.param("{}", ["1:1: a house lacks `street`"], id="a key is missing"),
        pytest.param("[]", ["1:1: a house is a mapping, such as `street: ...`"], id="it is a list"),
        pytest.param("Elm", ["1:1: a house is a mapping, such as `street: ...`"], id="it is a text"),
        pytest.param(
            "street: Elm\nwall_colour: red",
            ["2:1: a house has no key `wall_colour`; did you mean `wallColour`?"],
            id="a key is written otherwise",
        ),
        pytest.param("street: Elm\nroof: flat", ["2:1: a house has no key `roof`"], id="a key is unknown"),
        pytest.param(
            "street: Elm\nat: 1", ["2:1: a house has no key `at`"], id="a key is a field that is not to be written"
        ),
        pytest.param(
            "street: Elm\n\nstreet: Oak",
            ["3:1: `street` stands in line 1 already: keep one of the two"],
            id="a key is there twice",
        ),
        pytest.param(
            "street:\nsize: ~",
            [
                "1:8: `street` is empty: give a value, or leave it out",
                "2:7: `size` is empty: give a value, or leave it out",
            ],
            id="values are empty",
        ),
        pytest.param(
            "street: ''", ["1:9: `street` is empty: give a value, or leave it out"], id="a value is an empty text"
        ),
        pytest.param(
            "street: [Elm]\nsize: {}",
            ["1:9: `street` is one value, not a sequence", "2:7: `size` is one value, not a mapping"],
            id="values are lists and mappings",
        ),
        pytest.param(
            "street: Elm\nnicknames: blue",
            ["2:12: `nicknames` is a list: write each item behind a `- `"],
            id="a list is a text",
        ),
        pytest.param(
            "street: Elm\nisLet: yes", ["2:8: `isLet`: 'yes' is not true or false"], id="a truth value is a word"
        ),
        pytest.param(
            "street: Elm\nwallColour: Red",
            ["2:13: `wallColour`: 'Red' is not a colour in small letters"],
            id="a value is refused by its class",
        ),
        pytest.param(
            "street: Elm\nnicknames: [red, Blue]",
            ["2:18: an item of `nicknames`: 'Blue' is not a colour in small letters"],
            id="an item is refused by its class",
        ),
        pytest.param(
            "street: Elm\nsize: 3", ["2:7: `size`: '3' is not WIDTHxHEIGHT"], id="a value is refused by its own grammar"
        ),
        pytest.param(
            "street: Elm\ndoor: {name: main, side: nort}",
            ["2:26: `side`: 'nort' is not north or south; did you mean `north`?"],
            id="a word is mistyped",
        ),
        pytest.param(
            "street: Elm\nwindows:\n  - side: north\n  - kitchen",
            ["3:5: an item of `windows` lacks `name`", "4:5: an item of `windows` is a mapping, such as `name: ...`"],
            id="items are broken",
        ),
        pytest.param(
            'street: "a\\nb"',
            ["1:9: `street`: 'a\\nb' has a control character at position 2; write it on one line, without"],
            id="a text has two lines",
        ),
        pytest.param("street: Elm\n<<: Oak", ["2:5: a merge key takes a mapping"], id="a merge key has a text"),
        pytest.param(
            "street: [\n",
            ["2:1: no YAML parser takes this (expected the node content, but found '<stream end>'): mend it"],
            id="it is no YAML",
        ),
    ],
)
def test_of_a_broken_mapping_all_problems_are_told(text: str, problems: list[str]) -> None:
    assert read(text) == (None, problems)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("<<: {street: Elm}", id="merged"),
        pytest.param("street: Elm\n<<: {street: Oak}", id="merged, and given itself before"),
        pytest.param("<<: {street: Oak}\nstreet: Elm", id="merged, and given itself behind"),
        pytest.param("<<: [{street: Elm}, {street: Oak}]", id="merged from two, of which the first"),
        pytest.param("<<: {<<: {street: Elm}}", id="merged into what is merged"),
        pytest.param("<<: [{<<: {street: Elm}}, {street: Oak}]", id="merged into the first of two"),
        pytest.param("{door: {name: &it Elm}, street: *it}", id="an alias"),
        pytest.param("street: !!str Elm", id="with a tag"),
        pytest.param("street: >-\n  Elm", id="in a block"),
    ],
)
def test_a_value_is_taken_as_yaml_has_it(text: str) -> None:
    house, problems = read(text)
    assert (house and house.street, problems) == ("Elm", [])


@pytest.mark.parametrize(
    ("written", "value"),
    [
        *[(text, None) for text in ("", "~", "null", "Null", "NULL")],
        *[(text, True) for text in ("y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE")],
        *[(text, False) for text in ("n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE")],
        *[(text, text) for text in ("nuLL", "yEs", "tRue", "oN", "nope", "yess")],
        *[("0", 0), ("-0", 0), ("12", 12), ("+12", 12), ("-12", -12), ("1_000", 1000)],
        *[("0400", 256), ("0o400", 256), ("-0400", -256), ("0x1F", 31), ("-0x10", -16), ("0b11", 3), ("08", 8)],
        *[("9223372036854775808", 1 << 63), ("18446744073709551616", 2.0**64), ("-9223372036854775809", -(2.0**63))],
        *[("1.10", 1.1), (".5", 0.5), ("1.", 1.0), ("1e3", 1000.0), ("-1.5E-3", -0.0015), ("1_0.5", 10.5)],
        *[(text, text) for text in ("_1", "._5", "0o8", "0x", "1e999", ".inf", ".nan", "1.2.3", "0123abc", "+", ".")],
        *[(text, text) for text in ("1:30", "2026-01-01", "=", "v1.10", "a b", "https://h/o/n")],
        *[("'400'", "400"), ('"yes"', "yes"), ("''", ""), ('"~"', "~"), ("|-\n  12", "12"), ("!!str 12", "12")],
        *[("[]", []), ("{}", {}), ("[1, [yes, 'no'], {a: ~}]", [1, [True, "no"], {"a": None}])],
        *[("{1: a, yes: b}", {"1": "a", "yes": "b"}), ("{<<: {b: 1, c: 2}, b: 3}", {"b": 3, "c": 2})],
        *[("&x [a]", ["a"]), ("[&x {a: 1}, *x]", [{"a": 1}, {"a": 1}])],
    ],
)
def test_a_value_of_any_shape_is_read_as_kubernetes_reads_it(written: str, value: Value) -> None:
    reader = Reader(FILE)
    root = reader.document(f"key: {written}\n")
    assert root
    read = reader.plain(root)
    # By their representations, because True equals 1.
    assert (repr(read), reader.problems) == (repr({"key": value}), [])


@pytest.mark.parametrize("digits", ["9" * 5000, "0" + "7" * 6000, "0x" + "f" * 20])
def test_a_number_of_too_many_digits_is_a_text(digits: str) -> None:
    reader = Reader(FILE)
    root = reader.document(digits)
    assert root
    assert reader.plain(root) == digits


def test_a_key_that_is_there_twice_in_a_value_of_any_shape_is_a_problem() -> None:
    reader = Reader(FILE)
    root = reader.document("a:\n  - {b: 1, b: 2}\n")
    assert root
    assert (reader.plain(root), reader.problems) == (
        {"a": [{"b": 1}]},
        [Problem(at(2, 12), "`b` stands in line 2 already: keep one of the two")],
    )


def test_the_schema_of_a_class_is_that_of_its_fields() -> None:
    text = {"type": ["string", "number"]}
    window = {
        "type": "object",
        "additionalProperties": False,
        "required": ["name"],
        "properties": {
            "name": {"description": "What it is called.", **text},
            "side": {"description": "Where it looks.", "enum": ["north", "south"]},
        },
    }
    assert schema(House) == {
        "type": "object",
        "additionalProperties": False,
        "required": ["street"],
        "properties": {
            "street": {"description": "Where it stands.", **text},
            "size": {"description": "How large it is.", "type": "string", "pattern": "^[0-9]+x[0-9]+$"},
            "isLet": {"description": "Whether tenants live there.", "type": "boolean"},
            "door": {"description": "The one that may be opened.", **window},
            "windows": {"description": "All others.", "type": "array", "items": window},
            "nicknames": {"description": "What people call it.", "type": "array", "items": text},
            "wallColour": {"description": "Of its walls.", **text},
        },
    }


def test_a_reference_tells_the_keys_of_a_class_before_those_of_the_classes_in_it() -> None:
    assert keys(House) == [
        Key("street", "text", True, "Where it stands."),
        Key("size", "text `WIDTHxHEIGHT`", False, "How large it is."),
        Key("isLet", "`true` or `false`", False, "Whether tenants live there."),
        Key("door", "mapping", False, "The one that may be opened."),
        Key("windows", "list", False, "All others."),
        Key("nicknames", "list", False, "What people call it."),
        Key("wallColour", "text", False, "Of its walls."),
        Key("door.name", "text", True, "What it is called."),
        Key("door.side", "`north` or `south`", False, "Where it looks."),
    ]


def test_fields_of_the_class_itself_stand_before_those_it_inherits() -> None:
    assert list(fields_of(House)) == ["street", "size", "isLet", "door", "windows", "nicknames", "wallColour"]


@pytest.mark.parametrize(("field", "key"), [("name", "name"), ("source_repo", "sourceRepo"), ("a_b_c", "aBC")])
def test_a_field_is_written(field: str, key: str) -> None:
    assert key_of(field) == key


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        pytest.param("nort", "; did you mean `north`?", id="a letter short"),
        pytest.param("sotuh", "; did you mean `south`?", id="letters in another order"),
        pytest.param("east", "", id="another word"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_what_was_meant_is_guessed(name: str, hint: str) -> None:
    assert did_you_mean(name, ["north", "south"]) == hint


def test_a_problem_is_shown_as_compilers_show_it() -> None:
    assert [str(Problem(at(3, 7), "no")), str(Problem(at(3, 7), "perhaps", "warning"))] == [
        "house.yaml:3:7: error: no",
        "house.yaml:3:7: warning: perhaps",
    ]
