"""Asking what may never answer."""

from __future__ import annotations

import threading

import pytest

from monitor.watch.patience import NoAnswer, Patience


def test_an_answer_and_a_failure_come_back_as_they_are() -> None:
    """The thread between is not to be seen."""
    patience = Patience("the store")
    assert patience.ask(lambda: 7, 20) == 7
    with pytest.raises(ZeroDivisionError):
        patience.ask(lambda: 1 // 0, 20)


def test_what_hangs_is_asked_again_only_when_it_has_answered() -> None:
    """One thread hangs, not one for each question."""
    patience, go_on = Patience("the store"), threading.Event()
    before = threading.active_count()
    with pytest.raises(NoAnswer, match="within"):
        patience.ask(lambda: go_on.wait(60), 0.05)
    for _ in range(5):
        with pytest.raises(NoAnswer, match="still"):
            patience.ask(lambda: 7, 20)
    assert threading.active_count() <= before + 1
    go_on.set()
    assert patience._thread is not None
    patience._thread.join(20)
    assert patience.ask(lambda: 8, 20) == 8


def test_a_machine_without_a_thread_left_gets_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The asker goes on as after a hang, and asks again when there are threads."""

    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    patience = Patience("the store")
    with monkeypatch.context() as scarce:
        scarce.setattr(threading.Thread, "start", none_left)
        with pytest.raises(NoAnswer, match="can't start"):
            patience.ask(lambda: 7, 20)
    assert patience.ask(lambda: 7, 20) == 7
