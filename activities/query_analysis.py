"""What plans say, and what to do about it: judged, advised, ranked. Each in a process of its own, from artifacts."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from temporalio import activity

from activities.artifacts import ArtifactStore
from activities.compute import in_own_process
from activities.errors import refuse
from perfwright.models.artifact import ArtifactRef
from perfwright.models.errors import ErrorType
from perfwright.models.query_advice import (
    AdviceMade,
    AdviceToTry,
    LookForAdvice,
    QueryFindingsToRank,
    RankedQueries,
    RankQueryFindings,
    TriedAdvice,
)
from perfwright.models.query_performance import PlanHit
from perfwright.models.query_steps import JudgedPlans, JudgePlans, Observation, PlansJudged, RuleFamily
from perfwright.models.vocabulary import Model

if TYPE_CHECKING:
    from perfwright.models.database import Catalog
    from perfwright.models.query_steps import PlanSet
    from perfwright.models.statement import StatementTable

Read = TypeVar("Read")
Decoded = TypeVar("Decoded", bound=Model)
PICTURES = 25
"""Plans that a report shows: those of the statements with findings first, then the costliest."""
PICTURE_MEDIA_TYPE = "application/json"
Paths = tuple[str, str, str]
"""Files of plans, statement table and catalog ("" without one)."""


class QueryAnalysis:
    """Activities over the plans, statements and catalog of a run. Errors: ArtifactCorrupt, StoreUnavailable, ToolFailed (memory)."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts

    @activity.defn
    async def judge_plans(self, request: JudgePlans) -> PlansJudged:
        """One family of rules over all plans."""
        judged = await self._read(request.plans, request.table, request.catalog, judged_plans, request.family)
        ref = await self._kept_as(f"{request.artifact_prefix}/judged-{request.family}", judged, f"What the rules on {request.family} found")
        return PlansJudged(judged=ref, hits=len(judged.hits), examined_nodes=judged.examined_nodes)

    @activity.defn
    async def make_advice(self, request: LookForAdvice) -> AdviceMade:
        """Indexes and rewrites that may help, to be tried without changing anything."""
        hits = await self._hits(request.judged)
        advice = await self._read(request.plans, request.table, request.catalog, advice_to_try, hits)
        ref = await self._kept_as(f"{request.artifact_prefix}/advice", advice, "Indexes and rewrites to try")
        return AdviceMade(advice=ref, indexes=len(advice.indexes), rewrites=len(advice.rewrites))

    @activity.defn
    async def rank_query_findings(self, request: QueryFindingsToRank) -> RankedQueries:
        """Findings by cost, recommendations by gain over effort, a picture of each plan, and the sentence that sums them up."""
        observation, table, catalog = request.observation, request.grouped.table, request.observation.catalog.catalog
        asked = RankQueryFindings(
            request=request.request,
            database=request.database,
            grouped=request.grouped,
            explained=request.explained,
            catalog=catalog,
            hits=await self._hits(request.judged),
            to_try=await self._stored(AdviceToTry, request.advice),
            tried=await self._stored(TriedAdvice, request.tried) if request.tried else TriedAdvice(),
            waits=observation.sampled.waits,
            artifact_prefix=request.artifact_prefix,
        )
        found, pictures = await self._read(request.explained.plans, table, catalog, ranked_findings, asked, observation)
        stored = {}
        for fingerprint, data in pictures.items():
            path = f"{request.artifact_prefix}/plan-{fingerprint}.json"
            stored[fingerprint] = await self._artifacts.put(path, data, PICTURE_MEDIA_TYPE, f"Plan of {fingerprint}")
        drawn = tuple(one.model_copy(update={"plan": stored.get(one.statement.fingerprint)}) for one in found.examined)
        return found.model_copy(update={"examined": drawn})

    async def _hits(self, judged: tuple[ArtifactRef, ...]) -> tuple[PlanHit, ...]:
        return tuple([hit for ref in judged for hit in (await self._stored(JudgedPlans, ref)).hits])

    async def _stored(self, model: type[Decoded], ref: ArtifactRef) -> Decoded:
        return _decode(model, await self._artifacts.get(ref))

    async def _kept_as(self, path: str, model: Model, title: str) -> ArtifactRef:
        from perfwright.analysis.statements.stored import MEDIA_TYPE, encode

        return await self._artifacts.put(f"{path}.json.gz", encode(model), MEDIA_TYPE, title)

    async def _read(
        self, plans: ArtifactRef, table: ArtifactRef, catalog: ArtifactRef | None, function: Callable[..., Read], *arguments: Any
    ) -> Read:
        with tempfile.TemporaryDirectory(prefix="perfwright-") as folder:
            paths = [await self._kept(ref, Path(folder, name)) for name, ref in (("plans", plans), ("table", table), ("catalog", catalog))]
            return await in_own_process(function, tuple(paths), *arguments, heartbeat=_beat(function.__name__))

    async def _kept(self, ref: ArtifactRef | None, path: Path) -> str:
        if ref is None:
            return ""
        await self._artifacts.get_file(ref, path)
        return str(path)


