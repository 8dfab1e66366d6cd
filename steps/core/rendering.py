"""Holds the manifests that kustomize makes after an edit of images against those that it made before.

The verdict is read by set_image, which keeps its edit or takes it back, and by reviewers, who see the difference in the pull
request.
"""

import contextlib
import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Literal, NamedTuple

from steps.core import located_yaml
from steps.core.image import Image
from steps.core.kustomization import Entry
from steps.core.located_yaml import Node
from steps.core.text import counted, shown
from steps.errors import StepError

LONGEST_DIFF = 1 << 18
"""Characters."""

MOST_NAMES = 5

_DOCUMENT = re.compile(r"^---\n", re.MULTILINE)
_IMAGE_LINE = re.compile(r"^ *(?:- )?(?:image|reference): ", re.MULTILINE)
_VALUE = re.compile(r"(?:: |- )['\"]?([^\s'\"]+)['\"]?$", re.MULTILINE)
_IMAGE_FIELD = re.compile(r"^(?!metadata\.|data\.|stringData\.).*\.(?:image|reference)$")
_KUSTOMIZES_OWN = re.compile(
    r"(?:\.(?:containers|initContainers)\[[^]]*\]\.image|\.volumes\[[^]]*\]\.image\.reference)$"
)
"""Where kustomize knows images by itself; `configurations` may name other fields."""

_ODD_BREAKS = str.maketrans("\x85\u2028\u2029", "   ")
"""Within the texts that kustomize prints as they are, to a YAML parser these may end a line."""

_SLOTS = re.compile(r"(?::[^/@]*)?(?:@.*)?$")

Entries = Sequence[tuple[Entry | None, Entry]]
"""What a kustomization says of images before an edit, None when it has no entry, and after it."""


class Built(NamedTuple):
    """The manifests of a package, or why there are none. A component has no manifests, and no reason."""

    text: str = ""
    why_not: str = ""


class Proof(NamedTuple):
    """What kustomize makes of a package before and after an edit; `package` is its directory, as a person knows it."""

    package: str
    before: Built
    after: Built


class Verdict(NamedTuple):
    """What an edit does to the manifests, when nothing speaks against it.

    Attributes:
        verified: `kustomization` when there are packages that could not be rendered.
        containers: how many have another image.
        diff: what differs, much as `diff -u` writes it, and what is not known; for the pull request.
        told: the same in a few lines for the log; True with what a person should look at.
    """

    verified: Literal["rendered", "kustomization"]
    containers: int
    diff: str
    told: list[tuple[bool, str]]


class _Difference(NamedTuple):
    """A value that is another one.

    Attributes:
        resource: such as `Deployment web`.
        path: such as `spec.template.spec.containers[web].image`.
        before: the value.
        after: the value.
        line: of the resource's manifest.
        lines: that line, before and after.
    """

    resource: str
    path: str
    before: str
    after: str
    line: int
    lines: tuple[str, str]

    @property
    def becomes(self) -> str:
        """What is told of it in the log, where what a Secret holds is nobody's business."""
        if self.resource.startswith("Secret "):
            return "becomes another value"
        return f"becomes {shown(self.after)!r} in place of {shown(self.before)!r}"


class _Seen(NamedTuple):
    """A package and what differs in its manifests, None when there are none."""

    proof: Proof
    entries: Entries
    differences: list[_Difference] | None

    @property
    def containers(self) -> int:
        return sum(bool(_IMAGE_FIELD.search(each.path)) for each in self.differences or ())


def verdict(own: Sequence[tuple[Proof, Entries]], including: Sequence[Proof]) -> Verdict:
    """What is to be said of an edit.

    Args:
        own: the edited packages, each with what was edited there.
        including: packages that include an edited one. They may have names of their own for the images, and images of
            their own in their place.

    Raises:
        StepError: something else differs than images, an image has become another one than was wanted, or nothing has that
            image; what was edited is to be as it was.
    """
    every = [entry for _, entries in own for entry in entries]
    edited = [_Seen(proof, entries, _found(proof, every)) for proof, entries in own]
    others = [_Seen(proof, every, _found(proof, every, within=True)) for proof in including]
    unknown = [seen.proof for seen in others if seen.differences is None]
    components = [seen for seen in edited if seen.differences is None and not seen.proof.before.why_not]
    if others and not unknown:
        for seen in components:
            changed = [(was, entry) for was, entry in seen.entries if was != entry]
            _each_is_met(seen.proof.package, changed, others, within=True)
    else:
        unknown = [*(seen.proof for seen in components), *unknown]
    unknown = [*(seen.proof for seen in edited if seen.proof.before.why_not), *unknown]
    for seen in edited:
        if seen.differences is not None:
            _each_is_met(seen.proof.package, seen.entries, [seen], within=False)
    formers = {(was and was.new_name) or entry.name for was, entry in every}
    rendered = [seen for seen in [*edited, *others] if seen.differences is not None]
    told = [
        (False, f"{each.proof.package}: another image in {counted(each.containers, 'container')}") for each in rendered
    ]
    told += [
        (True, f"{seen.proof.package} includes nothing that was edited, or has those images by itself")
        for seen in others
        if seen.differences == [] and any(was != entry for was, entry in every)
    ]
    told += [
        (True, f"{seen.proof.package}: its own name of an image, {shown(name)}, becomes {shown(_split(each.after)[0])}")
        for seen in others
        for each in seen.differences or ()
        if (name := _split(each.before)[0]) not in formers and name != _split(each.after)[0]
    ]
    told += [(True, f"{proof.package} is not rendered: {_why_not(proof)}") for proof in unknown]
    return Verdict(
        "kustomization" if unknown else "rendered",
        sum(seen.containers for seen in (edited if unknown or not components else rendered)),
        _diff(rendered, unknown),
        told,
    )


