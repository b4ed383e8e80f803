"""Full scans and indexes that read too much: R01, R03, R05, R20, R22. (R17, LIMIT over a wrong order, is in limit_rules.py.)

Formulas: tools-db 2.1, after pev2's thresholds (rows removed 50 and 90 %, share 10 %) and PostgreSQL's documentation "Using EXPLAIN" and
"Examining Index Usage"; what differs is said at each rule.
"""

from collections.abc import Iterator

from perfwright.analysis.plans.called_functions import reads_in_functions
from perfwright.analysis.plans.conditions import Part, read_condition
from perfwright.analysis.plans.examined import MIN_REMOVED_ROWS, MIN_SHARE, ExaminedPlan, discards_most, in_list, told
from perfwright.analysis.plans.plan_tree import PlanNode
from perfwright.analysis.plans.predicates import SELECTIVE_PART, Predicates, expected_share, is_selective, own_columns, predicates, served
from perfwright.analysis.plans.repeated_scans import repeated_scan
from perfwright.models.query_performance import PlanHit

MIN_REMOVED_PER_LOOP = 10.0
"""An index lookup that discards fewer rows reads the same page or two with a better index."""
MIN_HEAP_FETCHES = 100.0
"""tools-db R05."""
HEAP_FETCH_SHARE = 0.1
"""VACUUM lets up to a tenth of the pages be not all-visible before it is due again (autovacuum_vacuum_scale_factor 0.2, insert 0.2)."""
MIN_BLOCKS = 200.0
"""1.6 MB (tools-db R20)."""
PAGE_BYTES, ROW_OVERHEAD_BYTES = 8_168.0, 28.0
"""Of a page without its header; tuple header and line pointer ("Database Page Layout")."""
BLOAT_FACTOR = 3.0
"""Pages that a table has over those its rows need: VACUUM FULL would give back two thirds. Below, fillfactor and alignment explain it."""
SCATTERED_ENTRIES = 10.0
"""Blocks that an index scan reads per row: a lookup takes 3 to 5."""
LOOKUP_BLOCKS = 5.0
"""Levels of a btree of a billion rows, and the row's page."""
MIN_PARTITIONS, MIN_EMPTY_PARTITIONS = 4, 3
"""tools-db R22."""
EMPTY_SHARE = 0.6
"""Where most partitions have rows, reading all is right."""
COMBINED_FACTOR = 10.0
"""Index entries read for each that is left."""


def rules(plan: ExaminedPlan) -> Iterator[PlanHit]:
    """All hits of this family."""
    if plan.trivial:
        return
    for node in plan.tree.nodes:
        if node.kind == "seq scan":
            yield from selective_seq_scan(plan, node)
        if node.kind in ("index scan", "index only scan", "bitmap heap scan"):
            yield from discarding_index(plan, node)
        if node.kind == "append":
            yield from no_pruning(plan, node)
        yield from heap_fetches(plan, node)
        yield from bloat(plan, node)


def selective_seq_scan(plan: ExaminedPlan, node: PlanNode) -> Iterator[PlanHit]:
    """R01: the whole table is read for few rows, by conditions that an index could find.

    removed >= 1000 and removed / (removed + kept) >= 0.9 and share >= 0.1, with a sargable part that no index begins with. Where one does,
    the planner decided against it, and not for lack of an index. Beside parts that only an expression index finds, the sargable one must be
    selective by the column's statistics. Not of repeated scans (R02). The partitions of a table are judged together, in one hit at the one
    that takes most.
    """
    scans = plan.scans_together(node)
    if scans[0] is not node:
        return
    kept, removed = sum(plan.rows(one) for one in scans), sum(plan.removed(one) for one in scans)
    share = sum(plan.share(one) for one in scans)
    if not discards_most(kept, removed) or share < MIN_SHARE or repeated_scan(plan, node):
        return
    missing = _without_index(plan, node)
    pruned_when_run = len(scans) > 1 and not plan.analyzed and any(part.unknown_value for part in missing.sargable)
    if not missing.columns or pruned_when_run:
        return
    what = plan.table_of(node) if len(scans) == 1 else f"{len(scans)} partitions of {plan.table_of(node)}"
    yield plan.hit(
        "R01",
        node,
        f"Reads {told(kept + removed)} rows of {what} to keep {told(kept)}: {removed / (removed + kept):.1%} are discarded by the "
        f"condition on {in_list(missing.columns)}, and no index finds the rest",
        numbers={"rows_removed": removed, "rows_kept": kept, "removed_share": removed / (removed + kept)} | _kinds(missing.sargable),
        columns=missing.columns,
        relation=plan.table_of(node),
        share=share,
    )


