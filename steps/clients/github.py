"""GitHub's REST interface: the only import of PyGithub.

A write goes out once: PyGithub's own retries would repeat one whose answer was lost.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from steps.core.pull_request import PullRequest
from steps.core.repository import Branch, Repository, Server
from steps.errors import StepError

if TYPE_CHECKING:
    import github.Issue
    import github.PullRequest

TIMEOUT = 30
"""Seconds that GitHub may take to answer one request."""

LONGEST_REPLY = 500
"""Characters of an error of GitHub's, or of a page in its place, that a message repeats."""

_log = logging.getLogger("steps.github")


class GitHub:
    """One repository at a GitHub server, with one token.

    Args:
        server: whose API is asked; the token is sent there only.
        repository: where pull requests are opened.
        token: with the right to read it and to write pull requests.
        ca: PEM certificates trusted in place of the system's.
    """

    def __init__(self, server: Server, repository: Repository, token: str, ca: Path | None) -> None:
        import github

        client = github.Github(
            auth=github.Auth.Token(token),
            base_url=server.api_url,
            verify=str(ca) if ca else True,
            timeout=TIMEOUT,
            retry=None,
            seconds_between_requests=None,
            user_agent="apps-cd",
            lazy=True,
        )
        self._repository = client.get_repo(repository.path)
        self._path = repository.path

    def open_pull_requests(self, head: Repository, branch: Branch) -> list[PullRequest]:
        """The open pull requests of a branch of `head`, whatever they are to be merged into."""
        with _errors(f"cannot list the pull requests of {self._path}"):
            return [
                _parsed(pull)
                for pull in self._repository.get_pulls(state="open", head=f"{head.owner}:{branch}")
                # GitHub ignores a filter it does not understand, so what it lists is looked at again.
                if pull.head.ref == branch
                and pull.head.repo is not None
                and pull.head.repo.full_name.lower() == head.path.lower()
            ]

    def create(
        self,
        head: Repository,
        branch: Branch,
        base: Branch,
        *,
        title: str,
        body: str,
        draft: bool,
        maintainer_edits: bool,
    ) -> PullRequest:
        """Open a pull request; one that is open already (a former call's, whose answer was lost) is returned instead."""
        import github.GithubObject

        try:
            with _errors(f"cannot open a pull request on {self._path}", passing=422):
                pull = self._repository.create_pull(
                    base,
                    f"{head.owner}:{branch}",
                    title=title,
                    body=body,
                    draft=draft,
                    maintainer_can_modify=maintainer_edits,
                    head_repo=head.name if head.path != self._path else github.GithubObject.NotSet,
                )
                _check(pull)
        except github.GithubException as error:
            if "already exists" in str(error.data):
                for found in self.open_pull_requests(head, branch):
                    if found.base == base:
                        return found
            raise StepError(
                "refused", f"cannot open a pull request of {head.owner}:{branch} on {self._path}: {_said(error)}"
            ) from error
        return _parsed(pull)

    def edit(self, number: int, *, title: str, body: str) -> None:
        """Give a pull request another title and body."""
        with _errors(f"cannot edit pull request {number} of {self._path}"):
            pull = self._pull(number)
            pull.edit(title=title, body=body)
            _check(pull)

    def decorate(
        self,
        pull_request: PullRequest,
        *,
        labels: Sequence[str],
        assignees: Sequence[str],
        reviewers: Sequence[str],
        milestone: str | None,
    ) -> None:
        """Add what is missing of labels, assignees, milestone, and ask for reviews; what GitHub refuses is only logged.

        Args:
            reviewers: logins, or `org/team`.
        """
        number = pull_request.number
        people = [name for name in reviewers if "/" not in name]
        teams = [name.rpartition("/")[2] for name in reviewers if "/" in name]
        new_labels = [name for name in labels if name not in pull_request.labels]
        new_assignees = [name for name in assignees if name not in pull_request.assignees]
        wanted: list[tuple[str, object, Callable[[], object]]] = [
            ("labels", new_labels, lambda: self._issue(number).add_to_labels(*new_labels)),
            ("assignees", new_assignees, lambda: self._issue(number).add_to_assignees(*new_assignees)),
            ("reviewers", reviewers, lambda: self._pull(number).create_review_request(people, teams)),
            (
                "milestone",
                milestone != pull_request.milestone and milestone,
                lambda: self._set_milestone(number, milestone or ""),
            ),
        ]
        for what, value, write in wanted:
            if not value:
                continue
            try:
                with _errors(f"cannot set the {what} of pull request {number}"):
                    write()
            except StepError as error:
                _log.warning("%s; the pull request stands without", error, extra={"reason": error.reason})

    def _set_milestone(self, number: int, title: str) -> None:
        for milestone in self._repository.get_milestones():
            if milestone.title.lower() == title.lower():
                self._issue(number).edit(milestone=milestone)
                return
        raise StepError("not-found", f"{self._path} has no open milestone {title!r}")

    def _pull(self, number: int) -> "github.PullRequest.PullRequest":
        import github.PullRequest

        attributes = {"url": f"{self._repository.url}/pulls/{number}"}
        return github.PullRequest.PullRequest(self._repository.requester, attributes=attributes, completed=True)

    def _issue(self, number: int) -> "github.Issue.Issue":
        import github.Issue

        attributes = {"url": f"{self._repository.url}/issues/{number}"}
        return github.Issue.Issue(self._repository.requester, attributes=attributes, completed=True)


