"""Which indexes should exist? Searched by the planner's costs, then by measuring, and verified; on clones that are gone afterwards.

    statements, catalog -> clone -> what-ifs (HypoPG, else hidden indexes) -> selection -> measured search
    -> fresh clone -> writes without -> verified in pairs -> writes with -> within the budget of writes -> proposals

Each activity keeps what it has so far, so that the next attempt of a killed worker goes on: it makes its clone anew. Errors: TargetRefused,
DatabaseRefused, DatabaseUnreachable, ToolMissing, ToolFailed, ToolTimeout, ArtifactCorrupt, StoreUnavailable, InvalidInput.
"""

import asyncio
import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from temporalio import activity

from activities.artifacts import ArtifactStore
from activities.database_clones import DatabaseClone, database_clone, refuse_clones, remove_clones
from activities.errors import refuse
from activities.heartbeats import beating
from activities.index_clone import IndexClone
from activities.index_measuring import choose_by_measuring
from activities.index_verifying import Verifying
from activities.index_what_ifs import IndexWhatIfs, answer_by_hidden_indexes
from activities.kept_values import KeptValues
from activities.postgres_connection import connected
from activities.postgres_explain_progress import wanted_statements
from activities.postgres_explain_session import PlanSession, Refused, Timeouts
from activities.recording_folder import RecordingFolder, resumable
from perfwright.analysis.explaining.sql_texts import UnsendableText, sendable
from perfwright.analysis.indexes.definitions import IndexDefinition
from perfwright.analysis.indexes.documents import IndexSearchDocument
from perfwright.analysis.indexes.given import NotTaken, read_definition
from perfwright.analysis.indexes.selection import Found, select
from perfwright.analysis.indexes.statement_texts import RunnableStatement, runnable
from perfwright.analysis.indexes.workload import Workload, read_workload
from perfwright.analysis.statements.stored import MEDIA_TYPE, decode, encode
from perfwright.models.database import Catalog
from perfwright.models.errors import ErrorType
from perfwright.models.index_steps import (
    ClonesRemoved,
    RemoveClones,
    SearchedIndexes,
    SearchIndexes,
    VerifyIndexes,
)
from perfwright.models.index_strategy import IndexStrategy, SearchFacts
from perfwright.models.statement import StatementSample

if TYPE_CHECKING:
    import asyncpg

FOUND_FILE = "found.jsonl"
REASONS_TOLD = 20
TRIGRAMS = "pg_trgm"


@dataclass(frozen=True)
class Given:
    """What a search works on."""

    workload: Workload
    statements: tuple[RunnableStatement, ...]
    """The workload's texts are of these, by number."""
    catalog: Catalog
    not_looked_at: tuple[str, ...]

    @property
    def taken(self) -> set[str]:
        """Names of relations there are."""
        return {name for one in self.catalog.tables for name in (one.name, *(index.name for index in one.indexes))}


