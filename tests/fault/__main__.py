"""`make fault`: every part of the harness, a table, and one JSON object as the last line.

QUICK=1 takes a short slice of each. FAULT=kills,acks runs these parts only. The exit status is 0
where all of them ran and every goal was reached, else 1; a part that cannot run here is named, with
the reason.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median

from tests.fault import acks, alert_sets, anchor, kills, latency, outages, takeover, twins
from tests.fault.ground import NO_LIMIT, PROVIDERS, Ground, Stuck
from tests.fault.history import DAYS, SERIES
from tests.fault.office import Kind, Mode, Road
from tests.fault.report import Part, Report, Row
from tests.fault.stage import ground, say
from tests.servers.alertmanager_server import AlertmanagerUnavailable
from tests.servers.kafka_jars import KafkaUnavailable
from tests.servers.kafka_server import KafkaServer
from tests.servers.postgres_server import PostgresServer, PostgresUnavailable

QUICK = bool(os.environ.get("QUICK"))
ABSENT = (KafkaUnavailable, PostgresUnavailable, AlertmanagerUnavailable, outages.NotRun)
FULL_PLAN = kills.Plan(
    (*kills.ROAD, *kills.RUNBOOK, kills.MIGRATION, kills.RELOAD, kills.DRAIN), deaths=2, randoms=3
)
ROUNDS = 10
"""Of each store, in the full run."""
KILLS, INCIDENTS, AT_EACH = 500, 25_000, 35
RESOLVED, LATE = 1_000, 200
"""Without so many the full run proves too little, and says so."""
ALERT_KILLS, ALERTS, DETECTORS = 50, 10, 3
ACK_KILLS, GIVEN_EACH = 25, 10
"""Kills with each store and way of Slack's clicks; promises of each kind by each road."""
EVENTS_PER_S = 1_000
"""While page latency is measured."""
OWN_RATES_PLAN = kills.Plan(("K5", "K7"), deaths=1, randoms=1, share=8, rates=PROVIDERS)
"""Few incidents: Slack takes one message a second."""
MODES: tuple[Mode, ...] = ("http", "socket")
QUICK_PLANS = {
    "sqlite": kills.Plan(
        ("K13", "K3", "K6", "K12", kills.RELOAD, kills.DRAIN), deaths=1, randoms=0, share=30
    ),
    "postgresql": kills.Plan(("K5", "K7"), deaths=1, randoms=0, share=30),
}


def run_kills(report: Report) -> None:
    """SIGKILLs at named points and at random, on both stores."""
    with KafkaServer() as kafka, PostgresServer() as postgres, ThreadPoolExecutor() as pool:

        def rounds_on(backend: str) -> list[kills.Round]:
            """Of one store, one after the other; the other store's go on beside them."""
            plan = QUICK_PLANS[backend] if QUICK else FULL_PLAN
            return [
                _killing(kafka, postgres, backend, number, plan)
                for number in range(1 if QUICK else ROUNDS)
            ]

        rounds = list(itertools.chain(*pool.map(rounds_on, QUICK_PLANS)))
        slow = partial(_killing, kafka, postgres, number=ROUNDS, plan=OWN_RATES_PLAN)
        own = list(pool.map(slow, QUICK_PLANS))
    _at_own_rates(report, own)
    found = kills.figures(rounds)
    report.figures |= found
    names = ("lost", "incidents_missing", "incidents_twice", "pagerduty_duplicates", "unsent")
    more = ("timers_missed", "timers_twice", "steps_twice", "chains_broken", "left_ringing")
    rest = ("decided_twice", "slack_repeats_unmarked", "overtaken_heard", "ended_by_themselves")
    for name in (*names, *more, *rest):
        what = f"{name.replace('_', ' ')} ({found['kills']} kills)"
        report.rows.append(Row(what, _number(found[name]), 0))
    if not QUICK:
        rarest = min(kills.by_point(rounds).items(), key=lambda one: one[1])
        what = f"kills at the rarest named point ({rarest[0]})"
        report.rows += [
            Row("kills", _number(found["kills"]), KILLS, least=True),
            Row(what, rarest[1], AT_EACH, least=True),
            Row("incidents", _number(found["incidents"]), INCIDENTS, least=True),
        ]
    resolved, late = _number(found["resolved"]), _number(found["late_triggers"])
    least = (2, 1) if QUICK else (RESOLVED, LATE)
    report.rows += [
        Row("incidents that people resolved meanwhile", resolved, least[0], least=True),
        Row("of these: their page came after it", late, least[1], least=True),
    ]
    report.rows.append(Row("SIGTERM to the end, worst", _number(found["drain_s"]), 10, "s"))
    share = _number(found["slack_repeats_per_kill"])
    report.rows.append(Row("slack repeats per kill, each marked", share, 0.05))


