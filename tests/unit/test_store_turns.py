"""Writers of one process take turns."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from monitor.store.store import Store
from monitor.store.turns import NotOurTurn, Turns


def test_turns_are_given_in_the_order_they_were_asked_for() -> None:
    """Three who wait while a fourth holds it come one after another, as they came."""
    turns, order, waiting = Turns(), list[int](), list[threading.Thread]()

    def take(number: int) -> None:
        with turns.turn(10.0):
            order.append(number)

    with turns.turn(10.0):
        for number in range(3):
            waiting.append(threading.Thread(target=take, args=(number,)))
            waiting[-1].start()
            time.sleep(0.05)
        assert order == []
    for thread in waiting:
        thread.join()
    assert order == [0, 1, 2]


def test_who_loses_patience_leaves_the_line() -> None:
    """A time-out is an error for the one who waited, and nobody behind stands still for it."""
    turns = Turns()
    with turns.turn(1.0), pytest.raises(NotOurTurn), turns.turn(0.01):
        pass
    with turns.turn(0.01):
        pass


def test_an_error_gives_the_turn_back() -> None:
    """A block that fails does not keep the others out."""
    turns = Turns()
    with pytest.raises(ZeroDivisionError), turns.turn(1.0):
        raise ZeroDivisionError
    with turns.turn(0.01):
        pass


def test_a_loop_that_writes_without_a_pause_starves_nobody(tmp_path: Path) -> None:
    """Beside a loop of transactions of 50 ms, another writer waits for about one of them."""
    store = Store(f"sqlite:///{tmp_path / 'x.db'}")
    ended = threading.Event()

    def greedy() -> None:
        while not ended.is_set():
            with store.write() as tx:
                tx.touch()
                time.sleep(0.05)

    thread = threading.Thread(target=greedy)
    thread.start()
    try:
        waited = []
        for _ in range(10):
            time.sleep(0.07)  # so that the other holds it when we come
            started = time.monotonic()
            with store.write() as tx:
                tx.touch()
            waited.append(time.monotonic() - started)
    finally:
        ended.set()
        thread.join()
        store.close()
    assert max(waited) < 1.0, waited
