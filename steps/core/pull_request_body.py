"""What a reviewer reads: the message of the commit, title and body of the pull request, and our remarks below it."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Self
from urllib.parse import quote

from steps.core.image import Image
from steps.core.pull_request import Comparison, Relation
from steps.core.repository import LONGEST_ADDRESS, Repository
from steps.core.text import Line, counted, shown, shown_lines
from steps.core.update import (
    OPENING,
    REOPEN_LABEL,
    Application,
    Remark,
    Update,
    Version,
    marker,
    remark_marker,
    trailer,
)

LONGEST_TITLE = 255
LONGEST_BODY = 65_536
LONGEST_LINE = 120
LONGEST_DIFF = 30_000
MOST_COMMITS = 20

_CLOSING = re.compile(r"<!-- apps-cd(?: [a-z-]+=[^ \n]+)+ -->")
_CUT = "The rest is cut: the text of a pull request has an end."
_FORMS = ((MOST_COMMITS, LONGEST_DIFF), (MOST_COMMITS, LONGEST_DIFF // 3), (MOST_COMMITS, 0), (0, 0))
"""Commits and characters of the diff, from what is wanted to what little there may be room for."""

_PLACEHOLDERS = ("application", "version", "image", "tag", "digest", "source-commit")
_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_KUBERNETES_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_DASHBOARD = re.compile(
    r"https?://(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~%/-]*)?"
)
_REFERRING = re.compile(r"@(?=\w)|(?:#|GH-)(?=\d)|:(?=//)", re.IGNORECASE)
_STANDS: dict[Relation, str] = {
    "ahead": "The new image has {} that the former one lacks",
    "diverged": "**Their histories have diverged: the new image lacks commits that the former one has.** "
    "It has {} that the former one lacks",
    "behind": "**The new image is older: it lacks commits that the former one has**",
    "identical": "Both images were built from the same commit",
}
_REMARKS: dict[Remark, str] = {
    "foreign-commit": "Somebody else's commit is on this branch, so it is theirs from now on: apps-cd does not update it any "
    "more. To hand it back, merge or close this pull request and delete the branch.",
    "in-base": "The base has this image already. This pull request is closed.",
    "superseded": "There is a newer pull request, {}, in place of this one.",
}


class TitleTemplate(str):
    """A title with `{application}` and the like in it; `{{` and `}}` are braces."""

    @classmethod
    def parse(cls, text: str) -> Self:
        if not Line.parse(text).strip():
            raise ValueError("the template of a title is empty")
        for match in _BRACES.finditer(text):
            if match[0] not in ("{{", "}}") and match[1] not in _PLACEHOLDERS:
                known = ", ".join(f"{{{name}}}" for name in _PLACEHOLDERS)
                raise ValueError(f"{match[0]!r} is nothing to fill in; there are {known}, and {{{{ and }}}} for braces")
        return cls(text)

    def filled(self, values: Mapping[str, str | None]) -> str:
        """The title; what has no value leaves no gap."""
        text = _BRACES.sub(lambda match: (values[match[1]] or "") if match[1] else match[0][0], self)
        return " ".join(text.split())


class DashboardUrl(str):
    """The address of a Tekton dashboard, without trailing slash."""

    @classmethod
    def parse(cls, text: str) -> Self:
        if "@" in text:
            raise ValueError("a URL with a user or password in it would be read by all; take them out")
        if not _DASHBOARD.fullmatch(text) or len(text) > LONGEST_ADDRESS:
            raise ValueError(
                f"{text[:80]!r} is not the address of a Tekton dashboard, such as https://tekton.example.com: "
                f"https or http, without query and `#`, at most {LONGEST_ADDRESS} characters"
            )
        return cls(text.rstrip("/"))


class KubernetesName(str):
    """The name of an object of Kubernetes, such as a PipelineRun or a namespace."""

    @classmethod
    def parse(cls, text: str) -> Self:
        if len(text) > 253 or not _KUBERNETES_NAME.fullmatch(text):
            raise ValueError(
                f"{text[:80]!r} is not a name of Kubernetes: at most 253 of a-z, digits, `-` and `.`, "
                "with a letter or digit at each end"
            )
        return cls(text)


@dataclass(frozen=True)
class Run:
    """Where the PipelineRun is that proposes the update."""

    dashboard: DashboardUrl | None = None
    namespace: KubernetesName | None = None
    name: KubernetesName | None = None

    @property
    def page(self) -> str | None:
        """Its page in the dashboard."""
        if not self.dashboard or not self.namespace or not self.name:
            return None
        return f"{self.dashboard}/#/namespaces/{self.namespace}/pipelineruns/{self.name}"

    def log(self, task: str = "") -> str | None:
        """The page of a task's log; of the build unless another is named."""
        place = f"pipelineTask={quote(task, safe='')}" if task else "pipelineTask=build-image&step=build"
        return self.page and f"{self.page}?{place}"

    @property
    def command(self) -> str:
        """What shows its logs in a terminal."""
        return f"tkn pipelinerun logs {self.name}" + (f" --namespace={self.namespace}" if self.namespace else "")

    def links(self) -> tuple[str, ...]:
        """In Markdown, its page and the logs of the build, or the command that shows them."""
        if not self.name:
            return ()
        if not self.page:
            return (f"`{self.command}`",)
        return (f"[`{self.name}`]({self.page})", f"[Logs of the build]({self.log()})")


