"""Kafka's settings: what would be ignored is refused, and secrets are not shown."""

from __future__ import annotations

from datetime import datetime

import pytest

from monitor.stream.sources.kafka_client import KafkaSettings

BROKERS = ("127.0.0.1:9092",)


def test_security_is_handed_on_and_never_shown() -> None:
    """TLS and SASL options reach the client as they are; the password is in no repr."""
    security = {
        "security_protocol": "SASL_SSL",
        "ssl_cafile": "/etc/ca.pem",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "tocsin",
        "sasl_plain_password": "hunter2",
    }
    settings = KafkaSettings(BROKERS, "events", security=security)
    assert security.items() <= settings.connection().items()
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize("key", ["group_id", "auto_offset_reset", "bootstrap_servers"])
def test_security_cannot_change_how_we_read(key: str) -> None:
    """Only security options go through that door."""
    with pytest.raises(ValueError, match=key):
        KafkaSettings(BROKERS, "events", security={key: "x"})


def test_a_time_without_zone_is_refused() -> None:
    """`begin` as a time must say in which zone it is."""
    with pytest.raises(ValueError, match="time zone"):
        KafkaSettings(BROKERS, "events", begin=datetime(2026, 1, 1))  # noqa: DTZ001 -- the point


@pytest.mark.parametrize(("bootstrap", "topic", "group"), [((), "t", "g"), (BROKERS, "", "g")])
def test_what_is_required(bootstrap: tuple[str, ...], topic: str, group: str) -> None:
    """Brokers, a topic and a group must be named."""
    with pytest.raises(ValueError, match="required"):
        KafkaSettings(bootstrap, topic, group)
