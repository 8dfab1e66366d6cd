"""A day of three replicas of the reconciler, on a clock that costs nothing: kills, stalls, failures, lost replies.

The reconciler is the real one; what it reads and writes is `world`. Each call of it takes time, as a seed decides, and meanwhile
others go on. A replica has a thread, of which one at a time runs: so a seed always stands for the same day.
"""

import dataclasses
import heapq
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Literal, NamedTuple, TypeVar

from steps.clients.configuration import Configured
from steps.core import applications, memory, pipeline_run, run_status
from steps.core.applications import Broken, Pair
from steps.core.needs_update import Failure, Seen
from steps.core.plan import Key, Limits, Memory, Plan, Proposals, Run
from steps.core.pull_request import PullRequest
from steps.core.pull_request_body import KubernetesName
from steps.core.repository import Branch, Person, Repository
from steps.core.update import Update
from steps.errors import StepError
from steps.passes import Namespace, Reconciler
from steps.reconcile import SLACK, STANDBY, TURN
from tests.reliability.world import BEGINNING, HARM, HOUR, MINUTE, Rates, World, ends_well

REPLICAS, INTERVAL, DAY = 3, 10 * MINUTE, 24 * HOUR
APPLICATIONS = 24
PAIRS = 2 * APPLICATIONS
KEPT = 3 * HOUR
"""That a run stays after its end."""
PUSHES, MERGES, CLOSES, LABELS = 180, 70, 12, 6
QUIET = 200
"""Passes within which all is as it is to be, when nothing happens any more."""
LARGEST_MEMORY = 400
"""Bytes of what is remembered, for each pair."""
LIMITS = Limits(runs=16, runs_per_repository=6)
TEMPLATE = Path(__file__).parents[2] / "tekton/runs/apps-cd.yaml"
NEVER = (
    *HARM,
    "pairs at a wrong end",
    "heartbeats too late",
    "writes when nothing moved",
    "bytes of memory beyond",
    "defects",
)
"""What may never be, and is counted."""

Result = TypeVar("Result")


class Trouble(NamedTuple):
    """How often, of 1, something happens to a call of a replica."""

    kill: float = 0.005
    stall: float = 0.006
    before: float = 0.02
    after: float = 0.02


class Variant(NamedTuple):
    """How a cluster is not as it should be: it gives each run a name of its own, or nothing is remembered."""

    generates_names: bool = False
    forgets: bool = False


def configuration() -> Configured:
    """24 applications at two versions; `app0` at the second is malformed, because that version lacks its repository."""
    entries = [
        f"  - {{name: app{n}, sourceRepo: {'alone' if n == 0 else f'code{n % 6}'}, manifestsDir: app{n}, "
        f"image: example.com/app{n}}}"
        for n in range(APPLICATIONS)
    ]
    versions = []
    for version in ("v1", "v2"):
        names = [f"code{n}" for n in range(6)] + ["manifests"] + (["alone"] if version == "v1" else [])
        repos = [
            f"      - {{name: {name}, url: https://github.com/example/{name}, branch: {version}}}" for name in names
        ]
        versions += [f"  - name: {version}\n    tag: {version}\n    repos:", *repos]
    text = "\n".join(["applications:", *entries, "versions:", *versions, ""])
    frame, problems = pipeline_run.read_template(str(TEMPLATE), TEMPLATE.read_text(encoding="utf-8"))
    told = applications.parse({"applications.yaml": text}, pipeline_params=frame.known_params if frame else None)
    return Configured(frame, told, (*problems, *told.problems))


CONFIGURATION = configuration()
WELL = [pair for pair in CONFIGURATION.told.pairs if isinstance(pair, Pair)]


AS_IT_SHOULD_BE = Variant()


class Killed(BaseException):
    """What ends a replica anywhere."""


