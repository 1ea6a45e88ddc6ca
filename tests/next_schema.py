"""The schema of a release that is not there yet: head + 1, made as that release would make it."""

from __future__ import annotations

import shutil
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

import monitor.store.migrations
from monitor.store.schema import head

ADDS = """
    op.create_table(
        "moods",
        sa.Column("id", sa.BigInteger(), primary_key=True),
        sa.Column("text", sa.Text(), nullable=False),
    )
    op.add_column("incidents", sa.Column("mood", sa.Text(), nullable=True))
    op.add_column(
        "outbox", sa.Column("weight", sa.BigInteger(), nullable=False, server_default="1")
    )
    op.create_index("ix_outbox_weight", "outbox", ["weight"])
"""
"""What an older Tocsin need not know of."""
CONTRACTS = """
    op.rename_table("outbox", "pages")
"""
"""What would break it."""

_MODULE = '''"""next."""
import sqlalchemy as sa
from alembic import op

revision = {name!r}
down_revision = {before!r}
{oldest}

def upgrade() -> None:
{body}
'''


def next_name() -> str:
    """What comes after our newest schema."""
    return f"{int(head()) + 1:04}"


def upgrade(engine: sa.Engine, folder: Path, body: str, oldest: str | None) -> str:
    """Upgrade a store as the release after this one would; the name of the new schema.

    Args:
        engine: of the store, as its owner.
        folder: for the migrations of that release: ours and one more.
        body: what the new one does.
        oldest: what it says of older versions; None: nothing.
    """
    ours = Path(monitor.store.migrations.__path__[0])
    scripts = folder / "migrations"
    shutil.copytree(ours, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    said = "" if oldest is None else f"oldest = {oldest!r}\n"
    text = _MODULE.format(name=next_name(), before=head(), oldest=said, body=body)
    (scripts / "versions" / f"{next_name()}_next.py").write_text(text)
    config = Config()
    config.set_main_option("script_location", str(scripts))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return next_name()
