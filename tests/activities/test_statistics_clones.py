"""Clones of statistics: the planner sees there what it sees on the target, no row is copied, and nothing is left of them."""

import asyncio
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from temporalio.exceptions import ApplicationError

from activities import private_postgres
from activities.postgres_connection import connected
from activities.private_postgres import PrivateServer, private_folder, programs_with_hypopg, remove_left
from activities.statistics_clones import statistics_clone
from perfwright.analysis.explaining.plan_answers import Plan, read_plan, total_cost
from perfwright.analysis.indexes.plan_shapes import plan_shape
from perfwright.models.index_steps import ClonePlan
from tests.databases import TARGET, VARIABLE, database_of, fresh_database, login_role, postgres
from tests.postgres import PostgresServer, needs_hypopg, system_user
from tests.postgres18 import needed_programs18
from tests.workflows.watching_runs import running_with

__all__ = ["postgres"]

TABLES = """
    CREATE TYPE mood AS ENUM ('sad', 'glad', 'mad');
    CREATE DOMAIN code AS varchar(20) CHECK (value <> '');
    CREATE DOMAIN inner_code AS code;
    CREATE TABLE parts (id int PRIMARY KEY, kind int NOT NULL, name text, short varchar(9), feels mood, sent date, made timestamptz,
                        price numeric, labels text[], words tsvector, coded inner_code, ratio float8, span int4range, gone bool, pad char(60));
    INSERT INTO parts SELECT n, n * 7919 % 500, 'part ' || md5(n::text), 's' || n % 90, (ARRAY['sad', 'glad', 'mad'])[1 + n % 3]::mood,
           date '2026-01-01' + n % 300, timestamptz '2026-01-01' + n * interval '1 minute', n / 7.0, ARRAY['l' || n % 20, 'm' || n % 3],
           to_tsvector('simple', 'w' || n % 50 || ' v' || n % 4), 'c' || n % 40, n / 3.0, int4range(n, n + 9), n % 40 = 0, 'x'
      FROM generate_series(1, 60000) n;
    CREATE INDEX parts_kind ON parts (kind, sent);
    CREATE INDEX parts_lower ON parts (lower(name));
    CREATE TABLE days (day date NOT NULL, part int NOT NULL, seen int) PARTITION BY RANGE (day);
    CREATE TABLE days_old PARTITION OF days FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
    CREATE TABLE days_new PARTITION OF days FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    INSERT INTO days SELECT date '2025-12-01' + n % 60, n % 1000, n FROM generate_series(1, 20000) n;
    CREATE INDEX ON days (part);
    CREATE MATERIALIZED VIEW kinds AS SELECT kind, count(*) AS parts FROM parts GROUP BY kind;
    CREATE TABLE cities (gone int, zip int, city int, state int);
    INSERT INTO cities SELECT 0, n % 900, n % 900 / 10, n % 900 / 100 FROM generate_series(1, 9000) n;
    ALTER TABLE cities DROP COLUMN gone;
    CREATE STATISTICS cities_of (ndistinct, dependencies) ON zip, city, state FROM cities;
    CREATE SCHEMA other; CREATE TABLE other.untouched AS SELECT n FROM generate_series(1, 5000) n;
    ANALYZE
"""
QUERIES = (
    "SELECT * FROM parts WHERE id = 77",
    "SELECT count(*) FROM parts WHERE id > 59990",  # beyond the histogram's last value: the planner looks into the index
    "SELECT count(*) FROM parts WHERE id < 20 OR kind < 3",
    "SELECT * FROM parts WHERE kind = 7 AND sent > date '2026-06-01' ORDER BY sent LIMIT 5",
    "SELECT * FROM parts WHERE lower(name) = 'part x'",
    "SELECT count(*) FROM parts WHERE feels = 'glad' AND short = 's7' AND coded = 'c3' AND labels @> '{l7}' AND words @@ 'w3'",
    "SELECT sum(seen) FROM days d JOIN parts p ON p.id = d.part WHERE d.day > date '2026-01-10' AND p.price < 40",
    "SELECT p.kind, k.parts FROM parts p JOIN kinds k USING (kind) WHERE p.made > '2026-02-08 00:00+00' AND k.kind < 9",
)
STATISTICS = """
    SELECT n.nspname || '.' || c.relname || '.' || a.attname AS name, s.stainherit, s.stanullfrac, s.stawidth, s.stadistinct,
           ARRAY(SELECT k || ' ' || CASE WHEN k < 6 THEN o::regoperator::text ELSE '' END FROM unnest(
                     ARRAY[s.stakind1, s.stakind2, s.stakind3, s.stakind4, s.stakind5],
                     ARRAY[s.staop1, s.staop2, s.staop3, s.staop4, s.staop5]) AS u (k, o) WHERE k BETWEEN 1 AND 5 ORDER BY k) AS kinds,
           v.most_common_vals::text, v.most_common_freqs, v.histogram_bounds::text, v.correlation, v.most_common_elems::text,
           v.most_common_elem_freqs, v.elem_count_histogram, c.relpages, c.reltuples, c.relallvisible
      FROM pg_statistic s JOIN pg_class c ON c.oid = s.starelid JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_attribute a ON a.attrelid = s.starelid AND a.attnum = s.staattnum
      JOIN pg_stats v ON v.schemaname = n.nspname AND v.tablename = c.relname AND v.attname = a.attname AND v.inherited = s.stainherit
     WHERE n.nspname = 'public' ORDER BY 1, 2
"""
OF_CITIES = "SELECT zip, city, count(*) FROM cities WHERE city = 7 AND state = 0 GROUP BY zip, city"
"""Ten rows; the planner expects one where it does not know that a zip has one city, and a city one state."""
WANTED = {("public", name) for name in ("parts", "days", "kinds", "cities")}