def _at_own_rates(report: Report, rounds: list[kills.Round]) -> None:
    """What came of the kills where the receivers refuse what is too fast, beside the others."""
    tallies = [one.tally for one in rounds]
    lost, doubled = sum(t.lost for t in tallies), sum(t.doubled() for t in tallies)
    unsound = sum(not t.sound() for t in tallies)
    report.figures["own_rates"] = {
        **asdict(PROVIDERS),
        "kills": sum(one.kills for one in rounds),
        "incidents": sum(t.incidents for t in tallies),
        "lost": lost,
        "doubled": doubled,
        "refused": sum(one.refused for one in rounds),
        "slack_repeats_marked": sum(t.slack_repeats - t.slack_repeats_unmarked for t in tallies),
        "unsound_rounds": unsound,
    }
    died, refused = sum(one.kills for one in rounds), sum(one.refused for one in rounds)
    report.rows += [
        Row(f"at the providers' own rates: lost ({died} kills)", lost, 0),
        Row("at the providers' own rates: doubled", doubled, 0),
        Row("at the providers' own rates: rounds not sound", unsound, 0),
        Row("at the providers' own rates: refused as too fast", refused, 1, least=True),
    ]


def _killing(
    kafka: KafkaServer, postgres: PostgresServer, backend: str, number: int, plan: kills.Plan
) -> kills.Round:
    on_server = postgres if backend == "postgresql" else None
    with ground(kafka, on_server, schema=kills.MIGRATION not in plan.points) as on:
        done = kills.round_of(on, plan, backend=backend, seed=number)
    say(
        f"kills: {backend} round {number + 1}: {done.kills} kills, "
        f"{done.tally.incidents} incidents, {done.tally.lost} lost, "
        f"{done.tally.resolved} resolved, {done.tally.late_triggers} with a late page, "
        f"{done.tally.overtaken} pages overtaken, "
        f"{done.tally.pagerduty_duplicates} opened twice, "
        f"{done.worked_off_per_s:.0f} pages/s at the end, {done.seconds:.0f} s"
    )
    if done.missed:
        say(f"kills: {backend} round {number + 1}: nobody died at {', '.join(done.missed)}")
    if done.evidence is not None:
        say(f"kills: {backend} round {number + 1} is not sound, see {done.evidence}")
    return done


def run_alert_sets(report: Report) -> None:
    """The same alerts with and without kills, each side on the same kind of store."""
    wanted = 4 if QUICK else ALERT_KILLS
    with KafkaServer() as kafka, PostgresServer() as postgres, ThreadPoolExecutor() as pool:
        found = pool.map(lambda store: _comparing(kafka, store, wanted), (None, postgres))
        stores = dict(zip(QUICK_PLANS, found, strict=True))
    report.figures |= {
        "alerts_differ": max(done.alerts_differ for done in stores.values()),
        "alerts_compared": min(done.alerts for done in stores.values()),
        "alerts_by": min((done.signals for done in stores.values()), key=len),
        "alerts_kills": min(done.kills for done in stores.values()),
        "alerts_differ_by_store": {name: done.alerts_differ for name, done in stores.items()},
    }
    for name, done in stores.items():
        rules = f"{name}: detectors and rules that they are of"
        report.rows += [
            Row(f"{name}: alerts that differ after {done.kills} kills", done.alerts_differ, 0),
            Row(f"{name}: alerts compared", done.alerts, ALERTS, least=True),
            Row(rules, len(done.signals), DETECTORS, least=True),
            Row(f"{name}: kills while they were found", done.kills, wanted, least=True),
        ]


