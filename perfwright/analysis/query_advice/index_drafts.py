"""What index would a finding of a plan ask for? One draft per hit, or the reason why none.

The order of columns follows what a B-tree can do (documentation, 11.3 "Multicolumn Indexes"; Markus Winand, "Use The Index, Luke"):
equalities first, those with the most distinct values before the others; then one range, or the order that is wanted. A further column is
taken only while more than FEW_ROWS rows would be left per key: each one makes every insert dearer.
"""

import re
from dataclasses import dataclass, field

from perfwright.analysis.plans.node_kinds import JOINS
from perfwright.analysis.plans.plan_tree import PlanNode
from perfwright.analysis.query_advice.existing_indexes import FEW_ROWS, MIN_ROWS, Draft, NoDraft, covering, usable, without_direction
from perfwright.analysis.query_advice.expression_drafts import expression_draft, why_no_expression
from perfwright.analysis.query_advice.expression_keys import indexable_expression, prefix_pattern, trigram_pattern
from perfwright.analysis.query_advice.foreign_key_drafts import foreign_key_draft
from perfwright.analysis.query_advice.identifiers import quoted
from perfwright.analysis.query_advice.operands import (
    CONTAINMENTS,
    PATTERNS,
    RANGES,
    Combination,
    Comparison,
    Condition,
    Operand,
    conjuncts,
    operand,
)
from perfwright.analysis.query_advice.plan_view import JOIN_CONDITIONS, PlanView, Tables, distinct_of, rows_of
from perfwright.analysis.query_advice.statistics_state import MISESTIMATE, misestimate, stale, wrongly_looped
from perfwright.models.database import TableFacts
from perfwright.models.query_performance import PlanHit
from perfwright.models.statement import Statement

MAX_EQUALITIES = 3
INDEX_RULES = frozenset({"R01", "R02", "R03", "R06", "R11", "R12", "R14", "R15", "R17", "R24", "R27"})
_IN_FUNCTION = "what the function asks is not in this plan: pg_stat_statements.track = all, or auto_explain.log_nested_statements, show it"
_GEOMETRY = frozenset({"point", "box", "circle", "polygon"})
_TEXT_OPERATORS = {"text": "text_pattern_ops", "character varying": "varchar_pattern_ops", "character": "bpchar_pattern_ops"}


@dataclass
class _Wanted:
    """Columns of one relation by how conditions use them."""

    equal: list[str] = field(default_factory=list)
    listed: list[str] = field(default_factory=list)
    """Compared with `= ANY`: they find rows, but in no order."""
    ranges: list[tuple[str, str]] = field(default_factory=list)
    """Column, and its key in the DDL."""
    rows: list[tuple[str, ...]] = field(default_factory=list)
    """Columns that are compared as a row, in their order: `(a, b) > (1, 2)`."""
    correlated: bool = False
    """Some equality is with another relation's column."""


def drafts_of(hit: PlanHit, plan: PlanView, tables: Tables, statement: Statement | None) -> list[Draft] | NoDraft:
    """For one hit, whatever its rule; `INDEX_RULES` are those that may give drafts."""
    node = plan.node(hit.node)
    if hit.rule == "R27":
        return foreign_key_draft(hit, plan, tables, statement)
    if hit.rule == "R11" and hit.numbers.get("in_function"):
        return NoDraft(hit, "no column", _IN_FUNCTION)
    if node is None:
        return NoDraft(hit, "no table", "the plan has no such node")
    scan = _scan(hit, node, plan)
    table = tables.of_node(scan, statement) if scan else None
    if scan is None:
        return NoDraft(hit, "no table", "no single scan of a table decides what it costs")
    if table is None:
        return NoDraft(hit, "no table", "it reads no table that the catalog lists")
    if table.kind == "foreign table":
        return NoDraft(hit, "no table", f"{table.title} is a foreign table: its index belongs to the other server", table)
    if rows_of(table) < MIN_ROWS and scan.rows + scan.number("Rows Removed by Filter") < MIN_ROWS:
        return NoDraft(hit, "small table", f"{table.title} has fewer than {MIN_ROWS:,.0f} rows", table)
    table = tables.whole(table, statement)
    if hit.rule == "R12":
        return _for_expression(hit, scan, plan, table)
    if hit.rule == "R14":
        return _for_pattern(hit, scan, plan, table)
    if hit.rule == "R15":
        return _for_branches(hit, scan, table)
    return _for_columns(hit, scan, plan, tables, table, statement)


