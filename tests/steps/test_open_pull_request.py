"""open_pull_request against a real git server and GitHub's REST interface: what it proposes, and what it leaves alone."""

import base64
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
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from steps.clients.github_account import App
from steps.core.repository import Repository, Server
from steps.core.update import AUTHOR
from tests.sandbox import ssh
from tests.sandbox.faults import BAD_DAY, NONE, Asked, Faults
from tests.sandbox.github import GitHub, PullRequestFacts, Request
from tests.sandbox.http_server import Response
from tests.sandbox.worktree import Worktree
from tests.steps.conftest import ROOT, Outcome, in_2026, on_request, process, publish, running
from tests.steps.manifests import (
    ALICE,
    BRANCH,
    KUSTOMIZATION,
    REF,
    TOKEN,
    V1,
    V2,
    V3,
    Manifests,
    add_fork,
    is_write,
    merge,
    rest,
)


def test_a_change_becomes_a_commit_and_a_pull_request(manifests: Manifests) -> None:
    manifests.edit(V2)

    assert manifests.open() == Outcome(0, "", f"{manifests.page(1)}\n")

    commit = manifests.tip()
    assert manifests.pull_requests == [
        PullRequestFacts(
            number=1,
            state="open",
            title="Update web",
            body=body("To the newest image.", commit),
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
        "\n"
        "Apps-cd: application=web version=v1\n"
    )
    assert manifests.git("ls-tree", "-r", commit) == manifests.git("ls-tree", "-r", "main").replace(blob(V1), blob(V2))
    assert manifests.results == {
        "pull-request-url": manifests.page(1),
        "pull-request-number": "1",
        "operation": "created",
    }


def body(text: str, commit: str, what: str = "") -> str:
    """What the body of a pull request is, when nobody wrote there."""
    return f"<!-- apps-cd text -->\n{text}\n\n<!-- apps-cd application=web version=v1 {what}commit={commit} -->"


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
        f"Apps-cd: application=web version=main source={'c' * 40}\n"
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
    text = body("", commit).replace("\n\n\n", "\n")
    assert manifests.pull_requests == [replace(before, title="Update web again", body=text, sha=commit)]
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
    (pull,) = manifests.pull_requests
    assert ([replace(pull, comments=())], manifests.refs) == before
    assert pull.comments == (
        (
            "Somebody else's commit is on this branch, so it is theirs from now on: apps-cd does not update it any more. To hand it "
            "back, merge or close this pull request and delete the branch.\n\n<!-- apps-cd remark=foreign-commit -->"
        ),
    )
    assert manifests.writes() == [*writes, "/api/v3/repos/kubeflow/manifests/issues/1/comments"]
    assert manifests.open(base_commit=manifests.tip("main")) == outcome
    assert manifests.pull_requests == [pull]


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
    manifests.open(labels="cd,web", reviewer="alice")
    rest(manifests.github, "PUT", "issues/1/labels", {"labels": ["hold", "web"]})
    rest(manifests.github, "DELETE", "pulls/1/requested_reviewers", {"reviewers": ["alice"]})
    text = f"{manifests.pull_requests[0].body}\nI looked."
    rest(manifests.github, "PATCH", "pulls/1", {"title": "Better", "body": text})

    assert manifests.open(labels="cd,web", reviewer="alice").code == 0

    (pull,) = manifests.pull_requests
    assert (pull.title, pull.labels, pull.reviewers) == ("Better", ("hold", "web", "cd"), ())
    assert manifests.results["operation"] == "unchanged"


@pytest.mark.parametrize("given", ["message", "file"])
def test_a_message_is_split_as_hub_does(manifests: Manifests, tmp_path: Path, given: str) -> None:
    message = '\nTitle "$(touch canary)"\r\nof two lines\r\n\r\n--\nBody\n\n# of two paragraphs\n'
    title, text = 'Title "$(touch canary)" of two lines', "--\nBody\n\n# of two paragraphs"
    (tmp_path / "message").write_text(message, newline="")
    flags = {"message": message} if given == "message" else {"message": None, "file": tmp_path / "message"}
    manifests.edit(V2)

    assert manifests.open(**flags).code == 0

    (pull,) = manifests.pull_requests
    assert (pull.title, pull.body) == (title, body(text, pull.sha))
    log = manifests.git("log", "-1", "--format=%B", BRANCH)
    assert log == f"{title}\n\n{text}\n\nApps-cd: application=web version=v1\n\n"


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
            Outcome(2, "usage: --file: cannot read {tmp}/absent: [Errno 2] No such file or directory: '{tmp}/absent'"),
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
            Outcome(
                2,
                "usage: --github-token must be given: a file, or the directory of a Secret with `token` in it; or else --github-app",
            ),
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
    ] * 3
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


def test_a_pull_request_of_what_the_base_has_is_closed_with_a_word_and_its_branch_deleted(manifests: Manifests) -> None:
    manifests.edit(V2)
    given = {"source_commit": "a" * 40, "image": "web:v2"}
    manifests.open(**given)
    (before,) = manifests.pull_requests
    manifests.alice.commit("by hand", {KUSTOMIZATION: V2})
    manifests.push()

    assert manifests.open(**given, base_commit=manifests.tip("main")) == Outcome(0, "", f"{manifests.page(1)}\n")

    assert manifests.pull_requests == [replace(before, state="closed", comments=(IN_BASE,), closed_by="bot")]
    assert REF not in manifests.refs
    assert manifests.results == {
        "pull-request-url": manifests.page(1),
        "pull-request-number": "1",
        "operation": "closed",
    }


# Which of two builds is the newer one


@dataclass
class Source:
    """kubeflow/web, which images are built from.

    Attributes:
        commits: by the names of the drawing of `source`.
    """

    tree: Worktree
    bare: Path
    commits: dict[str, str]

    def move(self, name: str, branch: str = "main") -> None:
        self.tree.git("push", "--quiet", "--force", self.bare, f"{self.commits[name]}:refs/heads/{branch}")


