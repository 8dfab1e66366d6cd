"""All of the sandbox together, for cases that start runs and look at what comes of them.

What a case does with a `World` it could do with a cluster: put files into repositories, start a PipelineRun, see the pull
requests and the images. Each part starts when it is first used.
"""

import contextlib
import functools
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from tests.sandbox.containers import Image
from tests.sandbox.github import GitHub, PullRequestFacts
from tests.sandbox.registry import Registry
from tests.sandbox.runner import Files, Run, Runner
from tests.sandbox.storage import Storage
from tests.sandbox.tekton import Object, Value
from tests.sandbox.worktree import Worktree

BOT, TOKEN = "apps-cd-bot", "token-of-the-bot"
EXAMPLE = Path(__file__).parent / "example"
"""A small web application and its manifests, `webapp` and `manifests`."""


def example(name: str) -> dict[str, bytes]:
    """The files of one of the example's repositories."""
    top = EXAMPLE / name
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in sorted(top.rglob("*")) if path.is_file()}


class World:
    """The sandbox for the time of a `with` block.

    Args:
        root: an empty or absent directory for what it keeps.

    Attributes:
        images: how containers of further images run; to be set before the first run.
        output: is called with Task, step and line as a run goes on; to be set before the first run.
    """

    def __init__(self, root: Path) -> None:
        self.images: dict[str, Image] = {}
        self.output: Callable[[str, str, str], None] | None = None
        self._root = root
        self._trees: dict[str, Worktree] = {}
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self._open.close()

    @functools.cached_property
    def github(self) -> GitHub:
        """GitHub, where the bot has a token, and an organization `example` no repository yet."""
        github = self._open.enter_context(GitHub(self._root / "github"))
        github.add_user("example", organization=True)
        github.add_user(BOT, token=TOKEN)
        return github

    @functools.cached_property
    def registry(self) -> Registry:
        return self._open.enter_context(Registry())

    @functools.cached_property
    def storage(self) -> Storage:
        return self._open.enter_context(Storage())

    @functools.cached_property
    def runner(self) -> Runner:
        environment = {"STORAGE_EMULATOR_HOST": self.storage.url}
        return Runner(images=self.images, extra_environment=environment, output=self.output)

    def start(
        self,
        run: Object | Path,
        params: Mapping[str, Value] | None = None,
        secrets: Mapping[str, Files] | None = None,
    ) -> Run:
        """Carry out a PipelineRun.

        Args:
            run: the object, or a file with it.
            params: parameters in place of, or besides, its own.
            secrets: the Secrets of its namespace.
        """
        return self.runner.run(run, params=params, secrets=secrets)

    def url(self, repository: str) -> str:
        """The address that steps clone and push a repository at; GitHub itself is `github.url`."""
        return f"{self.github.url}/{repository}.git"

    def image(self, name: str) -> str:
        """What an image of the registry is called, `HOST:PORT/NAME`."""
        return f"{self.registry.address}/{name}"

    def add_repository(self, repository: str, files: Mapping[str, str | bytes], *, private: bool = False) -> str:
        """Create a repository that the bot may push to, with a first commit on `main`, and return the commit."""
        bare = self.github.add_repository(repository, private=private, writers=[BOT])
        tree = self._trees[repository] = Worktree(self._root / "trees" / repository)
        tree.git("remote", "add", "origin", bare)
        return self._push(tree, files)

    def push(self, repository: str, files: Mapping[str, str | bytes]) -> str:
        """Commit files on top of `main`, and return the commit."""
        tree = self._trees[repository]
        tree.git("pull", "--quiet", "origin", "main")
        return self._push(tree, files)

    def _push(self, tree: Worktree, files: Mapping[str, str | bytes]) -> str:
        commit = tree.commit(f"Change {', '.join(files)}", files)
        tree.git("push", "--quiet", "origin", "main")
        return commit

    def read(self, repository: str, revision: str, path: str) -> str:
        """A file of a repository at a commit or branch."""
        return self._git(repository, "show", f"{revision}:{path}")

    def diff(self, repository: str, commits: str) -> str:
        """What `git diff` says of commits of a repository, such as `main...apps-cd/main/webapp`."""
        return self._git(repository, "diff", commits)

    def _git(self, repository: str, *arguments: str) -> str:
        tree = self._trees[repository]
        return tree.run("--git-dir", tree.git("remote", "get-url", "origin"), *arguments).stdout

    def pull_requests(self, repository: str) -> list[PullRequestFacts]:
        """The pull requests of a repository by number."""
        return self.github.pull_requests(repository)

    @property
    def violations(self) -> list[str]:
        """What was sent to or by GitHub against its own description."""
        return self.github.violations if "github" in self.__dict__ else []