def _scan(hit: PlanHit, node: PlanNode, plan: PlanView) -> PlanNode | None:
    """The scan that a hit is about: the node itself, or the one below it that matters to the rule."""
    if node.text("Relation Name"):
        return node
    scans = [one for one in plan.below(node) if one.text("Relation Name")]
    if hit.rule == "R11":
        scans = [one for one in scans if one.kind == "seq scan" and one.text("Filter")]
        return max(scans, key=lambda one: (one.time_ms or one.total_cost) * max(1.0, one.loops), default=None)
    if hit.rule == "R24" and len(node.children) > 1:
        inner = [one for one in plan.below(plan.nodes[node.children[1]]) if one.text("Relation Name")]
        return inner[0] if len(inner) == 1 else None
    if hit.rule == "R06":
        return scans[0] if len(scans) == 1 and not any(one.kind in JOINS for one in plan.below(node)) else None
    if hit.relation:
        named = [one for one in scans if hit.relation in (one.relation, one.text("Relation Name"))]
        return named[0] if named else None
    return scans[0] if len(scans) == 1 else None


def _for_columns(
    hit: PlanHit, scan: PlanNode, plan: PlanView, tables: Tables, table: TableFacts, statement: Statement | None
) -> list[Draft] | NoDraft:
    if (outer := wrongly_looped(plan, scan)) is not None:
        blamed = tables.of_node(outer, statement)
        if blamed is not None and (why := stale(blamed)):
            reason = f"{blamed.title} {why}; the nested loop was chosen for {outer.plan_rows:,.0f} rows"
            return NoDraft(hit, "stale statistics", f"{reason} and {outer.rows:,.0f} came", blamed)
    wanted = _wanted(scan, plan, table)
    joined = _join_columns(scan, plan, table, wanted) if hit.rule in ("R02", "R24") else False
    if hit.rule == "R24" and not joined:
        return NoDraft(hit, "no column", "the join compares no column in a way that an index serves", table)
    if hit.rule == "R02":
        compared = {*wanted.equal, *wanted.listed, *(name for name, _ in wanted.ranges)}
        wanted.equal += [name for name in hit.columns if name not in compared and table.column(name)]
    if hit.rule == "R11" and not wanted.correlated:
        return NoDraft(hit, "no column", "no column of the subquery is compared for equality with the outer row", table)
    if hit.rule == "R01" and not wanted.equal and (contained := _contained(hit, scan, plan, table)):
        return _unless_there(contained, scan, wanted)
    if hit.rule in ("R06", "R17"):
        return _for_order(hit, scan, plan, table, wanted)
    equalities = _by_selectivity(table, wanted, all_of_them=hit.rule == "R03")
    tail, tail_columns = _range_after(table, equalities, wanted, always=hit.rule == "R03")
    if not equalities and not tail:
        return NoDraft(hit, "no column", "no column is compared in a way that an index serves", table)
    draft = Draft(hit, table, equalities, tail, tail_columns)
    return _unless_there(draft, scan, wanted)


def _wanted(scan: PlanNode, plan: PlanView, table: TableFacts) -> _Wanted:
    wanted = _Wanted()
    for one in plan.conditions(scan):
        _sort_in(one, scan.alias, table, wanted)
    for either in conjuncts(scan.text("Filter")):
        if isinstance(either, Combination) and either.how == "or":
            _shared_by_branches(either, scan.alias, table, wanted)
        elif isinstance(either, Combination):
            # `NOT active`: a btree finds false as well as true.
            wanted.equal += [name for one in either.parts[0] if (name := _flag(one, scan.alias, table)) and len(either.parts[0]) == 1]
    return wanted


def _flag(condition: Condition, alias: str, table: TableFacts) -> str | None:
    return _own(condition.left, alias, table) if isinstance(condition, Comparison) and condition.operator == "true" else None


