"""What a receiver lacks here before any page needs it: a secret that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial

from monitor.config.advice import secrets_of
from monitor.config.secret import SecretUnavailableError
from monitor.notify.settings import ChannelSettings
from monitor.watch.checks import Finding
from monitor.watch.patience import NoAnswer, Patience

READ_S = 2.0
"""Longest wait for the disk that the secrets are on."""


class Lacks:
    """Looks at the secrets of receivers as often as it is asked to."""

    def __init__(self, receivers: Sequence[ChannelSettings]) -> None:
        self._receivers = receivers
        self._patience = Patience("the disk of the secrets")
        self.found: list[Finding] = []
        """Of the last look."""

    def look(self, now: datetime) -> None:
        """Find what cannot be read now; a disk that hangs leaves what was found before."""
        try:
            self.found = self._patience.ask(partial(list, self._unreadable(now)), READ_S)
        except NoAnswer:
            return

    def _unreadable(self, now: datetime) -> Iterator[Finding]:
        for receiver in self._receivers:
            for way, secret, _ in secrets_of(receiver):
                if secret.keyring:
                    continue  # a keyring may ask a person to unlock it
                try:
                    secret.reveal()
                except SecretUnavailableError as problem:
                    yield Finding(
                        check="secret",
                        key=f"secret:{receiver.name}:{way[-1]}",
                        level="warn",
                        severity="SEV3",
                        since=now,
                        text=f"receiver {receiver.name} cannot be sent to: {problem}",
                        cure="put the secret back; pages to it wait, and the fallback is rung",
                        pages=False,
                    )
