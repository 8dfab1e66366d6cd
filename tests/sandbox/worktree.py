"""A developer's repository for tests: real git, and nothing of the configuration of whoever runs them."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path


class Worktree:
    """A repository with a working tree, new and empty unless there is one.

    Args:
        path: of the tree; its parent serves as HOME.
        name: the author of its commits, `NAME@users.noreply.github.com`.
    """

    def __init__(self, path: Path, *, name: str = "alice") -> None:
        self.path = path
        email = f"{name}@users.noreply.github.com"
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(path.parent),
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "maintenance.auto",  # a process after each commit that finds nothing to do
            "GIT_CONFIG_VALUE_0": "false",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_AUTHOR_NAME": name,
            "GIT_AUTHOR_EMAIL": email,
            "GIT_COMMITTER_NAME": name,
            "GIT_COMMITTER_EMAIL": email,
        }
        if not path.exists():
            path.mkdir(parents=True)
            self.git("init", "--quiet", "--template=", "--initial-branch=main")

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run git here, whatever becomes of it."""
        return subprocess.run(
            ["git", *arguments], cwd=self.path, env=self.environment, capture_output=True, text=True, check=False
        )

    def git(self, *arguments: str | Path) -> str:
        """Run git here and return what it prints."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, message: str, files: Mapping[str, str | bytes] | None = None) -> str:
        """Write files, commit everything that differs, and return the commit."""
        for name, content in (files or {}).items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")
