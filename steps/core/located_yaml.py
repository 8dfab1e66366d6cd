"""A YAML text as values that know where they stand in it, for whoever edits the text or has to name a line.

What the parser makes of a scalar is left to the reader: kustomize's own parser is one of YAML 1.1, ours of YAML 1.2.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, Self

from steps.errors import StepError

DEEPEST = 100
MOST_VALUES = 100_000

_BREAKS = "\n\r\x85\u2028\u2029"
_BREAK = re.compile(rf"\r\n|[{_BREAKS}]")
_PROPERTIES = re.compile(r"(?:[&!]\S*\s+(?:#.*\s+)*)+")
_COLON = re.compile(r"[ \t]*:")
_TABS = re.compile(r"(?<=\S)[ \t]*\t[ \t]*")
_CONFLICT = re.compile(r"^(?:<{7}|>{7})(?: |$)", re.MULTILINE)
_DIRECTIVE = re.compile(r"^%(?!YAML 1\.[12]\s)", re.MULTILINE)
_SECOND_MARK = re.compile(r"\A\ufeff")
_ESCAPED = re.compile(r"\\U(?!000[0-9A-Fa-f]|0010)[0-9A-Fa-f]{8}")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_TEMPLATE = re.compile(r"\{\{|\{%|\$\{")

# What a YAML 1.1 or a YAML 1.2 parser makes something else of than a text; go-yaml leaves out `_` wherever it stands.
_NUMBER = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+", re.ASCII
)
_WORD = re.compile(r"y|n|yes|no|on|off|true|false|null|~|", re.IGNORECASE)
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?", re.ASCII)
_NULL = re.compile(r"null|Null|NULL|~|")


@dataclass(slots=True, eq=False)
class Node:
    """A value and where it stands.

    Attributes:
        kind: of an alias, `target` is what it stands for and `text` the anchor's name.
        start: index of its first character, behind an anchor or tag.
        end: index behind its last character.
        line: counted from 1.
        column: of its first character, or of its anchor or tag; counted from 0.
        style: the quote, `|` or `>` of a scalar, "flow" of a collection in brackets; "" for the plain form of either.
        weight: how many values it is when all aliases are followed.
        children: items of a sequence; keys and values of a mapping in turn.
    """

    kind: Literal["scalar", "sequence", "mapping", "alias"]
    start: int
    end: int
    line: int
    column: int
    style: str = ""
    text: str = ""
    anchor: str | None = None
    tag: str | None = None
    target: Self | None = None
    weight: int = 1
    children: list[Self] = field(default_factory=list)

    @property
    def pairs(self) -> list[tuple[Self, Self]]:
        """Keys and values of a mapping; none of what is no mapping."""
        return list(zip(self.children[::2], self.children[1::2], strict=True)) if self.kind == "mapping" else []

    @property
    def meant(self) -> Self:
        """The value itself, or what the alias stands for."""
        return self.target or self

    @property
    def is_null(self) -> bool:
        return self.kind == "scalar" and not (self.style or self.tag) and bool(_NULL.fullmatch(self.text))

    @property
    def is_misread(self) -> bool:
        """Whether a text was meant that YAML makes something else of, because it is not quoted."""
        return not (self.style or self.tag) and _is_not_text(self.text)


@dataclass(frozen=True)
class Document:
    """A parsed text.

    Attributes:
        root: None when the text holds no value.
        end: index behind which nothing belongs to the document.
        shared: anchors that an alias refers to.
        quote: the quote that most of its quoted values have.
    """

    text: str
    root: Node | None
    end: int
    shared: frozenset[str]
    quote: str


class Refused(StepError):
    """A text that is not taken; the message has the line in front.

    Attributes:
        line: counted from 1.
        column: counted from 1.
        told: the message without the line.
    """

    def __init__(self, reason: str, line: int, column: int, told: str) -> None:
        super().__init__(reason, f"line {line}: {told}")
        self.line = line
        self.column = column
        self.told = told


def refuse(reason: str, where: Node | int, message: str, column: int = 0) -> NoReturn:
    """Raise Refused.

    Args:
        reason: the word of the StepError.
        where: the value that is wrong, or its line.
        message: what is wrong and what to change.
        column: with a line, where in it, counted from 0.
    """
    line, column = (where, column) if isinstance(where, int) else (where.line, where.column)
    raise Refused(reason, line, column + 1, message)


def needs_quotes(text: str) -> bool:
    """Whether an image's name, tag or digest is not a text to every YAML parser unless it is quoted."""
    return _is_not_text(text) or bool(_DATE.fullmatch(text)) or text.startswith("[")


