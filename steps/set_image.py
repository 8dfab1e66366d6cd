"""Points images of a kustomization at other images; open_pull_request proposes what this step changed."""

import logging
from pathlib import Path

from steps import command_line, results
from steps.clients import files
from steps.core import kustomization
from steps.core.kustomization import DigestStyle, ImageEdit
from steps.errors import StepError

_log = logging.getLogger("steps.set_image")


def set_image(
    *images: ImageEdit,
    kustomization_dir: Path,
    digest_style: DigestStyle = "both",
    changed_result: Path | None = None,
    previous_image_result: Path | None = None,
) -> None:
    """Point images of a kustomization at other images and change no other byte of the file.

    What cannot be edited faithfully is refused, and the file stays as it was.

    Args:
        images: as for `kustomize edit set image`, NAME=NEW:TAG@DIGEST or NAME:TAG@DIGEST or fewer parts, several allowed;
            a part that is not given is dropped from the entry, `*` in place of NEW, TAG or DIGEST keeps it.
        kustomization_dir: directory that holds the kustomization file.
        digest_style: how a tag with a digest is written: `both` slots, `inline` as `newTag: TAG@DIGEST`, or `digest` alone;
            with `both` an entry that is written inline stays so.
        changed_result: receives `true` when the file's text changed, else `false`.
        previous_image_result: receives what the first of the images was before; nothing when it had no entry.
    """
    if not images:
        raise StepError(
            "usage", "there is no image to set: give at least one, such as `-- app=registry.example.com/app:v2`"
        )
    path = files.find_kustomization(kustomization_dir)
    before = files.read(path, kustomization.LARGEST)
    try:
        edited = kustomization.edited(before, images, digest_style)
    except StepError as error:
        raise StepError(error.reason, f"{path} stays as it was: {error}") from error
    changed = edited.content != before
    if changed:
        files.replace(path, edited.content)
        for name, (old, new) in edited.entries.items():
            _log.info("%s: %s: %s -> %s", path, name, old or "no entry", new)
            if not old:
                _log.warning("%s: an entry for %s was made; without an image of that name it has no effect", path, name)
    else:
        _log.info("%s has it all already: nothing changed", path)
    results.write(changed_result, changed)
    results.write(previous_image_result, str(edited.entries[images[0].name][0] or ""))


if __name__ == "__main__":
    command_line.run(set_image)
