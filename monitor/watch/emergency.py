"""The emergency road: pages that need neither the store nor the stream.

What is owed is in the spool before anything is sent. Each receiver has one sender at a time, so
that the end of an episode never overtakes its beginning. A SIGKILL leaves the message unmarked: it
is sent again under the same key, as a second attempt, which looks for the first where it can.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from monitor.notify.attempt import attempt
from monitor.notify.channel import (
    Channel,
    Kind,
    Message,
    Outcome,
    Refused,
    Retry,
    Sent,
    Unknown,
)
from monitor.watch.episodes import Episode, fold
from monitor.watch.patience import NoAnswer, Patience
from monitor.watch.spool import (
    MAX_BYTES,
    Closed,
    Filed,
    Noted,
    Opened,
    Record,
    Spool,
    SpoolUnavailable,
    Tried,
    compacted,
)

logger = logging.getLogger(__name__)

FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 60.0
GIVE_UP_S = 24 * 3600.0
"""After so long an end that nobody takes is given up; a page is not while its trouble lasts."""
NOTED = 20
SPOOL_S = 5.0
"""Longest wait for the spool's disk; then the page goes out without it."""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one attempt."""

    message: Message
    episode: str
    outcome: Outcome
    at: datetime
    steady_s: float


@dataclass(slots=True)
class _Attempts:
    count: int
    since_s: float
    """When the first was made, by the steady clock: the wall's may jump."""
    next_s: float
    """When the next is due, by the same."""
    unsure: bool
    """One of them may have been heard."""
    ours: int = 0
    """How many of them came to nothing because of us; they make nothing wait."""


