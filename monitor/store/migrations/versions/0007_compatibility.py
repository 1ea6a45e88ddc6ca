"""compatibility: from which schema on a Tocsin may open this one as it is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None
oldest = "0007"  # what is older does not look here, and refuses all that it does not know


def upgrade() -> None:
    op.create_table(
        "compatibility",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("oldest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_compatibility")),
    )


def downgrade() -> None:
    raise NotImplementedError("restore the backup taken before the upgrade")