class Replica:
    """A process that makes passes when it is its turn, and is born anew when it was killed."""

    def __init__(self, day: "Day", number: int) -> None:
        self.day, self.number, self.lives = day, number, 0
        self._go = threading.Semaphore(0)
        self.is_in_pass = False
        self._seen_lease: tuple[int, float] = (0, 0.0)
        self.restart()

    def restart(self) -> None:
        self.lives += 1
        self.holder = f"replica{self.number}_{self.lives}"
        self._seen_lease = (-1, 0.0)
        self.reconciler = reconciler(self.day, self)

    def turn(self, life: int, *, is_woken: bool = False) -> None:
        """What the loop of steps.reconcile does when it wakes up."""
        if life != self.lives or self.is_in_pass or self.day.is_over:
            return
        if self._takes_lease(TURN) or is_woken:
            self.is_in_pass = True
            self.day.switch_to(threading.Thread(target=self._carry_out, daemon=True).start)
        else:
            self.day.at(STANDBY, lambda: self.turn(life))

    def _takes_lease(self, seconds: int) -> bool:
        day, now = self.day, self.day.world.now
        lease = day.lease
        if lease.holder not in (None, self.holder):
            if self._seen_lease[0] != lease.version:
                self._seen_lease = lease.version, now
                return False
            if now - self._seen_lease[1] < lease.seconds:
                return False
        day.lease = Lease(self.holder, lease.version + 1, seconds)
        return True

    def _carry_out(self) -> None:
        day, life, began = self.day, self.lives, self.day.world.now
        try:
            day.one_pass(self.reconciler)
        except Killed:
            day.counts["kills"] += 1
            self.restart()
            day.out.append((day.world.now, day.world.now + (seconds := day.random.uniform(5, 90))))
            day.at(seconds, lambda: self.turn(life + 1))
        else:
            day.heartbeats.append(day.world.now)
            self._takes_lease(INTERVAL + SLACK)
            day.at(max(0.0, began + INTERVAL - day.world.now), lambda: self.turn(life))
        finally:
            self.is_in_pass = False
            day.baton.release()

    def pause(self, seconds: float) -> None:
        """Let others go on for so long."""
        self.day.at(seconds, lambda: self.day.switch_to(self._go.release))
        self.day.baton.release()
        self._go.acquire()


def reconciler(day: "Day", replica: Replica | None) -> Reconciler:
    """One of the day; what it calls takes no time and does not fail when it is nobody's."""
    effects: Any = Effects(day, replica)
    namespace = Namespace(KubernetesName("apps-cd"), KubernetesName("state"))
    return Reconciler(
        effects, effects, lambda: CONFIGURATION, effects.observe, LIMITS, namespace, clock=lambda: day.world.now
    )


class Lease(NamedTuple):
    """Who has it, how often it was written, and for how long it is taken."""

    holder: str | None = None
    version: int = 0
    seconds: int = 0


class Effects:
    """What a replica reads and writes: its cluster, its pull requests, its repositories."""

    def __init__(self, day: "Day", replica: Replica | None) -> None:
        self._day, self._replica = day, replica
        self._pulls: Mapping[Key, tuple[PullRequest, ...]] | None = None

    # The cluster.

    def runs(self) -> tuple[list[Run], float]:
        return self._called(lambda: (list(self._day.world.runs.values()), self._day.world.now))

    def create(self, document: Mapping[str, Any]) -> bool:
        return self._called(lambda: self._day.create(document), writes=True)

    def cancel(self, name: str, by: str) -> None:
        assert by
        self._called(lambda: self._day.world.cancel(name), writes=True)

    def remembered(self, name: str) -> tuple[dict[Key, Memory], str]:
        assert name == "state"
        data, version = self._called(lambda: self._day.state)
        memories, bad = memory.read({} if self._day.variant.forgets else data)
        assert not bad
        return memories, str(version)

    def remember(self, name: str, memories: Iterable[Memory], version: str) -> bool:
        assert name == "state"
        data = memory.written(memories)
        return self._called(lambda: self._day.remember(data, version), writes=True)

    def event(
        self, name: str, reason: str, note: str, *, regarding: tuple[str, str], kind: Literal["Normal", "Warning"]
    ) -> None:
        assert note
        assert regarding
        assert (kind == "Warning") == (reason == "Stalled")
        self._called(lambda: self._day.events.update([name]), writes=True, may_fail=False)

    # Pull requests.

    def begin(self) -> None:
        self._pulls = None

    def look(self, repositories: Iterable[Repository]) -> None:
        assert [each.name for each in repositories] == ["manifests"]
        try:
            self._pulls = self._called(lambda: dict(self._day.world.pulls))
        except StepError:
            self._pulls = None

    def proposals(
        self, repository: Repository, base: Branch, owner: str | None, update: Update, author: Person
    ) -> Proposals | Failure:
        assert (repository.name, base, owner, author.name) == ("manifests", update.version, None, "apps-cd")
        if self._pulls is None:
            return Failure("unreachable", "the list of pull requests is not answered", later=True)
        key = update.application, update.version
        return self._day.world.proposals(key, update.source or "", self._pulls[key])

    def set_status(self, repository: Repository, commit: str, **status: str | None) -> bool:
        assert repository in {pair.source.repository for pair in WELL}
        assert commit in self._day.world.histories
        self._called(lambda: None, writes=True)
        if repository.name == "code0" and self._day.is_faulty:
            raise StepError("unreachable", "this repository takes no status for a day", later=True)
        self._day.counts[f"statuses {status['state']}"] += 1
        return True

    # Branches.

    def observe(self, pairs: Sequence[Pair], all_pairs: Sequence[Pair | Broken]) -> Mapping[Key, Seen | Failure]:
        assert len(all_pairs) == PAIRS
        silent = (
            self._day.random.choice(WELL).source if self._day.is_faulty and self._day.random.random() < 0.1 else None
        )
        seen = self._called(lambda: {pair.key: self._day.world.seen(pair.key) for pair in pairs}, may_fail=False)
        failure = Failure("unreachable", "the repository does not answer", later=True)
        return {pair.key: failure if pair.source == silent else seen[pair.key] for pair in pairs}

    def _called(self, call: Callable[[], Result], *, writes: bool = False, may_fail: bool = True) -> Result:
        """Call something as a network does."""
        day = self._day
        day.counts["calls"] += 1
        day.counts["writes"] += writes
        if self._replica is None:
            return call()
        self._passes_time(self._replica)
        chance = day.random.random() if may_fail and day.is_faulty else 1.0
        if chance < day.rates.before:
            day.counts["failures before the effect"] += 1
            raise StepError("unreachable", "the API server answered 500", later=True)
        result = call()
        self._passes_time(self._replica)
        if day.rates.before <= chance < day.rates.before + day.rates.after:
            day.counts["replies lost"] += 1
            raise StepError("unreachable", "the connection was cut", later=True)
        return result

    def _passes_time(self, replica: Replica) -> None:
        day = self._day
        chance = day.random.random() if day.is_faulty else 1.0
        if chance < day.rates.kill:
            raise Killed
        if chance < day.rates.kill + day.rates.stall:
            day.counts["stalls"] += 1
            day.out.append((day.world.now, day.world.now + (seconds := day.random.uniform(MINUTE, HOUR))))
            replica.pause(seconds)
        else:
            replica.pause(day.random.expovariate(2))


