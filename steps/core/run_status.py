"""What a PipelineRun says of itself, and why it failed, from its JSON and that of its TaskRuns.

Whoever may write PipelineRuns decides what is in them, so nothing is taken for granted: what is malformed is nobody's run.
"""

import math
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from steps.core import moments
from steps.core.pipeline_run import (
    APPLICATION,
    ATTEMPT,
    FIRST_ATTEMPT,
    SOURCE_COMMIT,
    SUPERSEDED_BY,
    VERSION,
    attempt_name,
)
from steps.core.plan import Cause, Outcome, Run
from steps.core.pull_request import Operation
from steps.core.text import Line, shown

LONGEST_MESSAGE = 300

INFRASTRUCTURE = frozenset(
    {
        *("PodEvicted", "PodCreationFailed", "ExceededResourceQuota", "ExceededNodeResources", "InternalError"),
        *("StepOOM", "SidecarOOM", "InitContainerOOM", "InitContainerFailed", "TaskRunStopSidecarFailed"),
        *("TaskRunImagePullFailed", "PullImageFailed", "ResolutionTimedOut", "CouldntCreateWorkspacePVC"),
        "ReasonCouldntCreateOrUpdateAffinityAssistantStatefulSet",
    }
)
"""Reasons of TaskRuns and PipelineRuns, as of Tekton 1.15, that say where a run failed and not what it does."""

STOPPED = frozenset(
    {
        *("OOMKilled", "Evicted", "ContainerStatusUnknown"),
        *("NodeLost", "NodeShutdown", "Preempting", "Terminated", "TerminationByKubelet"),
    }
)
"""Why a step ended without its own doing."""

TIMEOUTS = frozenset({"TaskRunTimeout", "PipelineRunTimeout", "TimeoutExceeded", "DeadlineExceeded"})
"""Why a run, a TaskRun or a step ended that took too long: what hangs once will hang again."""

ENDS = frozenset({"Cancelled", "CancelledRunFinally", "StoppedRunFinally"})
"""What the `spec.status` of a run says that is to end; one that is to wait for a person says another word there."""

TRY_LATER, KILLED, TERMINATED = 75, 137, 143
"""Exit codes of a step: of ours when the same may succeed later; of any that got a SIGKILL or a SIGTERM."""

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_URL = re.compile(r"https?://[^\s\"'<>\\^`{|}]{1,2000}")


def run(pipeline_run: Mapping[str, Any], task_runs: Sequence[Mapping[str, Any]] = ()) -> Run | None:
    """The run of a pair that a PipelineRun is.

    Args:
        pipeline_run: of tekton.dev/v1.
        task_runs: of it, when `needs_task_runs`.

    Returns:
        None when it does not say of which pair and commit it is.
    """
    noted = _at(pipeline_run, "metadata", "annotations")
    name, created = (
        _at(pipeline_run, "metadata", "name"),
        moments.parsed(_at(pipeline_run, "metadata", "creationTimestamp")),
    )
    application, version = _line(_at(noted, APPLICATION)), _line(_at(noted, VERSION))
    commit = _at(noted, SOURCE_COMMIT)
    source = _line(_param(pipeline_run, "app-repo-url"))
    if (
        not (isinstance(name, str) and _NAME.fullmatch(name))
        or not (isinstance(commit, str) and _COMMIT.fullmatch(commit))
        or created is None
        or not (application and version and source)
        or (attempt := _attempt(name, _at(noted, FIRST_ATTEMPT), _at(noted, ATTEMPT))) is None
    ):
        return None
    first, number = attempt
    outcome, ended, condition = _outcome(pipeline_run), None, _condition(pipeline_run)
    if outcome != "running":
        times = (
            _at(pipeline_run, "status", "completionTime"),
            _at(condition, "lastTransitionTime"),
            _at(pipeline_run, "metadata", "creationTimestamp"),
        )
        ended = next(found for text in times if (found := moments.parsed(text)) is not None)
    cause, task, message = None, "", _message(condition)
    if outcome == "failed":
        failed = _failed(task_runs)
        cause = _cause(condition, failed)
        task = _task(failed[0]) if failed else ""
        if failed and _at(condition, "reason") == "Failed":
            message = _message(_condition(failed[0])) or message
    succeeded = outcome == "succeeded"
    return Run(
        name=name,
        first=first,
        attempt=number,
        application=application,
        version=version,
        commit=commit,
        source=source,
        created=created,
        ended=ended,
        outcome=outcome,
        cause=cause,
        message=message,
        failed_task=task,
        operation=_operation(_result(pipeline_run, "operation")) if succeeded else None,
        pull_request=_url(_result(pipeline_run, "pull-request-url")) if succeeded else "",
        is_ending=outcome == "running" and _text(_at(pipeline_run, "spec", "status")) in ENDS,
    )


