import itertools
from dataclasses import replace

import pytest

from steps.core.repository import Branch
from steps.core.update import (
    OPENING,
    Application,
    Update,
    Version,
    branch,
    marked,
    marker,
    remark_marker,
    trailed,
    trailer,
)

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


LEAST = Update("web", "main")
WHOLE = Update(
    "web",
    "release/1.10",
    f"[fd00::1]:5000/team/web:v1-@sha256:{'0' * 64}",
    source=COMMIT,
    source_date=1767323046,
    commit="f" * 64,
)


@pytest.mark.parametrize(
    ("what", "text"),
    [
        pytest.param(LEAST, "application=web version=main", id="an update without a commit"),
        pytest.param(
            WHOLE,
            f"application=web version=release/1.10 image=[fd00::1]:5000/team/web:v1-@sha256:{'0' * 64} source={COMMIT} "
            f"source-date=1767323046 commit={'f' * 64}",
            id="one with all that can be told",
        ),
    ],
)
def test_an_update_is_noted_in_a_body_and_read_back(what: Update, text: str) -> None:
    assert (marker(what), marked(f"Text.\n\n{marker(what)}")) == (f"<!-- apps-cd {text} -->", what)


def test_the_message_of_a_commit_notes_all_but_the_commit_itself_and_the_image() -> None:
    least = replace(WHOLE, image=None, commit=None)
    text = f"Apps-cd: application=web version=release/1.10 source={COMMIT} source-date=1767323046"
    assert (trailer(WHOLE), trailed(f"Title\n\nText.\n\n{trailer(WHOLE)}\n")) == (text, least)
    assert trailed(f"Title\n\n{trailer(LEAST)}\n\n{trailer(WHOLE)}\n") == least


@pytest.mark.parametrize(
    ("body", "what"),
    [
        pytest.param("", None, id="no body"),
        pytest.param("A text of a person.", None, id="no marker"),
        pytest.param("<!-- apps-cd application=web -->", None, id="a marker without a version"),
        pytest.param("<!-- other application=web version=main -->", None, id="a marker of another program"),
        pytest.param("<!-- apps-cd application=web version=main>x -->", None, id="a value with what ends a comment"),
        pytest.param(remark_marker("in-base"), None, id="the marker of a comment"),
        pytest.param(f"{marker(LEAST)}\r\n\r\nAdded by a person.", LEAST, id="a marker with text behind it"),
        pytest.param(f"{OPENING}\n{marker(WHOLE)}\n\n{marker(LEAST)}", WHOLE, id="one quoted behind ours"),
        pytest.param(f"{marker(LEAST)}\n{OPENING}\n{marker(WHOLE)}", WHOLE, id="one quoted before ours"),
        pytest.param(
            "<!-- apps-cd application=web version=main source=0123abc commit=HEAD source-date=-1 -->",
            LEAST,
            id="a marker without what is no commit and no date",
        ),
        pytest.param("<!-- apps-cd application=web version=main new=1 -->", LEAST, id="a marker of a later release"),
    ],
)
def test_a_body_says_what_it_proposes(body: str, what: Update | None) -> None:
    assert marked(body) == what


@pytest.mark.parametrize(
    ("what", "key"),
    [
        pytest.param(WHOLE, COMMIT, id="the source commit"),
        pytest.param(Update("web", "main", "web:v1", commit=OTHER), "web:v1", id="without one the image"),
        pytest.param(Update("web", "main", commit=OTHER), OTHER, id="without both the commit of the branch"),
    ],
)
def test_what_a_person_refuses_is(what: Update, key: str) -> None:
    assert what.key == key


def test_an_update_is_of_another_one_when_application_and_version_are_the_same() -> None:
    assert LEAST.is_of(Update("web", "main", "web:v1"))
    assert not LEAST.is_of(Update("web", "v1"))
    assert not LEAST.is_of(Update("api", "main"))
