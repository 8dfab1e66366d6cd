"""open_pull_request against a real git server and GitHub's REST interface: what it proposes, and what it leaves alone."""

import base64
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from steps.open_pull_request import AUTHOR, open_pull_request
from tests.sandbox import ssh
from tests.sandbox.bare_repository import environment
from tests.sandbox.github import GitHub, PullRequestFacts, Request
from tests.sandbox.worktree import Worktree
from tests.steps.conftest import ROOT, Outcome, Run, in_2026, on_request, process, publish, running

TOKEN = "token-of-bot"
BRANCH = "apps-cd/v1/web"
REF = f"refs/heads/{BRANCH}"
ALICE = "alice <alice@users.noreply.github.com>"
NAMES = ("pull-request-url", "pull-request-number", "operation")
KUSTOMIZATION = "apps/web/kustomization.yaml"
V1, V2, V3 = (f"images:\n- name: web\n  newTag: {tag}\n" for tag in ("v1", "v2", "v3"))


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of alice's, with a submodule `vendor`, and files that are checked out with other line ends:

    one ─── two    main
    """
    tree = in_2026(Worktree(tmp_path_factory.mktemp("history") / "tree"))
    (tree.path / "docs").mkdir()
    (tree.path / "link").symlink_to("docs/old.md")
    (tree.path / "run").touch(mode=0o755)
    tree.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},vendor")
    (tree.path / "vendor").mkdir()
    tree.commit("one", {KUSTOMIZATION: V1, ".gitignore": "*.log\n", ".gitattributes": "*.bat text eol=crlf\n"})
    tree.commit("two", {"docs/old.md": "old\n", "docs/keep.log.md": "kept\n", "win.bat": "a\r\nb\r\n"})
    return tree.path


@dataclass
class Manifests:
    """kubeflow/manifests: as GitHub has it, as alice has it, and the working tree that a step has edited.

    Attributes:
        history: what it was like at first.
        flags: for a step that proposes the tree.
    """

    github: GitHub
    bare: Path
    history: Path
    tree: Path
    flags: dict[str, Any]
    run: Run

    @functools.cached_property
    def alice(self) -> Worktree:
        return in_2026(Worktree(shutil.copytree(self.history, self.tree.parent / "alice", symlinks=True)))

    def open(self, **flags: Any) -> Outcome:
        return self.run(open_pull_request, **self.flags | flags)

    def edit(self, text: str) -> None:
        (self.tree / KUSTOMIZATION).write_text(text)

    def git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=self.bare, env=environment(), check=True, capture_output=True, text=True
        ).stdout

    def push(self, source: str = "HEAD", branch: str = "main") -> None:
        self.alice.git("push", "--quiet", "--force", self.bare, f"{source}:refs/heads/{branch}")

    def tip(self, branch: str = BRANCH) -> str:
        return self.git("rev-parse", f"refs/heads/{branch}").strip()

    @property
    def pull_requests(self) -> list[PullRequestFacts]:
        return self.github.pull_requests("kubeflow/manifests")

    @property
    def results(self) -> dict[str, str]:
        directory = self.tree.parent
        return {name: (directory / name).read_text() for name in NAMES if (directory / name).exists()}

    @property
    def refs(self) -> str:
        return self.git("for-each-ref")

    def writes(self) -> list[str]:
        """The requests so far that could have changed something."""
        return [request.path for request in self.github.requests if is_write(request)]

    def page(self, number: int) -> str:
        return f"{self.github.url}/kubeflow/manifests/pull/{number}"


def is_write(request: Request) -> bool:
    return "git-receive-pack" in request.path or (request.method != "GET" and "git-upload-pack" not in request.path)


@pytest.fixture
def manifests(github: GitHub, history: Path, tmp_path: Path, run: Run) -> Manifests:
    bare = github.add_repository("kubeflow/manifests", writers=["alice", "bot"])
    tree = shutil.copytree(history, tmp_path / "tree", symlinks=True, ignore=shutil.ignore_patterns(".git"))
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    publish(history, bare)
    flags = {
        "repo_dir": tree,
        "url": f"{github.url}/kubeflow/manifests.git",
        "base": "main",
        "base_commit": (bare / "refs/heads/main").read_text().strip(),
        "application": "web",
        "version": "v1",
        "message": "Update web\n\nTo the newest image.",
        "github_url": github.url,
        "github_token": tmp_path / "token",
        **{f"{name.replace('-', '_')}_result": tmp_path / name for name in NAMES},
    }
    return Manifests(github, bare, history, tree, flags, run)


def test_a_change_becomes_a_commit_and_a_pull_request(manifests: Manifests) -> None:
    manifests.edit(V2)

    assert manifests.open() == Outcome(0, "", f"{manifests.page(1)}\n")

    commit = manifests.tip()
    assert manifests.pull_requests == [
        PullRequestFacts(
            number=1,
            state="open",
            title="Update web",
            body=f"To the newest image.\n\n<!-- apps-cd commit={commit} -->",
            user="bot",
            head=f"kubeflow:{BRANCH}",
            base="main",
            sha=commit,
            labels=(),
            assignees=(),
            reviewers=(),
            milestone=None,
            comments=(),
            draft=False,
            merged=False,
            maintainer_can_modify=False,
            closed_by=None,
        )
    ]
    assert manifests.git("cat-file", "commit", commit) == (
        f"tree {manifests.git('rev-parse', f'{commit}^{{tree}}')}"
        f"parent {manifests.git('rev-parse', 'main')}"
        f"author {AUTHOR} 1767323046 +0000\n"
        f"committer {AUTHOR} 1767323046 +0000\n"
        "\n"
        "Update web\n"
        "\n"
        "To the newest image.\n"
    )
    assert manifests.git("ls-tree", "-r", commit) == manifests.git("ls-tree", "-r", "main").replace(blob(V1), blob(V2))
    assert manifests.results == {
        "pull-request-url": manifests.page(1),
        "pull-request-number": "1",
        "operation": "created",
    }


def blob(text: str) -> str:
    command = ["git", "hash-object", "--stdin"]
    return subprocess.run(command, input=text, text=True, check=True, capture_output=True).stdout.strip()


def test_over_https_the_authority_lies_beside_the_token(manifests: Manifests, tmp_path: Path) -> None:
    server, directory = manifests.github.tls_url, tmp_path / "secret"
    directory.mkdir()
    (directory / "github_token").write_text(TOKEN)
    shutil.copy(manifests.github.ca_file, directory / "ca.crt")
    manifests.edit(V2)
    outcome = manifests.open(url=f"{server}/kubeflow/manifests", github_url=server, github_token=directory)
    assert outcome == Outcome(0, "", f"{server}/kubeflow/manifests/pull/1\n")
    assert {request.login for request in manifests.github.requests if request.authorization} == {"bot"}


def test_without_a_message_the_image_is_described(manifests: Manifests) -> None:
    manifests.edit(V2)
    digest = f"sha256:{'ab' * 32}"
    outcome = manifests.open(
        message=None,
        application=None,
        version=None,
        src_image_url="gcr.io/kubeflow/web",
        image=f"gcr.io/kubeflow/web:v2@{digest}",
        source_url="git@github.com:kubeflow/kubeflow.git",
        source_commit="c" * 40,
        author="A Bot <bot@example.com>",
        date=1700000000,
    )
    assert outcome.code == 0
    (pull,) = manifests.pull_requests
    assert (pull.head, pull.title) == ("kubeflow:apps-cd/main/web", "[auto PR] Update the web image to tag v2")
    assert manifests.git("log", "-1", "--format=%an <%ae> %cn <%ce> %ct%n%B", "apps-cd/main/web") == (
        "A Bot <bot@example.com> A Bot <bot@example.com> 1700000000\n"
        "[auto PR] Update the web image to tag v2\n"
        "\n"
        "Image: gcr.io/kubeflow/web:v2\n"
        f"Digest: {digest}\n"
        f"Source: https://github.com/kubeflow/kubeflow at {'c' * 40}\n"
        "\n"
    )


def test_the_same_change_again_changes_nothing(manifests: Manifests) -> None:
    manifests.edit(V2)
    manifests.open()
    before, writes = (manifests.pull_requests, manifests.refs), manifests.writes()

    assert manifests.open() == Outcome(0, "", f"{manifests.page(1)}\n")

    assert (manifests.pull_requests, manifests.refs) == before
    assert manifests.writes() == writes
    assert manifests.results["operation"] == "unchanged"


def test_a_newer_change_updates_the_same_pull_request(manifests: Manifests) -> None:
    manifests.edit(V2)
    manifests.open()
    (before,) = manifests.pull_requests
    manifests.edit(V3)

    outcome = manifests.open(message="Update web again")

    assert outcome == Outcome(0, "", f"{manifests.page(1)}\n")
    commit = manifests.tip()
    body = f"<!-- apps-cd commit={commit} -->"
    assert manifests.pull_requests == [replace(before, title="Update web again", body=body, sha=commit)]
    assert manifests.git("rev-list", f"main..{BRANCH}") == f"{commit}\n"
    assert manifests.git("show", f"{BRANCH}:{KUSTOMIZATION}") == V3
    assert manifests.results["operation"] == "updated"


def test_a_tree_without_a_change_proposes_nothing(manifests: Manifests) -> None:
    assert manifests.open() == Outcome()
    assert manifests.results == {"pull-request-url": "", "pull-request-number": "", "operation": "none"}
    assert manifests.writes() == []


def test_the_same_input_makes_the_same_commit_everywhere(manifests: Manifests, tmp_path: Path) -> None:
    manifests.edit(V2)
    manifests.open()
    with GitHub(tmp_path / "second") as second:
        second.add_user("bot", token=TOKEN)
        bare = second.add_repository("team/copy", writers=["bot"])
        manifests.alice.git("push", "--quiet", bare, "main")
        manifests.open(url=f"{second.url}/team/copy", github_url=second.url)
        assert second.pull_requests("team/copy")[0].sha == manifests.pull_requests[0].sha


def put(name: str, text: str, mode: int = 0o644) -> Callable[[Path], None]:
    def change(tree: Path) -> None:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(text.encode())
        (tree / name).chmod(mode)

    return change


def remove(name: str) -> Callable[[Path], None]:
    return lambda tree: shutil.rmtree(tree / name) if (tree / name).is_dir() else (tree / name).unlink()


def rename(old: str, new: str) -> Callable[[Path], None]:
    def change(tree: Path) -> None:
        (tree / old).rename(tree / new)

    return change


def link(name: str, target: str) -> Callable[[Path], None]:
    return lambda tree: (tree / name).symlink_to(target)


def nested(name: str) -> Callable[[Path], None]:
    """A repository of its own, whose configuration would run a program."""

    def change(tree: Path) -> None:
        inner = Worktree(tree / name)
        inner.commit("inner", {"file": "inner\n"})
        inner.git("config", "core.fsmonitor", f"touch {tree.parent}/canary")

    return change


ODD_NAMES = [" a  b ", "a\nb", "-rf", "--all", "naïve \U0001f600", '"*?[t]']


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param([put("new", "new\n")], ["A 100644 new"], id="a new file"),
        pytest.param([put("a/b/new", "#!\n", 0o755)], ["A 100755 a/b/new"], id="a new executable in new directories"),
        pytest.param([remove("docs/old.md")], ["D 100644 docs/old.md"], id="a deleted file"),
        pytest.param([remove("docs")], ["D 100644 docs/keep.log.md", "D 100644 docs/old.md"], id="a deleted directory"),
        pytest.param([put("run", "", 0o644)], ["M 100755 100644 run"], id="a file that is executable no longer"),
        pytest.param([link("new", "/etc/passwd")], ["A 120000 new"], id="a symlink, not what it points at"),
        pytest.param([remove("link"), link("link", "run")], ["M 120000 120000 link"], id="a symlink to another place"),
        pytest.param([remove("run"), link("run", "link")], ["T 100755 120000 run"], id="a symlink in place of a file"),
        pytest.param(
            [remove("docs"), link("docs", "/etc")],
            ["A 120000 docs", "D 100644 docs/keep.log.md", "D 100644 docs/old.md"],
            id="a symlink in place of a directory",
        ),
        pytest.param(
            [remove("run"), put("run/new", "")],
            ["A 100644 run/new", "D 100755 run"],
            id="a directory in place of a file",
        ),
        pytest.param(
            [remove("docs"), put("docs", "")],
            ["A 100644 docs", "D 100644 docs/keep.log.md", "D 100644 docs/old.md"],
            id="a file in place of a directory",
        ),
        pytest.param(
            [rename("docs/old.md", "docs/new.md")],
            ["A 100644 docs/new.md", "D 100644 docs/old.md"],
            id="a renamed file",
        ),
        pytest.param(
            [put("docs/keep.log.md", "changed\n"), put(".gitignore", "*.md\n")],
            ["M 100644 100644 .gitignore", "M 100644 100644 docs/keep.log.md"],
            id="a file of the repository that .gitignore names by now",
        ),
        pytest.param(
            [put(name, "") for name in ODD_NAMES],
            [f"A 100644 {name}" for name in sorted(ODD_NAMES)],
            id="files with odd names",
        ),
        pytest.param([put("win.bat", "a\r\nc\r\n")], ["M 100644 100644 win.bat"], id="a file with other line ends"),
        pytest.param([remove("run"), nested("run")], ["D 100755 run"], id="a repository of its own in place of a file"),
        pytest.param(
            [put("new", ""), put("new.log", ""), put("docs/.gitignore", "*\n"), put("docs/x", "")],
            ["A 100644 new"],
            id="not what a .gitignore of the repository, or a new one, names",
        ),
        pytest.param(
            [put("new", ""), put("win.bat", "a\nb\n")],
            ["A 100644 new"],
            id="not a file of which the line ends alone changed, which an attribute governs",
        ),
        pytest.param(
            [put("new", ""), nested("inner"), remove("vendor"), nested("vendor"), put("vendor/new", "")],
            ["A 100644 new"],
            id="neither a repository of its own nor what is in a submodule",
        ),
        pytest.param(
            [remove("vendor"), lambda tree: (tree / "empty").mkdir(), lambda tree: os.mkfifo(tree / "pipe")],
            [],
            id="neither a submodule that is gone, an empty directory, nor a pipe",
        ),
    ],
)
def test_the_commit_has_the_changes_of_the_tree(
    manifests: Manifests, tmp_path: Path, changes: list[Callable[[Path], None]], expected: list[str]
) -> None:
    for change in changes:
        change(manifests.tree)

    assert manifests.open().code == 0

    assert manifests.results["operation"] == ("created" if expected else "none")
    if expected:
        facts = manifests.git("diff-tree", "-r", "-z", "--no-renames", "main", BRANCH).split("\0")[:-1]
        found = []
        for entry, name in zip(facts[::2], facts[1::2], strict=True):
            old, new, _, _, status = entry.removeprefix(":").split(" ")
            modes = {"A": new, "D": old}.get(status, f"{old} {new}")
            found.append(f"{status} {modes} {name}")
        assert sorted(found) == expected
    assert not (tmp_path / "canary").exists()


def test_a_branch_below_ours_is_not_taken_for_it(manifests: Manifests) -> None:
    manifests.push(branch=f"{BRANCH}/below")
    manifests.edit(V2)
    assert manifests.open() == Outcome(1, f"git: cannot push {BRANCH} to {manifests.flags['url']}")
    assert manifests.pull_requests == []


def test_line_ends_are_converted_as_attributes_say(manifests: Manifests) -> None:
    put("win.bat", "a\r\nc\r\n")(manifests.tree)
    put("plain", "a\r\n")(manifests.tree)
    manifests.open()
    contents = [
        subprocess.run(["git", "show", f"{BRANCH}:{name}"], cwd=manifests.bare, check=True, capture_output=True).stdout
        for name in ("win.bat", "plain")
    ]
    assert contents == [b"a\nc\n", b"a\r\n"]


def test_when_the_base_has_moved_the_change_is_made_to_its_tip(manifests: Manifests) -> None:
    manifests.edit(V2)
    manifests.alice.commit("three", {"docs/old.md": "newer\n", "other": ""})
    manifests.push()

    assert manifests.open().code == 0

    assert manifests.git("log", "--format=%s", BRANCH).splitlines() == ["Update web", "three", "two", "one"]
    assert manifests.git("diff", "--name-only", "main", BRANCH).splitlines() == [KUSTOMIZATION]


def test_a_pull_request_follows_its_base(manifests: Manifests) -> None:
    manifests.edit(V2)
    manifests.open()
    manifests.alice.commit("three", {"other": ""})
    manifests.push()

    assert manifests.open().code == 0

    assert manifests.results["operation"] == "updated"
    assert manifests.git("log", "--format=%s", BRANCH).splitlines() == ["Update web", "three", "two", "one"]
    assert [pull.sha for pull in manifests.pull_requests] == [manifests.tip()]


def test_when_the_base_has_moved_to_the_same_change_nothing_is_proposed(manifests: Manifests) -> None:
    manifests.edit(V2)
    manifests.alice.commit("three", {KUSTOMIZATION: V2})
    manifests.push()
    assert manifests.open() == Outcome()
    assert manifests.results["operation"] == "none"
    assert manifests.writes() == []


def test_when_the_base_has_changed_the_same_file_the_call_is_worth_repeating(manifests: Manifests) -> None:
    manifests.edit(V2)
    tip = manifests.alice.commit("three", {KUSTOMIZATION: V3, "docs/old.md": "newer\n"})
    put("docs/old.md", "mine\n")(manifests.tree)
    manifests.push()

    assert manifests.open() == Outcome(
        75,
        f"conflict: the base has moved to {tip[:8]} and changed {KUSTOMIZATION}, docs/old.md as well; run again, from its tip",
    )
    assert manifests.writes() == []
    assert manifests.results == {}


@pytest.mark.parametrize(
    ("effect", "operation"),
    [
        pytest.param(f"push {REF}", "created", id="the push"),
        pytest.param("create pull request 1", "unchanged", id="the opening of the pull request"),
        pytest.param("label 1", "unchanged", id="its labels"),
    ],
)
def test_a_step_killed_after(manifests: Manifests, tmp_path: Path, effect: str, operation: str) -> None:
    """...is made good by the next one: one pull request, with all that belongs to it."""
    manifests.edit(V2)
    effects = []

    def kill(name: str) -> None:
        effects.append(name)
        if name == effect:
            child.kill()

    manifests.github.after_effect = kill
    environment = os.environ | {"TMPDIR": str(tmp_path)}  # nobody tidies up after SIGKILL
    child = process("open_pull_request", environment=environment, **manifests.flags, labels="cd", assign="alice")
    _, log = child.communicate()
    assert (child.returncode, log, effects[-1]) == (-signal.SIGKILL, "", effect)
    commit = manifests.tip()

    assert manifests.open(labels="cd", assign="alice") == Outcome(0, "", f"{manifests.page(1)}\n")

    (pull,) = manifests.pull_requests
    assert (pull.state, pull.sha, pull.labels, pull.assignees) == ("open", commit, ("cd",), ("alice",))
    assert manifests.results["operation"] == operation
    assert len([path for path in manifests.writes() if path.endswith("/git-receive-pack")]) == 1


def on_top(manifests: Manifests) -> str:
    return manifests.alice.commit("mine", {"docs/old.md": "alice\n"})


def beneath(manifests: Manifests) -> str:
    manifests.alice.git("reset", "--quiet", "--hard", "main")
    theirs = manifests.alice.commit("mine", {"docs/old.md": "alice\n"})
    environment = manifests.alice.environment
    who = [f"GIT_{role}_" for role in ("AUTHOR", "COMMITTER")]
    manifests.alice.environment = (
        environment | {f"{role}NAME": AUTHOR.name for role in who} | {f"{role}EMAIL": AUTHOR.mail for role in who}
    )
    manifests.alice.commit("as if ours", {KUSTOMIZATION: V2})
    manifests.alice.environment = environment
    return theirs


def amended(manifests: Manifests) -> str:
    manifests.alice.git("commit", "--quiet", "--amend", "--message=better")
    return manifests.alice.git("rev-parse", "HEAD")


def update_branch(manifests: Manifests) -> str:
    manifests.alice.git("switch", "--quiet", "main")
    manifests.alice.commit("three", {"other": ""})
    manifests.push()
    manifests.alice.git("switch", "--quiet", "-")
    manifests.alice.git("merge", "--quiet", "main")
    return manifests.alice.git("rev-parse", "HEAD")


@pytest.mark.parametrize(
    ("happened", "author"),
    [
        pytest.param(on_top, ALICE, id="on top of ours"),
        pytest.param(beneath, ALICE, id="beneath ours"),
        pytest.param(amended, str(AUTHOR), id="in place of ours, amended"),
        pytest.param(update_branch, ALICE, id="that merges the base, as GitHub's button does"),
    ],
)
def test_a_branch_is_left_alone_that_has_somebody_elses_commit(
    manifests: Manifests, happened: Callable[[Manifests], str], author: str
) -> None:
    manifests.edit(V2)
    manifests.open()
    manifests.alice.git("fetch", "--quiet", manifests.bare, BRANCH)
    manifests.alice.git("switch", "--quiet", "--create", "bots", "FETCH_HEAD")
    theirs = happened(manifests)
    manifests.push(branch=BRANCH)
    before, writes = (manifests.pull_requests, manifests.refs), manifests.writes()
    manifests.edit(V3)

    outcome = manifests.open(base_commit=manifests.tip("main"))

    assert outcome == Outcome(
        1,
        f"foreign-commit: {BRANCH} of {manifests.flags['url']} carries {theirs[:8]} by {author} (committed by {ALICE}), not by "
        f"{AUTHOR}; it is left alone. Merge or close its pull request and delete the branch, or give --author if that is us",
    )
    assert (manifests.pull_requests, manifests.refs) == before
    assert manifests.writes() == writes


def test_a_branch_whose_commit_is_in_the_base_is_used_again(manifests: Manifests) -> None:
    """After a merge the branch may stay, and alice's merge commit is on no branch of ours."""
    manifests.edit(V2)
    manifests.open()
    merge(manifests, 1)
    manifests.edit(V3)

    assert manifests.open(base_commit=manifests.tip("main")) == Outcome(0, "", f"{manifests.page(2)}\n")

    assert [(pull.number, pull.state, pull.merged) for pull in manifests.pull_requests] == [
        (1, "closed", True),
        (2, "open", False),
    ]
    assert manifests.results["operation"] == "created"


