import importlib
import inspect
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest

from steps import command_line
from steps.core.image import Image
from steps.core.text import Text
from steps.errors import StepError

ROOT = Path(__file__).parent.parent
GOLDEN = Path(__file__).parent / "golden" / "help"
STEPS = [path.stem for path in sorted((ROOT / "steps").glob("*.py")) if "command_line.run(" in path.read_text()]


class Outcome(NamedTuple):
    """What came of a command line: the exit code, what the step was called with, what was logged."""

    code: int
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]]
    log: list[str]


Run = Callable[..., Outcome]


@pytest.fixture
def run(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Run:
    """Gives a command line to a step that keeps the values it gets."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def a_step(
        *items: str,
        text: str | None = None,
        path: Path | None = None,
        number: int | None = None,
        switch: bool | None = None,
        choice: Literal["refuse", "keep"] | None = None,
        names: tuple[str, ...] | None = None,
        numbers: tuple[int, ...] | None = None,
        message: Text | None = None,
        image: Image | None = None,
        dry_run: bool | None = None,
    ) -> None:
        values = locals()
        flags = [name for name in inspect.signature(a_step).parameters if name != "items"]
        calls.append((items, {name: values[name] for name in flags if values[name] is not None}))

    def run(*argv: str) -> Outcome:
        code = command_line.main(
            a_step,
            argv,
            aliases={"noop": "dry-run"},
            refused={"force": "nothing is ever overwritten", "issue": "link it in --message"},
        )
        assert capsys.readouterr().out == ""
        return Outcome(code, calls, [record.getMessage() for record in caplog.records])

    return run


def refused(message: str) -> Outcome:
    return Outcome(2, [], [f"{message}\nTry --help."])


@pytest.mark.parametrize(
    ("token", "name", "value"),
    [
        pytest.param("--text=1.10", "text", "1.10", id="a version is no number"),
        pytest.param("--text=12e4567", "text", "12e4567", id="an abbreviated commit is no number"),
        pytest.param("--text=7654321", "text", "7654321", id="digits are text"),
        pytest.param("--text=0x10", "text", "0x10", id="hexadecimal digits are text"),
        pytest.param("--text=1_000", "text", "1_000", id="digits with underscores are text"),
        pytest.param("--text=a,b", "text", "a,b", id="a comma makes no tuple"),
        pytest.param("--text=[1, 2]", "text", "[1, 2]", id="brackets make no list"),
        pytest.param("--text={'a': 1}", "text", "{'a': 1}", id="braces make no dictionary"),
        pytest.param("--text=None", "text", "None", id="None is text"),
        pytest.param("--text=True", "text", "True", id="True is text"),
        pytest.param("--text=false", "text", "false", id="false is text"),
        pytest.param("--text='quoted'", "text", "'quoted'", id="quotes stay"),
        pytest.param('--text="', "text", '"', id="a single quote"),
        pytest.param("--text=-", "text", "-", id="a dash, which fire separates by"),
        pytest.param("--text=--", "text", "--", id="two dashes"),
        pytest.param("--text=--help", "text", "--help", id="what looks like a flag"),
        pytest.param("--text=a=b=c", "text", "a=b=c", id="equals signs"),
        pytest.param("--text==", "text", "=", id="an equals sign alone"),
        pytest.param("--text= ", "text", " ", id="a space"),
        pytest.param("--text=a b  c", "text", "a b  c", id="words"),
        pytest.param("--text=a#b", "text", "a#b", id="what starts a comment in Python"),
        pytest.param("--text=caf\u00e9", "text", "caf\u00e9", id="an accent"),
        pytest.param("--path=a/../b", "path", Path("a/../b"), id="a path stays as it is"),
        pytest.param("--path=1.10", "path", Path("1.10"), id="a path that looks like a number"),
        pytest.param("--path=-", "path", Path("-"), id="a path that is a dash"),
        pytest.param("--path=~", "path", Path("~"), id="a home directory is not looked up"),
        pytest.param("--number=0", "number", 0, id="a number"),
        pytest.param("--number=007", "number", 7, id="zeros in front"),
        pytest.param("--number=999999999999", "number", 999999999999, id="the largest number"),
        pytest.param("--switch", "switch", True, id="a switch without a value"),
        pytest.param("--switch=true", "switch", True, id="a switch that is true"),
        pytest.param("--switch=True", "switch", True, id="a switch that is True"),
        pytest.param("--switch=false", "switch", False, id="a switch that is false"),
        pytest.param("--switch=FALSE", "switch", False, id="a switch that is FALSE"),
        pytest.param("--choice=keep", "choice", "keep", id="a choice"),
        pytest.param("--names=one", "names", ("one",), id="a list of one"),
        pytest.param("--names=1.10,b,None", "names", ("1.10", "b", "None"), id="a list of texts"),
        pytest.param("--names= a , b c ,, d,", "names", ("a", "b c", "d"), id="a list with blanks and holes"),
        pytest.param("--names=,", "names", (), id="an empty list"),
        pytest.param("--numbers=1, 2", "numbers", (1, 2), id="a list of numbers"),
        pytest.param("--message=a\r\n\r\nb\n", "message", "a\n\nb\n", id="a text of several lines"),
        pytest.param("--image=app:1.10", "image", Image("app", "1.10"), id="a value of our own"),
        pytest.param("--dry-run", "dry_run", True, id="a flag of two words"),
        pytest.param("--dry_run", "dry_run", True, id="a flag of two words with an underscore"),
        pytest.param("--noop", "dry_run", True, id="another name of a flag"),
        pytest.param("--noop=false", "dry_run", False, id="another name of a flag, with a value"),
    ],
)
def test_a_flag_has_the_value_that_its_annotation_makes_of_it(run: Run, token: str, name: str, value: object) -> None:
    assert run(token) == Outcome(0, [((), {name: value})], [])


@pytest.mark.parametrize(
    "token",
    ["--text=", "--path=", "--number=", "--switch=", "--choice=", "--names=", "--message=", "--image=", "--noop="],
)
def test_an_empty_value_is_an_absent_one(run: Run, token: str) -> None:
    assert run(token) == Outcome(0, [((), {})], [])


def test_several_flags_and_data(run: Run) -> None:
    assert run("--text=a", "--dry-run", "--number=3", "--", "b", "c") == Outcome(
        0, [(("b", "c"), {"text": "a", "dry_run": True, "number": 3})], []
    )


@pytest.mark.parametrize(
    "items",
    [
        pytest.param([], id="nothing"),
        pytest.param(["1.10", "a,b", "None", "7654321", "12e4567"], id="what fire reads as numbers, tuples and None"),
        pytest.param(["--interactive"], id="fire's console"),
        pytest.param(["--trace", "--verbose", "--completion", "--separator=x"], id="fire's other flags"),
        pytest.param(["--help", "-h"], id="help"),
        pytest.param(["--text=x", "--dry-run", "--changed-result=/x"], id="our flags"),
        pytest.param(["-", "--", "-"], id="separators"),
        pytest.param(["", " "], id="nothing and a blank"),
        pytest.param(["a=b", "*=c:d"], id="edits of images"),
    ],
)
def test_what_follows_two_dashes_is_data(run: Run, items: list[str]) -> None:
    assert run("--", *items) == Outcome(0, [(tuple(items), {})], [])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        pytest.param(["--number=1.0"], "--number: '1.0' is not a whole number of at most 12 digits", id="a fraction"),
        pytest.param(["--number=-1"], "--number: '-1' is not a whole number of at most 12 digits", id="a minus"),
        pytest.param(["--number=+1"], "--number: '+1' is not a whole number of at most 12 digits", id="a plus"),
        pytest.param(
            ["--number=1_0"], "--number: '1_0' is not a whole number of at most 12 digits", id="an underscore"
        ),
        pytest.param(["--number= 1"], "--number: ' 1' is not a whole number of at most 12 digits", id="a blank"),
        pytest.param(["--number=1e3"], "--number: '1e3' is not a whole number of at most 12 digits", id="an exponent"),
        pytest.param(
            ["--number=\u0663"], "--number: '\u0663' is not a whole number of at most 12 digits", id="other digits"
        ),
        pytest.param(
            ["--number=1000000000000"],
            "--number: '1000000000000' is not a whole number of at most 12 digits",
            id="13 digits",
        ),
        pytest.param(["--switch=yes"], "--switch: 'yes' is not one of true, false", id="a switch that says yes"),
        pytest.param(["--switch=1"], "--switch: '1' is not one of true, false", id="a switch that says 1"),
        pytest.param(["--choice=Keep"], "--choice: 'Keep' is not one of refuse, keep", id="a choice in capitals"),
        pytest.param(["--choice=k"], "--choice: 'k' is not one of refuse, keep", id="a choice cut short"),
        pytest.param(
            ["--numbers=1,x"], "--numbers: 'x' is not a whole number of at most 12 digits", id="an item of a list"
        ),
        pytest.param(
            ["--image=App"],
            "--image: 'App' is not an image name, such as registry.example.com:5000/team/app; "
            "the repository is written in lower case",
            id="a value of our own",
        ),
        pytest.param(
            ["--message=a\n\x1b[2J"],
            "--message: line 2 of the text has the control character '\\x1b'; take it out",
            id="a control character in a text of several lines",
        ),
        pytest.param(
            ["--", "a", "b\nc"],
            "items[1]: 'b\\nc' has a control character at position 2; write it on one line, without",
            id="a control character in an item of data",
        ),
        pytest.param(["--text=\udcff"], "--text: '\\udcff' is not UTF-8", id="a value that is not UTF-8"),
        pytest.param(["--path=\udcff"], "--path: '\\udcff' is not UTF-8", id="a path that is not UTF-8"),
        pytest.param(["--", "\udcff"], "items[0]: '\\udcff' is not UTF-8", id="data that is not UTF-8"),
        pytest.param(["--text"], "--text needs a value, in the same word: --text=VALUE", id="no value"),
        pytest.param(
            ["--text", "x"], "--text needs a value, in the same word: --text=VALUE", id="a value in a new word"
        ),
        pytest.param(["x"], "'x' is neither --flag=value nor behind a `--`", id="a word"),
        pytest.param(
            ["--dry-run", "true"], "'true' is neither --flag=value nor behind a `--`", id="a switch and a word"
        ),
        pytest.param(["text=x"], "'text=x' is neither --flag=value nor behind a `--`", id="a flag without dashes"),
        pytest.param(["-"], "'-' is neither --flag=value nor behind a `--`", id="a dash"),
        pytest.param([""], "'' is neither --flag=value nor behind a `--`", id="an empty word"),
        pytest.param(
            ["-m", "x"], "'-m' is neither --flag=value nor behind a `--`; there are long flags only", id="a short flag"
        ),
        pytest.param(
            ["-h"], "'-h' is neither --flag=value nor behind a `--`; there are long flags only", id="a short help"
        ),
        pytest.param(
            ["-text=x"],
            "'-text=x' is neither --flag=value nor behind a `--`; there are long flags only",
            id="a flag with one dash",
        ),
        pytest.param(["--text=a", "--text=b"], "--text is given twice", id="a flag twice"),
        pytest.param(["--text=", "--text=b"], "--text is given twice", id="a flag twice, once empty"),
        pytest.param(["--dry-run", "--dry_run"], "--dry-run is given twice", id="a flag twice, spelt differently"),
        pytest.param(["--noop", "--dry-run"], "--dry-run is given twice", id="a flag twice, by two names"),
        pytest.param(["--txt=a"], "there is no flag '--txt'; did you mean --text?", id="a slip"),
        pytest.param(
            ["--nop"], "there is no flag '--nop'; did you mean --noop?", id="a slip in another name of a flag"
        ),
        pytest.param(["--dryrun"], "there is no flag '--dryrun'; did you mean --dry-run?", id="a dash too few"),
        pytest.param(["--TEXT=a"], "there is no flag '--TEXT'", id="capitals"),
        pytest.param(["--items=a"], "there is no flag '--items'", id="the name of the data"),
        pytest.param(["--notext"], "there is no flag '--notext'; did you mean --text?", id="fire's no in front"),
        pytest.param(["--=a"], "there is no flag '--'", id="no name"),
        pytest.param(["---text=a"], "there is no flag '---text'; did you mean --text?", id="three dashes"),
        pytest.param(["--\x1b[31m=a"], "there is no flag '--\\x1b[31m'", id="a terminal's escape"),
        pytest.param(
            ["--text=a", "--qqq"], "there is no flag '--qqq'", id="a flag that nobody knows, behind a good one"
        ),
        pytest.param(["--force"], "--force is not taken here: nothing is ever overwritten", id="a flag of hub"),
        pytest.param(["--issue=7"], "--issue is not taken here: link it in --message", id="a flag of hub with a value"),
    ],
)
def test_a_wrong_command_line_is_told_before_the_step_is_called(run: Run, argv: list[str], message: str) -> None:
    assert run(*argv) == refused(message)


HOSTILE = [
    *("-", "--", "-x", "--x", "--help", "--interactive", "-c", "--upload-pack=id", "-oProxyCommand=id", "+x", "@x"),
    *(
        "None",
        "True",
        "nan",
        "inf",
        "1e400",
        "0x",
        "1.",
        ".5",
        "1,2",
        "(1,)",
        "[]",
        "{}",
        "lambda: 0",
        "__import__('os')",
    ),
    *("=", "a=b", "a:b", "a;b", "a&b", "a|b", "a>b", "$(id)", "`id`", "${HOME}", "$HOME", "%s%n", "%00", "{0}", "\\n"),
    *(
        "'",
        '"',
        "\\",
        "'; id; '",
        '" --x="',
        "<b>",
        "<!-- -->",
        "&amp;",
        "../../etc/passwd",
        "/dev/stdin",
        "~root",
        ".",
    ),
    *(" ", "  a  ", "a b", "ext::sh -c id", "file:///etc/passwd", "http://[::1]", "refs/heads/x", "HEAD~1", "a..b"),
    *(
        "\u00e9",
        "e\u0301",
        "\u0430\u0440\u0440",
        "\ufeffa",
        "a\u200bb",
        "\u00a0",
        "\U0001f469\u200d\U0001f467",
        "\uffff",
    ),
    "x" * 255,
]
NEVER_ON_A_LINE = [
    *("\x00", "a\x00", "\n", "a\n", "\na", "a\nb", "a\r\nb", "\r", "\t", "a\tb", "\x0b", "\x0c", "\x1b[31m", "\x7f"),
    *("\x80", "\x85", "\x9b31m", "a\u2028b", "\u2029", "\u202atxt", "exe.\u202etxt", "\u2066a", "a\u2069"),
]


@pytest.mark.parametrize("name", ["text", "path"])
def test_a_hostile_value_arrives_as_it_is(run: Run, name: str) -> None:
    outcome = [run(f"--{name}={value}") for value in HOSTILE][-1]
    made = {"text": str, "path": Path}[name]
    assert outcome == Outcome(0, [((), {name: made(value)}) for value in HOSTILE], [])


def test_hostile_data_arrive_as_they_are(run: Run) -> None:
    assert run("--", *HOSTILE) == Outcome(0, [(tuple(HOSTILE), {})], [])


def test_a_long_text_arrives_as_it_is(run: Run) -> None:
    value = "x" * 100_000
    assert run(f"--text={value}") == Outcome(0, [((), {"text": value})], [])


def test_a_path_that_no_file_system_has_is_refused(run: Run) -> None:
    value = "x" * 100_000
    assert run(f"--path={value}") == refused(
        f"--path: {'x' * 80!r}… is too long for a path: at most 2048 bytes, and 255 between slashes"
    )


@pytest.mark.parametrize("name", ["text", "path", "names"])
@pytest.mark.parametrize("value", NEVER_ON_A_LINE, ids=ascii)
def test_a_value_has_no_control_character(run: Run, name: str, value: str) -> None:
    outcome = run(f"--{name}=a{value}b")
    position = next(index for index, character in enumerate(value) if not character.isprintable()) + 2
    assert outcome == refused(
        f"--{name}: {'a' + value + 'b'!r} has a control character at position {position}; write it on one line, without"
    )


def test_a_flag_without_a_default_must_be_given(caplog: pytest.LogCaptureFixture) -> None:
    called = []

    def a_step(*, one: str, two_words: Path, three: int = 3) -> None:
        called.append((one, two_words, three))

    codes = [command_line.main(a_step, argv) for argv in ([], ["--one=a"], ["--one=", "--two-words=b"])]
    assert (codes, called) == ([2, 2, 2], [])
    assert [record.getMessage() for record in caplog.records] == [
        "--one, --two-words must be given\nTry --help.",
        "--two-words must be given\nTry --help.",
        "--one must be given\nTry --help.",
    ]
    assert command_line.main(a_step, ["--one=a", "--two-words=b"]) == 0
    assert called == [("a", Path("b"), 3)]


def test_data_for_a_step_that_takes_none_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    called = []

    def a_step(*, one: str = "") -> None:
        called.append(one)

    assert command_line.main(a_step, ["--", "x"]) == 2
    assert [record.getMessage() for record in caplog.records] == [
        "nothing is taken behind `--`, but there is 'x'\nTry --help."
    ]
    assert command_line.main(a_step, ["--one=a", "--"]) == 0
    assert called == ["a"]


@pytest.mark.parametrize(
    ("error", "code", "reason", "after"),
    [
        pytest.param(StepError("not-found", "message"), 1, "not-found", None, id="something to mend"),
        pytest.param(StepError("unreachable", "message", later=True), 75, "unreachable", None, id="worth trying later"),
        pytest.param(
            StepError("rate-limit", "message", later=True, after=90), 75, "rate-limit", 90, id="worth trying at a time"
        ),
        pytest.param(StepError("usage", "message"), 2, "usage", None, id="arguments that do not fit together"),
    ],
)
def test_an_error_of_a_step_is_an_exit_code_and_a_reason(
    caplog: pytest.LogCaptureFixture, error: StepError, code: int, reason: str, after: int | None
) -> None:
    def a_step() -> None:
        raise error

    assert command_line.main(a_step, []) == code
    logged = [(r.name, r.levelname, r.getMessage(), r.reason, r.retry_after, r.exc_info) for r in caplog.records]  # type: ignore[attr-defined]  # given as `extra`
    assert logged == [("steps.a_step", "ERROR", "message", reason, after, None)]


def test_a_defect_keeps_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    def a_step() -> None:
        raise KeyError("x")

    assert command_line.main(a_step, []) == 1
    record = caplog.records[0]
    assert (record.getMessage(), record.reason) == ("a defect of this step, not of its input", "defect")  # type: ignore[attr-defined]  # given as `extra`
    assert record.exc_info
    assert str(record.exc_info[1]) == "'x'"
    assert record.exc_info[2]


def test_help_is_made_from_the_signature_and_the_docstring(capsys: pytest.CaptureFixture[str]) -> None:
    def a_step(
        *image_edits: str,
        required: Path,
        choice: Literal["refuse", "keep"] = "refuse",
        names: tuple[str, ...] = (),
        more: tuple[int, ...] = (1, 2),
        draft: bool = False,
        on: bool = True,
        zero: int = 0,
    ) -> None:
        """Do one thing.

        Say more about it, in several words, until the line is longer than a hundred characters and has to be broken.

        And a second paragraph.

        Args:
            image_edits: what to set.
            required: a file that-must-be-there-and-whose-description-has-dashes, which are no place to break a line.
            choice: what to do.
            names: with commas
                between: nothing else.
            more: numbers.
            draft: whether it is one.
            on: whether it is on.
            zero: nothing.
        """

    assert command_line.main(a_step, ["--required=x", "--help", "--nonsense"]) == 0
    assert (
        capsys.readouterr().out
        == """\
Usage: python -m steps.a_step --required=PATH [--FLAG=VALUE ...] [-- IMAGE-EDITS ...]

Do one thing.

Say more about it, in several words, until the line is longer than a hundred characters and has to
be broken.

And a second paragraph.

Required:
  --required=PATH
      a file that-must-be-there-and-whose-description-has-dashes, which are no place to break a
      line.

Optional (an empty value counts as absent):
  --choice=refuse|keep  (default: refuse)
      what to do.
  --names=TEXT,...
      with commas between: nothing else.
  --more=NUMBER,...  (default: 1,2)
      numbers.
  --draft
      whether it is one.
  --on  (default: true)
      whether it is on.
  --zero=NUMBER  (default: 0)
      nothing.

Behind `--`:
  IMAGE-EDITS ...
      what to set.

Exit codes: 0 done, 1 failed or refused, 2 wrong command line (nothing was touched), 75 worth trying
later, 143 ended by SIGTERM.
"""
    )


@pytest.mark.parametrize("step", STEPS)
def test_the_help_of_a_step(step: str, capsys: pytest.CaptureFixture[str], golden: Callable[[Path, str], None]) -> None:
    assert command_line.main(getattr(importlib.import_module(f"steps.{step}"), step), ["--help"]) == 0
    golden(GOLDEN / f"{step}.txt", capsys.readouterr().out)


class Ended(NamedTuple):
    """How a process ended: its exit code, what it printed, what it logged without the times."""

    code: int
    out: str
    log: list[dict[str, str]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "tmp").mkdir()
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "tmp"), "HOME": str(tmp_path)}


def ended(environment: dict[str, str], *arguments: str | bytes) -> Ended:
    process = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)
    return Ended(process.returncode, process.stdout, logged(process.stderr))


def logged(stderr: str) -> list[dict[str, str]]:
    entries: list[dict[str, str]] = [json.loads(line) for line in stderr.split("\n")[:-1]]
    return [{key: value for key, value in entry.items() if key != "time"} for entry in entries]


def entry(reason: str, message: str, step: str = "clone_repository") -> dict[str, str]:
    return {"level": "error", "step": f"steps.{step}", "message": message, "reason": reason}


def clone(destination: Path, url: str, *more: str | bytes) -> list[str | bytes]:
    return ["-m", "steps.clone_repository", f"--url={url}", f"--destination={destination}", *more]


def test_a_process_ends_0_with_help(environment: dict[str, str]) -> None:
    expected = (GOLDEN / "clone_repository.txt").read_text(encoding="utf-8")
    assert ended(environment, "-m", "steps.clone_repository", "--help") == Ended(0, expected, [])


def test_a_process_ends_1_when_refused(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    message = f"{tmp_path}/there is not empty; a clone needs a directory of its own, give another destination"
    assert ended(environment, *clone(tmp_path / "there", "https://h.invalid/o/n", "--revision=main")) == Ended(
        1, "", [entry("not-empty", message)]
    )


def test_a_process_ends_2_with_a_value_that_is_not_utf_8(environment: dict[str, str], tmp_path: Path) -> None:
    message = "--revision: '\\udcff' is not UTF-8\nTry --help."
    assert ended(environment, *clone(tmp_path / "new", "https://h.invalid/o/n", b"--revision=\xff")) == Ended(
        2, "", [entry("usage", message)]
    )
    assert not (tmp_path / "new").exists()


def test_a_process_ends_75_when_the_server_is_away(environment: dict[str, str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/o/n"
    code, out, log = ended(environment, *clone(tmp_path / "new", url, "--revision=main"))
    assert (code, out, [line["reason"] for line in log]) == (75, "", ["unreachable"])
    assert not (tmp_path / "new").exists()


def test_a_process_that_has_a_defect_ends_1_with_its_traceback(environment: dict[str, str]) -> None:
    program = """
from steps import command_line

def a_step(*, name: str) -> None:
    raise RuntimeError(f"about {name}")

command_line.run(a_step)
"""
    code, out, [line] = ended(environment, "-c", program, "--name=x")
    traceback = line.pop("traceback")
    assert (code, out, line) == (1, "", entry("defect", "a defect of this step, not of its input", "a_step"))
    assert traceback.splitlines()[-2:] == ['  File "<string>", line 5, in a_step', "RuntimeError: about x"]


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        yield server


@pytest.mark.parametrize(
    "insistent", [pytest.param(False, id="sent once"), pytest.param(True, id="sent again and again")]
)
def test_sigterm_ends_a_step_within_5_seconds_with_its_children_and_files(
    environment: dict[str, str], tmp_path: Path, silent: socket.socket, *, insistent: bool
) -> None:
    url = f"http://127.0.0.1:{silent.getsockname()[1]}/o/n"
    command = [sys.executable, *clone(tmp_path / "new", url, "--revision=main")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as step:
        connection, _ = silent.accept()
        end = time.monotonic() + 5
        step.terminate()
        while insistent and step.poll() is None and time.monotonic() < end:
            step.terminate()
        out, err = step.communicate(timeout=end - time.monotonic())
    assert (step.returncode, out, logged(err)) == (143, "", [entry("terminated", "ended by SIGTERM")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tmp"]
    assert list((tmp_path / "tmp").iterdir()) == []
    # The connection ends when the last child that held it is gone.
    with connection:
        connection.settimeout(5)
        while connection.recv(65536):
            pass


def test_sigterm_while_the_command_line_is_read_ends_143(environment: dict[str, str]) -> None:
    program = """
import os, signal
from steps import command_line

class Slow(str):
    @classmethod
    def parse(cls, text):
        os.kill(os.getpid(), signal.SIGTERM)
        return cls(text)

def a_step(*, name: Slow) -> None:
    print("called")

command_line.run(a_step)
"""
    assert ended(environment, "-c", program, "--name=x") == Ended(
        143, "", [entry("terminated", "ended by SIGTERM", "a_step")]
    )


def test_sigterm_waits_for_no_thread_that_waits_itself(environment: dict[str, str]) -> None:
    program = """
import os, signal, threading
from concurrent.futures import ThreadPoolExecutor
from steps import command_line

def a_step() -> None:
    ThreadPoolExecutor(1).submit(threading.Event().wait, 30)
    print("told")
    os.kill(os.getpid(), signal.SIGTERM)

command_line.run(a_step)
"""
    began = time.monotonic()
    assert ended(environment, "-c", program) == Ended(
        143, "told\n", [entry("terminated", "ended by SIGTERM", "a_step")]
    )
    assert time.monotonic() - began < 10


def test_sigterm_that_comes_when_the_main_thread_has_just_begun_to_wait_ends_it_too(
    environment: dict[str, str],
) -> None:
    """The signal is given to another thread, so that nothing wakes the main thread: as when it comes too early for that."""
    program = """
import signal, threading
from steps import command_line

def a_step() -> None:
    never = threading.Event()
    own = lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    threading.Timer(0.2, own).start()
    never.wait()

command_line.run(a_step)
"""
    assert ended(environment, "-c", program) == Ended(143, "", [entry("terminated", "ended by SIGTERM", "a_step")])
