"""Which existing indexes could go: exact duplicates, prefixes of others, the unused and the invalid. Never one that is not surely so.

Pure over rows of the catalogs (`activities.index_catalog`). An index is redundant when another one (the keeper) answers every search and
gives every order that it does, at most a little slower, and enforces nothing that would be lost:

- same table, same access method, both valid, with the same predicate (or neither with one);
- its keys are the first keys of the keeper: the same column or expression, operator class (with its options), collation, direction and
  place of NULLs; for methods other than B-tree the keys are equal, because they have no prefix that could be searched;
- its INCLUDE columns are among the keeper's columns, else index-only scans would be lost;
- no statistics target was set for its expressions that the keeper has not as well: the planner estimates by those statistics;
- it is not unique, or the keeper enforces the same uniqueness: the same keys, no further one, NULLs treated alike, checked at the same
  time;
- it backs no constraint (primary key, unique, exclusion, the target of a foreign key), is no replica identity, is not what the table is
  clustered on, and is no part of a partitioned table's index.

Sources: PostgreSQL documentation, pg_index and pg_constraint; 11.3, 11.6 to 11.11; `CREATE INDEX` on NULLS NOT DISTINCT (15) and
INCLUDE. Dropping follows a chain only to an index that stays.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from perfwright.analysis.query_advice.identifiers import literal, qualified, quoted
from perfwright.models.vocabulary import Model

BUSINESS_CYCLE = timedelta(days=35)
"""Statistics must cover at least this long before "never scanned" says anything: month-end jobs run once a month."""


class IndexKey(Model):
    """One key of an index, as far as it decides what the index can answer."""

    expression: str
    """Column or expression, as the server writes it."""
    operator_class: str
    """With its schema, and its options where it has any."""
    collation: str = ""
    descending: bool = False
    nulls_first: bool = False


class IndexRow(Model):
    """An index as the catalogs have it."""

    schema_name: str
    table: str
    name: str
    definition: str
    """As `pg_get_indexdef` writes it: it restores the index."""
    method: str
    keys: tuple[IndexKey, ...]
    include: tuple[str, ...] = ()
    predicate: str = ""
    unique: bool = False
    nulls_not_distinct: bool = False
    immediate: bool = True
    """Uniqueness is checked at once, not at the end of the transaction."""
    constraint: bool = False
    """Backs a primary key, unique or exclusion constraint, or is what a foreign key points to."""
    replica_identity: bool = False
    clustered: bool = False
    """The table is clustered on it."""
    of_partitioned: bool = False
    """Part of a partitioned table's index, or that index itself."""
    valid: bool = True
    ready: bool = True
    bytes: int = 0
    scans: int | None = None
    """Since the statistics were reset; None: unknown."""
    last_scan: str = ""
    """ISO, from version 16 on."""
    oid: int = 0
    there_since: str = ""
    """ISO: a time at which it was there for sure; empty: none is known (`analysis.indexes.sightings`)."""
    extended_statistics: bool = False
    """ANALYZE keeps statistics for its expressions, which the planner uses although it never scans the index."""
    comment: str = ""
    statistics_targets: tuple[tuple[int, int], ...] = ()
    """Number of a key (from 1) and the statistics target that was set for it."""
    tablespace: str = ""
    storage: tuple[str, ...] = ()
    """`WITH` options. For methods other than B-tree they decide what the index can do (`pages_per_range`, `length`)."""

    @property
    def title(self) -> str:
        return f"{self.schema_name}.{self.name}"

    @property
    def protected(self) -> bool:
        """Something else than searches depends on it."""
        return self.constraint or self.replica_identity or self.clustered or self.of_partitioned


class ServerScans(Model):
    """Scan counts of one server: the primary or one of its standbys, which count for themselves."""

    server: str
    counted_since: str = ""
    """ISO; when its statistics were reset. Empty: unknown."""
    scans: dict[str, int] = {}
    """`schema.index` -> scans."""


@dataclass(frozen=True)
class Droppable:
    """An index that could go, why, and how it comes back."""

    index: IndexRow
    why: Literal["duplicate", "prefix", "unused", "invalid"]
    keeper: str = ""
    """`schema.index` that serves in its place."""
    reason: str = ""

    @property
    def apply(self) -> str:
        return f"DROP INDEX CONCURRENTLY IF EXISTS {qualified(self.index.schema_name, self.index.name)}"

    @property
    def undo(self) -> tuple[str, ...]:
        """Statements that bring it back as it was; none for an invalid one, which served nobody."""
        return () if self.why == "invalid" else restore(self.index)


def restore(index: IndexRow) -> tuple[str, ...]:
    """The stored definition, built without blocking writes, and what a definition does not say: statistics targets and the comment."""
    head, _, rest = index.definition.partition(" INDEX ")
    own = qualified(index.schema_name, index.name)
    if index.tablespace:  # which pg_get_indexdef leaves out; CREATE INDEX wants it before WHERE
        where = f" WHERE {index.predicate}" if index.predicate else ""
        rest = f"{rest.removesuffix(where)} TABLESPACE {quoted(index.tablespace)}{where}"
    found = [f"{head} INDEX CONCURRENTLY {rest}"]
    found += [f"ALTER INDEX {own} ALTER COLUMN {number} SET STATISTICS {target}" for number, target in index.statistics_targets]
    if index.comment:
        found.append(f"COMMENT ON INDEX {own} IS {literal(index.comment)}")
    return tuple(found)


