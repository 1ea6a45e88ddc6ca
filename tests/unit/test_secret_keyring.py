"""Secrets in a keyring: read at each use, by the optional library, and never kept or shown."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyrings.alt import file as files  # type: ignore[import-untyped] # it ships no types

from monitor.config.secret import Secret, SecretUnavailableError

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
CANARY = "canary-0123456789-canary"


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[None]:
    """A keyring in a file of this test; the library's own choice afterwards."""
    before = keyring.get_keyring()
    backend = files.PlaintextKeyring()
    backend.file_path = str(tmp_path / "ring.cfg")
    keyring.set_keyring(backend)
    yield
    keyring.set_keyring(before)


@pytest.mark.usefixtures("ring")
def test_an_entry_is_read_at_each_use() -> None:
    """A rotated entry counts at once, and no text about the secret holds its value."""
    secret = Secret(keyring="tocsin/slack/bot")
    for value in (CANARY, CANARY[::-1]):
        keyring.set_password("tocsin", "slack/bot", value)
        assert secret.reveal() == value
        assert value not in repr(secret) + secret.where
    assert secret.where == "keyring tocsin/slack/bot"


@pytest.mark.usefixtures("ring")
def test_an_entry_that_is_not_there() -> None:
    """It is missing, by name."""
    with pytest.raises(SecretUnavailableError, match="keyring tocsin/none is missing or empty"):
        Secret(keyring="tocsin/none").reveal()


def test_without_a_keyring_that_runs() -> None:
    """A machine without any backend says what to install, or use instead."""
    from keyring.backends.fail import Keyring

    before = keyring.get_keyring()
    keyring.set_keyring(Keyring())  # type: ignore[no-untyped-call] # the library leaves it so
    try:
        with pytest.raises(
            SecretUnavailableError, match=r"install a backend .* or use {file: PATH}"
        ):
            Secret(keyring="tocsin/slack").reveal()
    finally:
        keyring.set_keyring(before)


def test_a_keyring_that_breaks_quotes_nothing() -> None:
    """What a backend says may hold what it read: only the kind of its error is told."""
    from keyring.backend import KeyringBackend
    from keyring.errors import KeyringLocked

    class Locked(KeyringBackend):
        priority = 1

        def get_password(self, service: str, username: str) -> str:
            raise KeyringLocked(CANARY)

        def set_password(self, service: str, username: str, password: str) -> None:
            raise KeyringLocked(CANARY)

    before = keyring.get_keyring()
    keyring.set_keyring(Locked())  # type: ignore[no-untyped-call] # the library leaves it so
    try:
        with pytest.raises(SecretUnavailableError, match="KeyringLocked") as caught:
            Secret(keyring="tocsin/slack").reveal()
    finally:
        keyring.set_keyring(before)
    assert CANARY not in str(caught.value)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is the command that installs it: the same versions as the extra's."""
    monkeypatch.setitem(sys.modules, "keyring", None)
    extra = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]["keyring"][0]
    with pytest.raises(SecretUnavailableError, match=re.escape(f"pip install '{extra}'")):
        Secret(keyring="tocsin/slack").reveal()


@pytest.mark.parametrize("wrong", ["slack", "/slack", "tocsin/", ""])
def test_an_entry_has_a_service_and_a_name(wrong: str) -> None:
    """Anything else is refused when the configuration is read, without quoting it."""
    with pytest.raises(ValueError, match="SERVICE/NAME") as caught:
        Secret(keyring=wrong)
    assert not wrong or wrong not in str(caught.value).replace("SERVICE/NAME", "")


def test_a_variable_has_a_name() -> None:
    """A secret that was put into the reference itself is refused and not shown."""
    with pytest.raises(ValueError, match="letters, digits and underscores") as caught:
        Secret(env=CANARY)
    assert CANARY not in str(caught.value)