@dataclass(frozen=True)
class Facts:
    """What is known of an update.

    Attributes:
        application: what is updated.
        version: of what.
        image_name: the image as the manifests name it.
        previous: what it is.
        image: what it becomes.
        source: the repository the image was built from.
        source_commit: the commit it was built from.
        changes: what the source has between both images, or why that is not known.
        rendered_diff: of the rendered manifests, as `diff -u` writes it.
        run: the PipelineRun.
        follows: number of the pull request that this one takes the place of, which was closed without a merge.
    """

    application: Application
    version: Version
    image_name: Image | None = None
    previous: Image | None = None
    image: Image | None = None
    source: Repository | None = None
    source_commit: str | None = None
    changes: Comparison | str | None = None
    rendered_diff: str | None = None
    run: Run | None = None
    follows: int | None = None


@dataclass(frozen=True)
class Message:
    """A title of one line, a body in Markdown for the pull request, and the plain body of the commit.

    Attributes:
        shorter: bodies to take where that one has no room, in this order.
    """

    title: str
    body: str
    commit_body: str
    shorter: tuple[str, ...] = ()

    def commit_text(self, update: Update) -> str:
        """As git has it: the title, the body, and what the commit proposes, with an empty line between."""
        return "\n\n".join(filter(None, (self.title, self.commit_body.strip(), trailer(update)))) + "\n"


def split(text: str) -> Message:
    """A message as hub reads it: the text up to the first empty line is the title, its line ends become spaces."""
    title, *rest = re.split(r"\n[ \t]*\n", text.strip(), maxsplit=1)
    body = "".join(rest).strip()
    return Message(" ".join(title.split())[:LONGEST_TITLE], body, body)


def message(facts: Facts, title: TitleTemplate | None = None) -> Message:
    """The message of an update for which nobody wrote one."""
    image, previous = facts.image, facts.previous
    lines = [
        f"Image: {_without_digest(image)}" if image else "",
        f"Digest: {image.digest}" if image and image.digest else "",
        f"Source: {facts.source.web_url} at {facts.source_commit}" if facts.source and facts.source_commit else "",
        f"Previous: {_without_digest(previous)} {previous.digest or ''}".rstrip() if previous else "",
    ]
    bodies = dict.fromkeys(_body(facts, commits, diff) for commits, diff in _FORMS)
    return Message(
        _title(facts, title)[:LONGEST_TITLE], next(iter(bodies)), "\n".join(filter(None, lines)), tuple(bodies)[1:]
    )


def body(message: Message, update: Update, former: str | None = None) -> str:
    """The body of the pull request: our part, and around it what a person wrote there.

    Args:
        message: what our part says.
        update: what the pull request proposes.
        former: the body that it has.

    Raises:
        ValueError: what a person wrote leaves no room.
    """
    before, after = _around(former or "")
    end = marker(update)
    room = LONGEST_BODY - len(f"{before}{OPENING}\n\n\n{end}{after}")
    if room < 0:
        raise ValueError(
            f"the text of the pull request has {len(before) + len(after)} characters that are not ours, and may have "
            f"{LONGEST_BODY} in all; shorten it"
        )
    text = _fitting(message, room)
    return f"{before}{OPENING}\n" + (f"{text}\n\n" if text else "") + end + after


def remark(kind: Remark, url: str = "") -> str:
    """A comment on a pull request of ours.

    Args:
        url: of the pull request that supersedes it.
    """
    return f"{_REMARKS[kind].format(_target(url))}\n\n{remark_marker(kind)}"


def escaped(text: str) -> str:
    """One line of somebody else's in Markdown: it is read as it stands, and nothing in it acts."""
    line = " ".join(shown(text).split()) or "(empty)"
    if len(line) > LONGEST_LINE:
        line = line[: LONGEST_LINE - 1] + "…"
    # GitHub finds no name or issue in code; the joiners hold where a squash makes the body a commit's message.
    line = _REFERRING.sub("\\g<0>\u2060", line)
    ticks = "`" * (_longest_ticks(line) + 1)
    return f"{ticks} {line} {ticks}" if "`" in line else f"`{line}`"


def _title(facts: Facts, template: TitleTemplate | None) -> str:
    image, commit = facts.image, facts.source_commit
    values = {
        "application": facts.application,
        "version": facts.version,
        "image": image.name if image else None,
        "tag": image.tag if image else None,
        "digest": image.digest if image else None,
        "source-commit": commit[:8] if commit else None,
    }
    if template and (title := template.filled(values)):
        return title
    tag = (image.tag or image.digest or "latest") if image else None
    return f"[auto PR] Update the {facts.application} image" + (f" to tag {tag}" if tag else "")


