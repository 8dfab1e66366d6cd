import itertools

import pytest

from steps.core.repository import Branch
from steps.core.update import Application, Version, branch, marked_commit, marker

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("web", id="a word"),
        pytest.param("1.10", id="a number"),
        pytest.param("Front-End_2.x", id="dots, dashes and underscores"),
        pytest.param("a" * 100, id="100 letters"),
    ],
)
def test_an_application_is_a_name(text: str) -> None:
    assert Application.parse(text) == text


NO_NAMES = [
    pytest.param("", id="nothing"),
    pytest.param("-web", id="a dash in front"),
    pytest.param(".web", id="a dot in front"),
    pytest.param("web.", id="a dot at the end"),
    pytest.param("web.lock", id="the ending of git's lock files"),
    pytest.param("a..b", id="two dots"),
    pytest.param("web app", id="a space"),
    pytest.param("web\n", id="a line feed at the end"),
    pytest.param("wéb", id="an accent"),
    pytest.param("w\u0435b", id="a Cyrillic letter"),
    pytest.param("a`b", id="a backtick"),
    pytest.param("a|b", id="a bar"),
    pytest.param("@octocat", id="a mention"),
    pytest.param("a@b", id="an at sign"),
    pytest.param("#1", id="a reference to an issue"),
    pytest.param("<b>", id="a tag of HTML"),
    pytest.param("a~1", id="an expression of git"),
    pytest.param("a" * 101, id="101 letters"),
]


@pytest.mark.parametrize("text", [*NO_NAMES, pytest.param("team/web", id="a slash")])
def test_anything_else_is_no_application(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an application: at most 100|is not the name of a branch"):
        Application.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("main", id="a branch"),
        pytest.param("release/1.10", id="a branch with a slash"),
        pytest.param("a/b/c", id="several parts"),
        pytest.param("v1", id="a tag"),
        pytest.param(COMMIT, id="a commit"),
        pytest.param("a/" * 49 + "bc", id="100 characters"),
    ],
)
def test_a_version_is_names_between_slashes(text: str) -> None:
    assert Version.parse(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *NO_NAMES,
        pytest.param("/main", id="a slash in front"),
        pytest.param("main/", id="a slash at the end"),
        pytest.param("a//b", id="two slashes"),
        pytest.param("a/../b", id="a way up"),
        pytest.param("a/b.lock/c", id="the ending of git's lock files within"),
        pytest.param("a/-b", id="a dash in front of a part"),
        pytest.param("a/" * 50 + "b", id="101 characters"),
    ],
)
def test_anything_else_is_no_version(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a version: names of letters|is not the name of a branch"):
        Version.parse(text)


def test_a_full_ref_is_no_version_and_the_message_says_which_would_be() -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        Version.parse("refs/heads/main")
    assert str(error.value) == "'refs/heads/main' is a full ref; give the branch alone, such as 'main'"


def test_the_branch_of_an_update_is_a_branch_that_says_what_it_updates() -> None:
    head = branch(Application.parse("web"), Version.parse("release/1.10"))
    assert (type(head), head) == (Branch, "apps-cd/release/1.10/web")


def test_two_updates_never_share_a_branch() -> None:
    names = ["a", "b", "a-b", "a_b", "a.b", "A", "apps-cd"]
    versions = [*names, *("/".join(pair) for pair in itertools.product(names, repeat=2))]
    updates = list(itertools.product(names, versions))
    branches = {branch(Application.parse(application), Version.parse(version)) for application, version in updates}
    assert len(branches) == len(updates)


def test_the_longest_branch_is_one_that_github_takes() -> None:
    assert len(branch(Application.parse("a" * 100), Version.parse("b" * 100))) <= 244


@pytest.mark.parametrize("commit", [pytest.param(COMMIT, id="SHA-1"), pytest.param("0" * 64, id="SHA-256")])
def test_a_marker_is_read_back(commit: str) -> None:
    assert marked_commit(f"Text.\n\n{marker(commit)}") == commit


@pytest.mark.parametrize(
    ("body", "commit"),
    [
        pytest.param("", None, id="no body"),
        pytest.param("A text of a person.", None, id="no marker"),
        pytest.param(f"Text of {COMMIT}.", None, id="a commit without a marker"),
        pytest.param("<!-- apps-cd commit=0123abc -->", None, id="an abbreviated commit"),
        pytest.param(f"<!-- other commit={COMMIT} -->", None, id="a marker of another program"),
        pytest.param(f"{marker(COMMIT)}\r\n\r\nAdded by a person.", COMMIT, id="a marker with text behind it"),
        pytest.param(f"{marker(OTHER)}\n\n{marker(COMMIT)}", COMMIT, id="the last of two, for ours is at the end"),
    ],
)
def test_a_body_names_the_commit_it_describes(body: str, commit: str | None) -> None:
    assert marked_commit(body) == commit
