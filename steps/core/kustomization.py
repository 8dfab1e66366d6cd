"""Edits the image entries of a kustomization: bytes in, the same bytes out but for those that say which image.

The parser only says where each value stands; the text is spliced there. What comes of it is parsed again and must mean
what was wanted, with nothing else changed; if not, the edit is refused.
"""

import codecs
import contextlib
import dataclasses
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

from steps.core import located_yaml
from steps.core.image import Image, checked_digest, checked_name, checked_tag
from steps.core.located_yaml import Document, Node, refuse
from steps.errors import StepError

DigestStyle = Literal["both", "inline", "digest"]

LARGEST = 1 << 20
MOST_VALUES = 10_000
"""What the parser takes within half a second; kustomizations have hundreds."""

KEEP = "*"

_QUOTES = ("'", '"')
_SLOTS = ("newName", "newTag", "digest")
_FIELDS = ("name", *_SLOTS, "tagSuffix")
_SPELLINGS = {field.lower(): field for field in _FIELDS}
_COMMENT = re.compile(r" *#")
_COMMENTED_FIELD = re.compile(rf" *# *(?:{'|'.join(_FIELDS)}) *:")
_DASH = re.compile(r" *- +")
_GAP = re.compile(r" *:([ \t]+)")
_COLON = re.compile(r"\s*:\s+")
_KEY_END = re.compile(r"\s*:")


@dataclass(frozen=True)
class ImageEdit:
    """What `kustomize edit set image` is told about one image: a slot is a value, `*` (kept as it is) or None (dropped).

    Attributes:
        name: the image as the manifests name it, which is the `name` of its entry.
        new_name: the name that takes its place.
        tag: the new tag.
        digest: the new digest.
    """

    name: str
    new_name: str | None
    tag: str | None
    digest: str | None

    @classmethod
    def parse(cls, text: str) -> Self:
        left, equals, right = text.partition("=")
        new_name, tag, digest = _split(right if equals else left)
        if equals and not new_name:
            raise ValueError(f"{text!r} has no image after `=`: write NAME=*:TAG to keep it, NAME:TAG to have none")
        if not equals and tag is None and digest is None:
            raise ValueError(f"{text!r} sets nothing: write NAME=NEW, NAME:TAG, NAME@DIGEST or NAME=NEW:TAG@DIGEST")
        return cls(
            checked_name(left if equals else new_name),
            new_name if new_name == KEEP else checked_name(new_name) if equals else None,
            tag if tag in (None, KEEP) else checked_tag(tag),
            digest if digest in (None, KEEP) else checked_digest(digest),
        )


def _split(reference: str) -> tuple[str, str | None, str | None]:
    """Name, tag and digest of a reference, unchecked."""
    rest, at, digest = reference.partition("@")
    colon = rest.rfind(":")
    has_tag = colon > rest.rfind("/") and not rest.endswith("]")
    return rest[:colon] if has_tag else rest, rest[colon + 1 :] if has_tag else None, digest if at else None


@dataclass(frozen=True)
class Entry:
    """What the entry of an image says, however it is spelt; None is a slot that it has not.

    Attributes:
        name: the image as the manifests name it.
        new_name: the name that takes its place.
        tag: the new tag.
        digest: the new digest.
        tag_suffix: what is put behind the manifests' own tag, when there is neither tag nor digest.
    """

    name: str
    new_name: str | None = None
    tag: str | None = None
    digest: str | None = None
    tag_suffix: str | None = None

    def __str__(self) -> str:
        """What the image becomes, as a reference: `registry.example.com/app:v2`."""
        return str(Image(self.new_name or self.name, self.tag, self.digest))


@dataclass(frozen=True)
class Edited:
    """An edited kustomization.

    Attributes:
        content: the whole file.
        entries: of each image that was asked for, in that order, the entry before (None when it had none) and after.
        is_component: whether it is a Component, which makes manifests only with what includes it.
    """

    content: bytes
    entries: dict[str, tuple[Entry | None, Entry]]
    is_component: bool


