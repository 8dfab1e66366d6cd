"""What a reconciler sees and touches, on a clock of its own: branches, manifests, pull requests, runs; and who does what to them.

A run ends as it would: it builds for minutes, fails at times, and then does to the pull request what steps/open_pull_request.py
does, by the functions of steps.core that decide that. What may never be is counted as it happens.
"""

import dataclasses
import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from random import Random
from typing import NamedTuple

from steps.core import plan as plans
from steps.core import pull_request
from steps.core.applications import SHORT, Pair
from steps.core.image import Image
from steps.core.needs_update import Named
from steps.core.needs_update import Seen as Observed
from steps.core.plan import Key, Limits, Proposals, Run
from steps.core.pull_request import Operation, PullRequest, Relation, Seen, Tip
from steps.core.update import OPENING, REOPEN_LABEL, Update, marker
from steps.errors import StepError

US, ALICE = "apps-cd-bot", "alice"
MINUTE, HOUR = 60, 3600
BEGINNING = 1_000_000.0
SHORTEST, LONGEST = 5 * MINUTE, 20 * MINUTE
"""That a build takes."""
LAST_WORDS = 20.0
"""Seconds that a run goes on after what it does to the pull request."""
HARM = (
    "second runs of an attempt",
    "two runs of a commit at once",
    "hasty attempts",
    "attempts beyond the last",
    "second open pull requests",
    "older over newer",
    "refused ones proposed",
)
"""What may never be."""


class Rates(NamedTuple):
    """How often, of 1, a commit does not build, and a build fails for where it runs."""

    bad: float = 0.2
    infrastructure: float = 0.1


@dataclasses.dataclass
class _Fate:
    """What becomes of a run: whether it fails, and for what; `stay` is which stay of its commit at the tip it was made in."""

    cause: plans.Cause | None
    stay: int
    operation: Operation | None = None
    pull_request: str = ""


