"""Advice tried without changing anything: hypothetical indexes asked about, rewrites run beside their originals.

Everything is read-only and rolled back. What cannot be tried is said: of an index in a warning, of a rewrite in its outcome. Errors:
TargetRefused, DatabaseRefused, DatabaseUnreachable, ArtifactCorrupt, StoreUnavailable.
"""

import hashlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from temporalio import activity

from activities.artifacts import ArtifactStore
from activities.errors import refuse
from activities.heartbeats import beating
from activities.kept_values import KeptValues, told_lost
from activities.postgres_connection import connected
from activities.postgres_explain_progress import wanted_statements
from activities.postgres_explain_rewrites import Limits, decided, try_rewrite, verdict_of
from activities.postgres_explain_session import Backend, PlanSession, Refused, ServerLost, Timeouts, end_leftover
from activities.postgres_explain_what_ifs import HypotheticalIndexes
from activities.postgres_trying_progress import GIVEN_UP, Done, TryingProgress
from activities.recording_folder import RecordingFolder, resumable
from perfwright.analysis.explaining.bounds import bounded_advice
from perfwright.analysis.explaining.constants import with_values
from perfwright.analysis.explaining.permission import permission
from perfwright.analysis.explaining.what_if import unavailable, unsuited
from perfwright.models.artifact import ArtifactRef
from perfwright.models.errors import ErrorType
from perfwright.models.query_advice import AdviceOnTrial, AdviceToTry, AdviceTried, IndexCandidate, RewriteCandidate, TriedAdvice, TryAdvice
from perfwright.models.statement import Statement

LOST_AT_MOST = 2
"""Advice at which the server went away; the next time it is not asked any more."""
UNFILLED = "its values, which are masked, cannot be put into the rewrite"


