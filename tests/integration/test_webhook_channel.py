"""The webhook channel against a receiver written from the published rules."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from monitor.config.secret import Secret
from monitor.http_client import HttpClient
from monitor.notify.channel import Kind, Outcome, Refused, Retry, Sent, Unknown
from monitor.notify.settings import WebhookSettings
from monitor.notify.webhook import WebhookChannel, sign
from tests.contract.channel_cases import NOW, message
from tests.servers import faults
from tests.servers.webhook_server import SECRET, WebhookServer


@pytest.fixture
def server() -> Iterator[WebhookServer]:
    with WebhookServer() as running:
        yield running


def _channel(server: WebhookServer, *, late_s: float = 0.0) -> WebhookChannel:
    settings = WebhookSettings(
        name="w", url=server.hook, secret=Secret(env="TOCSIN_TEST_HOOK"), timeout_s=0.8
    )
    return WebhookChannel(settings, HttpClient(), clock=lambda: time.time() - late_s)


@pytest.fixture
def webhook(server: WebhookServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebhookChannel]:
    monkeypatch.setenv("TOCSIN_TEST_HOOK", SECRET)
    channel = _channel(server)
    yield channel
    channel.close()


def test_the_document_is_whole_and_versioned(
    server: WebhookServer, webhook: WebhookChannel
) -> None:
    """A receiver gets everything that the page says, by name."""
    assert isinstance(webhook.send(message(), NOW), Sent)
    (document,) = server.documents
    assert document["version"] == 1
    assert document["kind"] == "trigger"
    assert document["dedup_key"] == "tocsin:6b0f:SEV1"
    assert document["labels"]["feature"] == "chat"
    assert document["links"][0]["href"].startswith("https://tocsin.example/")
    assert document["occurred_at"] == "2026-03-01T03:12:00+00:00"
    assert len(document["lines"]) == 3


def test_the_address_may_be_a_secret(
    server: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read anew at each page; what is missing waits, and what is no address is not shown."""
    monkeypatch.setenv("TOCSIN_TEST_HOOK", SECRET)
    settings = WebhookSettings(
        name="w", url=Secret(env="TOCSIN_TEST_URL"), secret=Secret(env="TOCSIN_TEST_HOOK")
    )
    channel = WebhookChannel(settings, HttpClient())
    waits = channel.send(message(), NOW)
    assert isinstance(waits, Retry)
    assert waits.ours
    assert "TOCSIN_TEST_URL" in waits.reason
    for wrong in ("http://elsewhere.example/t0ken", "t0ken"):
        monkeypatch.setenv("TOCSIN_TEST_URL", wrong)
        refused = channel.send(message(), NOW)
        assert isinstance(refused, Refused)
        assert "t0ken" not in refused.reason
    monkeypatch.setenv("TOCSIN_TEST_URL", server.hook)
    assert isinstance(channel.send(message(), NOW), Sent)
    assert len(server.documents) == 1
    channel.close()


def test_the_signature_covers_time_and_body() -> None:
    """A known answer, computed with `printf '1700000000.{}' | openssl dgst -sha256 -hmac key`."""
    expected = "v1=9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae"
    assert sign("key", "1700000000", b"{}") == expected


def test_an_old_signature_is_refused(server: WebhookServer, webhook: WebhookChannel) -> None:
    """The receiver compares with its own clock, so the stamp is the real time."""
    assert isinstance(webhook.send(message(), NOW), Sent)  # NOW lies far from the real time
    old = _channel(server, late_s=600)
    late = old.send(message(id="pg-0002"), NOW)
    assert isinstance(late, Retry)
    assert late.astray
    old.close()


def test_a_repeat_has_the_same_id(server: WebhookServer, webhook: WebhookChannel) -> None:
    """The receiver folds what it has already."""
    server.fail_next(faults.reset_after_store)
    webhook.send(message(kind=Kind.RESOLVE), NOW)
    assert isinstance(webhook.send(message(kind=Kind.RESOLVE, attempt=2), NOW), Sent)
    assert len(server.documents) == 1
    assert server.journal.rows[-1]["outcome"] == "accepted: repeat"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, Sent),
        (202, Sent),
        (299, Sent),
        (301, Retry),
        (307, Retry),
        (400, Refused),
        (401, Retry),
        (403, Retry),
        (404, Refused),
        (407, Retry),
        (410, Refused),
        (413, Refused),
        (408, Retry),
        (425, Retry),
        (429, Retry),
        (451, Retry),
        (500, Unknown),
        (503, Retry),
    ],
)
def test_the_status_decides(
    server: WebhookServer, webhook: WebhookChannel, status: int, kind: type[Outcome]
) -> None:
    """2xx is accepted; 400, 404, 410, 413, 415 and 422 are final; anything else comes again."""
    server.fail_next(faults.status(status, b"x" * 1000))
    assert isinstance(webhook.send(message(), NOW), kind)


def test_an_accepted_page_does_not_wait_for_the_body(
    server: WebhookServer, webhook: WebhookChannel
) -> None:
    """The status is the answer; a body that drips changes nothing."""
    server.fail_next(faults.slow_body)
    assert isinstance(webhook.send(message(), NOW), Sent)
