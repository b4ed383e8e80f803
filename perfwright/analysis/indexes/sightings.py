"""Since when an index is there: PostgreSQL does not keep it, and a count of scans says nothing of one that was made an hour ago.

Files are rewritten, transaction numbers frozen, and sub-transactions take numbers that no counter tells of: none of them bounds an age from
below. What does: an earlier run that saw it in the catalog (same oid and name; a rebuilt one has another oid), or the commit time of its
row in pg_index, where the server keeps those.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from perfwright.analysis.indexes.redundancy import IndexRow
from perfwright.models.database import Catalog


@dataclass(frozen=True)
class Look:
    """What a run saw, at the latest at this time (ISO, with its zone)."""

    at: str
    catalog: Catalog


def seen_before(rows: Iterable[IndexRow], look: Look | None, database: str) -> tuple[IndexRow, ...]:
    """With `there_since` of those that the earlier look has, where nothing older is known."""
    if look is None or look.catalog.database != database:
        return tuple(rows)
    seen = {
        (table.schema_name, index.name, index.oid) for table in look.catalog.tables for index in table.indexes if index.oid and index.valid
    }
    return tuple(
        one.model_copy(update={"there_since": _earlier(one.there_since, look.at)}) if (one.schema_name, one.name, one.oid) in seen else one
        for one in rows
    )


def _earlier(one: str, other: str) -> str:
    return min((moment for moment in (one, other) if moment), key=datetime.fromisoformat)
