"""Each test has a process of its own, because the log is one of a process."""

import base64
import json
import os
import pty
import re
import shlex
import subprocess
import sys
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from steps import log

ROOT = Path(__file__).parent.parent

PREAMBLE = """
import logging, sys, warnings
from steps import log
log.configure()
logger = logging.getLogger("steps.a_step")
"""


def process(program: str, *arguments: str, stderr: int = subprocess.PIPE) -> "subprocess.Popen[str]":
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PREAMBLE + program, *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True, errors="strict")


def written(program: str, *arguments: str) -> str:
    with process(program, *arguments) as running:
        out, err = running.communicate(timeout=30)
    assert (out, running.returncode) == ("", 0)
    return err


def entries(program: str, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written(program, *arguments).split("\n")[:-1]]


def on_a_terminal(program: str) -> list[str]:
    ours, theirs = pty.openpty()
    with process(program, stderr=theirs):
        os.close(theirs)
        text = b""
        # Linux reports the end of a terminal as an error.
        try:
            while piece := os.read(ours, 65536):
                text += piece
        except OSError:
            os.close(ours)
    return text.decode().split("\r\n")[:-1]


MESSAGES = r"""
logger.debug("too small")
logger.info("one of %d", 3)
logger.warning("mind the gap", extra={"reason": "gap"})
logger.error("first line\nsecond line \x1b[31m\x9b31m\ttab", extra={"reason": "usage"})
logging.getLogger("library").info("about itself")
logging.getLogger("library").warning("about its user")
try:
    raise KeyError("x")
except KeyError:
    logger.exception("a defect")
"""
TRACEBACK = ["Traceback (most recent call last):", '  File "<string>", line 14, in <module>', "KeyError: 'x'"]


def test_a_terminal_gets_lines_of_text_in_which_nothing_moves_the_cursor() -> None:
    assert on_a_terminal(MESSAGES) == [
        "one of 3",
        "warning: mind the gap",
        "error: first line",
        r"second line \x1b[31m\x9b31m" + "\ttab",
        "warning: about its user",
        "error: a defect",
        *TRACEBACK,
    ]


def test_anything_else_gets_one_json_object_a_line() -> None:
    found = entries(MESSAGES)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", entry.pop("time")) for entry in found)
    ours = {"step": "steps.a_step"}
    assert found == [
        {"level": "info", **ours, "message": "one of 3"},
        {"level": "warning", **ours, "message": "mind the gap", "reason": "gap"},
        {
            "level": "error",
            **ours,
            "message": "first line\nsecond line \x1b[31m\x9b31m\ttab",
            "reason": "usage",
        },
        {"level": "warning", "step": "library", "message": "about its user"},
        {"level": "error", **ours, "message": "a defect", "traceback": "\n".join(TRACEBACK)},
    ]


def test_an_entry_says_in_how_many_seconds_to_come_back() -> None:
    found = entries("""
for after in (90, 0, None):
    logger.error("no", extra={"reason": "rate-limit", "retry_after": after})
""")
    assert [entry.get("retry_after", "nothing") for entry in found] == [90, 0, "nothing"]


def test_an_entry_about_a_pair_names_it_with_its_commit_and_run() -> None:
    [full, bare] = entries("""
facts = {"app": "web", "version": "main", "commit": "25be20ce", "reason": "create", "run": "web-main-25be20ce"}
logger.info("So it needs an update.", extra=facts)
logger.info("The configuration suspends it.", extra={**facts, "reason": "suspended", "commit": None, "run": None})
""")
    times = full.pop("time"), bare.pop("time")
    assert all(times)
    common = {"level": "info", "step": "steps.a_step", "app": "web", "version": "main"}
    assert [full, bare] == [
        {
            **common,
            "message": "So it needs an update.",
            "commit": "25be20ce",
            "reason": "create",
            "run": "web-main-25be20ce",
        },
        {**common, "message": "The configuration suspends it.", "reason": "suspended"},
    ]


def test_warnings_of_libraries_are_entries_too() -> None:
    [entry] = entries('warnings.warn("old", stacklevel=1)')
    assert (entry["level"], entry["step"]) == ("warning", "py.warnings")
    assert entry["message"].startswith("<string>:6: UserWarning: old\n")


