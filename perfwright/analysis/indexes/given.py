"""An index as a person writes it, `CREATE INDEX ON orders (customer_id, placed_at DESC) INCLUDE (total)`, as one that can be tried."""

from collections.abc import Iterable

from perfwright.analysis.changes.index_statements import NotAnIndex, read_create
from perfwright.analysis.indexes.definitions import IndexDefinition
from perfwright.models.database import Catalog


class NotTaken(ValueError):
    """It is none that can be tried; the reason."""


def read_definition(text: str, catalog: Catalog) -> IndexDefinition:
    """Columns of one table in a B-tree, running up or down, with INCLUDE. Raises NotTaken."""
    import pgparse

    try:
        statement = read_create(text)
    except NotAnIndex as reason:
        raise NotTaken(str(reason)) from None
    index = next(one["stmt"]["IndexStmt"] for one in pgparse.parse(text) if one.get("stmt"))
    table = catalog.table(statement.table, statement.schema_name)
    if table is None:
        raise NotTaken(f"there is no table {statement.table} that our role may see")
    if statement.unique or index.get("whereClause") or index.get("accessMethod", "btree") != "btree":
        raise NotTaken("plain B-trees are tried only: neither UNIQUE, nor WHERE, nor another method")
    keys, descending, include = [], [], []
    for one in index.get("indexParams", ()):
        element = one["IndexElem"]
        if not element.get("name") or element.get("opclass") or element.get("collation"):
            raise NotTaken("columns are tried only: no expressions, operator classes or collations")
        keys.append(str(element["name"]))
        if element.get("ordering") == "SORTBY_DESC":
            descending.append(keys[-1])
    include = [str(one["IndexElem"].get("name", "")) for one in index.get("indexIncludingParams", ())]
    if missing := [name for name in (*keys, *include) if table.column(name) is None]:
        raise NotTaken(f"{table.title} has no column {missing[0]}")
    return IndexDefinition(table.schema_name, table.name, tuple(keys), tuple(sorted(include)), tuple(descending))


def without_left_out(definitions: Iterable[IndexDefinition], leave_out: Iterable[str]) -> frozenset[IndexDefinition]:
    """Without those whose titles a person left out."""
    left_out = {" ".join(one.split()) for one in leave_out}
    return frozenset(one for one in definitions if one.title not in left_out)
