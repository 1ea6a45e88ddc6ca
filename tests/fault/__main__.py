"""`make fault`: every part of the harness, a table, and one JSON object as the last line.

QUICK=1 takes a short slice of each. FAULT=kills,acks runs these parts only. The exit status is 1
where a goal is missed; a part that cannot run here is named, with the reason, and is no success.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from tests.fault import acks, alert_sets, anchor, kills, latency, outages, takeover
from tests.fault.ground import Ground, Stuck
from tests.fault.report import Part, Report, Row
from tests.servers.alertmanager_server import AlertmanagerUnavailable
from tests.servers.kafka_fixtures import create_topic
from tests.servers.kafka_jars import KafkaUnavailable
from tests.servers.kafka_server import KafkaServer
from tests.servers.postgres_server import PostgresServer, PostgresUnavailable

QUICK = bool(os.environ.get("QUICK"))
ABSENT = (KafkaUnavailable, PostgresUnavailable, AlertmanagerUnavailable, outages.NotRun)
FULL_PLAN = kills.Plan(
    (*kills.ROAD, *kills.RUNBOOK, kills.MIGRATION, kills.RELOAD), deaths=2, randoms=3
)
ROUNDS = 10
"""Of each store, in the full run."""
KILLS, INCIDENTS, AT_EACH = 500, 25_000, 35
"""Without so many the full run proves too little, and says so."""
QUICK_PLANS = {
    "sqlite": kills.Plan(("K13", "K3", "K6", "K12", "K14"), deaths=1, randoms=0, share=30),
    "postgresql": kills.Plan(("K5", "K7"), deaths=1, randoms=0, share=30),
}


# -- ground ---------------------------------------------------------------------------------------


@contextmanager
def ground(kafka: KafkaServer, postgres: PostgresServer | None = None) -> Iterator[Ground]:
    """A topic, and an empty store on `postgres`, else on SQLite; the folder is removed."""
    # Here and not above: importing kafka-python costs every test run 0.3 s and a warning.
    from kafka import KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    topic = create_topic(admin, 4)
    admin.close()
    folder = Path(tempfile.mkdtemp(prefix="tocsin-fault-"))
    store = f"sqlite:///{folder / 'x.db'}"
    if postgres is not None:
        store = postgres.url(postgres.create_database())
    try:
        yield Ground(folder, kafka.bootstrap, topic, store)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def say(text: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


# -- parts ----------------------------------------------------------------------------------------


def run_kills(report: Report) -> None:
    """SIGKILLs at named points and at random, on both stores."""
    with KafkaServer() as kafka, PostgresServer() as postgres, ThreadPoolExecutor() as pool:

        def rounds_on(backend: str) -> list[kills.Round]:
            """Of one store, one after the other; the other store's go on beside them."""
            return [
                _killing(kafka, postgres, backend, number)
                for number in range(1 if QUICK else ROUNDS)
            ]

        rounds = list(itertools.chain(*pool.map(rounds_on, QUICK_PLANS)))
    found = kills.figures(rounds)
    report.figures |= found
    names = ("lost", "incidents_missing", "incidents_twice", "pagerduty_duplicates")
    more = ("timers_missed", "timers_twice", "steps_twice", "chains_broken")
    for name in (*names, *more, "slack_repeats_unmarked"):
        what = f"{name.replace('_', ' ')} ({found['kills']} kills)"
        report.rows.append(Row(what, _number(found[name]), 0))
    if not QUICK:
        rare = sum(_number(count) < AT_EACH for count in kills.by_point(rounds).values())
        report.rows.append(Row(f"named points with fewer than {AT_EACH} kills", rare, 0))
        short = max(0.0, KILLS - _number(found["kills"]))
        report.rows.append(Row(f"kills short of {KILLS}", short, 0))
        few = max(0.0, INCIDENTS - _number(found["incidents"]))
        report.rows.append(Row(f"incidents short of {INCIDENTS}", few, 0))
    share = _number(found["slack_repeats_per_kill"])
    report.rows.append(Row("slack repeats per kill, each marked", share, 0.05))


