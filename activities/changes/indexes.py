"""CREATE and DROP INDEX CONCURRENTLY: bounded in their waits, checked for validity, and cleaned of what a failed build leaves behind.

An index is taken for ours only with the definition that was recorded before, on the table that was recorded, under a name that was free.
The undo of a drop makes the index again from the definition that the server told.
"""

from typing import TYPE_CHECKING, ClassVar

from activities.changes.index_facts import (
    FoundIndex,
    FoundTable,
    definition_on_copy,
    find_index,
    find_table,
    gather_statistics,
    indexes_like,
    is_alone_unique,
    schema_of_index,
    stands,
)
from activities.changes.kind import NotAllowed, Prepared, Site, only, passed, refused
from activities.changes.postgres_session import changing, refuse_unsuited
from perfwright.analysis.changes.index_statements import IndexStatement, NotAnIndex, concurrently, read_create, read_name
from perfwright.analysis.masking.plans import masked_expression
from perfwright.analysis.query_advice.identifiers import literal, qualified
from perfwright.models.change import Change, IndexSpec
from perfwright.models.target import Operation
from perfwright.models.undo import ChangeCheck, ChangeDescription, ChangeOrder, Standing, UndoRecord
from perfwright.models.undo_data import IndexUndo

if TYPE_CHECKING:
    import asyncpg

BROKEN_VERSIONS = range(140_000, 140_004)
"""CREATE INDEX CONCURRENTLY may corrupt (release notes of PostgreSQL 14.4)."""
OLD_TRANSACTION_S = 60.0
REVERT_LOCK_S = 30.0
"""Undoing waits longer: it waits for older transactions, and writers go on meanwhile."""


class Indexes:
    """Makes and drops indexes."""

    spec: ClassVar = IndexSpec
    operation: ClassVar[Operation | None] = "ddl"
    looks_itself: ClassVar[bool] = False

    async def describe(self, order: ChangeOrder, site: Site) -> ChangeDescription:
        spec = only(order.spec, IndexSpec)
        undo, size_bytes, waiting = await self._prepared(order, site)
        statement = _shown(undo, order)
        name = qualified(undo.schema_name, undo.name)
        drop = f"DROP INDEX CONCURRENTLY {name}"
        creates = undo.action == "create"
        return ChangeDescription(
            change=Change(
                kind="sql",
                title=f"{'Create' if creates else 'Drop'} index {name}",
                apply=f"{statement if creates else drop};",
                undo=f"{drop if creates else statement};",
                risk="observe",
                undo_cost="moments" if creates else f"the index is built again ({_told(size_bytes)}): about as long as its first build",
                spec=spec,
            ),
            blast_radius="writers and readers of the table go on; each write keeps one more index"
            if creates
            else "statements that used the index are planned without it from now on",
            cost=f"two scans of the table ({_told(size_bytes)}), an ANALYZE of it if the index has expressions, disk for the index,"
            f" waits for older transactions (at most {spec.lock_timeout_s:g} s each)"
            if creates
            else f"waits for older transactions (at most {spec.lock_timeout_s:g} s)",
            survives_restart=True,
            warnings=tuple(filter(None, (waiting,))),
        )

    async def check(self, order: ChangeOrder, site: Site) -> tuple[ChangeCheck, ...]:
        return (passed("statement", _shown(await self._ready(order, site), order)),)

    async def prepare(self, order: ChangeOrder, site: Site) -> Prepared:
        undo = await self._ready(order, site)
        name = f"{undo.schema_name}.{undo.name}"
        return Prepared(f"index {undo.database} {name}"[:1_000], f"{undo.action.capitalize()} index {name}", undo)

    async def apply(self, record: UndoRecord, site: Site) -> None:
        spec = only(record.spec, IndexSpec)
        undo = only(record.undo, IndexUndo)
        async with changing(record.target, site, record.change_id, lock_timeout_s=spec.lock_timeout_s, limit_s=spec.limit_s) as connection:
            await _refuse_another_database(connection, record)
            if undo.action == "drop":
                await _drop(connection, undo)
                return
            found = await find_index(connection, undo.schema_name, undo.name)
            if found is not None and not found.valid:  # what an earlier attempt left cannot be completed
                await _drop(connection, undo)
                found = None
            if found is None:
                await _make(connection, record)
            await gather_statistics(connection, undo.schema_name, undo.name)

    async def look(self, record: UndoRecord, site: Site) -> Standing:
        undo = only(record.undo, IndexUndo)
        async with changing(record.target, site, record.change_id) as connection:
            await _refuse_another_database(connection, record)
            found = await find_index(connection, undo.schema_name, undo.name)
            if found is None and (now := await _other_name(connection, undo)):
                return Standing(word="foreign", told=f"it is called {now} now: give it its name back, or leave it as it is")
            if found is None and undo.action == "drop":
                return await _without(connection, undo)
        if found is None:
            return Standing(word="before")
        return _standing(undo, found)

    async def revert(self, record: UndoRecord, site: Site) -> None:
        spec = only(record.spec, IndexSpec)
        undo = only(record.undo, IndexUndo)
        more = {"default_tablespace": undo.tablespace}
        async with changing(
            record.target, site, record.change_id, lock_timeout_s=max(REVERT_LOCK_S, spec.lock_timeout_s), limit_s=spec.limit_s, more=more
        ) as connection:
            await _refuse_another_database(connection, record)
            found = await find_index(connection, undo.schema_name, undo.name)
            if undo.action == "create":
                if found is not None:
                    await _drop(connection, undo)
                return
            if found is not None and not found.valid:
                await _drop(connection, undo)
                found = None
            if found is None:
                await connection.execute("SELECT set_config('search_path', 'pg_catalog', false)")
                await _make(connection, record)
            await _dress(connection, undo)
            await gather_statistics(connection, undo.schema_name, undo.name)

    async def _ready(self, order: ChangeOrder, site: Site) -> IndexUndo:
        """What undoes it, where nothing stands in the way just now. Raises NotAllowed."""
        undo, _, waiting = await self._prepared(order, site)
        if waiting:
            raise NotAllowed("old transactions", waiting)
        return undo

    async def _prepared(self, order: ChangeOrder, site: Site) -> tuple[IndexUndo, int, str]:
        """What undoes it, the size of the table (create) or index (drop), and what a build would wait for. Raises NotAllowed."""
        spec = only(order.spec, IndexSpec)
        try:
            statement = read_create(spec.create) if spec.create else None
            schema, name = read_name(spec.drop) if spec.drop else ("", "")
        except NotAnIndex as mistake:
            raise NotAllowed("statement", str(mistake)) from None
        # Another mark than the change's own: looking must not end what carries it out at the same time.
        async with changing(order.target, site, f"look {order.change_id}") as connection:
            await refuse_unsuited(connection, order.target, site)
            if statement is not None:
                return await _to_create(connection, statement)
            return await _to_drop(connection, await schema_of_index(connection, schema, name), name, spec.keeper)


