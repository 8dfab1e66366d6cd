"""A working tree with changes becomes a branch, a commit, and one live pull request.

Its results are read by the Pipeline's; its page by a reviewer.
"""

import contextlib
import logging
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from steps import command_line, results
from steps.clients import git as git_client
from steps.clients import manifests
from steps.clients.credentials import Credentials
from steps.clients.github import GitHub
from steps.clients.github_account import account, git_credentials
from steps.core import pull_request, pull_request_body
from steps.core import update as updates
from steps.core.image import Image, commit_of
from steps.core.pull_request import Comparison, MergeMethod, Operation, PullRequest, Seen, Tip
from steps.core.pull_request_body import DashboardUrl, Facts, KubernetesName, Message, Run, TitleTemplate
from steps.core.repository import GITHUB, Branch, Commit, Head, Person, Repository, Server
from steps.core.text import Text
from steps.core.update import AUTHOR, Application, Update, Version
from steps.errors import StepError

LARGEST_TEXT = 1 << 20
"""Bytes of a file with a message, or with a rendered diff."""

_REPLACED = {
    "edit": "nobody is there to edit; give --message or --file",
    "no-edit": "give --message or --file, or --image for a message of ours",
    "issue": "a pull request of an update is no issue; link it in --message",
    "force": "the branch is pushed with a lease on the commit that was read; nothing is ever overwritten",
    "push": "the branch is always pushed",
    "browse": "the URL is printed",
    "copy": "the URL is printed",
}

_log = logging.getLogger("steps.open_pull_request")

Result = TypeVar("Result")


