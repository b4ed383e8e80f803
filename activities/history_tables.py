"""The tables of the history store; `activities/migrations` makes them."""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)


class UtcTime(TypeDecorator[datetime]):
    """A point in time, always with its zone: SQLite would forget it."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData()

runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("process", String(200), nullable=False),
    Column("target", String(200), nullable=False),
    Column("number", Integer, nullable=False),
    Column("environment", String(200), nullable=False),
    Column("workflow_id", String(1_000), nullable=False),
    Column("run_id", String(100), nullable=False, unique=True),
    Column("started_at", UtcTime, nullable=False),
    Column("closed_at", UtcTime),
    Column("verdict", String(40)),
    Column("summary", Text, nullable=False),
    Column("request", JSON, nullable=False),
    Column("fingerprint", JSON(none_as_null=True)),
    Column("report", JSON, nullable=False),
    UniqueConstraint("process", "target", "number", name="runs_number"),
    Index("runs_started", "started_at"),
)

profiles = Table(
    "profiles",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", String(100), ForeignKey("runs.run_id", ondelete="CASCADE"), nullable=False),
    Column("kind", String(40), nullable=False),
    Column("artifact", JSON, nullable=False),
    Column("tool", String(40), nullable=False, server_default=""),
    Column("runtime", String(40), nullable=False, server_default=""),
    Column("usage", JSON(none_as_null=True)),
    Column("program_digest", String(40), nullable=False, server_default=""),
    UniqueConstraint("run_id", "kind", name="profiles_kind"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", String(100), ForeignKey("runs.run_id", ondelete="CASCADE"), nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("gate", String(100), nullable=False),
    Column("outcome", String(40), nullable=False),
    Column("by", String(200), nullable=False),
    Column("decision", JSON, nullable=False),
    UniqueConstraint("run_id", "sequence", name="decisions_sequence"),
)

undo_records = Table(
    "undo_records",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("change_id", String(200), nullable=False, unique=True),
    Column("state", String(20), nullable=False),
    Column("kind", String(40), nullable=False),
    Column("target", String(200), nullable=False),
    Column("environment", String(200), nullable=False),
    Column("host", String(200), nullable=False),
    Column("subject", String(1_000), nullable=False),
    Column("workflow_id", String(1_000), nullable=False),
    Column("run_id", String(100), nullable=False),
    Column("recorded_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("note", Text, nullable=False),
    Column("record", JSON, nullable=False),
    Index("undo_records_state", "state"),
    Index("undo_records_subject", "target", "subject"),
)
"""What restores a target; `record` holds the whole `UndoRecord`, columns what is searched or changes. A larger id stands on top."""
