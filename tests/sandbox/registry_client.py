"""Pulls and pushes images, for the stand-in for Kaniko's executor."""

import json
import os
import re
import urllib.parse
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import requests

from tests.sandbox import image
from tests.sandbox.image import Image

DOCKER_HUB = "index.docker.io"

_LOCAL = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|10\.\d+\.\d+\.\d+|192\.168\.\d+\.\d+)(:\d+)?")


class RegistryError(Exception):
    """A registry, or a name, that does not serve; the message is Kaniko's."""


@dataclass(frozen=True)
class Reference:
    """The name of an image, with the defaults that Docker has for its parts."""

    registry: str
    repository: str
    tag: str
    """A tag, or a digest."""

    @classmethod
    def parse(cls, text: str) -> Self:
        head, slash, rest = text.partition("/")
        registry, path = (head, rest) if slash and re.search(r"[.:]|^localhost$", head) else (DOCKER_HUB, text)
        path, _, digest = path.partition("@")
        path, _, tag = path.partition(":")
        if not path:
            raise RegistryError(f"could not parse reference: {text}")
        if not re.fullmatch(r"[a-z0-9_\-./]{2,255}", path):
            raise RegistryError(
                f"repository can only contain the characters `abcdefghijklmnopqrstuvwxyz0123456789_-./`: {path}"
            )
        path = f"library/{path}" if registry == DOCKER_HUB and "/" not in path else path
        return cls(registry, path, digest or tag or "latest")

    @property
    def name(self) -> str:
        return f"{self.registry}/{self.repository}"

    def __str__(self) -> str:
        return f"{self.name}:{self.tag}"


class Client:
    """Talks to a registry by HTTPS, or by HTTP where that is allowed or the address is a local one.

    Args:
        registry: `HOST[:PORT]`.
        plain: HTTP will do.
        verify: whether certificates must be good, or a file with those that are.
        account: user and password.
    """

    def __init__(
        self, registry: str, *, plain: bool = False, verify: bool | str = True, account: tuple[str, str] | None = None
    ) -> None:
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = verify
        self._session.auth = account
        for scheme in ("https", "http") if plain or _LOCAL.fullmatch(registry) else ("https",):
            self._base = f"{scheme}://{registry}"
            try:
                self._session.get(f"{self._base}/v2/", timeout=30)
            except requests.ConnectionError as error:
                failure: Exception = error
            else:
                return
        raise RegistryError(str(failure))

    def check_push(self, reference: Reference) -> None:
        """Raise RegistryError when this account may not push."""
        upload = self._request("POST", f"/v2/{reference.repository}/blobs/uploads/")
        self._request("DELETE", upload.headers["Location"])

    def pull(self, reference: Reference) -> Image:
        """The image of a reference; of an index, the one for this machine."""
        manifest = self._manifest(reference.repository, reference.tag)
        content = json.loads(manifest)
        if "manifests" in content:
            matching = [each["digest"] for each in content["manifests"] if _platform(each) == image.PLATFORM]
            if not matching:
                raise RegistryError(f"no child with platform {image.PLATFORM} in index {reference}")
            manifest = self._manifest(reference.repository, matching[0])
            content = json.loads(manifest)
        digests = [each["digest"] for each in (content["config"], *content["layers"])]
        blobs = {each: self._request("GET", f"/v2/{reference.repository}/blobs/{each}").content for each in digests}
        return Image(manifest, blobs)

    def digest(self, reference: Reference) -> str:
        """The digest of what a reference stands for."""
        return image.digest(self._manifest(reference.repository, reference.tag))

    def push(self, reference: Reference, built: Image) -> None:
        blobs = f"/v2/{reference.repository}/blobs"
        for digest, content in built.blobs.items():
            if not self._session.head(f"{self._base}{blobs}/{digest}", timeout=30).ok:
                location = self._request("POST", f"{blobs}/uploads/").headers["Location"]
                self._request("PUT", location, params={"digest": digest}, data=content)
        kind = {"Content-Type": image.MANIFEST}
        self._request("PUT", f"/v2/{reference.repository}/manifests/{reference.tag}", headers=kind, data=built.manifest)

    def _manifest(self, repository: str, reference: str) -> bytes:
        accept = {"Accept": ", ".join([image.MANIFEST, image.DOCKER_MANIFEST, *sorted(image.INDEXES)])}
        return self._request("GET", f"/v2/{repository}/manifests/{reference}", headers=accept).content

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        url = urllib.parse.urljoin(self._base, path)
        response = self._session.request(method, url, timeout=30, **options)
        if response.ok:
            return response
        try:
            error = response.json()["errors"][0]
            detail = f"{error['code']}: {error['message']}"
        except (ValueError, LookupError):
            detail = f"unexpected status code {response.status_code} {response.reason}"
        raise RegistryError(f"{method} {url}: {detail}")


def docker_account(registry: str) -> tuple[str, str] | None:
    """User and password that Docker's configuration holds for a registry."""
    file = Path(os.environ.get("DOCKER_CONFIG", Path.home() / ".docker"), "config.json")
    if not file.is_file():
        return None
    entry = json.loads(file.read_bytes()).get("auths", {}).get(registry, {})
    if "auth" in entry:
        user, _, password = b64decode(entry["auth"]).decode().partition(":")
        return user, password
    return (entry["username"], entry["password"]) if "username" in entry else None


def _platform(descriptor: dict[str, Any]) -> str:
    platform = descriptor.get("platform", {})
    return f"{platform.get('os')}/{platform.get('architecture')}"
