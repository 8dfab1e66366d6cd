"""What is to be done for a pair: each reason whole, and what attempts, limits and memory make of it."""

import dataclasses
from typing import Any

import pytest

from steps.core import applications, needs_update
from steps.core.applications import Broken, Pair
from steps.core.image import Image
from steps.core.needs_update import Decision, Failure, Named, Relation, Seen
from steps.core.plan import (
    HOUR,
    INFRASTRUCTURE_ATTEMPTS,
    MOST_TRIES,
    Attempt,
    Cause,
    Limits,
    Memory,
    Observed,
    Plan,
    Planned,
    Proposals,
    Run,
    delay,
    grouped,
    plan,
)
from steps.core.pull_request import PullRequest
from steps.core.typed_yaml import Position, Problem
from steps.core.update import OPENING, Update, marker

CONFIGURATION = """\
applications:
  - {name: web, sourceRepo: code, manifestsDir: web/base, image: example.com/web}
  - {name: api, sourceRepo: code, manifestsDir: api/base, image: example.com/api}
  - {name: job, sourceRepo: code, manifestsDir: job/base, image: example.com/job}
versions:
  - name: v1
    tag: v1
    repos:
      - {name: code, url: https://github.com/example/code, branch: release}
      - {name: manifests, url: https://github.com/example/manifests, branch: main}
"""
NOW, MINUTE = 1_000_000.0, 60
SOURCE, NAMED, OLDER = "a" * 40, "c" * 40, "d" * 40
FIRST, OTHER_FIRST = "web-v1-aaaaaaaa-11111111", "web-v1-aaaaaaaa-22222222"
US = "apps-cd-bot"
PAGE = "https://github.com/example/manifests/pull"
WANTED, CURRENT = "example.com/web:v1-gaaaaaaaa", "example.com/web:v1-gcccccccc"
FACTS = (
    "The last commit on release of https://github.com/example/code that touched anything is aaaaaaaa; the tip is aaaaaaaa.",
    f"Its image is {WANTED}.",
    f"web/base/kustomization.yaml on main of https://github.com/example/manifests has {CURRENT}, which names cccccccc.",
)
BEHIND = (*FACTS, "cccccccc lacks 2 commits that aaaaaaaa has.", "So it needs an update.")
SAME = (*FACTS, "That is the same commit.", "So it needs no update.")


def pairs(text: str = CONFIGURATION) -> dict[str, Pair]:
    """The pairs of a configuration, by their applications."""
    found = applications.parse({"applications.yaml": text}).pairs
    return {pair.application: pair for pair in found if isinstance(pair, Pair)}


WEB = pairs()["web"]


def seen(relation: Relation = "behind", commit: str = SOURCE, image: str = "example.com/web") -> Seen:
    """What the repositories say, when the manifests have an image that stands so to the source commit."""
    named = Named(relation, "" if relation in ("unknown", "ambiguous") else NAMED, 2 if relation == "behind" else 0)
    path = f"{image.rpartition('/')[2]}/base/kustomization.yaml"
    return Seen(commit, commit, path, Image(image, "v1-gcccccccc"), "cccccccc", named)


def run(attempt: int = 1, commit: str = SOURCE, first: str = FIRST, **rest: Any) -> Run:
    """A run of `web` that goes on, unless it is said how it has ended, a minute after it was created 10 minutes ago."""
    name = first if attempt == 1 else f"{first}-r{attempt}"
    facts: dict[str, Any] = {"created": NOW - 10 * MINUTE, "ended": None, "outcome": "running", **rest}
    if facts["outcome"] != "running" and facts["ended"] is None:
        facts["ended"] = facts["created"] + MINUTE
    facts.setdefault("source", "https://github.com/example/code")
    facts.setdefault("application", "web")
    return Run(name=name, first=first, attempt=attempt, version="v1", commit=commit, **facts)


def failed(attempt: int = 1, ago: float = 5 * MINUTE, cause: Cause | None = "build", **rest: Any) -> Run:
    """A run that has failed some seconds ago."""
    facts: dict[str, Any] = {"created": NOW - ago - MINUTE, "message": "make failed", "failed_task": "build", **rest}
    return run(attempt, outcome="failed", cause=cause, **{"ended": NOW - ago, **facts})


def proposal(number: int = 7, source: str = SOURCE, **rest: Any) -> PullRequest:
    """An open pull request of ours, unless it is said otherwise."""
    body = f"{OPENING}\n{marker(Update('web', 'v1', source=source))}"
    facts: dict[str, Any] = {
        "author": US,
        "base": "main",
        "state": "open",
        "body": body,
        "created": NOW - 2 * HOUR,
        "updated": NOW - HOUR,
        **rest,
    }
    return PullRequest(
        number, f"{PAGE}/{number}", head="example/manifests:apps-cd/v1/web", sha="e" * 40, title="", **facts
    )


