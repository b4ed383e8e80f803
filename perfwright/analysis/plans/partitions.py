"""Scans of the partitions of one table, which are one scan for whoever wrote the statement.

The planner names the children of a partitioned table alias_1, alias_2, ...; the branches of a UNION ALL over different tables are not.
"""

from perfwright.analysis.plans.plan_tree import PlanNode, PlanTree


def partition_groups(tree: PlanTree) -> dict[int, tuple[PlanNode, ...]]:
    """Append node -> the scans below it that read partitions of one table; at least two, and only those that ran where any did."""
    found = {}
    for node in tree.nodes:
        if node.kind == "append":
            parts = tuple(child for child in tree.inputs(node) if child.executed or not tree.analyzed)
            names = {partition_of(child) for child in parts}
            one_table = len(names) == 1 and "" not in names and len({child.relation for child in parts}) == len(parts)
            if one_table and len(parts) > 1:
                found[node.id] = parts
    return found


def partition_of(node: PlanNode) -> str:
    """The alias of the partitioned table that a child scan belongs to: `orders` of `orders_3`."""
    base, _, number = node.alias.rpartition("_")
    return base if number.isdigit() and node.relation else ""