def _without_index(plan: ExaminedPlan, node: PlanNode) -> Predicates:
    """Sargable parts of the filter that no index begins with, where they are what makes it selective; the most selective first."""
    facts = plan.facts(node)
    found = predicates(node, facts)
    parts = sorted(
        (part for part in found.sargable if served(facts, part) is None), key=lambda part: expected_share(facts, part) or SELECTIVE_PART
    )
    missing = Predicates(sargable=tuple(parts))
    selective = found.only_sargable or any(is_selective(facts, part) for part in missing.sargable)
    return missing if selective else Predicates()


def _kinds(parts: tuple[Part, ...]) -> dict[str, float]:
    """Which kind of index the parts need, where a plain btree does not do."""
    found = {
        "prefix_patterns": sum(part.comparison in ("pattern", "regex") for part in parts),
        "containments": sum(part.comparison == "containment" for part in parts),
        "inequalities": sum(part.comparison == "inequality" for part in parts),
    }
    return {name: float(count) for name, count in found.items() if count}


def discarding_index(plan: ExaminedPlan, node: PlanNode) -> Iterator[PlanHit]:
    """R03: an index finds many rows and a filter discards nearly all of them: the filtered column belongs into the index.

    removed >= 1000, 90 % of what was read, at least 10 a loop, share >= 0.1, with a sargable part in the filter. Below a LIMIT that walks
    the index in its order it is R17. Also: the leading column of the index is not restricted, so all of it is walked; and BitmapAnd of two
    large sets of which a tenth is left.
    """
    if not plan.counts(node):
        return
    facts = plan.facts(node)
    kept, removed = plan.rows(node), plan.removed(node)
    found = predicates(node, facts)
    wanted = Predicates(sargable=tuple(part for part in found.sargable if part.comparison in ("equality", "range", "boolean", "null test")))
    if (
        discards_most(kept, removed)
        and removed >= MIN_REMOVED_PER_LOOP * max(1.0, node.loops)
        and wanted.columns
        and not below_limit(plan, node)
    ):
        if not _has_combined(plan, node, wanted.columns):
            index = _index_name(plan, node)
            yield plan.hit(
                "R03",
                node,
                f"The index {index} finds {told(kept + removed)} rows of {node.relation}, and the filter on {in_list(wanted.columns)} "
                "discards "
                f"{removed / (removed + kept):.1%} of them after reading",
                numbers={"rows_removed": removed, "rows_kept": kept, "removed_share": removed / (removed + kept)},
                columns=tuple(dict.fromkeys((*_index_columns(plan, node), *wanted.columns))),
            )
    elif node.kind == "bitmap heap scan":
        yield from _combined(plan, node, kept + removed)
    elif facts and node.text("Index Cond"):
        yield from _without_leading_column(plan, node, kept + removed)


def below_limit(plan: ExaminedPlan, node: PlanNode) -> bool:
    """Whether a LIMIT stops this scan when it has enough rows: nothing between the two reads all of its input first."""
    below = node
    for above in plan.tree.ancestors(node):
        if above.kind == "limit":
            return True
        if above.kind not in ("pass", "gather", "append", "subquery scan", "unique", "nested loop") or below.relationship == "Inner":
            return False
        below = above
    return False


def _index_name(plan: ExaminedPlan, node: PlanNode) -> str:
    names = [one.text("Index Name") for one in plan.tree.subtree(node) if one.text("Index Name")]
    return " and ".join(dict.fromkeys(names)) or "used"


