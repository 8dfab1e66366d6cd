"""A working tree with changes becomes a branch, a commit, and one live pull request.

Its results are read by the Pipeline's; its page by a reviewer.
"""

import logging
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from steps import command_line, results
from steps.clients import credentials as credentials_directory
from steps.clients import git as git_client
from steps.clients import manifests
from steps.clients.credentials import Credentials
from steps.clients.github import GitHub
from steps.core import pull_request, pull_request_body, update
from steps.core.image import Image
from steps.core.pull_request import PullRequest
from steps.core.pull_request_body import Message
from steps.core.repository import GITHUB, Branch, Commit, Head, Person, Repository, Server
from steps.core.text import Text
from steps.core.update import Application, Version
from steps.errors import StepError

AUTHOR = Person("apps-cd", "apps-cd@noreply.invalid")

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
    image: Image | None = None,
    source_url: Repository | None = None,
    source_commit: Commit | None = None,
    message: Text | None = None,
    file: Path | None = None,
    head: Head | None = None,
    labels: tuple[str, ...] = (),
    reviewer: tuple[str, ...] = (),
    assign: tuple[str, ...] = (),
    milestone: str | None = None,
    draft: bool = False,
    no_maintainer_edits: bool = False,
    dry_run: bool = False,
    author: Person = AUTHOR,
    date: int | None = None,
    github_url: Server | None = None,
    github_token: Path | None = None,
    credentials: Path | None = None,
    pull_request_url_result: Path | None = None,
    pull_request_number_result: Path | None = None,
    operation_result: Path | None = None,
) -> None:
    """Commit what changed in a working tree, push it, and open or update its one pull request.

    The branch is apps-cd/VERSION/APPLICATION: a newer image of the application updates the same pull request. A branch
    with somebody else's commit on it is left alone. The URL of the pull request is printed on stdout.

    Args:
        repo_dir: the working tree; of it only the contents of files are trusted, never its .git.
        url: the repository, https://HOST/OWNER/NAME or over ssh.
        base: the branch that the pull request is to be merged into.
        base_commit: the commit that the tree was made from, 40 digits, as clone_repository and git-clone tell it: what
            others merged since then stays.
        application: what is updated; the last part of src_image_url when absent.
        version: of what; the base when absent.
        src_image_url: the image as the manifests name it.
        image: what it becomes, for the message.
        source_url: the repository that the image was built from, for the message.
        source_commit: the commit that the image was built from, for the message.
        message: title, an empty line, body in Markdown.
        file: a file with the message, instead.
        head: where the branch is pushed to, [OWNER[/NAME]:][BRANCH]; OWNER is that of a fork.
        labels: to put on the pull request, with commas between.
        reviewer: people or org/team to ask for a review.
        assign: people to assign.
        milestone: by its title.
        draft: whether a new pull request is a draft.
        no_maintainer_edits: whether maintainers may not push to the branch of the fork.
        dry_run: whether to read and log alone what would be done (also --noop).
        author: of the commit, `Name <mail@host>`.
        date: of the commit, in seconds since 1970; the base's committer date when absent.
        github_url: a GitHub Enterprise Server, https://HOST; it may see the token. github.com when absent.
        github_token: a file with the token, or a Secret's directory with `token` or `github_token` in it.
        credentials: a directory with ssh-privatekey and known_hosts, to push over ssh.
        pull_request_url_result: receives the page of the pull request, or nothing.
        pull_request_number_result: receives its number, or nothing.
        operation_result: receives created, updated, unchanged, or none when nothing differs from the base.
    """
    application, version = _names(application, version, src_image_url, base)
    server = github_url or GITHUB
    token = _token(github_token, server, url)
    known = _credentials(credentials, token, url)
    text = _message(message, file) or pull_request_body.message(
        application, version, src_image_url, image, source_url, source_commit
    )
    head = head or Head()
    places = manifests.Places(
        url,
        base,
        url.sibling(head.owner, head.name) if head.owner else url,
        head.branch or update.branch(application, version),
    )
    if places.head_at == url and places.head == base:
        raise StepError("usage", f"--head and --base are the same branch, {base}")
    if not repo_dir.is_dir():
        raise StepError("not-found", f"the working tree {repo_dir} does not exist")

    def look() -> tuple[GitHub, PullRequest | None]:
        github = GitHub(server, url, token.password or "", token.ca or known.ca)
        return github, pull_request.at_base(github.open_pull_requests(places.head_at, places.head), base)

    # PyGithub takes as long to load as git to fetch, so both at once.
    looked = _begin(look)
    pushed = _push(
        repo_dir, places, base_commit, text, author, date, known, looked, own=not head.branch, dry_run=dry_run
    )
    github, found = looked()
    if pushed is None:
        _log.info("nothing differs from %s of %s", base, url)
        if found:
            _log.warning("%s is open all the same, with another change; close it unless it is still wanted", found.url)
        operation = "none"
    else:
        commit, moved = pushed
        operation = pull_request.operation(found, commit, pushed=moved)
        body = pull_request_body.body(text, commit)
        if dry_run:
            _log.info(
                "would push %s to %s of %s, and the pull request would be %s: %s",
                commit[:8],
                places.head,
                places.head_at,
                operation,
                text.title,
            )
        elif found is None:
            found = github.create(
                places.head_at,
                places.head,
                base,
                title=text.title,
                body=body,
                draft=draft,
                maintainer_edits=not no_maintainer_edits,
            )
        elif operation == "updated":
            github.edit(found.number, title=text.title, body=body)
        if found and not dry_run:
            github.decorate(
                found,
                labels=labels,
                assignees=assign,
                reviewers=reviewer if operation == "created" else (),
                milestone=milestone,
            )
            _log.info("pull request %s: %s", operation, found.url)
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