class Road:
    """Opens and closes episodes, and sends what they owe."""

    def __init__(
        self, spool: Spool | None, channels: Mapping[str, Channel], receivers: Sequence[str]
    ) -> None:
        """Args: no `spool`: it could not be opened, and everything is kept in memory only."""
        self._spool = spool
        self._channels = channels
        self._receivers = tuple(name for name in receivers if name in channels)
        self.episodes: dict[str, Episode] = fold(spool.records if spool is not None else ())
        self._attempts: dict[str, _Attempts] = {}
        self._again = {m.id for episode in self.episodes.values() for m in episode.owed()}
        """May have been sent by an auditor that was killed."""
        self._busy: dict[str, threading.Thread] = {}
        self._reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self.unwritten: list[Record] = []
        """What the spool did not take; it is written with the next record."""
        self._said = ""
        self._disk = Patience("the spool's disk")
        if self._again:
            logger.warning("recovered: %d emergency messages are sent again", len(self._again))

    # -- episodes -------------------------------------------------------------------------------

    def running(self, key: str) -> Episode | None:
        """The episode of a trouble that is not over."""
        for episode in self.episodes.values():
            if episode.opened.key == key and episode.closed is None:
                return episode
        return None

    def open(
        self,
        key: str,
        check: str,
        title: str,
        lines: tuple[str, ...],
        since: datetime,
        now: datetime,
        *,
        where: str,
        dedup: str = "",
    ) -> Episode:
        """Begin an episode; the one that runs, if one does. It is spooled when this returns.

        Args:
            key: of the trouble.
            check: its name.
            title: what is wrong.
            lines: the page's lines; the last is the cure.
            since: when it began.
            now: the time.
            where: tells apart installations and machines; part of what receivers key on.
            dedup: the same on every machine that finds this trouble, so that PagerDuty folds
                theirs into one incident; empty: it is this machine's own.
        """
        known = self.running(key)
        if known is not None:
            return known
        opened = Opened(
            id=f"tocsin:watch:{where}:{key}:{int(since.timestamp())}",
            key=key,
            check=check,
            severity="SEV1",
            title=title,
            lines=lines,
            since=since,
            at=now,
            receivers=self._receivers,
            dedup=dedup,
        )
        self._write(opened)
        logger.error("%s", title)
        return self.episodes[opened.id]

    def close(self, key: str, text: str, now: datetime) -> None:
        """It is over."""
        episode = self.running(key)
        if episode is not None:
            self._write(Closed(episode=episode.id, at=now, text=text))
            logger.warning("%s", text)

    def note(self, key: str, text: str, now: datetime) -> None:
        """A fact for the timeline, once; the first `NOTED` are kept."""
        episode = self.running(key)
        if episode is None or len(episode.notes) >= NOTED:
            return
        if all(note.text != text for note in episode.notes):
            self._write(Noted(episode=episode.id, at=now, text=text))

    def filed(self, episode: Episode, now: datetime) -> None:
        """The store has all of it."""
        self._write(Filed(episode=episode.id, at=now))
        if not self.episodes and self._spool is not None and not self.unwritten:
            try:
                self._spool.rewrite(())
            except SpoolUnavailable as problem:
                logger.warning("%s", problem)

    def _write(self, record: Record) -> None:
        """On the disk if it can be had; in any case acted on."""
        self.unwritten.append(record)
        self.episodes = fold([*self._story(), record])
        self.flush()

    def _story(self) -> list[Record]:
        written = [] if self._spool is None else self._spool.records
        return [*written, *self.unwritten]

    def flush(self) -> None:
        """Write what the spool has not taken so far."""
        if self._spool is None:
            return
        try:
            while self.unwritten:
                # A record that hangs may be written twice in the end; it means the same twice.
                self._disk.ask(partial(_append, self._spool, self.unwritten[0]), SPOOL_S)
                self.unwritten.pop(0)
        except (SpoolUnavailable, NoAnswer, OSError) as problem:
            # Paging fails open: a message that cannot be spooled is sent all the same.
            if str(problem) != self._said:
                logger.error("the emergency road goes on without its spool: %s", problem)  # noqa: TRY400 - the words say it
            self._said = str(problem)
        else:
            self._said = ""

    # -- messages -------------------------------------------------------------------------------

    def unsent(self) -> int:
        """Messages that are still owed."""
        return sum(len(episode.owed()) for episode in self.episodes.values())

    def step(self, now: datetime, steady_s: float) -> int:
        """Take in what came back, and start what is due; how many messages were started.

        Args:
            now: the wall clock.
            steady_s: a clock that never jumps, seconds; back-off runs on it.
        """
        # A sender that has ended has reported; so what is free here has its outcome taken in.
        self._busy = {name: job for name, job in self._busy.items() if job.is_alive()}
        self._collect()
        started = 0
        for episode in self.episodes.values():
            for message in episode.owed():
                receiver = message.id.removeprefix(f"{episode.id}:").rpartition(":")[0]
                if receiver in self._busy or not self._due(message.id, steady_s):
                    continue
                self._start(episode, receiver, message, now, steady_s)
                started += 1
        return started

    def settle(self, timeout_s: float) -> None:
        """Wait for what is under way, and take it in."""
        for job in list(self._busy.values()):
            job.join(timeout_s)
        self._collect()

    def _due(self, message: str, steady_s: float) -> bool:
        known = self._attempts.get(message)
        return known is None or known.next_s <= steady_s

    def _start(
        self, episode: Episode, receiver: str, message: Message, now: datetime, steady_s: float
    ) -> None:
        again = message.id in self._again
        known = self._attempts.setdefault(
            message.id, _Attempts(int(again), steady_s, steady_s, unsure=again)
        )
        known.count += 1
        known.next_s = steady_s + retry_in(known.count - known.ours)
        sending = replace(message, attempt=known.count, fresh=not known.unsure)
        channel = self._channels.get(receiver)

        def send() -> None:
            outcome = attempt(channel, receiver, sending, now)
            self._reports.put(Report(sending, episode.id, outcome, now, steady_s))

        job = threading.Thread(target=send, name=f"emergency-{receiver}", daemon=True)
        try:
            job.start()
        except RuntimeError as error:
            lack = Retry(str(error), ours=True)
            self._reports.put(Report(sending, episode.id, lack, now, steady_s))
        else:
            self._busy[receiver] = job

    def _collect(self) -> None:
        while True:
            try:
                report = self._reports.get_nowait()
            except queue.Empty:
                return
            self._take(report)

    def _take(self, report: Report) -> None:
        episode = self.episodes.get(report.episode)
        if episode is None:
            return
        word, detail, receipt = _words(report.outcome)
        known = self._attempts[report.message.id]
        match report.outcome:
            case Retry(after_s=after_s, ours=ours):
                known.next_s += min(after_s or 0.0, LONGEST_RETRY_S)
                known.ours += ours
            case Refused():
                known.next_s = report.steady_s + LONGEST_RETRY_S
            case Unknown():
                known.unsure = True
            case Sent():
                pass
        ends = report.message.kind is Kind.RESOLVE
        if ends and word != "sent" and report.steady_s - known.since_s > GIVE_UP_S:
            word, detail = "refused", f"not accepted in 24 hours; {detail}"
        if word != "sent" and episode.outcome(report.message.id) == word:
            return  # told already; it goes on
        self._write(
            Tried(
                message=report.message.id,
                episode=report.episode,
                at=report.at,
                outcome=word,
                detail=detail,
                receipt=receipt,
            )
        )

    def close_channels(self) -> None:
        """Release the channels and the spool."""
        for channel in self._channels.values():
            channel.close()
        if self._spool is not None:
            self._spool.close()


def _append(spool: Spool, record: Record) -> None:
    if spool.size > MAX_BYTES:
        spool.rewrite(compacted(spool.records))
    spool.append(record)


def retry_in(attempts: int) -> float:
    """Seconds until the next try: 1, 2, 4 ... at most 60."""
    return float(min(FIRST_RETRY_S * 2 ** (min(attempts, 12) - 1), LONGEST_RETRY_S))


def _words(outcome: Outcome) -> tuple[str, str, dict[str, str]]:
    match outcome:
        case Sent(receipt=receipt, detail=detail):
            return "sent", detail, dict(receipt)
        case Retry(reason=reason):
            return "retry", reason, {}
        case Unknown(reason=reason):
            return "unknown", reason, {}
        case Refused(reason=reason):
            return "refused", reason, {}