def open_pull_request(
    *,
    repo_dir: Path,
    url: Repository,
    base: Branch,
    base_commit: Commit,
    application: Application | None = None,
    version: Version | None = None,
    src_image_url: Image | None = None,
    previous_image: Image | None = None,
    image: Image | None = None,
    source_url: Repository | None = None,
    source_commit: Commit | None = None,
    source_date: int | None = None,
    source_branch: Branch | None = None,
    title: TitleTemplate | None = None,
    message: Text | None = None,
    file: Path | None = None,
    rendered_diff: Path | None = None,
    dashboard_url: DashboardUrl | None = None,
    namespace: KubernetesName | None = None,
    pipeline_run: KubernetesName | None = None,
    head: Head | None = None,
    labels: tuple[str, ...] = (),
    reviewer: tuple[str, ...] = (),
    assign: tuple[str, ...] = (),
    milestone: str | None = None,
    draft: bool = False,
    auto_merge: MergeMethod | None = None,
    no_maintainer_edits: bool = False,
    dry_run: bool = False,
    author: Person = AUTHOR,
    date: int | None = None,
    github_url: Server | None = None,
    github_token: Path | None = None,
    github_app: Path | None = None,
    credentials: Path | None = None,
    pull_request_url_result: Path | None = None,
    pull_request_number_result: Path | None = None,
    operation_result: Path | None = None,
) -> None:
    """Commit what changed in a working tree, push it, and open or update its one pull request.

    The branch is apps-cd/VERSION/APPLICATION: a newer image of the application updates the same pull request, an older one
    leaves it as it is. A branch with somebody else's commit on it is left alone, and what a person has closed is not
    proposed again until there is a newer commit of the source, or the label apps-cd/reopen on what was closed. The URL of
    the pull request is printed on stdout.

    Args:
        repo_dir: the working tree; of it only the contents of files are trusted, never its .git.
        url: the repository, https://HOST/OWNER/NAME or over ssh.
        base: the branch that the pull request is to be merged into.
        base_commit: the commit that the tree was made from, 40 digits, as clone_repository and git-clone tell it: what
            others merged since then stays.
        application: what is updated; the last part of src_image_url when absent.
        version: of what; the base when absent.
        src_image_url: the image as the manifests name it.
        previous_image: what it was, as set_image tells it, for the message.
        image: what it becomes.
        source_url: the repository that the image was built from; at the same server its commits are listed.
        source_commit: the commit that the image was built from: of two updates the one with the newer commit stays.
        source_date: the committer date of that commit, in seconds since 1970, for when the token cannot read the source.
        source_branch: the branch that is built: a commit on it is newer than one that is not, such as after a force-push.
        title: of the pull request, one line with {application}, {version}, {image}, {tag}, {digest} or {source-commit} in it.
        message: title, an empty line, body in Markdown, in place of ours.
        file: a file with the message, instead.
        rendered_diff: a file with what changes in the rendered manifests, as set_image writes it, at most 1 MiB.
        dashboard_url: where the Tekton dashboard is, for a link to the run.
        namespace: of the run.
        pipeline_run: name of the PipelineRun.
        head: where the branch is pushed to, [OWNER[/NAME]:][BRANCH]; OWNER is that of a fork.
        labels: to put on the pull request, with commas between.
        reviewer: people or org/team to ask for a review.
        assign: people to assign.
        milestone: by its title.
        draft: whether a new pull request is a draft.
        auto_merge: how GitHub is to merge it once all that the base requires is met.
        no_maintainer_edits: whether maintainers may not push to the branch of the fork.
        dry_run: whether to read and log alone what would be done (also --noop).
        author: of the commit, `Name <mail@host>`.
        date: of the commit, in seconds since 1970; the base's committer date when absent.
        github_url: a GitHub Enterprise Server, https://HOST; it may see the token. github.com when absent.
        github_token: a file with the token, or a Secret's directory with `token` or `github_token` in it.
        github_app: a Secret's directory with `app-id` and `private-key` of a GitHub App, instead of a token.
        credentials: a directory with ssh-privatekey and known_hosts, to push over ssh.
        pull_request_url_result: receives the page of the pull request, or nothing.
        pull_request_number_result: receives its number, or nothing.
        operation_result: receives created, updated or unchanged; closed when the base has the image already, none when there
            was nothing to close either; superseded when something newer was proposed, vetoed when a person closed it.
    """
    application, version = _names(application, version, src_image_url, base)
    server = github_url or GITHUB
    us = account(github_token, github_app, server, url, credentials)
    known = git_credentials(us, url, credentials)
    facts = Facts(
        application,
        version,
        src_image_url,
        previous_image,
        image,
        source_url,
        source_commit,
        rendered_diff=_rendered(rendered_diff) if rendered_diff else None,
        run=Run(dashboard_url, namespace, pipeline_run),
    )
    told, head = _message(message, file), head or Head()
    places = _places(url, base, head, updates.branch(application, version), is_app=github_app is not None)
    if not repo_dir.is_dir():
        raise StepError("not-found", f"the working tree {repo_dir} does not exist")

    def look() -> tuple[GitHub, manifests.Places, tuple[PullRequest, ...]]:
        github = GitHub(server, url, us, us.ca or known.ca)
        fork = github.present(places.head_at) if places.is_fork else None
        found = github.pull_requests(fork or places.head_at, places.head)
        return github, _renamed(places, github.repository, fork), found

    # PyGithub takes as long to load as git to fetch, so both at once.
    looked = _begin(look)
    update = updates.update(application, version, image, source_commit, source_date)
    text = told or pull_request_body.message(facts, title)
    with _git(places, known) as git:
        fetched, commit = _commit(git, repo_dir, places, base_commit, text.commit_text(update), author, date)
        github, places, pull_requests = looked()
        tip = manifests.head(git, places, fetched, author, own=not head.branch)
        seen = Seen(pull_requests, github.login if pull_requests else "", base, tip)
        update = replace(update, commit=commit)
        operation, found = _decide(github, seen, update, source_url, source_branch)
        proposal = _Proposal(git, github, places, seen, update, own=not head.branch)
        proposal.refuse_foreign(operation, found, author, dry_run=dry_run)
        if dry_run:
            _log.info("%s", _would(operation, commit, places, text.title))
        elif operation in ("closed", "none"):
            proposal.close(found)
        elif operation in ("created", "updated", "unchanged"):
            if operation != "unchanged":
                text = told or _full(github, facts, title, seen, update)
                proposal.body(text, found)
                proposal.push(found)
            if found is None:
                found = proposal.create(text, draft=draft, maintainer_edits=not no_maintainer_edits)
            if found.proposes != proposal.update:
                operation, found = "updated", proposal.edit(found, text)
            github.decorate(found, labels=labels, assignees=assign, reviewers=reviewer, milestone=milestone)
            if auto_merge:
                github.enable_auto_merge(found, auto_merge, proposal.update.commit or "")
    if not dry_run:
        _log.info("%s", _did(operation, found, places))
    if found:
        print(found.url)  # noqa: T201 - as hub does
    results.write(pull_request_url_result, found.url if found else "")
    results.write(pull_request_number_result, found.number if found else "")
    results.write(operation_result, operation)


