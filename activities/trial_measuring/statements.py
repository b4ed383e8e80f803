"""Statements that each side sends to the target's database: work that is done elsewhere, which the time of the program tells little of.

They are counted by the server (pg_stat_statements) around whole runs of one side after the other. What others send meanwhile counts as
well: each side runs several times, and the median is told, with a note where runs of the same side differ.
"""

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import TYPE_CHECKING

from temporalio.exceptions import ApplicationError

from activities.changes.kind import Site
from activities.postgres_connection import connected, reading
from activities.postgres_counters import CountersView, find_counters
from perfwright.models.database import NotSeen
from perfwright.models.target import Target
from perfwright.models.trial import Side
from perfwright.models.trial_run import Companion

if TYPE_CHECKING:
    import asyncpg

RUNS = 3
LIMIT_S = 90.0
"""For all runs of both sides together."""
ANSWER_S = 30.0
Counted = tuple[tuple[Companion, ...], tuple[str, ...]]


async def count_statements(target: Target, site: Site, work: Callable[[Side], Awaitable[object]], run_s: float) -> Counted:
    """Medians over runs of each side, or nothing and why; nothing at all where the registry knows no database of the target's. `work` runs
    a side once, in about `run_s`."""
    if not target.database:
        return (), ()
    database = site.registered(target.database)
    if database is None:
        return _not_counted(f"{target.database} is not in the registry of this worker")
    if database.kind != "postgresql":
        return _not_counted(f"{database.title} is of kind {database.kind}; those of PostgreSQL are")
    if (expected_s := 2 * RUNS * run_s) > LIMIT_S:
        return _not_counted(f"that would take about {expected_s:.0f} s, {LIMIT_S:.0f} s are allowed")
    try:
        async with asyncio.timeout(LIMIT_S), connected(database, site.environ, answer_s=ANSWER_S) as connection:
            async with reading(connection):
                view = await find_counters(connection)
            if isinstance(view, NotSeen):
                return _not_counted(f"{database.title}: {view.reason}. {view.way_out}")
            return await _counted(connection, view, work)
    except ApplicationError as trouble:
        return _not_counted(trouble.message)
    except TimeoutError:
        return _not_counted(f"it took longer than {LIMIT_S:.0f} s")


async def _counted(connection: "asyncpg.Connection", view: CountersView, work: Callable[[Side], Awaitable[object]]) -> Counted:
    looks = [await _calls(connection, view) for _ in range(RUNS + 1)]
    own = min(after - before for before, after in pairwise(looks))
    counts: dict[Side, list[int]] = {"A": [], "B": []}
    for _ in range(RUNS):
        for side, found in counts.items():
            before = await _calls(connection, view)
            await work(side)
            found.append(await _calls(connection, view) - before - own)
    if any(one < 0 for found in counts.values() for one in found):
        return _not_counted("the server's counters began anew meanwhile")
    a, b = (float(statistics.median(counts[side])) for side in ("A", "B"))
    differ = [f"{min(found):,} to {max(found):,} with {side}" for side, found in counts.items() if min(found) != max(found)]
    notes = (f"statements differ between runs of one side, {' and '.join(differ)}: others use the database, or it is up to chance",)
    return (Companion(name="statements sent to the database", unit="statements", a=a, b=b),), notes if differ else ()


async def _calls(connection: "asyncpg.Connection", view: CountersView) -> int:
    """Of statements that clients sent to this database, so far."""
    asked = " AND s.toplevel" if "toplevel" in view.columns else ""
    async with reading(connection):
        return int(
            await connection.fetchval(
                f"SELECT coalesce(sum(s.calls), 0)::bigint FROM {view.schema}.pg_stat_statements(false) s"  # noqa: S608  # quoted by the server
                f" JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = current_database(){asked}"
            )
        )


def _not_counted(reason: str) -> Counted:
    return (), (f"statements are not counted: {reason}",)
