"""Runs, memory, the lease and events of one namespace of a Kubernetes cluster."""

import dataclasses
import logging
import math
import platform
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from steps.core import memory, plan, run_status
from steps.core.pipeline_run import APPLICATION, SUPERSEDED_BY
from steps.core.plan import Key, Memory
from steps.errors import StepError

if TYPE_CHECKING:
    from steps.clients.cluster_wire import Reply, Wire

PAGE = 200
"""Objects of a reply."""

LISTS = 4
"""How often a list is begun whose pages expire."""

LAST = 1.0
"""Seconds that whoever ends waits for a reply: it has five altogether."""

LONGEST_NOTE = 1024
"""Bytes of what an Event says."""
CONTROLLER = "apps-cd/reconciler"

_API = {
    "pipelineruns": "apis/tekton.dev/v1",
    "taskruns": "apis/tekton.dev/v1",
    "configmaps": "api/v1",
    "leases": "apis/coordination.k8s.io/v1",
    "events": "apis/events.k8s.io/v1",
}
_VERB = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch"}
_KIND = {"PipelineRun": "tekton.dev/v1", "ConfigMap": "v1", "Lease": "coordination.k8s.io/v1"}
_MISSING = {
    "pipelineruns": "install Tekton Pipelines, and give a namespace that is there",
    "taskruns": "install Tekton Pipelines, and give a namespace that is there",
    "configmaps": "apply it as tekton/reconciler has it",
    "leases": "apply it as tekton/reconciler has it",
    "events": "give a namespace that is there",
}

_log = logging.getLogger("steps.cluster")