def _begin(call: Callable[[], Result]) -> Callable[[], Result]:
    """Call something beside what follows; what is returned waits for its result.

    The thread does not outlive the process, as one of an executor does: SIGTERM ends a step that waits for a server.
    """
    future: Future[Result] = Future()

    def carry_out() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised again where the result is wanted
            future.set_exception(error)

    threading.Thread(target=carry_out, daemon=True).start()
    return future.result


@contextlib.contextmanager
def _git(places: manifests.Places, known: Credentials) -> Iterator[git_client.Git]:
    """git in an empty directory that lives as long as the context."""
    with (
        tempfile.TemporaryDirectory(prefix="apps-cd-") as empty,
        git_client.isolated(Path(empty), places.base_at, known) as git,
    ):
        yield git


def _commit(
    git: git_client.Git,
    repo_dir: Path,
    places: manifests.Places,
    start: Commit,
    message: str,
    author: Person,
    date: int | None,
) -> tuple[manifests.Fetched, str | None]:
    """What the server has, and the commit that makes its base what the tree is; None when it is that already."""
    try:
        fetched = manifests.fetch(git, places, start)
        tree = manifests.tree(git, repo_dir, fetched)
        if tree == fetched.base_tree:
            return fetched, None
        when = fetched.base_date if date is None else date
        return fetched, manifests.commit(git, tree, fetched.base, message, author, when)
    except git_client.Failed as error:
        raise git_client.translated(error, f"cannot commit {repo_dir}") from error


def _decide(
    github: GitHub, seen: Seen, update: Update, source: Repository | None, branch: Branch | None
) -> tuple[Operation, PullRequest | None]:
    """What is to become of the update, and of which pull request."""
    return pull_request.operation(
        seen,
        update,
        is_overtaken=_is_overtaken(github, seen, update, source, branch),
        is_vetoed=_is_vetoed(github, seen, update),
    )


def _is_overtaken(github: GitHub, seen: Seen, update: Update, source: Repository | None, branch: Branch | None) -> bool:
    """Whether something newer was proposed, by the history of the source as far as it can be read."""
    others = pull_request.rivals(seen, update)
    tip = github.branch_tip(source, branch) if source and branch and others else None
    return any(not _is_newer(github, update, other, source, tip) for other in others)


def _is_newer(github: GitHub, update: Update, other: Update, source: Repository | None, tip: str | None) -> bool:
    """Whether an update is to follow another one.

    Args:
        tip: of the branch that is built.
    """
    ours, theirs = update.source or "", other.source or ""
    if tip in (ours, theirs):
        return tip == ours
    try:
        compared = github.compare(source, theirs, ours) if source else None
        histories = (
            [github.compare(source, each, tip) for each in (ours, theirs)] if source and tip and compared else []
        )
    except StepError as error:
        if error.reason != "unreachable":
            raise
        # GitHub cannot compare what is too far apart; the dates can.
        _log.warning("%s; the dates of the commits are compared", error, extra={"reason": error.reason})
        compared, histories = None, []
    places = [each.relation == "ahead" if each else None for each in histories] or [None, None]
    relation = compared.relation if compared else None
    return pull_request.is_newer(update, other, relation, is_on_branch=places[0], other_is_on_branch=places[1])


def _is_vetoed(github: GitHub, seen: Seen, update: Update) -> bool:
    """Whether a person closed the pull request that proposed the same."""
    closed = pull_request.veto(seen, update)
    return closed is not None and github.is_refused(closed.number)


def _full(github: GitHub, facts: Facts, title: TitleTemplate | None, seen: Seen, update: Update) -> Message:
    """The message with what GitHub knows of the source and of former pull requests."""
    last = pull_request.follows(seen, update)
    changes = _changes(github, facts, seen, update)
    return pull_request_body.message(replace(facts, changes=changes, follows=last.number if last else None), title)


