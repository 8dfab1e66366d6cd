"""What create_runs tells: of each pair the decision and the run that was made of it, for a person or a program.

What any report on decisions has in common stands here, too.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from steps.core.needs_update import Decision
from steps.core.text import counted, shown
from steps.core.typed_yaml import Problem


@dataclass(frozen=True)
class Row:
    """A pair: its decision, and name and file of the run that was made of it."""

    decision: Decision
    run: str | None = None
    file: str | None = None


COLUMNS = ("APPLICATION", "VERSION", "REASON", "CURRENT", "WANTED", "RUN")


def as_json(rows: Iterable[Row], problems: Iterable[Problem]) -> str:
    """One object: `pairs`, and `problems` of the configuration."""
    pairs = [
        {
            **facts(row.decision),
            "run": row.run,
            "file": row.file,
            "explanation": list(row.decision.sentences),
        }
        for row in rows
    ]
    return dumped({"pairs": pairs}, problems)


def facts(decision: Decision) -> dict[str, object]:
    """A decision without its argument."""
    return {
        "application": decision.application,
        "version": decision.version,
        "reason": decision.reason,
        "status": decision.status,
        "later": decision.later,
        "sourceCommit": decision.commit,
        "image": decision.wanted,
        "currentImage": decision.current,
    }


def dumped(told: Mapping[str, object], problems: Iterable[Problem]) -> str:
    """One object of what is told, and `problems` of the configuration."""
    listed = [
        {
            "file": problem.at.file,
            "line": problem.at.line,
            "column": problem.at.column,
            "severity": problem.severity,
            "message": problem.message,
        }
        for problem in problems
    ]
    return json.dumps({**told, "problems": listed}, indent=2) + "\n"


def problems_as_json(problems: Iterable[Problem]) -> str:
    """One object with `problems` alone."""
    return dumped({}, problems)


def problems_as_lines(problems: Iterable[Problem]) -> str:
    """`FILE:LINE:COLUMN: error: what`, a line each."""
    return "".join(f"{shown(str(problem))}\n" for problem in problems)


def as_table(rows: Sequence[Row]) -> str:
    """A line for each pair, then what went wrong, then how many there are of each reason."""
    return table(COLUMNS, [(row.decision, (row.run or "",)) for row in rows])


def table(columns: Sequence[str], rows: Sequence[tuple[Decision, tuple[str, ...]]]) -> str:
    """A line for each decision, then what went wrong, then how many there are of each reason.

    Args:
        columns: the head; the first five are the decision's own.
        rows: decisions, each with what the further columns have.
    """
    lines = [tuple(columns)]
    lines += [
        (each.application, each.version, each.reason, tag(each.current), tag(each.wanted), *further)
        for each, further in rows
    ]
    lines = [tuple(map(shown, line)) for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    failed = [each for each, _ in rows if each.status == "failed"]
    if failed:
        text += ["", *(shown(f"{each.application} at {each.version}: {' '.join(each.sentences)}") for each in failed)]
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(counts(each for each, _ in rows).items()))
    count = counted(len(rows), "pair")
    return "\n".join([*text, "", f"{count}: {told}" if told else count]) + "\n"


def counts(decisions: Iterable[Decision]) -> Counter[str]:
    """How many there are of each reason."""
    return Counter(each.reason for each in decisions)


def as_arguments(rows: Iterable[Row]) -> str:
    """The argument for each pair, a paragraph each."""
    return arguments(
        (row.decision, [f"Its run is {row.run}" + (f", in {row.file}." if row.file else ".")] if row.run else [])
        for row in rows
    )


def arguments(rows: Iterable[tuple[Decision, Iterable[str]]]) -> str:
    """A paragraph for each decision: its argument, and further sentences."""
    return "\n".join(
        "".join(
            [
                shown(f"{each.application} at {each.version}: {each.reason}") + "\n",
                *(f"  {shown(sentence)}\n" for sentence in (*each.sentences, *further)),
            ]
        )
        for each, further in rows
    )


def tag(image: str | None) -> str:
    """The part of an image behind its name, without a digest."""
    if image is None:
        return ""
    reference = image.partition("@")[0]
    return reference.rpartition(":")[2] if ":" in reference.rpartition("/")[2] else "-"
