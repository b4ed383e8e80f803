"""Filters that an index on the column would not serve: R12, R13, R14, R15 (family complexity).

Formulas: tools-db 2.1; PostgreSQL documentation, "Indexes on Expressions", "Operator Classes", "Combining Multiple Indexes"; Markus Winand,
"Use The Index, Luke" (functions, LIKE, obfuscated conditions). All four can judge a plan that was not executed, by its estimates.

No sentence holds a value that a condition compares with: it may be somebody's.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from perfwright.analysis.plans.conditions import Part
from perfwright.analysis.plans.examined import MIN_SHARE, MIN_STATEMENT_COST, ExaminedPlan, discards_most, in_list, told
from perfwright.analysis.plans.node_kinds import TABLE_SCANS
from perfwright.analysis.plans.plan_tree import PlanNode
from perfwright.analysis.plans.predicates import Predicates, expected_share, is_selective, predicates, served
from perfwright.models.database import TableFacts
from perfwright.models.query_performance import PlanHit


@dataclass(frozen=True)
class _Filter:
    """The filter of a scan (of all partitions of a table together), and what it did."""

    plan: ExaminedPlan
    node: PlanNode
    """The one that takes most."""
    facts: TableFacts | None
    parts: Predicates
    kept: float
    removed: float
    share: float

    def names(self, parts: tuple[Part, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(column.name for part in parts for column in part.columns if column.of(self.node.alias)))

    def hit(self, rule: str, why: str, columns: tuple[str, ...], numbers: dict[str, float] | None = None) -> PlanHit:
        table = self.plan.table_of(self.node)
        read = f"reads {told(self.removed + self.kept)} rows of {table}" if self.removed else f"reads {table}"
        return self.plan.hit(
            rule,
            self.node,
            f"{why}: the scan {read} to keep {told(self.kept)}",
            numbers={"rows_removed": self.removed, "rows_kept": self.kept} | (numbers or {}),
            columns=columns,
            relation=table,
            share=self.share,
        )


def rules(plan: ExaminedPlan) -> Iterator[PlanHit]:
    """All hits of this module."""
    if plan.trivial:
        return
    for node in plan.tree.nodes:
        if node.kind in TABLE_SCANS and node.text("Filter"):
            found = _selective_filter(plan, node)
            if found:
                yield from hidden_by_expression(found)
                yield from hidden_by_cast(found)
                yield from hidden_by_wildcard(found)
                yield from hidden_by_alternatives(found)


def _selective_filter(plan: ExaminedPlan, node: PlanNode) -> _Filter | None:
    """A filter that removes >= 1,000 rows and >= 90 %, share >= 0.1, without a part that a plain index finds and that is selective by the
    column's statistics (R01 and R03 have those). The partitions of a table are judged together, at the one that takes most."""
    scans = plan.scans_together(node)
    if scans[0] is not node:
        return None
    kept, removed = sum(plan.rows(one) for one in scans), sum(plan.removed(one) for one in scans)
    share = sum(plan.share(one) for one in scans)
    facts = plan.facts(node)
    unknown_size = removed <= 0 and not plan.analyzed and facts is None
    selective = node.total_cost >= MIN_STATEMENT_COST if unknown_size else discards_most(kept, removed)
    if share < MIN_SHARE or not selective:
        return None
    parts = predicates(node, facts)
    if any(is_selective(facts, part) for part in parts.sargable):
        return None
    if not plan.analyzed:
        parts = replace(
            parts,
            wrapped=tuple(part for part in parts.wrapped if _likely_selective(facts, part)),
            cast=tuple(part for part in parts.cast if _likely_selective(facts, part)),
        )
    return _Filter(plan, node, facts, parts, kept, removed, min(1.0, share))


def _likely_selective(facts: TableFacts | None, part: Part) -> bool:
    """Of an expression the planner has no statistics and takes 0.5 % for an equality (DEFAULT_EQ_SEL), so its estimate proves nothing. It
    has about as many values as the column at most: a column of few values makes no selective expression. A range may keep anything."""
    return part.comparison == "equality" and (expected_share(facts, part) is None or is_selective(facts, part))


def hidden_by_expression(found: _Filter) -> Iterator[PlanHit]:
    """R12: a function or operator around the column (or several); an index on the expression, or a range on the bare column, finds it.

    Not of volatile functions: no index can hold what may be different each time. Not where such an index is there.
    """
    parts = tuple(part for part in found.parts.wrapped if served(found.facts, part) is None and not _volatile(found.plan, part))
    if parts:
        expressions = tuple(dict.fromkeys(part.wrapping for part in parts))
        why = f"The condition on {in_list(expressions)} hides the column from its index"
        yield found.hit("R12", why, found.names(parts), {_guise(part): 1.0 for part in parts})


def _guise(part: Part) -> str:
    """What the column is hidden in; `rule_advice` has a title for each."""
    if part.operand == "function":
        return "in_function"
    if part.wrapping.startswith("ANY ("):
        return "as_array"
    return "compared_otherwise" if part.wrapping.endswith(("IS NOT DISTINCT FROM", "^@")) else "in_expression"


def _volatile(plan: ExaminedPlan, part: Part) -> bool:
    name = part.wrapping.split("(")[0].lower()
    return any(one.name == name and one.volatile for one in (plan.catalog.functions if plan.catalog else ()))


def hidden_by_cast(found: _Filter) -> Iterator[PlanHit]:
    """R13: the column is converted for every row, because the value has another type. Casts between text types cost nothing."""
    parts = found.parts.cast
    if parts:
        casts = tuple(dict.fromkeys(f"{part.column.name} to {part.wrapping}" for part in parts if part.column))
        why = f"The condition converts {in_list(casts)} in every row, so an index on the column cannot be used"
        yield found.hit("R13", why, found.names(parts))


def hidden_by_wildcard(found: _Filter) -> Iterator[PlanHit]:
    """R14: a pattern without a beginning (`%word%`, ILIKE, an unanchored regular expression); trigrams find it (pg_trgm)."""
    parts = tuple(part for part in found.parts.unanchored if not _has_trigrams(found.facts, part))
    if parts:
        names = found.names(parts)
        yield found.hit("R14", f"The pattern on {in_list(names)} has no beginning that an index could look up", names)


def _has_trigrams(facts: TableFacts | None, part: Part) -> bool:
    return any(
        index.valid and index.method in ("gin", "gist") and part.column is not None and part.column.name in " ".join(index.keys)
        for index in (facts.indexes if facts else ())
    )


def hidden_by_alternatives(found: _Filter) -> Iterator[PlanHit]:
    """R15: OR over different columns in a full scan, beside no equality: an index for each (BitmapOr), or a UNION."""
    alternatives = found.parts.alternatives
    if found.node.kind != "seq scan" or not alternatives or any(part.comparison == "equality" for part in found.parts.sargable):
        return
    branches = [one for part in alternatives for branch in part.branches for one in branch]
    missing = found.names(tuple(one for one in branches if one.column and served(found.facts, one) is None))
    if missing:
        why = f"The OR over {in_list(found.names(alternatives))} needs an index for each of them; without one: {in_list(missing)}"
        yield found.hit("R15", why, missing)