def _comparing(
    kafka: KafkaServer, postgres: PostgresServer | None, wanted: int
) -> alert_sets.Compared:
    with ground(kafka, postgres) as one, ground(kafka, postgres) as other:
        alert_sets.publish(one.bootstrap, one.topic)
        same = Ground(other.folder, other.bootstrap, one.topic, other.store)
        done = alert_sets.compare(one, same, kills=wanted, seed=1)
    say(f"alert sets: {'sqlite' if postgres is None else 'postgresql'}: {done}")
    return done


def run_acks(report: Report) -> None:
    """What people were told is done, on both stores side by side."""
    with KafkaServer() as kafka, PostgresServer() as postgres, ThreadPoolExecutor() as pool:

        def kept_on(store: PostgresServer | None) -> list[acks.Kept]:
            """Clicks by HTTP, then by Socket Mode."""
            return [_answering(kafka, store, mode, seed) for seed, mode in enumerate(MODES)]

        stores = dict(zip(QUICK_PLANS, pool.map(kept_on, (None, postgres)), strict=True))
    kept = list(itertools.chain(*stores.values()))
    given: Counter[tuple[Kind, Road]] = sum((one.promises for one in kept), Counter())
    died, at_point = sum(one.kills for one in kept), sum(one.at_point for one in kept)
    lost, broken = sum(len(one.lost) for one in kept), sum(one.chains_broken for one in kept)
    opened_twice = sum(one.pagerduty_duplicates for one in kept)
    decided_twice = sum(one.decided_twice for one in kept)
    report.figures |= {
        "acks_lost": lost,
        "acks_promised": given.total(),
        "acks_promised_by": {f"{kind} by {road}": given[kind, road] for kind, road in acks.GIVEN},
        "acks_kills": died,
        f"acks_kills_at_{acks.POINT}": at_point,
        "acks_kills_by_store": {name: sum(o.kills for o in done) for name, done in stores.items()},
        "acks_chains_broken": broken,
        "acks_pagerduty_duplicates": opened_twice,
        "acks_decided_twice": decided_twice,
    }
    wanted = (4 if QUICK else ACK_KILLS) * len(kept)
    report.rows += [
        Row(f"answers lost of {given.total()} ({died} kills)", lost, 0),
        Row("answers: chains broken", broken, 0),
        Row("answers: keys that PagerDuty opened twice", opened_twice, 0),
        Row("answers: incidents whose page was decided twice", decided_twice, 0),
        Row("answers: kills", died, wanted, least=True),
        Row(f"answers: of these at {acks.POINT}", at_point, 1 if QUICK else AT_EACH, least=True),
    ]
    report.rows += [
        Row(f"answers: {kind} by {road}", given[kind, road], 1 if QUICK else GIVEN_EACH, least=True)
        for kind, road in acks.GIVEN
    ]


