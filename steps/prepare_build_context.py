"""Source tree -> a reproducible tar.gz of one directory, for Kaniko, in a file or a Cloud Storage bucket."""

import logging
import os
from pathlib import Path
from typing import Literal

from steps import command_line, results
from steps.clients import archive, progress, source_tree, storage
from steps.core.build_context import (
    Contents,
    Destination,
    IgnoreRules,
    PushedImage,
    Selection,
    SourcePath,
    below,
    ignore_files,
    lay_out_dockerfile,
)
from steps.errors import StepError

_log = logging.getLogger("steps.prepare_build_context")


def prepare_build_context(
    *,
    source_dir: Path,
    destination: Destination,
    context: SourcePath = SourcePath("."),  # noqa: B008 - a str
    dockerfile: SourcePath | None = None,
    image: PushedImage | None = None,
    google_credentials: Path | None = None,
    keep_git_dir: bool = False,
    symlinks: Literal["refuse", "keep"] = "refuse",
    context_result: Path | None = None,
    context_digest_result: Path | None = None,
    dockerfile_result: Path | None = None,
    image_url_result: Path | None = None,
) -> None:
    """Pack a directory into a tar.gz that Kaniko takes as its build context.

    The same files give the same bytes whatever their times, owners and order. What `docker build` would ignore is left
    out; the Dockerfile is packed wherever it lies.

    Args:
        source_dir: the source tree, such as a clone.
        destination: the file to write, or `gs://BUCKET/PREFIX`, where the object is named by its content and only sent
            when it is not there yet.
        context: the directory to pack, relative to the source tree.
        dockerfile: the Dockerfile, relative to the source tree; by default `Dockerfile` in the context.
        image: what the build will be pushed as, NAME or NAME:TAG; checked before anything is done, and handed on.
        google_credentials: a Google credentials file; by default those of the environment are used.
        keep_git_dir: pack `.git` too.
        symlinks: what to do about symlinks that are absolute or lead out of the context. All are packed as links.
        context_result: receives what Kaniko's `--context` takes, `tar://FILE` or `gs://BUCKET/OBJECT`.
        context_digest_result: receives `sha256:` and 64 hex digits, of the archive's bytes.
        dockerfile_result: receives what Kaniko's `--dockerfile` takes, the path in the archive.
        image_url_result: receives the image, or nothing when none is given.
    """
    tree = source_tree.root(source_dir)
    directory = source_tree.directory(tree, context, "context")
    named = dockerfile or below(context, "Dockerfile")
    path = _dockerfile(tree, named, context)
    rules = _rules(tree, *ignore_files(context, named))

    taken = source_tree.names(directory)
    lies_in_context = path == tree / named and path.is_relative_to(directory)
    packed_as, extra = lay_out_dockerfile(
        path.relative_to(directory).as_posix() if lies_in_context else None,
        source_tree.read(path),
        rules,
        taken,
    )

    def pack(file: Path) -> archive.Packed:
        selection = Selection(rules, keep_git_dir=keep_git_dir, archive=_path_within(directory, file))
        with archive.created(file) as output, progress.of_bytes("packing") as advance:
            packed = archive.pack(directory, selection, extra, output, keep_links=symlinks == "keep", progress=advance)
            if packed.contents.is_empty and not (taken and rules.runs):
                raise StepError("empty-context", f"the context {context!r} in {tree} holds no file")
        _report(packed.contents, packed.size)
        return packed

    if destination.bucket is None:
        file = _absolute(destination.path)
        if file.exists() and file.samefile(path):
            raise StepError("unwritable", f"--destination={destination.path} is the Dockerfile; give another file")
        packed = pack(file)
        location = f"tar://{file}"
    else:
        import tempfile  # 10 ms that only this branch pays

        with tempfile.TemporaryDirectory(prefix="apps-cd-") as temporary:
            file = Path(temporary, "context.tar.gz")
            packed = pack(file)
            name = destination.object_name(packed.sha256)
            location = f"gs://{destination.bucket}/{name}"
            sent = storage.create(destination.bucket, name, file, google_credentials)
        _log.info("%s %s", "sent" if sent else "nothing sent, it is there already:", location)
    results.write(context_result, location)
    results.write(context_digest_result, f"sha256:{packed.sha256}")
    results.write(dockerfile_result, packed_as)
    results.write(image_url_result, str(image or ""))


def _dockerfile(tree: Path, named: str, context: str) -> Path:
    if not source_tree.has(tree, named):
        inside = below(context, named)
        hint = f"; did you mean {inside}?" if source_tree.has(tree, inside) else ""
        raise StepError("not-found", f"there is no Dockerfile {named!r} in {tree}, to which it is relative{hint}")
    return source_tree.file(tree, named, "Dockerfile")


def _rules(tree: Path, *names: str) -> IgnoreRules:
    """What the first of these files that there is says."""
    for name in names:
        if source_tree.has(tree, name):
            content = source_tree.read(source_tree.file(tree, name, "ignore file"))
            _log.info("leaving out what %s says", name)
            try:
                return IgnoreRules.parse(content.decode())
            except UnicodeDecodeError:
                raise StepError("ignore-file", f"{name} is not UTF-8") from None
            except ValueError as error:
                raise StepError("ignore-file", f"{name}, {error}") from None
    return IgnoreRules()


def _absolute(path: str) -> Path:
    file = Path(path).absolute()
    if file.is_dir():
        raise StepError(
            "unwritable", f"--destination={path} is a directory; name the file, as in {path}/context.tar.gz"
        )
    return file


def _path_within(directory: Path, file: Path) -> str | None:
    path = Path(os.path.realpath(file.parent), file.name)
    return path.relative_to(directory).as_posix() if path.is_relative_to(directory) else None


def _report(contents: Contents, packed_size: int) -> None:
    _log.info("%s", contents.report(packed_size))
    if contents.is_empty:
        _log.warning("the ignore file leaves nothing of the context")
    if warning := contents.warning():
        _log.warning("%s", warning)


if __name__ == "__main__":
    command_line.run(prepare_build_context)
