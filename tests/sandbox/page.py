"""What a browser is shown: repositories, commits, files and pull requests.

No scripts; whatever people wrote is escaped. Private repositories are shown too: who runs the sandbox owns it.
"""

import functools
import html
import re
import urllib.parse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.sandbox.bare_repository import SHA, Commit, FileChange
from tests.sandbox.github_bodies import quoted
from tests.sandbox.github_state import Issue, Label, PullRequest, Repository, User, World
from tests.sandbox.http_server import Call, Response

HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

LONGEST = 2000  # lines of a file or a diff that are shown


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def fill(template: str, **values: object) -> Html:
    """A template with its places filled; everything that is not Html is escaped."""
    texts = {name: value if isinstance(value, Html) else html.escape(str(value)) for name, value in values.items()}
    return Html(template.format_map(texts))


def join(parts: Iterable[Html], between: str = "") -> Html:
    return Html(between.join(parts))


class NotFound(Exception):
    """There is no such page."""


def answer(call: Call, world: World) -> Response:
    """The page at an address, or one that says there is none."""
    try:
        return _page(call, world)
    except NotFound:
        body = fill("<h1>There is no such page</h1><p class=quiet>{path}</p>", path=call.path)
        return _response(404, _layout("Not found", [], body))


def _page(call: Call, world: World) -> Response:
    parts = [urllib.parse.unquote(part) for part in call.path.split("/") if part]
    if call.method not in ("GET", "HEAD"):
        raise NotFound
    if not parts:
        return _response(200, _index(world, call.base_url))
    if len(parts) == 1:
        return _response(200, _owner(world, parts[0], call.base_url))
    repository = world.repository("/".join(parts[:2]).removesuffix(".git"))
    if not repository:
        raise NotFound
    world.settle(repository, None)
    return _below(repository, parts[2:], call.base_url, world)


def _below(repository: Repository, parts: list[str], base_url: str, world: World) -> Response:
    match parts:
        case []:
            return _response(200, _repository(repository, repository.git.default_branch(), base_url))
        case ["tree", *branch]:
            return _response(200, _repository(repository, "/".join(branch), base_url))
        case ["pull" | "issues", number, *_] if number.isdigit() and int(number) in repository.issues:
            issue = repository.issues[int(number)]
            if isinstance(issue, PullRequest):
                return _response(200, _pull(issue))
            return _response(200, _issue(issue))
        case ["pull", name] if re.fullmatch(r"\d+\.diff", name):
            return _plain_diff(repository, int(name.removesuffix(".diff")))
        case ["commit", sha]:
            return _response(200, _commit(repository, sha, world))
        case ["blob", sha, *path] if path:
            return _response(200, _blob(repository, sha, "/".join(path)))
    raise NotFound


def _response(status: int, body: Html) -> Response:
    return Response(status, dict(HEADERS), body.encode(errors="replace"))


def _plain_diff(repository: Repository, number: int) -> Response:
    pull = repository.issues.get(number)
    if not isinstance(pull, PullRequest):
        raise NotFound
    refs = repository.git.refs()
    changes = _changes(pull, pull.base(refs), pull.head(refs))
    text = "\n".join(
        f"--- {change.previous_path or change.path}\n+++ {change.path}\n{change.patch}" for change in changes
    )
    return Response(200, HEADERS | {"Content-Type": "text/plain; charset=utf-8"}, f"{text}\n".encode(errors="replace"))


@functools.cache
def _style() -> str:
    return Path(__file__).with_name("page.css").read_text()


def _layout(title: str, crumbs: list[tuple[str, str]], body: Html) -> Html:
    trail = join(
        fill('<span class="slash">/</span><a href="{href}">{text}</a>', href=href, text=text) for text, href in crumbs
    )
    return fill(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><style>{style}</style></head>'
        '<body><header class="top"><nav><a class="brand" href="/">Sandbox</a>{trail}</nav></header>'
        "<main>{body}</main></body></html>",
        title=title,
        style=Html(_style()),
        trail=trail,
        body=body,
    )


