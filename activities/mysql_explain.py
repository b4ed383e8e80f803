"""Plans of statements from a live MySQL or MariaDB: one after the other, executed only where that is safe and allowed, rolled back.

    statement table -> what may be done -> EXPLAIN FORMAT=JSON -> cost ceiling -> ANALYZE FORMAT=JSON (MariaDB) -> plan set

MySQL tells executed plans as text only (EXPLAIN ANALYZE), so there statements are planned. Every statement has an outcome, with the reason
where it is less than an executed plan.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Mapping

from activities.artifacts import ArtifactStore
from activities.heartbeats import beating
from activities.kept_values import KeptValues, told_lost
from activities.mysql_connection import MysqlSession, ServerError, connected, places, went_away
from activities.postgres_explain_progress import ExplainProgress, wanted_statements
from activities.postgres_explain_session import Backend
from activities.postgres_explain_statement import Explained, not_explained
from activities.recording_folder import RecordingFolder
from perfwright.analysis.explaining.bounds import COSTLY_CHARACTERS, bounded, shortened
from perfwright.analysis.explaining.permission import Permission, permission
from perfwright.analysis.explaining.plan_answers import PLAN_BYTES_AT_MOST, Plan
from perfwright.analysis.explaining.samples import chosen, median_index, skewed
from perfwright.analysis.mysql.connection_troubles import MISSING_RIGHT, TIMED_OUT, trouble_of
from perfwright.analysis.mysql.counters import digest_of
from perfwright.analysis.mysql.plan import NotAPlan, parse_plan
from perfwright.analysis.mysql.reads import why_not_read_only
from perfwright.models.database import Catalog, TableFacts
from perfwright.models.query_performance import ExplainMode, ExplainOutcome
from perfwright.models.query_steps import CostlyStatement, ExplainedStatements, ExplainStatements, StatementPlans, TakenPlan
from perfwright.models.statement import Statement, StatementSample

ANSWER_GRACE_S = 5.0
TABLES_MOST = 20_000
NO_SAMPLE = "no call with its values was seen"
"""As grouping says it of a digest."""
BY_DIGEST, BY_SESSION = ("events_statements_summary_by_digest", "query_sample_text"), ("events_statements_history", "sql_text")
"""Tables and columns of performance_schema that keep a call with its values."""
NO_SUCH_COLUMN = 1054
"""MySQL 5.7 keeps no sample of a digest."""
ONLY_PLANNED = "MySQL tells executed plans as text only: statements were planned, not executed"
NOBODY = Backend(0, "")
"""A session that is left by a killed worker is bounded by the server: max_statement_time, wait_timeout."""
MODES: tuple[ExplainMode, ...] = ("analyzed", "planned")


class _Refused(Exception):
    """The server gives no plan; the text says why."""

    def __init__(self, reason: str, *, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.timed_out = timed_out


class Explaining:
    """One attempt at a request."""

    def __init__(
        self,
        request: ExplainStatements,
        artifacts: ArtifactStore,
        environ: Mapping[str, str],
        folder: RecordingFolder,
        values: KeptValues,
    ) -> None:
        self._request, self._artifacts, self._environ, self._values = request, artifacts, environ, values
        self._progress = ExplainProgress(folder, request.database.system if request.mask_literals else None)
        self._fingerprints = tuple(dict.fromkeys(request.fingerprints))
        self._tables = Catalog(database=request.database.database)
        self._mariadb = request.database.system == "mariadb"
        self._doing, self._began = "", time.monotonic()

    async def run(self) -> ExplainedStatements:
        """Until every statement has its outcome. Raises what `connected` does, ArtifactCorrupt, StoreUnavailable."""
        request = self._request
        statements, lost = self._values.resolved(await wanted_statements(self._artifacts, request.table, self._fingerprints))
        self._progress.resume()
        waiting = [name for name in self._fingerprints if name not in self._progress.outcomes]
        async with beating(self._beat):
            while waiting:
                async with connected(
                    request.target, self._environ, answer_s=request.statement_timeout_s + ANSWER_GRACE_S, in_database=True
                ) as session:
                    await self._prepare(session)
                    await self._explain_on(session, waiting, statements)
            key = hashlib.sha256(request.model_dump_json().encode()).hexdigest()[:12]
            path = f"{request.artifact_prefix}/plans-{key}.json.gz"
            plans = await self._progress.store(self._artifacts, path, request.database, self._fingerprints)
        costly = self._progress.costly
        return bounded(
            ExplainedStatements(
                plans=plans,
                outcomes=tuple(self._progress.outcomes[name] for name in self._fingerprints),
                costly=tuple(costly[name] for name in self._fingerprints if name in costly),
                warnings=(*(() if self._mariadb else (ONLY_PLANNED,)), *told_lost(lost)),
            )
        )

    def _beat(self) -> dict[str, object]:
        done = len(self._progress.outcomes)
        return {
            "statement": min(done + 1, len(self._fingerprints)),
            "of": len(self._fingerprints),
            "doing": self._doing,
            "elapsed_s": round(time.monotonic() - self._began, 1),
        }

    async def _prepare(self, session: MysqlSession) -> None:
        limit_s, lock_s = self._request.statement_timeout_s, max(1, round(self._request.lock_timeout_s))
        limit = f"max_statement_time = {limit_s:g}" if session.mariadb else f"max_execution_time = {limit_s * 1000:.0f}"
        await session.fetch(f"SET SESSION {limit}, lock_wait_timeout = {lock_s}, innodb_lock_wait_timeout = {lock_s}")
        rows = await session.fetch(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = database() AND table_type = 'BASE TABLE' LIMIT %s",
            (TABLES_MOST,),
        )
        database = self._request.database.database
        self._tables = Catalog(database=database, tables=tuple(TableFacts(schema_name=database, name=str(name)) for (name,) in rows))

    async def _explain_on(self, session: MysqlSession, waiting: list[str], statements: Mapping[str, Statement]) -> None:
        while waiting:
            fingerprint = waiting[0]
            self._doing = f"planning {fingerprint}"
            try:
                explained = await self._explained(session, fingerprint, statements.get(fingerprint))
            except Exception as lost:
                if not went_away(lost):
                    raise
                # It may be the statement that the server went away at: not tried again. The next one connects anew, or is refused.
                explained = not_explained(fingerprint, "the server closed the connection, or did not answer, meanwhile: not tried again")
                self._progress.finish(explained)
                waiting.pop(0)
                return
            self._progress.finish(explained)
            waiting.pop(0)

    async def _explained(self, session: MysqlSession, fingerprint: str, statement: Statement | None) -> Explained:
        if statement is None:
            return not_explained(fingerprint, "it is not among the statements that were seen")
        if self._progress.given_up(fingerprint):
            return not_explained(fingerprint, "its worker was killed again and again meanwhile: not tried any more")
        if statement.not_explainable == NO_SAMPLE:
            statement = await self._with_sample(session, statement)
        request = self._request
        allowed = permission(statement, request.target, standby=request.database.standby, analyze=request.analyze)
        if allowed.allowed == "nothing":
            return not_explained(fingerprint, allowed.reason)
        self._progress.begin(fingerprint, NOBODY)
        return await self._plans_of(session, statement, allowed)

    async def _with_sample(self, session: MysqlSession, statement: Statement) -> Statement:
        """With a call as performance_schema keeps it, where it does: MySQL 8 one per digest, both the last of each session."""
        digests = tuple(digest_of(one) for one in statement.query_ids)
        for source, column in (*(() if self._mariadb else (BY_DIGEST,)), BY_SESSION) if digests else ():
            wanted = f"digest IN {places(digests)} AND {column} IS NOT NULL"
            try:
                rows = await session.fetch(f"SELECT {column} FROM performance_schema.{source} WHERE {wanted} LIMIT 1", digests)  # noqa: S608
            except ServerError as refused:
                if refused.number not in (*MISSING_RIGHT, NO_SUCH_COLUMN):
                    raise
                continue
            if rows and not str(rows[0][0]).endswith("..."):
                sample = StatementSample(text=str(rows[0][0]), source="performance_schema", note="one of its calls")
                reason = why_not_read_only(sample.text, self._tables)
                changed = {
                    "samples": (sample,),
                    "not_explainable": "",
                    "safety": "volatile" if reason else "reads only",
                    "safety_reason": reason,
                }
                return statement.model_copy(update=changed)
        return statement

    async def _plans_of(self, session: MysqlSession, statement: Statement, allowed: Permission) -> Explained:
        notes: dict[str, None] = {}
        planned: list[tuple[StatementSample, Plan, float]] = []
        for sample in statement.samples:
            try:
                plan = await self._planned(session, sample, writes=statement.safety in ("writes", "locks"))
                planned.append((sample, plan, parse_plan(plan).cost))
            except _Refused as refused:
                notes[str(refused)] = None
        if not planned:
            return not_explained(statement.fingerprint, "; ".join(notes) or NO_SAMPLE)
        skew = skewed([sample.duration_ms for sample, _, _ in planned], [cost for _, _, cost in planned])
        plans: dict[int, TakenPlan] = {}
        costly = 0.0
        for number in chosen(len(planned), self._request.parameter_sets, skew=skew):
            sample, plan, cost = planned[number]
            taken = TakenPlan(sample=sample, mode="planned", plan=plan)
            reason = self._why_not_executed(statement, sample, allowed)
            if not reason and cost > self._request.cost_ceiling and statement.fingerprint not in self._request.costly_approved:
                costly = max(costly, cost)
                reason = f"planned only: its cost of {cost:,.0f} is over the ceiling of {self._request.cost_ceiling:,.0f}"
            if not reason:
                self._doing = f"executing {statement.fingerprint}"
                self._progress.begin(statement.fingerprint, NOBODY, executing=True)
                try:
                    taken = await self._executed(session, sample)
                except _Refused as refused:
                    reason = f"planned only, executing it failed: {refused}"
            notes |= {reason: None} if reason else {}
            plans[number] = taken
        shown = plans[median_index(len(planned))]
        modes = {one.mode for one in plans.values()}
        outcome = ExplainOutcome(
            fingerprint=statement.fingerprint,
            mode=next(mode for mode in MODES if mode in modes),
            reason="; ".join(notes),
            plans=len(plans),
            execution_ms=None if shown.execution_ms is None else round(shown.execution_ms, 3),
        )
        text = shortened(statement.text, COSTLY_CHARACTERS)
        return Explained(
            StatementPlans(fingerprint=statement.fingerprint, outcome=outcome, plans=tuple(plans.values())),
            CostlyStatement(fingerprint=statement.fingerprint, text=text, cost=costly) if costly else None,
        )

    def _why_not_executed(self, statement: Statement, sample: StatementSample, allowed: Permission) -> str:
        """Only what reads is executed, whatever the target allows: MySQL rolls nothing back of engines without transactions."""
        if allowed.allowed != "execute":
            return allowed.reason
        if allowed.writes:
            return f"planned only: {statement.safety_reason or 'it writes or locks'}"
        if reason := why_not_read_only(sample.text, self._tables):
            return f"never executed: {reason}"
        return "" if self._mariadb else "planned only"

    async def _planned(self, session: MysqlSession, sample: StatementSample, *, writes: bool) -> Plan:
        """EXPLAIN executes nothing, but of what writes it is refused in a READ ONLY transaction (1792)."""
        await session.fetch(f"START TRANSACTION READ {'WRITE' if writes else 'ONLY'}")
        try:
            return await self._plan(session, f"EXPLAIN FORMAT=JSON {sample.text}")
        finally:
            if not session.busy:
                await session.fetch("ROLLBACK")

    async def _executed(self, session: MysqlSession, sample: StatementSample) -> TakenPlan:
        await session.fetch("START TRANSACTION READ ONLY")
        try:
            plan = await self._plan(session, f"ANALYZE FORMAT=JSON {sample.text}")
        finally:
            if not session.busy:
                await session.fetch("ROLLBACK")
        return TakenPlan(sample=sample, mode="analyzed", plan=plan, execution_ms=parse_plan(plan).execution_ms)

    async def _plan(self, session: MysqlSession, statement: str) -> Plan:
        try:
            rows = await session.fetch(statement)
        except ServerError as refused:
            if refused.number in TIMED_OUT:
                limit_s = self._request.statement_timeout_s
                raise _Refused(f"it did not finish within {limit_s:g} s", timed_out=True) from None
            if refused.number in MISSING_RIGHT:
                raise _Refused("our user may not read its tables") from None
            # The message quotes the text around the mistake, or the value that does not fit.
            message = "" if self._request.mask_literals else refused.message
            raise _Refused(f"the server {trouble_of(refused.number, message).cause}") from None
        answer = "".join(str(row[0]) for row in rows)
        if len(answer) > PLAN_BYTES_AT_MOST:
            raise _Refused(f"its plan has {len(answer) / 1e6:.1f} MB; at most {PLAN_BYTES_AT_MOST / 1e6:.1f} MB are kept")
        try:
            plan = json.loads(answer)
            await asyncio.to_thread(parse_plan, plan)
        except (ValueError, RecursionError, NotAPlan):
            raise _Refused("its plan cannot be read") from None
        return dict(plan)
