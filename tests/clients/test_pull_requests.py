"""What a process that stays knows of pull requests, and how little it asks for it, at the sandbox's GitHub."""

import logging
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from steps.clients.credentials import Credentials
from steps.clients.pull_requests import PullRequests
from steps.core import update as updates
from steps.core.needs_update import Failure
from steps.core.plan import Proposals
from steps.core.pull_request import PullRequest
from steps.core.pull_request_body import remark
from steps.core.repository import Branch, Person, Repository, Server
from steps.core.update import AUTHOR, REOPEN_LABEL, Application, Update, Version
from steps.errors import StepError
from tests.clients.github_server import Fault, Forge, reply
from tests.sandbox.faults import NONE, Faults
from tests.sandbox.github import GitHub
from tests.sandbox.http_server import Call, Response
from tests.sandbox.worktree import Worktree

BASE = Branch("main")
SOURCE, OTHER_SOURCE = "a" * 40, "b" * 40
WEB = Update("web", "main", source=SOURCE)
BRANCH = updates.branch(Application("web"), Version("main"))
ALICE = Person("alice", "alice@users.noreply.github.com")
LIST = "pulls?direction=desc&per_page=100&sort=updated&state=all"
SECOND_PAGE = "pulls?direction=desc&page=2&per_page=100&sort=updated&state=all"


class Scene:
    """org/manifests, to which bot and alice may write; bot's token is in a file."""

    def __init__(self, directory: Path, server: GitHub) -> None:
        self.server = server
        self.directory = directory
        for login in ("bot", "alice", "carol"):
            server.add_user(login, token=f"{login}-token")
        server.add_user("org", organization=True)
        self.bare = server.add_repository("org/manifests", writers=["bot", "alice"])
        self.tree = Worktree(directory / "tree")
        self.tree.commit("one", {"kustomization.yaml": "1\n"})
        self.tree.git("push", "--quiet", self.bare, "HEAD:main", "HEAD:release")
        self.server_url = Server.parse(server.url)
        self.manifests = self.repository("org/manifests")
        self.token = directory / "token"
        self.token.write_text("bot-token\n")
        self.counted: Counter[str] = Counter()
        self.pull_requests = self.of(self.token)

    def of(self, token: Path | None = None, app: Path | None = None) -> PullRequests:
        return PullRequests(self.server_url, token, app, None, lambda status: self.counted.update([status]))

    def repository(self, path: str) -> Repository:
        return Repository.parse(f"{self.server.url}/{path}")

    def call(self, login: str, verb: str, path: str, **data: Any) -> Any:
        """What the REST interface answers below org/manifests."""
        url = f"{self.server.url}/api/v3/repos/org/manifests/{path}"
        headers = {"Authorization": f"Bearer {login}-token"}
        answer = requests.request(verb, url, headers=headers, json=data or None, timeout=10)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def push(self, author: Person = AUTHOR, *, branch: str = BRANCH, to: Path | None = None, onto: str = "main") -> str:
        """A commit on top of another one becomes the branch."""
        for role in ("AUTHOR", "COMMITTER"):
            self.tree.environment |= {f"GIT_{role}_NAME": author.name, f"GIT_{role}_EMAIL": author.mail}
        self.tree.git("checkout", "--quiet", "--detach", onto)
        commit = self.tree.commit("update", {"kustomization.yaml": f"{time.monotonic_ns()}\n"})
        self.tree.git("push", "--quiet", "--force", to or self.bare, f"{commit}:refs/heads/{branch}")
        return commit

    def propose(
        self, update: Update | None = WEB, *, login: str = "bot", head: str = BRANCH, base: str = "main", **data: Any
    ) -> int:
        """Open a pull request of a branch that is there."""
        body = f"Words.\n{updates.marker(update)}\n" if update else "Words."
        text = {"title": "Update", "body": body, "head": head, "base": base}
        return int(self.call(login, "POST", "pulls", **text | data)["number"])

    def ours(self, **values: Any) -> int:
        """A pull request as open_pull_request leaves it."""
        return self.propose(replace(WEB, commit=self.push(), **values))

    def close(self, number: int, login: str) -> None:
        self.call(login, "PATCH", f"pulls/{number}", state="closed")

    def known(self, number: int) -> PullRequest:
        """A pull request as it is to be known."""
        body = self.call("alice", "GET", f"pulls/{number}")
        found = updates.marked(body["body"])
        return PullRequest(
            number,
            f"{self.server.url}/org/manifests/pull/{number}",
            body["user"]["login"],
            f"{body['head']['repo']['full_name']}:{body['head']['ref']}",
            body["base"]["ref"],
            body["head"]["sha"],
            "merged" if body["merged"] else body["state"],
            body["title"],
            updates.marker(found) if found else "",
            frozenset(each["name"] for each in body["labels"]),
            created=datetime.fromisoformat(body["created_at"]).timestamp(),
            updated=datetime.fromisoformat(body["updated_at"]).timestamp(),
        )

    def passes(self, *repositories: Repository, pull_requests: PullRequests | None = None) -> None:
        """Begin a pass."""
        pull_requests = pull_requests or self.pull_requests
        pull_requests.begin()
        pull_requests.look(repositories or [self.manifests])

    def seen(self, pull_requests: PullRequests | None = None, **values: Any) -> Proposals | Failure:
        """What they say of the update."""
        asked: dict[str, Any] = {"manifests": self.manifests, "base": BASE, "head_owner": None, "update": WEB}
        return (pull_requests or self.pull_requests).proposals(**asked | values)

    def asked(self) -> list[str]:
        """What was asked since this was asked last: status, verb unless GET, path below the repository's if it can."""
        log = [each for each in self.server.requests if each.user_agent == "apps-cd"]
        self.server.requests.clear()
        return [
            " ".join(
                [
                    str(each.status),
                    *([each.method] if each.method != "GET" else []),
                    each.path.removeprefix("/api/v3").removeprefix("/repos/org/manifests/"),
                ]
            )
            for each in log
        ]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with GitHub(tmp_path / "github") as server:
        yield Scene(tmp_path, server)
        assert server.violations == []


