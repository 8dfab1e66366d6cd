"""A repository at a revision becomes a working tree.

Its results are named as those of Tekton's git-clone Task, which can stand in for it. The following steps read the tree;
Tekton Chains reads the results.
"""

import logging
import shutil
from pathlib import Path

from steps import command_line, results
from steps.clients import credentials as credentials_directory
from steps.clients import git as git_client
from steps.core.repository import Repository, Revision
from steps.errors import StepError

_log = logging.getLogger("steps.clone_repository")


def clone_repository(
    *,
    url: Repository,
    revision: Revision,
    destination: Path,
    depth: int = 1,
    submodules: bool = False,
    credentials: Path | None = None,
    commit_result: Path | None = None,
    url_result: Path | None = None,
    committer_date_result: Path | None = None,
    chains_git_url_result: Path | None = None,
    chains_git_commit_result: Path | None = None,
) -> None:
    """Clone a repository at a branch, a tag or a full commit; nothing of the repository is run.

    Args:
        url: https://HOST/OWNER/NAME, ssh://git@HOST/OWNER/NAME or git@HOST:OWNER/NAME, without credentials.
        revision: a branch, a tag, a full ref (refs/...), HEAD, or a commit with all its 40 digits.
        destination: the directory of the working tree; it must be absent or empty.
        depth: how many commits of history; 0 is all of it.
        submodules: whether to check out submodules, too.
        credentials: a directory as a Secret is mounted: token, or username and password, .git-credentials,
            ssh-privatekey and known_hosts, ca.crt.
        commit_result: receives the commit, 40 hex digits.
        url_result: receives the address, as given.
        committer_date_result: receives the committer date of the commit, in seconds since 1970.
        chains_git_url_result: receives the address once more, for Tekton Chains.
        chains_git_commit_result: receives the commit once more, for Tekton Chains.
    """
    known = credentials_directory.read(credentials)
    fresh = _prepare(destination)
    try:
        with git_client.isolated(destination, url, known) as git:
            commit, date = _clone(git, url, revision, depth, submodules=submodules)
    except BaseException:
        _clear(destination, remove=fresh)
        raise
    _log.info("%s is at %s of %s in %s", revision, commit, url, destination)
    results.write(commit_result, commit)
    results.write(url_result, str(url))
    results.write(committer_date_result, date)
    # Tekton lifts a result of a step into one result of its Task only, and Chains wants names of its own.
    results.write(chains_git_url_result, str(url))
    results.write(chains_git_commit_result, commit)


def _prepare(destination: Path) -> bool:
    """Make the directory; whether it is new."""
    try:
        if destination.exists() and any(destination.iterdir()):
            raise StepError(
                "not-empty",
                f"{destination} is not empty; a clone needs a directory of its own, give another destination",
            )
        fresh = not destination.exists()
        destination.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StepError("destination", f"cannot make the directory {destination}: {error.strerror}") from error
    return fresh


def _clear(destination: Path, *, remove: bool) -> None:
    for path in destination.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    if remove:
        destination.rmdir()


def _clone(
    git: git_client.Git, url: Repository, revision: Revision, depth: int, *, submodules: bool
) -> tuple[str, str]:
    """The commit that is checked out then, and its committer date."""
    try:
        git.run("init", "--quiet")
        git.run("remote", "add", "origin", str(url))
        _check_out(git, url, revision, depth)
        if submodules:
            _check_out_submodules(git, url, depth)
        commit, date = git.run("log", "-1", "--format=%H %ct").split()
        _warn_of_pointers(git)
    except git_client.Failed as error:
        if revision.is_commit and "not our ref" in error.stderr:
            raise StepError("not-found", f"{url} has no commit {revision}") from error
        raise git_client.translated(error, f"cannot clone {url} at {revision}") from error
    return commit, date


def _check_out(git: git_client.Git, url: Repository, revision: Revision, depth: int) -> None:
    ref = None if revision.is_commit else _resolve(git, url, revision)
    branch = ref.removeprefix("refs/heads/") if ref and ref.startswith("refs/heads/") else None
    history = [f"--depth={depth}"] if depth else []
    source = f"+{ref}:refs/remotes/origin/{branch}" if branch else ref or str(revision)
    git.run("fetch", "--quiet", "--no-tags", *history, "origin", source)
    if branch:
        git.run("checkout", "--quiet", "-B", branch, "--track", f"origin/{branch}")
    else:
        git.run("checkout", "--quiet", "--detach", "FETCH_HEAD^{commit}")


def _resolve(git: git_client.Git, url: Repository, revision: Revision) -> str:
    """The full name of the ref that a revision means."""
    names = (
        [revision]
        if revision == "HEAD" or revision.startswith("refs/")
        else [f"refs/heads/{revision}", f"refs/tags/{revision}"]
    )
    listed = git.run("ls-remote", "--quiet", "origin", *names)
    found = [name for line in listed.splitlines() if (name := line.split("\t")[1]) in names]
    if len(found) > 1:
        raise StepError(
            "ambiguous", f"{url} has a branch and a tag {revision}; write refs/heads/{revision} or refs/tags/{revision}"
        )
    if not found:
        hint = "; if it is a commit, give all 40 digits" if revision.may_be_abbreviated else ""
        raise StepError("not-found", f"{url} has no branch or tag {revision}{hint}")
    return found[0]


def _warn_of_pointers(git: git_client.Git) -> None:
    """Say that files of Git LFS stay pointers: to fetch their contents is for a program that the repository names."""
    attributes = ":(glob)**/.gitattributes"
    if git.run("grep", "--files-with-matches", "--fixed-strings", "-e", "filter=lfs", "--", attributes, accept=[1]):
        _log.warning("files of Git LFS are left as the pointers that git has; their contents are not fetched")


def _check_out_submodules(git: git_client.Git, url: Repository, depth: int) -> None:
    history = [f"--depth={depth}"] if depth else []
    try:
        git.run("submodule", "--quiet", "update", "--init", "--recursive", *history)
    except git_client.Failed as error:
        raise git_client.translated(error, f"cannot check out the submodules of {url}") from error


if __name__ == "__main__":
    command_line.run(clone_repository)