class IndexSearch:
    """Activities on clones. `state_folder` holds searches in progress, dumps for a moment, and the values of statements for trials."""

    def __init__(self, artifacts: ArtifactStore, environ: Mapping[str, str], state_folder: Path) -> None:
        self._artifacts, self._environ, self._state_folder = artifacts, environ, state_folder

    @activity.defn
    async def search_indexes(self, request: SearchIndexes) -> SearchedIndexes:
        """The best set by costs and then by measured times, on one clone."""
        folder = RecordingFolder(self._state_folder, f"{request.artifact_prefix}/index-search-{_key(request)}")

        async def work() -> SearchedIndexes:
            progress = _Progress("reading the workload")
            async with beating(progress.told):
                given = await self._given(request)
                progress.doing = f"making a clone of {request.target.title}"
                async with self._clone(request, "search") as clone, _on(clone) as connection:
                    given = await _explainable(given, connection, request)
                    return await self._searched(request, given, clone, connection, folder, progress)

        return await resumable(folder, SearchedIndexes, work)

    @activity.defn
    async def verify_indexes(self, request: VerifyIndexes) -> IndexStrategy:
        """What is left of the set on a fresh clone, with its effect on each query and on each write."""
        search = request.search
        folder = RecordingFolder(self._state_folder, f"{search.artifact_prefix}/index-verify-{_key(request)}")

        async def work() -> IndexStrategy:
            progress = _Progress("reading the workload")
            async with beating(progress.told):
                given = await self._given(search)
                document = await self._document(request)
                asked = self._asked(request, given)
                wanted = self._wanted(request, document, asked)
                kept_in = f"{search.artifact_prefix}/trials"
                self._keep(kept_in, given)
                progress.doing = f"making a clone of {search.target.title}"
                async with self._clone(search, f"verify {request.revision}") as clone, _on(clone) as connection:
                    progress.doing = "verifying on a fresh clone"
                    given = await _explainable(given, connection, search)
                    fresh = IndexClone(clone.target, connection, given.workload.texts, search.request.statement_timeout_s)
                    verifying = Verifying(fresh, given.workload, given.statements, given.catalog, given.taken, search.request, asked)
                    found = await verifying.strategy(wanted, document.tried)
            return found.model_copy(update={"kept_in": kept_in, "queries": len(given.workload.texts)})

        return await resumable(folder, IndexStrategy, work)

    @activity.defn
    async def remove_clones(self, request: RemoveClones) -> ClonesRemoved:
        """Drop what a killed worker left of this target's clones."""
        async with beating(_Progress("removing clones").told):
            if request.needed:
                await refuse_clones(request.clone, self._environ)
            return ClonesRemoved(names=await remove_clones(request.clone, self._environ))

    async def _searched(
        self,
        request: SearchIndexes,
        given: Given,
        clone: DatabaseClone,
        connection: "asyncpg.Connection",
        folder: RecordingFolder,
        progress: "_Progress",
    ) -> SearchedIndexes:
        order, began = request.request, time.monotonic()
        measuring = IndexClone(clone.target, connection, given.workload.texts, order.statement_timeout_s)
        kept = next((IndexSearchDocument.model_validate(one["document"]) for one in folder.lines(FOUND_FILE) if "document" in one), None)
        method = "hypopg on a clone"
        if kept is None:
            progress.doing = f"asking the planner about {len(given.workload.candidates)} candidates"
            found, method = await self._found(request, given, clone, measuring)
            kept = IndexSearchDocument.of(found)
            folder.append(FOUND_FILE, {"document": kept.model_dump(mode="json")})
        search_s = time.monotonic() - began
        progress.doing = "measuring on the clone"
        choice = await choose_by_measuring(measuring, given.workload, kept.found, given.taken, order.measure_s)
        chosen = tuple(sorted(choice.measured.indexes, key=lambda one: one.title))
        document = kept.model_copy(update={"chosen": chosen, "tried": choice.tried})
        ref = await self._artifacts.put(
            f"{request.artifact_prefix}/index-search.json.gz", encode(document), MEDIA_TYPE, "Candidates and sets of the index search"
        )
        facts = SearchFacts(
            method="hypopg on a clone" if method == "hypopg on a clone" else "hidden indexes on a clone",
            clone=clone.how,
            candidates=len(given.workload.candidates),
            plans_asked=kept.asked,
            search_s=round(search_s, 3),
            built=choice.built,
            plans_timed=choice.measured.plans_timed,
            measuring_s=round(choice.seconds, 3),
            finished=choice.measured.finished,
            not_looked_at=given.not_looked_at[:REASONS_TOLD],
        )
        return SearchedIndexes(document=ref, facts=facts, selected=tuple(one.title for one in chosen))

    async def _found(self, request: SearchIndexes, given: Given, clone: DatabaseClone, hidden: IndexClone) -> tuple[Found, str]:
        """What-ifs by HypoPG on the clone, where the server has it: a failure of it there hurts nobody. Else by hidden indexes."""
        search = select(given.workload.problem, given.workload.candidates)
        if not given.workload.candidates:
            return Found((), (), 0, {}), "hypopg on a clone"
        async with _on(clone) as connection:
            if await connection.fetchval("SELECT count(*) FROM pg_catalog.pg_available_extensions WHERE name = 'hypopg'"):
                await connection.execute("CREATE EXTENSION IF NOT EXISTS hypopg")
                session = await PlanSession(connection, request.database, Timeouts(request.request.statement_timeout_s, 1.0)).open()
                try:
                    what_ifs = await IndexWhatIfs.find(session, given.workload.texts)
                except Refused:
                    pass
                else:
                    return await what_ifs.answer(search), "hypopg on a clone"
        return await answer_by_hidden_indexes(search, hidden, given.taken), "hidden indexes on a clone"

    async def _given(self, request: SearchIndexes) -> Given:
        """The workload as it is searched for, with the values of its statements."""
        wanted = await wanted_statements(self._artifacts, request.table, request.fingerprints)
        resolved, _ = KeptValues(self._state_folder).resolved(wanted)
        statements, others = runnable(tuple(resolved[name] for name in request.fingerprints if name in resolved))
        catalog = decode(Catalog, await self._artifacts.get(request.catalog))
        return await asyncio.to_thread(_given, statements, catalog, request, tuple(f"{name}: {why}" for name, why in others))

    async def _document(self, request: VerifyIndexes) -> IndexSearchDocument:
        try:
            return decode(IndexSearchDocument, await self._artifacts.get(request.found))
        except ValueError as trouble:
            raise refuse(ErrorType.ARTIFACT_CORRUPT, f"{request.found.uri}: {trouble}", way_out="Run the process again") from None

    def _asked(self, request: VerifyIndexes, given: Given) -> frozenset[IndexDefinition]:
        """What a person added."""
        added = []
        for text in request.add_indexes:
            try:
                added.append(read_definition(text, given.catalog))
            except NotTaken as reason:
                raise refuse(ErrorType.INVALID_INPUT, f"add_indexes: {reason}") from None
        return frozenset(added)

    def _wanted(
        self, request: VerifyIndexes, document: IndexSearchDocument, asked: frozenset[IndexDefinition]
    ) -> frozenset[IndexDefinition]:
        """What was found, with what a person added, without what a person left out."""
        left_out = {" ".join(one.split()) for one in request.leave_out}
        return frozenset(one for one in (*document.chosen, *asked) if one.title not in left_out)

    def _keep(self, kept_in: str, given: Given) -> None:
        """For the trials: they run on this host, and no history or artifact may have the values."""
        samples = [StatementSample(text=one.text, source="given", kept_as=f"{kept_in}:{one.fingerprint}") for one in given.statements]
        KeptValues(self._state_folder).keep(kept_in, samples)

    def _clone(self, request: SearchIndexes, word: str) -> Any:
        return database_clone(request.clone, word, self._environ, self._state_folder / "dumps")


