"""A GitHub, and what is done there by us and by people: the ground that lives of pull requests are played on."""

import contextlib
import json
import shutil
import subprocess
import types
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.reliability import children
from tests.reliability.children import Ended, Parent
from tests.sandbox.bare_repository import environment
from tests.sandbox.github import GitHub, PullRequestFacts
from tests.sandbox.storage import Storage
from tests.sandbox.worktree import Worktree
from tests.steps.conftest import in_2026, publish

BOT = "bot"
TOKEN = "ghp_canary/of+the=bot~0123456789"
"""What our steps are given; when people act in the bot's name it is another one."""
PATH = "apps/web/kustomization.yaml"
AGAIN = 3
"""How often a step that ends 75 is run once more, as a Tekton Task with `retries: 3`."""
PAUSE = 30
"""Seconds until then, and until a person has seen what a step did."""


def kustomization(tag: str) -> str:
    return f"images:\n- name: web\n  newTag: {tag}\n"


class Ground:
    """A GitHub and a parent of steps, as a context manager.

    Attributes:
        source: commits of example/source, the oldest first, which follow each other on its branch main.
        heard: what steps printed and logged.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open = contextlib.ExitStack()
        self.heard: list[str] = []

    def __enter__(self) -> Self:
        self.github = self._open.enter_context(GitHub(self._directory / "github"))
        self.storage = self._open.enter_context(Storage())
        self.storage.create_bucket("contexts")
        environment = {"STORAGE_EMULATOR_HOST": self.storage.url}
        self.parent = self._open.enter_context(Parent(self._directory / "children", environment))
        self.github.add_user("example", organization=True)
        for login in ("alice", BOT, "stranger"):
            self.github.add_user(login, token=f"token-of-{login}")
        self.github.add_user(BOT, token=TOKEN)
        (self._directory / "token").write_text(TOKEN)
        tree = in_2026(Worktree(self._directory / "source"))
        self.source = []
        for number in range(6):
            date = f"2026-01-02T03:04:{number:02}Z"
            tree.environment |= {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
            self.source.append(tree.commit(f"Change {number}", {"main.go": f"{number}\n"}))
        publish(tree.path, self.github.add_repository("example/source", writers=["alice"]))
        self._history = in_2026(Worktree(self._directory / "history"))
        self._history.commit("one", {PATH: kustomization("v0"), "README.md": "Manifests.\n"})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self._open.close()

    def date(self, number: int) -> int:
        """The committer date of a commit of the source."""
        return 1767323040 + number

    def manifests(self, name: str) -> "Manifests":
        """A new repository of manifests, and a tree of it for the steps."""
        bare = self.github.add_repository(f"example/{name}", writers=["alice", BOT], allow_auto_merge=True)
        publish(self._history.path, bare)
        tree = self._directory / "trees" / name
        shutil.copytree(self._history.path, tree, ignore=shutil.ignore_patterns(".git"))
        return Manifests(self, f"example/{name}", bare, tree)


@dataclass
class Manifests:
    """A repository of manifests.

    Attributes:
        runs: how each of our steps ended.
        starts: how many requests the audit of faults had before each of them.
    """

    ground: Ground
    name: str
    bare: Path
    tree: Path
    runs: list[Ended] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)

    def flags(self, number: int, **more: Any) -> dict[str, Any]:
        """What open_pull_request is given for a commit of the source."""
        github = self.ground.github
        return {
            "repo_dir": self.tree,
            "url": f"{github.url}/{self.name}.git",
            "base": "main",
            "base_commit": self.tip("main"),
            "application": "web",
            "version": "main",
            "image": f"web:v{number}",
            "source_url": f"{github.url}/example/source",
            "source_commit": self.ground.source[number],
            "source_date": self.ground.date(number),
            "source_branch": "main",
            "github_url": github.url,
            "github_token": self.tree.parents[1] / "token",
            "operation_result": self.tree.parents[1] / "operation",
            **more,
        }

    def propose(self, number: int, *, again: int = AGAIN, **more: Any) -> str:
        """Propose the image of a commit of the source, and once more when that is worth a try; what became of it.

        Returns:
            The operation, or the reason of a failure.
        """
        (self.tree / PATH).write_text(kustomization(f"v{number}"))
        return self.carry_out("open_pull_request", self.flags(number, **more), again)

    def carry_out(self, step: str, flags: dict[str, Any], again: int = AGAIN) -> str:
        operation = self.tree.parents[1] / "operation"
        operation.unlink(missing_ok=True)
        faults = self.ground.github.faults
        for _ in range(again + 1):
            self.starts.append(len(faults.log) if faults else 0)
            ended = self.ground.parent.run(step, flags)
            self.runs.append(ended)
            self.ground.heard += [ended.stdout, ended.log]
            if ended.code != 75:
                break
            children.wait(PAUSE)
        if ended.code == 0:
            return operation.read_text() if operation.exists() else "done"
        return ended.reasons[-1] if ended.code > 0 else "killed"

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.bare, env=environment(), check=True, capture_output=True, text=True
        )
        return done.stdout

    def at(self, revision: str, path: str) -> str:
        return self.git("show", f"{revision}:{path}")

    def tip(self, branch: str = "apps-cd/main/web") -> str:
        """The commit of a branch, or nothing."""
        return self.git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}").strip()

    def commit(self, branch: str, path: str, text: str, login: str = "alice") -> str:
        """A person's commit on top of a branch, pushed."""
        blob = self._write("hash-object", "-w", "--stdin", text=text)
        with_index = {"GIT_INDEX_FILE": str(self.bare / f"index-{login}")}
        self._write("read-tree", branch, more=with_index)
        self._write("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", more=with_index)
        tree = self._write("write-tree", more=with_index)
        who = {"NAME": login, "EMAIL": f"{login}@users.noreply.github.com", "DATE": "@1767400000 +0000"}
        both = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in who.items()}
        commit = self._write("commit-tree", tree, "-p", branch, "-m", "By hand", more=both)
        self._write("update-ref", f"refs/heads/{branch}", commit)
        return commit

    def _write(self, *arguments: str, text: str = "", more: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.bare,
            env={**environment(), **(more or {})},
            input=text,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def rest(self, method: str, path: str, body: dict[str, Any], login: str = "alice") -> None:
        """A request of a person's, to which nothing ever happens on its way."""
        github = self.ground.github
        faults, github.faults = github.faults, None
        try:
            call = urllib.request.Request(  # noqa: S310 - http
                f"{github.url}/api/v3/repos/{self.name}/{path}",
                method=method,
                data=json.dumps(body).encode(),
                headers={"Authorization": f"token token-of-{login}"},
            )
            urllib.request.urlopen(call).close()  # noqa: S310 - http
        finally:
            github.faults = faults

    @property
    def pull_requests(self) -> Sequence[PullRequestFacts]:
        return self.ground.github.pull_requests(self.name)