def _crumbs(repository: Repository) -> list[tuple[str, str]]:
    return [(repository.owner.login, _href(repository.owner.login)), (repository.name, _repository_href(repository))]


def _href(*parts: str) -> str:
    return "/" + "/".join(quoted(part) for part in parts)


def _repository_href(repository: Repository, *parts: str) -> str:
    return _href(repository.owner.login, repository.name, *parts)


# Lists


def _index(world: World, base_url: str) -> Html:
    body = fill(
        "<h1>Repositories</h1><p class=lead>Git, the REST interface ({api}) and these pages show the same repositories."
        "</p>{list}",
        api=f"{base_url}/api/v3",
        list=_repositories(world.repositories(), world),
    )
    return _layout("Sandbox", [], body)


def _owner(world: World, login: str, base_url: str) -> Html:
    user = world.user(login)
    if not user:
        raise NotFound
    owned = [repository for repository in world.repositories() if repository.owner is user]
    body = fill(
        "<h1>{avatar} {login}</h1>{list}<p class=quiet>{api}</p>",
        avatar=_avatar(user),
        login=user.login,
        list=_repositories(owned, world),
        api=f"{base_url}/api/v3/users/{user.login}",
    )
    return _layout(user.login, [(user.login, _href(user.login))], body)


def _repositories(repositories: list[Repository], world: World) -> Html:
    rows = []
    for repository in repositories:
        world.settle(repository, None)
        pulls = sum(pull.state == "open" for pull in repository.pulls)
        parent = fill("fork of {parent}", parent=repository.parent.full_name) if repository.parent else ""
        rows.append(
            fill(
                '<div><span class="grow"><a href="{href}"><strong>{name}</strong></a> <span class="quiet">{parent}'
                '</span></span>{pulls}<span class="pill">{kind}</span><span class="date">{latest}</span></div>',
                href=_repository_href(repository),
                name=repository.full_name,
                parent=parent,
                kind="private" if repository.private else "public",
                latest=_latest(repository),
                pulls=fill('<span class="badge open">{n} open</span>', n=pulls) if pulls else "",
            )
        )
    return _list(rows, "No repositories yet.")


def _latest(repository: Repository) -> str:
    sha = repository.git.refs().get(f"refs/heads/{repository.git.default_branch()}")
    return _when(repository.git.commit(sha).committer.date) if sha else "empty"


def _list(rows: list[Html], empty: str) -> Html:
    if not rows:
        return fill('<div class="card empty">{empty}</div>', empty=empty)
    return fill('<div class="card list">{rows}</div>', rows=join(rows))


def _repository(repository: Repository, branch: str, base_url: str) -> Html:
    git = repository.git
    refs = git.refs()
    heads = {ref.removeprefix("refs/heads/"): sha for ref, sha in refs.items() if ref.startswith("refs/heads/")}
    tip = heads.get(branch)
    if heads and not tip:
        raise NotFound
    commits = git.commits(tip, limit=10) if tip else []
    files = [entry for entry in git.entries(tip, recursive=True) if entry.kind == "blob"] if tip else []
    branches = [
        fill(
            '<div><a class="grow" href="{href}"><span class="branch mono">{name}</span></a>{sha}</div>',
            href=_repository_href(repository, "tree", name),
            name=name,
            sha=_sha_link(repository, sha),
        )
        for name, sha in heads.items()
    ]
    rows = [
        fill(
            '<div><a class="grow mono" href="{href}">{path}</a><span class="quiet">{size} B</span></div>',
            href=_repository_href(repository, "blob", tip or "", entry.path),
            path=entry.path,
            size=entry.size,
        )
        for entry in files[:LONGEST]
    ]
    body = fill(
        '<h1>{name}</h1><div class="lead"><span class="pill">{kind}</span>{parent}<code>{clone}</code></div>'
        "<h2>Pull requests</h2>{pulls}<h2>Commits on {branch}</h2>{commits}<h2>Files</h2>{files}"
        "<h2>Branches</h2>{branches}",
        name=repository.full_name,
        kind="private" if repository.private else "public",
        parent=fill("<span>fork of {link}</span>", link=_repository_link(repository.parent))
        if repository.parent
        else "",
        clone=f"git clone {base_url}/{repository.full_name}.git",
        pulls=_list([_pull_row(pull) for pull in sorted(repository.pulls, key=_order)], "None yet."),
        branch=branch,
        commits=_commit_list(repository, commits),
        files=_list(rows, "None yet."),
        branches=_list(branches, "None yet."),
    )
    return _layout(repository.full_name, _crumbs(repository), body)