class Day:
    """All that happens."""

    def __init__(self, seed: int, variant: Variant = AS_IT_SHOULD_BE) -> None:
        self.random = Random(f"day {seed}")  # noqa: S311 - not secret
        self.variant, self.rates = variant, Trouble()
        self.world = World(WELL, Random(f"world {seed}"), Rates(bad=0.15, infrastructure=0.08), LIMITS)  # noqa: S311
        self.counts = self.world.counts
        self.state: tuple[dict[str, str], int] = {}, 0
        self.lease = Lease()
        self.events: Counter[str] = Counter()
        self.heartbeats, self.out, self.longest = [BEGINNING], list[tuple[float, float]](), 0.0
        self.baton = threading.Semaphore(0)
        self.is_faulty, self.is_over = True, False
        self.last: Plan | None = None
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._replicas = [Replica(self, number) for number in range(REPLICAS)]

    def at(self, seconds: float, do: Callable[[], None]) -> None:
        """Have something done in so many seconds."""
        self._count += 1
        heapq.heappush(self._due, (self.world.now + seconds, self._count, do))

    def switch_to(self, go: Callable[[], object]) -> None:
        """Have a replica go on, and wait until it pauses."""
        go()
        self.baton.acquire()

    def one_pass(self, by: Reconciler) -> None:
        self.counts["passes"] += 1
        try:
            self.last = plan = by.act(by.look())
            malformed = [each.key for each in plan.pairs if each.decision.reason == "config-error"]
            assert (len(plan.pairs), malformed) == (PAIRS, [("app0", "v2")])
        except StepError as error:
            self.counts[f"passes that ended {error.reason}"] += 1
        except Exception as error:  # noqa: BLE001 - counted
            self.counts["defects"] += 1
            self.counts[f"defects: {error!r}"] += 1

    def create(self, document: Mapping[str, Any]) -> bool:
        created = datetime.fromtimestamp(self.world.now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata = {**document["metadata"], "creationTimestamp": created}
        run = run_status.run({**document, "metadata": metadata})
        assert run
        assert metadata["namespace"] == "apps-cd"
        if self.variant.generates_names and run.name in self.world.runs:
            run = dataclasses.replace(run, name=f"{run.name}-{self._count}")
        return self.world.create(dataclasses.replace(run, created=self.world.now))

    def remember(self, data: dict[str, str], version: str) -> bool:
        if version != str(self.state[1]):
            self.counts["conflicts"] += 1
            return False
        self.state = data, self.state[1] + 1
        size = sum(len(key) + len(value) for key, value in data.items())
        self.counts["bytes of memory beyond"] += max(0, size - PAIRS * LARGEST_MEMORY)
        return True

    def play(self) -> Counter[str]:
        """A day with trouble, and then as long as it takes without."""
        self._people()
        for number, replica in enumerate(self._replicas):
            self.at(number, lambda replica=replica: replica.turn(replica.lives))  # type: ignore[misc]
        self._run(BEGINNING + DAY)
        self._judge_heartbeats()
        self.is_faulty, self.is_over = False, True
        self._run(None)
        self._settle()
        return self.counts

    def _run(self, until: float | None) -> None:
        """Do what is due, until a time, or until nobody does anything any more."""
        while self._due and (until is None or self._due[0][0] <= until):
            when, _, do = heapq.heappop(self._due)
            self.world.advance(when)
            do()

    def _people(self) -> None:
        world, random = self.world, self.random
        keys = [pair.key for pair in WELL]
        moves = (world.push, world.push, world.push, world.replace, world.set_back)
        times: list[tuple[int, Callable[[Key], None]]] = [(PUSHES, self._pushed(random.choice, moves))]
        times += [(MERGES, world.merge), (CLOSES, world.close), (LABELS, world.label)]
        for count, do in times:
            for _ in range(count):
                self.at(random.uniform(0, DAY), lambda do=do: do(self._fitting(do, keys)))  # type: ignore[misc]
        for minute in range(0, 24 * 60, 30):
            self.at(minute * MINUTE, self._prune)

    def _pushed(
        self, choice: Callable[[Sequence[Any]], Any], moves: Sequence[Callable[[Key], None]]
    ) -> Callable[[Key], None]:
        def push(key: Key) -> None:
            choice(moves)(key)
            if self.random.random() < 0.3:
                # A webhook, which reaches one of the replicas.
                replica = self.random.choice(self._replicas)
                self.at(2, lambda: replica.turn(replica.lives, is_woken=True))

        return push

    def _fitting(self, do: Callable[[Key], None], keys: Sequence[Key]) -> Key:
        """A pair, for which there is something to be merged or closed if it is for that."""
        world = self.world
        fitting = [key for key in keys if world.open_one(key)] if do in (world.merge, world.close) else keys
        return self.random.choice(fitting or keys)

    def _prune(self) -> None:
        for run in [*self.world.runs.values()]:
            if run.ended is not None and run.ended < self.world.now - KEPT:
                self.world.prune(run.name)

    def _judge_heartbeats(self) -> None:
        """See that no time without a pass is longer than 2 intervals and a turn for each replica but two that was lost in it, not
        counting when no replica lived.
        """
        beats = [*sorted(self.heartbeats), BEGINNING + DAY]
        for before, after in itertools.pairwise(beats):
            waited = after - before - self._lifeless(before, after)
            lost = sum(before < begin < after for begin, _ in self.out)
            self.counts["heartbeats too late"] += waited > 2 * INTERVAL + max(0, lost - 2) * (TURN + STANDBY)
            self.longest = max(self.longest, waited)

    def _lifeless(self, since: float, until: float) -> float:
        """Seconds in which all replicas were stopped or dead."""
        changes = [(max(since, begin), 1) for begin, end in self.out if begin < until and end > since]
        changes += [(min(until, end), -1) for begin, end in self.out if begin < until and end > since]
        total, out, last = 0.0, 0, since
        for when, change in sorted(changes):
            total += (when - last) * (out == REPLICAS)
            out, last = out + change, when
        return total

    def _settle(self) -> None:
        """One replica makes passes until nothing is to be waited for; then two that are to write nothing."""
        self.world.rates = Rates(infrastructure=0)
        last_one = reconciler(self, None)
        for _ in range(QUIET):
            self.one_pass(last_one)
            assert self.last
            waits = [planned.until for planned in self.last.pairs if planned.until]
            moments = [*waits, *([self.world.next_event] if self.world.next_event else [])]
            if not moments and not any(planned.create for planned in self.last.pairs):
                break
            self.world.advance(min(moments, default=self.world.now) + 1)
        assert self.last
        for planned in self.last.pairs:
            self.counts[f"ended {planned.decision.reason}"] += 1
            if planned.decision.reason != "config-error" and not ends_well(self.world, planned):
                self.counts["pairs at a wrong end"] += 1
                self.counts[f"wrong end {planned.decision.reason}"] += 1
        before = self.counts["writes"]
        for _ in range(2):
            self.world.advance(self.world.now + 2 * KEPT)
            self._prune()
            self.one_pass(last_one)
        self.counts["writes when nothing moved"] += self.counts["writes"] - before


def measure(seeds: Iterable[int], variant: Variant = AS_IT_SHOULD_BE) -> tuple[Counter[str], float]:
    """What happened on the days of some seeds, and the longest time without a pass while a replica lived, in seconds."""
    counts, longest = Counter[str](), 0.0
    for seed in seeds:
        day = Day(seed, variant)
        counts += day.play()
        counts["days"] += 1
        longest = max(longest, day.longest)
    return counts, longest
