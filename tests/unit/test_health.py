"""What Tocsin says of its own parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.alerting.budget import Allowance, Share
from monitor.config.options import RunOptions
from monitor.config.preflight import preflight
from monitor.config.settings import Settings, resolve
from monitor.health import overview
from monitor.store.decision_rows import Point, Seen, TierRow
from monitor.store.rule_rows import Divided
from monitor.store.store import Store, Tx
from monitor.stream.cells import Admission, Emission, Progress
from monitor.views import Health
from tests.making import T0, minutes

CONFIGURED = resolve(Settings())
NAMES = [signal.name for signal in CONFIGURED.plan.rates()]
END = int(T0.timestamp())


@pytest.fixture
def tx(tmp_path: Path) -> Iterator[Tx]:
    """An empty store."""
    store = Store(f"sqlite:///{tmp_path / 'x.db'}")
    with store.write() as opened:
        yield opened
    store.close()


def signals(tx: Tx) -> tuple[str, str] | None:
    """State and text of the part about signals."""
    parts = overview(tx, CONFIGURED, T0, "ada", live=True).parts
    return next(((p.state, p.text) for p in parts if p.name == "signals"), None)


def count(tx: Tx, names: list[str], bucket: int, n: int = 5) -> None:
    """Points of these signals."""
    point = Point(("prod", "chat"), 0, n, None, 0.0, "q")
    tx.decisions.save_points(Seen(name, bucket, [point]) for name in names)


def test_signals_that_nothing_was_counted_for_are_named(tx: Tx) -> None:
    """Only n of the last decided hour keeps a signal on; nothing is said before a verdict."""
    assert signals(tx) is None
    pipeline = tx.stream.pipeline(CONFIGURED.plan, T0)
    assert signals(tx) is None
    tx.decisions.move(pipeline, END, T0)
    assert signals(tx) == ("warn", "nothing was counted in the last hour")
    absent = ["grounding_errors", "negative_feedback"]
    count(tx, [name for name in NAMES if name not in absent], END - 60)
    count(tx, absent[:1], END - 3660)
    count(tx, absent[1:], END - 60, n=0)
    assert signals(tx) == ("warn", "nothing to count for: grounding_errors, negative_feedback")
    count(tx, absent, END - 3600)
    assert signals(tx) == ("ok", f"each of {len(NAMES)} was counted in the last hour")
    tx.decisions.move(pipeline, END + 7200, T0 + minutes(120))
    assert signals(tx) == ("warn", "nothing was counted in the last hour")


def part(tx: Tx, name: str) -> Health | None:
    """The part of that name."""
    parts = overview(tx, CONFIGURED, T0, "ada", live=True).parts
    return next((one for one in parts if one.name == name), None)


def test_a_full_list_of_labels_is_said(tx: Tx) -> None:
    """A partition that admits no further source, or feature, says what goes unseen from now on."""
    pipeline = tx.stream.pipeline(CONFIGURED.plan, T0)
    names = [("volume", f"gateway-{number}") for number in range(200)]

    def admit(found: list[tuple[str, str]], number: int) -> None:
        words = [Admission(dimension, value, END) for dimension, value in found]
        tx.stream.save(pipeline, "t", number, Emission(Progress(), [], [], [], words))

    admit(names[:199], 0)
    admit(names[100:], 1)
    assert part(tx, "labels") is None
    admit(names[199:], 0)
    found = part(tx, "labels")
    assert found is not None
    assert found.state == "warn"
    assert found.text == "200 sources are watched for silence, a further one is not"
    admit([("feature", f"f{number}") for number in range(200)], 0)
    found = part(tx, "labels")
    assert found is not None
    assert "200 values of feature are told apart, further ones are __other__" in found.text


def test_too_many_paging_series_are_said(tx: Tx) -> None:
    """Over thirty for a team is a warning of one line, which says where to read more; not where
    the profile keeps thresholds of its own."""
    share = Share("default", Allowance(), {"error_rate": 4, "refusal_rate": 27})
    tx.rules.divide([Divided(END, replace(share, rules={"refusal_rate": 30}), "first")])
    found = part(tx, "budget")
    assert found is not None
    assert found.state == "ok"
    tx.rules.divide([Divided(END + 60, share, "more")])
    for name in share.rules:
        tx.decisions.set_tier(TierRow(name, "page", "ada", "it is time", T0))
    found = part(tx, "budget")
    assert found is not None
    assert found.state == "warn"
    told = "31 series page team default, meant are 30: see tocsin budget"
    assert found.text.endswith(told)
    loud = overview(tx, resolve(Settings(profile="loud")), T0, "ada", live=True).parts
    assert [(p.state, told in p.text) for p in loud if p.name == "budget"] == [("ok", False)]


def test_the_check_before_a_start_says_it_too(tmp_path: Path) -> None:
    """`tocsin run --check` reads the series that the store knows; it is a warning, not an end."""
    store = Store(f"sqlite:///{tmp_path / 'x.db'}")
    with store.write() as tx:
        share = Share("default", Allowance(), {"refusal_rate": 31})
        tx.rules.divide([Divided(END, share, "first")])
    store.close()
    (tmp_path / "tocsin.yaml").write_text(f"store: sqlite:///{tmp_path}/x.db\n")
    (tmp_path / "none.ndjson").write_text("")
    options = RunOptions(config=tmp_path / "tocsin.yaml", source=f"file:{tmp_path / 'none.ndjson'}")
    found = preflight(options, {})
    (said,) = [one for one in found.parts if one.name == "budget"]
    assert (said.state, found.status) == ("warn", 0)
    assert said.text.startswith("31 series page team default")


def test_nothing_is_live_without_a_daemon(tx: Tx) -> None:
    """No lag is told of a stream that nothing reads."""
    tx.stream.pipeline(CONFIGURED.plan, T0)
    tx.stream.known("t", "t", [0], T0)
    seen = overview(tx, CONFIGURED, T0, "ada", live=True)
    assert (seen.live, seen.daemon, seen.lag_s) == (True, True, 0.0)
    alone = overview(tx, CONFIGURED, T0, "ada", live=True, daemon=False)
    assert (alone.live, alone.daemon, alone.lag_s) == (False, False, None)


def test_events_of_a_doubtful_time_or_id_are_counted_out(tx: Tx) -> None:
    """Beside what waits; nothing is said where there are none."""
    pipeline = tx.stream.pipeline(CONFIGURED.plan, T0)
    tx.stream.liveness("events", "t", [(0, 5, 5), (1, 5, 5)], T0)
    found = part(tx, "stream")
    assert found is not None
    assert found.text == "events: 2 partitions, 0 records wait"
    for number, totals in enumerate(({"counted": 90, "late": 10}, {"counted": 9, "clamped": 4})):
        tx.stream.save(pipeline, "t", number, Emission(Progress(totals=totals), [], [], [], []))
    found = part(tx, "stream")
    assert found is not None
    assert found.text.endswith("wait; of 109 events 10 came late, 4 were far ahead")
