import itertools
from typing import Any

import pytest

from steps.core.pull_request import (
    Commit,
    Operation,
    PullRequest,
    Relation,
    Seen,
    Tip,
    follows,
    foreign,
    is_newer,
    operation,
    rivals,
    veto,
)
from steps.core.update import REOPEN_LABEL, Update, marker
from steps.errors import StepError

US = "apps-cd <apps-cd@noreply.invalid>"
PERSON = "Ada <ada@example.com>"
GITHUB = "GitHub <noreply@github.com>"
A, B, C = "a" * 40, "b" * 40, "c" * 40
OURS, THEIRS = "1" * 40, "2" * 40


@pytest.mark.parametrize(
    ("authors", "left"),
    [
        pytest.param([], [], id="an empty branch"),
        pytest.param([(US, US)], [], id="a commit of ours"),
        pytest.param([(US, US), (US, US)], [], id="two commits of ours"),
        pytest.param([(PERSON, PERSON)], [0], id="a commit of a person"),
        pytest.param([(US, US), (PERSON, US), (US, US)], [1], id="a commit of a person that we committed"),
        pytest.param([(US, GITHUB)], [0], id="a commit of ours that GitHub rebased"),
        pytest.param([(US, PERSON), (PERSON, GITHUB)], [0, 1], id="two, in their order"),
        pytest.param([(US.upper(), US.upper())], [0], id="a name that only looks like ours"),
    ],
)
def test_a_commit_is_foreign_when_its_author_or_committer_is_not_us(
    authors: list[tuple[str, str]], left: list[int]
) -> None:
    commits = [Commit(str(number), *pair) for number, pair in enumerate(authors)]
    assert foreign(commits, US) == tuple(commits[number] for number in left)


def update(source: str | None = B, date: int | None = None, **more: Any) -> Update:
    return Update("web", "main", f"web:{source}", source, date, **more)


def pull(number: int, source: str = B, commit: str = OURS, **more: Any) -> PullRequest:
    """A pull request of ours for a source commit, open unless it is said otherwise."""
    facts: dict[str, Any] = {
        "url": f"https://github.com/o/n/pull/{number}",
        "author": "bot",
        "head": "o/n:apps-cd/main/web",
        "base": "main",
        "sha": commit,
        "state": "open",
        "title": "Update web",
        "body": marker(update(source, commit=commit)),
    }
    return PullRequest(number=number, **facts | more)


def seen(*pulls: PullRequest, tip: Tip | None = None) -> Seen:
    return Seen(pulls, "bot", "main", tip)


AT_OURS = Tip(OURS, update())


