"""The world of a case: repositories, registry, storage, and a place that runs our Pipelines.

A case puts files into repositories, starts a PipelineRun, and looks at the pull requests and images that come of it. It is
written once and holds for every `World`: the sandbox's below runs steps as processes of this machine, `tests.cluster.world`
has them run by Tekton.
"""

import abc
import contextlib
import functools
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from tests.sandbox import busybox, containers, image, registry_client
from tests.sandbox.containers import Image
from tests.sandbox.github import GitHub, PullRequestFacts
from tests.sandbox.registry import Registry
from tests.sandbox.runner import Files, Run, Runner
from tests.sandbox.ssh import SshServer
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


def package(directory: str, kustomization: str, image: str = "ghcr.io/example/webapp") -> dict[str, str]:
    """A kustomization with a Deployment of an image, which it names `deployment.yaml`."""
    deployment = f"""\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  template:
    spec:
      containers:
      - name: web
        image: {image}
"""
    return {f"{directory}/kustomization.yaml": kustomization, f"{directory}/deployment.yaml": deployment}


class World(abc.ABC):
    """What a case has, for the time of a `with` block. Each part starts when it is first used.

    Args:
        root: an empty or absent directory for what it keeps.

    Attributes:
        host: where servers of this process are reached from the steps.
        registry_address: `HOST:PORT` of the registry that needs no password.
        steps_image: the image of our steps.
        authority: files that a Secret for git or GitHub holds besides its credential.
    """

    host = "127.0.0.1"
    registry_address: str
    steps_image = containers.STEPS_IMAGE
    authority: Files

    def __init__(self, root: Path) -> None:
        self._root = root
        self._trees: dict[str, Worktree] = {}
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self._open.close()

    @abc.abstractmethod
    def start(
        self,
        run: Object | Path,
        params: Mapping[str, Value] | None = None,
        secrets: Mapping[str, Files] | None = None,
    ) -> Run:
        """Carry out a PipelineRun to its end.

        Args:
            run: the object, or a file with it.
            params: parameters in place of, or besides, its own.
            secrets: the Secrets of its namespace.
        """

    @abc.abstractmethod
    def interrupt(self, *, kill: bool) -> None:
        """End the runs that go on, and return when nothing of them runs any more.

        Args:
            kill: whether at once, as when a node is lost; otherwise as `tkn pipelinerun cancel`.
        """

    @property
    @abc.abstractmethod
    def github_url(self) -> str:
        """The address of GitHub, as `github-url` takes it."""

    @abc.abstractmethod
    def create_bucket(self, name: str) -> None:
        """Make a bucket that `gs://` addresses of the steps find."""

    @abc.abstractmethod
    def tools_image(self) -> str:
        """An image with make and a shell, for commands of a manifests repository."""

    @functools.cached_property
    def github(self) -> GitHub:
        """GitHub, where the bot has a token, and an organization `example` no repository yet."""
        github = self._open.enter_context(GitHub(self._root / "github", host=self.host))
        github.add_user("example", organization=True)
        github.add_user(BOT, token=TOKEN)
        return github

    @functools.cached_property
    def ssh(self) -> SshServer:
        """The repositories of GitHub over ssh."""
        assert self.github
        return self._open.enter_context(SshServer(self._root / "github", self.host))

    def url(self, repository: str) -> str:
        """The address that steps clone and push a repository at."""
        return f"{self.github_url}/{repository}.git"

    def public_url(self, repository: str) -> str:
        """The address that steps clone a repository at without any Secret."""
        return f"{self.github.url}/{repository}.git"

    def token(self) -> Files:
        """What a Secret with the bot's token holds."""
        return {"token": TOKEN, **self.authority}

    def image(self, name: str) -> str:
        """What an image of the registry is called, `HOST:PORT/NAME`."""
        return f"{self.registry_address}/{name}"

    def files(self, reference: str) -> dict[str, bytes]:
        """The regular files that a container of an image of the registry sees, by path without a leading slash."""
        parsed = registry_client.Reference.parse(reference)
        return image.files(image.tree(registry_client.Client(parsed.registry).pull(parsed).layers))

    def push_busybox(self) -> str:
        """Put a small base image that runs into the registry, and return what it is called."""
        reference = registry_client.Reference.parse(self.image("busybox:1"))
        registry_client.Client(reference.registry).push(reference, busybox.whole())
        return str(reference)

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
        commit = tree.commit(f"Change {', '.join(files)}"[:200], files)
        tree.git("push", "--quiet", "origin", "main")
        return commit

    def read(self, repository: str, revision: str, path: str) -> str:
        """A file of a repository at a commit or branch."""
        return self._git(repository, "show", f"{revision}:{path}")

    def diff(self, repository: str, commits: str) -> str:
        """What `git diff` says of commits of a repository, such as `main...apps-cd/main/webapp`."""
        return self._git(repository, "diff", commits)

    def changed_files(self, repository: str, commits: str) -> list[str]:
        """The files that differ between commits of a repository."""
        return self._git(repository, "diff", "--name-only", commits).splitlines()

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


class Sandbox(World):
    """The world in this process.

    Attributes:
        images: how containers of further images run; to be set before the first run.
        output: is called with Task, step and line as a run goes on; to be set before the first run.
    """

    authority: Files = {}  # noqa: RUF012 - empty for ever

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.images: dict[str, Image] = {}
        self.output: Callable[[str, str, str], None] | None = None

    @functools.cached_property
    def registry(self) -> Registry:
        return self._open.enter_context(Registry())

    @property
    def registry_address(self) -> str:  # type: ignore[override]  # the registry starts when it is asked for
        return self.registry.address

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
        return self.runner.run(run, params=params, secrets=secrets)

    def interrupt(self, *, kill: bool) -> None:
        self.runner.cancel(0 if kill else 30)

    @property
    def github_url(self) -> str:
        return self.github.url

    def create_bucket(self, name: str) -> None:
        self.storage.create_bucket(name)

    def tools_image(self) -> str:
        self.images["tools"] = containers.OnHost()
        return "tools"
