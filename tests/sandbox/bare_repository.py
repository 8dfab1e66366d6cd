"""What a bare repository knows, asked of git at each call; answers that cannot change are remembered by object id."""

import contextlib
import functools
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SHA = re.compile(r"[0-9a-f]{40}")

CONFIGURATION = {
    "core.logAllRefUpdates": "false",
    "gc.auto": "0",  # forks of a network share objects: nothing may be thought unreachable
    "http.receivepack": "true",
    "receive.autogc": "false",
    "receive.shallowUpdate": "false",
    "uploadpack.allowAnySHA1InWant": "true",
    "uploadpack.allowFilter": "true",
}


@dataclass(frozen=True)
class Signature:
    name: str
    email: str
    date: str
    """UTC, as `2026-01-31T23:59:59Z`."""


@dataclass(frozen=True)
class Commit:
    sha: str
    tree: str
    parents: tuple[str, ...]
    author: Signature
    committer: Signature
    message: str


@dataclass(frozen=True)
class FileChange:
    path: str
    previous_path: str | None
    status: str
    """`added`, `removed`, `modified`, `renamed`, `copied` or `changed`, as GitHub says."""
    blob: str
    additions: int
    deletions: int
    patch: str
    """From the first `@@` on; empty for binary files."""


@dataclass(frozen=True)
class Entry:
    mode: str
    kind: str
    """`blob`, `tree` or `commit` (a submodule)."""
    sha: str
    size: int
    path: str


class GitError(Exception):
    """A git command failed where the server did not expect it."""


def environment() -> dict[str, str]:
    """What a git child of the sandbox sees: nothing of whoever started it."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": os.devnull,
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
    }


class BareRepository:
    """A bare repository at a path.

    Revisions are full object ids unless said otherwise: what a ref points at is `refs()[name]`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, default_branch: str) -> "BareRepository":
        path.parent.mkdir(parents=True, exist_ok=True)
        _git(path.parent, "init", "--quiet", "--bare", "--template=", f"--initial-branch={default_branch}", path.name)
        repository = cls(path)
        with (path / "config").open("a") as config:
            for name, value in CONFIGURATION.items():
                section, key = name.split(".")
                config.write(f"[{section}]\n\t{key} = {value}\n")
        return repository

    def share_objects(self, other: "BareRepository") -> None:
        """See each other's objects from now on, as the repositories of a fork network do."""
        for one, two in ((self, other), (other, self)):
            (one.path / "objects" / "info").mkdir(exist_ok=True)
            with (one.path / "objects" / "info" / "alternates").open("a") as alternates:
                alternates.write(f"{two.path / 'objects'}\n")

    def refs(self) -> dict[str, str]:
        """All refs and what they point at, read as git lays them out: nearly every request needs them.

        https://git-scm.com/docs/gitrepository-layout
        """
        found = {}
        with contextlib.suppress(FileNotFoundError):
            for line in (self.path / "packed-refs").read_text().splitlines():
                sha, _, name = line.partition(" ")
                if SHA.fullmatch(sha):
                    found[name] = sha
        for directory, _, names in os.walk(self.path / "refs"):
            for path in (Path(directory, name) for name in names):
                with contextlib.suppress(FileNotFoundError):
                    sha = path.read_text().strip()
                    if path.suffix != ".lock" and SHA.fullmatch(sha):
                        found[str(path.relative_to(self.path))] = sha
        return dict(sorted(found.items()))

    def default_branch(self) -> str:
        return (self.path / "HEAD").read_text().strip().removeprefix("ref: refs/heads/")

    def update_ref(self, ref: str, new: str, old: str | None = None) -> None:
        """Move a ref; `new` empty deletes it. With `old`, only from there."""
        self._git("update-ref", *(["-d", ref] if not new else [ref, new]), *([old] if old else []))

    def copy_refs(self, other: "BareRepository") -> None:
        """Take over the branches and tags of a repository whose objects are shared."""
        refs = {ref: sha for ref, sha in other.refs().items() if ref.startswith(("refs/heads/", "refs/tags/"))}
        self._git("update-ref", "--stdin", stdin="".join(f"create {ref} {sha}\n" for ref, sha in refs.items()))

    def is_valid_ref(self, ref: str) -> bool:
        return subprocess.run(["git", "check-ref-format", ref], check=False, env=environment()).returncode == 0

    def resolve(self, revision: str) -> str | None:
        """The commit a branch, tag, full ref or (abbreviated) object id names."""
        if "\0" in revision:
            return None
        for candidate in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            found = self._try("rev-parse", "--verify", "--quiet", "--end-of-options", f"{candidate}^{{commit}}")
            if found:
                return found.strip()
        return None

    def commits(
        self, tip: str, *, without: str | None = None, limit: int | None = None, path: str = ""
    ) -> list[Commit]:
        """What is reachable from `tip` and not from `without`, newest first."""
        return list(_commits(self.path, tip, without, limit, path))

    def commit(self, sha: str) -> Commit:
        return _commits(self.path, sha, None, 1, "")[0]

    def count(self, tip: str, *, without: str) -> int:
        return _count(self.path, tip, without)

    def merge_base(self, one: str, two: str) -> str | None:
        return _merge_base(self.path, one, two)

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        return self.merge_base(ancestor, descendant) == ancestor

    def diff(self, old: str, new: str) -> tuple[FileChange, ...]:
        """Files that differ between two trees."""
        return _diff(self.path, old, new)

    def commit_diff(self, commit: Commit) -> tuple[FileChange, ...]:
        """What a commit changes against its first parent."""
        return self.diff(commit.parents[0] if commit.parents else _empty_tree(self.path), commit.sha)

    def merged_tree(self, one: str, two: str) -> str | None:
        """The tree of a merge of two commits; None on conflict."""
        return _merged_tree(self.path, one, two)

    def create_commit(self, tree: str, parents: Sequence[str], message: str, author: str, email: str) -> str:
        """A new commit, on no branch yet, of now."""
        who = {
            f"GIT_{role}_{part}": value
            for role in ("AUTHOR", "COMMITTER")
            for part, value in (("NAME", author), ("EMAIL", email))
        }
        arguments = [argument for parent in parents for argument in ("-p", parent)]
        return _git(self.path, "commit-tree", tree, *arguments, "-F", "-", stdin=message, extra=who).strip()

    def entries(self, commit: str, *, recursive: bool = False, path: str = "") -> list[Entry]:
        """The files of a commit, or those right in a directory of it (with `path` ending in `/`)."""
        arguments = ["-r"] if recursive else []
        text = self._git("ls-tree", "-z", "--long", *arguments, commit, "--", *([path] if path else []))
        entries = []
        for record in text.split("\0")[:-1]:
            facts, _, name = record.partition("\t")
            mode, kind, sha, size = facts.split()
            entries.append(Entry(mode, kind, sha, int(size) if size != "-" else 0, name))
        return entries

    def blob(self, sha: str) -> bytes:
        return subprocess.run(
            ["git", "cat-file", "blob", sha], cwd=self.path, env=environment(), check=True, capture_output=True
        ).stdout

    def _git(self, *arguments: str, stdin: str = "") -> str:
        return _git(self.path, *arguments, stdin=stdin)

    def _try(self, *arguments: str) -> str | None:
        try:
            return self._git(*arguments)
        except GitError:
            return None


