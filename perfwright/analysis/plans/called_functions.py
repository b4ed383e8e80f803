"""Functions that a statement calls, and what they read, which the server counts for the node that calls them: R11, hidden in a function."""

import re
from collections.abc import Iterator

from perfwright.analysis.plans.examined import ExaminedPlan, in_list, told
from perfwright.analysis.plans.plan_tree import PlanNode
from perfwright.models.database import Catalog
from perfwright.models.query_performance import PlanHit

CALLED_SHARE = 0.2
"""As of a subquery for every row (tools-db R11)."""
MIN_CALLED_BLOCKS, CALLED_BLOCKS_PER_ROW = 1_000.0, 100.0
"""8 MB, and 0.8 MB for each row that the node gives or is given."""
LOOKUP_BLOCKS = 5.0
"""For a row that an index finds and the filter discards; a full scan has several rows to a block."""
_CALLS = re.compile(r'\b([^\W\d][\w$]*)"?\s*\(')


def called_functions(text: str, catalog: Catalog | None) -> tuple[str, ...]:
    """Functions of the users' own that a statement calls by name."""
    users = {one.name for one in catalog.functions if one.schema_name != "pg_catalog" and not one.known_harmless} if catalog else set()
    return tuple(dict.fromkeys(name for name in _CALLS.findall(text.lower()) if name in users)) if users else ()


def rules(plan: ExaminedPlan) -> Iterator[PlanHit]:
    """All hits of this module."""
    if plan.functions and plan.analyzed and not plan.trivial:
        for node in plan.tree.nodes:
            yield from function_per_row(plan, node)


def reads_in_functions(plan: ExaminedPlan, node: PlanNode) -> bool:
    """Whether most of the node's blocks are those of functions that it calls."""
    if not plan.functions:
        return False
    own = plan.removed(node) * (1.0 if node.kind == "seq scan" else LOOKUP_BLOCKS)
    blocks = plan.own_blocks(node)
    return blocks >= MIN_CALLED_BLOCKS and blocks >= CALLED_BLOCKS_PER_ROW * _rows(plan, node) + own


def _rows(plan: ExaminedPlan, node: PlanNode) -> float:
    return max(1.0, node.all_rows, *(one.all_rows for one in plan.tree.inputs(node)))


def function_per_row(plan: ExaminedPlan, node: PlanNode) -> Iterator[PlanHit]:
    """R11, hidden in a function: it asks tables again for every row. Its own plan is nowhere in this one; the blocks of its statements are.

    Node that calls it with share >= 20 %, and `reads_in_functions`.
    """
    if reads_in_functions(plan, node) and plan.counts(node, CALLED_SHARE):
        blocks, rows, names = plan.own_blocks(node), _rows(plan, node), in_list(tuple(f"{name}()" for name in plan.functions))
        yield plan.hit(
            "R11",
            node,
            f"{node.title} reads {told(blocks)} blocks for {told(rows)} rows, which only {names} can have asked for",
            relation="",
            numbers={"in_function": 1.0, "blocks": blocks, "rows": rows},
        )