def edited(before: bytes, edits: Iterable[ImageEdit], digest_style: DigestStyle = "both") -> Edited:
    """The kustomization with image entries edited, every other byte as it was.

    Args:
        before: the file, UTF-8, at most 1 MiB.
        edits: of two for one image the last counts; an image that has no entry gets one.
        digest_style: how a tag with a digest is written: `both` slots (or one, where the entry has them in one),
            `inline` as `newTag: v1@sha256:...`, or the `digest` alone.

    Raises:
        StepError: the file cannot be edited faithfully; the message begins with the line.
    """
    mark, text = _decoded(before)
    document = located_yaml.parse(text, MOST_VALUES)
    latest = {edit.name: edit for edit in edits}
    found = _found(document, latest)
    changes = [_change(found.get(name), edit, digest_style) for name, edit in latest.items()]
    after = _spliced(document, changes)
    became = _found(_verified(document, changes, after), latest) if after != text else found
    old, new = _all_said(found), _all_said(became)
    kinds = (
        [value.meant.text for key, value in document.root.pairs if key.meant.text == "kind"] if document.root else []
    )
    return Edited(
        mark + after.encode(),
        {name: (old.get(name), new[name]) for name in latest},
        is_component=kinds == ["Component"],
    )


def entries(content: bytes, names: Collection[str]) -> dict[str, Entry]:
    """What a kustomization says of images, of those that it has an entry for."""
    return _all_said(_found(located_yaml.parse(_decoded(content)[1], MOST_VALUES), names))


def _decoded(content: bytes) -> tuple[bytes, str]:
    """Byte order mark and text of a file."""
    if len(content) > LARGEST:
        refuse("too-large", 1, f"the file has more than {LARGEST} bytes: is it a kustomization?")
    mark = codecs.BOM_UTF8 if content.startswith(codecs.BOM_UTF8) else b""
    try:
        return mark, content.removeprefix(mark).decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, len(mark) + error.start) + 1
        refuse("not-utf-8", line, "this is not UTF-8: save the file in that encoding")


class _Change(NamedTuple):
    """What is to become of an image: the text of each slot, None for no such slot; no entry when it is to be made."""

    name: str
    entry: Node | None
    slots: dict[str, str | None]


def _images(document: Document) -> tuple[Node, Node] | None:
    """Key and value of `images`."""
    found = None
    for key, value in document.root.pairs if document.root else ():
        name = key.meant.text
        if name == "images" and found:
            refuse("duplicate", key, f"`images` stands in line {found[0].line} already: make them one list")
        if name == "images":
            found = key, value
        elif name.lower() in ("images", "imagetags"):
            refuse("misspelt", key, f"kustomize takes `{name}` for `images`: write it so")
        elif name == "<<":
            refuse("shared", key, "a merge key may bring in `images`: write out what it stands for")
    return found


def _entries(document: Document) -> list[Node]:
    if document.root and document.root.kind != "mapping":
        refuse("not-a-kustomization", document.root, "a kustomization is a mapping, such as `resources: [...]`")
    images = _images(document)
    if not images or images[1].is_null:
        return []
    _unshared(document, images[1])
    if images[1].kind != "sequence":
        refuse("not-a-kustomization", images[1], "`images` must be a list")
    for entry in images[1].children:
        if entry.meant.kind != "mapping" and not entry.is_null:
            refuse("not-a-kustomization", entry, "an item of `images` must be a mapping, such as `name: app`")
        if entry.kind == "mapping" and entry.style == "flow" and document.text[entry.start] != "{":
            refuse("unusual", entry, "an item of this list is a pair without braces: write `{name: app}`")
    return images[1].children


def _found(document: Document, names: Collection[str]) -> dict[str, Node]:
    """The one entry of each image that has one, fit to be edited."""
    found: dict[str, Node] = {}
    for entry in _entries(document):
        named = _name(entry)
        if named is None or named.text not in names:
            continue
        if named.text in found:
            line = found[named.text].line
            refuse("duplicate", entry, f"{named.text} has an entry in line {line} already: keep one of the two")
        if named.is_misread:
            refuse("misspelt", named, f"YAML takes {named.text} for no text: put quotes around it")
        found[named.text] = _unshared(document, entry)
    return found


