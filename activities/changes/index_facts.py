"""What the catalog tells of one index, and what the server makes of a statement that would create one."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from activities.changes.kind import NotAllowed
from perfwright.analysis.changes.index_statements import IndexStatement, NotAnIndex, definition_of
from perfwright.analysis.query_advice.identifiers import qualified, quoted

if TYPE_CHECKING:
    import asyncpg

_INDEX = """
SELECT c.oid::bigint AS oid, i.indrelid::bigint AS table_oid, i.indisvalid AND i.indisready AND i.indislive AS valid,
       i.indisunique AS unique,
       i.indisprimary OR i.indisreplident OR EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = c.oid) AS constrains,
       i.indisclustered AS clustered, c.relkind = 'I' OR c.relispartition AS partitioned, pg_catalog.pg_get_indexdef(c.oid) AS definition,
       coalesce((SELECT s.spcname FROM pg_catalog.pg_tablespace s WHERE s.oid = c.reltablespace), '') AS tablespace,
       pg_catalog.obj_description(c.oid, 'pg_class') AS comment, pg_catalog.pg_relation_size(c.oid) AS bytes,
       pg_catalog.pg_has_role(c.relowner, 'USAGE') AS ours, t.relname AS "table", n.nspname AS schema,
       i.indexprs IS NOT NULL AND NOT EXISTS (
           SELECT FROM pg_catalog.pg_stats s WHERE s.schemaname = n.nspname AND s.tablename = c.relname) AS unmeasured
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
WHERE n.nspname = $1 AND c.relname = $2
"""
_KEPT_BY_ANOTHER = """
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_index k ON k.indrelid = i.indrelid AND k.indexrelid <> i.indexrelid
     WHERE i.indexrelid = $1::bigint::oid AND k.indisunique
       AND k.indimmediate AND k.indisvalid AND k.indisready AND k.indislive AND k.indpred IS NULL AND k.indexprs IS NULL
       AND (pg_catalog.to_jsonb(i) ->> 'indnullsnotdistinct' IS DISTINCT FROM 'true'
            OR pg_catalog.to_jsonb(k) ->> 'indnullsnotdistinct' = 'true')
       AND NOT EXISTS (
           SELECT FROM pg_catalog.generate_series(0, k.indnkeyatts - 1) a WHERE NOT EXISTS (
               SELECT FROM pg_catalog.generate_series(0, i.indnkeyatts - 1) b
                WHERE i.indkey[b] = k.indkey[a] AND i.indcollation[b] = k.indcollation[a] AND i.indclass[b] = k.indclass[a])))
"""
_STATISTICS = """
SELECT attnum, attstattarget FROM pg_catalog.pg_attribute WHERE attrelid = $1::bigint::oid AND attnum > 0 AND attstattarget >= 0
"""
_OF_TABLE = """
SELECT c.oid::bigint AS oid, pg_catalog.format('%I.%I', n.nspname, c.relname) AS title, i.indisunique AS unique,
       pg_catalog.pg_get_indexdef(c.oid) AS definition
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE i.indrelid = $1::bigint::oid AND i.indisvalid ORDER BY c.oid
"""
_STANDS = """
SELECT EXISTS (SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE i.indrelid = $1::bigint::oid AND i.indisvalid AND i.indisready AND i.indislive
   AND $2 IN (n.nspname || '.' || c.relname, pg_catalog.format('%I.%I', n.nspname, c.relname)))
"""
_TABLE = """
SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relkind::text AS kind, pg_catalog.pg_has_role(c.relowner, 'USAGE') AS ours,
       pg_catalog.pg_table_size(c.oid) AS bytes, c.relpersistence::text AS persistence,
       EXISTS (SELECT FROM pg_catalog.pg_class o WHERE o.relnamespace = c.relnamespace AND o.relname = $2) AS taken
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = pg_catalog.to_regclass($1)
"""


@dataclass(frozen=True)
class FoundIndex:
    """An index as it stands."""

    oid: int
    table_oid: int
    schema: str
    table: str
    valid: bool
    unique: bool
    constrains: bool
    clustered: bool
    partitioned: bool
    ours: bool
    """We may drop it."""
    full: str
    """As pg_get_indexdef tells it."""
    definition: str
    tablespace: str
    comment: str | None
    size_bytes: int
    statistics: dict[int, int]
    unmeasured: bool
    """It has expressions, and no statistics of them."""


@dataclass(frozen=True)
class FoundTable:
    """The table that gets an index."""

    oid: int
    schema: str
    kind: str
    ours: bool
    size_bytes: int
    temporary: bool
    taken: bool
    """Something there has the index's name already."""


