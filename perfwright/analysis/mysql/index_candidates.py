"""Indexes that plans of MySQL or MariaDB ask for, with their exact DDL."""

from collections.abc import Iterable

from perfwright.models.database import Catalog, TableFacts
from perfwright.models.query_advice import IndexCandidate
from perfwright.models.query_performance import PlanHit

INDEX_RULES = ("R01", "R02", "R03", "R17", "M01")
MAX_CANDIDATES = 60
MAX_KEYS = 6
NAME_CHARACTERS = 64
"""Longest identifier of both servers."""
ENTRY_BYTES = 20
"""Of an index entry beside its columns: primary key, header; for an estimate of the size."""
COLUMN_BYTES = 10
_NO_WHOLE_COLUMN = ("text", "blob", "json", "geometry")
"""Types that need a prefix length, or another kind of index."""


def mysql_index_candidates(hits: Iterable[PlanHit], catalog: Catalog) -> tuple[IndexCandidate, ...]:
    """One per index and statement, in the order of the hits. What an index has already, or another candidate begins with, is left out."""
    wanted: dict[tuple[str, tuple[str, ...]], dict[str, str]] = {}
    tables: dict[str, TableFacts] = {table.title: table for table in catalog.tables}
    for hit in hits:
        table = tables.get(hit.relation) or catalog.table(hit.relation)
        columns = hit.columns[:MAX_KEYS]
        if hit.rule in INDEX_RULES and table is not None and columns and _indexable(table, columns) and not _exists(table, columns):
            wanted.setdefault((table.title, columns), {}).setdefault(hit.fingerprint, hit.rule)
    found = []
    names: set[str] = set()
    for (title, columns), statements in wanted.items():
        wider = next(
            (other for other in wanted if other[0] == title and len(other[1]) > len(columns) and other[1][: len(columns)] == columns), None
        )
        if wider is not None:
            for fingerprint, rule in statements.items():
                wanted[wider].setdefault(fingerprint, rule)
    for (title, columns), statements in wanted.items():
        if any(other[0] == title and len(other[1]) > len(columns) and other[1][: len(columns)] == columns for other in wanted):
            continue
        table = tables[title]
        name = _name(table, columns, names)
        keys = ", ".join(_quoted(column) for column in columns)
        ddl = f"ALTER TABLE {_quoted(table.schema_name)}.{_quoted(table.name)} ADD INDEX {_quoted(name)} ({keys})"
        undo = f"ALTER TABLE {_quoted(table.schema_name)}.{_quoted(table.name)} DROP INDEX {_quoted(name)}"
        size = round(max(0.0, table.rows) * (ENTRY_BYTES + COLUMN_BYTES * len(columns)))
        found += [
            IndexCandidate(ddl=ddl, undo=undo, table=title, columns=columns, fingerprint=fingerprint, hit_rule=rule, bytes=size)
            for fingerprint, rule in statements.items()
        ]
    return tuple(found[:MAX_CANDIDATES])


def _indexable(table: TableFacts, columns: tuple[str, ...]) -> bool:
    types = [column.type.lower() if (column := table.column(name)) else "text" for name in columns]
    return not any(word in one for one in types for word in _NO_WHOLE_COLUMN)


def _exists(table: TableFacts, columns: tuple[str, ...]) -> bool:
    return any(one.valid and one.method == "btree" and one.keys[: len(columns)] == columns for one in table.indexes)


def _name(table: TableFacts, columns: tuple[str, ...], taken: set[str]) -> str:
    plain = "_".join(["idx", table.name, *columns])[:NAME_CHARACTERS]
    used = {index.name for index in table.indexes} | taken
    name, number = plain, 2
    while name in used:
        name = f"{plain[: NAME_CHARACTERS - 4]}_{number}"
        number += 1
    taken.add(name)
    return name


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