def _index_columns(plan: ExaminedPlan, node: PlanNode) -> tuple[str, ...]:
    """Columns that the scan's index conditions restrict."""
    conditions = [one.text("Index Cond") for one in plan.tree.subtree(node) if one is node or one.kind == "bitmap index scan"]
    return own_columns(tuple(text for text in conditions if text), node.alias)


def _has_combined(plan: ExaminedPlan, node: PlanNode, columns: tuple[str, ...]) -> bool:
    """Whether an index already begins with the restricted columns and one of the filtered: the planner saw no use in it."""
    facts = plan.facts(node)
    restricted = set(_index_columns(plan, node))
    for index in facts.indexes if facts else ():
        keys = [key.strip('"') for key in index.keys]
        if index.valid and not index.predicate and any(set(keys[: len(restricted) + 1]) == restricted | {column} for column in columns):
            return True
    return False


def _combined(plan: ExaminedPlan, node: PlanNode, left: float) -> Iterator[PlanHit]:
    both = next((one for one in plan.tree.inputs(node) if one.type == "BitmapAnd"), None)
    if both is None or not plan.analyzed:
        return
    sets = [one.all_rows for one in plan.tree.inputs(both)]
    if sets and min(sets) >= max(MIN_REMOVED_ROWS, COMBINED_FACTOR * left) and plan.counts(both):
        columns = _index_columns(plan, node)
        yield plan.hit(
            "R03",
            node,
            f"Two indexes find {' and '.join(told(one) for one in sets)} rows of {node.relation} to combine them to {told(left)}: one "
            "index "
            f"on {in_list(columns)} finds them at once",
            numbers={"rows_kept": left, "smallest_set": min(sets)},
            columns=columns,
        )


def _without_leading_column(plan: ExaminedPlan, node: PlanNode, read: float) -> Iterator[PlanHit]:
    facts = plan.facts(node)
    index = next((one for one in facts.indexes if one.name == node.text("Index Name")), None) if facts else None
    columns = _index_columns(plan, node)
    if index is None or index.method != "btree" or not index.keys or index.keys[0].strip('"') in columns or not columns:
        return
    blocks = plan.own_blocks(node)
    if plan.analyzed and blocks >= MIN_BLOCKS and blocks >= SCATTERED_ENTRIES * (read + node.loops):
        yield plan.hit(
            "R03",
            node,
            f"The condition on {in_list(columns)} does not restrict {index.keys[0]}, the first column of {index.name}: {told(blocks)} "
            "blocks are read "
            f"to find {told(read)} rows",
            numbers={"blocks": blocks, "rows_kept": read},
            columns=columns,
        )


def heap_fetches(plan: ExaminedPlan, node: PlanNode) -> Iterator[PlanHit]:
    """R05: an index-only scan goes to the table after all, because pages are not marked all-visible.

    heap fetches > 100 and > 10 % of the rows it looked at, share >= 0.1. "Index-Only Scans and Covering Indexes".
    """
    fetches = node.number("Heap Fetches")
    looked_at = node.all_rows + plan.removed(node)
    if node.kind != "index only scan" or not plan.analyzed or not plan.counts(node):
        return
    if fetches > MIN_HEAP_FETCHES and fetches > HEAP_FETCH_SHARE * looked_at:
        yield plan.hit(
            "R05",
            node,
            f"The index-only scan of {node.relation} had to look into the table for {told(fetches)} of {told(max(looked_at, fetches))} "
            "rows: its pages "
            "are not marked all-visible, so VACUUM is behind",
            numbers={"heap_fetches": fetches, "rows": looked_at},
            columns=own_columns((node.text("Index Cond"), node.text("Filter")), node.alias),
        )