def _is_not_text(text: str) -> bool:
    is_number = not text.startswith("_") and _NUMBER.fullmatch(text.replace("_", ""))
    return bool(is_number or _WORD.fullmatch(text))


def is_template(text: str) -> bool:
    """Whether a placeholder of a template stands in a text."""
    return bool(_TEMPLATE.search(text))


def line_start(text: str, index: int) -> int:
    """Index of the first character of the line that an index is in."""
    return max(text.rfind(character, 0, index) for character in _BREAKS) + 1


def line_end(text: str, index: int) -> tuple[int, int]:
    """Index of the line break of the line that an index is in, and index behind that break."""
    found = _BREAK.search(text, index)
    return found.span() if found else (len(text), len(text))


def line_break(text: str) -> str:
    """The last line break of a text."""
    start = max(text.rfind(character) for character in _BREAKS)
    return "\r\n" if text[start - 1 : start + 1] == "\r\n" else text[start : start + 1] if start >= 0 else "\n"


def parse(text: str, most_values: int = MOST_VALUES) -> Document:
    """The one document of a text.

    Args:
        most_values: how many keys and values it may have, those that an alias stands for counted at each.

    Raises:
        StepError: it is none, or more than one, or one that would take unbounded time or memory to follow.
    """
    from ruamel import yaml

    for reason, pattern, message in (
        ("conflict-markers", _CONFLICT, "a merge conflict stands here: resolve it"),
        ("not-yaml", _DIRECTIVE, "a directive other than `%YAML 1.2` is of no use here: remove it"),
        ("not-yaml", _SECOND_MARK, "a byte order mark stands here once more: remove it"),
    ):
        if found := pattern.search(text):
            refuse(reason, text.count("\n", 0, found.start()) + 1, message)
    # YAML and kustomize take tabs within a line, ruamel.yaml does not; blanks in their place keep all positions.
    readable = _TABS.sub(lambda tabs: " " * len(tabs[0]), text)
    try:
        # Its C parser is a libyaml of 2016, which takes no `:` within a plain value in braces, such as a digest.
        return _composed(text, yaml.YAML(typ="safe", pure=True).parse(readable), most_values)
    except yaml.reader.ReaderError as error:
        line = text.encode().count(b"\n", 0, error.position) + 1
        refuse("not-yaml", line, f"YAML has no character {error.character:#x}: remove it")
    except (ValueError, OverflowError):
        found = _ESCAPED.search(text)
        line = text.count("\n", 0, found.start()) + 1 if found else 1
        refuse("not-yaml", line, "an escape stands for no character that there is: write the character")
    except yaml.error.MarkedYAMLError as error:
        lines = [mark.line for mark in (error.problem_mark, error.context_mark) if mark]
        written = text.splitlines()
        column = (error.problem_mark or error.context_mark).column if lines else 0
        if any(is_template(written[line]) for line in lines if line < len(written)):
            refuse(
                "template", lines[0] + 1, "this is a template, not yet YAML: edit the file that is made from it", column
            )
        refuse("not-yaml", lines[0] + 1, f"no YAML parser takes this ({error.problem}): mend it", column)


