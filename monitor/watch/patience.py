"""Asking something that may never answer: a frozen database, a disk that hangs.

The question runs in a thread of its own. The asker goes on at the deadline; while an old question
still hangs no new one is asked, so that threads do not pile up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class NoAnswer(Exception):
    """It did not answer in time, or still hangs from before."""


class _Question(Generic[T]):
    def __init__(self, ask: Callable[[], T]) -> None:
        self._ask = ask
        self.answered = threading.Event()
        self._answer: list[T] = []
        self._problem: BaseException | None = None

    def run(self) -> None:
        try:
            self._answer.append(self._ask())
        except BaseException as problem:  # noqa: BLE001 - handed to the asker, who judges it
            self._problem = problem
        finally:
            self.answered.set()

    def result(self) -> T:
        if self._problem is not None:
            raise self._problem
        return self._answer[0]


class Patience:
    """One thing that is asked, one question at a time."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: threading.Thread | None = None

    def ask(self, question: Callable[[], T], timeout_s: float) -> T:
        """The answer of `question`, or what it raised.

        Raises:
            NoAnswer: not within `timeout_s`, or there is no thread left to ask.
        """
        if self._thread is not None and self._thread.is_alive():
            raise NoAnswer(f"{self._name} still does not answer")
        asked = _Question(question)
        thread = threading.Thread(target=asked.run, name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise NoAnswer(f"{self._name} could not be asked: {error}") from None
        self._thread = thread
        if not asked.answered.wait(timeout_s):
            raise NoAnswer(f"{self._name} did not answer within {timeout_s:g} s")
        self._thread.join(timeout_s)
        return asked.result()