def _why_not(proof: Proof) -> str:
    return proof.before.why_not or "it has no resources of its own; name what includes it by --also-verify"


def _found(proof: Proof, entries: Entries, *, within: bool = False) -> list[_Difference] | None:
    """What differs in a package, when that is images alone, which have become what was wanted; None when nobody can know."""
    if proof.before.why_not:
        return None
    if proof.after.why_not:
        told = f"{proof.package} cannot be rendered with the new image: {proof.after.why_not}"
        raise StepError("unproven", f"nothing was changed: {told}")
    if not proof.before.text and not proof.after.text:
        return None
    differences = list(_differences(proof))
    for each in differences:
        if not any(_is_meant(each, *entry, within=within) for entry in entries):
            raise _unproven(
                proof.package,
                f"{each.resource}: {each.path} {each.becomes}, and not an image that is to become"
                f" {' or '.join(str(entry) for _, entry in entries)}",
            )
    return differences


def _unproven(package: str, told: str) -> StepError:
    return StepError(
        "unproven",
        f"nothing was changed: {package}: {told}: see what else of the package depends on that image, or do without --verify",
    )


def _is_meant(difference: _Difference, was: Entry | None, entry: Entry, *, within: bool) -> bool:
    """Whether this was the image of an entry, and has become what the entry says now."""
    name, slots = _split(difference.before)
    new_name, new_slots = _split(difference.after)
    former = (was and was.new_name) or entry.name
    wanted = entry.new_name or entry.name
    is_named = new_name in (wanted, name) if within else name == former and new_name == wanted
    if entry.tag or entry.digest:
        return is_named and new_slots == _slots(entry)
    return is_named and (slots == _slots(was) if was and _slots(was) else new_slots == slots)


def _split(reference: str) -> tuple[str, str]:
    """The name, and tag and digest with what stands before them."""
    slots = _SLOTS.search(reference)
    return (reference[: slots.start()], slots[0]) if slots else (reference, "")


def _slots(entry: Entry) -> str:
    return str(Image("", entry.tag, entry.digest))


def _each_is_met(package: str, entries: Entries, among: Sequence[_Seen], *, within: bool) -> None:
    """Refuse an entry that no image has to do with."""
    for was, entry in entries:
        differences = [each for seen in among for each in seen.differences or ()]
        if any(_is_meant(each, was, entry, within=within) for each in differences):
            continue
        # What had a tag of another kind would have changed.
        may_stay = was is None or str(was) == str(entry) or not (was.tag or was.digest)
        if may_stay and any(_has(seen.proof.after.text, was, entry) for seen in among):
            continue
        raise StepError("no-such-image", f"nothing was changed: {package}: {_unused(entry.name, among)}")


def _has(manifests: str, was: Entry | None, entry: Entry) -> bool:
    """Whether an image is what an entry says without any change."""
    former = (was and was.new_name) or entry.name

    def says(reference: str) -> bool:
        name, slots = _split(reference)
        return name == former == (entry.new_name or entry.name) and slots == (_slots(entry) or slots)

    for document in _DOCUMENT.split(manifests):
        if any(map(says, _VALUE.findall(document))):
            for path, text in _texts(_root(document)):
                if says(text) and (was or _KUSTOMIZES_OWN.search(path)):
                    return True
    return False


def _unused(name: str, among: Iterable[_Seen]) -> str:
    found: dict[str, str] = {}
    for document in (each for seen in among for each in _DOCUMENT.split(seen.proof.before.text)):
        if _IMAGE_LINE.search(document):
            root = _root(document)
            places = [(path, text) for path, text in _texts(root) if _IMAGE_FIELD.search(path)]
            found |= {_split(text)[0]: f"{path} of {_title(root)}" for path, text in places}
    if name in found:
        told = f"it stands in {found[name]}, which kustomize takes for an image only with `configurations`"
        return f"no entry changes the image {shown(name)}: {told}"
    short = name.rpartition("/")[2]
    near = [each for each in sorted(found) if each.rpartition("/")[2] == short]
    near += [each for each in difflib.get_close_matches(name, sorted(found), MOST_NAMES, 0) if each not in near]
    there = (
        f"the nearest there are {', '.join(map(shown, near[:MOST_NAMES]))}" if near else "there are no images at all"
    )
    return f"nothing has the image {name}, so that an entry for it would do nothing; {there}"


