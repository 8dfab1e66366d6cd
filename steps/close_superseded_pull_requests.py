"""Pull requests of ours that another one of ours has taken the place of are closed, with a word and a link.

For who changes the names of applications or heads, and for what kubeflow's apps-cd has left open: an update of its own branch
is only ever proposed by one pull request.
"""

import logging
import tempfile
from pathlib import Path

from steps import command_line, results
from steps.clients import git as git_client
from steps.clients import manifests
from steps.clients.github import GitHub
from steps.clients.github_account import account, git_credentials
from steps.core import pull_request_body
from steps.core import superseded as decisions
from steps.core.pull_request import PullRequest
from steps.core.repository import GITHUB, Branch, Person, Repository, Server
from steps.core.superseded import Superseded
from steps.core.update import AUTHOR, remark_marker
from steps.errors import StepError

_log = logging.getLogger("steps.close_superseded_pull_requests")


def close_superseded_pull_requests(
    *,
    url: Repository,
    base: Branch | None = None,
    pull_request: int | None = None,
    dry_run: bool = False,
    author: Person = AUTHOR,
    github_url: Server | None = None,
    github_token: Path | None = None,
    github_app: Path | None = None,
    credentials: Path | None = None,
    closed_result: Path | None = None,
) -> None:
    """Close our open pull requests that a newer one of ours has taken the place of, and delete their branches.

    Of the same application and version, into the same base; those of kubeflow's apps-cd (`update_IMAGE_TAG`) are known by
    image and tag. One that is not by us, or whose branch carries somebody else's commit, is left alone.

    Args:
        url: the repository of the pull requests, https://HOST/OWNER/NAME or over ssh.
        base: look at those into this branch alone; by default at all.
        pull_request: the number of the newer one, open or merged; by default each may have taken the place of others.
        dry_run: whether to read and log alone what would be closed.
        author: of our commits, `Name <mail@host>`.
        github_url: a GitHub Enterprise Server, https://HOST; it may see the token. github.com when absent.
        github_token: a file with the token, or a Secret's directory with `token` or `github_token` in it.
        github_app: a Secret's directory with `app-id` and `private-key` of a GitHub App, instead of a token.
        credentials: a directory with ssh-privatekey and known_hosts, to delete branches over ssh.
        closed_result: receives the numbers of those that were closed, with commas between.
    """
    server = github_url or GITHUB
    us = account(github_token, github_app, server, url, credentials)
    known = git_credentials(us, url, credentials)
    github = GitHub(server, url, us, us.ca or known.ca)
    new = None if pull_request is None else _successor(github, pull_request)
    pull_requests = () if new and new.state == "closed" else github.open_pull_requests()
    closed: list[int] = []
    with tempfile.TemporaryDirectory(prefix="apps-cd-") as empty, git_client.isolated(Path(empty), url, known) as git:
        git.run("init", "--quiet", "--bare")
        for each in decisions.superseded(pull_requests, github.login, new):
            if base and each.old.base != base:
                continue
            if not decisions.is_carried_only_by(github.commits(each.old.number), github.login, str(author)):
                _log.warning(
                    "%s carries somebody else's commit, or more commits than GitHub lists; it is left open",
                    each.old.url,
                    extra={"reason": "foreign-commit"},
                )
            elif dry_run:
                _log.info("would close %s: %s took its place", each.old.url, each.new.url)
            else:
                others = [one for one in pull_requests if one.number not in (each.old.number, *closed)]
                is_shared = any(one.head == each.old.head for one in others)
                if _close(github, git, url, each, is_shared=is_shared):
                    closed.append(each.old.number)
    results.write(closed_result, ",".join(map(str, closed)))


def _successor(github: GitHub, number: int) -> PullRequest:
    found = github.pull_request(number)
    if not github.is_us(found.author) or found.proposes is None:
        raise StepError("foreign-pull-request", f"{found.url} by {found.author} is not ours; nothing is closed for it")
    if found.state == "closed":
        _log.info("%s was closed without a merge: it takes nothing's place", found.url)
    return found


def _close(github: GitHub, git: git_client.Git, url: Repository, each: Superseded, *, is_shared: bool) -> bool:
    """Close a pull request, its branch first: what is no longer open is not looked at again. Whether that was done.

    Args:
        is_shared: whether another open pull request has the same branch.
    """
    old = each.old
    if github.pull_request(each.new.number).state == "closed":
        _log.info("%s was closed meanwhile: %s is left open", each.new.url, old.url)
        return False
    github.comment(old.number, pull_request_body.remark("superseded", each.new.url), remark_marker("superseded"))
    if old.head and not is_shared and decisions.has_own_branch(old):
        _delete_branch(git, url, old)
    # GitHub has closed it together with its branch, unless that stays.
    now = github.pull_request(old.number)
    if now.state == "open" and now.sha != old.sha:
        raise StepError("conflict", f"the branch of {old.url} was moved meanwhile; run again", later=True)
    if now.state == "open":
        github.close(old.number)
    _log.info("%s is closed: %s took its place", old.url, each.new.url)
    return True


def _delete_branch(git: git_client.Git, url: Repository, old: PullRequest) -> None:
    at, _, branch = old.head.partition(":")
    owner, _, name = at.rpartition("/")
    places = manifests.Places(url, Branch(old.base), url.sibling(owner, name), Branch(branch))
    try:
        if manifests.tip(git, places):
            manifests.delete(git, places, old.sha)
    except StepError as error:
        if error.later:
            raise
        _log.warning("%s; the branch of %s stays", error, old.url, extra={"reason": error.reason})


if __name__ == "__main__":
    command_line.run(close_superseded_pull_requests)
