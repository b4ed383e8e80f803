"""Another way to write a statement, tried beside the original: the same rows first, then times that alternate in random order."""

from collections.abc import Sequence
from dataclasses import dataclass

from activities.postgres_explain_session import PlanSession, Refused
from perfwright.analysis.explaining.bags import Bag, Column, bag_sql
from perfwright.analysis.explaining.paired_times import PairedTimes, clearly_faster, compare, original_first, pairs_wanted
from perfwright.analysis.explaining.plan_answers import execution_ms, planning_ms, shared_blocks, total_cost
from perfwright.analysis.explaining.rewrites import calls, not_tried, values_of
from perfwright.analysis.explaining.row_order import KeyClaim, order_claims
from perfwright.analysis.explaining.samples import Call
from perfwright.analysis.explaining.sql_texts import Execution, quoted_identifier, without_semicolon
from perfwright.analysis.statements.parsing import Unreadable
from perfwright.models.query_advice import RewriteCandidate
from perfwright.models.query_performance import VerifiedRewrite
from perfwright.models.statement import Statement

UNIQUE_KEYS = """
    SELECT pg_catalog.array_agg(a.attname::text)
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_index i ON i.indrelid = c.oid
    CROSS JOIN LATERAL pg_catalog.generate_series(0, i.indnkeyatts - 1) AS k
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[k]
    WHERE c.oid = pg_catalog.to_regclass($1) AND i.indisunique AND i.indisvalid AND i.indimmediate
        AND i.indpred IS NULL AND i.indexprs IS NULL
        AND (c.relkind = 'p' OR NOT EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhparent = c.oid))
    GROUP BY i.indexrelid
    HAVING pg_catalog.bool_and(a.attnotnull)
"""
"""Columns of each unique key, none of them NULL; a parent of inheriting tables has none over all of them."""


Tried = tuple[VerifiedRewrite, PairedTimes | None]
"""What trying one rewrite gave; whether it is clearly faster is told of all together."""


@dataclass(frozen=True)
class Limits:
    """What a trial obeys."""

    compared: int
    """How many rewrites are tried in this run."""
    cost_ceiling: float
    """Planner cost above which nothing is executed."""
    approved: bool = False
    """A person let the original through: what is planned to cost no more may be executed as well."""


@dataclass(frozen=True)
class _Run:
    ms: float
    blocks: int | None


class _NotTried(Exception):
    """With the reason."""


async def try_rewrite(session: PlanSession, candidate: RewriteCandidate, statement: Statement, limits: Limits) -> Tried:
    """Compare rows and times. Raises ServerLost."""
    try:
        return await _Trying(session, candidate, statement, limits).tried()
    except (_NotTried, Unreadable, Refused) as reason:
        return verdict_of(candidate, "not tried", reason.reason if isinstance(reason, Refused) else str(reason)), None


def verdict_of(candidate: RewriteCandidate, outcome: str, reason: str = "") -> VerifiedRewrite:
    return VerifiedRewrite.model_validate(
        {
            "fingerprint": candidate.fingerprint,
            "title": candidate.title,
            "original": candidate.original,
            "rewritten": candidate.rewritten,
            "outcome": outcome,
            "reason": reason,
        }
    )


def decided(tried: Sequence[Tried]) -> tuple[VerifiedRewrite, ...]:
    """The verdicts: `faster` where the pairs say so clearly, of all rewrites that were timed together."""
    timed = [number for number, (_, times) in enumerate(tried) if times is not None]
    faster = dict(zip(timed, clearly_faster([times for _, times in tried if times is not None]), strict=True))
    return tuple(
        verdict.model_copy(update={"outcome": "faster"}) if faster.get(number) else verdict for number, (verdict, _) in enumerate(tried)
    )


