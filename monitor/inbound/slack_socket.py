"""Slack's Socket Mode: clicks come over a connection that we open, so that no port is open to them.

Slack hands each envelope to any of an app's connections and gives it out again when it is not
acknowledged. So an envelope is acknowledged when its transaction has committed, and not at all when
the store does not answer; which instance or connection it came by does not matter.

A connection is told to go some time before it ends (`disconnect`: warning, refresh_requested); the
next one is made first, and the old one is left when the next has said hello. What else ends it is
answered with the next attempt, after 0.5, 1, 2 ... 30 s, jittered.

Protocol: https://docs.slack.dev/apis/events-api/using-socket-mode
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import msgspec

from monitor.config.secret import SecretUnavailableError
from monitor.http_client import HttpClient, tls_context
from monitor.inbound.settings import SlackAnswers
from monitor.inbound.slack_link import Envelope, SlackLink
from monitor.inbound.websocket import WebSocketClosed, connect
from monitor.metrics import Metrics
from monitor.notify.channel import Retry
from monitor.notify.slack_call import CallError, SlackCall
from monitor.store.store import StoreUnavailable
from monitor.views import Health
from monitor.watchdog import Unwatched, Watch, allow, tick

logger = logging.getLogger(__name__)

HELLO_S = 10.0
FIRST_S, LONGEST_S = 0.5, 30.0
ROUGH_S = 10.0
"""A connection that did not live so long counts as a failed attempt."""
OVERLAP_S = 2.0
"""How long an old connection may finish what it has after the next one stands."""
STALE_S = 30.0
TURN_S = 1.0
"""Between two looks of the keeper."""
ATTEMPT_S = 120.0
"""No attempt to connect takes so long, a name server that does not answer included."""
CLOSE_S = 2.0
"""An attempt to connect that is under way at the end is waited for so long, then left."""

Take = Callable[[bytes], object]
"""Applies a payload; raises `StoreUnavailable` when Slack must hear nothing."""


@dataclass(frozen=True, slots=True)
class _Failed:
    """An attempt to connect that came to nothing."""

    why: str
    after_s: float | None = None
    """Slack's own wish."""


def pause(failures: int, chance: float) -> float:
    """Seconds before the next attempt: 0.5, 1, 2 ... 30, of which between half and all.

    Args:
        failures: attempts in a row that failed; 0 for none.
        chance: between 0 and 1.
    """
    if failures <= 0:
        return 0.0
    most = min(FIRST_S * 2.0 ** min(failures - 1, 10), LONGEST_S)
    return float(most * (0.5 + chance / 2))


def open_connection(settings: SlackAnswers, http: HttpClient) -> str:
    """Ask Slack where to connect; the address is a secret and good for one connection.

    Raises:
        CallError: Slack refuses or does not answer.
        SecretUnavailableError: the token cannot be read.
    """
    if settings.app_token is None:
        raise SecretUnavailableError("no app_token is configured")
    token = settings.app_token.reveal()
    call = SlackCall(http, settings.base_url, token, settings.timeout_s)
    url = call.do("apps_connections_open", {"app_token": token}).get("url")
    if not isinstance(url, str):
        raise CallError(Retry("Slack answers ok without an address"))
    return url