def test_text_of_any_script_is_written_as_it_is_and_what_is_no_text_is_escaped() -> None:
    [entry] = entries(r'logger.info("caf\u00e9 \u202e \udcff \u2028")')
    assert entry["message"] == "caf\u00e9 \u202e \udcff \u2028"


SECRETS = [
    pytest.param("ghp_0123456789abcdefABCDEF", id="a token of GitHub"),
    pytest.param("pa/ss+wo=rd", id="what URLs escape"),
    pytest.param("pa\"ss\\wo'rd", id="what JSON and Python escape"),
    pytest.param("p\u00e4ssw\u00f6rd \u043a\u043b\u044e\u0447", id="accents and another script"),
    pytest.param('cl\u00e9 "d\'or"\\', id="accents, and what JSON escapes"),
    pytest.param("pass word%20%2F", id="a space and what looks escaped already"),
    pytest.param("ab\u00ff\u00fe?>~~~", id="what the two base64 alphabets write differently"),
    pytest.param("secret", id="the shortest"),
    pytest.param("message", id="a key of the entries"),
]


def spellings(secret: str, user: str) -> list[str]:
    basic = f"{user}:{secret}".encode()
    return [
        secret,
        base64.b64encode(secret.encode()).decode(),
        base64.urlsafe_b64encode(secret.encode()).decode(),
        base64.b64encode(basic).decode(),
        base64.urlsafe_b64encode(basic).decode(),
        urllib.parse.quote(secret),
        urllib.parse.quote(secret, safe=""),
        re.sub("%..", lambda match: match[0].lower(), urllib.parse.quote(secret, safe="")),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        secret.encode().hex(),
    ]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_concealed_in_messages_and_tracebacks(secret: str) -> None:
    """The program gets the secret as JSON in hexadecimal, so that it does not stand in its own text."""
    program = """
import json
secret, user, texts = json.loads(bytes.fromhex(sys.argv[1]))
log.conceal(secret, user=user)
for text in texts:
    logger.info("sent %s.", "<" + text + ">")
    try:
        raise RuntimeError("<" + text + ">")
    except RuntimeError:
        logger.exception("failed")
logger.info("%r", texts)
logger.info(json.dumps(texts))
"""
    texts = spellings(secret, "bot")
    err = written(program, json.dumps([secret, "bot", texts]).encode().hex())
    found = [json.loads(line) for line in err.split("\n")[:-1]]
    sent, failed = [entry["message"] for entry in found[:-2:2]], [entry["traceback"] for entry in found[1:-2:2]]
    assert {text.rstrip("=.>") for text in sent} == {"sent <***"}
    assert {text.splitlines()[-1].rstrip("=>") for text in failed} == {"RuntimeError: <***"}
    values = "\n".join(str(value) for entry in found for value in entry.values())
    assert [text for text in texts if text.rstrip("=") in values] == []


def test_a_secret_is_concealed_on_a_terminal() -> None:
    program = """
secret = bytes.fromhex("{}").decode()
log.conceal(secret)
logger.info("sent %s", secret)
try:
    raise RuntimeError(secret)
except RuntimeError:
    logger.exception("failed with %r", secret)
"""
    lines = on_a_terminal(program.replace("{}", b"canary-\xc3\xa9-\\".hex()))
    assert lines == [
        "sent ***",
        "error: failed with '***'",
        "Traceback (most recent call last):",
        '  File "<string>", line 11, in <module>',
        "RuntimeError: ***",
    ]


def test_of_two_secrets_that_begin_alike_no_end_is_left() -> None:
    program = "log.conceal(sys.argv[1]); log.conceal(sys.argv[2]); logger.info('%s %s', *sys.argv[1:])"
    messages = [
        entries(program, *pair)[0]["message"]
        for pair in (("canary", "canary-and-more"), ("canary-and-more", "canary"), ("canary", "my-canary"))
    ]
    assert messages == ["*** ***"] * 3


def test_a_word_that_is_too_short_for_a_secret_stays() -> None:
    log.conceal("short")
    log.conceal("")
    assert log.redact("a short text") == "a short text"


def test_a_secret_that_a_shell_would_quote_is_concealed_in_an_echoed_command() -> None:
    log.conceal("canary $HOME; id")
    assert log.redact(shlex.join(["git", "-c", "x=canary $HOME; id"])) == "git -c 'x=***'"
