"""The status page: of each pair the reason, in a grid of applications and versions, and a page of its own with the argument.

Without scripts, and with nothing from anywhere else. What repositories, people and Tekton wrote is text in it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from steps.core import plan_report, run_report
from steps.core.applications import SHORT
from steps.core.image import commit_of
from steps.core.markup import Html, fill, join, link
from steps.core.moments import iso, span, utc
from steps.core.needs_update import Decision
from steps.core.plan import Memory, Plan, Planned
from steps.core.pull_request_body import DashboardUrl, KubernetesName, Run
from steps.core.status_style import STYLE
from steps.core.text import counted
from steps.core.typed_yaml import Problem

Tone = Literal["bad", "warn", "review", "busy", "good", "off"]
"""What a reason asks of a person, the most urgent first: to act, to know, to review, to wait, nothing, nothing more."""

TONES: tuple[Tone, ...] = ("bad", "warn", "review", "busy", "good", "off")

REASONS: dict[str, tuple[Tone, str]] = {
    "stalled": (
        "bad",
        "All attempts at the commit failed. A new commit, another configuration, or forgetting what failed starts anew.",
    ),
    "blocked": ("bad", "Somebody else's pull request or commits are in the way."),
    "config-error": ("bad", "The configuration of the pair has an error."),
    "unreadable": ("bad", "The kustomization in the manifests cannot be read."),
    "auth": ("bad", "A repository refuses our credentials."),
    "not-found": ("bad", "A repository, branch or file is not there."),
    "unreachable": ("warn", "A server could not be asked. The next pass asks again."),
    "backing-off": ("warn", "An attempt failed. The next one is made after a while."),
    "pull-request-open": ("review", "The update is proposed and waits for a person."),
    "create": ("busy", "A run is made."),
    "running": ("busy", "A run goes on."),
    "queued": ("busy", "A run is needed, and waits for a limit on runs."),
    "behind": ("busy", "The manifests lack commits of the source."),
    "diverged": ("busy", "The manifests have a commit of another history than the source."),
    "unknown-commit": ("busy", "The manifests' tag names no commit of the source."),
    "no-entry": ("busy", "The manifests do not say which image it is."),
    "up-to-date": ("good", "The manifests have the source commit."),
    "ahead": ("good", "The manifests have a later commit than the source commit."),
    "done": ("good", "The pull request was merged, or the run had nothing to propose."),
    "vetoed": ("off", "A person closed the pull request. A newer commit is proposed again."),
    "superseded": ("off", "Something newer took the place of the run."),
    "suspended": ("off", "The configuration suspends it."),
}
"""What a pair's reason asks for, and means; there are others, of repositories that cannot be read."""

_MOST_EMPTY = 4
"""Cells of a grid for each pair; where there would be more, pairs are listed."""

_MOST_FITTING = 5
"""Versions that are beside each other on a screen; more are scrolled through."""

_PAGE = (
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    '<link rel="icon" href="data:image/svg+xml,{icon}">\n<style>{style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n'
)
_ICON = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><circle cx='8' cy='8' r='7' fill='{}'/></svg>"


@dataclass(frozen=True)
class Pass:
    """One round over all pairs, in which a standby looks and does nothing.

    Attributes:
        ended: in seconds since 1970.
        seconds: how long it took.
        error: why it was given up; empty when it was not.
    """

    ended: float
    seconds: float
    error: str = ""


@dataclass(frozen=True)
class Shown:
    """What there is to see.

    Attributes:
        now: when it is looked at, by the clock of the plan.
        last: the pass that ended last.
        next_at: when the next one is to begin.
        plan: of the last pass that was not given up; None when there was none.
        leads: whether this replica is the one that acts.
        problems: of the configuration.
        dashboard: of Tekton; without it runs are named and not linked.
        namespace: where the runs are.
    """

    now: float
    last: Pass
    next_at: float | None = None
    plan: Plan | None = None
    leads: bool = True
    problems: tuple[Problem, ...] = ()
    dashboard: DashboardUrl | None = None
    namespace: KubernetesName | None = None

    @property
    def pairs(self) -> tuple[Planned, ...]:
        return self.plan.pairs if self.plan else ()

    @property
    def is_overdue(self) -> bool:
        """Whether the next pass should have ended: it is late by as much as it was to come after the last."""
        return self.next_at is not None and self.now - self.next_at > max(self.next_at - self.last.ended, 0)


