import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.core import run_status
from steps.core.plan import Run

COMMIT = "a" * 40
NAME = "web-v1-aaaaaaaa-0123456789"


def pipeline_run(status: Any = None, /, *, name: str = NAME, annotations: Any = None, **spec: Any) -> dict[str, Any]:
    noted = {"apps-cd/application": "web", "apps-cd/version": "v1/rc", "apps-cd/source-commit": COMMIT}
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "annotations": {**noted, **(annotations or {})},
        },
        "spec": {"params": [{"name": "app-repo-url", "value": "https://example.com/code"}], **spec},
        **({} if status is None else {"status": status}),
    }


def succeeded(status: str, reason: str = "Failed", message: str = "Tasks Completed: 1 (Failed: 1)") -> dict[str, Any]:
    """A status with the condition `Succeeded`."""
    condition = {"type": "Succeeded", "status": status, "reason": reason, "message": message}
    return {"completionTime": "2026-01-02T03:14:05.25Z", "conditions": [{"type": "Ready"}, condition]}


def task_run(reason: str, *steps: Any, task: str = "build-image", at: str = "2026-01-02T03:10:00Z") -> dict[str, Any]:
    return {
        "metadata": {"labels": {"tekton.dev/pipelineTask": task}},
        "status": {**succeeded("False", reason, f"of {task}"), "completionTime": at, "steps": list(steps)},
    }


def step(code: int, reason: str = "Error", **more: str) -> dict[str, Any]:
    return {"name": "kaniko", "terminated": {"exitCode": code, "reason": reason}, **more}


RUNNING = Run(
    name=NAME,
    first=NAME,
    attempt=1,
    application="web",
    version="v1/rc",
    commit=COMMIT,
    source="https://example.com/code",
    created=1767323045,
    ended=None,
    outcome="running",
)
FAILED = dataclasses.replace(
    RUNNING, ended=1767323645.25, outcome="failed", cause="build", message="Tasks Completed: 1 (Failed: 1)"
)


@pytest.mark.parametrize(
    "status", [None, {}, {"conditions": []}, {"conditions": [{"type": "Succeeded", "status": "Unknown"}]}]
)
def test_a_run_goes_on_until_tekton_says_that_it_has_ended(status: Any) -> None:
    assert run_status.run(pipeline_run(status)) == RUNNING
    assert not run_status.has_ended(pipeline_run(status))


def test_a_run_that_succeeded_says_what_became_of_the_pull_request() -> None:
    page = "https://github.com/example/manifests/pull/1"
    results = [{"name": "operation", "value": "updated"}, {"name": "pull-request-url", "value": page}]
    found = run_status.run(pipeline_run({**succeeded("True", "Completed", "done"), "results": results}))
    assert found == dataclasses.replace(
        RUNNING, ended=1767323645.25, outcome="succeeded", message="done", operation="updated", pull_request=page
    )
    assert run_status.has_ended(pipeline_run(succeeded("True")))


@pytest.mark.parametrize("given", ["PipelineRunPending", "", ["Cancelled"]])
def test_a_run_that_waits_for_a_person_is_not_about_to_end(given: object) -> None:
    document = pipeline_run()
    document["spec"]["status"] = given
    assert run_status.run(document) == RUNNING


def test_results_that_are_none_of_ours_are_left_out() -> None:
    results = [{"name": "operation", "value": "rm -rf"}, {"name": "pull-request-url", "value": "javascript:alert(1)"}]
    found = run_status.run(pipeline_run({**succeeded("True"), "results": results}))
    assert found
    assert (found.operation, found.pull_request) == (None, "")


@pytest.mark.parametrize(
    ("given", "by", "outcome"),
    [("CancelledRunFinally", "b" * 40, "superseded"), ("Cancelled", None, "failed"), (None, "b" * 40, "failed")],
    ids=["by us", "by a person", "by nobody"],
)
def test_a_cancelled_run_is_superseded_when_a_newer_commit_did_it(
    given: str | None, by: str | None, outcome: Any
) -> None:
    annotations = {"apps-cd/superseded-by": by} if by else {}
    spec = {"status": given} if given else {}
    found = run_status.run(pipeline_run(succeeded("False", "Cancelled"), annotations=annotations, **spec))
    assert found == dataclasses.replace(FAILED, outcome=outcome, cause=None if outcome == "superseded" else "build")
    ending = dataclasses.replace(RUNNING, is_ending=given is not None)
    assert run_status.run(pipeline_run(annotations=annotations, **spec)) == ending


def test_an_attempt_names_the_first() -> None:
    noted = {"apps-cd/first-attempt": NAME, "apps-cd/attempt": "3"}
    found = run_status.run(pipeline_run(name=f"{NAME}-r3", annotations=noted))
    assert found == dataclasses.replace(RUNNING, name=f"{NAME}-r3", attempt=3)
    first = pipeline_run(annotations={**noted, "apps-cd/attempt": "1"})
    assert run_status.run(first) == RUNNING