def proposals(*found: PullRequest, **rest: Any) -> Proposals:
    return Proposals(US, found, **rest)


def observed(**facts: Any) -> Observed:
    """`web`, whose manifests are behind, and of which nothing else is known."""
    return Observed(**{"pair": WEB, "seen": seen(), "first": FIRST, "proposals": proposals(), **facts})


def planned(limits: Limits | None = None, now: float = NOW, **facts: Any) -> Planned:
    """What is to become of `web`."""
    (found,) = plan([observed(**facts)], limits or Limits(), now).pairs
    return found


def remembered(*attempts: Attempt, first: str = FIRST, commit: str = SOURCE, told: Any = ()) -> Memory:
    return Memory("web", "v1", commit, first, attempts, frozenset(told))


def expected(reason: str, status: needs_update.Status, *sentences: str, later: bool = False, **rest: Any) -> Planned:
    """What is expected of `web` when its manifests are behind."""
    decision = Decision("web", "v1", reason, status, (*BEHIND, *sentences), SOURCE, WANTED, CURRENT, later)
    return Planned(decision, **rest)


def unasked(reason: str, status: needs_update.Status, sentence: str, *, later: bool = False, **rest: Any) -> Planned:
    """What is expected of `web` when its source commit is not known."""
    return Planned(Decision("web", "v1", reason, status, (sentence,), later=later), **rest)


AT = Position("applications.yaml", 2, 5)
FAILED = Attempt(1, NOW - 6 * MINUTE, ended=NOW - 5 * MINUTE, cause="build")
NOTED = Attempt(1, NOW - 10 * MINUTE)
WELL = dataclasses.replace(NOTED, ended=NOW - 9 * MINUTE)
THREE = tuple(Attempt(n, NOW - (5 - n) * HOUR, ended=NOW - (5 - n) * HOUR + MINUTE, cause="build") for n in (1, 2, 3))
LAST_WORDS = "so it is tried no more until there is another commit or configuration, or what failed is forgotten."


