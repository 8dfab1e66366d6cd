"""The API server of Kubernetes in a thread: the objects that the reconciler deals with, as the real one keeps them.

It knows no schema but what is checked here, and runs nothing: who plays Tekton changes the objects with `change`.
"""

import copy
import email.utils
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from tests.sandbox.http_server import Call, Response, Server
from tests.sandbox.tls import Authority

LARGEST_DATA = 1 << 20
"""Bytes of a ConfigMap."""

LONGEST_NOTE = 1024

_GROUPS = {
    "apis/tekton.dev/v1": {"pipelineruns": "PipelineRun", "taskruns": "TaskRun"},
    "api/v1": {"configmaps": "ConfigMap"},
    "apis/coordination.k8s.io/v1": {"leases": "Lease"},
    "apis/events.k8s.io/v1": {"events": "Event"},
}
_PATH = re.compile(r"/(apis?/(?:[^/]+/)?v1)/namespaces/([^/]+)/([^/]+)(?:/([^/]+))?")
_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch"}
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_SELECTOR = re.compile(r"([A-Za-z0-9./_-]+)(?:=([A-Za-z0-9._-]*))?")
_EVENT = ("eventTime", "reportingController", "reportingInstance", "action", "reason", "regarding", "type")

Object = dict[str, Any]
Key = tuple[str, str, str]


@dataclass
class Fault:
    """What goes wrong with the next requests that it is for.

    Attributes:
        kind: `500` before anything is done, `lost` is a 500 after it was, `cut` cuts the connection after it was,
            `expired` is a 410 of a further page of a list, `stall` answers nothing until `close` or the client leaves.
        verb: get, list, create, update or patch; None is any.
        resource: its plural; None is any.
    """

    kind: Literal["500", "lost", "cut", "expired", "stall"]
    verb: str | None = None
    resource: str | None = None
    times: int = 1


class _Refused(Exception):
    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason


