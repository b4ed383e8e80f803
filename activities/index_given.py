"""What an index search works on: statements with their values, the catalog, and the candidates that could be built on the target."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from activities.artifacts import ArtifactStore
from activities.kept_values import KeptValues
from activities.postgres_explain_progress import wanted_statements
from perfwright.analysis.explaining.sql_texts import UnsendableText, sendable
from perfwright.analysis.indexes.statement_texts import RunnableStatement, busiest_role, runnable
from perfwright.analysis.indexes.workload import Workload, read_workload
from perfwright.analysis.statements.stored import decode
from perfwright.models.database import Catalog
from perfwright.models.index_steps import SearchIndexes

if TYPE_CHECKING:
    import asyncpg

TRIGRAMS = "pg_trgm"


@dataclass(frozen=True)
class Given:
    """What a search works on."""

    workload: Workload
    statements: tuple[RunnableStatement, ...]
    """The workload's texts are of these, by number."""
    catalog: Catalog
    not_looked_at: tuple[str, ...]
    role: str = ""
    """That spent the most time in them; empty: none is known."""

    @property
    def taken(self) -> set[str]:
        """Names of relations there are."""
        return {name for one in self.catalog.tables for name in (one.name, *(index.name for index in one.indexes))}


async def read_given(artifacts: ArtifactStore, state_folder: Path, request: SearchIndexes) -> Given:
    """The workload as it is searched for, with the values of its statements. Raises ArtifactCorrupt, StoreUnavailable."""
    wanted = await wanted_statements(artifacts, request.table, request.fingerprints)
    resolved, _ = KeptValues(state_folder).resolved(wanted)
    called = tuple(resolved[name] for name in request.fingerprints if name in resolved)
    statements, others = runnable(called)
    catalog = decode(Catalog, await artifacts.get(request.catalog))
    given = await asyncio.to_thread(_given, statements, catalog, request, tuple(f"{name}: {why}" for name, why in others))
    return replace(given, role=busiest_role(called))


async def explainable(given: Given, connection: "asyncpg.Connection", request: SearchIndexes) -> Given:
    """Without the statements that the clone's server has no plan for: an extension that it lacks, a table that is gone."""
    from asyncpg.exceptions import PostgresError

    await connection.execute(f"SET statement_timeout = {round(request.request.statement_timeout_s * 1000)}")
    refused: dict[int, str] = {}
    for query, text in enumerate(given.workload.texts):
        try:
            await connection.execute(f"EXPLAIN {sendable(text)}")
        except (PostgresError, UnsendableText) as trouble:
            refused[query] = f"it has no plan on the clone ({getattr(trouble, 'sqlstate', None) or type(trouble).__name__})"
    return await without(given, refused, request)


async def without(given: Given, refused: Mapping[int, str], request: SearchIndexes) -> Given:
    """Without the statements of these queries of the workload, with the reasons."""
    if not refused:
        return given
    why = {given.workload.statements[query]: reason for query, reason in refused.items()}
    reasons = [f"{given.statements[number].fingerprint}: {reason}" for number, reason in why.items()]
    left = tuple(one for number, one in enumerate(given.statements) if number not in why)
    rest = await asyncio.to_thread(_given, left, given.catalog, request, (*given.not_looked_at, *reasons))
    return replace(rest, role=given.role)


def _given(statements: tuple[RunnableStatement, ...], catalog: Catalog, request: SearchIndexes, reasons: tuple[str, ...]) -> Given:
    """With candidates that could be built on the target."""
    texts, weights = [one.text for one in statements], [one.weight for one in statements]
    workload = read_workload(texts, weights, catalog, round(request.request.budget_mb * 1e6))
    suited = {(one.schema_name, one.name) for one in catalog.tables if one.kind in ("table", "materialized view")}
    able = tuple(
        one
        for one in workload.candidates
        if (one.schema_name, one.table_name) in suited and (not one.trigrams or TRIGRAMS in request.database.extensions)
    )
    unresolved = tuple(f"{statements[number].fingerprint}: {why}" for number, why in workload.unresolved)
    return Given(replace(workload, candidates=able), statements, catalog, tuple(dict.fromkeys((*reasons, *unresolved))))
