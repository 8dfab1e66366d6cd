"""Writes the report of a command to stdout, where nothing else is written."""

import os
import sys
from typing import Literal

Format = Literal["table", "json"]


def chosen(wanted: Format | None) -> Format:
    """The format that was asked for; else a table for a person who watches, and JSON for a program."""
    return wanted or ("table" if sys.stdout.isatty() else "json")


def show(text: str) -> None:
    """Write the whole report; a reader who has seen enough of it (`| head`) is no error."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # What Python would write again at its end goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
