"""One pass of the reconciler: observe, decide, act."""

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from steps.clients.configuration import Configured
from steps.core import applications, needs_update, pipeline_run, pull_request_body
from steps.core import plan as plans
from steps.core.applications import Broken, Pair, PairName
from steps.core.memory import written
from steps.core.needs_update import Failure, Seen
from steps.core.pipeline_run import Template
from steps.core.plan import Event, Key, Limits, Memory, Observed, Plan, Planned, Proposals
from steps.core.pull_request_body import DashboardUrl, KubernetesName
from steps.core.repository import Person
from steps.core.text import shown
from steps.core.typed_yaml import Problem
from steps.core.update import AUTHOR, Update
from steps.errors import StepError

if TYPE_CHECKING:
    from steps.clients.cluster import Cluster
    from steps.clients.pull_requests import PullRequests

STALE = 900.0
"""Seconds after which what was observed is too old to be acted upon, as when this process was stopped meanwhile."""

_REASONS: Mapping[Event, str] = {
    "created": "RunCreated",
    "stalled": "Stalled",
    "vetoed": "Vetoed",
    "recovered": "Recovered",
}

_log = logging.getLogger("steps.reconcile")


@dataclass(frozen=True)
class Namespace:
    """Of Kubernetes, where runs are.

    Attributes:
        state: name of the ConfigMap and of the Lease.
    """

    name: KubernetesName
    state: KubernetesName
    dashboard: DashboardUrl | None = None


@dataclass(frozen=True)
class Pass:
    """What a pass has found, and what is to be done.

    Attributes:
        began: by the clock of this process.
        problems: of configuration and template.
        general: the errors among them that are of no pair.
        rendered: the runs at their first attempts.
        memories: what was remembered before.
        version: of these.
        is_whole: whether the plan is about all pairs that there are, so that what is remembered of others is of no use.
    """

    began: float
    plan: Plan
    pairs: Mapping[Key, Pair]
    problems: tuple[Problem, ...]
    general: tuple[Problem, ...]
    rendered: Mapping[Key, pipeline_run.Run]
    memories: Mapping[Key, Memory]
    version: str
    is_whole: bool


