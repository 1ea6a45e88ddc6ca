"""Secrets as references: where the value is, never the value.

A configuration names a file, an environment variable or an entry of the keyring. The value is read
again at each use, so that a rotated secret needs no restart, and it is never kept in an object that
somebody may print, log or pickle. A literal in the configuration does not validate: it is not a
reference.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import ClassVar

import msgspec

_MAX_BYTES = 16_384
REFERENCES = "{file: PATH}, {env: NAME} and {keyring: SERVICE/NAME}"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class SecretUnavailableError(Exception):
    """The secret could not be read; the message names the reference, never a value."""


class Secret(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A reference to a secret: exactly one of `file`, `env` and `keyring`.

    Attributes:
        file: Path of a file whose whole content, without the line end, is the secret.
        env: Name of an environment variable.
        keyring: SERVICE/NAME of an entry in the keyring of the user that runs Tocsin; wants the
            library keyring.

    Raises:
        ValueError: several are given or none, or one has the wrong form.
    """

    wanted: ClassVar[str] = (
        f"a secret is a reference, one of {REFERENCES}; it is never written here"
    )

    file: str = ""
    env: str = ""
    keyring: str = ""

    def __post_init__(self) -> None:
        if sum(map(bool, (self.file, self.env, self.keyring))) != 1:
            raise ValueError(f"a secret is one of {REFERENCES}")
        # What has the wrong form is not shown: it may be the secret itself, in the wrong place.
        if self.env and not _VARIABLE.fullmatch(self.env):
            raise ValueError("env names a variable: letters, digits and underscores")
        service, _, name = self.keyring.partition("/")
        if self.keyring and not (service and name):
            raise ValueError("keyring names an entry: SERVICE/NAME")

    def __repr__(self) -> str:
        return f"Secret({self.where}: ***)"

    @property
    def where(self) -> str:
        """The reference in words, safe to show: `file /run/secrets/slack` or `env SLACK_TOKEN`."""
        if self.keyring:
            return f"keyring {self.keyring}"
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
        if self.keyring:
            return _from_keyring(*self.keyring.split("/", 1), where=self.where)
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


def _from_keyring(service: str, name: str, *, where: str) -> str:
    """The entry's value; empty where there is none.

    The library is imported when a secret asks for it: it looks for backends through the whole
    environment, which costs a command that needs none of them.
    """
    try:
        import keyring
        from keyring.errors import KeyringError, NoKeyringError
    except ImportError:
        raise SecretUnavailableError(
            f"cannot read the secret in {where}: pip install 'keyring>=25,<26'"
        ) from None
    try:
        return keyring.get_password(service, name) or ""
    except NoKeyringError:
        raise SecretUnavailableError(
            f"cannot read the secret in {where}: this machine has no keyring that runs; install a "
            "backend (see: python -m keyring --list-backends), or use {file: PATH}"
        ) from None
    except (KeyringError, ImportError, AttributeError, OSError, RuntimeError, ValueError) as error:
        # A backend is anybody's code: what it says may quote what it read.
        why = type(error).__name__
        raise SecretUnavailableError(f"cannot read the secret in {where}: {why}") from None


def mask(text: str, *values: str) -> str:
    """`text` with each secret value in it replaced, for words that a provider sent back."""
    for value in values:
        if value:
            text = text.replace(value, "***")
    return text