@pytest.mark.parametrize(
    ("reason", "steps", "cause"),
    [
        pytest.param("StepFailed", [step(0, "Completed"), step(1)], "build", id="a step failed"),
        pytest.param("Failed", [step(75)], "infrastructure", id="a step says to try later"),
        pytest.param("StepFailed", [step(75, terminationReason="Continued"), step(1)], "build", id="a step that may fail"),
        pytest.param("StepFailed", [step(137, "OOMKilled")], "infrastructure", id="out of memory"),
        pytest.param("StepOOM", [], "infrastructure", id="out of memory, as Tekton says"),
        pytest.param("StepFailed", [step(137)], "infrastructure", id="killed"),
        pytest.param("StepFailed", [step(143)], "infrastructure", id="terminated with its node"),
        pytest.param("StepFailed", [step(255, "ContainerStatusUnknown")], "infrastructure", id="node lost"),
        pytest.param("StepFailed", [step(1, terminationReason="TimeoutExceeded")], "build", id="a step's time-out"),
        pytest.param("PodEvicted", [], "infrastructure", id="evicted"),
        pytest.param("TaskRunTimeout", [step(1, "TaskRunTimeout")], "build", id="time-out"),
        pytest.param("TaskRunImagePullFailed", [], "infrastructure", id="no image"),
        pytest.param("PodCreationFailed", [], "infrastructure", id="no pod"),
        pytest.param("PodAdmissionFailed", [], "build", id="not admitted"),
        pytest.param("CreateContainerConfigError", [], "build", id="a Secret that is not there"),
        pytest.param("TaskRunValidationFailed", [], "build", id="not valid"),
    ],
)  # fmt: skip
def test_the_task_run_says_why_it_failed(reason: str, steps: list[Any], cause: Any) -> None:
    failed = task_run(reason, *steps)
    found = run_status.run(pipeline_run(succeeded("False")), [failed])
    assert found == dataclasses.replace(FAILED, cause=cause, failed_task="build-image", message="of build-image")


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("PipelineRunTimeout", "build"),
        ("CouldntCreateWorkspacePVC", "infrastructure"),
        ("CouldntGetTask", "build"),
        ("ParameterMissing", "build"),
        ("PipelineValidationFailed", "build"),
    ],
)
def test_a_pipeline_run_says_why_it_failed_without_task_runs(reason: str, cause: Any) -> None:
    assert run_status.run(pipeline_run(succeeded("False", reason))) == dataclasses.replace(FAILED, cause=cause)


def test_of_several_task_runs_the_first_to_fail_counts() -> None:
    cancelled = task_run("TaskRunCancelled", step(137), task="a", at="2026-01-02T03:00:00Z")
    later = task_run("StepOOM", task="b", at="2026-01-02T03:12:00Z")
    first = task_run("StepFailed", step(1), task="c", at="2026-01-02T03:11:00Z")
    fine = {"metadata": {}, "status": succeeded("True")}
    found = run_status.run(pipeline_run(succeeded("False")), [fine, cancelled, later, first])
    assert found == dataclasses.replace(FAILED, failed_task="c", message="of c")
    by_a_person = run_status.run(pipeline_run(succeeded("False", "Cancelled")), [cancelled])
    assert by_a_person == dataclasses.replace(FAILED, failed_task="a")


def test_a_message_is_one_short_line() -> None:
    found = run_status.run(pipeline_run(succeeded("False", message="one\n two\x1b[1m \u202e" + "x" * 5000)))
    assert found
    assert found.message == ("one two\\x1b[1m \\u202e" + "x" * 300)[:300]


@pytest.mark.parametrize(
    ("status", "children", "needed"),
    [("False", ["TaskRun"], True), ("False", ["CustomRun"], False), ("False", [], False), ("True", ["TaskRun"], False)],
)
def test_task_runs_are_wanted_of_a_failed_run_that_has_some(status: str, children: list[str], needed: bool) -> None:
    references = [{"kind": kind, "name": "x"} for kind in children]
    assert run_status.needs_task_runs(pipeline_run({**succeeded(status), "childReferences": references})) is needed


@pytest.mark.parametrize(
    "change",
    [
        {"apps-cd/application": None},
        {"apps-cd/application": ["web"]},
        {"apps-cd/version": "v1\x00"},
        {"apps-cd/source-commit": "main"},
        {"apps-cd/attempt": "2"},
        {"apps-cd/attempt": "0", "apps-cd/first-attempt": NAME},
        {"apps-cd/attempt": "2", "apps-cd/first-attempt": "another"},
    ],
    ids=str,
)
def test_a_run_that_does_not_say_what_it_is_of_is_none(change: dict[str, Any]) -> None:
    assert run_status.run(pipeline_run(succeeded("False"), annotations=change)) is None


def test_a_run_without_a_source_or_a_name_is_none() -> None:
    assert run_status.run(pipeline_run(params=[])) is None
    assert run_status.run(pipeline_run(name="../x")) is None


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.sampled_from(["False", "Succeeded", NAME]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["type", "status", "reason", "message", "name", "value", "conditions", "steps", "terminated", "results"]),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(ANYTHING, ANYTHING, ANYTHING)
def test_no_content_of_a_run_ends_the_pass(status: Any, spec: Any, failed: Any) -> None:
    whole: Any = {**pipeline_run(succeeded("False")), "spec": spec}
    for document in (whole, pipeline_run(status), {"metadata": status}, {**pipeline_run(), "status": status}):
        found = run_status.run(document, [{"status": {**succeeded("False"), "steps": failed}}, {"status": failed}])
        assert found is None or found.key == ("web", "v1/rc")
        assert run_status.needs_task_runs(document) in (True, False)