async def plans_of(connection: asyncpg.Connection) -> list[Plan]:
    return [read_plan(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {text}")) for text in (*QUERIES, OF_CITIES)]


def left(state: Path) -> list[str]:
    """Folders and processes of private servers of this state folder."""
    mark = private_folder(state)
    return [*(one.name for one in mark.parent.glob(f"{mark.name}*")), *map(str, running_with(mark.name))]


async def test_the_planner_sees_what_it_sees_on_the_target(postgres: PostgresServer, tmp_path: Path) -> None:
    """Statistics of every kind of type with the operators of ANALYZE, sizes, heights, settings and partitions: plans and costs are the same,
    also where the planner looks into an index. Only the wanted tables' values are there, and no row."""
    async with fresh_database(postgres, *filter(str.strip, TABLES.split(";"))) as source:
        await needs_hypopg(source)
        await source.execute("VACUUM parts")
        name = await database_of(source)
        await source.execute(f"ALTER DATABASE {name} SET random_page_cost = 1.7")
        environ, plan = {VARIABLE: postgres.dsn(name)}, ClonePlan(target=TARGET, owner="this run")
        fresh = await postgres.connect(name)
        try:
            there = await plans_of(fresh)
            expected = await fresh.fetch(STATISTICS)
        finally:
            await fresh.close()
        async with statistics_clone(plan, WANTED, environ, tmp_path) as clone:
            [folder] = private_folder(tmp_path).parent.glob(f"{private_folder(tmp_path).name}*")
            assert folder.stat().st_mode & 0o777 == 0o700
            async with connected(clone.target, clone.environ) as connection:
                here = await plans_of(connection)
                assert await connection.fetchval("SELECT count(*) FROM pg_stats WHERE schemaname = 'other'") == 0
                assert not await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
                rows = await connection.fetchval("SELECT pg_relation_size('other.untouched')")
            administrator = await asyncpg.connect(host=str(folder), user="perfwright", **login_of(clone.environ))
            try:
                copied = await administrator.fetch(STATISTICS)
            finally:
                await administrator.close()
            disk = sum(one.stat().st_blocks * 512 for one in (folder / "data" / "base").rglob("*") if one.is_file())
            length = sum(one.stat().st_size for one in (folder / "data" / "base").rglob("*") if one.is_file())
        assert not left(tmp_path) and rows == 0 and clone.copied.heights >= 3 and not clone.copied.warnings, clone.copied
        assert [tuple(one) for one in copied] == [tuple(one) for one in expected] and len(expected) > 20
        assert here[-1]["Plan"]["Plan Rows"] == there[-1]["Plan"]["Plan Rows"] > 5, "extended statistics, columns renumbered"
        assert [plan_shape(one) for one in here] == [plan_shape(one) for one in there]
        assert [total_cost(one) for one in here] == pytest.approx([total_cost(one) for one in there], rel=0.05)
        assert length - disk > 10_000_000, "files are as long as the target's, and hold nothing"


def login_of(environ: Any) -> dict[str, str]:
    """Of the private server's roles, with the database's name."""
    [text] = environ.values()
    found = dict(re.findall(r"(\w+)='([^']*)'", text))
    return {"password": found["password"], "database": found["dbname"]}


async def test_what_a_role_may_not_see_is_told_and_what_was_left_is_removed(postgres: PostgresServer, tmp_path: Path) -> None:
    """A role that may read sees statistics without being a superuser; whatever ends the block, and what a killed worker left, goes;
    a server too that outlived its supervisor."""
    async with fresh_database(postgres, "CREATE TABLE t AS SELECT n, n % 7 AS kind FROM generate_series(1, 3000) n", "ANALYZE t") as source:
        await needs_hypopg(source)
        grants = ("GRANT SELECT ON t TO {role}",)
        async with login_role(source, *grants) as role:
            environ = {VARIABLE: postgres.dsn(await database_of(source), user=role)}
            plan = ClonePlan(target=TARGET, owner="this run")
            there = private_folder(tmp_path, TARGET.name, plan.owner)
            there.mkdir(mode=0o700)
            (there / "left").touch()
            with pytest.raises(ZeroDivisionError):
                async with statistics_clone(plan, {("public", "t")}, environ, tmp_path) as clone:
                    assert not (there / "left").exists() and clone.copied.columns == 2 and clone.copied.relations == 1
                    raise ZeroDivisionError
            assert not left(tmp_path)
            await source.execute(f"ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY none ON t TO {role} USING (kind < 0)")
            async with statistics_clone(plan, {("public", "t")}, environ, tmp_path) as clone:
                assert clone.copied.columns == 0 and "public.t" in clone.copied.warnings[0], clone.copied
        server = PrivateServer(await programs_with_hypopg(15), private_folder(tmp_path, TARGET.name, "a killed one"))
        await server.make()
        outlived = subprocess.Popen(
            [server.programs.folder / "postgres", "-D", server.data, "-k", server.folder, "-c", "listen_addresses="],
            user=system_user(),
            cwd=server.folder,
            stderr=subprocess.DEVNULL,
        )
        while not (server.data / "postmaster.pid").exists() and outlived.poll() is None:
            await asyncio.sleep(0.02)
        assert not remove_left(tmp_path, "another target") and outlived.poll() is None
        assert remove_left(tmp_path, TARGET.name) == (server.folder.name,) and outlived.wait(10) is not None and not left(tmp_path)


@contextmanager
def only(folder: Path | None) -> Iterator[None]:
    """PostgreSQL's programs are those of the folder alone."""
    with pytest.MonkeyPatch.context() as patched, tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        if folder is not None:
            (place / "18").mkdir()
            (place / "18" / "bin").symlink_to(folder)
        patched.setattr(private_postgres, "PROGRAM_FOLDER", place)
        patched.setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        yield


async def test_without_programs_or_hypopg_the_packages_are_told() -> None:
    """And which of both it is."""
    with only(None), pytest.raises(ApplicationError, match=r"15 or later .* not installed .* postgresql-15-hypopg"):
        await programs_with_hypopg(15)
    with (
        only(needed_programs18()),
        pytest.raises(ApplicationError, match=r"PostgreSQL 18 on this host has no hypopg.*postgresql-18-hypopg"),
    ):
        await programs_with_hypopg(15)