class SlackSocket:
    """Keeps one connection to Slack, in threads of its own; start once, close once."""

    def __init__(
        self, settings: SlackAnswers, take: Take, metrics: Metrics, watch: Watch | None = None
    ) -> None:
        """Set up; connects to nobody.

        Args:
            settings: of the app.
            take: applies the payload of an envelope, and has committed when it returns.
            metrics: where connections are counted.
            watch: ends a process whose loops hang or die.

        Raises:
            OSError: the configured `ca_file` cannot be read.
        """
        self._settings = settings
        self._take = take
        self._metrics = metrics
        self._http = HttpClient(ca_file=settings.ca_file, proxy=settings.proxy)
        self._tls = tls_context(settings.ca_file)
        self._watch = watch or Unwatched()
        self._stop = threading.Event()
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self._links: list[SlackLink] = []
        self._failures = 0
        self._why = "not connected yet"
        self._heard: float | None = None
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="slack-click")
        self._thread = threading.Thread(target=self._run, name="slack-socket", daemon=True)

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._wanted.set()
        self._thread.start()

    def close(self) -> None:
        """Answer what is under way, then let go."""
        self._stop.set()
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)
        self._pool.shutdown(wait=True)
        links = self._open_links()
        for link in links:
            link.leave(0.0)
        for link in links:
            link.thread.join(timeout=5)
        self._http.close()

    def health(self) -> Health:
        """Whether clicks arrive, and how old the last sign of life is."""
        heard = self._heard
        age = None if heard is None else max(0.0, time.monotonic() - heard)
        if not any(link.ready for link in self._open_links()):
            # a warning: pages go out by another road, and the desk takes acknowledgements
            return Health(name="slack buttons", state="warn", text=f"not connected: {self._why}")
        text = "connected" if age is None else f"connected, last heard {age:.0f} s ago"
        late = age is not None and age > STALE_S
        return Health(name="slack buttons", state="warn" if late else "ok", text=text)

    # -- the keeper ------------------------------------------------------------------------------

    def _run(self) -> None:
        self._watch.enter("slack-socket")
        self._keep()
        # Only an end in order comes here: of any other the watchdog hears nothing, and bites.
        self._watch.leave()

    def _rest(self, seconds: float) -> None:
        allow(seconds)
        self._stop.wait(seconds)
        tick()

    def _keep(self) -> None:
        while True:
            while not self._wanted.wait(TURN_S):
                tick()
            with self._lock:
                failures = self._failures
            self._rest(pause(failures, random.random()))  # noqa: S311 - spreads attempts, keeps no secret
            if self._stop.is_set():
                return
            self._wanted.clear()
            allow(ATTEMPT_S + self._settings.timeout_s)
            made = self._connect()
            tick()
            outcome = "failed" if isinstance(made, _Failed) else "connected"
            self._metrics.slack_socket_connects.labels(outcome).inc()
            if isinstance(made, _Failed):
                self._failed(made)

    def _failed(self, failed: _Failed) -> None:
        self._why = failed.why
        logger.warning("slack: no connection, it is tried again: %s", failed.why)
        with self._lock:
            self._failures += 1
        if failed.after_s is not None:
            self._rest(failed.after_s)
        self._wanted.set()

    def _connect(self) -> SlackLink | _Failed:
        try:
            url = open_connection(self._settings, self._http)
            socket = connect(url, context=self._tls, proxy=self._settings.proxy)
        except SecretUnavailableError as problem:
            return _Failed(str(problem))
        except CallError as failure:
            outcome = failure.outcome
            wish = outcome.after_s if isinstance(outcome, Retry) else None
            return _Failed(str(getattr(outcome, "reason", outcome)), wish)
        except WebSocketClosed as problem:
            return _Failed(str(problem))
        link = SlackLink(self, socket, app=self._settings.app, watch=self._watch)
        with self._lock:
            if self._stop.is_set():
                socket.close()
                return _Failed("it ends")
            self._links.append(link)
        link.thread.start()
        if not link.hello.wait(HELLO_S) or not link.ready:
            link.leave(0.0)
            return _Failed(link.why or f"no hello within {HELLO_S:.0f} s")
        self._metrics.slack_socket_up.set(1)
        logger.info("slack: connected")
        for other in self._open_links():
            if other is not link:
                other.leave(OVERLAP_S)
        return link

    def _open_links(self) -> list[SlackLink]:
        with self._lock:
            return list(self._links)

    # -- what a link tells (implements `slack_link.Keeper`) ----------------------------------------

    def heard(self) -> None:
        """A sign of life."""
        self._heard = time.monotonic()
        self._metrics.slack_socket_heard.set(time.time())

    def renew(self, why: str) -> None:
        """The connection will end soon, as planned: make the next one at once."""
        self._why = why
        with self._lock:
            self._failures = 0
        self._wanted.set()

    def ended(self, link: SlackLink) -> None:
        """A link is over; another is needed, unless this one was left for the next."""
        with self._lock:
            self._links.remove(link)
            up = any(other.ready for other in self._links)
            wanted = link.greeted and not (link.left or link.renewing)
            if wanted:
                self._failures = self._failures + 1 if link.age() < ROUGH_S else 0
        self._metrics.slack_socket_up.set(1 if up else 0)
        if wanted:
            self._why = link.why
            logger.warning("slack: the connection ended: %s", link.why)
            self._wanted.set()

    def work(self, link: SlackLink, envelope: Envelope) -> None:
        """Apply an envelope outside the reading thread, and acknowledge it if it is committed."""
        try:
            self._pool.submit(self._answer, link, envelope).add_done_callback(_broken)
        except RuntimeError:  # closing: Slack gives it to somebody else
            return

    def _answer(self, link: SlackLink, envelope: Envelope) -> None:
        if envelope.type == "interactive":
            try:
                self._take(bytes(envelope.payload))
            except StoreUnavailable as problem:
                logger.warning("slack: a click is not acknowledged, it comes again: %s", problem)
                return
        if envelope.envelope_id:
            link.send(msgspec.json.encode({"envelope_id": envelope.envelope_id}).decode())


def _broken(job: Future[None]) -> None:
    """A click that broke us is a bug and must be heard; it is not acknowledged."""
    if (problem := job.exception()) is not None:
        logger.error("slack: a click could not be worked on: %r", problem)