def _changes(github: GitHub, facts: Facts, seen: Seen, update: Update) -> Comparison | str | None:
    """What the source changed between the images, or a sentence why that is not told."""
    if facts.source is None or facts.source_commit is None or facts.previous is None:
        return None
    merged = [each.proposes for each in pull_request.ours(seen, update) if each.state == "merged"]
    former = next((each.source for each in merged if each and each.image == str(facts.previous)), None)
    former = former or commit_of(facts.previous.tag or "")
    if former is None:
        return "the former image does not tell which commit it was built from"
    try:
        compared = github.compare(facts.source, former, facts.source_commit)
    except StepError as error:
        _log.warning("%s; the commits between are not listed", error, extra={"reason": error.reason})
        compared = None
    return compared or f"{facts.source} cannot be read with this token"


@dataclass(frozen=True)
class _Proposal:
    """What is done about an update whose fate is decided; all of it may be done again."""

    git: git_client.Git
    github: GitHub
    places: manifests.Places
    seen: Seen
    update: Update
    own: bool

    def refuse_foreign(self, operation: Operation, found: PullRequest | None, author: Person, *, dry_run: bool) -> None:
        """Leave a branch to whoever else has a commit on it, and say so on its pull request, once."""
        if operation not in ("created", "updated", "closed") or self.seen.tip is None or not self.seen.tip.foreign:
            return
        if found and not dry_run:
            try:
                self._remark(found, "foreign-commit")
            except StepError as error:
                _log.warning("%s", error, extra={"reason": error.reason})
        one, places = self.seen.tip.foreign[0], self.places
        raise StepError(
            "foreign-commit",
            f"{places.head} of {places.head_at} carries {one.sha[:8]} by {one.author} (committed by {one.committer}), not by "
            f"{author}; it is left alone. Merge or close its pull request and delete the branch, or give --author if that is us",
        )

    def push(self, found: PullRequest | None) -> None:
        """Move the branch. Its lease says that it is where we read it; that none was opened and merged meanwhile, when there
        is none to update, is looked at once more.
        """
        tip = self.seen.tip.commit if self.seen.tip else None
        if found is None:
            now = self.github.pull_requests(self.places.head_at, self.places.head)
            if {each.number for each in now} != {each.number for each in self.seen.pull_requests}:
                raise StepError("conflict", f"{now[0].url} was opened meanwhile; run again", later=True)
        if tip != self._commit:
            manifests.push(self.git, self.places, self._commit, tip)

    def body(self, text: Message, found: PullRequest | None) -> str:
        """The body of the pull request; what a person wrote there stays."""
        try:
            return pull_request_body.body(text, self.update, found.body if found else None)
        except ValueError as error:
            raise StepError(
                "too-long", f"cannot update {found.url if found else 'the pull request'}: {error}"
            ) from None

    def create(self, text: Message, *, draft: bool, maintainer_edits: bool) -> PullRequest:
        places = self.places
        return self.github.create(
            places.head_at,
            places.head,
            places.base,
            title=text.title,
            body=self.body(text, None),
            draft=draft,
            maintainer_edits=maintainer_edits,
        )

    def edit(self, found: PullRequest, text: Message) -> PullRequest:
        """Have the pull request say what its branch has."""
        now = self.github.pull_request(found.number)
        if now.state == "merged" and now.sha == self._commit:
            # An older build that comes later compares with what is told there.
            self.github.edit(now.number, title=text.title, body=self.body(text, now))
        self._refuse_other(now, self._commit)
        return self.github.edit(now.number, title=text.title, body=self.body(text, now))

    def close(self, found: PullRequest | None) -> None:
        """Take back what the base has already, its branch first: of that we know for certain that nobody has moved it."""
        tip = self.seen.tip
        where = tip.commit if tip else None
        if found:
            self._refuse_other(self.github.pull_request(found.number), where)
            self._remark(found, "in-base")
        if tip and self._is_to_go(tip):
            manifests.delete(self.git, self.places, tip.commit)
            where = None
        if found and (now := self.github.pull_request(found.number)).state == "open":
            self._refuse_other(now, where)
            self.github.close(found.number)

    def _is_to_go(self, tip: Tip) -> bool:
        """Whether the branch is the update's, and has nothing but ours; without a source nothing tells that it is no newer."""
        is_ours = not tip.foreign and tip.update is not None and tip.update.is_of(self.update)
        return self.own and is_ours and self.update.source is not None

    def _refuse_other(self, now: PullRequest, tip: str | None) -> None:
        """Look again before a write: whether somebody has changed, meanwhile, what it was decided upon.

        Args:
            now: the pull request as it is.
            tip: where its branch is to be.
        """
        if now.state != "open":
            raise StepError("conflict", f"{now.url} was {now.state} meanwhile; run again", later=True)
        pull_request.open_one(replace(self.seen, pull_requests=(now,), us=self.github.login), self.update)
        if manifests.tip(self.git, self.places) != tip:
            raise StepError("conflict", f"{self.places.head} was moved meanwhile; run again", later=True)

    @property
    def _commit(self) -> str:
        assert self.update.commit  # noqa: S101 - what is pushed has one
        return self.update.commit

    def _remark(self, found: PullRequest, kind: updates.Remark) -> None:
        self.github.comment(found.number, pull_request_body.remark(kind), updates.remark_marker(kind))


