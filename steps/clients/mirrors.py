"""Bare copies of repositories without their files, which many questions are asked of; `git`'s own protocol and formats.

A mirror has the commits and trees of the branches that were asked for, and the few files that were read. Whatever goes wrong
with it, it is made anew. A lock, which git's processes hold with us, keeps two of us apart; what a killed git leaves behind is
cleared away under it. Answers that cannot change are kept in a file beside it.
"""

import contextlib
import fcntl
import functools
import hashlib
import io
import logging
import os
import posixpath
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Literal, NamedTuple, TypeVar

from steps.clients.answers import Answers
from steps.clients.git import Failed, Git, GitOf, translated
from steps.core.needs_update import Named
from steps.core.repository import Branch, Commit, Repository
from steps.errors import StepError

T = TypeVar("T")

_log = logging.getLogger("steps.mirrors")

_POLL = 0.05
_PATHS_A_CALL = 1000
_COMMITS_A_CALL = 200
_MOST_BETWEEN = 2000
_MOST_LINKS = 10
_LONGEST_LINK = 4095
_LONGEST_QUESTION = 30.0
_REMOTE = "apps-cd"
LARGEST_FILE = 1 << 20
"""Bytes of a file that is read."""

# Version 2 lets a client ask for any object, and for some branches alone.
_PROTOCOL = ("-c", "protocol.version=2")
_FETCH = (
    *_PROTOCOL,
    # A promisor for a fetch alone: elsewhere what is missing is missing, and git must not fetch it by itself, one by one.
    *("-c", f"remote.{_REMOTE}.promisor=true", "-c", f"remote.{_REMOTE}.partialclonefilter=blob:none"),
    # Whatever is configured: each fetch makes a pack, and a mirror may live for years.
    *("-c", "gc.auto=6700", "-c", "gc.autoPackLimit=50", "-c", "maintenance.auto=true"),
    *("-c", "gc.autoDetach=false", "-c", "maintenance.autoDetach=false"),
    # A git that nobody waits for any more, after a SIGKILL, must not hold the lock for ever.
    *("-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60"),
    *("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-prune", "--recurse-submodules=no"),
    "--filter=blob:none",
)
_AS_DEEP_AS_THE_SERVER = "--depth=2147483647"
"""Takes over where a shallow server ends; with `--update-shallow` a git that filters asks for what is before, without end."""
_NAME = re.compile(r"[^A-Za-z0-9._-]")


class Entry(NamedTuple):
    """What a path is in a commit.

    Attributes:
        kind: `blob`, `tree`, `link` (a symbolic link) or `commit` (a submodule).
        oid: of the object.
        path: where it is when all links on the way are followed.
    """

    kind: Literal["blob", "tree", "link", "commit"]
    oid: str
    path: str


