"""Results stay small, whatever they say."""

from perfwright.analysis.explaining.bounds import COSTLY_AT_MOST, EXPLAINED_BYTES, RESULT_BYTES, bounded, bounded_advice
from perfwright.models.artifact import ArtifactRef
from perfwright.models.query_advice import TriedAdvice
from perfwright.models.query_performance import ExplainOutcome, VerifiedRewrite, WhatIf
from perfwright.models.query_steps import CostlyStatement, ExplainedStatements

PLANS = ArtifactRef(uri="a/plans.json.gz", sha256="0" * 64, size_bytes=1, media_type="x")


def test_fifteen_hundred_statements_fit() -> None:
    """Three times as many as are ever examined, with long reasons, texts and costs: every outcome is there, and one payload holds them."""
    outcomes = tuple(
        ExplainOutcome(fingerprint=f"{n:016x}", mode="not explained", reason="é" * 5000, execution_ms=12345.678) for n in range(1500)
    )
    costly = tuple(CostlyStatement(fingerprint=f"{n:016x}", text="x" * 5000, cost=float(n)) for n in range(1500))
    result = bounded(ExplainedStatements(plans=PLANS, outcomes=outcomes, costly=costly, warnings=tuple("w" * n for n in range(500))))
    assert [one.fingerprint for one in result.outcomes] == [one.fingerprint for one in outcomes] and all(
        one.reason for one in result.outcomes
    )
    assert len(result.costly) == COSTLY_AT_MOST and result.costly[0].cost == 1499
    assert "the 100 costliest are listed" in result.warnings[0]
    assert len(result.model_dump_json().encode()) < 256 * 1024
    fewer = bounded(result.model_copy(update={"outcomes": outcomes[:500], "costly": costly[:500]}))
    assert len(fewer.model_dump_json().encode()) < EXPLAINED_BYTES


def test_small_results_stay_as_they_are() -> None:
    """Nothing is shortened that fits."""
    outcome = ExplainOutcome(fingerprint="0" * 16, mode="planned", reason="planned only, as asked for")
    result = ExplainedStatements(plans=PLANS, outcomes=(outcome,), warnings=("one", "two"))
    assert bounded(result) == result


def test_offered_rewrites_keep_their_text() -> None:
    """The text of a rewrite that is offered is whole as long as there is room; those that are not offered are shortened first."""
    rewrites = tuple(
        VerifiedRewrite(
            fingerprint=f"{n:016x}",
            title="t",
            original="o" * 20_000,
            rewritten="r" * 20_000,
            outcome="faster" if n % 2 else "not faster",
            ratio=1 / (n + 1),
        )
        for n in range(40)
    )
    what_ifs = tuple(WhatIf(fingerprint="0" * 16, ddl="CREATE INDEX ON t (a)", cost_before=1, cost_after=1, used=False) for _ in range(400))
    tried = bounded_advice(TriedAdvice(what_ifs=what_ifs, rewrites=rewrites, warnings=("w",)))
    assert [one.fingerprint for one in tried.rewrites] == [one.fingerprint for one in rewrites]
    assert len(tried.rewrites[39].rewritten) == 20_000 and len(tried.rewrites[38].rewritten) == 1_000
    assert len(tried.what_ifs) == 300 and tried.warnings == ("w", "100 more what-if plans are not listed")
    assert len(tried.model_dump_json().encode()) < 1.7 * RESULT_BYTES
