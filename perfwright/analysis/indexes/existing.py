"""What there is to say about the indexes of a database: redundant, invalid, unused, bloated; and foreign keys without one."""

from collections.abc import Sequence

from perfwright.analysis.indexes.foreign_keys import foreign_keys_of, foreign_keys_without_index, leaned_on
from perfwright.analysis.indexes.redundancy import Droppable, IndexRow, ServerScans, invalid, of_unknown_age, redundant, unused
from perfwright.analysis.indexes.sightings import Look, seen_before
from perfwright.analysis.masking.plans import masked_expression
from perfwright.analysis.query_advice.existing_indexes import index_keys
from perfwright.analysis.query_advice.identifiers import qualified
from perfwright.analysis.query_advice.index_sizes import btree_bytes
from perfwright.models.database import Catalog, TableFacts
from perfwright.models.index_strategy import ExistingIndex, ExistingIndexes

BLOATED = 3.0
"""Times the size that its rows need, by their widths in the statistics, which may be wrong by half."""
BLOATED_BYTES = 10_000_000
"""Smaller ones are not worth a rebuild."""
NOTED_MOST = 60


def existing_indexes(
    rows: Sequence[IndexRow], servers: Sequence[ServerScans], standbys: int, now: str, catalog: Catalog, earlier: Look | None = None
) -> ExistingIndexes:
    """`now`: ISO. `earlier`: what a run saw long ago. The gravest first: invalid, duplicates, prefixes, unused, bloated."""
    rows = seen_before(rows, earlier, catalog.database)
    idle = unused(rows, servers, standbys, now)
    redundant_ones, keys = redundant(rows), foreign_keys_of(catalog)
    # The planner takes the smaller of two: what is to do the work of one that goes may have had no scan until then.
    spoken_for = {one.index.title for one in redundant_ones} | {one.keeper for one in redundant_ones}
    idle_ones = [one for one in (() if isinstance(idle, str) else idle) if one.index.title not in spoken_for]
    needed = leaned_on([one.index for one in idle_ones], rows, {one.index.title for one in redundant_ones}, keys)
    young = () if isinstance(idle, str) else of_unknown_age(rows, servers, now)
    droppable = [*invalid(rows), *redundant_ones, *(one for one in idle_ones if one.index.title not in needed)]
    noted = [_noted(one) for one in droppable]
    noted += [found for table in catalog.tables for found in _bloated(table)]
    return ExistingIndexes(
        indexes=len(rows),
        bytes=sum(one.bytes for one in rows),
        noted=tuple(noted[:NOTED_MOST]),
        not_judged=idle if isinstance(idle, str) else "",
        of_unknown_age=tuple(one.title for one in young if one.title not in spoken_for)[:NOTED_MOST],
        foreign_keys_without_index=foreign_keys_without_index(rows, keys)[:NOTED_MOST],
        warnings=(f"{len(noted) - NOTED_MOST} more indexes are not listed",) if len(noted) > NOTED_MOST else (),
    )


def masked_indexes(found: ExistingIndexes) -> ExistingIndexes:
    """Without the values that stand in conditions, expressions and comments of indexes."""

    def shown(one: ExistingIndex) -> ExistingIndex:
        undo = tuple(masked_expression(statement, "postgresql") for statement in one.undo)
        return one.model_copy(update={"definition": masked_expression(one.definition, "postgresql"), "undo": undo})

    return found.model_copy(update={"noted": tuple(shown(one) for one in found.noted)})


def _noted(one: Droppable) -> ExistingIndex:
    return ExistingIndex(
        name=qualified(one.index.schema_name, one.index.name),
        table=f"{one.index.schema_name}.{one.index.table}",
        kind=one.why,
        reason=one.reason,
        bytes=one.index.bytes,
        keeper=one.keeper,
        definition=one.index.definition,
        undo=one.undo,
    )


def _bloated(table: TableFacts) -> list[ExistingIndex]:
    found = []
    for one in table.indexes:
        keys = index_keys(one)
        if one.method != "btree" or one.predicate or not one.valid or one.bytes < BLOATED_BYTES or not all(map(table.column, keys)):
            continue
        needed = btree_bytes(table, (*keys, *one.include), deduplicated=False)  # the most that its rows may need
        if needed and one.bytes > BLOATED * needed:
            reason = f"it has {one.bytes / 1e6:,.0f} MB, and its rows need at most about {needed / 1e6:,.0f} MB"
            name = qualified(table.schema_name, one.name)
            found.append(
                ExistingIndex(
                    name=name,
                    table=f"{table.schema_name}.{table.name}",
                    kind="bloated",
                    reason=f"{reason}: REINDEX INDEX CONCURRENTLY {name}",
                    bytes=one.bytes,
                    definition=one.definition,
                )
            )
    return found
