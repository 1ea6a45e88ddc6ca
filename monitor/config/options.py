"""What a person asks of `tocsin run` and `tocsin demo`, and where a daemon is found.

Plain frozen values: the command line fills them in, `monitor.app` and `monitor.demo` read them. It
imports nothing heavy, so that `tocsin --help` stays quick.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The flags of `tocsin run`; None means: as the configuration says."""

    config: Path | None = None
    store: str | None = None
    """A database URL, `sqlite:///x.db` or `postgresql://...`."""
    source: str | None = None
    """`kafka://HOST:PORT/TOPIC`, `file:PATH` (`.gz` too), `-` for standard input,
    `simulate:SCENARIO`."""
    profile: str | None = None
    """`quiet`, `page` or `loud`."""
    until_end: bool = False
    """Stop when the source ends: all buckets closed, due timers run."""
    page: bool = False
    """Let a recording use the real channels; without it a file speaks to the log only."""
    socket: Path | None = None
    http: str | None = None
    """`HOST:PORT` for health and metrics."""
    roles: str | None = None
    """What this machine does, of `ingest,decide,deliver,runs`."""
    workers: int | None = None
    """Processes that ingest; 0 for as many as fit."""
    start: str | None = None
    """Where a first start begins: `earliest`, `latest` or an RFC 3339 time."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The flags of `tocsin demo`."""

    speed: float = 60.0
    """Simulated seconds a real second."""
    headless: bool = False
    json: bool = False
    store: str | None = None
    """None: a store in a temporary folder."""


@dataclass(frozen=True, slots=True)
class DemoResult:
    """How the demo went."""

    status: int
    """The exit status."""
    summary: dict[str, Any] | None = None
    """What happened, as JSON values; None when a person left before the end."""


_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):([0-9]{1,5})")

DEFAULT_STORE = "sqlite:///tocsin.db"
"""The store when nothing names one: a SQLite file where the command is given."""


def state_dir(env: Mapping[str, str]) -> Path:
    """The folder for what Tocsin keeps: `$XDG_STATE_HOME/tocsin`."""
    base = env.get("XDG_STATE_HOME", "")
    root = Path(base) if base else Path(env.get("HOME", "/")) / ".local" / "state"
    return root / "tocsin"


def config_paths(env: Mapping[str, str]) -> tuple[Path, ...]:
    """Where a configuration is looked for when none is named; the first that is there is read."""
    base = env.get("XDG_CONFIG_HOME", "")
    root = Path(base) if base else Path(env.get("HOME", "/")) / ".config"
    return Path("tocsin.yaml"), root / "tocsin" / "tocsin.yaml"


def find_config(
    explicit: Path | None, env: Mapping[str, str], *, typed: bool = False
) -> Path | None:
    """The configuration file of a call; None when none is named and none is there.

    Args:
        explicit: the one that is named.
        env: where else one is looked for.
        typed: a store or a desk is named: what merely lies there is not meant for it.
    """
    if explicit is not None or typed:
        return explicit
    return next((path for path in config_paths(env) if path.is_file()), None)


def store_file(store: str) -> Path | None:
    """The file of a SQLite URL; None for another database or one in memory.

    Where links lead to it it is the file itself: what Tocsin and SQLite keep beside it (lock,
    socket, key, spool, log) is the same by each of its names.
    """
    scheme, _, rest = store.partition(":///")
    if not scheme.startswith("sqlite") or not rest:
        return None
    path = unquote(rest.partition("?")[0])
    return None if path == ":memory:" else real_file(Path(path))


def real_file(path: Path) -> Path:
    """Where links lead; as it was written, where there are none."""
    real = Path(os.path.realpath(path))
    # Not `Path.resolve`, which for links in a circle raises.
    return path if real == path.absolute() else real


def store_mark(store: str) -> str:
    """Twelve hex digits, the same for each way to write the address of a server's store.

    The password does not count, nor do the order of the options, PostgreSQL's port where it is
    the usual one, and the driver.
    """
    scheme, _, rest = store.partition("://")
    address, _, query = rest.partition("?")
    place, _, database = address.partition("/")
    who, _, hosts = place.rpartition("@")
    options = sorted(
        pair
        for pair in parse_qsl(query, keep_blank_values=True)
        if "password" not in pair[0].lower()
    )
    parts = (
        scheme.partition("+")[0].replace("postgresql", "postgres"),
        unquote(who.partition(":")[0]),
        [one.removesuffix(":5432") for one in hosts.lower().split(",")],
        unquote(database),
        options,
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def socket_path(store: str | None, explicit: Path | None, env: Mapping[str, str]) -> Path:
    """Where the daemon listens and a client looks.

    An explicit path wins; a SQLite store has its socket beside it (`x.db.sock`); else each store
    has one of its own, `tocsin-MARK.sock` (`store_mark`), in `$XDG_RUNTIME_DIR`, or in the state
    folder where there is no runtime directory.
    """
    if explicit is not None:
        return explicit
    file = store_file(store) if store else None
    if file is not None:
        return file.with_name(f"{file.name}.sock")
    runtime = env.get("XDG_RUNTIME_DIR", "")
    folder = Path(runtime) if runtime else state_dir(env)
    return folder / (f"tocsin-{store_mark(store)}.sock" if store else "tocsin.sock")


def host_port(text: str) -> tuple[str, int]:
    """Host and port of an address to listen on; an IPv6 host is in brackets.

    Raises:
        ValueError: not `HOST:PORT` with a port from 0 to 65535.
    """
    found = _HOST_PORT.fullmatch(text)
    if found is None or int(found[2]) > 65535:
        raise ValueError(f"{text!r} is not HOST:PORT with a port from 0 to 65535")
    return found[1].strip("[]"), int(found[2])


def on_loopback(address: str) -> bool:
    """Whether only this machine can call `HOST:PORT`; False for what is no address."""
    try:
        host, _ = host_port(address)
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
