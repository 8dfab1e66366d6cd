"""close_superseded_pull_requests against a real git server and GitHub's REST interface: what it closes, and what it leaves."""

import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from steps.core.update import Update, marker
from tests.sandbox.github import PullRequestFacts, Request
from tests.steps.conftest import Outcome, on_request, process
from tests.steps.manifests import ALICE, V2, Manifests, add_fork, merge, rest

IMAGE = "gcr.io/kubeflow/tf_operator"
SEEDS = ["update_tf_operator_vmaster-g00000001", "update_tf_operator_vmaster-g00000002"]
"""Branches of kubeflow's apps-cd, whose image has an underscore."""


def push(manifests: Manifests, branch: str, *people: str, at: Path | None = None, base: str = "main") -> None:
    """A branch with a commit of each of these on top of the base."""
    tip = manifests.tip(base)
    for name in people:
        who = [f"GIT_{role}_" for role in ("AUTHOR", "COMMITTER")]
        mail = f"{name}@users.noreply.github.com"
        environment = manifests.alice.environment | {f"{role}NAME": name for role in who}
        environment |= {f"{role}EMAIL": mail for role in who}
        command = ["git", "commit-tree", f"{manifests.tip(base)}^{{tree}}", "-p", tip, "-m", f"{branch} by {name}"]
        done = subprocess.run(command, cwd=manifests.bare, env=environment, check=True, capture_output=True, text=True)
        tip = done.stdout.strip()
    if at:
        manifests.git("push", "--quiet", str(at), f"{tip}:refs/heads/{branch}")
    else:
        manifests.git("update-ref", f"refs/heads/{branch}", tip)


def propose(
    manifests: Manifests,
    branch: str,
    *,
    login: str = "bot",
    base: str = "main",
    owner: str = "kubeflow",
    text: str = "",
) -> None:
    body = {"title": f"Update {branch}", "head": f"{owner}:{branch}", "base": base, "body": text}
    rest(manifests.github, "POST", "pulls", body, login)


def seed(manifests: Manifests, branch: str, **more: str) -> None:
    push(manifests, branch, "bot", base=more.get("base", "main"))
    propose(manifests, branch, **more)


def ours(manifests: Manifests, **flags: Any) -> PullRequestFacts:
    """A pull request of ours, the newest there is."""
    manifests.edit(V2)
    update = {"application": "tf-operator", "version": "master", "image": f"{IMAGE}:vmaster-g0000000f"}
    assert manifests.open(**update | flags).code == 0
    return manifests.pull_requests[-1]


def closed(manifests: Manifests, before: PullRequestFacts, by: int) -> PullRequestFacts:
    word = (
        f"There is a newer pull request, {manifests.page(by)}, in place of this one.\n\n"
        "<!-- apps-cd remark=superseded -->"
    )
    return replace(before, state="closed", comments=(word,), closed_by="bot")


def branches(manifests: Manifests) -> list[str]:
    return manifests.git("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads").split()


def result(manifests: Manifests) -> str:
    return (manifests.tree.parent / "closed").read_text()


OURS = "apps-cd/master/tf-operator"


def test_what_the_seed_left_open_is_closed_with_a_word_and_its_branches_deleted(manifests: Manifests) -> None:
    for branch in SEEDS:
        seed(manifests, branch)
    new = ours(manifests)
    first, second, _ = manifests.pull_requests
    effects: list[str] = []
    manifests.github.after_effect = effects.append

    assert manifests.close_superseded() == Outcome()

    assert manifests.pull_requests == [closed(manifests, first, 3), closed(manifests, second, 3), new]
    assert branches(manifests) == [OURS, "main"]
    assert result(manifests) == "1,2"
    assert effects == [
        *("comment on 1", f"push refs/heads/{SEEDS[0]}"),
        *("comment on 2", f"push refs/heads/{SEEDS[1]}"),
    ]
    writes = manifests.writes()
    assert manifests.close_superseded() == Outcome()
    assert (manifests.writes(), result(manifests)) == (writes, "")


def test_of_the_seeds_alone_the_newest_stays(manifests: Manifests) -> None:
    for branch in SEEDS:
        seed(manifests, branch)
    first, second = manifests.pull_requests
    assert manifests.close_superseded() == Outcome()
    assert manifests.pull_requests == [closed(manifests, first, 2), second]
    assert branches(manifests) == ["main", SEEDS[1]]