def _killing(
    kafka: KafkaServer, postgres: PostgresServer, backend: str, number: int
) -> kills.Round:
    plan = QUICK_PLANS[backend] if QUICK else FULL_PLAN
    with ground(kafka, postgres if backend == "postgresql" else None) as on:
        done = kills.round_of(on, plan, backend=backend, seed=number)
    say(
        f"kills: {backend} round {number + 1}: {done.kills} kills, "
        f"{done.tally.incidents} incidents, {done.tally.lost} lost, "
        f"{done.worked_off_per_s:.0f} pages/s at the end, {done.seconds:.0f} s"
    )
    return done


def run_alert_sets(report: Report) -> None:
    """The same alerts with and without kills."""
    with (
        KafkaServer() as kafka,
        ground(kafka) as one,
        ground(kafka) as other,
    ):
        alert_sets.publish(one.bootstrap, one.topic)
        same = Ground(other.folder, other.bootstrap, one.topic, other.store)
        done = alert_sets.compare(one, same, kills=4 if QUICK else 50, seed=1)
    report.figures |= {"alerts_differ": done.alerts_differ, "alerts_compared": done.alerts}
    report.rows.append(Row(f"alerts that differ after {done.kills} kills", done.alerts_differ, 0))


def run_acks(report: Report) -> None:
    """What people were told is done."""
    died = promises = lost = broken = 0
    with KafkaServer() as kafka:
        modes: tuple[acks.Mode, ...] = ("http", "socket")
        for mode in modes:
            with ground(kafka) as on:
                done = acks.keep_promises(on, kills=5 if QUICK else 50, mode=mode, seed=1)
            died, promises = died + done.kills, promises + done.promises
            lost, broken = lost + len(done.lost), broken + done.chains_broken
            say(f"acks: clicks by {mode}: {done.kills} kills, {done.by_road}, lost {done.lost}")
    report.figures |= {"acks_lost": lost, "acks_promised": promises, "acks_kills": died}
    report.figures["acks_chains_broken"] = broken
    report.rows.append(Row(f"acks lost of {promises} ({died} kills)", lost, 0))


def run_outages(report: Report) -> None:
    """Neighbours that die."""
    times = 2 if QUICK else 20
    with KafkaServer() as kafka, PostgresServer() as postgres:
        with ground(kafka) as on:
            _outage(report, "broker", outages.broker_killed(on, kafka, times=times))
        with ground(kafka, postgres) as on:
            _outage(report, "database", outages.database_stopped(on, postgres, times=times))
        with ground(kafka, postgres) as on:
            away = 20.0 if QUICK else 600.0
            done = outages.database_down(on, postgres, seconds=away)
            _outage(report, "storage_down", done)


def run_disk(report: Report) -> None:
    """A full disk."""
    with KafkaServer() as kafka, ground(kafka) as on:
        _outage(report, "disk_full", outages.disk_full(on, seconds=10.0 if QUICK else 60.0))


def _outage(report: Report, name: str, done: outages.Outage) -> None:
    words, worst = name.replace("_", " "), round(max(done.resumed_s), 2)
    report.figures[f"{name}_lost"] = done.tally.lost
    report.figures[f"{name}_resumed_s"] = worst
    report.rows.append(Row(f"{words} x{done.times}: lost", done.tally.lost, 0))
    report.rows.append(Row(f"{words} x{done.times}: resumed, worst", worst, 15, "s"))
    if done.page_s is not None:
        report.figures[f"{name}_page_s"] = round(done.page_s, 2)
        report.rows.append(Row(f"{words}: page that says so", round(done.page_s, 2), 30, "s"))
    if not done.tally.sound():
        report.rows.append(Row(f"{words}: not sound: {done.tally}", 1, 0))
    say(f"{words}: x{done.times}, resumed within {worst} s, lost {done.tally.lost}")


