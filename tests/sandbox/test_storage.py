import base64
import io
import random
import socket
import urllib.parse
from collections.abc import Callable, Iterator

import pytest
import requests
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from tests.sandbox.storage import Storage

CHUNK = 256 * 1024
LARGE = random.Random(1).randbytes(CHUNK + 1)  # noqa: S311 - bytes that no compression or text layer leaves alone


@pytest.fixture
def world() -> Iterator[Storage]:
    with Storage() as world:
        world.create_bucket("contexts")
        yield world


@pytest.fixture
def bucket(world: Storage) -> Iterator[storage.Bucket]:
    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]  # google-auth is typed in part
    client = storage.Client(project="p", credentials=credentials, client_options={"api_endpoint": world.url})
    yield client.bucket("contexts")
    client.close()


def multipart(blob: storage.Blob, content: bytes, generation: int | None) -> None:
    blob.upload_from_string(content, if_generation_match=generation, retry=None)


def resumable(blob: storage.Blob, content: bytes, generation: int | None) -> None:
    blob.chunk_size = CHUNK
    blob.upload_from_file(io.BytesIO(content), if_generation_match=generation, retry=None)


def simple(blob: storage.Blob, content: bytes, generation: int | None) -> None:
    query = {"uploadType": "media", "name": blob.name} | (
        {} if generation is None else {"ifGenerationMatch": generation}
    )
    url = f"{blob.client.api_endpoint}/upload/storage/v1/b/{blob.bucket.name}/o"
    response = requests.post(url, params=query, data=content, headers={"Content-Type": "text/plain"}, timeout=10)
    if not response.ok:
        raise exceptions.from_http_status(response.status_code, response.text)  # type: ignore[no-untyped-call]  # google-api-core is typed in part


Upload = Callable[[storage.Blob, bytes, int | None], None]
every_way = pytest.mark.parametrize("upload", [simple, multipart, resumable])


@every_way
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"a\r\n--b\n\r\r\n", id="line ends of all kinds"),
        pytest.param(LARGE, id="more than a chunk"),
    ],
)
def test_what_was_uploaded_is_downloaded(
    world: Storage, bucket: storage.Bucket, upload: Upload, content: bytes
) -> None:
    upload(bucket.blob("one"), content, None)
    assert (bucket.blob("one").download_as_bytes(), world.objects("contexts")) == (content, {"one": content})


def test_an_empty_object_has_no_bytes(world: Storage, bucket: storage.Bucket) -> None:
    multipart(bucket.blob("one"), b"", None)
    resumable(bucket.blob("two"), b"", None)
    assert world.objects("contexts") == {"one": b"", "two": b""}


@every_way
def test_an_object_is_created_where_none_was_wanted_and_none_is(
    world: Storage, bucket: storage.Bucket, upload: Upload
) -> None:
    upload(bucket.blob("one"), LARGE, 0)
    assert world.objects("contexts") == {"one": LARGE}


@every_way
def test_an_object_is_kept_where_none_was_wanted(world: Storage, bucket: storage.Bucket, upload: Upload) -> None:
    upload(bucket.blob("one"), b"first", None)
    with pytest.raises(exceptions.PreconditionFailed):
        upload(bucket.blob("one"), LARGE, 0)
    assert world.objects("contexts") == {"one": b"first"}


@every_way
def test_an_object_is_replaced_when_its_generation_is_the_one_named(
    world: Storage, bucket: storage.Bucket, upload: Upload
) -> None:
    upload(bucket.blob("one"), b"first", None)
    upload(bucket.blob("one"), LARGE, bucket.get_blob("one").generation)
    assert world.objects("contexts") == {"one": LARGE}


@every_way
def test_an_object_is_kept_when_another_generation_is_named(
    world: Storage, bucket: storage.Bucket, upload: Upload
) -> None:
    upload(bucket.blob("one"), b"first", None)
    with pytest.raises(exceptions.PreconditionFailed):
        upload(bucket.blob("one"), LARGE, bucket.get_blob("one").generation + 1)
    assert world.objects("contexts") == {"one": b"first"}


def test_of_two_uploads_that_began_before_either_ended_one_wins(world: Storage, bucket: storage.Bucket) -> None:
    slow = bucket.blob("one").create_resumable_upload_session(size=4, if_generation_match=0)
    multipart(bucket.blob("one"), b"quick", 0)
    response = requests.put(slow, data=b"slow", headers={"Content-Range": "bytes 0-3/4"}, timeout=10)
    assert (response.status_code, world.objects("contexts")) == (412, {"one": b"quick"})


def test_a_delete_honours_the_generation(world: Storage, bucket: storage.Bucket) -> None:
    multipart(bucket.blob("one"), b"first", None)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("one").delete(if_generation_match=1)
    before = world.objects("contexts")
    bucket.blob("one").delete(if_generation_match=bucket.get_blob("one").generation)
    assert (before, world.objects("contexts")) == ({"one": b"first"}, {})


def test_an_object_whose_bytes_are_not_those_promised_is_refused(world: Storage, bucket: storage.Bucket) -> None:
    blob = bucket.blob("one")
    blob.md5_hash = base64.b64encode(bytes(16)).decode()
    with pytest.raises(exceptions.BadRequest):
        multipart(blob, b"other", 0)
    assert world.objects("contexts") == {}


def test_a_bucket_that_is_missing_is_not_found(bucket: storage.Bucket) -> None:
    missing = bucket.client.bucket("missing")
    for call in (lambda: multipart(missing.blob("one"), b"x", 0), lambda: missing.blob("one").download_as_bytes()):
        with pytest.raises(exceptions.NotFound):
            call()
    assert (missing.exists(), missing.blob("one").exists(), bucket.exists()) == (False, False, True)


def test_the_requests_are_recorded(world: Storage, bucket: storage.Bucket) -> None:
    assert not bucket.blob("a/b.tar.gz").exists()
    multipart(bucket.blob("a/b.tar.gz"), b"x", 0)
    with pytest.raises(exceptions.PreconditionFailed):
        multipart(bucket.blob("a/b.tar.gz"), b"x", 0)
    # The client also looks up the bucket itself, from a thread of its own and at a time of its own.
    assert [request for request in world.requests if request[1] != "/storage/v1/b/contexts"] == [
        ("GET", "/storage/v1/b/contexts/o/a%2Fb.tar.gz", 404),
        ("POST", "/upload/storage/v1/b/contexts/o", 200),
        ("POST", "/upload/storage/v1/b/contexts/o", 412),
    ]


def test_an_upload_whose_client_dies_leaves_no_object(world: Storage) -> None:
    address = urllib.parse.urlsplit(world.url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(
            b"POST /upload/storage/v1/b/contexts/o?uploadType=media&name=one HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf"
        )
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(1)
    assert (answer, world.objects("contexts")) == (b"", {})


def test_a_precondition_it_does_not_know_is_not_passed_over(bucket: storage.Bucket) -> None:
    with pytest.raises(exceptions.MethodNotImplemented):
        bucket.blob("one").upload_from_string(b"x", if_metageneration_match=1, retry=None)
