"""A YAML document as frozen dataclasses: every problem with its line and column, and the JSON Schema of the same types.

A class says all: its fields are the keys (`source_repo` is written `sourceRepo`), their annotations the values, `declared`
what they mean. A value's class has a `parse` that raises ValueError with a sentence for a person.
"""

import dataclasses
import difflib
import inspect
import math
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from steps.core import located_yaml
from steps.core.annotations import without_none
from steps.core.located_yaml import Node
from steps.core.text import Line

Severity = Literal["error", "warning"]
Value = None | bool | int | float | str | list["Value"] | dict[str, "Value"]

_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"([-+]?)(?:0x([0-9a-f]+)|0b([01]+)|0o?([0-7]+)|([0-9]{1,20}))", re.ASCII | re.IGNORECASE)
_BASES = (16, 2, 8, 10)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)


@dataclass(frozen=True)
class Position:
    """A place in a file; line and column are counted from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Problem:
    """What a person has to change, and where."""

    at: Position
    message: str
    severity: Severity = "error"

    def __str__(self) -> str:
        return f"{self.at}: {self.severity}: {self.message}"


@dataclass(frozen=True, kw_only=True)
class Section:
    """What the classes of mappings have in common.

    Attributes:
        at: where the mapping stands.
        keys_at: where its values stand, by the field's name.
    """

    at: Position = dataclasses.field(compare=False, repr=False)
    keys_at: Mapping[str, Position] = dataclasses.field(compare=False, repr=False)

    def where(self, field: str) -> Position:
        """Where a value stands, or the mapping that lacks it."""
        return self.keys_at.get(field, self.at)


class _Readable(Protocol):
    """A class with a grammar of its own."""

    shape: str

    @classmethod
    def read(cls, reader: "Reader", node: Node) -> Any: ...

    @classmethod
    def schema(cls) -> dict[str, Any]: ...


S = TypeVar("S", bound=Section)

_FIELDS: dict[type[Section], dict[str, tuple[dataclasses.Field[Any], Any]]] = {}


def declared(meaning: str, *, default: Any = dataclasses.MISSING) -> Any:
    """A field of a mapping; without a default it must be given."""
    return dataclasses.field(default=default, metadata={"meaning": meaning})


def key_of(field: str) -> str:
    """How a field is written: `source_repo` is `sourceRepo`."""
    first, *rest = field.split("_")
    return first + "".join(part.capitalize() for part in rest)


def fields_of(kind: type[Section]) -> dict[str, tuple[dataclasses.Field[Any], Any]]:
    """The declared fields of a class and their annotations, by key; those of the class itself before those it inherits."""
    if kind not in _FIELDS:
        _FIELDS[kind] = _fields_of(kind)
    return _FIELDS[kind]


def _fields_of(kind: type[Section]) -> dict[str, tuple[dataclasses.Field[Any], Any]]:
    hints = typing.get_type_hints(kind)
    of_class = inspect.get_annotations(kind)
    found = [field for field in dataclasses.fields(kind) if "meaning" in field.metadata]
    found.sort(key=lambda field: field.name not in of_class)
    return {key_of(field.name): (field, without_none(hints[field.name])) for field in found}


def is_required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING


def _section(hint: Any) -> type[Section] | None:
    return hint if isinstance(hint, type) and issubclass(hint, Section) else None


def did_you_mean(name: str, names: typing.Iterable[str]) -> str:
    """`; did you mean x?`, or nothing when none of the names is near."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean `{near[0]}`?" if near else ""


class Reader:
    """Reads the values of one file and keeps what is wrong with them."""

    def __init__(self, file: str) -> None:
        self._file = file
        self.problems: list[Problem] = []

    def at(self, node: Node) -> Position:
        return Position(self._file, node.line, node.column + 1)

    def refuse(self, where: Node | Position, message: str) -> None:
        self.problems.append(Problem(where if isinstance(where, Position) else self.at(where), message))

    def warn(self, where: Position, message: str) -> None:
        self.problems.append(Problem(where, message, "warning"))

    def document(self, text: str) -> Node | None:
        """The root of a text; None when there is none, or no YAML, which is a problem then."""
        try:
            return located_yaml.parse(text).root
        except located_yaml.Refused as error:
            self.refuse(Position(self._file, error.line, error.column), error.told)
            return None

    def pairs(self, node: Node) -> dict[str, tuple[Node, Node]]:
        """Keys and values of a mapping by the key's text, those of merge keys (`<<`) after its own."""
        found: dict[str, tuple[Node, Node]] = {}
        merged = []
        for key, value in node.meant.pairs:
            name = key.meant.text
            if name == "<<" and not key.style:
                merged += value.meant.children if value.meant.kind == "sequence" else [value]
            elif name in found:
                self.refuse(key, f"`{name}` stands in line {found[name][0].line} already: keep one of the two")
            else:
                found[name] = key, value
        for each in merged:
            if each.meant.kind != "mapping":
                self.refuse(each, "a merge key takes a mapping")
                continue
            for name, pair in self.pairs(each).items():
                found.setdefault(name, pair)
        return found

    def items(self, node: Node, what: str) -> list[Node]:
        """The items of a sequence."""
        if node.is_null:
            return []
        if node.meant.kind != "sequence":
            self.refuse(node, f"{what} is a list: write each item behind a `- `")
            return []
        return node.meant.children

    def mapping(self, node: Node, kind: type[S], what: str) -> S | None:
        """A mapping as its class; None when something of it is wrong."""
        if node.meant.kind != "mapping":
            self.refuse(node, f"{what} is a mapping, such as `{next(iter(fields_of(kind)))}: ...`")
            return None
        before = len(self.problems)
        fields = fields_of(kind)
        values: dict[str, Any] = {}
        keys_at: dict[str, Position] = {}
        given = self.pairs(node)
        for key, (key_node, value) in given.items():
            if key not in fields:
                self.refuse(key_node, f"{what} has no key `{key}`" + did_you_mean(key, fields))
                continue
            field, hint = fields[key]
            keys_at[field.name] = self.at(value)
            values[field.name] = self.value(value, hint, f"`{key}`")
        for key, (field, _) in fields.items():
            if is_required(field) and key not in given:
                self.refuse(node, f"{what} lacks `{key}`")
        if len(self.problems) > before:
            return None
        return kind(at=self.at(node), keys_at=keys_at, **values)

    def value(self, node: Node, hint: Any, what: str) -> Any:
        """A value as its annotation says; None when it is wrong, which is a problem then."""
        if hasattr(hint, "read"):
            readable: _Readable = hint
            return readable.read(self, node)
        if section := _section(hint):
            return self.mapping(node, section, what)
        if typing.get_origin(hint) is tuple:
            item, *_ = typing.get_args(hint)
            return tuple(self.value(each, item, f"an item of {what}") for each in self.items(node, what))
        text = self.scalar(node, what)
        if text is None:
            return None
        try:
            return _parsed(text, hint)
        except ValueError as error:
            self.refuse(node, f"{what}: {error}")
            return None

    def scalar(self, node: Node, what: str, *, may_be_empty: bool = False) -> str | None:
        """The text of a scalar as it is written, `1.10` of `1.10`, too."""
        if node.meant.kind != "scalar":
            self.refuse(node, f"{what} is one value, not a {node.meant.kind}")
            return None
        if node.meant.is_null or not (node.meant.text or may_be_empty):
            self.refuse(node, f"{what} is empty: give a value, or leave it out")
            return None
        return node.meant.text

    def plain(self, node: Node) -> Value:
        """A value of any shape, as Kubernetes reads it: YAML 1.1, and the numbers and truth values of JSON."""
        meant = node.meant
        if meant.kind == "mapping":
            return {key: self.plain(value) for key, (_, value) in self.pairs(meant).items()}
        if meant.kind == "sequence":
            return [self.plain(child) for child in meant.children]
        return meant.text if meant.style or meant.tag else _native(meant.text)


