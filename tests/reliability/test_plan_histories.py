"""A thousand histories in which replicas that plan restart, read what is old, and lose replies, while people push, merge and close."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from random import Random

import pytest

from steps.core import applications
from steps.core.applications import Pair
from steps.core.plan import Key, Limits, Memory, Observed, Planned, Run, grouped, plan
from tests.reliability.world import HARM, HOUR, MINUTE, Rates, World, ends_well

CONFIGURATION = """\
applications:
  - {name: web, sourceRepo: code, manifestsDir: web, image: example.com/web}
versions:
  - name: v1
    tag: v1
    repos: &repos
      - {name: code, url: https://github.com/example/code, branch: main}
      - {name: manifests, url: https://github.com/example/manifests, branch: main}
  - {name: v2, tag: v2, repos: *repos}
"""
PAIRS = [pair for pair in applications.parse({"applications.yaml": CONFIGURATION}).pairs if isinstance(pair, Pair)]
LIMITS = Limits(runs=2)
ACTIONS = 70
STALE = 15 * MINUTE
"""Seconds after which a pass that has come no further is left off."""
QUIET = 400
"""Passes within which all is as it is to be, when nobody does anything any more."""

Store = tuple[Mapping[Key, Memory], int]
Replica = Generator[None, None, tuple[Planned, ...]]
Variant = Callable[[Observed], Observed]
"""What a replica takes for what it has observed."""


class Cluster:
    """What is remembered, and which runs somebody has seen the end of."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.store: Store = {}, 0
        self.noticed: set[str] = set()


def one_pass(cluster: Cluster, faults: Random | None, variant: Variant) -> Replica:
    """A pass of a replica, which may be left off at any yield."""
    world = cluster.world
    began = world.now
    memories, version = cluster.store
    yield
    runs, now = list(world.runs.values()), world.now
    yield
    pulls = dict(world.pulls)
    yield
    seen = {key: world.seen(key) for key in world.pairs}
    yield
    of_pair = grouped(runs)
    observed = [
        variant(
            Observed(
                pair,
                seen[key],
                f"{pair.version}-{seen[key].commit[:12]}",
                tuple(of_pair.get(key, ())),
                world.proposals(key, seen[key].commit, pulls[key]),
                memories.get(key),
            )
        )
        for key, pair in world.pairs.items()
    ]
    found = plan(observed, LIMITS, now).pairs
    wanted = {planned.key: planned.memory for planned in found if planned.memory}
    if world.now - began > STALE:
        return ()
    if wanted != memories:
        if cluster.store[1] != version:
            return ()
        cluster.store = wanted, version + 1
        world.counts["memory written"] += 1
    cluster.noticed |= {run.name for run in runs if run.outcome != "running"}
    yield
    for planned, each in zip(found, observed, strict=True):
        for name in planned.cancel:
            if world.now - began > STALE:
                return ()
            world.cancel(name)
            yield
        if planned.create is None or (faults and faults.random() < 0.1):
            continue
        if world.now - began > STALE:
            return ()
        commit = planned.decision.commit or ""
        if world.refused.get((planned.key, commit), now) < now:
            world.counts["runs of what was refused"] += 1
        name = each.first or ""
        name = name if planned.create == 1 else f"{name}-r{planned.create}"
        run = Run(name, each.first or "", planned.create, *planned.key, commit, "", world.now, None, "running")
        world.create(run)
        if faults and faults.random() < 0.1:
            return ()
        yield
    return found


def whole(replica: Replica) -> tuple[Planned, ...]:
    while True:
        try:
            next(replica)
        except StopIteration as stop:
            return tuple(stop.value)


def as_it_is(observed: Observed) -> Observed:
    return observed


def trouble(world: World, cluster: Cluster, random: Random, variant: Variant) -> None:
    """Everybody does something, in any order."""
    replicas = [one_pass(cluster, random, variant) for _ in range(2)]
    people = (
        world.push,
        world.replace,
        world.set_back,
        world.set_back,
        world.merge,
        world.close,
        world.label,
        world.revert,
    )
    for _ in range(ACTIONS):
        chance = random.random()
        index = random.randrange(2)
        if chance < 0.6:
            for _ in range(random.randint(1, 7)):
                if next(replicas[index], StopIteration) is StopIteration:
                    replicas[index] = one_pass(cluster, random, variant)
                    break
        elif chance < 0.63:
            replicas[index] = one_pass(cluster, random, variant)
        elif chance < 0.8:
            world.advance(world.now + random.choice((1, 5, 10, 20, 60)) * MINUTE)
        elif chance < 0.96:
            random.choice(people)(random.choice([*world.pairs]))
        elif runs := [*world.runs.values()]:
            run = random.choice(runs)
            if run.outcome == "running":
                world.lose(run.name)
            elif run.name in cluster.noticed:
                world.prune(run.name)
    for replica in replicas:
        # What it still does is old.
        whole(replica)


def peace(world: World, cluster: Cluster) -> tuple[Planned, ...]:
    """One replica makes passes until nothing is to be waited for."""
    world.rates = Rates(infrastructure=0)
    for _ in range(QUIET):
        found = whole(one_pass(cluster, None, as_it_is))
        waits = [planned.until for planned in found if planned.until]
        moments = [*waits, *([world.next_event] if world.next_event else [])]
        if not moments and not any(planned.create for planned in found):
            return found
        world.advance(min(moments, default=world.now) + 1)
    raise AssertionError("it does not come to an end")


def history(seed: int, variant: Variant = as_it_is) -> Counter[str]:
    random = Random(f"plan {seed}")  # noqa: S311 - not secret
    world = World(PAIRS, random, Rates(), LIMITS)
    cluster = Cluster(world)
    trouble(world, cluster, random, variant)
    for planned in peace(world, cluster):
        world.counts[f"ended {planned.decision.reason}"] += 1
        if not ends_well(world, planned):
            world.counts["wrong ends"] += 1
            world.counts[f"wrong end {planned.decision.reason} of {seed}"] += 1
    before = world.counts["memory written"], world.counts["runs"]
    world.advance(world.now + HOUR)
    whole(one_pass(cluster, None, as_it_is))
    world.counts["writes when nothing moved"] += before != (world.counts["memory written"], world.counts["runs"])
    return world.counts


HISTORIES, BLOCK = 1000, 125
NEVER = (*HARM, "runs of what was refused", "wrong ends", "writes when nothing moved")


def histories(seeds: range, variant: Variant = as_it_is) -> Counter[str]:
    return sum((history(seed, variant) for seed in seeds), Counter())


@pytest.mark.parametrize("first", range(0, HISTORIES, BLOCK))
def test_whatever_happens_each_pair_comes_to_its_tip_or_to_a_reason_that_holds(first: int) -> None:
    counts = histories(range(first, first + BLOCK))
    assert {name: count for name, count in counts.items() if name.startswith(NEVER) and count} == {}
    happened = ("runs lost", "runs pruned", "cancelled", "created already", "merged", "ended stalled", "ended vetoed")
    assert {name for name in happened if not counts[name]} == set()


@pytest.mark.parametrize(
    ("variant", "harm"),
    [
        pytest.param(
            lambda observed: dataclasses.replace(observed, memory=None),
            "attempts beyond the last",
            id="one that forgets",
        ),
        pytest.param(
            lambda observed: dataclasses.replace(observed, proposals=None),
            "runs of what was refused",
            id="one that is deaf",
        ),
        pytest.param(
            lambda observed: dataclasses.replace(observed, runs=()), "hasty attempts", id="one that sees no runs"
        ),
    ],
)
def test_a_replica_that_does_not_look_is_found_out(variant: Variant, harm: str) -> None:
    assert histories(range(BLOCK), variant)[harm]
