import contextlib
import dataclasses
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from steps.clients.cluster import PAGE, Cluster
from steps.core.plan import Attempt, Memory, Run
from steps.errors import StepError
from tests.sandbox.kubernetes import Fault, Kubernetes

NOW = 1767323045.0
COMMIT = "a" * 40
STATE = "apps-cd-reconciler"
RUNS = "/apis/tekton.dev/v1/namespaces/apps-cd/pipelineruns"
TASKS = "/apis/tekton.dev/v1/namespaces/apps-cd/taskruns"
MEMORY = Memory("web", "v1", COMMIT, "web-v1", (Attempt(1, 100, ended=200, cause="build"),), frozenset({"stalled"}))


class Clock:
    """Seconds that grow when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kubernetes]:
    with Kubernetes(tmp_path, "apps-cd", clock=lambda: NOW) as server:
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig))
        yield server


@pytest.fixture
def connect(kubernetes: Kubernetes) -> Iterator[Callable[..., Cluster]]:
    """Makes a client of the namespace."""
    with contextlib.ExitStack() as stack:

        def connected(kind: type[Cluster] = Cluster, **options: Any) -> Cluster:
            assert kubernetes.kubeconfig.exists()
            return stack.enter_context(contextlib.closing(kind("apps-cd", **options)))

        yield connected


@pytest.fixture
def cluster(connect: Callable[..., Cluster]) -> Cluster:
    return connect()


def document(name: str = "web-v1", **annotations: str) -> dict[str, Any]:
    noted = {"apps-cd/application": "web", "apps-cd/version": "v1", "apps-cd/source-commit": COMMIT, **annotations}
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": name, "labels": {"apps-cd/application": "web"}, "annotations": noted},
        "spec": {"params": [{"name": "app-repo-url", "value": "https://example.com/code"}]},
    }


def ended(status: str, reason: str = "Failed", **more: Any) -> dict[str, Any]:
    condition = {"type": "Succeeded", "status": status, "reason": reason, "message": "it ended"}
    return {"status": {"conditions": [condition], "completionTime": "2026-01-02T03:05:05Z", **more}}


def fail(server: Kubernetes, name: str = "web-v1", reason: str = "StepOOM") -> None:
    """Let a run fail as Tekton does it."""
    metadata = {
        "name": f"{name}-build",
        "labels": {"tekton.dev/pipelineRun": name, "tekton.dev/pipelineTask": "build-image"},
    }
    server.add("taskruns", {"metadata": metadata, **ended("False", reason)})
    server.change("pipelineruns", name, ended("False", childReferences=[{"kind": "TaskRun", "name": f"{name}-build"}]))


def run(name: str = "web-v1", **more: Any) -> Run:
    whole = {
        "first": name,
        "attempt": 1,
        "application": "web",
        "version": "v1",
        "commit": COMMIT,
        "source": "https://example.com/code",
        "created": NOW,
        "ended": None,
        "outcome": "running",
        **more,
    }
    return Run(name=name, **whole)


FAILED = run(ended=NOW + 60, outcome="failed", cause="infrastructure", message="it ended", failed_task="build-image")


def refused(error: pytest.ExceptionInfo[StepError]) -> tuple[str, bool, str]:
    return error.value.reason, error.value.later, str(error.value)


def test_what_is_created_is_listed_with_the_time_of_the_server(
    kubernetes: Kubernetes, connect: Callable[..., Cluster]
) -> None:
    counts: Counter[str] = Counter()
    cluster = connect(counted=lambda code: counts.update([code]))
    assert cluster.create(document()) is True
    assert cluster.create(document()) is False
    kubernetes.add(
        "pipelineruns",
        {**document("stranger"), "metadata": {"name": "stranger", "labels": {"apps-cd/application": "web"}}},
    )
    kubernetes.add("pipelineruns", {**document("other"), "metadata": {"name": "other"}})
    assert cluster.runs() == ([run()], NOW)
    assert kubernetes.requests == [("create", RUNS, 201), ("create", RUNS, 409), ("list", RUNS, 200)]
    assert counts == {"201": 1, "409": 1, "200": 1}


def test_a_failed_run_is_looked_into_once(kubernetes: Kubernetes, cluster: Cluster) -> None:
    kubernetes.add("pipelineruns", document())
    fail(kubernetes)
    kubernetes.requests.clear()
    assert cluster.runs() == cluster.runs() == ([FAILED], NOW)
    assert kubernetes.requests == [("list", RUNS, 200), ("list", TASKS, 200), ("list", RUNS, 200)]
    kubernetes.delete("pipelineruns", "web-v1")
    kubernetes.add("pipelineruns", document())
    fail_again = ended("False", "ExceededNodeResources", childReferences=[{"kind": "TaskRun", "name": "x"}])
    kubernetes.change("pipelineruns", "web-v1", fail_again)
    assert cluster.runs() == ([FAILED], NOW)
    assert kubernetes.requests[-2:] == [("list", RUNS, 200), ("list", TASKS, 200)]


def test_a_failed_run_that_cannot_be_looked_into_holds_no_other_up(kubernetes: Kubernetes, cluster: Cluster) -> None:
    for name in ("web-v1", "web-v2"):
        kubernetes.add("pipelineruns", document(name))
    fail(kubernetes)
    kubernetes.faults.append(Fault("500", "list", "taskruns"))
    assert cluster.runs() == ([run(), run("web-v2")], NOW)
    assert cluster.runs() == ([FAILED, run("web-v2")], NOW)


def test_failed_runs_that_may_not_be_looked_into_hold_no_other_up(
    kubernetes: Kubernetes, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("web-v1", "web-v2"):
        kubernetes.add("pipelineruns", document(name))
    fail(kubernetes)
    kubernetes.forbidden.add(("list", "taskruns"))
    by_itself = run(ended=NOW + 60, outcome="failed", cause="build", message="it ended")
    assert cluster.runs() == ([by_itself, run("web-v2")], NOW)
    [said] = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert said.startswith(
        "web-v1: why it failed is not known: cannot list taskruns in the namespace apps-cd: the Role lacks the verb list "
        "for taskruns of tekton.dev; apply tekton/reconciler ("
    )
    kubernetes.forbidden.clear()
    assert cluster.runs() == ([FAILED, run("web-v2")], NOW)


def test_many_runs_come_in_pages(kubernetes: Kubernetes, cluster: Cluster) -> None:
    names = [f"run-{number:04}" for number in range(2 * PAGE + 1)]
    for name in names:
        kubernetes.add("pipelineruns", document(name))
    found, _ = cluster.runs()
    assert [each.name for each in found] == names
    assert kubernetes.requests == [("list", RUNS, 200)] * 3


def test_a_list_whose_pages_expire_is_begun_again(kubernetes: Kubernetes, cluster: Cluster) -> None:
    for number in range(PAGE + 1):
        kubernetes.add("pipelineruns", document(f"run-{number:04}"))
    kubernetes.faults.append(Fault("expired", times=3))
    assert len(cluster.runs()[0]) == PAGE + 1
    assert [status for _, _, status in kubernetes.requests] == [200, 410] * 3 + [200, 200]
    kubernetes.faults.append(Fault("expired", times=4))
    with pytest.raises(StepError) as error:
        cluster.runs()
    text = "cannot list pipelineruns in the namespace apps-cd: its pages expire too early"
    assert refused(error) == ("unreachable", True, text)


def test_a_reply_that_is_lost_may_have_been_of_a_run_that_was_created(
    kubernetes: Kubernetes, connect: Callable[..., Cluster]
) -> None:
    counts: Counter[str] = Counter()
    cluster = connect(counted=lambda code: counts.update([code]))
    for kind in ("lost", "cut", "500"):
        kubernetes.faults.append(Fault(kind, "create"))
        with pytest.raises(StepError) as error:
            cluster.create(document(f"web-{kind}"))
        assert refused(error)[:2] == ("unreachable", True)
    assert [cluster.create(document(f"web-{kind}")) for kind in ("lost", "cut", "500")] == [False, False, True]
    assert counts == {"500": 2, "none": 1, "409": 2, "201": 1}


def test_a_server_that_says_nothing_is_left_after_a_while(kubernetes: Kubernetes, cluster: Cluster) -> None:
    kubernetes.faults.append(Fault("stall"))
    with pytest.raises(StepError) as error:
        cluster.create(document())
    text = "cannot create pipelineruns web-v1 in the namespace apps-cd: the API server does not answer: The read operation timed out"
    assert refused(error) == ("unreachable", True, text)


def test_a_run_that_tekton_refuses_says_why(kubernetes: Kubernetes, cluster: Cluster) -> None:
    kubernetes.refusal = "validation failed: expected at least one, got none: spec.pipelineRef"
    with pytest.raises(StepError) as error:
        cluster.create(document())
    text = (
        'cannot create pipelineruns web-v1 in the namespace apps-cd: it is refused (admission webhook "validation.webhook.'
        'pipeline.tekton.dev" denied the request: validation failed: expected at least one, got none: spec.pipelineRef)'
    )
    assert refused(error) == ("refused", False, text)
    kubernetes.refusal = None
    with pytest.raises(StepError, match=r'refused .*unknown field "spek"'):
        cluster.create({**document(), "spek": {}})


@pytest.mark.parametrize(
    ("verb", "resource", "group"),
    [("list", "pipelineruns", "tekton.dev"), ("get", "configmaps", "the core API"), ("get", "leases", "coordination.k8s.io"), ("update", "leases", "coordination.k8s.io")],
)  # fmt: skip
def test_what_the_role_lacks_is_said(
    kubernetes: Kubernetes, cluster: Cluster, verb: str, resource: str, group: str
) -> None:
    kubernetes.add("leases", {"metadata": {"name": STATE}})
    kubernetes.add("pipelineruns", document())
    fail(kubernetes)
    kubernetes.forbidden.add((verb, resource))
    ask: dict[str, Callable[[], object]] = {
        "configmaps": lambda: cluster.remembered(STATE),
        "leases": lambda: cluster.take_lease(STATE, "me", 60),
    }
    with pytest.raises(StepError) as error:
        ask.get(resource, cluster.runs)()
    assert refused(error)[:2] == ("refused", False)
    assert f": the Role lacks the verb {verb} for {resource} of {group}; apply tekton/reconciler (" in str(error.value)


def test_a_run_that_goes_on_is_cancelled_for_a_newer_commit(kubernetes: Kubernetes, cluster: Cluster) -> None:
    kubernetes.add("pipelineruns", document())
    cluster.cancel("web-v1", "b" * 40)
    found = kubernetes.object("pipelineruns", "web-v1")
    assert found["spec"] == {**document()["spec"], "status": "CancelledRunFinally"}
    assert found["metadata"]["annotations"]["apps-cd/superseded-by"] == "b" * 40
    kubernetes.change("pipelineruns", "web-v1", ended("False", "Cancelled"))
    assert cluster.runs() == ([run(ended=NOW + 60, outcome="superseded", message="it ended")], NOW)


def test_a_run_that_is_over_or_gone_needs_no_cancelling(kubernetes: Kubernetes, cluster: Cluster) -> None:
    kubernetes.add("pipelineruns", document())
    kubernetes.change("pipelineruns", "web-v1", ended("True"))
    cluster.cancel("web-v1", "b" * 40)
    cluster.cancel("gone", "b" * 40)
    assert "apps-cd/superseded-by" not in kubernetes.object("pipelineruns", "web-v1")["metadata"]["annotations"]
    kubernetes.add("pipelineruns", document("goes-on"))
    kubernetes.forbidden.add(("patch", "pipelineruns"))
    with pytest.raises(StepError, match="the Role lacks the verb patch for pipelineruns"):
        cluster.cancel("goes-on", "b" * 40)


def test_what_is_remembered_keeps_all_else_of_its_config_map(kubernetes: Kubernetes, cluster: Cluster) -> None:
    kubernetes.add("configmaps", {"metadata": {"name": STATE, "labels": {"app": "x"}}})
    assert cluster.remembered(STATE) == ({}, "101")
    assert cluster.remember(STATE, [MEMORY], "101") is True
    assert cluster.remembered(STATE) == ({MEMORY.key: MEMORY}, "102")
    assert kubernetes.object("configmaps", STATE)["metadata"]["labels"] == {"app": "x"}


def test_what_is_remembered_already_is_not_written_again(kubernetes: Kubernetes, cluster: Cluster) -> None:
    kubernetes.add("configmaps", {"metadata": {"name": STATE}})
    too_many = [dataclasses.replace(MEMORY, application=f"app{number}") for number in range(5000)]
    for _ in range(2):
        _, version = cluster.remembered(STATE)
        assert cluster.remember(STATE, too_many, version)
    assert [verb for verb, *_ in kubernetes.requests] == ["get", "update", "get"]


def test_of_two_that_remember_at_once_one_is_told_to_read_again(
    kubernetes: Kubernetes, connect: Callable[..., Cluster]
) -> None:
    kubernetes.add("configmaps", {"metadata": {"name": STATE}})
    first, second = connect(), connect()
    (_, version), _ = first.remembered(STATE), second.remembered(STATE)
    assert first.remember(STATE, [MEMORY], version) is True
    assert second.remember(STATE, [], version) is False
    assert second.remembered(STATE)[0] == {MEMORY.key: MEMORY}


def test_what_nobody_can_read_is_forgotten_and_logged(
    kubernetes: Kubernetes, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    kubernetes.add("configmaps", {"metadata": {"name": STATE}, "data": {"web.v1": "{", "README": "x"}})
    assert cluster.remembered(STATE) == ({}, "101")
    assert caplog.messages == [f"the ConfigMap {STATE} has what nobody can read, which is forgotten: README, web.v1"]


def test_a_config_map_or_lease_that_is_not_there_is_to_be_applied(cluster: Cluster) -> None:
    with pytest.raises(StepError) as error:
        cluster.remembered(STATE)
    text = f'cannot get configmaps {STATE} in the namespace apps-cd: there is none; apply it as tekton/reconciler has it (configmaps "{STATE}" not found)'
    assert refused(error) == ("not-found", False, text)
    with pytest.raises(StepError, match=r"cannot get leases .* apply it as"):
        cluster.take_lease(STATE, "me", 60)


def test_a_lease_is_taken_renewed_and_released(kubernetes: Kubernetes, connect: Callable[..., Cluster]) -> None:
    kubernetes.add("leases", {"metadata": {"name": STATE, "labels": {"app": "x"}}})
    first, second = connect(), connect()
    assert first.take_lease(STATE, "first", 60) is True
    taken = kubernetes.object("leases", STATE)
    assert {**taken["spec"], "acquireTime": "", "renewTime": ""} == {
        "holderIdentity": "first",
        "leaseDurationSeconds": 60,
        "leaseTransitions": 1,
        "acquireTime": "",
        "renewTime": "",
    }
    assert first.take_lease(STATE, "first", 60) is True
    renewed = kubernetes.object("leases", STATE)
    assert renewed["spec"] == {**taken["spec"], "renewTime": renewed["spec"]["renewTime"]}
    assert renewed["spec"]["renewTime"] > taken["spec"]["renewTime"]
    assert second.take_lease(STATE, "second", 60) is False
    second.release_lease(STATE, "second")
    first.release_lease(STATE, "first")
    assert second.take_lease(STATE, "second", 60) is True
    assert kubernetes.object("leases", STATE)["spec"]["leaseTransitions"] == 2
    assert kubernetes.object("leases", STATE)["metadata"]["labels"] == {"app": "x"}


def test_a_lease_ends_when_it_has_stayed_the_same_for_its_duration(
    kubernetes: Kubernetes, connect: Callable[..., Cluster]
) -> None:
    kubernetes.add("leases", {"metadata": {"name": STATE}})
    clock = Clock()
    first, second = connect(), connect(monotonic=clock)
    assert first.take_lease(STATE, "first", 60) is True
    assert second.take_lease(STATE, "second", 10) is False
    clock.now = 59.9
    assert second.take_lease(STATE, "second", 10) is False
    assert first.take_lease(STATE, "first", 60) is True
    clock.now = 60
    assert second.take_lease(STATE, "second", 10) is False
    clock.now = 120
    assert second.take_lease(STATE, "second", 10) is True
    assert first.take_lease(STATE, "first", 60) is False


def test_of_two_that_take_a_lease_at_once_one_has_it(kubernetes: Kubernetes, connect: Callable[..., Cluster]) -> None:
    kubernetes.add("leases", {"metadata": {"name": STATE}})

    class Slow(Cluster):
        """One whose lease another takes between its look and its write."""

        def _get(self, resource: str, name: str, patience: float = 30) -> Any:
            found = super()._get(resource, name, patience)
            assert connect().take_lease(name, "other", 60)
            return found

    assert connect(Slow).take_lease(STATE, "slow", 60) is False
    assert kubernetes.object("leases", STATE)["spec"]["holderIdentity"] == "other"


def test_an_event_is_told_once(kubernetes: Kubernetes, cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    cluster.create(document())
    for _ in range(2):
        cluster.event("web-v1.stalled", "Stalled", "é" * 2000, regarding=("PipelineRun", "web-v1"), kind="Warning")
    found = kubernetes.object("events", "web-v1.stalled")
    uid = kubernetes.object("pipelineruns", "web-v1")["metadata"]["uid"]
    regarding = {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "namespace": "apps-cd",
        "name": "web-v1",
        "uid": uid,
    }
    told = {key: found[key] for key in ("type", "reason", "note", "regarding", "reportingController")}
    assert told == {
        "type": "Warning",
        "reason": "Stalled",
        "note": "é" * 512,
        "regarding": regarding,
        "reportingController": "apps-cd/reconciler",
    }
    assert caplog.messages == []


def test_an_event_that_cannot_be_told_is_a_warning(
    kubernetes: Kubernetes, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    kubernetes.forbidden.add(("create", "events"))
    cluster.event("a", "Vetoed", "x", regarding=("ConfigMap", STATE))
    (record,) = caplog.records
    assert (record.levelno, record.__dict__["reason"]) == (logging.WARNING, "refused")
    assert "the Role lacks the verb create for events of events.k8s.io" in record.getMessage()


def test_credentials_that_are_replaced_need_no_restart(kubernetes: Kubernetes, cluster: Cluster) -> None:
    assert cluster.runs() == ([], NOW)
    kubernetes.rotate_token()
    assert cluster.runs() == ([], NOW)
    assert [status for _, _, status in kubernetes.requests] == [200, 401, 200]


def test_a_kubeconfig_that_is_replaced_needs_no_restart(kubernetes: Kubernetes, cluster: Cluster) -> None:
    config = json.loads(kubernetes.kubeconfig.read_text())
    wrong = {**config, "users": [{"name": "reconciler", "user": {"token": "wrong"}}]}
    kubernetes.kubeconfig.write_text(json.dumps(wrong))
    with pytest.raises(StepError) as error:
        cluster.runs()
    text = "cannot list pipelineruns in the namespace apps-cd: the API server does not take the credentials; give valid ones (Unauthorized)"
    assert refused(error) == ("auth", False, text)
    kubernetes.kubeconfig.write_text(json.dumps(config))
    assert cluster.runs() == ([], NOW)


@pytest.mark.parametrize(
    "text", [None, "", "[]", "{", '{"clusters": []}', '{"current-context": "x", "clusters": [], "contexts": []}']
)
def test_without_a_usable_configuration_one_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    path = tmp_path / "kubeconfig"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(path))
    with pytest.raises(StepError) as error:
        Cluster("apps-cd").runs()
    assert refused(error)[:2] == ("auth", False)
    assert "give the path of a kubeconfig in KUBECONFIG, or run in a pod with a service account" in str(error.value)


def test_a_server_that_is_not_kubernetes_is_told(kubernetes: Kubernetes, cluster: Cluster) -> None:
    config = json.loads(kubernetes.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = f"{kubernetes.url}/somewhere/else"
    kubernetes.kubeconfig.write_text(json.dumps(config))
    with pytest.raises(StepError) as error:
        cluster.runs()
    text = "cannot list pipelineruns in the namespace apps-cd: there is none; install Tekton Pipelines, and give a namespace that is there (the server could not find the requested resource)"
    assert refused(error) == ("not-found", False, text)
