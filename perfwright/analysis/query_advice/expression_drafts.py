"""The index on an expression that a condition asks for, or how to write the condition where no index has it."""

from perfwright.analysis.plans.plan_tree import PlanNode
from perfwright.analysis.query_advice.existing_indexes import Draft
from perfwright.analysis.query_advice.expression_keys import prefix_pattern, searched_by_gin, trigram_pattern
from perfwright.analysis.query_advice.operands import CONTAINMENTS, PATTERNS, RANGES, Operand
from perfwright.analysis.query_advice.plan_view import PlanView
from perfwright.models.database import TableFacts
from perfwright.models.query_performance import PlanHit


def expression_draft(hit: PlanHit, table: TableFacts, key: str, operator: str, side: Operand, other: Operand) -> Draft | None:
    """The index on an expression that has this operator; patterns need a class of their own (documentation, 11.10 "Operator Classes")."""
    regular = operator in ("~", "~*")
    if operator in {"=", *RANGES}:
        return Draft(hit, table, expression=key)
    if operator in ("~~", "~") and prefix_pattern(other.text, regular=regular):
        return Draft(hit, table, expression=key, operator_class="text_pattern_ops")
    if operator in PATTERNS and trigram_pattern(other.text, regular=regular):
        return Draft(hit, table, expression=key, operator_class="gin_trgm_ops", method="gin", trigrams=True)
    if operator in CONTAINMENTS and searched_by_gin(side):
        return Draft(hit, table, expression=key, method="gin")
    return None


def why_no_expression(scan: PlanNode, plan: PlanView) -> str:
    """What to do instead of an index on the expression."""
    if any(one.any_array and one.right is not None and one.right.column for one in plan.conditions(scan)):
        return "GIN finds elements by `@>` and `&&` only: write `column @> ARRAY[value]`, and index the column USING gin"
    if "^@" in scan.text("Filter") or "starts_with" in scan.text("Filter"):
        return "write `column LIKE 'beginning%'`, and index the column with text_pattern_ops: that finds it in every version and collation"
    if "IS DISTINCT FROM" in scan.text("Filter"):
        return "no index has IS NOT DISTINCT FROM: compare by `=`, and by IS NULL where the value is NULL"
    return "the function's result may change (time zone, locale), or it is compared in a way that no index has"
