"""The desk on a real store: filters, hints, the quarantine, and who may open it directly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.config.settings import Settings, load, resolve
from monitor.config.shelf import Shelf
from monitor.desk.desk import CHANGE_TOLD, Desk, open_direct
from monitor.incidents.model import State
from monitor.store.finding_rows import Quarantined
from monitor.store.store import Store, owner_lock
from monitor.views import DeskError, Principal
from tests.making import T0, incident, minutes


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with one incident."""
    opened = Store(f"sqlite:///{tmp_path / 'x.db'}")
    with opened.write() as tx:
        tx.incidents.save(incident())
    yield opened
    opened.close()


@pytest.fixture
def desk(store: Store) -> Desk:
    """A responder's desk."""
    ada = Principal(name="ada", role="responder")
    return Desk(store, resolve(Settings()), Shelf(), ada, lambda: T0)


def test_a_filter_of_no_known_word_is_refused(desk: Desk) -> None:
    """It could match nothing; the hint names the words that could."""
    with pytest.raises(DeskError, match="unknown state 'foo'") as caught:
        desk.incidents(state="foo")
    assert caught.value.code == "invalid"
    assert caught.value.hint.startswith("open, triage, active, ")
    with pytest.raises(DeskError, match="unknown severity 'SEV9'") as caught:
        desk.incidents(severity="SEV9")
    assert (caught.value.code, caught.value.hint) == ("invalid", "SEV1, SEV2, SEV3, SEV4")
    assert [row.id for row in desk.incidents(state="open", severity="SEV2")] == ["INC-0007"]
    assert desk.incidents(state="false_positive") == []


def test_the_hints_about_runs_are_commands(desk: Desk) -> None:
    """Without a run, and without a value that the runbook needs, the hint can be typed."""
    with pytest.raises(DeskError, match="no open run") as caught:
        desk.step("7", number=1, action="run")
    assert caught.value.hint == "start one: tocsin inc run INC-0007 RUNBOOK"
    with pytest.raises(DeskError, match="is required") as caught:
        desk.start_run("7", runbook="refusal-spike")
    assert caught.value.hint == "tocsin inc run INC-0007 refusal-spike -p NAME=VALUE"


def test_the_quarantine_is_shown_newest_first(desk: Desk, store: Store) -> None:
    """As stored, and no more than asked for."""
    row = Quarantined("topic", "t", 2, 4, "schema", "$.x", 120, "d", T0)
    with store.write() as tx:
        tx.stream.quarantine([row, replace(row, offset=3, at=T0 + minutes(1))])
    first, second = desk.quarantine()
    assert (first.offset, first.at) == (3, T0 + minutes(1))
    assert (second.topic, second.partition, second.rule, second.path) == (
        "topic",
        2,
        "schema",
        "$.x",
    )
    assert (second.length, second.digest) == (120, "d")
    assert desk.quarantine(limit=1) == [first]
    assert desk.quarantine(limit=-1) == []


def test_the_store_opens_directly_only_without_a_daemon(store: Store) -> None:
    """A living daemon is named and not gone round; after its end the owner may."""
    url = str(store.engine.url)
    with owner_lock(store.engine), pytest.raises(DeskError, match="owns this store") as caught:
        open_direct(url)
    assert caught.value.code == "unavailable"
    assert open_direct(url).whoami().via == "direct"


def test_the_store_opens_directly_under_its_configuration(store: Store, tmp_path: Path) -> None:
    """Rules and teams of the configuration are there without a daemon; the desk says none runs."""
    file = tmp_path / "tocsin.yaml"
    file.write_text(
        "rules:\n"
        "  - {detector: static, name: errors_high, signal: error_rate, rate: 0.2, tier: page}\n"
        "paging: {budget: {teams: [{name: payments, matchers: ['feature=\"pay\"']}]}}\n"
    )
    url = str(store.engine.url)
    bare, full = open_direct(url), open_direct(url, load(file)[0])
    assert "errors_high" not in {row.name for row in bare.rules()}
    assert {row.name: row.tier for row in full.rules()}["errors_high"] == "page"
    assert [one.team for one in bare.budget()] == ["default"]
    assert [one.team for one in full.budget()] == ["default", "payments"]
    seen = full.overview()
    assert (seen.daemon, seen.live, seen.lag_s) == (False, False, None)


def test_an_incident_says_what_no_other_store_calls_so(desk: Desk) -> None:
    """Its uuid, in the list and alone."""
    (row,) = desk.incidents()
    assert row.uuid == incident().uuid
    assert desk.incident("7").row.uuid == row.uuid


def test_a_change_is_noted_where_it_may_matter(store: Store) -> None:
    """Not on what its dimensions exclude; on the newest of very many, and the answer says so."""
    elsewhere = {"feature": "search"}
    with store.write() as tx:
        tx.incidents.add(incident(uuid="e", number=8, dimensions=elsewhere))
        for number in range(100, 100 + CHANGE_TOLD):
            tx.incidents.add(incident(uuid=f"{number}", number=number))
    ada = Principal(name="ada", role="responder")
    desk = Desk(store, resolve(Settings()), Shelf(), ada, lambda: T0)
    few = desk.add_change(kind="flag", title="of search", dimensions=elsewhere)
    many = desk.add_change(kind="release", title="v2", dimensions={"feature": "chat"})
    assert few.text == "CHG-1 recorded"
    assert many.text == "CHG-2 recorded; noted on the newest 200 of 201 open incidents"
    with store.read() as tx:
        noted = {
            one.number: [item.entry.text for item in tx.incidents.timeline(one.uuid)]
            for one in tx.incidents.search(limit=500)
        }
    assert noted.pop(8) == ["flag of search"]
    assert noted.pop(7) == []
    assert set(map(tuple, noted.values())) == {("release v2",)}


def test_a_declared_incident_says_when_it_pages_nobody(desk: Desk) -> None:
    """SEV4 never pages, and the answer to who declares one says so."""
    assert (
        desk.declare(title="a typo", severity="SEV4").text == "INC-0008 declared; SEV4 pages nobody"
    )
    assert desk.declare(title="a leak", severity="SEV2").text == "INC-0009 declared"


def test_latest_is_no_open_incident_for_what_is_done_to_one_that_is_over(
    desk: Desk, store: Store
) -> None:
    """While one is open, `latest` is refused for verdict, reopen and close, and nothing happens."""
    with store.write() as tx:
        tx.incidents.add(incident(uuid="o", number=9, state=State.RESOLVED, resolved_at=T0))
    for done in (
        lambda ref: desk.judge(ref, verdict="attack"),
        lambda ref: desk.reopen(ref, reason="again"),
        desk.close,
    ):
        with pytest.raises(DeskError, match="INC-0007 is the latest, and still open") as caught:
            done("latest")
        assert (caught.value.code, caught.value.hint[-15:]) == ("refused", "tocsin inc list")
    desk.resolve("latest", verdict="attack", reason="checked by hand")
    assert desk.close("latest").incident == "INC-0009"