def page(shown: Shown, only: str | None = None) -> str:
    """The whole of it as an HTML document.

    Args:
        only: the reason of the pairs that are to be seen; None for all.
    """
    pairs = [each for each in shown.pairs if only in (None, each.decision.reason)]
    body = fill(
        "<header>\n<h1>apps-cd</h1>\n<p>Which applications follow their branches, and what keeps the others.</p>\n{passes}\n"
        "</header>\n<main>\n{alarms}{counts}{table}{legend}</main>",
        passes=_passes(shown),
        alarms=_alarms(shown),
        counts=_counts(shown, only),
        table=_table(pairs, shown, only),
        legend=_legend(),
    )
    return _document("apps-cd", body, [each.decision for each in shown.pairs])


def pair_page(shown: Shown, path: str) -> str | None:
    """All that can be said of one pair, as an HTML document; None when there is none.

    Args:
        path: what stands behind `/pairs/`, decoded: the application and the version.
    """
    found = [each for each in shown.pairs if "/".join(each.key) == path]
    if not found:
        return None
    title = "{} at {}".format(*found[0].key)
    body = fill(
        '<div class="pair">\n<nav><a href="/">All pairs</a></nav>\n<header>\n<h1>{title}</h1>\n{passes}\n</header>\n<main>\n'
        "{alarms}{told}</main>\n</div>",
        title=title,
        passes=_passes(shown),
        alarms=_overdue(shown),
        told=join(_told(each, shown) for each in found),
    )
    return _document(f"{title} - apps-cd", body, [each.decision for each in found])


def tone(decision: Decision) -> Tone:
    """What a decision asks of a person."""
    if known := REASONS.get(decision.reason):
        return known[0]
    if decision.status == "failed":
        return "warn" if decision.later else "bad"
    return "busy" if decision.status == "needed" else "good"


def _document(title: str, body: Html, decisions: Iterable[Decision]) -> str:
    is_bad = "bad" in map(tone, decisions)
    icon = quote(_ICON.format("#d0342c" if is_bad else "#2f8f4e"))
    return fill(_PAGE, title=title, icon=icon, style=Html(STYLE), body=body)


def _time(seconds: float, text: str) -> Html:
    return fill('<time datetime="{iso}" title="{utc}">{text}</time>', iso=iso(seconds), utc=utc(seconds), text=text)


def _ago(seconds: float, now: float) -> Html:
    return _time(seconds, f"{span(now - seconds)} ago")


def _passes(shown: Shown) -> Html:
    """Who this is, when it looked last, and when it looks again."""
    role = "Leader" if shown.leads else "Standby"
    last = shown.last
    parts = [
        fill("<strong>{role}</strong>", role=role),
        fill("last pass ended {clock}, {ago}", clock=utc(last.ended), ago=_ago(last.ended, shown.now)),
        fill("took {seconds} s", seconds=f"{last.seconds:.1f}"),
    ]
    if shown.next_at is not None:
        text = f"next in {span(shown.next_at - shown.now)}" if shown.next_at > shown.now else "next one due"
        parts.append(_time(shown.next_at, text))
    return fill('<p class="pass">{parts}</p>', parts=join(parts, " \u00b7 "))


def _overdue(shown: Shown) -> Html:
    if not shown.is_overdue:
        return Html()
    return fill(
        '<p class="alarm" role="status">A pass is overdue: what is shown is {age} old. See /healthz and the log.</p>\n',
        age=span(shown.now - shown.last.ended),
    )


def _alarms(shown: Shown) -> Html:
    """What is wrong with the whole: a pass is overdue or was given up, the configuration has problems."""
    parts = [_overdue(shown)]
    if shown.last.error:
        parts.append(
            fill(
                '<p class="alarm" role="status">The last pass was given up{older}: {error}</p>\n',
                older=", so what is shown is older" if shown.plan else "",
                error=shown.last.error,
            )
        )
    if shown.problems:
        is_bad = any(each.severity == "error" for each in shown.problems)
        parts.append(
            fill(
                '<details>\n<summary><span class="{tone}">{problems} of the configuration</span></summary>\n'
                "<ul>{items}</ul>\n</details>\n",
                tone="bad" if is_bad else "warn",
                problems=counted(len(shown.problems), "problem"),
                items=join(fill("<li><code>{problem}</code></li>", problem=each) for each in shown.problems),
            )
        )
    return join(parts)


