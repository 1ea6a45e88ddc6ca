"""A short slice of `make fault`: what people were told is done."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.config.settings import Settings, resolve
from monitor.config.shelf import Shelf
from monitor.desk.desk import Desk
from monitor.store.store import Store
from monitor.views import Principal
from tests.fault.acks import broken_promises, keep_promises
from tests.fault.conftest import NewGround
from tests.fault.office import Promise


@pytest.mark.kafka
def test_what_was_confirmed_is_there_after_kills(new_ground: NewGround) -> None:
    """Kills while people answer by desk, command, Slack and PagerDuty lose no answer of theirs."""
    done = keep_promises(new_ground(""), kills=5, mode="http", seed=2)
    assert done.lost == ()
    assert done.chains_broken == 0
    assert done.at_point > 0, done
    roads = {road for _, road in done.promises}
    assert roads >= {"desk", "command"}, done.promises
    assert roads & {"slack http", "pagerduty"}, done.promises


def test_an_answer_that_another_road_gave_is_no_proof(tmp_path: Path) -> None:
    """Somebody else's acknowledgement, verdict or note does not stand for one that was lost."""
    store = Store(f"sqlite:///{tmp_path / 'x.db'}")
    here = Principal(name="ada", role="responder", via="socket")
    desk = Desk(store, resolve(Settings()), Shelf(), here, lambda: datetime.now(UTC))
    name = desk.declare(title="kept", severity="SEV1").incident
    assert name is not None
    desk.acknowledge(name)
    desk.note(name, text="note 00001")
    desk.resolve(name, verdict="true_positive", reason="judged 00002")
    store.close()
    kept = [
        Promise("declare", "desk", "", "kept"),
        Promise("ack", "command", name),
        Promise("note", "pagerduty", name, "note 00001"),
        Promise("resolve", "desk", name, "judged 00002"),
    ]
    lost = [
        Promise("declare", "desk", "", "another"),
        Promise("ack", "slack http", name),
        Promise("ack", "pagerduty", name),
        Promise("ack", "desk", "INC-0099"),
        Promise("note", "desk", name, "note 00003"),
        Promise("resolve", "desk", name, "judged 00004"),
    ]
    assert broken_promises(f"sqlite:///{tmp_path / 'x.db'}", kept + lost) == (tuple(lost), 0)
