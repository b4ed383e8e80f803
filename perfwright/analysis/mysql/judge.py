"""One family of rules over all plans of a MySQL or MariaDB run, and their pictures."""

from collections.abc import Sequence

from perfwright.analysis.mysql.conditions import read_statement
from perfwright.analysis.mysql.plan import MysqlNode, MysqlPlan, NotAPlan, parse_plan
from perfwright.analysis.mysql.rules import FAMILIES, ExaminedMysqlPlan
from perfwright.analysis.plans.examined import told
from perfwright.analysis.plans.judge import MAX_HITS, MAX_HITS_PER_STATEMENT
from perfwright.analysis.plans.picture import DETAIL_CHARACTERS, MAX_MARKS, MAX_NODES
from perfwright.models.database import Catalog
from perfwright.models.query_performance import ExplainMode, PlanHit
from perfwright.models.query_steps import JudgedPlans, PlanSet, RuleFamily, StatementPlans
from perfwright.models.report import PlanMark, PlanNodePicture, PlanPicture
from perfwright.models.statement import Statement, StatementTable


def judge_mysql_plans(plans: PlanSet, table: StatementTable, catalog: Catalog | None, family: RuleFamily) -> JudgedPlans:
    """What the family's rules find, costliest first: share of the statement's time x its total time in the window.

    Of several samples of a statement the worst hit is kept for each rule and place. Documents that are no plans are passed over.
    """
    known = {statement.fingerprint: statement for statement in table.statements}
    nodes, found = 0, []
    for taken in plans.statements:
        statement = known.get(taken.fingerprint)
        examined = examine(taken, statement, catalog)
        nodes += sum(len(one.plan.nodes) for one in examined)
        for hit in _of_statement(examined, family):
            takes_ms = max((one.takes_ms or 0.0 for one in examined), default=0.0)
            found.append((hit.share * (statement.total_ms if statement and statement.total_ms > 0 else takes_ms), hit))
    ordered = sorted(found, key=lambda one: (-one[0], one[1].fingerprint, one[1].rule, one[1].node))
    return JudgedPlans(hits=tuple(hit for _, hit in ordered[:MAX_HITS]), examined_nodes=nodes)


def examine(taken: StatementPlans, statement: Statement | None, catalog: Catalog | None) -> list[ExaminedMysqlPlan]:
    """The statement's plans, ready for the rules."""
    examined = []
    for number, one in enumerate(taken.plans):
        try:
            plan = parse_plan(one.plan)
        except NotAPlan:
            continue
        text = one.sample.text if one.sample else statement.text if statement else ""
        mean_ms = statement.mean_ms if statement and statement.calls else None
        examined.append(ExaminedMysqlPlan(plan, read_statement(text), taken.fingerprint, number, catalog, mean_ms))
    return examined


def judge_mysql_plan(examined: ExaminedMysqlPlan, family: RuleFamily) -> list[PlanHit]:
    """All hits of one family on one plan; none on a statement that takes no time."""
    if examined.trivial or (rules := FAMILIES.get(family)) is None:
        return []
    return [hit for node in examined.plan.nodes for hit in rules(examined, node)]


def mysql_picture(
    plan: MysqlPlan, hits: Sequence[PlanHit] = (), mode: ExplainMode = "analyzed", *, execution_ms: float | None = None
) -> PlanPicture:
    """The tree with own times, misestimates and what was found at each node. `hits` are those of this plan's sample."""
    marks: dict[int, list[PlanMark]] = {}
    for hit in hits:
        marks.setdefault(hit.node, []).append(PlanMark(rule=hit.rule, statement=hit.statement))
    shown = plan.nodes[:MAX_NODES]
    # Preorder: a node's parent is always among those before it.
    hottest = max(shown, key=lambda node: (node.own_ms or 0.0, -node.id))
    whole = max(plan.execution_ms or 0.0, plan.nodes[0].total_ms)
    return PlanPicture(
        mode=mode,
        execution_ms=execution_ms if execution_ms is not None else plan.execution_ms,
        nodes=tuple(_drawn(plan, node, whole, marks.get(node.id, []), hot=node is hottest and bool(node.own_ms)) for node in shown),
        left_out=plan.left_out + len(plan.nodes) - len(shown),
    )


def _drawn(plan: MysqlPlan, node: MysqlNode, whole_ms: float, marks: list[PlanMark], *, hot: bool) -> PlanNodePicture:
    timed = plan.analyzed and node.own_ms is not None
    misestimate = None
    if node.executed and node.rows is not None and node.r_rows is not None:
        planned, actual = max(1.0, node.rows), max(1.0, node.r_rows)
        misestimate = round(planned / actual, 2) if planned >= actual else -round(actual / planned, 2)
    return PlanNodePicture(
        id=node.id,
        parent=node.parent,
        title=node.title[:DETAIL_CHARACTERS],
        details=tuple(detail[:DETAIL_CHARACTERS] for detail in _details(node)),
        self_ms=round(node.own_ms, 3) if timed and node.own_ms is not None else None,
        total_ms=round(node.total_ms, 3) if timed else None,
        self_share=round(min(1.0, (node.own_ms or 0.0) / whole_ms), 4) if timed and whole_ms > 0 else None,
        rows_planned=node.rows or 0.0,
        rows_actual=node.r_rows if node.executed else None,
        loops=node.loops,
        misestimate=misestimate,
        blocks=round(node.pages) if node.pages is not None else None,
        cost=node.cost or 0.0,
        hot=hot,
        never_executed=plan.analyzed and node.kind == "table" and node.loops == 0,
        marks=tuple(marks[:MAX_MARKS]),
    )


def _details(node: MysqlNode) -> list[str]:
    details = [f"Condition: {node.condition}"] if node.condition else []
    details += [f"Sort Key: {node.sort_key}"] if node.sort_key else []
    details += [f"Key parts: {', '.join(node.key_parts)}"] if node.key_parts else []
    if node.executed and node.r_filtered is not None and node.r_filtered < 100:
        details.append(f"Rows kept: {node.r_filtered:.2f} %")
    details += [f"Merge passes: {told(node.sort_passes)}"] if node.sort_passes else []
    return details + ([f"Join buffer: {node.join_buffer}"] if node.join_buffer else [])


def _of_statement(examined: list[ExaminedMysqlPlan], family: RuleFamily) -> list[PlanHit]:
    """The worst hit of each rule and place over the samples."""
    worst: dict[tuple[str, str, tuple[str, ...]], tuple[float, PlanHit]] = {}
    for one in examined:
        for hit in judge_mysql_plan(one, family):
            place = (hit.rule, hit.relation if hit.columns else hit.node_title, hit.columns)
            cost = hit.share * (one.takes_ms or 1.0)
            if place not in worst or cost > worst[place][0]:
                worst[place] = (cost, hit)
    ranked = sorted(worst.values(), key=lambda one: (-one[0], one[1].rule, one[1].node))
    return [hit for _, hit in ranked[:MAX_HITS_PER_STATEMENT]]