async def _to_create(connection: "asyncpg.Connection", statement: IndexStatement) -> tuple[IndexUndo, int, str]:
    if await connection.fetchval("SELECT current_setting('server_version_num')::int") in BROKEN_VERSIONS:
        raise NotAllowed("server", "CREATE INDEX CONCURRENTLY may corrupt in PostgreSQL 14.0 to 14.3: update it first")
    table = await find_table(connection, statement)
    if table is None:
        raise NotAllowed("statement", f"there is no table {statement.table[:100]} that our role may see")
    _refuse_table(table, statement)
    definition = await definition_on_copy(connection, statement, table.schema)
    waiting = await connection.fetchval(
        """
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
          AND (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL) AND xact_start < now() - make_interval(secs => $1)
        """,
        OLD_TRANSACTION_S,
    )
    told = f"{waiting} transactions are older than {OLD_TRANSACTION_S:.0f} s; the build would wait for them: end them first"
    undo = IndexUndo(
        action="create",
        database=await connection.fetchval("SELECT current_database()"),
        schema_name=table.schema,
        name=statement.name,
        table_oid=table.oid,
        statement=statement.concurrently(table.schema),
        definition=definition,
        unique=statement.unique,
        twins=await indexes_like(connection, table.oid, definition, unique=statement.unique),
    )
    return undo, table.size_bytes, told if waiting else ""


def _refuse_table(table: FoundTable, statement: IndexStatement) -> None:
    name = f"{table.schema}.{statement.table}"
    if table.kind == "p":
        raise NotAllowed("statement", f"{name} is partitioned: build an index on each partition, then attach them")
    if table.kind not in ("r", "m") or table.temporary:
        raise NotAllowed("statement", f"{name} is no table that keeps rows")
    if not table.ours:
        raise NotAllowed("statement", f"our role does not own {name}: connect as its owner, or as a member of that role")
    if table.taken:
        raise NotAllowed("statement", f"there is something named {statement.name} in {table.schema} already")