def _would(operation: Operation, commit: str | None, places: manifests.Places, title: str) -> str:
    if operation in ("created", "updated") and commit:
        return f"would push {commit[:8]} to {places.head} of {places.head_at}, and the pull request would be {operation}: {title}"
    return f"the pull request would be {operation}, and nothing pushed"


def _did(operation: Operation, found: PullRequest | None, places: manifests.Places) -> str:
    page = found.url if found else ""
    return {
        "none": f"nothing differs from {places.base} of {places.base_at}",
        "closed": f"{places.base} has the image already: {page} is closed",
        "superseded": f"something newer was proposed: {page} is left as it is",
        "vetoed": f"{page} was closed by a person: the same is not proposed again without the label {updates.REOPEN_LABEL} on it",
    }.get(operation, f"pull request {operation}: {page}")


def _places(url: Repository, base: Branch, head: Head, branch: Branch, *, is_app: bool) -> manifests.Places:
    if is_app and head.owner and head.owner.lower() != url.owner.lower():
        raise StepError(
            "usage", "--head: the token of a GitHub App is for one owner's repositories; push the branch there"
        )
    head_at = url.sibling(head.owner, head.name) if head.owner else url
    return _checked(manifests.Places(url, base, head_at, head.branch or branch))


def _renamed(places: manifests.Places, base_at: Repository, fork: Repository | None) -> manifests.Places:
    """The same places by the names that repositories have now: to those git is redirected when it fetches alone."""
    return _checked(replace(places, base_at=base_at, head_at=fork or base_at))


def _checked(places: manifests.Places) -> manifests.Places:
    if not places.is_fork and places.head == places.base:
        raise StepError("usage", f"--head and --base are the same branch, {places.base}")
    return places


def _names(
    application: Application | None, version: Version | None, src_image_url: Image | None, base: Branch
) -> tuple[Application, Version]:
    if application is None:
        if src_image_url is None:
            raise StepError(
                "usage", "--application must be given, or --src-image-url, whose last part is then its name"
            )
        try:
            application = Application.parse(src_image_url.short_name)
        except ValueError as error:
            raise StepError(
                "usage", f"--application must be given, because the image does not make one: {error}"
            ) from None
    try:
        return application, version or Version.parse(base)
    except ValueError as error:
        raise StepError("usage", f"--version must be given, because the base does not make one: {error}") from None


def _message(message: Text | None, file: Path | None) -> Message | None:
    if message is not None and file is not None:
        raise StepError("usage", "give --message or --file, not both")
    if file is not None:
        try:
            message = Text.parse(_read(file, "--file"))
        except ValueError as error:
            raise StepError("usage", f"--file: {error}") from None
    if message is None:
        return None
    found = pull_request_body.split(message)
    if not found.title:
        raise StepError("usage", "the message is empty; its first line is the title of the pull request")
    return found


def _rendered(path: Path) -> str:
    """A rendered diff, of which the pull request may show a part and the log has the whole."""
    diff = _read(path, "--rendered-diff")
    if diff:
        _log.info("of the rendered manifests:\n%s", diff)
    return diff


def _read(path: Path, flag: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_TEXT + 1)
        if len(content) > LARGEST_TEXT:
            raise StepError("usage", f"{flag}: {path} has more than {LARGEST_TEXT} bytes; give a shorter text")
        return content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise StepError("usage", f"{flag}: cannot read {path}: {error}") from None


if __name__ == "__main__":
    command_line.run(open_pull_request, aliases={"noop": "dry-run"}, refused=_REPLACED)
