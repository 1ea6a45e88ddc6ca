"""Text that no store takes as it is ends no hook: it is kept, made visible, or refused for good."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from monitor.alertmanager.build import build_hooks
from monitor.config.settings import Settings, resolve
from monitor.config.shelf import Shelf
from monitor.desk.desk import Desk
from monitor.metrics import Metrics
from monitor.notify.alertmanager_settings import AlertmanagerSettings, Receive
from monitor.paging import Pager
from monitor.store.store import Store
from monitor.views import Principal
from tests.making import T0

TEXT = st.sampled_from(
    ["", "\0", "a\0b", "\ud800", "a\udfff", "\x1b[2J", "\u202e", "\uffff", "critical", "x" * 70_000]
) | st.text(max_size=6)
LABELS = st.dictionaries(
    TEXT | st.sampled_from(["alertname", "severity", "team"]), TEXT, max_size=4
)
HEADERS = {"content-type": "application/json", "host": "127.0.0.1:9464"}
Post = Callable[[dict[str, Any]], int]


def note(labels: dict[str, str], said: dict[str, str], group: str, status: str) -> dict[str, Any]:
    """A notification of one alert."""
    alert = {
        "status": status,
        "labels": labels,
        "annotations": said,
        "startsAt": T0.isoformat(),
        "fingerprint": "ab",
    }
    return {"version": "4", "groupKey": group, "commonAnnotations": said, "alerts": [alert]}


@pytest.fixture
def on_sqlite(tmp_path: Path) -> str:
    """An empty store of one machine."""
    return f"sqlite:///{tmp_path / 'x.db'}"


@pytest.fixture
def post(request: pytest.FixtureRequest) -> Iterator[Post]:
    """Sends a notification to the hook of a daemon; the status of its answer."""
    url = request.getfixturevalue(request.param)
    store = Store(url)
    given_ = AlertmanagerSettings(receive=Receive(labels={"team": ("a",)}))
    configured = resolve(Settings(alertmanager=given_, http="127.0.0.1:9464"))
    hook = build_hooks(store, lambda: configured, Metrics(), Pager(configured.policy))[
        "alertmanager"
    ]
    ada = Principal(name="ada", role="reader", via="socket")
    desk = Desk(store, configured, Shelf(), ada, lambda: T0)

    def send(sent: dict[str, Any]) -> int:
        status = hook(json.dumps(sent).encode(), HEADERS, T0).status
        rows = desk.incidents(limit=1)
        told = [(desk.incident(row.id), desk.timeline(row.id)) for row in rows]
        msgspec.json.encode(told)
        return status

    yield send
    with store.write() as tx:
        claimed = tx.outbox.claim("me", T0)
    store.close()
    assert claimed


@pytest.mark.parametrize("post", ["on_sqlite", "postgres_store_url"], indirect=True)
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(LABELS, LABELS, TEXT)
@example({"alertname": "a\0", "severity": "critical", "\0": "\0"}, {"summary": "\0x"}, "g\0")
@example({"alertname": "a\ud800"}, {"summary": "x"}, "g")
def test_an_alert_is_taken_or_refused_for_good(
    post: Post, labels: dict[str, str], said: dict[str, str], group: str
) -> None:
    """Never an error or a 503, with which Alertmanager would send it again, for ever."""
    for status in ("firing", "firing", "resolved"):
        assert post(note(labels, said, group, status)) in {200, 202, 400}