@pytest.mark.parametrize(
    ("facts", "wanted"),
    [
        pytest.param(
            {"pair": Broken("web", "v1", Problem(AT, "lacks `image`")), "seen": None, "first": None, "proposals": None},
            unasked("config-error", "failed", "applications.yaml:2:5: error: lacks `image`"),
            id="a pair that cannot be told is an error of the configuration",
        ),
        pytest.param(
            {"seen": None, "first": None, "proposals": None, "memory": remembered(FAILED), "runs": (failed(), run(2))},
            unasked("suspended", "not-needed", "The configuration suspends it.", run=f"{FIRST}-r2", memory=remembered(FAILED)),
            id="a suspended one keeps its memory, and its run goes on",
        ),
        pytest.param(
            {"seen": Failure("unreachable", "cannot ask", later=True), "first": None, "proposals": None, "memory": remembered(FAILED)},
            unasked("unreachable", "failed", "cannot ask", later=True, memory=remembered(FAILED)),
            id="one whose repository cannot be asked keeps its memory",
        ),
        pytest.param(
            {"seen": Failure("config-error", "no directory", at=AT), "first": None, "proposals": None, "runs": (run(),)},
            unasked("config-error", "failed", "applications.yaml:2:5: error: no directory", run=FIRST),
            id="one whose directory is not there leaves its run alone",
        ),
        pytest.param(
            {"seen": seen("identical"), "memory": remembered(FAILED), "runs": (failed(),)},
            Planned(Decision("web", "v1", "up-to-date", "not-needed", SAME, SOURCE, WANTED, CURRENT)),
            id="one that is up to date needs no memory",
        ),
        pytest.param(
            {},
            expected("create", "needed", run=FIRST, create=1, memory=remembered(Attempt(1, NOW)), tell=("created",)),
            id="one that is behind is to have a run",
        ),
        pytest.param(
            {"proposals": None},
            expected("create", "needed", run=FIRST, create=1, memory=remembered(Attempt(1, NOW)), tell=("created",)),
            id="where nobody knows of pull requests there is a run all the same",
        ),
        pytest.param(
            {"runs": (run(),), "memory": remembered(Attempt(1, NOW - HOUR))},
            expected(
                "running", "needed", f"{FIRST} goes on.", run=FIRST, since=NOW - 10 * MINUTE,
                memory=remembered(Attempt(1, NOW - HOUR)),
            ),
            id="its run goes on",
        ),
        pytest.param(
            {"runs": (failed(), run(2))},
            expected(
                "running", "needed", f"{FIRST}-r2 goes on.", run=f"{FIRST}-r2", since=NOW - 10 * MINUTE,
                memory=remembered(FAILED, Attempt(2, NOW - 10 * MINUTE)),
            ),
            id="its second run goes on, and what became of the first is remembered",
        ),
        pytest.param(
            {"runs": (run(first=OTHER_FIRST),)},
            expected("running", "needed", f"{OTHER_FIRST} goes on.", run=OTHER_FIRST, since=NOW - 10 * MINUTE),
            id="a run of its commit by another configuration is waited for",
        ),
        pytest.param(
            {"proposals": Failure("auth", "the token is not valid"), "memory": remembered(FAILED)},
            expected("auth", "failed", "the token is not valid", memory=remembered(FAILED)),
            id="pull requests that cannot be listed are the reason",
        ),
        pytest.param(
            {"proposals": Failure("rate-limit", "asked too often", later=True)},
            expected("rate-limit", "failed", "asked too often", later=True),
            id="pull requests that cannot be listed for now are the reason for now",
        ),
        pytest.param(
            {"proposals": Failure("auth", "the token is not valid"), "runs": (run(),)},
            expected("running", "needed", f"{FIRST} goes on.", run=FIRST, since=NOW - 10 * MINUTE, memory=remembered(NOTED)),
            id="its run goes on whether pull requests can be listed or not",
        ),
        pytest.param(
            {"proposals": proposals(proposal()), "memory": remembered(FAILED)},
            expected(
                "pull-request-open", "not-needed", f"{PAGE}/7 proposes it.",
                pull_request=f"{PAGE}/7", since=NOW - 2 * HOUR,
            ),
            id="it is proposed",
        ),
        pytest.param(
            {"proposals": proposals(proposal(), is_foreign=True)},
            expected(
                "pull-request-open", "not-needed", f"{PAGE}/7 proposes it.",
                pull_request=f"{PAGE}/7", since=NOW - 2 * HOUR,
            ),
            id="it is proposed with somebody's commits beside it",
        ),
        pytest.param(
            {"proposals": proposals(proposal(source=OLDER))},
            expected("create", "needed", run=FIRST, create=1, memory=remembered(Attempt(1, NOW)), tell=("created",)),
            id="an older commit is proposed, so a run is to propose this one",
        ),
        pytest.param(
            {"proposals": proposals(proposal(source=OLDER), is_foreign=True), "memory": remembered(FAILED)},
            expected(
                "blocked", "needed",
                f"Somebody else has put commits on the branch of {PAGE}/7, which proposes another commit: merge or close it.",
                pull_request=f"{PAGE}/7", since=NOW - 2 * HOUR, memory=remembered(FAILED),
            ),
            id="somebody's commits on the branch of an older proposal are in the way",
        ),
        pytest.param(
            {"proposals": proposals(proposal(author="eve"))},
            expected(
                "blocked", "needed", f"{PAGE}/7 by eve proposes the same branch and is not ours: merge or close it.",
                pull_request=f"{PAGE}/7", since=NOW - 2 * HOUR,
            ),
            id="somebody's pull request of the same branch is in the way",
        ),
        pytest.param(
            {"proposals": proposals(proposal(9, body="taken out"), proposal(7, state="merged", source=OLDER))},
            expected(
                "blocked", "needed", f"{PAGE}/9 by {US} proposes the same branch and is not ours: merge or close it.",
                pull_request=f"{PAGE}/9", since=NOW - 2 * HOUR,
            ),
            id="one of ours whose marker was taken out is in the way",
        ),
        pytest.param(
            {"proposals": proposals(proposal(state="closed"), refused=proposal(state="closed"))},
            expected(
                "vetoed", "not-needed",
                f"{PAGE}/7, which proposed it, was closed by a person; the label apps-cd/reopen on it brings it again.",
                pull_request=f"{PAGE}/7", since=NOW - HOUR, memory=remembered(told=["vetoed"]), tell=("vetoed",),
            ),
            id="a person has closed its pull request",
        ),
        pytest.param(
            {
                "proposals": proposals(proposal(state="closed"), refused=proposal(state="closed")),
                "memory": remembered(told=["vetoed"]),
            },
            expected(
                "vetoed", "not-needed",
                f"{PAGE}/7, which proposed it, was closed by a person; the label apps-cd/reopen on it brings it again.",
                pull_request=f"{PAGE}/7", since=NOW - HOUR, memory=remembered(told=["vetoed"]),
            ),
            id="that a person has closed it is told once",
        ),
        pytest.param(
            {"runs": (run(outcome="succeeded", operation="vetoed", pull_request=f"{PAGE}/7"),), "memory": remembered(NOTED)},
            expected(
                "vetoed", "not-needed", f"{FIRST} has ended well with `vetoed`.", run=FIRST,
                pull_request=f"{PAGE}/7", since=NOW - 9 * MINUTE, memory=remembered(WELL, told=["vetoed"]), tell=("vetoed",),
            ),
            id="its run has found that a person has closed it",
        ),
        pytest.param(
            {"proposals": proposals(proposal(state="closed", labels=frozenset({"apps-cd/reopen"})))},
            expected("create", "needed", run=FIRST, create=1, memory=remembered(Attempt(1, NOW)), tell=("created",)),
            id="the label brings it again",
        ),
        pytest.param(
            {
                "proposals": proposals(proposal(state="closed", labels=frozenset({"apps-cd/reopen"}))),
                "runs": (run(outcome="succeeded", operation="created", created=NOW - 3 * HOUR),),
            },
            expected("create", "needed", run=f"{FIRST}-r2", create=2, memory=remembered(Attempt(2, NOW)), tell=("created",)),
            id="the label brings it again by another run when one has proposed it before",
        ),
        pytest.param(
            {
                "proposals": proposals(proposal(state="closed", labels=frozenset({"apps-cd/reopen"}))),
                "runs": (run(outcome="succeeded", operation="vetoed", created=NOW - HOUR - MINUTE, ended=NOW - HOUR + MINUTE),),
            },
            expected("create", "needed", run=f"{FIRST}-r2", create=2, memory=remembered(Attempt(2, NOW)), tell=("created",)),
            id="a run that was there before the label has not seen it",
        ),
        pytest.param(
            {
                "proposals": proposals(proposal(state="closed", labels=frozenset({"apps-cd/reopen"}))),
                "runs": (run(outcome="succeeded", operation="none"),),
                "memory": remembered(NOTED),
            },
            expected(
                "done", "not-needed", f"{FIRST} has ended well with `none`.", run=FIRST, since=NOW - 9 * MINUTE,
                memory=remembered(WELL),
            ),
            id="a run since the label was put there has done what the label asks for",
        ),
        pytest.param(
            {"proposals": proposals(proposal(state="merged"))},
            expected(
                "done", "not-needed", f"{PAGE}/7, which proposed it, was merged, and the manifests name another image now.",
                pull_request=f"{PAGE}/7", since=NOW - 2 * HOUR,
            ),
            id="it was merged, and taken back",
        ),
        pytest.param(
            {"runs": (run(outcome="succeeded", operation="created", pull_request=f"{PAGE}/7"),), "memory": remembered(NOTED)},
            expected(
                "done", "not-needed", f"{FIRST} has ended well with `created`.", run=FIRST,
                pull_request=f"{PAGE}/7", since=NOW - 9 * MINUTE,
                memory=remembered(WELL),
            ),
            id="its run has ended well, and its pull request is not listed yet",
        ),
        pytest.param(
            {"runs": (run(outcome="succeeded"),), "memory": remembered(NOTED)},
            expected(
                "done", "not-needed", f"{FIRST} has ended well.", run=FIRST, since=NOW - 9 * MINUTE,
                memory=remembered(WELL),
            ),
            id="its run has ended well and does not tell of pull requests",
        ),
        pytest.param(
            {"runs": (run(outcome="succeeded", operation="superseded"),), "memory": remembered(NOTED)},
            expected("create", "needed", run=f"{FIRST}-r2", create=2, memory=remembered(WELL, Attempt(2, NOW)), tell=("created",)),
            id="its run has found something newer, which another one is to find, too",
        ),
        pytest.param(
            {
                "runs": (run(2, outcome="succeeded", operation="superseded", pull_request=f"{PAGE}/8"),),
                "memory": remembered(WELL, dataclasses.replace(NOTED, number=2)),
            },
            expected(
                "superseded", "not-needed", f"{FIRST}-r2 has ended well with `superseded`.", run=f"{FIRST}-r2",
                pull_request=f"{PAGE}/8", since=NOW - 9 * MINUTE,
                memory=remembered(WELL, dataclasses.replace(WELL, number=2)),
            ),
            id="two runs have found something newer",
        ),
        pytest.param(
            {"runs": (failed(),)},
            expected(
                "backing-off", "needed", f"{FIRST} has failed: make failed",
                "1 run of this commit has failed; the next attempt waits.",
                run=FIRST, failed_task="build", since=NOW - 5 * MINUTE, until=NOW + 10 * MINUTE, memory=remembered(FAILED),
            ),
            id="its run has failed, and the next one waits",
        ),
        pytest.param(
            {"memory": remembered(FAILED)},
            expected(
                "backing-off", "needed", "1 run of this commit has failed; the next attempt waits.",
                since=NOW - 5 * MINUTE, until=NOW + 10 * MINUTE, memory=remembered(FAILED),
            ),
            id="a run that was deleted has failed all the same",
        ),
        pytest.param(
            {"memory": remembered(*THREE)},
            expected(
                "stalled", "needed", f"3 runs of this commit have failed, {LAST_WORDS}", since=NOW - 2 * HOUR + MINUTE,
                memory=remembered(*THREE, told=["stalled"]), tell=("stalled",),
            ),
            id="three runs have failed",
        ),
        pytest.param(
            {"memory": remembered(*THREE, told=["stalled"]), "runs": (failed(3, 2 * HOUR - MINUTE, created=NOW - 2 * HOUR),)},
            expected(
                "stalled", "needed", f"{FIRST}-r3 has failed: make failed", f"3 runs of this commit have failed, {LAST_WORDS}",
                run=f"{FIRST}-r3", failed_task="build", since=NOW - 2 * HOUR + MINUTE,
                memory=remembered(*THREE, told=["stalled"]),
            ),
            id="that three runs have failed is told once",
        ),
    ],
)  # fmt: skip
def test_each_reason(facts: dict[str, Any], wanted: Planned) -> None:
    assert planned(**facts) == wanted