def test_a_pass_in_which_nothing_moved_is_one_request_that_is_not_counted(scene: Scene) -> None:
    number = scene.ours()
    expected = Proposals("bot", (scene.known(number),))
    scene.passes()
    assert scene.seen() == expected
    assert scene.asked() == [f"200 {LIST}", "200 /user"]
    for _ in range(2):
        scene.passes()
        assert scene.seen() == expected
        assert scene.asked() == [f"304 {LIST}"]
    assert scene.counted == {"200": 2, "304": 2}


def test_a_repository_without_pull_requests_has_none_until_one_is_opened(scene: Scene) -> None:
    scene.passes()
    assert scene.seen() == Proposals("bot")
    number = scene.ours()
    scene.passes()
    assert scene.seen() == Proposals("bot", (scene.known(number),))


def test_the_pull_requests_of_a_branch_are_found_the_newest_first_whoever_opened_them(scene: Scene) -> None:
    merged = scene.ours(source=OTHER_SOURCE)
    scene.call("alice", "PUT", f"pulls/{merged}/merge")
    scene.push()
    closed = scene.propose(None, login="alice")
    scene.close(closed, "alice")
    elsewhere = scene.propose(base="release")
    other = scene.push(branch="apps-cd/main/other")
    scene.propose(Update("other", "main", commit=other), head="apps-cd/main/other")
    scene.push(branch="topic")
    scene.propose(None, head="topic", login="alice")
    number = scene.propose(login="alice")
    scene.passes()
    found = tuple(scene.known(each) for each in (number, elsewhere, closed, merged))
    assert scene.seen() == Proposals("bot", found)
    scene.close(elsewhere, "bot")
    scene.passes()
    found = tuple(scene.known(each) for each in (number, closed, merged))
    assert scene.seen() == Proposals("bot", found)
    known = scene.known(elsewhere)
    assert scene.seen(base=Branch("release")) == Proposals("bot", (found[0], known), refused=known)