def _name(entry: Node) -> Node | None:
    found: tuple[Node, Node] | None = None
    for key, value in entry.meant.pairs:
        spelt = key.meant.text
        if spelt == "name" and found:
            refuse("duplicate", key, f"`name` stands in line {found[0].line} already: keep one of the two")
        if spelt == "name":
            found = key, value.meant
        elif spelt.lower() == "name":
            refuse("misspelt", key, f"kustomize takes `{spelt}` for `name`: write it so")
    for key, _ in () if found else entry.meant.pairs:
        if key.meant.text == "<<":
            refuse("shared", key, "the name of this entry may come from a merge key: write it out")
    return found[1] if found else None


def _unshared(document: Document, node: Node) -> Node:
    """The value itself, which says nothing about any other place of the file and is no template."""
    if node.kind == "alias" or node.anchor in document.shared:
        refuse("shared", node, f"an alias shares this value (`{node.anchor or node.text}`): write it out in each place")
    if located_yaml.is_template(node.text):
        refuse("template", node, f"{node.text!r} is a placeholder of a template: edit the file that is made from it")
    return node


def _fields(entry: Node) -> dict[str, tuple[Node, Node]]:
    """Keys and values of an entry by the key's name."""
    fields: dict[str, tuple[Node, Node]] = {}
    for key, value in entry.pairs:
        name = key.meant.text
        if name in fields:
            refuse("duplicate", key, f"`{name}` stands in line {fields[name][0].line} already: keep one of the two")
        if name == "<<":
            refuse("shared", key, "a merge key brings in what another place of the file says: write it out")
        if name not in _FIELDS and name.lower() in _SPELLINGS:
            refuse("misspelt", key, f"kustomize takes `{name}` for `{_SPELLINGS[name.lower()]}`: write it so")
        fields[name] = key, value
    return fields


def _written(fields: dict[str, tuple[Node, Node]]) -> dict[str, str | None]:
    """The text of each field that an entry has; None when it is empty, which to kustomize is as good as absent."""
    for _, value in fields.values():
        if value.meant.kind != "scalar":
            refuse("not-a-kustomization", value, "a text belongs here")
    nodes = {name: fields[name][1].meant for name in (*_SLOTS, "tagSuffix") if name in fields}
    return {name: None if node.is_null else node.text or None for name, node in nodes.items()}


def _said(name: str, written: Mapping[str, str | None]) -> Entry:
    """What is written, also where a tag or digest stands in `newName`, or a digest in `newTag`."""
    new_name, name_tag, name_digest = _split(written.get("newName") or "")
    tag, _, tag_digest = (written.get("newTag") or "").partition("@")
    digest = written.get("digest") or tag_digest or name_digest
    return Entry(name, new_name or None, tag or name_tag, digest, written.get("tagSuffix"))


def _all_said(entries: Mapping[str, Node]) -> dict[str, Entry]:
    return {name: _said(name, _written(_fields(entry))) for name, entry in entries.items()}


def _change(entry: Node | None, edit: ImageEdit, style: DigestStyle) -> _Change:
    written = _written(_fields(entry)) if entry else {}
    current = _said(edit.name, written)
    wanted = Entry(
        edit.name,
        current.new_name if edit.new_name == KEEP else edit.new_name,
        current.tag if edit.tag == KEEP else edit.tag,
        current.digest if edit.digest == KEEP else edit.digest,
        current.tag_suffix,
    )
    if wanted.new_name == edit.name and current.new_name is None:
        wanted = dataclasses.replace(wanted, new_name=None)
    if wanted == current and style == "both" and written.get("digest") and not written.get("newTag"):
        return _Change(edit.name, entry, {slot: written.get(slot) for slot in _SLOTS})  # a tag in newName does no harm
    tag, digest = wanted.tag, wanted.digest
    if tag and digest and style == "digest":
        tag = None
    elif tag and digest and (style == "inline" or "@" in (written.get("newTag") or "")):
        tag, digest = f"{tag}@{digest}", None
    slots = {"newName": wanted.new_name, "newTag": tag, "digest": digest}
    for slot, text in slots.items():
        if entry and text and text != written.get(slot):
            _check(entry, slot, text)
    return _Change(edit.name, entry, slots)


