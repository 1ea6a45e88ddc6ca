"""the database itself refuses to change what the timeline and the audit say.

Timeline: no row is changed or deleted. Audit: none is changed; it is a ring, whose oldest rows may
go once there are more than 10,000.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

POSTGRESQL = (
    "CREATE FUNCTION tocsin_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ "
    "BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$",
    "CREATE FUNCTION tocsin_audit_ring() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "IF OLD.id > (SELECT max(id) FROM audit) - 10000 "
    "THEN RAISE EXCEPTION 'audit is append-only'; END IF; RETURN OLD; END $$",
    "CREATE TRIGGER timeline_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON timeline "
    "FOR EACH STATEMENT EXECUTE FUNCTION tocsin_append_only()",
    "CREATE TRIGGER audit_append_only BEFORE UPDATE OR TRUNCATE ON audit "
    "FOR EACH STATEMENT EXECUTE FUNCTION tocsin_append_only()",
    "CREATE TRIGGER audit_ring BEFORE DELETE ON audit "
    "FOR EACH ROW EXECUTE FUNCTION tocsin_audit_ring()",
)
SQLITE = (
    "CREATE TRIGGER timeline_no_update BEFORE UPDATE ON timeline "
    "BEGIN SELECT RAISE(ABORT, 'timeline is append-only'); END",
    "CREATE TRIGGER timeline_no_delete BEFORE DELETE ON timeline "
    "BEGIN SELECT RAISE(ABORT, 'timeline is append-only'); END",
    "CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit "
    "BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END",
    "CREATE TRIGGER audit_ring BEFORE DELETE ON audit "
    "WHEN OLD.id > (SELECT max(id) FROM audit) - 10000 "
    "BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END",
)


def upgrade() -> None:
    for statement in POSTGRESQL if op.get_bind().dialect.name == "postgresql" else SQLITE:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("restore the backup taken before the upgrade")
