"""The repository that pull requests are opened on, for the tests of the steps that do so."""

import functools
import json
import shutil
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steps.close_superseded_pull_requests import close_superseded_pull_requests
from steps.open_pull_request import open_pull_request
from tests.sandbox.bare_repository import environment
from tests.sandbox.github import GitHub, PullRequestFacts, Request
from tests.sandbox.worktree import Worktree
from tests.steps.conftest import Outcome, Run, in_2026, publish

TOKEN = "token-of-bot"
BRANCH = "apps-cd/v1/web"
REF = f"refs/heads/{BRANCH}"
ALICE = "alice <alice@users.noreply.github.com>"
NAMES = ("pull-request-url", "pull-request-number", "operation")
KUSTOMIZATION = "apps/web/kustomization.yaml"
V1, V2, V3 = (f"images:\n- name: web\n  newTag: {tag}\n" for tag in ("v1", "v2", "v3"))


def make_history(path: Path) -> Path:
    """A repository of alice's, with a submodule `vendor`, and files that are checked out with other line ends:

    one ─── two    main
    """
    tree = in_2026(Worktree(path))
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

    def close_superseded(self, **flags: Any) -> Outcome:
        known = {name: self.flags[name] for name in ("url", "github_url", "github_token")}
        closed = {"closed_result": self.tree.parent / "closed"}
        return self.run(close_superseded_pull_requests, **known | closed | flags)

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


def make_manifests(github: GitHub, history: Path, root: Path, run: Run) -> Manifests:
    bare = github.add_repository("kubeflow/manifests", writers=["alice", "bot"])
    tree = shutil.copytree(history, root / "tree", symlinks=True, ignore=shutil.ignore_patterns(".git"))
    (root / "token").write_text(f"{TOKEN}\n")
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
        "github_token": root / "token",
        **{f"{name.replace('-', '_')}_result": root / name for name in NAMES},
    }
    return Manifests(github, bare, history, tree, flags, run)


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


def add_fork(manifests: Manifests, full_name: str, *, knows_upstream: bool = True) -> Path:
    """A fork; one that does not know upstream's objects lacks what upstream gets from now on, as a real one does."""
    bare = manifests.github.add_repository(full_name, fork_of="kubeflow/manifests")
    if not knows_upstream:
        subprocess.run(["git", "repack", "-a", "-d", "-q"], cwd=bare, check=True)
        (bare / "objects/info/alternates").unlink()
    return bare