class Reconciler:
    """Passes over all pairs.

    Args:
        read: the configuration and the template.
        observe: what the repositories say of some of all pairs.
        only: the application or pair to look at; None for all.
        clock: seconds, never set back.
    """

    def __init__(
        self,
        cluster: "Cluster",
        pull_requests: "PullRequests",
        read: Callable[[], Configured],
        observe: Callable[[Sequence[Pair], Sequence[Pair | Broken]], Mapping[Key, Seen | Failure]],
        limits: Limits,
        namespace: Namespace,
        *,
        only: PairName | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster, self._pull_requests = cluster, pull_requests
        self._read, self._observe = read, observe
        self._limits, self.namespace, self._only = limits, namespace, only
        self._clock = clock
        self._reasons: dict[Key, tuple[str, str | None, float | None]] = {}
        """Reason and commit at the last pass, and since when; None when that was so at the first."""
        self._problems: Sequence[Problem] = ()
        self._paths: set[str] = set()

    def follows(self, path: str) -> bool:
        """Whether a repository, OWNER/NAME, is one of the configuration, as far as that has been read."""
        return not self._paths or path.lower() in self._paths

    def look(self) -> Pass:
        """Observe and decide; nothing is written.

        Raises:
            StepError: something is wrong that no pair can be told without.
        """
        began = self._clock()
        found = self._read()
        frame, told = found.usable(), found.told
        self._log_problems(found)
        pairs = applications.selected(told.pairs, self._only, "--app")
        memories, version = self._cluster.remembered(self.namespace.state)
        runs, now = self._cluster.runs()
        of_pair = plans.grouped(runs)
        asked = [pair for pair in pairs if isinstance(pair, Pair) and not pair.suspended]
        self._pull_requests.begin()
        self._pull_requests.look(
            {each.manifests.repository.identity: each.manifests.repository for each in asked}.values()
        )
        seen = self._observe(asked, told.pairs)
        rendered: dict[Key, pipeline_run.Run] = {}
        observed = []
        for pair in pairs:
            said = seen.get(pair.key)
            if isinstance(pair, Pair) and isinstance(said, Seen):
                rendered[pair.key] = pipeline_run.render(frame, pair, said.commit)
            run = rendered.get(pair.key)
            observed.append(
                Observed(
                    pair,
                    said,
                    run.name if run else None,
                    tuple(of_pair.pop(pair.key, ())),
                    self._proposals(frame, pair, said) if isinstance(pair, Pair) else None,
                    memories.get(pair.key),
                )
            )
        others = [run for several in of_pair.values() for run in several]
        plan = plans.plan(observed, self._limits, now, others)
        is_whole = self._only is None and not told.general
        known = {pair.key: pair for pair in pairs if isinstance(pair, Pair)}
        self._paths = {
            place.repository.path.lower() for pair in known.values() for place in (pair.source, pair.manifests)
        }
        return Pass(began, plan, known, found.problems, told.general, rendered, memories, version, is_whole)

    def act(self, found: Pass) -> Plan:
        """Do what follows of a pass; the plan, less what could not be done.

        Raises:
            StepError: what was observed is out of date.
        """
        pairs = [self._told(planned, found) for planned in found.plan.pairs]
        self._check(found)
        self._remember(pairs, found)
        done = []
        for planned in pairs:
            try:
                done.append(self._do(planned, found))
            except StepError as error:
                done.append(dataclasses.replace(_failed(planned, error), create=None))
        return dataclasses.replace(found.plan, pairs=tuple(done))

    def noted(self, plan: Plan, *, acts: bool) -> Plan:
        """The plan, which says since when a pair is as it is, as far as this process has seen that.

        Args:
            acts: what is otherwise than it was is logged, too; who does not act leaves that to who does.
        """
        before, self._reasons = self._reasons, {}
        pairs = []
        for each in plan.pairs:
            reason, commit = each.decision.reason, each.decision.commit
            last = before.get(each.key)
            if last and last[:2] == (reason, commit):
                since = last[2]
            else:
                since = plan.now if last else None
                if acts:
                    is_bad = each.decision.status == "failed" or reason == "stalled"
                    level = logging.WARNING if is_bad else logging.INFO
                    _log.log(level, "%s", shown(" ".join(each.decision.sentences)), extra=_facts(each))
            self._reasons[each.key] = reason, commit, since
            pairs.append(dataclasses.replace(each, since=since) if each.since is None else each)
        return dataclasses.replace(plan, pairs=tuple(pairs))

    def _log_problems(self, found: Configured) -> None:
        """Log what is wrong that no pair tells of, once as long as it is."""
        problems = [each for each in found.problems if each.severity == "warning" or each in found.told.general]
        for problem in problems:
            if problem not in self._problems:
                level = logging.WARNING if problem.severity == "warning" else logging.ERROR
                _log.log(level, "%s", problem, extra={"reason": "config-error"})
        self._problems = problems

    def _proposals(self, frame: Template, pair: Pair, said: Seen | Failure | None) -> Proposals | Failure | None:
        decision = needs_update.decide(pair, said)
        if decision.commit is None or decision.status != "needed":
            return None
        update = Update(pair.application, pair.version, source=decision.commit)
        owner = pipeline_run.param(frame, pair, "fork-owner") or None
        author = pipeline_run.param(frame, pair, "author")
        try:
            person = Person.parse(author) if author else AUTHOR
        except ValueError as error:
            return Failure("config-error", f"the parameter `author`: {error}", at=pair.at)
        place = pair.manifests
        return self._pull_requests.proposals(place.repository, place.branch, owner, update, person)

    def _remember(self, pairs: Sequence[Planned], found: Pass) -> None:
        wanted = {planned.key: planned.memory for planned in pairs if planned.memory}
        if not found.is_whole:
            planned_for = {planned.key for planned in pairs}
            wanted |= {key: memory for key, memory in found.memories.items() if key not in planned_for}
        # What is too much to be kept is no change.
        is_other = written(wanted.values()) != written(found.memories.values())
        if is_other and not self._cluster.remember(self.namespace.state, wanted.values(), found.version):
            raise StepError(
                "conflict", "another replica has acted meanwhile; the next pass sees what it did", later=True
            )

    def _check(self, found: Pass) -> None:
        if self._clock() - found.began > STALE:
            raise StepError("stale", f"what was observed is more than {STALE:g} s old; nothing is done", later=True)

    def _do(self, planned: Planned, found: Pass) -> Planned:
        commit, failures = planned.decision.commit or "", list[StepError]()
        for name in planned.cancel:
            self._check(found)
            try:
                self._cluster.cancel(name, commit)
            except StepError as error:
                # What cannot be cancelled is outrun: it never overwrites what is newer.
                failures.append(error)
                continue
            _log.info("cancelled %s, because %s is newer", name, commit, extra={**_facts(planned), "run": name})
        if planned.create is not None:
            planned = self._made(planned, planned.create, found)
        for failure in failures:
            planned = _failed(planned, failure)
        return planned

    def _made(self, planned: Planned, number: int, found: Pass) -> Planned:
        """Create the run of a pair."""
        self._check(found)
        run = pipeline_run.attempt(found.rendered[planned.key], number)
        metadata = {**run.document["metadata"], "namespace": str(self.namespace.name)}
        is_new = self._cluster.create({**run.document, "metadata": metadata})
        planned = dataclasses.replace(planned, run=run.name, create=number if is_new else None)
        if is_new:
            self._tell("created", planned, found)
        return planned

    def _told(self, planned: Planned, found: Pass) -> Planned:
        """Tell the events of a pair before they are remembered as told; what cannot be told now, a later pass tells."""
        memory, before = planned.memory, found.memories.get(planned.key)
        for event in planned.tell:
            if event == "created":
                continue
            self._check(found)
            try:
                self._tell(event, planned, found)
            except StepError as error:
                _log.warning(
                    "%s; it is told in the next pass", error, extra={**_facts(planned), "reason": error.reason}
                )
                if event == "recovered" and before:
                    memory = dataclasses.replace(memory or dataclasses.replace(before, attempts=()), told=before.told)
                elif memory:
                    memory = dataclasses.replace(memory, told=memory.told - {event})
        return dataclasses.replace(planned, memory=memory)

    def _tell(self, event: Event, planned: Planned, found: Pass) -> None:
        """Tell what has happened to whoever watches.

        Raises:
            StepError: GitHub may take it later.
        """
        rendered = found.rendered.get(planned.key)
        first = rendered.name if rendered else self.namespace.state
        name = f"{planned.run if event == 'created' else first}.{event}"
        regarding = ("PipelineRun", planned.run) if planned.run else ("ConfigMap", self.namespace.state)
        note = f"{planned.decision.application} at {planned.decision.version}: {' '.join(planned.decision.sentences)}"
        kind: Literal["Normal", "Warning"] = "Warning" if event == "stalled" else "Normal"
        _log.log(logging.WARNING if kind == "Warning" else logging.INFO, "%s", _REASONS[event], extra=_facts(planned))
        self._cluster.event(name, _REASONS[event], shown(note), regarding=regarding, kind=kind)
        pair = found.pairs.get(planned.key)
        if event in ("stalled", "recovered") and pair and planned.decision.commit:
            told = planned.decision.sentences[-1] if event == "stalled" else "A later run has ended well."
            at = KubernetesName(planned.run) if planned.run else None
            links = pull_request_body.Run(self.namespace.dashboard, self.namespace.name, at)
            self._pull_requests.set_status(
                pair.source.repository,
                planned.decision.commit,
                context=f"apps-cd/{pair.version}/{pair.application}",
                state="failure" if event == "stalled" else "success",
                description=shown(told),
                url=links.page,
            )


def _failed(planned: Planned, error: StepError) -> Planned:
    """The same with what could not be done for it."""
    sentences = (*planned.decision.sentences, str(error))
    decision = dataclasses.replace(
        planned.decision, reason=error.reason, status="failed", sentences=sentences, later=error.later
    )
    return dataclasses.replace(planned, decision=decision)


def _facts(planned: Planned) -> dict[str, str | None]:
    """What a line of the log says beside its message."""
    decision = planned.decision
    return {
        "app": decision.application,
        "version": decision.version,
        "commit": decision.commit,
        "reason": decision.reason,
        "run": planned.run,
    }
