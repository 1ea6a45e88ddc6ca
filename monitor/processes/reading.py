"""The ingest process: one of those that read the stream."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from datetime import datetime

import msgspec

from monitor.clock import WallClock
from monitor.config.settings import KafkaSource, Settings, resolve
from monitor.ingest import Ingest
from monitor.processes.arrival import await_store
from monitor.processes.errand import Errand
from monitor.processes.launch import digest_key, member_of, open_source
from monitor.processes.lifeline import Life
from monitor.processes.loops import Loops
from monitor.store.store import StoreUnavailable

logger = logging.getLogger(__name__)


def named_worker(errand: Errand) -> Settings:
    """The settings with a static membership of Kafka's group that no other worker has."""
    settings = errand.settings
    source = settings.source
    assert isinstance(source, KafkaSource)
    ours = member_of(settings.store)
    if not errand.place.alone:
        ours = "tocsin-" + errand.place.name.replace("/", "-")
    name = source.member or ours
    if errand.number:
        name = f"{name}-{errand.number}"
    return msgspec.structs.replace(settings, source=msgspec.structs.replace(source, member=name))


def read(life: Life) -> int:
    """Until told to stop; the exit status."""
    stopping = life.stopping
    configured = resolve(named_worker(life.errand))
    settings, metrics = configured.settings, life.metrics()
    store = await_store(settings, stopping, life.watchdog)
    if store is None:
        return 0
    with ExitStack() as stack:
        stack.callback(store.close)
        source = open_source(settings, stopping)
        ingest = Ingest(store, source, configured.plan, metrics, digest_key=digest_key(settings))
        watchdog = life.watchdog(lambda: str(ingest.partitions))
        stack.callback(watchdog.close)
        loops = Loops(metrics, watchdog, stopping, life.plights())

        def step(now: datetime) -> bool:
            return ingest.step(now) > 0

        loops.start({"ingest": step})
        watchdog.start()
        loops.join()
        try:
            ingest.close(WallClock().now())
        except StoreUnavailable as problem:
            logger.warning("the last counts are read again at the next start: %s", problem)
    return 1 if loops.broken else 0
