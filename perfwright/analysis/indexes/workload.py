"""From the statements of a workload to the problem that the search solves: queries with their uses, writes with what they change."""

from collections.abc import Sequence
from dataclasses import dataclass

from perfwright.analysis.explaining.sql_texts import placeholders_in
from perfwright.analysis.indexes.candidates import candidates
from perfwright.analysis.indexes.column_uses import TableUse, Unresolved, column_uses
from perfwright.analysis.indexes.definitions import IndexDefinition
from perfwright.analysis.indexes.selection import Problem
from perfwright.analysis.indexes.write_costs import WriteStatement, write_statement
from perfwright.analysis.query_advice.sql_reading import named_values, write_sql
from perfwright.models.database import Catalog


class Sizes:
    """Bytes of indexes: estimated until one was built."""

    def __init__(self, catalog: Catalog) -> None:
        self._tables = {(one.schema_name, one.name): one for one in catalog.tables}
        self._bytes: dict[IndexDefinition, int] = {}

    def __call__(self, definition: IndexDefinition) -> int:
        if definition not in self._bytes:
            self._bytes[definition] = definition.bytes(self._tables[definition.schema_name, definition.table_name])
        return self._bytes[definition]

    def learn(self, definition: IndexDefinition, size_bytes: int) -> None:
        """What it really takes."""
        self._bytes[definition] = size_bytes


@dataclass(frozen=True)
class Workload:
    """What a search needs to know."""

    problem: Problem
    texts: tuple[str, ...]
    """Of each query of the problem: what is to be explained."""
    statements: tuple[int, ...]
    """For each query, the number of the statement it came from."""
    candidates: tuple[IndexDefinition, ...]
    sizes: Sizes
    unresolved: tuple[tuple[int, str], ...] = ()
    """Statements that are not looked at, with the reason."""


def read_workload(texts: Sequence[str], weights: Sequence[float], catalog: Catalog, budget_bytes: int) -> Workload:
    """`weights`: of each statement, what share of the work it is; scaled to a mean of 1 here. Of an UPDATE or DELETE the search for the
    rows is a query too."""
    mean = sum(weights) / max(1, len(weights)) or 1.0
    queries: list[tuple[str, int, float, tuple[TableUse, ...]]] = []
    writes: list[WriteStatement] = []
    unresolved = []
    for number, (text, weight) in enumerate(zip(texts, weights, strict=True)):
        try:
            write = write_statement(text, catalog, weight / mean)
            if write is not None:
                writes.append(write)
            if placeholders_in(text):
                raise Unresolved("its values are not known")
            if reading := text if write is None else rows_searched(text):
                queries.append((reading, number, weight / mean, column_uses(reading, catalog)))
        except Unresolved as reason:
            unresolved.append((number, str(reason)))
    sizes = Sizes(catalog)
    uses = tuple(one for *_, one in queries)
    return Workload(
        Problem(uses, tuple(weight for _, _, weight, _ in queries), tuple(writes), budget_bytes, sizes),
        tuple(text for text, *_ in queries),
        tuple(number for _, number, *_ in queries),
        candidates(use for of_query in uses for use in of_query),
        sizes,
        tuple(unresolved),
    )


def rows_searched(text: str) -> str:
    """The SELECT that finds the rows of an UPDATE or DELETE of one table; empty for others. Raises Unresolved."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        tree = sqlglot.parse_one(named_values(text.strip().rstrip(";")), read="postgres")
    except (SqlglotError, RecursionError) as trouble:
        raise Unresolved(f"it cannot be read: {type(trouble).__name__}") from None
    if not isinstance(tree, exp.Update | exp.Delete) or tree.args.get("from_") or tree.args.get("using") or tree.args.get("with_"):
        return ""
    where = tree.args.get("where")
    if where is None or not isinstance(tree.this, exp.Table):
        return ""
    return write_sql(exp.select("*").from_(tree.this.copy()).where(where.this.copy()))
