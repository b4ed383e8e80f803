"""One index as it may exist: its keys, what it carries along, its condition, its DDL and its size before it is built."""

from collections.abc import Iterable
from dataclasses import dataclass

from perfwright.analysis.query_advice.identifiers import object_name, qualified, quoted, word_of
from perfwright.analysis.query_advice.index_sizes import btree_bytes
from perfwright.models.database import TableFacts


@dataclass(frozen=True)
class IndexDefinition:
    """What `CREATE INDEX` is told. Equal definitions are the same index, whatever its name."""

    schema_name: str
    table_name: str
    keys: tuple[str, ...]
    """Columns, in order."""
    include: tuple[str, ...] = ()
    """Columns that leaf pages carry along for index-only scans, by name."""
    descending: tuple[str, ...] = ()
    """Of the keys, those that run down."""
    predicate: str = ""
    """As SQL over columns of the table."""
    expression: str = ""
    """Key in its parentheses, instead of columns."""
    trigrams: bool = False
    """GIN over three-letter pieces of the text (extension pg_trgm)."""

    @property
    def columns(self) -> frozenset[str]:
        """Columns that its leaf pages hold; those of an expression or predicate are not."""
        return frozenset((*self.keys, *self.include))

    @property
    def plain(self) -> bool:
        """Columns in a B-tree over all rows: what a hypothetical index can be."""
        return not (self.predicate or self.expression or self.trigrams)

    @property
    def title(self) -> str:
        """`orders(customer_id, created_at) INCLUDE (total) WHERE paid IS NULL`."""
        keys = self.expression or ", ".join(f"{key} DESC" if key in self.descending else key for key in self.keys)
        carried = f" INCLUDE ({', '.join(self.include)})" if self.include else ""
        table = self.table_name if self.schema_name in ("public", "") else f"{self.schema_name}.{self.table_name}"
        return f"{table}({keys}){carried}{f' WHERE {self.predicate}' if self.predicate else ''}"

    def name(self, taken: set[str]) -> str:
        """A free name; adds it to `taken`."""
        words = [word_of(self.expression)] if self.expression else [*self.keys]
        suffix = "trgm_idx" if self.trigrams else "cover_idx" if self.include else "part_idx" if self.predicate else "idx"
        return object_name([self.table_name, *words], suffix, taken)

    def ddl(self, name: str, *, concurrently: bool = False) -> str:
        """`CREATE INDEX ...`; with `concurrently` writes go on meanwhile (not within a transaction, not on partitioned tables)."""
        table = qualified(self.schema_name, self.table_name)
        how = " CONCURRENTLY" if concurrently else ""
        method = " USING gin" if self.trigrams else ""
        carried = f" INCLUDE ({', '.join(quoted(one) for one in self.include)})" if self.include else ""
        where = f" WHERE {self.predicate}" if self.predicate else ""
        called = f" {quoted(name)}" if name else ""
        return f"CREATE INDEX{how}{called} ON {table}{method} ({self._keys()}){carried}{where}"

    def begins(self, other: "IndexDefinition") -> bool:
        """Whether it serves every search that the other serves: the other's keys come first, and it carries the other's columns."""
        if (self.schema_name, self.table_name, self.predicate) != (other.schema_name, other.table_name, other.predicate):
            return False
        if not (self.keys and other.keys) or self.trigrams or other.trigrams:
            return False
        same_order = [key in self.descending for key in other.keys] == [key in other.descending for key in other.keys]
        return self.keys[: len(other.keys)] == other.keys and same_order and other.columns <= self.columns

    def bytes(self, table: TableFacts, told: int = 0) -> int:
        """How large it will be. `told`: what HypoPG says of it, which knows nothing of deduplication; an index with INCLUDE has none
        (documentation, 67.4.3)."""
        if not self.plain:
            return 0
        if self.include:
            return told or btree_bytes(table, (*self.keys, *self.include), deduplicated=False)
        own = btree_bytes(table, self.keys)
        return min(told, own) if told and own else told or own

    def _keys(self) -> str:
        if self.expression:
            return self.expression
        if self.trigrams:
            return ", ".join(f"{quoted(key)} gin_trgm_ops" for key in self.keys)
        return ", ".join(f"{quoted(key)} DESC" if key in self.descending else quoted(key) for key in self.keys)


def merged(one: IndexDefinition, other: IndexDefinition, most: int) -> IndexDefinition | None:
    """An index that serves both where their first keys are the same and at most `most` columns come together: the keys of the first, then
    what the other has beyond them; key columns of the other behind the first's keys only find rows within the index."""
    same = (one.schema_name, one.table_name, one.predicate) == (other.schema_name, other.table_name, other.predicate)
    if not same or not one.keys or one.keys[:1] != other.keys[:1] or one.trigrams or other.trigrams or one.descending != other.descending:
        return None
    keys = other.keys if other.keys[: len(one.keys)] == one.keys else one.keys
    rest = (one.columns | other.columns) - set(keys)
    if len(keys) + len(rest) > most:
        return None
    found = IndexDefinition(one.schema_name, one.table_name, keys, tuple(sorted(rest)), one.descending, one.predicate)
    return None if found in (one, other) else found


def unique(definitions: Iterable[IndexDefinition]) -> tuple[IndexDefinition, ...]:
    """Each once, in order of appearance."""
    return tuple(dict.fromkeys(definitions))
