"""Plans to be shown: a lived-in one of 12 applications at 4 versions, with every reason, and others of any size."""

import hashlib
from collections.abc import Iterable

from steps.core.needs_update import Decision
from steps.core.plan import Attempt, Cause, Memory, Plan, Planned
from steps.core.pull_request_body import DashboardUrl, KubernetesName
from steps.core.status_page import Pass, Shown
from steps.core.typed_yaml import Position, Problem

NOW = 1_795_724_885.0
"""2026-11-26 20:28:05 UTC."""
MINUTE, HOUR, DAY = 60, 3600, 86_400

APPLICATIONS = (
    *("access-management", "admission-webhook", "centraldashboard", "jupyter-web-app", "katib-controller"),
    *("kfam", "model-registry", "notebook-controller", "profile-controller", "pvcviewer-controller"),
    *("tensorboard-controller", "volumes-web-app"),
)
VERSIONS = ("master", "v1.10-branch", "v1.9-branch", "v1.8-branch")

_OTHERS = {
    ("access-management", "v1.8-branch"): "suspended",
    ("admission-webhook", "master"): "running",
    ("admission-webhook", "v1.9-branch"): "ahead",
    ("centraldashboard", "master"): "pull-request-open",
    ("centraldashboard", "v1.10-branch"): "pull-request-open",
    ("centraldashboard", "v1.8-branch"): "vetoed",
    ("jupyter-web-app", "master"): "stalled",
    ("jupyter-web-app", "v1.9-branch"): "diverged",
    ("katib-controller", "v1.10-branch"): "backing-off",
    ("katib-controller", "v1.9-branch"): "auth",
    ("katib-controller", "v1.8-branch"): "unreachable",
    ("kfam", "master"): "done",
    ("kfam", "v1.10-branch"): "superseded",
    ("model-registry", "master"): "create",
    ("model-registry", "v1.10-branch"): "queued",
    ("model-registry", "v1.9-branch"): "queued",
    ("notebook-controller", "v1.10-branch"): "blocked",
    ("notebook-controller", "v1.8-branch"): "unknown-commit",
    ("profile-controller", "v1.9-branch"): "config-error",
    ("profile-controller", "v1.8-branch"): "not-found",
    ("pvcviewer-controller", "master"): "no-entry",
    ("pvcviewer-controller", "v1.8-branch"): "unreadable",
    ("tensorboard-controller", "v1.9-branch"): "behind",
    ("volumes-web-app", "v1.8-branch"): "timeout",
}

_NOT_NEEDED = ("up-to-date", "ahead", "suspended", "done", "vetoed", "superseded")
_FAILED = ("auth", "unreachable", "config-error", "not-found", "unreadable", "timeout")
_WITH_RUN = (
    "running",
    "pull-request-open",
    "vetoed",
    "stalled",
    "backing-off",
    "done",
    "superseded",
    "create",
    "queued",
)
_WITH_PULL_REQUEST = ("pull-request-open", "vetoed", "done", "blocked")

PROBLEMS = (
    Problem(
        Position("applications.yaml", 118, 7), "`v1.9-branch`: the branch is not there; did you mean `v1.9-brnach`?"
    ),
    Problem(Position("applications.yaml", 31, 3), "`watch`: docs/** leads nowhere", "warning"),
)


def sha(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def planned(application: str, version: str, reason: str) -> Planned:
    """What a pair of that reason looks like."""
    seed = f"{application} {version}"
    commit, former = sha(seed), sha(f"former {seed}")
    age = int(commit[:4], 16) * 7
    image = f"registry.example.com/{application}:{version}-g"
    if reason == "suspended":
        return Planned(Decision(application, version, reason, "not-needed", ("The configuration suspends it.",)))
    if reason in _FAILED:
        message = f"cannot ask https://github.com/example/{application}: {reason}; see what the server says"
        later = reason in ("unreachable", "timeout")
        return Planned(Decision(application, version, reason, "failed", (message,), later=later), since=NOW - age)
    is_same = reason in ("up-to-date", "done")
    tag = f"{image}{commit[:8]}" if is_same else "" if reason == "no-entry" else f"{image}{former[:8]}"
    current = f"registry.example.com/{application}:latest" if reason == "unknown-commit" else tag or None
    sentences = (
        f"The last commit on https://github.com/example/{application} at {version} that touched {application} is {commit[:8]}.",
        f"Its image is {image}{commit[:8]}.",
        f"kustomization.yaml on https://github.com/example/manifests at {version} has {current or 'no entry for it'}.",
        f"So it is {reason}.",
    )
    decision = Decision(
        application,
        version,
        reason,
        "not-needed" if reason in _NOT_NEEDED else "needed",
        sentences,
        commit,
        f"{image}{commit[:8]}",
        current,
    )
    name = f"{application}-{version}-{commit[:8]}-{commit[-8:]}"
    failures = {"stalled": 3, "backing-off": 1}.get(reason, 0)
    pull_request = f"https://github.com/example/manifests/pull/{9_000 + int(commit[:3], 16)}"
    return Planned(
        decision,
        run=name + (f"-r{failures}" if failures > 1 else "") if reason in _WITH_RUN else None,
        create=1 if reason == "create" else None,
        cancel=(f"{application}-{version}-{former[:8]}-{former[-8:]}",) if reason == "create" else (),
        pull_request=pull_request if reason in _WITH_PULL_REQUEST else None,
        failed_task="build-image" if failures else "",
        until=NOW + 12 * MINUTE if reason == "backing-off" else None,
        since=NOW - (age % HOUR if reason in ("create", "running", "queued", "backing-off") else age),
        memory=_memory(application, version, commit, name, failures) if failures else None,
        tell=("created",) if reason == "create" else (),
    )


def _memory(application: str, version: str, commit: str, name: str, failures: int) -> Memory:
    causes: tuple[Cause, ...] = ("infrastructure", "build", "build")
    attempts = [
        Attempt(
            number,
            NOW - 5 * HOUR + number * HOUR,
            1,
            NOW - 5 * HOUR + number * HOUR + 7 * MINUTE,
            causes[number - 1],
        )
        for number in range(1, failures + 1)
    ]
    told = frozenset({"created", "stalled"}) if failures == len(causes) else frozenset({"created"})
    return Memory(application, version, commit, name, tuple(attempts), told)  # type: ignore[arg-type]  # words of Event


def lived_in() -> Plan:
    """48 pairs, and every reason."""
    return Plan(
        NOW,
        tuple(
            planned(application, version, _OTHERS.get((application, version), "up-to-date"))
            for application in APPLICATIONS
            for version in VERSIONS
        ),
    )


def large(applications: int, versions: int) -> Plan:
    """All pairs of so many, most of them up to date."""
    reasons = ("stalled", "running", "pull-request-open", *["up-to-date"] * 20)
    return Plan(
        NOW,
        tuple(
            planned(f"application-{row}", f"v1.{column}", reasons[(row * versions + column) % len(reasons)])
            for row in range(applications)
            for column in range(versions)
        ),
    )


def shown(
    plan: Plan | None, problems: Iterable[Problem] = (), dashboard: str | None = "https://tekton.example.com"
) -> Shown:
    """A plan as the leader shows it, two minutes after the pass."""
    return Shown(
        now=NOW + 2 * MINUTE,
        last=Pass(NOW, 3.24),
        next_at=NOW + 10 * MINUTE,
        plan=plan,
        problems=tuple(problems),
        dashboard=DashboardUrl.parse(dashboard) if dashboard else None,
        namespace=KubernetesName.parse("apps-cd"),
    )
