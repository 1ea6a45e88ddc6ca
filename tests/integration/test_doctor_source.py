"""`tocsin doctor` asks the source itself: what is missing there is named before it is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.servers.kafka_fixtures import NewTopic
from tests.servers.kafka_server import KafkaServer
from tui.cli import main

pytestmark = pytest.mark.kafka


def test_a_topic_that_is_missing_is_named(
    tmp_path: Path,
    kafka_server: KafkaServer,
    new_kafka_topic: NewTopic,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bad with the topic's name; the topic that is there is told with its partitions."""
    monkeypatch.delenv("TOCSIN_SOCKET", raising=False)
    told = {}
    there = new_kafka_topic(3)
    for topic in (there, "mislaid"):
        source = {"type": "kafka", "bootstrap": [kafka_server.bootstrap], "topic": topic}
        config = tmp_path / "tocsin.yaml"
        store = f"sqlite:///{tmp_path / 'x.db'}"
        config.write_text(json.dumps({"version": 1, "store": store, "source": source}))
        assert main(["-c", str(config), "doctor", "--json"]) == 3, "no daemon is running"
        parts = json.loads(capsys.readouterr().out)["data"]
        (told[topic],) = [(p["state"], p["text"]) for p in parts if p["name"] == "source"]
    assert told[there] == ("ok", f"{there}, 3 partitions")
    assert told["mislaid"][0] == "bad"
    assert "there is no topic mislaid" in told["mislaid"][1]