def _order(pull: PullRequest) -> tuple[bool, int]:
    return pull.state == "closed", -pull.number


def _repository_link(repository: Repository) -> Html:
    return fill('<a href="{href}">{name}</a>', href=_repository_href(repository), name=repository.full_name)


def _pull_row(pull: PullRequest) -> Html:
    return fill(
        '<div><span class="dot {state}"></span><span class="grow"><a href="{href}"><strong>{title}</strong></a> {labels}'
        '<br><span class="quiet">#{number} {state} · {user} · {head} → {base}</span></span>'
        '<span class="date">{when}</span></div>',
        state=_state(pull),
        href=_repository_href(pull.repository, "pull", str(pull.number)),
        title=pull.title,
        labels=_labels(pull.labels),
        number=pull.number,
        user=pull.user.login,
        head=_head_name(pull),
        base=pull.base_branch,
        when=_when(pull.updated_at),
    )


def _commit_list(repository: Repository, commits: Iterable[Commit]) -> Html:
    rows = [
        fill(
            '<div><span class="grow">{subject}</span><span class="quiet">{author}, {when}</span>{sha}</div>',
            subject=commit.message.partition("\n")[0],
            author=commit.author.name,
            when=_when(commit.committer.date),
            sha=_sha_link(repository, commit.sha),
        )
        for commit in commits
    ]
    return _list(rows, "None yet.")


def _sha_link(repository: Repository, sha: str) -> Html:
    return fill(
        '<a class="mono" href="{href}">{short}</a>', href=_repository_href(repository, "commit", sha), short=sha[:10]
    )


def _when(date: str) -> str:
    return date[:16].replace("T", " ")


def _avatar(user: User) -> Html:
    hue = sum(ord(letter) * 47 for letter in user.login) % 360
    return fill('<span class="avatar" style="--hue: {hue}">{letter}</span>', hue=hue, letter=user.login[:1])


def _labels(labels: Iterable[Label]) -> Html:
    return join((_label(label) for label in labels), " ")


def _label(label: Label) -> Html:
    color = label.color if re.fullmatch(r"[0-9a-fA-F]{6}", label.color) else "ededed"
    red, green, blue = (int(color[at : at + 2], 16) for at in (0, 2, 4))
    ink = "#111" if red * 299 + green * 587 + blue * 114 > 140_000 else "#fff"
    return fill(
        '<span class="label" style="background: #{color}; color: {ink}">{name}</span>',
        color=color,
        ink=ink,
        name=label.name,
    )


# Pull requests and issues


def _state(pull: PullRequest) -> str:
    if pull.merged_at:
        return "merged"
    return "draft" if pull.draft and pull.state == "open" else pull.state


def _head_name(pull: PullRequest) -> str:
    return pull.head_branch if pull.head_repository is pull.repository else pull.head_label


def _changes(pull: PullRequest, base: str, head: str) -> tuple[FileChange, ...]:
    git = pull.repository.git
    return git.diff(git.merge_base(base, head) or base, head)


