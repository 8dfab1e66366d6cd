import dataclasses

import pytest

from steps.core import applications
from steps.core.applications import Broken, Pair
from steps.core.image import Image
from steps.core.needs_update import Decision, Failure, Named, Relation, Seen, decide
from steps.core.typed_yaml import Position, Problem

CONFIGURATION = """\
applications:
  - {name: web, sourceRepo: code, context: services/web, manifestsDir: web/base, image: example.com/web, watch: [common/**]}
versions:
  - name: v1
    tag: v1.0.0
    repos:
      - {name: code, url: https://github.com/example/code, branch: release}
      - {name: manifests, url: https://github.com/example/manifests, branch: main}
"""
SOURCE, TIP, OTHER = "a" * 40, "b" * 40, "c" * 40
WANTED = "example.com/web:v1.0.0-gaaaaaaaa"


def pair() -> Pair:
    (found,) = applications.parse({"applications.yaml": CONFIGURATION}).pairs
    assert isinstance(found, Pair)
    return found


def seen(tag: str = "v1.0.0-gcccccccc", relation: Relation | None = None, behind: int = 0) -> Seen:
    """What repositories say when the manifests have a tag."""
    current = Image("example.com/web", tag)
    named = None if relation is None else Named(relation, "" if relation in ("unknown", "ambiguous") else OTHER, behind)
    return Seen(TIP, SOURCE, "web/base/kustomization.yaml", current, "cccccccc" if named else None, named)


FACTS = (
    "The last commit on release of https://github.com/example/code that touched services/web or common/** is aaaaaaaa; the tip is bbbbbbbb.",
    f"Its image is {WANTED}.",
)
HAS = "web/base/kustomization.yaml on main of https://github.com/example/manifests has example.com/web:v1.0.0-gcccccccc, which names cccccccc."
NEEDED, NOT_NEEDED = "So it needs an update.", "So it needs no update."


@pytest.mark.parametrize(
    ("relation", "behind", "reason", "sentence"),
    [
        pytest.param("behind", 1, "behind", "cccccccc lacks 1 commit that aaaaaaaa has.", id="one commit behind"),
        pytest.param("behind", 7, "behind", "cccccccc lacks 7 commits that aaaaaaaa has.", id="some commits behind"),
        pytest.param("diverged", 2, "diverged", "Neither of cccccccc and aaaaaaaa has the other in its history.", id="beside it"),
        pytest.param("unknown", 0, "unknown-commit", "No branch of https://github.com/example/code that is configured has the commit cccccccc.", id="a commit of nowhere"),
        pytest.param("ambiguous", 0, "unknown-commit", "https://github.com/example/code has several commits that begin with cccccccc.", id="several commits"),
        pytest.param("identical", 0, "up-to-date", "That is the same commit.", id="the same commit"),
        pytest.param("ahead", 0, "ahead", "cccccccc has aaaaaaaa in its history.", id="a descendant"),
    ],
)  # fmt: skip
def test_the_relation_of_the_named_commit_decides(relation: Relation, behind: int, reason: str, sentence: str) -> None:
    needed = reason not in ("up-to-date", "ahead")
    assert decide(pair(), seen(relation=relation, behind=behind)) == Decision(
        "web",
        "v1",
        reason,
        "needed" if needed else "not-needed",
        (*FACTS, HAS, sentence, NEEDED if needed else NOT_NEEDED),
        SOURCE,
        WANTED,
        "example.com/web:v1.0.0-gcccccccc",
    )


def test_a_tag_that_names_no_commit_is_unknown() -> None:
    decision = decide(pair(), seen("latest"))
    assert (decision.reason, decision.status) == ("unknown-commit", "needed")
    assert decision.sentences[2:] == (HAS.partition(" has ")[0] + " has example.com/web:latest.", "The tag latest names no commit.", NEEDED)  # fmt: skip


def test_an_image_without_an_entry_needs_an_update() -> None:
    decision = decide(pair(), dataclasses.replace(seen(), current=None))
    assert (decision.reason, decision.status, decision.current) == ("no-entry", "needed", None)
    assert decision.sentences[2:] == (
        "web/base/kustomization.yaml on main of https://github.com/example/manifests has no entry for example.com/web.",
        "Nothing there says which image it is.",
        NEEDED,
    )


AT = Position("applications.yaml", 2, 5)


@pytest.mark.parametrize(
    ("failure", "sentence"),
    [
        pytest.param(Failure("unreachable", "cannot ask", later=True), "cannot ask", id="of a repository"),
        pytest.param(Failure("config-error", "no directory", at=AT), "applications.yaml:2:5: error: no directory", id="of the configuration"),
    ],
)  # fmt: skip
def test_a_failure_is_told_with_its_place(failure: Failure, sentence: str) -> None:
    assert decide(pair(), failure) == Decision("web", "v1", failure.reason, "failed", (sentence,), later=failure.later)


def test_a_broken_pair_is_an_error_of_the_configuration() -> None:
    broken = Broken("web", "v1", Problem(AT, "lacks `image`"))
    told = ("applications.yaml:2:5: error: lacks `image`",)
    assert decide(broken, None) == Decision("web", "v1", "config-error", "failed", told)


def test_a_pair_that_nobody_was_asked_about_is_suspended() -> None:
    told = ("The configuration suspends it.",)
    assert decide(pair(), None) == Decision("web", "v1", "suspended", "not-needed", told)