@pytest.fixture(scope="module")
def source_history(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The commits of a repository, by name:

    a ─── b ─── c    main
     └─── x          side
    """
    tree = in_2026(Worktree(tmp_path_factory.mktemp("source") / "tree"))
    commits = {name: tree.commit(name, {name: ""}) for name in "abc"}
    tree.git("checkout", "--quiet", "-b", "side", commits["a"])
    commits["x"] = tree.commit("x", {"x": ""})
    return tree.path, commits


@pytest.fixture
def source(manifests: Manifests, source_history: tuple[Path, dict[str, str]], tmp_path: Path) -> Source:
    """A repository that the bot can read, with the commits of `source_history`."""
    path, commits = source_history
    bare = manifests.github.add_repository("kubeflow/web")
    publish(path, bare)
    return Source(in_2026(Worktree(shutil.copytree(path, tmp_path / "source"))), bare, {**commits})


TAGS = {"a": "v2", "b": "v3", "c": "v4", "x": "v5"}
DATES = {"a": 1000, "b": 2000, "c": 3000, "x": 2500}


def built(manifests: Manifests, source: Source, name: str, **more: Any) -> dict[str, Any]:
    """Edit the tree for an image of one of the commits, and return the flags that tell of it."""
    manifests.edit(V2.replace("v2", TAGS[name]))
    return {
        "image": f"web:{TAGS[name]}",
        "source_url": f"{manifests.github.url}/kubeflow/web",
        "source_commit": source.commits[name],
        "base_commit": manifests.tip("main"),
    } | more


def kill_after(manifests: Manifests, directory: Path, effect: str, **flags: Any) -> None:
    """Run the step, and kill it after an effect."""

    def kill(name: str) -> None:
        if name == effect:
            child.kill()
            child.wait(10)

    manifests.github.after_effect = kill
    environment = os.environ | {"TMPDIR": str(directory)}  # nobody tidies up after SIGKILL
    child = process("open_pull_request", environment=environment, **manifests.flags | flags)
    _, log = child.communicate()
    manifests.github.after_effect = None
    assert child.returncode == -signal.SIGKILL, log


def state_of(manifests: Manifests) -> tuple[list[PullRequestFacts], str, list[str]]:
    """All that a step could have changed, and the requests that could have done so."""
    return manifests.pull_requests, manifests.refs, manifests.writes()


def dated(name: str) -> dict[str, Any]:
    return {"source_date": DATES[name]}


KNOWN_BY: dict[str, Callable[[str], dict[str, Any]]] = {
    "GitHub's history": lambda _: {},
    "GitHub's history, whatever the dates say": lambda name: {"source_date": 4000 - DATES[name]},
    "the dates, without a source": lambda name: {"source_url": None, **dated(name)},
    "the dates, as the source may not be read": lambda name: {
        "source_url": "{server}/kubeflow/secret",
        **dated(name),
    },
    "the dates, as the source is elsewhere": lambda name: {
        "source_url": "https://git.example.com/kubeflow/web",
        **dated(name),
    },
}


@pytest.mark.parametrize("known_by", KNOWN_BY.values(), ids=KNOWN_BY)
@pytest.mark.parametrize(
    "state", ["is open", "was merged", "was merged and its branch deleted", "was closed", "was pushed alone"]
)
def test_an_older_build_does_not_take_the_place_of_a_newer_one_that(
    manifests: Manifests, source: Source, tmp_path: Path, known_by: Callable[[str], dict[str, Any]], state: str
) -> None:
    def flags(name: str) -> dict[str, Any]:
        found = built(manifests, source, name, **known_by(name))
        return found | {"source_url": (found["source_url"] or "").format(server=manifests.github.url) or None}

    manifests.github.add_repository("kubeflow/secret", private=True)
    if state == "was pushed alone":
        kill_after(manifests, tmp_path, f"push {REF}", **flags("b"))
    else:
        manifests.open(**flags("b"))
    if state.startswith("was merged"):
        merge(manifests, 1)
    if state == "was merged and its branch deleted":
        manifests.git("update-ref", "-d", REF)
    if state == "was closed":
        rest(manifests.github, "PATCH", "pulls/1", {"state": "closed"})
    older, before = flags("a"), state_of(manifests)
    page = "" if state == "was pushed alone" else manifests.page(1)

    for _ in range(2):
        assert manifests.open(**older) == Outcome(0, "", f"{page}\n" if page else "")

    assert state_of(manifests) == before
    assert manifests.results == {
        "pull-request-url": page,
        "pull-request-number": "1" if page else "",
        "operation": "superseded",
    }


@pytest.mark.parametrize("known_by", KNOWN_BY.values(), ids=KNOWN_BY)
def test_a_newer_build_takes_the_place_of_an_older_one(
    manifests: Manifests, source: Source, known_by: Callable[[str], dict[str, Any]]
) -> None:
    for name in "abc":
        flags = built(manifests, source, name, **known_by(name))
        flags["source_url"] = (flags["source_url"] or "").format(server=manifests.github.url) or None
        assert manifests.open(**flags).code == 0
    (pull,) = manifests.pull_requests
    assert (pull.state, pull.sha) == ("open", manifests.tip())
    assert f"source={source.commits['c']}" in (pull.body or "")
    assert manifests.git("show", f"{BRANCH}:{KUSTOMIZATION}") == V2.replace("v2", "v4")


@pytest.mark.parametrize(
    ("there", "comes", "tip", "operation"),
    [
        pytest.param("x", "c", "c", "updated", id="what comes is at its tip"),
        pytest.param("c", "x", "c", "superseded", id="what is there is at its tip"),
        pytest.param("x", "b", "c", "updated", id="what comes is in its history"),
        pytest.param("b", "x", "c", "superseded", id="what is there is in its history"),
        pytest.param("b", "a", "a", "updated", id="it was moved back to what comes"),
        pytest.param("c", "b", "a", "superseded", id="it was moved back behind both"),
        pytest.param("x", "b", "gone", "updated", id="it is gone, and the date of what comes is the later one"),
    ],
)
def test_of_two_builds_the_branch_of_the_source_decides_when(
    manifests: Manifests, source: Source, there: str, comes: str, tip: str, operation: str
) -> None:
    if tip == "gone":
        subprocess.run(["git", "update-ref", "-d", "refs/heads/main"], cwd=source.bare, check=True)
    else:
        source.move(tip)
    dates = DATES | ({"b": 2600} if tip == "gone" else {})
    manifests.open(**built(manifests, source, there, source_branch="main", source_date=dates[there]))

    outcome = manifests.open(**built(manifests, source, comes, source_branch="main", source_date=dates[comes]))

    assert outcome == Outcome(0, "", f"{manifests.page(1)}\n")
    assert manifests.results["operation"] == operation
    proposed = comes if operation == "updated" else there
    assert manifests.git("show", f"{BRANCH}:{KUSTOMIZATION}") == V2.replace("v2", TAGS[proposed])


@pytest.mark.parametrize(
    ("there", "comes"),
    [
        pytest.param(1000, 1000, id="equal"),
        pytest.param(None, 1000, id="not known of what is there"),
        pytest.param(1000, None, id="not known of what comes"),
        pytest.param(None, None, id="not known"),
    ],
)
def test_what_comes_last_is_the_newer_one_when_dates_are(
    manifests: Manifests, source: Source, there: int | None, comes: int | None
) -> None:
    manifests.open(**built(manifests, source, "b", source_url=None, source_date=there))
    outcome = manifests.open(**built(manifests, source, "a", source_url=None, source_date=comes))
    assert outcome == Outcome(0, "", f"{manifests.page(1)}\n")
    assert manifests.results["operation"] == "updated"


# What a person has refused


def close_by(manifests: Manifests, login: str, number: int = 1) -> None:
    rest(manifests.github, "PATCH", f"pulls/{number}", {"state": "closed"}, login)


@pytest.mark.parametrize(
    "login", [pytest.param("alice", id="a person"), pytest.param("bot", id="somebody with our account")]
)
def test_what_was_closed_is_not_proposed_again_by(manifests: Manifests, source: Source, login: str) -> None:
    flags = built(manifests, source, "b")
    manifests.open(**flags)
    close_by(manifests, login)
    manifests.alice.commit("three", {"other": ""})
    manifests.push()  # so that the commit of the same image is another one
    before = state_of(manifests)

    for _ in range(2):
        assert manifests.open(**flags) == Outcome(0, "", f"{manifests.page(1)}\n")

    assert state_of(manifests) == before
    assert manifests.results == {
        "pull-request-url": manifests.page(1),
        "pull-request-number": "1",
        "operation": "vetoed",
    }


def test_after_a_veto_a_newer_commit_is_proposed_in_a_pull_request_that_names_the_former(
    manifests: Manifests, source: Source
) -> None:
    manifests.open(**built(manifests, source, "a", message=None))
    close_by(manifests, "alice")
    (before,) = manifests.pull_requests

    assert manifests.open(**built(manifests, source, "b", message=None)) == Outcome(0, "", f"{manifests.page(2)}\n")

    first, second = manifests.pull_requests
    assert (first, second.state, second.sha) == (before, "open", manifests.tip())
    assert "\n\nFollows #1, which was closed without a merge.\n\n" in (second.body or "")
    assert manifests.open(**built(manifests, source, "a", message=None)) == Outcome(0, "", f"{manifests.page(2)}\n")
    assert manifests.results["operation"] == "superseded"


def test_the_label_reopen_takes_a_veto_back(manifests: Manifests, source: Source) -> None:
    flags = built(manifests, source, "b")
    manifests.open(**flags)
    close_by(manifests, "alice")
    rest(manifests.github, "POST", "issues/1/labels", {"labels": ["apps-cd/reopen"]})

    assert manifests.open(**flags) == Outcome(0, "", f"{manifests.page(2)}\n")
    assert manifests.open(**flags) == Outcome(0, "", f"{manifests.page(2)}\n")

    assert [pull.state for pull in manifests.pull_requests] == ["closed", "open"]


def test_what_we_closed_ourselves_with_a_word_is_no_veto(manifests: Manifests, source: Source) -> None:
    flags = built(manifests, source, "b")
    manifests.open(**flags)
    text = (manifests.tree / KUSTOMIZATION).read_text()
    manifests.alice.commit("by hand", {KUSTOMIZATION: text})
    manifests.push()
    manifests.open(**flags | {"base_commit": manifests.tip("main")})
    manifests.alice.commit("revert", {KUSTOMIZATION: V1})
    manifests.push()

    outcome = manifests.open(**flags | {"base_commit": manifests.tip("main")})

    assert outcome == Outcome(0, "", f"{manifests.page(2)}\n")
    assert [pull.state for pull in manifests.pull_requests] == ["closed", "open"]


@pytest.mark.parametrize(
    ("first", "same", "other"),
    [
        pytest.param({"image": "web:v2"}, {"image": "web:v2"}, {"image": "web:v3"}, id="its image"),
        pytest.param({}, {}, {"message": "Update web again"}, id="its commit when there is no image"),
    ],
)
def test_a_veto_of_what_has_no_source_is_about(
    manifests: Manifests, first: dict[str, str], same: dict[str, str], other: dict[str, str]
) -> None:
    manifests.edit(V2)
    manifests.open(**first)
    close_by(manifests, "alice")
    assert manifests.open(**same) == Outcome(0, "", f"{manifests.page(1)}\n")
    assert manifests.results["operation"] == "vetoed"
    assert manifests.open(**other) == Outcome(0, "", f"{manifests.page(2)}\n")
    assert manifests.results["operation"] == "created"


def test_what_was_merged_and_reverted_is_proposed_again(manifests: Manifests, source: Source) -> None:
    manifests.open(**built(manifests, source, "b"))
    merge(manifests, 1)
    manifests.alice.git("pull", "--quiet", "--ff-only", manifests.bare, "main")
    manifests.alice.commit("revert", {KUSTOMIZATION: V1})
    manifests.push()
    assert manifests.open(**built(manifests, source, "b")) == Outcome(0, "", f"{manifests.page(2)}\n")


# What is not ours


def test_a_strangers_closed_pull_request_of_the_same_name_is_no_veto(manifests: Manifests, source: Source) -> None:
    flags = built(manifests, source, "b")
    fork = add_fork(manifests, "stranger/manifests")
    manifests.alice.commit("strange", {KUSTOMIZATION: V3})
    manifests.alice.git("push", "--quiet", fork, f"HEAD:{REF}")
    text = f"<!-- apps-cd application=web version=v1 image=web:v3 source={source.commits['b']} -->"
    strange = {"title": "strange", "head": f"stranger:{BRANCH}", "base": "main", "body": text}
    rest(manifests.github, "POST", "pulls", strange, login="stranger")
    close_by(manifests, "stranger")
    (before,) = manifests.pull_requests

    assert manifests.open(**flags) == Outcome(0, "", f"{manifests.page(2)}\n")

    assert manifests.pull_requests[0] == before


FOREIGN = (
    "foreign-pull-request: {page} by {author} proposes the same branch and is not ours, or its text has lost our marker; "
    "it is left alone. Merge or close it, or give another --version"
)


def test_a_persons_pull_request_of_our_branch_is_left_alone(manifests: Manifests, tmp_path: Path) -> None:
    manifests.edit(V2)
    kill_after(manifests, tmp_path, f"push {REF}")
    theirs = {
        "title": "mine",
        "head": BRANCH,
        "base": "main",
        "body": "for <!-- apps-cd application=web version=v1 -->",
    }
    rest(manifests.github, "POST", "pulls", theirs)
    before = state_of(manifests)
    for text in (V2, V3):
        manifests.edit(text)
        assert manifests.open() == Outcome(1, FOREIGN.format(page=manifests.page(1), author="alice"))
    assert state_of(manifests) == before


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="no marker any more"),
        pytest.param("<!-- apps-cd application=other version=v1 -->", id="another application's marker"),
        pytest.param("<!-- apps-cd application=web version=v2 -->", id="another version's marker"),
    ],
)
def test_one_of_ours_is_left_alone_that_has(manifests: Manifests, text: str) -> None:
    manifests.edit(V2)
    manifests.open()
    rest(manifests.github, "PATCH", "pulls/1", {"body": text})
    before = state_of(manifests)
    for change in (V2, V3):
        manifests.edit(change)
        assert manifests.open() == Outcome(1, FOREIGN.format(page=manifests.page(1), author="bot"))
    assert state_of(manifests) == before


# What the base has already

IN_BASE = "The base has this image already. This pull request is closed.\n\n<!-- apps-cd remark=in-base -->"


def give_base(manifests: Manifests, text: str) -> dict[str, str]:
    """Let alice bring something into the base, and return the flag of a tree that is made from it."""
    manifests.alice.commit("by hand", {KUSTOMIZATION: text})
    manifests.push()
    return {"base_commit": manifests.tip("main")}


@pytest.mark.parametrize(
    ("head", "at", "branch", "stays"),
    [
        pytest.param(None, None, BRANCH, False, id="is deleted"),
        pytest.param("bot:", "bot/manifests", BRANCH, False, id="of a fork is deleted"),
        pytest.param("mine", None, "mine", True, id="that we were given stays"),
        pytest.param("bot:mine", "bot/manifests", "mine", True, id="of a fork that we were given stays"),
    ],
)
def test_when_the_base_has_what_is_proposed_the_branch(
    manifests: Manifests, source: Source, head: str | None, at: str | None, branch: str, stays: bool
) -> None:
    bare = add_fork(manifests, at) if at else manifests.bare
    flags = built(manifests, source, "a", head=head)
    manifests.open(**flags)
    (before,) = manifests.pull_requests
    assert (bare / "refs/heads" / branch).exists()
    merged = give_base(manifests, V2)

    assert manifests.open(**flags | merged) == Outcome(0, "", f"{manifests.page(1)}\n")

    assert manifests.pull_requests == [replace(before, state="closed", comments=(IN_BASE,), closed_by="bot")]
    assert (bare / "refs/heads" / branch).exists() is stays
    assert manifests.results["operation"] == "closed"
    writes = manifests.writes()
    assert manifests.open(**flags | merged) == Outcome()
    assert manifests.results == {"pull-request-url": "", "pull-request-number": "", "operation": "none"}
    assert manifests.writes() == writes


@pytest.mark.parametrize("effect", ["comment on 1", f"push {REF}"])
def test_a_step_killed_while_it_closes_is_made_good(
    manifests: Manifests, source: Source, tmp_path: Path, effect: str
) -> None:
    flags = built(manifests, source, "a")
    manifests.open(**flags)
    (before,) = manifests.pull_requests
    flags |= give_base(manifests, V2)
    kill_after(manifests, tmp_path, effect, **flags)

    assert manifests.open(**flags).code == 0

    assert manifests.pull_requests == [replace(before, state="closed", comments=(IN_BASE,), closed_by="bot")]
    assert REF not in manifests.refs


def test_a_branch_with_somebody_elses_commit_is_not_closed_though_the_base_has_ours(
    manifests: Manifests, source: Source
) -> None:
    flags = built(manifests, source, "a")
    manifests.open(**flags)
    manifests.alice.git("fetch", "--quiet", manifests.bare, BRANCH)
    manifests.alice.git("switch", "--quiet", "--create", "bots", "FETCH_HEAD")
    theirs = on_top(manifests)
    manifests.push(branch=BRANCH)
    (before,) = manifests.pull_requests
    manifests.alice.git("switch", "--quiet", "main")
    flags |= give_base(manifests, V2)

    for _ in range(2):
        outcome = manifests.open(**flags)
        assert (outcome.code, outcome.problem.partition(": ")[0]) == (1, "foreign-commit")

    (pull,) = manifests.pull_requests
    assert (replace(pull, comments=()), len(pull.comments), manifests.tip()) == (before, 1, theirs)


def test_a_branch_that_a_merge_has_left_is_deleted_by_the_next_run(manifests: Manifests, source: Source) -> None:
    manifests.open(**built(manifests, source, "a"))
    merge(manifests, 1)
    before = manifests.pull_requests
    flags = built(manifests, source, "a")

    assert manifests.open(**flags) == Outcome()

    assert (manifests.pull_requests, REF in manifests.refs) == (before, False)
    assert manifests.results["operation"] == "none"


@pytest.mark.parametrize("what", ["a person's commit", "another application's commit"])
def test_a_branch_that_is_left_stays_with(manifests: Manifests, source: Source, what: str) -> None:
    manifests.open(**built(manifests, source, "a"))
    merge(manifests, 1)
    manifests.alice.git("pull", "--quiet", "--ff-only", manifests.bare, "main")
    if what == "a person's commit":
        manifests.alice.commit("mine", {"docs/old.md": "alice\n"})
        manifests.push(branch=BRANCH)
    else:
        manifests.open(**built(manifests, source, "b", application="other"))
        manifests.git("update-ref", REF, "refs/heads/apps-cd/v1/other")
    flags, before = built(manifests, source, "a"), state_of(manifests)
    assert manifests.open(**flags) == Outcome()
    assert state_of(manifests) == before
    assert manifests.results["operation"] == "none"


# What a reviewer reads


def test_a_reviewer_reads_what_changes_and_what_it_was_built_from(
    manifests: Manifests, source: Source, tmp_path: Path
) -> None:
    manifests.open(**built(manifests, source, "a"))
    merge(manifests, 1)
    (tmp_path / "diff").write_text("--- before\n+++ after\n-image: web:v2\n+image: web:v4\n")
    digest = f"sha256:{'ab' * 32}"
    flags = built(
        manifests,
        source,
        "c",
        message=None,
        title="{application} {tag} for {version} ({source-commit}) {{now}}",
        src_image_url="gcr.io/kubeflow/web",
        previous_image="web:v2",
        image=f"web:v4@{digest}",
        rendered_diff=tmp_path / "diff",
        dashboard_url="https://tekton.example.com/",
        namespace="cd",
        pipeline_run="web-v1-x7",
    )

    assert manifests.open(**flags) == Outcome(0, "", f"{manifests.page(2)}\n")

    pull = manifests.pull_requests[1]
    a, b, c = (source.commits[name] for name in "abc")
    web, run = (
        f"{manifests.github.url}/kubeflow/web",
        "https://tekton.example.com/#/namespaces/cd/pipelineruns/web-v1-x7",
    )
    assert (pull.title, pull.body) == (
        f"web v4 for v1 ({c[:8]}) {{now}}",
        f"""\
<!-- apps-cd text -->
Points the manifests of `web` at its newest image.

| | |
|---|---|
| Application | `web` |
| Version | `v1` |
| Image in the manifests | `gcr.io/kubeflow/web` |
| Former image | `web:v2` |
| New image | `web:v4` |
| New digest | `{digest}` |
| Built from | [`kubeflow/web` at `{c[:8]}`]({web}/commit/{c}) |

## Commits

The new image has 2 commits that the former one lacks ([compare]({web}/compare/{a}...{c})), the newest first:

- [`{c[:8]}`]({web}/commit/{c}) `c` by `alice`
- [`{b[:8]}`]({web}/commit/{b}) `b` by `alice`

## Rendered manifests

```diff
--- before
+++ after
-image: web:v2
+image: web:v4
```

## PipelineRun

- [`web-v1-x7`]({run})
- [Logs of the build]({run}?pipelineTask=build-image&step=build)

## How to roll back

Before the merge, close this pull request: this source commit is not proposed again until there is a newer one, or the label `apps-cd/reopen` is on this pull request.

After the merge, revert this pull request with GitHub's Revert button, or set the former image again:

```sh
kustomize edit set image gcr.io/kubeflow/web=web:v2
```

When the same is then proposed again, close that pull request.

<!-- apps-cd application=web version=v1 image=web:v4@{digest} source={c} commit={pull.sha} -->""",
    )
    writes = manifests.writes()
    assert manifests.open(**flags) == Outcome(0, "", f"{manifests.page(2)}\n")
    assert (manifests.results["operation"], manifests.writes()) == ("unchanged", writes)


def commits_told(manifests: Manifests) -> str:
    return (manifests.pull_requests[-1].body or "").partition("## Commits\n\n")[2].partition("\n\n##")[0]


@pytest.mark.parametrize(
    ("source_url", "previous", "said"),
    [
        pytest.param(
            "{server}/kubeflow/secret",
            "web:vmain-g0123abcd",
            "They are not listed: `{told} cannot be read with this token`.",
            id="that may not be read",
        ),
        pytest.param(
            "https://git.example.com/o/n",
            "web:vmain-g0123abcd",
            "They are not listed: `https:\u2060//git.example.com/o/n cannot be read with this token`.",
            id="that is elsewhere",
        ),
        pytest.param(
            "{server}/kubeflow/web",
            "web:v1",
            "They are not listed: `the former image does not tell which commit it was built from`.",
            id="of a former image that tells no commit",
        ),
        pytest.param("{server}/kubeflow/web", None, "", id="without a former image"),
    ],
)
def test_a_reviewer_is_told_why_there_are_no_commits_of_a_source(
    manifests: Manifests, source: Source, source_url: str, previous: str | None, said: str
) -> None:
    manifests.github.add_repository("kubeflow/secret", private=True)
    url = source_url.format(server=manifests.github.url)
    assert manifests.open(
        **built(manifests, source, "b", message=None, source_url=url, previous_image=previous)
    ) == Outcome(0, "", f"{manifests.page(1)}\n")
    assert commits_told(manifests) == said.format(told=url.replace("://", ":\u2060//"))


def test_the_title_of_a_commit_of_the_source_does_nothing(manifests: Manifests, source: Source) -> None:
    title = (
        "x` <script>alert(1)</script> [y](javascript:alert(1)) @alice fixes #1 "
        "<!-- apps-cd application=evil version=v1 -->"
    )
    source.tree.git("checkout", "--quiet", source.commits["a"])
    source.commits["b"] = source.tree.commit(title, {"evil": ""})
    source.move("b")
    previous = f"web:vmain-g{source.commits['a'][:8]}"
    flags = built(manifests, source, "b", message=None, previous_image=previous)

    manifests.open(**flags)

    (line,) = [each for each in commits_told(manifests).splitlines() if each.startswith("- ")]
    assert line.partition(") ")[2] == (
        "`` x` <script>alert(1)</script> [y](javascript:alert(1)) @\u2060alice fixes #\u20601 <!--\u2060 apps-cd application=evil version=v1 --> ``"
        " by `alice`"
    )
    with urllib.request.urlopen(manifests.page(1)) as reply:  # noqa: S310 - http
        shown = reply.read().decode()
    assert "<script>alert" not in shown
    assert 'href="javascript:' not in shown
    assert manifests.open(**flags) == Outcome(0, "", f"{manifests.page(1)}\n")
    assert manifests.results["operation"] == "unchanged"


def test_what_a_person_wrote_around_our_text_stays(manifests: Manifests) -> None:
    manifests.edit(V2)
    manifests.open()
    text = manifests.pull_requests[0].body
    rest(manifests.github, "PATCH", "pulls/1", {"body": f"Mind the gap.\n\n{text}\n\n- [x] I looked."})
    manifests.edit(V3)

    assert manifests.open(message="Update web again\n\nOnce more.").code == 0

    (pull,) = manifests.pull_requests
    assert (pull.title, pull.body) == (
        "Update web again",
        f"Mind the gap.\n\n{body('Once more.', pull.sha)}\n\n- [x] I looked.",
    )


def test_a_text_that_leaves_no_room_for_ours_is_told_before_anything_is_pushed(
    manifests: Manifests, source: Source
) -> None:
    manifests.edit(V2)
    manifests.open()
    text = manifests.pull_requests[0].body or ""
    theirs = 65_536 - len(text)
    rest(manifests.github, "PATCH", "pulls/1", {"body": "x" * theirs + text})
    flags, before = built(manifests, source, "b"), state_of(manifests)

    assert manifests.open(**flags) == Outcome(
        1,
        f"too-long: cannot update {manifests.page(1)}: the text of the pull request has {theirs} characters that are not ours, "
        "and may have 65536 in all; shorten it",
    )

    assert state_of(manifests) == before


# A GitHub App


def add_app(manifests: Manifests, directory: Path, owner: str = "kubeflow") -> dict[str, Any]:
    """Make an App known that is installed for an owner, and return the flags for it."""
    key = manifests.github.add_app("updater", app_id=4711, owners=[owner])
    directory.mkdir()
    (directory / "app-id").write_text("4711\n")
    (directory / "private-key").write_text(key)
    return {"github_token": None, "github_app": directory}


def test_an_app_pushes_and_proposes(manifests: Manifests, tmp_path: Path) -> None:
    app = add_app(manifests, tmp_path / "app")
    for text, operation in ((V2, "created"), (V2, "unchanged"), (V3, "updated")):
        manifests.edit(text)
        assert manifests.open(**app, labels="cd") == Outcome(0, "", f"{manifests.page(1)}\n")
        assert manifests.results["operation"] == operation
    (pull,) = manifests.pull_requests
    assert (pull.user, pull.sha, pull.labels) == ("updater[bot]", manifests.tip(), ("cd",))
    asked = [request for request in manifests.github.requests if request.authorization]
    assert {request.login for request in asked if is_write(request) and "/app/" not in request.path} == {"updater[bot]"}


def test_a_token_of_an_app_that_ends_meanwhile_is_renewed(manifests: Manifests, tmp_path: Path) -> None:
    app = add_app(manifests, tmp_path / "app")
    ended: list[str] = []

    def end(request: str) -> None:
        if request == "POST /api/v3/repos/kubeflow/manifests/pulls" and not ended:
            ended.append(request)
            manifests.github.expire_tokens()

    manifests.github.before_answer = end
    manifests.edit(V2)

    assert manifests.open(**app) == Outcome(0, "", f"{manifests.page(1)}\n")

    assert [request.status for request in manifests.github.requests if request.path.endswith("/pulls")] == [401, 201]
    assert len([path for path in manifests.writes() if path.endswith("/access_tokens")]) == 2


def test_a_token_of_an_app_may_be_given_as_a_token(manifests: Manifests, tmp_path: Path) -> None:
    app = add_app(manifests, tmp_path / "app")
    repository, server = Repository.parse(manifests.flags["url"]), Server.parse(manifests.github.url)
    (tmp_path / "token").write_text(App(app["github_app"], server, repository, None).token())
    for text, operation in ((V2, "created"), (V2, "unchanged"), (V3, "updated")):
        manifests.edit(text)
        assert manifests.open() == Outcome(0, "", f"{manifests.page(1)}\n")
        assert manifests.results["operation"] == operation
    assert manifests.pull_requests[0].user == "updater[bot]"


EITHER = (
    "usage: --github-token must be given: a file, or the directory of a Secret with `token` in it; or else --github-app"
)


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        pytest.param(
            "not installed",
            Outcome(
                1,
                "auth: cannot get a token of the GitHub App for kubeflow/manifests: it is not installed there; install it on "
                "that repository, and leave installation-id out (Not Found)",
            ),
            id="an App that is not installed",
        ),
        pytest.param(
            "no key",
            Outcome(
                1,
                "auth: the private key of the GitHub App in {app} is no RSA key in PEM; generate one on the App's page and give "
                "the file as it is",
            ),
            id="a key that is none",
        ),
        pytest.param(
            "another key",
            Outcome(
                1,
                "auth: cannot get a token of the GitHub App for kubeflow/manifests: GitHub does not take its key; check that "
                "app-id and private-key belong together, and the clock (A JSON web token could not be decoded)",
            ),
            id="a key of another App",
        ),
        pytest.param("both", Outcome(2, EITHER), id="an App and a token"),
        pytest.param("neither", Outcome(2, EITHER), id="neither an App nor a token"),
        pytest.param(
            "a fork",
            Outcome(
                2,
                "usage: --head: the token of a GitHub App is for one owner's repositories; push the branch there",
            ),
            id="a fork of somebody else",
        ),
    ],
)
def test_without_an_app_or_token_that_is_good_nothing_is_done_with(
    manifests: Manifests, tmp_path: Path, given: str, outcome: Outcome
) -> None:
    app = add_app(manifests, tmp_path / "app", "stranger" if given == "not installed" else "kubeflow")
    key = tmp_path / "app" / "private-key"
    if given == "no key":
        key.write_text("-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n")
    if given == "another key":
        other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        form = serialization.PrivateFormat.PKCS8
        key.write_bytes(other.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    flags = {
        "both": {"github_app": app["github_app"]},
        "neither": {"github_token": None},
        "a fork": app | {"head": "bot:"},
    }.get(given, app)
    manifests.edit(V2)
    before = (manifests.pull_requests, manifests.refs)

    found = manifests.open(**flags)

    assert found == replace(outcome, problem=outcome.problem.format(app=tmp_path / "app"))
    assert (manifests.pull_requests, manifests.refs, manifests.results) == (*before, {})


# What GitHub does with it


def test_a_pull_request_merges_itself_when_that_is_asked_for(manifests: Manifests) -> None:
    bare = manifests.github.add_repository("team/copy", writers=["bot"], allow_auto_merge=True)
    publish(manifests.history, bare)
    page = f"{manifests.github.url}/team/copy/pull/1"
    manifests.edit(V2)
    for _ in range(2):
        assert manifests.open(url=f"{manifests.github.url}/team/copy", auto_merge="squash") == Outcome(
            0, "", f"{page}\n"
        )
    (pull,) = manifests.github.pull_requests("team/copy")
    assert pull.auto_merge == "squash"
    assert len([path for path in manifests.writes() if path.endswith("/graphql")]) == 1


def test_a_pull_request_stands_where_it_may_not_merge_itself(manifests: Manifests) -> None:
    manifests.edit(V2)
    assert manifests.open(auto_merge="merge") == Outcome(
        0,
        "refused: cannot enable auto-merge of pull request 1: GitHub refuses (Pull request Auto merge is not allowed for this "
        "repository); the pull request stands without",
        f"{manifests.page(1)}\n",
    )
    assert manifests.results["operation"] == "created"


def test_a_review_that_a_killed_run_did_not_ask_for_is_asked_for_once(manifests: Manifests, tmp_path: Path) -> None:
    manifests.edit(V2)
    kill_after(manifests, tmp_path, "create pull request 1", reviewer="alice")
    assert manifests.open(reviewer="alice").code == 0
    assert [pull.reviewers for pull in manifests.pull_requests] == [("alice",)]
    rest(manifests.github, "DELETE", "pulls/1/requested_reviewers", {"reviewers": ["alice"]})
    assert manifests.open(reviewer="alice").code == 0
    assert [pull.reviewers for pull in manifests.pull_requests] == [()]


@pytest.mark.parametrize("name", ["kubeflow/deployments", "team/manifests"])
def test_a_repository_that_was_renamed_is_followed_and_told_once(manifests: Manifests, name: str) -> None:
    manifests.edit(V2)
    manifests.open()
    manifests.github.rename_repository("kubeflow/manifests", name)
    page = f"{manifests.github.url}/{name}/pull/1"
    warning = f"moved: the repository kubeflow/manifests is now {name}; give its present URL"
    for text, operation in ((V2, "unchanged"), (V3, "updated")):
        manifests.edit(text)
        assert manifests.open() == Outcome(0, warning, f"{page}\n")
        assert manifests.results["operation"] == operation
    (pull,) = manifests.github.pull_requests(name)
    assert (pull.state, pull.sha) == ("open", manifests.tip())


def test_in_a_repository_that_was_renamed_the_first_pull_request_is_opened(manifests: Manifests) -> None:
    manifests.github.rename_repository("kubeflow/manifests", "kubeflow/deployments")
    manifests.edit(V2)
    assert manifests.open() == Outcome(
        0,
        "moved: the repository kubeflow/manifests is now kubeflow/deployments; give its present URL",
        f"{manifests.github.url}/kubeflow/deployments/pull/1\n",
    )


def test_a_repository_that_is_archived_is_told(manifests: Manifests) -> None:
    manifests.edit(V2)
    manifests.open()
    manifests.github.archive_repository("kubeflow/manifests")
    before = (manifests.pull_requests, manifests.refs)
    manifests.edit(V3)
    assert manifests.open() == Outcome(
        1,
        f"archived: cannot push {BRANCH} to {manifests.flags['url']}: the repository is archived, so nothing can be written; "
        "unarchive it",
    )
    assert (manifests.pull_requests, manifests.refs) == before


def test_a_fork_that_the_token_may_not_push_to_is_not_opened_to_maintainers(
    manifests: Manifests, tmp_path: Path
) -> None:
    if ssh.PROGRAM is None:
        pytest.skip("sshd is not installed")
    add_fork(manifests, "alice/manifests")
    with ssh.SshServer(tmp_path / "github") as server:
        manifests.edit(V2)
        outcome = manifests.open(
            url=server.url("kubeflow/manifests"), head="alice:", credentials=server.credentials(tmp_path / "secret")
        )
    assert outcome == Outcome(0, "", f"{manifests.page(1)}\n")
    (pull,) = manifests.pull_requests
    assert (pull.user, pull.head, pull.maintainer_can_modify) == ("bot", f"alice:{BRANCH}", False)


# What others do meanwhile


def once_after(manifests: Manifests, effect: str, act: Callable[[], object]) -> None:
    """Have somebody act right after the first effect of that name."""

    def tell(name: str) -> None:
        if name == effect:
            manifests.github.after_effect = None
            act()

    manifests.github.after_effect = tell


def test_one_that_is_closed_after_our_push_gets_no_other_text_and_the_next_run_opens_another(
    manifests: Manifests, source: Source
) -> None:
    manifests.open(**built(manifests, source, "a"))
    (before,) = manifests.pull_requests
    flags = built(manifests, source, "b")
    once_after(manifests, f"push {REF}", lambda: close_by(manifests, "alice"))

    assert manifests.open(**flags) == Outcome(75, f"conflict: {manifests.page(1)} was closed meanwhile; run again")
    assert manifests.open(**flags) == Outcome(0, "", f"{manifests.page(2)}\n")

    first, second = manifests.pull_requests
    assert first == replace(before, state="closed", closed_by="alice", sha=manifests.tip())
    assert (second.state, second.sha) == ("open", manifests.tip())


def test_one_that_is_merged_after_our_push_tells_what_was_merged_and_the_next_run_tidies_up(
    manifests: Manifests, source: Source
) -> None:
    manifests.open(**built(manifests, source, "a"))
    flags = built(manifests, source, "b")
    once_after(manifests, f"push {REF}", lambda: merge(manifests, 1))

    assert manifests.open(**flags) == Outcome(75, f"conflict: {manifests.page(1)} was merged meanwhile; run again")
    assert manifests.open(**built(manifests, source, "b")) == Outcome()

    (pull,) = manifests.pull_requests
    assert (pull.merged, pull.body) == (
        True,
        body("To the newest image.", pull.sha, f"image=web:v3 source={source.commits['b']} "),
    )
    assert REF not in manifests.refs
    before = state_of(manifests)
    assert manifests.open(**built(manifests, source, "a")) == Outcome(0, "", f"{manifests.page(1)}\n")
    assert (manifests.results["operation"], state_of(manifests)) == ("superseded", before)


def test_one_that_a_newer_run_has_moved_on_after_our_push_is_left_to_it(
    manifests: Manifests, source: Source, tmp_path: Path
) -> None:
    manifests.open(**built(manifests, source, "a"))
    tree = shutil.copytree(manifests.tree, tmp_path / "newer", symlinks=True)
    newer = manifests.flags | built(manifests, source, "c") | {"repo_dir": tree}
    shutil.copy(manifests.tree / KUSTOMIZATION, tree / KUSTOMIZATION)
    codes = []

    def run_newer() -> None:
        child = process("open_pull_request", **newer)
        child.communicate()
        codes.append(child.returncode)

    once_after(manifests, f"push {REF}", run_newer)
    flags = built(manifests, source, "b")

    assert manifests.open(**flags) == Outcome(75, f"conflict: {BRANCH} was moved meanwhile; run again")

    assert codes == [0]
    before = state_of(manifests)
    assert f"source={source.commits['c']}" in (before[0][0].body or "")
    assert manifests.open(**flags) == Outcome(0, "", f"{manifests.page(1)}\n")
    assert (manifests.results["operation"], state_of(manifests)) == ("superseded", before)


# What goes wrong on the way


class Lost(Faults):
    """The reply to the first request that has an effect is lost.

    Args:
        effect: of that request.
        cut: whether the connection is cut, rather than a proxy answers in its place.
    """

    def __init__(self, effect: str, *, cut: bool) -> None:
        super().__init__(NONE, 0)
        self._effect, self._cut = effect, cut
        self.effects: list[str] = []

    def answer(self, asked: Asked, effects: list[str], answer: Callable[[], Response]) -> Response:
        response = super().answer(asked, effects, answer)
        is_first = self._effect in effects and self._effect not in self.effects
        self.effects += effects
        if not is_first:
            return response
        return replace(response, cut=0) if self._cut else Response(502, {"Content-Type": "text/html"}, b"<html>")


@pytest.mark.parametrize("cut", [pytest.param(False, id="a 502"), pytest.param(True, id="a connection that was cut")])
@pytest.mark.parametrize(
    "effect",
    [
        *(f"push {REF}", "create pull request 1", "label 1", "assign 1", "request review of 1"),
        *("update pull request 1", "comment on 1"),
    ],
)
def test_what_was_done_is_done_once_when_its_reply_is(
    manifests: Manifests, source: Source, effect: str, cut: bool
) -> None:
    given: dict[str, Any] = {"labels": "cd", "assign": "alice", "reviewer": "alice"}
    if effect in ("update pull request 1", "comment on 1"):
        manifests.open(**built(manifests, source, "a"), **given)
    flags = built(manifests, source, "b") | given
    if effect == "comment on 1":
        flags |= give_base(manifests, V2.replace("v2", TAGS["b"]))
    manifests.github.faults = lost = Lost(effect, cut=cut)

    outcome = manifests.open(**flags)

    assert (outcome.code, outcome.stdout) == (0, f"{manifests.page(1)}\n")
    assert {name: lost.effects.count(name) for name in lost.effects} == dict.fromkeys(lost.effects, 1)
    (pull,) = manifests.pull_requests
    assert (pull.labels, pull.assignees, pull.reviewers) == (("cd",), ("alice",), ("alice",))
    if effect == "comment on 1":
        assert (pull.state, pull.comments) == ("closed", (IN_BASE,))
    else:
        assert (pull.state, pull.sha) == ("open", manifests.tip())


@pytest.mark.parametrize("seed", range(3))
def test_under_faults_there_is_one_pull_request_and_it_is_the_right_one(
    manifests: Manifests, source: Source, seed: int
) -> None:
    manifests.github.faults = Faults(BAD_DAY, seed)
    for name in "ab":
        flags = built(manifests, source, name, labels="cd")
        codes: list[int] = []
        while len(codes) < 20 and (not codes or codes[-1] == 75):
            codes.append(manifests.open(**flags).code)
        assert codes[-1] == 0
    manifests.github.faults = None
    (pull,) = manifests.pull_requests
    assert (pull.state, pull.sha, pull.labels) == ("open", manifests.tip(), ("cd",))
    assert f"source={source.commits['b']}" in (pull.body or "")


# A dry run


def nothing_before(manifests: Manifests, source: Source) -> dict[str, Any]:
    return built(manifests, source, "b")


def older_before(manifests: Manifests, source: Source) -> dict[str, Any]:
    manifests.open(**built(manifests, source, "a"))
    return built(manifests, source, "b")


def same_before(manifests: Manifests, source: Source) -> dict[str, Any]:
    manifests.open(**built(manifests, source, "b"))
    return built(manifests, source, "b")


def newer_before(manifests: Manifests, source: Source) -> dict[str, Any]:
    manifests.open(**built(manifests, source, "c"))
    return built(manifests, source, "b")


def veto_before(manifests: Manifests, source: Source) -> dict[str, Any]:
    flags = same_before(manifests, source)
    close_by(manifests, "alice")
    return flags


def base_before(manifests: Manifests, source: Source) -> dict[str, Any]:
    return same_before(manifests, source) | give_base(manifests, V2.replace("v2", TAGS["b"]))


def merge_before(manifests: Manifests, source: Source) -> dict[str, Any]:
    same_before(manifests, source)
    merge(manifests, 1)
    return built(manifests, source, "b")


@pytest.mark.parametrize(
    ("before", "operation", "page"),
    [
        pytest.param(nothing_before, "created", False, id="opens one"),
        pytest.param(older_before, "updated", True, id="updates one"),
        pytest.param(same_before, "unchanged", True, id="finds all as it is to be"),
        pytest.param(newer_before, "superseded", True, id="finds a newer one"),
        pytest.param(veto_before, "vetoed", True, id="finds one that was closed"),
        pytest.param(base_before, "closed", True, id="closes one"),
        pytest.param(merge_before, "none", False, id="deletes a branch that is left"),
    ],
)
def test_a_dry_run_writes_nothing_where_a_run(
    manifests: Manifests,
    source: Source,
    before: Callable[[Manifests, Source], dict[str, Any]],
    operation: str,
    page: bool,
) -> None:
    flags = before(manifests, source)
    there = state_of(manifests)
    more = {"labels": "cd", "assign": "alice", "reviewer": "alice", "auto_merge": "merge", "dry_run": "true"}

    assert manifests.open(**flags, **more) == Outcome(0, "", f"{manifests.page(1)}\n" if page else "")

    assert state_of(manifests) == there
    assert manifests.results["operation"] == operation
    manifests.open(**flags)
    assert manifests.results["operation"] == operation


def test_a_dry_run_tells_of_somebody_elses_commit_without_a_word_on_the_pull_request(
    manifests: Manifests, source: Source
) -> None:
    flags = older_before(manifests, source)
    manifests.alice.git("fetch", "--quiet", manifests.bare, BRANCH)
    manifests.alice.git("switch", "--quiet", "--create", "bots", "FETCH_HEAD")
    on_top(manifests)
    manifests.push(branch=BRANCH)
    before = state_of(manifests)
    outcome = manifests.open(**flags, dry_run="true")
    assert (outcome.code, outcome.problem.partition(":")[0]) == (1, "foreign-commit")
    assert state_of(manifests) == before


def once(github: GitHub, request: str, act: Callable[[], object]) -> None:
    """Let something happen before the first request of its kind is answered."""
    happened: list[str] = []

    def before(seen: str) -> None:
        if seen == request and not happened:
            happened.append(seen)
            act()

    github.before_answer = before


def test_one_that_somebody_pushes_to_while_we_close_it_stays_open_with_their_commit(
    manifests: Manifests, source: Source
) -> None:
    flags = built(manifests, source, "a")
    manifests.open(**flags)
    flags |= give_base(manifests, (manifests.tree / KUSTOMIZATION).read_text())
    theirs = manifests.alice.commit("theirs", {"theirs": ""})
    manifests.push(branch="elsewhere")
    comments = "/api/v3/repos/kubeflow/manifests/issues/1/comments"
    once(manifests.github, f"GET {comments}", lambda: manifests.git("update-ref", REF, theirs))

    assert manifests.open(**flags) == Outcome(
        75, f"conflict: {BRANCH} at {manifests.flags['url']} was moved by somebody else meanwhile; run again"
    )

    (pull,) = manifests.pull_requests
    assert (pull.state, manifests.tip()) == ("open", theirs)
    assert manifests.open(**flags).code == 1
    assert [(pull.state, pull.sha) for pull in manifests.pull_requests] == [("open", theirs)]


def test_a_text_that_somebody_replaces_before_our_edit_is_theirs(manifests: Manifests) -> None:
    manifests.edit(V2)
    manifests.open()
    manifests.edit(V3)
    pull = "/api/v3/repos/kubeflow/manifests/pulls/1"
    once(manifests.github, f"GET {pull}", lambda: rest(manifests.github, "PATCH", "pulls/1", {"body": "Mine."}))

    outcome = manifests.open()

    assert (outcome.code, outcome.problem.partition(":")[0]) == (1, "foreign-pull-request")
    assert [pull.body for pull in manifests.pull_requests] == ["Mine."]


def test_an_older_build_does_not_follow_a_newer_one_that_was_merged_while_it_looked(
    manifests: Manifests, source: Source, tmp_path: Path
) -> None:
    newer = built(manifests, source, "c", repo_dir=shutil.copytree(manifests.tree, tmp_path / "newer", symlinks=True))
    shutil.copy(manifests.tree / KUSTOMIZATION, tmp_path / "newer" / KUSTOMIZATION)
    older = built(manifests, source, "a")
    looked: list[str] = []

    def overtake(request: Request) -> None:
        if "/pulls?" in request.path and not looked:
            looked.append(request.path)
            with process("open_pull_request", **manifests.flags | newer) as child:
                child.communicate()
            merge(manifests, 1)
            manifests.git("update-ref", "-d", REF)

    on_request(manifests.github, overtake)

    assert manifests.open(**older) == Outcome(75, f"conflict: {manifests.page(1)} was opened meanwhile; run again")

    (pull,) = manifests.pull_requests
    assert (pull.merged, REF in manifests.refs) == (True, False)
    assert manifests.open(**older | {"base_commit": manifests.tip("main")}) == Outcome(0, "", f"{manifests.page(1)}\n")
    assert manifests.results["operation"] == "superseded"
    assert manifests.pull_requests == [pull]


@pytest.mark.parametrize("head", ["main", "KUBEFLOW:main", "kubeflow/Manifests:main"])
def test_the_base_is_never_the_head_however_it_is_spelt(manifests: Manifests, head: str) -> None:
    manifests.edit(V2)
    assert manifests.open(head=head) == Outcome(2, "usage: --head and --base are the same branch, main")


def test_a_fork_that_was_renamed_is_followed(manifests: Manifests) -> None:
    add_fork(manifests, "bot/manifests")
    manifests.edit(V2)
    manifests.open(head="bot:")
    manifests.github.rename_repository("bot/manifests", "bot/apps")
    warning = "moved: the repository bot/manifests is now bot/apps; give its present name"
    for text, operation in ((V2, "unchanged"), (V3, "updated")):
        manifests.edit(text)
        assert manifests.open(head="bot:") == Outcome(0, warning, f"{manifests.page(1)}\n")
        assert manifests.results["operation"] == operation


def test_a_commit_by_somebody_with_an_odd_name_is_foreign_too(manifests: Manifests) -> None:
    manifests.edit(V2)
    manifests.open()
    manifests.alice.git("fetch", "--quiet", manifests.bare, BRANCH)
    manifests.alice.git("switch", "--quiet", "--create", "bots", "FETCH_HEAD")
    manifests.alice.environment |= {"GIT_AUTHOR_NAME": "a\u2028b"}
    theirs = manifests.alice.commit("mine", {"docs/old.md": "alice\n"})
    manifests.push(branch=BRANCH)
    manifests.edit(V3)
    outcome = manifests.open()
    assert (outcome.code, outcome.problem.partition(":")[0], manifests.tip()) == (1, "foreign-commit", theirs)


def test_a_rendered_diff_that_is_too_large_is_refused_before_anything_is_done(
    manifests: Manifests, tmp_path: Path
) -> None:
    (tmp_path / "diff").write_bytes(b"+" * ((1 << 20) + 1))
    manifests.edit(V2)
    assert manifests.open(message=None, rendered_diff=tmp_path / "diff") == Outcome(
        2, f"usage: --rendered-diff: {tmp_path}/diff has more than 1048576 bytes; give a shorter text"
    )
    assert manifests.github.requests == []