def _check(entry: Node, slot: str, text: str) -> None:
    """Refuse what cannot be kept; what was given is checked already."""
    first, at, digest = text.partition("@")
    try:
        if slot == "newName":
            checked_name(text)
        elif slot == "newTag":
            checked_tag(first)
        if slot == "digest" or at:
            checked_digest(digest if at else text)
    except ValueError as error:
        refuse("not-a-reference", entry, f"this cannot be kept as `{slot}`, {error}: mend the entry or give a value")


class _Splice(NamedTuple):
    """Text that takes the place of what stands from start to end."""

    start: int
    end: int
    text: str


def _spliced(document: Document, changes: Sequence[_Change]) -> str:
    end_of_line = located_yaml.line_break(document.text)
    unfinished = located_yaml.line_start(document.text, len(document.text)) < len(document.text)
    if unfinished:
        document = dataclasses.replace(document, text=document.text + end_of_line)
    splices = [
        splice for change in changes if change.entry for splice in _respelt(document, change.entry, change.slots)
    ]
    if missing := [change for change in changes if not change.entry]:
        splices += _appended(document, missing)
    after, done = "", 0
    for start, end, text in sorted(splices, key=lambda splice: splice[:2]):
        after += document.text[done:start] + text
        done = end
    after += document.text[done:]
    return after.removesuffix(end_of_line) if unfinished else after


def _respelt(document: Document, entry: Node, slots: Mapping[str, str | None]) -> Iterator[_Splice]:
    fields = _fields(entry)
    written = {slot: text for slot, text in _written(fields).items() if slot in _SLOTS}
    wanted = {slot: text for slot, text in slots.items() if text is not None}
    drop = [slot for slot, text in written.items() if text is not None and slot not in wanted]
    add = [slot for slot in wanted if slot not in written]
    for old, new in (("newTag", "digest"), ("digest", "newTag")):
        if old in drop and new in add:
            drop.remove(old)
            add.remove(new)
            key, value = fields[old]
            yield _Splice(key.start, key.end, _quoted(new, key.style))
            yield _replaced(document, entry, value, new, wanted[new])
    for slot, text in written.items():
        value = fields[slot][1]
        if slot in wanted and (text != wanted[slot] or value.is_misread):
            yield _replaced(document, entry, value, slot, wanted[slot])
    for slot in add:
        before = [name for name in _FIELDS[: _FIELDS.index(slot)] if name in fields and name not in drop]
        yield _added(document, entry, fields[before[-1]][1], slot, wanted[slot])
    yield from _dropped(document, entry, drop)


def _replaced(document: Document, entry: Node, value: Node, slot: str, text: str) -> _Splice:
    _unshared(document, value)
    quote = _quote(document, entry, slot) if value.is_null else value.style
    return _Splice(value.start, value.end, _space(document.text, value) + _scalar(document, text, quote))


def _space(text: str, value: Node) -> str:
    """What must stand in front of a new value: a blank, when it comes right behind the colon of a key without one."""
    return " " if value.start == value.end and text[value.start - 1] == ":" else ""


def _added(document: Document, entry: Node, sibling: Node, slot: str, text: str) -> _Splice:
    """A slot behind the value of the one that a reader looks for before it, in the style of the entry."""
    if entry.style == "flow":
        pair = _separator(document.text, entry, entry.pairs) + _flow_pair(document, entry, slot, text)
        return _Splice(sibling.end, sibling.end, pair)
    end, following = located_yaml.line_end(document.text, sibling.end)
    line = " " * entry.children[0].column + _block_pair(document, entry, slot, text) + document.text[end:following]
    return _Splice(following, following, line)


