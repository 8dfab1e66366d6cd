"""An OCI registry in threads of this process, its images in memory, as the distribution specification describes it.

https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md
"""

import base64
import binascii
import json
import re
import ssl
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

from tests.sandbox import image
from tests.sandbox.http_server import Call, Response, Server
from tests.sandbox.image import Image

MANIFESTS = {image.MANIFEST, image.DOCKER_MANIFEST}
MEDIA_TYPES = MANIFESTS | image.INDEXES

_NAME = r"(?P<name>[a-z0-9]+(?:(?:\.|_|__|-+|/)[a-z0-9]+)*)"
_DIGEST = r"sha256:[0-9a-f]{64}"
_BLOB = re.compile(rf"/v2/{_NAME}/blobs/(?P<digest>{_DIGEST})")
_UPLOADS = re.compile(rf"/v2/{_NAME}/blobs/uploads/?")
_UPLOAD = re.compile(rf"/v2/{_NAME}/blobs/uploads/(?P<upload>[0-9a-f]{{32}})")
_MANIFEST = re.compile(rf"/v2/{_NAME}/manifests/(?P<reference>{_DIGEST}|[A-Za-z0-9_][A-Za-z0-9._-]{{0,127}})")
_TAGS = re.compile(rf"/v2/{_NAME}/tags/list")


