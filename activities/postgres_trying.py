"""Advice tried without changing anything: hypothetical indexes asked about, rewrites run beside their originals.

Everything is read-only and rolled back. What cannot be tried is said: of an index in a warning, of a rewrite in its outcome. Errors:
TargetRefused, DatabaseRefused, DatabaseUnreachable, ArtifactCorrupt, StoreUnavailable.
"""

import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping

from temporalio import activity

from activities.artifacts import ArtifactStore
from activities.errors import refuse
from activities.heartbeats import beating
from activities.postgres_connection import connected
from activities.postgres_explain_progress import wanted_statements
from activities.postgres_explain_rewrites import Tried, decided, try_rewrite, verdict_of
from activities.postgres_explain_session import PlanSession, Refused, ServerLost, Timeouts
from activities.postgres_explain_what_ifs import HypotheticalIndexes
from perfwright.analysis.explaining.bounds import bounded_advice
from perfwright.analysis.explaining.permission import permission
from perfwright.analysis.explaining.what_if import unavailable, unsuited
from perfwright.models.artifact import ArtifactRef
from perfwright.models.errors import ErrorType
from perfwright.models.query_advice import AdviceOnTrial, AdviceToTry, AdviceTried, IndexCandidate, RewriteCandidate, TriedAdvice, TryAdvice
from perfwright.models.query_performance import WhatIf
from perfwright.models.statement import Statement

LOST_AT_MOST = 2
"""Advice at which the server went away; the next time it is not asked any more."""

Job = Callable[[PlanSession], Awaitable[None]]


class PostgresTrying:
    """Activities that try advice."""

    def __init__(self, artifacts: ArtifactStore, environ: Mapping[str, str]) -> None:
        self._artifacts, self._environ = artifacts, environ

    @activity.defn
    async def try_advice(self, request: AdviceOnTrial) -> AdviceTried:
        """What-if plans of the indexes, and a verdict for each rewrite; as an artifact."""
        from perfwright.analysis.statements.stored import MEDIA_TYPE, decode, encode

        advice = decode(AdviceToTry, await self._artifacts.get(request.advice))
        order = TryAdvice(
            target=request.target,
            database=request.database,
            table=request.table,
            indexes=advice.indexes if request.what_if else (),
            rewrites=advice.rewrites if request.rewrites else (),
            statement_timeout_s=request.statement_timeout_s,
            lock_timeout_s=request.lock_timeout_s,
        )
        tried = await self.tried(order)
        ref = await self._artifacts.put(f"{request.artifact_prefix}/tried.json.gz", encode(tried), MEDIA_TYPE, "What became of the advice")
        return tried_summary(ref, tried)

    async def tried(self, order: TryAdvice) -> TriedAdvice:
        """What became of each piece of advice."""
        fingerprints = dict.fromkeys([*(one.fingerprint for one in order.indexes), *(one.fingerprint for one in order.rewrites)])
        statements = await wanted_statements(self._artifacts, order.table, tuple(fingerprints)) if fingerprints else {}
        return await _Run(order, self._environ, statements).tried()


def tried_summary(ref: ArtifactRef, tried: TriedAdvice) -> AdviceTried:
    """The numbers of it."""
    return AdviceTried(
        tried=ref,
        what_ifs=len(tried.what_ifs),
        used=sum(one.used for one in tried.what_ifs),
        faster=sum(one.outcome == "faster" for one in tried.rewrites),
        rewrites=len(tried.rewrites),
    )


