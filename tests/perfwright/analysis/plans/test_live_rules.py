import asyncpg
import pytest

from tests.perfwright.analysis.plans import planted_database
from tests.perfwright.analysis.plans.healthy import HEALTHY
from tests.perfwright.analysis.plans.planted import PLANTED
from tests.perfwright.analysis.plans.running_plans import OPTIONS, explain, judged, what_is_wrong
from tests.postgres import PostgresServer, postgres
from tests.postgres18 import postgres18

__all__ = ["postgres", "postgres18"]

pytestmark = pytest.mark.measuring
"""Times of planning and executing are judged with everything else."""


async def _judge_all(server: PostgresServer, version: int, options: str) -> list[str]:
    connection = await asyncpg.connect((await server.new_database()).replace("+asyncpg", ""))
    wrong = []
    try:
        catalog = await planted_database.create(connection)
        for case in (one for one in PLANTED if version in one.versions):
            trouble = what_is_wrong(case, judged(await explain(connection, case, options), catalog))
            wrong += [f"{case.name}: {trouble}"] if trouble else []
        for healthy in HEALTHY:
            hits = judged(await explain(connection, healthy, options), catalog)
            wrong += [f"{healthy.name}: {hit.rule} {hit.node_title}: {hit.statement}" for hit in hits]
    finally:
        await connection.close()
    return wrong


async def test_planted_and_healthy_statements_on_postgresql_15(postgres: PostgresServer) -> None:
    """On a real server, planned and executed now: every planted problem is found, nothing is said of healthy statements."""
    wrong = await _judge_all(postgres, 15, OPTIONS)
    assert not wrong, "\n".join(wrong)


async def test_planted_and_healthy_statements_on_postgresql_18(postgres18: PostgresServer) -> None:
    """The same on the newest version, and with the names that EXPLAIN (VERBOSE) adds to conditions."""
    wrong = await _judge_all(postgres18, 18, f"{OPTIONS}, VERBOSE")
    assert not wrong, "\n".join(wrong)