@dataclass
class _Progress:
    """What heartbeats tell of one activity."""

    doing: str
    began: float = field(default_factory=time.monotonic)

    def told(self) -> dict[str, Any]:
        return {"doing": self.doing, "elapsed_s": round(time.monotonic() - self.began, 1)}


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


async def _explainable(given: Given, connection: "asyncpg.Connection", request: SearchIndexes) -> Given:
    """Without the statements that the clone's server has no plan for: an extension that it lacks, a table that is gone."""
    from asyncpg.exceptions import PostgresError

    await connection.execute(f"SET statement_timeout = {round(request.request.statement_timeout_s * 1000)}")
    refused: dict[int, str] = {}
    for query, text in enumerate(given.workload.texts):
        try:
            await connection.execute(f"EXPLAIN {sendable(text)}")
        except (PostgresError, UnsendableText) as trouble:
            refused[given.workload.statements[query]] = getattr(trouble, "sqlstate", None) or type(trouble).__name__
    if not refused:
        return given
    reasons = [f"{given.statements[number].fingerprint}: it has no plan on the clone ({code})" for number, code in refused.items()]
    left = tuple(one for number, one in enumerate(given.statements) if number not in refused)
    return await asyncio.to_thread(_given, left, given.catalog, request, (*given.not_looked_at, *reasons))


def _on(clone: DatabaseClone) -> Any:
    return connected(clone.target, clone.environ, read_only=False)


def _key(request: SearchIndexes | VerifyIndexes) -> str:
    return hashlib.sha256(request.model_dump_json().encode()).hexdigest()[:12]
