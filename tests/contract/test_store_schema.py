"""Which Tocsin may open which schema: what a newer one made is used, or refused with the cure."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory

from monitor.incidents.timeline import Entry, broken_at
from monitor.keeping import Kept, check, migrate
from monitor.notify.channel import Kind, Message
from monitor.store.engine import open_engine
from monitor.store.errors import StoreError
from monitor.store.roles import Roles, apply_roles
from monitor.store.schema import _config, head, look, revisions
from monitor.store.store import Store
from tests.making import T0, incident, minutes
from tests.next_schema import ADDS, CONTRACTS, upgrade


@pytest.fixture
def owner(owner_url: str, store: Store) -> Iterator[sa.Engine]:
    """A connection that may change the schema of a store that is there."""
    engine = open_engine(owner_url)
    yield engine
    engine.dispose()


def work(store: Store) -> None:
    """What a daemon does: an incident, its timeline, a page from queued to sent."""
    message = Message(
        id="m1",
        kind=Kind.TRIGGER,
        dedup_key=incident().uuid,
        incident="INC-0001",
        severity="SEV1",
        state="triage",
        title="t",
        lines=("l",),
    )
    entry = Entry(kind="NOTE", text="n", actor="ada", occurred_at=T0)
    with store.write() as tx:
        tx.incidents.save(incident())
        tx.incidents.append(incident().uuid, (entry,), T0)
        tx.outbox.put(incident().uuid, "pagerduty", message, T0)
        tx.touch()
    with store.queue() as tx:
        (page,) = tx.outbox.claim("w", T0 + minutes(1))
    with store.queue() as tx:
        assert tx.outbox.sent(page, "w", {"ts": "1"}, "ok", T0 + minutes(1))
    with store.read() as tx:
        assert tx.incidents.search() == [incident()]
        assert broken_at(tx.incidents.timeline(incident().uuid)) is None
        assert tx.outbox.delivered() == 1


def test_every_store_says_who_may_open_it(store: Store) -> None:
    """The row is what our newest migration says, also in a store that was made just now."""
    with store.engine.connect() as connection:
        found = connection.execute(sa.text("SELECT oldest FROM compatibility")).scalars().all()
    module = ScriptDirectory.from_config(_config()).get_revision(head()).module
    assert found == [module.oldest]


def test_a_newer_schema_that_only_adds_is_used_as_it_is(
    owner: sa.Engine,
    open_store: Callable[[], Store],
    url: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An old process that starts after the upgrade works on it and leaves its schema alone."""
    made = upgrade(owner, tmp_path, ADDS, head())
    with caplog.at_level(logging.WARNING):
        work(open_store())
    assert f"schema {made}, newer than our {head()}" in caplog.text
    assert look(owner).revision == made
    assert not list(tmp_path.glob("*.bak"))
    states = {one.name: one for one in check(Kept(url), T0)}
    assert states["schema"].state == "warn"
    assert "may work on it" in states["schema"].text
    done = migrate(Kept(url))
    assert (done.before, done.after) == (made, made)


def test_an_open_store_goes_on_while_it_is_upgraded(
    store: Store, owner: sa.Engine, open_store: Callable[[], Store], tmp_path: Path
) -> None:
    """The release before has it open, before and after; its children come and go meanwhile."""
    with store.write() as tx:
        tx.touch()
    upgrade(owner, tmp_path, ADDS, revisions()[0])
    work(store)
    with open_store().write() as tx:
        tx.touch()
    with store.read() as tx:
        assert tx.revision() >= 2


@pytest.mark.parametrize("says", [True, False], ids=["says-so", "says-nothing"])
def test_a_newer_schema_that_contracts_is_refused_and_left_alone(
    owner: sa.Engine, url: str, tmp_path: Path, *, says: bool
) -> None:
    """It is not opened and not touched, and the cure is told; so is one that says nothing."""
    made = f"{int(head()) + 1:04}"
    assert upgrade(owner, tmp_path, CONTRACTS, made if says else None) == made
    with pytest.raises(StoreError, match=rf"for schemas from {made} on.*restore the backup"):
        Store(url)
    assert look(owner).revision == made
    assert not sa.inspect(owner).has_table("outbox")
    states = {one.name: one.state for one in check(Kept(url), T0)} if says else {}
    assert states.get("schema", "bad") == "bad"