class Kubernetes:
    """An API server for the time of a `with` block.

    Args:
        folder: gets `kubeconfig` and `token`, which it reads at each request.
        clock: seconds since 1970, for `Date` and for when objects are created.

    Attributes:
        kubeconfig: a file for `KUBECONFIG`.
        ca: the certificate of who signed the server's.
        requests: what was asked so far, as (verb, path without the query, status); 0 is no reply.
        faults: the first that fits a request happens.
        forbidden: pairs of verb and resource that the Role lacks.
        refusal: what the admission webhook says against every PipelineRun that is created.
    """

    def __init__(self, folder: Path, namespace: str, clock: Callable[[], float] = time.time) -> None:
        self.requests: list[tuple[str, str, int]] = []
        self.faults: list[Fault] = []
        self.forbidden: set[tuple[str, str]] = set()
        self.refusal: str | None = None
        self._namespace, self._clock = namespace, clock
        self._objects: dict[Key, Object] = {}
        self._version = 100
        self._pages: dict[str, list[Object]] = {}
        self._lock = threading.RLock()
        self._closed = threading.Event()
        authority = Authority(folder / "tls")
        self.ca = authority.file
        # kubectl sends no token over plain HTTP.
        self._server = Server("127.0.0.1", 0, self._answer, authority.server_context(["127.0.0.1"]))
        self.url = self._server.url
        self._token = folder / "token"
        self._token.write_text("first-token")
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(json.dumps(_kubeconfig(self.url, self.ca, namespace, self._token)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closed.set()
        self._server.close()

    def rotate_token(self) -> None:
        """Take another token from now on, which is in the token's file."""
        self._token.write_text(f"{self._token.read_text()}-again")

    def names(self, resource: str) -> list[str]:
        with self._lock:
            return sorted(name for kind, _, name in self._objects if kind == resource)

    def object(self, resource: str, name: str) -> Object:
        with self._lock:
            return copy.deepcopy(self._objects[resource, self._namespace, name])

    def add(self, resource: str, document: Mapping[str, Any]) -> None:
        """Create an object with its status, past the admission webhook."""
        with self._lock:
            kind = next(kinds[resource] for kinds in _GROUPS.values() if resource in kinds)
            self._stored((resource, self._namespace, document["metadata"]["name"]), {"kind": kind, **document})

    def change(self, resource: str, name: str, patch: Mapping[str, Any]) -> None:
        """Change an object and its status by a merge patch, past the admission webhook."""
        key = resource, self._namespace, name
        with self._lock:
            self._stored(key, _merged(self._objects[key], patch))

    def delete(self, resource: str, name: str) -> None:
        with self._lock:
            del self._objects[resource, self._namespace, name]

    def expire(self) -> None:
        """Let every list that has been begun end with a 410."""
        with self._lock:
            self._pages.clear()

    def _answer(self, call: Call) -> Response:
        match = _PATH.fullmatch(call.path)
        group, namespace, resource, name = match.groups() if match else ("", "", "", None)
        verb = "list" if call.method == "GET" and name is None else _VERBS.get(call.method, call.method)
        with self._lock:
            fault = self._fault(call, verb, resource)
            status, body = 500, _status(500, "InternalError", "Internal error occurred: as was asked for")
            if fault == "expired":
                status, body = 410, _expired()
            elif fault not in ("500", "stall"):
                status, body = self._tried(call, verb, group, namespace, resource, name)
            if fault == "lost":
                status, body = 500, _status(500, "InternalError", "Internal error occurred: as was asked for")
            is_silent = fault in ("cut", "stall")
            self.requests.append((verb, call.path, 0 if is_silent else status))
        if fault == "stall":
            self._closed.wait(60)
        if is_silent:
            raise ConnectionAbortedError("as was asked for")
        date = email.utils.formatdate(self._clock(), usegmt=True)
        return Response(status, {"Content-Type": "application/json", "Date": date}, json.dumps(body).encode())

    def _fault(self, call: Call, verb: str, resource: str) -> str | None:
        for fault in self.faults:
            fits = fault.verb in (None, verb) and fault.resource in (None, resource)
            if fits and (fault.kind != "expired" or "continue" in call.query):
                fault.times -= 1
                if not fault.times:
                    self.faults.remove(fault)
                return fault.kind
        return None

    def _tried(
        self, call: Call, verb: str, group: str, namespace: str, resource: str, name: str | None
    ) -> tuple[int, Object]:
        try:
            if call.headers.get("Authorization") != f"Bearer {self._token.read_text()}":
                raise _Refused(401, "Unauthorized", "Unauthorized")  # noqa: TRY301 - all refusals are answered at one place
            kind = _GROUPS.get(group, {}).get(resource)
            if kind is None:
                raise _Refused(404, "NotFound", "the server could not find the requested resource")  # noqa: TRY301
            self._check_role(verb, group, namespace, resource)
            key = resource, namespace, name or ""
            if verb == "list":
                return 200, self._page(call.query, group, kind, namespace, resource)
            document = json.loads(call.body.read() or b"{}")
            if verb == "create":
                return 201, self._created(call.query, key, document, group, kind)
            if key not in self._objects:
                raise _Refused(404, "NotFound", f'{resource} "{name}" not found')  # noqa: TRY301
            before = self._objects[key]
            if verb == "get":
                return 200, before
            if verb == "patch" and call.headers.get_content_type() != "application/merge-patch+json":
                raise _Refused(415, "UnsupportedMediaType", "the stand-in knows merge patches alone")  # noqa: TRY301
            return 200, self._updated(key, before, document if verb == "update" else _merged(before, document))
        except _Refused as refused:
            return refused.status, _status(refused.status, refused.reason, str(refused))

    def _check_role(self, verb: str, group: str, namespace: str, resource: str) -> None:
        if (verb, resource) in self.forbidden:
            of = group.split("/")[1] if group.startswith("apis/") else ""
            raise _Refused(
                403,
                "Forbidden",
                f'{resource}{"." * bool(of)}{of} is forbidden: User "reconciler" cannot {verb} resource "{resource}" '
                f'in API group "{of}" in the namespace "{namespace}"',
            )

    def _page(self, query: Mapping[str, str], group: str, kind: str, namespace: str, resource: str) -> Object:
        limit = int(query.get("limit", "0"))
        if token := query.get("continue"):
            if token not in self._pages:
                raise _Refused(410, "Expired", _expired()["message"])
            items = self._pages[token]
        else:
            wanted = [_SELECTOR.fullmatch(part) for part in query.get("labelSelector", "").split(",") if part]
            if None in wanted:
                raise _Refused(400, "BadRequest", "the stand-in does not know this selector")
            items = [
                each  # never changed, but replaced
                for (of, where, _), each in sorted(self._objects.items())
                if (of, where) == (resource, namespace)
                and all(match and _has(each, *match.groups()) for match in wanted)
            ]
        metadata = {"resourceVersion": str(self._version)}
        if limit and len(items) > limit:
            metadata["continue"] = token = f"page-{len(self.requests)}"
            self._pages[token] = items[limit:]
            items = items[:limit]
        return {"apiVersion": group.split("/", 1)[1], "kind": f"{kind}List", "metadata": metadata, "items": items}

    def _created(self, query: Mapping[str, str], key: Key, document: Object, group: str, kind: str) -> Object:
        resource, namespace, _ = key
        metadata = document.get("metadata", {})
        name = metadata.get("name", "")
        if document.get("apiVersion") != group.split("/", 1)[1] or document.get("kind") != kind:
            raise _Refused(400, "BadRequest", f"the object is no {kind} of {group}")
        if not _NAME.fullmatch(name):
            raise _Refused(422, "Invalid", f'{kind} "{name}" is invalid: metadata.name: Invalid value')
        if metadata.get("namespace", namespace) != namespace:
            raise _Refused(400, "BadRequest", "the namespace of the provided object does not match the namespace sent")
        if resource == "pipelineruns" and query.get("fieldValidation") == "Strict":
            unknown = document.keys() - {"apiVersion", "kind", "metadata", "spec", "status"}
            if unknown:
                raise _Refused(400, "BadRequest", f'strict decoding error: unknown field "{min(unknown)}"')
        if resource == "pipelineruns" and self.refusal:
            words = f'admission webhook "validation.webhook.pipeline.tekton.dev" denied the request: {self.refusal}'
            raise _Refused(400, "BadRequest", words)
        if (resource, namespace, name) in self._objects:
            raise _Refused(409, "AlreadyExists", f'{resource} "{name}" already exists')
        _check(document)
        return self._stored(
            (resource, namespace, name), {name: part for name, part in document.items() if name != "status"}
        )

    def _updated(self, key: Key, before: Object, after: Object) -> Object:
        resource, _, name = key
        metadata = after.get("metadata", {})
        if metadata.get("name") != name:
            raise _Refused(400, "BadRequest", "the name of the object does not match the name on the URL")
        if (
            metadata.get("resourceVersion", before["metadata"]["resourceVersion"])
            != before["metadata"]["resourceVersion"]
        ):
            raise _Refused(
                409,
                "Conflict",
                f'Operation cannot be fulfilled on {resource} "{name}": the object has been modified; please apply your '
                "changes to the latest version and try again",
            )
        if resource == "pipelineruns":
            after = {
                name: part for name, part in (after | {"status": before.get("status")}).items() if part is not None
            }
            conditions = before.get("status", {}).get("conditions", [])
            has_ended = any(each["type"] == "Succeeded" and each["status"] != "Unknown" for each in conditions)
            if has_ended and after["spec"] != before["spec"]:
                raise _Refused(
                    400,
                    "BadRequest",
                    'admission webhook "validation.webhook.pipeline.tekton.dev" denied the request: validation failed: '
                    "invalid value: Once the PipelineRun is complete, no updates are allowed",
                )
        _check(after)
        return self._stored(key, after)

    def _stored(self, key: Key, document: Object) -> Object:
        """Keep an object, under a new version if it is another one than before."""
        before = self._objects.get(key, {})
        server = ("uid", "creationTimestamp", "resourceVersion", "namespace")
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._clock()))
        own = {"creationTimestamp": document["metadata"].get("creationTimestamp", now), "uid": f"uid-{self._version}"}
        own |= {"namespace": key[1], **{name: before["metadata"][name] for name in server if before}}
        after = copy.deepcopy({**document, "metadata": {**document["metadata"], **own}})
        if after != before:
            self._version += 1
            after["metadata"]["resourceVersion"] = str(self._version)
            self._objects[key] = after
        return self._objects[key]