@pytest.mark.parametrize(
    ("relation", "reason", "status", "create"),
    [
        pytest.param("identical", "up-to-date", "not-needed", None, id="the same commit"),
        pytest.param("ahead", "ahead", "not-needed", None, id="a descendant"),
        pytest.param("behind", "create", "needed", 1, id="an ancestor"),
        pytest.param("diverged", "create", "needed", 1, id="beside it"),
        pytest.param("unknown", "create", "needed", 1, id="a commit of nowhere"),
        pytest.param("ambiguous", "create", "needed", 1, id="several commits"),
    ],
)
def test_what_the_manifests_have_decides_first(
    relation: Relation, reason: str, status: str, create: int | None
) -> None:
    found = planned(seen=seen(relation))
    argument = needs_update.decide(WEB, seen(relation)).sentences
    assert (found.decision.reason, found.decision.status, found.create) == (reason, status, create)
    assert found.decision.sentences == argument


# Attempts.


@pytest.mark.parametrize(
    ("ago", "number", "wait"),
    [
        pytest.param([20], 1, 15 * MINUTE, id="15 minutes after the first failure"),
        pytest.param([100, 70], 2, HOUR, id="an hour after the second"),
        pytest.param([600, 500, 400], 3, 4 * HOUR, id="four hours after the third"),
        pytest.param([900, 800, 700, 600], 4, 4 * HOUR, id="four hours after any further one"),
    ],
)
def test_the_delay_grows(ago: list[int], number: int, wait: int) -> None:
    runs = tuple(failed(n + 1, minutes * MINUTE, "infrastructure") for n, minutes in enumerate(ago))
    ended = NOW - ago[-1] * MINUTE
    waiting = planned(runs=runs, now=ended + wait - 1)
    assert (waiting.decision.reason, waiting.until, waiting.create) == ("backing-off", ended + wait, None)
    found = planned(runs=runs, now=ended + wait)
    assert (found.decision.reason, found.create, found.until) == ("create", number + 1, None)
    assert found.memory
    assert [each.number for each in found.memory.attempts] == [*range(1, number + 2)]
    assert delay(number, Limits()) == wait


