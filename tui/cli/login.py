"""`tocsin login`, `logout` and `whoami`: the desk of another machine."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import click

from monitor.desk.token_form import id_of
from monitor.views import DeskError, Principal
from tui.cli.command import Call, command
from tui.cli.output import USAGE, ExitError, tell, to_json, write
from tui.desks import LOCAL, Desks, Login, desk_url
from tui.lines.face import Face
from tui.lines.line import Line

_FILE = click.Path(path_type=Path, dir_okay=False)


@command(
    "login",
    examples="""
    tocsin login https://tocsin.example.com:9465
    tocsin login https://tocsin.example.com:9465 --name prod --token-file token.txt
    pass show tocsin | tocsin login https://tocsin.example.com:9465 --token-file -
    """,
)
@click.argument("url")
@click.option("--name", help="What --desk will call it. Default: the host.")
@click.option("--token-file", type=click.Path(path_type=Path), help="File with the token; - reads.")
@click.option("--ca-file", type=_FILE, help="PEM of the authorities to trust, and no others.")
@click.option("--certificate", type=_FILE, help="PEM of your certificate, where it is asked for.")
@click.option("--key", type=_FILE, help="PEM of its key.")
def login(
    call: Call,
    url: str,
    *,
    name: str | None,
    token_file: Path | None,
    ca_file: Path | None,
    certificate: Path | None,
    key: Path | None,
) -> None:
    """Log in to the desk at URL with a token that an admin made (`tocsin token create`).

    The token is read from --token-file, else from TOCSIN_TOKEN, else asked for without echo; it is
    tried, and kept in a file that only you can read. Then --desk NAME or TOCSIN_DESK chooses the
    desk; without them it stays the one of this machine.
    """
    address = desk_url(url)
    called = name or urlsplit(address).hostname or address
    if called == LOCAL or "://" in called:
        raise ExitError(USAGE, "usage", f"a desk cannot be called {called!r}")
    made = Login(
        name=called,
        url=address,
        token=_token(call, token_file),
        ca_file=_path(ca_file),
        certificate=_path(certificate),
        key=_path(key),
    )
    from tui.remote_desk import RemoteDesk, closing_desk

    with closing_desk(RemoteDesk(made)) as desk:
        who = desk.whoami()
    Desks.of(os.environ).keep(made)
    if call.flags.output == "json":
        write(to_json("whoami", who))
        return
    tell(f"logged in to {called} ({address}); use it: tocsin --desk {called} inc list", call.flags)
    call.answer("whoami", who, lambda: [_who(who, call.face)])


def _path(path: Path | None) -> str:
    return str(path.resolve()) if path is not None else ""


def _token(call: Call, file: Path | None) -> str:
    """A token from a file, the environment or the terminal; never from the command line."""
    if file is not None:
        try:
            text = sys.stdin.read(4096) if str(file) == "-" else _read(file)
        except OSError as error:
            raise ExitError(USAGE, "usage", f"cannot read {file}: {error.strerror}") from error
    elif "TOCSIN_TOKEN" in os.environ:
        text = os.environ["TOCSIN_TOKEN"]
    else:
        call.need_terminal("a token is needed", "give --token-file FILE, or set TOCSIN_TOKEN")
        text = getpass.getpass("Token: ", stream=sys.stderr)
    if id_of(text.strip()) is None:
        hint = "it is made by `tocsin token create NAME`, and begins with tocsin_"
        raise ExitError(USAGE, "usage", "that is no token", hint)
    return text.strip()


def _read(file: Path) -> str:
    with file.open(encoding="ascii", errors="replace") as stream:
        return stream.read(4096)


@command(
    "logout",
    examples="""
    tocsin logout prod
    tocsin logout prod --revoke
    """,
)
@click.argument("name", default="")
@click.option("--revoke", is_flag=True, help="End the token at the desk too.")
def logout(call: Call, name: str, *, revoke: bool) -> None:
    """Forget the login to the desk NAME; the token stays good unless --revoke ends it."""
    word = name or call.flags.desk or ""
    desks = Desks.of(os.environ)
    found = desks.find(word) if word else None
    if found is None:
        known = ", ".join(one.name for one in desks.all()) or "none"
        if not word:
            raise DeskError("invalid", "which desk is to be forgotten?", f"known desks: {known}")
        raise DeskError("not_found", f"you are not logged in to {word!r}", f"known desks: {known}")
    if revoke:
        from tui.remote_desk import RemoteDesk, closing_desk

        with closing_desk(RemoteDesk(found)) as desk:
            desk.revoke_token(id_of(found.token) or "")
    desks.forget(found.name)
    ended = "its token is revoked" if revoke else "its token is still good: --revoke ends one"
    if call.flags.output == "json":
        write(to_json("logout", {"desk": found.name, "revoked": revoke}))
    else:
        write(call.face.say(f"logged out of {found.name}; {ended}", limit=2000))


@command("whoami", examples="tocsin whoami --desk prod")
def whoami(call: Call) -> None:
    """Who the desk takes you for, and what you may do."""
    who = call.desk().whoami()
    call.answer("whoami", who, lambda: [_who(who, call.face)])


def _who(who: Principal, face: Face) -> Line:
    until = f", until {face.stamp(who.expires_at)}" if who.expires_at is not None else ""
    token = f", token {who.token}{until}" if who.token else ""
    return Line.of(face.say(f"{who.name}, {who.role}, over {who.via}{token}", limit=2000))