def _body(facts: Facts, most_commits: int, most_diff: int) -> str:
    sections = [
        f"Points the manifests of `{facts.application}` at its newest image.",
        facts.follows and f"Follows #{facts.follows}, which was closed without a merge.",
        _table(facts),
        facts.changes and f"## Commits\n\n{_commits(facts.changes, most_commits)}",
        facts.rendered_diff and f"## Rendered manifests\n\n{_diff(facts.rendered_diff, most_diff)}",
        facts.run and facts.run.links() and "## PipelineRun\n\n" + "\n".join(f"- {link}" for link in facts.run.links()),
        f"## How to roll back\n\n{_way_back(facts)}",
    ]
    return "\n\n".join(section for section in sections if section)


def _table(facts: Facts) -> str:
    image, previous = facts.image, facts.previous
    rows = [
        ("Application", f"`{facts.application}`"),
        ("Version", f"`{facts.version}`"),
        ("Image in the manifests", facts.image_name and f"`{facts.image_name}`"),
        ("Former image", previous and f"`{_without_digest(previous)}`"),
        ("Former digest", previous and previous.digest and f"`{previous.digest}`"),
        ("New image", image and f"`{_without_digest(image)}`"),
        ("New digest", image and image.digest and f"`{image.digest}`"),
        ("Built from", facts.source and _source(facts.source, facts.source_commit)),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows if value)])


def _source(source: Repository, commit: str | None) -> str:
    place = f"`{source.path}`"
    return f"[{place} at `{commit[:8]}`]({source.web_url}/commit/{commit})" if commit else place


def _commits(changes: Comparison | str, most: int) -> str:
    if isinstance(changes, str):
        return f"They are not listed: {escaped(changes.rstrip('.'))}."
    compare = f"[compare]({_target(changes.url)})"
    stands = _STANDS[changes.relation].format(counted(changes.total, "commit"))
    if changes.relation in ("behind", "identical"):
        return f"{stands} ({compare})."
    if not most:
        return f"{stands} ({compare}); there is no room to list them."
    listed = changes.commits[:most]
    lines = [
        f"- [{escaped(each.sha[:8])}]({_target(each.url)}) {escaped(each.title)} by {escaped(each.author)}"
        for each in listed
    ]
    if more := changes.total - len(listed):
        lines.append(f"- and {more} more: {compare}")
    return "\n".join([f"{stands} ({compare}), the newest first:", "", *lines])


def _diff(diff: str, most: int) -> str:
    lines = shown_lines(diff).strip("\n").split("\n")
    kept = lines[: sum(length <= most for length in accumulate(len(line) + 1 for line in lines))]
    fence = "`" * max(3, _longest_ticks("\n".join(kept)) + 1)
    beginning = "\n".join([f"{fence}diff", *kept, fence]) if kept else ""
    left = len(lines) - len(kept)
    rest = f"{counted(left, 'more line')}: the log of open-pull-request has the whole diff." if left else ""
    return "\n\n".join(filter(None, (beginning, rest)))


def _way_back(facts: Facts) -> str:
    what = "source commit" if facts.source_commit else "image" if facts.image else "change"
    revert = "After the merge, revert this pull request with GitHub's Revert button"
    if facts.image_name and facts.previous:
        edit = shlex.quote(f"{facts.image_name.name}={facts.previous}")
        revert += f", or set the former image again:\n\n```sh\nkustomize edit set image {edit}\n```"
    else:
        revert += "."
    return (
        f"Before the merge, close this pull request: this {what} is not proposed again until there is a newer one, or the "
        f"label `{REOPEN_LABEL}` is on this pull request.\n\n"
        f"{revert}\n\n"
        "When the same is then proposed again, close that pull request."
    )


def _around(former: str) -> tuple[str, str]:
    """What stands before and after our part, when both of its markers are there."""
    start = former.find(OPENING)
    closing = _CLOSING.search(former, max(start, 0))
    if closing is None:
        return "", ""
    # Where our part began nobody knows once its opening is gone: rather too much stays than a word is lost.
    before = former[:start] if start >= 0 else f"{former[: closing.start()].rstrip()}\n\n"
    return before, former[closing.end() :]


def _fitting(message: Message, room: int) -> str:
    """What there is room for: the body, a shorter one, or the beginning of the shortest."""
    # The markers that our part is found by are its own alone.
    bodies = [text.replace("<!-- apps-cd", "<!--\u2060 apps-cd") for text in (message.body, *message.shorter)]
    for text in bodies:
        if len(text) <= room:
            return text
    start = bodies[-1][: max(0, room - len(f"\n\n{_CUT}"))]
    start = start.rpartition("\n\n")[0] or start.rpartition("\n")[0] or start
    return f"{start}\n\n{_CUT}" if start else ""


def _target(url: str) -> str:
    """A URL as the target of a link, which it does not end."""
    return quote(url, safe=":/?#[]@!$&'*+,;=%")


def _longest_ticks(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def _without_digest(image: Image) -> Image:
    return Image(image.name, image.tag)
