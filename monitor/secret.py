"""Secrets as references: where the value is, never the value.

A configuration names a file or an environment variable. The value is read again at each use, so
that a rotated secret needs no restart, and it is never kept in an object that somebody may print,
log or pickle. A literal in the configuration does not validate: it is not a reference.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

_MAX_BYTES = 16_384


class SecretUnavailableError(Exception):
    """The secret could not be read; the message names the reference, never a value."""


class Secret(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A reference to a secret: exactly one of `file` and `env`.

    Raises:
        ValueError: both are given, or none.
    """

    file: str = ""
    """Path of a file whose whole content, without the line end, is the secret."""
    env: str = ""
    """Name of an environment variable."""

    def __post_init__(self) -> None:
        if bool(self.file) == bool(self.env):
            raise ValueError("a secret is either {file: PATH} or {env: NAME}")

    def __repr__(self) -> str:
        return f"Secret({self.where}: ***)"

    @property
    def where(self) -> str:
        """The reference in words, safe to show: `file /run/secrets/slack` or `env SLACK_TOKEN`."""
        return f"file {self.file}" if self.file else f"env {self.env}"

    def reveal(self) -> str:
        """The value as it is now.

        Raises:
            SecretUnavailableError: not there, empty, too long, not text, or not printable ASCII (it
                could forge a header).
        """
        value = self._read().strip()
        if not value:
            raise SecretUnavailableError(f"the secret in {self.where} is missing or empty")
        if not (value.isascii() and value.isprintable()):
            raise SecretUnavailableError(f"the secret in {self.where} is not one line of ASCII")
        return value

    def _read(self) -> str:
        if self.env:
            return os.environ.get(self.env, "")
        try:
            with Path(self.file).open("rb") as stream:
                raw = stream.read(_MAX_BYTES + 1)
            text = raw.decode()
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise SecretUnavailableError(f"cannot read the secret in {self.where}: {why}") from None
        except UnicodeDecodeError:
            raise SecretUnavailableError(f"the secret in {self.where} is not text") from None
        if len(raw) > _MAX_BYTES:
            raise SecretUnavailableError(f"the secret in {self.where} is over {_MAX_BYTES} bytes")
        return text


def mask(text: str, *values: str) -> str:
    """`text` with each secret value in it replaced, for words that a provider sent back."""
    for value in values:
        if value:
            text = text.replace(value, "***")
    return text
