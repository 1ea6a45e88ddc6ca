"""A short slice of `make fault`: pages under load, another channel a black hole."""

from __future__ import annotations

import pytest

from tests.fault.conftest import NewGround
from tests.fault.latency import FEATURES, PER_SECOND, measure


@pytest.mark.kafka
def test_pages_come_under_load_beside_a_black_hole(new_ground: NewGround) -> None:
    """All pages of never-events and of rules come, within what a busy machine may add."""
    done = measure(new_ground(""), seconds=1.0, black_hole=True, warm_s=1.0, lateness_s=1)
    assert done.never.pages > 0
    assert done.statistical.pages == FEATURES
    assert max(done.never.worst, done.statistical.worst) < 30, done
    assert done.events_per_s > PER_SECOND / 4, done
