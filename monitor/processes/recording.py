"""Playing a recording to its end, and what it came to."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection
from datetime import UTC, datetime

from monitor.daemon import Daemon
from monitor.url import without_password


def run_replay(daemon: Daemon) -> None:
    """Play a recording to its end; a person at a terminal sees how far it is."""
    watched = sys.stderr.isatty()
    while not daemon.stopping.is_set() and daemon.step_replay():
        if watched:
            at = f"{daemon.clock.now():%Y-%m-%d %H:%M} UTC"
            print(f"\rdecided up to {at}", end="", file=sys.stderr, flush=True)  # noqa: T201 - progress
    if watched:
        print(file=sys.stderr)  # noqa: T201 - ends the progress line


def summary(daemon: Daemon) -> str:
    """What a recording came to, in one line, with what to type next."""
    store = without_password(daemon.configured.settings.store)
    with daemon.store.read() as tx:
        pipeline = tx.stream.known_pipeline(daemon.configured.plan)
        totals: Counter[str] = Counter()
        for part in tx.stream.partitions(pipeline) if pipeline is not None else []:
            totals.update(part.totals)
        incidents = len(tx.incidents.search(limit=100_000))
    fates = ", ".join(
        f"{count:,} {fate.replace('_', ' ')}" for fate, count in sorted(totals.items())
    )
    held = f"; see: tocsin --store {store} quarantine list" if totals["quarantined"] else ""
    damage = f"DAMAGED at {daemon.ingest.damage}: what follows was not read. " * bool(
        daemon.ingest.damage
    )
    profile = daemon.configured.profile.name
    return (
        f"{damage}{fates or 'no events'}{held}; {incidents} incidents, profile {profile}. "
        f"Next: tocsin --store {store} inc list"
    )


def too_early(daemon: Daemon, known: Collection[str], decided: int | None) -> str:
    """What a recording lost by beginning before what this store has decided; empty for nothing.

    Args:
        daemon: after the recording.
        known: topics that had cells before it.
        decided: end of the last bucket decided before it, unix seconds.
    """
    with daemon.store.read() as tx:
        pipeline = tx.stream.known_pipeline(daemon.configured.plan)
        topics = tx.stream.topics(pipeline) if pipeline is not None else {}
    new = [first for topic, first in topics.items() if topic not in known]
    if decided is None or not new or min(new) >= decided:
        return ""
    at = datetime.fromtimestamp(decided, UTC)
    return (
        f"NOT JUDGED: this store had decided up to {at:%Y-%m-%d %H:%M} UTC, and the recording "
        "begins before; its earlier events were counted only. Use another --store."
    )


def replayed(daemon: Daemon) -> int:
    """Play it, say what it came to, and give the exit status."""
    with daemon.store.read() as tx:
        pipeline = tx.stream.known_pipeline(daemon.configured.plan)
        known = set(tx.stream.topics(pipeline)) if pipeline is not None else set()
        decided = tx.decisions.position(pipeline) if pipeline is not None else None
    run_replay(daemon)
    early = too_early(daemon, known, decided)
    for line in (summary(daemon), early):
        if line:
            print(line, file=sys.stderr)  # noqa: T201 - the command's own answer
    return 1 if daemon.ingest.damage or early else 0
