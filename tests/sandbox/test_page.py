import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import github as pygithub
import pytest
import requests
from github.Repository import Repository

from tests.sandbox import page
from tests.sandbox.github import GitHub
from tests.sandbox.worktree import Worktree


class Seen(HTMLParser):
    """What a page holds: its visible texts, marked texts, and every element and attribute."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.marks: list[str] = []
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self._open: list[str] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in ("meta", "br", "hr"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "mark":
            self.marks.append(data)
        if self._open and self._open[-1] not in ("style", "title", "head") and data.strip():
            self.texts.append(data.strip())


@pytest.fixture
def github(tmp_path: Path) -> Iterator[GitHub]:
    with GitHub(tmp_path / "github") as server:
        server.add_user("alice", token="alice")
        yield server


@pytest.fixture
def tree(tmp_path: Path, github: GitHub) -> Worktree:
    """main: one commit with `app.yaml`; update: one more, which changes a line of it and adds `notes`."""
    tree = Worktree(tmp_path / "tree")
    tree.commit("Deploy", {"app.yaml": "kind: App\nimage: app:v1\n"})
    tree.git("checkout", "--quiet", "-b", "update")
    tree.commit("Update app\n\nIt is newer.", {"app.yaml": "kind: App\nimage: app:v2\n", "notes": "new\n"})
    tree.git("push", "--quiet", github.add_repository("org/app", writers=["alice"]), "main", "update")
    return tree


def repository(github: GitHub) -> Repository:
    client = pygithub.Github(
        base_url=f"{github.url}/api/v3",
        auth=pygithub.Auth.Token("alice"),
        retry=None,
        seconds_between_requests=None,
        seconds_between_writes=None,
    )
    return client.get_repo("org/app")


def committed(tree: Worktree, branch: str) -> str:
    """When the last commit of a branch was made, to the minute, which may be another one than that of its pull request."""
    at = int(tree.git("log", "-1", "--format=%ct", branch))
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(at))


def show(github: GitHub, path: str) -> Seen:
    reply = requests.get(github.url + path, timeout=10)
    assert reply.status_code == 200, reply.text
    assert reply.headers["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'"
    return Seen(reply.text)


def test_a_pull_request_shows_what_a_reviewer_needs(github: GitHub, tree: Worktree) -> None:
    pull = repository(github).create_pull("main", "update", title="Update app", body="Now **v2**.")
    pull.create_issue_comment("Fine.")
    pull.add_to_labels("apps-cd")
    repository(github).get_commit(pull.head.sha).create_status("success", context="ci/test", description="all well")
    shown = show(github, "/org/app/pull/1")
    assert [text for text in shown.texts if not text.startswith("20")] == [
        *("Sandbox", "/", "org", "/", "app"),
        *("Update app", "#1", "Open", "a", "alice", "wants to merge 1 commit into", "main", "from", "update"),
        *("a", "alice", "Now", "v2", "."),
        *("a", "alice", "Fine."),
        *("Commits", "1", "Update app", f"alice, {committed(tree, 'update')}", pull.head.sha[:10]),
        *("Checks", "ci/test", "all well"),
        "This branch has no conflicts with main.",
        *("Reviewers", "none yet", "Assignees", "none yet", "Labels", "apps-cd", "Milestone", "none yet"),
        *("Maintainers may edit", "no"),
        *("Files changed", "2", "+2", "\u22121"),
        *("app.yaml", "modified", "+1", "\u22121", "@@ -1,2 +1,2 @@"),
        *("1", "1", "kind: App", "2", "-image: app:v", "1", "2", "+image: app:v", "2"),
        *("notes", "added", "+1", "\u22120", "@@ -0,0 +1 @@", "1", "+new"),
    ]
    assert shown.marks == ["1", "2"]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        pytest.param("draft", ["Draft", "This branch has no conflicts with main."], id="a draft"),
        pytest.param("closed", ["Closed", "alice closed this unmerged."], id="closed"),
        pytest.param("merged", ["Merged", "alice merged this on"], id="merged"),
    ],
)
def test_a_pull_request_shows_its_state(github: GitHub, tree: Worktree, state: str, words: list[str]) -> None:
    pull = repository(github).create_pull("main", "update", title="Update", draft=state == "draft")
    if state == "closed":
        pull.edit(state="closed")
    if state == "merged":
        pull.merge()
    texts = show(github, "/org/app/pull/1").texts
    assert [word for word in words if any(text.startswith(word) for text in texts)] == words
    tree.git("push", "--quiet", github.url.replace("://", "://x:alice@") + "/org/app", ":update")
    assert show(github, "/org/app/pull/1").texts[-1] == "+new"


@pytest.mark.usefixtures("tree")
def test_repositories_are_listed_with_their_open_pull_requests(github: GitHub) -> None:
    github.add_repository("alice/app", fork_of="org/app", private=True)
    github.add_repository("org/empty")
    repository(github).create_pull("main", "update", title="Update")
    texts = show(github, "/").texts
    assert [text for text in texts if not text.startswith("20")] == [
        *(
            "Sandbox",
            "Repositories",
            f"Git, the REST interface ({github.url}/api/v3) and these pages show the same repositories.",
        ),
        *("alice/app", "fork of org/app", "private"),
        *("org/app", "1 open", "public"),
        *("org/empty", "public", "empty"),
    ]


def test_a_repository_shows_branches_commits_files_and_pull_requests(github: GitHub, tree: Worktree) -> None:
    pull = repository(github).create_pull("main", "update", title="Update")
    at = f"{pull.created_at:%Y-%m-%d %H:%M}"
    main, update = (tree.git("rev-parse", "--short=10", branch) for branch in ("main", "update"))
    assert show(github, "/org/app").texts == [
        *("Sandbox", "/", "org", "/", "app", "org/app", "public", f"git clone {github.url}/org/app.git"),
        *("Pull requests", "Update", "#1 open \u00b7 alice \u00b7 update \u2192 main", at),
        *("Commits on main", "Deploy", f"alice, {committed(tree, 'main')}", main),
        *("Files", "app.yaml", "24 B"),
        *("Branches", "main", main, "update", update),
    ]


def test_every_link_of_a_page_leads_somewhere(github: GitHub, tree: Worktree) -> None:
    tree.git("checkout", "--quiet", "-b", "a%b/c#d")
    tree.commit("Odd name", {"dir/x y?.txt": "text\n", "binary": b"\0\1"})
    tree.git("push", "--quiet", github.url.replace("://", "://x:alice@") + "/org/app", "HEAD")
    repository(github).create_pull("main", "a%b/c#d", title="Update")
    waiting, done = ["/", "/org/app/pull/1.diff"], set()
    while waiting:
        link = waiting.pop()
        reply = requests.get(github.url + link, timeout=10)
        assert (link, reply.status_code) == (link, 200)
        done.add(link)
        waiting += [other for other in Seen(reply.text).links if other not in done and other not in waiting]
    assert f"/org/app/blob/{tree.git('rev-parse', 'HEAD')}/dir/x%20y%3F.txt" in done


def test_what_people_write_is_text_wherever_it_is_shown(github: GitHub, tree: Worktree) -> None:
    hostile = "\"'><script src=//evil.example></script><img src=x onerror=alert(1)><a href=javascript:alert(1)>x</a>"
    tree.environment["GIT_AUTHOR_NAME"] = "<script>author</script>"
    tree.commit(f"{hostile}\n\n{hostile}", {"<script>name": f"{hostile}\n"})
    branch = "<script>branch"
    tree.git("push", "--quiet", github.url.replace("://", "://x:alice@") + "/org/app", f"HEAD:refs/heads/{branch}")
    body = f"{hostile}\n\n[x](javascript:alert(1)) ![x](https://evil.example/x.png)\n\n{hostile}\n"
    pull = repository(github).create_pull("main", branch, title=hostile, body=body)
    pull.create_issue_comment(f"<div onclick=x>{hostile}")
    pull.add_to_labels(hostile[:40])
    pull.as_issue().edit(milestone=repository(github).create_milestone(hostile))
    repository(github).get_commit(pull.head.sha).create_status("success", context=hostile, description=hostile)
    sha = pull.head.sha
    for path in ("/", "/org/app", "/org/app/pull/1", f"/org/app/commit/{sha}", f"/org/app/blob/{sha}/%3Cscript%3Ename"):
        shown = show(github, path)
        assert "script" not in shown.elements
        assert shown.attributes <= {
            "charset",
            "class",
            "content",
            "href",
            "lang",
            "name",
            "open",
            "style",
            "src",
            "alt",
        }
        assert [link for link in shown.links if not link.startswith(("/", "https://"))] == []


@pytest.mark.parametrize(
    "path", ["/org/absent", "/org/app/pull/1", "/org/app/commit/main", "/org/app/tree/absent", "/nobody"]
)
@pytest.mark.usefixtures("tree")
def test_there_is_no_page_at(github: GitHub, path: str) -> None:
    reply = requests.get(github.url + path, timeout=10)
    assert (reply.status_code, Seen(reply.text).texts) == (404, ["Sandbox", "There is no such page", path])


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        pytest.param("a **b** `c`", "<p>a <strong>b</strong> <code>c</code></p>\n", id="emphasis and code"),
        pytest.param(
            "|a|b|\n|-|-|\n|1|2|\n",
            "<table>\n<thead>\n<tr>\n<th>a</th>\n<th>b</th>\n</tr>\n</thead>\n<tbody>\n<tr>\n<td>1</td>\n<td>2</td>\n"
            "</tr>\n</tbody>\n</table>\n",
            id="tables",
        ),
        pytest.param("a<!-- marker: 1 -->b", "<p>ab</p>\n", id="a comment is not shown"),
        pytest.param("`<!-- x -->`", "<p><code>&lt;!-- x --&gt;</code></p>\n", id="but is in code"),
        pytest.param("<b>x</b><br/>", "<p><b>x</b><br></p>\n", id="harmless tags stay"),
        pytest.param(
            '<b onclick="x">x</b>', "<p>&lt;b onclick=&quot;x&quot;&gt;x</b></p>\n", id="with attributes they are text"
        ),
        pytest.param("<script>x</script>", "&lt;script&gt;x&lt;/script&gt;", id="other tags are text"),
        pytest.param("[x](javascript:y)", "<p>[x](javascript:y)</p>\n", id="a link to a script is text"),
    ],
)
def test_markdown(text: str, markup: str) -> None:
    assert page.markdown(text) == markup
