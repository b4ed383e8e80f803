"""How large an index would be, before it exists. Without reading a row: from row counts, widths and distinct values.

A B-tree leaf entry is an item pointer (4 bytes), a tuple header (8) and the key, aligned to 8 (src/include/access/itup.h). Since version
13 equal keys are stored once with a list of row pointers (6 bytes each; documentation, 67.4.3 "Deduplication"), so with `nd` distinct keys
for `rows` rows:

    (6 rows + nd (8 + key width)) / 0.9      if nd < rows / 2, else
    rows (4 + 8 + key width) / 0.9

0.9 is the default fillfactor of leaf pages; one percent more for the pages above, and a meta page.
"""

from collections.abc import Sequence

from perfwright.analysis.query_advice.plan_view import distinct_of, rows_of
from perfwright.models.database import TableFacts

PAGE_BYTES = 8192
FILL = 0.9
INNER_PAGES = 1.01
DEFAULT_WIDTH_BYTES = 16
_FIXED = {"smallint": 2, "integer": 4, "bigint": 8, "real": 4, "double precision": 8, "date": 4, "boolean": 1, "uuid": 16}


def btree_bytes(table: TableFacts, columns: Sequence[str], *, deduplicated: bool = True) -> int:
    """Bytes of a B-tree on these columns; 0 when the table's size is not known. One with INCLUDE is never `deduplicated`."""
    rows = rows_of(table)
    if rows <= 0:
        return 0
    width = _aligned(sum(_width(table, column) for column in columns))
    distinct = 1.0
    for column in columns:
        distinct = min(rows, distinct * distinct_of(table, column))
    plain = rows * (4 + 8 + width)
    shared = 6 * rows + distinct * (8 + width) if deduplicated and distinct < rows / 2 else plain
    pages = min(plain, shared) / FILL * INNER_PAGES / PAGE_BYTES
    return PAGE_BYTES * (2 + round(pages))


def _width(table: TableFacts, column: str) -> int:
    facts = table.column(column)
    if facts is None:
        return DEFAULT_WIDTH_BYTES
    if facts.type in _FIXED:
        return _FIXED[facts.type]
    return facts.average_width_bytes or DEFAULT_WIDTH_BYTES


def _aligned(width: int) -> int:
    return -(-width // 8) * 8
