"""A Cloud Storage server as a pod of a namespace: fake-gcs-server."""

import json
import tempfile

from tests.cluster.cluster import Cluster
from tests.sandbox.tekton import Object

IMAGE = "docker.io/fsouza/fake-gcs-server:1.52.2"
_PORT = 4443
_NAME = "storage"


class Storage:
    """The server, which ends with its namespace.

    Attributes:
        url: what pods have in STORAGE_EMULATOR_HOST.
    """

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster, self._namespace = cluster, namespace
        at = f"--namespace={namespace}"
        spec = {"selector": {"app": _NAME}, "ports": [{"port": _PORT}]}
        cluster.kubectl("create", at, "--filename=-", given=_object("Service", spec))
        address = cluster.get("service", _NAME, at)["spec"]["clusterIP"]
        self.url = f"http://{address}:{_PORT}"
        cluster.kubectl("create", at, "--filename=-", given=_object("Pod", _pod(self.url)))
        cluster.kubectl("wait", at, "--for=condition=Ready", f"pod/{_NAME}", "--timeout=120s")

    def create_bucket(self, name: str) -> None:
        """Make a bucket, by way of the API server, so that this machine need not reach the cluster's network."""
        path = f"/api/v1/namespaces/{self._namespace}/services/{_NAME}:{_PORT}/proxy/storage/v1/b"
        with tempfile.NamedTemporaryFile("w", suffix=".json") as body:
            json.dump({"name": name}, body)
            body.flush()
            self._cluster.kubectl("create", f"--raw={path}", f"--filename={body.name}")


def _object(kind: str, spec: Object) -> Object:
    metadata = {"name": _NAME, "labels": {"app": _NAME}}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec}


def _pod(url: str) -> Object:
    place = url.removeprefix("http://")
    flags = ["-scheme=http", f"-port={_PORT}", "-backend=memory", f"-external-url={url}", f"-public-host={place}"]
    container = {
        "name": _NAME,
        "image": IMAGE,
        "args": flags,
        "readinessProbe": {"tcpSocket": {"port": _PORT}, "periodSeconds": 1},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return {"containers": [container], "automountServiceAccountToken": False}
