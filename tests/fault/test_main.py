"""How `make fault` is put together: every part is played by figures made up here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fault import __main__ as harness
from tests.fault.acks import GIVEN, POINT, Kept
from tests.fault.alert_sets import Compared
from tests.fault.anchor import Anchor
from tests.fault.ground import Ground
from tests.fault.kills import Plan, Round
from tests.fault.latency import Latency, Waits
from tests.fault.oracle import Tally
from tests.fault.outages import Outage
from tests.fault.takeover import Restarted, TakenOver
from tests.fault.twins import Followed

KEYS = (
    "receivers_rates", "kills", "incidents", "lost", "incidents_missing", "incidents_twice",
    "pagerduty_duplicates", "decided_twice", "overtaken_heard", "unsent", "timers_missed",
    "timers_twice", "steps_twice", "chains_broken", "resolved", "left_ringing", "late_triggers",
    "drain_s", "slack_repeats_per_kill", "kills_at", "kills_by_store", "own_rates", "alerts_differ",
    "acks_lost", f"acks_kills_at_{POINT}", "acks_decided_twice", "broker_lost",
    "broker_decided_twice", "database_resumed_s", "storage_down_page_s", "disk_full_lost",
    "broker_postgresql_lost", "server_disk_full_lost", "server_disk_full_page_s",
    "takeover_s", "takeover_killed_s", "takeover_frozen_s", "zombie_writes",
    "takeover_reader_killed_s", "takeover_reader_frozen_s", "restart_to_first_page_s",
    "restart_to_first_page_s_sqlite", "restart_to_first_page_s_postgresql",
    "restart_to_detectors_s", "page_latency_p99_s", "page_latency_black_hole_p99_s",
    "alertmanager_once_wait_1s_lost", "missed", "not_run",
)  # fmt: skip
"""In the last line, of all parts."""
WELL = Tally(
    incidents=20,
    lost=0,
    incidents_missing=0,
    incidents_twice=0,
    pagerduty_duplicates=0,
    decided_twice=0,
    overtaken_heard=0,
    slack_repeats=0,
    slack_repeats_unmarked=0,
    timers_missed=0,
    timers_twice=0,
    chains_broken=0,
    unsent=0,
    resolved=3,
    late_triggers=2,
)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """No server and no daemon is started; all that is measured is well."""

    @contextmanager
    def ground(*_: Any, **__: Any) -> Iterator[Ground]:
        yield Ground(tmp_path, "127.0.0.1:9", "none", f"sqlite:///{tmp_path / 'x.db'}")

    def killed(_: Ground, plan: Plan, *, backend: str, seed: int) -> Round:
        return Round(backend, WELL, Counter(plan.points), at_random=seed + 1, refused=1)

    def kept(_: Ground, *, kills: int, at_point: int, **__: Any) -> Kept:
        return Kept(kills, at_point, Counter(dict.fromkeys(GIVEN, 1)), (), 0, 0, 0)

    def outage(*_: Any, **__: Any) -> Outage:
        return Outage(1, (2.0,), WELL, page_s=3.0)

    def made(value: object) -> Any:
        return lambda *_, **__: value

    waits = Waits(20, 1.0, 2.0, 3.0)
    for name, value in (
        ("QUICK", True),
        ("KafkaServer", nullcontext),
        ("PostgresServer", lambda *_, **__: nullcontext()),
        ("ground", ground),
        ("kills.round_of", killed),
        ("alert_sets.publish", made(1)),
        ("alert_sets.compare", made(Compared(4, 10, ("a", "b", "c"), 0))),
        ("acks.keep_promises", kept),
        ("outages.broker_killed", outage),
        ("outages.database_stopped", outage),
        ("outages.database_down", outage),
        ("outages.disk_full", outage),
        ("outages.small_disk", nullcontext),
        ("outages.server_disk_full", outage),
        ("takeover.take_over", made(TakenOver((9.0,), (11.0,), 0, WELL, 0))),
        ("takeover.restarts", made(Restarted((1.0, 2.0), 5.0))),
        ("twins.follow", made(Followed((12.0,), (13.0,), (12.5, 13.5), WELL, 0))),
        ("latency.measure", made(Latency(waits, waits, 1_010))),
        ("anchor.kill_alertmanager", made(Anchor(2, 200, 0, 3))),
    ):
        monkeypatch.setattr(f"{harness.__name__}.{name}", value)
    monkeypatch.delenv("FAULT", raising=False)
    return monkeypatch


def last_line(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Of what was printed."""
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


@pytest.mark.usefixtures("played")
def test_the_last_line_has_the_keys_of_all_parts(capsys: pytest.CaptureFixture[str]) -> None:
    """A run in which all is well ends with 0 and one JSON object."""
    status, found = harness.main(), last_line(capsys)
    assert (status, found["missed"], found["not_run"]) == (0, [], {})
    assert [key for key in KEYS if key not in found] == []
    assert found["takeover_reader_killed_s"] == 12.0
    assert found["restart_to_first_page_s"] == found["restart_to_first_page_s_postgresql"] == 2.0
    assert found["own_rates"]["slack_messages_per_s"] == 1


def test_a_page_decided_twice_fails_every_part_that_can_have_one(
    played: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kills, answers, outages and both kinds of take-over say so, and the run ends with 1."""
    wrong = replace(WELL, decided_twice=1)
    played.setattr(f"{__name__}.WELL", wrong)
    parts = harness.__name__
    kept = Kept(4, 1, Counter(dict.fromkeys(GIVEN, 1)), (), 0, 0, 1)
    played.setattr(f"{parts}.acks.keep_promises", lambda *_, **__: kept)
    taken = TakenOver((9.0,), (11.0,), wrong.written_twice(), wrong, 0)
    played.setattr(f"{parts}.takeover.take_over", lambda *_, **__: taken)
    followed = Followed((12.0,), (13.0,), (13.5,), wrong, 0)
    played.setattr(f"{parts}.twins.follow", lambda *_, **__: followed)
    assert harness.main() == 1
    missed = " | ".join(last_line(capsys)["missed"])
    for what in (
        "decided twice",
        "own rates: doubled",
        "answers: incidents whose page was decided twice",
        "broker: not sound",
        "database: not sound",
        "storage down: not sound",
        "| disk full: not sound",
        "server disk full: not sound",
        "| zombie writes",
        "twins: zombie writes",
    ):
        assert what in missed
