"""Plans of MariaDB (EXPLAIN and ANALYZE FORMAT=JSON) and MySQL 8 (EXPLAIN FORMAT=JSON) as one typed tree.

Sources: MariaDB documentation "ANALYZE FORMAT=JSON" (r_ fields are measured: rows and loops an average per loop, times in all), MySQL 8.4
reference manual, 10.8.2 "EXPLAIN Output Format". What is not known is passed over: a newer server has other keys.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["block", "table", "sort", "temporary", "join buffer", "union", "subquery", "other"]
MAX_NODES = 5_000
MAX_LEVELS = 180
TEXT_CHARACTERS = 10_000
ROW_COST = 0.1
"""Of a row that is looked at, where the server tells no cost: row_evaluate_cost of MySQL 8.4, 10.9.5 "The Optimizer Cost Model"."""
_KINDS: Mapping[str, Kind] = {
    "query_block": "block",
    "table": "table",
    "filesort": "sort",
    "ordering_operation": "sort",
    "temporary_table": "temporary",
    "grouping_operation": "temporary",
    "duplicates_removal": "temporary",
    "block-nl-join": "join buffer",
    "union_result": "union",
    "expression_cache": "subquery",
}
_SUBQUERIES = frozenset(
    {"subqueries", "attached_subqueries", "select_list_subqueries", "having_subqueries", "order_by_subqueries", "group_by_subqueries"}
)
_NO_NODES = frozenset({"query_optimization", "r_engine_stats", "cost_info", "used_columns", "used_key_parts", "possible_keys", "ref"})


class NotAPlan(ValueError):
    """The document is none of the two servers' plans."""


@dataclass
class MysqlNode:
    """One step. `rows` and `filtered` are the planner's, `r_rows` and `r_filtered` were measured; rows per loop, shares in percent."""

    id: int
    parent: int
    kind: Kind
    name: str
    """Key of the JSON: `table`, `filesort`."""
    table: str = ""
    """As the statement calls it: an alias, or `<derived2>`."""
    access: str = ""
    """`ALL`, `index`, `range`, `ref`, `eq_ref`, `const`."""
    key: str = ""
    key_parts: tuple[str, ...] = ()
    rows: float | None = None
    filtered: float = 100.0
    loops: float | None = None
    r_rows: float | None = None
    r_filtered: float | None = None
    condition: str = ""
    sort_key: str = ""
    sort_passes: float = 0.0
    limit: float | None = None
    join_buffer: str = ""
    cost: float | None = None
    pages: float | None = None
    own_ms: float | None = None
    total_ms: float = 0.0
    """With everything below."""
    in_subquery: bool = False
    position: int = 0
    """Among the steps of its nested loop: the first is 0."""
    children: list[int] = field(default_factory=list)

    @property
    def title(self) -> str:
        """`ALL on orders`, `ref by_customer on o`."""
        if self.kind == "table":
            how = f"{self.access or 'read'}{f' {self.key}' if self.key else ''}"
            return f"{how} on {self.table}" if self.table else how
        titles = {"block": "query block", "sort": "filesort", "temporary": "temporary table", "join buffer": "join buffer"}
        return titles.get(self.kind, self.name.replace("_", " "))

    @property
    def full_scan(self) -> bool:
        return self.kind == "table" and self.access in ("ALL", "index") and not self.table.startswith("<")

    @property
    def executed(self) -> bool:
        return bool(self.loops) and self.r_rows is not None

    @property
    def read_rows(self) -> float:
        """Rows read over all loops; planned ones (of one loop) where it was not executed."""
        if self.executed:
            return (self.r_rows or 0.0) * (self.loops or 0.0)
        return self.rows or 0.0

    @property
    def kept_rows(self) -> float:
        """Of those, what the condition kept."""
        share = self.r_filtered if self.executed and self.r_filtered is not None else self.filtered
        return self.read_rows * min(100.0, max(0.0, share)) / 100


@dataclass(frozen=True)
class MysqlPlan:
    """Nodes in preorder."""

    nodes: tuple[MysqlNode, ...]
    analyzed: bool
    execution_ms: float | None
    cost: float
    left_out: int = 0

    def above(self, node: MysqlNode) -> Iterator[MysqlNode]:
        """From its parent to the root."""
        while node.parent >= 0:
            node = self.nodes[node.parent]
            yield node

    def below(self, node: MysqlNode) -> Iterator[MysqlNode]:
        waiting = list(reversed(node.children))
        while waiting:
            one = self.nodes[waiting.pop()]
            yield one
            waiting.extend(reversed(one.children))

    def share(self, node: MysqlNode) -> float:
        """Of the statement's time that the node takes with what is below it; not executed: of the rows that the plan reads."""
        if self.analyzed:
            whole = max(self.execution_ms or 0.0, self.nodes[0].total_ms)
            return min(1.0, node.total_ms / whole) if whole > 0 else 0.0
        whole_rows = sum(one.rows or 0.0 for one in self.nodes if one.kind == "table")
        mine = sum(one.rows or 0.0 for one in (node, *self.below(node)) if one.kind == "table")
        return min(1.0, mine / whole_rows) if whole_rows > 0 else 0.0


