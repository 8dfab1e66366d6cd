"""`make figures`, the part that needs no cluster: pull requests under fault, kills, histories, races, secrets, hostile values.

What is drawn is drawn from fixed seeds; of a share it is the first ones. The table is printed and kept in
`build/reliability.md`; a row that misses what was wanted says so, and then the program ends 1. `README.md` beside this file is
the table of a release.
"""

import argparse
import itertools
import logging
import math
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests import test_hostile_values
from tests.reliability import day, histories, kills, lives, peers, secrets, updaters
from tests.reliability.spread import spread

OUTPUT = Path(__file__).parents[2] / "build/reliability.md"
LIVES, LIVES_OF_PEERS = 1000, 200
HISTORIES, HISTORIES_OF_THE_STEP = 10_000, 200
ORDERS = 1000
SEEDS = AT_ONCE = DAYS = 20
MOST_SECONDS = 30
"""A miss of which is told, and fails nothing: it is the machine's."""
DUPLICATES = ("duplicate pull requests", "duplicate comments", "duplicate labels")
PLAYED = ("histories", "actions", "proposals")
HARM = tuple(key for key in histories.KEYS if key not in PLAYED)


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        what: was measured.
        found: what was found.
        wanted: and what that was to be.
        is_met: whether it is.
    """

    what: str
    found: str
    wanted: str = ""
    is_met: bool = True

    def __str__(self) -> str:
        return f"| {self.what} | {self.found}{'' if self.is_met else ' (missed)'} | {self.wanted} |"


def _none(counts: Counter[str], names: Sequence[str]) -> tuple[str, str, bool]:
    found = sum(counts[name] for name in names)
    return str(found), "0", found == 0


def under_fault(share: int) -> Iterator[Row]:
    """Lives of pull requests while GitHub fails."""
    lived, lived_by_peers = LIVES // share, LIVES_OF_PEERS // share
    counts = spread(lives.live, range(lived))
    _tell(counts, "not done", "broken off")
    requests, most = counts["requests"], math.ceil(lived / 1000)
    yield Row(
        f"{counts['lives']:,} lives of a pull request, {counts['runs']:,} runs, {requests:,} requests to REST and git: faulty",
        f"{counts['faults'] / requests:.0%}",
        is_met=counts["lives"] == lived,
    )
    yield Row(
        "of these done, a run that ends 75 being run again up to 3 times",
        f"{counts['done'] / lived:.2%}",
        f"{100 - 100 * most / lived:.1f} %",
        counts["done"] >= lived - most,
    )
    yield Row(
        "runs that ended 75; pull requests without their label",
        f"{counts['later'] / counts['runs']:.1%}; {counts['unlabelled']}",
    )
    yield Row("not done, and not worth another try", *_none(counts, ["ended for good"]))
    yield Row("duplicate pull requests, comments, labels", *_none(counts, DUPLICATES))
    yield Row("requests within a time that GitHub had asked to wait", *_none(counts, ["impatient"]))
    yield Row("writes within a second of the one before", *_none(counts, ["hasty"]))
    yield Row(
        "defects, and replies against GitHub's models", *_none(counts, ["defects", "violations of GitHub's models"])
    )
    yield Row("the token in logs and bodies, in any of 13 spellings", *_none(counts, ["token found"]))
    for name, life in (("PyGithub", peers.live_with_pygithub), ("hub", peers.live_with_hub)):
        if name == "hub" and not peers.has_hub():
            yield Row("the same with hub", "not measured: hub is not installed")
            continue
        counts = spread(life, range(lived_by_peers))
        duplicates = sum(counts[name] for name in DUPLICATES)
        job = (
            "opening and labelling with hub, on a slow clock"
            if name == "hub"
            else "opening, labelling, commenting with PyGithub"
        )
        yield Row(
            f"{job}, run again likewise: done; duplicates",
            f"{counts['done'] / lived_by_peers:.0%}; {duplicates} in {lived_by_peers}",
        )


def under_kills(share: int) -> Iterator[Row]:
    """Steps killed after each effect."""
    seeds = SEEDS // share
    counts = spread(kills.kill, itertools.product(kills.CASES, range(seeds)))
    _tell(counts, "not equal", "broken off")
    effects, points = counts["effects"] // seeds, counts["points"]
    yield Row(
        f"{effects} effects of {len(kills.CASES)} cases of {len({case.step for case in kills.CASES.values()})} steps, "
        f"{seeds} seeds, {counts['killed']} killed: run again, same end, no token in sight",
        f"{counts['equal']} of {points}",
        "all",
        counts["equal"] == points == counts["effects"] > 0
        and counts["killed"] > 0.8 * points
        and counts["token found"] == 0,
    )


def among_people(share: int) -> Iterator[Row]:
    """Histories with people in them."""
    of_the_model, of_the_step, orders = HISTORIES // share, HISTORIES_OF_THE_STEP // share, ORDERS // share
    for count, counts, where in (
        (of_the_model, histories.measure_model(of_the_model), "in a model that asks our decisions"),
        (of_the_step, spread(histories.compare, range(of_the_step)), "by the step, on real git"),
    ):
        _tell(counts, "broken off")
        what = f"{count:,} histories, {counts['proposals']:,} proposals, {where}: {', '.join(HARM[:2])}"
        harmed, wanted, is_met = _none(counts, HARM[:2])
        yield Row(what, harmed, wanted, is_met=is_met and counts["histories"] == count)
        rest = [*HARM[2:], "token found"]
        yield Row(", ".join(rest), *_none(counts, rest))
    counts = histories.measure_orders(orders)
    yield Row(
        f"{orders:,} orders in which builds end, in the model, some lost, some twice: in the end the newest is proposed, once",
        f"{counts['final is newest']:,}",
        "all",
        counts["final is newest"] == orders and counts["second open pull requests"] == 0,
    )


def at_once(share: int) -> Iterator[Row]:
    """Many updaters of one repository."""
    many = AT_ONCE // share
    for what, measure, opened in (
        (f"{many} updaters at once, of {many} applications", updaters.measure_applications, many),
        (f"{many} at once of one application and {many} commits, again while they end 75", updaters.measure_commits, 1),
    ):
        with tempfile.TemporaryDirectory(prefix="apps-cd-") as directory:
            counts = measure(Path(directory, "site"), many)
        seconds = counts["seconds"]
        is_right = counts["open pull requests"] == counts["at the newest commit"] == counts["pull requests"] == opened
        yield Row(
            f"{what}: through, and {opened} pull request{'s' * (opened > 1)} at the newest commit",
            f"{counts['ended 0']} of {counts['updaters']}",
            "all",
            is_right and counts["ended 0"] == counts["updaters"],
        )
        told = f"{seconds}{'' if seconds <= MOST_SECONDS else ' (missed)'}; {counts['merge commits']}"
        yield Row("seconds; merge commits", told, f"{MOST_SECONDS}; 0", counts["merge commits"] == 0)


def by_day(share: int) -> Iterator[Row]:
    """Replicas of the reconciler, on a clock of their own."""
    days = DAYS // share
    logging.disable()  # of what fails on purpose
    counts, longest = day.measure(range(days))
    logging.disable(logging.NOTSET)
    _tell(counts, "defects:", "wrong end")
    yield Row(
        f"{days} days of 3 replicas, 47 pairs and a malformed one, {counts['passes']:,} passes: {counts['pushes']:,} pushes, "
        f"{counts['runs']:,} runs; replicas killed, stopped up to an hour; 500 or silence, replies lost",
        f"{counts['kills']}, {counts['stalls']}; {counts['failures before the effect']}, {counts['replies lost']}",
        is_met=counts["days"] == days and min(counts[name] for name in ("kills", "stalls", "replies lost")) > days,
    )
    yield Row(", ".join(name for name in day.NEVER if name != "defects"), *_none(counts, day.NEVER))
    intervals = longest / day.INTERVAL
    yield Row(
        "longest time without a pass while a replica lived, in intervals", f"{intervals:.1f}", "2", intervals <= 3
    )


def under_watch(share: int) -> Iterator[Row]:
    """Credentials, and values that are after them."""
    with tempfile.TemporaryDirectory(prefix="apps-cd-") as directory:
        counts = secrets.measure(Path(directory, "scene"))
    what = f"{counts['canaries']} credentials, {counts['runs']} runs, {counts['samples']:,} samples of processes"
    _, wanted, is_met = _none(counts, ["found"])
    yield Row(
        f"{what}, {counts['places scanned']:,} places: found (those of registries: on the cluster)",
        str(counts["found"]),
        wanted,
        is_met and counts["runs over ssh"] > 0,
    )
    wrong: list[str] = []
    hostile = Counter(test_hostile_values.measure(wrong=wrong, one_in=share))
    for line in wrong:
        print(line)
    yield Row(
        f"{hostile['values']} hostile values x {hostile['parameters']} parameters{f', one in {share}' if share > 1 else ''}: "
        "refused with exit 2 before any request",
        f"{hostile['refused']:,} of {hostile['to refuse']:,}",
        "all",
        hostile["refused"] == hostile["to refuse"] > 0 and not wrong,
    )
    yield Row(
        f"executed, or Authorization to another host, in these and {hostile['runs']} runs with values that may be",
        *_none(hostile, ["executed", "leaked"]),
    )


GROUPS: tuple[Callable[[int], Iterator[Row]], ...] = (
    under_fault,
    under_kills,
    among_people,
    at_once,
    by_day,
    under_watch,
)


def _tell(counts: Counter[str], *beginnings: str) -> None:
    """Say what did not end as it should."""
    for name in sorted(counts):
        if name.startswith(beginnings):
            print(name)


def main(argv: Sequence[str]) -> int:
    """Print the table, and keep it when it is whole."""
    names = [group.__name__ for group in GROUPS]
    parser = argparse.ArgumentParser(description="What pull requests survive.")
    parser.add_argument(
        "--share", type=int, choices=range(1, 11), default=1, help="divides how much of each is measured"
    )
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"rows to measure: {', '.join(names)}")
    given = parser.parse_args(argv)
    lines = ["| Measured | | Wanted |", "|---|---|---|"]
    print(*lines, sep="\n", flush=True)
    is_met = True
    for group in GROUPS:
        if given.groups and group.__name__ not in given.groups:
            continue
        start = time.monotonic()
        for row in group(given.share):
            print(row, flush=True)
            lines.append(str(row))
            is_met = is_met and row.is_met
        print(f"({group.__name__}: {time.monotonic() - start:.0f} s)", file=sys.stderr, flush=True)
    if not given.groups:
        OUTPUT.parent.mkdir(exist_ok=True)
        OUTPUT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
