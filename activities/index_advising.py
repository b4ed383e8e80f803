"""The planner's view alone, where no clone with rows can be made: the search by what-ifs on a clone of statistics."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from activities.errors import refuse
from activities.index_given import Given, explainable, without
from activities.index_value_sizes import value_sizes
from activities.index_what_ifs import IndexWhatIfs
from activities.postgres_explain_session import PlanSession, Refused, Timeouts
from activities.postgres_explain_what_ifs import HypotheticalIndexes
from activities.statistics_clones import StatisticsClone
from perfwright.analysis.explaining.what_if import relations_of
from perfwright.analysis.indexes.entry_sizes import entry_risk
from perfwright.analysis.indexes.given import without_left_out
from perfwright.analysis.indexes.selection import NONE, Found, Indexes, select
from perfwright.analysis.indexes.unverified import Bounds, WriteVolumes, estimate, unverified
from perfwright.analysis.statements.parsing import Unreadable
from perfwright.models.errors import ErrorType
from perfwright.models.index_steps import SearchIndexes
from perfwright.models.unverified_indexes import UnverifiedStrategy

if TYPE_CHECKING:
    import asyncpg

REASONS_TOLD = 20
NOT_ASKED_ABOUT = "partial indexes, indexes on expressions and trigram indexes need rows, and are not looked at"


def tables_of(given: Given) -> set[tuple[str, str]]:
    """Schema and name of the tables that the workload's queries read: nothing of others is copied."""
    found = {(use.table.schema_name, use.table.name) for uses in given.workload.problem.uses for use in uses}
    for text in given.workload.texts:
        try:
            named = [given.catalog.table(name, schema) for schema, name in relations_of(text)]
        except Unreadable:
            continue
        found |= {(one.schema_name, one.name) for one in named if one is not None}
    return found


async def advise(
    request: SearchIndexes, given: Given, clone: StatisticsClone, connection: "asyncpg.Connection", asked: Indexes
) -> UnverifiedStrategy:
    """`connection`: to the clone; `asked`: indexes that a person wants to be tried. Raises ToolFailed (no plan of what had one)."""
    began = time.monotonic()
    order = request.request
    given = await explainable(given, connection, request)
    timeouts = Timeouts(order.statement_timeout_s, 1.0)
    session = await PlanSession(connection, request.database, timeouts, mask_literals=bool(order.mask_literals)).open()
    try:
        given = await _without_views(given, session, request)
        what_ifs = await IndexWhatIfs.find(session, given.workload.texts)
        plain = tuple(one for one in given.workload.candidates if one.plain)
        given = replace(given, workload=replace(given.workload, candidates=plain))
        workload, writes = given.workload, WriteVolumes(given.statements, given.catalog)
        found = await what_ifs.answer(select(workload.problem, plain)) if plain else Found((), (), 0, {})
        best = found.selections[0].indexes if found.selections else NONE
        bounds = Bounds(order.least_gain_share, order.write_growth_most, asked)
        judged = await what_ifs.answer(estimate(workload, without_left_out(best | asked, order.leave_out), writes, bounds))
    except Refused as refused:
        raise refuse(ErrorType.TOOL_FAILED, f"the planner on the clone of statistics gave no plan: {refused.reason}") from None
    sizes = await value_sizes(connection, judged.indexes, limit_s=0.0)
    risks = {one.title: risk.told for one in judged.indexes if (risk := entry_risk(one, sizes)) is not None}
    told = unverified(judged, workload, given.statements, given.taken, writes)
    return told.model_copy(
        update={
            "indexes": tuple(one.model_copy(update={"risk": risks.get(one.title, "")}) for one in told.indexes),
            "candidates": len(plain),
            "plans_asked": found.asked,
            "seconds": round(time.monotonic() - began, 3),
            "statistics": clone.copied,
            "not_looked_at": (*given.not_looked_at[:REASONS_TOLD], NOT_ASKED_ABOUT),
        }
    )


async def _without_views(given: Given, session: PlanSession, request: SearchIndexes) -> Given:
    """Statements that name one: hypothetical indexes and views have ended servers, and this one has nobody else to lose, but the search."""
    hypothetical = await HypotheticalIndexes.find(session)
    refused: dict[int, str] = {}
    for query, text in enumerate(given.workload.texts):
        try:
            await hypothetical.refuse_views(text)
        except Refused as reason:
            refused[query] = reason.reason
    return await without(given, refused, request)
