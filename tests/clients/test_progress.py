import os
import subprocess
import sys
import termios

SCRIPT = """
from steps.clients import progress
with progress.of_bytes("packing") as advance:
    advance(1 << 20)
"""


def test_nothing_is_shown_where_nobody_watches() -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True)
    assert (run.stdout, run.stderr) == (b"", b"")


def test_a_terminal_shows_a_bar_and_has_its_line_back() -> None:
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=theirs) as child:
        os.close(theirs)
        shown = b""
        while piece := read(ours):
            shown += piece
        assert child.stdout is not None
        printed = child.stdout.read()
    os.close(ours)
    assert (printed, child.returncode, shown.startswith(b"\rpacking: "), shown.split(b"\r")[-2].strip()) == (
        b"",
        0,
        True,
        b"",
    )


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # Linux says so when the other side is closed
        return b""