async def find_index(connection: "asyncpg.Connection", schema: str, name: str) -> FoundIndex | None:
    """None where there is none of that name. Definitions name schemas in full."""
    async with connection.transaction(readonly=True):
        await connection.execute("SELECT pg_catalog.set_config('search_path', 'pg_catalog', true)")
        row = await connection.fetchrow(_INDEX, schema, name)
        if row is None:
            return None
        statistics = await connection.fetch(_STATISTICS, row["oid"])
    return FoundIndex(
        oid=row["oid"],
        table_oid=row["table_oid"],
        schema=row["schema"],
        table=row["table"],
        valid=row["valid"],
        unique=row["unique"],
        constrains=row["constrains"],
        clustered=row["clustered"],
        partitioned=row["partitioned"],
        ours=row["ours"],
        full=row["definition"],
        definition=definition_of(row["definition"]),
        tablespace=row["tablespace"],
        comment=row["comment"],
        size_bytes=row["bytes"],
        statistics={one["attnum"]: one["attstattarget"] for one in statistics},
        unmeasured=row["unmeasured"],
    )


async def gather_statistics(connection: "asyncpg.Connection", schema: str, name: str) -> None:
    """ANALYZE the table of an index whose expressions have no statistics: these belong to the index and go with it, a new one has none, and
    the planner guesses until autovacuum comes by."""
    found = await find_index(connection, schema, name)
    if found is not None and found.unmeasured:
        await connection.execute(f"ANALYZE {qualified(found.schema, found.table)}")


async def indexes_like(connection: "asyncpg.Connection", table_oid: int, definition: str, *, unique: bool) -> dict[int, str]:
    """Those of a table that are whole and made alike, whatever their name: oid -> `schema.name`."""
    alike = {}
    async with connection.transaction(readonly=True):
        await connection.execute("SELECT pg_catalog.set_config('search_path', 'pg_catalog', true)")
        for row in await connection.fetch(_OF_TABLE, table_oid):
            if row["unique"] == unique and definition_of(row["definition"]) == definition:
                alike[row["oid"]] = row["title"]
    return alike


async def is_alone_unique(connection: "asyncpg.Connection", found: FoundIndex) -> bool:
    """It is unique, and no other index sees to that: none is made alike, and none is on all or some of its columns over the whole table."""
    if not found.unique or await connection.fetchval(_KEPT_BY_ANOTHER, found.oid):
        return False
    return not (await indexes_like(connection, found.table_oid, found.definition, unique=True)).keys() - {found.oid}


async def stands(connection: "asyncpg.Connection", table_oid: int, title: str) -> bool:
    """Whether a table has a valid index of that name, with its schema."""
    return bool(await connection.fetchval(_STANDS, table_oid, title))


async def schema_of_index(connection: "asyncpg.Connection", schema: str, name: str) -> str:
    """Where an index without a schema is found; as given with one."""
    if schema:
        return schema
    found = await connection.fetchval(
        "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)", quoted(name)
    )
    return str(found or "public")


async def find_table(connection: "asyncpg.Connection", statement: IndexStatement) -> FoundTable | None:
    """None where there is none."""
    row = await connection.fetchrow(_TABLE, qualified(statement.schema_name, statement.table), statement.name)
    if row is None:
        return None
    return FoundTable(row["oid"], row["schema"], row["kind"], row["ours"], row["bytes"], row["persistence"] == "t", row["taken"])


async def definition_on_copy(connection: "asyncpg.Connection", statement: IndexStatement, schema: str) -> str:
    """What the server makes of the statement, on an empty temporary copy that is rolled back. Raises NotAllowed with the server's words."""
    import asyncpg

    transaction = connection.transaction()
    await transaction.start()
    try:
        copy = f"pg_temp.{quoted(statement.table)}"
        await connection.execute(f"CREATE TEMPORARY TABLE {quoted(statement.table)} (LIKE {qualified(schema, statement.table)})")
        await connection.execute(statement.on(copy))
        await connection.execute("SELECT pg_catalog.set_config('search_path', 'pg_catalog', true)")
        told = await connection.fetchval(
            "SELECT pg_get_indexdef(c.oid) FROM pg_class c WHERE c.relnamespace = pg_my_temp_schema() AND c.relname = $1", statement.name
        )
        return definition_of(str(told))
    except asyncpg.InsufficientPrivilegeError as denied:
        raise NotAllowed("statement", f"{denied}; GRANT TEMPORARY on the database lets it be tried on an empty copy") from None
    except (asyncpg.PostgresSyntaxError, asyncpg.PostgresError) as mistake:
        if isinstance(mistake, asyncpg.PostgresConnectionError):
            raise
        raise NotAllowed("statement", f"the server refuses it: {str(mistake)[:500]}") from None
    except NotAnIndex as mistake:
        raise NotAllowed("statement", str(mistake)) from None
    finally:
        if not connection.is_closed():
            await transaction.rollback()
