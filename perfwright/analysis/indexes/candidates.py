"""Which indexes might help a query: from how it uses columns, wide enough that the search has something to choose from.

The order of columns follows what a B-tree can do (documentation, 11.3; Markus Winand, "Use The Index, Luke"): equalities first, then one
range or the order that is wanted. Both orders of a pair are tried where the planner may drive the join from either side. Covering variants
carry what else the query reads (documentation, 11.9), partial ones hold a condition that names no value, so that they serve every call.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, permutations, product

from perfwright.analysis.indexes.column_uses import TableUse
from perfwright.analysis.indexes.definitions import IndexDefinition, unique
from perfwright.analysis.query_advice.existing_indexes import index_keys
from perfwright.analysis.query_advice.index_drafts import MIN_ROWS
from perfwright.analysis.query_advice.plan_view import distinct_of, rows_of
from perfwright.models.database import ColumnFacts, TableFacts

MAX_EQUALITIES = 3
MAX_INCLUDED = 8
INCLUDED_SHARE = 0.6
"""Width of what an index holds over that of a row: a wider one is the table once more."""
DEFAULT_WIDTH_BYTES = 16
ROW_HEADER_BYTES = 28
"""Item pointer and tuple header of a heap row (documentation, 73.6)."""
WIDE_BYTES = 200
"""An average key wider than this is a text to be read, not one to be looked up."""


def candidates(uses: Iterable[TableUse]) -> tuple[IndexDefinition, ...]:
    """Of all uses of all queries, each once. Small tables, and what existing indexes serve already, are left out."""
    return unique(one for use in uses for one in _of_use(use))


def relevant(definition: IndexDefinition, uses: Iterable[TableUse]) -> bool:
    """Whether a query with these uses may profit from the index at all: it begins with a column that is looked up, or holds all that is
    read of the table, or is on an expression or condition of the query."""
    for use in uses:
        if (use.table.schema_name, use.table.name) != (definition.schema_name, definition.table_name):
            continue
        if definition.predicate:
            if definition.predicate in use.conditions:
                return True
        elif definition.expression:
            if definition.expression in use.expressions:
                return True
        elif definition.trigrams:
            if set(definition.keys) & set(use.patterns):
                return True
        elif definition.keys[0] in use.useful or definition.columns >= set(use.needed):
            return True
    return False


def _of_use(use: TableUse) -> Iterator[IndexDefinition]:
    table = use.table
    if rows_of(table) < MIN_ROWS or table.kind == "foreign table":
        return
    for keys in dict.fromkeys(keys for keys in _key_lists(use) if all(_narrow(table.column(key)) for key in keys)):
        bare = IndexDefinition(table.schema_name, table.name, keys)
        if not exists(bare, table):
            yield bare
        rest = tuple(sorted(set(use.needed) - set(keys)))
        if rest and len(rest) <= MAX_INCLUDED and _width(table, (*keys, *rest)) <= INCLUDED_SHARE * _row_width(table):
            yield IndexDefinition(table.schema_name, table.name, keys, rest)
    yield from _for_order(use)
    yield from _partial(use)
    for expression in use.expressions:
        yield IndexDefinition(table.schema_name, table.name, (), expression=expression)
    for column in use.patterns:
        yield IndexDefinition(table.schema_name, table.name, (column,), trigrams=True)


def _key_lists(use: TableUse) -> Iterator[tuple[str, ...]]:
    """Key columns worth asking about, plain columns, running up."""
    equal = _by_distinct(use.table, (*use.equal, *use.listed))
    joined = _by_distinct(use.table, use.joined)
    ranges = _by_distinct(use.table, use.ranges)
    for name in (*equal, *joined, *ranges):
        yield (name,)
    pairs = (product(equal, joined), product(joined, equal), product(equal, ranges), product(joined, ranges), product(ranges, joined))
    for first, second in chain(*pairs, permutations(joined, 2)):
        if first != second:
            yield first, second
    together = tuple(_by_distinct(use.table, use.equal) or equal)[:MAX_EQUALITIES]
    if len(together) > 1:
        yield together
    if together:
        for name in (*joined, *ranges):
            if name not in together:
                yield (*together, name)
    if grouped := tuple(use.grouped[:MAX_EQUALITIES]):
        yield grouped


def _for_order(use: TableUse) -> Iterator[IndexDefinition]:
    """Rows of the equalities in the order that is wanted: no sort, and a LIMIT ends early. A B-tree is read from either end, so only an
    order that runs both ways needs DESC."""
    if not 0 < len(use.ordered) <= MAX_EQUALITIES:
        return
    mixed = len({down for _, down in use.ordered}) > 1
    order = tuple(name for name, _ in use.ordered)
    descending = tuple(name for name, down in use.ordered if down) if mixed else ()
    first = tuple(name for name in _by_distinct(use.table, (*use.equal, *use.joined))[:MAX_EQUALITIES] if name not in order)
    for keys in dict.fromkeys((order, (*first, *order))):
        found = IndexDefinition(use.table.schema_name, use.table.name, keys, descending=descending)
        if all(_narrow(use.table.column(key)) for key in keys) and not exists(found, use.table):
            yield found


def _partial(use: TableUse) -> Iterator[IndexDefinition]:
    table = use.table
    for condition in use.conditions:
        asked = (*use.joined, *use.equal, *use.listed, *use.ranges)
        named = set(re.findall(r"\w+", condition))
        outside = [name for name in dict.fromkeys(asked) if name not in named] or use.needed[:1]
        for key in outside[:MAX_EQUALITIES]:
            if not _narrow(table.column(key)):
                continue
            yield IndexDefinition(table.schema_name, table.name, (key,), predicate=condition)
            rest = tuple(sorted(set(use.needed) - {key} - named))
            if rest and len(rest) <= MAX_INCLUDED and _width(table, (key, *rest)) <= INCLUDED_SHARE * _row_width(table):
                yield IndexDefinition(table.schema_name, table.name, (key,), rest, predicate=condition)


def exists(definition: IndexDefinition, table: TableFacts) -> bool:
    """Whether a valid index of the table begins with the same keys: the planner would find a hypothetical narrower one cheaper
    (HypoPG#79), and nothing would be won."""
    if not definition.plain or definition.include:
        return False
    down = [key in definition.descending for key in definition.keys]
    for index in table.indexes:
        if not index.valid or index.predicate or index.method != "btree":
            continue
        theirs = index_keys(index)[: len(definition.keys)]
        directions = [" DESC" in key for key in index.keys[: len(definition.keys)]]
        if theirs == definition.keys and (directions == down or directions == [not one for one in down]):
            return True
    return False


def _by_distinct(table: TableFacts, names: Sequence[str]) -> list[str]:
    return sorted(dict.fromkeys(names), key=lambda name: (-distinct_of(table, name), name))


def _narrow(facts: ColumnFacts | None) -> bool:
    return facts is not None and facts.type not in ("json", "xml", "jsonb") and (facts.average_width_bytes or 0) <= WIDE_BYTES


def _width(table: TableFacts, names: Iterable[str]) -> int:
    return sum((facts.average_width_bytes or DEFAULT_WIDTH_BYTES) for name in names if (facts := table.column(name)))


def _row_width(table: TableFacts) -> int:
    return ROW_HEADER_BYTES + _width(table, [one.name for one in table.columns])
