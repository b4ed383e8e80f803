"""What QueryPerformanceAnalysis sends through Temporal stays below 256 KiB a payload, in the largest run that its input allows."""

from temporalio.api.common.v1 import Payload

from activities.statement_grouping import TOP_BYTES, TOP_LISTED
from perfwright.analysis.explaining.bounds import bounded as bounded_plans
from perfwright.analysis.query_advice.ranking import MAX_FINDINGS, MAX_RECOMMENDATIONS, bounded
from perfwright.analysis.query_results import ranked_queries, told_request
from perfwright.analysis.statements.choosing import MOST_CHOSEN, choose, summaries
from perfwright.models.artifact import ArtifactRef
from perfwright.models.database import DatabaseFacts, NotSeen, Setting
from perfwright.models.finding import Evidence, Finding, Location, Recommendation
from perfwright.models.gate import Decision
from perfwright.models.measurement import Estimate, Interval
from perfwright.models.query_advice import (
    AdviceOnTrial,
    AdviceToTry,
    QueryFindingsToRank,
    RankedQueries,
    RankedQueryFindings,
    RankQueryFindings,
    TriedAdvice,
)
from perfwright.models.query_performance import (
    LARGEST_INPUT_BYTES,
    ExplainOutcome,
    PlanHit,
    QueryPerformanceDetails,
    QueryPerformanceRequest,
    VerifiedRewrite,
    WaitShare,
    WhatIf,
)
from perfwright.models.query_steps import (
    ActivitySampled,
    CatalogRead,
    CostlyStatement,
    ExplainedStatements,
    ExplainStatements,
    GroupedStatements,
    GroupStatements,
    LogReadDone,
    Observation,
    ObservedStatements,
)
from perfwright.models.result import ProcessResult, ReportToPublish, Step
from perfwright.models.statement import SAMPLES_KEPT, Statement, StatementSample, StatementTable
from perfwright.models.target import Target
from perfwright.models.vocabulary import Model
from workflows.plugin.converter import ModelJsonConverter

LIMIT_BYTES = 256 * 1024
SEEN = 1_500
LONG = "é" * 10_000
REF = ArtifactRef(
    uri="a" * 300, sha256="0" * 64, size_bytes=10**9, media_type="application/vnd.perfwright.statements+json", title="t" * 100
)
ESTIMATE = Estimate(value=0.123456, unit="share of database time", interval=Interval(low=0.1, high=0.2, level=0.95, method="m" * 60))
TARGET = Target.model_validate(
    {"name": "n" * 63, "kind": "postgresql", "environment": "e" * 63, "dsn_env": "D" * 128, "allow": ("analyze",)}
)
FACTS = DatabaseFacts(
    system="postgresql",
    version="18.1",
    version_number=180001,
    database="d" * 63,
    settings=tuple(Setting(name="s" * 40, value="v" * 40, unit="kB", source="configuration file") for _ in range(50)),
    not_seen=tuple(NotSeen(what="w" * 60, reason="r" * 200, way_out="o" * 200) for _ in range(8)),
)
NAMES = tuple(f"{number:016x}" for number in range(SEEN))
REQUEST = QueryPerformanceRequest(
    target="n" * 63,
    statements=("SELECT '" + "x" * 90_000 + "'",),
    sql_file="f" * 1_000,
    top=500,
    min_share=0.0,
    add_fingerprints=NAMES[:500],
    max_revisions=20,
)


def encoded(model: Model) -> int:
    payload = ModelJsonConverter().to_payload(model)
    assert isinstance(payload, Payload)
    return payload.ByteSize()


def table() -> StatementTable:
    sample = StatementSample(text=LONG, source="log")
    statements = tuple(
        Statement(
            fingerprint=name,
            text=LONG,
            kind="select",
            total_ms=12345.678901,
            calls=10**9,
            share=1 / SEEN,
            sources=("pg_stat_statements", "log", "auto_explain", "given"),
            samples=(sample,) * SAMPLES_KEPT,
            not_explainable=LONG,
        )
        for name in NAMES
    )
    return StatementTable(statements=statements, total_ms=1e9, seconds=60.0, sources=("pg_stat_statements", "log"))


def findings() -> tuple[list[Finding], list[Recommendation]]:
    location = Location(query="q" * 90, anchor="plan-0000000000000000-12")
    made = [
        Finding(
            id=f"{number}{'i' * 190}",
            title="t" * 250,
            severity="high",
            summary=LONG[:1_500],
            cost=ESTIMATE,
            locations=(location,) * 8,
            evidence=(Evidence(statement="s" * 500, estimate=ESTIMATE, artifact=REF),) * 8,
        )
        for number in range(MAX_FINDINGS)
    ]
    advised = [
        Recommendation(
            id=f"{number}{'i' * 190}",
            title="t" * 200,
            finding_ids=(made[0].id,),
            expected_gain=ESTIMATE,
            derivation="d" * 500,
            effort="hours",
            brief=LONG[:6_000],
        )
        for number in range(MAX_RECOMMENDATIONS)
    ]
    return bounded(made, advised)


