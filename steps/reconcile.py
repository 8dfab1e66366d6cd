"""Observe, decide, act, again: each application at each version follows its branch."""

import contextlib
import dataclasses
import logging
import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from steps import VERSION, command_line, report
from steps.clients import configuration, git, observation
from steps.clients import credentials as secrets
from steps.clients.configuration import ConfigLocation, Configured
from steps.clients.credentials import Credentials
from steps.core import plan_report, status_page
from steps.core.applications import Broken, Pair, PairName
from steps.core.duration import Duration
from steps.core.needs_update import Failure, Seen
from steps.core.plan import Key, Limits, Plan
from steps.core.pull_request_body import DashboardUrl, KubernetesName
from steps.core.repository import GITHUB, Repository, Server
from steps.core.status_page import Shown
from steps.core.typed_yaml import Problem
from steps.errors import StepError
from steps.passes import Namespace, Reconciler

if TYPE_CHECKING:
    from steps.clients.cluster import Cluster
    from steps.clients.pull_requests import PullRequests
    from steps.clients.server import Server as StatusServer

INTERVAL = Duration(600)
RETRY_DELAY = Duration(900)
STATE = KubernetesName("apps-cd-reconciler")
LONGEST_PASS = 900
"""Seconds that a pass may take, however short the interval, before this process is taken for dead."""
SLACK = 60
"""Seconds beside the interval after which another replica takes over."""
TURN = 120
"""Seconds after which another replica takes over from one that has begun a pass and not ended it."""
GAP = 5.0
"""Seconds between passes, however often a webhook asks for one."""
STANDBY = 15.0
"""Seconds between the looks of a replica that waits for its turn."""
_log = logging.getLogger("steps.reconcile")


