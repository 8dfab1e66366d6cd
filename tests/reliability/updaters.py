"""Many updates of one repository of manifests at once, each a process of its own on the real clock."""

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steps.core.update import marked
from tests.reliability.children import ROOT
from tests.reliability.places import BOT, TOKEN
from tests.sandbox.bare_repository import BareRepository
from tests.sandbox.github import GitHub, PullRequestFacts
from tests.sandbox.worktree import Worktree
from tests.steps.conftest import in_2026, process, publish

AGAIN = 5
"""How often a step that ends 75 is run once more, a second later."""


@dataclass(frozen=True)
class Site:
    """A GitHub with a source, and with manifests of as many applications as the source has commits.

    Attributes:
        source: its commits, the oldest first.
        bare: the repository of the manifests.
        base: its only commit.
    """

    directory: Path
    github: GitHub
    source: Sequence[str]
    bare: Path
    base: str

    def tree(self, name: str, application: int, commit: int) -> Path:
        """A working tree of the manifests in which an application has the image of a commit."""
        tree = self.directory / "trees" / name
        for number in range(len(self.source)):
            path = tree / _path(number)
            path.parent.mkdir(parents=True)
            path.write_text(_kustomization(number, commit + 1 if number == application else 0))
        return tree

    def flags(self, tree: Path, application: int, commit: int) -> dict[str, Any]:
        return {
            "repo_dir": tree,
            "url": f"{self.github.url}/example/manifests.git",
            "base": "main",
            "base_commit": self.base,
            "application": f"app{application}",
            "image": f"app{application}:v{commit + 1}",
            "source_url": f"{self.github.url}/example/source",
            "source_commit": self.source[commit],
            "source_branch": "main",
            "github_url": self.github.url,
            "github_token": self.directory / "token",
        }

    def found(self) -> Counter[str]:
        """What is there in the end."""
        repository = BareRepository(self.bare)
        tips = [sha for name, sha in repository.refs().items() if name.startswith("refs/heads/")]
        commits = [commit for tip in tips for commit in repository.commits(tip)]
        pulls = self.github.pull_requests("example/manifests")
        opened = [pull for pull in pulls if pull.state == "open"]
        return Counter(
            {
                "pull requests": len(pulls),
                "open pull requests": len(opened),
                "at the newest commit": sum(self._is_newest(pull) for pull in opened),
                "merge commits": sum(len(commit.parents) > 1 for commit in commits),
                "violations": len(self.github.violations),
            }
        )

    def _is_newest(self, pull: PullRequestFacts) -> bool:
        """Whether both the text and the branch of a pull request are those of the newest commit of the source."""
        update = marked(pull.body or "")
        return update is not None and (update.source, update.commit) == (self.source[-1], pull.sha)


def measure_applications(directory: Path, count: int) -> Counter[str]:
    """Propose the newest image of all applications at once, each once."""
    with _site(directory, count) as site:
        newest = count - 1
        flags = [site.flags(site.tree(f"app{number}", number, newest), number, newest) for number in range(count)]
        return _at_once(site, flags, lambda each: [_run(each)])


def measure_commits(directory: Path, count: int) -> Counter[str]:
    """Propose the images of all commits of the source at once for one application, each until it ends for good."""
    with _site(directory, count) as site:
        flags = [site.flags(site.tree(f"commit{number}", 0, number), 0, number) for number in range(count)]
        return _at_once(site, flags, _run_again)


def _at_once(site: Site, flags: Sequence[dict[str, Any]], run: Callable[[dict[str, Any]], list[int]]) -> Counter[str]:
    with ThreadPoolExecutor(len(flags)) as pool:
        start = time.monotonic()
        ends = list(pool.map(run, flags))
        seconds = time.monotonic() - start
    codes = [code for end in ends for code in end]
    last = [end[-1] for end in ends]
    found = Counter(
        {
            "updaters": len(flags),
            "seconds": math.ceil(seconds),
            "runs": len(codes),
            "runs that ended 75": codes.count(75),
            "ended 0": last.count(0),
        }
    )
    found.update(site.found())
    return found


def _run(flags: dict[str, Any]) -> int:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", "HOME": os.devnull}
    with process("open_pull_request", environment=environment, **flags) as child:
        child.communicate()
    return child.returncode


def _run_again(flags: dict[str, Any]) -> list[int]:
    codes = [_run(flags)]
    while codes[-1] == 75 and len(codes) <= AGAIN:
        time.sleep(1)
        codes.append(_run(flags))
    return codes


@contextmanager
def _site(directory: Path, count: int) -> Iterator[Site]:
    directory.mkdir(parents=True)
    with GitHub(directory / "github") as github:
        github.add_user("example", organization=True)
        github.add_user(BOT, token=TOKEN)
        (directory / "token").write_text(TOKEN)
        source = in_2026(Worktree(directory / "source"))
        commits = []
        for number in range(count):
            source.environment["GIT_COMMITTER_DATE"] = f"2026-01-02T03:04:{number:02}Z"
            commits.append(source.commit(f"Change {number}", {"main.go": f"{number}\n"}))
        publish(source.path, github.add_repository("example/source"))
        manifests = in_2026(Worktree(directory / "manifests"))
        base = manifests.commit("one", {_path(number): _kustomization(number, 0) for number in range(count)})
        bare = github.add_repository("example/manifests", writers=[BOT])
        publish(manifests.path, bare)
        yield Site(directory, github, commits, bare, base)


def _path(application: int) -> str:
    return f"apps/app{application}/kustomization.yaml"


def _kustomization(application: int, tag: int) -> str:
    return f"images:\n- name: app{application}\n  newTag: v{tag}\n"