def _shared_by_branches(either: Combination, alias: str, table: TableFacts, wanted: _Wanted) -> None:
    """A column that every branch of an OR compares for equality is a list of values; where there is none, one of ranges."""
    found: list[set[str]] = []
    ranged: list[set[tuple[str, str]]] = []
    for part in either.parts:
        of_branch = _Wanted()
        for one in part:
            if isinstance(one, Comparison):
                _sort_in(one, alias, table, of_branch)
        found.append({*of_branch.equal, *of_branch.listed})
        ranged.append({*of_branch.ranges, *((name, quoted(name)) for name in found[-1])})
    shared = set.intersection(*found) if found else set()
    wanted.listed += sorted(shared - {*wanted.equal, *wanted.listed})
    if not shared and ranged:
        wanted.ranges += sorted(set.intersection(*ranged))


def _sort_in(comparison: Comparison, alias: str, table: TableFacts, wanted: _Wanted) -> None:
    for one in (comparison, comparison.flipped):
        if one is not None and one.operator in RANGES and (row := _row(one, alias, table)):
            wanted.rows.append(row)
            return
        if one is None or (name := _own(one.left, alias, table)) is None:
            continue
        facts = table.column(name)
        if one.operator in ("true", "is null"):
            wanted.equal.append(name)
            return
        if one.operator == "is not null":
            wanted.ranges.append((name, quoted(name)))
            return
        if one.right is None or one.right.subplan or any(use.alias in ("", alias) for use in one.right.columns):
            continue
        if one.operator == "=":
            (wanted.listed if one.any_array else wanted.equal).append(name)
            wanted.correlated = wanted.correlated or bool(one.right.columns)
            return
        if one.operator in RANGES and not one.any_array:
            wanted.ranges.append((name, quoted(name)))
            return
        if one.operator in ("~~", "~") and facts is not None and prefix_pattern(one.right.text, regular=one.operator == "~"):
            operators = next((ops for kind, ops in _TEXT_OPERATORS.items() if facts.type.startswith(kind)), "")
            if operators:
                wanted.ranges.append((name, f"{quoted(name)} {operators}"))
            return


def _own(side: Operand, alias: str, table: TableFacts) -> str | None:
    """The column of this relation that the side is, if an ordinary index on it would serve."""
    if not side.plain or side.column is None or side.column.alias not in ("", alias):
        return None
    facts = table.column(side.column.name)
    if facts is None or (side.casts and not _stringlike(facts.type)):
        return None
    return side.column.name


def _row(comparison: Comparison, alias: str, table: TableFacts) -> tuple[str, ...]:
    """`(room, id) > (2998, 50000)`: a btree has rows in this order (documentation, 9.25.5 "Row Constructor Comparison")."""
    left, right = comparison.left, comparison.right
    if right is None or not right.constant or any(use.alias not in ("", alias) for use in left.columns):
        return ()
    written = re.fullmatch(r"ROW\((.*)\)", left.text)
    names = tuple(use.name for use in left.columns if table.column(use.name))
    return names if written and len(names) == written[1].count(",") + 1 else ()


def _contained(hit: PlanHit, scan: PlanNode, plan: PlanView, table: TableFacts) -> Draft | None:
    """An index on a column whose elements, parts or overlap are searched (documentation, 64.2 and 64.4: built-in operator classes)."""
    for one in plan.conditions(scan):
        for side in (one.left, one.right) if one.operator in CONTAINMENTS else ():
            name = _own(side, scan.alias, table) if side else None
            facts = table.column(name) if name else None
            if facts is None:
                continue
            if facts.type in ("jsonb", "tsvector") or facts.type.endswith("[]"):
                return Draft(hit, table, (facts.name,), method="gin")
            if facts.type.endswith("range") or facts.type in _GEOMETRY:
                return Draft(hit, table, (facts.name,), method="gist")
            if facts.type in ("inet", "cidr"):
                return Draft(hit, table, (), (f"{quoted(facts.name)} inet_ops",), (facts.name,), method="gist")
    return None


def _stringlike(type_name: str) -> bool:
    return type_name.startswith(("text", "character", "varchar", "bpchar", "citext", "name"))


