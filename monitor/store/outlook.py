"""What a start would find and make of its store. It is only looked at: nothing is written."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from monitor.store import roles, schema
from monitor.store.engine import Password, file_of, open_to_look, parse, sqlite_path
from monitor.store.errors import StoreError, StoreUnavailable
from monitor.store.mounts import refuse_network
from monitor.store.store import Tx, viewing

_NAMED = 3
"""Rights that are told; with them come the others."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a start would do first, and the store as it is now."""

    text: str
    """In words, after "store: "."""
    tx: Tx | None
    """To read in; None where there is nothing that this Tocsin could read yet."""
    warning: str = ""
    """What a daemon would go on without."""


@contextmanager
def outlook(url: str, password: Password | None = None) -> Iterator[Outlook]:
    """Look at a store as a start would meet it.

    Args:
        url: of the store.
        password: for a server.

    Raises:
        StoreError: a start would end here; the message says what to do.
    """
    path = file_of(parse(url))
    if path is not None:
        refuse_network(path)
        _writable(path)
        if not path.exists():
            yield Outlook(f"none yet: the first start makes {path}", None)
            return
    engine = open_to_look(url, password, untouched=True)
    try:
        found = schema.look(engine)
        schema.refuse_newer(found)
        warning = _rights(engine, found) if engine.dialect.name == "postgresql" else ""
        text = _first(engine, found)
        if not found.fits:
            yield Outlook(text, None)
            return
        with viewing(engine) as tx:
            yield Outlook(text, tx, warning)
    finally:
        engine.dispose()


def _first(engine: sa.Engine, found: schema.Schema) -> str:
    """What a start does with the schema, in words."""
    ours = schema.head()
    if found.fits:
        newer = f", of a newer Tocsin, which {ours} may work on" if found.newer else ""
        return f"there, schema {found.revision}{newer}"
    if found.revision is None:
        return f"empty: the first start makes schema {ours}"
    kept = (
        "take a dump first, `tocsin store backup FILE` names the command"
        if sqlite_path(engine) is None
        else "a copy is kept beside it"
    )
    return f"the start upgrades schema {found.revision} to {ours} ({kept})"


def _rights(engine: sa.Engine, found: schema.Schema) -> str:
    """What our role lacks that a daemon works without; empty for nothing.

    Raises:
        StoreError: it may not do what a start does, or what a daemon does after it.
    """
    try:
        with engine.connect() as connection:
            if not found.fits:
                if not roles.may_migrate(connection):
                    raise schema.may_not(engine, found.revision)
                return ""
            lacks = roles.lacking(connection)
            name = connection.execute(sa.select(sa.func.current_user())).scalar_one()
    except sa.exc.DBAPIError as problem:
        raise StoreUnavailable(f"the store does not answer: {problem.orig}") from problem
    cure = "the database's owner gives it with `tocsin store roles --apply`"
    if needed := [right for right in lacks if not right.startswith("DELETE ")]:
        raise StoreError(f"the role {name} lacks {', '.join(needed[:_NAMED])}: {cure}")
    listed = ", ".join(lacks[:_NAMED])
    return f"the role {name} lacks {listed}, so that old rows stay: {cure}" if lacks else ""


def _writable(path: Path) -> None:
    """Whether who asks could make the store, or write in it.

    Raises:
        StoreError: they could not.
    """
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise StoreUnavailable(f"cannot make {path.parent}: {folder} is no folder")
    for one, rights in ((folder, os.W_OK | os.X_OK), (path, os.R_OK | os.W_OK)):
        if one.exists() and not os.access(one, rights, effective_ids=True):
            raise StoreUnavailable(f"{_me()} may not write {one}, where the store is to be")


def _me() -> str:
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
