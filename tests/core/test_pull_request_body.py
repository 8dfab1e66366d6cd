"""GitHub's Markdown makes people, issues and links out of words; in code spans and in link targets it makes nothing."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from steps.core.image import Image
from steps.core.pull_request import Comparison, Relation, SourceCommit
from steps.core.pull_request_body import (
    LONGEST_BODY,
    LONGEST_LINE,
    LONGEST_TITLE,
    DashboardUrl,
    Facts,
    KubernetesName,
    Message,
    Run,
    TitleTemplate,
    body,
    escaped,
    message,
    remark,
    split,
)
from steps.core.repository import Repository
from steps.core.text import Text
from steps.core.update import Application, Remark, Update, Version, marked, marker, remark_marker, trailed, trailer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SOURCE_COMMIT = "89abcdef0123456789abcdef0123456789abcdef"
OLD_DIGEST = "sha256:" + "0ddba110" * 8
DIGEST = "sha256:" + "c0ffee00" * 8
COMPARE = "https://git.example.com/team/web/compare/1.9...1.10"
RUN = Run(DashboardUrl("https://tekton.example.com"), KubernetesName("apps-cd"), KubernetesName("web-main-89abcdef"))

LITTLE = Facts(Application("web"), Version("main"))
UPDATE = Update("web", "main", f"registry.example.com:5000/team/web:1.10@{DIGEST}", SOURCE_COMMIT, 1700000000, COMMIT)
MARKER = marker(UPDATE)


def source_commit(title: str, author: str = "ada", sha: str = SOURCE_COMMIT) -> SourceCommit:
    return SourceCommit(sha, title, author, f"https://git.example.com/team/web/commit/{sha}")


MUCH = Facts(
    Application("web"),
    Version("release/1.x"),
    image_name=Image.parse("registry.example.com/team/web"),
    previous=Image.parse(f"registry.example.com/team/web:1.9@{OLD_DIGEST}"),
    image=Image.parse(f"registry.example.com:5000/team/web:1.10@{DIGEST}"),
    source=Repository.parse("ssh://git@git.example.com:2222/team/web.git"),
    source_commit=SOURCE_COMMIT,
    changes=Comparison(
        "ahead",
        3,
        (source_commit("Serve `/healthz`"), source_commit("Faster start", "Grace H.", COMMIT)),
        COMPARE,
    ),
    rendered_diff="""\
--- deployment.yaml
+++ deployment.yaml
@@ -1 +1 @@
-        image: registry.example.com/team/web:1.9
+        image: registry.example.com:5000/team/web:1.10
""",
    run=RUN,
    follows=41,
)

TITLE = "[auto PR] Update the web image to tag 1.10"
COMMIT_BODY = f"""\
Image: registry.example.com:5000/team/web:1.10
Digest: {DIGEST}
Source: https://git.example.com/team/web at {SOURCE_COMMIT}
Previous: registry.example.com/team/web:1.9 {OLD_DIGEST}"""
BODY = f"""\
<!-- apps-cd text -->
Points the manifests of `web` at its newest image.

Follows #41, which was closed without a merge.

