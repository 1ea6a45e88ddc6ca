"""Messages, links and retries: the small decisions around a page; and when a bucket is complete."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from monitor.alerting.routes import Route
from monitor.completeness import IDLE, complete_until
from monitor.deliver import LONGEST_RETRY_S, OURS_S, retry_in
from monitor.notify.channel import Kind, Retry, Unknown
from monitor.paging import Policy, concerns, message, render_links
from monitor.store.stream_rows import PartitionRow
from tests.making import T0, alert, incident

POLICY = Policy(route=Route(receivers=("oncall",)), links={"wiki": "https://wiki/$signal"})


def test_links_come_from_templates_and_are_encoded() -> None:
    """Values are percent-encoded whole; a name the template does not know stays as it is."""
    templates = {
        "runbook": "https://wiki/$signal?f=$feature&i=$incident",
        "panel": "https://graphs/${environment}/$other",
    }
    odd = incident(dimensions={"environment": "prod", "feature": "a/b?c=d&e #<x>"})
    runbook, panel = render_links(templates, odd)
    assert runbook.text == "runbook"
    assert runbook.href == ("https://wiki/refusal_rate?f=a%2Fb%3Fc%3Dd%26e%20%23%3Cx%3E&i=INC-0007")
    assert panel.href == "https://graphs/prod/$other"


def test_a_message_is_complete() -> None:
    """What a receiver needs is in it, and its id is stable for the same fact."""
    made = message(
        incident(), Kind.TRIGGER, "oncall", [alert()], [], POLICY, key="trigger:sev2:1", now=T0
    )
    assert made.id == f"{incident().uuid}:oncall:trigger:sev2:1"
    assert made.dedup_key == f"tocsin:{incident().uuid}:sev2"
    assert made.command == "tocsin open INC-0007"
    assert len(made.lines) == 3
    assert made.labels == {
        "signal": "refusal_rate",
        "severity": "SEV2",
        "environment": "prod",
        "feature": "chat",
    }
    assert [link.href for link in made.links] == ["https://wiki/refusal_rate"]


def test_a_change_concerns_what_it_does_not_contradict() -> None:
    """A change of another feature does not; one without dimensions, or of more, does."""
    chat = {"environment": "prod", "feature": "chat"}
    assert concerns({}, chat)
    assert concerns({"feature": "chat"}, chat)
    assert concerns({"model": "m2"}, chat)
    assert not concerns({"feature": "search"}, chat)
    assert not concerns({"environment": "staging", "feature": "chat"}, chat)


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(1, 1), (2, 2), (3, 4), (9, 256), (10, 300), (10_000, 300)]
)
def test_retries_are_spaced_out(attempts: int, seconds: float) -> None:
    """1, 2, 4 ... seconds and at most five minutes, whatever the outcome was."""
    assert retry_in(attempts, Retry("503")) == seconds
    assert retry_in(attempts, Unknown("no answer")) == seconds


def test_a_provider_s_wish_is_granted_within_bounds() -> None:
    """`Retry-After` wins over our own pace, but never waits for more than five minutes."""
    assert retry_in(1, Retry("429", after_s=30.0)) == 30.0
    assert retry_in(9, Retry("429", after_s=0.0)) == 0.0
    assert retry_in(1, Retry("429", after_s=-5.0)) == 0.0
    assert retry_in(1, Retry("429", after_s=1e9)) == LONGEST_RETRY_S


def test_what_we_lack_ourselves_makes_no_page_wait() -> None:
    """A secret may be back at any moment: the pace is the same after a day."""
    assert retry_in(0, Retry("no secret", ours=True)) == OURS_S
    assert retry_in(10_000, Retry("no secret", ours=True)) == OURS_S


def part(
    closed: int | None, *, idle_s: float | None = None, finished: bool = False
) -> PartitionRow:
    """A partition; `idle_s`: for how long it has been read to its end."""
    return PartitionRow(
        topic="t",
        topic_id="id",
        number=0,
        closed=closed,
        watermark=None,
        finished=finished,
        position=5,
        end=5,
        caught_up_at=None if idle_s is None else T0 - timedelta(seconds=idle_s),
        behind_since=None,
        seen_at=T0,
        totals={},
    )


LONG = IDLE.total_seconds()


def test_the_slowest_partition_decides() -> None:
    """A bucket is complete when every partition has closed it."""
    assert complete_until([part(600), part(540), part(660)], T0) == 540


def test_an_unread_partition_blocks() -> None:
    """Nothing is complete while a partition has closed nothing, or there is none at all."""
    assert complete_until([], T0) is None
    assert complete_until([part(None)], T0) is None
    assert complete_until([part(600), part(None)], T0) is None
    assert complete_until([part(600), part(None, idle_s=LONG - 1)], T0) is None


def test_an_idle_partition_does_not_block() -> None:
    """Read to its end for long enough, a partition waits for nobody and nobody for it."""
    assert complete_until([part(600), part(60, idle_s=LONG)], T0) == 600
    assert complete_until([part(600), part(60, idle_s=LONG - 1)], T0) == 60
    assert complete_until([part(600), part(None, idle_s=LONG)], T0) == 600


def test_a_look_from_the_future_is_no_rest() -> None:
    """The clock was put back: what was seen an hour ahead may be read by nobody since."""
    then = replace(part(60, idle_s=LONG), seen_at=T0 + timedelta(hours=1))
    assert complete_until([part(600), then], T0) == 60
    assert complete_until([part(600), replace(then, seen_at=T0)], T0) == 600


def test_a_clock_put_back_holds_nothing_up() -> None:
    """Where buckets later than now are decided already, or most partitions are ahead of our clock,
    it is ours that is wrong, and not a producer's."""
    at = int(T0.timestamp())
    fast = [part(at + 7200), part(at, idle_s=LONG)]
    assert complete_until(fast, T0, decided=at) == at + 60
    assert complete_until(fast, T0, decided=at + 3600) == at + 7200
    assert complete_until([part(at + 7260), *fast], T0, decided=at) == at + 7200
    assert complete_until([part(at + 7200)], T0, decided=at) == at + 7200


def test_when_all_are_idle_the_furthest_decides() -> None:
    """The stream rests: what was closed anywhere is decided."""
    assert complete_until([part(600, idle_s=LONG), part(660, idle_s=LONG)], T0) == 660


def test_a_partition_that_is_hours_ahead_carries_nobody_with_it() -> None:
    """Its only producer has a fast clock, and all are idle; a recording has no such clock."""
    now = int(T0.timestamp())
    ahead = [part(now - 60, idle_s=LONG), part(now + 6 * 3600, idle_s=LONG)]
    assert complete_until(ahead, T0) == now + 60
    assert complete_until(ahead, T0, live=False) == now + 6 * 3600
    assert complete_until([part(now - 60), part(now + 6 * 3600)], T0) == now - 60


def test_the_files_of_a_recording_end_apart() -> None:
    """A file that has ended does not hold the longer ones back."""
    assert complete_until([part(600, finished=True), part(660, finished=True)], T0) == 660
    assert complete_until([part(600, finished=True), part(660)], T0) == 660