def test_a_branch_of_a_fork_is_deleted_there(manifests: Manifests) -> None:
    fork = add_fork(manifests, "bot/manifests")
    push(manifests, SEEDS[0], "bot", at=fork)
    propose(manifests, SEEDS[0], owner="bot")
    new = ours(manifests)
    before, _ = manifests.pull_requests
    seed(manifests, "unrelated", login="alice")

    assert manifests.close_superseded() == Outcome()

    assert manifests.pull_requests[:2] == [closed(manifests, before, 2), new]
    assert not (fork / "refs/heads" / SEEDS[0]).exists()
    assert branches(manifests) == [OURS, "main", "unrelated"]


def test_a_branch_that_we_may_not_delete_stays_and_its_pull_request_is_closed(manifests: Manifests) -> None:
    seed(manifests, SEEDS[0])
    new = ours(manifests)
    before, _ = manifests.pull_requests
    hook = manifests.bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'error: GH006: Protected branch update failed' >&2; exit 1\n")
    hook.chmod(0o755)

    outcome = manifests.close_superseded()

    said = "the server refuses; check what the credential may do, and branch protection"
    assert outcome == Outcome(0, f"refused: cannot push {SEEDS[0]} to {manifests.flags['url']}: {said}")
    assert manifests.pull_requests == [closed(manifests, before, 2), new]
    assert branches(manifests) == [OURS, "main", SEEDS[0]]


def test_nothing_else_is_closed(manifests: Manifests) -> None:
    manifests.push(branch="v1.1")
    for branch, more in {
        "update_tf_operator_v1.0-g00000001": {},  # another version
        "update_operator_vmaster-g00000001": {},  # another image
        "update_tf_operator": {},  # no tag
        SEEDS[0]: {"base": "v1.1"},
        SEEDS[1]: {"login": "alice"},
        "feature": {},
    }.items():
        seed(manifests, branch, **more)
    ours(manifests)
    before, writes = (manifests.pull_requests, manifests.refs), manifests.writes()

    assert manifests.close_superseded() == Outcome()

    assert ((manifests.pull_requests, manifests.refs), manifests.writes()) == (before, writes)
    assert result(manifests) == ""


def test_two_applications_of_one_image_and_two_versions_of_one_application_are_told_apart(manifests: Manifests) -> None:
    for application, version in (("one", "master"), ("two", "master"), ("one", "v1.0")):
        ours(manifests, application=application, version=version)
    before, writes = (manifests.pull_requests, manifests.refs), manifests.writes()
    assert len(before[0]) == 3

    assert manifests.close_superseded() == Outcome()

    assert ((manifests.pull_requests, manifests.refs), manifests.writes()) == (before, writes)


def test_one_of_ours_of_another_head_is_closed_and_the_branch_that_somebody_named_stays(manifests: Manifests) -> None:
    first = ours(manifests, head="old-head")
    second = ours(manifests)
    assert manifests.close_superseded() == Outcome()
    assert manifests.pull_requests == [closed(manifests, first, 2), second]
    assert branches(manifests) == [OURS, "main", "old-head"]


@pytest.mark.parametrize(
    "people",
    [
        pytest.param(["bot", "alice"], id="on top of ours"),
        pytest.param(["alice", "bot"], id="beneath ours"),
        pytest.param(["alice"], id="in place of ours"),
    ],
)
def test_one_with_somebody_elses_commit_is_left_open(manifests: Manifests, people: list[str]) -> None:
    push(manifests, SEEDS[0], *people)
    propose(manifests, SEEDS[0])
    ours(manifests)
    before, writes = (manifests.pull_requests, manifests.refs), manifests.writes()

    assert manifests.close_superseded() == Outcome(
        0,
        f"foreign-commit: {manifests.page(1)} carries somebody else's commit, or more commits than GitHub lists; it is left open",
    )

    assert ((manifests.pull_requests, manifests.refs), manifests.writes()) == (before, writes)
    assert result(manifests) == ""


def test_one_of_ours_that_somebody_amended_is_left_open(manifests: Manifests) -> None:
    ours(manifests, head="old-head")
    manifests.alice.git("fetch", "--quiet", manifests.bare, "old-head")
    manifests.alice.git("checkout", "--quiet", "FETCH_HEAD")
    manifests.alice.git("commit", "--quiet", "--amend", "--allow-empty", "--message=better")
    manifests.push(branch="old-head")
    ours(manifests)
    before = (manifests.pull_requests, manifests.refs)
    assert manifests.alice.git("log", "-1", "--format=%an, %cn <%ce>") == f"apps-cd, {ALICE}"

    assert manifests.close_superseded().problem.startswith(f"foreign-commit: {manifests.page(1)} ")

    assert (manifests.pull_requests, manifests.refs) == before


