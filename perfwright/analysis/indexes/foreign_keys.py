"""Foreign keys, and the indexes that their checks lean on: a DELETE of a referenced row, or a change of its key, looks for who refers to
it.

The server asks `SELECT 1 FROM ONLY orders x WHERE $1 = coupon_id FOR KEY SHARE OF x` (ri_triggers.c), which no row with a NULL answers: an
index `WHERE coupon_id IS NOT NULL` serves as well. Parents may be deleted once a quarter: that nothing scanned an index since the counters
began does not say that nothing needs it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from perfwright.analysis.indexes.redundancy import IndexRow
from perfwright.analysis.query_advice.identifiers import quoted
from perfwright.models.database import Catalog

ForeignKey = tuple[str, str, tuple[str, ...]]
"""Schema, table, and the columns that refer to another."""
AND = " AND "


def foreign_keys_of(catalog: Catalog) -> tuple[ForeignKey, ...]:
    """Of all tables."""
    return tuple((one.schema_name, one.name, key.columns) for one in catalog.tables for key in one.foreign_keys)


def told(key: ForeignKey) -> str:
    """`public.orders(coupon_id)`."""
    schema, table, columns = key
    return f"{schema}.{table}({', '.join(columns)})"


def foreign_keys_without_index(indexes: Collection[IndexRow], keys: Iterable[ForeignKey]) -> tuple[str, ...]:
    """Those whose referencing columns begin no index, in whatever order: a DELETE of the referenced row reads the whole table."""
    return tuple(told(key) for key in keys if not any(serves_key(one, key) for one in indexes))


def leaned_on(
    idle: Sequence[IndexRow], indexes: Collection[IndexRow], others_gone: Collection[str], keys: Iterable[ForeignKey]
) -> Mapping[str, str]:
    """Of idle indexes those that stay, because a foreign key would have none without them: title -> the key. `others_gone`: titles of
    indexes that go for another reason."""
    could_go = {one.title for one in idle} | set(others_gone)
    found: dict[str, str] = {}
    for key in keys:
        serving = [one for one in indexes if serves_key(one, key)]
        if all(one.title in could_go and one.title not in found for one in serving):
            stays = min((one for one in idle if one in serving), key=lambda one: (one.bytes, one.title), default=None)
            if stays is not None:
                found[stays.title] = told(key)
    return found


def serves_key(index: IndexRow, key: ForeignKey) -> bool:
    """Whether the check of the key can search it: it begins with the key's columns, in whatever order, and has every row that may refer."""
    schema, table, columns = key
    if (index.schema_name, index.table) != (schema, table) or index.method not in ("btree", "hash") or not (index.valid and index.ready):
        return False
    names = {quoted(column) for column in columns}
    return {one.expression for one in index.keys[: len(columns)]} == names and _leaves_out_nulls_only(index.predicate, names)


def _leaves_out_nulls_only(predicate: str, names: Collection[str]) -> bool:
    """Of the key's columns, as `pg_get_expr` writes it: `(a IS NOT NULL)`, `((a IS NOT NULL) AND (b IS NOT NULL))`."""
    wanted = {f"({name} IS NOT NULL)" for name in names}
    parts = predicate[1:-1].split(AND) if AND in predicate else [predicate] if predicate else []
    return set(parts) <= wanted
