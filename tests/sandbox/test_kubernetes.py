from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.sandbox.kubernetes import Fault, Kubernetes

TEKTON = "/apis/tekton.dev/v1/namespaces/apps-cd/pipelineruns"
MAPS = "/api/v1/namespaces/apps-cd/configmaps"


@pytest.fixture
def kubernetes(tmp_path: Path) -> Iterator[Kubernetes]:
    with Kubernetes(tmp_path, "apps-cd", clock=lambda: 1767323045) as server:
        yield server


def ask(server: Kubernetes, method: str, path: str, body: Any = None, **more: str) -> Any:
    headers = {"Authorization": "Bearer first-token", **more}
    return requests.request(method, server.url + path, json=body, headers=headers, timeout=10, verify=str(server.ca))


def run(name: str, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": name, "labels": labels},
        "spec": {"params": []},
    }


def test_an_object_is_created_once_and_the_server_says_when(kubernetes: Kubernetes) -> None:
    made = ask(kubernetes, "POST", TEKTON, {**run("a", app="web"), "status": {"x": "y"}})
    assert (made.status_code, made.headers["Date"]) == (201, "Fri, 02 Jan 2026 03:04:05 GMT")
    own = {
        "creationTimestamp": "2026-01-02T03:04:05Z",
        "namespace": "apps-cd",
        "resourceVersion": "101",
        "uid": "uid-100",
    }
    whole = run("a", app="web")
    assert made.json() == {**whole, "metadata": {**whole["metadata"], **own}}
    assert ask(kubernetes, "GET", f"{TEKTON}/a").json() == made.json() == kubernetes.object("pipelineruns", "a")
    assert ask(kubernetes, "POST", TEKTON, run("a")).json()["reason"] == "AlreadyExists"
    assert ask(kubernetes, "GET", f"{TEKTON}/b").status_code == 404
    assert kubernetes.requests == [
        ("create", TEKTON, 201),
        ("get", f"{TEKTON}/a", 200),
        ("create", TEKTON, 409),
        ("get", f"{TEKTON}/b", 404),
    ]


def test_a_list_is_cut_into_pages_of_the_moment_it_began(kubernetes: Kubernetes) -> None:
    for name in "edcba":
        kubernetes.add("pipelineruns", run(name, app="web" if name != "c" else "api"))
    assert [each["metadata"]["name"] for each in ask(kubernetes, "GET", TEKTON).json()["items"]] == list("abcde")
    path, found = f"{TEKTON}?labelSelector=app%3Dweb&limit=2", []
    page = ask(kubernetes, "GET", path).json()
    first = page["metadata"]["continue"]
    kubernetes.delete("pipelineruns", "d")
    while token := page["metadata"].get("continue"):
        found += page["items"]
        page = ask(kubernetes, "GET", f"{path}&continue={token}").json()
    assert [each["metadata"]["name"] for each in [*found, *page["items"]]] == ["a", "b", "d", "e"]
    kubernetes.expire()
    late = ask(kubernetes, "GET", f"{path}&continue={first}")
    assert (late.status_code, late.json()["reason"]) == (410, "Expired")
    assert len(ask(kubernetes, "GET", f"{TEKTON}?labelSelector=app,app%3Dapi").json()["items"]) == 1


def test_an_update_is_of_the_version_that_was_read(kubernetes: Kubernetes) -> None:
    kubernetes.add("configmaps", {"metadata": {"name": "state"}})
    seen = ask(kubernetes, "GET", f"{MAPS}/state").json()
    same = ask(kubernetes, "PUT", f"{MAPS}/state", seen)
    assert same.json() == seen
    changed = ask(kubernetes, "PUT", f"{MAPS}/state", {**seen, "data": {"a": "b"}})
    assert changed.json()["metadata"] == {**seen["metadata"], "resourceVersion": "102"}
    assert ask(kubernetes, "PUT", f"{MAPS}/state", {**seen, "data": {}}).json()["reason"] == "Conflict"
    assert ask(kubernetes, "PUT", f"{MAPS}/state", {**changed.json(), "data": {"a/b": ""}}).status_code == 422