def _join_columns(scan: PlanNode, plan: PlanView, table: TableFacts, wanted: _Wanted) -> bool:
    """What the nested loop above compares, where the planner left that to the join: equalities, or the two ends of a range. Whether there
    is anything."""
    above = next((one for one in plan.ancestors(scan) if one.kind == "nested loop"), None)
    equal: list[str] = []
    ranges: list[str] = []
    for one in plan.conditions(above, JOIN_CONDITIONS) if above else ():
        for side, other in ((one.left, one.right), (one.right, one.left)):
            if side is None or other is None or not other.columns or other.subplan:
                continue
            name = _own(side, scan.alias, table) if side.column and side.column.alias == scan.alias else None
            if name is None or any(use.alias == scan.alias for use in other.columns):
                continue
            if one.operator == "=":
                equal.append(name)
            elif one.operator in RANGES:
                ranges.append(name)
    wanted.equal += [name for name in equal if name not in wanted.equal]
    if len(ranges) > 1:
        wanted.ranges += [(name, quoted(name)) for name in ranges]
    return bool(equal) or len(ranges) > 1


def _by_selectivity(table: TableFacts, wanted: _Wanted, *, all_of_them: bool = False) -> tuple[str, ...]:
    """Equalities, most distinct values first, those of IN lists last; no more than needed."""
    ordered = [
        *sorted(dict.fromkeys(wanted.equal), key=lambda name: (-distinct_of(table, name), name)),
        *sorted(set(wanted.listed) - set(wanted.equal), key=lambda name: (-distinct_of(table, name), name)),
    ]
    taken: list[str] = []
    left = rows_of(table)
    for name in ordered[:MAX_EQUALITIES]:
        if taken and left <= FEW_ROWS and not all_of_them:
            break
        taken.append(name)
        left /= distinct_of(table, name)
    return tuple(taken)


