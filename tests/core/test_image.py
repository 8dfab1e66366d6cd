import json
import re
from pathlib import Path
from typing import Any

import pytest

from steps.core.image import Image

# What Parse of github.com/distribution/reference v0.6.0 makes of each text.
VERDICTS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "image_references.json").read_text("utf-8"))
DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize("verdict", VERDICTS, ids=lambda verdict: repr(verdict["text"][:40]))
def test_a_reference_is_read_as_the_registries_read_it(verdict: dict[str, Any]) -> None:
    try:
        image = Image.parse(verdict["text"])
    except ValueError:
        read: dict[str, Any] = {"text": verdict["text"], "valid": False}
    else:
        read = {
            "text": verdict["text"],
            "valid": True,
            "name": image.name,
            "tag": image.tag,
            "digest": image.digest,
        }
    assert read == verdict


@pytest.mark.parametrize("verdict", [each for each in VERDICTS if each["valid"]], ids=lambda each: each["text"][:40])
def test_a_reference_is_written_as_it_was_read(verdict: dict[str, Any]) -> None:
    assert str(Image.parse(verdict["text"])) == verdict["text"]


@pytest.mark.parametrize(
    ("text", "short_name"),
    [
        pytest.param("app", "app", id="the name alone"),
        pytest.param("registry.example.com:5000/team/app:v1", "app", id="behind a registry and a team"),
        pytest.param("[::1]:5000/app", "app", id="behind an IPv6 host"),
    ],
)
def test_the_short_name_is_the_last_part_of_the_path(text: str, short_name: str) -> None:
    assert Image.parse(text).short_name == short_name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "Team/App",
            "'Team/App' is not an image name, such as registry.example.com:5000/team/app"
            "; the repository is written in lower case",
            id="capitals in the repository",
        ),
        pytest.param(
            "re_g:5000/app",
            "'re_g:5000/app' is not an image name, such as registry.example.com:5000/team/app",
            id="a host that is none",
        ),
        pytest.param(
            "a" * 256,
            f"an image name has at most 255 characters, this one has 256: '{'a' * 80}'…",
            id="a name of 256 characters",
        ),
        pytest.param(
            "app:-v1",
            "'-v1' is not an image tag: at most 128 of letters, digits, `_`, `.` and `-`",
            id="a tag that begins with a dash",
        ),
        pytest.param(
            "app@sha256:abc",
            "'sha256:abc' is not an image digest: `sha256:` and 64 hex digits in lower case",
            id="a short digest",
        ),
    ],
)
def test_what_is_no_reference_says_which_part(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Image.parse(text)


def test_a_name_may_have_255_characters() -> None:
    assert Image.parse("a" * 255 + ":v1@" + DIGEST) == Image("a" * 255, "v1", DIGEST)
