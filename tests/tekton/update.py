"""One update, as cases of the Pipeline want it: private repositories, a fork of the bot's, and a run of `private-fork.yaml`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.sandbox import tekton
from tests.sandbox.runner import TEKTON, Files, Run
from tests.sandbox.tekton import Object, Value
from tests.sandbox.world import BOT, World, package

RUN = TEKTON / "runs" / "private-fork.yaml"
BRANCH = "apps-cd/v1.0/webapp"
HEAD = f"example-bot:{BRANCH}"
PATH = "webapp/base/kustomization.yaml"
KUSTOMIZATION = "resources:\n- deployment.yaml\nimages:\n- name: ghcr.io/example/webapp\n  newTag: v0\n"
REGISTRY_SECRET = "c2VjcmV0OnJlZ2lzdHJ5"
SOURCE: Mapping[str, str | bytes] = {"Dockerfile": "FROM scratch\nCOPY page /\n", "page": "one\n"}


@dataclass
class Update:
    """The repositories example/webapp and example/manifests, the latter with a fork of the bot's, and what is done with them.

    Args:
        world: where.
        source: the files of example/webapp.
        secrets: in place of, or besides, the Secrets that the run names.
    """

    world: World
    source: Mapping[str, str | bytes] = field(default_factory=lambda: SOURCE)
    secrets: Mapping[str, Files] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.world.add_repository("example/webapp", self.source, private=True)
        self.world.add_repository("example/manifests", package("webapp/base", KUSTOMIZATION), private=True)
        fork: dict[str, Any] = {"private": True, "writers": [BOT]}
        self.world.github.add_repository("example-bot/manifests", fork_of="example/manifests", **fork)

    @property
    def image(self) -> str:
        """The image's name, without tag."""
        return self.world.image("example/webapp")

    def document(self, **params: Value) -> Object:
        """The PipelineRun; parameters are named with `_` for `-`."""
        given: dict[str, Value] = {
            "app-repo-url": self.world.url("example/webapp"),
            "manifests-repo-url": self.world.url("example/manifests"),
            "image": f"{self.image}:v1",
            "github-url": self.world.github_url,
            "post-edit-command": ["true"],
            "post-edit-image": self.world.steps_image,
            **{name.replace("_", "-"): value for name, value in params.items()},
        }
        (document,) = tekton.documents(RUN)
        spec = document["spec"]
        values = {**tekton.by_name(spec["params"]), **given}
        return {
            **document,
            "spec": {**spec, "params": [{"name": name, "value": value} for name, value in values.items()]},
        }

    @property
    def all_secrets(self) -> dict[str, Files]:
        registry = f'{{"auths": {{"nowhere.example.com": {{"auth": "{REGISTRY_SECRET}"}}}}}}'
        return {
            "registry": {".dockerconfigjson": registry},
            "github-token": self.world.token(),
            "git-credentials": self.world.token(),
            **self.secrets,
        }

    def start(self, **params: Value) -> Run:
        """Run it to its end."""
        return self.world.start(self.document(**params), secrets=self.all_secrets)

    def proposed(self) -> list[tuple[int, str, str, str]]:
        """Of each pull request its number, state, head and the kustomization."""
        return [
            (pull.number, pull.state, pull.head, self.world.read("example/manifests", pull.sha, PATH))
            for pull in self.world.pull_requests("example/manifests")
        ]

    def edited(self, run: Run, tag: str = "v1") -> str:
        """The kustomization that a run is to propose."""
        new = f"  newName: {self.image}\n  newTag: {tag}\n  digest: {run.results['IMAGE_DIGEST']}\n"
        return KUSTOMIZATION.replace("  newTag: v0\n", new)


def operation(run: Run) -> str:
    """What a run that succeeded did."""
    assert run.succeeded, run.describe()
    return run.tasks["update-manifests"].results["operation"]
