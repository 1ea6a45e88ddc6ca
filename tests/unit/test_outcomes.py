"""Outcomes of several senders share a commit, and none returns before its own is written."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from monitor.notify.channel import Sent
from monitor.outcomes import Done, Outcomes
from monitor.store.errors import StoreUnavailable
from tests.making import queued

WAIT_S = 30.0


def done(number: int) -> Done:
    return Done(queued(number), Sent({}), 0.0)


def test_what_comes_while_a_commit_is_under_way_is_written_together() -> None:
    """The first is written alone; all that waited for it go into the next transaction."""
    batches: list[list[int]] = []
    began, go = threading.Event(), threading.Event()

    def write(batch: Sequence[Done]) -> None:
        batches.append([each.page.id for each in batch])
        began.set()
        assert go.wait(WAIT_S)

    outcomes = Outcomes(write)
    first = threading.Thread(target=outcomes.keep, args=(done(1),))
    first.start()
    assert began.wait(WAIT_S)
    others = [threading.Thread(target=outcomes.keep, args=(done(n),)) for n in (2, 3)]
    for each in others:
        each.start()
    while len(outcomes._line) < 2:
        threading.Event().wait(0.01)
    assert first.is_alive(), "it returns when its own is written"
    go.set()
    for each in (first, *others):
        each.join(WAIT_S)
    assert [sorted(batch) for batch in batches] == [[1], [2, 3]]


def test_who_was_not_written_hears_why() -> None:
    """A store that does not answer is told to the sender, and the next outcome is tried anew."""
    answers = [StoreUnavailable("locked"), None]

    def write(_batch: Sequence[Done]) -> None:
        if (problem := answers.pop(0)) is not None:
            raise problem

    outcomes = Outcomes(write)
    with pytest.raises(StoreUnavailable, match="locked"):
        outcomes.keep(done(1))
    outcomes.keep(done(2))
    assert answers == []
