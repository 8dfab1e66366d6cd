import os
import pty
import subprocess
import sys

import pytest

from steps import report


@pytest.mark.parametrize("wanted", ["table", "json"])
def test_a_format_that_was_asked_for_is_taken(wanted: report.Format) -> None:
    assert report.chosen(wanted) == wanted


PROGRAM = "from steps import report; report.show(report.chosen(None) + '\\n' * 200000)"


def test_a_program_gets_json_and_a_reader_who_goes_away_is_no_error() -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout
        assert child.stderr
        assert child.stdout.read(4) == b"json"
        child.stdout.close()
        assert (child.stderr.read(), child.wait(30)) == (b"", 0)


def test_a_person_gets_a_table() -> None:
    ours, theirs = pty.openpty()
    program = "from steps import report; report.show(report.chosen(None))"
    done = subprocess.run([sys.executable, "-c", program], stdout=theirs, check=True)
    os.close(theirs)
    assert (os.read(ours, 100), done.returncode) == (b"table", 0)
    os.close(ours)