def test_the_delay_is_as_it_is_asked_for() -> None:
    assert [delay(failures, Limits(retry_delay=10)) for failures in (1, 2, 3, 4, 9)] == [10, 40, 160, 160, 160]


def test_a_second_attempt_is_made_of_what_is_remembered_alone() -> None:
    attempts = (dataclasses.replace(FAILED, noted=NOW - HOUR, ended=NOW - HOUR), Attempt(2, NOW))
    assert planned(memory=remembered(attempts[0])) == expected(
        "create", "needed", run=f"{FIRST}-r2", create=2, memory=remembered(*attempts), tell=("created",)
    )


def test_an_attempt_that_was_noted_and_never_seen_is_made_again() -> None:
    noted = Attempt(1, NOW - 10 * MINUTE)
    again = dataclasses.replace(noted, noted=NOW, tries=2)
    wanted = expected("create", "needed", run=FIRST, create=1, memory=remembered(again), tell=("created",))
    assert planned(memory=remembered(noted)) == wanted


def test_a_run_that_was_deleted_while_it_went_on_is_made_again() -> None:
    going_on = planned(memory=remembered(FAILED, Attempt(2, NOW - MINUTE)), runs=(run(2),), now=NOW + HOUR)
    assert going_on.decision.reason == "running"
    again = planned(memory=going_on.memory, now=NOW + HOUR)
    assert (again.decision.reason, again.create) == ("create", 2)
    assert again.memory == remembered(FAILED, Attempt(2, NOW + HOUR, tries=2))


def test_an_attempt_that_is_never_seen_is_made_again_ever_later() -> None:
    """By the same name, because a request to create it may still be on its way."""
    noted = Attempt(1, NOW - 10 * MINUTE, tries=MOST_TRIES)
    assert planned(memory=remembered(noted)) == expected(
        "backing-off",
        "needed",
        "Attempt 1 was to be created 3 times and has never been seen.",
        "1 run of this commit has failed; the next attempt waits.",
        since=noted.noted,
        until=noted.noted + 15 * MINUTE,
        memory=remembered(noted),
    )
    again = planned(memory=remembered(noted), now=NOW + HOUR)
    assert (again.create, again.memory) == (1, remembered(Attempt(1, NOW + HOUR, tries=MOST_TRIES + 1)))
    assert planned(memory=again.memory, now=NOW + HOUR).until == NOW + 2 * HOUR
    last = Attempt(1, NOW, tries=MOST_TRIES + INFRASTRUCTURE_ATTEMPTS - 1)
    assert planned(memory=remembered(last)).decision.reason == "stalled"