def test_what_a_person_closed_is_refused_until_it_has_the_label_or_the_commit_is_another(scene: Scene) -> None:
    number = scene.ours()
    scene.close(number, "alice")
    scene.passes()
    known = scene.known(number)
    assert scene.seen() == Proposals("bot", (known,), refused=known)
    assert scene.seen(update=replace(WEB, source=OTHER_SOURCE)) == Proposals("bot", (known,))
    assert scene.asked() == [f"200 {LIST}", "200 /user", f"200 issues/{number}"]
    scene.passes()
    assert scene.seen() == Proposals("bot", (known,), refused=known)
    assert scene.asked() == [f"304 {LIST}"]
    scene.call("alice", "POST", f"issues/{number}/labels", labels=[REOPEN_LABEL])
    scene.passes()
    assert scene.seen() == Proposals("bot", (replace(scene.known(number), labels=frozenset({REOPEN_LABEL})),))
    assert scene.asked() == [f"200 {LIST}"]


def test_what_we_closed_ourselves_with_a_remark_is_not_refused(scene: Scene) -> None:
    number = scene.ours()
    scene.close(number, "bot")
    scene.server.age_pull_requests("org/manifests", 10)
    scene.passes()
    assert scene.seen() == Proposals("bot", (scene.known(number),), refused=scene.known(number))
    scene.call("bot", "POST", f"issues/{number}/comments", body=remark("superseded"))
    scene.passes()
    assert scene.seen() == Proposals("bot", (scene.known(number),))


