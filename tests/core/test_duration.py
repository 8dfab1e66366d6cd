import pytest
from hypothesis import given
from hypothesis import strategies as st

from steps.core.duration import LONGEST, Duration


@pytest.mark.parametrize(
    ("text", "seconds", "written"),
    [
        pytest.param("600s", 600, "10m", id="seconds"),
        pytest.param("10m", 600, "10m", id="minutes"),
        pytest.param("1h30m", 5400, "1h30m", id="hours and minutes"),
        pytest.param("1h0m5s", 3605, "1h5s", id="all units"),
        pytest.param("90m", 5400, "1h30m", id="more minutes than an hour has"),
        pytest.param("001s", 1, "1s", id="the shortest, with zeros before it"),
        pytest.param("168h", LONGEST, "168h", id="the longest"),
    ],
)
def test_a_duration_is_written(text: str, seconds: int, written: str) -> None:
    assert (Duration.parse(text), str(Duration.parse(text))) == (seconds, written)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "600", "'600' is not a duration, such as 600s, 10m or 1h30m: write 600s for seconds", id="no unit"
        ),
        pytest.param("", "'' is not a duration, such as 600s, 10m or 1h30m", id="nothing"),
        pytest.param("h", "'h' is not a duration, such as 600s, 10m or 1h30m", id="no number"),
        pytest.param("30m1h", "'30m1h' is not a duration, such as 600s, 10m or 1h30m", id="units in another order"),
        pytest.param("1m1m", "'1m1m' is not a duration, such as 600s, 10m or 1h30m", id="a unit twice"),
        pytest.param("1.5h", "'1.5h' is not a duration, such as 600s, 10m or 1h30m", id="a part of a unit"),
        pytest.param("-5m", "'-5m' is not a duration, such as 600s, 10m or 1h30m", id="less than nothing"),
        pytest.param("1d", "'1d' is not a duration, such as 600s, 10m or 1h30m", id="another unit"),
        pytest.param("10m\n", r"'10m\n' is not a duration, such as 600s, 10m or 1h30m", id="a line end behind it"),
        pytest.param("٣s", "'٣s' is not a duration, such as 600s, 10m or 1h30m", id="digits of another script"),
        pytest.param("0s", "'0s' is not between 1s and 168h", id="no time at all"),
        pytest.param("168h1s", "'168h1s' is not between 1s and 168h", id="longer than a week"),
    ],
)
def test_what_is_no_duration_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the whole message is compared
        Duration.parse(text)
    assert str(refused.value) == message


@given(st.integers(1, LONGEST))
def test_what_is_written_is_read_as_the_same(seconds: int) -> None:
    assert Duration.parse(str(Duration(seconds))) == seconds