def test_our_commits_may_have_another_author(manifests: Manifests) -> None:
    first = ours(manifests, head="old-head", author="CD <cd@example.com>")
    ours(manifests, author="CD <cd@example.com>")
    assert manifests.close_superseded().problem.startswith("foreign-commit: ")
    assert manifests.close_superseded(author="CD <cd@example.com>") == Outcome()
    assert manifests.pull_requests[0] == closed(manifests, first, 2)


@pytest.mark.parametrize("state", ["open", "merged"])
def test_a_successor_that_is_given_takes_the_place_of_its_own_alone(manifests: Manifests, state: str) -> None:
    seed(manifests, SEEDS[0])
    for branch in ("update_web_vmaster-g00000001", "update_web_vmaster-g00000002"):
        seed(manifests, branch)
    ours(manifests)
    if state == "merged":
        merge(manifests, 4)
    first, *others = manifests.pull_requests

    assert manifests.close_superseded(pull_request=4) == Outcome()

    assert manifests.pull_requests == [closed(manifests, first, 4), *others]
    assert result(manifests) == "1"


def test_a_successor_that_was_closed_takes_nothings_place(manifests: Manifests) -> None:
    seed(manifests, SEEDS[0])
    seed(manifests, SEEDS[1])
    ours(manifests)
    rest(manifests.github, "PATCH", "pulls/3", {"state": "closed"})
    before, writes = (manifests.pull_requests, manifests.refs), manifests.writes()
    assert manifests.close_superseded(pull_request=3) == Outcome()
    assert ((manifests.pull_requests, manifests.refs), manifests.writes()) == (before, writes)
    assert result(manifests) == ""


@pytest.mark.parametrize(
    ("login", "text"),
    [
        pytest.param(
            "alice", marker(Update("tf-operator", "master", f"{IMAGE}:vmaster-g0000000f")), id="somebody else"
        ),
        pytest.param("bot", "", id="us without our marker"),
    ],
)
def test_a_successor_is_ours(manifests: Manifests, login: str, text: str) -> None:
    seed(manifests, SEEDS[0])
    seed(manifests, OURS, login=login, text=text)
    before, writes = (manifests.pull_requests, manifests.refs), manifests.writes()
    assert manifests.close_superseded(pull_request=2) == Outcome(
        1, f"foreign-pull-request: {manifests.page(2)} by {login} is not ours; nothing is closed for it"
    )
    assert ((manifests.pull_requests, manifests.refs), manifests.writes()) == (before, writes)


@pytest.mark.parametrize("number", [0, 99])
def test_a_successor_must_be_there(manifests: Manifests, number: int) -> None:
    for branch in SEEDS:
        seed(manifests, branch)
    before = manifests.pull_requests
    assert manifests.close_superseded(pull_request=number) == Outcome(
        1,
        f"not-found: cannot read pull request {number} of kubeflow/manifests: there is no such repository, or the token may "
        "not see it (Not Found)",
    )
    assert manifests.pull_requests == before


def test_with_a_base_those_of_another_one_stay(manifests: Manifests) -> None:
    manifests.push(branch="v1.1")
    for base, number in (("main", "1"), ("v1.1", "2")):
        for tag in ("vmaster-g00000001", "vmaster-g00000002"):
            seed(manifests, f"update_web{number}_{tag}", base=base)
    first, second, third, fourth = manifests.pull_requests

    assert manifests.close_superseded(base="v1.1") == Outcome()

    assert manifests.pull_requests == [first, second, closed(manifests, third, 4), fourth]
    assert result(manifests) == "3"


def test_a_dry_run_writes_nothing(manifests: Manifests) -> None:
    seed(manifests, SEEDS[0])
    ours(manifests)
    before, writes = (manifests.pull_requests, manifests.refs), manifests.writes()
    assert manifests.close_superseded(dry_run="true") == Outcome()
    assert ((manifests.pull_requests, manifests.refs), manifests.writes()) == (before, writes)
    assert result(manifests) == ""