def reconcile(
    *,
    config: ConfigLocation,
    template: Path,
    namespace: KubernetesName,
    src_dir: Path,
    interval: Duration = INTERVAL,
    once: bool = False,
    dry_run: bool = False,
    app: PairName | None = None,
    format: report.Format | None = None,  # noqa: A002 - the flag's name
    github_url: Server | None = None,
    github_token: Path | None = None,
    github_app: Path | None = None,
    credentials: Path | None = None,
    dashboard_url: DashboardUrl | None = None,
    port: int = 8080,
    webhook_secret: Path | None = None,
    max_runs: int = 0,
    max_runs_per_repository: int = 0,
    max_runs_per_hour: int = 0,
    attempts: int = 3,
    retry_delay: Duration = RETRY_DELAY,
    state: KubernetesName = STATE,
    timeout: int = 300,
    allow_private_addresses: bool = False,
) -> None:
    """Keep each application at each version up to date with its branch, by PipelineRuns that are made when they are needed.

    A pass reads the configuration, the PipelineRuns, the pull requests and the branches, and does what follows: it creates
    runs, cancels those of older commits, and remembers which have failed. There is one each interval, and one when a webhook
    tells of a push. Configuration, template and secrets are read anew each time. A directory of a Secret that is empty is
    taken for one that is not given, as long as it is.

    Args:
        config: the configuration: a file, a directory with *.yaml files, or an https URL.
        template: a PipelineRun whose parameters and workspaces are replaced by name, such as tekton/runs/apps-cd.yaml.
        namespace: where the runs are.
        src_dir: where copies of repositories are kept for the next time; it may be deleted at any time.
        interval: from the beginning of one pass to that of the next, such as 600s or 10m.
        once: whether to make one pass, tell of it on stdout, and end; with 1 when a pair failed.
        dry_run: the same, but nothing is written anywhere.
        app: the one application, or pair, to look at with --once or --dry-run: APPLICATION or APPLICATION,VERSION; the whole
            argument is told.
        format: of the report on stdout; by default a table on a terminal, else JSON.
        github_url: a GitHub Enterprise Server, https://HOST; it may see the token. github.com when absent.
        github_token: a file with the token of the account that opens the pull requests, or a Secret's directory with `token`
            or `github_token` in it.
        github_app: a Secret's directory with `app-id` and `private-key` of the GitHub App that opens them, instead of a token.
        credentials: a directory to read repositories with: ssh-privatekey and known_hosts, .git-credentials, ca.crt, and
            for github_url token, or username and password, in place of the token of the account.
        dashboard_url: where the Tekton dashboard is, for links to runs.
        port: where the status page, /metrics, /healthz, /readyz and /webhook are.
        webhook_secret: a file, or a Secret's directory with `secret` in it, that GitHub signs events with.
        max_runs: how many runs may go on at a time; 0 is any number, as below.
        max_runs_per_repository: how many of them may build from one repository.
        max_runs_per_hour: how many may be created within an hour.
        attempts: how many runs of one commit may fail by what they build.
        retry_delay: from the first failure to the next attempt; four times as long after each further one, at most 16 times.
        state: name of the ConfigMap that remembers failures, and of the Lease that one replica holds.
        timeout: seconds that one call of git may take, at most a day.
        allow_private_addresses: whether an https URL of a configuration may lead to an address that is not public.
    """
    token, app_directory = secrets.given(github_token), secrets.given(github_app)
    if token and app_directory:
        raise StepError("usage", "--github-token and --github-app are both given: keep one of them")
    if not (token or app_directory):
        raise StepError(
            "usage",
            "--github-token must be given: a file, or the directory of a Secret with `token` in it; or else --github-app",
        )
    if app and not (once or dry_run):
        raise StepError("usage", "--app is for --once and --dry-run")
    if not 0 < port < 1 << 16:
        raise StepError("usage", f"--port={port} is not a port: 1 to 65535")
    if not attempts:
        raise StepError("usage", "--attempts is at least 1")
    from steps.clients.cluster import Cluster
    from steps.clients.pull_requests import PullRequests

    pushed: SimpleQueue[str] = SimpleQueue()
    with contextlib.ExitStack() as stack:
        server = None
        if not (once or dry_run):
            from steps.clients.server import Server as StatusServer

            stale = max(2 * interval, LONGEST_PASS) + SLACK
            server = StatusServer(
                port, build=VERSION, stale_after=stale, webhook_secret=webhook_secret, on_push=pushed.put
            )
            stack.enter_context(server)
        count = server.metrics.count_request if server else lambda _server, _code: None
        cluster = Cluster(namespace, counted=lambda code: count("kubernetes", code))
        stack.enter_context(contextlib.closing(cluster))
        pull_requests = PullRequests(
            github_url or GITHUB, token, app_directory, credentials, lambda code: count("github", code)
        )

        def read() -> Configured:
            over_ssh = credentials is not None and (credentials / "ssh-privatekey").is_file()
            return configuration.read(config, template, over_ssh=over_ssh, allow_private=allow_private_addresses)

        def observe(pairs: Sequence[Pair], all_pairs: Sequence[Pair | Broken]) -> Mapping[Key, Seen | Failure]:
            known = secrets.reader(credentials, (github_url or GITHUB).host)
            with git.isolated_each(
                Path("/"), lambda each: _shown(each, known, pull_requests), timeout=timeout
            ) as git_of:
                return observation.observe(pairs, all_pairs, src_dir, git_of, timeout=timeout)

        limits = Limits(max_runs, max_runs_per_repository, max_runs_per_hour, attempts, retry_delay)
        where = Namespace(namespace, state, dashboard_url)
        reconciler = Reconciler(cluster, pull_requests, read, observe, limits, where, only=app)
        if server:
            _for_ever(_Replica(reconciler, cluster, server, interval), pushed)
        else:
            _once(reconciler, format, acts=not dry_run, in_full=app is not None)


def _shown(
    repository: Repository, read: Callable[[Repository], Credentials], pull_requests: "PullRequests"
) -> Credentials:
    """What is shown to read a repository: what the directory has for it, else what we are at GitHub."""
    found = read(repository)
    ours = None if found.password or repository.scheme == "ssh" else pull_requests.token_for(repository)
    return dataclasses.replace(ours, store=found.store, ca=found.ca or ours.ca) if ours else found


def _once(reconciler: Reconciler, format: report.Format | None, *, acts: bool, in_full: bool) -> None:  # noqa: A002 - as above
    found = reconciler.look()
    plan = reconciler.act(found) if acts else found.plan
    if report.chosen(format) == "json":
        report.show(plan_report.as_json(plan, found.problems))
    else:
        report.show(plan_report.as_argument(plan) if in_full else plan_report.as_table(plan))
    failed = sum(planned.decision.status == "failed" for planned in plan.pairs)
    if failed:
        raise StepError("failed", f"{failed} of {len(plan.pairs)} pairs failed; the report says why")
    if found.general:
        raise StepError("config-error", "all pairs are well, but the configuration has errors; see above")


