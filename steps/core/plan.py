"""What is to be done for each pair now: what repositories, pull requests, runs and memory say, and what follows.

Observed in this order: runs, pull requests, tips of branches. So a run that is there was made for a tip that was there before
the one that is seen, and a pull request that was merged is in the manifests that are seen.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from steps.core import needs_update
from steps.core.applications import Broken, Pair
from steps.core.needs_update import Decision, Failure, Seen, Status
from steps.core.pipeline_run import attempt_name
from steps.core.pull_request import Operation, PullRequest, is_ours
from steps.core.repository import Repository
from steps.core.text import counted
from steps.core.update import REOPEN_LABEL, Update

Key = tuple[str, str]
"""Application and version."""

Outcome = Literal["running", "succeeded", "failed", "superseded"]
"""Of a run; `superseded` is one that was cancelled because a newer commit came, which says nothing of its commit."""

Cause = Literal["build", "infrastructure"]
"""What made a run fail: what it does, which will be the same the next time, or where it ran."""

Event = Literal["created", "stalled", "vetoed", "recovered"]
"""What is told beside the plan, once for each pair and commit."""

INFRASTRUCTURE_ATTEMPTS = 8
"""As many runs of a commit may fail for where they ran: over 21 hours, with the delays between them."""
MOST_DELAYS = 3
"""How many failures make the delay longer."""
MOST_TRIES = 3
"""As many times an attempt that no pass has seen is created without delay."""
HOUR = 3600


@dataclass(frozen=True)
class Run:
    """A PipelineRun of a pair, as the cluster has it.

    Attributes:
        first: the name of the first attempt of the same content; the name itself, less `-r2` and the like.
        attempt: 1, 2, 3 ...
        source: URL of the repository that it builds from.
        created: by the API server's clock, in seconds since 1970, as all times here.
        ended: None while it goes on.
        cause: of a failed one.
        message: what Tekton says of it, one line.
        failed_task: the task of the Pipeline that failed, for a link to its log.
        operation: what became of the pull request, when it succeeded.
        pull_request: its page; empty when there is none.
        is_ending: whether it has been told to end, while it goes on.
    """

    name: str
    first: str
    attempt: int
    application: str
    version: str
    commit: str
    source: str
    created: float
    ended: float | None
    outcome: Outcome
    cause: Cause | None = None
    message: str = ""
    failed_task: str = ""
    operation: Operation | None = None
    pull_request: str = ""
    is_ending: bool = False

    @property
    def key(self) -> Key:
        return self.application, self.version


@dataclass(frozen=True)
class Attempt:
    """What is remembered of a run for when it is deleted.

    Attributes:
        number: 1, 2, 3 ...
        noted: when it was to be created last.
        tries: how many times it was.
        ended: None as long as no pass has seen that.
        cause: of its failure; None of one that has ended well, or of which the end is not known.
    """

    number: int
    noted: float
    tries: int = 1
    ended: float | None = None
    cause: Cause | None = None


@dataclass(frozen=True)
class Memory:
    """What is remembered of a pair: the attempts at one commit, and what has been told of it.

    Attributes:
        first: the name of the first attempt, which stands for the commit and all that the run is made from.
    """

    application: str
    version: str
    commit: str
    first: str
    attempts: tuple[Attempt, ...] = ()
    told: frozenset[Event] = frozenset()

    @property
    def key(self) -> Key:
        return self.application, self.version

    def run(self, attempt: Attempt) -> str:
        """The name of the run of an attempt."""
        return attempt_name(self.first, attempt.number)


@dataclass(frozen=True)
class Proposals:
    """The pull requests of a pair's branch into its base, anybody's and in any state.

    Attributes:
        us: our login.
        found: the newest first.
        refused: the one that a person closed, so that its commit is not wanted, unless it has the label `apps-cd/reopen`.
        is_foreign: whether somebody else has put commits on the branch of our open one.
    """

    us: str
    found: tuple[PullRequest, ...] = ()
    refused: PullRequest | None = None
    is_foreign: bool = False


@dataclass(frozen=True)
class Observed:
    """All that is known of a pair.

    Attributes:
        seen: what its repositories say; None when they were not asked, because the pair is broken or suspended.
        first: the name of the run of the source commit, at its first attempt; None when there is no such commit.
        runs: of the pair, for whatever commit.
        proposals: or why they are not known.
    """

    pair: Pair | Broken
    seen: Seen | Failure | None
    first: str | None = None
    runs: tuple[Run, ...] = ()
    proposals: Proposals | Failure | None = None
    memory: Memory | None = None


@dataclass(frozen=True)
class Limits:
    """How much is done; 0 is as much as there is to do.

    Attributes:
        runs: that go on at a time.
        runs_per_repository: of them those that build from one repository.
        runs_per_hour: that are created within an hour.
        attempts: at one commit that may fail in what they do.
        retry_delay: seconds after the first failure; four times as long after each further one, at most 16 times.
    """

    runs: int = 0
    runs_per_repository: int = 0
    runs_per_hour: int = 0
    attempts: int = 3
    retry_delay: int = 900


@dataclass(frozen=True)
class Planned:
    """What is to become of a pair now.

    Attributes:
        decision: the reason, one word with dashes, and the argument; `needed` when its source commit is not in the manifests.
        run: name of its run: what is to be created, goes on, or was the last.
        create: which attempt is to be created, or None.
        cancel: names of runs that go on for another commit.
        pull_request: the page of the one that it is about, if any.
        failed_task: the task of `run` that failed.
        until: when it will be tried again.
        since: since when it has been as it is, as far as somebody knows.
        memory: what is to be remembered from now on; None for nothing.
        tell: what is to be told of it now, beside the plan.
    """

    decision: Decision
    run: str | None = None
    create: int | None = None
    cancel: tuple[str, ...] = ()
    pull_request: str | None = None
    failed_task: str = ""
    until: float | None = None
    since: float | None = None
    memory: Memory | None = None
    tell: tuple[Event, ...] = ()

    @property
    def key(self) -> Key:
        return self.decision.key


@dataclass(frozen=True)
class Plan:
    """The plan of a pass.

    Attributes:
        now: by the API server's clock.
        pairs: one for each of the configuration, in its order.
    """

    now: float
    pairs: tuple[Planned, ...] = ()


def plan(observed: Sequence[Observed], limits: Limits, now: float, others: Sequence[Run] = ()) -> Plan:
    """Decide for all pairs.

    Args:
        others: runs of pairs that the configuration does not have, which count for the limits, too.
    """
    pairs = [_Case(each, limits, now).planned() for each in observed]
    runs = [run for each in observed for run in each.runs] + list(others)
    return Plan(now, tuple(_held(observed, pairs, runs, limits, now)))


def delay(failures: int, limits: Limits) -> int:
    """Seconds after a failure until the next attempt.

    Args:
        failures: how many there have been, at least one.
    """
    return int(limits.retry_delay * 4 ** (min(failures, MOST_DELAYS) - 1))


class _Case:
    """One pair, and what follows for it."""

    def __init__(self, observed: Observed, limits: Limits, now: float) -> None:
        self._observed = observed
        self._limits = limits
        self._now = now
        self._decision = needs_update.decide(observed.pair, observed.seen)
        self._commit = self._decision.commit
        self._runs = sorted(observed.runs, key=lambda run: (run.created, run.attempt))
        self._attempts = self._known_attempts()
        memory = observed.memory
        # Also of another configuration: what is told is told of a commit.
        self._told = memory.told if memory and memory.commit == self._commit else frozenset()

    def planned(self) -> Planned:
        if self._commit is None:
            # Suspended, or nothing can be said of it: what goes on goes on.
            going_on = next((run for run in reversed(self._runs) if run.outcome == "running"), None)
            return Planned(self._decision, run=going_on.name if going_on else None, memory=self._observed.memory)
        found = self._decided()
        if found.run is None and self._decision.status == "needed" and (last := self._of_commit()[-1:]):
            found = dataclasses.replace(found, run=last[0].name, failed_task=last[0].failed_task)
        others = [run for run in self._runs if run.outcome == "running" and run.commit != self._commit]
        cancel = tuple(run.name for run in others if not run.is_ending)
        if cancel:
            sentence = f"{_these(cancel, 'run')} for another commit {'is' if len(cancel) == 1 else 'are'} cancelled."
            found = dataclasses.replace(found, decision=_with(found.decision, sentence))
        return dataclasses.replace(found, cancel=cancel)

    def _decided(self) -> Planned:
        """What follows when the source commit is known."""
        proposals = self._observed.proposals
        if self._decision.status == "not-needed":
            return self._settled(self._decision.reason, "not-needed")
        if going_on := [run for run in self._runs if run.outcome == "running" and run.commit == self._commit]:
            run = going_on[-1]
            # Its failures so far stay in memory.
            planned = self._planned("running", "needed", f"{run.name} goes on.", run=run, since=run.created)
            return dataclasses.replace(planned, memory=self._memory(self._attempts))
        if isinstance(proposals, Failure):
            return self._planned(proposals.reason, "failed", str(proposals), later=proposals.later, keeps_memory=True)
        if proposals and (found := self._of_proposals(proposals)):
            return found
        return self._of_runs() or self._tried()

    def _of_proposals(self, proposals: Proposals) -> Planned | None:
        """What follows of pull requests."""
        pair = self._observed.pair
        update = Update(*pair.key, source=self._commit)
        base = pair.manifests.branch if isinstance(pair, Pair) else ""
        ours = [each for each in proposals.found if each.base == base and is_ours(each, update, proposals.us)]
        for each in proposals.found:
            if each.state != "open":
                continue
            if each not in ours:
                sentence = f"{each.url} by {each.author} proposes the same branch and is not ours: merge or close it."
                return self._planned("blocked", "needed", sentence, pull_request=each, keeps_memory=True)
            if each.proposes and each.proposes.source == self._commit:
                return self._settled("pull-request-open", "not-needed", f"{each.url} proposes it.", each)
            if proposals.is_foreign:
                sentence = f"Somebody else has put commits on the branch of {each.url}, which proposes another commit: merge or close it."
                return self._planned("blocked", "needed", sentence, pull_request=each, keeps_memory=True)
        if refused := proposals.refused:
            sentence = f"{refused.url}, which proposed it, was closed by a person; the label {REOPEN_LABEL} on it brings it again."
            return self._vetoed(sentence, refused)
        last = ours[0] if ours else None
        if last is None or last.proposes is None or last.proposes.source != self._commit:
            return None
        if last.state == "merged":
            sentence = f"{last.url}, which proposed it, was merged, and the manifests name another image now."
            return self._settled("done", "not-needed", sentence, last)
        if REOPEN_LABEL in last.labels and not self._has_ended_well(last.updated):
            return self._tried()
        return None

    def _has_ended_well(self, since: float) -> bool:
        """Whether a run of the same commit and content that was created since then has ended well."""
        return any(run.outcome == "succeeded" and run.created >= since for run in self._of_commit()) or any(
            _is_well(each) and each.noted >= since for each in self._attempts
        )

    def _of_runs(self) -> Planned | None:
        """What follows of a run that has ended well, as long as it is remembered: when another commit was wanted meanwhile,
        what it did may have been undone.
        """
        well = [each for each in self._attempts if _is_well(each)]
        if not well or well[-1] is not self._attempts[-1]:
            return None
        run = next((run for run in self._of_commit() if run.attempt == well[-1].number), None)
        if run and run.operation == "superseded" and len(well) == 1:
            # The branch may have been elsewhere for a while; what a second one finds is believed.
            return None
        what = f" with `{run.operation}`" if run and run.operation else ""
        sentence = f"{run.name if run else 'A run that is deleted'} has ended well{what}."
        if (run and run.operation == "vetoed") or (run is None and "vetoed" in self._told):
            planned = self._vetoed(sentence, run=run)
        else:
            reason = "superseded" if run and run.operation == "superseded" else "done"
            planned = self._settled(reason, "not-needed", sentence, run=run)
        memory = self._memory(well, planned.memory.told if planned.memory else ())
        page = run.pull_request if run else ""
        return dataclasses.replace(planned, since=well[-1].ended, pull_request=page or None, memory=memory)

    def _tried(self) -> Planned:
        """What follows of the runs that have failed."""
        failures = [each for each in self._attempts if each.ended is not None and not _is_well(each)]
        builds = sum(each.cause == "build" for each in failures)
        # What was created again and again and never seen may still come, so its number is not passed over.
        unseen = [each for each in self._attempts if each.ended is None and each.tries >= MOST_TRIES]
        count = len(failures) + sum(each.tries - MOST_TRIES + 1 for each in unseen)
        run = next((run for run in reversed(self._of_commit()) if run.outcome == "failed"), None)
        ended = max((each.noted if each.ended is None else each.ended for each in [*failures, *unseen]), default=0)
        argument = f"{run.name} has failed: {run.message}" if run else ""
        for each in unseen:
            argument = f"Attempt {each.number} was to be created {each.tries} times and has never been seen."
        if builds >= self._limits.attempts or count - builds >= INFRASTRUCTURE_ATTEMPTS:
            sentence = f"{counted(count, 'run')} of this commit {'has' if count == 1 else 'have'} failed, so it is tried no more until there is another commit or configuration, or what failed is forgotten."
            planned = self._planned("stalled", "needed", argument, sentence, run=run, since=ended)
            return self._telling(planned, "stalled")
        until = ended + delay(count, self._limits) if count else 0
        if self._now < until:
            sentence = f"{counted(count, 'run')} of this commit {'has' if count == 1 else 'have'} failed; the next attempt waits."
            planned = self._planned("backing-off", "needed", argument, sentence, run=run, since=ended)
            return dataclasses.replace(planned, until=until, memory=self._memory(self._attempts))
        return self._created()

    def _created(self) -> Planned:
        noted = [each for each in self._attempts if each.ended is None]
        if noted:
            # Noted, and not seen since: it was never created, or is to be seen no more.
            attempt = dataclasses.replace(noted[-1], noted=self._now, tries=noted[-1].tries + 1)
        else:
            numbers = [run.attempt for run in self._of_commit()] + [each.number for each in self._attempts]
            attempt = Attempt(max(numbers, default=0) + 1, self._now)
        others = [each for each in self._attempts if each.number != attempt.number]
        planned = self._planned("create", "needed")
        memory = self._memory([*others, attempt])
        name = attempt_name(self._observed.first or "", attempt.number)
        return dataclasses.replace(planned, run=name, create=attempt.number, memory=memory, tell=("created",))

    def _known_attempts(self) -> list[Attempt]:
        """The attempts at the commit, by their numbers, less those that say nothing of it."""
        memory = self._observed.memory
        found: dict[int, Attempt] = {}
        if memory and (memory.commit, memory.first) == (self._commit, self._observed.first):
            found = {each.number: each for each in memory.attempts}
        for run in self._of_commit():
            if run.outcome == "failed":
                noted = found[run.attempt].noted if run.attempt in found else run.created
                found[run.attempt] = Attempt(
                    run.attempt, noted, ended=run.ended or run.created, cause=run.cause or "build"
                )
            elif run.outcome == "running":
                found.setdefault(run.attempt, Attempt(run.attempt, run.created))
            elif run.outcome == "superseded":
                found.pop(run.attempt, None)
            elif run.attempt in found:
                found[run.attempt] = Attempt(run.attempt, found[run.attempt].noted, ended=run.ended or run.created)
        return [found[number] for number in sorted(found)]

    def _of_commit(self) -> list[Run]:
        """The runs of the source commit with the present content, the oldest first."""
        first = self._observed.first
        return [run for run in self._runs if run.commit == self._commit and run.first == first]

    def _memory(self, attempts: Sequence[Attempt], told: Iterable[Event] | None = None) -> Memory | None:
        told = self._told if told is None else frozenset(told)
        if not attempts and not told:
            return None
        return Memory(*self._decision.key, self._commit or "", self._observed.first or "", tuple(attempts), told)

    def _planned(
        self,
        reason: str,
        status: Status,
        *sentences: str,
        run: Run | None = None,
        pull_request: PullRequest | None = None,
        since: float | None = None,
        later: bool = False,
        keeps_memory: bool = False,
    ) -> Planned:
        decision = dataclasses.replace(self._decision, reason=reason, status=status, later=later)
        if since is None and pull_request:
            since = pull_request.created or None
        return Planned(
            _with(decision, *sentences),
            run=run.name if run else None,
            failed_task=run.failed_task if run else "",
            pull_request=pull_request.url if pull_request else None,
            since=since,
            memory=self._observed.memory if keeps_memory else None,
        )

    def _settled(
        self,
        reason: str,
        status: Status,
        sentence: str = "",
        pull_request: PullRequest | None = None,
        run: Run | None = None,
    ) -> Planned:
        """Nothing is to be done, and nothing to be remembered of what was told."""
        since = run.ended if run else None
        planned = self._planned(reason, status, sentence, run=run, pull_request=pull_request, since=since)
        return dataclasses.replace(planned, tell=("recovered",) if "stalled" in self._told else ())

    def _vetoed(self, sentence: str, pull_request: PullRequest | None = None, run: Run | None = None) -> Planned:
        since = pull_request.updated if pull_request else run.ended if run else None
        planned = self._planned("vetoed", "not-needed", sentence, pull_request=pull_request, run=run, since=since)
        return self._telling(planned, "vetoed")

    def _telling(self, planned: Planned, event: Event) -> Planned:
        """The same, told once."""
        tell = () if event in self._told else (event,)
        return dataclasses.replace(planned, memory=self._memory(self._attempts, {*self._told, event}), tell=tell)


def _held(
    observed: Sequence[Observed], pairs: Sequence[Planned], runs: Sequence[Run], limits: Limits, now: float
) -> list[Planned]:
    """The plan less what a limit holds back: whose last attempt is the longest ago goes first, so that nobody waits for ever
    for those with more commits, or more failures; then who stands first.
    """
    sources = {each.pair.key: each.pair.source.repository.identity for each in observed if isinstance(each.pair, Pair)}
    cancelled = {name for each in pairs for name in each.cancel}
    active = [run for run in runs if run.outcome == "running" and not run.is_ending and run.name not in cancelled]
    of_repository: dict[str, int] = {}
    for run in active:
        identity = _identity(run.source)
        of_repository[identity] = of_repository.get(identity, 0) + 1
    total, recent = len(active), sum(run.created > now - HOUR for run in runs)
    found = list(pairs)
    for index in sorted(range(len(pairs)), key=lambda index: _last_tried(observed[index])):
        each = pairs[index]
        if each.create is None:
            continue
        source = sources[each.key]
        for most, count, what in (
            (limits.runs, total, "go on"),
            (limits.runs_per_repository, of_repository.get(source, 0), "go on that build from this repository"),
            (limits.runs_per_hour, recent, "were created within an hour"),
        ):
            if most and count >= most:
                found[index] = _queued(each, observed[index], f"{counted(count, 'run')} {what}, and {most} may.")
                break
        else:
            total, recent = total + 1, recent + 1
            of_repository[source] = of_repository.get(source, 0) + 1
    return found


def _last_tried(observed: Observed) -> float:
    """When the last run of a pair was made, as far as somebody knows, at whatever commit."""
    noted = observed.memory.attempts if observed.memory else ()
    return max([*(run.created for run in observed.runs), *(each.noted for each in noted)], default=0)


def _queued(planned: Planned, observed: Observed, sentence: str) -> Planned:
    decision = _with(dataclasses.replace(planned.decision, reason="queued"), sentence)
    memory = planned.memory
    if memory:
        # The attempt is not noted before it is made.
        before = observed.memory.attempts if observed.memory and observed.memory.first == memory.first else ()
        others = [each for each in memory.attempts if each.number != planned.create]
        others += [each for each in before if each.number == planned.create]
        memory = dataclasses.replace(memory, attempts=tuple(others)) if others or memory.told else None
    return dataclasses.replace(planned, decision=decision, run=None, create=None, memory=memory, tell=())


def _identity(url: str) -> str:
    try:
        return Repository.parse(url).identity
    except ValueError:
        return url


def _with(decision: Decision, *sentences: str) -> Decision:
    return dataclasses.replace(decision, sentences=(*decision.sentences, *filter(None, sentences)))


def _is_well(attempt: Attempt) -> bool:
    return attempt.ended is not None and attempt.cause is None


def _these(names: Sequence[str], word: str) -> str:
    return f"The {word}{'' if len(names) == 1 else 's'} {' and '.join(names)}"


def grouped(runs: Iterable[Run]) -> dict[Key, list[Run]]:
    """Runs by their pairs."""
    found: dict[Key, list[Run]] = {}
    for run in runs:
        found.setdefault(run.key, []).append(run)
    return found
