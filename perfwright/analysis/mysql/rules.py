"""Plan rules for MySQL and MariaDB, with the numbers of the PostgreSQL rules where the meaning is the same.

    scans       R01 full scan for few rows, R03 index read then discarded, R17 sort of everything for a LIMIT
    joins       R02 full scan within a join, R24 pairs compared in vain, R25 product
    estimates   R09 misestimate
    memory      R06 filesort on disk, M01 grouping through a temporary table
    complexity  R11 subquery per row, R12 function on column, R13 conversion of a column, R14 leading wildcard, R15 OR, R16 OFFSET

Thresholds are those of tools-db 2.1, as in `analysis/plans`; what differs is said.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from perfwright.analysis.mysql.conditions import Conditions, StatementView, conditions_on, sort_columns
from perfwright.analysis.mysql.plan import MysqlNode, MysqlPlan
from perfwright.analysis.plans.examined import BY_ESTIMATE, MIN_SHARE, MIN_STATEMENT_MS, in_list, told
from perfwright.models.database import Catalog, TableFacts
from perfwright.models.query_performance import PlanHit
from perfwright.models.query_steps import RuleFamily

MIN_REMOVED_ROWS = 1_000.0
REMOVED_SHARE = 0.9
MIN_REMOVED_PER_LOOP = 10.0
REPEATED = 10.0
MIN_WALKED_ROWS, WALKED_PER_ROW = 10_000.0, 100.0
MIN_PAIRS = 10_000.0
MIN_WASTED_PAIRS = 100_000.0
MISESTIMATE, MIN_ROWS, MIN_SUBTREE_SHARE = 10.0, 100.0, 0.05
MIN_SUBQUERY_LOOPS, MIN_SUBQUERY_SHARE = 1_000.0, 0.2
MIN_OFFSET = 1_000.0
MIN_SPILL_SHARE = 0.05
MIN_GROUPED_ROWS = 10_000.0
"""As for sorts: below, filling a temporary table takes some milliseconds."""
MIN_GROUP_SHARE = 0.3
_TEXT_TYPES = ("char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set")


@dataclass(frozen=True)
class ExaminedMysqlPlan:
    """One plan of one statement."""

    plan: MysqlPlan
    view: StatementView
    fingerprint: str = ""
    sample: int = 0
    catalog: Catalog | None = None
    mean_ms: float | None = None

    @property
    def takes_ms(self) -> float | None:
        return self.plan.execution_ms if self.plan.analyzed else self.mean_ms

    @property
    def trivial(self) -> bool:
        return self.takes_ms is not None and self.takes_ms < MIN_STATEMENT_MS

    def facts(self, node: MysqlNode) -> TableFacts | None:
        return self.catalog.table(self.view.aliases.get(node.table, node.table)) if self.catalog else None

    def relation(self, node: MysqlNode) -> str:
        facts = self.facts(node)
        return facts.title if facts else self.view.aliases.get(node.table, node.table)

    def conditions(self, node: MysqlNode) -> Conditions:
        """Of the table's own condition, and of the join buffer's around it."""
        parent = self.plan.nodes[node.parent] if node.parent >= 0 else None
        text = " and ".join(
            f"({one.condition})" for one in (node, parent) if one and one.condition and one.kind in ("table", "join buffer")
        )
        return conditions_on(text, node.table)

    def counts(self, node: MysqlNode, least: float = MIN_SHARE) -> bool:
        return self.plan.share(node) >= least

    def hit(
        self,
        rule: str,
        node: MysqlNode,
        statement: str,
        numbers: dict[str, float],
        *,
        columns: tuple[str, ...] = (),
        table: MysqlNode | None = None,
    ) -> PlanHit:
        return PlanHit(
            rule=rule,
            fingerprint=self.fingerprint,
            sample=self.sample,
            node=node.id,
            node_title=node.title,
            relation=self.relation(table or node) if (table or node).kind == "table" else "",
            statement=statement + ("" if self.plan.analyzed else BY_ESTIMATE),
            share=round(self.plan.share(node), 6),
            numbers={name: round(value, 6) for name, value in numbers.items()},
            columns=columns,
        )


Rule = Callable[[ExaminedMysqlPlan, MysqlNode], Iterator[PlanHit]]


def begins_with(facts: TableFacts | None, columns: tuple[str, ...]) -> bool:
    """Whether a usable index begins with one of the columns."""
    usable = (one for one in facts.indexes if one.valid and one.method == "btree" and one.keys) if facts else ()
    return any(one.keys[0] in columns for one in usable)


def scan_rules(plan: ExaminedMysqlPlan, node: MysqlNode) -> Iterator[PlanHit]:
    """R01, R03, R17."""
    if node.kind == "sort":
        yield from _sorts_all(plan, node)
    if node.kind != "table" or not plan.counts(node) or _buffered(plan, node):
        return
    removed = node.read_rows - node.kept_rows
    if removed < MIN_REMOVED_ROWS or removed < REMOVED_SHARE * node.read_rows:
        return
    found = plan.conditions(node)
    wanted = (*found.equalities, *found.ranges[:1])
    numbers = {"rows_removed": removed, "rows_kept": node.kept_rows, "removed_share": removed / node.read_rows}
    if (
        node.full_scan
        and not _repeated(node)
        and wanted
        and not begins_with(plan.facts(node), wanted)
        and not _needs_conversion(plan, node, found)
    ):
        yield plan.hit(
            "R01",
            node,
            f"Reads {told(node.read_rows)} rows of {plan.relation(node)} to keep {told(node.kept_rows)}: "
            f"{removed / node.read_rows:.1%} are discarded "
            f"by the condition on {in_list(wanted)}, and no index finds the rest",
            numbers,
            columns=wanted,
        )
    elif node.key and not node.full_scan and removed >= MIN_REMOVED_PER_LOOP * (node.loops or 1.0):
        more = tuple(name for name in wanted if name not in node.key_parts)
        facts = plan.facts(node)
        together = any(
            set(one.keys[: len(node.key_parts) + 1]) == {*node.key_parts, name}
            for one in (facts.indexes if facts else ())
            if one.valid
            for name in more
        )
        if more and not together:
            yield plan.hit(
                "R03",
                node,
                f"The index {node.key} finds {told(node.read_rows)} rows of {plan.relation(node)}, and the condition on "
                f"{in_list(more)} discards "
                f"{removed / node.read_rows:.1%} of them after reading",
                numbers,
                columns=tuple(dict.fromkeys((*node.key_parts, *more))),
            )


def _sorts_all(plan: ExaminedMysqlPlan, node: MysqlNode) -> Iterator[PlanHit]:
    """R17: a LIMIT needs the first rows in an order that no index has, so all are read and sorted."""
    tables = [one for one in plan.plan.below(node) if one.kind == "table"]
    if len(tables) != 1 or not node.limit or not plan.counts(node):
        return
    table = tables[0]
    given = max(1.0, node.limit)
    found = plan.conditions(table)
    columns = sort_columns(node.sort_key, table.table)
    ordered = (*found.equalities, *columns)
    facts = plan.facts(table)
    served = any(one.valid and one.keys[: len(ordered)] == ordered for one in (facts.indexes if facts else ()))
    if columns and not served and table.read_rows >= max(MIN_WALKED_ROWS, WALKED_PER_ROW * given):
        yield plan.hit(
            "R17",
            node,
            f"Reads and sorts {told(table.read_rows)} rows of {plan.relation(table)} to give the first {told(given)} by {in_list(columns)}",
            {"rows_read": table.read_rows, "limit": given},
            columns=tuple(dict.fromkeys(ordered)),
            table=table,
        )


def join_rules(plan: ExaminedMysqlPlan, node: MysqlNode) -> Iterator[PlanHit]:
    """R02, R24, R25."""
    if node.kind != "table" or not node.full_scan:
        return
    buffer = plan.plan.nodes[node.parent] if _buffered(plan, node) else None
    whole = buffer or node
    if not plan.counts(whole):
        return
    found = plan.conditions(node)
    facts = plan.facts(node)
    columns = (*found.equalities, *found.ranges[:1])
    loops = (buffer.loops if buffer else node.loops) or 1.0
    rows = node.r_rows if node.executed and node.r_rows is not None else node.rows or 0.0
    pairs = rows * loops
    if not (buffer or _repeated(node)) or pairs < MIN_PAIRS:
        return
    if found.equalities and not begins_with(facts, tuple(found.equalities)):
        how = "compares all of its rows with a buffer of" if buffer else "is read whole for each of"
        yield plan.hit(
            "R02",
            buffer or node,
            f"{plan.relation(node)} has no index on {in_list(columns)}: the join {how} {told(loops)} rows, {told(pairs)} pairs in all",
            {"loops": loops, "rows": rows, "pairs": pairs},
            columns=columns,
            table=node,
        )
    elif buffer and not buffer.condition and not found.equalities and pairs >= MIN_WASTED_PAIRS:
        yield plan.hit(
            "R25", buffer, f"No condition joins {plan.relation(node)}: {told(pairs)} pairs of rows are made", {"pairs": pairs}, table=node
        )
    elif buffer and buffer.condition and not found.equalities and pairs >= MIN_WASTED_PAIRS:
        kept = (buffer.r_filtered if buffer.r_filtered is not None else 100.0) / 100
        if kept <= 1 - REMOVED_SHARE:
            text = f"The join with {plan.relation(node)} compares {told(pairs)} pairs of rows and keeps {kept:.2%} of them"
            yield plan.hit("R24", buffer, text, {"pairs": pairs, "kept_share": kept}, table=node)


def estimate_rules(plan: ExaminedMysqlPlan, node: MysqlNode) -> Iterator[PlanHit]:
    """R09: ten times more or fewer rows than expected. A LIMIT ends scans early, so there only more count."""
    if node.kind != "table" or not node.executed or node.rows is None or node.r_rows is None or node.table.startswith("<"):
        return
    planned, actual = max(1.0, node.rows), max(1.0, node.r_rows)
    factor = max(planned / actual, actual / planned)
    if factor < MISESTIMATE or max(planned, actual) * (node.loops or 1.0) < MIN_ROWS or not plan.counts(node, MIN_SUBTREE_SHARE):
        return
    if planned > actual and (plan.view.limit is not None or node.in_subquery or node.position):
        return
    columns = node.key_parts or tuple(plan.conditions(node).equalities)
    yield plan.hit(
        "R09",
        node,
        f"{told(planned)} rows of {plan.relation(node)} were expected and {told(actual)} came: {factor:.0f} times "
        f"{'fewer' if planned > actual else 'more'}",
        {"planned": planned, "actual": actual, "factor": factor},
        columns=columns,
    )


def memory_rules(plan: ExaminedMysqlPlan, node: MysqlNode) -> Iterator[PlanHit]:
    """R06, M01."""
    if node.kind == "sort" and node.sort_passes > 0 and plan.counts(node, MIN_SPILL_SHARE):
        passes = told(node.sort_passes)
        text = f"A sort by {node.sort_key or 'an expression'} did not fit into sort_buffer_size: merged from disk in {passes} passes"
        yield plan.hit("R06", node, text, {"passes": node.sort_passes})
    if node.kind == "temporary" and plan.counts(node, MIN_GROUP_SHARE):
        tables = [one for one in plan.plan.below(node) if one.kind == "table"]
        columns = plan.view.group_columns
        if len(tables) != 1 or not columns or tables[0].kept_rows < MIN_GROUPED_ROWS or tables[0].table not in plan.view.aliases:
            return
        facts = plan.facts(tables[0])
        known = facts is not None and all(facts.column(name) for name in columns)
        if known and facts and not any(one.valid and set(one.keys[: len(columns)]) == set(columns) for one in facts.indexes):
            yield plan.hit(
                "M01",
                node,
                f"{told(tables[0].kept_rows)} rows of {plan.relation(tables[0])} are grouped by {in_list(columns)} in a "
                "temporary table: no index has them in "
                "that order",
                {"rows": tables[0].kept_rows},
                columns=columns,
                table=tables[0],
            )


def complexity_rules(plan: ExaminedMysqlPlan, node: MysqlNode) -> Iterator[PlanHit]:
    """R11 to R16."""
    loops = node.loops or 0.0
    if node.kind == "block" and node.id and loops >= MIN_SUBQUERY_LOOPS and plan.counts(node, MIN_SUBQUERY_SHARE):
        yield plan.hit("R11", node, f"A subquery runs {told(loops)} times, once for every row of the query around it", {"loops": loops})
    if node.id == 0 and plan.view.offset >= MIN_OFFSET:
        offset, limit = plan.view.offset, plan.view.limit or 0.0
        text = f"OFFSET {told(offset)} reads and throws away {told(offset)} rows to give {told(limit)}"
        yield plan.hit("R16", node, text, {"offset": offset, "limit": limit})
    if not node.full_scan or not plan.counts(node):
        return
    removed = node.read_rows - node.kept_rows
    by_estimate = not plan.plan.analyzed and node.read_rows >= MIN_REMOVED_ROWS
    if not by_estimate and (removed < MIN_REMOVED_ROWS or removed < REMOVED_SHARE * node.read_rows):
        return
    found = plan.conditions(node)
    numbers = {"rows_removed": removed, "rows_kept": node.kept_rows}
    reads = f"all {told(node.read_rows)} rows of {plan.relation(node)} are read to keep {told(node.kept_rows)}"
    converted = _needs_conversion(plan, node, found)
    if converted:
        text = f"{in_list(converted)} is text and compared with a number, so it is converted in every row: {reads}"
        yield plan.hit("R13", node, text, numbers, columns=converted)
    elif found.equalities or found.ranges:
        return
    elif found.wrapped:
        names = tuple(found.wrapped)
        yield plan.hit("R12", node, f"A function on {in_list(names)} hides it from every index: {reads}", numbers, columns=names)
    elif found.unanchored:
        names = tuple(found.unanchored)
        yield plan.hit("R14", node, f"The pattern on {in_list(names)} begins with a wildcard: {reads}", numbers, columns=names)
    elif found.alternatives:
        names = tuple(found.alternatives)
        yield plan.hit("R15", node, f"An OR over {in_list(names)} finds no index for each of its branches: {reads}", numbers, columns=names)


def _needs_conversion(plan: ExaminedMysqlPlan, node: MysqlNode, found: Conditions) -> tuple[str, ...]:
    """Text columns that are compared with numbers: all values become floating-point ("Type Conversion in Expression Evaluation")."""
    facts = plan.facts(node)
    types = {column.name: column.type.partition("(")[0].lower() for column in facts.columns} if facts else {}
    return tuple(name for name in found.numbers if types.get(name) in _TEXT_TYPES)


def _buffered(plan: ExaminedMysqlPlan, node: MysqlNode) -> bool:
    return node.parent >= 0 and plan.plan.nodes[node.parent].kind == "join buffer"


def _repeated(node: MysqlNode) -> bool:
    return (node.loops or 0.0) > REPEATED if node.loops is not None else node.position > 0 and node.access == "ALL"


FAMILIES: Mapping[RuleFamily, Rule] = {
    "scans": scan_rules,
    "joins": join_rules,
    "estimates": estimate_rules,
    "memory": memory_rules,
    "complexity": complexity_rules,
}