def test_a_close_of_which_nobody_may_know_who_did_it_is_a_persons(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    forge = Forge(login="bot")
    forge.add_pull(state="closed", branch=BRANCH, body=updates.marker(WEB))
    refused = {"message": "Resource not accessible"}
    forge.routes["GET", "/repos/owner/name/issues/7"] = lambda _: reply(403, refused)
    pull_requests = PullRequests(forge.address, scene.token, None, None)
    for _ in range(2):
        scene.passes(forge.repository, pull_requests=pull_requests)
        found = scene.seen(pull_requests, manifests=forge.repository)
        assert isinstance(found, Proposals)
        assert found.refused == found.found[0]
    assert [(each.name, each.levelname) for each in caplog.records] == [("steps.github", "WARNING")]
    forge.close()


def test_the_commits_of_somebody_else_on_our_branch_are_told(scene: Scene) -> None:
    number = scene.ours()
    scene.passes()
    assert scene.seen() == Proposals("bot", (scene.known(number),))
    scene.push(ALICE, onto="HEAD")
    expected = Proposals("bot", (scene.known(number),), is_foreign=True)
    scene.asked()
    for status, more in (("200", [f"200 pulls/{number}/commits?per_page=100"]), ("304", [])):
        scene.passes()
        assert scene.seen() == expected
        assert scene.asked() == [f"{status} {LIST}", *more]


def test_commits_of_ours_that_the_text_does_not_tell_of_yet_are_not_somebody_elses(scene: Scene) -> None:
    number = scene.ours()
    scene.push()
    scene.passes()
    assert scene.seen() == Proposals("bot", (scene.known(number),))
    assert scene.seen(author=ALICE) == Proposals("bot", (scene.known(number),), is_foreign=True)


def test_a_branch_of_a_fork_is_another_than_that_of_the_repository(scene: Scene) -> None:
    fork = scene.server.add_repository("bot/manifests", fork_of="org/manifests")
    scene.push(to=fork)
    number = scene.propose(head=f"bot:{BRANCH}")
    scene.passes()
    assert scene.seen() == Proposals("bot")
    known = (scene.known(number),)
    assert scene.seen(head_owner="bot") == scene.seen(head_owner="Bot") == Proposals("bot", known, is_foreign=False)
    scene.server.rename_repository("bot/manifests", "carol/copy")
    scene.passes()
    assert scene.seen(head_owner="bot") == Proposals("bot", (scene.known(number),))
    assert scene.seen(head_owner="carol") == Failure(
        "not-found",
        "cannot look up the repository carol/manifests: there is no such repository, or the token may not see it (Not Found)",
    )
    scene.asked()
    scene.passes()
    scene.seen(head_owner="bot")
    assert scene.asked() == [f"304 {LIST}"]


def test_the_repository_is_found_after_it_was_renamed(scene: Scene) -> None:
    number = scene.ours()
    before = scene.known(number)
    scene.passes()
    scene.server.rename_repository("org/manifests", "org/infrastructure")
    scene.passes()
    url = f"{scene.server.url}/org/infrastructure/pull/{number}"
    expected = Proposals("bot", (replace(before, url=url, head=f"org/infrastructure:{BRANCH}"),))
    assert scene.seen() == expected
    scene.asked()
    scene.passes()
    assert scene.seen() == expected
    assert scene.asked() == [f"304 /repos/org/infrastructure/{LIST}"]


def crowd(scene: Scene) -> int:
    """One that matters and behind it 120 that do not, all of another hour; the first is on the second page."""
    number = scene.ours()
    scene.push(branch="topic")
    for _ in range(3):
        scene.server.add_closed_pull_requests("org/manifests", "topic", 40)
        scene.server.age_pull_requests("org/manifests", 3600)
    return number


def test_a_long_list_is_read_whole_once_and_then_as_far_as_it_may_have_changed(scene: Scene) -> None:
    number = crowd(scene)
    scene.asked()
    scene.passes()
    assert scene.seen() == Proposals("bot", (scene.known(number),))
    assert scene.asked() == [f"200 {LIST}", f"200 {SECOND_PAGE}", f"304 {LIST}", "200 /user"]
    scene.call("alice", "POST", f"issues/{number}/labels", labels=["urgent"])
    scene.passes()
    assert scene.seen() == Proposals("bot", (scene.known(number),))
    assert scene.asked() == [f"200 {LIST}"]
    scene.passes()
    assert scene.asked() == [f"304 {LIST}"]


@pytest.mark.parametrize("known", [False, True], ids=["at first", "later"])
def test_what_moves_to_the_first_page_while_the_second_is_read_is_seen(scene: Scene, known: bool) -> None:
    number = crowd(scene)
    listed = 0

    def move(what: str) -> None:
        nonlocal listed
        listed += what == "GET /api/v3/repos/org/manifests/pulls"
        if listed == 2:
            listed += 1
            scene.close(number, "alice")

    if known:
        scene.passes()
        scene.server.add_closed_pull_requests("org/manifests", "topic", 80)
    scene.asked()
    scene.server.before_answer = move
    scene.passes()
    scene.server.before_answer = None
    assert scene.asked() == [f"200 {LIST}", f"200 {SECOND_PAGE}", f"200 {LIST}"]
    assert scene.seen() == Proposals("bot", (scene.known(number),), refused=scene.known(number))


def test_what_is_listed_late_is_seen_when_something_moves_within_a_minute(scene: Scene) -> None:
    now = 0.0
    scene.passes()
    scene.push(branch="topic")
    scene.server.faults = Faults(replace(NONE, lag=1000), seed=1, clock=lambda: now)
    number = scene.ours()
    scene.server.add_closed_pull_requests("org/manifests", "topic", 110)
    scene.passes()
    assert scene.seen() == Proposals("bot")
    now = 1000.0
    scene.call("bot", "PATCH", f"pulls/{number + 110}", title="Moved")
    scene.passes()
    assert scene.seen() == Proposals("bot", (scene.known(number),))


def test_a_text_that_lost_our_marker_proposes_nothing(scene: Scene) -> None:
    number = scene.ours()
    scene.passes()
    scene.call("alice", "PATCH", f"pulls/{number}", body="Mine now.")
    scene.passes()
    known = scene.known(number)
    assert (known.body, known.proposes) == ("", None)
    assert scene.seen() == Proposals("bot", (known,))


def test_a_list_that_broke_off_is_read_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    number = crowd(scene)
    listed = 0

    def drop(_: str) -> None:
        nonlocal listed
        listed += 1
        if listed > 1:
            raise ConnectionAbortedError

    scene.server.before_answer = drop
    scene.passes()
    scene.server.before_answer = None
    found = scene.seen()
    assert isinstance(found, Failure)
    assert (found.reason, found.later) == ("unreachable", True)
    scene.asked()
    scene.passes()
    assert scene.asked() == [f"304 {LIST}", f"200 {SECOND_PAGE}", f"304 {LIST}"]
    assert scene.seen() == Proposals("bot", (scene.known(number),))


def test_what_is_wrong_with_one_repository_is_told_of_its_pairs_alone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    number = scene.ours()
    absent, deep, broken = map(scene.repository, ("org/absent", "org/team/manifests", "org/broken"))
    elsewhere = Repository.parse("https://git.example.com/org/manifests")
    scene.server.add_repository("org/broken")

    def drop(what: str) -> None:
        if "broken" in what:
            raise ConnectionAbortedError

    scene.server.before_answer = drop
    scene.passes(absent, scene.manifests, deep, elsewhere, broken)
    assert [scene.seen(manifests=each) for each in (absent, scene.manifests, deep, elsewhere)] == [
        Failure(
            "not-found",
            "cannot list the pull requests of org/absent: there is no such repository, or the token may not see it (Not Found)",
        ),
        Proposals("bot", (scene.known(number),)),
        Failure("config-error", f"{deep} is not a GitHub repository, OWNER/NAME"),
        Failure(
            "config-error",
            f"{elsewhere} is at git.example.com, but pull requests are asked for at {scene.server_url.host}; "
            "give --github-url=https://git.example.com if that may see the token",
        ),
    ]
    found = scene.seen(manifests=broken)
    assert isinstance(found, Failure)
    assert (found.reason, found.later) == ("unreachable", True)
    scene.server.before_answer = None
    scene.server.add_repository("org/absent")
    scene.passes(absent, broken)
    assert [scene.seen(manifests=each) for each in (absent, broken)] == [Proposals("bot")] * 2


def test_a_token_that_was_rotated_is_the_one_of_the_next_pass(scene: Scene) -> None:
    number = scene.ours()
    scene.close(number, "alice")
    scene.passes()
    assert scene.seen() == Proposals("bot", (scene.known(number),), refused=scene.known(number))
    scene.server.add_user("robot", token="robot-token")
    scene.token.write_text("robot-token\n")
    assert scene.seen() == Proposals("bot", (scene.known(number),), refused=scene.known(number))
    scene.passes()
    assert scene.seen() == Proposals("robot", (scene.known(number),))
    logins = [each.login for each in scene.server.requests if each.user_agent == "apps-cd"]
    assert logins == ["bot"] * 3 + ["robot"] * 2


def test_a_token_that_is_not_there_is_told_of_all_pairs_until_it_is(scene: Scene) -> None:
    number = scene.ours()
    for text in ("", "wrong", "bot-token"):
        scene.token.write_text(text)
        scene.passes()
        found = scene.seen()
        if text == "bot-token":
            assert found == Proposals("bot", (scene.known(number),))
        else:
            assert isinstance(found, Failure)
            assert (found.reason, found.later) == ("auth", False)
    scene.token.unlink()
    scene.asked()
    scene.passes()
    assert scene.seen() == Failure(
        "auth",
        "--github-token must be a file with the token, or the directory of a Secret with one: it does not exist or is empty",
    )
    assert scene.pull_requests.token_for(Repository.parse("https://github.com/org/app")) is None
    assert scene.asked() == []


@pytest.mark.parametrize("path", [None, Path("/run/secrets/github")], ids=["neither", "both"])
def test_a_watch_has_a_token_or_an_app(scene: Scene, path: Path | None) -> None:
    with pytest.raises(StepError, match="--github-token must be given"):
        scene.of(path, path)


class Apps:
    """A GitHub App at a server with TLS, and what it sees of pull requests."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.key = scene.server.add_app("updater", app_id=42, owners=["org"])
        self.secret = scene.directory / "app"
        self.secret.mkdir()
        self.write("app-id", "42\n")
        self.write("private-key", self.key)
        self.write("ca.crt", scene.server.ca_file.read_text())
        self.server = Server.parse(scene.server.tls_url)
        self.manifests = self.repository("org/manifests")
        self.pull_requests = PullRequests(self.server, None, self.secret, None)

    def write(self, name: str, text: str) -> None:
        (self.secret / name).write_text(text)

    def repository(self, path: str) -> Repository:
        return Repository.parse(f"{self.scene.server.tls_url}/{path}")

    def passes(self, *repositories: Repository) -> None:
        self.scene.passes(*(repositories or [self.manifests]), pull_requests=self.pull_requests)

    def seen(self) -> Proposals | Failure:
        return self.scene.seen(self.pull_requests, manifests=self.manifests)


LOOK_UP = "200 installation"


def test_an_app_has_one_token_for_all_repositories_of_an_owner_and_all_passes(scene: Scene) -> None:
    apps, mint = Apps(scene), "201 POST /app/installations/{}/access_tokens"
    more = scene.server.add_repository("org/more")
    assert more.exists()
    apps.passes(apps.manifests)
    assert apps.seen() == Proposals("updater[bot]")
    number = next(each.path.split("/")[5] for each in scene.server.requests if "access_tokens" in each.path)
    assert scene.asked() == [LOOK_UP, mint.format(number), f"200 {LIST}", "200 /app"]
    apps.passes(apps.manifests, apps.repository("org/more"))
    assert sorted(scene.asked()) == ["200 /repos/org/more/installation", f"200 /repos/org/more/{LIST}", f"304 {LIST}"]
    apps.passes(apps.manifests, apps.repository("org/more"))
    assert sorted(scene.asked()) == [f"304 /repos/org/more/{LIST}", f"304 {LIST}"]


def test_a_key_that_was_rotated_is_the_one_of_the_next_token(scene: Scene) -> None:
    apps = Apps(scene)
    apps.write("private-key", "not-a-key-in-pem")
    apps.passes()
    found = apps.seen()
    assert isinstance(found, Failure)
    assert found.reason == "auth"
    apps.write("private-key", apps.key)
    apps.passes()
    assert apps.seen() == Proposals("updater[bot]")
    scene.server.expire_tokens()
    apps.write("private-key", "not-a-key-in-pem")
    apps.passes()
    assert isinstance(apps.seen(), Failure)
    apps.write("private-key", apps.key)
    apps.passes()
    assert apps.seen() == Proposals("updater[bot]")


def test_another_app_takes_over(scene: Scene) -> None:
    apps = Apps(scene)
    apps.passes()
    assert apps.seen() == Proposals("updater[bot]")
    scene.server.add_app("successor", app_id=43, owners=["org"])
    apps.write("app-id", "43")
    apps.passes()
    assert apps.seen() == Proposals("successor[bot]")


@pytest.mark.parametrize("place", ["secret", "credentials"])
def test_certificates_that_come_later_are_trusted_from_the_next_pass_on(scene: Scene, place: str) -> None:
    for name in ("secret", "credentials"):
        (scene.directory / name).mkdir()
    (scene.directory / "secret/token").write_text("bot-token")
    (scene.directory / "credentials/token").write_text("token-of-git")
    server = Server.parse(scene.server.tls_url)
    manifests = Repository.parse(f"{scene.server.tls_url}/org/manifests")
    pull_requests = PullRequests(server, scene.directory / "secret", None, scene.directory / "credentials")
    number = scene.ours()
    scene.passes(manifests, pull_requests=pull_requests)
    failure = scene.seen(pull_requests, manifests=manifests)
    assert isinstance(failure, Failure)
    assert failure.reason == "tls"
    (scene.directory / place / "ca.crt").write_text(scene.server.ca_file.read_text())
    scene.passes(manifests, pull_requests=pull_requests)
    found = scene.seen(pull_requests, manifests=manifests)
    assert isinstance(found, Proposals)
    assert [each.number for each in found.found] == [number]


def test_certificates_of_an_app_that_come_later_are_trusted_from_the_next_pass_on(scene: Scene) -> None:
    apps = Apps(scene)
    apps.passes()
    certificates = (apps.secret / "ca.crt").read_text()
    (apps.secret / "ca.crt").unlink()
    apps.passes()
    assert isinstance(apps.seen(), Failure)
    apps.write("ca.crt", certificates)
    apps.passes()
    assert apps.seen() == Proposals("updater[bot]")


def test_git_is_given_the_token_for_repositories_of_the_server_over_https(scene: Scene) -> None:
    pull_requests = PullRequests(Server.parse(scene.server.tls_url), scene.token, None, None)
    pull_requests.begin()
    host = scene.server.tls_url.removeprefix("https://")
    addresses = [
        scene.server.tls_url,
        scene.server.tls_url.replace("127.0.0.1", "localhost"),
        "https://127.0.0.1",
        f"http://{host}",
        f"ssh://git@{host}",
    ]
    assert [pull_requests.token_for(Repository.parse(f"{address}/org/app")) for address in addresses] == [
        Credentials(user="x-access-token", password="bot-token"),
        *[None] * 4,
    ]
    scene.token.write_text("alice-token")
    pull_requests.begin()
    found = pull_requests.token_for(Repository.parse(f"{addresses[0]}/org/app"))
    assert found == Credentials(user="x-access-token", password="alice-token")
    assert scene.asked() == []


def test_git_is_given_the_token_of_an_app_where_it_is_installed(scene: Scene) -> None:
    apps = Apps(scene)
    scene.server.add_repository("carol/tool")
    apps.passes()
    found = apps.pull_requests.token_for(apps.manifests)
    assert found is not None
    assert found.password is not None
    assert found == Credentials(user="x-access-token", password=found.password, ca=apps.secret / "ca.crt")
    assert found.password.startswith("ghs_42_")
    scene.asked()
    for _ in range(2):
        assert [apps.pull_requests.token_for(apps.repository("carol/tool")) for _ in range(2)] == [None, None]
        assert scene.asked() == ["404 /repos/carol/tool/installation"]
        apps.pull_requests.begin()


def status(scene: Scene, pull_requests: PullRequests | None = None, **values: Any) -> bool:
    given: dict[str, Any] = {
        "repository": scene.repository("org/app"),
        "commit": scene.tree.git("rev-parse", "main"),
        "context": "apps-cd/main/web",
        "state": "failure",
        "description": "Its build failed 3 times.",
        "url": "https://cd.example.com/web",
    }
    given |= values
    return (pull_requests or scene.pull_requests).set_status(given.pop("repository"), given.pop("commit"), **given)


def statuses(scene: Scene) -> list[tuple[str, ...]]:
    commit = scene.tree.git("rev-parse", "main")
    url = f"{scene.server.url}/api/v3/repos/org/app/commits/{commit}/statuses"
    listed = requests.get(url, headers={"Authorization": "Bearer alice-token"}, timeout=10).json()
    return [tuple(each[name] for name in ("context", "state", "description", "target_url")) for each in listed]


def test_a_commit_gets_a_status_once(scene: Scene) -> None:
    scene.tree.git("push", "--quiet", scene.server.add_repository("org/app", writers=["bot", "alice"]), "main")
    scene.pull_requests.begin()
    path = f"/repos/org/app/commits/{scene.tree.git('rev-parse', 'main')}/statuses?per_page=100"
    write = f"201 POST /repos/org/app/statuses/{scene.tree.git('rev-parse', 'main')}"
    assert [status(scene), status(scene), status(scene, context="other", url=None)] == [True] * 3
    assert scene.asked() == [f"200 {path}", write, f"200 {path}", f"200 {path}", write]
    assert status(scene, state="success", description="x" * 200)
    assert status(scene, state="success", description="x" * 200)
    assert status(scene)
    failed = ("apps-cd/main/web", "failure", "Its build failed 3 times.", "https://cd.example.com/web")
    assert statuses(scene) == [
        failed,
        ("apps-cd/main/web", "success", "x" * 140, "https://cd.example.com/web"),
        ("other", "failure", "Its build failed 3 times.", None),
        failed,
    ]


def test_a_status_whose_reply_is_lost_is_looked_for(scene: Scene) -> None:
    scene.tree.git("push", "--quiet", scene.server.add_repository("org/app", writers=["bot"]), "main")
    scene.pull_requests.begin()

    def cut(effect: str) -> None:
        scene.server.after_effect = None
        raise ConnectionAbortedError(effect)

    scene.server.after_effect = cut
    assert status(scene)
    assert len(statuses(scene)) == 1


def test_where_the_token_may_not_no_commit_gets_a_status_which_is_said_once(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.tree.git("push", "--quiet", scene.server.add_repository("org/app"), "main")
    caplog.set_level(logging.INFO, "steps.pull_requests")
    scene.pull_requests.begin()
    assert not status(scene)
    assert not status(scene, context="other")
    assert not status(scene, repository=scene.repository("org/absent"))
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        (
            "INFO",
            f"commits of {scene.repository('org/app')} get no status (Resource not accessible by personal access token)",
        ),
        ("INFO", f"commits of {scene.repository('org/absent')} get no status (Not Found)"),
    ]
    scene.asked()
    assert not status(scene, repository=Repository.parse("https://git.example.com/org/app"))
    assert scene.asked() == []
    assert statuses(scene) == []


@pytest.fixture
def forge() -> Iterator[Forge]:
    found = Forge()
    yield found
    found.close()


class Clock:
    """The standard library's clock, in which sleeping takes no time, and that goes on as one says."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self._real = time.monotonic

    def sleep(self, seconds: float) -> None:
        self.ahead += seconds

    def monotonic(self) -> float:
        return self._real() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(time, "sleep", found.sleep)
    monkeypatch.setattr(time, "monotonic", found.monotonic)
    return found


def test_while_github_asks_for_patience_passes_send_nothing(forge: Forge, scene: Scene, clock: Clock) -> None:
    forge.faults["GET"] = [Fault(lambda: reply(429, {"message": "API rate limit exceeded"}, Retry_After="3600"))]
    pull_requests = PullRequests(forge.address, scene.token, None, None)
    for _ in range(3):
        scene.passes(forge.repository, pull_requests=pull_requests)
        found = scene.seen(pull_requests, manifests=forge.repository)
        assert isinstance(found, Failure)
        assert (found.reason, found.later) == ("rate-limit", True)
    assert len(forge.seen) == 1
    clock.ahead += 3600
    scene.passes(forge.repository, pull_requests=pull_requests)
    assert scene.seen(pull_requests, manifests=forge.repository) == Proposals("bot")


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({"Retry_After": "86400000"}, id="years"),
        pytest.param({"Retry_After": "9" * 400}, id="no number of seconds"),
        pytest.param(
            {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": "99999999999"}, id="a reset in the far future"
        ),
    ],
)
def test_no_limit_is_believed_for_longer_than_an_hour(
    forge: Forge, scene: Scene, clock: Clock, asked: dict[str, str]
) -> None:
    headers = {"Date": "Thu, 01 Jan 2026 00:00:00 GMT", **asked}
    forge.faults["GET"] = [Fault(lambda: reply(429, {"message": "API rate limit exceeded"}, **headers))]
    pull_requests = PullRequests(forge.address, scene.token, None, None)
    scene.passes(forge.repository, pull_requests=pull_requests)
    found = scene.seen(pull_requests, manifests=forge.repository)
    assert isinstance(found, Failure)
    assert (found.reason, found.later) == ("rate-limit", True)
    clock.ahead += 3600
    scene.passes(forge.repository, pull_requests=pull_requests)
    assert scene.seen(pull_requests, manifests=forge.repository) == Proposals("bot")


