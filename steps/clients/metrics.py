"""What Prometheus reads of the reconciler. This module is slow to load; `server` loads it when it starts."""

import threading
from collections.abc import Iterable

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from steps.core import run_report
from steps.core.status_page import REASONS, Shown

CONTENT_TYPE = prometheus_client.exposition.CONTENT_TYPE_PLAIN_0_0_4

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """All of them, in a registry of their own.

    Args:
        build: the version of this program.
    """

    def __init__(self, build: str) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # half typed
        self._registry = registry = CollectorRegistry()
        self._state = _State()
        registry.register(self._state)
        self._duration = Histogram(
            "apps_cd_pass_duration_seconds", "How long passes took.", buckets=_SECONDS, registry=registry
        )
        self._passes = Counter(
            "apps_cd_passes",
            "Passes that have ended, by result; a standby looks and does nothing.",
            ["result"],
            registry=registry,
        )
        for result in ("succeeded", "failed", "standby"):
            self._passes.labels(result)
        self._requests = Counter(
            "apps_cd_requests",
            "Requests that were sent, by server and status code.",
            ["server", "code"],
            registry=registry,
        )
        self._created = Counter("apps_cd_runs_created", "PipelineRuns that were created.", registry=registry)
        info = prometheus_client.Gauge("apps_cd_build_info", "Always 1.", ["version"], registry=registry)
        info.labels(build).set(1)
        ProcessCollector(registry=registry)

    def show(self, shown: Shown) -> None:
        """Count a pass that has ended, and what it left."""
        self._state.show(shown)
        result = "failed" if shown.last.error else "succeeded" if shown.leads else "standby"
        self._passes.labels(result).inc()
        if result != "standby":
            self._duration.observe(shown.last.seconds)

    def count_request(self, server: str, code: int | str) -> None:
        """Count a request that was sent.

        Args:
            server: `kubernetes` or `github`.
            code: status, or `none` when there was no reply.
        """
        self._requests.labels(server, str(code)).inc()

    def count_run(self) -> None:
        """Count a PipelineRun that was created."""
        self._created.inc()

    def text(self) -> bytes:
        """All of them as Prometheus reads them."""
        return prometheus_client.generate_latest(self._registry)


class _State(Collector):
    """What the last pass left, of one moment: no scrape sees half of it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shown: Shown | None = None
        self._succeeded: float | None = None

    def show(self, shown: Shown) -> None:
        with self._lock:
            self._shown = shown
            if shown.leads and not shown.last.error:
                self._succeeded = shown.last.ended

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            shown, succeeded = self._shown, self._succeeded
        leads = shown is not None and shown.leads
        counts = run_report.counts(each.decision for each in shown.pairs) if shown else {}
        pairs = GaugeMetricFamily("apps_cd_pairs", "Pairs of the configuration, by reason.", labels=["reason"])
        for reason in (*REASONS, *sorted(counts.keys() - REASONS.keys())):
            pairs.add_metric([reason], counts.get(reason, 0))
        yield pairs
        yield GaugeMetricFamily(
            "apps_cd_queue_length", "Pairs that wait for a limit on runs.", value=counts.get("queued", 0)
        )
        yield GaugeMetricFamily("apps_cd_leader", "Whether this replica is the one that acts.", value=float(leads))
        if succeeded is not None:
            yield GaugeMetricFamily(
                "apps_cd_last_success_timestamp_seconds",
                "When the last pass ended that was not given up.",
                value=succeeded,
            )
