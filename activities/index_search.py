"""Which indexes should exist? Searched by the planner's costs, then by measuring, and verified; on clones that are gone afterwards.

    statements, catalog -> clone -> what-ifs (HypoPG, else hidden indexes) -> selection -> measured search
    -> fresh clone -> writes without -> verified in pairs -> writes with -> within the budget of writes -> proposals

Where no clone with rows can be made: what-ifs on a clone of statistics -> selection -> a list that nothing was measured of.

Each activity keeps what it has so far, so that the next attempt of a killed worker goes on: it makes its clone anew. Errors: TargetRefused,
DatabaseRefused, DatabaseUnreachable, ToolMissing, ToolFailed, ToolTimeout, ArtifactCorrupt, StoreUnavailable, InvalidInput.
"""

import asyncio
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.artifacts import ArtifactStore
from activities.database_clones import DatabaseClone, NoClone, database_clone, remove_clones, why_no_clone
from activities.errors import refuse
from activities.heartbeats import beating
from activities.index_advising import advise, tables_of
from activities.index_clone import IndexClone
from activities.index_given import Given, explainable, read_given
from activities.index_measuring import choose_by_measuring
from activities.index_value_sizes import value_sizes, without_risky
from activities.index_verifying import Verifying
from activities.index_what_ifs import IndexWhatIfs, answer_by_hidden_indexes
from activities.kept_values import KeptValues
from activities.postgres_connection import connected
from activities.postgres_explain_session import PlanSession, Refused, Timeouts
from activities.private_postgres import remove_left
from activities.recording_folder import RecordingFolder, resumable
from activities.statistics_clones import StatisticsClone, refuse_statistics_clone, statistics_clone
from perfwright.analysis.indexes.definitions import IndexDefinition
from perfwright.analysis.indexes.documents import IndexSearchDocument
from perfwright.analysis.indexes.given import NotTaken, read_definition, without_left_out
from perfwright.analysis.indexes.selection import Found, select
from perfwright.analysis.statements.stored import MEDIA_TYPE, decode, encode
from perfwright.models.errors import ErrorType
from perfwright.models.index_steps import (
    ClonePlan,
    ClonesRemoved,
    RemoveClones,
    SearchedIndexes,
    SearchIndexes,
    VerifyIndexes,
)
from perfwright.models.index_strategy import IndexStrategy, SearchFacts
from perfwright.models.statement import StatementSample
from perfwright.models.unverified_indexes import UnverifiedStrategy

if TYPE_CHECKING:
    import asyncpg