class Mirror:
    """The copy of one repository.

    Args:
        git_of: gives git for the repository, once, when it is first asked something.
        src_dir: where mirrors are; it must exist.
        repository: of which.
        timeout: seconds to wait for another process that uses the mirror.
    """

    def __init__(self, git_of: GitOf, src_dir: Path, repository: Repository, timeout: float) -> None:
        name = f"{_NAME.sub('-', repository.name)[:60]}-{hashlib.sha256(repository.url.encode()).hexdigest()[:12]}"
        self._src_dir = src_dir
        self._path = src_dir / f"{name}.git"
        self._lock_file = src_dir / f"{name}.lock"
        self._git_of = git_of
        self._git: Git
        self._repository = repository
        self._from_server = ("-c", f"remote.{_REMOTE}.url={repository.url}")
        self._timeout = timeout
        self.answers = Answers(src_dir / f"{name}.json")

    @functools.cached_property
    def _outside(self) -> Git:
        return self._git_of(self._repository)

    def tips(self, branches: Collection[Branch]) -> dict[Branch, Commit]:
        """The tips that the server has now, of those of the branches that there are.

        Raises:
            StepError: it cannot be asked, or says no.
        """
        wanted = {f"refs/heads/{branch}": branch for branch in branches}
        try:
            git = self._outside.within_seconds(_LONGEST_QUESTION)
            text = git.run(*_PROTOCOL, "ls-remote", "--quiet", "--heads", "--", self._repository.url, *sorted(wanted))
        except Failed as error:
            raise translated(error, f"cannot ask {self._repository} for its branches") from error
        lines = (line.partition("\t") for line in text.splitlines())
        return {wanted[ref]: Commit.parse(oid) for oid, _, ref in lines if ref in wanted}

    def using(self, tips: Mapping[Branch, Commit], work: Callable[[dict[Branch, Commit]], T]) -> T:
        """Do something with the mirror while no other process does.

        Args:
            tips: what it is to have; it is fetched when it is not there.
            work: is told what it has, which may be newer; called once more after the mirror was made anew.

        Raises:
            StepError: it cannot be fetched, or is of no use even when it is new.
        """
        try:
            try:
                return self._use(tips, work)
            except Failed as error:
                if error.timed_out:
                    message = f"reading the copy of {self._repository} in {self._path}: {error.stderr}; give it more by --timeout"
                    raise StepError("timeout", message, later=True) from error
                _log.warning(
                    "the copy of %s in %s is of no use and is made anew: %s", self._repository, self._path, error
                )
            except StepError as error:
                if error.reason != "git":
                    raise
                _log.warning("the copy of %s in %s is made anew: %s", self._repository, self._path, error)
            return self._use(tips, work, anew=True)
        except Failed as error:
            raise translated(error, f"cannot read {self._repository}") from error
        except OSError as error:
            raise StepError(
                "input-output", f"cannot keep a copy of {self._repository} in {self._path}: {error}"
            ) from error

    def _use(
        self, tips: Mapping[Branch, Commit], work: Callable[[dict[Branch, Commit]], T], *, anew: bool = False
    ) -> T:
        with self._locked() as descriptor:
            self._git = self._outside.within(self._path, [descriptor])
            if anew:
                self._remove()
            return work(self._have(tips))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        deadline = time.monotonic() + self._timeout
        while True:
            self._src_dir.mkdir(parents=True, exist_ok=True)  # it may be deleted at any time
            with self._lock_file.open("w") as file:
                if self._is_ours(file):
                    yield file.fileno()
                    return
            self._outside.check()
            if time.monotonic() > deadline:
                raise StepError(
                    "busy", f"another process has used {self._path} for {self._timeout:g} s; try again", later=True
                )
            time.sleep(_POLL)

    def _is_ours(self, lock: IO[str]) -> bool:
        """Take a lock, unless another process has it; a file that was deleted meanwhile keeps nobody away."""
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.path.samestat(self._lock_file.stat(), os.fstat(lock.fileno()))
        except (BlockingIOError, FileNotFoundError):
            return False

    def _have(self, tips: Mapping[Branch, Commit]) -> dict[Branch, Commit]:
        self._make(next(iter(tips.values())))
        here = self._branches(tips)
        is_cut = (self._path / "shallow").exists()  # and the server may have got the rest meanwhile
        missing = [branch for branch, tip in tips.items() if here.get(branch) != tip or is_cut]
        if missing:
            self._fetch(missing)
            here = self._branches(tips)
        if any(branch not in here for branch in tips):
            raise StepError("git", f"{self._repository} has not given what it has")
        return here

    def _make(self, tip: Commit) -> None:
        if (self._path / "complete").exists():
            for lock in self._path.rglob("*.lock"):
                lock.unlink(missing_ok=True)
            return
        self._remove()
        algorithm = "sha256" if len(tip) > 40 else "sha1"
        self._path.mkdir()
        self._git.run("init", "--quiet", "--bare", "--template=", f"--object-format={algorithm}")
        (self._path / "complete").touch()

    def _remove(self) -> None:
        if self._path.is_dir() and not self._path.is_symlink():
            shutil.rmtree(self._path)
        else:
            self._path.unlink(missing_ok=True)

    def _branches(self, wanted: Collection[Branch]) -> dict[Branch, Commit]:
        text = self._git.run("for-each-ref", "--format=%(objectname) %(refname)", "refs/heads/")
        found = {ref: oid for oid, _, ref in (line.partition(" ") for line in text.splitlines())}
        return {branch: Commit.parse(found[ref]) for branch in wanted if (ref := _ref(branch)) in found}

    def _fetch(self, branches: Sequence[Branch]) -> None:
        refspecs = [f"+refs/heads/{branch}:{_ref(branch)}" for branch in branches]
        try:
            self._git.run(*self._from_server, *_FETCH, _AS_DEEP_AS_THE_SERVER, _REMOTE, *refspecs)
        except Failed as error:
            raise translated(error, f"cannot fetch from {self._repository}") from error
        # So that git need not look into commits that cannot have touched a path.
        self._git.run("commit-graph", "write", "--reachable", "--changed-paths", "--split", accept=[1, 128])

    def entries(self, commit: str, paths: Collection[str]) -> dict[str, Entry]:
        """What paths are in a commit, links followed; those that lead nowhere are left out."""
        here = self._listed(commit, {*paths, *(posixpath.dirname(path) or "." for path in paths)})
        found: dict[str, Entry] = {}
        for path in paths:
            entry, above = here.get(path), here.get(posixpath.dirname(path) or ".")
            if (entry is None and (above is None or above.kind != "tree")) or (entry and entry.kind == "link"):
                entry = self._followed(commit, path, here)
            if entry:
                found[path] = entry
        return found

    def _listed(self, commit: str, paths: Collection[str]) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        if "." in paths:
            found["."] = Entry("tree", self._git.run("rev-parse", f"{commit}^{{tree}}"), ".")
        below = sorted({path for path in paths if path != "."})
        for start in range(0, len(below), _PATHS_A_CALL):
            some = below[start : start + _PATHS_A_CALL]
            found |= {entry.path: entry for entry in self._tree(commit, "-t", some)}
        return found

    def _tree(self, commit: str, how: str, paths: Sequence[str]) -> Iterator[Entry]:
        text = self._git.run("ls-tree", "-z", how, "--full-tree", commit, "--", *map(literal, paths))
        for record in text.split("\0")[:-1]:
            facts, _, path = record.partition("\t")
            mode, kind, oid = facts.split()
            yield Entry("link" if mode == "120000" else kind, oid, path)  # type: ignore[arg-type]  # git says no other

    def _followed(self, commit: str, path: str, here: dict[str, Entry]) -> Entry | None:
        """What a path leads to, as it would in a working tree; `here` is what was listed before, and gets what is now."""

        def look(at: str) -> Entry | None:
            if at not in here:
                here.update(self._listed(commit, [at]))
            return here.get(at)

        real: list[str] = []
        ahead, links = path.split("/"), 0
        while ahead:
            part = ahead.pop(0)
            if part == ".." and not real:
                return None
            if part == "..":
                real.pop()
            elif part not in ("", "."):
                entry = look("/".join([*real, part]))
                if entry and entry.kind == "link":
                    links += 1
                    target = self.contents([entry.oid]).get(entry.oid, b"\0")
                    if links > _MOST_LINKS or target.startswith(b"/") or b"\0" in target or len(target) > _LONGEST_LINK:
                        return None
                    ahead = [*target.decode("utf-8", "surrogateescape").split("/"), *ahead]
                elif entry and (entry.kind == "tree" or not ahead):
                    real.append(part)
                else:
                    return None
        return look("/".join(real) or ".")

    def has_links(self, commit: str, paths: Sequence[str]) -> bool:
        """Whether a symbolic link is at or below a path, or above it."""
        if any(entry.kind == "link" for entry in self._tree(commit, "-r", [] if "." in paths else paths)):
            return True
        return any(entry.path != path for path, entry in self.entries(commit, paths).items())

    def contents(self, oids: Collection[str]) -> dict[str, bytes]:
        """What files hold, fetched all at once when they are not there yet; those over 1 MiB are left out.

        Raises:
            StepError: they cannot be fetched.
        """
        if not oids:
            return {}
        wanted = sorted(set(oids))
        lines = "\n".join(wanted).encode()
        told = self._git.run("cat-file", "--batch-check", stdin=lines).splitlines()
        missing = [oid for oid, line in zip(wanted, told, strict=True) if line.endswith(" missing")]
        if missing:
            how = (*self._from_server, "-c", "fetch.negotiationAlgorithm=noop", *_FETCH)
            try:
                self._git.run(*how, "--stdin", _REMOTE, stdin="\n".join(missing).encode())
            except Failed as error:
                raise translated(error, f"cannot fetch files of {self._repository}") from error
            told = self._git.run("cat-file", "--batch-check", stdin=lines).splitlines()
        small = [oid for oid, line in zip(wanted, told, strict=True) if int([*line.split(), "0"][2]) <= LARGEST_FILE]
        out = self._git.output("cat-file", "--batch", stdin="\n".join(small).encode())
        found = {}
        while out:
            head, _, rest = out.partition(b"\n")
            oid, *facts = head.decode().split()
            if facts == ["missing"]:
                raise StepError("git", f"{self._repository} has not given {oid}")
            size = int(facts[1])
            found[oid], out = rest[:size], rest[size + 1 :]
        return found

    def last_to_touch(self, commit: str, pathspecs: Sequence[str]) -> str | None:
        """The newest commit, from one on backwards, that changed something at pathspecs, as `git log` finds it."""
        return self._git.run("rev-list", "-1", commit, "--", *pathspecs) or None

    def newest_to_touch(self, commit: str, pathspecs: Sequence[str]) -> Iterator[tuple[str, dict[str, list[str]]]]:
        """Some of the newest commits, from one on backwards, that changed something at pathspecs.

        Yields:
            Commits, and what each changed there against each of its parents; what follows a merge may be of any side of it.
        """
        text = self._git.run(
            "rev-list", f"-{_COMMITS_A_CALL}", "--no-commit-header", "--format=%H %P", commit, "--", *pathspecs
        )
        commits = [line.split() for line in text.splitlines()] or [[commit]]
        one_parent = [each[0] for each in commits if len(each) == len((commit, "parent"))]
        # Of commits with one parent all in one go: the commit, then what it changed.
        out = self._git.run(
            *("diff-tree", "--stdin", "-r", "-z", "--no-renames", "--name-only", "--", *pathspecs),
            stdin="\n".join([*one_parent, ""]).encode(),
        )
        changed: dict[str, list[str]] = {each: [] for each in one_parent}
        names: list[str] = []
        for word in out.split("\0")[:-1]:
            if word in changed and names is not changed[word]:
                names = changed[word]
            else:
                names.append(word)
        for each, *parents in commits:
            yield each, {parents[0]: changed[each]} if len(parents) == 1 else self.changes(each, pathspecs)

    def changes(self, commit: str, pathspecs: Sequence[str]) -> dict[str, list[str]]:
        """What a commit changed at pathspecs against each of its parents."""
        parents = self._git.run("rev-list", "-1", "--parents", commit).split()[1:]
        options = ["-r", "-z", "--no-renames", "--name-only"]
        return {
            parent: self._git.run("diff-tree", *options, parent, commit, "--", *pathspecs).split("\0")[:-1]
            for parent in parents
        }

    def changed_between(self, old: str, new: str) -> set[str] | None:
        """All files that a commit between two changed against any of its parents.

        Returns:
            None when the old is not in the history of the new, or too far back in it for this to be worth while.
        """
        counts = self._git.run("rev-list", "--left-right", "--count", f"{new}...{old}", accept=[128]).split()
        if not counts or int(counts[1]) or int(counts[0]) > _MOST_BETWEEN:
            return None
        commits = self._git.run("rev-list", new, f"^{old}")
        options = ["-r", "-m", "-z", "--root", "--no-renames", "--name-only", "--no-commit-id"]
        return set(self._git.run("diff-tree", "--stdin", *options, stdin=f"{commits}\n".encode()).split("\0")[:-1])

    def is_cut(self, commit: str) -> bool:
        """Whether the server itself has nothing before this commit."""
        with contextlib.suppress(FileNotFoundError):
            return commit in (self._path / "shallow").read_text(encoding="ascii").split()
        return False

    def relations(self, asked: Collection[tuple[str, str]], tips: Collection[str]) -> dict[tuple[str, str], Named]:
        """How commits stand to others.

        Args:
            asked: pairs of a commit, whole or its first digits, and one that can be reached from the tips.
            tips: only what can be reached from them counts, so that the answer does not depend on a mirror's age.
        """
        candidates = self._commits({name for name, _ in asked}, set(tips))
        return {(name, commit): self._relation(candidates[name], commit) for name, commit in asked}

    def _relation(self, candidates: Sequence[str], commit: str) -> Named:
        if len(candidates) != 1:
            return Named("ambiguous" if candidates else "unknown")
        (candidate,) = candidates
        if candidate == commit:
            return Named("identical", candidate)
        counts = self._git.run("rev-list", "--left-right", "--count", f"{commit}...{candidate}").split()
        left, right = (int(count) for count in counts)
        return Named("diverged" if left and right else "behind" if left else "ahead", candidate, left)

    def _commits(self, names: Collection[str], tips: Collection[str]) -> dict[str, list[str]]:
        """The commits that each of some abbreviations may stand for; found by a walk, which a lost pack cannot shorten."""
        found: dict[str, list[str]] = {name: [] for name in names}
        lengths = {len(name) for name in names}
        for line in io.BytesIO(self._git.output("rev-list", *tips, "--")):
            oid = line.decode().strip()
            for length in lengths:
                if (name := oid[:length]) in found:
                    found[name].append(oid)
        return found


def literal(path: str) -> str:
    """A path as git takes it where it would take a pattern; `.` is the root."""
    return ":/" if path == "." else f":(literal){path}"


def _ref(branch: str) -> str:
    """Where a mirror has a branch: `a` and `a/b` may have taken turns, and as refs they would be in each other's way."""
    above, slash, name = branch.rpartition("/")
    return f"refs/heads/{above}{slash}-{name}"  # no part of a branch's name starts with a dash