def merge(manifests: Manifests, number: int, method: str = "merge") -> None:
    rest(manifests.github, "PUT", f"pulls/{number}/merge", {"merge_method": method})


def rest(github: GitHub, method: str, path: str, body: dict[str, Any], login: str = "alice") -> None:
    """A request of a person's to the REST interface of kubeflow/manifests."""
    call = urllib.request.Request(  # noqa: S310 - http
        f"{github.url}/api/v3/repos/kubeflow/manifests/{path}",
        method=method,
        data=json.dumps(body).encode(),
        headers={"Authorization": f"token token-of-{login}"},
    )
    urllib.request.urlopen(call).close()  # noqa: S310 - http


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        pytest.param("PATCH", "pulls/1", {"state": "closed"}, id="closed"),
        pytest.param("PUT", "pulls/1/merge", {"merge_method": "squash"}, id="merged as another commit"),
    ],
)
def test_a_new_pull_request_follows_one_that_was(
    manifests: Manifests, method: str, path: str, body: dict[str, str]
) -> None:
    manifests.edit(V2)
    manifests.open()
    rest(manifests.github, method, path, body)
    (before,) = manifests.pull_requests
    manifests.edit(V3)

    assert manifests.open(base_commit=manifests.tip("main")) == Outcome(0, "", f"{manifests.page(2)}\n")

    first, second = manifests.pull_requests
    assert (first, second.state, second.sha) == (before, "open", manifests.tip())


