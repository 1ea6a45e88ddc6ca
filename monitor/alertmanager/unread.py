"""Alerts of a notification that cannot be read: counted, kept in the quarantine by their place.

Never their content: only where they stood, what of them is wrong, how long they are, a digest.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import datetime

from monitor.alertmanager.webhook import Notification
from monitor.metrics import Metrics
from monitor.store.finding_rows import Quarantined
from monitor.store.store import Tx

logger = logging.getLogger(__name__)

RULE = "alertmanager_alert"
PLACE = "alertmanager"
"""What the quarantine names in place of a topic."""
MOST = 100
"""Of one notification; of the rest only the number is said."""


def keep_unread(tx: Tx, note: Notification, metrics: Metrics, now: datetime) -> None:
    """Quarantine what cannot be read; a repeat of the notification adds no row."""
    if not note.unread:
        return
    first = note.unread[0]
    logger.warning(
        "%d of %d alerts that Alertmanager sent cannot be read, the first: %s: %s",
        note.unreadable,
        note.unreadable + len(note.alerts),
        first.path,
        first.why,
    )
    metrics.quarantined.labels(RULE).inc(note.unreadable)
    group = hashlib.sha256(note.group_key.encode()).hexdigest()[:32]
    tx.stream.quarantine(
        Quarantined(
            topic=PLACE,
            topic_id=f"{PLACE}:{group}",
            number=0,
            offset=one.number,
            rule=RULE,
            path=one.path,
            length=len(one.raw),
            digest=hashlib.sha256(one.raw).hexdigest()[:32],
            at=now,
        )
        for one in note.unread[:MOST]
    )
    tx.touch()
