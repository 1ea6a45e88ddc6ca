"""The auditor names what a receiver lacks before a page needs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.config.secret import Secret
from monitor.notify.settings import LogSettings, PagerDutySettings, WebhookSettings
from monitor.watch.lacks import Lacks
from tests.making import T0


def test_a_secret_that_cannot_be_read_is_named_with_its_receiver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each by itself, without a page, until it is back; a keyring is not asked."""
    monkeypatch.delenv("TOCSIN_TEST_HOOK", raising=False)
    key = tmp_path / "key"
    hook = WebhookSettings(
        name="hook", url=Secret(keyring="tocsin/url"), secret=Secret(env="TOCSIN_TEST_HOOK")
    )
    pager = PagerDutySettings(name="pd", routing_key=Secret(file=str(key)))
    lacks = Lacks((pager, hook, LogSettings(name="log")))
    lacks.look(T0)
    assert [one.key for one in lacks.found] == ["secret:pd:routing_key", "secret:hook:secret"]
    assert "receiver pd cannot be sent to" in lacks.found[0].text
    assert str(key) in lacks.found[0].text
    assert not any(one.pages or one.level == "bad" for one in lacks.found)
    key.write_text("k" * 32)
    monkeypatch.setenv("TOCSIN_TEST_HOOK", "s3cret")
    lacks.look(T0)
    assert lacks.found == []