def add_fork(manifests: Manifests, full_name: str, *, knows_upstream: bool = True) -> Path:
    """A fork; one that does not know upstream's objects lacks what upstream gets from now on, as a real one does."""
    bare = manifests.github.add_repository(full_name, fork_of="kubeflow/manifests")
    if not knows_upstream:
        subprocess.run(["git", "repack", "-a", "-d", "-q"], cwd=bare, check=True)
        (bare / "objects/info/alternates").unlink()
    return bare


@pytest.mark.parametrize(
    ("name", "head", "branch"),
    [
        pytest.param("bot/manifests", "bot:", BRANCH, id="a fork"),
        pytest.param("bot/other", "bot/other:", BRANCH, id="a fork by another name"),
        pytest.param("bot/manifests", "bot:feature", "feature", id="a fork's branch"),
        pytest.param("kubeflow/fork", "kubeflow/fork:", BRANCH, id="a fork of the same owner"),
        pytest.param(None, "feature", "feature", id="a branch of the same repository"),
    ],
)
def test_the_head_may_be(manifests: Manifests, name: str | None, head: str, branch: str) -> None:
    if name:
        add_fork(manifests, name)
        manifests.github.add_repository("stranger/manifests", fork_of="kubeflow/manifests")
    if name == "kubeflow/fork":
        manifests.flags["github_token"].write_text("token-of-kubeflow")
        manifests.github.add_user("kubeflow", token="token-of-kubeflow")
    manifests.edit(V2)

    assert manifests.open(head=head) == Outcome(0, "", f"{manifests.page(1)}\n")

    (pull,) = manifests.pull_requests
    owner = head.partition(":")[0].partition("/")[0] if ":" in head else "kubeflow"
    assert (pull.head, pull.maintainer_can_modify) == (f"{owner}:{branch}", name is not None)
    assert manifests.git("for-each-ref", "--format=%(refname)", "refs/heads").split() == (
        ["refs/heads/main"] if name else ["refs/heads/feature", "refs/heads/main"]
    )