def _dropped(document: Document, entry: Node, slots: Collection[str]) -> Iterator[_Splice]:
    """Fields taken out with their lines or commas; what follows one on the line of the dash moves up to the dash."""
    text, pairs = document.text, entry.pairs
    kept = [key.meant.text not in slots for key, _ in pairs]
    on_dash = text[located_yaml.line_start(text, pairs[0][0].start) : pairs[0][0].start].strip() != ""
    for index, (key, value) in enumerate(pairs):
        if kept[index]:
            continue
        _unshared(document, value)
        if entry.style == "flow" and any(kept[:index]):
            start, end = pairs[index - 1][1].end, value.end
        elif entry.style == "flow":
            start, end = key.start, pairs[index + 1][0].start
        else:
            start, end = located_yaml.line_start(text, key.start), located_yaml.line_end(text, value.end)[1]
            if on_dash and not any(kept[:index]):
                start, end = key.start, len(text) - len(text[end:].lstrip())
        if entry.style == "flow" and "#" in text[start:end]:
            refuse("comment", key, f"a comment stands beside `{key.meant.text}`: write the entry in lines of its own")
        yield _Splice(start, end, "")


def _appended(document: Document, changes: Collection[_Change]) -> list[_Splice]:
    """Entries for images that have none: at the end of the list, or in a list at the end of the file."""
    images = _images(document)
    if images and images[1].children:
        return [_appended_to(document, images[1], changes)]
    if document.root and document.root.style == "flow":
        return [_flow_list(document, document.root, images, changes)]
    column = document.root.children[0].column if document.root else 0
    lead = " " * (column + _list_indentation(document)) + "- "
    if images:
        return _filled_list(document, *images, lead, changes)
    end, position = located_yaml.line_end(document.text, len(document.text[: document.end].rstrip()))
    end_of_line = document.text[end:position] or located_yaml.line_break(document.text)
    blank = end_of_line if document.root and _is_set_off(document.text, document.root.pairs[-1][0]) else ""
    heading = blank + " " * column + "images:" + end_of_line
    entries = (_block_entry(document, lead, None, change, end_of_line) for change in changes)
    return [_Splice(position, position, heading + "".join(entries))]


def _appended_to(document: Document, entries: Node, changes: Collection[_Change]) -> _Splice:
    text, last = document.text, entries.children[-1]
    model = next((entry for entry in reversed(entries.children) if entry.kind == "mapping"), None)
    if entries.style == "flow":
        separator = _separator(text, entries, [(entry, entry) for entry in entries.children])
        return _Splice(last.end, last.end, "".join(separator + _flow_entry(document, model, each) for each in changes))
    dash = entries.start - located_yaml.line_start(text, entries.start)
    lead = text[located_yaml.line_start(text, model.start) : model.start] if model else ""
    if not _DASH.fullmatch(lead):
        lead = " " * dash + "- "
    end, position = located_yaml.line_end(text, last.end)
    end_of_line = text[end:position]
    position = _behind_comments(text, position, dash)
    blank = end_of_line if len(entries.children) > 1 and _is_set_off(text, last) else ""
    new = (blank + _block_entry(document, lead, model, each, end_of_line) for each in changes)
    return _Splice(position, position, "".join(new))


def _behind_comments(text: str, position: int, dash: int) -> int:
    """Behind the comments below an entry that are indented as its fields are.

    When others follow at once, all belong to what comes next, but for fields that are commented out.
    """

    def behind(comment: re.Pattern[str]) -> int:
        end = position
        while text.startswith(" " * (dash + 1), end) and comment.match(text, end):
            end = located_yaml.line_end(text, end)[1]
        return end

    return behind(_COMMENTED_FIELD if _COMMENT.match(text, behind(_COMMENT)) else _COMMENT)


def _filled_list(document: Document, key: Node, value: Node, lead: str, changes: Collection[_Change]) -> list[_Splice]:
    """Entries on the lines after an `images` that has none; a `[]` or `null` goes, a comment behind it stays."""
    colon = _KEY_END.match(document.text, key.end)
    if not colon:
        refuse("unusual", key, "write this key as `images:`")
    start = colon.end()
    if "#" in document.text[start : value.end]:
        refuse("comment", value, "a comment stands in this empty list: take it out of the brackets")
    end, position = located_yaml.line_end(document.text, value.end)
    entries = (_block_entry(document, lead, None, change, document.text[end:position]) for change in changes)
    return [_Splice(start, value.end, ""), _Splice(position, position, "".join(entries))]