def _push(
    repo_dir: Path,
    places: manifests.Places,
    start: Commit,
    text: Message,
    author: Person,
    date: int | None,
    known: Credentials,
    before: Callable[[], object],
    *,
    own: bool,
    dry_run: bool,
) -> tuple[str, bool] | None:
    """The commit of the head branch and whether the branch had to be moved to it, or None when nothing differs from the base.

    Args:
        before: is called before anything is pushed, and raises when nothing may be.
        own: whether the branch is the update's; of another one that is there its tip must be ours.
    """
    with (
        tempfile.TemporaryDirectory(prefix="apps-cd-") as empty,
        git_client.isolated(Path(empty), places.base_at, known) as git,
    ):
        try:
            fetched = manifests.fetch(git, places, start)
            tree = manifests.tree(git, repo_dir, fetched)
            if tree == manifests.tree_of(git, fetched.base):
                return None
            commit = manifests.commit(
                git, tree, fetched.base, text.commit_text, author, fetched.base_date if date is None else date
            )
            if fetched.head == commit:
                return commit, False
            _refuse_foreign(manifests.commits_of_head(git, places, fetched, tip=not own), author, places)
            before()
            if not dry_run:
                manifests.push(git, places, commit, fetched.head)
        except git_client.Failed as error:
            raise git_client.translated(error, f"cannot commit {repo_dir}") from error
    return commit, True


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


def _token(path: Path | None, server: Server, url: Repository) -> Credentials:
    if path is None:
        raise StepError(
            "usage", "--github-token must be given: a file, or the directory of a Secret with `token` in it"
        )
    if url.scheme != "ssh" and url.host.lower() != server.host.lower():
        raise StepError(
            "usage",
            f"--url is at {url.host}, but the token is for {server.host}; give --github-url=https://{url.host} if that may see it",
        )
    if "/" in url.owner or not url.owner:
        raise StepError("usage", f"--url: {url} is not a GitHub repository, OWNER/NAME")
    return credentials_directory.read_token(path)


def _credentials(directory: Path | None, token: Credentials, url: Repository) -> Credentials:
    """What git shows: over ssh the directory's key, otherwise the token."""
    found = credentials_directory.read(directory)
    if url.scheme == "ssh":
        return found
    return Credentials(user=token.user, password=token.password, ca=token.ca or found.ca)


def _message(message: Text | None, file: Path | None) -> Message | None:
    if message is not None and file is not None:
        raise StepError("usage", "give --message or --file, not both")
    if file is not None:
        try:
            message = Text.parse(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise StepError("usage", f"--file: cannot read the message {file}: {error}") from None
    if message is None:
        return None
    found = pull_request_body.split(message)
    if not found.title:
        raise StepError("usage", "the message is empty; its first line is the title of the pull request")
    return found


def _refuse_foreign(commits: list[pull_request.Commit], author: Person, places: manifests.Places) -> None:
    if theirs := pull_request.foreign(commits, str(author)):
        one = theirs[0]
        raise StepError(
            "foreign-commit",
            f"{places.head} of {places.head_at} carries {one.sha[:8]} by {one.author} (committed by {one.committer}), not by {author}; it is left "
            "alone. Merge or close its pull request and delete the branch, or give --author if that is us",
        )


if __name__ == "__main__":
    command_line.run(open_pull_request, aliases={"noop": "dry-run"}, refused=_REPLACED)
