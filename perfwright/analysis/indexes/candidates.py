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
from perfwright.analysis.query_advice.existing_indexes import MIN_ROWS, index_keys
from perfwright.analysis.query_advice.plan_view import distinct_of, rows_of
from perfwright.models.database import ColumnFacts, TableFacts

MAX_EQUALITIES = 3
MAX_INCLUDED = 8
MAX_CONDITIONS = 4
"""Of a partial index."""
MAX_PARTIAL_KEYS = 4
"""Lists of keys on each condition: what is partial cannot be asked about and has to be built."""
AND = " AND "
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
            if definition.predicate in use.conditions or set(definition.predicate.split(AND)) <= set(use.conditions):
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
        if _carried(table, keys, rest):
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
    """On each condition without values, and on all of them together, where few rows may be left: then the rows that equalities or joins
    look for, and a range within the equality."""
    table = use.table
    conditions = list(use.conditions)
    if 1 < len(conditions) <= MAX_CONDITIONS:
        conditions.append(AND.join(conditions))
    elsewhere = {*use.listed, *use.joined, *use.ranges, *use.grouped, *(name for name, _ in use.ordered)}
    for condition in conditions:
        parts = [{word for word in re.findall(r"\w+", part) if table.column(word)} for part in condition.split(AND)]
        alone = {name for part in parts if len(part) == 1 for name in part} - elsewhere
        # What only the condition reads is known to hold: it is no key, and an index-only scan does without it.
        implied = alone | (set().union(*parts) - elsewhere - set(use.equal))
        key_lists = [keys for keys in _partial_keys(use) if not implied & set(keys)] or [(name,) for name in use.needed[:1]]
        for keys in key_lists[:MAX_PARTIAL_KEYS]:
            if not all(_narrow(table.column(key)) for key in keys):
                continue
            yield IndexDefinition(table.schema_name, table.name, keys, predicate=condition)
            rest = tuple(sorted(set(use.needed) - {*keys} - implied))
            if _carried(table, keys, rest):
                yield IndexDefinition(table.schema_name, table.name, keys, rest, predicate=condition)


def _partial_keys(use: TableUse) -> Iterator[tuple[str, ...]]:
    """Joins, then equalities, each with a range behind it where there is one; ranges alone where there is nothing else."""
    equal, ranges = dict.fromkeys((*use.equal, *use.listed)), dict.fromkeys(use.ranges)
    for name in dict.fromkeys(use.joined):
        yield (name,)
    for name in equal:
        within: list[tuple[str, ...]] = [(name, other) for other in ranges if other != name]
        yield from within or [(name,)]
    if not equal:
        for name in ranges:
            yield (name,)


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


def _carried(table: TableFacts, keys: Sequence[str], rest: Sequence[str]) -> bool:
    """Whether there is something to carry along, and the index is no second table: neither in size, nor with values that are read alone."""
    if not 0 < len(rest) <= MAX_INCLUDED or not all(_narrow(table.column(one)) for one in rest):
        return False
    return _width(table, (*keys, *rest)) <= INCLUDED_SHARE * _row_width(table)


def _width(table: TableFacts, names: Iterable[str]) -> int:
    return sum((facts.average_width_bytes or DEFAULT_WIDTH_BYTES) for name in names if (facts := table.column(name)))


def _row_width(table: TableFacts) -> int:
    return ROW_HEADER_BYTES + _width(table, [one.name for one in table.columns])
