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
    """Bad with the topic's name; the topic that is there is told with its partitions, and that
    its producers' clocks are believed where they are."""
    monkeypatch.delenv("TOCSIN_SOCKET", raising=False)
    told = {}
    there = new_kafka_topic(3, message_timestamp_type="LogAppendTime")
    theirs = new_kafka_topic(1)
    for topic in (there, theirs, "mislaid"):
        source = {"type": "kafka", "bootstrap": [kafka_server.bootstrap], "topic": topic}
        config = tmp_path / "tocsin.yaml"
        store = f"sqlite:///{tmp_path / 'x.db'}"
        config.write_text(json.dumps({"version": 1, "store": store, "source": source}))
        assert main(["-c", str(config), "doctor", "--json"]) == 3, "no daemon is running"
        parts = json.loads(capsys.readouterr().out)["data"]
        (told[topic],) = [(p["state"], p["text"]) for p in parts if p["name"] == "source"]
    assert told[there] == ("ok", f"{there}, 3 partitions")
    assert told[theirs][0] == "warn"
    assert "make message.timestamp.type of the topic LogAppendTime" in told[theirs][1]
    assert told["mislaid"][0] == "bad"
    assert "there is no topic mislaid" in told["mislaid"][1]


def test_a_store_that_is_typed_is_not_asked_for_the_source_of_this_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A configuration that happens to be here is no news of another place, and is named as such."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TOCSIN_CONFIG", raising=False)
    source = {"type": "kafka", "bootstrap": ["127.0.0.1:1"], "topic": "events"}
    Path("tocsin.yaml").write_text(json.dumps({"version": 1, "source": source}))
    main(["--store", f"sqlite:///{tmp_path / 'x.db'}", "doctor", "--json"])
    parts = {p["name"]: p["text"] for p in json.loads(capsys.readouterr().out)["data"]}
    assert "source" not in parts
    assert parts["config"].startswith("tocsin.yaml is not looked at")
