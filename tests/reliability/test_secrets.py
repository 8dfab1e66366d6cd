import base64
import gzip
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.reliability.secrets import Watch, encodings

CANARY = 'a"canary/of+some=kind?'
FORMS = encodings(CANARY)


def spelled(form: str, before: str) -> bytes:
    """The canary in a form, behind so much else that base64 puts it there."""
    return before.encode() + FORMS[form] + b"..."


@pytest.mark.parametrize("form", FORMS)
def test_a_canary_is_found_in_a_text_and_in_a_file_in_each_form(tmp_path: Path, form: str) -> None:
    (tmp_path / "file").write_bytes(spelled(form, "x: "))
    (tmp_path / "packed").write_bytes(gzip.compress(spelled(form, "")))
    (tmp_path / "object").write_bytes(zlib.compress(spelled(form, "")))
    found = Watch({"token": CANARY}).found({"a log": spelled(form, "")}, [tmp_path])
    places = ["a log", *(str(tmp_path / name) for name in ("file", "object", "packed"))]
    assert {f"token ({form}) in {place}" for place in places} <= set(found)
    assert {each.partition(" in ")[2] for each in found} == set(places)


@pytest.mark.parametrize("before", ["", "x", "xx", "xxx", "x-access-token:"])
@pytest.mark.parametrize("after", ["", "y", "yy"])
def test_base64_does_not_hide_a_canary_whatever_is_around_it(before: str, after: str) -> None:
    text = base64.b64encode(f"{before}{CANARY}{after}".encode())
    form = f"base64, {len(before) % 3} before"
    assert f"token ({form}) in it" in Watch({"token": CANARY}).found({"it": text}, [])


def test_the_name_of_a_file_is_a_place_and_a_credential_itself_is_none(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "token").write_text("canary")
    (tmp_path / "canary.txt").write_text("")
    watch = Watch({"token": "canary"}, [tmp_path / "own"])
    assert {each.partition(" in ")[2] for each in watch.found({}, [tmp_path])} == {str(tmp_path / "canary.txt")}


def watched(command: list[str], environment: dict[str, str], is_seen: Callable[[Watch], bool]) -> list[str]:
    """What is seen while a process waits for its input."""
    with (
        Watch({"token": CANARY}) as watch,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, env={"PATH": os.environ["PATH"], **environment}
        ) as child,
    ):
        deadline = time.monotonic() + 30
        while not is_seen(watch):
            assert time.monotonic() < deadline
        child.communicate()
    return sorted({each.partition(" (")[0] + each.partition(")")[2].partition(" of ")[0] for each in watch.seen})


@pytest.mark.parametrize("form", FORMS)
def test_a_canary_is_found_in_the_arguments_of_a_child(form: str) -> None:
    argument = spelled(form, "--token=").decode()
    assert watched(["cat", "--", "-", argument], {}, lambda watch: bool(watch.seen)) == ["token in the arguments"]


@pytest.mark.parametrize("form", FORMS)
def test_a_canary_is_found_in_the_environment_of_a_child(form: str) -> None:
    environment = {"TOKEN": spelled(form, "").decode()}
    assert watched(["cat"], environment, lambda watch: bool(watch.seen)) == ["token in the environment"]


def test_a_canary_is_found_in_what_a_child_starts() -> None:
    code = f"import subprocess; subprocess.run(['cat', '-', bytes.fromhex('{CANARY.encode().hex()[::-1]}'[::-1])])"
    command = [sys.executable, "-c", code]
    assert watched(command, {}, lambda watch: bool(watch.seen)) == ["token in the arguments"]


def test_nothing_is_found_where_nothing_is() -> None:
    assert watched(["cat"], {"A": "b"}, lambda watch: watch.samples > 20) == []
