import pytest

from steps.core.pull_request import Commit, Operation, PullRequest, foreign, operation
from steps.core.update import marker

US = "apps-cd <apps-cd@noreply.invalid>"
PERSON = "Ada <ada@example.com>"
GITHUB = "GitHub <noreply@github.com>"
OURS, THEIRS = "a" * 40, "b" * 40


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
    assert foreign(commits, US) == [commits[number] for number in left]


@pytest.mark.parametrize(
    ("body", "pushed", "expected"),
    [
        pytest.param(None, True, "created", id="a new branch"),
        pytest.param(None, False, "created", id="a branch that a former call pushed before it was killed"),
        pytest.param(marker(THEIRS), True, "updated", id="a newer commit"),
        pytest.param(marker(OURS), True, "updated", id="a branch that was moved back to the commit of the text"),
        pytest.param(marker(THEIRS), False, "updated", id="a text that a killed call left behind"),
        pytest.param("", False, "updated", id="a text without a marker"),
        pytest.param(marker(OURS), False, "unchanged", id="all as it is to be"),
        pytest.param(f"Mind the gap.\n{marker(OURS)}", False, "unchanged", id="a text that a person added to"),
    ],
)
def test_what_becomes_of_the_pull_request(body: str | None, *, pushed: bool, expected: Operation) -> None:
    found = None if body is None else PullRequest(7, "https://github.com/o/n/pull/7", "main", body)
    assert operation(found, OURS, pushed=pushed) == expected