def test_a_patch_leaves_the_status_and_a_run_that_has_ended_alone(kubernetes: Kubernetes) -> None:
    kubernetes.add("pipelineruns", run("a"))
    merge = {"Content-Type": "application/merge-patch+json"}
    cancel = {"spec": {"status": "Cancelled", "params": None}, "status": {"conditions": []}}
    assert ask(kubernetes, "PATCH", f"{TEKTON}/a", cancel, **merge).json()["spec"] == {"status": "Cancelled"}
    kubernetes.change("pipelineruns", "a", {"status": {"conditions": [{"type": "Succeeded", "status": "False"}]}})
    assert ask(kubernetes, "PATCH", f"{TEKTON}/a", cancel, **merge).status_code == 200
    refused = ask(kubernetes, "PATCH", f"{TEKTON}/a", {"spec": {"status": "StoppedRunFinally"}}, **merge)
    assert (refused.status_code, refused.json()["message"][-22:]) == (400, "no updates are allowed")
    assert ask(kubernetes, "PATCH", f"{TEKTON}/a", cancel).status_code == 415


def test_a_stranger_and_a_role_that_lacks_the_verb_are_refused(kubernetes: Kubernetes) -> None:
    kubernetes.forbidden.add(("create", "pipelineruns"))
    assert ask(kubernetes, "GET", TEKTON, Authorization="Bearer other").status_code == 401
    assert ask(kubernetes, "POST", TEKTON, run("a")).json()["message"] == (
        'pipelineruns.tekton.dev is forbidden: User "reconciler" cannot create resource "pipelineruns" '
        'in API group "tekton.dev" in the namespace "apps-cd"'
    )
    kubernetes.rotate_token()
    assert ask(kubernetes, "GET", TEKTON).status_code == 401
    assert ask(kubernetes, "GET", TEKTON, Authorization="Bearer first-token-again").status_code == 200


def test_faults_come_before_or_after_the_effect(kubernetes: Kubernetes) -> None:
    kubernetes.faults += [
        Fault("500"),
        Fault("lost", "create"),
        Fault("cut", "create", "pipelineruns"),
        Fault("expired"),
    ]
    assert ask(kubernetes, "POST", TEKTON, run("a")).status_code == 500
    assert kubernetes.names("pipelineruns") == []
    assert ask(kubernetes, "POST", TEKTON, run("a")).status_code == 500
    with pytest.raises(requests.ConnectionError):
        ask(kubernetes, "POST", TEKTON, run("b"))
    assert kubernetes.names("pipelineruns") == ["a", "b"]
    first = ask(kubernetes, "GET", f"{TEKTON}?limit=1").json()["metadata"]["continue"]
    assert ask(kubernetes, "GET", f"{TEKTON}?limit=1&continue={first}").status_code == 410
    assert ask(kubernetes, "GET", f"{TEKTON}?limit=1&continue={first}").status_code == 200
    assert [status for _, _, status in kubernetes.requests] == [500, 500, 0, 200, 410, 200]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (TEKTON, {**run("a"), "kind": "Pipeline"}),
        (TEKTON, run("A")),
        (f"{TEKTON}?fieldValidation=Strict", {**run("a"), "spek": {}}),
        ("/apis/events.k8s.io/v1/namespaces/apps-cd/events", {"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "a"}}),
        ("/apis/apps/v1/namespaces/apps-cd/deployments", run("a")),
    ],
)  # fmt: skip
def test_what_is_no_object_is_refused(kubernetes: Kubernetes, path: str, body: Any) -> None:
    assert ask(kubernetes, "POST", path, body).status_code in (400, 404, 422)
    assert kubernetes.names("pipelineruns") == []
