"""A short slice of `make fault`: the same alerts with kills as without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.fault.alert_sets import STORY, compare, publish
from tests.fault.conftest import NewGround
from tests.fault.ground import Ground


@pytest.mark.kafka
def test_kills_change_no_alert(new_ground: NewGround, tmp_path: Path) -> None:
    """A daemon that is killed on the way has the alerts of one that is left alone, and has some."""
    one = new_ground("")
    publish(one.bootstrap, one.topic, replace(STORY, quiet_hours=2))
    (tmp_path / "killed").mkdir()
    store = f"sqlite:///{tmp_path / 'killed.db'}"
    other = Ground(tmp_path / "killed", one.bootstrap, one.topic, store)
    done = compare(one, other, kills=2, seed=3)
    assert done.alerts > 0
    assert done.alerts_differ == 0, done
    assert done.kills > 0
