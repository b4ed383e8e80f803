"""Indexes that the planner's costs speak for and that nothing was measured of: what IndexStrategyOptimization can say without rows."""

from typing import Literal

from perfwright.models.vocabulary import Model

StatisticsPolicy = Literal["never", "where needed"]


class EstimatedEffect(Model):
    """What the planner expects of one statement. Its unit is a page read in sequence: costs rank, they are no times."""

    fingerprint: str
    text: str
    """Normalized, shortened."""
    weight: float = 1.0
    """Of all queries, scaled to a mean of 1."""
    cost_before: float
    cost_after: float
    """With all indexes of the list."""

    @property
    def ratio(self) -> float:
        """Cost with over cost without."""
        return self.cost_after / self.cost_before if self.cost_before > 0 else 1.0


class UnverifiedIndex(Model):
    """One candidate. Nobody is asked to make it: there is no evidence to show."""

    title: str
    """`orders(customer_id, placed_at) INCLUDE (total)`."""
    name: str
    """With its schema, as SQL writes it."""
    ddl: str
    undo: str
    bytes: int = 0
    """Estimated from rows and widths."""
    saved_share: float = 0.0
    """Of the workload's time, if costs were times: by the statements whose plans read it."""
    write_growth: float = 0.0
    """Share by which the writes would put more into the WAL for it, beside the others of the list; estimated."""
    queries: int = 0
    """Whose plans read it."""
    risk: str = ""
    """What later writes it may refuse; empty: none."""
    effects: tuple[EstimatedEffect, ...] = ()
    """Of these, those that gain most first."""


class CopiedStatistics(Model):
    """What the clone of statistics was made of. No value of a row is in here."""

    version: str = ""
    """Of the server that planned: `15.18`."""
    relations: int = 0
    """Tables and indexes that were made as long as they are, without rows."""
    columns: int = 0
    """Of which the statistics were copied."""
    heights: int = 0
    """B-trees that were given their height."""
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    """In what the planner's view differs from that on the target."""


class UnverifiedStrategy(Model):
    """The answer of the step that asks the planner on a clone of statistics."""

    why: str = ""
    """Why no clone with rows could be made."""
    way_out: str = ""
    """What would let it be verified."""
    indexes: tuple[UnverifiedIndex, ...] = ()
    effects: tuple[EstimatedEffect, ...] = ()
    """Of all statements whose costs change, with all indexes of the list."""
    write_growth: float = 0.0
    write_growth_source: Literal["estimated", "no writes"] = "no writes"
    cost_gain: float = 1.0
    """How many times lower, as the weighted geometric mean of costs over all queries that were looked at."""
    queries: int = 0
    candidates: int = 0
    """That could be asked about: plain columns in B-trees."""
    plans_asked: int = 0
    seconds: float = 0.0
    statistics: CopiedStatistics = CopiedStatistics()
    not_listed: tuple[str, ...] = ()
    """Titles of indexes that the search chose and that are not listed, with the reason."""
    not_looked_at: tuple[str, ...] = ()
    """Statements without a part in the search, with the reason."""

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in self.indexes)
