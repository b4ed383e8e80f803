"""What of a plan decides how long it takes, without its estimates: two index sets that lead to the same shape need one measurement."""

from typing import Any

from perfwright.analysis.explaining.plan_answers import Plan

_TOLD = (
    "Node Type",
    "Parent Relationship",
    "Join Type",
    "Strategy",
    "Partial Mode",
    "Parallel Aware",
    "Workers Planned",
    "Relation Name",
    "Alias",
    "Index Name",
    "Index Cond",
    "Hash Cond",
    "Merge Cond",
    "Sort Key",
    "Scan Direction",
)


def plan_shape(plan: Plan) -> str:
    """The same text for plans that do the same."""
    return _of_node(plan["Plan"])


def _of_node(node: dict[str, Any]) -> str:
    own = "|".join(f"{name[:2]}{node[name]}" for name in _TOLD if name in node)
    below = ",".join(_of_node(one) for one in node.get("Plans", ()))
    return f"{own}({below})"
