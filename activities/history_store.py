"""The history store in SQL: what the activities of `activities/history.py` do once the database is open."""

import json
import re
from asyncio import to_thread
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from sqlalchemy import URL, RowMapping, delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from activities.errors import refuse
from activities.history_check import REVISION
from activities.history_engine import WRITES, found_revision, history_url, open_engine, told, write_ahead
from activities.history_tables import decisions, profiles, runs
from perfwright.models.artifact import ArtifactRef
from perfwright.models.cpu_profiling import PreviousProfile, ProcessUse
from perfwright.models.errors import ErrorType
from perfwright.models.gate import Decision
from perfwright.models.history import KeptArtifact, PreviousProfileQuery, RunEnd, RunQuery, RunRecord, RunStart, RunSummary
from perfwright.models.result import ReportRefs

MAX_LISTED = 500
UNBELIEVED = ("rejected", "cancelled", "inconclusive")
"""Verdicts whose profiles nothing is compared with unless it is asked for by number: refused, cut short, or too little to believe."""
_NAME = re.compile(r"(?P<target>.+)#(?P<number>[0-9]{1,9})")


class HistoryStore:
    """Runs and decisions, in SQL."""

    def __init__(self, engine: AsyncEngine, url: URL) -> None:
        self._engine = engine
        self._writing = engine.execution_options(**WRITES)
        self._url = url

    @classmethod
    async def open(cls, url: str, *, folder_of_relative: Path, busy_s: float) -> Self:
        """Connect, and bring the schema to this release."""
        database = history_url(url, folder_of_relative)
        engine = open_engine(database, busy_s=busy_s)
        try:
            with told(database, "open"):
                if database.get_backend_name() == "sqlite":
                    await to_thread(write_ahead, str(database.database), busy_s)
                if await found_revision(engine) != REVISION:
                    await cls._migrate(database, busy_s)
        except BaseException:
            await engine.dispose()
            raise
        return cls(engine, database)

    @staticmethod
    async def _migrate(database: URL, busy_s: float) -> None:
        # Imported where it is needed: Alembic would double the time that a worker takes to start.
        from activities.history_migration import SchemaTooNew, migrate

        try:
            await migrate(database, busy_s=busy_s)
        except SchemaTooNew as newer:
            raise refuse(
                ErrorType.STORE_UNAVAILABLE,
                f"the history {database.render_as_string(hide_password=True)} was made by a newer release (revision {newer.found})",
                way_out="Update Perfwright here; the database is left as it is",
                retryable=False,
            ) from None

    async def close(self) -> None:
        await self._engine.dispose()

    async def number_run(self, run: RunStart) -> str:
        async with self.transaction("write to") as connection:
            number = await self._number(connection, run)
        return _name(run.target, number)

    async def record_run(self, record: RunRecord) -> str:
        async with self.transaction("write to") as connection:
            number = await self._number(connection, record)
            await connection.execute(
                update(runs)
                .where(runs.c.run_id == record.run_id)
                .values(
                    environment=record.environment,
                    closed_at=_time(record.closed_at, "closed_at"),
                    verdict=record.verdict,
                    summary=_plain(record.summary),
                    request=record.request,
                    fingerprint=record.fingerprint.model_dump(mode="json") if record.fingerprint else None,
                    report=record.report.model_dump(mode="json"),
                )
            )
            for table in (profiles, decisions):
                await connection.execute(delete(table).where(table.c.run_id == record.run_id))
            for profile in record.profiles:
                await connection.execute(insert(profiles).values(run_id=record.run_id, **profile.model_dump(mode="json")))
            for sequence, decision in enumerate(record.decisions):
                await connection.execute(
                    insert(decisions).values(
                        run_id=record.run_id,
                        sequence=sequence,
                        gate=decision.gate,
                        outcome=decision.outcome,
                        by=_plain(decision.by),
                        decision=decision.model_dump(mode="json"),
                    )
                )
        return _name(record.target, number)

    async def end_run(self, end: RunEnd) -> None:
        async with self.transaction("write to") as connection:
            await connection.execute(
                update(runs)
                .where(runs.c.run_id == end.run_id, runs.c.closed_at.is_(None))
                .values(closed_at=_time(end.closed_at, "closed_at"), verdict=end.verdict, summary=_plain(end.summary))
            )

    async def find_previous_profile(self, query: PreviousProfileQuery) -> PreviousProfile | None:
        wanted = (
            select(runs, profiles.c.artifact, profiles.c.tool, profiles.c.runtime, profiles.c.usage)
            .join(profiles, profiles.c.run_id == runs.c.run_id)
            .where(runs.c.process == query.process, runs.c.target == query.target, profiles.c.kind == query.kind)
            .where(runs.c.run_id != query.run_id)
            .order_by(runs.c.number.desc())
            .limit(1)
        )
        if query.compare_with == "latest":
            wanted = wanted.where(runs.c.verdict.not_in(UNBELIEVED))
            for field in ("tool", "runtime", "program_digest"):
                if value := getattr(query, field):
                    wanted = wanted.where(profiles.c[field] == value)
        else:
            wanted = wanted.where(runs.c.number == _numbered(query))
        async with self.reading() as connection:
            row = (await connection.execute(wanted)).mappings().first()
        if row is not None:
            return PreviousProfile(
                run=_name(row["target"], row["number"]),
                at=_iso(row["closed_at"] or row["started_at"]),
                profile=ArtifactRef.model_validate(row["artifact"]),
                tool=row["tool"],
                runtime=row["runtime"],
                usage=ProcessUse.model_validate_json(json.dumps(row["usage"])) if row["usage"] else None,
            )
        if query.compare_with == "latest":
            return None
        raise await self._no_profile(query)

    async def find_kept(self, target: str, kind: str, closed_by: datetime) -> KeptArtifact | None:
        wanted = (
            select(runs.c.closed_at, profiles.c.artifact)
            .join(profiles, profiles.c.run_id == runs.c.run_id)
            .where(runs.c.target == target, profiles.c.kind == kind, runs.c.closed_at <= closed_by)
            .order_by(runs.c.closed_at.desc(), runs.c.id.desc())
            .limit(1)
        )
        async with self.reading() as connection:
            row = (await connection.execute(wanted)).mappings().first()
        return KeptArtifact(at=_iso(row["closed_at"]), artifact=ArtifactRef.model_validate(row["artifact"])) if row is not None else None

    async def list_runs(self, query: RunQuery) -> list[RunSummary]:
        wanted = select(runs).order_by(runs.c.started_at.desc(), runs.c.id.desc()).limit(max(1, min(query.limit, MAX_LISTED)))
        for field in ("process", "target", "number", "verdict", "run_id"):
            if (value := getattr(query, field)) is not None:
                wanted = wanted.where(runs.c[field] == value)
        async with self.reading() as connection:
            return [_summary(row) for row in (await connection.execute(wanted)).mappings()]

    async def list_decisions(self, run_id: str) -> list[Decision]:
        wanted = select(decisions.c.decision).where(decisions.c.run_id == run_id).order_by(decisions.c.sequence)
        async with self.reading() as connection:
            return [Decision.model_validate(row) for row in (await connection.execute(wanted)).scalars()]

    async def _number(self, connection: AsyncConnection, run: RunStart) -> int:
        """The run's number; the run is added where it is new. Other writers wait: SQLite has one, PostgreSQL gets a lock."""
        if connection.dialect.name == "postgresql":
            key = {"key": f"perfwright runs {run.process} {run.target}"}
            await connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), key)
        known = (await connection.execute(select(runs.c.number).where(runs.c.run_id == run.run_id))).scalar()
        if known is not None:
            return int(known)
        same = (runs.c.process == run.process) & (runs.c.target == run.target)
        number = int((await connection.execute(select(func.coalesce(func.max(runs.c.number), 0)).where(same))).scalar_one()) + 1
        await connection.execute(
            insert(runs).values(
                process=run.process,
                target=run.target,
                number=number,
                environment=run.environment,
                workflow_id=run.workflow_id,
                run_id=run.run_id,
                started_at=_time(run.started_at, "started_at"),
                summary="",
                request=run.request,
                report={},
            )
        )
        return number

    async def _no_profile(self, query: PreviousProfileQuery) -> Exception:
        number = _numbered(query)
        async with self.reading() as connection:
            same = (runs.c.process == query.process) & (runs.c.target == query.target)
            verdict = (await connection.execute(select(runs.c.verdict).where(same, runs.c.number == number))).one_or_none()
            having = select(runs.c.number).join(profiles, profiles.c.run_id == runs.c.run_id)
            others = having.where(same, profiles.c.kind == query.kind).order_by(runs.c.number.desc()).limit(10)
            numbers = (await connection.execute(others)).scalars().all()
        told_runs = ", ".join(_name(query.target, one) for one in numbers) or "none"
        if verdict is None:
            cause = f"there is no run {query.compare_with} of {query.process}"
        elif not verdict[0]:
            cause = f"run {query.compare_with} has not ended"
        else:
            cause = f"run {query.compare_with} ({verdict[0]}) kept no profile"
        return refuse(ErrorType.INVALID_INPUT, f"compare_with: {cause}", way_out=f"Runs with a profile: {told_runs}")

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection to read with; troubles are told in our words."""
        with told(self._url, "read"):
            async with self._engine.connect() as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self, attempt: str) -> AsyncIterator[AsyncConnection]:
        """A transaction that writes; `attempt` (`write to`) is told with its troubles."""
        with told(self._url, attempt):
            async with self._writing.begin() as connection:
                yield connection


def _numbered(query: PreviousProfileQuery) -> int:
    parts = _NAME.fullmatch(query.compare_with)
    if parts is None or parts["target"] != query.target:
        raise refuse(
            ErrorType.INVALID_INPUT,
            f'compare_with: "{query.compare_with[:100]}" is no run of target {query.target}',
            way_out=f"Allowed: latest, none, or a run of the same target such as {query.target}#1",
        )
    return int(parts["number"])


def _name(target: str, number: int) -> str:
    return f"{target}#{number}"


def _time(given: str, field: str) -> datetime:
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        raise refuse(ErrorType.INVALID_INPUT, f'{field}: "{given[:60]}" is no ISO 8601 time') from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _iso(moment: datetime | None) -> str:
    return moment.astimezone(UTC).isoformat() if moment else ""


def _plain(given: str) -> str:
    """PostgreSQL keeps no NUL character in text."""
    return given.replace("\0", "")


def _summary(row: RowMapping) -> RunSummary:
    values: dict[str, Any] = dict(row) | {
        "name": _name(row["target"], row["number"]),
        "started_at": _iso(row["started_at"]),
        "closed_at": _iso(row["closed_at"]),
        "report": ReportRefs.model_validate(row["report"]),
    }
    return RunSummary.model_validate(values)