def _check(pull: "github.PullRequest.PullRequest") -> None:
    """Whether a write was answered with a pull request: PyGithub makes an object without a number of a redirect, which
    it does not follow, and of a page of a proxy.
    """
    if isinstance(pull.number, int) and pull.number > 0 and pull.html_url:
        return
    if isinstance(pull.raw_data, dict) and (said := pull.raw_data.get("message")):
        raise StepError(
            "moved",
            f"GitHub answered {said!r} in place of a pull request; was the repository renamed? give its present URL",
        )
    raise StepError(
        "unreachable", "GitHub answered without a pull request in it; a proxy may be in between", later=True
    )


def _parsed(pull: "github.PullRequest.PullRequest") -> PullRequest:
    return PullRequest(
        pull.number,
        pull.html_url,
        pull.base.ref,
        pull.body or "",
        frozenset(label.name for label in pull.labels),
        frozenset(user.login for user in pull.assignees),
        pull.milestone.title if pull.milestone else None,
    )


def _said(error: "github.GithubException") -> str:
    data = error.data if isinstance(error.data, dict) else {}
    details = [
        str(item.get("message") or " ".join(str(item[key]) for key in ("field", "code") if key in item))
        if isinstance(item, dict)
        else str(item)
        for item in data.get("errors") or []
    ]
    return "; ".join([str(data.get("message") or error.data or error.status), *details])[:LONGEST_REPLY]


@contextmanager
def _errors(attempt: str, *, passing: int | None = None) -> Iterator[None]:
    """PyGithub's exceptions as ours; one of status `passing` goes through as it is."""
    import github
    import requests

    try:
        yield
    except github.GithubException as error:
        if error.status == passing:
            raise
        raise _translated(error, attempt) from error
    except requests.RequestException as error:
        raise StepError("unreachable", f"{attempt}: GitHub could not be reached: {error}", later=True) from error
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        # PyGithub's word for a redirect to another host, a page of a proxy in place of a list, and half an answer.
        raise StepError(
            "unreachable", f"{attempt}: the answer is not GitHub's; is --github-url right? ({error})", later=True
        ) from error


def _translated(error: "github.GithubException", attempt: str) -> StepError:
    said = _said(error)
    limited = error.status == 429 or (error.status == 403 and "rate limit" in said.lower())
    if error.status == 401:
        return StepError("auth", f"{attempt}: GitHub does not take the token; give a valid one ({said})")
    if limited:
        return StepError(
            "rate-limit", f"{attempt}: GitHub's rate limit is used up; try again later ({said})", later=True
        )
    if error.status == 403:
        return StepError(
            "refused", f"{attempt}: the token may not; it needs contents and pull requests, read and write ({said})"
        )
    if error.status == 404:
        return StepError("not-found", f"{attempt}: there is no such repository, or the token may not see it ({said})")
    if error.status >= 500:
        return StepError(
            "unreachable", f"{attempt}: GitHub answered {error.status}; try again later ({said})", later=True
        )
    return StepError("refused", f"{attempt}: GitHub refuses ({error.status}: {said})")
