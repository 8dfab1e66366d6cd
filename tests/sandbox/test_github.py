"""GitHub's semantics, asked for by PyGithub as it is."""

import functools
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import github as pygithub
import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from github.PullRequest import PullRequest
from github.Repository import Repository

from tests.sandbox.github import GitHub, PullRequestFacts
from tests.sandbox.worktree import Worktree

DOCUMENTATION = "https://docs.github.com/rest"


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is in org/app and in bot's fork of it.

    main          one --- two
    update                  `--- update
    conflict          `--- conflict
    foreign       foreign, without a common ancestor
    """
    tree = Worktree(tmp_path_factory.mktemp("history") / "tree")
    tree.commit("one", {"file": "1\n"})
    tree.commit("two", {"file": "2\n"})
    tree.git("checkout", "--quiet", "-b", "update")
    tree.commit("update", {"file": "3\n", "new": "new\n"})
    tree.git("checkout", "--quiet", "-b", "conflict", "main~1")
    tree.commit("conflict", {"file": "4\n"})
    tree.git("checkout", "--quiet", "--orphan", "foreign")
    tree.commit("foreign")
    tree.git("checkout", "--quiet", "update")
    return tree.path


class Scene:
    """org/app and its fork bot/app; alice may write to the first, bot only to the second, carol nowhere."""

    def __init__(self, directory: Path, history: Path, server: GitHub) -> None:
        self.server = server
        for login in ("alice", "bot", "carol"):
            server.add_user(login, token=login)
        server.add_user("org", organization=True)
        self.bare = server.add_repository("org/app", writers=["alice"])
        shutil.copytree(history, directory / "tree")
        self.tree = Worktree(directory / "tree")
        self.update, self.two, self.one = self.tree.git("rev-list", "update").split()
        self.push("main", "update", "conflict", "foreign")
        self.fork = server.add_repository("bot/app", fork_of="org/app")

    def client(self, login: str | None, *, tls: bool = False) -> pygithub.Github:
        return pygithub.Github(
            base_url=f"{self.server.tls_url if tls else self.server.url}/api/v3",
            auth=pygithub.Auth.Token(login) if login else None,
            verify=str(self.server.ca_file),
            retry=None,
            seconds_between_requests=None,
            seconds_between_writes=None,
        )

    def repository(self, login: str | None = "alice", name: str = "org/app") -> Repository:
        return self.client(login).get_repo(name)

    def pull(self, login: str = "alice", head: str = "update", **options: Any) -> PullRequest:
        options = {"base": "main", "title": "Update", "body": "Because."} | options
        return self.repository(login).create_pull(head=head, **options)

    def push(self, *refspecs: str, to: Path | None = None) -> None:
        self.tree.git("push", "--quiet", "--force", to or self.bare, *refspecs)

    def facts(self) -> PullRequestFacts:
        (facts,) = self.server.pull_requests("org/app")
        return facts


@pytest.fixture
def scene(tmp_path: Path, history: Path) -> Iterator[Scene]:
    with GitHub(tmp_path / "github") as server:
        yield Scene(tmp_path, history, server)
        assert server.violations == []


def refusal(act: Callable[[], object]) -> tuple[int, dict[str, Any]]:
    """Status and body of an error, without what all of them have."""
    with pytest.raises(pygithub.GithubException) as caught:
        act()
    body = dict(caught.value.data)
    assert (body.pop("documentation_url"), body.pop("status")) == (DOCUMENTATION, str(caught.value.status))
    return caught.value.status, body


def invalid(
    message: str | None = None, *, field: str | None = None, code: str = "custom"
) -> tuple[int, dict[str, Any]]:
    error = {"resource": "PullRequest", "code": code, "field": field, "message": message}
    return 422, {
        "message": "Validation Failed",
        "errors": [{name: value for name, value in error.items() if value is not None}],
    }


# Who is there


@pytest.mark.parametrize("tls", [pytest.param(False, id="over http"), pytest.param(True, id="over https")])
def test_addresses_in_answers_are_those_the_client_asked_at(scene: Scene, tls: bool) -> None:
    url = scene.server.tls_url if tls else scene.server.url
    pull = scene.client("alice", tls=tls).get_repo("org/app").create_pull("main", "update", title="Update")
    assert (pull.html_url, pull.url, pull.head.repo.clone_url) == (
        f"{url}/org/app/pull/1",
        f"{url}/api/v3/repos/org/app/pulls/1",
        f"{url}/org/app.git",
    )
    assert [commit.sha for commit in pull.get_commits()] == [scene.update]


@pytest.mark.parametrize("scheme", ["token", "Token", "Bearer"])
def test_a_token_is_taken_as(scene: Scene, scheme: str) -> None:
    reply = requests.get(f"{scene.server.url}/api/v3/user", headers={"Authorization": f"{scheme} alice"}, timeout=10)
    assert reply.json()["login"] == "alice"
    assert [(entry.login, entry.authorization) for entry in scene.server.requests] == [("alice", True)]


def test_a_wrong_token_is_refused_where_anybody_could_read(scene: Scene) -> None:
    assert scene.repository(None).full_name == "org/app"
    assert refusal(lambda: scene.repository("wrong")) == (401, {"message": "Bad credentials"})


def test_a_private_repository_is_not_there_for_others(scene: Scene) -> None:
    scene.server.add_repository("org/secret", private=True, writers=["alice"])
    assert scene.repository("alice", "org/secret").private
    absent = (404, {"message": "Not Found"})
    assert refusal(lambda: scene.repository("carol", "org/secret")) == absent
    assert refusal(lambda: scene.repository(None, "org/secret")) == absent


def test_a_write_without_a_token_is_refused(scene: Scene) -> None:
    repository = scene.repository(None)
    assert refusal(lambda: repository.create_pull("main", "update", title="Update")) == (
        401,
        {"message": "Requires authentication"},
    )


def test_permissions_of_a_repository_are_those_of_who_asks(scene: Scene) -> None:
    assert [scene.repository(login).permissions.push for login in ("alice", "bot")] == [True, False]
    assert scene.repository("bot", "bot/app").permissions.admin


def test_users_are_known_by_name(scene: Scene) -> None:
    client = scene.client("bot")
    assert (client.get_user().login, client.get_user("Alice").login) == ("bot", "alice")
    assert client.get_user("org").type == "Organization"
    assert refusal(lambda: client.get_user("nobody")) == (404, {"message": "Not Found"})


# Pull requests: create


def test_a_pull_request_within_a_repository(scene: Scene) -> None:
    pull = scene.pull(draft=True)
    assert (pull.number, pull.state, pull.draft, pull.user.login) == (1, "open", True, "alice")
    assert (pull.head.label, pull.head.sha, pull.head.repo.full_name) == ("org:update", scene.update, "org/app")
    assert (pull.base.label, pull.base.sha) == ("org:main", scene.two)
    assert (pull.commits, pull.changed_files, pull.additions, pull.deletions) == (1, 2, 2, 1)
    assert (pull.mergeable, pull.mergeable_state, pull.merged) == (True, "draft", False)
    assert [(file.filename, file.status, file.patch) for file in pull.get_files()] == [
        ("file", "modified", "@@ -1 +1 @@\n-2\n+3"),
        ("new", "added", "@@ -0,0 +1 @@\n+new"),
    ]
    assert scene.facts() == PullRequestFacts(
        number=1,
        state="open",
        title="Update",
        body="Because.",
        user="alice",
        head="org:update",
        base="main",
        sha=scene.update,
        labels=(),
        assignees=(),
        reviewers=(),
        milestone=None,
        comments=(),
        draft=True,
        merged=False,
        maintainer_can_modify=False,
        closed_by=None,
    )


def test_a_pull_request_from_a_fork_has_its_commit_in_the_base_repository(scene: Scene) -> None:
    fresh = scene.tree.commit("only in the fork", {"file": "5\n"})
    scene.push("HEAD:refs/heads/fresh", to=scene.fork)
    pull = scene.pull("bot", "bot:fresh")
    assert (pull.head.label, pull.head.repo.full_name, pull.head.sha) == ("bot:fresh", "bot/app", fresh)
    assert (pull.commits, pull.mergeable, pull.maintainer_can_modify) == (2, True, True)
    assert [commit.commit.message for commit in pull.get_commits()] == ["update", "only in the fork"]
    scene.tree.git("clone", "--quiet", scene.server.url + "/org/app", "clone")
    scene.tree.git("-C", "clone", "fetch", "--quiet", "origin", "refs/pull/1/head")
    assert scene.tree.git("-C", "clone", "rev-parse", "FETCH_HEAD") == fresh


def test_a_fork_of_the_same_owner_is_named_by_head_repo(scene: Scene) -> None:
    scene.server.add_repository("org/copy", fork_of="org/app", writers=["alice"])
    scene.tree.commit("copy")
    scene.push("HEAD:update", to=scene.bare.parent / "copy.git")
    pull = scene.pull(head="update", head_repo="org/copy", maintainer_can_modify=False)
    assert (pull.head.label, pull.head.repo.full_name, pull.commits) == ("org:update", "org/copy", 2)


def test_a_pull_request_conflicts_with_its_base(scene: Scene) -> None:
    pull = scene.pull(head="conflict")
    assert (pull.mergeable, pull.mergeable_state) == (False, "dirty")
    assert refusal(pull.merge) == (405, {"message": "Pull Request is not mergeable"})


def test_an_issue_becomes_a_pull_request(scene: Scene) -> None:
    repository = scene.repository()
    issue = repository.create_issue("Please update", "Soon.", labels=["wish"])
    pull = repository.create_pull("main", "update", issue=issue)
    assert (pull.number, pull.title, pull.body) == (issue.number, "Please update", "Soon.")
    assert [label.name for label in pull.labels] == ["wish"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({"head": "absent"}, invalid(field="head", code="invalid"), id="the head is absent"),
        pytest.param({"head": "carol:update"}, invalid(field="head", code="invalid"), id="the owner has no fork"),
        pytest.param({"base": "absent"}, invalid(field="base", code="invalid"), id="the base is absent"),
        pytest.param({"title": ""}, invalid(field="title", code="missing_field"), id="the title is empty"),
        pytest.param({"head": "main"}, invalid("No commits between main and main"), id="nothing differs"),
        pytest.param({"head": "bot:main"}, invalid("No commits between org:main and bot:main"), id="nor across a fork"),
        pytest.param(
            {"head": "foreign"},
            invalid("The foreign branch has no history in common with main"),
            id="histories are unrelated",
        ),
    ],
)
def test_a_pull_request_is_not_created_when(
    scene: Scene, options: dict[str, Any], expected: tuple[int, dict[str, Any]]
) -> None:
    assert refusal(lambda: scene.pull(**options)) == expected
    assert scene.server.pull_requests("org/app") == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"title": "t" * 257}, "title is too long (maximum is 256 characters)", id="a title"),
        pytest.param({"body": "b" * 65537}, "body is too long (maximum is 65536 characters)", id="a body"),
    ],
)
def test_too_long_is(scene: Scene, options: dict[str, Any], message: str) -> None:
    field = next(iter(options))
    error = {"resource": "Issue", "code": "custom", "field": field, "message": message}
    expected = (422, {"message": "Validation Failed", "errors": [error]})
    assert refusal(lambda: scene.pull(**options)) == expected
    pull = scene.pull()
    assert refusal(lambda: pull.edit(**options)) == expected
    assert (scene.facts().title, scene.facts().body) == ("Update", "Because.")


def test_of_many_that_create_the_same_pull_request_at_once_one_does(scene: Scene) -> None:
    def create(_: int) -> int:
        return requests.post(
            f"{scene.server.url}/api/v3/repos/org/app/pulls",
            json={"head": "update", "base": "main", "title": "Update"},
            headers={"Authorization": "token alice"},
            timeout=10,
        ).status_code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(create, range(8))) == [201] + [422] * 7
    assert scene.facts().number == 1


def test_a_second_pull_request_of_the_same_branches_is_refused(scene: Scene) -> None:
    scene.pull("bot", "bot:update")
    scene.pull("alice", "update")
    assert refusal(lambda: scene.pull("bot", "bot:update")) == invalid("A pull request already exists for bot:update.")
    assert refusal(scene.pull) == invalid("A pull request already exists for org:update.")
    scene.repository().get_pull(2).edit(state="closed")
    assert scene.pull().number == 3


def test_maintainers_may_be_let_in_by_those_who_may_push_alone(scene: Scene) -> None:
    assert refusal(lambda: scene.pull("alice", "bot:update")) == invalid(
        "fork_collab Fork collab can't be granted by someone without permission", field="fork_collab"
    )
    assert not scene.pull("alice", "bot:update", maintainer_can_modify=False).maintainer_can_modify


def test_a_pull_request_between_branches_of_others_is_refused(scene: Scene) -> None:
    assert refusal(lambda: scene.pull("carol")) == invalid("must be a collaborator", code="unprocessable")


# Pull requests: list


def test_lists_are_filtered_by_state_head_and_base(scene: Scene) -> None:
    scene.push("main:refs/heads/release")
    scene.pull("bot", "bot:update")
    scene.pull("alice", "update")
    scene.pull("alice", "update", base="release")
    scene.pull("alice", "conflict").edit(state="closed")
    repository = scene.repository()

    def numbers(**filters: str) -> list[int]:
        return [pull.number for pull in repository.get_pulls(**filters)]

    assert numbers() == [3, 2, 1]
    assert numbers(state="closed") == [4]
    assert numbers(state="all", direction="asc") == [1, 2, 3, 4]
    assert numbers(head="bot:update") == [1]
    assert numbers(head="ORG:update", base="main") == [2]
    assert numbers(head="org:absent") == []
    assert numbers(head="update") == [3, 2, 1], "GitHub ignores a head without its owner"


def test_long_lists_come_in_pages(scene: Scene) -> None:
    pull = scene.pull()
    for number in range(5):
        pull.create_issue_comment(f"comment {number}")
    reply = requests.get(
        f"{scene.server.url}/api/v3/repos/org/app/issues/1/comments", params={"per_page": 2, "page": 2}, timeout=10
    )
    here = f"{scene.server.url}/api/v3/repos/org/app/issues/1/comments?per_page=2&page="
    assert [comment["body"] for comment in reply.json()] == ["comment 2", "comment 3"]
    assert {name: link["url"] for name, link in reply.links.items()} == {
        "prev": f"{here}1",
        "first": f"{here}1",
        "next": f"{here}3",
        "last": f"{here}3",
    }
    client = scene.client("alice")
    client.per_page = 2
    comments = client.get_repo("org/app").get_issue(1).get_comments()
    assert [comment.body for comment in comments] == [f"comment {number}" for number in range(5)]


def test_a_client_that_has_a_reply_is_told_when_it_is_as_it_was(scene: Scene) -> None:
    pull = scene.pull()
    api = f"{scene.server.url}/api/v3/repos/org/app/pulls"

    def get(path: str = "?state=all", tag: str = "") -> requests.Response:
        headers = {"Authorization": "Bearer alice", "If-None-Match": tag}
        return requests.get(f"{api}{path}", headers=headers, timeout=10)

    first = get()
    again = get(tag=first.headers["ETag"])
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert get("/1", tag=first.headers["ETag"]).status_code == 200
    pull.edit(title="Another")
    changed = get(tag=first.headers["ETag"])
    assert (changed.status_code, [each["title"] for each in changed.json()]) == (200, ["Another"])
    assert get(tag=f'"other", {changed.headers["ETag"]}').status_code == 304


def test_pull_requests_are_listed_as_they_were_updated(scene: Scene) -> None:
    first, second = scene.pull(), scene.pull(head="conflict")
    scene.server.age_pull_requests("org/app", 120)
    first.edit(body="Now.")

    def listed(**query: str) -> list[int]:
        return [pull.number for pull in scene.repository().get_pulls(state="all", **query)]

    assert listed(sort="updated", direction="desc") == [first.number, second.number]
    assert listed(sort="updated", direction="asc") == [second.number, first.number]


# Pull requests follow git


def test_a_push_to_the_head_is_seen_at_once(scene: Scene) -> None:
    pull = scene.pull()
    fresh = scene.tree.commit("more")
    scene.push("HEAD:update")
    pull.update()
    assert (pull.head.sha, pull.commits) == (fresh, 2)
    scene.push("conflict:update")
    assert scene.facts().sha == scene.tree.git("rev-parse", "conflict")


def test_a_base_that_moves_is_seen_at_once(scene: Scene) -> None:
    pull = scene.pull()
    assert pull.mergeable
    scene.tree.git("checkout", "--quiet", "main")
    moved = scene.tree.commit("moved", {"new": "other\n"})
    scene.push("main")
    pull.update()
    assert (pull.base.sha, pull.mergeable, pull.commits) == (moved, False, 1)


def test_a_pull_request_whose_branch_is_deleted_is_closed(scene: Scene) -> None:
    scene.pull()
    scene.repository().get_git_ref("heads/update").delete()
    assert (scene.facts().state, scene.facts().closed_by, scene.facts().sha) == ("closed", "alice", scene.update)


def test_a_pull_request_whose_base_is_deleted_is_closed(scene: Scene) -> None:
    scene.push("main:refs/heads/release")
    scene.pull(base="release")
    scene.push(":release")
    assert (scene.facts().state, scene.repository().get_pull(1).base.sha) == ("closed", scene.two)


def test_a_pull_request_with_nothing_left_is_closed(scene: Scene) -> None:
    scene.pull()
    scene.push("main:update")
    assert (scene.facts().state, scene.facts().merged) == ("closed", False)


def test_a_pull_request_whose_commits_are_pushed_to_the_base_is_merged(scene: Scene) -> None:
    scene.pull("bot", "bot:update")
    scene.push("update:main")
    pull = scene.repository().get_pull(1)
    assert (pull.state, pull.merged, pull.merge_commit_sha, pull.base.sha) == (
        "closed",
        True,
        scene.update,
        scene.two,
    )
    assert [commit.sha for commit in pull.get_commits()] == [scene.update]


def test_a_closed_pull_request_keeps_its_head(scene: Scene) -> None:
    scene.pull().edit(state="closed")
    scene.tree.commit("more")
    scene.push("HEAD:update")
    assert scene.facts().sha == scene.update


# Pull requests: change


def test_a_pull_request_is_edited(scene: Scene) -> None:
    scene.push("main:refs/heads/release")
    pull = scene.pull()
    pull.edit(title="Another", body="", base="release")
    facts = scene.facts()
    assert (facts.title, facts.body, facts.base, facts.state) == ("Another", "", "release", "open")


def test_who_closed_a_pull_request_stands_in_its_issue(scene: Scene) -> None:
    pull = scene.pull("bot", "bot:update")
    scene.repository("alice").get_pull(1).edit(state="closed")
    closer = pull.as_issue().closed_by
    assert closer is not None
    assert closer.login == "alice"
    pull.edit(state="open")
    assert pull.as_issue().closed_by is None
    assert scene.facts().state == "open"


def test_a_stranger_changes_nothing(scene: Scene) -> None:
    scene.pull()
    pull = scene.repository("carol").get_pull(1)
    refused = (403, {"message": "Resource not accessible by personal access token"})
    for act in (lambda: pull.edit(title="Mine"), pull.merge, lambda: pull.add_to_labels("mine")):
        assert refusal(act) == refused
    assert (scene.facts().title, scene.facts().labels) == ("Update", ())


def reopening(why: str) -> tuple[int, dict[str, Any]]:
    return invalid(f"state cannot be changed. {why}", field="state")


@pytest.mark.parametrize(
    ("refspec", "expected"),
    [
        pytest.param(":update", reopening("The update branch has been deleted."), id="its branch is deleted"),
        pytest.param(
            "conflict:update", reopening("The update branch was force-pushed or recreated."), id="its branch was forced"
        ),
        pytest.param(
            "update:main", reopening("There are no new commits on the org:update branch."), id="the base has it all"
        ),
    ],
)
def test_a_closed_pull_request_is_not_reopened_when(
    scene: Scene, refspec: str, expected: tuple[int, dict[str, Any]]
) -> None:
    pull = scene.pull()
    pull.edit(state="closed")
    scene.push(refspec)
    assert refusal(lambda: pull.edit(state="open")) == expected
    assert scene.facts().state == "closed"


def test_a_closed_pull_request_is_not_reopened_beside_its_successor(scene: Scene) -> None:
    pull = scene.pull()
    pull.edit(state="closed")
    scene.pull()
    assert refusal(lambda: pull.edit(state="open")) == invalid("A pull request already exists for org:update.")


def test_a_pull_request_reopens_with_what_was_pushed_on_top_meanwhile(scene: Scene) -> None:
    pull = scene.pull()
    pull.edit(state="closed")
    fresh = scene.tree.commit("more")
    scene.push("HEAD:update")
    pull.edit(state="open")
    assert (scene.facts().state, scene.facts().sha) == ("open", fresh)


@pytest.mark.parametrize(
    ("base", "message"),
    [
        pytest.param("absent", None, id="is absent"),
        pytest.param(
            "release",
            "There are no new commits between base branch 'release' and head branch 'update'",
            id="has all of its commits",
        ),
    ],
)
def test_a_pull_request_does_not_get_a_base_that(scene: Scene, base: str, message: str | None) -> None:
    scene.push("update:refs/heads/release")
    pull = scene.pull()
    expected = invalid(message, field="base", code="custom" if message else "invalid")
    assert refusal(lambda: pull.edit(base=base)) == expected
    pull.edit(state="closed")
    assert refusal(lambda: pull.edit(base=base)) == invalid(
        "Cannot change the base branch of a closed pull request.", field="base"
    )


def test_a_merge_is_a_commit_in_the_base(scene: Scene) -> None:
    pull = scene.pull("bot", "bot:update", title="Update all")
    outcome = scene.repository("alice").get_pull(1).merge(sha=scene.update)
    assert (outcome.merged, outcome.message) == (True, "Pull Request successfully merged")
    shown = scene.tree.git("--git-dir", scene.bare, "log", "-1", "--format=%H %P%n%B", "main")
    assert shown == (f"{outcome.sha} {scene.two} {scene.update}\nMerge pull request #1 from bot/update\n\nUpdate all")
    pull.update()
    assert (pull.is_merged(), pull.merged_by.login, pull.merge_commit_sha) == (True, "alice", outcome.sha)
    assert scene.facts().state == "closed"
    pull.edit(state="closed")
    assert refusal(lambda: pull.edit(state="open")) == reopening("The pull request cannot be reopened.")
    assert refusal(lambda: scene.repository().get_pull(1).merge()) == (
        405,
        {"message": "Pull Request is not mergeable"},
    )


def test_a_squashed_merge_is_one_commit(scene: Scene) -> None:
    outcome = scene.pull().merge(merge_method="squash")
    shown = scene.tree.git("--git-dir", scene.bare, "log", "-1", "--format=%H %P%n%B", "main")
    assert shown == f"{outcome.sha} {scene.two}\nUpdate (#1)\n\nBecause."


def test_a_merge_of_another_commit_than_was_seen_is_refused(scene: Scene) -> None:
    pull = scene.pull()
    assert refusal(lambda: pull.merge(sha=scene.one)) == (
        409,
        {"message": "Head branch was modified. Review and try the merge again."},
    )


def test_a_draft_is_not_merged(scene: Scene) -> None:
    assert refusal(scene.pull(draft=True).merge) == (405, {"message": "Pull Request is still a draft"})


# Decorations


def test_reviews_are_requested_from_writers_and_teams(scene: Scene) -> None:
    scene.server.add_repository("org/other", writers=["alice", "bot", "carol"])
    pull = scene.pull("bot", "bot:update")
    mine = scene.repository("alice").get_pull(1)
    mine.create_review_request(reviewers=["alice"], team_reviewers=["sre"])
    assert scene.facts().reviewers == ("alice", "@org/sre")
    users, teams = pull.get_review_requests()
    assert ([user.login for user in users], [team.slug for team in teams]) == (["alice"], ["sre"])
    mine.delete_review_request(reviewers=["alice"], team_reviewers=["sre"])
    assert scene.facts().reviewers == ()
    assert refusal(lambda: mine.create_review_request(reviewers=["carol"])) == (
        422,
        {
            "message": "Reviews may only be requested from collaborators. One or more of the users or teams you "
            "specified is not a collaborator of the org/app repository."
        },
    )
    assert refusal(lambda: mine.create_review_request(reviewers=["bot"])) == (
        422,
        {"message": "Review cannot be requested from pull request author."},
    )


def test_labels_are_created_where_they_are_missing(scene: Scene) -> None:
    repository = scene.repository()
    repository.create_label("Urgent", "ff0000", "now")
    pull = scene.pull()
    pull.add_to_labels("urgent", "apps-cd")
    assert scene.facts().labels == ("Urgent", "apps-cd")
    assert [(label.name, label.color) for label in repository.get_labels()] == [
        ("Urgent", "ff0000"),
        ("apps-cd", "ededed"),
    ]
    pull.remove_from_labels("Urgent")
    assert [label.name for label in pull.get_labels()] == ["apps-cd"]
    assert refusal(lambda: pull.remove_from_labels("Urgent")) == (404, {"message": "Label does not exist"})
    pull.set_labels("a", "b/c")
    assert repository.get_label("b/c").name == "b/c"
    pull.delete_labels()
    assert scene.facts().labels == ()
    status, body = refusal(lambda: repository.create_label("urgent", "00ff00"))
    assert (status, body["errors"]) == (422, [{"resource": "Label", "code": "already_exists", "field": "name"}])


def test_one_change_of_the_issue_decorates_a_pull_request(scene: Scene) -> None:
    repository = scene.repository()
    milestone = repository.create_milestone("v1")
    issue = scene.pull().as_issue()
    issue.edit(labels=["x"], assignees=["alice"], milestone=milestone)
    facts = scene.facts()
    assert (facts.labels, facts.assignees, facts.milestone) == (("x",), ("alice",), "v1")
    assert [found.title for found in repository.get_milestones()] == ["v1"]
    assert repository.get_milestone(1).open_issues == 1
    issue.edit(milestone=None, state="closed")
    assert (scene.facts().milestone, scene.facts().state) == (None, "closed")


def test_an_unknown_assignee_or_milestone_changes_nothing(scene: Scene) -> None:
    issue = scene.pull().as_issue()
    status, body = refusal(lambda: issue.edit(labels=["x"], assignees=["carol"]))
    assert (status, body["errors"]) == (
        422,
        [{"value": "carol", "resource": "Issue", "field": "assignees", "code": "invalid"}],
    )
    assert (scene.facts().labels, scene.facts().assignees) == ((), ())


def test_assignees_are_writers(scene: Scene) -> None:
    repository = scene.repository()
    pull = scene.pull()
    pull.add_to_assignees("alice", "carol")
    assert scene.facts().assignees == ("alice",)
    assert [user.login for user in repository.get_assignees()] == ["alice"]
    assert [repository.has_in_assignees(login) for login in ("alice", "carol")] == [True, False]
    pull.remove_from_assignees("alice")
    assert scene.facts().assignees == ()


def test_decorations_by_a_stranger_are_dropped_without_a_word(scene: Scene) -> None:
    scene.pull("bot", "bot:update").as_issue().edit(title="Mine", labels=["x"], assignees=["bot"])
    facts = scene.facts()
    assert (facts.title, facts.labels, facts.assignees) == ("Mine", (), ())


def test_comments_are_made_changed_and_deleted(scene: Scene) -> None:
    pull = scene.pull()
    scene.repository("carol").get_pull(1).create_issue_comment("Why?")
    comment = pull.create_issue_comment("Because.")
    comment.edit("Because it is newer.")
    assert [(entry.user.login, entry.body) for entry in pull.get_issue_comments()] == [
        ("carol", "Why?"),
        ("alice", "Because it is newer."),
    ]
    comment.delete()
    assert scene.facts().comments == ("Why?",)


# Git


def test_branches_refs_and_commits_are_those_of_git(scene: Scene) -> None:
    repository = scene.repository()
    assert [branch.name for branch in repository.get_branches()] == ["conflict", "foreign", "main", "update"]
    assert repository.get_branch("main").commit.sha == scene.two
    assert repository.get_git_ref("heads/main").object.sha == scene.two
    assert [commit.sha for commit in repository.get_commits("update", path="new")] == [scene.update]
    commit = repository.get_commit("update")
    assert (commit.author.login, commit.stats.total, [parent.sha for parent in commit.parents]) == (
        "alice",
        3,
        [scene.two],
    )
    assert refusal(lambda: repository.get_branch("absent")) == (404, {"message": "Branch not found"})
    assert refusal(lambda: repository.get_git_ref("heads/absent").object) == (404, {"message": "Not Found"})


def test_refs_are_created_moved_and_deleted(scene: Scene) -> None:
    repository = scene.repository()
    ref = repository.create_git_ref("refs/heads/a/b", scene.update)
    assert refusal(lambda: repository.create_git_ref("refs/heads/a/b", scene.one)) == (
        422,
        {"message": "Reference already exists"},
    )
    assert refusal(lambda: ref.edit(scene.one)) == (422, {"message": "Update is not a fast forward"})
    ref.edit(scene.one, force=True)
    assert repository.get_branch("a/b").commit.sha == scene.one
    ref.delete()
    assert refusal(ref.delete) == (422, {"message": "Reference does not exist"})


@pytest.mark.parametrize(
    ("base", "head", "expected"),
    [
        pytest.param("main", "update", ("ahead", 1, 0), id="ahead"),
        pytest.param("update", "main", ("behind", 0, 1), id="behind"),
        pytest.param("main", "conflict", ("diverged", 1, 1), id="diverged"),
        pytest.param("main", "bot:main", ("identical", 0, 0), id="identical across a fork"),
        pytest.param("org:main", "bot:app:update", ("ahead", 1, 0), id="with owner and repository"),
    ],
)
def test_branches_compare_as(scene: Scene, base: str, head: str, expected: tuple[str, int, int]) -> None:
    comparison = scene.repository().compare(base, head)
    assert (comparison.status, comparison.ahead_by, comparison.behind_by) == expected


def test_branches_without_common_history_do_not_compare(scene: Scene) -> None:
    assert refusal(lambda: scene.repository().compare("main", "foreign").status) == (
        404,
        {"message": "No common ancestor between main and foreign."},
    )


def test_the_latest_status_of_each_context_counts(scene: Scene) -> None:
    commit = scene.repository().get_commit(scene.update)
    for state, context in (("failure", "ci/test"), ("success", "ci/lint"), ("success", "ci/test")):
        commit.create_status(state, context=context, description="words", target_url="https://ci.example/1")
    assert commit.get_combined_status().state == "success"
    assert [(status.state, status.context) for status in commit.get_statuses()] == [
        ("success", "ci/test"),
        ("success", "ci/lint"),
        ("failure", "ci/test"),
    ]


def test_a_fork_is_created_once(scene: Scene) -> None:
    repository = scene.repository("carol")
    fork = repository.create_fork()
    assert (fork.full_name, fork.parent.full_name, fork.get_branch("update").commit.sha) == (
        "carol/app",
        "org/app",
        scene.update,
    )
    assert repository.create_fork().id == fork.id
    assert [found.full_name for found in repository.get_forks()] == ["bot/app", "carol/app"]


# Repositories that are renamed or archived


def test_a_renamed_repository_is_found_by_its_old_name(scene: Scene) -> None:
    number = scene.repository().id
    scene.server.rename_repository("org/app", "org/new")
    url = scene.server.url
    for method, path, status in (
        ("GET", "", 301),
        ("GET", "/pulls?state=all", 301),
        ("POST", "/issues", 307),
        ("PATCH", "/pulls/1", 307),
    ):
        reply = requests.request(
            method,
            f"{url}/api/v3/repos/ORG/app{path}",
            headers={"Authorization": "token alice"},
            json={"title": "Another"},
            allow_redirects=False,
            timeout=10,
        )
        address = f"{url}/api/v3/repositories/{number}{path}"
        assert (reply.status_code, reply.headers["Location"]) == (status, address)
        assert reply.json() == {
            "message": "Moved Permanently",
            "url": address,
            "documentation_url": "https://docs.github.com/v3/#http-redirects",
        }
    repository = scene.repository()
    assert repository.full_name == "org/new"
    assert scene.repository("alice", "org/new").create_pull("main", "update", title="Update").number == 1
    assert [pull.number for pull in scene.repository().get_pulls()] == [1]
    assert [pull.title for pull in scene.server.pull_requests("org/new")] == ["Update"]


def test_git_is_redirected_to_the_new_name(scene: Scene) -> None:
    scene.server.rename_repository("org/app", "alice/new")
    for suffix in ("", ".git"):
        address = "/info/refs?service=git-upload-pack"
        reply = requests.get(f"{scene.server.url}/org/app{suffix}{address}", allow_redirects=False, timeout=10)
        assert (reply.status_code, reply.headers["Location"]) == (
            301,
            f"{scene.server.url}/alice/new{suffix}{address}",
        )
    url = scene.server.url.replace("://", "://alice:alice@")
    scene.tree.git("push", "--quiet", f"{url}/org/app", "main:refs/heads/pushed")
    assert scene.tree.git("ls-remote", f"{url}/org/app.git", "pushed").split()[0] == scene.two


def test_a_private_repository_that_was_renamed_is_not_there_for_others(scene: Scene) -> None:
    scene.server.add_repository("org/secret", private=True, writers=["alice"])
    scene.server.rename_repository("org/secret", "org/hidden")
    assert scene.repository("alice", "org/secret").full_name == "org/hidden"
    assert refusal(lambda: scene.repository("carol", "org/secret")) == (404, {"message": "Not Found"})
    with pytest.raises(ValueError, match="there is or was a repository org/secret"):
        scene.server.add_repository("org/secret")


def test_an_archived_repository_is_read_alone(scene: Scene) -> None:
    pull = scene.pull()
    scene.server.archive_repository("org/app")
    repository = scene.repository()
    assert repository.archived
    refused = (403, {"message": "Repository was archived so is read-only."})
    for act in (
        lambda: pull.edit(title="Another"),
        lambda: pull.create_issue_comment("words"),
        lambda: pull.add_to_labels("x"),
        lambda: repository.create_git_ref("refs/heads/x", scene.two),
    ):
        assert refusal(act) == refused
    assert [found.number for found in repository.get_pulls()] == [1]
    assert scene.repository("carol").create_fork().full_name == "carol/app"
    url = scene.server.url.replace("://", "://alice:alice@") + "/org/app"
    pushed = scene.tree.run("push", "--quiet", url, "main:refs/heads/pushed")
    assert (pushed.returncode, "The requested URL returned error: 403" in pushed.stderr) == (128, True)
    scene.tree.git("fetch", "--quiet", url, "update")
    scene.server.add_repository("org/old", archived=True)
    assert scene.repository("alice", "org/old").archived


# Apps


APP = 4711


def signed(key: str, **claims: Any) -> str:
    now = int(time.time())
    return jwt.encode({"iss": str(APP), "iat": now - 60, "exp": now + 540} | claims, key, "RS256")


def as_app(scene: Scene, token: str, path: str = "/app", method: str = "GET") -> tuple[int, dict[str, Any]]:
    reply = requests.request(
        method, f"{scene.server.url}/api/v3{path}", headers={"Authorization": f"Bearer {token}"}, timeout=10
    )
    return reply.status_code, reply.json()


def installation_token(scene: Scene, key: str, repository: str = "org/app") -> str:
    _, installation = as_app(scene, signed(key), f"/repos/{repository}/installation")
    status, body = as_app(scene, signed(key), f"/app/installations/{installation['id']}/access_tokens", "POST")
    assert (status, body["permissions"]) == (
        201,
        {"contents": "write", "issues": "write", "metadata": "read", "pull_requests": "write"},
    )
    token: str = body["token"]
    assert token.startswith("ghs_")
    return token


def integration(scene: Scene, key: str) -> pygithub.GithubIntegration:
    return pygithub.GithubIntegration(
        auth=pygithub.Auth.AppAuth(APP, key),
        base_url=f"{scene.server.url}/api/v3",
        retry=None,
        seconds_between_requests=None,
        seconds_between_writes=None,
    )


def test_pygithub_acts_for_an_app(scene: Scene) -> None:
    scene.server.add_repository("org/secret", private=True)
    key = scene.server.add_app("updater", app_id=APP, owners=["Org"])
    app = integration(scene, key)
    assert (app.get_app().slug, app.get_app().id) == ("updater", APP)
    installation = app.get_repo_installation("org", "app")
    assert app.get_repo_installation("org", "secret").id == installation.id
    assert app.get_app_installation(installation.id).account.login == "org"
    client = pygithub.Github(
        auth=pygithub.Auth.AppInstallationAuth(pygithub.Auth.AppAuth(APP, key), installation.id),
        base_url=f"{scene.server.url}/api/v3",
        retry=None,
        seconds_between_writes=None,
    )
    pull = client.get_repo("org/app").create_pull("main", "update", title="Update")
    pull.create_issue_comment("words")
    assert (pull.user.login, pull.user.type) == ("updater[bot]", "Bot")
    assert client.get_user("updater[bot]").id == pull.user.id
    assert scene.facts().user == "updater[bot]"
    assert client.get_repo("org/secret").private
    assert refusal(lambda: client.get_user().login) == (403, {"message": "Resource not accessible by integration"})


def test_a_token_of_an_app_writes_for_the_owner_it_is_installed_for(scene: Scene) -> None:
    scene.server.add_repository("bot/secret", private=True)
    key = scene.server.add_app("updater", app_id=APP, owners=None)
    pull = scene.pull("alice")
    of_org, of_bot = (installation_token(scene, key, name) for name in ("org/app", "bot/app"))
    refused = (403, {"message": "Resource not accessible by integration"})
    scene.client(of_org).get_repo("org/app").get_pull(pull.number).edit(title="By the app")
    assert refusal(lambda: scene.client(of_bot).get_repo("org/app").get_pull(1).edit(title="Mine")) == refused
    assert refusal(lambda: scene.repository(of_org, "bot/app").create_label("x", "ffffff")) == refused
    assert refusal(lambda: scene.repository(of_org, "bot/secret")) == (404, {"message": "Not Found"})
    assert scene.repository(of_bot, "bot/secret").private
    assert scene.facts().title == "By the app"


def test_a_token_of_an_app_is_good_for_git(scene: Scene) -> None:
    key = scene.server.add_app("updater", app_id=APP, owners=["org"])
    url = scene.server.url.replace("://", f"://x-access-token:{installation_token(scene, key)}@")
    scene.tree.git("push", "--quiet", f"{url}/org/app", "main:refs/heads/pushed")
    assert scene.server.requests[-1].login == "updater[bot]"
    assert scene.tree.run("push", "--quiet", f"{url}/bot/app", "main:refs/heads/pushed").returncode == 128
    scene.server.expire_tokens()
    assert scene.tree.run("push", "--quiet", f"{url}/org/app", "main:refs/heads/again").returncode == 128


def test_a_token_of_an_app_ends_after_an_hour_or_when_it_is_told_to(scene: Scene) -> None:
    key = scene.server.add_app("updater", app_id=APP, owners=["org"])
    begin = time.time()
    first, second = (installation_token(scene, key) for _ in range(2))
    end = time.time()
    ended = (401, {"message": "Bad credentials"})
    scene.server.clock = lambda: begin + 3590
    assert scene.repository(first).full_name == "org/app"
    scene.server.clock = lambda: end + 3610
    assert refusal(lambda: scene.repository(first)) == ended
    scene.server.clock = time.time
    assert scene.repository(second).full_name == "org/app"
    scene.server.expire_tokens()
    assert refusal(lambda: scene.repository(second)) == ended


def test_an_app_is_installed_where_its_owners_are(scene: Scene) -> None:
    scene.server.add_repository("bot/secret", private=True)
    key = scene.server.add_app("updater", app_id=APP, owners=["org"])
    app = integration(scene, key)
    absent = (404, {"message": "Not Found"})
    for owner, name in (("bot", "app"), ("bot", "secret"), ("org", "absent")):
        assert refusal(functools.partial(app.get_repo_installation, owner, name)) == absent
    assert refusal(lambda: app.get_app_installation(1)) == absent
    number = app.get_repo_installation("org", "app").id
    assert refusal(lambda: app.get_access_token(number, {"administration": "write"})) == (
        422,
        {"message": "The permissions requested are not granted to this installation."},
    )
    assert app.get_access_token(number, {"contents": "read"}).permissions == {"contents": "read"}


@pytest.mark.parametrize(
    ("claims", "status", "message"),
    [
        pytest.param(
            {"exp": 700}, 401, "'Expiration time' claim ('exp') is too far in the future", id="lives over ten minutes"
        ),
        pytest.param(
            {"exp": -1},
            401,
            "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the "
            "assertion expires",
            id="is over",
        ),
        pytest.param(
            {"iat": 60},
            401,
            "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued",
            id="is issued in the future",
        ),
        pytest.param({"iss": "4712"}, 404, "Integration not found", id="is of another app"),
    ],
)
def test_no_app_is_who_shows_a_web_token_that(scene: Scene, claims: dict[str, Any], status: int, message: str) -> None:
    key = scene.server.add_app("updater", app_id=APP, owners=["org"])
    now = int(time.time())
    claims = {name: value if name == "iss" else now + value for name, value in claims.items()}
    for path in ("/app", "/repos/org/app/installation"):
        assert as_app(scene, signed(key, **claims), path) == (
            status,
            {"message": message, "documentation_url": DOCUMENTATION, "status": str(status)},
        )


@pytest.mark.parametrize("kind", ["of another key", "without a signature", "of a user", "that nobody knows"])
def test_no_app_is_who_shows_a_token(scene: Scene, kind: str) -> None:
    key = scene.server.add_app("updater", app_id=APP, owners=["org"])
    tokens: dict[str, Callable[[], str]] = {
        "of another key": lambda: signed(another_key()),
        "without a signature": lambda: signed(key).rpartition(".")[0] + ".",
        "of a user": lambda: "alice",
        "that nobody knows": lambda: "unknown",
    }
    status, body = as_app(scene, tokens[kind]())
    assert (status, body["message"]) == (401, "A JSON web token could not be decoded")


def another_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


# GraphQL


def test_the_viewer_is_who_asks(scene: Scene) -> None:
    token = installation_token(scene, scene.server.add_app("updater", app_id=APP, owners=["org"]))
    for login, shown in (("alice", "alice"), (token, "updater[bot]")):
        reply = requests.post(
            f"{scene.server.url}/api/graphql",
            json={"query": "query {\n  viewer { login }\n}"},
            headers={"Authorization": f"bearer {login}"},
            timeout=10,
        )
        assert (reply.status_code, reply.json()) == (200, {"data": {"viewer": {"login": shown}}})
    for headers, message in (
        ({}, "This endpoint requires you to be authenticated."),
        ({"Authorization": "bearer wrong"}, "Bad credentials"),
    ):
        reply = requests.post(
            f"{scene.server.url}/api/graphql", json={"query": "{viewer{login}}"}, headers=headers, timeout=10
        )
        assert (reply.status_code, reply.json()["message"]) == (401, message)


def mergeable_by_itself(scene: Scene) -> PullRequest:
    scene.server.add_repository("org/auto", fork_of="org/app", writers=["alice"], allow_auto_merge=True)
    return scene.repository("alice", "org/auto").create_pull("main", "org:update", title="Update")


def test_a_pull_request_is_told_to_merge_itself(scene: Scene) -> None:
    pull = mergeable_by_itself(scene)
    assert pull.base.repo.allow_auto_merge
    assert pull.enable_automerge("SQUASH", client_mutation_id="1", expected_head_oid=scene.update) == {
        "actor": {
            "avatarUrl": scene.client("alice").get_user().avatar_url,
            "login": "alice",
            "resourcePath": "/alice",
            "url": f"{scene.server.url}/alice",
        },
        "clientMutationId": "1",
    }
    pull.update()
    assert (pull.raw_data["auto_merge"]["merge_method"], pull.raw_data["auto_merge"]["enabled_by"]["login"]) == (
        "squash",
        "alice",
    )
    (facts,) = scene.server.pull_requests("org/auto")
    assert facts.auto_merge == "squash"
    pull.edit(state="closed")
    (facts,) = scene.server.pull_requests("org/auto")
    assert facts.auto_merge is None


def failure(act: Callable[[], object]) -> tuple[str, str]:
    """Type and message of an error of GraphQL."""
    with pytest.raises(pygithub.GithubException) as caught:
        act()
    (error,) = caught.value.data["errors"]
    return error["type"], error["message"]


def test_a_pull_request_does_not_merge_itself_where_that_is_not_allowed(scene: Scene) -> None:
    pull = scene.pull()
    assert failure(pull.enable_automerge) == (
        "UNPROCESSABLE",
        "Pull request Auto merge is not allowed for this repository",
    )
    assert scene.facts().auto_merge is None
    pull = mergeable_by_itself(scene)
    by_carol = scene.repository("carol", "org/auto").get_pull(1)
    assert failure(by_carol.enable_automerge) == (
        "FORBIDDEN",
        "carol does not have the correct permissions to execute `EnablePullRequestAutoMerge`",
    )
    assert failure(lambda: pull.enable_automerge(expected_head_oid=scene.two)) == (
        "UNPROCESSABLE",
        "Head branch was modified. Review and try the merge again.",
    )
    pull.edit(state="closed")
    assert failure(pull.enable_automerge) == ("UNPROCESSABLE", "Pull request is closed")


# What tests rely on


def test_effects_are_told_in_order_before_the_reply(scene: Scene) -> None:
    told: list[tuple[str, int]] = []
    scene.server.after_effect = lambda effect: told.append((effect, len(scene.server.pull_requests("org/app"))))
    pull = scene.pull()
    pull.edit(title="Another")
    pull.create_issue_comment("words")
    pull.add_to_labels("x")
    pull.as_issue().edit(assignees=["alice"])
    pull.merge()
    assert told == [
        ("create pull request 1", 1),
        ("update pull request 1", 1),
        ("comment on 1", 1),
        ("label 1", 1),
        ("update issue 1", 1),
        ("merge pull request 1", 1),
    ]


def test_a_reply_can_be_withheld_after_the_effect(scene: Scene) -> None:
    def cut(effect: str) -> None:
        raise ConnectionAbortedError(effect)

    repository = scene.repository()
    scene.server.after_effect = cut
    with pytest.raises(requests.ConnectionError):
        repository.create_pull("main", "update", title="Update")
    assert scene.facts().state == "open"


def test_what_github_does_not_know_is_a_violation(tmp_path: Path, history: Path) -> None:
    with GitHub(tmp_path) as server:
        Scene(tmp_path, history, server)
        api = f"{server.url}/api/v3"
        headers = {"Authorization": "token alice"}
        assert requests.get(f"{api}/repos/org/app/absent", headers=headers, timeout=10).status_code == 404
        assert (
            "errors"
            in requests.post(
                f"{server.url}/api/graphql", headers=headers, json={"query": "{ viewer { name } }"}, timeout=10
            ).json()
        )
        body = {"head": "update", "base": "main", "title": "Update", "titel": "Update", "draft": "no"}
        requests.post(f"{api}/repos/org/app/pulls", headers=headers, json=body, timeout=10)
        assert requests.post(f"{api}/repos/org/app/pulls", headers=headers, data="{", timeout=10).status_code == 400
        model = "request of POST /api/v3/repos/org/app/pulls: ReposOwnerRepoPullsPostBody"
        assert server.violations == [
            "no such route in the sandbox: GET /api/v3/repos/org/app/absent",
            "no such GraphQL operation in the sandbox: { viewer { name } }",
            f"{model}: ('draft', 'literal[<UNSET>]'): Input should be <UNSET>",
            f"{model}: ('draft', 'bool'): Input should be a valid boolean",
            f"{model}: (): Invalid JSON: EOF while parsing an object at line 1 column 1",
        ]


def test_one_that_was_away_is_back_at_its_addresses_and_knows_what_it_knew(tmp_path: Path) -> None:
    with GitHub(tmp_path) as github:
        github.add_user("alice", token="alice")
        github.add_repository("alice/app")
        url = f"{github.url}/api/v3/repos/alice/app"
        with github.away(), pytest.raises(requests.ConnectionError):
            requests.get(url, timeout=5)
        assert requests.get(url, timeout=5).json()["full_name"] == "alice/app"