def _counts(shown: Shown, only: str | None) -> Html:
    """How many there are of each reason, the most urgent first; each shows its own."""
    tones = {each.decision.reason: tone(each.decision) for each in shown.pairs}
    counts = run_report.counts(each.decision for each in shown.pairs)
    reasons = sorted(counts, key=lambda reason: (TONES.index(tones[reason]), -counts[reason], reason))
    entries = [_count("/", "all", len(shown.pairs), "all", is_current=only is None)]
    entries += [
        _count(f"/?reason={quote(each, safe='')}", tones[each], counts[each], each, is_current=only == each)
        for each in reasons
    ]
    return fill('<nav aria-label="Reasons">\n<ul class="counts">{entries}</ul>\n</nav>\n', entries=join(entries))


def _count(url: str, kind: str, count: int, text: str, *, is_current: bool) -> Html:
    return fill(
        '<li><a class="{kind}" href="{url}"{current}><b>{count}</b> {text}</a></li>',
        kind=kind,
        url=url,
        current=Html(' aria-current="page"') if is_current else "",
        count=count,
        text=text,
    )


def _table(pairs: Sequence[Planned], shown: Shown, only: str | None) -> Html:
    if not pairs:
        text = f"No pair is {only}." if only else "No pair of the configuration has been looked at by this replica."
        return fill("<p>{text}</p>\n", text=text)
    applications = list(dict.fromkeys(each.key[0] for each in pairs))
    versions = list(dict.fromkeys(each.key[1] for each in pairs))
    if len(applications) * len(versions) > _MOST_EMPTY * len(pairs):
        heads, rows = ["Application", "Version and state"], _listed(pairs, shown)
    else:
        heads, rows = ["Application", *versions], _gridded(pairs, applications, versions, shown)
    return fill(
        '<table class="{kind}">\n<caption>{caption}</caption>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n'
        "</table>\n",
        kind="grid wide" if len(heads) > _MOST_FITTING + 1 else "grid",
        caption=f"{counted(len(applications), 'application')} at {counted(len(versions), 'version')}. In each cell: the "
        "reason, since when, the commit that the manifests have \u2192 the one that is wanted",
        heads=join(fill('<th scope="col" title="{head}">{head}</th>', head=head) for head in heads),
        rows=join(rows, "\n"),
    )


def _gridded(
    pairs: Iterable[Planned], applications: Iterable[str], versions: Sequence[str], shown: Shown
) -> Iterable[Html]:
    cells: dict[tuple[str, str], list[Planned]] = {}
    for each in pairs:
        cells.setdefault(each.key, []).append(each)
    for application in applications:
        yield _row(application, (_cell(cells.get((application, version), []), shown) for version in versions))


def _listed(pairs: Iterable[Planned], shown: Shown) -> Iterable[Html]:
    for each in pairs:
        version = fill("<div><strong>{version}</strong></div>", version=each.key[1])
        yield _row(each.key[0], [_cell([each], shown, version)])


def _row(application: str, cells: Iterable[Html]) -> Html:
    return fill(
        '<tr><th scope="row" title="{application}">{application}</th>{cells}</tr>',
        application=application,
        cells=join(cells),
    )


def _cell(pairs: Sequence[Planned], shown: Shown, head: Html | None = None) -> Html:
    if not pairs:
        return Html("<td></td>")
    worst = min((tone(each.decision) for each in pairs), key=TONES.index)
    return fill(
        '<td class="{tone}">{head}{pairs}</td>',
        tone=worst,
        head=head or Html(),
        pairs=join(_summary(each, shown) for each in pairs),
    )


def _summary(planned: Planned, shown: Shown) -> Html:
    """A pair in two lines."""
    decision = planned.decision
    message = " ".join(decision.sentences) if decision.status == "failed" else ""
    return fill(
        '<div><a class="why {tone}" href="{url}">{reason}</a>{age}</div><div>{told}<span class="links">{links}</span></div>',
        tone=tone(decision),
        url=_url(planned),
        reason=decision.reason,
        age=_age(planned, shown.now),
        told=fill('<span class="message" title="{text}">{text}</span>', text=message)
        if message
        else _commits(decision),
        links=join(_links(planned, shown)),
    )


def _url(planned: Planned) -> str:
    application, version = planned.key
    return f"/pairs/{quote(application, safe='')}/{quote(version)}"


def _age(planned: Planned, now: float) -> Html:
    if planned.until is not None:
        return _time(planned.until, f"again in {span(planned.until - now)}" if planned.until > now else "again now")
    return Html() if planned.since is None else _time(planned.since, span(now - planned.since))


