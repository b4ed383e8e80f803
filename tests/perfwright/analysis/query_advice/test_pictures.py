"""One picture per statement: the plan that was hit most, statements with hits first, no more than asked for."""

from perfwright.analysis.query_advice.pictures import pictures_of
from tests.perfwright.analysis.query_advice.drawn import Run, hit, node, whole_orders


def test_statements_with_hits_are_drawn_first() -> None:
    """Three statements, room for two: the one that was hit, then the costliest."""
    run = Run()
    names = [run.add(node("Seq Scan", on="orders")), run.add(node("Seq Scan", on="orders")), run.add(whole_orders())]
    drawn = pictures_of([hit("R01", fingerprint=names[2])], run.plans, names, 2)
    assert list(drawn) == [names[2], names[0]]
    assert [one.rule for one in drawn[names[2]].nodes[0].marks] == ["R01"] and drawn[names[0]].nodes[0].marks == ()


def test_what_has_no_plan_is_not_drawn() -> None:
    """Nor is a document that is none."""
    run = Run()
    names = [run.add(None), run.add(whole_orders())]
    statements = tuple(
        one.model_copy(update={"plans": tuple(plan.model_copy(update={"plan": {}}) for plan in one.plans)}) for one in run.plans.statements
    )
    assert list(pictures_of([], run.plans, names, 9)) == [names[1]]
    assert pictures_of([], run.plans.model_copy(update={"statements": statements}), names, 9) == {}
