"""A short slice of `make fault`: what people were told is done."""

from __future__ import annotations

import pytest

from tests.fault.acks import keep_promises
from tests.fault.conftest import NewGround


@pytest.mark.kafka
def test_what_was_confirmed_is_there_after_kills(new_ground: NewGround) -> None:
    """Five kills while people answer by desk, command, Slack and PagerDuty lose no answer."""
    done = keep_promises(new_ground(""), kills=5, mode="http", seed=2)
    assert done.promises > 0
    assert done.lost == ()
    assert done.chains_broken == 0
