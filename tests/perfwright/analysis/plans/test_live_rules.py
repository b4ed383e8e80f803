import asyncpg
import pytest

from tests.perfwright.analysis.plans import planted_database
from tests.perfwright.analysis.plans.healthy import HEALTHY, Healthy
from tests.perfwright.analysis.plans.planted import PLANTED
from tests.perfwright.analysis.plans.planted_case import Planted
from tests.perfwright.analysis.plans.running_plans import OPTIONS, explain, judged, what_is_wrong
from tests.postgres import PostgresServer, postgres
from tests.postgres18 import postgres18

__all__ = ["postgres", "postgres18"]

pytestmark = pytest.mark.paired
"""Times of planning and executing are judged with everything else."""
LOOKS = 5
"""At most, at a statement that is not judged right at once: on a busy machine any node may wait for most of the statement's time."""


async def _judge_all(server: PostgresServer, version: int, options: str) -> list[str]:
    connection = await asyncpg.connect((await server.new_database()).replace("+asyncpg", ""))
    try:
        catalog = await planted_database.create(connection)

        async def trouble_of(case: Planted | Healthy) -> str:
            hits = judged(await explain(connection, case, options), catalog)
            if isinstance(case, Planted):
                return what_is_wrong(case, hits)
            return "; ".join(f"{hit.rule} {hit.node_title}: {hit.statement}" for hit in hits)

        left: list[Planted | Healthy] = [*(one for one in PLANTED if version in one.versions), *HEALTHY]
        for _ in range(LOOKS):
            troubles = {case.name: (case, trouble) for case in left if (trouble := await trouble_of(case))}
            left = [case for case, _ in troubles.values()]
    finally:
        await connection.close()
    return [f"{name}: {trouble}" for name, (_, trouble) in troubles.items()]


async def test_planted_and_healthy_statements_on_postgresql_15(postgres: PostgresServer) -> None:
    """On a real server, planned and executed now: every planted problem is found, nothing is said of healthy statements."""
    wrong = await _judge_all(postgres, 15, OPTIONS)
    assert not wrong, "\n".join(wrong)


async def test_planted_and_healthy_statements_on_postgresql_18(postgres18: PostgresServer) -> None:
    """The same on the newest version, and with the names that EXPLAIN (VERBOSE) adds to conditions."""
    wrong = await _judge_all(postgres18, 18, f"{OPTIONS}, VERBOSE")
    assert not wrong, "\n".join(wrong)
