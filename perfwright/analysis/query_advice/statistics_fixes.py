"""What makes the planner estimate better: ANALYZE, a higher statistics target, extended statistics.

PostgreSQL documentation, 14.2 "Statistics Used by the Planner" and 72 "How the Planner Uses Statistics": a column keeps a hundred common
values, and columns are taken for independent unless CREATE STATISTICS says how they depend.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from perfwright.analysis.plans.plan_tree import PlanNode
from perfwright.analysis.query_advice.expression_keys import indexable_expression
from perfwright.analysis.query_advice.identifiers import object_name, qualified, quoted, taken_names, word_of
from perfwright.analysis.query_advice.operands import RANGES, operand
from perfwright.analysis.query_advice.plan_view import PlanView, Tables, distinct_of
from perfwright.analysis.query_advice.statistics_state import MISESTIMATE, misestimate, stale
from perfwright.models.change import Change
from perfwright.models.database import Catalog, DatabaseFacts, TableFacts
from perfwright.models.query_performance import PlanHit
from perfwright.models.statement import Statement

FixKind = Literal["analyze", "statistics target", "extended statistics", "work_mem", "vacuum", "jit", "index"]
DEFAULT_TARGET, TARGET, MOST_TARGET = 100, 1_000, 10_000
"""default_statistics_target as it comes; ten times as many common values show skew that a hundred hide; the server's maximum."""


@dataclass(frozen=True)
class CheapFix:
    """One change, and the hits it is for."""

    kind: FixKind
    subject: str
    """What it is about, stable between runs: `public.orders`, `public.orders(city,country)`, role `app`."""
    change: Change
    why: str
    hits: tuple[PlanHit, ...]
    tables: tuple[TableFacts, ...] = ()


@dataclass(frozen=True)
class Server:
    """What statistics are about."""

    database: DatabaseFacts
    catalog: Catalog
    tables: Tables


def for_statistics(
    hit: PlanHit, view: PlanView, node: PlanNode, statement: Statement | None, accused: TableFacts | None, server: Server
) -> list[CheapFix]:
    """What makes the planner know better. `accused`: the table whose stale statistics were found to be the cause."""
    if accused is not None and stale(accused):
        return [_analyze(hit, accused)]
    under = view.nodes[node.children[0]] if hit.rule == "R10" and node.children else node
    scans = [one for one in view.below(under) if one.text("Relation Name")]
    known = [(one, table) for one in scans if (table := server.tables.of_node(one, statement)) is not None]
    misjudged = [(one, table) for one, table in known if not 1 / MISESTIMATE < misestimate(one) < MISESTIMATE]
    out_of_date = [table for _, table in misjudged if stale(table)] or [table for _, table in known if stale(table)]
    if out_of_date:
        return [_analyze(hit, table) for table in {table.title: table for table in out_of_date}.values()]
    grouped = _ndistinct(hit, node, known, server) if node.kind == "aggregate" else []
    return grouped or [fix for one, table in misjudged[:1] for fix in _of_columns(hit, view, one, table, server)]


def _analyze(hit: PlanHit, table: TableFacts) -> CheapFix:
    change = Change(
        kind="sql",
        title=f"Analyze {table.title}",
        apply=f"ANALYZE {qualified(table.schema_name, table.name)};",
        undo="SELECT 1; -- nothing to restore: ANALYZE only replaces statistics, as autovacuum does",
        # The class of a changed setting: in force at once, for every session's next plan; nothing restarts and no row is touched.
        # "irreversible" is for what is lost: what ANALYZE replaces is a sample that autovacuum throws away by itself, unasked, whenever
        # enough rows have changed, so a policy that asks before the irreversible would ask before what the server does anyway. "observe"
        # would be too little: plans may change.
        risk="reload",
        undo_cost="The statistics of before were a sample of rows as they were then: autovacuum replaces them the same way",
    )
    return CheapFix("analyze", f"{table.schema_name}.{table.name}", change, f"{table.title} {stale(table)}", (hit,), (table,))