def _flow_list(
    document: Document, root: Node, images: tuple[Node, Node] | None, changes: Collection[_Change]
) -> _Splice:
    entries = "[" + ", ".join(_flow_entry(document, None, change) for change in changes) + "]"
    if images:
        return _Splice(images[1].start, images[1].end, _space(document.text, images[1]) + entries)
    separator = _separator(document.text, root, root.pairs) if root.children else ""
    end = root.children[-1].end if root.children else root.start + 1
    return _Splice(end, end, separator + _flow_key(document, root, "images") + entries)


def _list_indentation(document: Document) -> int:
    """How far the file's other lists stand to the right of their keys."""
    for key, value in document.root.pairs if document.root else ():
        if value.kind == "sequence" and value.style == "":
            return value.start - located_yaml.line_start(document.text, value.start) - key.column
    return 0


def _is_set_off(text: str, node: Node) -> bool:
    """Whether a blank line stands above a value, or above the comment above it."""
    for line in reversed(text[: located_yaml.line_start(text, node.start)].splitlines()):
        if not line.lstrip().startswith("#"):
            return not line.strip()
    return False


def _block_entry(document: Document, lead: str, model: Node | None, change: _Change, end_of_line: str) -> str:
    if model and model.style == "flow":
        return lead + _flow_entry(document, model, change) + end_of_line
    lines = [_block_pair(document, model, key, text) for key, text in _pairs(change)]
    return lead + (end_of_line + " " * len(lead)).join(lines) + end_of_line


def _pairs(change: _Change) -> list[tuple[str, str]]:
    return [("name", change.name), *((slot, text) for slot, text in change.slots.items() if text is not None)]


def _block_pair(document: Document, model: Node | None, key: str, text: str) -> str:
    """A field as the fields of another entry are written: quotes, and the column that the values stand in."""
    written = _quoted(key, model.children[0].style) if model else key
    gap = " "
    fields = [
        (value.start - key_node.start, found.group(1))
        for key_node, value in (model.pairs if model else ())
        if value.text and (found := _GAP.fullmatch(document.text[key_node.end : value.start]))
    ]
    if fields:
        gap = fields[-1][1]
        aligned = len({width for width, _ in fields}) == 1 and any(len(each) > 1 for _, each in fields)
        if aligned and gap.isspace() and "\t" not in gap:
            gap = " " * max(1, fields[0][0] - len(written) - 1)
    return f"{written}:{gap}{_scalar(document, text, _quote(document, model, key))}"


def _flow_entry(document: Document, model: Node | None, change: _Change) -> str:
    opening, closing, separator = "{", "}", ", "
    if model and model.children:
        first, last = model.children[0], model.children[-1]
        opening, closing = document.text[model.start : first.start], document.text[last.end : model.end]
        separator = _separator(document.text, model, model.pairs)
    if opening.strip() != "{" or closing.strip() != "}":
        opening, closing = "{", "}"
    like = model or (document.root if document.root and document.root.style == "flow" else None)
    return opening + separator.join(_flow_pair(document, like, key, text) for key, text in _pairs(change)) + closing


def _flow_pair(document: Document, model: Node | None, key: str, text: str) -> str:
    return _flow_key(document, model, key) + _scalar(document, text, _quote(document, model, key))


def _flow_key(document: Document, model: Node | None, key: str) -> str:
    if not model or not model.children:
        return f"{key}: "
    first, value = model.pairs[0]
    colon = document.text[first.end : value.start]
    if not _COLON.fullmatch(colon) and not (first.style in _QUOTES and colon == ":"):
        colon = ": "
    return _quoted(key, first.style) + colon


