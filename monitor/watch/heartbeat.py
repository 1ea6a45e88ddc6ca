"""The dead-man's heartbeat: a sign of life to an address outside, withheld when something is wrong.

The outside alarms when the sign stays away: it is the only alarm that works when this machine, its
network or all of its channels are gone.
"""

from __future__ import annotations

import logging
import queue
import threading
from dataclasses import dataclass
from datetime import datetime

from monitor.config.secret import Secret, SecretUnavailableError
from monitor.http_client import HttpClient, HttpError
from monitor.url import check_url, origin
from monitor.watch.settings import Heartbeat as Settings

logger = logging.getLogger(__name__)

AGAIN_S = 10.0
"""After one that was not accepted: the outside is to miss none because one packet was lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """The last that is known."""

    where: str = ""
    """Scheme and host; the path may be a secret."""
    since: datetime | None = None
    """When the first was due."""
    sent_at: datetime | None = None
    """When the outside last accepted one."""
    withheld: str = ""
    """Why none is sent now; empty while they are."""
    problem: str = ""
    """Why the last one was not accepted."""


class Heart:
    """Beats each `every` seconds of the steady clock, in a thread, so that nothing waits for it."""

    def __init__(self, settings: Settings, http: HttpClient) -> None:
        self._settings = settings
        self._http = http
        self._last_s: float | None = None
        self._thread: threading.Thread | None = None
        self._results: queue.SimpleQueue[tuple[datetime, str]] = queue.SimpleQueue()
        self._since: datetime | None = None
        self._sent_at: datetime | None = None
        self._problem = ""
        self._withheld = "nothing was looked at yet"

    def step(self, now: datetime, steady_s: float, withheld: str) -> Beat:
        """Beat if it is time and nothing speaks against it.

        Args:
            now: wall time, for what is shown.
            steady_s: a clock that never jumps, seconds.
            withheld: why not; empty for nothing.
        """
        self._collect()
        if withheld != self._withheld:
            if withheld:
                logger.error("the heartbeat is withheld: %s", withheld)
            else:
                logger.info("the heartbeat goes out again")
        self._withheld = withheld
        self._since = self._since or now
        every = self._settings.every.total_seconds()
        if self._problem:
            every = min(every, AGAIN_S)
        due = self._last_s is None or steady_s - self._last_s >= every
        if not withheld and due and (self._thread is None or not self._thread.is_alive()):
            self._last_s = steady_s
            self._thread = threading.Thread(
                target=self._beat, args=(now,), name="heartbeat", daemon=True
            )
            self._thread.start()
        return self.beat()

    def beat(self) -> Beat:
        """What is known now."""
        return Beat(
            where=self._where(),
            since=self._since,
            sent_at=self._sent_at,
            withheld=self._withheld,
            problem=self._problem,
        )

    def settle(self, timeout_s: float) -> Beat:
        """Wait for the one under way."""
        if self._thread is not None:
            self._thread.join(timeout_s)
        self._collect()
        return self.beat()

    def close(self) -> None:
        """Release connections."""
        self._http.close()

    def _where(self) -> str:
        url = self._settings.url
        return f"the address in {url.where}" if isinstance(url, Secret) else origin(url)

    def _collect(self) -> None:
        while True:
            try:
                at, problem = self._results.get_nowait()
            except queue.Empty:
                return
            if problem != self._problem and problem:
                logger.warning("the heartbeat was not accepted: %s", problem)
            self._problem = problem
            if not problem:
                self._sent_at = at

    def _beat(self, now: datetime) -> None:
        self._results.put((now, self._send()))

    def _send(self) -> str:
        """Why it was not accepted; empty if it was."""
        settings = self._settings
        try:
            url = settings.url
            address = check_url(url.reveal()) if isinstance(url, Secret) else url
            answer = self._http.request(
                settings.method,
                address,
                body=b"tocsin is alive\n" if settings.method == "POST" else b"",
                headers={"content-type": "text/plain"} if settings.method == "POST" else {},
                timeout_s=settings.timeout.total_seconds(),
            )
        except (SecretUnavailableError, HttpError) as problem:
            return str(problem)
        except ValueError as problem:
            return f"the secret is no address: {problem}"
        return "" if 200 <= answer.status < 300 else f"{self._where()} answers {answer.status}"
