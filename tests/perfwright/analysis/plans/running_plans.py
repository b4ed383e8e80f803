"""Take a plan of a test's statement, and hold what the rules say of it against what was planted."""

import json
from typing import Any, Protocol

import asyncpg

from perfwright.analysis.plans.examined import ExaminedPlan
from perfwright.analysis.plans.judge import judge_plan
from perfwright.analysis.plans.node_times import measure
from perfwright.analysis.plans.plan_tree import parse_plan
from perfwright.models.database import Catalog
from perfwright.models.query_performance import PlanHit
from tests.perfwright.analysis.plans.planted_case import Planted

OPTIONS = "ANALYZE, BUFFERS, SETTINGS, FORMAT JSON"
SLOW_ENOUGH_MS = 10.0
"""What the statements are said to take: a fast machine would make them too small to be looked at."""

SINCE = {"enable_memoize": 14}
"""Settings that came with a version."""


class Case(Protocol):
    @property
    def sql(self) -> str: ...
    @property
    def settings(self) -> dict[str, str]: ...


async def explain(connection: asyncpg.Connection, case: Case, options: str = OPTIONS) -> dict[str, Any]:
    """The plan of a statement under its settings, in a transaction that is rolled back."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        for name, value in ({"jit": "off"} | case.settings).items():
            if connection.get_server_version().major >= SINCE.get(name, 0):
                await connection.execute(f"SET LOCAL {name} = '{value}'")
        if before := getattr(case, "before", ""):
            await connection.execute(before)
        return dict(json.loads(await connection.fetchval(f"EXPLAIN ({options}) {case.sql}"))[0])
    finally:
        await transaction.rollback()


def judged(plan: dict[str, Any], catalog: Catalog | None) -> list[PlanHit]:
    tree = parse_plan(plan)
    return judge_plan(ExaminedPlan(tree, measure(tree), catalog=catalog, execution_ms=SLOW_ENOUGH_MS))


def what_is_wrong(case: Planted, hits: list[PlanHit]) -> str:
    """Empty when the planted problem was found at its node with its table and columns, once, and nothing else was."""
    found = [hit for hit in hits if hit.rule == case.rule]
    right = [
        hit
        for hit in found
        if hit.node_title.removeprefix("Parallel ").replace("public.", "").startswith(case.at)
        and hit.relation.removeprefix("public.").startswith(case.relation)
        and (not case.columns or _same(case, hit.columns))
    ]
    others = sorted({hit.rule for hit in hits} - {case.rule} - case.also)
    told = "; ".join(f"{hit.rule} {hit.node_title} {hit.relation} {hit.columns}: {hit.statement}" for hit in hits)
    if not right:
        return f"{case.rule} not found at {case.at} {case.relation} {case.columns}: {told or 'silence'}"
    if others:
        return f"wrongly found {', '.join(others)}: {told}"
    return f"found {len(found)} times: {told}" if len(found) > 1 else ""


def _same(case: Planted, columns: tuple[str, ...]) -> bool:
    """In the order of an index where an index is what is advised."""
    return columns == case.columns if case.rule in ("R01", "R17") else set(columns) == set(case.columns)
