import json

from steps.core.needs_update import Decision
from steps.core.run_report import Row, as_arguments, as_json, as_table, problems_as_json
from steps.core.typed_yaml import Position, Problem

ROWS = [
    Row(
        Decision("web", "v1", "behind", "needed", ("It lacks a commit.", "So it needs an update."), "a" * 40, "r.io:5000/web:v1-ga", "r.io:5000/web:v0@sha256:" + "0" * 64),
        "web-v1-aaaaaaaa-01234567",
        "web-v1-aaaaaaaa.yaml",
    ),
    Row(Decision("api", "v1.10", "unreachable", "failed", ("cannot ask the server",))),
    Row(Decision("api", "v1", "no-entry", "needed", ("No entry.",), "b" * 40, "r.io/api:v1-gb"), "api-v1-bbbbbbbb-01234567"),
]  # fmt: skip
PROBLEM = Problem(Position("applications.yaml", 3, 5), "nobody uses it", "warning")


def test_a_table_has_a_line_for_each_pair_and_tells_what_failed() -> None:
    assert as_table(ROWS) == """\
APPLICATION  VERSION  REASON       CURRENT  WANTED  RUN
web          v1       behind       v0       v1-ga   web-v1-aaaaaaaa-01234567
api          v1.10    unreachable
api          v1       no-entry              v1-gb   api-v1-bbbbbbbb-01234567

api at v1.10: cannot ask the server

3 pairs: 1 behind, 1 no-entry, 1 unreachable
"""  # fmt: skip


def test_a_table_of_nothing_has_its_head() -> None:
    assert as_table([]) == "APPLICATION  VERSION  REASON  CURRENT  WANTED  RUN\n\n0 pairs\n"


def test_arguments_are_a_paragraph_each() -> None:
    assert as_arguments(ROWS) == """\
web at v1: behind
  It lacks a commit.
  So it needs an update.
  Its run is web-v1-aaaaaaaa-01234567, in web-v1-aaaaaaaa.yaml.

api at v1.10: unreachable
  cannot ask the server

api at v1: no-entry
  No entry.
  Its run is api-v1-bbbbbbbb-01234567.
"""  # fmt: skip


def test_a_program_gets_everything() -> None:
    told = json.loads(as_json(ROWS[:1], [PROBLEM]))
    problem = {"file": "applications.yaml", "line": 3, "column": 5, "severity": "warning", "message": "nobody uses it"}
    assert told == {
        "pairs": [
            {
                "application": "web",
                "version": "v1",
                "reason": "behind",
                "status": "needed",
                "later": False,
                "sourceCommit": "a" * 40,
                "image": "r.io:5000/web:v1-ga",
                "currentImage": "r.io:5000/web:v0@sha256:" + "0" * 64,
                "run": "web-v1-aaaaaaaa-01234567",
                "file": "web-v1-aaaaaaaa.yaml",
                "explanation": ["It lacks a commit.", "So it needs an update."],
            }
        ],
        "problems": [problem],
    }
    assert json.loads(problems_as_json([PROBLEM])) == {"problems": [problem]}