def test_a_status_that_comes_back_in_other_words_is_written_once(forge: Forge, scene: Scene) -> None:
    path = f"/repos/{forge.name}/statuses/{'a' * 40}"
    told = {"context": "apps-cd/main/web", "state": "failure", "description": "Its build failed.  ", "target_url": ""}
    written: list[dict[str, Any]] = []

    def write(_: Call) -> Response:
        written.append(told)
        return reply(201, told)

    forge.routes["POST", path] = write
    forge.routes["GET", f"/repos/{forge.name}/commits/{'a' * 40}/statuses"] = lambda _: reply(200, written)
    pull_requests = PullRequests(forge.address, scene.token, None, None)
    pull_requests.begin()
    for description in ("Its build failed.", "Its build failed. "):
        values = {"repository": forge.repository, "commit": "a" * 40, "description": description, "url": None}
        assert status(scene, pull_requests, **values)
    assert written == [told]


def test_each_pass_is_as_patient_as_the_first(forge: Forge, scene: Scene, clock: Clock) -> None:
    pull_requests = PullRequests(forge.address, scene.token, None, None)
    for _ in range(3):
        begun = clock.ahead
        forge.faults["GET"] = [Fault(lambda: reply(503, {"message": "Unavailable"}, Retry_After="50"))] * 2
        scene.passes(forge.repository, pull_requests=pull_requests)
        assert scene.seen(pull_requests, manifests=forge.repository) == Proposals("bot")
        assert 99 < clock.ahead - begun <= 100