def test_a_pull_request_from_a_fork_is_updated_in_place(manifests: Manifests) -> None:
    fork = add_fork(manifests, "bot/manifests")
    for text in (V2, V3):
        manifests.edit(text)
        assert manifests.open(head="bot:", no_maintainer_edits="true") == Outcome(0, "", f"{manifests.page(1)}\n")
    (pull,) = manifests.pull_requests
    assert (pull.sha, pull.maintainer_can_modify) == ((fork / REF).read_text().strip(), False)
    assert manifests.results["operation"] == "updated"


def test_a_fork_that_lags_is_given_the_history_it_lacks(manifests: Manifests) -> None:
    fork = add_fork(manifests, "bot/manifests", knows_upstream=False)
    for number in range(3):
        tip = manifests.alice.commit(f"more {number}", {f"more/{number}": ""})
    manifests.push()
    manifests.edit(V2)

    assert manifests.open(head="bot:") == Outcome(0, "", f"{manifests.page(1)}\n")

    command = ["git", "log", "--format=%s", BRANCH]
    log = subprocess.run(command, cwd=fork, check=True, capture_output=True, text=True).stdout.splitlines()
    assert log == ["Update web", "more 2", "more 1", "more 0", "two", "one"]
    assert manifests.git("merge-base", "main", manifests.pull_requests[0].sha) == f"{tip}\n"


