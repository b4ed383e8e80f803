"""One family of rules over all plans of a run."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from perfwright.analysis.plans import (
    called_functions,
    complexity_rules,
    estimate_rules,
    hidden_columns,
    join_rules,
    limit_rules,
    memory_rules,
    overhead_rules,
    scan_rules,
)
from perfwright.analysis.plans.examined import ExaminedPlan
from perfwright.analysis.plans.node_times import measure
from perfwright.analysis.plans.plan_tree import NotAPlan, parse_plan
from perfwright.models.database import Catalog
from perfwright.models.query_performance import PlanHit
from perfwright.models.query_steps import JudgedPlans, PlanSet, RuleFamily, StatementPlans
from perfwright.models.statement import Statement, StatementTable

MAX_HITS_PER_STATEMENT = 8
MAX_HITS = 300
"""With their sentences some 150 kB: a result must fit into a workflow's history."""
IN_EVERY_SAMPLE = frozenset({"R28"})
"""A first planning also reads the server's catalogs into the session's caches: only what every execution shows counts."""

Rules = Callable[[ExaminedPlan], Iterator[PlanHit]]
FAMILIES: Mapping[RuleFamily, tuple[Rules, ...]] = {
    "scans": (scan_rules.rules, limit_rules.rules),
    "joins": (join_rules.rules,),
    "estimates": (estimate_rules.rules,),
    "memory": (memory_rules.rules,),
    "complexity": (complexity_rules.rules, called_functions.rules, hidden_columns.rules),
    "overhead": (overhead_rules.rules,),
}
"""Which module has which rules: scans R01 R03 R05 R17 R20 R22, joins R02 R24 R25, estimates R09 R10 R30, memory R04 R06 R07 R08 R19 R29,
complexity R11 R12 R13 R14 R15 R16 R23, overhead R18 R21 R26 R27 R28."""


def judge_plans(plans: PlanSet, table: StatementTable, catalog: Catalog | None, family: RuleFamily) -> JudgedPlans:
    """What the family's rules find, costliest first: share of the statement's time x its total time in the window.

    Of several samples of a statement the worst hit is kept for each rule and place, at most 8 hits a statement and 300 in all. Documents
    that are no plans are passed over.
    """
    known = {statement.fingerprint: statement for statement in table.statements}
    nodes = 0
    found: list[tuple[float, PlanHit]] = []
    for taken in plans.statements:
        statement = known.get(taken.fingerprint)
        examined = examine(taken, statement, catalog)
        nodes += sum(len(plan.tree.nodes) for plan in examined)
        found += [(_cost(hit, examined, statement), hit) for hit in _of_statement(examined, family)]
    ordered = sorted(found, key=lambda one: (-one[0], one[1].fingerprint, one[1].rule, one[1].node))
    return JudgedPlans(hits=tuple(hit for _, hit in ordered[:MAX_HITS]), examined_nodes=nodes)


def examine(taken: StatementPlans, statement: Statement | None, catalog: Catalog | None) -> list[ExaminedPlan]:
    """The statement's plans, ready for the rules."""
    examined = []
    for number, plan in enumerate(taken.plans):
        try:
            tree = parse_plan(plan.plan)
        except NotAPlan:
            continue
        examined.append(
            ExaminedPlan(
                tree=tree,
                times=measure(tree),
                fingerprint=taken.fingerprint,
                sample=number,
                catalog=catalog,
                execution_ms=plan.execution_ms,
                mean_ms=statement.mean_ms if statement and statement.calls else None,
                load_share=statement.share if statement else 0.0,
                functions=called_functions.called_functions(statement.text if statement else "", catalog),
            )
        )
    return examined


def judge_plan(plan: ExaminedPlan, families: Iterable[RuleFamily] = tuple(FAMILIES)) -> list[PlanHit]:
    """All hits of the families on one plan, in the order of the rules; none on the server's own tables."""
    hits = (hit for family in families for rules in FAMILIES[family] for hit in rules(plan))
    return [hit for hit in hits if not plan.system_table(plan.tree.nodes[hit.node])]


def _of_statement(examined: list[ExaminedPlan], family: RuleFamily) -> list[PlanHit]:
    """The worst hit of each rule and place over the samples. A place is a table with its columns, or a node's title: numbers of nodes
    differ between plans, and one table may be read twice under two aliases."""
    executed = sum(plan.analyzed for plan in examined)
    places: dict[tuple[str, str, tuple[str, ...]], list[tuple[float, PlanHit]]] = {}
    for plan in examined:
        for hit in judge_plan(plan, (family,)):
            places.setdefault((hit.rule, hit.relation if hit.columns else hit.node_title, hit.columns), []).append(
                (hit.share * (plan.takes_ms or 1.0), hit)
            )
    kept = []
    for (rule, *_), hits in places.items():
        samples = {hit.sample for _, hit in hits}
        if rule in IN_EVERY_SAMPLE and len(samples) < executed:
            continue
        cost, worst = (min if rule in IN_EVERY_SAMPLE else max)(hits, key=lambda one: one[0])
        kept.append(
            (
                cost,
                worst.model_copy(update={"numbers": worst.numbers | {"samples": float(len(samples)), "of_samples": float(len(examined))}}),
            )
        )
    return [hit for _, hit in sorted(kept, key=lambda one: (-one[0], one[1].rule, one[1].node))[:MAX_HITS_PER_STATEMENT]]


def _cost(hit: PlanHit, examined: list[ExaminedPlan], statement: Statement | None) -> float:
    if statement and statement.total_ms > 0:
        return hit.share * statement.total_ms
    plan = next(one for one in examined if one.sample == hit.sample)
    return hit.share * (plan.takes_ms or 0.0)
