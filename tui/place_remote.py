"""From a word of the command line to a desk on another machine."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.views import DeskError
from tui.desk_client import TIMEOUT_S
from tui.desks import Desks, Login, desk_url
from tui.remote_desk import RemoteDesk


def remote(word: str, env: Mapping[str, str], *, timeout_s: float = TIMEOUT_S) -> RemoteDesk:
    """The desk with the name or address `word`.

    An address that nobody logged in to takes its token from `TOCSIN_TOKEN` and whom to trust from
    `TOCSIN_CA_FILE`, `TOCSIN_CERTIFICATE` and `TOCSIN_KEY`: for programs.

    Raises:
        DeskError: `not_found`, nobody logged in to it; or what is wrong with the login.
    """
    login = Desks.of(env).find(word) or _from_environment(word, env)
    if login is None:
        known = ", ".join(one.name for one in Desks.of(env).all()) or "none"
        hint = f"tocsin login https://HOST:PORT; known desks: {known}"
        raise DeskError("not_found", f"you are not logged in to a desk {word!r}", hint)
    return RemoteDesk(login, timeout_s=timeout_s)


def _from_environment(word: str, env: Mapping[str, str]) -> Login | None:
    token = env.get("TOCSIN_TOKEN", "").strip()
    if "://" not in word or not token:
        return None
    url = desk_url(word)
    return Login(
        name=url.removeprefix("https://"),
        url=url,
        token=token,
        ca_file=env.get("TOCSIN_CA_FILE", ""),
        certificate=env.get("TOCSIN_CERTIFICATE", ""),
        key=env.get("TOCSIN_KEY", ""),
    )
