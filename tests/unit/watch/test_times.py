"""Producers with wrong clocks are named, and what they do is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from monitor.store.stream_rows import PartitionRow
from monitor.stream.strays import KEPT, Stray, note, since
from monitor.watch import times
from monitor.watch.checks import CHECKS, Finding
from monitor.watch.facts import Facts, Memory, first_memory, remember
from tests.making import T0, minutes
from tests.unit.watch.looks import facts, part


def look(now: datetime, *parts: PartitionRow, decided: datetime = T0) -> Facts:
    return facts(now, parts=parts, decided=int(decided.timestamp()))


def counted(totals: Mapping[str, int], **strays: Stray) -> PartitionRow:
    """Partition 3 with these fates."""
    return part(3, totals=dict(totals), strays=strays)


def found(*looks: Facts) -> list[Finding]:
    memory: Memory = first_memory(T0)
    for each in looks:
        memory = remember(memory, each)
    return list(times.audit(looks[-1], memory))


def test_events_that_come_late_name_their_source_and_how_far_it_is_off() -> None:
    """A share of five minutes' events, counted from when the auditor first looked."""
    looks = (
        look(T0, counted({"counted": 1000, "late": 500}, slow=Stray(500, -60))),
        look(T0 + minutes(4), counted({"counted": 1500, "late": 600}, slow=Stray(600, -60))),
        look(
            T0 + minutes(5),
            counted(
                {"counted": 2000, "late": 600, "clamped": 300},
                slow=Stray(600, -60),
                fast=Stray(300, 21_600),
            ),
        ),
    )
    assert found(*looks[:2]) == []
    (finding,) = found(*looks)
    assert finding.text == (
        "36% of the events of events-3 came late or lay far ahead for 5 min: "
        "fast writes times 6 h ahead, slow writes times 1 min behind"
    )
    assert finding.check in CHECKS
    assert finding.pages


def test_a_window_without_strays_ends_it() -> None:
    """What happened is over five minutes after the last of it."""
    bad = counted({"counted": 100, "late": 100})
    looks = [look(T0, counted({})), look(T0 + minutes(5), bad)]
    assert [f.key for f in found(*looks)] == ["time:astray"]
    assert found(*looks, look(T0 + minutes(10), bad)) == []


@pytest.mark.parametrize(
    ("fates", "told"),
    [
        ({"counted": 90, "late": 20}, True),
        ({"counted": 90, "late": 19}, False),
        ({"counted": 1000, "late": 90}, False),
        ({"counted": 1000, "conflict": 900}, False),
    ],
)
def test_a_few_late_events_are_nobody_s_page(fates: dict[str, int], told: bool) -> None:
    """A tenth of the events, and twenty of them."""
    assert bool(found(look(T0, counted({})), look(T0 + minutes(5), counted(fates)))) is told


def test_a_partition_ahead_of_our_clock_names_who_leads_it() -> None:
    """Its only producer has a fast clock: nothing in its log can say so."""
    ahead = part(2, watermark=(T0 + timedelta(hours=6)).timestamp(), leaders=("//gw\x1b/2",))
    (finding,) = found(look(T0, part(1), ahead))
    assert finding.key == "time:ahead"
    assert "events-2 are 6 h ahead of this machine's clock, by //gw\\x1b/2" in finding.text
    soon = part(2, watermark=(T0 + minutes(5)).timestamp())
    assert found(look(T0, soon)) == []
    assert found(look(T0, replace(ahead, finished=True))) == []


def test_decisions_ahead_of_our_clock_are_bad() -> None:
    """Whatever comes until then is late for them."""
    (finding,) = found(look(T0, part(), decided=T0 + timedelta(hours=5)))
    assert (finding.key, finding.level, finding.severity) == ("time:decided", "bad", "SEV1")
    assert found(look(T0, part(), decided=T0 + minutes(5))) == []


def test_a_clock_put_back_is_no_decision_ahead_of_the_log() -> None:
    """Where the log itself is as far as what is decided, it goes on being judged."""
    later = T0 + timedelta(hours=5)
    log = part(closed=int(later.timestamp()), watermark=int(later.timestamp()))
    keys = {finding.key for finding in found(look(T0, log, decided=later))}
    assert keys == {"time:ahead"}


def test_the_sources_with_the_most_strays_are_kept() -> None:
    """A new one takes the place of the one with the fewest."""
    strays: dict[str, Stray] = {}
    for number in range(KEPT):
        for _ in range(number + 2):
            note(strays, f"s{number}", -1.0)
    before = dict(strays)
    note(strays, "new", 70.5)
    assert set(strays) == {"new"} | {f"s{number}" for number in range(1, KEPT)}
    assert since(strays, before) == {"new": Stray(1, 70)}