def _pull(pull: PullRequest) -> Html:
    repository, git = pull.repository, pull.repository.git
    refs = git.refs()
    head, base = pull.head(refs), pull.base(refs)
    commits = list(reversed(git.commits(head, without=base)))
    changes = _changes(pull, base, head)
    plus, minus = sum(change.additions for change in changes), sum(change.deletions for change in changes)
    said = [_said(pull.user, pull.created_at, pull.body or "*No description.*")]
    said += [_said(comment.user, comment.created_at, comment.body) for comment in pull.comments]
    body = fill(
        '<h1>{title} <span class="number">#{number}</span></h1>'
        '<div class="lead"><span class="badge {state}">{word}</span><span>{avatar} <strong>{user}</strong> {verb} '
        '{commits} into <span class="branch mono">{base}</span> from <span class="branch mono">{head}</span></span></div>'
        '<div class="columns"><div>{said}<h2>Commits<span class="count">{n}</span></h2>{list}{checks}{merge}</div>'
        "<aside><dl>{facts}</dl></aside></div>"
        '<h2>Files changed<span class="count">{files}</span> <span class="plus">+{plus}</span> '
        '<span class="minus">&minus;{minus}</span></h2>{diff}',
        title=pull.title,
        number=pull.number,
        state=_state(pull),
        word=_state(pull).capitalize(),
        avatar=_avatar(pull.user),
        user=pull.user.login,
        verb="merged" if pull.merged_at else "wants to merge",
        commits=f"{len(commits)} commit{'s' * (len(commits) != 1)}",
        base=pull.base_branch,
        head=_head_name(pull),
        said=join(said),
        n=len(commits),
        list=_commit_list(pull.head_repository, commits),
        checks=_checks(repository, head),
        merge=_merge_state(pull, base, head),
        facts=_facts(pull),
        files=len(changes),
        plus=plus,
        minus=minus,
        diff=_diff(changes, pull.head_repository, head),
    )
    return _layout(f"{pull.title} · #{pull.number}", _crumbs(repository), body)


def _issue(issue: Issue) -> Html:
    said = [_said(issue.user, issue.created_at, issue.body or "*No description.*")]
    said += [_said(comment.user, comment.created_at, comment.body) for comment in issue.comments]
    body = fill(
        '<h1>{title} <span class="number">#{number}</span></h1><div class="lead"><span class="badge {state}">{word}'
        "</span>{labels}</div>{said}",
        title=issue.title,
        number=issue.number,
        state=issue.state,
        word=issue.state.capitalize(),
        labels=_labels(issue.labels),
        said=join(said),
    )
    return _layout(f"{issue.title} · #{issue.number}", _crumbs(issue.repository), body)


def _said(user: User, when: str, text: str) -> Html:
    return fill(
        '<article class="card said"><header>{avatar}<strong>{user}</strong> {when}</header>'
        '<div class="text">{text}</div></article>',
        avatar=_avatar(user),
        user=user.login,
        when=_when(when),
        text=markdown(text),
    )


def _checks(repository: Repository, sha: str) -> Html:
    latest = {status.context: status for status in repository.statuses if status.sha == sha}
    rows = [
        fill(
            '<div><span class="dot {state}"></span><strong>{context}</strong><span class="quiet grow">{description}</span>'
            "</div>",
            state=status.state,
            context=status.context,
            description=status.description or "",
        )
        for status in latest.values()
    ]
    return fill("<h2>Checks</h2>{list}", list=_list(rows, "")) if rows else Html()


def _merge_state(pull: PullRequest, base: str, head: str) -> Html:
    if pull.merged_at and pull.merged_by:
        state, text = "merged", f"{pull.merged_by.login} merged this on {_when(pull.merged_at)}."
    elif pull.state == "closed":
        state, text = "closed", f"{pull.closed_by.login if pull.closed_by else 'Somebody'} closed this unmerged."
    elif pull.repository.git.merged_tree(base, head):
        state, text = "open", f"This branch has no conflicts with {pull.base_branch}."
    else:
        state, text = "closed", f"This branch has conflicts with {pull.base_branch}."
    return fill(
        '<div class="card mergeable"><span class="dot {state}"></span><span>{text}</span></div>',
        state=state,
        text=text,
    )