def run_takeover(report: Report) -> None:
    """Another daemon, or the next start."""
    with KafkaServer() as kafka, PostgresServer() as postgres:
        with ground(kafka, postgres) as on:
            done = takeover.take_over(on, rounds=1 if QUICK else 10)
        with ground(kafka) as on:
            starts = takeover.restarts(on, count=2 if QUICK else 10)
    killed, frozen = round(max(done.killed_s), 2), round(max(done.frozen_s), 2)
    first = round(median(starts), 2)
    report.figures |= {
        "takeover_s": max(killed, frozen),
        "takeover_killed_s": killed,
        "takeover_frozen_s": frozen,
        "takeover_lost": done.tally.lost,
        "zombie_writes": done.zombie_writes,
        "restart_to_first_page_s": first,
    }
    report.rows += [
        Row("take-over from a killed owner, worst", killed, 15, "s"),
        Row("take-over from a frozen owner, worst", frozen, 15, "s"),
        Row("take-over: lost", done.tally.lost, 0),
        Row("zombie writes", done.zombie_writes, 0),
        Row("restart to first queued page, median", first, 5, "s"),
    ]


def run_latency(report: Report) -> None:
    """Append to first POST, under load."""
    with KafkaServer() as kafka:
        for hole, name, goal in ((False, "page_latency", 5), (True, "page_latency_black_hole", 10)):
            with ground(kafka) as on:
                done = latency.measure(on, seconds=10 if QUICK else 60, black_hole=hole)
            report.figures |= {f"{name}_p50_s": done.p50, f"{name}_p99_s": done.p99}
            report.figures[f"{name}_events_per_s"] = done.events_per_s
            what = f"{name.replace('_', ' ')} p99, {done.events_per_s:.0f} events/s"
            report.rows.append(Row(what, done.p99, goal, "s"))
            say(f"latency: {done}")


def run_anchor(report: Report) -> None:
    """The same kill script against Alertmanager."""
    folder = Path(tempfile.mkdtemp(prefix="tocsin-fault-"))
    try:
        for resend, wait in itertools.product((True, False), ("0s", "1s")):
            done = anchor.kill_alertmanager(
                folder, kills=2 if QUICK else 20, share=10, resend=resend, group_wait=wait
            )
            name = f"alertmanager_{'resend' if resend else 'once'}_wait_{wait}"
            report.figures[f"{name}_lost"] = done.lost
            report.figures[f"{name}_duplicates_per_kill"] = done.duplicates_per_kill
            how = "re-sent" if resend else "sent once"
            report.beside.append(
                f"{how}, group_wait {wait}: {done.lost} of {done.alerts} lost, "
                f"{done.duplicates_per_kill:g} repeats a kill"
            )
            say(f"anchor: Alertmanager, {report.beside[-1]}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return value


PARTS: dict[str, Part] = {
    "kills": run_kills,
    "alert_sets": run_alert_sets,
    "acks": run_acks,
    "outages": run_outages,
    "disk": run_disk,
    "takeover": run_takeover,
    "latency": run_latency,
    "anchor": run_anchor,
}


def main() -> int:
    """Run the parts; the exit status."""
    wanted = [name for name in os.environ.get("FAULT", "").split(",") if name] or list(PARTS)
    report = Report()
    for name in wanted:
        say(f"{name} begins")
        started = time.monotonic()
        try:
            PARTS[name](report)
        except ABSENT as reason:
            report.not_run[name] = str(reason)
        except (Stuck, RuntimeError) as problem:
            report.rows.append(Row(f"{name} broke off: {str(problem)[-300:]}", 1, 0))
        say(f"{name} ended after {time.monotonic() - started:.0f} s")
    for line in report.table():
        print(line)
    print(json.dumps(report.last_line()))
    return 1 if any(not row.met for row in report.rows) else 0


if __name__ == "__main__":
    sys.exit(main())