def test_every_payload_of_the_largest_run_fits() -> None:
    """1,500 statements seen, as many examined as there may be, every text as long as it is kept, every list as long as it gets."""
    statements = table()
    choice = choose(statements, REQUEST)
    assert len(choice.fingerprints) == MOST_CHOSEN
    top = summaries(statements, most=TOP_LISTED, most_bytes=TOP_BYTES)
    grouped = GroupedStatements(
        table=REF, statements=SEEN, total_ms=1e9, top=top, chosen=choice.fingerprints, chosen_share=1.0, unknown_fingerprints=NAMES[:500]
    )
    explained = bounded_plans(
        ExplainedStatements(
            plans=REF,
            outcomes=tuple(
                ExplainOutcome(fingerprint=name, mode="not explained", reason=LONG, plans=3, execution_ms=12345.678, planning_ms=12345.678)
                for name in choice.fingerprints
            ),
            costly=tuple(CostlyStatement(fingerprint=name, text=LONG, cost=1e15) for name in choice.fingerprints),
            approved=choice.fingerprints,
            warnings=(LONG,) * 500,
        )
    )
    waits = tuple(WaitShare(state="s" * 60, share=0.123456789, sessions=0.123456789, statement="é" * 200) for _ in range(30))
    observation = Observation(
        observed=ObservedStatements(window=REF, warnings=("w" * 300,) * 5),
        sampled=ActivitySampled(waits=waits, series=REF),
        log=LogReadDone(digest=REF, gaps=("g" * 300,) * 20, not_seen=FACTS.not_seen),
        catalog=CatalogRead(catalog=REF, tables=1),
        given=("g" * 120_000,),
    )
    limits = {"statement_timeout_s": 60.0, "lock_timeout_s": 1.0, "cost_ceiling": 1e15, "artifact_prefix": "p" * 300}
    hit = PlanHit(
        rule="R01",
        fingerprint="",
        node=1,
        node_title="t" * 200,
        relation="r" * 60,
        statement=LONG[:400],
        numbers={"n" * 20: 1.5},
        columns=("c",),
    )
    asked = RankQueryFindings(
        request=REQUEST,
        database=FACTS,
        grouped=grouped,
        explained=explained,
        catalog=REF,
        hits=tuple(hit.model_copy(update={"fingerprint": name}) for name in choice.fingerprints for _ in range(4)),
        to_try=AdviceToTry(),
        tried=TriedAdvice(
            what_ifs=(WhatIf(fingerprint=NAMES[0], ddl="é" * 800, cost_before=1e9, cost_after=1e9, used=True),) * 300,
            rewrites=(VerifiedRewrite(fingerprint=NAMES[0], title="t" * 200, original=LONG, rewritten=LONG, outcome="faster"),) * 40,
        ),
        waits=waits,
        artifact_prefix="p" * 300,
    )
    told, advised = findings()
    listed = RankedQueryFindings(
        findings=tuple(told),
        recommendations=tuple(advised),
        summary="s" * 1_000,
        gains=dict.fromkeys(NAMES[:50], ESTIMATE),
        warnings=("w" * 300,) * 10,
    )
    ranked = ranked_queries(asked, listed, statements, observation)
    decision = Decision(
        gate="queries_review", revision=1, digest="0" * 8, outcome="changes_requested", by="b" * 200, comment="c" * 2_000, source="signal"
    )
    result = ProcessResult[QueryPerformanceDetails](
        process="QueryPerformanceAnalysis",
        target="n" * 63,
        environment="e" * 63,
        workflow_id="w" * 200,
        run_id="r" * 36,
        verdict="passed",
        summary="s" * 1_000,
        findings=ranked.ranked.findings,
        recommendations=ranked.ranked.recommendations,
        decisions=(decision,) * 12,
        steps=(Step(name="n" * 60, task="analysis", outcome="done", note="n" * 200),) * 40,
        artifacts=(REF,) * 3,
        request=told_request(REQUEST.decided("production")),
        details=QueryPerformanceDetails(
            database=FACTS,
            statements=top,
            examined=tuple(one.model_copy(update={"plan": REF}) for one in ranked.examined),
            waits=waits,
            what_ifs=ranked.what_ifs,
            rewrites=ranked.rewrites,
            not_seen=FACTS.not_seen,
            warnings=explained.warnings[:5],
        ),
    )
    sizes = {
        "input": encoded(REQUEST),
        "group": encoded(
            GroupStatements(
                request=REQUEST,
                database=FACTS,
                observed=observation.observed,
                log=observation.log,
                given=observation.given,
                artifact_prefix="p",
            )
        ),
        "grouped": encoded(grouped),
        "explained": encoded(explained),
        "explain the costly": encoded(
            ExplainStatements(
                target=TARGET,
                database=FACTS,
                table=REF,
                fingerprints=choice.fingerprints,
                costly_approved=choice.fingerprints,
                analyze=True,
                earlier=explained,
                **limits,
            )
        ),
        "try": encoded(AdviceOnTrial(target=TARGET, database=FACTS, table=REF, advice=REF, costly_approved=choice.fingerprints, **limits)),
        "rank": encoded(
            QueryFindingsToRank(
                request=REQUEST.model_copy(update={"statements": ()}),
                database=FACTS,
                grouped=grouped.model_copy(update={"top": ()}),
                explained=explained.model_copy(update={"costly": (), "approved": ()}),
                observation=observation.model_copy(update={"given": ()}),
                judged=(REF,) * 6,
                advice=REF,
                tried=REF,
                artifact_prefix="p" * 300,
            )
        ),
        "ranked": encoded(ranked),
        "result": encoded(result),
        "publish": encoded(ReportToPublish(result=result.model_dump(mode="json"), run="shop#1", artifact_prefix="p" * 300)),
    }
    assert max(sizes.values()) < LIMIT_BYTES, sizes
    assert sizes["input"] < LARGEST_INPUT_BYTES + 1_000
    assert len(ranked.examined) == 25 and len(ranked.rewrites) == 10 and isinstance(ranked, RankedQueries)
