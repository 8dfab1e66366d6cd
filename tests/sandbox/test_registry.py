import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.sandbox import busybox, image
from tests.sandbox.registry import Registry
from tests.sandbox.tls import Authority

HELLO = b"hello, blob"
DIGEST = image.digest(HELLO)
NOBODY = image.digest(b"what nobody sent")
LAST = len(HELLO) - 1


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        yield registry


class Web(requests.Session):
    """Asks one registry."""

    def __init__(self, registry: Registry, scheme: str = "http") -> None:
        super().__init__()
        self._base = f"{scheme}://{registry.address}"

    def request(self, method: Any, url: Any, *rest: Any, **options: Any) -> requests.Response:
        return super().request(method, self._base + url, *rest, **{"timeout": 10, **options})


@pytest.fixture
def web(registry: Registry) -> Iterator[Web]:
    with Web(registry) as web:
        yield web


def layer(entries: Mapping[str, bytes | str | None]) -> bytes:
    """A tar: bytes are files, None directories, and text hard links to what it names."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in entries.items():
            header = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                header.size = len(content)
            elif content is None:
                header.type = tarfile.DIRTYPE
            else:
                header.type, header.linkname = tarfile.LNKTYPE, content
            archive.addfile(header, io.BytesIO(content if isinstance(content, bytes) else b""))
    return file.getvalue()


def upload(web: Web, content: bytes, name: str = "app") -> None:
    location = web.post(f"/v2/{name}/blobs/uploads/").headers["Location"]
    assert web.put(location, params={"digest": image.digest(content)}, data=content).status_code == 201


def code(response: requests.Response) -> tuple[int, str]:
    return response.status_code, response.json()["errors"][0]["code"]


def test_it_says_that_it_is_a_registry(web: Web) -> None:
    assert web.get("/v2/").status_code == 200


def test_a_blob_is_sent_in_one_request(registry: Registry, web: Web) -> None:
    response = web.post("/v2/team/app/blobs/uploads/", params={"digest": DIGEST}, data=HELLO)
    assert (response.status_code, response.headers["Location"]) == (201, f"/v2/team/app/blobs/{DIGEST}")
    assert registry.blob("team/app", DIGEST) == HELLO


def test_a_blob_is_sent_in_two_requests(registry: Registry, web: Web) -> None:
    upload(web, HELLO)
    assert registry.blob("app", DIGEST) == HELLO


def test_a_blob_is_sent_in_pieces(registry: Registry, web: Web) -> None:
    location = web.post("/v2/app/blobs/uploads/").headers["Location"]
    first = web.patch(location, data=HELLO[:4], headers={"Content-Range": "0-3"})
    status = web.get(location)
    web.patch(location, data=HELLO[4:9], headers={"Content-Range": "4-8"})
    last = web.put(location, params={"digest": DIGEST}, data=HELLO[9:])
    assert [(each.status_code, each.headers.get("Range")) for each in (first, status, last)] == [
        (202, "0-3"),
        (204, "0-3"),
        (201, None),
    ]
    assert registry.blob("app", DIGEST) == HELLO


def test_a_blob_is_streamed(registry: Registry, web: Web) -> None:
    location = web.post("/v2/app/blobs/uploads/").headers["Location"]
    web.patch(location, data=iter([HELLO[:4], HELLO[4:]]))
    web.put(location, params={"digest": DIGEST})
    assert registry.blob("app", DIGEST) == HELLO


def test_a_blob_is_mounted_from_another_repository(registry: Registry, web: Web) -> None:
    upload(web, HELLO, "other")
    response = web.post("/v2/app/blobs/uploads/", params={"mount": DIGEST, "from": "other"})
    assert (response.status_code, registry.blob("app", DIGEST)) == (201, HELLO)


def test_a_blob_that_cannot_be_mounted_is_waited_for(web: Web) -> None:
    response = web.post("/v2/app/blobs/uploads/", params={"mount": DIGEST, "from": "other"})
    assert (response.status_code, web.get(response.headers["Location"]).status_code) == (202, 204)


def test_a_piece_out_of_order_is_refused(web: Web) -> None:
    location = web.post("/v2/app/blobs/uploads/").headers["Location"]
    response = web.patch(location, data=HELLO, headers={"Content-Range": "5-15"})
    assert code(response) == (416, "BLOB_UPLOAD_INVALID")


def test_a_blob_that_is_not_what_its_digest_says_is_refused(web: Web) -> None:
    refused = web.post("/v2/app/blobs/uploads/", params={"digest": NOBODY}, data=HELLO)
    assert (code(refused), web.head(f"/v2/app/blobs/{NOBODY}").status_code) == ((400, "DIGEST_INVALID"), 404)


def test_an_upload_that_was_given_up_is_forgotten(web: Web) -> None:
    location = web.post("/v2/app/blobs/uploads/").headers["Location"]
    assert web.delete(location).status_code == 204
    assert code(web.put(location, data=HELLO)) == (404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        pytest.param("bytes=0-4", (206, f"bytes 0-4/{LAST + 1}", b"hello"), id="the first bytes"),
        pytest.param("bytes=7-", (206, f"bytes 7-{LAST}/{LAST + 1}", b"blob"), id="all from a byte on"),
        pytest.param("bytes=7-99", (206, f"bytes 7-{LAST}/{LAST + 1}", b"blob"), id="no more than there are"),
    ],
)
def test_a_part_of_a_blob_is_given(web: Web, wanted: str, got: tuple[int, str, bytes]) -> None:
    upload(web, HELLO)
    response = web.get(f"/v2/app/blobs/{DIGEST}", headers={"Range": wanted})
    assert (response.status_code, response.headers["Content-Range"], response.content) == got


def test_a_part_beyond_a_blob_is_refused(web: Web) -> None:
    upload(web, HELLO)
    assert web.get(f"/v2/app/blobs/{DIGEST}", headers={"Range": "bytes=99-"}).status_code == 416


def test_the_head_of_a_blob_tells_its_size(web: Web) -> None:
    upload(web, HELLO)
    response = web.head(f"/v2/app/blobs/{DIGEST}")
    assert (response.status_code, response.headers["Content-Length"], response.content) == (200, str(LAST + 1), b"")


def push(web: Web, tag: str, media_type: str = image.MANIFEST) -> bytes:
    """Push a manifest that has one blob as its configuration and no layer."""
    upload(web, HELLO)
    manifest = json.dumps({"mediaType": media_type, "config": {"digest": DIGEST}, "layers": []}).encode()
    response = web.put(f"/v2/app/manifests/{tag}", data=manifest, headers={"Content-Type": media_type})
    assert response.status_code == 201
    return manifest


@pytest.mark.parametrize("media_type", [image.MANIFEST, image.DOCKER_MANIFEST])
def test_a_manifest_is_found_by_tag_and_by_digest(registry: Registry, web: Web, media_type: str) -> None:
    manifest = push(web, "1", media_type)
    digest = image.digest(manifest)
    for reference in ("1", digest):
        for response, body in (
            (web.get(f"/v2/app/manifests/{reference}"), manifest),
            (web.head(f"/v2/app/manifests/{reference}"), b""),
        ):
            headers = [response.headers[name] for name in ("Content-Type", "Docker-Content-Digest", "Content-Length")]
            assert (headers, response.content) == ([media_type, digest, str(len(manifest))], body)
    assert (registry.manifest("app", "1"), registry.digest("app", "1")) == (manifest, digest)


def test_a_manifest_is_only_given_to_who_takes_its_type(web: Web) -> None:
    push(web, "1")
    answers = [
        web.head("/v2/app/manifests/1", headers={"Accept": accept}).status_code
        for accept in (image.DOCKER_MANIFEST, f"{image.DOCKER_MANIFEST}, {image.MANIFEST};q=0.5", "*/*")
    ]
    assert answers == [404, 200, 200]


def test_a_tag_moves_and_the_digest_stays(registry: Registry, web: Web) -> None:
    first = push(web, "1")
    second = push(web, "1", image.DOCKER_MANIFEST)
    assert (registry.manifest("app", "1"), registry.manifest("app", image.digest(first))) == (second, first)


MANIFEST = {"config": {"digest": DIGEST}, "layers": []}


@pytest.mark.parametrize(
    ("body", "media_type", "refusal"),
    [
        pytest.param(
            {**MANIFEST, "layers": [{"digest": NOBODY}]},
            image.MANIFEST,
            "MANIFEST_BLOB_UNKNOWN",
            id="a layer that is missing",
        ),
        pytest.param(
            {"manifests": [{"digest": NOBODY}]},
            min(image.INDEXES),
            "MANIFEST_BLOB_UNKNOWN",
            id="an image of an index that is missing",
        ),
        pytest.param(MANIFEST, "application/json", "MANIFEST_INVALID", id="a type that is no manifest's"),
        pytest.param(
            {**MANIFEST, "mediaType": image.DOCKER_MANIFEST},
            image.MANIFEST,
            "MANIFEST_INVALID",
            id="a type that is not the one written in it",
        ),
        pytest.param({}, image.MANIFEST, "MANIFEST_INVALID", id="no content"),
        pytest.param([], image.MANIFEST, "MANIFEST_INVALID", id="a list"),
    ],
)
def test_a_manifest_is_refused_for(web: Web, body: Any, media_type: str, refusal: str) -> None:
    upload(web, HELLO)
    response = web.put("/v2/app/manifests/1", data=json.dumps(body), headers={"Content-Type": media_type})
    assert (code(response), web.get("/v2/app/manifests/1").status_code) == ((400, refusal), 404)


def test_a_manifest_under_another_digest_is_refused(web: Web) -> None:
    manifest = push(web, "1")
    kind = {"Content-Type": image.MANIFEST}
    assert code(web.put(f"/v2/app/manifests/{NOBODY}", data=manifest, headers=kind)) == (400, "DIGEST_INVALID")


def test_a_tag_is_deleted_without_the_manifest_and_a_manifest_with_its_tags(web: Web) -> None:
    digest = image.digest(push(web, "1"))
    push(web, "2")
    assert web.delete("/v2/app/manifests/1").status_code == 202
    one, two = web.get("/v2/app/manifests/1"), web.get(f"/v2/app/manifests/{digest}")
    assert (code(one), two.status_code) == ((404, "MANIFEST_UNKNOWN"), 200)
    assert web.delete(f"/v2/app/manifests/{digest}").status_code == 202
    assert code(web.get("/v2/app/manifests/2")) == (404, "MANIFEST_UNKNOWN")


def test_tags_are_listed_page_by_page(web: Web) -> None:
    for tag in ("b", "c", "a"):
        push(web, tag)
    first = web.get("/v2/app/tags/list", params={"n": "2"})
    second = web.get(first.links["next"]["url"])
    assert (first.json(), second.json()["tags"]) == ({"name": "app", "tags": ["a", "b"]}, ["c"])


def test_a_repository_nobody_pushed_to_has_no_tags(web: Web) -> None:
    assert code(web.get("/v2/app/tags/list")) == (404, "NAME_UNKNOWN")


def test_a_name_in_capitals_is_no_name(web: Web) -> None:
    assert code(web.post("/v2/App/blobs/uploads/")) == (404, "NAME_INVALID")


def test_a_method_that_means_nothing_is_refused(web: Web) -> None:
    assert code(web.put("/v2/app/tags/list")) == (405, "UNSUPPORTED")


def test_a_registry_with_an_account_answers_nobody_else() -> None:
    with Registry(user="bot", password="secret") as registry, Web(registry) as web:
        answers = [
            web.get("/v2/", auth=account) for account in (None, ("bot", "wrong"), ("eve", "secret"), ("bot", "secret"))
        ]
        garbled = web.get("/v2/", headers={"Authorization": "Basic !"})
    assert [answer.status_code for answer in (*answers, garbled)] == [401, 401, 401, 200, 401]
    assert (code(answers[0]), answers[0].headers["WWW-Authenticate"]) == (
        (401, "UNAUTHORIZED"),
        'Basic realm="sandbox"',
    )


def test_a_registry_with_a_certificate_is_reached_by_who_trusts_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with Registry(context=authority.server_context(["127.0.0.1"])) as registry, Web(registry, "https") as web:
        with pytest.raises(requests.exceptions.SSLError):
            web.get("/v2/")
        assert web.get("/v2/", verify=str(authority.file)).status_code == 200


def test_the_requests_are_recorded(registry: Registry, web: Web) -> None:
    web.post("/v2/app/blobs/uploads/", params={"digest": DIGEST}, data=HELLO)
    web.head("/v2/app/manifests/1")
    assert registry.requests == [("POST", "/v2/app/blobs/uploads/", 201), ("HEAD", "/v2/app/manifests/1", 404)]


def test_an_image_that_was_put_is_pulled(registry: Registry, web: Web) -> None:
    digest = registry.put_image("base", "1", layer({"a": b"A"}), {"Cmd": ["a"]})
    manifest = web.get(f"/v2/base/manifests/{digest}").json()
    configuration = web.get(f"/v2/base/blobs/{manifest['config']['digest']}").json()
    assert (configuration["config"], registry.file_system("base", "1")) == ({"Cmd": ["a"]}, {"a": b"A"})


def test_the_same_image_has_the_same_digest(registry: Registry) -> None:
    one, two = (registry.put_image(name, "1", layer({"a": b"A"}), {}) for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize(
    ("upper", "files"),
    [
        pytest.param({"d/b": b"new"}, {"a": b"A", "d/b": b"new", "d/e/c": b"C"}, id="a file hides the one below it"),
        pytest.param({"d/.wh.b": b""}, {"a": b"A", "d/e/c": b"C"}, id="a whiteout removes a file"),
        pytest.param({".wh.d": b""}, {"a": b"A"}, id="a whiteout removes a directory"),
        pytest.param(
            {"d/new": b"N", "d/.wh..wh..opq": b""},
            {"a": b"A", "d/new": b"N"},
            id="an opaque directory hides what is below, not what comes with it",
        ),
        pytest.param({"d": b"file"}, {"a": b"A", "d": b"file"}, id="a file replaces a directory"),
        pytest.param({"./d": None}, {"a": b"A", "d/b": b"B", "d/e/c": b"C"}, id="a directory that is there stays"),
        pytest.param(
            {"link": "d/b"},
            {"a": b"A", "d/b": b"B", "d/e/c": b"C", "link": b"B"},
            id="a hard link is the file it names",
        ),
    ],
)
def test_layers_lie_upon_each_other(
    registry: Registry, web: Web, upper: dict[str, Any], files: dict[str, bytes]
) -> None:
    below = image.make(layer({"a": b"A", "d": None, "d/b": b"B", "d/e/c": b"C"}), {})
    whole = image.make(layer(upper), {}, below)
    for blob in whole.blobs.values():
        upload(web, blob)
    web.put("/v2/app/manifests/1", data=whole.manifest, headers={"Content-Type": image.MANIFEST})
    assert registry.file_system("app", whole.digest) == files


def test_busybox_is_packed_with_its_applets(registry: Registry) -> None:
    try:
        busybox.put(registry)
    except busybox.MissingError as error:
        pytest.skip(str(error))
    whole = registry.image("library/busybox", "1")
    entries = image.tree(whole.layers)
    assert (entries["bin/sh"][0].linkname, entries["tmp"][0].mode) == ("busybox", 0o1777)
    assert whole.configuration["config"] == {"Cmd": ["sh"], "Env": ["PATH=/bin"]}
    assert sorted(image.files(entries)) == ["bin/busybox", "etc/group", "etc/passwd"]