def _range_after(
    table: TableFacts, equalities: tuple[str, ...], wanted: _Wanted, *, always: bool = False
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """One range behind the equalities, where they leave enough rows for it to matter: the column with the most distinct values. With
    `always` and no equality two: the second is checked in the index, before the table is read."""
    left = rows_of(table)
    for name in equalities:
        left /= distinct_of(table, name)
    if wanted.rows and not {*wanted.rows[0]} & {*equalities} and left > FEW_ROWS:
        return tuple(quoted(name) for name in wanted.rows[0]), wanted.rows[0]
    ranges = [one for one in dict.fromkeys(wanted.ranges) if one[0] not in equalities]
    if not ranges or (equalities and left <= FEW_ROWS and not always):
        return (), ()
    ordered = sorted(ranges, key=lambda one: (-wanted.ranges.count(one), -distinct_of(table, one[0]), one[0]))
    taken = ordered[: 2 if always and not equalities else 1]
    return tuple(key for _, key in taken), tuple(name for name, _ in taken)


def _for_order(hit: PlanHit, scan: PlanNode, plan: PlanView, table: TableFacts, wanted: _Wanted) -> list[Draft] | NoDraft:
    """Rows of the equalities in the order that is wanted: no sort, and a LIMIT ends early."""
    equalities = tuple(sorted(dict.fromkeys(wanted.equal), key=lambda name: (-distinct_of(table, name), name))[:MAX_EQUALITIES])
    sort = plan.node(hit.node)
    if sort is not None and sort.kind == "sort":
        keys = [_without_alias(key, scan.alias) for key in sort.texts("Sort Key")]
    elif equalities:
        keys = [key for index in table.indexes if index.name in plan.index_names(scan)[:1] for key in index.keys]
    else:
        return NoDraft(hit, "no column", "what the walked rows are filtered by is no equality on a column", table)
    columns = [operand(without_direction(key)).column for key in keys]
    if not keys or len(keys) > MAX_EQUALITIES or any(one is None or table.column(one.name) is None for one in columns):
        return NoDraft(hit, "no column", "the order is not one of plain columns of one table", table)
    rest = [(key, one.name) for key, one in zip(keys, columns, strict=True) if one is not None and one.name not in equalities]
    draft = Draft(hit, table, equalities, tuple(key for key, _ in rest), tuple(name for _, name in rest))
    return _unless_there(draft, scan, wanted)


def _without_alias(key: str, alias: str) -> str:
    for prefix in (f"{alias}.", f"{quoted(alias)}."):
        if key.startswith(prefix):
            return key[len(prefix) :]
    return key


def _for_expression(hit: PlanHit, scan: PlanNode, plan: PlanView, table: TableFacts) -> list[Draft] | NoDraft:
    for one in plan.conditions(scan):
        for side, other in ((one.left, one.right), (one.right, one.left)):
            if side is None or other is None or not other.constant or one.any_array or side.column is not None:
                continue
            key = indexable_expression(side, table)
            draft = expression_draft(hit, table, key, one.operator, side, other) if key else None
            if draft is not None:
                return _unless_there(draft, scan, _Wanted())
    return NoDraft(hit, "no column", why_no_expression(scan, plan), table)


def _for_pattern(hit: PlanHit, scan: PlanNode, plan: PlanView, table: TableFacts) -> list[Draft] | NoDraft:
    for one in plan.conditions(scan):
        if name := _trigrams_of(one, scan, table):
            return _unless_there(Draft(hit, table, (name,), method="gin", trigrams=True), scan, _Wanted())
    for either in conjuncts(scan.text("Filter")):
        if isinstance(either, Combination) and either.how == "or":
            branches = [[name for one in part if (name := _trigrams_of(one, scan, table))] for part in either.parts]
            names = list(dict.fromkeys(branch[0] for branch in branches if branch))
            drafts = [Draft(hit, table, (name,), method="gin", trigrams=True, together=len(names) > 1) for name in names]
            if all(branches) and (missing := [draft for draft in drafts if covering(draft) is None]):
                return missing
    return NoDraft(hit, "no column", "the pattern has no three letters in a row that a trigram index could look up", table)


def _trigrams_of(condition: Condition, scan: PlanNode, table: TableFacts) -> str | None:
    """The column whose trigrams find what the pattern looks for."""
    if not isinstance(condition, Comparison) or condition.operator not in PATTERNS or condition.right is None:
        return None
    regular = condition.operator in ("~", "~*")
    return _own(condition.left, scan.alias, table) if trigram_pattern(condition.right.text, regular=regular) else None


def _for_branches(hit: PlanHit, scan: PlanNode, table: TableFacts) -> list[Draft] | NoDraft:
    """Every branch of an OR needs an index of its own (documentation, 11.5 "Combining Multiple Indexes")."""
    for one in conjuncts(scan.text("Filter")):
        if not isinstance(one, Combination) or one.how != "or":
            continue
        drafts: list[Draft] = []
        for part in one.parts:
            wanted = _Wanted()
            for condition in part:
                if isinstance(condition, Comparison):
                    _sort_in(condition, scan.alias, table, wanted)
            equalities = _by_selectivity(table, wanted)
            tail, tail_columns = _range_after(table, equalities, wanted)
            if not equalities and not tail:
                return NoDraft(hit, "no column", "a branch of the OR compares no column in a way that an index serves", table)
            drafts.append(Draft(hit, table, equalities, tail, tail_columns, together=True))
        missing = [draft for draft in drafts if covering(draft) is None]
        if not missing:
            return NoDraft(hit, "index exists", "each branch of the OR has its index", table)
        return [Draft(d.hit, d.table, d.equalities, d.tail, d.tail_columns, together=len(missing) > 1) for d in missing]
    return NoDraft(hit, "no column", "no OR over columns in the filter", table)


def _unless_there(draft: Draft, scan: PlanNode, wanted: _Wanted) -> list[Draft] | NoDraft:
    """The draft, unless an index that serves exists: then its statistics or its price are the reason, and another index is not the cure."""
    table = draft.table
    index = covering(draft) or usable(draft, wanted.equal)
    if index is None:
        return [draft]
    factor = misestimate(scan)
    why = stale(table)
    if why:
        return NoDraft(draft.hit, "stale statistics", f"{table.title} {why}, and {index.name} would serve", table, index)
    if factor >= MISESTIMATE or factor <= 1 / MISESTIMATE:
        times = factor if factor > 1 else 1 / factor
        direction = "more" if factor > 1 else "fewer"
        reason = f"{index.name} would serve, but {times:,.0f} times {direction} rows came than planned"
        return NoDraft(draft.hit, "stale statistics", reason, table, index)
    if index.name in {one for one in (scan.text("Index Name"),) if one}:
        return NoDraft(draft.hit, "index exists", f"{index.name} is used already", table, index)
    return NoDraft(
        draft.hit, "index not used", f"{index.name} would serve and the planner finds it dearer than reading the table", table, index
    )
