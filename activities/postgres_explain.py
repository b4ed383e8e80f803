"""Plans of statements from a live PostgreSQL: one statement after the other, executed only where that is safe and allowed, rolled back.

    statement table -> what may be done -> plan -> cost ceiling -> EXPLAIN ANALYZE, node times on, then off -> plan set

Every statement has an outcome, with the reason where it is less than an executed plan. Errors: TargetRefused, DatabaseRefused,
DatabaseUnreachable (before the first statement, or lost again and again), ArtifactCorrupt, StoreUnavailable.
"""

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.artifacts import ArtifactStore
from activities.errors import refuse
from activities.explained_together import added_to
from activities.heartbeats import beating
from activities.kept_values import KeptValues, told_lost
from activities.postgres_connection import connected, went_away
from activities.postgres_explain_progress import ExplainProgress, wanted_statements
from activities.postgres_explain_session import Backend, PlanSession, ServerLost, Timeouts, end_leftover
from activities.postgres_explain_statement import Conditions, Explained, explain_statement, not_explained
from activities.recording_folder import RecordingFolder, resumable
from perfwright.analysis.explaining.bounds import bounded
from perfwright.analysis.explaining.permission import Permission, permission
from perfwright.models.errors import ErrorType
from perfwright.models.query_steps import ExplainedStatements, ExplainStatements
from perfwright.models.statement import Statement

if TYPE_CHECKING:
    import asyncpg

COME_BACK_S, COME_BACK_EVERY_S = 30.0, 0.5
"""How long a server that went away is waited for: a restart takes seconds."""
LOST_IN_A_ROW = 3
"""Statements at which the server went away one after the other; then it is not the statement."""


class PostgresExplain:
    """Activities that take plans. `state_folder` holds runs in progress."""

    def __init__(self, artifacts: ArtifactStore, environ: Mapping[str, str], state_folder: Path) -> None:
        self._artifacts, self._environ, self._state_folder = artifacts, environ, state_folder

    @activity.defn
    async def explain_statements(self, request: ExplainStatements) -> ExplainedStatements:
        """Plans of the statements, in their order; goes on where a killed worker stopped."""
        key = hashlib.sha256(request.model_dump_json().encode()).hexdigest()[:12]
        folder = RecordingFolder(self._state_folder, f"{request.artifact_prefix}/explain-{key}")

        async def explain() -> ExplainedStatements:
            masked = request.database.system if request.mask_literals else None
            run = _Run(request, self._artifacts, self._environ, ExplainProgress(folder, masked), KeptValues(self._state_folder))
            await run.explain_all()
            result = await run.result(f"{request.artifact_prefix}/plans-{key}.json.gz")
            return await added_to(request.earlier, result, self._artifacts, f"{request.artifact_prefix}/plans-{key}-all.json.gz")

        return await resumable(folder, ExplainedStatements, explain)


