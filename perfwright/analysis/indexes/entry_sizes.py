"""Whether an index would make later writes fail: a row of a B-tree has a bound, and an INSERT or UPDATE whose value is longer is refused.

The build says nothing of it as long as the values there are fit, and an average width less. What does: the greatest size that the columns'
types allow; else the longest value there is, with room for longer ones. Sizes are those of the text, as if nothing were compressed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from perfwright.analysis.indexes.definitions import IndexDefinition

ENTRY_BYTES = 2_704
"""`BTMaxItemSize` of pages of 8 KiB (nbtree.h, version 4): "index row size ... exceeds btree version 4 maximum 2704"."""
ROOM = 3.0
"""Times the longest values there are that have to fit, where types set no bound."""


@dataclass(frozen=True)
class ValueSize:
    """Of the values of a column or expression."""

    most_bytes: int | None = None
    """By their type; None: it sets no bound."""
    longest_bytes: int | None = None
    """Of those there are; None: not measured."""

    @property
    def reached_bytes(self) -> float | None:
        """What later values are taken to reach; None: not known."""
        found = [one for one in (self.most_bytes, None if self.longest_bytes is None else ROOM * self.longest_bytes) if one is not None]
        return min(found, default=None)


ValueSizes = Mapping[tuple[str, str, str], ValueSize]
"""By schema, table, and column or expression."""
UNKNOWN = ValueSize()


@dataclass(frozen=True)
class EntryRisk:
    """Of an index whose rows may become too long."""

    unbounded: tuple[str, ...]
    """Columns (or the expression) whose types set no bound, or too great a one."""
    longest_bytes: int | None
    """Of all of its values together, as they are now; None: not known."""
    fits: bool
    """With room for longer ones."""

    @property
    def told(self) -> str:
        now = "how long they are is not known" if self.longest_bytes is None else f"the longest now have {self.longest_bytes:,} bytes"
        columns = ", ".join(self.unbounded)
        return (
            f"a row of a B-tree has at most {ENTRY_BYTES:,} bytes, and writes of longer values would be refused: {columns} may be longer by"
            f" type; {now}"
        )


def entry_risk(definition: IndexDefinition, sizes: ValueSizes) -> EntryRisk | None:
    """None where no value can be too long: by their types, or because the index is no B-tree."""
    if definition.trigrams:
        return None
    parts = parts_of(definition)
    found = [sizes.get((definition.schema_name, definition.table_name, part), UNKNOWN) for part in parts]
    if not _exceeds([one.most_bytes for one in found]):
        return None
    longest = [one.most_bytes if one.longest_bytes is None else one.longest_bytes for one in found]
    return EntryRisk(
        unbounded=tuple(part for part, one in zip(parts, found, strict=True) if one.most_bytes is None or one.longest_bytes is not None),
        longest_bytes=None if None in longest else sum(one for one in longest if one is not None),
        fits=not _exceeds([one.reached_bytes for one in found]),
    )


def parts_of(definition: IndexDefinition) -> tuple[str, ...]:
    """What its rows hold."""
    return (definition.expression,) if definition.expression else (*definition.keys, *definition.include)


def _exceeds(sizes: list[int | None] | list[float | None]) -> bool:
    return any(one is None for one in sizes) or sum(one for one in sizes if one is not None) > ENTRY_BYTES
