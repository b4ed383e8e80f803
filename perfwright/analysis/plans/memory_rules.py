"""Work that did not fit into memory: R04, R06, R07, R08, R19, R29.

Formulas: tools-db 2.1; PostgreSQL documentation, "Resource Consumption" (work_mem, hash_mem_multiplier), explain.c (show_sort_info,
show_hash_info, show_hashagg_info, show_memoize_info). Workers print their own figures; all of them count.
"""

from collections.abc import Iterator

from perfwright.analysis.plans.conditions import read_columns
from perfwright.analysis.plans.examined import ExaminedPlan, in_list, told
from perfwright.analysis.plans.node_times import stopped_early
from perfwright.analysis.plans.plan_tree import Fields, PlanNode
from perfwright.analysis.plans.predicates import own_columns
from perfwright.models.query_performance import PlanHit

MIN_SPILL_SHARE = 0.05
"""Own time of the node that spilled; memory would win a part of it."""
LOSSY_SHARE, MIN_RECHECKED_ROWS = 0.1, 1_000.0
"""A few lossy pages, or such whose rows all fit the condition, cost next to nothing."""
MIN_TEMP_BLOCKS = 128.0
"""1 MB."""
MIN_LOOKUPS = 1_000.0
"""Fewer are a millisecond."""
RARE_HITS = 10.0
"""Misses per hit: the cache is kept for nothing (tools-db R19)."""
EVICTED_SHARE, LOW_HIT_RATIO = 0.1, 0.9
"""A cache that throws out little, or is hit nine times of ten all the same, is large enough."""
MOST_TABLES, MOST_COLUMNS = 6, 6
"""Named in a sentence."""
PRESORTED = ("Full-sort Groups", "Pre-sorted Groups")
"""Where an incremental sort prints its memory."""


def rules(plan: ExaminedPlan) -> Iterator[PlanHit]:
    """All hits of this family: only an execution shows what memory was used."""
    if plan.trivial or not plan.analyzed:
        return
    covered: set[int] = set()
    for node in plan.tree.nodes:
        for rule in (lossy_bitmap, sort_on_disk, hash_batches, hash_aggregate_spill, memoize_thrash):
            for hit in rule(plan, node):
                covered |= {node.id, node.parent} if node.kind == "hash" else {node.id}
                yield hit
    yield from temporary_files(plan, covered)


def _figures(node: PlanNode) -> tuple[Fields, ...]:
    return (node, *node.workers)


def _most(node: PlanNode, name: str) -> float:
    return max(one.number(name) for one in _figures(node))


def _sum(node: PlanNode, name: str) -> float:
    return sum(one.number(name) for one in _figures(node))


def _memory(plan: ExaminedPlan) -> str:
    limit = plan.tree.settings.get("work_mem")
    return f" with work_mem {limit}" if limit else ""


def _table_below(plan: ExaminedPlan, node: PlanNode) -> PlanNode | None:
    """The only table below, where there is one."""
    tables = [one for one in plan.tree.subtree(node) if one.relation]
    return tables[0] if len(tables) == 1 else None


def _tables_below(plan: ExaminedPlan, node: PlanNode) -> tuple[str, ...]:
    """What the rows come from, each table once, in the order of the plan; also through CTEs, whose plan stands elsewhere in the tree."""
    found: dict[str, None] = {}
    subplans = {one.text("Subplan Name"): one for one in plan.tree.nodes if one.text("Subplan Name")}
    waiting, looked_at = [node], set()
    while waiting:
        for one in plan.tree.subtree(waiting.pop(0)):
            if one.relation or one.text("Function Name"):
                found[one.relation or one.text("Function Name")] = None
            query = subplans.get(f"CTE {one.text('CTE Name')}") if one.text("CTE Name") else None
            if query is not None and query.id not in looked_at:
                looked_at.add(query.id)
                waiting.append(query)
    return tuple(found)[:MOST_TABLES]


def _of(tables: tuple[str, ...]) -> str:
    return f" of {in_list(tables)}" if tables else ""


def _by(plan: ExaminedPlan, node: PlanNode, texts: tuple[str, ...]) -> str:
    """The columns in keys, with their table's name where there are several: ` by orders.total, customers.name`."""
    aliases = {one.alias: one.relation for one in plan.tree.subtree(node) if one.relation}
    columns = dict.fromkeys(column for text in texts for column in read_columns(text))
    names = [
        f"{aliases.get(one.qualifier, one.qualifier)}.{one.name}" if one.qualifier and len(aliases) > 1 else one.name for one in columns
    ]
    return f" by {in_list(tuple(dict.fromkeys(names))[:MOST_COLUMNS])}" if names else ""


