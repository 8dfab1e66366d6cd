"""GitHub's Markdown makes people, issues and links out of words; in code spans and in link targets it makes nothing."""

import pytest
from markdown_it import MarkdownIt

from steps.core.image import Image
from steps.core.pull_request_body import LONGEST_TITLE, Message, body, message, split
from steps.core.repository import Repository
from steps.core.text import Text
from steps.core.update import Application, Version, marked_commit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SOURCE_COMMIT = "89abcdef0123456789abcdef0123456789abcdef"
DIGEST = "sha256:" + "c0ffee00" * 8

TITLE = "[auto PR] Update the web image to tag 1.10"
BODY = f"""\
Points the manifests of `web` at its newest image.

| | |
|---|---|
| Application | `web` |
| Version | `release/1.x` |
| Image in the manifests | `registry.example.com/team/web` |
| New image | `registry.example.com:5000/team/web:1.10` |
| Digest | `{DIGEST}` |
| Built from | [`team/web` at `89abcdef`](https://git.example.com/team/web/commit/{SOURCE_COMMIT}) |
"""


def test_the_message_of_an_update() -> None:
    written = message(
        Application.parse("web"),
        Version.parse("release/1.x"),
        Image.parse("registry.example.com/team/web"),
        Image.parse(f"registry.example.com:5000/team/web:1.10@{DIGEST}"),
        Repository.parse("ssh://git@git.example.com:2222/team/web.git"),
        SOURCE_COMMIT,
    )
    commit_body = f"""\
Image: registry.example.com:5000/team/web:1.10
Digest: {DIGEST}
Source: https://git.example.com/team/web at {SOURCE_COMMIT}"""
    assert written == Message(TITLE, BODY, commit_body)
    assert written.commit_text == f"{TITLE}\n\n{commit_body}\n"
    assert body(written, COMMIT) == f"{BODY}\n\n<!-- apps-cd commit={COMMIT} -->"


def test_the_message_of_an_update_of_which_little_is_known() -> None:
    written = message(Application.parse("web"), Version.parse("main"), None, None, None, None)
    assert written.title == "[auto PR] Update the web image"
    assert (
        written.body
        == """\
Points the manifests of `web` at its newest image.

| | |
|---|---|
| Application | `web` |
| Version | `main` |
"""
    )
    assert written.commit_text == "[auto PR] Update the web image\n"


@pytest.mark.parametrize(
    ("image", "tag", "rows"),
    [
        pytest.param("app:v1", "v1", ["| New image | `app:v1` |"], id="a tag"),
        pytest.param("app", "latest", ["| New image | `app` |"], id="neither tag nor digest"),
        pytest.param(
            f"app@{DIGEST}", DIGEST, ["| New image | `app` |", f"| Digest | `{DIGEST}` |"], id="a digest without a tag"
        ),
    ],
)
def test_the_title_names_the_tag(image: str, tag: str, rows: list[str]) -> None:
    written = message(Application.parse("web"), Version.parse("main"), None, Image.parse(image), None, None)
    assert written.title == f"[auto PR] Update the web image to tag {tag}"
    assert written.body.splitlines()[6:] == rows


def test_a_source_without_a_commit_is_named_alone() -> None:
    source = Repository.parse("git@github.com:team/web.git")
    written = message(Application.parse("web"), Version.parse("main"), None, None, source, None)
    assert (written.body.splitlines()[6:], written.commit_body) == (["| Built from | `team/web` |"], "")


def test_the_longest_names_make_a_title_that_github_takes() -> None:
    image = Image.parse("registry.example.com/app:" + "t" * 128)
    written = message(Application.parse("a" * 100), Version.parse("v" * 100), image, image, None, None)
    assert written.title == f"[auto PR] Update the {'a' * 100} image to tag {'t' * 128}"[:LONGEST_TITLE]