def _root(document: str) -> Node | None:
    """What a manifest says, with its texts all on lines of their own; None of what no parser reads."""
    with contextlib.suppress(StepError):
        return located_yaml.parse(document.translate(_ODD_BREAKS)).root
    return None


def _texts(root: Node | None) -> Iterator[tuple[str, str]]:
    """The paths and texts of a manifest."""
    return ((path.removeprefix("."), node.text) for path, node in (_leaves("", root) if root else ()))


def _differences(proof: Proof) -> Iterator[_Difference]:
    for before, after in zip_longest(
        *(_DOCUMENT.split(each.text) for each in (proof.before, proof.after)), fillvalue=""
    ):
        if before == after:
            continue
        old, new = _root(before), _root(after)
        was, resource = _title(old), _title(new)
        if old is None or new is None or was != resource:
            unread = [
                shown(text.split("\n", 1)[0]) for text, root in ((before, old), (after, new)) if text and not root
            ]
            told = (
                f"what kustomize prints is no YAML to us, at {unread[0]!r}"
                if unread
                else f"{resource} is where {was} was"
            )
            raise _unproven(proof.package, told)
        lines = before.split("\n"), after.split("\n")
        try:
            for path, one, other in _compared("", old, new):
                texts = lines[0][one.line - 1], lines[1][other.line - 1]
                yield _Difference(resource, path, one.text, other.text, one.line, texts)
        except _Unlike as unlike:
            raise _unproven(proof.package, f"{resource}: {unlike} has other fields than before") from None


def _title(root: Node | None) -> str:
    kind, metadata = _value(root, "kind"), _value(root, "metadata")
    name, namespace = _value(metadata, "name"), _value(metadata, "namespace")
    words = [kind.text if kind else "", "/".join(each.text for each in (namespace, name) if each)]
    return shown(" ".join(filter(None, words))) or "nothing"


def _value(mapping: Node | None, key: str) -> Node | None:
    return next((value for name, value in mapping.pairs if name.text == key), None) if mapping else None


class _Unlike(Exception):
    """Two values that differ in more than texts; the message is their path."""


def _compared(path: str, old: Node, new: Node) -> Iterator[tuple[str, Node, Node]]:
    """The values that differ, and where."""
    keys = [[key.text for key, _ in node.pairs] for node in (old, new)]
    if (old.kind, len(old.children), keys[0]) != (new.kind, len(new.children), keys[1]):
        raise _Unlike(path.removeprefix("."))
    inner = list(zip(_inner(path, old), _inner(path, new), strict=True))
    for (place, before), (_, after) in inner:
        yield from _compared(place, before, after)
    if not inner and (old.text, old.is_misread) != (new.text, new.is_misread):
        yield path.removeprefix("."), old, new


def _leaves(path: str, node: Node) -> Iterator[tuple[str, Node]]:
    if not node.children:
        yield path, node
    for place, each in _inner(path, node):
        yield from _leaves(place, each)


def _inner(path: str, node: Node) -> Iterator[tuple[str, Node]]:
    """What a list or a mapping holds, and where; an item of a list is known by its name, if it has one."""
    if node.kind == "mapping":
        yield from ((f"{path}.{key.text}", value) for key, value in node.pairs)
    for index, item in enumerate(node.children if node.kind == "sequence" else ()):
        name = _value(item, "name")
        yield f"{path}[{name.text if name and name.text else index}]", item


def _diff(seen: Sequence[_Seen], unknown: Sequence[Proof]) -> str:
    """Lines in place of others, by package and resource, each with its place in the resource; of very much, the beginning."""
    lines = []
    for package, differences in ((each.proof.package, each.differences or ()) for each in seen):
        former = ""
        for each in differences:
            if each.resource != former:
                former = each.resource
                lines += [f"--- {package}: {former}", f"+++ {package}: {former}"]
            lines += [
                f"@@ -{each.line} +{each.line} @@ {shown(each.path)}",
                *map("".join, zip("-+", each.lines, strict=True)),
            ]
    # Not in kustomize's words, which may quote what a Secret holds.
    lines += [f"{proof.package} is not rendered: the log of set-image says why." for proof in unknown]
    size = 0
    for index, line in enumerate(lines):
        size += len(line) + 1
        if size > LONGEST_DIFF:
            lines = [*lines[:index], f"and {counted(len(lines) - index, 'more line')}"]
            break
    return "".join(f"{line}\n" for line in lines)
