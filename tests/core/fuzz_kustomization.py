"""`make fuzz`: an edit of any bytes with any arguments is right or refused, and soon over.

An input is a line with the style of digests and the arguments, and behind it the file; `sha256:A` stands for a digest.
`make test` replays those that are kept in `corpus`: one of each shape, and each that something was once wrong with.
"""

import re
import sys
import time
from typing import Any, get_args

import yaml

from steps.core import kustomization
from steps.core.kustomization import KEEP, DigestStyle, Edited, Entry, ImageEdit
from steps.errors import StepError

LONGEST = 1 << 16
SLOTS = ("newName", "newTag", "digest")
NOTHING = ("", "~", "null", "Null", "NULL")
STYLES: dict[str, DigestStyle] = {style: style for style in get_args(DigestStyle)}


def check(tried: bytes) -> None:
    """Edit, or be refused, and AssertionError where either is wrong."""
    first, _, content = re.sub(rb"sha256:([A-F])(?![0-9A-Za-z])", _digest, tried).partition(b"\n")
    word, *arguments = first.decode("utf-8", "replace").split(" ")
    style = STYLES.get(word, "both")
    try:
        edits = [ImageEdit.parse(argument) for argument in arguments]
    except ValueError:
        return
    begun = time.process_time()
    try:
        after = kustomization.edited(content, edits, style)
    except StepError as refusal:
        assert re.match(r"line [1-9][0-9]*: ", str(refusal))  # noqa: PT017 - either may come
        return
    finally:
        seconds = time.process_time() - begun
        assert seconds < 1 or len(content) > LONGEST, f"{seconds} s for {len(content)} bytes"
    assert kustomization.edited(after.content, edits, style).content == after.content
    wanted = {edit.name: _wanted(after.entries[edit.name][0], edit, style) for edit in edits}
    assert {name: new for name, (_, new) in after.entries.items()} == wanted
    _compare(content.decode("utf-8-sig"), after)


def _digest(letter: re.Match[bytes]) -> bytes:
    return b"sha256:" + letter[1].lower() * 64


def _wanted(old: Entry | None, edit: ImageEdit, style: DigestStyle) -> Entry:
    old = old or Entry(edit.name)
    new_name, tag, digest = (
        now if given == KEEP else given
        for given, now in ((edit.new_name, old.new_name), (edit.tag, old.tag), (edit.digest, old.digest))
    )
    if new_name == edit.name and not old.new_name:
        new_name = None
    if style == "digest" and digest:
        tag = None
    return Entry(edit.name, new_name, tag, digest, old.tag_suffix)


def _compare(content: str, after: Edited) -> None:
    """Hold the file as another reader understands it against what was asked."""
    try:
        before = _libyaml(content)
    except (yaml.YAMLError, TypeError):  # a key that is none to Python
        return
    became = _libyaml(after.content.decode("utf-8-sig"))
    old, new = _as_mapping(before), _as_mapping(became)
    was, now = old.pop("images", None) or [], new.pop("images", None) or []
    assert new == old
    was = was if isinstance(was, list) else []
    now = now if isinstance(now, list) else []
    made = [name for name, (entry, _) in after.entries.items() if not entry]
    assert len(now) == len(was) + len(made)
    assert [entry["name"] for entry in now[len(was) :]] == made
    for one, other in zip([*was, *({"name": name} for name in made)], now, strict=True):
        name = one.get("name") if isinstance(one, dict) else None
        if not isinstance(name, str) or name not in after.entries:
            assert other == one
            continue
        assert [pair for pair in other.items() if pair[0] not in SLOTS] == [
            pair for pair in one.items() if pair[0] not in SLOTS
        ]
        new_name, tag, digest = ("" if other.get(slot) in NOTHING else other.get(slot, "") for slot in SLOTS)
        if "null" not in str(after.entries[name][1]).lower():
            assert (new_name or name) + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "") == str(
                after.entries[name][1]
            )


def _as_mapping(value: Any) -> dict[Any, Any]:
    return dict(value) if isinstance(value, dict) else {}


def _libyaml(text: str) -> Any:
    return yaml.load(text, Loader=yaml.CBaseLoader)  # noqa: S506 - texts only


def main() -> None:
    import atheris

    atheris.instrument_all()
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
