import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.core import memory
from steps.core.plan import Attempt, Memory

COMMIT = "a" * 40
FIRST = "web-v1-aaaaaaaa-0123456789"
WHOLE = Memory(
    "web",
    "v1.0",
    COMMIT,
    FIRST,
    (Attempt(1, 100, 1, 160.5, "build"), Attempt(2, 1000, 2)),
    frozenset({"stalled", "created"}),
)
TEXT = (
    '{"application":"web","attempts":[{"cause":"build","ended":160.5,"noted":100,"number":1,"tries":1},'
    '{"noted":1000,"number":2,"tries":2}],"commit":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",'
    '"first":"web-v1-aaaaaaaa-0123456789","told":["created","stalled"],"version":"v1.0"}'
)


def of(application: str, version: str, noted: float = 0, first: str = FIRST) -> Memory:
    return Memory(application, version, COMMIT, first, (Attempt(1, noted),))


def test_a_memory_is_one_compact_entry_of_json() -> None:
    assert memory.written([WHOLE]) == {"web.v1.0": TEXT}
    assert memory.read({"web.v1.0": TEXT}) == ({WHOLE.key: WHOLE}, [])


names = st.text("ab.-_", min_size=1, max_size=4)
memories = st.builds(of, names, st.lists(names, min_size=1, max_size=3).map("/".join), st.integers(0, 10**10))


@given(st.lists(memories, max_size=8, unique_by=lambda one: one.key), st.randoms())
def test_what_is_written_is_read_and_every_pair_has_its_key(given: list[Memory], random: Any) -> None:
    data = memory.written(given)
    assert list(data) == sorted(data)
    assert all(re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", key) and not key.startswith("..") for key in data)
    random.shuffle(given)
    assert memory.written(given) == data
    assert memory.read(data) == ({one.key: one for one in given}, [])


@pytest.mark.parametrize(
    ("pair", "key"),
    [
        (("web", "v1.0"), "web.v1.0"),
        (("a.b", "c"), r"a-b-c\.\.[0-9a-f]{16}"),
        (("a", "b/c"), r"a-b-c\.\.[0-9a-f]{16}"),
        (("a", ".c"), r"a--c\.\.[0-9a-f]{16}"),
        (("a", "v" * 300), r"a-v{198}\.\.[0-9a-f]{16}"),
    ],
)
def test_a_key_is_one_that_a_config_map_can_have(pair: tuple[str, str], key: str) -> None:
    assert re.fullmatch(key, memory.key_of(of(*pair)))


def test_the_oldest_is_forgotten_when_it_is_too_much() -> None:
    first = "r" * 60_000
    given = [of(f"app{number:02}", "v1", noted=100 - number, first=first) for number in range(20)]
    data = memory.written(given)
    assert list(data) == [f"app{number:02}.v1" for number in range(14)]
    assert sum(len(key.encode()) + len(value.encode()) for key, value in data.items()) <= memory.LARGEST


@pytest.mark.parametrize(
    "change",
    [
        {"application": "other"},
        {"application": ""},
        {"application": 1},
        {"commit": "main"},
        {"first": "a\nb"},
        {"told": ["sold"]},
        {"told": [["stalled"]]},
        {"told": "stalled"},
        {"attempts": None},
        {"attempts": ["noted"]},
        {"attempts": [{"number": 0, "tries": 1, "noted": 1}]},
        {"attempts": [{"number": 1, "tries": "1", "noted": 1}]},
        {"attempts": [{"number": 1, "tries": True, "noted": 1}]},
        {"attempts": [{"number": 1, "tries": 1, "noted": True}]},
        {"attempts": [{"number": 1, "tries": 1, "noted": 1e999}]},
        {"attempts": [{"number": 1, "tries": 1, "noted": 10**400}]},
        {"attempts": [{"number": 1, "tries": 1, "noted": 10**12}]},
        {"attempts": [{"number": 1, "tries": 1, "noted": -1}]},
        {"attempts": [{"number": 1, "tries": 1, "noted": 1, "cause": "weather"}]},
        {"attempts": [{"number": 1, "tries": 1, "noted": 1, "ended": None}]},
    ],
    ids=str,
)
def test_what_is_malformed_is_forgotten_and_told(change: dict[str, Any]) -> None:
    text = json.dumps({**json.loads(TEXT), **change})
    good = of("web", "v2")
    data = {"web.v1.0": text, **memory.written([good])}
    assert memory.read(data) == ({good.key: good}, ["web.v1.0"])


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", "{", '"x"', "[" * 100_000, "1" * 5000, None, {}])
def test_what_is_no_memory_at_all_is_forgotten_and_told(text: Any) -> None:
    assert memory.read({"web.v1.0": text}) == ({}, ["web.v1.0"])