def test_a_strangers_pull_request_of_the_same_name_is_neither_in_the_way_nor_touched(manifests: Manifests) -> None:
    fork = add_fork(manifests, "stranger/manifests")
    manifests.alice.commit("strange", {KUSTOMIZATION: V3})
    manifests.alice.git("push", "--quiet", fork, f"HEAD:{REF}")
    body = {
        "title": "strange",
        "head": f"stranger:{BRANCH}",
        "base": "main",
        "body": f"<!-- apps-cd commit={'0' * 40} -->",
    }
    rest(manifests.github, "POST", "pulls", body, login="stranger")
    (strange,) = manifests.pull_requests
    manifests.edit(V2)

    assert manifests.open() == Outcome(0, "", f"{manifests.page(2)}\n")

    before, ours = manifests.pull_requests
    assert (before, ours.head, ours.user) == (strange, f"kubeflow:{BRANCH}", "bot")


def test_a_new_pull_request_has_what_was_asked_for(manifests: Manifests) -> None:
    rest(manifests.github, "POST", "milestones", {"title": "release 1"})
    manifests.edit(V2)

    outcome = manifests.open(
        draft="true",
        labels="cd, size/XS,good first issue",
        assign="alice,bot",
        reviewer="alice,kubeflow/web-team",
        milestone="Release 1",
    )

    assert outcome == Outcome(0, "", f"{manifests.page(1)}\n")
    (pull,) = manifests.pull_requests
    assert pull == replace(
        pull,
        draft=True,
        labels=("cd", "size/XS", "good first issue"),
        assignees=("alice", "bot"),
        reviewers=("alice", "@kubeflow/web-team"),
        milestone="release 1",
    )


def test_a_pull_request_stands_without_what_github_refuses(manifests: Manifests) -> None:
    manifests.edit(V2)
    outcome = manifests.open(labels="cd", milestone="nope", reviewer="stranger")
    assert outcome == Outcome(
        0,
        "refused: cannot set the reviewers of pull request 1: GitHub refuses (422: Reviews may only be requested from "
        "collaborators. One or more of the users or teams you specified is not a collaborator of the kubeflow/manifests "
        "repository.); the pull request stands without\n"
        "not-found: kubeflow/manifests has no open milestone 'nope'; the pull request stands without",
        f"{manifests.page(1)}\n",
    )
    assert [pull.labels for pull in manifests.pull_requests] == [("cd",)]


def test_what_somebody_took_off_a_pull_request_is_put_back_and_what_they_added_stays(manifests: Manifests) -> None:
    manifests.edit(V2)
    manifests.open(labels="cd,web")
    rest(manifests.github, "PUT", "issues/1/labels", {"labels": ["hold", "web"]})
    body = f"{manifests.pull_requests[0].body}\nI looked."
    rest(manifests.github, "PATCH", "pulls/1", {"title": "Better", "body": body})

    assert manifests.open(labels="cd,web", reviewer="alice").code == 0

    (pull,) = manifests.pull_requests
    assert (pull.title, pull.labels, pull.reviewers) == ("Better", ("hold", "web", "cd"), ())
    assert manifests.results["operation"] == "unchanged"


@pytest.mark.parametrize("given", ["message", "file"])
def test_a_message_is_split_as_hub_does(manifests: Manifests, tmp_path: Path, given: str) -> None:
    text = '\nTitle "$(touch canary)"\r\nof two lines\r\n\r\n--\nBody\n\n# of two paragraphs\n'
    title, body = 'Title "$(touch canary)" of two lines', "--\nBody\n\n# of two paragraphs"
    (tmp_path / "message").write_text(text, newline="")
    flags = {"message": text} if given == "message" else {"message": None, "file": tmp_path / "message"}
    manifests.edit(V2)

    assert manifests.open(**flags).code == 0

    (pull,) = manifests.pull_requests
    assert (pull.title, pull.body) == (title, f"{body}\n\n<!-- apps-cd commit={pull.sha} -->")
    assert manifests.git("log", "-1", "--format=%B", BRANCH) == f"{title}\n\n{body}\n\n"


@pytest.mark.parametrize("flag", ["--dry-run", "--noop"])
def test_a_dry_run_writes_nothing(manifests: Manifests, flag: str) -> None:
    manifests.edit(V2)
    manifests.open()
    before, writes = (manifests.pull_requests, manifests.refs), manifests.writes()
    manifests.edit(V3)

    child = process("open_pull_request", flag, **manifests.flags, labels="cd")
    out, log = child.communicate()

    assert (child.returncode, out) == (0, f"{manifests.page(1)}\n")
    assert re.sub("push [0-9a-f]{8} ", "push COMMIT ", json.loads(log)["message"]) == (
        f"would push COMMIT to {BRANCH} of {manifests.flags['url']}, and the pull request would be updated: Update web"
    )
    assert (manifests.pull_requests, manifests.refs) == before
    assert manifests.writes() == writes
    assert manifests.results["operation"] == "updated"


