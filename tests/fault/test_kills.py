"""A short slice of `make fault` for CI."""

from __future__ import annotations

import pytest

from tests.fault.kills import run
from tests.servers.kafka_fixtures import NewTopic
from tests.servers.kafka_server import KafkaServer


@pytest.mark.kafka
def test_no_page_is_lost_under_sigkill(
    kafka_server: KafkaServer, new_kafka_topic: NewTopic
) -> None:
    """A daemon killed five times on a real log pages every incident, once a PagerDuty key."""
    figures = run(kafka_server, new_kafka_topic(4), kills=5, incidents=60, seed=2)
    assert figures.lost == 0
    assert figures.incidents_missing == 0
    assert figures.incidents_twice == 0
    assert figures.pagerduty_duplicates == 0
    assert figures.chains_broken == 0