def _of_columns(hit: PlanHit, view: PlanView, scan: PlanNode, table: TableFacts, server: Server) -> list[CheapFix]:
    """Several columns: how they depend on each other. One: more of its common values. An expression: statistics of its own."""
    equal: list[str] = []
    others: list[str] = []
    expressions: list[str] = []
    for one in view.conditions(scan):
        for side, other in ((one.left, one.right), (one.right, one.left)):
            if side is None or other is None or not other.constant or one.operator not in {"=", *RANGES}:
                continue
            if side.column is not None and side.plain and table.column(side.column.name):
                (equal if one.operator == "=" else others).append(side.column.name)
            elif (key := indexable_expression(side, table)) and side.column is None:
                expressions.append(key)
    columns = tuple(sorted(dict.fromkeys(equal)))
    if len(columns) > 1:
        return _extended(hit, table, columns, _kinds(table, columns, server), server)
    if expressions and server.database.version_number >= 140_000:
        return _extended(hit, table, tuple(dict.fromkeys(expressions))[:1], (), server)
    return [fix for name in (*columns, *dict.fromkeys(others)) for fix in _target(hit, table, name, server)][:1]


def _kinds(table: TableFacts, columns: Sequence[str], server: Server) -> tuple[str, ...]:
    """With a list of common combinations only where all of them fit into it: conditions that such a list covers are not looked up in the
    dependencies any more (statext_clauselist_selectivity in extended_stats.c), and a combination that it lacks is estimated as before."""
    values = max(distinct_of(table, name) for name in columns)
    return ("dependencies", "mcv") if values <= _default_target(server) else ("dependencies",)


def _default_target(server: Server) -> int:
    asked = server.database.setting("default_statistics_target") or ""
    return int(asked) if asked.isdigit() else DEFAULT_TARGET


def _ndistinct(hit: PlanHit, node: PlanNode, known: Sequence[tuple[PlanNode, TableFacts]], server: Server) -> list[CheapFix]:
    """A grouping by several columns of one table: how many combinations there are."""
    uses = [operand(key) for key in node.texts("Group Key")]
    for scan, table in known:
        columns = [use.column.name for use in uses if use.column and not use.function and use.column.alias in ("", scan.alias)]
        if len(columns) == len(uses) > 1 and all(table.column(name) for name in columns):
            return _extended(hit, table, tuple(sorted(columns)), ("ndistinct",), server)
    return []


def _extended(hit: PlanHit, table: TableFacts, keys: tuple[str, ...], kinds: tuple[str, ...], server: Server) -> list[CheapFix]:
    expression = not kinds
    written = keys if expression else tuple(quoted(key) for key in keys)
    if any(all(key in existing for key in written) for existing in table.extended_statistics):
        return []
    taken = taken_names(server.catalog, table.schema_name) | {name for one in table.extended_statistics for name in one.split()[2:3]}
    name = object_name([table.name, *(word_of(key) if expression else key for key in keys)], "stx", taken)
    full = qualified(table.schema_name, name)
    which = f" ({', '.join(kinds)})" if kinds else ""
    create = f"CREATE STATISTICS {full}{which} ON {', '.join(written)} FROM {qualified(table.schema_name, table.name)};"
    change = Change(
        kind="sql",
        title=f"Statistics on {' and '.join(keys)} of {table.title}",
        apply=f"{create}\nANALYZE {qualified(table.schema_name, table.name)};",
        undo=f"DROP STATISTICS IF EXISTS {full};",
        risk="reload",
    )
    why = f"the planner takes {' and '.join(keys)} for independent" if len(keys) > 1 else f"the planner has no statistics on {keys[0]}"
    if kinds == ("ndistinct",):
        why = f"the planner does not know how many combinations of {' and '.join(keys)} there are"
    return [CheapFix("extended statistics", f"{table.schema_name}.{table.name}({','.join(keys)})", change, why, (hit,), (table,))]


def _target(hit: PlanHit, table: TableFacts, column: str, server: Server) -> list[CheapFix]:
    facts = table.column(column)
    earlier = facts.statistics_target if facts and facts.statistics_target is not None and facts.statistics_target >= 0 else None
    current = earlier if earlier is not None else _default_target(server)
    target = min(MOST_TARGET, max(TARGET, 10 * current))
    if facts is None or current >= TARGET:
        return []
    alter = f"ALTER TABLE {qualified(table.schema_name, table.name)} ALTER COLUMN {quoted(column)} SET STATISTICS"
    analyze = f"ANALYZE {qualified(table.schema_name, table.name)} ({quoted(column)});"
    change = Change(
        kind="sql",
        title=f"Statistics target {target} for {column} of {table.title}",
        apply=f"{alter} {target};\n{analyze}",
        undo=f"{alter} {earlier if earlier is not None else -1};\n{analyze}",
        risk="reload",
    )
    why = f"{current} common values of {column} do not show its skew"
    return [CheapFix("statistics target", f"{table.schema_name}.{table.name}({column})", change, why, (hit,), (table,))]
