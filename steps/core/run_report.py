"""What create_runs tells: of each pair the decision and the run that was made of it, for a person or a program."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from steps.core.needs_update import Decision
from steps.core.text import shown
from steps.core.typed_yaml import Problem


@dataclass(frozen=True)
class Row:
    """A pair: its decision, and name and file of the run that was made of it."""

    decision: Decision
    run: str | None = None
    file: str | None = None


def as_json(rows: Iterable[Row], problems: Iterable[Problem]) -> str:
    """One object: `pairs`, and `problems` of the configuration."""
    pairs = [
        {
            "application": row.decision.application,
            "version": row.decision.version,
            "reason": row.decision.reason,
            "status": row.decision.status,
            "later": row.decision.later,
            "sourceCommit": row.decision.commit,
            "image": row.decision.wanted,
            "currentImage": row.decision.current,
            "run": row.run,
            "file": row.file,
            "explanation": list(row.decision.sentences),
        }
        for row in rows
    ]
    return json.dumps({"pairs": pairs, "problems": _data(problems)}, indent=2) + "\n"


def problems_as_json(problems: Iterable[Problem]) -> str:
    """One object with `problems` alone."""
    return json.dumps({"problems": _data(problems)}, indent=2) + "\n"


def problems_as_lines(problems: Iterable[Problem]) -> str:
    """`FILE:LINE:COLUMN: error: what`, a line each."""
    return "".join(f"{shown(str(problem))}\n" for problem in problems)


def _data(problems: Iterable[Problem]) -> list[dict[str, str | int]]:
    return [
        {
            "file": problem.at.file,
            "line": problem.at.line,
            "column": problem.at.column,
            "severity": problem.severity,
            "message": problem.message,
        }
        for problem in problems
    ]


def as_table(rows: Sequence[Row]) -> str:
    """A line for each pair, then what went wrong, then how many there are of each reason."""
    table: list[tuple[str, ...]] = [("APPLICATION", "VERSION", "REASON", "CURRENT", "WANTED", "RUN")]
    table += [
        (
            row.decision.application,
            row.decision.version,
            row.decision.reason,
            _tag(row.decision.current),
            _tag(row.decision.wanted),
            row.run or "",
        )
        for row in rows
    ]
    table = [tuple(map(shown, line)) for line in table]
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
    failed = [row.decision for row in rows if row.decision.status == "failed"]
    if failed:
        lines += ["", *(shown(f"{each.application} at {each.version}: {' '.join(each.sentences)}") for each in failed)]
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.decision.reason] = counts.get(row.decision.reason, 0) + 1
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    count = f"{len(rows)} {'pair' if len(rows) == 1 else 'pairs'}"
    return "\n".join([*lines, "", f"{count}: {told}" if told else count]) + "\n"


def as_arguments(rows: Iterable[Row]) -> str:
    """The argument for each pair, a paragraph each."""
    return "\n".join(
        "\n".join(
            [
                shown(f"{row.decision.application} at {row.decision.version}: {row.decision.reason}"),
                *(f"  {shown(sentence)}" for sentence in row.decision.sentences),
                *([f"  Its run is {row.run}" + (f", in {row.file}." if row.file else ".")] if row.run else []),
                "",
            ]
        )
        for row in rows
    )


def _tag(image: str | None) -> str:
    """The part of an image behind its name, without a digest."""
    if image is None:
        return ""
    reference = image.partition("@")[0]
    return reference.rpartition(":")[2] if ":" in reference.rpartition("/")[2] else "-"
