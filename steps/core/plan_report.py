"""What `reconcile --dry-run` tells: of each pair what is to become of it and why, for a person or a program."""

from collections.abc import Iterable, Iterator

from steps.core import run_report
from steps.core.applications import SHORT
from steps.core.moments import iso, utc
from steps.core.plan import Attempt, Memory, Plan, Planned
from steps.core.typed_yaml import Problem

COLUMNS = (*run_report.COLUMNS, "PULL-REQUEST", "UNTIL")


def as_table(plan: Plan) -> str:
    """A line for each pair, then what went wrong, then how many there are of each reason."""
    rows = [
        (each.decision, (each.run or "", each.pull_request or "", utc(each.until) if each.until is not None else ""))
        for each in plan.pairs
    ]
    return run_report.table(COLUMNS, rows)


def as_json(plan: Plan, problems: Iterable[Problem]) -> str:
    """One object: `now`, `pairs` with all that is planned and remembered, `problems` of the configuration."""
    return run_report.dumped({"now": iso(plan.now), "pairs": [_pair(each) for each in plan.pairs]}, problems)


def as_argument(plan: Plan) -> str:
    """All that can be said of each pair, a paragraph each."""
    return run_report.arguments((each.decision, sentences(each)) for each in plan.pairs)


def sentences(planned: Planned) -> Iterator[str]:
    """What is planned for a pair and remembered of it, beside the argument of its decision."""
    if planned.create:
        yield f"Its run {planned.run} is to be created: attempt {planned.create}."
    elif planned.run:
        yield f"Its run is {planned.run}" + (f"; {planned.failed_task} failed." if planned.failed_task else ".")
    for name in planned.cancel:
        yield f"The run {name} is to be cancelled: it is of another commit."
    if planned.pull_request:
        yield f"Its pull request is {planned.pull_request}"
    if planned.since is not None:
        yield f"It has been so since {utc(planned.since)}."
    if planned.until is not None:
        yield f"It is tried again at {utc(planned.until)}."
    if planned.memory:
        for attempt in planned.memory.attempts:
            ended = "" if attempt.ended is None else f" {utc(attempt.ended)}"
            yield (
                f"Attempt {attempt.number} at {planned.memory.commit[:SHORT]}: {planned.memory.run(attempt)}, noted {utc(attempt.noted)}, "
                f"{outcome(attempt)}{ended}."
            )
        if planned.memory.told:
            yield f"Told of this commit: {', '.join(sorted(planned.memory.told))}."


def outcome(attempt: Attempt) -> str:
    """What is known of the end of an attempt."""
    if attempt.ended is None:
        return "not known to have ended"
    return f"failed ({attempt.cause})" if attempt.cause else "ended"


def _pair(planned: Planned) -> dict[str, object]:
    return {
        **run_report.facts(planned.decision),
        "run": planned.run,
        "createAttempt": planned.create,
        "cancel": list(planned.cancel),
        "pullRequest": planned.pull_request,
        "failedTask": planned.failed_task or None,
        "since": _moment(planned.since),
        "until": _moment(planned.until),
        "memory": _memory(planned.memory),
        "tell": list(planned.tell),
        "explanation": list(planned.decision.sentences),
    }


def _memory(memory: Memory | None) -> dict[str, object] | None:
    if memory is None:
        return None
    return {
        "commit": memory.commit,
        "first": memory.first,
        "attempts": [
            {"run": memory.run(each), "noted": iso(each.noted), "ended": _moment(each.ended), "cause": each.cause}
            for each in memory.attempts
        ],
        "told": sorted(memory.told),
    }


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else iso(seconds)
