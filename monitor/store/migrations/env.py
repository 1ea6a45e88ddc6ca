"""How Alembic reaches the store: within the transaction that `monitor.store.schema` began."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context
from alembic.runtime.migration import MigrationContext

from monitor.store.tables import compatibility, metadata


def keep_oldest(ctx: MigrationContext, step: Any, heads: Any, run_args: Any) -> None:  # noqa: ARG001 - Alembic gives all four by name
    """Write down which schema's Tocsin may still open what this step made.

    A migration says so as `oldest`; one that does not is for its own Tocsin and newer ones alone.
    """
    connection = ctx.connection
    assert connection is not None
    if not sa.inspect(connection).has_table(compatibility.name):
        return
    oldest = getattr(step.up_revision.module, "oldest", step.up_revision_id)
    if connection.execute(compatibility.update().values(oldest=oldest)).rowcount == 0:
        connection.execute(compatibility.insert().values(id=1, oldest=oldest))


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    on_version_apply=keep_oldest,
)
context.run_migrations()