def needs_task_runs(pipeline_run: Mapping[str, Any]) -> bool:
    """Whether its TaskRuns have more to say: it has failed, and has some."""
    children = _mappings(_at(pipeline_run, "status", "childReferences"))
    return _outcome(pipeline_run) == "failed" and any(_at(child, "kind") == "TaskRun" for child in children)


def has_ended(pipeline_run: Mapping[str, Any]) -> bool:
    """Whether nothing will become of it any more."""
    return _outcome(pipeline_run) != "running"


def _outcome(pipeline_run: Mapping[str, Any]) -> Outcome:
    match _at(_condition(pipeline_run), "status"):
        case "True":
            return "succeeded"
        case "False":
            by = _at(pipeline_run, "metadata", "annotations", SUPERSEDED_BY)
            is_ours = bool(by) and _at(pipeline_run, "spec", "status") in ("Cancelled", "CancelledRunFinally")
            return "superseded" if is_ours else "failed"
        case _:
            return "running"


def _cause(condition: Mapping[str, Any], failed: Sequence[Mapping[str, Any]]) -> Cause:
    """Why a run failed: of the TaskRun that failed first, which is what made the others fail."""
    reason = _reason(failed[0]) if failed else ""
    if _text(_at(condition, "reason")) in INFRASTRUCTURE:
        return "infrastructure"
    if {_text(_at(condition, "reason")), reason} & {"Cancelled", "TaskRunCancelled", *TIMEOUTS} or not failed:
        return "build"
    if reason in INFRASTRUCTURE:
        return "infrastructure"
    for step in _mappings(_at(failed[0], "status", "steps")):
        ended = _at(step, "terminated")
        why = {_text(_at(ended, "reason")), _text(_at(step, "terminationReason"))}
        code = _at(ended, "exitCode")
        if why & TIMEOUTS:
            return "build"
        if why & STOPPED or (code in (TRY_LATER, KILLED, TERMINATED) and "Continued" not in why):
            return "infrastructure"
    return "build"


def _failed(task_runs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that did not succeed, the first to end before the others, those that were cancelled last."""
    failed = [each for each in task_runs if _at(_condition(each), "status") == "False"]

    def order(task_run: Mapping[str, Any]) -> tuple[bool, float, str]:
        ended = moments.parsed(_at(task_run, "status", "completionTime"))
        return _reason(task_run) == "TaskRunCancelled", math.inf if ended is None else ended, _task(task_run)

    return sorted(failed, key=order)


def _reason(task_run: Mapping[str, Any]) -> str:
    return _text(_at(_condition(task_run), "reason"))


def _task(task_run: Mapping[str, Any]) -> str:
    return shown(_text(_at(task_run, "metadata", "labels", "tekton.dev/pipelineTask"))[:63])


def _condition(run_of_any_kind: Mapping[str, Any]) -> Mapping[str, Any]:
    """Its condition `Succeeded`; empty when it has none."""
    conditions = _mappings(_at(run_of_any_kind, "status", "conditions"))
    return next((each for each in conditions if _at(each, "type") == "Succeeded"), {})


def _message(condition: Mapping[str, Any]) -> str:
    text = " ".join(_text(_at(condition, "message"))[: 4 * LONGEST_MESSAGE].split())
    return shown(text)[:LONGEST_MESSAGE]


def _attempt(name: str, first: object, attempt: object) -> tuple[str, int] | None:
    """The name of the first attempt and the number of this one; None when they do not belong to the name."""
    if first is None and attempt is None:
        return name, 1
    if not (isinstance(first, str) and isinstance(attempt, str) and re.fullmatch(r"[1-9]\d{0,5}", attempt)):
        return None
    return (first, int(attempt)) if name == attempt_name(first, int(attempt)) else None


def _operation(text: object) -> Operation | None:
    return next((each for each in typing.get_args(Operation) if each == text), None)


def _url(text: object) -> str:
    return text if isinstance(text, str) and _URL.fullmatch(text) else ""


def _line(text: object) -> str:
    """A text of one line; empty when it is none."""
    try:
        return Line.parse(_text(text))
    except ValueError:
        return ""


def _param(pipeline_run: Mapping[str, Any], name: str) -> object:
    return _named(_at(pipeline_run, "spec", "params"), name)


def _result(pipeline_run: Mapping[str, Any], name: str) -> object:
    return _named(_at(pipeline_run, "status", "results"), name)


def _named(items: object, name: str) -> object:
    return next((_at(item, "value") for item in _mappings(items) if _at(item, "name") == name), None)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _mappings(items: object) -> Iterable[Mapping[str, Any]]:
    return (item for item in items if isinstance(item, Mapping)) if isinstance(items, list) else ()


def _at(value: object, *path: str) -> Any:
    """What stands at a path of keys; None when nothing does."""
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value
