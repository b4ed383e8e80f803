"""What EXPLAIN answers."""

import json
from typing import Any

import pytest

from perfwright.analysis.explaining.plan_answers import (
    PLAN_LEVELS_AT_MOST,
    execution_ms,
    has_placeholder,
    index_names,
    planning_ms,
    read_plan,
    shared_blocks,
    total_cost,
)
from perfwright.analysis.statements.stored import decode, encode
from perfwright.models.database import DatabaseFacts
from perfwright.models.query_performance import ExplainOutcome
from perfwright.models.query_steps import PlanSet, StatementPlans, TakenPlan


def nested(levels: int) -> dict[str, Any]:
    node: dict[str, Any] = {"Node Type": "Result"}
    for _ in range(levels - 1):
        node = {"Node Type": "Nested Loop", "Plans": [node]}
    return {"Plan": node}


def test_numbers_of_a_plan() -> None:
    """Cost, times, blocks and indexes are read wherever they stand; what is not there is None."""
    scan = {"Node Type": "Bitmap Index Scan", "Index Name": "by_customer", "Index Cond": "(customer_id = $1)"}
    root = {"Node Type": "Bitmap Heap Scan", "Total Cost": 12.5, "Shared Hit Blocks": 3, "Shared Read Blocks": 4, "Plans": [scan]}
    plan = read_plan(json.dumps([{"Plan": root, "Planning Time": 0.25, "Execution Time": 7}]))
    assert (total_cost(plan), planning_ms(plan), execution_ms(plan), shared_blocks(plan)) == (12.5, 0.25, 7.0, 7)
    assert index_names(plan) == {"by_customer"} and has_placeholder(plan)
    bare = read_plan('[{"Plan": {"Node Type": "Result", "Filter": "(name = \'$x\'::text)"}}]')
    assert (total_cost(bare), planning_ms(bare), execution_ms(bare), shared_blocks(bare)) == (0.0, None, None, None)
    assert index_names(bare) == set() and not has_placeholder(bare)


@pytest.mark.parametrize("answer", ["", "null", "[]", "[1]", '[{"Plan": 1}]', '[{"Plan": {}}, {"Plan": {}}]', "[" * 100_000])
def test_anything_else_is_no_plan(answer: str) -> None:
    """What a server or pooler of another kind may say is refused with a reason."""
    with pytest.raises(ValueError, match="plan"):
        read_plan(answer)


def test_the_deepest_plans_can_be_read_back() -> None:
    """A plan that is accepted can be stored and read again; a deeper one is refused with its depth."""
    deepest = PLAN_LEVELS_AT_MOST // 2
    plan = read_plan(json.dumps([nested(deepest)]))
    facts = DatabaseFacts(system="postgresql", version="18", version_number=180000, database="shop")
    outcome = ExplainOutcome(fingerprint="0" * 16, mode="planned")
    kept = PlanSet(
        database=facts, statements=(StatementPlans(fingerprint="0" * 16, outcome=outcome, plans=(TakenPlan(mode="planned", plan=plan),)),)
    )
    assert decode(PlanSet, encode(kept)) == kept
    with pytest.raises(ValueError, match="more than 90 levels"):
        read_plan(json.dumps([nested(deepest + 1)]))