class _Trying:
    def __init__(self, session: PlanSession, candidate: RewriteCandidate, statement: Statement, limits: Limits) -> None:
        self._session, self._candidate, self._statement, self._limits = session, candidate, statement, limits

    async def tried(self) -> Tried:
        candidate = self._candidate
        if reason := not_tried(candidate, self._statement):
            raise _NotTried(reason)
        if not self._session.standard_strings and "\\" in candidate.original + candidate.rewritten:
            raise _NotTried("standard_conforming_strings is off: a backslash may hide a part of it")
        if not (sets := values_of(candidate, self._statement)):
            raise _NotTried("the values of its placeholders are not known")
        original, rewritten = without_semicolon(candidate.original), without_semicolon(candidate.rewritten)
        await self._require_one_answer(original, rewritten)
        columns = await self._same_columns(original, rewritten)
        for values in sets:
            await self._require_low_cost(*calls(candidate, values))
        rows = 0
        for values in sets:
            before, after = calls(candidate, values)
            one, other = await self._bags(before, after, columns)
            if one != other:
                difference = f"{other.rows:,} rows instead of {one.rows:,}" if one.rows != other.rows else f"{one.rows:,} rows, but others"
                return verdict_of(candidate, "other rows", difference).model_copy(update={"rows_compared": rows + one.rows}), None
            rows += one.rows
        if not rows:
            raise _NotTried("no rows are returned with the sampled values, so there is nothing to compare")
        return await self._timed(*calls(candidate, sets[0]), rows)

    async def _require_low_cost(self, original: Call, rewritten: Call) -> None:
        """Neither is executed where either is planned to cost more than a statement may."""
        before, after = [total_cost(await self._session.explain(call)) for call in (original, rewritten)]
        ceiling = max(self._limits.cost_ceiling, before if self._limits.approved else 0.0)
        for whose, cost in (("original's", before), ("rewrite's", after)):
            if cost > ceiling:
                raise _NotTried(f"not executed: the {whose} planned cost of {cost:,.0f} is over the ceiling of {ceiling:,.0f}")

    async def _require_one_answer(self, original: str, rewritten: str) -> None:
        for claim in dict.fromkeys((*order_claims(original), *order_claims(rewritten))):
            if not await self._holds(claim):
                raise _NotTried(
                    f"rows are cut off in an order that holds no unique key of {claim.table}: which are returned is the server's choice"
                )

    async def _holds(self, claim: KeyClaim) -> bool:
        name = ".".join(quoted_identifier(part) for part in (claim.schema, claim.table) if part)
        async with self._session.transaction():
            keys = await self._session.fetch(UNIQUE_KEYS, name)
        return any(set(key[0]) <= set(claim.columns) for key in keys)

    async def _same_columns(self, original: str, rewritten: str) -> tuple[Column, ...]:
        before, after = await self._session.columns(original), await self._session.columns(rewritten)
        if before != after:
            raise _NotTried("the rewrite's columns have other names or types")
        return before

    async def _bags(self, original: Call, rewritten: Call, columns: tuple[Column, ...]) -> tuple[Bag, Bag]:
        """Both over the same snapshot: others may write meanwhile."""
        sent = [Call(bag_sql(without_semicolon(call.text), columns), call.parameters) for call in (original, rewritten)]
        one, other = await self._session.rows_of_one_snapshot(*sent)
        return Bag(int(one[0]), (str(one[1]), str(one[2]))), Bag(int(other[0]), (str(other[1]), str(other[2])))

    async def _timed(self, original: Call, rewritten: Call, rows: int) -> Tried:
        candidate = self._candidate
        first = await self._run(original)  # also warms what the comparison did not
        try:
            second = await self._run(rewritten)
            pair_ms = first.ms + second.ms
            pairs = pairs_wanted(pair_ms, self._limits.compared)
            if not pairs:
                raise _NotTried(f"one pair takes {pair_ms / 1000:.0f} s: enough of them to be sure would load the server for too long")
            before, after = await self._pairs(original, rewritten, pairs)
        except Refused as refused:
            verdict = verdict_of(candidate, "not faster", f"the rewrite, or the original beside it, did not end: {refused.reason}")
            return verdict.model_copy(update={"rows_compared": rows}), None
        times = compare([run.ms for run in before], [run.ms for run in after])
        verdict = verdict_of(candidate, "not faster").model_copy(
            update={
                "ratio": round(times.ratio, 4),
                "interval": times.interval,
                "pairs": times.pairs,
                "rows_compared": rows,
                "blocks_before": before[-1].blocks,
                "blocks_after": after[-1].blocks,
            }
        )
        return verdict, times

    async def _pairs(self, original: Call, rewritten: Call, pairs: int) -> tuple[list[_Run], list[_Run]]:
        before: list[_Run] = []
        after: list[_Run] = []
        for original_is_first in original_first(f"{self._candidate.fingerprint} {self._candidate.title}", pairs):
            if original_is_first:
                before.append(await self._run(original))
                after.append(await self._run(rewritten))
            else:
                after.append(await self._run(rewritten))
                before.append(await self._run(original))
        return before, after

    async def _run(self, call: Call) -> _Run:
        """Planning and execution: a rewrite that only moves time from one to the other is none."""
        plan = await self._session.explain(call, execution=Execution(timing=False))
        return _Run((planning_ms(plan) or 0.0) + (execution_ms(plan) or 0.0), shared_blocks(plan))
