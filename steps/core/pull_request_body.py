"""What a reviewer reads: the message of the commit, title and body of the pull request."""

import re
from dataclasses import dataclass

from steps.core.image import Image
from steps.core.repository import Repository
from steps.core.update import Application, Version, marker

LONGEST_TITLE = 255


@dataclass(frozen=True)
class Message:
    """A title of one line, a body in Markdown for the pull request, and the plain body of the commit."""

    title: str
    body: str
    commit_body: str

    @property
    def commit_text(self) -> str:
        """As git has it: the title, an empty line, the body."""
        return f"{self.title}\n\n{self.commit_body}".strip() + "\n"


def split(text: str) -> Message:
    """A message as hub reads it: the text up to the first empty line is the title, its line ends become spaces."""
    title, *rest = re.split(r"\n[ \t]*\n", text.strip(), maxsplit=1)
    body = "".join(rest).strip()
    return Message(" ".join(title.split())[:LONGEST_TITLE], body, body)


def message(
    application: Application,
    version: Version,
    image_name: Image | None,
    image: Image | None,
    source: Repository | None,
    source_commit: str | None,
) -> Message:
    """The message of an update for which nobody wrote one.

    Args:
        application: what is updated.
        version: of what.
        image_name: the image as the manifests name it.
        image: what it becomes.
        source: the repository the image was built from.
        source_commit: the commit it was built from.
    """
    tag = (image.tag or image.digest or "latest") if image else None
    title = f"[auto PR] Update the {application} image" + (f" to tag {tag}" if tag else "")
    rows = [
        ("Application", f"`{application}`"),
        ("Version", f"`{version}`"),
        ("Image in the manifests", image_name and f"`{image_name}`"),
        ("New image", image and f"`{Image(image.name, image.tag)}`"),
        ("Digest", image and image.digest and f"`{image.digest}`"),
        ("Built from", _source(source, source_commit)),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows if value)
    body = f"Points the manifests of `{application}` at its newest image.\n\n| | |\n|---|---|\n{table}\n"
    lines = [
        image and f"Image: {Image(image.name, image.tag)}",
        image and image.digest and f"Digest: {image.digest}",
        source and source_commit and f"Source: {source.web_url} at {source_commit}",
    ]
    return Message(title[:LONGEST_TITLE], body, "\n".join(line for line in lines if line))


def _source(source: Repository | None, commit: str | None) -> str | None:
    if not source:
        return None
    place = f"`{source.path}`"
    if not commit:
        return place
    return f"[{place} at `{commit[:8]}`]({source.web_url}/commit/{commit})"


def body(message: Message, commit: str) -> str:
    """The body of the pull request: the message's, and the marker of the commit that it describes."""
    return f"{message.body}\n\n{marker(commit)}".strip()
