"""Every metric of Tocsin, in one list. Labels come from closed sets only; the registry is ours.

A label never carries text from an event: rules, fates, receivers and signals are words of the
configuration or of this program, so that nobody outside can grow a series or break a scrape.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """The metrics of one daemon."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.records = Counter(
            "tocsin_records_total",
            "Records read, by fate.",
            ["fate"],
            registry=self.registry,
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
        self.lag = Gauge(
            "tocsin_lag_records",
            "Records on the log not read yet, over all partitions.",
            registry=self.registry,
        )
        self.watermark = Gauge(
            "tocsin_watermark_timestamp_seconds",
            "Event time up to which verdicts are given.",
            registry=self.registry,
        )
        self.buckets = Counter(
            "tocsin_buckets_decided_total",
            "Buckets decided.",
            registry=self.registry,
        )
        self.series = Gauge(
            "tocsin_series",
            "Series the detectors follow, by state.",
            ["state"],
            registry=self.registry,
        )
        self.alerts = Counter(
            "tocsin_alerts_total",
            "Alerts opened, by signal and tier.",
            ["signal", "tier"],
            registry=self.registry,
        )
        self.incidents = Counter(
            "tocsin_incidents_total",
            "Incidents opened, by origin and severity.",
            ["origin", "severity"],
            registry=self.registry,
        )
        self.incidents_open = Gauge(
            "tocsin_incidents_open",
            "Incidents that are open.",
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
            "tocsin_outbox_pages",
            "Pages in the outbox, by state.",
            ["state"],
            registry=self.registry,
        )
        self.loop_tick = Gauge(
            "tocsin_loop_last_tick_timestamp_seconds",
            "When a loop last finished a step.",
            ["loop"],
            registry=self.registry,
        )
        self.loop_seconds = Histogram(
            "tocsin_loop_step_seconds",
            "How long one step of a loop took.",
            ["loop"],
            registry=self.registry,
        )

    def render(self) -> bytes:
        """The text exposition."""
        return generate_latest(self.registry)
