"""A word to one person in a Slack conversation, that only they see: why a click did nothing.

A courtesy: it is tried once, beside the road of pages, and whatever becomes of it is only logged.
The address a payload offers for this (`response_url`) is never used: it is text from outside.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from monitor.config.secret import SecretUnavailableError
from monitor.http_client import HttpClient
from monitor.notify.fit import fit
from monitor.notify.settings import SlackSettings
from monitor.notify.slack_blocks import one_line
from monitor.notify.slack_call import CallError, SlackCall

logger = logging.getLogger(__name__)

_LIMIT = 600
_WAITING = 32


class SlackVoice:
    """Whispers through the bot of whichever receiver owns the conversation.

    Args:
        receivers: the Slack receivers as they are configured now.
    """

    def __init__(self, receivers: Callable[[], Sequence[SlackSettings]]) -> None:
        self._receivers = receivers
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="slack-voice")
        self._room = threading.Semaphore(_WAITING)

    @property
    def channels(self) -> frozenset[str]:
        """Conversations that pages go to."""
        return frozenset(receiver.channel for receiver in self._receivers())

    def whisper(self, channel: str, user: str, text: str, *, thread: str = "") -> None:
        """Say `text` to `user` soon; what is too much to say is not said."""
        receiver = next((one for one in self._receivers() if one.channel == channel), None)
        if receiver is None or not self._room.acquire(blocking=False):
            return
        job = self._pool.submit(self._say, receiver, user, text, thread)
        job.add_done_callback(lambda _: self._room.release())

    def _say(self, receiver: SlackSettings, user: str, text: str, thread: str) -> None:
        channel = receiver.channel
        safe = fit(one_line, text, _LIMIT)
        block = {"type": "section", "text": {"type": "plain_text", "text": safe, "emoji": False}}
        arguments: dict[str, object] = {"channel": channel, "user": user, "text": safe}
        arguments["blocks"] = [block]
        if thread:
            arguments["thread_ts"] = thread
        try:
            token = receiver.token.reveal()
            with HttpClient(ca_file=receiver.ca_file, proxy=receiver.proxy) as http:
                call = SlackCall(http, receiver.base_url, token, receiver.timeout_s)
                call.do("chat_postEphemeral", arguments)
        except (SecretUnavailableError, OSError) as problem:
            logger.warning("could not answer a click in %s: %s", channel, problem)
        except CallError as failure:
            logger.warning("could not answer a click in %s: %s", channel, failure.outcome)

    def close(self) -> None:
        """Finish what is being said."""
        self._pool.shutdown(wait=True)