FOUND_FILE = "found.jsonl"
REASONS_TOLD = 20
MEASURED_FOR = 30.0
"""Times the bound of a statement: for the longest values of columns, as for building an index."""
STATISTICS_INSTEAD = (
    'Or set statistics_clone = "where needed": the planner is then asked on a clone of statistics alone, which hold values of rows, on the'
    " worker's host; what it names is a list that nothing was measured of, and nothing is changed"
)


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
                given = await read_given(self._artifacts, self._state_folder, request)
                progress.doing = f"making a clone of {request.target.title}"
                async with self._clone(request, "search", given.role) as clone, _on(clone) as connection:
                    given = await explainable(given, connection, request)
                    given = await without_risky(given, connection, MEASURED_FOR * request.request.statement_timeout_s)
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
                given = await read_given(self._artifacts, self._state_folder, search)
                document = await self._document(request)
                asked = _asked(request.add_indexes, given)
                wanted = without_left_out((*document.chosen, *asked), request.leave_out)
                kept_in = f"{search.artifact_prefix}/trials"
                self._keep(kept_in, given)
                progress.doing = f"making a clone of {search.target.title}"
                async with self._clone(search, f"verify {request.revision}", given.role) as clone, _on(clone) as connection:
                    progress.doing = "verifying on a fresh clone"
                    given = await explainable(given, connection, search)
                    fresh = IndexClone(clone.target, connection, given.workload.texts, search.request.statement_timeout_s)
                    sizes = await value_sizes(connection, {*wanted, *document.tried}, MEASURED_FOR * search.request.statement_timeout_s)
                    verifying = Verifying(fresh, given.workload, given.statements, given.catalog, given.taken, search.request, asked, sizes)
                    found = await verifying.strategy(wanted, document.tried)
            told = {"kept_in": kept_in, "queries": len(given.workload.texts), "role": given.role}
            return found.model_copy(update={**told, "warnings": (*clone.warnings, *found.warnings)})

        return await resumable(folder, IndexStrategy, work)

    @activity.defn
    async def advise_indexes(self, request: SearchIndexes) -> UnverifiedStrategy:
        """Where no clone with rows can be made: what the planner's costs speak for, on a clone of statistics."""
        folder = RecordingFolder(self._state_folder, f"{request.artifact_prefix}/index-advice-{_key(request)}")

        async def work() -> UnverifiedStrategy:
            progress = _Progress("reading the workload")
            async with beating(progress.told):
                given = await read_given(self._artifacts, self._state_folder, request)
                asked = _asked(request.request.add_indexes, given)
                plan = request.clone.model_copy(update={"role": given.role})
                progress.doing = f"making a clone of the statistics of {request.target.title}"
                async with (
                    statistics_clone(plan, tables_of(given), self._environ, self._state_folder) as clone,
                    _on(clone) as connection,
                ):
                    progress.doing = f"asking the planner about {len(given.workload.candidates)} candidates"
                    return await advise(request, given, clone, connection, asked)

        return await resumable(folder, UnverifiedStrategy, work)

    @activity.defn
    async def remove_clones(self, request: RemoveClones) -> ClonesRemoved:
        """Drop what a killed worker left of this target's clones."""
        plan = request.clone
        async with beating(_Progress("removing clones").told):
            no_clone = await self._unclonable(plan) if request.needed else None
            servers = await asyncio.to_thread(remove_left, self._state_folder, plan.target.name)
            names = (*await remove_clones(plan, self._environ), *servers)
        return ClonesRemoved(names=names, unclonable=no_clone.reason if no_clone else "", way_out=no_clone.way_out if no_clone else "")

    async def _unclonable(self, plan: ClonePlan) -> NoClone | None:
        """Why only a clone of statistics can be made; None: one with rows can. Raises TargetRefused where neither can."""
        no_clone = await why_no_clone(plan, self._environ)
        if no_clone is None:
            return None
        if plan.statistics != "where needed":
            raise replace(no_clone, way_out=f"{no_clone.way_out}. {STATISTICS_INSTEAD}").refusal
        try:
            await refuse_statistics_clone(plan, self._environ)
        except ApplicationError as neither:
            reason = f"{no_clone.reason}; nor can one of statistics alone be made: {neither.message}"
            raise replace(no_clone, reason=reason).refusal from None
        return no_clone

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

    async def _document(self, request: VerifyIndexes) -> IndexSearchDocument:
        try:
            return decode(IndexSearchDocument, await self._artifacts.get(request.found))
        except ValueError as trouble:
            raise refuse(ErrorType.ARTIFACT_CORRUPT, f"{request.found.uri}: {trouble}", way_out="Run the process again") from None

    def _keep(self, kept_in: str, given: Given) -> None:
        """For the trials: they run on this host, and no history or artifact may have the values."""
        samples = [StatementSample(text=one.text, source="given", kept_as=f"{kept_in}:{one.fingerprint}") for one in given.statements]
        KeptValues(self._state_folder).keep(kept_in, samples)

    def _clone(self, request: SearchIndexes, word: str, role: str) -> Any:
        plan = request.clone.model_copy(update={"role": role})
        return database_clone(plan, word, self._environ, self._state_folder / "dumps")


@dataclass
class _Progress:
    """What heartbeats tell of one activity."""

    doing: str
    began: float = field(default_factory=time.monotonic)

    def told(self) -> dict[str, Any]:
        return {"doing": self.doing, "elapsed_s": round(time.monotonic() - self.began, 1)}


def _asked(add_indexes: Sequence[str], given: Given) -> frozenset[IndexDefinition]:
    """What a person added. Raises InvalidInput."""
    added = []
    for text in add_indexes:
        try:
            added.append(read_definition(text, given.catalog))
        except NotTaken as reason:
            raise refuse(ErrorType.INVALID_INPUT, f"add_indexes: {reason}") from None
    return frozenset(added)


def _on(clone: DatabaseClone | StatisticsClone) -> Any:
    return connected(clone.target, clone.environ, read_only=False)


def _key(request: SearchIndexes | VerifyIndexes) -> str:
    return hashlib.sha256(request.model_dump_json().encode()).hexdigest()[:12]
