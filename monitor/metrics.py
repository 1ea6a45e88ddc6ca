"""Every metric of Tocsin, in one list. Labels come from closed sets only; the registry is ours.

A label never carries text from an event: rules, fates, receivers and signals are words of the
configuration or of this program, so that nobody outside can grow a series or break a scrape.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import prometheus_client
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
    values,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from monitor.metric_files import MetricFile, homeless

CONTENT_TYPE = CONTENT_TYPE_LATEST
FATES = ("event", "quarantined", "tombstone")
GAPS = ("retention", "truncated", "unreadable")
LOOPS = ("ingest", "decide", "deliver", "runs")

SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that names the folder in which the processes of a daemon keep their metrics."""
Restarts = Callable[[], Mapping[str, int]]
"""How often each process of the daemon was started again, by its name."""


class Gauge(prometheus_client.Gauge):
    """A gauge that, over several processes, is what one of the living ones set last."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        keywords.setdefault("multiprocess_mode", "livemostrecent")
        super().__init__(*arguments, **keywords)


def share(process: str, folder: Path) -> None:
    """Keep the metrics of this process under its name in `folder`; before the first one is made.

    By its name and not by its pid: a process that is started again counts on, in the same files.
    """
    os.environ[SHARED] = str(folder)
    values.MmapedDict = MetricFile  # type: ignore[assignment,attr-defined] # has the same methods
    values.ValueClass = values.MultiProcessValue(lambda: process)  # type: ignore[no-untyped-call] # has no types


def forget(process: str, folder: Path) -> None:
    """Drop the gauges of a process that has ended; what it counted stays."""
    mark_process_dead(process, str(folder))  # type: ignore[no-untyped-call] # has no types


class _Processes:
    """What only the supervisor knows, as it wrote it down."""

    def __init__(self, restarts: Restarts) -> None:
        self._restarts = restarts

    def collect(self) -> Iterator[CounterMetricFamily]:
        text = "Times a process of this daemon was started again, by its name."
        family = CounterMetricFamily("tocsin_process_restarts", text, labels=["process"])
        for name, count in sorted(self._restarts().items()):
            family.add_metric([name], count)
        yield family


class Metrics:
    """The metrics of one process; in a daemon of several, `render` tells those of all."""

    def __init__(self, restarts: Restarts | None = None) -> None:
        """Args: `restarts` tells the supervisor's own metric."""
        self._restarts = restarts
        self._looks: list[Callable[[], None]] = []
        self.teams: set[str] = set()
        """Whose budgets are told: those that are no more go back to nought."""
        self.registry = CollectorRegistry()
        self._stream()
        self._detection()
        self._people()
        self._desk()
        self._processes()
        self._neighbours()
        self._watch()

    def _stream(self) -> None:
        """What is read."""
        self.records = Counter(
            "tocsin_records_total", "Records read, by fate.", ["fate"], registry=self.registry
        )
        self.events = Counter(
            "tocsin_events_total", "What became of records.", ["fate"], registry=self.registry
        )
        self.quarantined = Counter(
            "tocsin_quarantined_total",
            "Findings put into quarantine, by rule.",
            ["rule"],
            registry=self.registry,
        )
        self.gaps = Counter(
            "tocsin_offset_gap_records_total",
            "Offsets that the log no longer held when they were due.",
            ["reason"],
            registry=self.registry,
        )
        self.source_errors = Counter(
            "tocsin_source_errors_total",
            "Times the source could not be read.",
            registry=self.registry,
        )
        self.store_errors = Counter(
            "tocsin_store_errors_total",
            "Times the store did not answer, by loop.",
            ["loop"],
            registry=self.registry,
        )
        self.recovered = Counter(
            "tocsin_recovered_total",
            "What was done again after a restart or a take-over: events replayed, pages resent.",
            ["what"],
            registry=self.registry,
        )
        self.aged = Counter(
            "tocsin_aged_rows_total", "Rows that aged, by table.", ["table"], registry=self.registry
        )
        self.kept_since = Gauge(
            "tocsin_kept_since_timestamp_seconds", "All since then is kept.", registry=self.registry
        )
        self.lag = Gauge(
            "tocsin_lag_records",
            "Records on the log not read yet, over all partitions.",
            multiprocess_mode="livesum",
            registry=self.registry,
        )

    def _detection(self) -> None:
        """What is counted and judged."""
        self.watermark = Gauge(
            "tocsin_watermark_timestamp_seconds",
            "Event time up to which verdicts are given.",
            registry=self.registry,
        )
        self.complete = Gauge(
            "tocsin_complete_timestamp_seconds",
            "Event time up to which buckets are counted and can be decided.",
            registry=self.registry,
        )
        self.buckets = Counter(
            "tocsin_buckets_decided_total", "Buckets decided.", registry=self.registry
        )
        self.series = Gauge(
            "tocsin_series",
            "Series the detectors follow, by state.",
            ["state"],
            registry=self.registry,
        )
        self.interactions = Counter(
            "tocsin_interactions_total",
            "User interactions in decided buckets.",
            registry=self.registry,
        )
        self.folded = Counter(
            "tocsin_folded_interactions_total",
            "User interactions counted under __other__, because a bound on labels was reached.",
            registry=self.registry,
        )
        self.signal_k = Counter(
            "tocsin_signal_hits_total",
            "What a signal counts (k) in decided buckets, by signal.",
            ["signal"],
            registry=self.registry,
        )
        self.signal_n = Counter(
            "tocsin_signal_base_total",
            "What a signal's rate is of (n) in decided buckets, by signal.",
            ["signal"],
            registry=self.registry,
        )
        self.alerts = Counter(
            "tocsin_alerts_total",
            "Alerts opened, by signal and tier.",
            ["signal", "tier"],
            registry=self.registry,
        )
        self.alerts_firing = Gauge(
            "tocsin_alerts_firing",
            "Alerts that have not cleared, by signal and tier.",
            ["signal", "tier"],
            registry=self.registry,
        )

    def _people(self) -> None:
        """Incidents and pages."""
        self.incidents = Counter(
            "tocsin_incidents_total",
            "Incidents opened, by origin and severity.",
            ["origin", "severity"],
            registry=self.registry,
        )
        self.incidents_open = Gauge(
            "tocsin_incidents_open",
            "Incidents that are open, by severity.",
            ["severity"],
            registry=self.registry,
        )
        self.incidents_unacknowledged = Gauge(
            "tocsin_incidents_unacknowledged",
            "Open incidents that nobody has acknowledged, by severity.",
            ["severity"],
            registry=self.registry,
        )
        self.budget = Gauge(
            "tocsin_budget_false_pages",
            "False pages that a team bears within its budget's weeks.",
            ["team"],
            registry=self.registry,
        )
        self.budget_spent = Gauge(
            "tocsin_budget_spent_pages",
            "Pages within the budget's weeks that people called false.",
            ["team"],
            registry=self.registry,
        )
        self.budget_unjudged = Gauge(
            "tocsin_budget_unjudged_pages",
            "Pages within the budget's weeks that nobody has judged.",
            ["team"],
            registry=self.registry,
        )
        self.pages = Counter(
            "tocsin_page_attempts_total",
            "Attempts to send a page, by receiver and outcome.",
            ["receiver", "outcome"],
            registry=self.registry,
        )
        self.page_latency = Histogram(
            "tocsin_page_latency_seconds",
            "From queueing a page to its acceptance.",
            ["receiver"],
            buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
            registry=self.registry,
        )
        self.outbox = Gauge(
            "tocsin_outbox_pages", "Pages queued, by state.", ["state"], registry=self.registry
        )
        self.outbox_oldest = Gauge(
            "tocsin_outbox_oldest_timestamp_seconds",
            "When the oldest page that still waits was queued; 0 when none waits.",
            registry=self.registry,
        )

    def _desk(self) -> None:
        """Who asks."""
        self.desk_requests = Counter(
            "tocsin_desk_requests_total",
            "Requests to the desk, by door (socket, tls) and kind (query, command).",
            ["door", "kind"],
            registry=self.registry,
        )
        self.desk_refusals = Counter(
            "tocsin_desk_refusals_total",
            "Requests that the desk refused, by door and reason.",
            ["door", "reason"],
            registry=self.registry,
        )
        self.certificate_left = Gauge(
            "tocsin_desk_certificate_left_seconds",
            "Until the certificate of the TLS desk expires; 0 without one, NaN if unreadable.",
            registry=self.registry,
        )

    def _processes(self) -> None:
        """Loops, jobs, configuration, this program."""
        self.loop_tick = Gauge(
            "tocsin_loop_last_tick_timestamp_seconds",
            "When a loop last finished a step; of several processes, the one longest ago.",
            ["loop"],
            multiprocess_mode="livemin",
            registry=self.registry,
        )
        self.owner = Gauge(
            "tocsin_job_owner",
            "1 while this daemon owns a job that only one does, 0 while it stands by.",
            ["duty"],
            registry=self.registry,
        )
        self.epoch = Gauge(
            "tocsin_job_epoch",
            "The epoch in which this daemon owns a job; 0 while it stands by.",
            ["duty"],
            registry=self.registry,
        )
        self.loop_seconds = Histogram(
            "tocsin_loop_step_seconds",
            "How long one step of a loop took.",
            ["loop"],
            registry=self.registry,
        )
        self.config_reload_success = Gauge(
            "tocsin_config_reload_success",
            "Whether the last reload of the configuration was taken (1) or refused (0).",
            registry=self.registry,
        )
        self.config_reload_timestamp = Gauge(
            "tocsin_config_reload_timestamp_seconds",
            "When the configuration in force was taken.",
            registry=self.registry,
        )
        self.build = Gauge(
            "tocsin_build_info",
            "Always 1; the version is in the label.",
            ["version"],
            registry=self.registry,
        )
        self.build.labels(version("tocsin")).set(1)
        self.log_dropped = Counter(
            "tocsin_log_lines_dropped_total",
            "Lines of the log that were dropped, because nobody read them or they had no room.",
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)
        # A rate misses what a counter began with, so it begins at nought.
        for fate in FATES:
            self.records.labels(fate)
        for reason in GAPS:
            self.gaps.labels(reason)
        for loop in LOOPS:
            self.store_errors.labels(loop)

    def _neighbours(self) -> None:
        """What comes in from outside, and who listens."""
        self.hook_calls = Counter(
            "tocsin_hook_calls_total",
            "Calls of inbound hooks, by hook and status of the answer.",
            ["hook", "status"],
            registry=self.registry,
        )
        self.alertmanager_up = Gauge(
            "tocsin_alertmanager_peer_up",
            "1 if this peer took the last push, else 0.",
            ["peer"],
            registry=self.registry,
        )
        self.alertmanager_refused = Counter(
            "tocsin_alertmanager_refused_total",
            "Alerts that a peer refused for good.",
            registry=self.registry,
        )
        self.answers = Counter(
            "tocsin_answers_total",
            "Answers from outside (buttons, web hooks of a pager), by source and outcome.",
            ["source", "outcome"],
            registry=self.registry,
        )
        self.slack_socket_up = Gauge(
            "tocsin_slack_socket_up",
            "1 while a Socket Mode connection to Slack stands, else 0.",
            registry=self.registry,
        )
        self.slack_socket_heard = Gauge(
            "tocsin_slack_socket_heard_timestamp_seconds",
            "When Slack's Socket Mode last gave a sign of life; 0 before the first.",
            registry=self.registry,
        )
        self.slack_socket_connects = Counter(
            "tocsin_slack_socket_connects_total",
            "Attempts to connect to Slack's Socket Mode, by outcome.",
            ["outcome"],
            registry=self.registry,
        )

    def _watch(self) -> None:
        """The auditor."""
        self.watch_looked = Gauge(
            "tocsin_watch_timestamp_seconds", "When the auditor looked.", registry=self.registry
        )
        self.watch_findings = Gauge(
            "tocsin_watch_findings",
            "What the auditor finds wrong with Tocsin itself now, by check.",
            ["check"],
            registry=self.registry,
        )
        self.watch_heartbeat = Gauge(
            "tocsin_watch_heartbeat_timestamp_seconds",
            "When a heartbeat was last accepted outside, at first when one was due; 0 with none.",
            registry=self.registry,
        )
        self.watch_withheld = Gauge(
            "tocsin_watch_heartbeat_withheld",
            "1 while the heartbeat is withheld because something is wrong, else 0.",
            registry=self.registry,
        )
        self.watch_episodes = Gauge(
            "tocsin_watch_episodes",
            "Troubles of the emergency path that are not on a timeline yet.",
            registry=self.registry,
        )
        self.watch_unsent = Gauge(
            "tocsin_watch_unsent_messages",
            "Messages of the emergency path that are still to be sent.",
            registry=self.registry,
        )
        self.watch_disk_free = Gauge(
            "tocsin_watch_disk_free_bytes",
            "Bytes free where the auditor keeps its spool, and where a SQLite store is.",
            ["disk"],
            registry=self.registry,
        )

    def at_scrape(self, look: Callable[[], None]) -> None:
        """Call `look` before each rendering, to set what only a look can tell.

        A gauge's own `set_function` is not seen where several processes share their metrics.
        """
        self._looks.append(look)

    def render(self) -> bytes:
        """The text exposition."""
        for look in self._looks:
            look()
        registry = self._of_all()
        if self._restarts is not None:
            registry.register(_Processes(self._restarts))
        return generate_latest(registry)

    def value(self, name: str, **labels: str) -> float:
        """One sample over all processes of the daemon; 0 before there is one."""
        return self._of_all().get_sample_value(name, labels) or 0.0

    def _of_all(self) -> CollectorRegistry:
        """Of all processes; of this one alone where it has no room to write down its own."""
        registry = CollectorRegistry()
        folder = os.environ.get(SHARED)
        if not folder or homeless():
            registry.register(self.registry)
        else:
            MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call] # has no types
            ProcessCollector(registry=registry)
        return registry