def _native(text: str) -> Value:
    """What go-yaml, which Kubernetes reads with, makes of a text without quotes."""
    if text in _WORDS:
        return _WORDS[text]
    number = text if text.startswith(("_", ".")) else text.replace("_", "")
    if match := _INTEGER.fullmatch(number):
        sign, *by_base = match.groups()
        integer = next(int(sign + digits, base) for base, digits in zip(_BASES, by_base, strict=True) if digits)
        if -(1 << 63) <= integer < 1 << 64:
            return integer
    if _FLOAT.fullmatch(number) and math.isfinite(float(number)):
        return float(number)
    return text


def _parsed(text: str, hint: Any) -> Any:
    if hint is str:
        return str(Line.parse(text))
    if hint is bool:
        return _choice(text.lower(), ("true", "false")) == "true"
    if typing.get_origin(hint) is Literal:
        return _choice(text, typing.get_args(hint))
    return hint.parse(text)


def _choice(text: str, choices: tuple[str, ...]) -> str:
    if text not in choices:
        raise ValueError(f"{text!r} is not {' or '.join(choices)}{did_you_mean(text, choices)}")
    return text


def schema(kind: type[Section]) -> dict[str, Any]:
    """The JSON Schema of a mapping's class."""
    fields = fields_of(kind)
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [key for key, (field, _) in fields.items() if is_required(field)],
        "properties": {
            key: {"description": field.metadata["meaning"], **_schema_of(hint)} for key, (field, hint) in fields.items()
        },
    }


def _schema_of(hint: Any) -> dict[str, Any]:
    if hasattr(hint, "schema"):
        readable: _Readable = hint
        return readable.schema()
    if section := _section(hint):
        return schema(section)
    if typing.get_origin(hint) is tuple:
        return {"type": "array", "items": _schema_of(typing.get_args(hint)[0])}
    if typing.get_origin(hint) is Literal:
        return {"enum": list(typing.get_args(hint))}
    # A number is taken as it is written, so that a tag or version may do without quotes.
    return {"type": "boolean"} if hint is bool else {"type": ["string", "number"]}


@dataclass(frozen=True)
class Key:
    """What a reference says of one key: where it stands (`versions[].tag`), what it looks like, what it means."""

    path: str
    shape: str
    is_required: bool
    meaning: str


def keys(kind: type[Section], path: str = "") -> list[Key]:
    """The keys of a mapping and, behind them, those of the mappings in it; what classes share is told once."""
    return list(_keys(kind, path, set()))


def _keys(kind: type[Section], path: str, told: set[tuple[type, str]]) -> Iterator[Key]:
    nested: list[tuple[type[Section], str]] = []
    for key, (field, hint) in fields_of(kind).items():
        owner = next(each for each in reversed(kind.__mro__) if field.name in inspect.get_annotations(each))
        if (owner, key) in told:
            continue
        told.add((owner, key))
        item = typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else hint
        if section := _section(item):
            nested.append((section, f"{path}{key}[]." if item is not hint else f"{path}{key}."))
        yield Key(path + key, shape(hint), is_required(field), field.metadata["meaning"])
    for section, name in nested:
        yield from _keys(section, name, told)


def shape(hint: Any) -> str:
    """A word for what a value looks like."""
    if typing.get_origin(hint) is tuple:
        return "list"
    if typing.get_origin(hint) is Literal:
        return " or ".join(f"`{each}`" for each in typing.get_args(hint))
    if hasattr(hint, "shape"):
        return str(hint.shape)
    if _section(hint):
        return "mapping"
    return "`true` or `false`" if hint is bool else "text"
