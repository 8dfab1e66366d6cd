"""The commit of an update, made without trusting anything of the working tree but the contents of its files.

The tree may have been in the hands of the repository's own commands. So git looks at it from a directory of its own:
the tree's `.git`, its configuration, hooks and remotes are never read, nested repositories are not entered, and filters
have no program behind them. Attributes that convert line ends or encodings hold, as they did at check-out.
"""

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from steps.clients.git import Failed, Git, patiently, translated
from steps.core.pull_request import Commit, Tip, foreign
from steps.core.repository import Branch, Person, Repository
from steps.core.update import trailed
from steps.errors import StepError

_STALE = re.compile("stale info|is at [0-9a-f]+ but expected|reference already exists|unable to resolve reference")
"""What git says when a branch is not where it was read."""

_log = logging.getLogger("steps.manifests")

_BASE, _HEAD, _START = "refs/apps-cd/base", "refs/apps-cd/head", "refs/apps-cd/start"


@dataclass(frozen=True)
class Places:
    """Which branch is proposed to be merged into which."""

    base_at: Repository
    base: Branch
    head_at: Repository
    head: Branch

    @property
    def is_fork(self) -> bool:
        """Whether the head is in another repository; GitHub's names are alike in any case."""
        return self.head_at.identity.lower() != self.base_at.identity.lower()


@dataclass(frozen=True)
class Fetched:
    """What the server has: commits, 40 hex digits each.

    Attributes:
        base: the tip of the base branch.
        base_tree: its tree.
        base_date: its committer date, in seconds since 1970.
        start: the commit that the working tree was made from.
        head: the tip of the head branch, or None when there is no such branch.
    """

    base: str
    base_tree: str
    base_date: int
    start: str
    head: str | None


def fetch(git: Git, places: Places, start: str | None) -> Fetched:
    """Fetch the tips of the base and head branches, without history.

    Args:
        git: in an empty directory.
        start: the commit that the working tree was made from; None is the tip of the base.
    """
    git.run("init", "--quiet", "--bare")
    refspecs = [f"+refs/heads/{places.base}:{_BASE}"]
    # A pattern, because git fails on a branch that is not there, and asking first would be one more request.
    head_refspec = f"+refs/heads/{places.head}*:{_HEAD}*"
    _fetch(git, places.base_at, *refspecs, *([] if places.is_fork else [head_refspec]))
    if places.is_fork:
        # git ends 1, without a word, when there is no such branch.
        _fetch(git, places.head_at, head_refspec, accept=[1])
    listed = git.run("for-each-ref", "--format=%(refname) %(objectname) %(tree) %(committerdate:unix)", "refs/apps-cd")
    refs = {name: facts for name, *facts in map(str.split, listed.splitlines())}
    tip, tip_tree, date = refs[_BASE]
    if start and start != tip:
        _fetch(git, places.base_at, f"+{start}:{_START}")
    return Fetched(tip, tip_tree, int(date), start or tip, refs[_HEAD][0] if _HEAD in refs else None)


def _fetch(git: Git, repository: Repository, *refspecs: str, accept: Sequence[int] = ()) -> None:
    command = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--depth=1", "--", str(repository), *refspecs]
    try:
        try:
            patiently(lambda: git.run(*command, accept=accept))
        except Failed as error:
            if "couldn't find remote ref" not in error.stderr:
                raise
            # A list of refs that was cut off is one without the last refs.
            git.run(*command, accept=accept)
    except Failed as error:
        if "couldn't find remote ref" in error.stderr or "not our ref" in error.stderr:
            raise StepError(
                "not-found", f"{repository} has no {refspecs[0].removeprefix('+').partition(':')[0]}"
            ) from error
        raise translated(error, f"cannot fetch {repository}") from error


