"""Record the plans that the tests read, from PostgreSQL 15 and 18: `python -m tests.perfwright.analysis.plans.record_plans`."""

import asyncio
import json
from pathlib import Path

import asyncpg

from tests.perfwright.analysis.plans import planted_database
from tests.perfwright.analysis.plans.healthy import HEALTHY
from tests.perfwright.analysis.plans.planted import PLANTED
from tests.perfwright.analysis.plans.running_plans import explain
from tests.perfwright.analysis.plans.timed import TIMED
from tests.postgres import needed_programs, start_postgres
from tests.postgres18 import needed_programs18

FOLDER = Path(__file__).parent / "recorded"
HEALTHY_KEPT = 48
"""The others are tried on real servers only."""


def main() -> None:
    for version, programs in ((15, needed_programs()), (18, needed_programs18())):
        with start_postgres(programs) as server:
            asyncio.run(_record(server.dsn(), version))


async def _record(dsn: str, version: int) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        catalog = await planted_database.create(connection)
        _write(version, "catalog", catalog.model_dump(mode="json", exclude_defaults=True))
        for kind, cases in (("planted", PLANTED), ("healthy", HEALTHY[:HEALTHY_KEPT]), ("timed", TIMED)):
            for case in cases:
                if version in getattr(case, "versions", (15, 18)):
                    _write(version, f"{kind}.{case.name}", await explain(connection, case))
    finally:
        await connection.close()


def _write(version: int, name: str, document: object) -> None:
    folder = FOLDER / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
