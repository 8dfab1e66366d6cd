import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.core.moments import iso, parsed, span, utc


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2000-02-29T23:59:59Z", 951868799),
        ("2026-01-02T03:04:05.500000Z", 1767323045.5),
        ("2026-01-02T03:04:05.123456789Z", 1767323045.123456),
        ("2026-01-02T04:04:05+01:00", 1767323045),
        ("9998-12-31T23:59:59Z", 253370764799),
        ("9999-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("0000-01-01T00:00:00Z", None),
        ("2026-13-01T00:00:00Z", None),
        ("2026-01-02T03:04:05", None),
        ("2026-01-02", None),
        (1767323045, None),
        (None, None),
    ],
)
def test_times_are_those_of_kubernetes(text: object, seconds: float | None) -> None:
    assert parsed(text) == seconds


@given(st.integers(min_value=0, max_value=253370764799), st.sampled_from([0, 0.25, 0.999]))
def test_a_moment_is_written_to_the_second_and_read_again(seconds: int, fraction: float) -> None:
    assert parsed(iso(seconds + fraction)) == seconds


def test_a_person_reads_a_moment_without_letters_in_it() -> None:
    assert utc(1_795_724_885.9) == "2026-11-26 20:28:05 UTC"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        pytest.param(-5, "0 s", id="what is to come by another clock has just been"),
        pytest.param(59.9, "59 s", id="seconds"),
        pytest.param(60, "1 min", id="minutes"),
        pytest.param(3_599, "59 min", id="an hour is not full"),
        pytest.param(86_399, "23 h", id="hours"),
        pytest.param(3e6, "34 d", id="days"),
    ],
)
def test_a_span_is_told_in_one_unit(seconds: float, text: str) -> None:
    assert span(seconds) == text