def tree(git: Git, working_tree: Path, fetched: Fetched) -> str:
    """The tree object that the base becomes with the changes of the working tree.

    The changes are those since the commit that the tree was made from; when the base has moved since, they are applied
    to its tip, and a file that both changed is a conflict.
    """
    _refuse_pipes(working_tree)
    here = {"GIT_WORK_TREE": os.fspath(working_tree.absolute())}
    git.run("read-tree", fetched.start)
    git.run("update-index", "-q", "--really-refresh", "--ignore-submodules", environment=here, accept=[1])
    changes = _changes(git.run("diff-files", "--raw", "-z", "--ignore-submodules=all", environment=here))
    added = _items(git.run("ls-files", "--others", "--exclude-standard", "-z", environment=here))
    for name in added:
        if name.endswith("/"):
            _log.warning("%r is a repository of its own and is left out", name)
    unchanged = _as_checked_out(git, working_tree, changes)
    # What is gone goes first, and is not looked for: a symlink may stand in place of its directory.
    gone = [each.name for each in changes if each.gone]
    there = [each.name for each in changes if not each.gone and each.name not in unchanged]
    there += [name for name in added if not name.endswith("/")]
    for option, names in (("--force-remove", gone), ("--remove", there)):
        if names:
            stdin = "".join(f"{name}\0" for name in names).encode("utf-8", "surrogateescape")
            git.run("update-index", "--add", option, "-z", "--stdin", stdin=stdin, environment=here)
    ours = git.run("write-tree")
    if fetched.start == fetched.base:
        return ours
    return _onto_base(git, fetched, ours)


def _refuse_pipes(working_tree: Path) -> None:
    """Refuse a pipe or device in place of a file that git reads on its way: it would wait for ever."""
    for directory, _, names in os.walk(working_tree):
        for name in {".gitattributes", ".gitignore"}.intersection(names):
            path = Path(directory, name)
            if not (path.is_file() or path.is_symlink()):
                raise StepError("special-file", f"{path} is a pipe, a socket or a device; remove it")


@dataclass(frozen=True)
class _Change:
    """A tracked file that git says is not as the index has it: its former and its new mode, its former blob."""

    name: str
    old_mode: str
    new_mode: str
    blob: str
    gone: bool


def _changes(raw: str) -> list[_Change]:
    """What `git diff-files --raw -z` lists."""
    fields = _items(raw)
    return [
        _Change(name, old_mode.removeprefix(":"), new_mode, blob, gone=status == "D")
        for (old_mode, new_mode, blob, _, status), name in zip(map(str.split, fields[::2]), fields[1::2], strict=True)
    ]


def _as_checked_out(git: Git, working_tree: Path, changes: Sequence[_Change]) -> set[str]:
    """The files that hold the very bytes that git has, though attributes say that they should have others.

    git shows such files as changed from the check-out on: their line ends were committed without the attributes.
    """
    files = [
        each
        for each in changes
        if each.old_mode == each.new_mode and each.new_mode in ("100644", "100755") and "\n" not in each.name
    ]
    if not files:
        return set()
    paths = "".join(f"{working_tree.absolute() / each.name}\n" for each in files).encode("utf-8", "surrogateescape")
    blobs = git.run("hash-object", "--no-filters", "--stdin-paths", stdin=paths).splitlines()
    return {each.name for each, blob in zip(files, blobs, strict=True) if blob == each.blob}


def _items(text: str) -> list[str]:
    return text.split("\0")[:-1]


def _onto_base(git: Git, fetched: Fetched, ours: str) -> str:
    git.run("read-tree", "-i", "-m", "--aggressive", fetched.start, ours, fetched.base)
    unmerged = {line.partition("\t")[2] for line in _items(git.run("ls-files", "--unmerged", "-z"))}
    if unmerged:
        raise StepError(
            "conflict",
            f"the base has moved to {fetched.base[:8]} and changed {', '.join(sorted(unmerged))} as well; run again, from its tip",
            later=True,
        )
    return git.run("write-tree")


def commit(git: Git, tree: str, parent: str, message: str, author: Person, date: int) -> str:
    """Make a commit; the same arguments make the same one."""
    who = {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in (("NAME", author.name), ("EMAIL", author.mail), ("DATE", f"@{date} +0000"))
    }
    return git.run("commit-tree", tree, "-p", parent, "-F", "-", stdin=message.encode(), environment=who)


def head(git: Git, places: Places, fetched: Fetched, us: Person, *, own: bool) -> Tip | None:
    """The head branch as it was fetched.

    Args:
        us: who our commits are by.
        own: whether the branch is the update's; of another one that is there its tip must be ours.
    """
    if fetched.head is None:
        return None
    # The commit itself, because the history that git shows ends before its parents: it was fetched without them.
    header, _, message = git.run("cat-file", "commit", fetched.head).partition("\n\n")
    commits = _commits_of_head(git, places, fetched.head, fetched.base, header, tip=not own)
    return Tip(fetched.head, trailed(message), foreign(commits, str(us)))