@pytest.mark.parametrize(
    ("application", "version", "image", "source"),
    [
        pytest.param("web", "main", "app:v1", "https://h/o/n", id="plain names"),
        pytest.param("www.example.com", "www.example.com", "www.example.com/app:1", "https://www.h/o/n", id="sites"),
        pytest.param("GH-1", "GH-1", "app:GH-1", "https://h/o/GH-1", id="names of issues"),
        pytest.param(COMMIT, COMMIT, f"app:{COMMIT}", f"https://h/o/{COMMIT}", id="commits"),
        pytest.param("a__b__c_", "a_b_", "a__b:_x_", "https://h/_o_/__n__", id="underscores"),
        pytest.param("a--b", "a--/b", "a---b:v--", "https://h/o/n--", id="dashes"),
        pytest.param("1.10", "1.0", "1:1.", "https://h/1./n", id="numbers with a dot"),
        pytest.param("web", "main", f"app:v1-@{DIGEST}", "git@h:o/n", id="a tag that ends so that `@` starts a word"),
        pytest.param("web", "main", "app", "https://h/~o~/~~n~~", id="tildes"),
        pytest.param("web", "main", "app", "https://h/o/a+b%20c", id="a plus and a space"),
    ],
)
def test_no_value_is_read_as_markdown(application: str, version: str, image: str, source: str) -> None:
    reference = Image.parse(image)
    repository = Repository.parse(source)
    written = message(Application.parse(application), Version.parse(version), reference, reference, repository, COMMIT)
    texts, code, links = _read(body(written, SOURCE_COMMIT))
    assert texts == [
        "Points the manifests of ",
        " at its newest image.",
        *("Application", "Version", "Image in the manifests", "New image"),
        *(["Digest"] if reference.digest else []),
        *("Built from", " at "),
    ]
    assert code == [
        application,
        application,
        version,
        image,
        image.partition("@")[0],
        *([reference.digest] if reference.digest else []),
        repository.path,
        COMMIT[:8],
    ]
    assert links == [f"{repository.web_url}/commit/{COMMIT}"]


@pytest.mark.parametrize("character", list("`|<>@#\\[]()!*&\"'$ \n\r\x00\u202e"), ids=ascii)
def test_what_markdown_or_github_reads_is_in_no_value(character: str) -> None:
    """Of these, `@` stands in an image before its digest and in an address before its host, and nowhere else."""
    for parse, text in (
        (Application.parse, f"a{character}b"),
        (Version.parse, f"a{character}b"),
        (Image.parse, f"a{character}b"),
        (Image.parse, f"a:b{character}c"),
        (Repository.parse, f"https://h/o/a{character}b"),
    ):
        with pytest.raises(ValueError, match=r"is not |is an image name"):
            parse(text)


def test_the_message_of_a_commit_mentions_nobody() -> None:
    written = message(
        Application.parse("web"),
        Version.parse("main"),
        Image.parse("app:v1"),
        Image.parse(f"app:v1-@{DIGEST}"),
        Repository.parse("git@github.com:team/web"),
        COMMIT,
    )
    assert "@" not in written.commit_text


def _read(markdown: str) -> tuple[list[str], list[str], list[str]]:
    """What a reader sees outside of code spans, what they see within, and where links lead."""
    inline = [
        child
        for token in MarkdownIt("commonmark").enable("table").parse(markdown)
        for child in token.children or []
        if token.content
    ]
    return (
        [token.content for token in inline if token.type == "text" and token.content],
        [token.content for token in inline if token.type == "code_inline"],
        [str(token.attrs["href"]) for token in inline if token.type == "link_open"],
    )


@pytest.mark.parametrize(
    ("text", "title", "rest"),
    [
        pytest.param("Title", "Title", "", id="a title"),
        pytest.param("Title\n\nBody", "Title", "Body", id="title and body"),
        pytest.param("A long\ntitle\n\nBody", "A long title", "Body", id="a title of two lines"),
        pytest.param("Title\n\nOne\n\nTwo\n", "Title", "One\n\nTwo", id="paragraphs"),
        pytest.param("Title\n \t\nBody", "Title", "Body", id="an empty line with blanks in it"),
        pytest.param("\n\n  Title  \n\n\n\n  - a\n  - b\n\n", "Title", "- a\n  - b", id="blanks around both"),
        pytest.param("Title\r\n\r\nBody\r\n", "Title", "Body", id="line ends of Windows"),
        pytest.param("", "", "", id="nothing"),
        pytest.param(" \n\t\n ", "", "", id="nothing but blanks"),
        pytest.param("x" * 300, "x" * LONGEST_TITLE, "", id="a title that is too long for GitHub"),
    ],
)
def test_a_message_is_split_as_hub_splits_it(text: str, title: str, rest: str) -> None:
    assert split(Text.parse(text)) == Message(title, rest, rest)


@pytest.mark.parametrize(
    ("written", "text"),
    [
        pytest.param(Message("T", "B", "C"), "T\n\nC\n", id="title and body"),
        pytest.param(Message("T", "B", ""), "T\n", id="a title alone"),
        pytest.param(Message("T", "B", "# C\n\n  D  "), "T\n\n# C\n\n  D\n", id="a line that git's editor would drop"),
    ],
)
def test_the_message_of_a_commit_is_as_git_has_it(written: Message, text: str) -> None:
    assert written.commit_text == text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="no text"),
        pytest.param("Some text.", id="text"),
        pytest.param(f"Some text.\n\n<!-- apps-cd commit={'f' * 40} -->", id="a text with a marker of another commit"),
    ],
)
def test_a_body_ends_with_the_marker_of_its_commit(text: str) -> None:
    written = body(Message("T", text, ""), COMMIT)
    assert written == f"{text}\n\n<!-- apps-cd commit={COMMIT} -->".strip()
    assert marked_commit(written) == COMMIT