def _keys_of(plan: ExaminedPlan, node: PlanNode, field: str) -> tuple[str, tuple[str, ...]]:
    """The table whose columns the keys are, and the columns; nothing where they come from several tables."""
    table = _table_below(plan, node)
    if table is None:
        return "", ()
    columns = [column for text in node.texts(field) for column in read_columns(text) if column.of(table.alias)]
    return table.relation, tuple(dict.fromkeys(column.name for column in columns))


def lossy_bitmap(plan: ExaminedPlan, node: PlanNode) -> Iterator[PlanHit]:
    """R04: the bitmap did not fit and keeps pages instead of rows, so every row of those pages is checked again.

    Lossy Heap Blocks >= 10 % of all, rows removed by the recheck >= 1,000, share >= 0.1. A BRIN index knows nothing but pages: where all
    blocks are lossy it is not for lack of memory, which keeps some exact (tbm_lossify in tidbitmap.c).
    """
    lossy, exact = _sum(node, "Lossy Heap Blocks"), _sum(node, "Exact Heap Blocks")
    rechecked = plan.removed(node, "Rows Removed by Index Recheck")
    if lossy <= 0 or exact <= 0 or lossy < LOSSY_SHARE * (lossy + exact) or rechecked < MIN_RECHECKED_ROWS or not plan.counts(node):
        return
    below = [one.text("Index Cond") for one in plan.tree.subtree(node)]
    yield plan.hit(
        "R04",
        node,
        f"The bitmap of {node.relation} did not fit into memory{_memory(plan)}: {told(lossy)} of {told(lossy + exact)} pages are checked "
        "row by "
        f"row again, {told(rechecked)} rows in vain",
        numbers={"lossy_blocks": lossy, "exact_blocks": exact, "rows_rechecked": rechecked},
        columns=own_columns(tuple(text for text in below if text), node.alias),
    )


def sort_on_disk(plan: ExaminedPlan, node: PlanNode) -> Iterator[PlanHit]:
    """R06: a sort went to disk, in the leader, a worker, or a group of an incremental sort; own time >= 5 %."""
    if node.kind != "sort" or plan.times.own_share(node) < MIN_SPILL_SHARE:
        return
    on_disk = sum(one.number("Sort Space Used") for one in _figures(node) if one.text("Sort Space Type") == "Disk")
    on_disk += sum(one.number(f"{group}/Sort Space Disk/Peak Sort Space Used") for one in _figures(node) for group in PRESORTED)
    if on_disk <= 0:
        return
    relation, columns = _keys_of(plan, node, "Sort Key")
    tables = _tables_below(plan, node)
    yield plan.hit(
        "R06",
        node,
        f"The sort of {told(node.all_rows)} rows{_of(tables)}{_by(plan, node, node.texts('Sort Key'))} took {told(on_disk)} kB on "
        f"disk{_memory(plan)}",
        numbers={"disk_kb": on_disk, "rows": node.all_rows},
        relation=relation,
        relations=tables,
        columns=columns,
    )


def hash_batches(plan: ExaminedPlan, node: PlanNode) -> Iterator[PlanHit]:
    """R07: the hash table of a join did not fit and went to disk in batches; own time of hash and join >= 5 %."""
    batches = _most(node, "Hash Batches")
    join = plan.tree.parent(node)
    if node.kind != "hash" or batches <= 1 or join is None:
        return
    share = plan.times.own_share(node) + plan.times.own_share(join)
    if share < MIN_SPILL_SHARE:
        return
    tables = _tables_below(plan, node)
    yield plan.hit(
        "R07",
        node,
        f"The hash table of {told(node.all_rows)} rows{_of(tables)}{_by_own(plan, node, join)} "
        f"did not fit into memory{_memory(plan)}: {told(batches)} batches, planned were "
        f"{told(_most(node, 'Original Hash Batches') or batches)}",
        numbers={
            "batches": batches,
            "planned_batches": _most(node, "Original Hash Batches"),
            "memory_kb": _most(node, "Peak Memory Usage"),
        },
        relation=table.relation if (table := _table_below(plan, node)) else "",
        relations=tables,
        share=share,
    )


