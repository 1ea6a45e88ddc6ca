"""Fixtures that every test may ask for; each server's own live beside it in `tests/servers`."""

from __future__ import annotations

import pytest

from tests.servers.kafka_fixtures import (
    kafka_admin,
    kafka_server,
    new_kafka_topic,
    own_kafka_server,
)
from tests.servers.postgres_fixtures import (
    migrated_postgres,
    own_postgres_server,
    postgres_database,
    postgres_server,
    postgres_store_url,
    postgres_url,
)

__all__ = [
    "kafka_admin",
    "kafka_server",
    "migrated_postgres",
    "new_kafka_topic",
    "own_kafka_server",
    "own_postgres_server",
    "postgres_database",
    "postgres_server",
    "postgres_store_url",
    "postgres_url",
]

# What kafka-python 3.0 says about itself: how it reads its message schemas, and that a socket which
# never got through to a broker was left to the garbage collector.
LIBRARY_WARNINGS = (
    "ignore:(read|open)_text is deprecated:DeprecationWarning",
    r"ignore:unclosed <socket\.socket [^>]*laddr=\('0\.0\.0\.0', \d+\)>:ResourceWarning",
)


def pytest_configure(config: pytest.Config) -> None:
    """Warnings are errors, save those that nothing here can mend."""
    for warning in LIBRARY_WARNINGS:
        config.addinivalue_line("filterwarnings", warning)
