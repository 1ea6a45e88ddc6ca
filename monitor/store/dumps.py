"""How PostgreSQL's own tools back a store up and restore it, in commands for a shell.

Only the owner of the tables may read all of them, and only a superuser makes a database for another
role: the daemon's role gets neither right for it.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from monitor.store.engine import Password, open_to_look, parse
from monitor.store.errors import StoreError

OWNER = "ITS_OWNER"
"""In the place of the owner's name, where the database does not tell it; no word of SQL."""
SUPERUSER = "postgres"
REPLACED = "_replaced"
"""What is added to the name of a database that is set aside."""


@dataclass(frozen=True, slots=True)
class Step:
    """Commands of one role."""

    who: str
    """Who gives them, and when, in words."""
    commands: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.who}: {' && '.join(self.commands)}"


def owner_of_tables(url: str, password: Password | None = None) -> str:
    """Who owns the store in a database, or the database itself; `OWNER` where it does not tell.

    Raises:
        StoreError: not a store URL.
    """
    query = sa.text(
        "SELECT pg_get_userbyid(coalesce("
        "(SELECT relowner FROM pg_class WHERE oid = to_regclass('public.alembic_version')), "
        "datdba)) FROM pg_database WHERE datname = current_database()"
    )
    engine = open_to_look(url, password)
    try:
        with engine.connect() as connection:
            return str(connection.execute(query).scalar_one())
    except (sa.exc.DBAPIError, sa.exc.TimeoutError, StoreError):
        return OWNER
    finally:
        engine.dispose()


def dump_steps(url: str, target: Path, owner: str) -> tuple[Step, ...]:
    """What writes the whole store to a file, while daemons go on."""
    dump = f"pg_dump --format=custom --no-privileges --file={_quoted(target)}"
    return (Step(f"as {_named(owner)}", (f"{dump} --dbname={_libpq(url, owner)}",)),)


def restore_steps(url: str, source: Path, owner: str) -> tuple[Step, ...]:
    """What brings such a file back into a fresh database; the old one is kept, renamed."""
    database, mine = parse(url).database or "tocsin", _libpq(url, owner)
    theirs, old = _name(database), _name(database + REPLACED)
    admin = f"psql --dbname={_libpq(url, SUPERUSER, SUPERUSER)} --command="
    aside = f"ALTER DATABASE {theirs} RENAME TO {old}"
    fresh = f"CREATE DATABASE {theirs} OWNER {_name(owner)} TEMPLATE template0"
    return (
        Step(
            "stop every daemon, then as a superuser, where the old database is still there",
            (admin + shlex.quote(aside),),
        ),
        Step("as a superuser", (admin + shlex.quote(fresh),)),
        Step(
            f"as {_named(owner)}",
            (
                "pg_restore --single-transaction --no-owner --no-privileges "
                f"--dbname={mine} {_quoted(source)}",
                f"tocsin --store {mine} store roles --apply",
                f"tocsin --store {mine} store check",
            ),
        ),
    )


def _named(owner: str) -> str:
    return f"{owner} (name the owner of the database)" if owner == OWNER else owner


def _name(text: str) -> str:
    """As SQL wants a name."""
    return '"' + text.replace('"', '""') + '"'


def _libpq(url: str, role: str, database: str | None = None) -> str:
    """The URL as libpq reads it, for a role and a shell; no password, which `ps` would show."""
    parsed = parse(url)
    bare = sa.URL.create(
        "postgresql",
        username=role,
        host=parsed.host,
        port=parsed.port,
        database=database or parsed.database,
        query={name: value for name, value in parsed.query.items() if "password" not in name},
    )
    return shlex.quote(bare.render_as_string())


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
