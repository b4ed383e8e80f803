"""What the steps of an index search hand each other as an artifact (`statements.stored.encode`): no values of statements are in it."""

from perfwright.analysis.indexes.definitions import IndexDefinition
from perfwright.analysis.indexes.selection import Found, Selection
from perfwright.models.vocabulary import Model


class SelectionDocument(Model):
    """One set that the planner's costs speak for."""

    indexes: tuple[IndexDefinition, ...]
    gain: float
    bytes: int
    how: str


class IndexSearchDocument(Model):
    """Where a search stands: by costs, then by measuring."""

    selections: tuple[SelectionDocument, ...] = ()
    pool: tuple[IndexDefinition, ...] = ()
    gains: tuple[float, ...] = ()
    """Of the pool, each alone."""
    asked: int = 0
    chosen: tuple[IndexDefinition, ...] = ()
    """The best set so far."""
    tried: tuple[IndexDefinition, ...] = ()
    """All that were measured, the most promising first."""

    @classmethod
    def of(cls, found: Found) -> "IndexSearchDocument":
        best = found.selections[0].indexes if found.selections else frozenset()
        return cls(
            selections=tuple(
                SelectionDocument(indexes=tuple(sorted(one.indexes, key=_title)), gain=one.gain, bytes=one.bytes, how=one.how)
                for one in found.selections
            ),
            pool=found.pool,
            gains=tuple(found.gains.get(one, 0.0) for one in found.pool),
            asked=found.asked,
            chosen=tuple(sorted(best, key=_title)),
        )

    @property
    def found(self) -> Found:
        selections = tuple(Selection(frozenset(one.indexes), one.gain, one.bytes, one.how) for one in self.selections)
        return Found(selections, self.pool, self.asked, dict(zip(self.pool, self.gains, strict=True)))


def _title(index: IndexDefinition) -> str:
    return index.title