def invalid(indexes: Iterable[IndexRow]) -> tuple[Droppable, ...]:
    """What a failed CREATE INDEX CONCURRENTLY or REINDEX left behind: it costs writes and serves nobody. While one is still being built it
    looks the same, so this needs a look at pg_stat_progress_create_index first (the reader leaves those out)."""
    return tuple(
        Droppable(one, "invalid", reason="a build of it failed; it is kept up by every write and serves no query")
        for one in indexes
        if not (one.valid and one.ready) and not one.of_partitioned and not one.constraint and not one.replica_identity
    )


def redundant(indexes: Sequence[IndexRow]) -> tuple[Droppable, ...]:
    """Duplicates and prefixes, with the index that stays in their place. The smallest that does not serve anything more goes first."""
    of_table: dict[tuple[str, str], list[IndexRow]] = {}
    for one in indexes:
        of_table.setdefault((one.schema_name, one.table), []).append(one)
    served: dict[str, IndexRow] = {}
    for one in sorted(indexes, key=lambda one: (len(one.keys), len(one.include), one.unique, -one.bytes, one.title)):
        keepers = [other for other in of_table[one.schema_name, one.table] if other.title not in served and serves(other, one)]
        keepers = [other for other in keepers if other is not one]
        if keepers:
            served[one.title] = min(keepers, key=lambda other: (not other.protected, len(other.keys), other.bytes, other.title))
    by_title = {one.title: one for one in indexes}
    found = []
    for title, keeper in served.items():
        index = by_title[title]
        while keeper.title in served:  # its own keeper serves both
            keeper = served[keeper.title]
        same = len(keeper.keys) == len(index.keys) and set(index.include) == set(keeper.include)
        found.append(Droppable(index, "duplicate" if same else "prefix", keeper.title, _why(index, keeper, same=same)))
    return tuple(found)


def serves(keeper: IndexRow, index: IndexRow) -> bool:
    """Whether `keeper` does all that `index` does; see the module's head."""
    if (keeper.schema_name, keeper.table, keeper.method) != (index.schema_name, index.table, index.method) or index.protected:
        return False
    if not (keeper.valid and keeper.ready and index.valid and index.ready) or keeper.predicate != index.predicate:
        return False
    count = len(index.keys)
    if keeper.keys[:count] != index.keys:
        return False
    if index.method != "btree" and (len(keeper.keys) != count or set(keeper.storage) != set(index.storage)):
        return False
    if not set(index.include) <= {*keeper.include, *(key.expression for key in keeper.keys)}:
        return False
    if not set(index.statistics_targets) <= set(keeper.statistics_targets):
        return False
    if index.unique:
        alike = (keeper.nulls_not_distinct, keeper.immediate) == (index.nulls_not_distinct, index.immediate)
        return keeper.unique and len(keeper.keys) == count and alike
    return True


def unused(
    indexes: Iterable[IndexRow], servers: Sequence[ServerScans], standbys: int, now: str, cycle: timedelta = BUSINESS_CYCLE
) -> tuple[Droppable, ...] | str:
    """Indexes that no server scanned over a business cycle, for all of which they were there; or why that cannot be told. `standbys`: how
    many there are, all of which must be among `servers` beside the primary. Unique ones stay: they enforce something. Ones whose
    expressions the planner has statistics of stay too: it uses those without a scan."""
    if len(servers) < standbys + 1:
        return f"{standbys + 1 - len(servers)} of {standbys} standbys were not read, and each counts its own scans"
    for one in servers:
        if not one.counted_since:
            return f"it is not known since when {one.server} counts"
        counted = datetime.fromisoformat(now) - datetime.fromisoformat(one.counted_since)
        if counted < cycle:
            return f"{one.server} counts for {counted.days} days only; {cycle.days} are needed to see what runs once a month"
    reason = f"not scanned on any of {len(servers)} servers for {cycle.days} days or more, for all of which it was there"
    return tuple(Droppable(one, "unused", reason=reason) for one in _idle(indexes, servers) if _there_for(one, now, cycle))


def of_unknown_age(
    indexes: Iterable[IndexRow], servers: Sequence[ServerScans], now: str, cycle: timedelta = BUSINESS_CYCLE
) -> tuple[IndexRow, ...]:
    """Indexes that no server scanned, and that may have been made since: nothing is to be said of them."""
    return tuple(one for one in _idle(indexes, servers) if not _there_for(one, now, cycle))


def _idle(indexes: Iterable[IndexRow], servers: Sequence[ServerScans]) -> Iterator[IndexRow]:
    for one in indexes:
        if one.unique or one.protected or one.extended_statistics or not (one.valid and one.ready):
            continue
        if all(server.scans.get(one.title) == 0 for server in servers) and not one.last_scan:
            yield one


def _there_for(index: IndexRow, now: str, cycle: timedelta) -> bool:
    return bool(index.there_since) and datetime.fromisoformat(now) - datetime.fromisoformat(index.there_since) >= cycle


def _why(index: IndexRow, keeper: IndexRow, *, same: bool) -> str:
    if same:
        return f"{keeper.title} has the same keys"
    begins = f"{keeper.title} begins with its keys{' and has its INCLUDE columns' if index.include else ''}"
    return f"{begins}; it has {keeper.bytes / 1e6:,.1f} MB, this one {index.bytes / 1e6:,.1f} MB"
