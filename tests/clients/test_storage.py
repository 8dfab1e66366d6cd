import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from steps.clients import storage
from steps.errors import StepError
from tests.sandbox.http_server import Call, Response, Server
from tests.sandbox.storage import Storage

NOISE = random.Random(1).randbytes(storage.PIECE + 5000)  # noqa: S311 - more than one request takes


NO_CREDENTIALS = (
    "cannot create gs://contexts/a.tar.gz: there are no credentials that Google takes; give --google-credentials=FILE, or "
    "run as a service account with Workload Identity: "
)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    with Storage() as world:
        world.create_bucket("contexts")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", world.url)
        yield world


def uploads(world: Storage) -> int:
    return sum(method in ("POST", "PUT") for method, _, _ in world.requests)


@pytest.mark.parametrize(
    "content", [pytest.param(b"small", id="in one request"), pytest.param(NOISE, id="in several requests")]
)
def test_an_object_is_created_once(world: Storage, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    first = storage.create("contexts", "web/a.tar.gz", tmp_path / "a", None)
    sent = uploads(world)
    second = storage.create("contexts", "web/a.tar.gz", tmp_path / "a", None)
    assert (first, second, uploads(world), world.objects("contexts")) == (True, False, sent, {"web/a.tar.gz": content})


def test_a_bucket_that_is_missing_is_an_error(world: Storage, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(StepError) as caught:
        storage.create("missing", "a.tar.gz", tmp_path / "a", None)
    assert (caught.value.reason, str(caught.value), caught.value.later, uploads(world)) == (
        "not-found",
        "cannot create gs://missing/a.tar.gz: there is no bucket missing",
        False,
        1,
    )


class Answers:
    """A server that gives one answer for each method."""

    def __init__(self) -> None:
        self.by_method: dict[str, Response] = {}
        self._server = Server("127.0.0.1", 0, self._answer)
        self.url = self._server.url
        self.close = self._server.close

    def _answer(self, call: Call) -> Response:
        return self.by_method[call.method]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    answers = Answers()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", answers.url)
    yield answers
    answers.close()


def reply(status: int, message: str) -> Response:
    body = json.dumps({"error": {"code": status, "message": message}}).encode()
    return Response(status, {"Content-Type": "application/json"}, body)


NOT_THERE = reply(404, "No such object")


def test_an_object_that_somebody_else_just_created_is_done(answers: Answers, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    answers.by_method = {"GET": NOT_THERE, "POST": reply(412, "conditionNotMet")}
    assert storage.create("contexts", "a.tar.gz", tmp_path / "a", None) is False


LACKS = (
    "cannot create gs://contexts/a.tar.gz: the credentials lack storage.objects.get or storage.objects.create on the "
    "bucket (role roles/storage.objectUser): "
)


@pytest.mark.parametrize(
    ("by_method", "reason", "message"),
    [
        pytest.param(
            {"GET": reply(403, "robot lacks it.")},
            "auth",
            LACKS + "GET URL/storage/v1/b/contexts/o/a.tar.gz?fields=name&prettyPrint=false: robot lacks it.",
            id="no permission to look",
        ),
        pytest.param(
            {"GET": NOT_THERE, "POST": reply(403, "robot lacks it.")},
            "auth",
            LACKS + "POST URL/upload/storage/v1/b/contexts/o?uploadType=multipart&ifGenerationMatch=0: "
            '{"error": {"code": 403, "message": "robot lacks it."}}: '
            "('Request failed with status code', 403, 'Expected one of', <HTTPStatus.OK: 200>)",
            id="no permission to create",
        ),
        pytest.param(
            {"GET": reply(400, "The bucket is locked.")},
            "storage",
            "cannot create gs://contexts/a.tar.gz: GET URL/storage/v1/b/contexts/o/a.tar.gz?fields=name&prettyPrint="
            "false: The bucket is locked.",
            id="something else that is wrong",
        ),
    ],
)
def test_what_storage_refuses_is_an_error(
    answers: Answers, tmp_path: Path, by_method: dict[str, Response], reason: str, message: str
) -> None:
    (tmp_path / "a").write_bytes(b"x")
    answers.by_method = by_method
    with pytest.raises(StepError) as caught:
        storage.create("contexts", "a.tar.gz", tmp_path / "a", None)
    shown = str(caught.value).replace(answers.url, "URL")
    assert (caught.value.reason, shown, caught.value.later) == (reason, message, False)


def test_no_credentials_are_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(StepError) as caught:
        storage.create("contexts", "a.tar.gz", tmp_path / "a", None)
    assert (caught.value.reason, str(caught.value)) == (
        "auth",
        NO_CREDENTIALS + "Your default credentials were not found. To set up Application Default Credentials, see "
        "https://cloud.google.com/docs/authentication/external/set-up-adc for more information.",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "File {} was not found.", id="a file that is not there"),
        pytest.param("not json", "File {} is not a valid json file.", id="a file that is not JSON"),
    ],
)
@pytest.mark.parametrize("mounted", [False, True], ids=["the file", "the directory of its Secret"])
def test_credentials_that_cannot_be_read_are_an_error(
    world: Storage, tmp_path: Path, content: str | None, message: str, *, mounted: bool
) -> None:
    key = tmp_path / "key.json"
    if content is not None:
        key.write_text(content)
    with pytest.raises(StepError) as caught:
        storage.create("contexts", "a.tar.gz", tmp_path / "a", tmp_path if mounted else key)
    assert (caught.value.reason, str(caught.value), world.requests) == (
        "auth",
        NO_CREDENTIALS + message.format(key),
        [],
    )