@pytest.mark.parametrize(
    "effect",
    [
        pytest.param("comment on 1", id="the word"),
        pytest.param(f"push refs/heads/{SEEDS[0]}", id="the deletion of the branch"),
        pytest.param("comment on 2", id="the word on the second one"),
    ],
)
def test_a_step_killed_after(manifests: Manifests, tmp_path: Path, effect: str) -> None:
    """...is made good by the next one: all closed, with one word each."""
    for branch in SEEDS:
        seed(manifests, branch)
    new = ours(manifests)
    first, second, _ = manifests.pull_requests
    effects = []

    def kill(name: str) -> None:
        effects.append(name)
        if name == effect:
            child.kill()
            child.wait(10)

    manifests.github.after_effect = kill
    flags = {name: manifests.flags[name] for name in ("url", "github_url", "github_token")}
    child = process("close_superseded_pull_requests", environment=os.environ | {"TMPDIR": str(tmp_path)}, **flags)
    _, log = child.communicate()
    assert (child.returncode, effects[-1]) == (-signal.SIGKILL, effect), log

    assert manifests.close_superseded() == Outcome()

    assert manifests.pull_requests == [closed(manifests, first, 3), closed(manifests, second, 3), new]
    assert branches(manifests) == [OURS, "main"]


def test_a_branch_that_another_pull_request_has_stays(manifests: Manifests) -> None:
    manifests.push(source="main~1", branch="v1.1")
    seed(manifests, SEEDS[0])
    propose(manifests, SEEDS[0], login="alice", base="v1.1")
    ours(manifests)
    first, *others = manifests.pull_requests

    assert manifests.close_superseded() == Outcome()

    assert manifests.pull_requests == [closed(manifests, first, 3), *others]
    assert branches(manifests) == [OURS, "main", SEEDS[0], "v1.1"]


def test_one_that_somebody_pushes_to_meanwhile_is_left_to_them(manifests: Manifests) -> None:
    seed(manifests, SEEDS[0])
    ours(manifests)

    def push_theirs(request: Request) -> None:
        if request.path.endswith("/issues/1/comments") and request.method == "POST":
            push(manifests, SEEDS[0], "bot", "alice")

    on_request(manifests.github, push_theirs)

    outcome = manifests.close_superseded()

    url = manifests.flags["url"]
    assert outcome == Outcome(75, f"conflict: {SEEDS[0]} at {url} was moved by somebody else meanwhile; run again")
    assert [pull.state for pull in manifests.pull_requests] == ["open", "open"]
    theirs = manifests.tip(SEEDS[0])
    assert manifests.close_superseded().problem.startswith(f"foreign-commit: {manifests.page(1)} ")
    assert ([pull.state for pull in manifests.pull_requests], manifests.tip(SEEDS[0])) == (["open", "open"], theirs)


def test_a_repository_that_is_archived_is_told(manifests: Manifests) -> None:
    seed(manifests, SEEDS[0])
    ours(manifests)
    manifests.github.archive_repository("kubeflow/manifests")
    before = (manifests.pull_requests, manifests.refs)
    outcome = manifests.close_superseded()
    assert (outcome.code, outcome.problem.partition(":")[0]) == (1, "archived")
    assert (manifests.pull_requests, manifests.refs) == before


def test_a_repository_that_was_renamed_is_followed_and_told_once(manifests: Manifests) -> None:
    seed(manifests, SEEDS[0])
    ours(manifests)
    manifests.github.rename_repository("kubeflow/manifests", "kubeflow/deployments")
    assert manifests.close_superseded() == Outcome(
        0, "moved: the repository kubeflow/manifests is now kubeflow/deployments; give its present URL"
    )
    assert [pull.state for pull in manifests.github.pull_requests("kubeflow/deployments")] == ["closed", "open"]
    assert branches(manifests) == [OURS, "main"]


def test_an_app_closes_its_own(manifests: Manifests, tmp_path: Path) -> None:
    key = manifests.github.add_app("updater", app_id=4711, owners=["kubeflow"])
    directory = tmp_path / "app"
    directory.mkdir()
    (directory / "app-id").write_text("4711\n")
    (directory / "private-key").write_text(key)
    flags = {"github_token": None, "github_app": directory}
    first = ours(manifests, head="old-head", **flags)
    ours(manifests, **flags)
    assert first.user == "updater[bot]"
    assert manifests.close_superseded(**flags) == Outcome()
    assert manifests.pull_requests[0] == replace(closed(manifests, first, 2), closed_by="updater[bot]")