async def _to_drop(connection: "asyncpg.Connection", schema: str, name: str, keeper: str) -> tuple[IndexUndo, int, str]:
    found = await find_index(connection, schema, name)
    if found is None:
        raise NotAllowed("statement", f"there is no index {schema}.{name}")
    if found.constrains:
        raise NotAllowed("statement", f"{schema}.{name} keeps a constraint, or is the replica identity: it is never dropped")
    if found.partitioned:
        raise NotAllowed("statement", f"{schema}.{name} belongs to a partitioned index")
    if found.clustered:
        raise NotAllowed("statement", f"the table is clustered by {schema}.{name}: ALTER TABLE ... SET WITHOUT CLUSTER first")
    if not found.valid:
        raise NotAllowed("statement", f"{schema}.{name} is invalid: it could not be made again as it is; drop it by hand")
    if not found.ours:
        raise NotAllowed("statement", f"our role does not own {schema}.{name}")
    if keeper and not await stands(connection, found.table_oid, keeper):
        raise NotAllowed("statement", f"{keeper}, which was to serve in place of {schema}.{name}, does not stand any more")
    if await is_alone_unique(connection, found):
        raise NotAllowed(
            "statement",
            f"{schema}.{name} is unique, and no other index keeps the same from coming twice: what comes meanwhile could not be undone",
        )
    undo = IndexUndo(
        action="drop",
        database=await connection.fetchval("SELECT current_database()"),
        schema_name=schema,
        name=name,
        table_oid=found.table_oid,
        statement=concurrently(found.full),
        definition=found.definition,
        unique=found.unique,
        oid=found.oid,
        tablespace=found.tablespace,
        comment=found.comment,
        statistics=found.statistics,
    )
    return undo, found.size_bytes, ""


def _shown(undo: IndexUndo, order: ChangeOrder) -> str:
    return masked_expression(undo.statement, "postgresql") if order.mask_literals else undo.statement


def _standing(undo: IndexUndo, found: FoundIndex) -> Standing:
    same = (found.table_oid, found.definition, found.unique) == (undo.table_oid, undo.definition, undo.unique)
    if not same or found.constrains:
        return Standing(
            word="foreign", told=f"another index of that name stands there: {masked_expression(found.full, 'postgresql')[:300]}"
        )
    if not found.valid:
        return Standing(word="partial", told="an invalid index is left of an attempt")
    return Standing(word="changed" if undo.action == "create" else "before", told=_told(found.size_bytes))


async def _refuse_another_database(connection: "asyncpg.Connection", record: UndoRecord) -> None:
    undo = only(record.undo, IndexUndo)
    if (database := await connection.fetchval("SELECT current_database()")) != undo.database:
        told = f"the connection leads to database {database}, the change was made in {undo.database}"
        raise refused(record.target, told, way_out=f"Put the earlier connection string back into {record.target.dsn_env}")


async def _other_name(connection: "asyncpg.Connection", undo: IndexUndo) -> str:
    """What our index, or the one to be dropped, is called where somebody renamed it or moved it elsewhere; empty: it is not there."""
    alike = await indexes_like(connection, undo.table_oid, undo.definition, unique=undo.unique)
    if undo.action == "drop":
        return alike.get(undo.oid, "")
    known = alike if undo.twins is None else undo.twins  # REINDEX CONCURRENTLY gives a twin another oid
    return next((title for oid, title in alike.items() if oid not in known and title not in known.values()), "")


async def _without(connection: "asyncpg.Connection", undo: IndexUndo) -> Standing:
    """What became of the table of an index that was dropped: another one under its name must not get the index by its undo."""
    statement = read_create(undo.statement)
    row = await connection.fetchrow(
        """
        SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS name, c.oid = pg_catalog.to_regclass($2) AS same
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::bigint::oid
        """,
        undo.table_oid,
        qualified(statement.schema_name, statement.table),
    )
    if row is None:
        return Standing(word="gone", told="its table was dropped")
    if not row["same"]:
        told = f"its table is called {row['name']} now: give it its name back, or make the index there by hand"
        return Standing(word="foreign", told=told)
    return Standing(word="changed")


async def _make(connection: "asyncpg.Connection", record: UndoRecord) -> None:
    """Raises TargetRefused, with the server's words, where rows or columns do not allow it."""
    import asyncpg

    try:
        await connection.execute(only(record.undo, IndexUndo).statement)
    except (asyncpg.IntegrityConstraintViolationError, asyncpg.UndefinedColumnError, asyncpg.UndefinedObjectError) as mistake:
        told = f"the index cannot be made: {str(mistake).splitlines()[0][:300]}"
        raise refused(record.target, told, way_out="Correct the rows or columns; or `perfwright undo run ID --leave` gives it up") from None


async def _drop(connection: "asyncpg.Connection", undo: IndexUndo) -> None:
    await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {qualified(undo.schema_name, undo.name)}")


async def _dress(connection: "asyncpg.Connection", undo: IndexUndo) -> None:
    """What belongs to an index and does not stand in its definition."""
    name = qualified(undo.schema_name, undo.name)
    found = await find_index(connection, undo.schema_name, undo.name)
    if found is not None and found.comment != undo.comment:
        await connection.execute(f"COMMENT ON INDEX {name} IS {'NULL' if undo.comment is None else literal(undo.comment)}")
    for column, target in undo.statistics.items():
        if found is not None and found.statistics.get(column) != target:
            await connection.execute(f"ALTER INDEX {name} ALTER COLUMN {int(column)} SET STATISTICS {int(target)}")


def _told(size_bytes: int) -> str:
    return f"{size_bytes / 1024**2:.1f} MB" if size_bytes >= 1024**2 else f"{size_bytes / 1024:.0f} kB"
