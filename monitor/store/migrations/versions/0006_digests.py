"""digests: up to where each receiver has been told of what woke nobody."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "digests",
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("incident", sa.BigInteger(), nullable=False),
        sa.Column("alert", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("receiver", "day", name=op.f("pk_digests")),
    )


def downgrade() -> None:
    raise NotImplementedError("restore the backup taken before the upgrade")