def _by_own(plan: ExaminedPlan, node: PlanNode, join: PlanNode) -> str:
    """The columns of the hashed side in the join's condition."""
    aliases = {one.alias: one.relation for one in plan.tree.subtree(node) if one.relation}
    keys = dict.fromkeys(column for text in join.texts("Hash Cond") for column in read_columns(text))
    names = [f"{aliases[one.qualifier]}.{one.name}" if len(aliases) > 1 else one.name for one in keys if one.qualifier in aliases]
    return f" by {in_list(tuple(names)[:MOST_COLUMNS])}" if names else ""


def hash_aggregate_spill(plan: ExaminedPlan, node: PlanNode) -> Iterator[PlanHit]:
    """R08: grouping by hash wrote groups to disk; own time >= 5 %. A batch count of 1 is no spill."""
    disk, batches = _sum(node, "Disk Usage"), _most(node, "HashAgg Batches")
    if node.kind != "aggregate" or (disk <= 0 and batches <= 1) or plan.times.own_share(node) < MIN_SPILL_SHARE:
        return
    relation, columns = _keys_of(plan, node, "Group Key")
    tables = _tables_below(plan, node)
    yield plan.hit(
        "R08",
        node,
        f"Grouping rows{_of(tables)}{_by(plan, node, node.texts('Group Key'))} into {told(node.all_rows)} groups took {told(disk)} kB on "
        f"disk in {told(batches)} batches{_memory(plan)}",
        numbers={"disk_kb": disk, "batches": batches, "groups": node.all_rows},
        relation=relation,
        relations=tables,
        columns=columns,
    )


def memoize_thrash(plan: ExaminedPlan, node: PlanNode) -> Iterator[PlanHit]:
    """R19: the cache of a nested loop's inner side does not help.

    >= 1,000 lookups, and misses > 10 x hits; or entries thrown out to make room (>= 10 % of the misses) while fewer than 90 % are hits;
    share of the join >= 0.1. Below a LIMIT the values had no time to repeat.
    """
    if node.kind != "memoize":
        return
    hits, misses = _sum(node, "Cache Hits"), _sum(node, "Cache Misses")
    evicted = _sum(node, "Cache Evictions") + _sum(node, "Cache Overflows")
    join = plan.tree.parent(node)
    if hits + misses < MIN_LOOKUPS or not plan.counts(join or node):
        return
    too_small = evicted > 0 and evicted >= EVICTED_SHARE * misses and hits < LOW_HIT_RATIO * (hits + misses)
    if not too_small and (misses <= RARE_HITS * hits or stopped_early(plan.tree, node)):
        return
    why = f"{told(evicted)} entries were thrown out for lack of memory{_memory(plan)}" if too_small else "values hardly ever repeat"
    table = _table_below(plan, node)
    yield plan.hit(
        "R19",
        node,
        f"The cache of {told(hits + misses)} lookups was hit {told(hits)} times: {why}",
        numbers={"hits": hits, "misses": misses, "evictions": evicted},
        relation=table.relation if table else "",
        columns=own_columns((table.text("Index Cond"), table.text("Filter")), table.alias) if table else (),
    )


def temporary_files(plan: ExaminedPlan, covered: set[int]) -> Iterator[PlanHit]:
    """R29: something else went to temporary files: a CTE, Materialize, a function's rows, a window.

    >= 1 MB written by nodes that R06 to R08 do not report; the one that wrote most, with >= 5 % of the time.
    """
    own = plan.times.own_of([node.number("Temp Written Blocks") for node in plan.tree.nodes])
    node = max((one for one in plan.tree.nodes if one.id not in covered), key=lambda one: (own[one.id], -one.id), default=None)
    if node is None or own[node.id] < MIN_TEMP_BLOCKS or plan.times.own_share(node) < MIN_SPILL_SHARE:
        return
    tables = () if node.relation or node.text("Function Name") else _tables_below(plan, node)
    yield plan.hit(
        "R29",
        node,
        f"{node.title} wrote {told(own[node.id] * 8)} kB{_of(tables)} to temporary files{_memory(plan)}",
        numbers={"temp_blocks": own[node.id], "statement_temp_blocks": plan.tree.root.number("Temp Written Blocks")},
        relations=tables,
    )