def _composed(text: str, events: Iterable[Any], most_values: int) -> Document:
    from ruamel import yaml

    root = None
    end = len(text)
    begun = False
    stack: list[Node] = []
    anchors: dict[str, Node] = {}
    shared = set()
    quotes = {'"': 0, "'": 0}
    values = 0
    for event in events:
        begin, behind = event.start_mark, event.end_mark
        if isinstance(event, yaml.events.CollectionEndEvent):
            _close(stack.pop(), behind.index)
        elif isinstance(event, yaml.events.NodeEvent):
            node = _node(text, event)
            if node.kind == "alias":
                node.target = _target(node, anchors)
                node.weight = node.target.weight
                shared.add(node.text)
            elif node.anchor:
                anchors[node.anchor] = node
            values += node.weight or 1
            if values > most_values:
                refuse(
                    "too-large",
                    node,
                    f"up to here, aliases followed, these are over {most_values} values: split the file",
                )
            if node.style in quotes:
                quotes[node.style] += 1
            if stack:
                _add(text, stack[-1], node)
            else:
                root = node
            if node.kind in ("sequence", "mapping"):
                stack.append(node)
                if len(stack) > DEEPEST:
                    refuse("too-large", node, f"this is nested more than {DEEPEST} deep: write it with fewer levels")
        elif isinstance(event, yaml.events.DocumentStartEvent):
            if begun:
                refuse("several-documents", begin.line + 1, "a second document begins: keep one in the file")
            begun = True
        elif isinstance(event, yaml.events.DocumentEndEvent):
            end = begin.index
    quote = max(quotes, key=lambda each: quotes[each])
    return Document(text, None if root and root.is_null else root, end, frozenset(shared), quote)


def _node(text: str, event: Any) -> Node:
    from ruamel import yaml

    begin, end = event.start_mark, event.end_mark
    node = Node("scalar", begin.index, end.index, begin.line + 1, begin.column)
    if isinstance(event, yaml.events.AliasEvent):
        node.kind, node.text = "alias", event.anchor or ""
        return node
    node.anchor, node.tag = event.anchor, event.tag
    if (node.anchor or node.tag) and (behind := _PROPERTIES.match(text, node.start)):
        node.start = behind.end()
    if isinstance(event, yaml.events.ScalarEvent):
        node.style, node.text = event.style or "", event.value
        if _SURROGATE.search(node.text):
            refuse("not-yaml", node, "half a character is written as an escape: write the character")
        node.start = min(node.start, node.end)
        if node.style in ("|", ">"):
            node.end = node.start + len(text[node.start : node.end].rstrip())
    else:
        node.kind = "sequence" if isinstance(event, yaml.events.SequenceStartEvent) else "mapping"
        node.style = "flow" if event.flow_style else ""
        node.weight = 0
    return node


def _target(alias: Node, anchors: dict[str, Node]) -> Node:
    target = anchors.get(alias.text)
    if target is None:
        refuse("not-yaml", alias, f"nothing has the anchor that `*{alias.text}` refers to: mend it")
    if not target.weight:
        refuse("not-yaml", alias, f"`*{alias.text}` stands within what it stands for: write it out")
    return target


def _add(text: str, parent: Node, node: Node) -> None:
    if parent.kind == "mapping" and len(parent.children) % 2 == 0:
        if node.meant.kind != "scalar":
            refuse("template", node, "this key is no text: if this is a template, edit the file that is made from it")
    elif parent.kind == "mapping" and node.kind == "scalar" and node.start == node.end:
        _place_behind(text, parent.children[-1], node, in_braces=bool(parent.style))
    parent.children.append(node)


def _place_behind(text: str, key: Node, empty: Node, *, in_braces: bool) -> None:
    """Put an empty value where a person would write it; the parser says where the next value begins."""
    if colon := _COLON.match(text, key.end):
        empty.start = colon.end()
        while in_braces and text[empty.start : empty.start + 1] == " ":
            empty.start += 1
        empty.end, empty.line = empty.start, key.line
        empty.column = empty.start - line_start(text, empty.start)


def _close(node: Node, end: int) -> None:
    node.end = end if node.style else node.children[-1].end
    node.weight = 1 + sum(child.weight for child in node.children)
