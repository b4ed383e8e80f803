"""Statistics from a target into a private server: sizes of relations, of columns, extended ones; and the role that plans with them.

Nothing of a value is told by what goes wrong: the server's message would quote it, so its code is kept alone.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from activities.postgres_connection import reading
from activities.statistics_queries import (
    COLUMN,
    COLUMNS,
    EXTENDED,
    EXTENDED_CASTS,
    EXTENDED_ROW,
    EXTENDED_ROW_OF_EACH,
    FILES,
    HELPERS,
    NUMBERS,
    PLANNER,
    RELATIONS,
    SESSION,
    SIZE,
)
from perfwright.analysis.explaining.sql_texts import quoted_literal
from perfwright.analysis.indexes.btree_tops import LEAF_PAGE, btree_height
from perfwright.analysis.indexes.extended_statistics import dependencies_bytes, ndistinct_bytes

if TYPE_CHECKING:
    import asyncpg

ROLE = "perfwright_planner"
RELATIONS_MOST = 20_000
INHERITED_SINCE = 15
"""Versions that keep extended statistics of a table with and without those below it apart."""
TOLD_MOST = 5


@dataclass(frozen=True)
class RelationFile:
    """A relation's file on the private server, and how long it is to be."""

    path: Path
    pages: int
    height: int


@dataclass
class Copied:
    """What was copied so far. `refused`: columns, with the server's code and nothing of what they hold."""

    relations: int = 0
    columns: int = 0
    refused: list[str] = field(default_factory=list)
    blind: list[str] = field(default_factory=list)
    """Tables with rows and without a column whose statistics our role may see."""
    value_lists: list[str] = field(default_factory=list)
    """Extended statistics with most common values, which cannot be written."""
    warnings: list[str] = field(default_factory=list)

    @property
    def told(self) -> tuple[str, ...]:
        """In what the planner's view differs."""
        found = list(dict.fromkeys(self.warnings))
        for names, what in (
            (self.blind, "tables have no statistics that our role may see, and the planner guesses there"),
            (self.refused, "statistics were not taken over, and the planner guesses there"),
            (self.value_lists, "extended statistics are copied without their lists of most common values"),
        ):
            if names:
                more = f", and {len(names) - TOLD_MOST} more" if len(names) > TOLD_MOST else ""
                found.append(f"{len(names)} {what}: {', '.join(names[:TOLD_MOST])}{more}")
        return tuple(found)


async def make_planner(administrator: "asyncpg.Connection", password: str) -> None:
    """The role that asks: it may do nothing but read."""
    await administrator.execute(f"CREATE ROLE {ROLE} LOGIN BYPASSRLS PASSWORD {quoted_literal(password)}")
    await administrator.execute(PLANNER.format(role=ROLE))


async def copy_statistics(
    source: "asyncpg.Connection",
    administrator: "asyncpg.Connection",
    majors: tuple[int, int],
    tables: Collection[tuple[str, str]],
    copied: Copied,
) -> list[Any]:
    """Relation by relation, so that no more than one table's statistics are in memory. `majors`: versions of both servers. Gives what the
    source has: name, method and length of each relation."""
    await administrator.execute(SESSION.format(local=""))
    await administrator.execute(HELPERS)
    await administrator.execute(EXTENDED_CASTS)
    ordered = sorted(tables)
    async with reading(source):
        found = await source.fetch(RELATIONS, [schema for schema, _ in ordered], [name for _, name in ordered], RELATIONS_MOST)
    if len(found) == RELATIONS_MOST:
        copied.warnings.append(f"more than {RELATIONS_MOST:,} relations: the smallest are left empty")
    sizes = [(one["schema_name"], one["name"], one["pages"], one["rows"], one["all_visible"]) for one in found]
    await administrator.executemany(SIZE, sizes)
    for one in found:
        schema, name, is_table = one["schema_name"], one["name"], one["method"] in ("", "heap")
        async with reading(source):
            await source.execute(SESSION.format(local="LOCAL"))
            columns = await source.fetch(COLUMNS, schema, name)
            inherited = "e.inherited" if majors[0] >= INHERITED_SINCE else "false"
            extended = await source.fetch(EXTENDED.format(inherited=inherited), schema, name) if is_table else []
            numbers = await source.fetch(NUMBERS, schema, name) if extended else []
        if not columns and one["rows"] > 0 and is_table:
            copied.blind.append(f"{schema}.{name}")
        for column in columns:
            await _copy_column(administrator, schema, name, column, copied)
        if extended:
            there = {row["name"]: row["number"] for row in await administrator.fetch(NUMBERS, schema, name)}
            renumbered = {row["number"]: there[row["name"]] for row in numbers if row["name"] in there}
            for row in extended:
                await _copy_extended(administrator, majors[1], row, renumbered, copied)
        copied.relations += 1
    return found


async def relation_files(administrator: "asyncpg.Connection", data: Path, relations: Collection[Any]) -> list[RelationFile]:
    """Where the files of these relations (of `copy_statistics`) are, how long, and how high if it is a B-tree."""
    lengths = {(one["schema_name"], one["name"]): one for one in relations}
    found = []
    for row in await administrator.fetch(FILES):
        if size := lengths.get((row["schema_name"], row["name"])):
            tree = size["method"] == "btree" and size["blocks"] > LEAF_PAGE
            height = btree_height(size["blocks"], row["key_width"]) if tree else 0
            found.append(RelationFile(data / row["path"], size["blocks"], height))
    return found


async def _copy_column(administrator: "asyncpg.Connection", schema: str, table: str, column: Any, copied: Copied) -> None:
    from asyncpg.exceptions import InterfaceError, PostgresError

    try:
        done = await administrator.execute(COLUMN, schema, table, *column)
    except (PostgresError, InterfaceError) as trouble:
        copied.refused.append(f"{schema}.{table}.{column['name']} ({getattr(trouble, 'sqlstate', None) or type(trouble).__name__})")
    else:
        copied.columns += int(done.rpartition(" ")[2])


async def _copy_extended(administrator: "asyncpg.Connection", major: int, row: Any, numbers: Mapping[int, int], copied: Copied) -> None:
    from asyncpg.exceptions import InterfaceError, PostgresError

    title = f"{row['schema_name']}.{row['name']}"
    try:
        distinct = ndistinct_bytes(row["distinct_counts"], numbers) if row["distinct_counts"] else None
        dependencies = dependencies_bytes(row["dependencies"], numbers) if row["dependencies"] else None
        where = (row["schema_name"], row["name"], distinct, dependencies)
        if major >= INHERITED_SINCE:
            await administrator.execute(EXTENDED_ROW, *where, row["inherited"])
        else:
            await administrator.execute(EXTENDED_ROW_OF_EACH, *where)
    except (ValueError, KeyError, PostgresError, InterfaceError) as trouble:
        copied.refused.append(f"{title} ({getattr(trouble, 'sqlstate', None) or type(trouble).__name__})")
    if row["has_values"]:
        copied.value_lists.append(title)
