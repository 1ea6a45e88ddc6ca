"""What a person does with the store itself: look, back up, restore, upgrade, give rights.

Not the desk's work: these need the database, and the rights of its owner. `tocsin store` calls it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from monitor.config.options import RunOptions, store_file
from monitor.processes.launch import refusals, settings_for
from monitor.store import backup, checkup, roles, schema
from monitor.store.backup import Copy
from monitor.store.engine import Password, open_engine
from monitor.store.errors import StoreError, StoreUnavailable, StoreUnknown
from monitor.store.store import owner_lock
from monitor.views import DeskError, Health

__all__ = [
    "Copy",
    "Granted",
    "Kept",
    "Migrated",
    "back_up",
    "check",
    "grant",
    "kept",
    "migrate",
    "restore",
]

Progress = Callable[[int, int], None]
"""Told (pages copied, pages in all)."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The store of one call."""

    url: str
    password: Password | None = None

    @property
    def server(self) -> bool:
        """Whether it is on PostgreSQL."""
        return store_file(self.url) is None


@dataclass(frozen=True, slots=True)
class Migrated:
    """The schema before and after; None before: the database was empty."""

    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Granted:
    """The SQL that makes the roles and their rights."""

    statements: tuple[str, ...]
    applied: bool


def kept(options: RunOptions, env: Mapping[str, str] | None = None) -> Kept:
    """The store that the flags or the configuration name.

    Raises:
        Problems: the configuration has mistakes.
        DeskError: it cannot be read.
    """
    with refusals():
        settings = settings_for(options, os.environ if env is None else env)
    secret = settings.store_password
    return Kept(settings.store, None if secret is None else secret.reveal)


@contextmanager
def _answers() -> Iterator[None]:
    """Turn what is wrong with a store into what a command ends with."""
    try:
        yield
    except backup.NotOurs as problem:
        hint = "; ".join(map(str, problem.steps))
        raise DeskError("refused", str(problem), hint) from problem
    except StoreUnavailable as problem:
        raise DeskError("unavailable", str(problem)) from problem
    except StoreUnknown as problem:
        raise DeskError("invalid", str(problem)) from problem
    except StoreError as problem:
        raise DeskError("refused", str(problem)) from problem


def _there(store: Kept) -> None:
    file = store_file(store.url)
    if file is not None and not file.exists():
        raise DeskError(
            "not_found", f"there is no store at {file}", "name one with --store sqlite:///FILE"
        )


def check(store: Kept, now: datetime) -> tuple[Health, ...]:
    """Look at it without changing it.

    Raises:
        DeskError: it is not there, or does not answer.
    """
    _there(store)
    with _answers():
        found = checkup.check_store(store.url, now, store.password)
    return tuple(Health(name=one.name, state=one.state, text=one.text) for one in found)


def back_up(store: Kept, target: Path, progress: Progress) -> Copy:
    """Copy it to a file while a daemon goes on.

    Raises:
        DeskError: it is not there or not SQLite, or the file is there already.
    """
    _there(store)
    with _answers():
        return backup.back_up(store.url, target, progress, store.password)


def restore(store: Kept, source: Path, now: datetime, progress: Progress) -> Copy:
    """Put a backup in its place; the old one is kept aside.

    Raises:
        DeskError: a daemon runs, or the backup is not whole.
    """
    with _answers():
        return backup.restore(store.url, source, now, progress, store.password)


def migrate(store: Kept) -> Migrated:
    """Bring its schema up to ours.

    Raises:
        DeskError: we may not, a daemon runs, or a newer Tocsin wrote it.
    """
    with _answers(), owner_lock(store.url):
        engine = open_engine(store.url, store.password)
        with closing(_Disposed(engine.dispose)):
            before = schema.migrate(engine)
            return Migrated(before, schema.revision(engine))


def grant(store: Kept, daemon: str, reader: str, *, apply: bool) -> Granted:
    """The SQL that makes the roles, run as well if asked to.

    Raises:
        DeskError: it is not on PostgreSQL, or we may not.
    """
    if not store.server:
        # To open the file in order to say so would make it where there is none.
        raise DeskError(
            "refused",
            "only PostgreSQL has roles; a SQLite file belongs to one user",
            "name the store with --store postgresql://OWNER@HOST/DATABASE",
        )
    with _answers():
        named = roles.Roles(daemon, reader)
        engine = open_engine(store.url, store.password)
        with closing(_Disposed(engine.dispose)):
            lines = roles.statements(engine, named)
            if apply:
                roles.apply_roles(engine, named)
    return Granted(tuple(lines), apply)


@dataclass(frozen=True, slots=True)
class _Disposed:
    """An engine has no `close`."""

    close: Callable[[], None]