def judged_plans(paths: Paths, family: RuleFamily) -> JudgedPlans:
    """In a process of its own: what a family of rules finds."""
    from perfwright.analysis.mysql.judge import judge_mysql_plans
    from perfwright.analysis.plans.judge import judge_plans

    plans, table, catalog = _decoded(paths)
    judge = judge_plans if plans.database.system == "postgresql" else judge_mysql_plans
    return judge(plans, table, catalog, family)


def advice_to_try(paths: Paths, hits: tuple[PlanHit, ...]) -> AdviceToTry:
    """In a process of its own: candidates. Without a catalog there are none: columns and existing indexes are not known."""
    from perfwright.analysis.mysql.index_candidates import mysql_index_candidates
    from perfwright.analysis.query_advice.index_candidates import index_candidates
    from perfwright.analysis.query_advice.rewrites import rewrite_candidates

    plans, table, catalog = _decoded(paths)
    if catalog is None:
        return AdviceToTry()
    if plans.database.system != "postgresql":
        return AdviceToTry(indexes=mysql_index_candidates(hits, catalog))
    return AdviceToTry(indexes=index_candidates(hits, table, plans, catalog), rewrites=rewrite_candidates(hits, table, plans, catalog))


def ranked_findings(paths: Paths, asked: RankQueryFindings, observation: Observation) -> tuple[RankedQueries, dict[str, bytes]]:
    """In a process of its own: the ranking, and the data of plan pictures by fingerprint."""
    from perfwright.analysis.query_advice.pictures import pictures_of
    from perfwright.analysis.query_advice.ranking import rank
    from perfwright.analysis.query_results import ranked_queries

    plans, table, catalog = _decoded(paths)
    pictures = pictures_of(asked.hits, plans, asked.grouped.chosen, PICTURES)
    told = ranked_queries(asked, rank(asked, table, plans, catalog), table, observation)
    return told, {name: picture.model_dump_json().encode() for name, picture in pictures.items()}


def _decoded(paths: Paths) -> "tuple[PlanSet, StatementTable, Catalog | None]":
    from perfwright.models.database import Catalog
    from perfwright.models.query_steps import PlanSet
    from perfwright.models.statement import StatementTable

    plans, table, catalog = paths
    return _model(PlanSet, plans), _model(StatementTable, table), _model(Catalog, catalog) if catalog else None


def _model(model: type[Decoded], path: str) -> Decoded:
    return _decode(model, Path(path).read_bytes())


def _decode(model: type[Decoded], data: bytes) -> Decoded:
    from perfwright.analysis.statements.stored import decode

    try:
        return decode(model, data)
    except ValueError as trouble:
        raise refuse(
            ErrorType.ARTIFACT_CORRUPT, f"an artifact of this run cannot be read: {trouble}", way_out="Run the process again"
        ) from None


def _beat(what: str) -> Any:
    return lambda elapsed_s, _: activity.heartbeat({"doing": what.replace("_", " "), "elapsed_s": round(elapsed_s, 1)})
