"""What the steps ask of GitHub: its pull requests and their comments, once each, whatever happens on the way.

A write whose reply was lost is looked for before it is sent again: a pull request by its branches, a comment by its key,
all else on the pull request itself.
"""

import logging
import urllib.parse
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from steps.clients.github_requests import Account, Refusal, Reply, Requests, as_number, as_text
from steps.core.pull_request import Commit, Comparison, MergeMethod, PullRequest, Relation, SourceCommit
from steps.core.repository import Branch, Repository, Server
from steps.core.update import CLOSES, remark_marker
from steps.errors import StepError

MOST_COMMITS = 100
"""As many as GitHub puts on a page."""

LONGEST_DESCRIPTION = 140
"""Characters of a commit status."""

State = Literal["error", "failure", "pending", "success"]
"""Of a commit status."""

RELATIONS: dict[str, Relation] = {relation: relation for relation in get_args(Relation)}

_log = logging.getLogger("steps.github")

Result = TypeVar("Result")


class GitHub:
    """One repository at a GitHub server, as one account.

    Args:
        server: whose API is asked; the token is sent there only.
        repository: where pull requests are opened.
        account: with the right to read it and to write pull requests.
        ca: PEM certificates trusted in place of the system's.
        counted: see `Requests`.
    """

    def __init__(
        self,
        server: Server,
        repository: Repository,
        account: Account,
        ca: Path | None,
        counted: Callable[[str], None] | None = None,
    ) -> None:
        self._server, self._repository, self._account = server, repository, account
        self._requests = Requests(server, repository, account, ca, counted)

    @property
    def login(self) -> str:
        """Our login."""
        if self._account.known_as is None:
            self._account.known_as = self._account.login() or self._asked_login()
        return self._account.known_as

    @property
    def repository(self) -> Repository:
        """Where pull requests are opened, by the name that it has now as far as GitHub has told."""
        owner, _, name = self._requests.path.rpartition("/")
        return self._repository.sibling(owner, name)

    def present(self, other: Repository) -> Repository:
        """Another repository by the name that it has now."""
        what = f"cannot look up the repository {other.path}"
        path = self._requests.get(what, f"/repos/{other.path}", lambda reply: as_text(reply.body["full_name"]))
        if path.lower() == other.path.lower():
            return other
        _log.warning("the repository %s is now %s; give its present name", other.path, path, extra={"reason": "moved"})
        owner, _, name = path.rpartition("/")
        return other.sibling(owner, name)

    def pull_requests(self, head: Repository, branch: Branch) -> tuple[PullRequest, ...]:
        """The pull requests of a branch of `head`, open or not, whatever they are to be merged into; the newest first."""
        return self._of_head("all", head, branch)

    def open_pull_requests(self) -> tuple[PullRequest, ...]:
        """All open pull requests, the newest first."""
        return self._list("open")

    def pull_requests_by_update(self, taken: Callable[[PullRequest], Result]) -> Iterator[Sequence[Result]]:
        """All pull requests, the last updated first, page by page as they are wanted.

        The first page is the same object as before as long as GitHub says that it is as it was.

        Args:
            taken: what is kept of each.
        """
        what = f"cannot list the pull requests of {self._requests.path}"
        query = {"state": "all", "sort": "updated", "direction": "desc"}
        return self._requests.pages(what, "pulls", lambda body: taken(self._parsed(body)), query, again=True)

    def pull_request(self, number: int) -> PullRequest:
        """A pull request as it is now."""
        what = f"cannot read pull request {number} of {self._requests.path}"
        return self._requests.get(what, f"pulls/{number}", lambda reply: self._parsed(reply.body, number))

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
        """Open a pull request; ours that is open already is returned instead, with the text that it has.

        Raises:
            StepError: GitHub refuses, or somebody else's is open.
        """
        what = f"cannot open a pull request on {self._requests.path}"
        is_fork = head.path.lower() not in (self._repository.path.lower(), self._requests.path.lower())
        is_sibling = is_fork and head.owner.lower() == self.repository.owner.lower()
        wanted = {
            "title": title,
            "body": body,
            "head": f"{head.owner}:{branch}" if is_fork else branch,
            "base": base,
            "draft": draft,
            "maintainer_can_modify": maintainer_edits,
        } | ({"head_repo": head.path} if is_sibling else {})

        def parsed(reply: Reply) -> PullRequest:
            found = self._parsed(reply.body)
            if (found.state, found.base, _branch(found)) != ("open", base, branch):
                raise ValueError("it is another pull request")
            return found

        def of_ours() -> PullRequest | None:
            return next((each for each in self._open(head, branch, base) if self.is_us(each.author)), None)

        try:
            found = self._requests.write(what, "POST", "pulls", wanted, parsed, of_ours)
        except Refusal as refusal:
            if refusal.status != 422:
                raise
            if "already exists" in refusal.said:
                found = self._adopted(what, head, branch, base)
            elif maintainer_edits and "fork_collab" in refusal.said:
                # Only who may push to a fork may let others push to it.
                return self.create(head, branch, base, title=title, body=body, draft=draft, maintainer_edits=False)
            else:
                raise StepError(
                    "refused",
                    f"cannot open a pull request of {head.owner}:{branch} on {self._requests.path}: {refusal.said}",
                ) from refusal
        return found

    def edit(self, number: int, *, title: str, body: str) -> PullRequest:
        """Give a pull request another title and body."""
        return self._change(
            f"cannot edit pull request {number} of {self._requests.path}",
            number,
            {"title": title, "body": body},
            lambda pull: _has_text(pull, title, body),
        )

    def comment(self, number: int, text: str, key: str) -> bool:
        """Comment on a pull request, unless a comment of ours has the key already; whether it was written.

        Args:
            text: with the key in it.
            key: what no other comment of ours contains.
        """
        _ = self.login  # asked for before the write, whose reply is held against it
        what = f"cannot comment on pull request {number} of {self._requests.path}"
        if self.is_remarked(number, key):
            return False

        def written(reply: Reply) -> bool:
            body = reply.body
            self._page(body["html_url"])
            as_number(body["id"])
            if not self.is_us(_login(body["user"])) or key not in body["body"]:
                raise ValueError("it is another comment")
            return True

        self._requests.write(
            what,
            "POST",
            f"issues/{number}/comments",
            {"body": text},
            written,
            lambda: self._requests.await_listed(what, lambda: self.is_remarked(number, key) or None),
        )
        return True

    def is_remarked(self, number: int, key: str) -> bool:
        """Whether a comment of ours on a pull request has the key."""
        what = f"cannot list the comments of pull request {number} of {self._requests.path}"
        comments = self._requests.list(
            what, f"issues/{number}/comments", lambda each: (_login(each["user"]), each["body"] or "")
        )
        return any(self.is_us(author) and key in body for author, body in comments)

    def close(self, number: int) -> None:
        """Close a pull request that is open."""
        what = f"cannot close pull request {number} of {self._requests.path}"
        self._change(what, number, {"state": "closed"}, lambda pull: pull.state != "open")

    def closed_by(self, number: int) -> str | None:
        """Login of who closed a pull request."""
        what = f"cannot read who closed pull request {number} of {self._requests.path}"
        return self._requests.get(what, f"issues/{number}", lambda reply: _login(reply.body.get("closed_by")) or None)

    def is_refused(self, number: int) -> bool:
        """Whether a person closed a pull request; of a close of ours a remark tells before."""
        try:
            by = self.closed_by(number)
        except StepError as error:
            if error.later:
                raise
            _log.warning("%s; it is taken for a person's close", error, extra={"reason": error.reason})
            by = None
        if by is None or not self.is_us(by):
            return True
        return not any(self.is_remarked(number, remark_marker(kind)) for kind in CLOSES)

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
        new_labels = _missing(labels, pull_request.labels)
        new_assignees = _missing(assignees, pull_request.assignees)
        if new_labels:
            self._if_possible(lambda: self._add_labels(number, new_labels))
        if new_assignees:
            self._if_possible(lambda: self._assign(number, new_assignees))
        if reviewers:
            self._if_possible(lambda: self._ask_for_reviews(number, reviewers))
        if milestone and pull_request.milestone is None:
            self._if_possible(lambda: self._set_milestone(number, milestone))

    def enable_auto_merge(self, pull_request: PullRequest, method: MergeMethod, commit: str) -> None:
        """Have GitHub merge a pull request once all it requires is there; what it refuses is only logged.

        Args:
            commit: the head that is to be merged, and no other.
        """
        what = f"cannot enable auto-merge of pull request {pull_request.number}"

        def enable() -> None:
            def seen() -> tuple[str, bool]:
                return self._requests.get(
                    what,
                    f"pulls/{pull_request.number}",
                    lambda reply: (as_text(reply.body["node_id"]), reply.body.get("auto_merge") is not None),
                )

            node, is_enabled = seen()
            if not is_enabled:
                self._requests.graphql(
                    what,
                    "mutation Mutation($input: EnablePullRequestAutoMergeInput!) "
                    "{ enablePullRequestAutoMerge(input: $input) { pullRequest { id } } }",
                    {"input": {"pullRequestId": node, "mergeMethod": method.upper(), "expectedHeadOid": commit}},
                    lambda data: as_text(data["enablePullRequestAutoMerge"]["pullRequest"]["id"]),
                    lambda: node if seen()[1] else None,
                )

        self._if_possible(enable)

    def commits(self, number: int) -> list[Commit]:
        """The commits of a pull request, at most 250."""
        what = f"cannot list the commits of pull request {number} of {self._requests.path}"

        def parsed(each: Any) -> Commit:
            who = {
                role: f"{each['commit'][role]['name']} <{each['commit'][role]['email']}>"
                for role in ("author", "committer")
            }
            return Commit(as_text(each["sha"]), who["author"], who["committer"], _login(each["author"]) or None)

        return self._requests.list(what, f"pulls/{number}/commits", parsed)

    def compare(self, source: Repository, base: str, head: str) -> Comparison | None:
        """What lies between two commits of a source; None when it cannot be read."""
        what = f"cannot compare {base} and {head} of {source.path}"
        path = f"/repos/{source.path}/compare/{urllib.parse.quote(base)}...{urllib.parse.quote(head)}"

        def page(number: int) -> tuple[Comparison, tuple[SourceCommit, ...]]:
            query = {"per_page": MOST_COMMITS, "page": number}
            return self._requests.get(what, path, self._compared, query)

        def compared() -> Comparison:
            found, commits = page(1)
            # The oldest come first.
            last = -(-found.total // MOST_COMMITS)
            if last > 1:
                commits = (page(last - 1)[1] if last > 2 else commits) + page(last)[1]
            return Comparison(found.relation, found.total, commits[: -MOST_COMMITS - 1 : -1], found.url)

        return self._if_readable(source, compared)

    def branch_tip(self, source: Repository, branch: Branch) -> str | None:
        """The commit of a branch of a source; None when there is none, or it cannot be read."""
        what = f"cannot read the branch {branch} of {source.path}"
        path = f"/repos/{source.path}/branches/{urllib.parse.quote(branch)}"
        return self._if_readable(
            source, lambda: self._requests.get(what, path, lambda reply: as_text(reply.body["commit"]["sha"]))
        )

    def set_status(self, commit: str, *, context: str, state: State, description: str, url: str | None) -> None:
        """Give a commit a status, unless the last one of the context is the same.

        Args:
            description: what is too long is cut off.
        """
        what = f"cannot set the status of {commit[:8]} of {self._requests.path}"
        wanted = (state, description[:LONGEST_DESCRIPTION].strip(), url)

        def parsed(body: Any) -> tuple[str, tuple[str, str, str | None]]:
            text = (body["description"] or "").strip()
            return as_text(body["context"]), (as_text(body["state"]), text, body["target_url"] or None)

        def look() -> bool | None:
            pages = self._requests.pages(what, f"commits/{commit}/statuses", parsed)
            last = next((status for page in pages for name, status in page if name == context), None)
            return last == wanted or None

        def written(reply: Reply) -> bool:
            # Its words may be others, as some servers change them: one that is wrong for that is written again and again.
            found, (its_state, *_) = parsed(reply.body)
            if (found, its_state) != (context, state):
                raise ValueError("it is another status")
            return True

        if not look():
            body = {"context": context, **dict(zip(("state", "description", "target_url"), wanted, strict=True))}
            self._requests.write(what, "POST", f"statuses/{commit}", body, written, look)

    def _asked_login(self) -> str:
        what = "cannot ask whose token it is"
        try:
            return self._requests.get(what, "/user", lambda reply: as_text(reply.body["login"]))
        except Refusal as refusal:
            if refusal.status != 403:
                raise
        # An installation of an App is no user.
        return self._requests.graphql(
            what, "query { viewer { login } }", {}, lambda data: as_text(data["viewer"]["login"])
        )

    def is_us(self, login: str) -> bool:
        """Whether a login is ours; GitHub's are alike in any case."""
        return login.lower() == self.login.lower()

    def _of_head(self, state: Literal["open", "all"], head: Repository, branch: Branch) -> tuple[PullRequest, ...]:
        while True:
            present = self._requests.path
            path = present if head.path.lower() == self._repository.path.lower() else head.path
            found = self._list(state, head=f"{path.partition('/')[0]}:{branch}")
            # Renamed, and maybe given to another owner, whose name the filter needs.
            if self._requests.path == present:
                # GitHub ignores a filter it does not understand, so what it lists is looked at again.
                return tuple(each for each in found if _branch(each) == branch and _place(each).lower() == path.lower())

    def _list(self, state: Literal["open", "all"], **query: str) -> tuple[PullRequest, ...]:
        what = f"cannot list the pull requests of {self._requests.path}"
        found = self._requests.list(what, "pulls", self._parsed, {"state": state, **query})
        # One that moved to the next page meanwhile is listed twice.
        return tuple(sorted({each.number: each for each in found}.values(), key=lambda each: -each.number))

    def _open(self, head: Repository, branch: Branch, base: Branch) -> list[PullRequest]:
        return [each for each in self._of_head("open", head, branch) if each.base == base]

    def _adopted(self, what: str, head: Repository, branch: Branch, base: Branch) -> PullRequest:
        """The pull request that is open already, as GitHub says, and may not be listed yet."""
        found = self._requests.await_listed(what, lambda: next(iter(self._open(head, branch, base)), None))
        if found is None:
            raise StepError(
                "unreachable",
                f"{what}: GitHub has one of {head.owner}:{branch} already, but does not list it",
                later=True,
            )
        if not self.is_us(found.author):
            raise StepError(
                "foreign-pull-request",
                f"{found.url} by {found.author} proposes the same branch and is not ours; it is left alone. Merge or close "
                "it, or give another --version",
            )
        return found

    def _change(
        self, what: str, number: int, values: dict[str, str], is_done: Callable[[PullRequest], bool]
    ) -> PullRequest:
        def parsed(reply: Reply) -> PullRequest:
            found = self._parsed(reply.body, number)
            if not is_done(found):
                raise ValueError("it is not what was asked for")
            return found

        def look() -> PullRequest | None:
            found = self.pull_request(number)
            return found if is_done(found) else None

        try:
            return self._requests.write(what, "PATCH", f"pulls/{number}", values, parsed, look)
        except Refusal as refusal:
            # Such as the second of two closes.
            if refusal.status == 422 and (found := look()):
                return found
            raise

    def _if_possible(self, write: Callable[[], None]) -> None:
        try:
            write()
        except StepError as error:
            _log.warning("%s; the pull request stands without", error, extra={"reason": error.reason})

    def _if_readable(self, source: Repository, read: Callable[[], Result]) -> Result | None:
        if source.host.lower() != self._server.host.lower():
            return None
        try:
            return read()
        except Refusal as refusal:
            if refusal.status in (403, 404, 451):
                return None
            raise

    def _add(
        self,
        number: int,
        what: str,
        names: Collection[str],
        write: tuple[str, str, dict[str, Any]],
        told: Callable[[Any], set[str]],
    ) -> None:
        """Add something to a pull request, and tell what GitHub left out of it without a word.

        Args:
            write: verb, path and body.
            told: the names in a reply, or in the pull request; lower case.
        """
        attempt = f"cannot set the {what} of pull request {number}"
        wanted = {name.lower() for name in names}

        def look() -> set[str] | None:
            found = self._requests.get(attempt, f"pulls/{number}", lambda reply: told(reply.body))
            return found if found >= wanted else None

        found = self._requests.write(attempt, *write, lambda reply: told(reply.body), look)
        if left_out := [name for name in names if name.lower() not in found]:
            _log.warning(
                "%s: GitHub left out %s; the pull request stands without",
                attempt,
                ", ".join(left_out),
                extra={"reason": "refused"},
            )

    def _add_labels(self, number: int, names: Sequence[str]) -> None:
        self._add(
            number,
            "labels",
            names,
            ("POST", f"issues/{number}/labels", {"labels": names}),
            lambda body: _names(body if isinstance(body, list) else body["labels"], "name"),
        )

    def _assign(self, number: int, logins: Sequence[str]) -> None:
        write = ("POST", f"issues/{number}/assignees", {"assignees": logins})
        self._add(number, "assignees", logins, write, lambda body: _names(body["assignees"], "login"))

    def _ask_for_reviews(self, number: int, reviewers: Sequence[str]) -> None:
        """Ask those who were never asked: of others somebody has taken the request back, or they have answered it."""
        what = f"cannot list the events of pull request {number} of {self._requests.path}"
        asked = self._requests.list(what, f"issues/{number}/events", _asked_for_review)
        reviewers = [name for name in reviewers if name.rpartition("/")[2].lower() not in asked]
        if not reviewers:
            return
        try:
            self._request_reviews(number, reviewers)
        except Refusal as refusal:
            if refusal.status != 422 or len(reviewers) == 1:
                raise
            # GitHub asks nobody when it may not ask one.
            for name in reviewers:
                self._if_possible(partial(self._request_reviews, number, [name]))

    def _request_reviews(self, number: int, reviewers: Sequence[str]) -> None:
        people = [name for name in reviewers if "/" not in name]
        teams = [name.rpartition("/")[2] for name in reviewers if "/" in name]
        self._add(
            number,
            "reviewers",
            [*people, *teams],
            ("POST", f"pulls/{number}/requested_reviewers", {"reviewers": people, "team_reviewers": teams}),
            lambda body: _names(body["requested_reviewers"], "login") | _names(body["requested_teams"], "slug"),
        )

    def _set_milestone(self, number: int, title: str) -> None:
        what = f"cannot list the milestones of {self._requests.path}"
        milestones = self._requests.list(
            what, "milestones", lambda each: (as_text(each["title"]).lower(), as_number(each["number"]))
        )
        found = dict(milestones).get(title.lower())
        if found is None:
            raise StepError("not-found", f"{self._requests.path} has no open milestone {title!r}")
        self._add(
            number,
            "milestone",
            [title],
            ("PATCH", f"issues/{number}", {"milestone": found}),
            lambda body: _names([body["milestone"]] if body["milestone"] else [], "title"),
        )

    def _parsed(self, body: Any, number: int | None = None) -> PullRequest:
        if number is not None and body["number"] != number:
            raise ValueError(f"it is not pull request {number}")
        head, state = body["head"], as_text(body["state"])
        if state not in ("open", "closed"):
            raise ValueError(f"{state!r} is no state of a pull request")
        return PullRequest(
            as_number(body["number"]),
            self._page(body["html_url"]),
            _login(body["user"]),
            f"{as_text(head['repo']['full_name'])}:{as_text(head['ref'])}" if head["repo"] else "",
            as_text(body["base"]["ref"]),
            as_text(head["sha"]),
            "merged" if body["merged_at"] else "open" if state == "open" else "closed",
            as_text(body["title"]),
            as_text(body["body"] or ""),
            frozenset(as_text(each["name"]) for each in body["labels"]),
            frozenset(as_text(each["login"]) for each in body["assignees"]),
            as_text(body["milestone"]["title"]) if body["milestone"] else None,
            _time(body["created_at"]),
            _time(body["updated_at"]),
        )

    def _compared(self, reply: Reply) -> tuple[Comparison, tuple[SourceCommit, ...]]:
        body = reply.body
        commits = tuple(
            SourceCommit(
                as_text(each["sha"]),
                as_text(each["commit"]["message"]).partition("\n")[0],
                _login(each["author"]) or as_text(each["commit"]["author"]["name"]),
                self._page(each["html_url"]),
            )
            for each in body["commits"]
        )
        total = body["total_commits"]
        if body["status"] not in RELATIONS or not isinstance(total, int):
            raise ValueError("it is no comparison")
        return Comparison(RELATIONS[body["status"]], total, (), self._page(body["html_url"])), commits

    def _page(self, url: object) -> str:
        """A page of the server's own."""
        page = as_text(url)
        if urllib.parse.urlsplit(page).hostname != urllib.parse.urlsplit(self._server.url).hostname:
            raise ValueError(f"{page} is elsewhere")
        return page


def _login(user: Any) -> str:
    """Login of a user; empty when the account is gone."""
    return as_text(user["login"]) if user else ""


def _time(value: object) -> float:
    """The seconds since 1970."""
    return datetime.fromisoformat(as_text(value)).timestamp()


def _names(items: Any, key: str) -> set[str]:
    return {as_text(each[key]).lower() for each in items}


def _missing(wanted: Sequence[str], there: Collection[str]) -> list[str]:
    """What is wanted and not there; GitHub's names are the same in upper and lower case."""
    found = {name.lower() for name in there}
    return [name for name in dict.fromkeys(wanted) if name.lower() not in found]


def _place(pull: PullRequest) -> str:
    return pull.head.partition(":")[0]


def _branch(pull: PullRequest) -> str:
    return pull.head.partition(":")[2]


def _has_text(pull: PullRequest, title: str, body: str) -> bool:
    """Whether a pull request has a text, but for white space, of which GitHub does not keep all."""
    return [pull.title.split(), pull.body.split()] == [title.split(), body.split()]


def _asked_for_review(event: Any) -> str:
    """Login or slug of whom an event asks for a review; of another event nothing."""
    if event["event"] != "review_requested":
        return ""
    person, team = event.get("requested_reviewer"), event.get("requested_team")
    return (_login(person) if person else as_text(team["slug"]) if team else "").lower()