def _answering(
    kafka: KafkaServer, postgres: PostgresServer | None, mode: Mode, seed: int
) -> acks.Kept:
    died, at_point = (4, 1) if QUICK else (ACK_KILLS, -(-AT_EACH // 4))
    with ground(kafka, postgres) as on:
        done = acks.keep_promises(on, kills=died, mode=mode, seed=seed, at_point=at_point)
    say(
        f"acks: {'sqlite' if postgres is None else 'postgresql'}, clicks by {mode}: "
        f"{done.kills} kills, {done.at_point} at {acks.POINT}, {done.promises.total()} promises, "
        f"lost {list(done.lost)}"
    )
    return done


def run_outages(report: Report) -> None:
    """Neighbours that die."""
    times = 2 if QUICK else 20
    with KafkaServer() as kafka, PostgresServer() as postgres:
        for name, on_server in (("broker", None), ("broker_postgresql", postgres)):
            with ground(kafka, on_server) as on:
                _outage(report, name, outages.broker_killed(on, kafka, times=times))
        with ground(kafka, postgres) as on:
            _outage(report, "database", outages.database_stopped(on, postgres, times=times))
        with ground(kafka, postgres) as on:
            away = 20.0 if QUICK else 600.0
            done = outages.database_down(on, postgres, seconds=away)
            _outage(report, "storage_down", done)


def run_disk(report: Report) -> None:
    """A full disk: the store's own, and that of its server."""
    seconds = 10.0 if QUICK else 60.0
    with KafkaServer() as kafka:
        with ground(kafka) as on:
            _outage(report, "disk_full", outages.disk_full(on, seconds=seconds))
        with (
            outages.small_disk(outages.SERVER_MIB) as disk,
            PostgresServer(disk, **outages.SMALL_LOG) as postgres,
            ground(kafka, postgres) as on,
        ):
            done = outages.server_disk_full(on, postgres, disk, seconds=seconds)
            _outage(report, "server_disk_full", done)


def _outage(report: Report, name: str, done: outages.Outage) -> None:
    words, worst = name.replace("_", " "), round(max(done.resumed_s), 2)
    report.figures[f"{name}_lost"] = done.tally.lost
    report.figures[f"{name}_decided_twice"] = done.tally.decided_twice
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
    """Another daemon, or the next start, with days of points behind them."""
    rounds, count = (1, 2) if QUICK else (10, 10)
    with KafkaServer() as kafka, PostgresServer() as postgres:
        with ground(kafka, postgres) as on:
            done = takeover.take_over(on, rounds=rounds)
        with ground(kafka, postgres) as on:
            _twins(report, twins.follow(on, rounds=rounds))
        starts = {}
        for backend in QUICK_PLANS:
            with ground(kafka, postgres if backend == "postgresql" else None) as on:
                starts[backend] = takeover.restarts(on, count=count)
    killed, frozen = round(max(done.killed_s), 2), round(max(done.frozen_s), 2)
    report.figures |= {
        "takeover_s": max(killed, frozen),
        "takeover_killed_s": killed,
        "takeover_frozen_s": frozen,
        "takeover_lost": done.tally.lost,
        "takeover_decided_twice": done.tally.decided_twice,
        "zombie_writes": done.zombie_writes,
        "takeover_ended_by_themselves": done.unordered,
        "history_days": DAYS,
        "history_series": SERIES,
    }
    report.rows += [
        Row("take-over from a killed owner, worst", killed, 15, "s"),
        Row("take-over from a frozen owner, worst", frozen, 15, "s"),
        Row("take-over: lost", done.tally.lost, 0),
        Row("zombie writes", done.zombie_writes, 0),
        Row("take-over: children that ended by themselves", done.unordered, 0),
    ]
    _restarts(report, starts)


def _twins(report: Report, done: twins.Followed) -> None:
    killed, frozen = round(max(done.killed_s), 2), round(max(done.frozen_s), 2)
    wrong = done.tally.written_twice()
    report.figures |= {
        "takeover_reader_killed_s": killed,
        "takeover_reader_frozen_s": frozen,
        "takeover_reader_all_partitions_s": round(max(done.all_s), 2),
        "takeover_reader_lost": done.tally.lost,
        "takeover_reader_zombie_writes": wrong,
        "takeover_reader_decided_twice": done.tally.decided_twice,
        "takeover_reader_ended_by_themselves": done.unordered,
    }
    report.rows += [
        Row("a twin follows one that read and decided, killed, worst", killed, 15, "s"),
        Row("a twin follows one that read and decided, frozen, worst", frozen, 15, "s"),
        Row("twins: lost", done.tally.lost, 0),
        Row("twins: zombie writes", wrong, 0),
        Row("twins: children that ended by themselves", done.unordered, 0),
    ]
    say(f"twins: killed {done.killed_s}, frozen {done.frozen_s}, all partitions {done.all_s}")


def _restarts(report: Report, starts: Mapping[str, takeover.Restarted]) -> None:
    """Of each store; the keys without a store have the worse one."""
    for backend, done in starts.items():
        first, middle = max(done.first_page_s), median(done.first_page_s)
        for key, value in (
            ("restart_to_first_page_s", round(first, 2)),
            ("restart_to_first_page_median_s", round(middle, 2)),
            ("restart_to_detectors_s", round(done.decided_s, 2)),
        ):
            report.figures[f"{key}_{backend}"] = value
            _worst(report, key, value)
        report.rows.append(
            Row(f"restart to first queued page, {backend}, worst", round(first, 2), 5, "s")
        )
        say(
            f"restart with {DAYS} days of points, {backend}: "
            f"detectors judge again after {done.decided_s:.1f} s"
        )


def run_latency(report: Report) -> None:
    """Append to first POST, under load, on each store; the keys have the worse one."""
    with KafkaServer() as kafka, PostgresServer() as postgres:
        for backend, (hole, name, goal) in itertools.product(
            QUICK_PLANS, ((False, "page_latency", 5), (True, "page_latency_black_hole", 10))
        ):
            with ground(kafka, postgres if backend == "postgresql" else None) as on:
                done = latency.measure(on, seconds=10 if QUICK else 90, black_hole=hole)
            say(f"latency: {backend}: {done}")
            words = f"{name.replace('_', ' ')}, {backend}"
            for kind, waits in (("", done.never), ("_statistical", done.statistical)):
                for what, value in (("p50", waits.p50), ("p99", waits.p99)):
                    _worst(report, f"{name}{kind}_{what}_s", value)
                of = f"{waits.pages}{kind.replace('_', ' ') or ' never-event'} pages"
                report.rows.append(Row(f"{words}: p99 of {of}", waits.p99, goal, "s"))
            _worst(report, f"{name}_events_per_s", done.events_per_s, least=True)
            what = f"{words}: events/s sent"
            report.rows.append(Row(what, done.events_per_s, EVENTS_PER_S, least=True))


def _worst(report: Report, key: str, value: float, *, least: bool = False) -> None:
    """Keep the worse of this and what is there."""
    pick = min if least else max
    report.figures[key] = pick(value, _number(report.figures.get(key, value)))


def run_anchor(report: Report) -> None:
    """Random kills, as many alerts a life and after as long, against Alertmanager."""
    folder = Path(tempfile.mkdtemp(prefix="tocsin-fault-"))
    try:
        for resend, wait in itertools.product((True, False), ("0s", "1s")):
            done = anchor.kill_alertmanager(
                folder,
                kills=2 if QUICK else 20,
                share=FULL_PLAN.share,
                resend=resend,
                group_wait=wait,
            )
            name = f"alertmanager_{'resend' if resend else 'once'}_wait_{wait}"
            report.figures[f"{name}_lost"] = done.lost
            report.figures[f"{name}_duplicates_per_kill"] = done.duplicates_per_kill
            how = "re-sent" if resend else "sent once"
            report.beside.append(
                f"{done.kills} random kills, no named points, {how}, group_wait {wait}: "
                f"{done.lost} of {done.alerts} lost, {done.duplicates_per_kill:g} repeats a kill"
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
    report.figures["receivers_rates"] = {**asdict(NO_LIMIT), "as_the_providers": "own_rates only"}
    report.not_run |= {name: f"not one of {', '.join(PARTS)}" for name in {*wanted} - {*PARTS}}
    for name in filter(PARTS.__contains__, wanted):
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
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
