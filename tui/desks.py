"""The desks a person has logged in to: address, token and whom to trust, in one private file."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from monitor.url import check_url
from monitor.views import DeskError
from tui.drafts import write_private

LOCAL = "local"
"""The name of the desk on this machine."""
_MAX_FILE = 1024 * 1024


class Login(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One desk on another machine."""

    name: str
    url: str
    token: str
    ca_file: str = ""
    """Authorities to trust instead of this machine's."""
    certificate: str = ""
    key: str = ""

    def __repr__(self) -> str:
        return f"Login({self.name}, {self.url}, token=***)"


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: int = 1
    desks: tuple[Login, ...] = ()


def desk_url(text: str) -> str:
    """The address of a desk as it is kept: `https://HOST[:PORT]`.

    Raises:
        DeskError: `invalid`, it is none.
    """
    try:
        parts = urlsplit(check_url(text))
    except ValueError as problem:
        raise DeskError("invalid", f"not the address of a desk: {problem}") from None
    if parts.scheme != "https" or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise DeskError("invalid", "the address of a desk is https://HOST:PORT")
    return f"https://{parts.netloc.lower()}"


class Desks:
    """The file; it is read at each question and replaced as a whole.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Desks:
        """`$XDG_CONFIG_HOME/tocsin/desks.json`."""
        base = env.get("XDG_CONFIG_HOME", "")
        root = Path(base) if base else Path(env.get("HOME", "/")) / ".config"
        return cls(root / "tocsin" / "desks.json")

    def all(self) -> tuple[Login, ...]:
        """Every desk, as they were logged in to.

        Raises:
            DeskError: the file is not ours alone, or not what it should be.
        """
        try:
            with self.path.open("rb") as file:
                found = os.fstat(file.fileno())
                if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
                    raise DeskError(
                        "refused",
                        f"{self.path} holds tokens, and is not yours alone",
                        f"chmod 600 {self.path}; if others could read it, revoke its tokens",
                    )
                text = file.read(_MAX_FILE)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise DeskError("unavailable", f"cannot read {self.path}: {error.strerror}") from error
        try:
            return msgspec.json.decode(text, type=_File).desks
        except msgspec.MsgspecError:
            hint = "remove it, and log in again"
            raise DeskError("invalid", f"{self.path} is not a list of desks", hint) from None

    def find(self, word: str) -> Login | None:
        """The desk with a name or an address."""
        url = desk_url(word) if "://" in word else ""
        return next((one for one in self.all() if word == one.name or url == one.url), None)

    def keep(self, login: Login) -> None:
        """Add a desk, or replace the one of its name.

        Raises:
            DeskError: the file cannot be written.
        """
        self._write((*(one for one in self.all() if one.name != login.name), login))

    def forget(self, name: str) -> None:
        """Remove a desk.

        Raises:
            DeskError: the file cannot be written.
        """
        self._write(tuple(one for one in self.all() if one.name != name))

    def _write(self, desks: tuple[Login, ...]) -> None:
        text = msgspec.json.format(msgspec.json.encode(_File(desks=desks)), indent=2).decode()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_private(self.path, text + "\n")
        except OSError as error:
            raise DeskError("unavailable", f"cannot write {self.path}: {error.strerror}") from error
