"""Backtests under way: asked for once, told how far, found done, broken off."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest

from monitor.desk.trials import FRESH, Progress, Trials
from monitor.detect_views import Backtest
from monitor.views import DeskError
from tests.making import T0
from tests.tui.story_rules import TESTED


class Work:
    """A backtest that a test lets go on."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = 0

    def __call__(self, told: Progress) -> Backtest:
        self.begun += 1
        told(0.25)
        assert self.go.wait(30)
        told(0.5)
        return TESTED


@pytest.fixture
def trials() -> Iterator[Trials]:
    """A process's."""
    made = Trials()
    yield made
    made.close()


def test_a_long_backtest_is_asked_for_twice_and_made_once(trials: Trials) -> None:
    """The first question is told how far it is, a later one finds it; a fresh one is good enough,
    and none is once the rule was moved."""
    work = Work()
    while (first := trials.ask("r", "page", T0, work, wait_s=0.02)).progress == 0.0:
        pass
    assert (first.backtest, first.progress) == (None, 0.25)
    work.go.set()
    assert trials.ask("r", "page", T0 + FRESH, work, wait_s=30).backtest is TESTED
    assert work.begun == 1
    assert trials.ask("r", "ticket", T0, work, wait_s=30).progress == 1.0
    trials.ask("r", "page", T0 + FRESH + timedelta(seconds=1), work, wait_s=30)
    assert work.begun == 3
    trials.forget("r")
    trials.ask("r", "page", T0 + FRESH, work, wait_s=30)
    assert work.begun == 4


def test_a_store_that_does_not_answer_is_said_and_tried_again(trials: Trials) -> None:
    """The problem is who asks's, and the next question begins anew."""

    def broken(_told: Progress) -> Backtest:
        raise DeskError("unavailable", "the store is busy")

    with pytest.raises(DeskError, match="the store is busy"):
        trials.ask("r", "page", T0, broken, wait_s=30)
    assert trials.ask("r", "page", T0, lambda _told: TESTED, wait_s=30).backtest is TESTED


def test_the_end_of_a_daemon_waits_for_no_backtest(trials: Trials) -> None:
    """What is under way is broken off at its next step, and nothing begins."""
    work = Work()
    trials.ask("r", "page", T0, work, wait_s=0.01)
    trials.close()
    work.go.set()
    with pytest.raises(DeskError, match="the desk closes"):
        trials.ask("r", "page", T0, work, wait_s=30)
    with pytest.raises(DeskError, match="the desk closes"):
        trials.ask("r", "page", T0, work, wait_s=30)