class PostgresTrying:
    """Activities that try advice. `state_folder` holds trials in progress, and values of statements where literals are masked."""

    def __init__(self, artifacts: ArtifactStore, environ: Mapping[str, str], state_folder: Path) -> None:
        self._artifacts, self._environ, self._state_folder = artifacts, environ, state_folder

    @activity.defn
    async def try_advice(self, request: AdviceOnTrial) -> AdviceTried:
        """What-if plans of the indexes, and a verdict for each rewrite; as an artifact. Goes on where a killed worker stopped."""
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
            cost_ceiling=request.cost_ceiling,
            costly_approved=request.costly_approved,
            mask_literals=request.mask_literals,
        )
        tried = await self.tried(order)
        ref = await self._artifacts.put(f"{request.artifact_prefix}/tried.json.gz", encode(tried), MEDIA_TYPE, "What became of the advice")
        return tried_summary(ref, tried)

    async def tried(self, order: TryAdvice) -> TriedAdvice:
        """What became of each piece of advice."""
        key = hashlib.sha256(order.model_dump_json().encode()).hexdigest()[:12]
        folder = RecordingFolder(self._state_folder, f"{order.table.uri}-try-{key}")

        async def work() -> TriedAdvice:
            fingerprints = dict.fromkeys([*(one.fingerprint for one in order.indexes), *(one.fingerprint for one in order.rewrites)])
            wanted = await wanted_statements(self._artifacts, order.table, tuple(fingerprints)) if fingerprints else {}
            values = KeptValues(self._state_folder)
            statements, lost = values.resolved(wanted)
            return await _Run(order, self._environ, statements, values, TryingProgress(folder), told_lost(lost)).tried()

        return await resumable(folder, TriedAdvice, work)


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
    """One attempt at a request."""

    def __init__(
        self,
        request: TryAdvice,
        environ: Mapping[str, str],
        statements: Mapping[str, Statement],
        values: KeptValues,
        progress: TryingProgress,
        warnings: tuple[str, ...],
    ) -> None:
        self._request, self._environ, self._statements, self._values = request, environ, statements, values
        self._progress, self._warnings = progress, warnings
        self._timeouts = Timeouts(request.statement_timeout_s, request.lock_timeout_s)
        self._lost = 0
        self._doing, self._of = "", 0
        self._began = time.monotonic()

    async def tried(self) -> TriedAdvice:
        request, done = self._request, self._progress.done
        indexes, rewrites = self._index_jobs(), self._rewrite_jobs()
        self._of = len(indexes) + len(rewrites)
        jobs = deque(job for job in (*indexes, *rewrites) if job.name not in done and not self._given_up(job))
        async with beating(self._beat):
            while jobs:
                async with connected(request.target, self._environ, answer_s=self._timeouts.answer_s) as connection:
                    if backend := self._progress.take_left_backend():
                        await end_leftover(connection, backend)
                    session = PlanSession(connection, request.database, self._timeouts, mask_literals=request.mask_literals)
                    await self._try_on(session, jobs)
        tried = [done[job.name] for job in (*indexes, *rewrites)]
        return bounded_advice(
            TriedAdvice(
                what_ifs=tuple(one.what_if for one in tried if one.what_if),
                rewrites=decided([(one.verdict, one.times) for one in tried if one.verdict]),
                warnings=tuple(dict.fromkeys((*self._warnings, *(one.warning for one in tried if one.warning)))),
            )
        )

    async def _try_on(self, session: PlanSession, jobs: deque["_Job"]) -> None:
        """One piece of advice after the other, until none waits or the connection is lost; what it was lost at is not tried again."""
        job: _Job | None = None
        try:
            await session.open()
            # Behind a pooler the process may be somebody else's by then.
            backend = Backend(0, "") if self._request.database.pooler else session.backend
            while jobs:
                job = jobs.popleft()
                self._doing = job.doing
                self._progress.begin(job.name, backend)
                self._progress.finish(await job.work(session))
        except ServerLost:
            if job is not None:
                self._progress.finish(job.given_up("the server closed the connection while it was tried"))
            self._lost += 1
            if job is None or self._lost > LOST_AT_MOST:
                raise refuse(
                    ErrorType.DATABASE_UNREACHABLE,
                    f"the server of {self._request.target.title} closed the connection while advice was tried",
                    way_out="See the server's log; without what_if and verify_rewrites advice is given untried",
                    retryable=False,
                ) from None

    def _given_up(self, job: "_Job") -> bool:
        """Whether it was in flight each time its worker was killed; or cannot be tried anyway. It is done then."""
        if not (reason := job.refusal or (GIVEN_UP if self._progress.given_up(job.name) else "")):
            return False
        self._progress.finish(job.given_up(reason))
        return True

    def _index_jobs(self) -> list["_Job"]:
        candidates = self._request.indexes
        if not candidates:
            return []
        if reason := unavailable(self._request.target, self._request.database):
            self._warnings = (*self._warnings, f"no what-if plans: {reason}")
            return []
        return [self._index_job(f"index {number}", candidate) for number, candidate in enumerate(candidates)]

    def _index_job(self, name: str, candidate: IndexCandidate) -> "_Job":
        def given_up(reason: str) -> Done:
            return Done(job=name, warning=f"no what-if plan of {candidate.table} ({', '.join(candidate.columns)}): {reason}")

        async def work(session: PlanSession) -> Done:
            try:
                indexes = await HypotheticalIndexes.find(session)
                return Done(job=name, what_if=await indexes.what_if(candidate, self._statements[candidate.fingerprint]))
            except Refused as refused:
                return given_up(refused.reason)

        return _Job(name, f"what if: {candidate.ddl[:100]}", work, given_up, self._index_refusal(candidate))

    def _index_refusal(self, candidate: IndexCandidate) -> str:
        statement = self._statements.get(candidate.fingerprint)
        if statement is None:
            return "its statement was not seen"
        database = self._request.database
        allowed = permission(statement, self._request.target, standby=database.standby, analyze=False)
        return allowed.reason if allowed.allowed == "nothing" else unsuited(candidate, database)

    def _rewrite_jobs(self) -> list["_Job"]:
        refusals = [self._rewrite_refusal(candidate) for candidate in self._request.rewrites]
        compared = sum(not reason for reason in refusals)
        together = zip(self._request.rewrites, refusals, strict=True)
        return [self._rewrite_job(f"rewrite {number}", candidate, reason, compared) for number, (candidate, reason) in enumerate(together)]

    def _rewrite_job(self, name: str, candidate: RewriteCandidate, refusal: str, compared: int) -> "_Job":
        def given_up(reason: str) -> Done:
            return Done(job=name, verdict=verdict_of(candidate, "not tried", reason))

        async def work(session: PlanSession) -> Done:
            real = candidate
            if candidate.sample.kept_as:
                sample = self._values.sample(candidate.sample)
                filled = with_values(candidate, sample) if sample else None
                if filled is None:
                    return given_up("its values are not kept on this host (any more)" if sample is None else UNFILLED)
                real = filled
            statement = self._statements[candidate.fingerprint]
            approved = candidate.fingerprint in self._request.costly_approved
            limits = Limits(compared, self._request.cost_ceiling, approved)
            verdict, times = await try_rewrite(session, real, statement, limits)
            shown = verdict.model_copy(update={"original": candidate.original, "rewritten": candidate.rewritten})
            return Done(job=name, verdict=shown, times=times)

        return _Job(name, f"rewrite: {candidate.title[:100]}", work, given_up, refusal)

    def _rewrite_refusal(self, candidate: RewriteCandidate) -> str:
        """Both are executed: only where that is allowed, and only what does nothing but read."""
        statement = self._statements.get(candidate.fingerprint)
        if statement is None:
            return "its statement was not seen"
        allowed = permission(statement, self._request.target, standby=self._request.database.standby, analyze=True)
        if allowed.allowed == "execute" and statement.safety == "reads only":
            return ""
        return allowed.reason or f"only statements that do nothing but read are executed again and again: {statement.safety_reason}"

    def _beat(self) -> dict[str, object]:
        return {
            "tried": len(self._progress.done),
            "of": self._of,
            "doing": self._doing,
            "elapsed_s": round(time.monotonic() - self._began, 1),
        }


@dataclass(frozen=True)
class _Job:
    """One piece of advice to try."""

    name: str
    """The same in every attempt."""
    doing: str
    work: Callable[[PlanSession], Awaitable[Done]]
    given_up: Callable[[str], Done]
    """What comes of it when it is not tried, for this reason."""
    refusal: str = ""
    """Why it is not."""
