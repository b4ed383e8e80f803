"""The lists of harmless names hold on real servers, and the judge agrees with what a real catalog says."""

from activities.postgres_catalog import read_catalog_of
from perfwright.analysis.statements.parsing import parse_statement
from perfwright.analysis.statements.safety import SafetyJudge
from perfwright.analysis.statements.server_names import HARMLESS_FUNCTIONS, OPERATORS, RELATIONS, TYPES, VOLATILE_BUT_HARMLESS
from tests.databases import observed_postgres, postgres18, server
from tests.postgres import PostgresServer

__all__ = ["observed_postgres", "postgres18", "server"]

OF_FUNCTIONS = """
SELECT proname AS name, bool_or(provolatile = 'v') AS volatile, bool_or(prokind = 'p') AS procedure
  FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace GROUP BY 1
"""
SCHEMA = """
CREATE TABLE orders (id int PRIMARY KEY, state text);
CREATE TABLE "Odd Name" (id int);
CREATE SCHEMA hidden;
CREATE FUNCTION hidden.upper(text) RETURNS text LANGUAGE sql VOLATILE AS 'SELECT $1';
CREATE FUNCTION total(orders) RETURNS int LANGUAGE plpgsql VOLATILE AS 'BEGIN RETURN nextval(''tickets''); END';
CREATE FUNCTION steady(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
CREATE SEQUENCE tickets;
CREATE DOMAIN percent AS int CHECK (nextval('tickets') > 0);
CREATE VIEW open_orders AS SELECT id FROM orders WHERE state = 'open';
CREATE VIEW counted AS SELECT o.total AS n FROM orders o;
CREATE VIEW over_counted AS SELECT n FROM counted;
"""


async def test_lists_hold_on_real_servers(server: PostgresServer) -> None:
    """No function that counts as harmless is volatile in any overload, and operators, types and relations are the server's own."""
    connection = await server.connect()
    try:
        volatile = {row["name"]: row["volatile"] or row["procedure"] for row in await connection.fetch(OF_FUNCTIONS)}
        assert {name for name in HARMLESS_FUNCTIONS if volatile.get(name)} == set()
        assert {"lower", "count", "extract", "now", "jsonb_agg"} <= HARMLESS_FUNCTIONS & volatile.keys()
        assert {name for name in VOLATILE_BUT_HARMLESS & volatile.keys() if not volatile[name]} == set()
        operators = {
            row[0] for row in await connection.fetch("SELECT oprname FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace")
        }
        assert operators <= OPERATORS
        changing = "SELECT count(*) FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode WHERE p.provolatile = 'v' AND o.oprnamespace = 'pg_catalog'::regnamespace"
        assert await connection.fetchval(changing) == 0
        kinds = dict(await connection.fetch("SELECT typname, typtype::text FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace"))
        assert {name for name in TYPES if kinds.get(name, "b") not in ("b", "r", "m", "p")} == set()
        relations = {
            row[0]
            for row in await connection.fetch(
                "SELECT relname FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v')"
            )
        }
        assert relations <= RELATIONS
    finally:
        await connection.close()


async def test_judged_by_the_catalog_of_a_server(server: PostgresServer) -> None:
    """Shadowed functions, calls that look like columns, domains and views are found through the catalog as it is really read."""
    connection = await server.connect((await server.new_database()).rpartition("/")[2])
    try:
        await connection.execute(SCHEMA)
        judge = SafetyJudge(await read_catalog_of(connection))
        safe = (
            "SELECT count(*), steady(id) FROM orders GROUP BY id",
            "SELECT * FROM open_orders",
            'SELECT * FROM "Odd Name"',
            "SELECT lower(state), random() FROM public.orders ORDER BY now()",
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace",
        )
        unsafe = (
            "SELECT upper(state) FROM orders",
            "SELECT hidden.upper(state) FROM orders",
            "SELECT o.total FROM orders o",
            "SELECT total(o) FROM orders o",
            "SELECT * FROM over_counted",
            "SELECT 5::percent",
            "SELECT * FROM tickets",
            "SELECT nextval('tickets')",
        )
        for text in safe:
            assert judge.judge(parse_statement(text)).safety == "reads only", text
        for text in unsafe:
            assert judge.judge(parse_statement(text)).safety == "volatile", text
        before = await connection.fetchval("SELECT last_value FROM tickets")
        for text in safe:
            await connection.fetch(text)
        assert await connection.fetchval("SELECT last_value FROM tickets") == before
        await connection.fetch("INSERT INTO orders VALUES (1)")
        await connection.fetch("SELECT o.total FROM orders o")
        assert await connection.fetchval("SELECT is_called FROM tickets"), "what looks like a column moved the sequence"
    finally:
        await connection.close()