class _Run:
    """One attempt at a request."""

    def __init__(
        self,
        request: ExplainStatements,
        artifacts: ArtifactStore,
        environ: Mapping[str, str],
        progress: ExplainProgress,
        values: KeptValues,
    ) -> None:
        self._request, self._artifacts, self._environ, self._progress, self._values = request, artifacts, environ, progress, values
        self._fingerprints = tuple(dict.fromkeys(request.fingerprints))
        self._conditions = Conditions(request.cost_ceiling, request.parameter_sets, frozenset(request.costly_approved))
        self._timeouts = Timeouts(request.statement_timeout_s, request.lock_timeout_s)
        self._warnings: list[str] = []
        self._may_write = False
        self._doing = ""
        self._began = time.monotonic()
        self._executing = False
        self._lost = 0
        self._asked_again: set[str] = set()

    async def explain_all(self) -> None:
        """Until every statement has its outcome."""
        statements, lost = self._values.resolved(await wanted_statements(self._artifacts, self._request.table, self._fingerprints))
        self._warnings += told_lost(lost)
        self._progress.resume()
        target, analyze, standby = self._request.target, self._request.analyze, self._request.database.standby
        allowed = {name: permission(one, target, standby=standby, analyze=analyze) for name, one in statements.items()}
        waiting = deque(statements[name] for name in self._fingerprints if self._is_to_do(name, statements))
        self._may_write = any(one.writes for one in allowed.values())
        async with beating(self._beat):
            while waiting:
                if self._went_away:
                    await self._come_back()
                async with self._connected() as connection:
                    await self._tidy_up(connection)
                    await self._explain_on(connection, waiting, allowed)

    async def result(self, path: str) -> ExplainedStatements:
        """The stored plans and what became of each statement, in the order asked for."""
        plans = await self._progress.store(self._artifacts, path, self._request.database, self._fingerprints)
        outcomes, costly = self._progress.outcomes, self._progress.costly
        return bounded(
            ExplainedStatements(
                plans=plans,
                outcomes=tuple(outcomes[name] for name in self._fingerprints),
                costly=tuple(costly[name] for name in self._fingerprints if name in costly),
                approved=self._request.costly_approved,
                warnings=tuple(self._warnings),
            )
        )

    def _is_to_do(self, fingerprint: str, statements: Mapping[str, Statement]) -> bool:
        """Whether it is still to be explained; what cannot be gets its outcome here."""
        if fingerprint in self._progress.outcomes:
            return False
        if fingerprint not in statements:
            self._progress.finish(not_explained(fingerprint, "it is not among the statements that were seen"))
            return False
        if self._progress.given_up(fingerprint):
            self._progress.finish(not_explained(fingerprint, "its worker was killed again and again meanwhile: not tried any more"))
            return False
        if (begun := self._progress.in_flight) and begun.fingerprint == fingerprint and begun.executing:
            self._warnings.append(f"statement {fingerprint} was being executed when its worker was stopped; it is executed again")
        return True

    async def _explain_on(self, connection: "asyncpg.Connection", waiting: deque[Statement], allowed: Mapping[str, Permission]) -> None:
        """Statement after statement, until none waits or the connection is lost."""
        self._executing = False
        try:
            masks = self._request.mask_literals
            session = await PlanSession(connection, self._request.database, self._timeouts, mask_literals=masks).open()
            self._say_who(session)
            while waiting:
                self._executing = False
                self._progress.finish(await self._explain(session, waiting[0], allowed[waiting[0].fingerprint]))
                self._lost = 0
                waiting.popleft()
        except ServerLost:
            self._lose(waiting)

    async def _explain(self, session: PlanSession, statement: Statement, allowed: Permission) -> Explained:
        fingerprint = statement.fingerprint
        backend = Backend(0, "") if self._request.database.pooler else session.backend
        self._doing = f"planning {fingerprint}"
        if allowed.allowed != "nothing":
            self._progress.begin(fingerprint, backend)

        def executing() -> None:
            if not self._executing:
                self._executing, self._doing = True, f"executing {fingerprint}"
                self._progress.begin(fingerprint, backend, executing=True)

        return await explain_statement(session, statement, allowed, self._conditions, executing)

    def _lose(self, waiting: deque[Statement]) -> None:
        """The server went away. A statement that it may have crashed on is not tried again; one that was only being planned is, once."""
        fingerprint = waiting[0].fingerprint
        if not self._executing and fingerprint not in self._asked_again:
            self._asked_again.add(fingerprint)
            return
        doing = "executed" if self._executing else "planned"
        self._progress.finish(not_explained(fingerprint, f"the server closed the connection while it was {doing}: not tried again"))
        waiting.popleft()
        self._lost += 1
        if self._lost >= LOST_IN_A_ROW:
            raise refuse(
                ErrorType.DATABASE_UNREACHABLE,
                f"the server of {self._request.target.title} closed the connection at {self._lost} statements in a row",
                way_out="See the server's log, then start again; drop_fingerprints leaves statements out",
                retryable=False,
            )

    @property
    def _went_away(self) -> bool:
        return bool(self._lost or self._asked_again)

    async def _come_back(self) -> None:
        """Wait for a server that went away; raises what it refuses with when it does not come back in time."""
        self._doing = "waiting for the server"
        until = time.monotonic() + COME_BACK_S
        while True:
            try:
                async with self._connected():
                    return
            except ApplicationError as refused:
                if not went_away(refused) or time.monotonic() > until:
                    raise
            await asyncio.sleep(COME_BACK_EVERY_S)

    def _connected(self) -> "AbstractAsyncContextManager[asyncpg.Connection]":
        return connected(self._request.target, self._environ, read_only=not self._may_write, answer_s=self._timeouts.answer_s)

    async def _tidy_up(self, connection: "asyncpg.Connection") -> None:
        """A killed worker's statement may still run on the server."""
        if backend := self._progress.left_backend:
            self._progress.in_flight = None
            await end_leftover(connection, backend)

    def _say_who(self, session: PlanSession) -> None:
        said = f"explained as role {session.role} with search_path {session.search_path}"
        if said not in self._warnings:
            self._warnings.append(said)

    def _beat(self) -> dict[str, object]:
        done = len(self._progress.outcomes)
        return {
            "statement": min(done + 1, len(self._fingerprints)),
            "of": len(self._fingerprints),
            "doing": self._doing,
            "elapsed_s": round(time.monotonic() - self._began, 1),
        }