def _commits(decision: Decision) -> Html:
    """The commit that the manifests have, and the one that they are to have when it is another."""
    tag, wanted = run_report.tag(decision.current), (decision.commit or "")[:SHORT]
    current = (commit_of(tag) or tag)[:SHORT]
    if not wanted and not current:
        return Html("<span></span>")
    if wanted == current:
        return fill('<span class="commits">{wanted}</span>', wanted=wanted)
    return fill(
        '<span class="commits" title="{title}">{current} \u2192 {wanted}</span>',
        title=f"{decision.current or 'no image'} \u2192 {decision.wanted or 'unknown'}",
        current=current or "none",
        wanted=wanted or "?",
    )


def _run(planned: Planned, shown: Shown) -> Run:
    # One that waits for a limit is not there yet.
    is_there = planned.run and planned.decision.reason != "queued"
    return Run(shown.dashboard, shown.namespace, KubernetesName(planned.run) if planned.run and is_there else None)


def _links(planned: Planned, shown: Shown) -> Iterable[Html]:
    run = _run(planned, shown)
    if planned.pull_request:
        yield link(planned.pull_request, _number(planned.pull_request))
    if run.page:
        yield link(run.page, "run")
        yield link(run.log(planned.failed_task), "log")


def _number(url: str) -> str:
    last = url.rstrip("/").rpartition("/")[2]
    return f"#{last}" if last.isdigit() else "pull request"


def _told(planned: Planned, shown: Shown) -> Html:
    """The section of a pair."""
    decision = planned.decision
    known = REASONS.get(decision.reason)
    run = _run(planned, shown)
    logs = link(run.log(planned.failed_task), f"log of {planned.failed_task}" if planned.failed_task else "log")
    facts = [
        (
            "Since",
            planned.since is not None
            and fill("{utc}, {ago}", utc=utc(planned.since), ago=_ago(planned.since, shown.now)),
        ),
        ("Tried again", planned.until is not None and _time(planned.until, utc(planned.until))),
        ("Source commit", decision.commit and fill("<code>{commit}</code>", commit=decision.commit)),
        ("Image it is to have", decision.wanted and fill("<code>{image}</code>", image=decision.wanted)),
        ("Image in the manifests", decision.current and fill("<code>{image}</code>", image=decision.current)),
        ("Pull request", planned.pull_request and link(planned.pull_request, planned.pull_request)),
        ("Run", planned.run and link(run.page, planned.run)),
        ("Log", run.name and (logs if run.page else fill("<code>{command}</code>", command=run.command))),
    ]
    return fill(
        '<p><strong class="{tone}">{reason}</strong>{meaning}</p>\n<h2>The argument</h2>\n<ol>{sentences}</ol>\n<h2>Facts</h2>\n'
        "<dl>{facts}</dl>\n{attempts}",
        tone=tone(decision),
        reason=decision.reason,
        meaning=f": {known[1]}" if known else "",
        sentences=join(fill("<li>{sentence}</li>", sentence=each) for each in decision.sentences),
        facts=join(fill("<dt>{name}</dt><dd>{value}</dd>", name=name, value=value) for name, value in facts if value),
        attempts=_attempts(planned.memory, shown) if planned.memory and planned.memory.attempts else Html(),
    )


def _attempts(memory: Memory, shown: Shown) -> Html:
    rows = [
        fill(
            '<tr><th scope="row">{run}</th><td>{noted}</td><td>{ended}</td><td>{outcome}</td></tr>',
            run=link(Run(shown.dashboard, shown.namespace, KubernetesName(memory.run(each))).page, memory.run(each)),
            noted=_time(each.noted, utc(each.noted)),
            ended=_time(each.ended, utc(each.ended)) if each.ended is not None else "not known",
            outcome=plan_report.outcome(each),
        )
        for each in memory.attempts
    ]
    return fill(
        '<h2>Attempts</h2>\n<table>\n<caption>At <code>{commit}</code></caption>\n<thead><tr><th scope="col">Run</th>'
        '<th scope="col">Created</th><th scope="col">Ended</th><th scope="col">Outcome</th></tr></thead>\n'
        "<tbody>{rows}</tbody>\n</table>\n",
        commit=memory.commit,
        rows=join(rows),
    )


def _legend() -> Html:
    entries = [
        fill('<dt class="{tone}">{reason}</dt><dd>{meaning}</dd>', tone=kind, reason=reason, meaning=meaning)
        for reason, (kind, meaning) in REASONS.items()
    ]
    return fill(
        "<details>\n<summary>What the words mean</summary>\n<dl>{entries}</dl>\n"
        "<p>The word of a pair leads to its argument. Times are those of the last pass; reload the page for newer ones.</p>\n"
        "</details>\n",
        entries=join(entries),
    )
