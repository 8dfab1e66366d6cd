"""A build context by any of the ways to name it -> what Kaniko's flags take, checked before Kaniko starts."""

from pathlib import Path

from steps import command_line, results
from steps.clients import archive, source_tree
from steps.core.build_context import Location, PushedImage, SourcePath
from steps.errors import StepError


def locate_build_context(
    *,
    image: PushedImage,
    context: Location | None = None,
    source_dir: Path | None = None,
    dockerfile: SourcePath = SourcePath("Dockerfile"),  # noqa: B008 - a str
    context_result: Path | None = None,
    dockerfile_result: Path | None = None,
    image_url_result: Path | None = None,
) -> None:
    """Find a build context and say where it is in Kaniko's words.

    What lies in the source directory is looked at; what is elsewhere is left to Kaniko.

    Args:
        image: what the build will be pushed as, NAME or NAME:TAG.
        context: `gs://BUCKET/OBJECT`, `s3://BUCKET/KEY` or `https://HOST/PATH` of a tar.gz; `tar://FILE`,
            `dir://DIRECTORY` or a directory, in the source directory; by default that directory itself.
        source_dir: the directory that paths are relative to and may not leave.
        dockerfile: the Dockerfile: of a directory, relative to the source directory or, when it is not there, to the
            context; of an archive, its path in it.
        context_result: receives what Kaniko's `--context` takes.
        dockerfile_result: receives what Kaniko's `--dockerfile` takes.
        image_url_result: receives the image.
    """
    found, path = _located(context or Location("dir", "."), dockerfile, source_dir)
    results.write(context_result, str(found))
    results.write(dockerfile_result, path)
    results.write(image_url_result, str(image))


def _located(context: Location, dockerfile: str, source_dir: Path | None) -> tuple[Location, str]:
    if not context.is_local:
        return context, dockerfile
    if source_dir is None:
        raise StepError("usage", f"--source-dir must be given for the context {context}")
    tree = source_tree.root(source_dir)
    if context.scheme == "tar":
        file = source_tree.file(tree, context.path, "context")
        if not archive.holds(file, dockerfile):
            raise StepError("not-found", f"there is no Dockerfile {dockerfile!r} in the archive {file}")
        return Location("tar", str(file)), dockerfile
    directory = source_tree.directory(tree, context.path, "context")
    for start in (tree, directory):
        if source_tree.has(start, dockerfile):
            source_tree.file(tree, str(start / dockerfile), "Dockerfile")
            return Location("dir", str(directory)), str(start / dockerfile)
    raise StepError("not-found", f"there is no Dockerfile {dockerfile!r} in {tree}, nor in the context {directory}")


if __name__ == "__main__":
    command_line.run(locate_build_context)
