"""One attempt to send one message, which ends with an outcome whatever the channel does."""

from __future__ import annotations

import logging
import traceback
from datetime import datetime

from monitor.notify.channel import Channel, Message, Outcome, Refused, Unknown

logger = logging.getLogger(__name__)


def attempt(channel: Channel | None, receiver: str, message: Message, now: datetime) -> Outcome:
    """What became of it; a channel that raises has come to `Unknown`, and the log says where.

    Args:
        channel: what sends; None: the configuration has no such receiver.
        receiver: its name.
        message: what to send.
        now: the time.
    """
    if channel is None:
        return Refused(f"no receiver {receiver!r} in the configuration")
    try:
        return channel.send(message, now)
    # Elsewhere what nobody foresaw stops its loop, which starts anew. Here it would come back with
    # the same page for ever, and every page behind that one would wait with it.
    except Exception as error:  # noqa: BLE001 - one page must not stop the others
        kind = type(error).__name__
        # What the exception says is left out, of its causes too: it may quote the page.
        where = "".join(traceback.format_tb(error.__traceback__))
        logger.error("sending to %s raised %s, it is tried again:\n%s", receiver, kind, where)  # noqa: TRY400 - the traceback is in it, without the exception's words
        return Unknown(f"sending it raised {kind}; the log says where")
