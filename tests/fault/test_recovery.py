"""What a restart says: what it did again, and which timers it rang late."""

from __future__ import annotations

import re
import time

import pytest

from monitor.alerting.pages import LATE
from monitor.store.store import Store
from tests.fault.conftest import NewGround
from tests.fault.events import feed
from tests.fault.ground import configuration, daemon, deaths, receivers, wait_until
from tests.fault.oracle import seen

pytestmark = pytest.mark.kafka

AFTER_S = 2


def test_a_restart_says_what_it_did_again_and_what_is_late(new_ground: NewGround) -> None:
    """Events and pages are told in the log, the health lines and a metric; a timer by its page."""
    ground = new_ground("")
    with (
        receivers(ground.folder) as paged,
        daemon(ground.folder / "daemon", configuration(ground, paged)) as tree,
        feed(ground.bootstrap, ground.topic) as publishing,
    ):
        tree.env = {"TOCSIN_FAULT": "K7:1"}
        tree.start()
        publishing.send(3)
        wait_until(lambda: deaths(tree) >= 1, "a death between a send and its mark")
        tree.kill()
        time.sleep(AFTER_S + LATE.total_seconds() + 1)
        tree.env = {}
        tree.start()
        publishing.send(1)  # its page shows that the log is read again
        wanted = publishing.owed()
        wait_until(lambda: wanted <= seen(paged), "all pages")
        wait_until(lambda: len(paged.night.documents) >= len(wanted), "all timers")
        health, metrics = tree.health("/statusz"), tree.health("/metrics")
        tree.end()
    said = tree.said()
    last = said[said.rindex("supervisor ") :]
    for what in ("events replayed", "pages resent"):
        count = sum(int(n) for n in re.findall(rf"recovered: (\d+) {what}", last))
        assert count > 0, last
        assert re.search(rf"^recovered: ok: .*\b{count} {what}", health, re.MULTILINE), health
        assert f'tocsin_recovered_total{{what="{what.split()[0]}"}} {count}.0' in metrics
    store = Store(ground.store)
    try:
        with store.read() as tx:
            told = [
                linked.entry.text
                for uuid in wanted
                for linked in tx.incidents.timeline(uuid)
                if linked.entry.text.startswith("night: ")
            ]
    finally:
        store.close()
    assert len(told) == len(wanted)
    assert any("nobody acknowledged in 2 s, late by " in text for text in told), told
