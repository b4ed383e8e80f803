"""What an index costs those who write: WAL bytes per statement, relative to what it writes anyway.

Measured with EXPLAIN (ANALYZE, WAL) on PostgreSQL 15, where they are the same in every run: an insert, and an update that is not
heap-only, writes one record of about 64 bytes per index and row. An update stays heap-only (HOT; documentation, 73.7) while no index has
one of its columns, as key, carried along or in a predicate; the first that has one makes it write 124 bytes more, and every other index of
the table counts from then on. Full-page images after a checkpoint come on top and are not counted: they depend on when.
"""

import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from perfwright.analysis.indexes.definitions import IndexDefinition
from perfwright.analysis.query_advice.existing_indexes import index_keys
from perfwright.analysis.query_advice.plan_view import Tables
from perfwright.analysis.statements.parsing import Unreadable, syntax_tree
from perfwright.models.database import Catalog, IndexFacts, TableFacts

ENTRY_BYTES = 64
"""WAL of one index entry."""
LOST_HOT_BYTES = 124
"""WAL of an update that cannot stay on its page's chain any more, beyond the index entries."""
ROW_BYTES = 60
"""WAL of a heap record without its row: header, block reference, tuple header."""
DEFAULT_ROW_BYTES = 60


@dataclass(frozen=True)
class WriteStatement:
    """An INSERT, UPDATE or DELETE of the workload."""

    table: TableFacts
    kind: Literal["insert", "update", "delete"]
    columns: frozenset[str] = frozenset()
    """Columns that an UPDATE sets."""
    weight: float = 1.0
    """As that of a query: what share of the workload it is."""


def write_statement(text: str, catalog: Catalog, weight: float = 1.0) -> WriteStatement | None:
    """What a text writes; None for anything but a plain INSERT, UPDATE or DELETE of a table that the catalog lists."""
    kinds: dict[str, Literal["insert", "update", "delete"]] = {"InsertStmt": "insert", "UpdateStmt": "update", "DeleteStmt": "delete"}
    try:
        tree = syntax_tree(text)
    except Unreadable:
        return None
    node = next(iter(tree))
    relation = tree[node].get("relation") if node in kinds else None
    if not isinstance(relation, dict):
        return None
    relation = relation.get("RangeVar", relation)
    table = Tables(catalog).find(str(relation.get("relname", "")), None, str(relation.get("schemaname", "")))
    if table is None:
        return None
    targets = tree[node].get("targetList", ()) if node == "UpdateStmt" else ()
    names = frozenset(str(one["ResTarget"]["name"]) for one in targets if one.get("ResTarget", {}).get("name"))
    return WriteStatement(table, kinds[node], names, weight)


def wal_bytes(write: WriteStatement, indexes: Iterable[IndexDefinition]) -> float:
    """WAL bytes per row written, full-page images aside, when `indexes` exist beside those the table has."""
    row = ROW_BYTES + (sum(one.average_width_bytes or 0 for one in write.table.columns) or DEFAULT_ROW_BYTES)
    if write.kind == "delete":
        return row
    there = (write.table.schema_name, write.table.name)
    added = [one for one in indexes if (one.schema_name, one.table_name) == there]
    entries = (len(write.table.indexes) + len(added)) * ENTRY_BYTES
    if write.kind == "insert":
        return row + entries
    hot = not any(_of_existing(one) & write.columns for one in write.table.indexes)
    if hot and not any(touches(one, write.columns) for one in added):
        return row
    return row + LOST_HOT_BYTES + entries


def write_penalty(writes: Sequence[WriteStatement], indexes: Collection[IndexDefinition]) -> float:
    """Sum over the writes of weight times log of how much more WAL each writes: in the unit of the gains of queries."""
    return sum(one.weight * math.log(wal_bytes(one, indexes) / wal_bytes(one, ())) for one in writes)


def touches(index: IndexDefinition, columns: Collection[str]) -> bool:
    """Whether changing these columns changes the index."""
    words = set(re.findall(r"\w+", f"{index.predicate} {index.expression}"))
    return bool((index.columns | words) & set(columns))


def _of_existing(index: IndexFacts) -> set[str]:
    return {*index_keys(index), *index.include, *re.findall(r"\w+", " ".join((index.predicate, *index.keys)))}