def _facts(pull: PullRequest) -> Html:
    teams = [
        fill('<span class="pill">@{team}</span>', team=f"{pull.repository.owner.login}/{team}") for team in pull.teams
    ]
    facts: dict[str, list[Html]] = {
        "Reviewers": [_person(user) for user in pull.reviewers] + teams,
        "Assignees": [_person(user) for user in pull.assignees],
        "Labels": [_label(label) for label in pull.labels],
        "Milestone": [fill("{title}", title=pull.milestone.title)] if pull.milestone else [],
        "Maintainers may edit": [fill("{answer}", answer="yes" if pull.maintainer_can_modify else "no")],
    }
    return join(
        fill("<dt>{name}</dt><dd>{value}</dd>", name=name, value=join(value) or Html("none yet"))
        for name, value in facts.items()
    )


def _person(user: User) -> Html:
    return fill("<span>{avatar} {login}</span>", avatar=_avatar(user), login=user.login)


# Files and diffs


def _commit(repository: Repository, sha: str, world: World) -> Html:
    if not SHA.fullmatch(sha) or not repository.git.resolve(sha):
        raise NotFound
    commit = repository.git.commit(sha)
    subject, _, rest = commit.message.partition("\n")
    author = world.user_of_email(commit.author.email)
    parents = join((_sha_link(repository, parent) for parent in commit.parents), " ")
    changes = repository.git.commit_diff(commit)
    body = fill(
        '<h1>{subject}</h1><div class="lead">{avatar}<span><strong>{name}</strong> &lt;{email}&gt; {when}</span>'
        '<span class="mono">{sha}</span><span>parents: {parents}</span></div>{rest}{diff}',
        subject=subject,
        avatar=_avatar(author) if author else "",
        name=commit.author.name,
        email=commit.author.email,
        when=_when(commit.author.date),
        sha=commit.sha,
        parents=parents or "none",
        rest=fill('<pre class="card empty">{text}</pre>', text=rest.strip()) if rest.strip() else "",
        diff=_diff(changes, repository, sha),
    )
    return _layout(subject, _crumbs(repository), body)


def _blob(repository: Repository, sha: str, path: str) -> Html:
    if not SHA.fullmatch(sha) or not repository.git.resolve(sha):
        raise NotFound
    entry = next((entry for entry in repository.git.entries(sha, path=path) if entry.kind == "blob"), None)
    if not entry:
        raise NotFound
    content = repository.git.blob(entry.sha)
    if b"\0" in content:
        table = fill('<div class="empty">Binary, {size} bytes.</div>', size=entry.size)
    else:
        lines = content.decode(errors="replace").split("\n")[:LONGEST]
        rows = (
            fill('<tr><td class="n">{n}</td><td>{line}</td></tr>', n=n, line=line) for n, line in enumerate(lines, 1)
        )
        table = fill('<div class="scroll"><table class="code">{rows}</table></div>', rows=join(rows))
    body = fill(
        '<h1 class="mono">{path}</h1><div class="lead">at {sha}</div><div class="card">{table}</div>',
        path=path,
        sha=_sha_link(repository, sha),
        table=table,
    )
    return _layout(path, _crumbs(repository), body)


def _diff(changes: Iterable[FileChange], repository: Repository, sha: str) -> Html:
    return join(_file(change, repository, sha) for change in changes)