@pytest.mark.parametrize(
    ("flag", "replacement"),
    [
        pytest.param("--edit", "nobody is there to edit; give --message or --file", id="an editor"),
        pytest.param(
            "--no-edit",
            "give --message or --file, or --image for a message of ours",
            id="the message of a commit",
        ),
        pytest.param("--issue=1", "a pull request of an update is no issue; link it in --message", id="an issue"),
        pytest.param(
            "--force",
            "the branch is pushed with a lease on the commit that was read; nothing is ever overwritten",
            id="force",
        ),
        pytest.param("--push", "the branch is always pushed", id="push"),
        pytest.param("--browse", "the URL is printed", id="a browser"),
        pytest.param("--copy", "the URL is printed", id="the clipboard"),
    ],
)
def test_hubs_other_flags_are_refused_with_what_replaces_them(flag: str, replacement: str) -> None:
    child = process("open_pull_request", flag)
    out, log = child.communicate()
    name = flag.partition("=")[0]
    assert (child.returncode, out, json.loads(log)["message"]) == (
        2,
        "",
        f"{name} is not taken here: {replacement}\nTry --help.",
    )


def test_a_message_is_given_once() -> None:
    child = process("open_pull_request", "--message=one", "--message=two")
    out, log = child.communicate()
    assert (child.returncode, out, json.loads(log)["message"]) == (2, "", "--message is given twice\nTry --help.")


REFUSED = "the server did not take the credential, or wants one; check the credentials directory"


@pytest.mark.parametrize(
    ("flags", "outcome"),
    [
        pytest.param(
            {"message": "one", "file": "{tmp}/token"},
            Outcome(2, "usage: give --message or --file, not both"),
            id="two messages",
        ),
        pytest.param(
            {"message": " \n\n "},
            Outcome(2, "usage: the message is empty; its first line is the title of the pull request"),
            id="an empty message",
        ),
        pytest.param(
            {"message": None, "file": "{tmp}/absent"},
            Outcome(
                2,
                "usage: --file: cannot read the message {tmp}/absent: [Errno 2] No such file or directory: '{tmp}/absent'",
            ),
            id="a message file that is not there",
        ),
        pytest.param(
            {"application": None},
            Outcome(2, "usage: --application must be given, or --src-image-url, whose last part is then its name"),
            id="no application",
        ),
        pytest.param(
            {"application": None, "src_image_url": "a" * 200},
            Outcome(
                2,
                "usage: --application must be given, because the image does not make one: "
                f"'{'a' * 200}' is not an application: at most 100 of letters, digits, `.`, `_` and `-`",
            ),
            id="an image whose name is no application",
        ),
        pytest.param(
            {"head": "main"},
            Outcome(2, "usage: --head and --base are the same branch, main"),
            id="the base as its own head",
        ),
        pytest.param(
            {"github_token": None},
            Outcome(2, "usage: --github-token must be given: a file, or the directory of a Secret with `token` in it"),
            id="no token",
        ),
        pytest.param(
            {"github_token": "{tmp}/absent"},
            Outcome(
                1,
                "auth: --github-token must be a file with the token, or the directory of a Secret with one: it does not exist or is empty",
            ),
            id="a token file that is not there",
        ),
        pytest.param(
            {"github_token": "{tmp}/tree"},
            Outcome(
                1,
                "auth: --github-token must be a file with the token, or the directory of a Secret with one: "
                "the directory {tmp}/tree holds no file `token`",
            ),
            id="a token directory without a token",
        ),
        pytest.param(
            {"github_url": None},
            Outcome(
                2,
                "usage: --url is at {host}, but the token is for github.com; give --github-url=https://{host} if that may see it",
            ),
            id="a repository at another host than the token",
        ),
        pytest.param(
            {"url": "{server}/manifests"},
            Outcome(2, "usage: --url: {server}/manifests is not a GitHub repository, OWNER/NAME"),
            id="a repository without an owner",
        ),
        pytest.param(
            {"repo_dir": "{tmp}/absent"},
            Outcome(1, "not-found: the working tree {tmp}/absent does not exist"),
            id="a working tree that is not there",
        ),
        pytest.param(
            {"base": "nope"}, Outcome(1, "not-found: {url} has no refs/heads/nope"), id="a base that is not there"
        ),
        pytest.param(
            {"base_commit": "0" * 40},
            Outcome(1, f"not-found: {{url}} has no {'0' * 40}"),
            id="a commit that is not there",
        ),
        pytest.param(
            {"url": "{server}/kubeflow/absent"},
            Outcome(
                1,
                "not-found: cannot fetch {server}/kubeflow/absent: there is no such repository, or the credential may not see it",
            ),
            id="a repository that is not there",
        ),
        pytest.param(
            {"head": "bot:"},
            Outcome(
                1,
                "not-found: cannot fetch {server}/bot/manifests.git: there is no such repository, or the credential may not see it",
            ),
            id="a fork that is not there",
        ),
        pytest.param(
            {"github_token": "{tmp}/wrong"},
            Outcome(
                1,
                "auth: cannot list the pull requests of kubeflow/manifests: GitHub does not take the token; give a valid one "
                "(Bad credentials)",
            ),
            id="a token that GitHub does not know",
        ),
        pytest.param(
            {"github_token": "{tmp}/stranger"},
            Outcome(
                1,
                f"refused: cannot push {BRANCH} to {{url}}: the server refuses; check what the credential may do, and branch protection",
            ),
            id="a token of somebody who may not push",
        ),
    ],
)
def test_what_cannot_be_proposed_changes_nothing(
    manifests: Manifests, tmp_path: Path, flags: dict[str, str], outcome: Outcome
) -> None:
    (tmp_path / "wrong").write_text("token-of-nobody")
    (tmp_path / "stranger").write_text("token-of-stranger")
    server = manifests.github.url
    places = {"tmp": tmp_path, "server": server, "host": server.removeprefix("http://"), "url": manifests.flags["url"]}
    manifests.edit(V2)
    before = manifests.refs

    found = manifests.open(**{name: value and value.format(**places) for name, value in flags.items()})

    assert found == Outcome(outcome.code, outcome.problem.format(**places))
    assert (manifests.pull_requests, manifests.refs, manifests.results) == ([], before, {})