class _Run:
    def __init__(self, request: TryAdvice, environ: Mapping[str, str], statements: Mapping[str, Statement]) -> None:
        self._request, self._environ, self._statements = request, environ, statements
        self._timeouts = Timeouts(request.statement_timeout_s, request.lock_timeout_s)
        self._what_ifs: list[WhatIf] = []
        self._rewrites: dict[int, Tried] = {}
        self._warnings: dict[str, None] = {}
        self._lost = 0
        self._doing, self._done, self._of = "", 0, 0
        self._began = time.monotonic()

    async def tried(self) -> TriedAdvice:
        request = self._request
        jobs = deque([*self._index_jobs(), *self._rewrite_jobs()])
        self._of = len(jobs)
        async with beating(self._beat):
            while jobs:
                async with connected(request.target, self._environ, answer_s=self._timeouts.answer_s) as connection:
                    await self._try_on(PlanSession(connection, request.database, self._timeouts), jobs)
        rewrites = decided([self._rewrites[number] for number in sorted(self._rewrites)])
        return bounded_advice(TriedAdvice(what_ifs=tuple(self._what_ifs), rewrites=rewrites, warnings=tuple(self._warnings)))

    async def _try_on(self, session: PlanSession, jobs: deque[Job]) -> None:
        """One piece of advice after the other, until none waits or the connection is lost; what it was lost at is not tried again."""
        job: Job | None = None
        try:
            await session.open()
            while jobs:
                job = jobs.popleft()
                await job(session)
                self._done += 1
        except ServerLost:
            self._lost += 1
            if job is None or self._lost > LOST_AT_MOST:
                raise refuse(
                    ErrorType.DATABASE_UNREACHABLE,
                    f"the server of {self._request.target.title} closed the connection while advice was tried",
                    way_out="See the server's log; without what_if and verify_rewrites advice is given untried",
                    retryable=False,
                ) from None

    def _index_jobs(self) -> list[Job]:
        candidates = self._request.indexes
        if not candidates:
            return []
        if reason := unavailable(self._request.target, self._request.database):
            self._warn(f"no what-if plans: {reason}")
            return []
        return [self._index_job(candidate) for candidate in candidates]

    def _index_job(self, candidate: IndexCandidate) -> Job:
        async def job(session: PlanSession) -> None:
            self._doing = f"what if: {candidate.ddl[:100]}"
            try:
                if reason := self._index_refusal(candidate):
                    raise Refused(reason)
                indexes = await HypotheticalIndexes.find(session)
                self._what_ifs.append(await indexes.what_if(candidate, self._statements[candidate.fingerprint]))
            except Refused as refused:
                self._warn(f"no what-if plan of {candidate.table} ({', '.join(candidate.columns)}): {refused.reason}")
            except ServerLost:
                self._warn(f"no what-if plan of {candidate.table} ({', '.join(candidate.columns)}): the server closed the connection")
                raise

        return job

    def _index_refusal(self, candidate: IndexCandidate) -> str:
        statement = self._statements.get(candidate.fingerprint)
        if statement is None:
            return "its statement was not seen"
        database = self._request.database
        allowed = permission(statement, self._request.target, standby=database.standby, analyze=False)
        return allowed.reason if allowed.allowed == "nothing" else unsuited(candidate, database)

    def _rewrite_jobs(self) -> list[Job]:
        jobs = []
        allowed = {number: self._rewrite_refusal(candidate) for number, candidate in enumerate(self._request.rewrites)}
        compared = sum(not reason for reason in allowed.values())
        for number, candidate in enumerate(self._request.rewrites):
            if allowed[number]:
                self._rewrites[number] = Tried(candidate, verdict_of(candidate, "not tried", allowed[number]))
            else:
                jobs.append(self._rewrite_job(number, candidate, compared))
        return jobs

    def _rewrite_job(self, number: int, candidate: RewriteCandidate, compared: int) -> Job:
        async def job(session: PlanSession) -> None:
            self._doing = f"rewrite: {candidate.title[:100]}"
            try:
                self._rewrites[number] = await try_rewrite(session, candidate, self._statements[candidate.fingerprint], compared)
            except ServerLost:
                lost = "the server closed the connection while it was tried"
                self._rewrites[number] = Tried(candidate, verdict_of(candidate, "not tried", lost))
                raise

        return job

    def _rewrite_refusal(self, candidate: RewriteCandidate) -> str:
        """Both are executed: only where that is allowed, and only what does nothing but read."""
        statement = self._statements.get(candidate.fingerprint)
        if statement is None:
            return "its statement was not seen"
        allowed = permission(statement, self._request.target, standby=self._request.database.standby, analyze=True)
        if allowed.allowed == "execute" and statement.safety == "reads only":
            return ""
        return allowed.reason or f"only statements that do nothing but read are executed again and again: {statement.safety_reason}"

    def _warn(self, text: str) -> None:
        self._warnings.setdefault(text)

    def _beat(self) -> dict[str, object]:
        return {
            "tried": self._done,
            "of": self._of,
            "doing": self._doing,
            "elapsed_s": round(time.monotonic() - self._began, 1),
        }