def _file(change: FileChange, repository: Repository, sha: str) -> Html:
    renamed = f"{change.previous_path} → {change.path}" if change.previous_path else change.path
    name = fill("{name}", name=renamed)
    if change.status != "removed":
        href = _repository_href(repository, "blob", sha, change.path)
        name = fill('<a href="{href}">{name}</a>', href=href, name=renamed)
    lines = change.patch.split("\n") if change.patch else []
    table = fill('<div class="scroll"><table class="code">{rows}</table></div>', rows=join(_diff_rows(lines[:LONGEST])))
    if len(lines) > LONGEST:
        table = join([table, fill('<div class="empty">{n} more lines.</div>', n=len(lines) - LONGEST)])
    return fill(
        '<details class="card file" open><summary><span class="grow mono">{name}</span>'
        '<span class="quiet">{status}</span><span class="plus">+{plus}</span><span class="minus">&minus;{minus}</span></summary>'
        "{table}</details>",
        name=name,
        status=change.status,
        plus=change.additions,
        minus=change.deletions,
        table=table if lines else Html('<div class="empty">No lines to show.</div>'),
    )


def _diff_rows(lines: list[str]) -> Iterator[Html]:
    old = new = 0
    texts = _marked(lines)
    for line, text in zip(lines, texts, strict=True):
        kind = {"+": "add", "-": "del", "@": "hunk", "\\": "note"}.get(line[:1], "")
        if kind == "hunk" and (match := re.match(r"@@ -(\d+)(?:,\d+)? \+(\d+)", line)):
            old, new = int(match[1]) - 1, int(match[2]) - 1
        old += kind in ("del", "")
        new += kind in ("add", "")
        yield fill(
            '<tr class="{kind}"><td class="n">{old}</td><td class="n">{new}</td><td>{text}</td></tr>',
            kind=kind,
            old=old if kind in ("del", "") else "",
            new=new if kind in ("add", "") else "",
            text=text,
        )


def _marked(lines: list[str]) -> list[Html]:
    """The lines; where as many follow as were taken away, what differs within each pair is marked."""
    texts = [fill("{line}", line=line) for line in lines]
    at = 0
    while at < len(lines):
        removed = _run(lines, at, "-")
        added = _run(lines, at + removed, "+")
        if removed and removed == added:
            for one in range(at, at + removed):
                texts[one], texts[one + removed] = _pair(lines[one], lines[one + removed])
        at += removed + added or 1
    return texts


def _run(lines: list[str], at: int, sign: str) -> int:
    length = 0
    while at + length < len(lines) and lines[at + length].startswith(sign):
        length += 1
    return length


def _pair(before: str, after: str) -> tuple[Html, Html]:
    shorter = min(len(before), len(after))
    start = next((at for at in range(1, shorter) if before[at] != after[at]), shorter)
    end = next((at for at in range(shorter - start) if before[-1 - at] != after[-1 - at]), shorter - start)

    def mark(line: str) -> Html:
        if start < 3 and end == 0:  # the sign and at most one letter in common: nothing to point at
            return fill("{line}", line=line)
        stop = len(line) - end
        return fill("{a}<mark>{b}</mark>{c}", a=line[:start], b=line[start:stop], c=line[stop:])

    return mark(before), mark(after)


# Markdown

_TAG = re.compile(r"<!--.*?-->|<(/?)(details|summary|br|kbd|sub|sup|b|i)\s*(/?)>", re.DOTALL | re.IGNORECASE)


def markdown(text: str) -> Html:
    """Markdown as GitHub shows it: comments are not shown, harmless tags stay, every other one is text."""
    return Html(_renderer().render(text))


@functools.cache
def _renderer() -> Any:
    from markdown_it import MarkdownIt

    renderer = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    renderer.add_render_rule("html_block", lambda _self, tokens, index, *_: _harmless(tokens[index].content))
    renderer.add_render_rule("html_inline", lambda _self, tokens, index, *_: _harmless(tokens[index].content))
    return renderer


def _harmless(markup: str) -> str:
    pieces, at = [], 0
    for match in _TAG.finditer(markup):
        pieces.append(html.escape(markup[at : match.start()]))
        if match[2]:
            pieces.append(f"<{match[1]}{match[2].lower()}>")
        at = match.end()
    return "".join([*pieces, html.escape(markup[at:])])