def _check(document: Object) -> None:
    """Refuse what the real one refuses of what we write."""
    problem = None
    match document["kind"]:
        case "ConfigMap":
            data = document.get("data", {})
            if not all(
                isinstance(value, str) and re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", name) for name, value in data.items()
            ):
                problem = "data: Invalid value"
            elif sum(len(name) + len(value.encode()) for name, value in data.items()) > LARGEST_DATA:
                problem = "[]: Too long: may not be more than 1048576 bytes"
        case "Lease":
            if document.get("spec", {}).get("leaseDurationSeconds", 1) < 1:
                problem = "spec.leaseDurationSeconds: Invalid value: must be greater than 0"
        case "Event":
            if missing := [name for name in _EVENT if not document.get(name)]:
                problem = f"{missing[0]}: Required value"
            elif len(document.get("note", "").encode()) > LONGEST_NOTE:
                problem = "note: Invalid value: can have at most 1024 characters"
            elif document["regarding"].get("namespace") != document["metadata"].get("namespace"):
                problem = "involvedObject.namespace: Invalid value: does not match event.namespace"
        case _:
            pass
    if problem:
        raise _Refused(422, "Invalid", f'{document["kind"]} "{document["metadata"]["name"]}" is invalid: {problem}')


def _has(document: Object, label: str, value: str | None) -> bool:
    labels = document["metadata"].get("labels", {})
    return label in labels if value is None else labels.get(label) == value


def _merged(before: Any, patch: Any) -> Any:
    """What a merge patch (RFC 7386) makes of a value."""
    if not isinstance(patch, Mapping):
        return patch
    after = dict(before) if isinstance(before, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            after.pop(key, None)
        else:
            after[key] = _merged(after.get(key), value)
    return after


def _status(code: int, reason: str, message: str) -> Object:
    return {"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code}  # fmt: skip


def _expired() -> Object:
    words = "The provided continue parameter is too old to display a consistent list result."
    return _status(410, "Expired", words)


def _kubeconfig(url: str, ca: Path, namespace: str, token: Path) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "sandbox",
        "contexts": [
            {"name": "sandbox", "context": {"cluster": "sandbox", "user": "reconciler", "namespace": namespace}}
        ],
        "clusters": [{"name": "sandbox", "cluster": {"server": url, "certificate-authority": str(ca)}}],
        "users": [{"name": "reconciler", "user": {"tokenFile": str(token)}}],
    }
