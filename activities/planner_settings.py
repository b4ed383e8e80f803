"""What plans are made with: read on the target, as the application's role has it, and set for every session on a clone of it.

Neither `CREATE DATABASE ... TEMPLATE` nor pg_dump of one database carries what `ALTER DATABASE` and `ALTER ROLE` set, and a server for
clones has a configuration of its own. `random_page_cost` alone decides about indexes. What is set for our role *in the clone* goes before
everything but the session itself (documentation, ALTER ROLE), and goes with the clone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from activities.postgres_connection import connected
from perfwright.analysis.explaining.sql_texts import quoted_identifier
from perfwright.models.target import Target

if TYPE_CHECKING:
    import asyncpg

PLANNING = "^(enable_|geqo|jit|min_parallel_)|_cost$|_collapse_limit$"
NAMES = (
    *("effective_cache_size", "default_statistics_target", "constraint_exclusion", "cursor_tuple_fraction", "plan_cache_mode"),
    "recursive_worktable_factor",
    *("work_mem", "hash_mem_multiplier", "temp_buffers", "effective_io_concurrency", "io_combine_limit", "max_parallel_workers"),
    *("max_parallel_workers_per_gather", "parallel_leader_participation", "force_parallel_mode", "debug_parallel_query", "search_path"),
    *("DateStyle", "IntervalStyle", "TimeZone", "standard_conforming_strings", "transform_null_equals", "default_text_search_config"),
)
"""Besides those whose names say it (categories are told in the server's language): what plans are made with, how much memory a node may
take, and how literals are read."""
FIXED = ("shared_buffers", "max_worker_processes")
"""What no session sets, and plans or times depend on."""
OURS = ("user", "database user", "client", "session")
"""Sources of what holds for sessions of our role alone; another's have what these hide."""
_READ = """
SELECT name, pg_catalog.current_setting(name) AS value, source, context IN ('user', 'superuser') AS settable FROM pg_catalog.pg_settings
 WHERE name ~ $2 OR name = ANY($1::text[]) ORDER BY name
"""
_ENTRIES = """
SELECT pg_catalog.split_part(one, '=', 1) AS name, substr(one, strpos(one, '=') + 1) AS value, s.setrole <> 0 AS of_role
  FROM pg_catalog.pg_db_role_setting s CROSS JOIN unnest(s.setconfig) AS one
 WHERE s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
   AND s.setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1))
 ORDER BY s.setrole <> 0, s.setdatabase <> 0
"""
"""The weakest first: of all, of the database, of the role, of the role in the database."""
_ROLE = "SELECT current_user::text AS ours, EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = $1) AS known"


@dataclass(frozen=True)
class PlannerSettings:
    """As sessions on the target have them."""

    values: Mapping[str, str]
    role: str
    """Whose sessions."""
    configured: frozenset[str] = frozenset()
    """Names of those that are not as they come."""
    uncertain: tuple[str, ...] = ()
    """Names that our role has a value of its own for, so that another's is not seen."""


async def read_planner_settings(connection: "asyncpg.Connection", role: str) -> PlannerSettings:
    """As new sessions of `role` have them in the connection's database; as ours, where the role is empty or no role of the server."""
    who = await connection.fetchrow(_ROLE, role)
    assert who is not None, "a SELECT without FROM has one row"
    found = await connection.fetch(_READ, [*NAMES, *FIXED], PLANNING)
    values, configured = {row["name"]: row["value"] for row in found}, {row["name"] for row in found if row["source"] != "default"}
    if not who["known"] or role == who["ours"]:
        return PlannerSettings(_with_path_of(values, who["ours"]), who["ours"], frozenset(configured))
    entries = await connection.fetch(_ENTRIES, role)
    of_all = {row["name"]: row["value"] for row in entries if not row["of_role"]}
    of_role = {row["name"]: row["value"] for row in entries if row["of_role"]}
    hidden = {row["name"] for row in found if row["source"] in OURS}
    values |= {name: value for name, value in of_all.items() if name in hidden}
    values |= {name: value for name, value in of_role.items() if name in values}
    return PlannerSettings(
        _with_path_of(values, role),
        role,
        frozenset(configured | of_role.keys()),
        tuple(sorted(hidden - of_all.keys() - of_role.keys())),
    )


async def plan_alike(clone: Target, environ: Mapping[str, str], wanted: PlannerSettings, database: str) -> tuple[str, ...]:
    """Give sessions on the clone what they do not have of it already; what they cannot be given is told."""
    told = [f"{name} is that of our own role: what {wanted.role} has is not seen" for name in wanted.uncertain]
    async with connected(clone, environ, read_only=False) as connection:
        user = await connection.fetchval("SELECT current_user::text")
        rows = {row["name"]: row for row in await connection.fetch(_READ, [*NAMES, *FIXED], PLANNING)}
        there = _with_path_of({name: row["value"] for name, row in rows.items()}, user)
        for name, value in wanted.values.items():
            if there.get(name) == value or (name not in rows and name not in wanted.configured):
                continue
            if name not in rows or not rows[name]["settable"] or not await _given(connection, name, value, database):
                told.append(f"{name} is {value} on the target, and {there.get(name, 'unknown')} on the clone, where it cannot be set")
    return tuple(told)


async def _given(connection: "asyncpg.Connection", name: str, value: str, database: str) -> bool:
    """Whether new sessions have it; a list of names is set as what this session has made of it."""
    from asyncpg.exceptions import PostgresError

    mine = f"ALTER ROLE CURRENT_USER IN DATABASE {quoted_identifier(database)}"
    try:
        await connection.fetchval("SELECT pg_catalog.set_config($1, $2, false)", name, value)
        await connection.execute(f"{mine} SET {quoted_identifier(name)} FROM CURRENT")
    except PostgresError:
        return False
    return True


def _with_path_of(values: Mapping[str, str], role: str) -> dict[str, str]:
    """With the schema of the role in the search path, whoever connects to the clone."""
    return {**values, "search_path": values["search_path"].replace('"$user"', quoted_identifier(role))}