class Registry:
    """A registry for the time of a `with` block.

    Args:
        host: the address to listen on, and the one that stands in `address`.
        user: when given, every request needs it and the password (HTTP basic).
        context: makes it HTTPS.

    Attributes:
        address: `HOST:PORT`, what an image's name begins with.
        requests: what was asked so far, as (method, path without the query, status).
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        user: str | None = None,
        password: str = "",
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.requests: list[tuple[str, str, int]] = []
        self._account = f"{user}:{password}" if user else None
        self._repositories: defaultdict[str, _Repository] = defaultdict(_Repository)
        self._lock = threading.Lock()
        self._server = Server(host, port, self._answer, context)
        self.address = self._server.url.partition("://")[2]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()

    def manifest(self, name: str, reference: str) -> bytes:
        """The manifest under a tag or digest; KeyError when there is none."""
        repository = self._repositories[name]
        return repository.manifests[repository.tags.get(reference, reference)].content

    def digest(self, name: str, tag: str) -> str:
        """The digest a tag stands for; KeyError when there is no such tag."""
        return self._repositories[name].tags[tag]

    def blob(self, name: str, digest: str) -> bytes:
        return self._repositories[name].blobs[digest]

    def image(self, name: str, reference: str) -> Image:
        """The image under a tag or digest."""
        manifest = self.manifest(name, reference)
        return Image(manifest, self._repositories[name].blobs)

    def file_system(self, name: str, reference: str) -> dict[str, bytes]:
        """The regular files a container of the image would see, by path without a leading slash."""
        return image.files(image.tree(self.image(name, reference).layers))

    def put(self, name: str, tag: str, whole: Image) -> str:
        """Store an image and return its digest."""
        with self._lock:
            repository = self._repositories[name]
            repository.blobs.update(whole.blobs)
            repository.manifests[whole.digest] = _Manifest(image.MANIFEST, whole.manifest)
            repository.tags[tag] = whole.digest
        return whole.digest

    def put_image(self, name: str, tag: str, layer: bytes, config: Mapping[str, Any]) -> str:
        """Store an image of one layer, as `image.make` makes it, and return its digest."""
        return self.put(name, tag, image.make(layer, config))

    def _answer(self, call: Call) -> Response:
        with self._lock:
            try:
                response = self._respond(call)
            except _RefusedError as refusal:
                response = refusal.response()
            self.requests.append((call.method, call.path, int(response.status)))
        return response

    def _respond(self, call: Call) -> Response:
        self._authorize(call)
        if call.path == "/v2/":
            return Response(HTTPStatus.OK, body=b"{}")
        routes: dict[re.Pattern[str], dict[str, Callable[..., Response]]] = {
            _BLOB: {"GET": self._get_blob, "HEAD": self._get_blob, "DELETE": self._delete_blob},
            _UPLOADS: {"POST": self._start_upload},
            _UPLOAD: {
                "GET": self._show_upload,
                "PATCH": self._continue_upload,
                "PUT": self._finish_upload,
                "DELETE": self._cancel_upload,
            },
            _MANIFEST: {
                "GET": self._get_manifest,
                "HEAD": self._get_manifest,
                "PUT": self._put_manifest,
                "DELETE": self._delete_manifest,
            },
            _TAGS: {"GET": self._list_tags},
        }
        for pattern, methods in routes.items():
            if match := pattern.fullmatch(call.path):
                if call.method not in methods:
                    raise _RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, "UNSUPPORTED", "the operation is unsupported")
                return methods[call.method](call, **match.groupdict())
        raise _RefusedError(HTTPStatus.NOT_FOUND, "NAME_INVALID", f"no such resource: {call.path}")

    def _authorize(self, call: Call) -> None:
        if self._account is None:
            return
        scheme, _, text = call.headers.get("Authorization", "").partition(" ")
        try:
            given = base64.b64decode(text, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            given = ""
        if scheme.lower() != "basic" or given != self._account:
            challenge = {"WWW-Authenticate": 'Basic realm="sandbox"'}
            raise _RefusedError(HTTPStatus.UNAUTHORIZED, "UNAUTHORIZED", "authentication required", challenge)

    def _get_blob(self, call: Call, name: str, digest: str) -> Response:
        content = self._repositories[name].blobs.get(digest)
        if content is None:
            raise _RefusedError(HTTPStatus.NOT_FOUND, "BLOB_UNKNOWN", f"blob unknown to registry: {digest}")
        headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest}
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", call.headers.get("Range", "")):
            start, end = int(match[1]), min(int(match[2] or len(content)), len(content) - 1)
            if start > end:
                raise _RefusedError(
                    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "BLOB_UNKNOWN", f"no bytes from {start}"
                )
            headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
            return Response(HTTPStatus.PARTIAL_CONTENT, headers, content[start : end + 1])
        return Response(HTTPStatus.OK, headers, content)

    def _delete_blob(self, call: Call, name: str, digest: str) -> Response:
        self._get_blob(call, name, digest)
        del self._repositories[name].blobs[digest]
        return Response(HTTPStatus.ACCEPTED)

    def _start_upload(self, call: Call, name: str) -> Response:
        mount, source = call.query.get("mount", ""), call.query.get("from", "")
        if source in self._repositories and mount in self._repositories[source].blobs:
            return self._store_blob(name, mount, self._repositories[source].blobs[mount])
        if digest := call.query.get("digest"):
            return self._store_blob(name, digest, call.body.read())
        upload = uuid.uuid4().hex
        self._repositories[name].uploads[upload] = b""
        return self._upload_status(HTTPStatus.ACCEPTED, name, upload)

    def _show_upload(self, call: Call, name: str, upload: str) -> Response:  # noqa: ARG002 - the form of every route
        self._received(name, upload)
        return self._upload_status(HTTPStatus.NO_CONTENT, name, upload)

    def _continue_upload(self, call: Call, name: str, upload: str) -> Response:
        self._append(call, name, upload)
        return self._upload_status(HTTPStatus.ACCEPTED, name, upload)

    def _finish_upload(self, call: Call, name: str, upload: str) -> Response:
        self._append(call, name, upload)
        return self._store_blob(name, call.query.get("digest", ""), self._repositories[name].uploads.pop(upload))

    def _cancel_upload(self, call: Call, name: str, upload: str) -> Response:  # noqa: ARG002 - the form of every route
        self._received(name, upload)
        del self._repositories[name].uploads[upload]
        return Response(HTTPStatus.NO_CONTENT)

    def _received(self, name: str, upload: str) -> bytes:
        if upload not in self._repositories[name].uploads:
            raise _RefusedError(HTTPStatus.NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        return self._repositories[name].uploads[upload]

    def _append(self, call: Call, name: str, upload: str) -> None:
        received, piece = self._received(name, upload), call.body.read()
        span = call.headers.get("Content-Range")
        if span and span != f"{len(received)}-{len(received) + len(piece) - 1}":
            raise _RefusedError(
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", "the piece does not fit the others"
            )
        self._repositories[name].uploads[upload] = received + piece

    def _upload_status(self, status: HTTPStatus, name: str, upload: str) -> Response:
        size = len(self._repositories[name].uploads[upload])
        location = f"/v2/{name}/blobs/uploads/{upload}"
        return Response(status, {"Location": location, "Range": f"0-{max(size - 1, 0)}", "Docker-Upload-UUID": upload})

    def _store_blob(self, name: str, digest: str, content: bytes) -> Response:
        if digest != image.digest(content):
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "DIGEST_INVALID", f"the content's digest is not {digest!r}")
        self._repositories[name].blobs[digest] = content
        location = {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest}
        return Response(HTTPStatus.CREATED, location)

    def _get_manifest(self, call: Call, name: str, reference: str) -> Response:
        repository = self._repositories[name]
        digest = repository.tags.get(reference, reference)
        manifest = repository.manifests.get(digest)
        accepted = {kind.partition(";")[0].strip() for kind in call.headers.get("Accept", "*/*").split(",")}
        if manifest is None or not accepted & {manifest.media_type, "*/*"}:
            raise _RefusedError(HTTPStatus.NOT_FOUND, "MANIFEST_UNKNOWN", f"manifest unknown: {name}:{reference}")
        headers = {"Content-Type": manifest.media_type, "Docker-Content-Digest": digest}
        return Response(HTTPStatus.OK, headers, manifest.content)

    def _put_manifest(self, call: Call, name: str, reference: str) -> Response:
        repository, content = self._repositories[name], call.body.read()
        manifest = _Manifest(call.headers.get("Content-Type", ""), content)
        digest = image.digest(content)
        if reference.startswith("sha256:") and reference != digest:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "DIGEST_INVALID", f"the manifest's digest is {digest}")
        try:
            missing = [child for child in manifest.children() if child not in repository]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "MANIFEST_INVALID", f"manifest invalid: {error!r}") from error
        if missing:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN", f"unknown: {', '.join(missing)}")
        repository.manifests[digest] = manifest
        if reference != digest:
            repository.tags[reference] = digest
        location = {"Location": f"/v2/{name}/manifests/{digest}", "Docker-Content-Digest": digest}
        return Response(HTTPStatus.CREATED, location)

    def _delete_manifest(self, call: Call, name: str, reference: str) -> Response:
        self._get_manifest(call, name, reference)
        repository = self._repositories[name]
        if reference in repository.tags:
            del repository.tags[reference]
        else:
            del repository.manifests[reference]
            repository.tags = {tag: digest for tag, digest in repository.tags.items() if digest != reference}
        return Response(HTTPStatus.ACCEPTED)

    def _list_tags(self, call: Call, name: str) -> Response:
        if not self._repositories[name].manifests:
            raise _RefusedError(HTTPStatus.NOT_FOUND, "NAME_UNKNOWN", f"repository name not known to registry: {name}")
        tags = [tag for tag in sorted(self._repositories[name].tags) if tag > call.query.get("last", "")]
        page = tags[: int(call.query.get("n", len(tags)))]
        more = {"Link": f'</v2/{name}/tags/list?n={len(page)}&last={page[-1]}>; rel="next"'} if page != tags else {}
        body = json.dumps({"name": name, "tags": page}).encode()
        return Response(HTTPStatus.OK, {"Content-Type": "application/json", **more}, body)


@dataclass
class _Manifest:
    media_type: str
    content: bytes

    def children(self) -> list[str]:
        """The digests of what must be there before; raises ValueError and the like for what is no manifest."""
        if self.media_type not in MEDIA_TYPES:
            raise ValueError(f"media type {self.media_type!r}")
        body = json.loads(self.content)
        if body.get("mediaType", self.media_type) != self.media_type:
            raise ValueError(f"sent as {self.media_type}, written as {body['mediaType']}")
        descriptors = [body["config"], *body["layers"]] if self.media_type in MANIFESTS else body["manifests"]
        return [descriptor["digest"] for descriptor in descriptors]


@dataclass
class _Repository:
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, _Manifest] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)

    def __contains__(self, digest: str) -> bool:
        return digest in self.blobs or digest in self.manifests


class _RefusedError(Exception):
    """What a request is answered with when it is not carried out."""

    def __init__(self, status: HTTPStatus, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self._status, self._code, self._message, self._headers = status, code, message, headers or {}

    def response(self) -> Response:
        body = json.dumps({"errors": [{"code": self._code, "message": self._message}]}).encode()
        return Response(self._status, {"Content-Type": "application/json", **self._headers}, body)