def _commits_of_head(git: Git, places: Places, head: str, base: str, header: str, *, tip: bool) -> list[Commit]:
    """The commits of the head branch that the base branch lacks, newest first.

    Args:
        header: that of the head's commit.
        tip: whether its tip is among them even when the base has that, too.
    """
    parents = [line.removeprefix("parent ") for line in header.splitlines() if line.startswith("parent ")]
    if parents == [base]:
        environment = None
    else:
        # The tips alone do not tell what lies between them; all commits without their trees do, and are small.
        environment = {"GIT_DIR": "history"}
        git.run("init", "--quiet", "--bare", "history")
        command = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--filter=tree:0", "--"]
        try:
            for at, commit, ref in ((places.head_at, head, _HEAD), (places.base_at, base, _BASE)):
                refspec = [*command, str(at), f"{commit}:{ref}"]
                patiently(partial(git.run, *refspec, environment=environment))
        except Failed as error:
            raise translated(error, f"cannot read the history of {places.head} at {places.head_at}") from error
    log = ["log", "--format=%H%x00%an <%ae>%x00%cn <%ce>", head]
    # Not splitlines: a name may hold what it takes for the end of a line.
    lines = [line for line in git.run(*log, "--not", base, environment=environment).split("\n") if line]
    if tip and not lines:
        lines = [git.run(*log, "--max-count=1", environment=environment)]
    return [Commit(*line.split("\0")) for line in lines]


def push(git: Git, places: Places, commit: str, expected: str | None) -> None:
    """Move the head branch from the commit we read to another one, and from no other.

    Args:
        expected: the commit we read; None is a branch that was not there.
    """
    try:
        try:
            _move(git, places, commit, expected)
        except Failed as error:
            if "shallow update not allowed" not in error.stderr:
                raise
            # The fork lacks the commits between its own base and ours.
            ref = f"refs/heads/{places.base}"
            command = ["fetch", "--quiet", "--no-tags", "--depth=2147483647", "--", str(places.base_at), ref]
            patiently(lambda: git.run(*command))
            _move(git, places, commit, expected)
    except Failed as error:
        raise _not_moved(error, places) from error


def delete(git: Git, places: Places, expected: str) -> None:
    """Delete the head branch, if it is still where we read it.

    Args:
        git: in a repository, which need not have the commit.
    """
    try:
        _move(git, places, None, expected)
    except Failed as error:
        raise _not_moved(error, places) from error


def tip(git: Git, places: Places) -> str | None:
    """The commit of the head branch as it is now, or None."""
    try:
        return _tip(git, places)
    except Failed as error:
        raise translated(error, f"cannot read {places.head} of {places.head_at}") from error


def _tip(git: Git, places: Places) -> str | None:
    ref = f"refs/heads/{places.head}"
    listed = patiently(lambda: git.run("ls-remote", "--quiet", "--", str(places.head_at), ref))
    return next((line.split("\t")[0] for line in listed.splitlines() if line.endswith(f"\t{ref}")), None)


def _move(git: Git, places: Places, commit: str | None, expected: str | None) -> None:
    """Move the head branch, or delete it; when the answer was lost the branch is looked at before the one further try.

    It is looked at, too, when it is not where it was read: what carries git's requests may have sent them twice.
    """
    ref = f"refs/heads/{places.head}"
    lease = f"--force-with-lease={ref}:{expected or ''}"
    command = ["push", "--quiet", "--no-thin", lease, "--", str(places.head_at), f"{commit or ''}:{ref}"]
    try:
        git.run(*command)
    except Failed as error:
        is_stale = _STALE.search(error.stderr) is not None
        if not error.may_pass and not is_stale:
            raise
        _log.warning("looking whether it was pushed all the same: %s", error)
        if _tip(git, places) == commit:
            return
        if is_stale:
            raise
        git.run(*command)


def _not_moved(error: Failed, places: Places) -> StepError:
    if _STALE.search(error.stderr):
        return StepError(
            "conflict", f"{places.head} at {places.head_at} was moved by somebody else meanwhile; run again", later=True
        )
    return translated(error, f"cannot push {places.head} to {places.head_at}")