def _separator(text: str, collection: Node, items: Sequence[tuple[Node, Node]]) -> str:
    """What stands between two items (first and last value of each) of a collection in brackets."""
    if len(items) > 1:
        between = text[items[-2][1].end : items[-1][0].start]
        if between.strip() == ",":
            return between
    opening = text[collection.start + 1 : items[0][0].start]
    return "," + opening if opening.isspace() and len(opening.splitlines()) > 1 else ", "


def _quote(document: Document, model: Node | None, key: str) -> str:
    """The quote of a new value: that of all values of its entry, else that of the same field of another entry."""
    values = [value for _, value in model.pairs if value.kind == "scalar" and not value.is_null] if model else []
    styles = {value.style for value in values} or ({model.children[0].style} if model and model.children else set())
    if len(styles) == 1 and styles <= set(_QUOTES):
        return styles.pop()
    for entry in reversed(_entries(document)):
        for other, value in entry.pairs:
            if other.text == key and value.kind == "scalar" and not value.is_null:
                return value.style
    return ""


def _scalar(document: Document, text: str, quote: str) -> str:
    if quote not in _QUOTES and located_yaml.needs_quotes(text):
        quote = document.quote
    return _quoted(text, quote)


def _quoted(text: str, quote: str) -> str:
    return f"{quote}{text}{quote}" if quote in _QUOTES else text


def _verified(before: Document, changes: Sequence[_Change], text: str) -> Document:
    """What was spliced, when it means what was wanted, and all else what it meant; else it is refused."""
    with contextlib.suppress(StepError):
        after = located_yaml.parse(text)
        if _is_faithful(before, changes, after):
            return after
    if _images(before):
        line = min((change.entry.line for change in changes if change.entry), default=1)
        told = "this is written in a way that cannot be edited safely: write one field a line"
    else:
        line = before.text.count("\n") + 1
        told = "`images` cannot be added behind the last value: write `images: []` where it belongs"
    raise located_yaml.Refused("unusual", line, 1, told)


def _is_faithful(before: Document, changes: Sequence[_Change], after: Document) -> bool:
    (place, others), (new_place, new_others) = _others(before), _others(after)
    old, new = _entries(before), _entries(after)
    made = [change for change in changes if not change.entry]
    edited = {id(change.entry): change for change in changes if change.entry}
    return (
        place == new_place
        and _all_same(others, new_others)
        and len(new) == len(old) + len(made)
        and all(_is_edited(was, edited.get(id(was)), entry) for was, entry in zip(old, new, strict=False))
        and all(map(_is_made, made, new[len(old) :]))
    )


def _others(document: Document) -> tuple[int, list[Node]]:
    """Which of the keys `images` is, and the keys and values of all others."""
    pairs = document.root.pairs if document.root else []
    names = [key.meant.text for key, _ in pairs]
    place = names.index("images") if "images" in names else len(names)
    return place, [node for name, pair in zip(names, pairs, strict=True) if name != "images" for node in pair]


def _is_edited(was: Node, change: _Change | None, entry: Node) -> bool:
    if not change:
        return _same(was, entry)
    unedited = [
        [node for key, value in each.pairs if key.meant.text not in _SLOTS for node in (key, value)]
        for each in (was, entry)
    ]
    return _has(entry, change.slots) and _all_same(*unedited)


def _is_made(change: _Change, entry: Node) -> bool:
    return _has(entry, change.slots) and [key.text for key, _ in entry.pairs] == [key for key, _ in _pairs(change)]


def _has(entry: Node, slots: Mapping[str, str | None]) -> bool:
    fields = _fields(entry)
    written = _written(fields)
    misread = any(fields[slot][1].is_misread for slot in slots if written.get(slot) is not None)
    return not misread and all(written.get(slot) == text for slot, text in slots.items())


def _all_same(before: Sequence[Node], after: Sequence[Node]) -> bool:
    return len(before) == len(after) and all(map(_same, before, after))


def _same(before: Node, after: Node) -> bool:
    return (
        (before.kind, before.style, before.text, before.anchor, before.tag)
        == (after.kind, after.style, after.text, after.anchor, after.tag)
    ) and _all_same(before.children, after.children)