class Cluster:
    """A namespace, as the kubeconfig of `KUBECONFIG` or the service account of the pod lets one see it.

    What goes wrong is a StepError: `auth`, `refused`, `not-found`, or `unreachable`, which may be over later.

    Args:
        counted: is told the status of every reply, and `none` when there was none.
        monotonic: seconds that only grow, by which leases end.
    """

    def __init__(
        self,
        namespace: str,
        *,
        counted: Callable[[str], None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._namespace = namespace
        self._counted = counted or (lambda _: None)
        self._monotonic = monotonic
        self._connection: Wire | None = None
        self._date: float | None = None
        self._failed: dict[str, plan.Run] = {}
        """Failed runs that were looked into, by uid."""
        self._uids: dict[str, str] = {}
        """Those of the PipelineRuns, by name."""
        self._memories: dict[str, Mapping[str, Any]] = {}
        """ConfigMaps as they were read, by name."""
        self._leases: dict[str, tuple[str, float]] = {}
        """The version of others' leases, and since when it has been seen, by name."""

    def close(self) -> None:
        """Leave no connection open."""
        if self._connection:
            self._connection.close()

    def runs(self) -> tuple[list[plan.Run], float]:
        """All runs of pairs, and the time by the server's clock."""
        for _ in range(LISTS):
            try:
                found = [
                    (uid, run) for item in self._listed("pipelineruns", APPLICATION) for uid, run in self._run(item)
                ]
            except _ExpiredError:
                continue
            self._uids = {run.name: uid for uid, run in found}
            self._failed = {uid: run for uid, run in found if uid in self._failed}
            return [run for _, run in found], self._date or time.time()
        raise StepError(
            "unreachable", f"{self._cannot('list', 'pipelineruns')}: its pages expire too early", later=True
        )

    def create(self, document: Mapping[str, Any]) -> bool:
        """Create a PipelineRun; False when there is one of its name."""
        name = str(document["metadata"]["name"])
        reply = self._ask("POST", "pipelineruns", name, body=document, query={"fieldValidation": "Strict"})
        if reply.status == 409 and reply.reason == "AlreadyExists":
            return False
        made = self._checked("POST", "pipelineruns", name, reply)
        self._uids[name] = str(made["metadata"].get("uid", ""))
        return True

    def cancel(self, name: str, by: str) -> None:
        """Cancel a PipelineRun, unless it is over.

        Args:
            by: the commit that came after its own.
        """
        change = {
            "metadata": {"annotations": {SUPERSEDED_BY: by}},
            "spec": {"status": "CancelledRunFinally"},
        }
        reply = self._ask("PATCH", "pipelineruns", name, body=change)
        if reply.status in (400, 403, 409, 422):
            # Tekton refuses any change of a run that has ended.
            now = self._ask("GET", "pipelineruns", name)
            if now.status == 404 or (now.status == 200 and run_status.has_ended(now.body)):
                return
        if reply.status != 404:
            self._checked("PATCH", "pipelineruns", name, reply)

    def remembered(self, name: str) -> tuple[dict[Key, Memory], str]:
        """What a ConfigMap remembers, and its version."""
        document = self._get("configmaps", name)
        self._memories[name] = document
        data = document.get("data")
        memories, bad = memory.read(data if isinstance(data, dict) else {})
        if bad:
            _log.warning(
                "the ConfigMap %s has what nobody can read, which is forgotten: %s", name, ", ".join(bad)[:500]
            )
        return memories, _version(document)

    def remember(self, name: str, memories: Iterable[Memory], version: str) -> bool:
        """Write what a ConfigMap is to remember; False when it is no more of the version that `remembered` read."""
        before, data = self._memories.get(name, {}), memory.written(memories)
        if data == before.get("data"):
            return True  # what is too much to be remembered is no reason to write again
        metadata = {**before.get("metadata", {}), "name": name, "resourceVersion": version}
        document = {**before, "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        return self._replaced("configmaps", name, {**document, "data": data})

    def take_lease(self, name: str, holder: str, seconds: int) -> bool:
        """Take or renew a lease; False when it is somebody else's.

        It ends when it has stayed the same for its duration by our clock: those of two machines need not agree.
        """
        lease = self._get("leases", name)
        spec = lease.get("spec") or {}
        now, time_now, version = self._monotonic(), _now(), _version(lease)
        is_ours = spec.get("holderIdentity") == holder
        if not is_ours and spec.get("holderIdentity"):
            if self._leases.get(name, ("", 0))[0] != version:
                self._leases[name] = version, now
                return False
            duration = spec.get("leaseDurationSeconds")
            if now - self._leases[name][1] < (duration if isinstance(duration, int) else seconds):
                return False
        taken = {**spec, "holderIdentity": holder, "leaseDurationSeconds": seconds, "renewTime": time_now}
        if not is_ours:
            taken |= {"acquireTime": time_now, "leaseTransitions": (spec.get("leaseTransitions") or 0) + 1}
        return self._replaced("leases", name, {**lease, "spec": taken})

    def release_lease(self, name: str, holder: str) -> None:
        """Leave a lease to others, if it is ours."""
        lease = self._get("leases", name, LAST)
        spec = lease.get("spec") or {}
        if spec.get("holderIdentity") == holder:
            freed = {key: value for key, value in spec.items() if key != "holderIdentity"}
            spec = {**freed, "leaseDurationSeconds": 1, "renewTime": _now()}
            self._replaced("leases", name, {**lease, "spec": spec}, LAST)

    def event(
        self,
        name: str,
        reason: str,
        note: str,
        *,
        regarding: tuple[str, str],
        kind: Literal["Normal", "Warning"] = "Normal",
    ) -> None:
        """Tell something once, for `kubectl events`; that it cannot be told is a warning in the log.

        Args:
            name: of the Event: what has the same is the same.
            reason: one word in camel case.
            note: a line; what is too long is cut off.
            regarding: kind and name of the object that it is about.
        """
        about, of = regarding
        uid = self._uids.get(of) if about == "PipelineRun" else None
        document = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": self._namespace},
            "eventTime": _now(),
            "type": kind,
            "reason": reason,
            "action": reason,
            "note": note.encode()[:LONGEST_NOTE].decode(errors="ignore"),
            "regarding": {
                "apiVersion": _KIND[about],
                "kind": about,
                "namespace": self._namespace,
                "name": of,
                **({"uid": uid} if uid else {}),
            },
            "reportingController": CONTROLLER,
            "reportingInstance": platform.node()[:128] or CONTROLLER,
        }
        try:
            reply = self._ask("POST", "events", name, body=document)
            if reply.status != 409:
                self._checked("POST", "events", name, reply)
        except StepError as error:
            _log.warning("%s", error, extra={"reason": error.reason})

    def _run(self, document: Mapping[str, Any]) -> Iterator[tuple[str, plan.Run]]:
        """The uid and the run that a PipelineRun is; none when it is nobody's."""
        run = run_status.run(document)
        if run is None:
            return
        uid = str(document["metadata"].get("uid", run.name))
        if run_status.needs_task_runs(document):
            if uid not in self._failed:
                try:
                    task_runs = list(self._listed("taskruns", f"tekton.dev/pipelineRun={run.name}"))
                except StepError as error:
                    if error.later:
                        yield uid, self._not_known(run, error)
                        return
                    if error.reason != "refused":
                        raise
                    # All that is known is what the run says; no other is held up by that.
                    _log.warning("%s: why it failed is not known: %s", run.name, error, extra={"reason": error.reason})
                    yield uid, run
                    return
                except _ExpiredError as error:
                    yield uid, self._not_known(run, error)
                    return
                self._failed[uid] = run_status.run(document, task_runs) or run
            run = self._failed[uid]
        yield uid, run

    @staticmethod
    def _not_known(run: plan.Run, error: Exception) -> plan.Run:
        """A failed run of which nobody knows yet whether that was its own doing."""
        _log.warning("%s: why it failed is asked in the next pass (%s)", run.name, error)
        return dataclasses.replace(run, outcome="running", ended=None, cause=None, message="")

    def _listed(self, resource: str, selector: str) -> Iterator[Mapping[str, Any]]:
        """The objects that a selector finds, of which a page at a time is held."""
        query = {"labelSelector": selector, "limit": str(PAGE)}
        while True:
            reply = self._ask("GET", resource, query=query)
            if reply.status == 410:
                raise _ExpiredError(reply.said)
            page = self._checked("GET", resource, None, reply)
            yield from (item for item in page.get("items") or () if isinstance(item, dict))
            if not page["metadata"].get("continue"):
                return
            query["continue"] = str(page["metadata"]["continue"])

    def _get(self, resource: str, name: str, patience: float = math.inf) -> Mapping[str, Any]:
        return self._checked("GET", resource, name, self._ask("GET", resource, name, patience=patience))

    def _replaced(self, resource: str, name: str, document: Mapping[str, Any], patience: float = math.inf) -> bool:
        """Put an object in place of the version of it that was read; False when that is not the last one."""
        reply = self._ask("PUT", resource, name, body=document, patience=patience)
        if reply.status == 409:
            return False
        self._checked("PUT", resource, name, reply)
        return True

    def _ask(
        self,
        method: str,
        resource: str,
        name: str | None = None,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        patience: float = math.inf,
    ) -> "Reply":
        from steps.clients.cluster_wire import Unanswered, Wire

        self._connection = self._connection or Wire(self._counted)
        parts = (self._namespace, resource, *([name] if name and method != "POST" else []))
        namespace, *rest = (urllib.parse.quote(part, safe="") for part in parts)
        path = "/".join(("", _API[resource], "namespaces", namespace, *rest))
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        try:
            reply = self._connection.ask(method, path, query, body, kind, patience)
        except Unanswered as error:
            text = f"{self._cannot(_VERB[method], resource, name)}: the API server does not answer: {error}"
            raise StepError("unreachable", text, later=True) from error
        self._date = reply.date or self._date
        return reply

    def _checked(self, method: str, resource: str, name: str | None, reply: "Reply") -> Mapping[str, Any]:
        """The object of a reply.

        Raises:
            StepError: it is an error.
        """
        status, said = reply.status, reply.said
        verb = "list" if method == "GET" and name is None else _VERB[method]
        what = self._cannot(verb, resource, name)
        if 200 <= status < 300:
            if isinstance(reply.body.get("metadata"), dict):
                return reply.body
            raise StepError(
                "unreachable", f"{what}: the answer is not Kubernetes'; is the kubeconfig right?", later=True
            )
        if status == 401:
            raise StepError("auth", f"{what}: the API server does not take the credentials; give valid ones ({said})")
        if status == 403 and f" cannot {verb} resource" in said:
            group = _API[resource].split("/")[1] if _API[resource].startswith("apis/") else "the core API"
            text = f"{what}: the Role lacks the verb {verb} for {resource} of {group}; apply tekton/reconciler ({said})"
            raise StepError("refused", text)
        if status == 404:
            raise StepError("not-found", f"{what}: there is none; {_MISSING[resource]} ({said})")
        if status in (408, 429) or status >= 500:
            text = f"{what}: the API server answered {status}; try again later ({said})"
            raise StepError("unreachable", text, later=True, after=reply.after)
        if status == 409:
            raise StepError("conflict", f"{what}: it changes just now; try again later ({said})", later=True)
        raise StepError("refused", f"{what}: it is refused ({said})")

    def _cannot(self, verb: str, resource: str, name: str | None = None) -> str:
        return f"cannot {verb} {' '.join([resource, *([name] if name else [])])} in the namespace {self._namespace}"


class _ExpiredError(Exception):
    """A list has changed so much that its next page is no more."""


def _version(document: Mapping[str, Any]) -> str:
    return str(document["metadata"].get("resourceVersion", ""))


def _now() -> str:
    """The time as Kubernetes writes it with microseconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
