import pytest

from steps.core.text import FilePath, Line, Text, shown, shown_lines


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param(" two  words ", id="blanks at the ends"),
        pytest.param("1.10", id="a number"),
        pytest.param("-- --help", id="dashes"),
        pytest.param("naïve café", id="accents"),
        pytest.param("👩\u200d👩\u200d👧", id="joined pictures"),
        pytest.param(
            "\u0633\u0644\u0627\u0645 \u200f\u062f\u0646\u06cc\u0627", id="a script that is written from the right"
        ),
    ],
)
def test_a_line_stays_as_it_is(text: str) -> None:
    assert Line.parse(text) == text


@pytest.mark.parametrize(
    ("text", "shown", "position"),
    [
        pytest.param("a\nb", r"'a\nb'", 2, id="a line feed"),
        pytest.param("a\rb", r"'a\rb'", 2, id="a carriage return"),
        pytest.param("\ta", r"'\ta'", 1, id="a tab"),
        pytest.param("ab\x00", r"'ab\x00'", 3, id="a NUL"),
        pytest.param("\x1b[31mred", r"'\x1b[31mred'", 1, id="a terminal's escape"),
        pytest.param("a\x7f", r"'a\x7f'", 2, id="a delete"),
        pytest.param("a\x9b", r"'a\x9b'", 2, id="an 8-bit escape"),
        pytest.param("a\x85b", r"'a\x85b'", 2, id="a next line"),
        pytest.param("a\u2028b", r"'a\u2028b'", 2, id="a line separator"),
        pytest.param("a\u2029b", r"'a\u2029b'", 2, id="a paragraph separator"),
        pytest.param("gpj.\u202eexe", r"'gpj.\u202eexe'", 5, id="a switch of the writing direction"),
        pytest.param("\u2066a\u2069", r"'\u2066a\u2069'", 1, id="an isolated writing direction"),
    ],
)
def test_a_line_has_no_control_character(text: str, shown: str, position: int) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        Line.parse(text)
    assert str(error.value) == f"{shown} has a control character at position {position}; write it on one line, without"


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        pytest.param("", "", id="nothing"),
        pytest.param("title\n\n\tbody\n", "title\n\n\tbody\n", id="lines and tabs stay"),
        pytest.param("title\r\n\r\nbody", "title\n\nbody", id="line ends of Windows become line feeds"),
        pytest.param("a\u2028b\u202ec", "a\u2028b\u202ec", id="what other scripts need stays"),
    ],
)
def test_a_text_has_line_feeds(text: str, parsed: str) -> None:
    assert Text.parse(text) == parsed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("a\nb\x00", r"line 2 of the text has the control character '\x00'; take it out", id="a NUL"),
        pytest.param("\x1b[2J", r"line 1 of the text has the control character '\x1b'; take it out", id="an escape"),
        pytest.param("a\n\nb\rc", r"line 3 of the text has the control character '\r'; take it out", id="a lone CR"),
        pytest.param("\x9b", r"line 1 of the text has the control character '\x9b'; take it out", id="an 8-bit escape"),
    ],
)
def test_a_text_has_no_other_control_character(text: str, message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        Text.parse(text)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param("naïve café, 中文, 🎉", "naïve café, 中文, 🎉", id="what is seen"),
        pytest.param("C:\\new", "C:\\new", id="a backslash"),
        pytest.param("a\tb\r\nc", r"a\tb\r\nc", id="tabs and line ends"),
        pytest.param("\x1b[31mred\x07", r"\x1b[31mred\x07", id="what acts on a terminal"),
        pytest.param("a\x85b\u2028c", r"a\x85b\u2028c", id="line ends of Unicode"),
        pytest.param("gpj.\u202eexe\u2066", r"gpj.\u202eexe\u2066", id="writing directions"),
        pytest.param("a\u200bb\u200dc\ufeffd\xade", r"a\u200bb\u200dc\ufeffd\xade", id="what has no width"),
        pytest.param("a\U000e0041", r"a\U000e0041", id="a letter that is never seen"),
        pytest.param("a\xa0b", r"a\xa0b", id="a blank that is none"),
        pytest.param("a\udc80b", r"a\udc80b", id="a byte that is no text"),
    ],
)
def test_what_is_not_seen_is_shown_as_an_escape(text: str, line: str) -> None:
    assert shown(text) == line


def test_lines_that_are_shown_stay_lines() -> None:
    assert shown_lines("-\ta\r\n+\tb\u202e\n") == "-\ta\\r\n+\tb\\u202e\n"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("/a/" + "b" * 255, id="a name of 255 letters"),
        pytest.param("é" * 127, id="a name of 254 bytes"),
        pytest.param("a/" * 1023 + "bc", id="2048 bytes"),
        pytest.param("-- ../~", id="what is odd, but a path"),
    ],
)
def test_a_path_stays_as_it_is(text: str) -> None:
    assert FilePath.parse(text) == text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("/a/" + "b" * 256, id="a name of 256 letters"),
        pytest.param("é" * 128, id="a name of 256 bytes"),
        pytest.param("a/" * 1024 + "b", id="2049 bytes"),
        pytest.param("/" * 2049, id="slashes alone"),
    ],
)
def test_a_path_is_no_longer_than_one_that_a_file_system_has(text: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        FilePath.parse(text)
    told = f"{text[:80]!r}… is too long for a path: at most 2048 bytes, and 255 between slashes"
    assert str(error.value) == told