def _git(directory: Path, *arguments: str, stdin: str = "", extra: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=directory,
        env=environment() | (extra or {}),
        input=stdin.encode(),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise GitError(f"git {' '.join(arguments)} in {directory}: {done.stderr.decode(errors='replace')}")
    return done.stdout.decode(errors="replace")


@functools.lru_cache(maxsize=4096)
def _commits(path: Path, tip: str, without: str | None, limit: int | None, file: str) -> tuple[Commit, ...]:
    form = "%H%x00%T%x00%P%x00%an%x00%ae%x00%ad%x00%cn%x00%ce%x00%cd%x00%B%x00"
    excluded = [f"^{without}"] if without else []
    limits = [f"--max-count={limit}"] if limit else []
    text = _git(
        path,
        "log",
        "-z",
        "--topo-order",
        "--date=format-local:%Y-%m-%dT%H:%M:%SZ",
        f"--format=tformat:{form}",
        *limits,
        tip,
        *excluded,
        "--",
        *([f":(literal){file}"] if file else []),
    )
    fields = text.split("\0")
    found = []
    for start in range(0, len(fields) - 10, 11):
        sha, tree, parents, *people, message = fields[start : start + 10]
        author, committer = Signature(*people[:3]), Signature(*people[3:])
        found.append(Commit(sha, tree, tuple(parents.split()), author, committer, message.rstrip("\n")))
    return tuple(found)


@functools.lru_cache(maxsize=4096)
def _count(path: Path, tip: str, without: str) -> int:
    return int(_git(path, "rev-list", "--count", tip, f"^{without}"))


@functools.lru_cache(maxsize=4096)
def _merge_base(path: Path, one: str, two: str) -> str | None:
    done = subprocess.run(
        ["git", "merge-base", one, two], cwd=path, env=environment(), capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or None


@functools.lru_cache(maxsize=4096)
def _merged_tree(path: Path, one: str, two: str) -> str | None:
    done = subprocess.run(
        ["git", "merge-tree", "--write-tree", "--no-messages", one, two],
        cwd=path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.split("\n")[0] if done.returncode == 0 else None


@functools.lru_cache(maxsize=1)
def _empty_tree(path: Path) -> str:
    return _git(path, "hash-object", "-t", "tree", "-w", "--stdin").strip()


_STATUS = {"A": "added", "D": "removed", "M": "modified", "R": "renamed", "C": "copied", "T": "changed"}


@functools.lru_cache(maxsize=1024)
def _diff(path: Path, old: str, new: str) -> tuple[FileChange, ...]:
    text = _git(path, "diff", "--raw", "--patch", "-z", "-M", "--abbrev=40", "--no-ext-diff", "--no-textconv", old, new)
    raw, _, patches = text.partition("\0\0")
    bodies = iter(re.split(r"^diff --git .*\n", patches, flags=re.MULTILINE)[1:])
    fields = iter(raw.split("\0") if raw else [])
    changes = []
    for facts in fields:
        _, _, before, after, status = facts.split(" ")
        first = next(fields)
        name = next(fields) if status[0] in "RC" else first
        hunks = "\n".join(_hunks(next(bodies)) for _ in ("removed", "added")[status != "T" :]).strip("\n")
        lines = hunks.split("\n")
        changes.append(
            FileChange(
                path=name,
                previous_path=first if status[0] in "RC" else None,
                status=_STATUS[status[0]],
                blob=before if status[0] == "D" else after,
                additions=sum(line.startswith("+") for line in lines),
                deletions=sum(line.startswith("-") for line in lines),
                patch=hunks,
            )
        )
    return tuple(changes)


def _hunks(patch: str) -> str:
    at = re.search(r"^@@ ", patch, flags=re.MULTILINE)
    return patch[at.start() :] if at else ""