class _Replica:
    """Passes of this replica, and what is shown of them."""

    def __init__(self, reconciler: Reconciler, cluster: "Cluster", server: "StatusServer", interval: int) -> None:
        self.interval = interval
        self._reconciler, self._cluster, self._server = reconciler, cluster, server
        self._holder = f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"
        self._plan: Plan | None = None
        self._listed = 0.0
        """When the runs of that plan were listed, by the clock of this process."""

    @property
    def follows(self) -> Callable[[str], bool]:
        return self._reconciler.follows

    def take(self, seconds: int = TURN) -> bool:
        """Whether it is this replica that acts, for so many seconds."""
        try:
            return self._cluster.take_lease(self._reconciler.namespace.state, self._holder, seconds)
        except StepError as error:
            # Two that act do no harm, and none would.
            _log.warning("whose turn it is cannot be told, so it is taken: %s", error, extra={"reason": error.reason})
            return True

    def leave(self) -> None:
        """Let another replica act."""
        with contextlib.suppress(StepError):
            self._cluster.release_lease(self._reconciler.namespace.state, self._holder)

    def make(self, *, is_pushed: bool = False) -> bool:
        """One pass, whatever becomes of it; a replica that does not act shows what there is, and is ready to.

        Args:
            is_pushed: acts whosever turn it is, because GitHub tells any replica of a push.

        Returns:
            Whether it is this replica's turn.
        """
        leads = self.take()
        acts = leads or is_pushed
        began = time.monotonic()
        error, problems = "", tuple[Problem, ...]()
        try:
            found = self._reconciler.look()
            problems = found.problems
            if leads and time.monotonic() - began > TURN / 2:
                self.take()
            plan = self._reconciler.act(found) if acts else found.plan
            self._plan = self._reconciler.noted(plan, acts=acts)
            self._listed = found.began
        except StepError as failure:
            error = " ".join(str(failure).splitlines())
            _log.error("the pass has failed: %s", failure, extra={"reason": failure.reason})
        except Exception as failure:  # noqa: BLE001 - the next pass may do better, and who watches is told
            error = f"a defect of this program, not of its input: {type(failure).__name__}"
            _log.exception("the pass has failed: %s", error, extra={"reason": "defect"})
        if leads:
            # Whoever is lost within a pass is missed soon; whoever is lost between two, when the next is due.
            self.take(self.interval + SLACK)
        seconds = time.monotonic() - began
        now = self._plan.now + time.monotonic() - self._listed if self._plan else time.time()
        if acts and self._plan and not error:
            for _ in (planned for planned in self._plan.pairs if planned.create):
                self._server.metrics.count_run()
        self._server.show(
            Shown(
                now,
                status_page.Pass(now, seconds, error),
                next_at=now - seconds + self.interval,
                plan=self._plan,
                leads=leads,
                problems=problems,
                dashboard=self._reconciler.namespace.dashboard,
                namespace=self._reconciler.namespace.name,
            )
        )
        return leads


def _for_ever(replica: _Replica, pushed: "SimpleQueue[str]") -> None:
    """Pass after pass, until SIGTERM: each interval, and soon after a push."""
    is_pushed = False
    try:
        while True:
            began = time.monotonic()
            leads = replica.make(is_pushed=is_pushed)
            time.sleep(max(0.0, min(GAP, replica.interval) - (time.monotonic() - began)))
            is_pushed = _wait(replica, pushed, began + replica.interval, leads=leads)
    finally:
        replica.leave()


def _wait(replica: _Replica, pushed: "SimpleQueue[str]", until: float, *, leads: bool) -> bool:
    """Wait for the next pass; whether it is for a push to one of the configuration's repositories."""
    while (left := until - time.monotonic()) > 0:
        try:
            if replica.follows(pushed.get(timeout=left if leads else min(left, STANDBY))):
                while not pushed.empty():
                    pushed.get()
                return True
        except Empty:
            if not leads and left > STANDBY and replica.take():
                return False
    return False


if __name__ == "__main__":
    command_line.run(reconcile, aliases={"noop": "dry-run"})