def parse_plan(document: object) -> MysqlPlan:
    """Read what EXPLAIN or ANALYZE FORMAT=JSON returned. Raises NotAPlan."""
    if not isinstance(document, dict) or not isinstance(document.get("query_block"), dict):
        raise NotAPlan("no query_block")
    reader = _Reader()
    reader.walk(document)
    nodes = reader.nodes
    if not nodes:
        raise NotAPlan("no query_block")
    for node in reversed(nodes):
        below = sum(nodes[child].total_ms for child in node.children)
        reported = node.own_ms or 0.0
        # Blocks and sorts report a time that has their inputs in it (a sort of groups reports its own).
        inclusive = node.kind in ("block", "sort") and reported >= below
        node.total_ms = reported if inclusive else reported + below
        node.own_ms = None if node.own_ms is None else max(0.0, reported - below) if inclusive else reported
    analyzed = any(node.loops is not None for node in nodes)
    return MysqlPlan(
        nodes=tuple(nodes),
        analyzed=analyzed,
        execution_ms=nodes[0].total_ms if analyzed else None,
        cost=_cost(nodes),
        left_out=reader.left_out,
    )


def _cost(nodes: list[MysqlNode]) -> float:
    """The server's, where it tells one; else of the rows that nested loops look at."""
    if (told := nodes[0].cost) is not None:
        return told
    looked_at = 0.0
    prefix: dict[int, float] = {}
    for node in nodes:
        if node.kind == "table" and node.rows is not None:
            block = node.parent
            rows = prefix.get(block, 1.0) * node.rows if node.position else node.rows
            looked_at += rows
            prefix[block] = max(1.0, rows * node.filtered / 100)
    return looked_at * ROW_COST


class _Reader:
    def __init__(self) -> None:
        self.nodes: list[MysqlNode] = []
        self.left_out = 0

    def walk(self, document: dict[str, Any]) -> None:
        # (value, key, parent's number, within a subquery, position in its nested loop, level)
        waiting: list[tuple[Any, str, int, bool, int, int]] = [(document, "", -1, False, 0, 0)]
        while waiting:
            value, key, parent, sub, position, level = waiting.pop()
            if level > MAX_LEVELS:
                self.left_out += 1
                continue
            if isinstance(value, list):
                items = [item for item in value if isinstance(item, dict | list)]
                waiting.extend(
                    (item, "", parent, sub, at if key == "nested_loop" else position, level + 1)
                    for at, item in reversed(list(enumerate(items)))
                )
            elif isinstance(value, dict):
                if key in _KINDS:
                    if len(self.nodes) >= MAX_NODES:
                        self.left_out += 1
                        continue
                    parent = self._add(value, key, parent, sub, position)
                inner = [(one, name) for name, one in value.items() if isinstance(one, dict | list) and name not in _NO_NODES]
                waiting.extend(
                    (one, name, parent, sub or name in _SUBQUERIES or name == "expression_cache", position, level + 1)
                    for one, name in reversed(inner)
                )

    def _add(self, value: dict[str, Any], key: str, parent: int, sub: bool, position: int) -> int:
        number = len(self.nodes)
        costs = value.get("cost_info") if isinstance(value.get("cost_info"), dict) else {}
        assert isinstance(costs, dict)
        times = [_number(value.get(name)) for name in ("r_table_time_ms", "r_other_time_ms", "r_unpack_time_ms", "r_total_time_ms")]
        known = [one for one in times if one is not None]
        rows = _number(value.get("rows"))
        filtered = _number(value.get("filtered"))
        stats = value.get("r_engine_stats")
        self.nodes.append(
            MysqlNode(
                id=number,
                parent=parent,
                kind=_KINDS[key],
                name=key,
                table=_text(value.get("table_name")),
                access=_text(value.get("access_type")),
                key=_text(value.get("key")),
                key_parts=_texts(value.get("used_key_parts")),
                rows=rows if rows is not None else _number(value.get("rows_examined_per_scan")),
                filtered=100.0 if filtered is None else filtered,
                loops=_number(value.get("r_loops")),
                r_rows=_number(value.get("r_rows")),
                r_filtered=_number(value.get("r_filtered")),
                condition=_text(value.get("attached_condition")),
                sort_key=_text(value.get("sort_key")),
                sort_passes=_number(value.get("r_sort_passes")) or 0.0,
                limit=_number(value.get("r_limit")),
                join_buffer=_text(value.get("using_join_buffer")) or _text(value.get("join_type")),
                cost=_number(costs.get("query_cost")) if _number(costs.get("query_cost")) is not None else _number(value.get("cost")),
                pages=_number(stats.get("pages_accessed")) if isinstance(stats, dict) else None,
                own_ms=sum(known) if known else None,
                in_subquery=sub,
                position=position,
            )
        )
        if parent >= 0:
            self.nodes[parent].children.append(number)
        return number


def _number(value: object) -> float | None:
    """A finite number, also written as text (MySQL writes costs and percentages so)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if 0 <= number < 1e18 else None


def _text(value: object) -> str:
    return value[:TEXT_CHARACTERS] if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    return tuple(one for one in value if isinstance(one, str))[:64] if isinstance(value, list) else ()
