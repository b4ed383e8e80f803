"""Runs, their profiles and decisions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("process", sa.String(200), nullable=False),
        sa.Column("target", sa.String(200), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("environment", sa.String(200), nullable=False),
        sa.Column("workflow_id", sa.String(1_000), nullable=False),
        sa.Column("run_id", sa.String(100), nullable=False, unique=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True)),
        sa.Column("verdict", sa.String(40)),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("fingerprint", sa.JSON),
        sa.Column("report", sa.JSON, nullable=False),
        sa.UniqueConstraint("process", "target", "number", name="runs_number"),
    )
    op.create_index("runs_started", "runs", ["started_at"])
    op.create_table(
        "profiles",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("run_id", sa.String(100), sa.ForeignKey("runs.run_id", ondelete="CASCADE"), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("artifact", sa.JSON, nullable=False),
        sa.UniqueConstraint("run_id", "kind", name="profiles_kind"),
    )
    op.create_table(
        "decisions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("run_id", sa.String(100), sa.ForeignKey("runs.run_id", ondelete="CASCADE"), nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("gate", sa.String(100), nullable=False),
        sa.Column("outcome", sa.String(40), nullable=False),
        sa.Column("by", sa.String(200), nullable=False),
        sa.Column("decision", sa.JSON, nullable=False),
        sa.UniqueConstraint("run_id", "sequence", name="decisions_sequence"),
    )