def test_a_server_that_is_down_is_worth_another_try(manifests: Manifests) -> None:
    manifests.edit(V2)
    with GitHub(manifests.tree.parent / "down") as down:
        url = down.url
    assert manifests.open(url=f"{url}/kubeflow/manifests", github_url=url) == Outcome(
        75, f"unreachable: cannot fetch {url}/kubeflow/manifests: the server could not be reached; try again"
    )


def hook(manifests: Manifests, text: str) -> None:
    path = manifests.bare / "hooks" / "pre-receive"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_a_protected_branch_refuses(manifests: Manifests) -> None:
    hook(manifests, "echo 'error: GH013: Repository rule violations found for refs/heads/apps-cd' >&2; exit 1")
    manifests.edit(V2)
    assert manifests.open() == Outcome(
        1,
        f"refused: cannot push {BRANCH} to {manifests.flags['url']}: the server refuses; check what the credential may do, and "
        "branch protection",
    )
    assert manifests.pull_requests == []


@pytest.mark.parametrize("moment", ["before our push", "within our push"])
@pytest.mark.parametrize("there", ["a branch", "no branch"])
def test_a_branch_that_somebody_moves_meanwhile_keeps_their_commit(
    manifests: Manifests, moment: str, there: str
) -> None:
    if there == "a branch":
        manifests.edit(V2)
        manifests.open()
    theirs = manifests.alice.commit("theirs", {"theirs": ""})
    manifests.push(branch="elsewhere")
    manifests.edit(V3)

    def move(request: Request) -> None:
        if request.path.endswith("git-receive-pack") and request.status == 401:
            manifests.git("update-ref", REF, theirs)

    if moment == "before our push":
        on_request(manifests.github, move)
    else:
        hook(manifests, f"unset GIT_QUARANTINE_PATH; git update-ref {REF} {theirs}")

    outcome = manifests.open()

    assert outcome == Outcome(
        75, f"conflict: {BRANCH} at {manifests.flags['url']} was moved by somebody else meanwhile; run again"
    )
    assert manifests.tip() == theirs


def test_sigterm_ends_a_push_and_leaves_no_temporary_files(manifests: Manifests, tmp_path: Path) -> None:
    manifests.edit(V2)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    held = []

    def terminate(name: str) -> None:
        held.append((name, sorted(path.name[:8] for path in temporary.iterdir())))
        child.terminate()
        child.wait(10)

    manifests.github.after_effect = terminate
    environment = os.environ | {"TMPDIR": str(temporary)}
    child = process("open_pull_request", environment=environment, **manifests.flags)
    _, log = child.communicate()

    assert (child.returncode, json.loads(log)["reason"]) == (143, "terminated")
    assert held == [(f"push {REF}", ["apps-cd-", "apps-cd-"])]
    assert list(temporary.iterdir()) == []


def test_sigterm_ends_a_step_that_waits_for_github(manifests: Manifests) -> None:
    manifests.edit(V2)
    ended = threading.Event()

    def terminate(request: str) -> None:
        if "/api/" in request:
            child.terminate()
            ended.wait(30)

    manifests.github.before_answer = terminate
    child = process("open_pull_request", **manifests.flags)
    try:
        _, log = child.communicate(timeout=10)
    finally:
        ended.set()
        child.kill()
    assert (child.returncode, json.loads(log)["reason"]) == (143, "terminated"), log


def image_environment(home: Path) -> dict[str, str]:
    """What images/steps/Dockerfile sets, with a HOME and the packages where they are here."""
    text = (ROOT / "images/steps/Dockerfile").read_text().replace("\\\n", " ")
    (line,) = re.findall(r"^ENV (.*)$", text, flags=re.MULTILINE)
    found: dict[str, str] = dict(item.split("=", 1) for item in line.split())
    moved = {"/tekton/home": str(home), "/opt/apps-cd": f"{ROOT}:{Path(pytest.__file__).parents[1]}"}
    return {"PATH": os.environ["PATH"]} | {name: moved.get(value, value) for name, value in found.items()}


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[GitHub]:
    """Another host, where the same token would open evil/manifests."""
    with GitHub(tmp_path / "elsewhere") as server:
        server.add_user("bot", token=TOKEN)
        server.add_repository("evil/manifests", private=True, writers=["bot"])
        yield server


def set_traps(tree: Path, home: Path, canary: Path, elsewhere: GitHub) -> None:
    """What a hostile post-edit command can leave in the tree and in the HOME that steps share."""
    touch = home / "touch"
    user_site = home / ".local/lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    hooks = tree / ".git" / "hooks"
    program = f"#!/bin/sh\ntouch {canary}\n"
    config = (
        f"[core]\n\tfsmonitor = {touch}\n\tsshCommand = {touch}\n\thooksPath = {hooks}\n\tpager = {touch}\n"
        f"[credential]\n\thelper = !{touch}\n[diff]\n\texternal = {touch}\n[gpg]\n\tprogram = {touch}\n[commit]\n\tgpgSign = true\n"
        f'[filter "evil"]\n\tclean = {touch}\n\tsmudge = {touch}\n\tprocess = {touch}\n\trequired = true\n'
        f'[remote "origin"]\n\turl = {elsewhere.url}/evil/manifests.git\n\treceivepack = {touch}\n\tuploadpack = {touch}\n'
        f'[url "{elsewhere.url}/"]\n\tinsteadOf = http\n\tpushInsteadOf = http\n[http]\n\tproxy = {elsewhere.url}\n'
    )
    Worktree(tree.parent / "planted").commit("planted")
    (tree.parent / "planted/.git").rename(tree / ".git")
    shutil.copytree(tree / ".git", tree / "inner" / ".git")
    code = f"import pathlib\npathlib.Path({str(canary)!r}).touch()\n"
    files = {
        touch: program,
        tree / ".git/config": f"{config}[include]\n\tpath = ../.gitconfig\n",
        tree / "inner/.git/config": config,
        tree / ".gitconfig": config,
        home / ".gitconfig": config,
        home / ".config/git/config": config,
        home / ".ssh/config": f"Host *\n\tProxyCommand {touch}\n",
        home / ".netrc": "machine 127.0.0.1 login bot password of-netrc\n",
        home / ".git-credentials": f"{elsewhere.url.replace('://', '://bot:x@')}\n",
        tree / ".gitattributes": "*.bat text eol=crlf\n* filter=evil diff=evil merge=evil\n",
        user_site / "usercustomize.py": code,
        user_site / "evil.pth": f"import pathlib; pathlib.Path({str(canary)!r}).touch()\n",
        **{tree / name: code for name in ("sitecustomize.py", "github.py", "git.py", "json.py", "steps/__init__.py")},
        **{hooks / name: program for name in ("pre-commit", "pre-push", "post-index-change", "reference-transaction")},
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)


