"""What kind of node a plan node is, whatever its version of PostgreSQL calls it."""

from typing import Literal

NodeKind = Literal[
    "seq scan",
    "index scan",
    "index only scan",
    "bitmap heap scan",
    "bitmap index scan",
    "bitmap combine",
    "cte scan",
    "function scan",
    "subquery scan",
    "work table scan",
    "other scan",
    "nested loop",
    "hash join",
    "merge join",
    "hash",
    "sort",
    "aggregate",
    "append",
    "gather",
    "limit",
    "materialize",
    "memoize",
    "modify table",
    "recursive union",
    "window",
    "unique",
    "set operation",
    "pass",
    "other",
]
"""`pass`: hands rows on one by one (Result, LockRows, ProjectSet)."""

_KINDS: dict[str, NodeKind] = {
    "Seq Scan": "seq scan",
    "Sample Scan": "other scan",
    "Index Scan": "index scan",
    "Index Only Scan": "index only scan",
    "Bitmap Heap Scan": "bitmap heap scan",
    "Bitmap Index Scan": "bitmap index scan",
    "BitmapAnd": "bitmap combine",
    "BitmapOr": "bitmap combine",
    "CTE Scan": "cte scan",
    "Function Scan": "function scan",
    "Table Function Scan": "function scan",
    "Subquery Scan": "subquery scan",
    "WorkTable Scan": "work table scan",
    "Tid Scan": "other scan",
    "Tid Range Scan": "other scan",
    "Foreign Scan": "other scan",
    "Custom Scan": "other scan",
    "Values Scan": "other scan",
    "Named Tuplestore Scan": "other scan",
    "Nested Loop": "nested loop",
    "Hash Join": "hash join",
    "Merge Join": "merge join",
    "Hash": "hash",
    "Sort": "sort",
    "Incremental Sort": "sort",
    "Aggregate": "aggregate",
    "Group": "aggregate",
    "Append": "append",
    "Merge Append": "append",
    "Gather": "gather",
    "Gather Merge": "gather",
    "Limit": "limit",
    "Materialize": "materialize",
    "Memoize": "memoize",
    "ModifyTable": "modify table",
    "Recursive Union": "recursive union",
    "WindowAgg": "window",
    "Unique": "unique",
    "SetOp": "set operation",
    "Result": "pass",
    "LockRows": "pass",
    "ProjectSet": "pass",
}
JOINS: frozenset[NodeKind] = frozenset({"nested loop", "hash join", "merge join"})
TABLE_SCANS: frozenset[NodeKind] = frozenset({"seq scan", "index scan", "index only scan", "bitmap heap scan"})
SCANS: frozenset[NodeKind] = TABLE_SCANS | {"cte scan", "function scan", "subquery scan", "work table scan", "other scan"}


def kind_of(node_type: str) -> NodeKind:
    """Of `Seq Scan`: "seq scan"; of a node type that is not known "other scan" or "other"."""
    return _KINDS.get(node_type, "other scan" if node_type.endswith(" Scan") else "other")
