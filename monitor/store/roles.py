"""PostgreSQL roles with the least rights: the daemon's and a reader's.

The owner of the database makes the schema; the daemon that reads a hostile stream needs none of
its rights. What was written into a timeline or the audit stays: no role but the owner could even
try to change it, and a trigger refuses the owner too.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from monitor.store import tables as t
from monitor.store.errors import StoreError
from monitor.store.schema import look

APPEND_ONLY = frozenset(
    {"timeline", "audit", "attempts", "changes", "digests", "divisions", "notes", "revisions"}
    | {"rule_log"}
)
"""Rows that are written once."""
DELETED = frozenset(
    {"leases", "notes", "quarantine", "received", "revisions", "tokens"}
    | {"cells", "points", "late", "occurrences", "alerts", "attempts"}
)
"""Tables out of which the daemon drops old rows; those of the second line age by traffic."""
OWNED = frozenset({"compatibility"})
"""Written by migrations only, and so by the owner."""
UNREAD = frozenset({"tokens"})
"""Not for the reader."""
_VERSION = "alembic_version"


@dataclass(frozen=True, slots=True)
class Roles:
    """Names of the roles."""

    daemon: str = "tocsin_daemon"
    reader: str = "tocsin_reader"

    def __post_init__(self) -> None:
        if not self.daemon or not self.reader or self.daemon == self.reader:
            raise StoreError("daemon and reader are two roles with names of their own")


def statements(engine: sa.Engine, roles: Roles) -> list[str]:
    """SQL that makes the roles and gives them their rights, to be run by the database's owner.

    It may be run again, after each upgrade too.

    Raises:
        StoreError: the store is not on PostgreSQL.
    """
    if engine.dialect.name != "postgresql":
        raise StoreError("only PostgreSQL has roles; a SQLite file belongs to one user")
    quote = engine.dialect.identifier_preparer.quote_identifier
    daemon, reader = quote(roles.daemon), quote(roles.reader)
    made = [_made(roles.daemon, daemon), _made(roles.reader, reader)]
    for role in (daemon, reader):
        made += [
            f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}",
            f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM {role}",
            f"REVOKE ALL ON SCHEMA public FROM {role}",
            f"GRANT USAGE ON SCHEMA public TO {role}",
            f"GRANT SELECT ON {_VERSION} TO {role}",
        ]
    made.append("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    for name in sorted(t.metadata.tables):
        made.append(f"GRANT {', '.join(_rights(name))} ON {quote(name)} TO {daemon}")
        if name not in UNREAD:
            made.append(f"GRANT SELECT ON {quote(name)} TO {reader}")
    made.append(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {daemon}")
    return made


def apply_roles(engine: sa.Engine, roles: Roles) -> None:
    """Run `statements` in one transaction.

    Raises:
        StoreError: not on PostgreSQL, or we are not the owner and may not; or a newer Tocsin has
            made tables that we do not know, whose rights we would take away.
    """
    lines = statements(engine, roles)
    if (found := look(engine)).newer:
        raise StoreError(
            f"the store has schema {found.revision}, of a newer Tocsin: run `tocsin store roles` "
            "of that version, since this one does not know all of its tables"
        )
    try:
        with engine.begin() as connection:
            for line in lines:
                connection.exec_driver_sql(line)
    except sa.exc.DBAPIError as problem:
        raise StoreError(
            f"the roles could not be set: {problem.orig}; run it as the database's owner with the "
            "right to make roles, or give the SQL that `tocsin store roles` prints to who has it"
        ) from problem


def may_migrate(connection: sa.Connection) -> bool:
    """Whether our role may make the schema, or change the one that is there."""
    makes = sa.func.has_schema_privilege("public", "CREATE")
    owns = sa.text(
        "SELECT coalesce(bool_and(pg_has_role(relowner, 'USAGE')), true) FROM pg_class "
        "WHERE relnamespace = 'public'::regnamespace AND relname = ANY(:names)"
    )
    names = [*t.metadata.tables, _VERSION]
    found = (connection.execute(sa.select(makes)), connection.execute(owns, {"names": names}))
    return all(each.scalar_one() for each in found)


def lacking(connection: sa.Connection) -> list[str]:
    """The rights on tables that a daemon's role has and ours has not, such as `INSERT on notes`.

    Without a DELETE it works, and old rows stay.
    """
    wanted = [(name, right) for name in sorted(t.metadata.tables) for right in _rights(name)]
    query = sa.text(
        "SELECT w.privilege || ' on ' || w.name "
        "FROM unnest(CAST(:names AS text[]), CAST(:rights AS text[])) AS w (name, privilege) "
        "JOIN pg_class c ON c.relname = w.name AND c.relnamespace = 'public'::regnamespace "
        "WHERE NOT has_table_privilege(c.oid, w.privilege) ORDER BY 1"
    )
    given = {"names": [name for name, _ in wanted], "rights": [right for _, right in wanted]}
    return list(connection.execute(query, given).scalars())


def _rights(table: str) -> list[str]:
    if table in OWNED:
        return ["SELECT"]
    rights = ["SELECT", "INSERT"]
    if table not in APPEND_ONLY:
        rights.append("UPDATE")
    if table in DELETED:
        rights.append("DELETE")
    return rights


def _made(name: str, quoted: str) -> str:
    """CREATE ROLE knows no IF NOT EXISTS."""
    text = name.replace("'", "''").replace("\\", "\\\\")
    literal = f"E'{text}'"
    return (
        f"DO $tocsin$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {literal}) "
        f"THEN CREATE ROLE {quoted} LOGIN; END IF; END $tocsin$"
    )
