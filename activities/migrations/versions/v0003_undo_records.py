"""Undo records: what restores a target, written before it is changed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "undo_records",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("change_id", sa.String(200), nullable=False, unique=True),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("target", sa.String(200), nullable=False),
        sa.Column("environment", sa.String(200), nullable=False),
        sa.Column("host", sa.String(200), nullable=False),
        sa.Column("subject", sa.String(1_000), nullable=False),
        sa.Column("workflow_id", sa.String(1_000), nullable=False),
        sa.Column("run_id", sa.String(100), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("record", sa.JSON, nullable=False),
    )
    op.create_index("undo_records_state", "undo_records", ["state"])
    op.create_index("undo_records_subject", "undo_records", ["target", "subject"])