| | |
|---|---|
| Application | `web` |
| Version | `release/1.x` |
| Image in the manifests | `registry.example.com/team/web` |
| Former image | `registry.example.com/team/web:1.9` |
| Former digest | `{OLD_DIGEST}` |
| New image | `registry.example.com:5000/team/web:1.10` |
| New digest | `{DIGEST}` |
| Built from | [`team/web` at `89abcdef`](https://git.example.com/team/web/commit/{SOURCE_COMMIT}) |

## Commits

The new image has 3 commits that the former one lacks ([compare]({COMPARE})), the newest first:

- [`89abcdef`](https://git.example.com/team/web/commit/{SOURCE_COMMIT}) `` Serve `/healthz` `` by `ada`
- [`01234567`](https://git.example.com/team/web/commit/{COMMIT}) `Faster start` by `Grace H.`
- and 1 more: [compare]({COMPARE})

## Rendered manifests

```diff
--- deployment.yaml
+++ deployment.yaml
@@ -1 +1 @@
-        image: registry.example.com/team/web:1.9
+        image: registry.example.com:5000/team/web:1.10
```

## PipelineRun

- [`web-main-89abcdef`](https://tekton.example.com/#/namespaces/apps-cd/pipelineruns/web-main-89abcdef)
- [Logs of the build](https://tekton.example.com/#/namespaces/apps-cd/pipelineruns/web-main-89abcdef?pipelineTask=build-image&step=build)

## How to roll back

Before the merge, close this pull request: this source commit is not proposed again until there is a newer one, or the label `apps-cd/reopen` is on this pull request.

After the merge, revert this pull request with GitHub's Revert button, or set the former image again:

```sh
kustomize edit set image registry.example.com/team/web=registry.example.com/team/web:1.9@{OLD_DIGEST}
```

When the same is then proposed again, close that pull request.

{MARKER}"""


def test_the_message_of_an_update() -> None:
    written = message(MUCH)
    assert (written.title, written.commit_body) == (TITLE, COMMIT_BODY)
    assert written.commit_text(UPDATE) == f"{TITLE}\n\n{COMMIT_BODY}\n\n{trailer(UPDATE)}\n"
    assert body(written, UPDATE) == BODY


def test_the_message_of_an_update_of_which_little_is_known() -> None:
    written = message(LITTLE)
    assert written.commit_text(Update("web", "main")) == (
        "[auto PR] Update the web image\n\nApps-cd: application=web version=main\n"
    )
    assert (
        body(written, Update("web", "main"))
        == """\
<!-- apps-cd text -->
Points the manifests of `web` at its newest image.

| | |
|---|---|
| Application | `web` |
| Version | `main` |

## How to roll back

Before the merge, close this pull request: this change is not proposed again until there is a newer one, or the label `apps-cd/reopen` is on this pull request.

After the merge, revert this pull request with GitHub's Revert button.

When the same is then proposed again, close that pull request.

<!-- apps-cd application=web version=main -->"""
    )


@pytest.mark.parametrize(
    ("image", "tag", "rows"),
    [
        pytest.param("app:v1", "v1", ["| New image | `app:v1` |"], id="a tag"),
        pytest.param("app", "latest", ["| New image | `app` |"], id="neither tag nor digest"),
        pytest.param(
            f"app@{DIGEST}",
            DIGEST,
            ["| New image | `app` |", f"| New digest | `{DIGEST}` |"],
            id="a digest without a tag",
        ),
    ],
)
def test_the_title_names_the_tag(image: str, tag: str, rows: list[str]) -> None:
    written = message(replace(LITTLE, image=Image.parse(image)))
    assert written.title == f"[auto PR] Update the web image to tag {tag}"
    assert table(written) == ["| Application | `web` |", "| Version | `main` |", *rows]


def test_a_source_without_a_commit_is_named_alone() -> None:
    written = message(replace(LITTLE, source=Repository.parse("git@github.com:team/web.git")))
    assert table(written) == ["| Application | `web` |", "| Version | `main` |", "| Built from | `team/web` |"]
    assert written.commit_body == ""


def test_the_longest_names_make_a_title_that_github_takes() -> None:
    image = Image.parse("registry.example.com/app:" + "t" * 128)
    written = message(Facts(Application("a" * 100), Version("v" * 100), image=image))
    assert written.title == f"[auto PR] Update the {'a' * 100} image to tag {'t' * 128}"[:LONGEST_TITLE]


def table(written: Message) -> list[str]:
    return [line for line in written.body.splitlines() if line.startswith("|")][2:]


def section(written: Message, heading: str) -> str:
    """What stands below a heading."""
    return written.body.partition(f"## {heading}\n\n")[2].partition("\n\n## ")[0]


@pytest.mark.parametrize(
    ("template", "title"),
    [
        pytest.param("Bump {application} to {tag}", "Bump web to 1.10", id="some of them"),
        pytest.param(
            "{application} {version} {image} {tag} {source-commit}",
            "web release/1.x registry.example.com:5000/team/web 1.10 89abcdef",
            id="almost all",
        ),
        pytest.param("{application} at {digest}", f"web at {DIGEST}", id="the digest"),
        pytest.param("{{tag}} is {{{tag}}}", "{tag} is {1.10}", id="braces"),
        pytest.param(" chore:   deploy\u3000web ", "chore: deploy web", id="blanks"),
        pytest.param("{tag}" * 100, ("1.10" * 100)[:LONGEST_TITLE], id="more than GitHub takes"),
    ],
)
def test_a_title_is_made_of_a_template(template: str, title: str) -> None:
    assert message(MUCH, TitleTemplate.parse(template)).title == title


@pytest.mark.parametrize(
    ("template", "title"),
    [
        pytest.param("Bump {application} to {tag} of {version}", "Bump web to of main", id="a gap"),
        pytest.param(" {tag}{digest} {image}", "[auto PR] Update the web image", id="nothing is left"),
    ],
)
def test_what_has_no_value_is_left_out_of_a_title(template: str, title: str) -> None:
    assert message(LITTLE, TitleTemplate.parse(template)).title == title


@pytest.mark.parametrize(
    ("template", "said"),
    [
        pytest.param("{name}", "{name}", id="an unknown name"),
        pytest.param("{}", "{}", id="no name"),
        pytest.param("{ tag }", "{ tag }", id="blanks around a name"),
        pytest.param("{tag!r}", "{tag!r}", id="a conversion of Python"),
        pytest.param("{tag.__class__}", "{tag.__class__}", id="an attribute"),
        pytest.param("a { b", "{", id="an open brace"),
        pytest.param("{tag}}", "}", id="a closing brace too many"),
    ],
)
def test_a_template_has_nothing_else_in_braces(template: str, said: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        TitleTemplate.parse(template)
    assert str(error.value) == (
        f"{said!r} is nothing to fill in; there are {{application}}, {{version}}, {{image}}, {{tag}}, {{digest}}, "
        "{source-commit}, and {{ and }} for braces"
    )


@pytest.mark.parametrize("template", ["", "  ", "a\nb", "a\u202eb"], ids=ascii)
def test_a_template_is_one_line_of_text(template: str) -> None:
    with pytest.raises(ValueError, match=r"is empty|has a control character"):
        TitleTemplate.parse(template)


# What lies between both images


@pytest.mark.parametrize(
    ("relation", "text"),
    [
        pytest.param(
            "ahead",
            "The new image has 1 commit that the former one lacks ([compare]({0})), the newest first:\n\n{1}",
            id="ahead",
        ),
        pytest.param(
            "diverged",
            "**Their histories have diverged: the new image lacks commits that the former one has.** It has 1 commit that "
            "the former one lacks ([compare]({0})), the newest first:\n\n{1}",
            id="diverged",
        ),
        pytest.param(
            "behind",
            "**The new image is older: it lacks commits that the former one has** ([compare]({0})).",
            id="behind",
        ),
        pytest.param("identical", "Both images were built from the same commit ([compare]({0})).", id="identical"),
    ],
)
def test_it_is_said_how_both_commits_stand(relation: Relation, text: str) -> None:
    changes = Comparison(relation, 1, (source_commit("Fix"),), COMPARE)
    line = f"- [`89abcdef`](https://git.example.com/team/web/commit/{SOURCE_COMMIT}) `Fix` by `ada`"
    assert section(message(replace(MUCH, changes=changes)), "Commits") == text.format(COMPARE, line)


@pytest.mark.parametrize(
    ("total", "known", "listed", "more"),
    [
        pytest.param(20, 20, 20, [], id="as many as are listed"),
        pytest.param(21, 21, 20, [f"- and 1 more: [compare]({COMPARE})"], id="one more"),
        pytest.param(2500, 100, 20, [f"- and 2480 more: [compare]({COMPARE})"], id="more than are known"),
    ],
)
def test_at_most_twenty_commits_are_listed(total: int, known: int, listed: int, more: list[str]) -> None:
    commits = tuple(source_commit(f"Change {number}") for number in range(known))
    written = section(message(replace(MUCH, changes=Comparison("ahead", total, commits, COMPARE))), "Commits")
    assert written.splitlines()[2:] == [
        *(
            f"- [`89abcdef`](https://git.example.com/team/web/commit/{SOURCE_COMMIT}) `Change {number}` by `ada`"
            for number in range(listed)
        ),
        *more,
    ]


def test_it_is_said_why_commits_are_not_listed() -> None:
    written = message(replace(MUCH, changes="git.example.com answers 404 to @apps-cd."))
    assert section(written, "Commits") == "They are not listed: `git.example.com answers 404 to @\u2060apps-cd`."


def test_a_url_does_not_end_its_link() -> None:
    changes = Comparison("behind", 0, (), "https://git.example.com/a b)/<c>\n`d`/\\/é?e=f#g")
    assert section(message(replace(MUCH, changes=changes)), "Commits").partition("(")[2] == (
        "[compare](https://git.example.com/a%20b%29/%3Cc%3E%0A%60d%60/%5C/%C3%A9?e=f#g))."
    )


@pytest.mark.parametrize(
    ("diff", "text"),
    [
        pytest.param("-a\n+b", "```diff\n-a\n+b\n```", id="no line end at the end"),
        pytest.param("+```\n+`````\n", "``````diff\n+```\n+`````\n``````", id="fences inside"),
        pytest.param("+a\r\n+\tb\u202ec\n", "```diff\n+a\\r\n+\tb\\u202ec\n```", id="what is not seen"),
        pytest.param(
            f"{'+' * 14_999}\n{'-' * 14_999}\n+a\n+b\n",
            f"```diff\n{'+' * 14_999}\n{'-' * 14_999}\n```\n\n"
            "2 more lines: the log of open-pull-request has the whole diff.",
            id="more than a reviewer reads",
        ),
        pytest.param(
            "+" * 30_000,
            "1 more line: the log of open-pull-request has the whole diff.",
            id="a first line that is too long",
        ),
    ],
)
def test_a_diff_is_fenced_and_cut_at_a_line(diff: str, text: str) -> None:
    assert section(message(replace(MUCH, rendered_diff=diff)), "Rendered manifests") == text


@pytest.mark.parametrize(
    ("run", "text"),
    [
        pytest.param(
            RUN,
            "- [`web-main-89abcdef`](https://tekton.example.com/#/namespaces/apps-cd/pipelineruns/web-main-89abcdef)\n"
            "- [Logs of the build](https://tekton.example.com/#/namespaces/apps-cd/pipelineruns/web-main-89abcdef"
            "?pipelineTask=build-image&step=build)",
            id="a dashboard",
        ),
        pytest.param(
            replace(RUN, dashboard=None),
            "- `tkn pipelinerun logs web-main-89abcdef --namespace=apps-cd`",
            id="no dashboard",
        ),
        pytest.param(replace(RUN, namespace=None), "- `tkn pipelinerun logs web-main-89abcdef`", id="no namespace"),
        pytest.param(replace(RUN, name=None), "", id="no name"),
        pytest.param(None, "", id="nothing"),
    ],
)
def test_the_logs_of_the_build_are_found(run: Run | None, text: str) -> None:
    assert section(message(replace(MUCH, run=run)), "PipelineRun") == text


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        pytest.param("https://tekton.example.com", "https://tekton.example.com", id="a host"),
        pytest.param("https://tekton.example.com/", "https://tekton.example.com", id="a slash at the end"),
        pytest.param("http://localhost:9097/tekton/", "http://localhost:9097/tekton", id="a port and a path"),
        pytest.param("https://[::1]:8443", "https://[::1]:8443", id="an address"),
    ],
)
def test_a_dashboard_is_at_a_url(text: str, parsed: str) -> None:
    assert DashboardUrl.parse(text) == parsed


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("tekton.example.com", id="no scheme"),
        pytest.param("javascript://tekton.example.com", id="another scheme"),
        pytest.param("https://user:secret@tekton.example.com", id="a password"),
        pytest.param("https://tekton.example.com?a=b", id="a query"),
        pytest.param("https://tekton.example.com/#/about", id="a page of it"),
        pytest.param("https://tekton.example.com/a b", id="a blank"),
        pytest.param("https://tekton.example.com/)", id="what ends a link"),
        pytest.param("https://tekton.example.com\n", id="a line feed at the end"),
        pytest.param("https://tekton.example.com/" + "a" * 400, id="no end"),
    ],
)
def test_anything_else_is_no_dashboard(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not the address of a Tekton dashboard|take them out") as error:
        DashboardUrl.parse(text)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("text", ["a", "web-main-89abcdef", "1", "a.b-c.d", "a" * 253])
def test_a_name_of_kubernetes(text: str) -> None:
    assert KubernetesName.parse(text) == text


@pytest.mark.parametrize(
    "text", ["", "A", "-a", "a-", "a..b", "a_b", "a/b", "a b", "a\n", "`a`", "é", "a" * 254], ids=ascii
)
def test_anything_else_is_no_name_of_kubernetes(text: str) -> None:
    with pytest.raises(ValueError, match="is not a name of Kubernetes"):
        KubernetesName.parse(text)


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        pytest.param(MUCH, "source commit", id="a source commit"),
        pytest.param(replace(MUCH, source_commit=None), "image", id="an image"),
        pytest.param(LITTLE, "change", id="neither"),
    ],
)
def test_it_is_said_what_a_close_refuses(facts: Facts, what: str) -> None:
    assert section(message(facts), "How to roll back").partition("\n")[0] == (
        f"Before the merge, close this pull request: this {what} is not proposed again until there is a newer one, or the "
        "label `apps-cd/reopen` is on this pull request."
    )


# What others wrote


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        pytest.param("Fix the login", "`Fix the login`", id="harmless"),
        pytest.param("ask @octocat", "`ask @\u2060octocat`", id="a mention"),
        pytest.param("ask @team/web", "`ask @\u2060team/web`", id="a mention of a team"),
        pytest.param("see #123", "`see #\u2060123`", id="a number"),
        pytest.param("see team/web#1", "`see team/web#\u20601`", id="a number of another repository"),
        pytest.param("see gh-1", "`see gh-\u20601`", id="a number after GH-"),
        pytest.param("fixes #1", "`fixes #\u20601`", id="a keyword that closes"),
        pytest.param(
            "closes https://github.com/o/r/issues/1",
            "`closes https:\u2060//github.com/o/r/issues/1`",
            id="a keyword with a URL",
        ),
        pytest.param(COMMIT, f"`{COMMIT}`", id="a commit"),
        pytest.param("<img src=x onerror=y>", "`<img src=x onerror=y>`", id="HTML"),
        pytest.param("<!-- hidden", "`<!-- hidden`", id="a comment of HTML"),
        pytest.param("</code> &#64;a", "`</code> &#\u206064;a`", id="an entity"),
        pytest.param("[a](b) ![c](d)", "`[a](b) ![c](d)`", id="a link and an image"),
        pytest.param("**a** _b_ ~~c~~", "`**a** _b_ ~~c~~`", id="emphasis"),
        pytest.param("a | b", "`a | b`", id="a column"),
        pytest.param("a `b` c", "`` a `b` c ``", id="code"),
        pytest.param("`", "`` ` ``", id="a backtick"),
        pytest.param("a ``` b ` c", "```` a ``` b ` c ````", id="a fence"),
        pytest.param("a\\", "`a\\`", id="a backslash at the end"),
        pytest.param("a\n# b\r\n- c", r"`a\n# b\r\n- c`", id="lines"),
        pytest.param("gpj.\u202eexe", r"`gpj.\u202eexe`", id="a switch of the writing direction"),
        pytest.param("a\u200bb\x00", r"`a\u200bb\x00`", id="what is not seen"),
        pytest.param("  a   b ", "`a b`", id="blanks"),
        pytest.param("", "`(empty)`", id="nothing"),
        pytest.param("x" * LONGEST_LINE, f"`{'x' * LONGEST_LINE}`", id="as long as it may be"),
        pytest.param("x" * (LONGEST_LINE + 1), f"`{'x' * (LONGEST_LINE - 1)}…`", id="too long"),
    ],
)
def test_what_others_wrote_is_read_as_it_stands(text: str, markdown: str) -> None:
    assert escaped(text) == markdown


HOSTILE = st.lists(
    st.sampled_from(
        [
            *(
                "`",
                "```",
                "\n```\n",
                "````\n",
                "~~~\n",
                "\n",
                "\n\n",
                "\r\n",
                "\\",
                "|",
                "\n| a | b |\n|---|---|\n",
                "<b>",
                "</code>",
            ),
            *("<!--", "-->", "<!-- apps-cd text -->", MARKER, marker(Update("other", "main")), "\n---\n", "    "),
            *(
                "@octocat",
                "#1",
                "fixes #1",
                "GH-1",
                "https://example.com",
                "[a](https://example.com)",
                "![a](b)",
                "[a]: /b\n",
            ),
            *("# a\n", "- a\n", "1. a\n", "> a\n", "**", "_", "&lt;", "\u202e", "\u200b", "\x00", "\x1b[0m"),
        ]
    )
    | st.text(max_size=20),
    max_size=12,
).map("".join)


def foreign(title: str, author: str, why: str, diff: str) -> list[Facts]:
    changes = Comparison("ahead", 1, (source_commit(title, author),), COMPARE)
    return [
        replace(MUCH, changes=changes, rendered_diff=f"+{diff}"),
        replace(MUCH, changes=why, rendered_diff=f"+{diff}"),
    ]


def skeleton(markdown: str) -> list[tuple[str, str, dict[str, str | int | float]]]:
    """A text as it is rendered, without what stands in code."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(markdown)
    return [
        (each.type, "" if each.type in ("code_inline", "fence", "inline") else each.content, each.attrs)
        for token in tokens
        for each in (token, *(token.children or []))
    ]


@settings(deadline=None)
@given(HOSTILE, HOSTILE, HOSTILE.map(lambda text: f".{text}"), HOSTILE)
def test_what_others_wrote_stays_in_code(title: str, author: str, why: str, diff: str) -> None:
    harmless = [body(message(facts), UPDATE) for facts in foreign("a", "b", "c", "d")]
    for facts, expected in zip(foreign(title, author, why, diff), harmless, strict=True):
        written = body(message(facts), UPDATE)
        assert skeleton(written) == skeleton(expected)
        assert marked(written) == UPDATE
        assert body(message(LITTLE), UPDATE, written) == body(message(LITTLE), UPDATE)


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
    facts = replace(
        MUCH,
        application=Application.parse(application),
        version=Version.parse(version),
        image_name=Image.parse(image),
        previous=Image.parse(image),
        image=Image.parse(image),
        source=Repository.parse(source),
        changes=None,
    )
    plain = replace(MUCH, changes=None)
    if "@" not in image:
        plain = replace(plain, previous=Image.parse("app:1"), image=Image.parse("app:1"))
    written, expected = (
        [
            (kind, text, {} if f"/commit/{SOURCE_COMMIT}" in str(attributes) else attributes)
            for kind, text, attributes in skeleton(message(each).body)
        ]
        for each in (facts, plain)
    )
    assert written == expected


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
    image = Image.parse(f"app:v1-@{DIGEST}")
    written = message(replace(MUCH, image=image, previous=image))
    assert "@" not in written.commit_text(Update("web", "main", str(image), SOURCE_COMMIT))


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
        pytest.param(Message("T", "B", "C"), "T\n\nC", id="title and body"),
        pytest.param(Message("T", "B", ""), "T", id="a title alone"),
        pytest.param(Message("T", "B", "# C\n\n  D  "), "T\n\n# C\n\n  D", id="a line that git's editor would drop"),
        pytest.param(
            Message("T", "B", trailer(Update("other", "main"))),
            "T\n\nApps-cd: application=other version=main",
            id="the last line of another commit",
        ),
    ],
)
def test_the_message_of_a_commit_ends_with_what_it_proposes(written: Message, text: str) -> None:
    proposed = Update("web", "main", "app:v1", SOURCE_COMMIT)
    assert written.commit_text(proposed) == (
        f"{text}\n\nApps-cd: application=web version=main source={SOURCE_COMMIT}\n"
    )
    assert trailed(written.commit_text(proposed)) == replace(proposed, image=None)


# Our part of the body


def part(text: str, end: str = MARKER) -> str:
    return f"<!-- apps-cd text -->\n{text}\n\n{end}"


@pytest.mark.parametrize(
    ("former", "expected"),
    [
        pytest.param(None, part("New"), id="no text"),
        pytest.param("", part("New"), id="an empty text"),
        pytest.param(part("Old", marker(Update("web", "main"))), part("New"), id="our text alone"),
        pytest.param(f"Before\n\n{part('Old')}", f"Before\n\n{part('New')}", id="text before ours"),
        pytest.param(f"{part('Old')}\n\nAfter \n", f"{part('New')}\n\nAfter \n", id="text after ours"),
        pytest.param(f"A\r\n{part('Old')}\r\nB", f"A\r\n{part('New')}\r\nB", id="line ends of a browser"),
        pytest.param(
            part("Old").replace("\n", "\r\n") + "\r\n- [x] checked",
            f"{part('New')}\r\n- [x] checked",
            id="a box that is checked",
        ),
        pytest.param(f"A{part('Old edited by a person')}B", f"A{part('New')}B", id="our text as a person edited it"),
        pytest.param(f"Old\n\n{MARKER}\n\nAfter", f"Old\n\n{part('New')}\n\nAfter", id="all when the opening is lost"),
        pytest.param("Before\n\n<!-- apps-cd text -->\nOld", part("New"), id="the closing marker is lost"),
        pytest.param(f"{MARKER}\n<!-- apps-cd text -->", part("New"), id="the markers are the wrong way round"),
    ],
)
def test_what_a_person_wrote_around_our_part_stays(former: str | None, expected: str) -> None:
    written = body(Message("T", "New", ""), UPDATE, former)
    assert written == expected
    assert marked(written) == UPDATE
    assert body(Message("T", "New", ""), UPDATE, written) == written


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", f"<!-- apps-cd text -->\n{MARKER}", id="nothing"),
        pytest.param("Closes #1, @ada <b>!</b>", part("Closes #1, @ada <b>!</b>"), id="what acts on GitHub"),
        pytest.param(
            f"A\n{part('B')}\nC",
            part(f"A\n{part('B')}\nC".replace("<!-- ", "<!--\u2060 ")),
            id="a copy of our part",
        ),
        pytest.param(
            "x" * LONGEST_BODY,
            part(
                "x" * (LONGEST_BODY - len(part("")) - 57)
                + "\n\nThe rest is cut: the text of a pull request has an end."
            ),
            id="one line that is too long",
        ),
        pytest.param(
            "a\n\nb\nc\n\n" + "x" * LONGEST_BODY,
            part("a\n\nb\nc\n\nThe rest is cut: the text of a pull request has an end."),
            id="a paragraph that is too long",
        ),
    ],
)
def test_a_text_that_a_person_gave_is_taken_as_it_is(text: str, expected: str) -> None:
    written = body(split(f"Title\n\n{text}"), UPDATE)
    assert written == expected
    assert len(written) <= LONGEST_BODY
    assert marked(written) == UPDATE
    assert body(Message("T", "New", ""), UPDATE, written) == part("New")


LONG = replace(
    MUCH,
    changes=Comparison("ahead", 30, tuple(source_commit("x" * 200, "y" * 200) for _ in range(30)), COMPARE),
    rendered_diff="+        - name: x\n" * 3000,
)
LONG_BODY, SHORT_DIFF, NO_DIFF, NO_COMMITS = (
    len(text) + len(part("")) for text in (message(LONG).body, *message(LONG).shorter)
)


@pytest.mark.parametrize(
    ("room", "lines", "commits"),
    [
        pytest.param(LONG_BODY, 1578, 20, id="for all"),
        pytest.param(LONG_BODY - 1, 526, 20, id="for less of the diff"),
        pytest.param(SHORT_DIFF, 526, 20, id="just for less of the diff"),
        pytest.param(SHORT_DIFF - 1, 0, 20, id="not for the diff"),
        pytest.param(NO_DIFF, 0, 20, id="just not for the diff"),
        pytest.param(NO_DIFF - 1, 0, 0, id="not for the commits"),
        pytest.param(NO_COMMITS, 0, 0, id="just not for the commits"),
    ],
)
def test_the_diff_makes_room_first_and_then_the_commits(room: int, lines: int, commits: int) -> None:
    theirs = "x" * (LONGEST_BODY - room)
    written = body(message(LONG), UPDATE, theirs + part("Old"))
    assert written.startswith(theirs + "<!-- apps-cd text -->\nPoints the manifests")
    assert written.endswith(f"When the same is then proposed again, close that pull request.\n\n{MARKER}")
    assert len(written) <= LONGEST_BODY
    assert (written.count("- name: x\n"), written.count(" by `yyy")) == (lines, commits)
    assert f"\n{3000 - lines} more lines: the log of open-pull-request has the whole diff.\n" in written
    assert (f"([compare]({COMPARE})); there is no room to list them.\n" in written) == (commits == 0)


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        pytest.param(
            120,
            part(
                "Points the manifests of `web` at its newest image.\n\n"
                "The rest is cut: the text of a pull request has an end."
            ),
            id="its beginning",
        ),
        pytest.param(1, f"<!-- apps-cd text -->\n{MARKER}", id="the markers"),
        pytest.param(0, f"<!-- apps-cd text -->\n{MARKER}", id="the markers alone"),
    ],
)
def test_what_a_person_wrote_leaves_room_for(room: int, expected: str) -> None:
    theirs = "x" * (LONGEST_BODY - len(part("")) - room)
    assert body(message(LITTLE), UPDATE, theirs + part("Old")) == theirs + expected


def test_what_a_person_wrote_must_leave_room_for_the_markers() -> None:
    theirs = "x" * (LONGEST_BODY - len(part("")) + 1)
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        body(message(LITTLE), UPDATE, theirs + part("Old"))
    assert str(error.value) == (
        f"the text of the pull request has {len(theirs)} characters that are not ours, and may have 65536 in all; shorten it"
    )


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        pytest.param(
            "foreign-commit",
            "Somebody else's commit is on this branch, so it is theirs from now on: apps-cd does not update it any more. To hand "
            "it back, merge or close this pull request and delete the branch.",
            id="somebody else's commit",
        ),
        pytest.param(
            "in-base",
            "The base has this image already. This pull request is closed.",
            id="what the base has",
        ),
        pytest.param(
            "superseded",
            "There is a newer pull request, https://github.com/team/manifests/pull/42, in place of this one.",
            id="a newer pull request",
        ),
    ],
)
def test_a_remark_ends_with_its_marker(kind: Remark, text: str) -> None:
    written = remark(kind, "https://github.com/team/manifests/pull/42")
    assert written == f"{text}\n\n{remark_marker(kind)}"
