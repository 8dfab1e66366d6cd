"""Writes the report of a command to stdout, where nothing else is written."""

import os
import sys
from typing import Literal

from steps.errors import StepError

Format = Literal["table", "json"]


def chosen(wanted: Format | None, *, explain: bool = False) -> Format:
    """The format that was asked for; else text for a person who watches, or wants to be told, and JSON for a program."""
    return wanted or ("table" if explain or (sys.stdout and sys.stdout.isatty()) else "json")


def show(text: str) -> None:
    """Write the whole report; a reader who has seen enough of it (`| head`) is no error.

    What the encoding of stdout lacks is written as an escape.

    Raises:
        StepError: it cannot be written.
    """
    if sys.stdout is None:
        raise StepError("output", "the report has nowhere to go: stdout is closed")
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        # What Python would write again at its end goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise StepError("output", f"the report cannot be written to stdout: {error.strerror}") from error