def test_an_attempt_that_is_seen_late_goes_on_and_then_counts_as_it_ends() -> None:
    late = Attempt(1, NOW - 10 * MINUTE, tries=MOST_TRIES)
    going_on = planned(memory=remembered(late), runs=(run(),))
    assert (going_on.decision.reason, going_on.memory) == ("running", remembered(late))
    ended = planned(memory=going_on.memory, runs=(failed(),))
    assert ended.memory == remembered(Attempt(1, NOW - 10 * MINUTE, ended=NOW - 5 * MINUTE, cause="build"))


def test_builds_fail_as_often_as_is_asked_for() -> None:
    runs = (failed(1, 3 * HOUR), failed(2, 2 * HOUR))
    assert planned(runs=runs).create == 3
    assert planned(Limits(attempts=2), runs=runs).decision.reason == "stalled"


def test_where_it_ran_may_fail_oftener_than_what_it_does() -> None:
    def attempts(count: int, builds: int = 0) -> tuple[Attempt, ...]:
        build: list[Cause] = ["build"]
        infrastructure: list[Cause] = ["infrastructure"]
        causes = build * builds + infrastructure * count
        return tuple(
            Attempt(n + 1, ended := NOW - (20 - n) * 5 * HOUR, ended=ended, cause=cause)
            for n, cause in enumerate(causes)
        )

    most = INFRASTRUCTURE_ATTEMPTS
    assert planned(memory=remembered(*attempts(most - 1))).create == most
    assert planned(memory=remembered(*attempts(most - 1, 2))).create == most + 2
    stalled = planned(memory=remembered(*attempts(most, 1)))
    assert stalled.decision.reason == "stalled"
    assert stalled.decision.sentences[-1] == f"9 runs of this commit have failed, {LAST_WORDS}"


def test_a_failure_of_which_the_cause_is_not_known_is_the_build_s() -> None:
    found = planned(runs=(failed(cause=None),))
    assert found.memory == remembered(FAILED)


def test_a_run_that_was_superseded_is_no_failure_and_its_number_is_taken() -> None:
    runs = (failed(1, 2 * HOUR), run(2, created=NOW - HOUR, outcome="superseded"))
    memory = remembered(FAILED, Attempt(2, NOW - HOUR))
    found = planned(runs=runs, memory=memory)
    assert (found.decision.reason, found.create) == ("create", 3)
    assert found.memory
    assert [each.number for each in found.memory.attempts] == [1, 3]


@pytest.mark.parametrize(
    "memory",
    [
        pytest.param(remembered(*THREE, commit=OLDER, told=["stalled"]), id="of another commit"),
        pytest.param(remembered(*THREE, first=OTHER_FIRST), id="of another configuration"),
    ],
)
def test_another_commit_or_configuration_starts_anew(memory: Memory) -> None:
    runs = (failed(first=memory.first, commit=memory.commit, ago=MINUTE),)
    found = planned(memory=memory, runs=runs)
    assert found == expected(
        "create", "needed", run=FIRST, create=1, memory=remembered(Attempt(1, NOW)), tell=("created",)
    )


def test_a_commit_that_comes_back_finds_its_former_runs_failed() -> None:
    """The branch went on and was set back, so the memory is of the other commit."""
    runs = (
        failed(1, 3 * HOUR),
        failed(2, 2 * HOUR),
        failed(3, HOUR),
        run(commit=OLDER, first="web-v1-dddddddd-33333333"),
    )
    found = planned(memory=remembered(commit=OLDER, first="web-v1-dddddddd-33333333", told=["vetoed"]), runs=runs)
    assert (found.decision.reason, found.tell) == ("stalled", ("stalled",))


def test_a_commit_that_comes_back_is_proposed_again() -> None:
    """The branch went on, which was proposed in its place, and was set back: the memory is of the other commit, or gone."""
    older = run(commit=OLDER, first="web-v1-dddddddd-33333333", outcome="succeeded", operation="updated")
    mine = run(outcome="succeeded", operation="created", created=NOW - HOUR)
    found = planned(runs=(mine, older), proposals=proposals(proposal(source=OLDER)))
    assert found == expected(
        "create", "needed", run=f"{FIRST}-r2", create=2, memory=remembered(Attempt(2, NOW)), tell=("created",)
    )


