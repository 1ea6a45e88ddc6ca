"""A real Prometheus scrapes the real daemon while it reads Apache Kafka."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitor.metrics import Metrics
from monitor.stream.sources.kafka_client import KafkaSettings
from monitor.stream.sources.publish import Publisher
from tests.making import document
from tests.servers.kafka_fixtures import NewTopic
from tests.servers.kafka_server import KafkaServer
from tests.servers.prometheus_server import (
    PrometheusServer,
    program_or_skip,
    prometheus_or_skip,
    promtool,
)
from tests.unit.test_deploy_prometheus import RULES, samples_of, used

EVENTS, REFUSED_EVERY = 600, 10
PATIENCE_S = 90.0


@contextmanager
def running(
    folder: Path, kafka: KafkaServer, topic: str
) -> Iterator[tuple[str, Callable[[], None]]]:
    """`tocsin run`: where its metrics are, and how to kill it."""
    for _ in range(5):
        address = f"127.0.0.1:{free_port()}"
        process = start(folder, kafka, topic, address)
        try:
            if answers(process, f"http://{address}/healthz"):
                yield address, process.kill
                return
        finally:
            process.kill()
            process.communicate()
    raise AssertionError((folder / "log").read_text(errors="replace")[-3000:])


def start(folder: Path, kafka: KafkaServer, topic: str, address: str) -> subprocess.Popen[bytes]:
    """The daemon as a person starts it."""
    config = folder / "tocsin.yaml"
    source = {"type": "kafka", "bootstrap": [kafka.bootstrap], "topic": topic, "start": "earliest"}
    store = f"sqlite:///{folder / 'tocsin.db'}"
    config.write_text(json.dumps({"store": store, "source": source, "http": address}))
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tui.cli", "run", "-c", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )


def free_port() -> int:
    """A port that is free now; whoever loses the race for it takes the next."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def answers(process: subprocess.Popen[bytes], url: str) -> bool:
    """Whether a daemon came up; False when it ended instead."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return True
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
    return False


def wait_for(what: str, seen: Callable[[], bool]) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not seen():
        assert time.monotonic() < deadline, f"not seen in {PATIENCE_S:.0f} s: {what}"
        time.sleep(0.2)


def publish(kafka: KafkaServer, topic: str) -> None:
    """Ten minutes of traffic up to now; every tenth turn is refused, one record is no event."""
    begin = datetime.now(UTC) - timedelta(minutes=10)
    with Publisher(KafkaSettings(bootstrap=(kafka.bootstrap,), topic=topic)) as publisher:
        for i in range(EVENTS):
            at = begin + timedelta(seconds=i * 600 / EVENTS)
            status = "refused" if i % REFUSED_EVERY == 0 else "answered"
            body = json.dumps(document(at, key=f"e{i}", status=status)).encode()
            publisher.send(None, body, timestamp_ms=int(at.timestamp() * 1000))
        publisher.send(None, b"no event", timestamp_ms=int(begin.timestamp() * 1000))
        publisher.flush()


def value(server: PrometheusServer, expression: str) -> float | None:
    """The one number that an expression gives; None where it gives none."""
    rows = server.query(expression)
    return float(rows[0]["value"][1]) if len(rows) == 1 else None


@pytest.mark.kafka
def test_prometheus_reads_the_daemon(
    kafka_server: KafkaServer, new_kafka_topic: NewTopic, tmp_path: Path
) -> None:
    """Metrics arrive under the names that rules and dashboards use, and a killed daemon is told."""
    program_or_skip("prometheus")
    topic = new_kafka_topic()
    publish(kafka_server, topic)
    with running(tmp_path, kafka_server, topic) as (address, kill):
        configuration = (
            "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
            f"rule_files: ['{RULES}']\n"
            "scrape_configs:\n"
            f"  - {{job_name: tocsin, static_configs: [{{targets: ['{address}']}}]}}\n"
        )
        with prometheus_or_skip(configuration) as server:
            wait_for("the target is up", lambda: value(server, 'up{job="tocsin"}') == 1)
            check_counts(server)
            check_exposition(address)
            wait_for(
                "every rule was evaluated",
                lambda: all(rule["health"] == "ok" for rule in server.rules()),
            )
            assert value(server, 'count(ALERTS{alertname=~"TocsinDown|TocsinLoopStalled"})') is None
            kill()
            wait_for("the target is down", lambda: value(server, 'up{job="tocsin"}') == 0)
            wait_for("an alert pends", lambda: bool(server.query('ALERTS{alertname="TocsinDown"}')))


def check_counts(server: PrometheusServer) -> None:
    """What was published is what Prometheus has."""
    wait_for(
        "all records are counted",
        lambda: value(server, 'tocsin_records_total{fate="event"}') == EVENTS,
    )
    assert value(server, 'tocsin_records_total{fate="quarantined"}') == 1
    wait_for(
        "buckets are decided", lambda: (value(server, "tocsin_buckets_decided_total") or 0) >= 8
    )
    wait_for(
        "refusals are counted",
        lambda: (value(server, 'tocsin_signal_hits_total{signal="refusal_rate"}') or 0) > 0,
    )
    share = (
        'tocsin_signal_hits_total{signal="refusal_rate"}'
        ' / tocsin_signal_base_total{signal="refusal_rate"}'
    )
    assert value(server, share) == pytest.approx(1 / REFUSED_EVERY, rel=0.2)
    loops = 'count(tocsin_loop_last_tick_timestamp_seconds{loop=~"ingest|decide|deliver|runs"})'
    wait_for("all four loops tick", lambda: value(server, loops) == 4)
    age = value(server, 'time() - tocsin_loop_last_tick_timestamp_seconds{loop="decide"}')
    assert age is not None
    assert abs(age) < 60


def check_exposition(address: str) -> None:
    """Prometheus' linter is content, and what is used somewhere and has begun is served."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    assert promtool("check", "metrics", text=text) == ""
    live = set(re.findall(r"^(\w+)[{ ]", text, re.MULTILINE))
    assert {name for name in used() if name not in live} <= waiting()


def waiting() -> set[str]:
    """Samples that come later: labels that only the first of their kind brings, and gauges of what
    this daemon does not have."""
    families = [
        family
        for family in Metrics().registry.collect()
        if not family.samples
        or (family.type == "gauge" and not any(sample.value for sample in family.samples))
    ]
    return {name for family in families for name in samples_of(family)}
