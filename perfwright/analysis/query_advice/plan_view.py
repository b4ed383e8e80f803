"""A plan as advice looks at it: what a node's conditions say, and which table of the catalog is meant."""

from collections.abc import Iterator

from perfwright.analysis.plans.plan_tree import PlanNode, PlanTree
from perfwright.analysis.query_advice.operands import Comparison, comparisons
from perfwright.models.database import Catalog, TableFacts
from perfwright.models.statement import Statement

SCAN_CONDITIONS = ("Index Cond", "Recheck Cond", "Filter")
JOIN_CONDITIONS = ("Hash Cond", "Merge Cond", "Join Filter")
UNKNOWN_DISTINCT = 200.0
"""DEFAULT_NUM_DISTINCT of PostgreSQL (src/include/utils/selfuncs.h)."""


class PlanView:
    """One plan of a statement."""

    def __init__(self, tree: PlanTree) -> None:
        self.tree = tree
        self.nodes = tree.nodes

    @property
    def cost(self) -> float:
        return self.tree.root.total_cost

    def node(self, number: int) -> PlanNode | None:
        return self.nodes[number] if 0 <= number < len(self.nodes) else None

    def ancestors(self, node: PlanNode) -> Iterator[PlanNode]:
        return self.tree.ancestors(node)

    def below(self, node: PlanNode) -> tuple[PlanNode, ...]:
        """The node and everything under it."""
        return self.tree.subtree(node)

    def conditions(self, node: PlanNode, keys: tuple[str, ...] = SCAN_CONDITIONS) -> tuple[Comparison, ...]:
        """What must hold for the rows of a scan, those of its bitmap included."""
        found = [one for key in keys for one in comparisons(node.text(key))]
        if node.kind == "bitmap heap scan":
            found += [one for under in self.below(node) for one in comparisons(under.text("Index Cond"))]
        return tuple({one.text: one for one in found}.values())

    def index_names(self, node: PlanNode) -> tuple[str, ...]:
        """Indexes that a scan reads."""
        return tuple(dict.fromkeys(name for under in self.below(node) if (name := under.text("Index Name"))))


class Tables:
    """Finds the table that a plan means: by schema where the plan or the statement says it, else along the search path."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._by_name: dict[str, dict[str, TableFacts]] = {}
        self._by_title: dict[str, TableFacts] = {}
        self._partitioned = [table for table in catalog.tables if table.kind == "partitioned table"]
        for table in catalog.tables:
            self._by_name.setdefault(table.name, {})[table.schema_name] = table
            self._by_title[f"{table.schema_name}.{table.name}"] = table

    def find(self, relation: str, statement: Statement | None = None, schema_name: str = "") -> TableFacts | None:
        """`relation` is `table` or `schema.table`, as hits name it."""
        named = self._by_name.get(relation, {})
        if schema_name:
            return named.get(schema_name)
        if relation in self._by_title:
            return self._by_title[relation]
        if not named:
            return None
        for written in statement.tables if statement else ():
            before, dot, name = written.replace('"', "").rpartition(".")
            if dot and name == relation and (found := named.get(before.rpartition(".")[2])):
                return found
        return next((named[schema] for schema in (*self.catalog.search_path, *named) if schema in named), None)

    def whole(self, table: TableFacts, statement: Statement | None = None) -> TableFacts:
        """The partitioned table that a partition belongs to, because an index is the whole table's: one with the same columns that the
        statement names, or whose name begins the partition's. Any other table is itself."""
        if table.kind != "table":
            return table
        columns = {(one.name, one.type) for one in table.columns}
        named = {written.replace('"', "").rpartition(".")[2] for written in (statement.tables if statement else ())}
        for other in self._partitioned:
            begins = table.name.startswith(other.name) and table.schema_name == other.schema_name
            if columns and (other.name in named or begins) and columns == {(one.name, one.type) for one in other.columns}:
                return other
        return table

    def of_node(self, node: PlanNode, statement: Statement | None) -> TableFacts | None:
        return self.find(node.text("Relation Name"), statement, node.text("Schema"))


def rows_of(table: TableFacts) -> float:
    """The best that is known of its size: what the planner believes, or what was counted when that is stale or missing."""
    return max(table.rows, float(table.live_rows or 0), 0.0)


def distinct_of(table: TableFacts, column: str, *, otherwise: float = UNKNOWN_DISTINCT) -> float:
    """Distinct values of a column (pg_stats.n_distinct: below 0 a share of the rows)."""
    facts = table.column(column)
    if facts is None or facts.distinct is None:
        return otherwise
    return max(1.0, -facts.distinct * rows_of(table) if facts.distinct < 0 else facts.distinct)