@pytest.mark.parametrize("operation", ["none", "closed", "vetoed", "created"])
def test_what_has_ended_well_is_not_done_again_when_its_run_is_deleted(operation: Any) -> None:
    ended = planned(runs=(run(outcome="succeeded", operation=operation),), memory=remembered(NOTED))
    assert ended.create is None
    later = planned(memory=ended.memory, now=NOW + HOUR)
    reason = "vetoed" if operation == "vetoed" else "done"
    sentence = "A run that is deleted has ended well."
    wanted = expected(reason, "not-needed", sentence, since=NOW - 9 * MINUTE, memory=ended.memory)
    assert later == wanted


# What is told.


def test_a_stalled_pair_recovers_by_another_configuration_of_the_same_commit() -> None:
    stalled = remembered(*THREE, first=OTHER_FIRST, told=["stalled"])
    created = planned(memory=stalled)
    assert created.memory == remembered(Attempt(1, NOW), told=["stalled"])
    recovered = planned(memory=created.memory, proposals=proposals(proposal()))
    assert (recovered.tell, recovered.memory) == (("recovered",), None)
    assert planned(memory=recovered.memory, proposals=proposals(proposal())).tell == ()


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param({"seen": seen("identical")}, id="by being up to date"),
        pytest.param({"proposals": proposals(proposal())}, id="by being proposed"),
        pytest.param({"proposals": proposals(proposal(state="merged"))}, id="by having been merged"),
        pytest.param({"runs": (run(4, outcome="succeeded", operation="none"),)}, id="by a run"),
    ],
)
def test_a_pair_that_was_stalled_recovers_once(facts: dict[str, Any]) -> None:
    memory = remembered(*THREE, dataclasses.replace(NOTED, number=4), told=["stalled"])
    recovered = planned(memory=memory, **facts)
    assert recovered.tell == ("recovered",)
    assert planned(memory=recovered.memory, **facts).tell == ()
    assert planned(memory=dataclasses.replace(memory, told=frozenset()), **facts).tell == ()
    assert "recovered" not in planned(memory=dataclasses.replace(memory, commit=OLDER), **facts).tell


# Runs of other commits.


def test_a_pull_request_is_shown_with_the_run_that_opened_it() -> None:
    found = planned(proposals=proposals(proposal()), runs=(run(outcome="succeeded"),))
    assert (found.decision.reason, found.run, found.pull_request) == ("pull-request-open", FIRST, f"{PAGE}/7")


def test_runs_of_other_commits_are_cancelled_once() -> None:
    runs = (
        run(commit=OLDER, first="web-v1-dddddddd-33333333"),
        run(commit="e" * 40, first="web-v1-eeeeeeee-33333333", is_ending=True),
        run(commit="f" * 40, first="web-v1-ffffffff-33333333", outcome="failed"),
    )
    assert planned(runs=runs) == expected(
        "create",
        "needed",
        "The run web-v1-dddddddd-33333333 for another commit is cancelled.",
        run=FIRST,
        create=1,
        cancel=("web-v1-dddddddd-33333333",),
        memory=remembered(Attempt(1, NOW)),
        tell=("created",),
    )


def test_runs_of_other_commits_are_cancelled_also_when_nothing_is_needed() -> None:
    runs = tuple(run(n, commit=OLDER, first="web-v1-dddddddd-33333333") for n in (1, 2))
    found = planned(runs=runs, seen=seen("identical"))
    assert found.cancel == ("web-v1-dddddddd-33333333", "web-v1-dddddddd-33333333-r2")
    assert found.decision.sentences == (
        *SAME,
        "The runs web-v1-dddddddd-33333333 and web-v1-dddddddd-33333333-r2 for another commit are cancelled.",
    )
    unknown = planned(runs=runs, seen=Failure("unreachable", "cannot ask"), first=None)
    assert (unknown.cancel, unknown.run) == ((), "web-v1-dddddddd-33333333-r2")


# Limits.


def several(**limits: int) -> tuple[list[Observed], Limits]:
    """`web`, `api` and `job`, all behind; the source of `job` is the same repository by another address."""
    text = CONFIGURATION.replace(
        "versions:\n",
        "versions:\n  - name: v2\n    tag: v1\n    repos:\n"
        "      - {name: code, url: 'ssh://git@github.com/example/code.git', branch: release}\n"
        "      - {name: manifests, url: https://github.com/example/manifests, branch: main}\n",
    )
    found = applications.parse({"applications.yaml": text}, over_ssh=True).pairs
    chosen = {pair.application: pair for pair in found if (pair.version == "v2") == (pair.application == "job")}
    each = [
        Observed(pair, seen(image=str(pair.image)), f"{pair.application}-first", proposals=proposals())
        for pair in chosen.values()
        if isinstance(pair, Pair)
    ]
    return each, Limits(**limits)


def reasons(found: Plan) -> list[tuple[str, str]]:
    return [(each.decision.application, each.decision.reason) for each in found.pairs]


ELSEWHERE = "https://github.com/example/elsewhere"


