"""Whether a pair needs an update: what its repositories say, and the decision as a person would argue it."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from steps.core.applications import SHORT, Broken, Pair
from steps.core.build_context import is_within
from steps.core.image import Image
from steps.core.text import counted
from steps.core.typed_yaml import Position

Relation = Literal["identical", "behind", "ahead", "diverged", "unknown", "ambiguous"]
"""How the commit that the manifests' tag names stands to the source commit."""

Status = Literal["needed", "not-needed", "failed"]

NOT_NEEDED = ("up-to-date", "ahead", "suspended")
"""Reasons for which a pair is left as it is."""


class Named(NamedTuple):
    """The commit that a tag names.

    Attributes:
        relation: how it stands to the source commit.
        commit: the whole of it; empty when it is unknown or ambiguous.
        behind: how many commits the source commit has that it has not.
    """

    relation: Relation
    commit: str = ""
    behind: int = 0


@dataclass(frozen=True)
class Seen:
    """What the repositories of a pair say.

    Attributes:
        tip: of the source branch.
        commit: the last one, from the tip backwards, that touched a relevant file.
        kustomization: path of the file.
        current: the image that the kustomization gives now; None when it has no entry for it.
        abbreviation: the commit that the current tag names, as written there; None when it names none.
        named: what that is; None when the tag names none.
        unmatched: globs of the configuration that lead nowhere at the tip.
    """

    tip: str
    commit: str
    kustomization: str
    current: Image | None
    abbreviation: str | None
    named: Named | None
    unmatched: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """Why nothing can be said of a pair.

    Attributes:
        reason: `config-error`, `unreadable` (the kustomization), or that of the repository, such as `unreachable`.
        message: what is wrong, where, and what to change.
        later: whether it may be otherwise without any change.
        at: where the configuration is to be changed.
    """

    reason: str
    message: str
    later: bool = False
    at: Position | None = None

    def __str__(self) -> str:
        return f"{self.at}: error: {self.message}" if self.at else self.message


@dataclass(frozen=True)
class Decision:
    """What is to become of a pair.

    Attributes:
        reason: one word with dashes.
        status: `needed` when there is to be a run.
        sentences: the argument, for a person.
        commit: the source commit, when it is known.
        wanted: the image of that commit, name and tag.
        current: the image that the manifests have.
        later: whether a failure may be none at another time, without any change.
    """

    application: str
    version: str
    reason: str
    status: Status
    sentences: tuple[str, ...]
    commit: str | None = None
    wanted: str | None = None
    current: str | None = None
    later: bool = False

    @property
    def key(self) -> tuple[str, str]:
        return self.application, self.version


def decide(pair: Pair | Broken, seen: Seen | Failure | None) -> Decision:
    """The decision for a pair.

    Args:
        pair: of the configuration.
        seen: what its repositories say; None when they were not asked, because the pair is broken or suspended.
    """
    if isinstance(pair, Broken):
        return Decision(pair.application, pair.version, "config-error", "failed", (str(pair.problem),))
    if pair.suspended or seen is None:
        return Decision(*pair.key, "suspended", "not-needed", ("The configuration suspends it.",))
    if isinstance(seen, Failure):
        return Decision(*pair.key, seen.reason, "failed", (str(seen),), later=seen.later)
    wanted = f"{pair.pushed_image}:{pair.tag(seen.commit)}"
    reason, argument = _reason(pair, seen)
    status: Status = "not-needed" if reason in NOT_NEEDED else "needed"
    conclusion = "So it needs an update." if status == "needed" else "So it needs no update."
    return Decision(
        *pair.key,
        reason,
        status,
        (*_facts(pair, seen, wanted), argument, conclusion),
        seen.commit,
        wanted,
        str(seen.current) if seen.current else None,
    )


def _reason(pair: Pair, seen: Seen) -> tuple[str, str]:
    if seen.current is None:
        return "no-entry", "Nothing there says which image it is."
    if seen.abbreviation is None or seen.named is None:
        return "unknown-commit", f"The tag {seen.current.tag or '(none)'} names no commit."
    relation, named, behind = seen.named
    source = seen.commit[:SHORT]
    if relation == "unknown":
        return (
            "unknown-commit",
            f"No branch of {pair.source.repository} that is configured has the commit {seen.abbreviation}.",
        )
    if relation == "ambiguous":
        return "unknown-commit", f"{pair.source.repository} has several commits that begin with {seen.abbreviation}."
    if relation == "identical":
        return "up-to-date", "That is the same commit."
    if relation == "ahead":
        return "ahead", f"{named[:SHORT]} has {source} in its history."
    if relation == "diverged":
        return "diverged", f"Neither of {named[:SHORT]} and {source} has the other in its history."
    return "behind", f"{named[:SHORT]} lacks {counted(behind, 'commit')} that {source} has."


def _facts(pair: Pair, seen: Seen, wanted: str) -> tuple[str, ...]:
    if pair.watch.by_dockerfile:
        files = f"what {pair.dockerfile} can see"
    elif pair.context == ".":
        files = "anything"
    else:
        outside = [] if is_within(pair.dockerfile, pair.context) else [pair.dockerfile]
        files = " or ".join([pair.context, *outside, *(glob for glob in pair.watch.globs if glob[0] != "!")])
    if left_out := [glob[1:] for glob in pair.watch.globs if glob[0] == "!"]:
        files += f" but {' and '.join(left_out)}"
    facts = [
        f"The last commit on {pair.source} that touched {files} is {seen.commit[:SHORT]}; the tip is {seen.tip[:SHORT]}.",
        f"Its image is {wanted}.",
    ]
    if seen.current:
        names = f", which names {seen.abbreviation}" if seen.abbreviation else ""
        facts.append(f"{seen.kustomization} on {pair.manifests} has {seen.current}{names}.")
    else:
        facts.append(f"{seen.kustomization} on {pair.manifests} has no entry for {pair.image}.")
    return tuple(facts)
