"""Points images of kustomizations at other images; open_pull_request proposes what this step changed."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from steps import command_line, results
from steps.clients import files, kustomize
from steps.core import kustomization, rendering
from steps.core.image import Image
from steps.core.kustomization import DigestStyle, Edited, Entry, ImageEdit
from steps.core.rendering import Built, Entries, Proof
from steps.errors import StepError

_log = logging.getLogger("steps.set_image")


def set_image(
    *images: ImageEdit,
    kustomization_dir: tuple[Path, ...],
    repo_dir: Path | None = None,
    digest_style: DigestStyle = "both",
    verify: bool = False,
    also_verify: tuple[Path, ...] = (),
    rendered_diff: Path | None = None,
    changed_result: Path | None = None,
    previous_image_result: Path | None = None,
    containers_changed_result: Path | None = None,
    verified_result: Path | None = None,
) -> None:
    """Point images of a kustomization at other images and change no other byte of the file.

    What cannot be edited faithfully is refused, and the file stays as it was; of several, all stay. With --verify the
    manifests are rendered before and after, and all stays as it was unless nothing differs but whole references of the
    images, and each image is that of a container or the like, and exactly what was wanted. Manifests that cannot be
    rendered, such as without a network, are edited all the same; the log, the result and the file of --rendered-diff say so.

    Args:
        images: as for `kustomize edit set image`, NAME=NEW:TAG@DIGEST or NAME:TAG@DIGEST or fewer parts, several allowed;
            a part that is not given is dropped from the entry, `*` in place of NEW, TAG or DIGEST keeps it.
        kustomization_dir: directory that holds the kustomization file; several, with commas between, are edited alike.
        repo_dir: the root of the repository, which the directories are relative to and have to be in; by default they
            are relative to the current directory.
        digest_style: how a tag with a digest is written: `both` slots, `inline` as `newTag: TAG@DIGEST`, or `digest` alone;
            with `both` an entry that is written inline stays so.
        verify: whether to render the manifests with the `kustomize` on PATH, and hold them against what was wanted.
        also_verify: with --verify, directories of kustomizations that include an edited one, with commas between, to
            render, too; a Component has manifests there alone.
        rendered_diff: receives what differs in the manifests, much as `diff -u` writes it, or what is not known.
        changed_result: receives `true` when a file's text changed, else `false`.
        previous_image_result: receives what the first of the images was before, in the first directory; nothing when it had
            no entry, or one that is no reference.
        containers_changed_result: receives how many containers of the edited packages have another image, of a Component
            those of what includes it; 0 when that is not known.
        verified_result: receives `rendered`, or `kustomization` when some manifests could not be rendered and it is the edit
            alone that was checked; nothing without --verify.
    """
    if not images:
        raise StepError(
            "usage", "there is no image to set: give at least one, such as `-- app=registry.example.com/app:v2`"
        )
    if not kustomization_dir:
        raise StepError("usage", "there is no directory to edit: give at least one as --kustomization-dir=PATH")
    edits = [_edit(each, images, digest_style) for each in _packages(kustomization_dir, repo_dir)]
    others = _packages(also_verify, repo_dir) if verify else []
    with _written(edits, [*map(_proven, edits), *others] if verify else []) as proofs:
        own = [(proof, edit.entries) for proof, edit in zip(proofs, edits, strict=False)]
        found = rendering.verdict(own, proofs[len(edits) :]) if verify else None
        if rendered_diff:
            files.write(rendered_diff, (found.diff if found else "").encode(errors="replace"))
        results.write(changed_result, any(edit.is_changed for edit in edits))
        results.write(previous_image_result, _previous(edits[0].edited.entries[images[0].name][0]))
        results.write(containers_changed_result, found.containers if found else 0)
        results.write(verified_result, found.verified if found else "")
    for edit in edits:
        if not edit.is_changed:
            _log.info("%s has it all already: nothing changed", edit.path)
        for was, entry in edit.entries if edit.is_changed else ():
            _log.info("%s: %s: %s -> %s", edit.path, entry.name, was or "no entry", entry)
    for is_odd, told in found.told if found else ():
        _log.log(logging.WARNING if is_odd else logging.INFO, "%s", told)


class _Package(NamedTuple):
    """A directory with a kustomization, what a person calls it, and what it must not lead out of.

    Attributes:
        is_component: whether it makes no manifests by itself.
    """

    name: str
    directory: Path
    repository: Path | None
    is_component: bool = False

    def built(self) -> Built:
        return Built() if self.is_component else kustomize.build(self.directory, self.repository)


class _Edit(NamedTuple):
    """What is to become of a kustomization file."""

    package: _Package
    path: Path
    before: bytes
    edited: Edited

    @property
    def is_changed(self) -> bool:
        return self.before != self.edited.content

    @property
    def entries(self) -> Entries:
        return list(self.edited.entries.values())


def _proven(edit: _Edit) -> _Package:
    return edit.package._replace(is_component=edit.edited.is_component)


def _packages(directories: Sequence[Path], repository: Path | None) -> list[_Package]:
    """The packages, each once, that have a kustomization."""
    found: dict[Path, _Package] = {}
    for directory in directories:
        place = (repository or Path()) / directory
        if repository:
            files.hold_within(place, repository)
        files.find_kustomization(place)
        found.setdefault(place.resolve(), _Package(str(directory), place, repository))
    return list(found.values())


def _edit(package: _Package, images: Sequence[ImageEdit], style: DigestStyle) -> _Edit:
    path = files.find_kustomization(package.directory)
    before = files.read(path, kustomization.LARGEST)
    try:
        return _Edit(package, path, before, kustomization.edited(before, images, style))
    except StepError as error:
        raise StepError(error.reason, f"{path} stays as it was: {error}") from error


@contextlib.contextmanager
def _written(edits: Sequence[_Edit], packages: Sequence[_Package]) -> Iterator[list[Proof]]:
    """The edited files, and packages rendered before and after; the former files when the block does not end well."""
    before = [package.built() for package in packages]
    begun = []
    try:
        for edit in edits:
            if edit.is_changed:
                begun.append(edit)
                files.replace(edit.path, edit.edited.content)
        yield [
            Proof(package.name, built, package.built() if begun and not built.why_not else built)
            for package, built in zip(packages, before, strict=True)
        ]
    except BaseException:
        with contextlib.ExitStack() as stack:
            for edit in begun:
                stack.callback(files.replace, edit.path, edit.before)
        raise


def _previous(entry: Entry | None) -> str:
    """What an image was, unless that is a placeholder and the like."""
    with contextlib.suppress(ValueError):
        return str(Image.parse(str(entry))) if entry else ""
    return ""


if __name__ == "__main__":
    command_line.run(set_image)