def bloat(plan: ExaminedPlan, node: PlanNode) -> Iterator[PlanHit]:
    """R20: many more blocks are read than the rows in them need: dead rows, or space that was never given back.

    Full scans: blocks > 200, and at least three times what the rows need by their average width; without a catalog at least one block per
    row (a row out of line or not takes at most a quarter of a page: "TOAST"). Blocks of out-of-line values, or that a function in the
    filter reads, do not count: the catalog, or else the planned cost of a filter without functions, tells the table's own pages.

    Index scans: blocks > 200 and ten times the rows found and looked up, with a catalog that shows the index to be a btree whose first
    column is restricted.
    """
    if not plan.analyzed or not plan.counts(node) or node.kind not in ("seq scan", "index scan") or reads_in_functions(plan, node):
        return
    blocks = plan.own_blocks(node)
    rows = node.all_rows + plan.removed(node)
    if blocks <= MIN_BLOCKS:
        return
    if node.kind == "seq scan":
        blocks = min(blocks, _own_pages(plan, node) * max(1.0, plan.repeats(node)))
        needed = _blocks_needed(plan, node, rows)
        if blocks > MIN_BLOCKS and blocks >= needed and not below_limit(plan, node):
            yield _bloated(plan, node, blocks, rows)
    elif _leading_is_restricted(plan, node) and blocks >= SCATTERED_ENTRIES * (rows + LOOKUP_BLOCKS * node.loops):
        yield _bloated(plan, node, blocks, rows)


def _own_pages(plan: ExaminedPlan, node: PlanNode) -> float:
    facts = plan.facts(node)
    if facts and facts.pages > 0:
        return float(facts.pages)
    calls = any(part.operand == "function" for part in read_condition(node.text("Filter")))
    return 0.0 if calls else node.total_cost


def _blocks_needed(plan: ExaminedPlan, node: PlanNode, rows: float) -> float:
    facts = plan.facts(node)
    widths = [column.average_width_bytes for column in facts.columns if column.average_width_bytes is not None] if facts else []
    if facts is None or not widths or len(widths) < len(facts.columns):
        return max(rows, 1.0)
    return BLOAT_FACTOR * max(1.0, rows * (sum(widths) + ROW_OVERHEAD_BYTES) / PAGE_BYTES)


def _leading_is_restricted(plan: ExaminedPlan, node: PlanNode) -> bool:
    facts = plan.facts(node)
    index = next((one for one in facts.indexes if one.name == node.text("Index Name")), None) if facts else None
    return bool(index and index.method == "btree" and index.keys and index.keys[0].strip('"') in _index_columns(plan, node))


def _bloated(plan: ExaminedPlan, node: PlanNode, blocks: float, rows: float) -> PlanHit:
    return plan.hit(
        "R20",
        node,
        f"Reads {told(blocks)} blocks of {node.relation} for {told(rows)} rows: the space of dead rows is walked too",
        numbers={"blocks": blocks, "rows": rows},
    )


def no_pruning(plan: ExaminedPlan, node: PlanNode) -> Iterator[PlanHit]:
    """R22: partitions are read that have nothing: the condition does not tell the planner which ones it needs.

    Append over >= 4 partitions of one table that were executed, none removed at start, >= 3 and 60 % of them without a row, those taking
    >= 10 % of the time. The children of a partitioned table are named alias_1, alias_2, ... ("Partition Pruning"); a UNION ALL is not one.
    """
    if not plan.analyzed or node.number("Subplans Removed") > 0 or not plan.counts(node):
        return
    parts = plan.partitions.get(node.id, ())
    empty = [one for one in parts if one.all_rows == 0 and (one.text("Filter") or one.text("Index Cond") or one.text("Recheck Cond"))]
    wasted = sum(plan.share(child) for child in empty)
    if len(parts) < MIN_PARTITIONS or len(empty) < max(MIN_EMPTY_PARTITIONS, EMPTY_SHARE * len(parts)) or wasted < MIN_SHARE:
        return
    yield plan.hit(
        "R22",
        node,
        f"{len(empty)} of {len(parts)} partitions were read and gave no row: the condition does not restrict the partition key",
        numbers={"partitions": len(parts), "empty": len(empty)},
        relation=plan.table_of(empty[0]),
        columns=own_columns((empty[0].text("Filter"), empty[0].text("Index Cond")), empty[0].alias),
        share=wasted,
    )
