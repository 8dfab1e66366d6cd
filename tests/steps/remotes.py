"""Repositories that `https://github.com/OWNER/NAME` stands for in the configuration of whoever calls git."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.sandbox.worktree import Worktree
from tests.steps.conftest import in_2026

TEMPLATE = """\
apiVersion: tekton.dev/v1
kind: PipelineRun
metadata:
  generateName: apps-cd-
spec:
  pipelineRef:
    name: apps-cd
  workspaces:
    - name: github-token
      secret:
        secretName: github-token
"""
APPLICATION = """\
  - name: web
    sourceRepo: source
    context: web
    manifestsDir: web/base
    image: example.com/web
"""
VERSION = """\
  - name: main
    tag: vmain
    repos:
      - {name: source, url: https://github.com/example/source, branch: main}
      - {name: manifests, url: https://github.com/example/manifests, branch: main}
"""


class Remotes:
    """Two repositories, `example/source` and `example/manifests`, and where create_runs keeps and puts its files.

    Args:
        root: an empty directory.
    """

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.src_dir, self.output_dir = root / "src", root / "runs"
        self.config, self.template = root / "applications.yaml", root / "template.yaml"
        self.template.write_text(TEMPLATE)
        self.write()
        self.git_config = root / "gitconfig"
        self.git_config.write_text(f'[url "file://{root}/remotes/"]\n\tinsteadOf = https://github.com/\n')
        patch.setenv("GIT_CONFIG_GLOBAL", str(self.git_config))
        self.source, self.manifests = self.add("example/source"), self.add("example/manifests")

    def add(self, name: str) -> Worktree:
        """A further repository."""
        tree = in_2026(Worktree(self.root / "remotes" / name))
        tree.git("config", "uploadpack.allowFilter", "true")
        return tree

    def write(self, applications: str = APPLICATION, versions: str = VERSION, more: str = "") -> None:
        """Write the configuration."""
        self.config.write_text(f"applications:\n{applications}versions:\n{versions}{more}")

    def begin(self, files: Mapping[str, str] | None = None, tag: str = "v0") -> str:
        """Fill both with what the configuration names, and return the commit of the source."""
        self.give(tag)
        return self.source.commit(
            "Begin", {"web/Dockerfile": "FROM scratch\nCOPY . /\n", "web/a": "1", **(files or {})}
        )

    def give(self, tag: str, path: str = "web/base/kustomization.yaml") -> str:
        """Commit the tag that the manifests have."""
        return self.manifests.commit(f"Use {tag}", {path: f"images:\n- name: example.com/web\n  newTag: {tag}\n"})

    @property
    def flags(self) -> dict[str, Path]:
        return {
            "config": self.config,
            "template": self.template,
            "src_dir": self.src_dir,
            "output_dir": self.output_dir,
        }

    def runs(self) -> dict[str, str]:
        """The files that were made."""
        return {path.name: path.read_text() for path in sorted(self.output_dir.glob("*"))}