@pytest.mark.parametrize(
    ("limits", "others", "sentence"),
    [
        pytest.param({"runs": 2}, [], "2 runs go on, and 2 may.", id="as many as may go on"),
        pytest.param({"runs": 3}, [run(application="old", source=ELSEWHERE)], "3 runs go on, and 3 may.", id="with those of others"),
        pytest.param({"runs_per_repository": 2}, [], "2 runs go on that build from this repository, and 2 may.", id="as many as may build from a repository"),
        pytest.param(
            {"runs_per_repository": 3}, [run(application="old", source="git@github.com:example/code"), run(2, application="old", source=ELSEWHERE)],
            "3 runs go on that build from this repository, and 3 may.", id="with those of others from there",
        ),
        pytest.param({"runs_per_hour": 2}, [], "2 runs were created within an hour, and 2 may.", id="as many as may be created"),
        pytest.param(
            {"runs_per_hour": 3},
            [failed(ago=59 * MINUTE, created=NOW - HOUR + 1, application="old"), failed(2, created=NOW - HOUR, application="old")],
            "3 runs were created within an hour, and 3 may.", id="with those of others that were",
        ),
    ],
)  # fmt: skip
def test_a_limit_holds_what_comes_last(limits: dict[str, int], others: list[Run], sentence: str) -> None:
    each, most = several(**limits)
    found = plan(each, most, NOW, others)
    assert reasons(found) == [("web", "create"), ("api", "create"), ("job", "queued")]
    queued = found.pairs[2]
    assert queued.decision.sentences[-1] == sentence
    assert (queued.decision.status, queued.create, queued.memory, queued.tell) == ("needed", None, None, ())


def test_what_was_tried_last_goes_last() -> None:
    each, limits = several(runs=1)
    each[0] = dataclasses.replace(each[0], runs=(failed(ago=HOUR, first="web-first"),))
    found = plan(each, limits, NOW)
    assert reasons(found) == [("web", "queued"), ("api", "create"), ("job", "queued")]
    assert found.pairs[0].memory == remembered(
        Attempt(1, NOW - HOUR - MINUTE, ended=NOW - HOUR, cause="build"), first="web-first"
    )


def test_a_limit_lets_a_retry_and_a_newer_commit_have_their_turns() -> None:
    each, limits = several(runs_per_hour=1)
    made = []
    for hour in range(0, 12, 2):
        now = NOW + hour * HOUR
        [(index, name)] = [(at, str(it.run)) for at, it in enumerate(plan(each, limits, now).pairs) if it.create]
        made.append(name)
        # All builds fail, and all but that of `web` are followed by a newer commit at once.
        application, first = each[index].pair.application, str(each[index].first)
        runs = (failed(1 + name.endswith("-r2"), application=application, first=first, created=now, ended=now + 1),)
        newer = first if application == "web" else f"{application}-{hour}"
        each[index] = dataclasses.replace(each[index], runs=(*each[index].runs, *runs), first=newer)
    assert made == ["web-first", "api-first", "job-first", "web-first-r2", "api-2", "job-4"]


def test_a_noted_attempt_that_a_limit_holds_stays_as_it_was_noted() -> None:
    memory = remembered(FAILED, Attempt(2, NOW - HOUR))
    found = planned(
        Limits(runs_per_hour=1), memory=memory, runs=(run(commit=OLDER, first="older"),), now=NOW + 20 * MINUTE
    )
    assert (found.decision.reason, found.cancel, found.memory) == ("queued", ("older",), memory)


def test_a_run_that_is_to_end_makes_room() -> None:
    each, limits = several(runs=1)
    ending = run(commit=OLDER, first="ending", is_ending=True)
    cancelled = run(commit=OLDER, first="cancelled")
    each[0] = dataclasses.replace(each[0], runs=(ending, cancelled))
    assert reasons(plan(each, limits, NOW)) == [("web", "queued"), ("api", "create"), ("job", "queued")]


def test_a_run_of_a_suspended_pair_counts() -> None:
    each, limits = several(runs=1)
    each[2] = dataclasses.replace(each[2], seen=None, first=None, runs=(run(application="job"),))
    assert reasons(plan(each, limits, NOW)) == [("web", "queued"), ("api", "queued"), ("job", "suspended")]


def test_a_broken_pair_stops_no_other() -> None:
    each, _ = several()
    each.insert(1, Observed(Broken("bad", "v1", Problem(AT, "lacks `image`")), None))
    found = plan(each, Limits(), NOW)
    assert found.now == NOW
    assert reasons(found) == [("web", "create"), ("bad", "config-error"), ("api", "create"), ("job", "create")]


def test_runs_are_told_by_their_pairs() -> None:
    first, second, other = run(), run(2), run(application="api")
    assert grouped([first, other, second]) == {("web", "v1"): [first, second], ("api", "v1"): [other]}