@pytest.mark.parametrize(
    ("there", "commit", "flags", "expected"),
    [
        pytest.param(seen(), OURS, {}, ("created", None), id="nothing"),
        pytest.param(seen(tip=AT_OURS), OURS, {}, ("created", None), id="a branch that a killed run pushed"),
        pytest.param(seen(pull(1), tip=AT_OURS), OURS, {}, ("unchanged", 1), id="all as it is to be"),
        pytest.param(
            seen(pull(1, body=f"Mind the gap.\n{marker(update(commit=OURS))}\nAnd this."), tip=AT_OURS),
            OURS,
            {},
            ("unchanged", 1),
            id="a text that a person added to",
        ),
        pytest.param(
            seen(pull(1, A, THEIRS), tip=Tip(THEIRS, update(A))), OURS, {}, ("updated", 1), id="an older image"
        ),
        pytest.param(seen(pull(1, A, THEIRS), tip=AT_OURS), OURS, {}, ("updated", 1), id="a text that was left behind"),
        pytest.param(
            seen(pull(1), tip=Tip(THEIRS, update())), OURS, {}, ("updated", 1), id="our commit upon an older base"
        ),
        pytest.param(seen(), None, {}, ("none", None), id="a base that has the image already"),
        pytest.param(seen(pull(1), tip=AT_OURS), None, {}, ("closed", 1), id="a base that has what is proposed by now"),
        pytest.param(seen(pull(1, state="closed")), None, {}, ("none", None), id="the same after a close"),
        pytest.param(seen(pull(1, C, THEIRS)), OURS, {"is_overtaken": True}, ("superseded", 1), id="something newer"),
        pytest.param(
            seen(pull(1, C, THEIRS)),
            None,
            {"is_overtaken": True},
            ("superseded", 1),
            id="something newer, and a base that still has ours",
        ),
        pytest.param(
            seen(pull(1, C, state="merged")),
            OURS,
            {"is_overtaken": True},
            ("superseded", 1),
            id="something newer that was merged",
        ),
        pytest.param(seen(pull(1, state="closed")), OURS, {"is_vetoed": True}, ("vetoed", 1), id="a veto"),
        pytest.param(
            seen(pull(1, state="closed"), pull(2, C, state="closed")),
            OURS,
            {"is_vetoed": True},
            ("vetoed", 1),
            id="a veto, and a later one of another commit",
        ),
        pytest.param(
            seen(pull(1, state="closed")), None, {"is_vetoed": True}, ("none", None), id="a veto of what the base has"
        ),
        pytest.param(seen(pull(1, A, state="closed")), OURS, {}, ("created", None), id="a veto of something older"),
        pytest.param(seen(pull(1, A, state="merged")), OURS, {}, ("created", None), id="something older, merged"),
    ],
)
def test_what_becomes_of_an_update_when_there_is(
    there: Seen, commit: str | None, flags: dict[str, bool], expected: tuple[Operation, int | None]
) -> None:
    found, about = operation(there, update(commit=commit), **flags)
    assert (found, about and about.number) == expected


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        pytest.param(pull(1, author="alice"), "foreign-pull-request", id="by somebody else"),
        pytest.param(pull(1, body="A text."), "foreign-pull-request", id="without our marker"),
        pytest.param(pull(1, body=marker(Update("api", "main"))), "foreign-pull-request", id="of another application"),
        pytest.param(pull(1, base="v1"), "other-base", id="into another base"),
    ],
)
def test_an_open_pull_request_of_the_branch_is_in_the_way(other: PullRequest, reason: str) -> None:
    with pytest.raises(StepError) as caught:
        operation(seen(other), update(commit=OURS))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(pull(1, author="alice", state="closed"), id="by somebody else"),
        pytest.param(pull(1, body="A text.", state="closed"), id="without our marker"),
        pytest.param(pull(1, base="v1", state="closed"), id="into another base"),
        pytest.param(pull(1, base="v1", state="merged"), id="merged into another base"),
    ],
)
def test_a_closed_one_that_is_not_ours_says_nothing(other: PullRequest) -> None:
    there = seen(other)
    assert (veto(there, update()), follows(there, update()), rivals(there, update(C))) == (None, None, [])


@pytest.mark.parametrize(
    ("pulls", "number"),
    [
        pytest.param([], None, id="no pull request"),
        pytest.param([pull(1, state="closed")], 1, id="the one that was closed"),
        pytest.param([pull(1, state="closed"), pull(2, state="closed")], 2, id="the last of two"),
        pytest.param([pull(1, A, state="closed")], None, id="none of another commit"),
        pytest.param([pull(1, state="closed"), pull(2, C, state="closed")], 1, id="one before another commit's"),
        pytest.param([pull(1, state="closed"), pull(2, A)], 1, id="one before another commit's that is open"),
        pytest.param([pull(1, state="closed"), pull(2, A, state="merged")], None, id="none before a merge"),
        pytest.param([pull(1, state="closed", labels=frozenset([REOPEN_LABEL]))], None, id="none with the label on it"),
        pytest.param(
            [pull(1, state="closed"), pull(2, state="closed", labels=frozenset([REOPEN_LABEL]))],
            None,
            id="none before one with the label on it",
        ),
        pytest.param(
            [pull(1, state="closed", labels=frozenset([REOPEN_LABEL])), pull(2, state="closed")],
            2,
            id="one that was closed again",
        ),
    ],
)
def test_what_may_be_a_veto_is(pulls: list[PullRequest], number: int | None) -> None:
    for order in (pulls, pulls[::-1]):
        found = veto(seen(*order), update())
        assert (found and found.number) == number