def test_a_store_of_somebody_else_is_refused(owner: sa.Engine, url: str) -> None:
    """A schema that we do not know, and no word of who may open it: not for us."""
    with owner.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        connection.execute(sa.text("DELETE FROM compatibility"))
    with pytest.raises(StoreError, match=r"newer version\. Upgrade Tocsin, or restore the backup"):
        Store(url)
    with owner.begin() as connection:
        connection.execute(sa.text("DROP TABLE compatibility"))
    with pytest.raises(StoreError, match=r"newer version\. Upgrade Tocsin, or restore the backup"):
        Store(url)
    assert look(owner).revision == "9999"


def test_old_roles_are_not_set_on_a_newer_schema(postgres_url: str, tmp_path: Path) -> None:
    """They would take from the new daemon what it may do with tables that we do not know."""
    store = Store(postgres_url)
    apply_roles(store.engine, Roles())
    made = upgrade(store.engine, tmp_path, ADDS, head())
    with pytest.raises(StoreError, match=rf"schema {made}, of a newer Tocsin"):
        apply_roles(store.engine, Roles())
    store.close()


# -- what a migration says is true -------------------------------------------------------------


def shape(engine: sa.Engine) -> dict[str, dict[str, Any]]:
    """Tables with their columns and what may not be in them."""
    inspector = sa.inspect(engine)
    return {
        name: {
            "columns": {each["name"]: each for each in inspector.get_columns(name)},
            "unique": {tuple(one["column_names"]) for one in inspector.get_unique_constraints(name)}
            | {tuple(one["column_names"]) for one in inspector.get_indexes(name) if one["unique"]},
            "checks": {one["sqltext"] for one in inspector.get_check_constraints(name)},
            "keys": {tuple(one["constrained_columns"]) for one in inspector.get_foreign_keys(name)},
            "primary": tuple(inspector.get_pk_constraint(name)["constrained_columns"]),
        }
        for name in inspector.get_table_names()
    }


def breaks(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> list[str]:
    """What somebody who knows only `before` could trip over in `after`."""
    found = [name for name in before if name not in after]
    for name in before.keys() & after.keys():
        old, new = before[name], after[name]
        found += [f"{name}: {kind}" for kind in ("unique", "checks", "keys", "primary")
                  if old[kind] != new[kind]]  # fmt: skip
        for column, had in old["columns"].items():
            has = new["columns"].get(column)
            same = has and (str(had["type"]), had["nullable"]) == (
                str(has["type"]),
                has["nullable"],
            )
            found += [] if same else [f"{name}.{column}"]
        for column in new["columns"].keys() - old["columns"].keys():
            has = new["columns"][column]
            if not has["nullable"] and has["default"] is None:
                found.append(f"{name}.{column}: wanted")
    return found


def test_what_our_schema_says_of_older_ones_is_true(tmp_path: Path) -> None:
    """From the oldest schema that may open ours nothing was taken away, and nothing is wanted."""
    script = ScriptDirectory.from_config(_config()).get_revision(head())
    shapes = []
    for name in (script.module.oldest, head()):
        engine = open_engine(f"sqlite:///{tmp_path / f'{name}.db'}")
        with engine.begin() as connection:
            command.upgrade(_config(connection), name)
        shapes.append(shape(engine))
        engine.dispose()
    assert breaks(*shapes) == []


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (ADDS, []),
        (CONTRACTS, ["outbox"]),
        ('    op.drop_column("runs", "source")\n', ["runs.source"]),
        (
            '    with op.batch_alter_table("tokens") as made:\n'
            '        made.add_column(sa.Column("x", sa.Text(), nullable=False))\n',
            ["tokens.x: wanted"],
        ),
        (
            '    op.create_index("ix_x", "audit", ["who"], unique=True)\n',
            ["audit: unique"],
        ),
    ],
    ids=["adds", "renames", "drops", "wants", "forbids"],
)
def test_a_step_that_does_more_than_add_is_seen(
    body: str, found: list[str], tmp_path: Path
) -> None:
    """The look at the shapes knows a step that only adds from others."""
    store = Store(f"sqlite:///{tmp_path / 'x.db'}")
    before = shape(store.engine)
    upgrade(store.engine, tmp_path, body, None)
    assert breaks(before, shape(store.engine)) == found
    store.close()
