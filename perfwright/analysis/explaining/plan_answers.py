"""The few numbers of a plan that decide what is done next. What a plan means is judged elsewhere, by rules over the whole tree."""

import json
import re
from collections.abc import Iterator
from typing import Any

PLAN_BYTES_AT_MOST = 2 * 1024 * 1024
"""Of one plan as JSON: the plan of a join of a thousand partitions has about one; larger ones are dropped, with the reason."""
PLAN_SET_BYTES_AT_MOST = 64 * 1024 * 1024
"""Of all plans of a run as JSON, before compression."""
PLAN_LEVELS_AT_MOST = 180
"""Objects and lists within one another, two for each level of nodes: pydantic does not read back JSON of more than 200."""
_PLACEHOLDER = re.compile(r"\$\d")

Plan = dict[str, Any]
"""What EXPLAIN (FORMAT JSON) returns: Plan, Planning Time, Execution Time, ..."""


def read_plan(answer: str) -> Plan:
    """The object in the list that EXPLAIN (FORMAT JSON) returns. Raises ValueError with a reason."""
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        raise ValueError("its plan cannot be read") from None
    if not (isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) and isinstance(value[0].get("Plan"), dict)):
        raise ValueError("the server returned no plan")
    if _levels(value[0]) > PLAN_LEVELS_AT_MOST:
        raise ValueError(f"its plan has more than {PLAN_LEVELS_AT_MOST // 2} levels of nodes")
    return dict(value[0])


def _levels(value: object) -> int:
    deepest, waiting = 0, [(value, 1)]
    while waiting:
        one, level = waiting.pop()
        if isinstance(one, dict | list):
            deepest = max(deepest, level)
            waiting.extend((inner, level + 1) for inner in (one.values() if isinstance(one, dict) else one))
    return deepest


def total_cost(plan: Plan) -> float:
    """Planner's cost of the whole, in its own unit (a page read in sequence is 1 by default)."""
    return _number(plan["Plan"].get("Total Cost")) or 0.0


def execution_ms(plan: Plan) -> float | None:
    """Milliseconds that executing took; None where it was planned only."""
    return _number(plan.get("Execution Time"))


def planning_ms(plan: Plan) -> float | None:
    return _number(plan.get("Planning Time"))


def shared_blocks(plan: Plan) -> int | None:
    """Shared blocks hit and read by the whole; None where they were not counted."""
    counted = [_number(plan["Plan"].get(name)) for name in ("Shared Hit Blocks", "Shared Read Blocks")]
    return None if None in counted else int(sum(number or 0.0 for number in counted))


def nodes(plan: Plan) -> Iterator[dict[str, Any]]:
    """All nodes of the tree, in no particular order."""
    waiting = [plan["Plan"]]
    while waiting:
        node = waiting.pop()
        yield node
        children = node.get("Plans")
        if isinstance(children, list):
            waiting.extend(child for child in children if isinstance(child, dict))


def index_names(plan: Plan) -> frozenset[str]:
    """Names of the indexes that are read."""
    return frozenset(str(node["Index Name"]) for node in nodes(plan) if "Index Name" in node)


def has_placeholder(plan: Plan) -> bool:
    """Whether `$n` stands in a condition of the plan: it was made without values. (An InitPlan's `$0` looks the same before PG 17.)"""
    return any(
        _PLACEHOLDER.search(str(value)) for node in nodes(plan) for name, value in node.items() if name not in ("Plans", "Subplan Name")
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