class World:
    """All pairs, each with a branch of its own."""

    def __init__(self, pairs: Iterable[Pair], random: Random, rates: Rates, limits: Limits) -> None:
        self.now = BEGINNING
        self.pairs = {pair.key: pair for pair in pairs}
        self.random, self.rates, self.limits = random, rates, limits
        self.counts: Counter[str] = Counter()
        self.histories: dict[str, tuple[str, ...]] = {}
        self.dates: dict[str, int] = {}
        self.bad: set[str] = set()
        self.tips: dict[Key, str] = {}
        self.stays: Counter[Key] = Counter()
        self.manifests: dict[Key, str] = {}
        self.reverted: set[Key] = set()
        self.pulls: dict[Key, tuple[PullRequest, ...]] = {}
        self.branches: dict[Key, Update | None] = {}
        self.refused: dict[tuple[Key, str], float] = {}
        self.runs: dict[str, Run] = {}
        self._fates: dict[str, _Fate] = {}
        self._events: list[tuple[float, int, str, str, _Fate]] = []
        self._made: dict[str, int] = {}
        self._failures: defaultdict[tuple[Key, str, int, str], list[Run]] = defaultdict(list)
        self._count = 0
        for key in self.pairs:
            self.manifests[key] = self.tips[key] = self._commit(key, ())
            self.pulls[key], self.branches[key] = (), None

    # The source, and the people who push to it.

    def push(self, key: Key) -> None:
        """One commit on the tip."""
        self._move(key, self._commit(key, self.histories[self.tips[key]]))

    def replace(self, key: Key) -> None:
        """A force-push of another commit in place of the tip."""
        self._move(key, self._commit(key, self.histories[self.tips[key]][:-1]))

    def set_back(self, key: Key) -> None:
        """A force-push back to a commit that the branch has had."""
        known = [commit for commit in self.histories if commit.endswith(self._ending(key)) and commit != self.tips[key]]
        if known:
            self._move(key, self.random.choice(known))

    # What people do to pull requests.

    def open_one(self, key: Key) -> PullRequest | None:
        return next((each for each in self.pulls[key] if each.state == "open"), None)

    def merge(self, key: Key) -> None:
        if (found := self.open_one(key)) and found.proposes and found.proposes.source:
            self._put(key, dataclasses.replace(found, state="merged", updated=self.now))
            self.manifests[key], self.branches[key] = found.proposes.source, None
            self.refused = {which: since for which, since in self.refused.items() if which[0] != key}
            self.counts["merged"] += 1

    def close(self, key: Key) -> None:
        if (found := self.open_one(key)) and found.proposes and found.proposes.source:
            self._put(key, dataclasses.replace(found, state="closed", updated=self.now))
            self.refused[key, found.proposes.source] = self.now
            self.counts["closed by a person"] += 1

    def label(self, key: Key) -> None:
        """Bring back the one that was closed last."""
        if (found := next(iter(self.pulls[key]), None)) and found.state == "closed" and found.proposes:
            labels = found.labels | {REOPEN_LABEL}
            self._put(key, dataclasses.replace(found, labels=labels, updated=self.now))
            self.refused.pop((key, found.proposes.source or ""), None)
            self.stays[key] += 1
            self.counts["brought back by a label"] += 1

    def revert(self, key: Key) -> None:
        """Have the manifests name what they named before."""
        self.manifests[key] = self.histories[self.manifests[key]][0]
        self.reverted.add(key)

    # What a reconciler reads.

    def seen(self, key: Key) -> Observed:
        pair, tip, named = self.pairs[key], self.tips[key], self.manifests[key]
        relation = self._relation(named, tip)
        behind = len(set(self.histories[tip]) - set(self.histories[named])) if relation == "behind" else 0
        path = f"{pair.manifests_dir}/kustomization.yaml"
        image = Image(str(pair.image), pair.tag(named))
        return Observed(tip, tip, path, image, named[:SHORT], Named(relation, named, behind))

    def proposals(self, key: Key, commit: str, pulls: tuple[PullRequest, ...]) -> Proposals:
        """What pull requests that were listed say of a commit."""
        pair = self.pairs[key]
        seen = Seen(pulls, US, str(pair.manifests.branch), None)
        return Proposals(US, pulls, pull_request.veto(seen, Update(*key, source=commit)))

    # What a reconciler does.

    def create(self, run: Run) -> bool:
        """Whether the run is new; there is one of a name."""
        if run.name in self.runs:
            self.counts["created already"] += 1
            return False
        self.counts["runs"] += 1
        key, stay = run.key, self.stays[run.key]
        if self._made.get(run.name) == stay:
            self.counts["second runs of an attempt"] += 1
        if any(
            each.outcome == "running" and each.commit == run.commit for each in self.runs.values() if each.key == key
        ):
            self.counts["two runs of a commit at once"] += 1
        failures = self._failures[key, run.commit, stay, run.first]
        if failures and self.now < max(each.ended or 0 for each in failures) + plans.delay(len(failures), self.limits):
            self.counts["hasty attempts"] += 1
        if sum(each.cause == "build" for each in failures) >= self.limits.attempts:
            self.counts["attempts beyond the last"] += 1
        self._made[run.name] = stay
        cause: plans.Cause | None = "build" if run.commit in self.bad else None
        if self.random.random() < self.rates.infrastructure:
            cause = "infrastructure"
        self.runs[run.name] = run
        self._fates[run.name] = _Fate(cause, stay)
        self._plan(self.now + self.random.uniform(SHORTEST, LONGEST), "propose" if cause is None else "end", run.name)
        return True

    def cancel(self, name: str) -> None:
        run = self.runs.get(name)
        if run and run.outcome == "running" and not run.is_ending:
            self.runs[name] = dataclasses.replace(run, is_ending=True)
            self._plan(self.now + LAST_WORDS, "end", name)
            self.counts["cancelled"] += 1

    # What becomes of runs.

    def lose(self, name: str) -> None:
        """Delete a run that goes on, so that nobody learns how it would have ended."""
        del self.runs[name], self._made[name]
        self.counts["runs lost"] += 1

    def prune(self, name: str) -> None:
        """Delete a run that has ended."""
        del self.runs[name]
        self.counts["runs pruned"] += 1

    @property
    def next_event(self) -> float | None:
        """When a run does something next."""
        return self._events[0][0] if self._events else None

    def advance(self, until: float) -> None:
        """Let time pass."""
        while self._events and self._events[0][0] <= until:
            self.now, _, kind, name, fate = heapq.heappop(self._events)
            run = self.runs.get(name)
            if run is None or run.outcome != "running" or self._fates[name] is not fate:
                continue
            if kind == "end":
                self._end(run)
            elif not run.is_ending:
                self._propose(run)
        self.now = max(self.now, until)

    def _end(self, run: Run) -> None:
        fate = self._fates[run.name]
        ended = dataclasses.replace(run, ended=self.now, is_ending=False)
        if run.is_ending:
            ended = dataclasses.replace(ended, outcome="superseded")
        elif fate.cause:
            ended = dataclasses.replace(
                ended, outcome="failed", cause=fate.cause, message="it failed", failed_task="build"
            )
            self._failures[run.key, run.commit, fate.stay, run.first].append(ended)
            self.counts[f"failures of {fate.cause}"] += 1
        else:
            ended = dataclasses.replace(
                ended, outcome="succeeded", operation=fate.operation, pull_request=fate.pull_request
            )
        self.runs[run.name] = ended

    def _propose(self, run: Run) -> None:
        """Do what steps/open_pull_request.py does."""
        fate, key, pair = self._fates[run.name], run.key, self.pairs[run.key]
        self._plan(self.now + LAST_WORDS, "end", run.name)
        sha = hashlib.sha1(f"{key} {run.commit}".encode(), usedforsecurity=False).hexdigest()
        update = Update(*key, f"{pair.image}:{pair.tag(run.commit)}", run.commit, self.dates[run.commit])
        update = dataclasses.replace(update, commit=None if self.manifests[key] == run.commit else sha)
        on_branch = self.branches[key]
        tip = Tip(on_branch.commit or "", on_branch) if on_branch else None
        seen = Seen(self.pulls[key], US, str(pair.manifests.branch), tip)
        is_overtaken = any(not self._is_newer(key, update, other) for other in pull_request.rivals(seen, update))
        is_vetoed = pull_request.veto(seen, update) is not None
        try:
            fate.operation, found = pull_request.operation(seen, update, is_overtaken=is_overtaken, is_vetoed=is_vetoed)
        except StepError:
            fate.cause = "build"
            return
        if fate.operation in ("created", "updated"):
            self._check(key, run.commit, found)
            body = f"{OPENING}\n{marker(update)}"
            number = found.number if found else 1 + max((each.number for each in self.pulls[key]), default=0)
            new = found or PullRequest(
                number,
                f"{pair.manifests.repository}/pull/{number}",
                US,
                f"{pair.manifests.repository.path}:apps-cd/{pair.version}/{pair.application}",
                str(pair.manifests.branch),
                sha,
                "open",
                "",
                body,
                created=self.now,
            )
            found = dataclasses.replace(new, sha=sha, body=body, updated=self.now)
            self._put(key, found)
            self.branches[key] = update
        elif fate.operation == "closed" and found:
            self._put(key, dataclasses.replace(found, state="closed", updated=self.now))
            self.branches[key] = None
        fate.pull_request = found.url if found else ""
        self.counts[fate.operation] += 1
        if sum(each.state == "open" for each in self.pulls[key]) > 1:
            self.counts["second open pull requests"] += 1

    def _check(self, key: Key, commit: str, found: PullRequest | None) -> None:
        before = found.proposes.source if found and found.proposes else None
        if (
            before
            and before != commit
            and commit in self.histories[before]
            and before in self.histories[self.tips[key]]
        ):
            self.counts["older over newer"] += 1
        if (key, commit) in self.refused:
            self.counts["refused ones proposed"] += 1

    def _is_newer(self, key: Key, update: Update, other: Update) -> bool:
        tip, ours, theirs = self.tips[key], update.source or "", other.source or ""
        if tip in (ours, theirs):
            return tip == ours
        places = [each in self.histories[tip] for each in (ours, theirs)]
        relation = self._relation(ours, theirs)
        return pull_request.is_newer(update, other, relation, is_on_branch=places[0], other_is_on_branch=places[1])

    def _relation(self, one: str, other: str) -> Relation:
        if one == other:
            return "identical"
        if other in self.histories[one]:
            return "ahead"
        return "behind" if one in self.histories[other] else "diverged"

    def _move(self, key: Key, tip: str) -> None:
        self.tips[key] = tip
        self.stays[key] += 1
        self.counts["pushes"] += 1

    def _commit(self, key: Key, history: tuple[str, ...]) -> str:
        self._count += 1
        digest = hashlib.sha1(f"{key} {self._count}".encode(), usedforsecurity=False).hexdigest()
        commit = digest[:32] + self._ending(key)
        self.histories[commit] = (*history, commit)
        self.dates[commit] = int(self.now)
        if history and self.random.random() < self.rates.bad:
            self.bad.add(commit)
        return commit

    def _ending(self, key: Key) -> str:
        """What all commits of a pair end with."""
        return hashlib.sha1(repr(tuple(map(str, key))).encode(), usedforsecurity=False).hexdigest()[:8]

    def _put(self, key: Key, pull: PullRequest) -> None:
        rest = [each for each in self.pulls[key] if each.number != pull.number]
        self.pulls[key] = tuple(sorted([*rest, pull], key=lambda each: -each.number))

    def _plan(self, when: float, kind: str, name: str) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, kind, name, self._fates[name]))


def ends_well(world: World, planned: plans.Planned) -> bool:
    """Whether a pair is where it is to be when nothing goes on: at its tip, or at a reason that the world bears out."""
    key, reason = planned.key, planned.decision.reason
    tip, manifests = world.tips[key], world.manifests[key]
    found = world.open_one(key)
    proposed = found.proposes.source if found and found.proposes else None
    truths: Mapping[str, bool] = {
        "up-to-date": manifests == tip,
        "ahead": tip in world.histories[manifests],
        "pull-request-open": proposed == tip,
        "vetoed": (key, tip) in world.refused,
        "stalled": tip in world.bad,
        "done": key in world.reverted and any(
            each.state == "merged" and each.proposes and each.proposes.source == tip for each in world.pulls[key]
        ),
    }  # fmt: skip
    return truths.get(reason, False)
