"""Sizes of values on real servers: what types allow, and how long values are; and what an index does to writes that come later."""

import asyncpg
import pytest

from activities.index_given import Given
from activities.index_value_sizes import value_sizes, without_risky
from activities.postgres_catalog import read_catalog_of
from perfwright.analysis.indexes.definitions import IndexDefinition
from perfwright.analysis.indexes.entry_sizes import ValueSize, entry_risk
from perfwright.analysis.indexes.workload import read_workload
from tests.databases import fresh_database, observed_postgres, postgres18, server
from tests.postgres import PostgresServer

__all__ = ["observed_postgres", "postgres18", "server"]

TABLE = """
    CREATE DOMAIN code AS varchar(10); CREATE TYPE mood AS ENUM ('glad', 'sad');
    CREATE TABLE notes (id bigint PRIMARY KEY, at timestamptz, code code, name varchar(30), padded char(40), price numeric(12, 2),
                        total numeric, mood mood, address inet, note text, letter text, tags text[], "Said" text, long varchar(2000));
    INSERT INTO notes SELECT n, now(), 'c' || n % 9, 'name', 'p', 1, 1, 'sad', '10.0.0.1', repeat('n', n % 60), repeat('x', n % 1200),
                             ARRAY['a', 'b'], 'ä', repeat('l', 100) FROM generate_series(1, 3000) n;
    VACUUM ANALYZE notes
"""
BOUNDED = {"id": 8, "at": 8, "code": 44, "name": 124, "padded": 164, "price": 18, "total": 360, "mood": 4, "address": 22}
MEASURED = {"note": 59, "letter": 1_199, "tags": 5, "Said": 2, "long": 100}
LOWER, DAY = "(lower(note))", "(date_trunc('day'::text, at, 'UTC'::text))"


def index(*keys: str, include: tuple[str, ...] = (), expression: str = "") -> IndexDefinition:
    return IndexDefinition("public", "notes", keys, include, expression=expression)


async def test_what_types_allow_and_how_long_values_are(server: PostgresServer) -> None:
    """Bounds by type, also of domains; what has none is measured, and so is what could be too long together."""
    async with fresh_database(server, *TABLE.split(";")) as connection:
        wanted = [index(*BOUNDED), index("note", include=("tags", "Said")), index("letter"), index("long", "long")]
        sizes = await value_sizes(connection, [*wanted, *(index(expression=one) for one in (LOWER, DAY))], 30.0)
        unmeasured = await value_sizes(connection, [index("note")], 0.0)
    assert {name: sizes["public", "notes", name].most_bytes for name in BOUNDED} == BOUNDED
    assert {name: sizes["public", "notes", name].longest_bytes for name in MEASURED} == MEASURED
    assert sizes["public", "notes", "long"].most_bytes == 8_004 and sizes["public", "notes", "id"].longest_bytes is None
    assert sizes["public", "notes", LOWER] == ValueSize(None, 59) and sizes["public", "notes", DAY] == ValueSize(8)
    assert unmeasured["public", "notes", "note"] == ValueSize()


async def test_an_index_that_would_refuse_later_writes_is_no_candidate(server: PostgresServer) -> None:
    """A letter of 1,199 bytes is the longest now, and the index can be built; one of 3,000 would be refused by INSERT. Short notes are
    candidates still, with the risk told."""
    texts = ["SELECT id FROM notes WHERE letter = 'x'", "SELECT id FROM notes WHERE note = 'n'", "SELECT at FROM notes WHERE id = 7"]
    async with fresh_database(server, *TABLE.split(";")) as connection:
        catalog = await read_catalog_of(connection)
        # As where most letters are short: the average width says nothing of the longest.
        narrow = [one.model_copy(update={"average_width_bytes": 20}) for one in catalog.tables[0].columns]
        catalog = catalog.model_copy(update={"tables": (catalog.tables[0].model_copy(update={"columns": tuple(narrow)}),)})
        workload = read_workload(texts, (1.0,) * 3, catalog, 10**9)
        given = Given(workload, (), catalog, ())
        left = (await without_risky(given, connection, 30.0)).workload.candidates
        nothing_known = (await without_risky(given, connection, 0.0)).workload.candidates
        sizes = await value_sizes(connection, left, 30.0)
        await connection.execute("CREATE INDEX ON notes (letter)")
        long = "INSERT INTO notes (id, letter) SELECT 0, string_agg(md5(n::text), '') FROM generate_series(1, 120) n"
        with pytest.raises(asyncpg.ProgramLimitExceededError, match="2704"):
            await connection.execute(long)
    assert any("letter" in one.columns for one in workload.candidates) and not any("letter" in one.columns for one in left)
    about_notes = [one for one in left if "note" in one.columns]
    assert about_notes and all((risk := entry_risk(one, sizes)) and risk.fits for one in about_notes)
    assert not any("note" in one.columns for one in nothing_known)