def test_nothing_runs_and_the_token_goes_nowhere_that_a_post_edit_command_has_set_up(
    manifests: Manifests, elsewhere: GitHub, tmp_path: Path
) -> None:
    home, canary = tmp_path / "home", tmp_path / "canary"
    set_traps(manifests.tree, home, canary, elsewhere)
    python = str(
        Path(sys.base_prefix, "bin", "python3")
    )  # as in the image; one in a virtual environment has no user site
    for fallen in (["git", "status"], [python, "-c", "pass"]):  # without our care both traps work
        plain = {"PATH": os.environ["PATH"], "HOME": str(home)}
        subprocess.run(fallen, cwd=manifests.tree, env=plain, check=False, capture_output=True)
        canary.unlink()
    manifests.edit(V2)
    seen: list[str] = []
    on_request(manifests.github, lambda request: seen.append(running()) if request.login else None)
    before = {path: path.read_bytes() for path in manifests.tree.rglob("*") if path.is_file()}

    child = process(
        "open_pull_request",
        python=python,
        environment=image_environment(home),
        directory=manifests.tree,
        **manifests.flags,
    )
    out, log = child.communicate()

    assert (child.returncode, out) == (0, f"{manifests.page(1)}\n"), log
    assert not canary.exists()
    assert elsewhere.requests == []
    assert {request.login for request in manifests.github.requests if request.authorization} == {"bot"}
    changed = manifests.git("diff", "--name-only", "main", BRANCH).splitlines()
    assert changed == [
        ".gitattributes",
        ".gitconfig",
        KUSTOMIZATION,
        "git.py",
        "github.py",
        "json.py",
        "sitecustomize.py",
        "steps/__init__.py",
    ]
    assert {path: path.read_bytes() for path in manifests.tree.rglob("*") if path.is_file()} == before
    spellings = (TOKEN, base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode())
    texts = [*seen, log, *manifests.results.values(), *(text.decode(errors="replace") for text in before.values())]
    assert [spelling for spelling in spellings for text in texts if spelling in text] == []
    assert any(f"git-remote-http {manifests.flags['url']}" in text for text in seen)


def test_over_ssh_the_key_pushes_and_the_token_asks(manifests: Manifests, tmp_path: Path) -> None:
    if ssh.PROGRAM is None:
        pytest.skip("sshd is not installed")
    with ssh.SshServer(tmp_path / "github") as server:
        manifests.edit(V2)
        outcome = manifests.open(
            url=server.url("kubeflow/manifests"), credentials=server.credentials(tmp_path / "secret")
        )
    assert outcome == Outcome(0, "", f"{manifests.page(1)}\n")
    assert [request.path.partition("?")[0] for request in manifests.github.requests] == [
        "/api/v3/repos/kubeflow/manifests/pulls"
    ] * 2
    assert manifests.pull_requests[0].sha == manifests.tip()


def test_a_branch_that_is_proposed_into_another_base_is_left_alone(manifests: Manifests) -> None:
    manifests.alice.commit("only in v1.1", {"only-v1.1": "x\n"})
    manifests.push(branch="v1.1")
    manifests.edit(V2)
    manifests.open()
    before = (manifests.pull_requests, manifests.refs)

    outcome = manifests.open(base="v1.1", base_commit=manifests.tip("v1.1"))

    assert outcome == Outcome(
        1,
        f"other-base: {manifests.page(1)} proposes the same branch to be merged into main; give each base a --version of its own",
    )
    assert (manifests.pull_requests, manifests.refs) == before


def test_a_branch_of_somebody_else_is_left_alone_though_the_base_has_all_of_it(manifests: Manifests) -> None:
    manifests.push(branch="release")
    manifests.alice.commit("three", {"docs/three.md": "3\n"})
    manifests.push()
    manifests.edit(V2)
    before = manifests.refs

    outcome = manifests.open(head=":release")

    assert (outcome.code, outcome.problem.partition(":")[0]) == (1, "foreign-commit")
    assert (manifests.pull_requests, manifests.refs) == ([], before)


def test_files_whose_line_ends_were_committed_against_the_attributes_are_no_change(manifests: Manifests) -> None:
    attributes = (manifests.tree / ".gitattributes").read_text() + "*.txt text\n"
    manifests.alice.commit("attributes", {".gitattributes": attributes, "dos.txt": b"a\r\nb\r\n"})
    as_it_is = manifests.alice.git("hash-object", "-w", "--no-filters", "dos.txt")
    manifests.alice.git("update-index", "--cacheinfo", f"100644,{as_it_is},dos.txt")
    manifests.alice.git("commit", "--quiet", "--message", "line ends")
    manifests.push()
    (manifests.tree / ".gitattributes").write_text(attributes)
    (manifests.tree / "dos.txt").write_bytes(b"a\r\nb\r\n")
    assert manifests.open(base_commit=manifests.tip("main")) == Outcome()
    assert manifests.results["operation"] == "none"


def test_a_pipe_in_place_of_what_git_reads_is_refused_before_it_waits(manifests: Manifests) -> None:
    path = manifests.tree / "apps" / ".gitattributes"
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)
    manifests.edit(V2)
    assert manifests.open() == Outcome(1, f"special-file: {path} is a pipe, a socket or a device; remove it")
    assert manifests.writes() == []


def test_a_pull_request_that_is_open_though_nothing_differs_is_told_of(
    manifests: Manifests, caplog: pytest.LogCaptureFixture
) -> None:
    manifests.edit(V2)
    manifests.open()
    before, writes = (manifests.pull_requests, manifests.refs), manifests.writes()
    manifests.edit(V1)

    assert manifests.open() == Outcome(0, "", f"{manifests.page(1)}\n")

    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"{manifests.page(1)} is open all the same, with another change; close it unless it is still wanted"
    ]
    assert manifests.results == {
        "pull-request-url": manifests.page(1),
        "pull-request-number": "1",
        "operation": "none",
    }
    assert (manifests.pull_requests, manifests.refs) == before
    assert manifests.writes() == writes
