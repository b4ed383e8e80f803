"""Plans, statements and catalog as artifacts: judged, advised on and ranked in processes of their own."""

from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.artifacts import ArtifactStore
from activities.query_analysis import PICTURES, QueryAnalysis
from perfwright.analysis.statements.stored import MEDIA_TYPE, decode, encode
from perfwright.models.artifact import ArtifactRef
from perfwright.models.errors import ErrorType
from perfwright.models.query_advice import AdviceMade, AdviceToTry, LookForAdvice, QueryFindingsToRank, RankedQueries
from perfwright.models.query_steps import (
    ActivitySampled,
    CatalogRead,
    JudgedPlans,
    JudgePlans,
    LogReadDone,
    Observation,
    ObservedStatements,
    PlansJudged,
)
from perfwright.models.report import PlanPicture
from tests.perfwright.analysis.query_advice.drawn import Run, node, whole_orders


class Analysed:
    """The activities over the stored documents of a drawn run."""

    def __init__(self, run: Run, folder: Path) -> None:
        self.drawn = run
        self.artifacts = ArtifactStore(f"file://{folder}")
        self.activities = QueryAnalysis(self.artifacts)
        self.beats: list[Any] = []
        self.refs: dict[str, ArtifactRef] = {}

    async def store(self) -> "Analysed":
        for name in ("plans", "table", "catalog"):
            self.refs[name] = await self.artifacts.put(f"run/{name}.json.gz", encode(getattr(self.drawn, name)), MEDIA_TYPE)
        return self

    async def run(self, activity: Any, request: Any) -> Any:
        environment = ActivityEnvironment()
        environment.on_heartbeat = lambda *details: self.beats.append(details)
        return await environment.run(activity, request)

    async def judged(self, **changed: Any) -> tuple[ArtifactRef, ...]:
        facts = {"plans": self.refs["plans"], "table": self.refs["table"], "catalog": self.refs["catalog"], "family": "scans"}
        request = JudgePlans.model_validate(facts | {"artifact_prefix": "run"} | changed)
        judged: PlansJudged = await self.run(self.activities.judge_plans, request)
        assert len((await self.read(JudgedPlans, judged.judged)).hits) == judged.hits
        return (judged.judged,)

    async def advice(self, judged: tuple[ArtifactRef, ...], **changed: Any) -> ArtifactRef:
        facts = {"plans": self.refs["plans"], "table": self.refs["table"], "catalog": self.refs["catalog"], "judged": judged}
        request = LookForAdvice.model_validate(facts | {"artifact_prefix": "run"} | changed)
        made: AdviceMade = await self.run(self.activities.make_advice, request)
        return made.advice

    async def ranked(self, judged: tuple[ArtifactRef, ...], advice: ArtifactRef) -> RankedQueries:
        asked = self.drawn.question(())
        observation = Observation(
            observed=ObservedStatements(seconds=60, statements=2, total_ms=60_000),
            sampled=ActivitySampled(),
            log=LogReadDone(),
            catalog=CatalogRead(catalog=self.refs["catalog"], tables=3),
        )
        request = QueryFindingsToRank(
            request=asked.request,
            database=asked.database,
            grouped=asked.grouped.model_copy(update={"table": self.refs["table"]}),
            explained=asked.explained.model_copy(update={"plans": self.refs["plans"]}),
            observation=observation,
            judged=judged,
            advice=advice,
            tried=None,
            artifact_prefix="run",
        )
        result: RankedQueries = await self.run(self.activities.rank_query_findings, request)
        return result

    async def read(self, model: type[Any], ref: ArtifactRef) -> Any:
        return decode(model, await self.artifacts.get(ref))


@pytest.fixture
async def slow(tmp_path: Path) -> Analysed:
    """One statement that reads orders whole, one that is fine."""
    run = Run()
    run.add(whole_orders(), text="SELECT * FROM orders WHERE customer_id = 5", share=0.6)
    run.add(node("Index Scan", on="orders", index="orders_pkey", cond="(id = 5)", ms=2), share=0.1)
    return await Analysed(run, tmp_path).store()


async def test_a_missing_index_goes_all_the_way_from_plan_to_recommendation(slow: Analysed) -> None:
    """Judged, drafted, ranked; a picture of every plan is stored with what was found at its node."""
    judged = await slow.judged()
    made = await slow.advice(judged)
    (candidate,) = (await slow.read(AdviceToTry, made)).indexes
    assert candidate.ddl == "CREATE INDEX CONCURRENTLY orders_customer_id_idx ON public.orders (customer_id)"
    told = await slow.ranked(judged, made)
    change = told.ranked.recommendations[0].change
    assert change is not None and change.apply == f"{candidate.ddl};"
    shown = {one.statement.fingerprint: one for one in told.examined}
    assert list(shown) == ["00000000000000aa", "00000000000000ab"] and all(one.plan is not None for one in shown.values())
    ref = shown["00000000000000aa"].plan
    assert ref is not None
    picture = PlanPicture.model_validate_json(await slow.artifacts.get(ref))
    assert picture.nodes[0].marks[0].rule == "R01" and picture.nodes[0].hot


async def test_a_healthy_run_has_nothing_to_try_and_nothing_to_do(tmp_path: Path) -> None:
    """The twin with a key lookup only."""
    run = Run()
    run.add(node("Index Scan", on="orders", index="orders_pkey", cond="(id = 5)", ms=2), share=0.9)
    healthy = await Analysed(run, tmp_path).store()
    judged = await healthy.judged()
    made = await healthy.advice(judged)
    assert await healthy.read(AdviceToTry, made) == AdviceToTry()
    ranked = (await healthy.ranked(judged, made)).ranked
    assert ranked.findings == () and ranked.recommendations == () and "nothing in the plans costs enough" in ranked.summary


async def test_without_a_catalog_nothing_is_proposed(slow: Analysed) -> None:
    """Neither columns nor existing indexes are known: plans are judged, candidates would be guesses."""
    judged = await slow.judged(catalog=None)
    assert (await slow.read(JudgedPlans, judged[0])).hits
    assert await slow.read(AdviceToTry, await slow.advice(judged, catalog=None)) == AdviceToTry()


async def test_only_the_first_plans_are_drawn(tmp_path: Path) -> None:
    """A report stays readable with a hundred statements."""
    run = Run()
    for _ in range(PICTURES + 5):
        run.add(node("Seq Scan", on="orders"), share=0.01)
    many = await Analysed(run, tmp_path).store()
    judged = await many.judged()
    told = await many.ranked(judged, await many.advice(judged))
    assert sum(one.plan is not None for one in told.examined) == PICTURES


async def test_a_document_that_is_none_of_ours_is_told_as_corrupt(slow: Analysed) -> None:
    """The type that users match on, with the way out; not retried."""
    other = await slow.artifacts.put("run/other.json.gz", b"not gzip", MEDIA_TYPE)
    for changed in ({"plans": other}, {"plans": slow.refs["table"]}):
        with pytest.raises(ApplicationError, match="Run the process again") as told:
            await slow.judged(**changed)
        assert told.value.type == ErrorType.ARTIFACT_CORRUPT and told.value.non_retryable
    with pytest.raises(ApplicationError) as told:
        await slow.advice((other,))
    assert told.value.type == ErrorType.ARTIFACT_CORRUPT