@pytest.mark.parametrize(
    ("there", "sources"),
    [
        pytest.param(seen(), [], id="nothing"),
        pytest.param(seen(pull(1, A)), [A], id="an open pull request"),
        pytest.param(seen(pull(1, A, state="merged")), [A], id="a merged one"),
        pytest.param(seen(pull(1, A, state="closed")), [A], id="a closed one"),
        pytest.param(seen(pull(1, A, state="closed"), pull(2, C)), [C], id="the newest of two"),
        pytest.param(
            seen(pull(1, A, state="merged"), pull(2, C)), [C, A], id="the newest, and the last that was merged"
        ),
        pytest.param(seen(pull(1, A), tip=Tip(THEIRS, update(C))), [C, A], id="the branch before its pull request"),
        pytest.param(seen(pull(1, A), tip=Tip(THEIRS)), [A], id="the pull request of a branch that is not ours"),
        pytest.param(seen(pull(1, A), tip=Tip(THEIRS, update(A))), [A], id="one that both tell of, once"),
        pytest.param(
            seen(pull(1, C, state="merged"), pull(2), tip=AT_OURS),
            [C],
            id="what was merged, though branch and pull request have ours already",
        ),
        pytest.param(seen(tip=Tip(THEIRS, Update("api", "main", source=A))), [], id="no branch of another application"),
    ],
)
def test_what_may_have_overtaken_an_update_is(there: Seen, sources: list[str]) -> None:
    assert [each.source for each in rivals(there, update())] == sources


def test_without_a_source_nothing_is_overtaken() -> None:
    assert rivals(seen(pull(1, A)), update(None)) == []
    assert rivals(seen(pull(1, body=marker(Update("web", "main", "web:v1")))), update()) == []


@pytest.mark.parametrize(
    ("relation", "ours", "theirs", "dates", "expected"),
    [
        pytest.param("ahead", None, None, (1, 2), True, id="a descendant"),
        pytest.param("ahead", False, True, (1, 2), False, id="a descendant that the branch was set back from"),
        pytest.param("behind", None, None, (2, 1), False, id="an ancestor, whatever its date"),
        pytest.param("behind", True, False, (1, 2), True, id="an ancestor that the branch was set back to"),
        pytest.param("behind", True, True, (2, 1), False, id="an ancestor on the branch"),
        pytest.param("diverged", True, False, (1, 2), True, id="a commit on the branch beside one that is not"),
        pytest.param("diverged", False, True, (2, 1), False, id="a commit beside the branch's"),
        pytest.param("diverged", False, False, (2, 1), True, id="the later of two beside the branch"),
        pytest.param("diverged", None, None, (1, 2), False, id="the earlier of two when no branch is told"),
        pytest.param(None, None, None, (2, 1), True, id="the later of two that cannot be read"),
        pytest.param(None, None, None, (1, 2), False, id="the earlier of two that cannot be read"),
        pytest.param(None, None, None, (1, 1), True, id="two of one second: the one proposed last"),
        pytest.param(None, None, None, (None, 1), True, id="one without a date: the one proposed last"),
        pytest.param(None, None, None, (1, None), True, id="one beside another without a date"),
    ],
)
def test_an_update_is_to_follow_another_one_as(
    relation: Relation | None,
    ours: bool | None,
    theirs: bool | None,
    dates: tuple[int | None, int | None],
    expected: bool,
) -> None:
    places = {"is_on_branch": ours, "other_is_on_branch": theirs}
    assert is_newer(update(B, dates[0]), update(A, dates[1]), relation, **places) is expected


def test_of_two_updates_one_follows_the_other_whichever_asks() -> None:
    """Of what GitHub or two dates can tell apart."""
    mirrored: dict[Relation, Relation] = {"ahead": "behind", "behind": "ahead", "diverged": "diverged"}
    for (relation, inverse), (here, there) in itertools.product(
        mirrored.items(), [(None, None), (True, False), (False, True), (True, True), (False, False)]
    ):
        first, second = update(A, 1), update(B, 2)
        one = is_newer(first, second, relation, is_on_branch=here, other_is_on_branch=there)
        assert is_newer(second, first, inverse, is_on_branch=there, other_is_on_branch=here) is not one


@pytest.mark.parametrize(
    ("pulls", "number"),
    [
        pytest.param([pull(1, A, state="closed")], 1, id="one that was closed"),
        pytest.param([pull(1, A, state="merged")], None, id="none that was merged"),
        pytest.param([pull(1, A, state="closed"), pull(2, A, state="merged")], None, id="none before a merge"),
    ],
)
def test_a_new_pull_request_follows(pulls: list[PullRequest], number: int | None) -> None:
    found = follows(seen(*pulls), update())
    assert (found and found.number) == number
