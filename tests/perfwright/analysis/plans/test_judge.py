import json

import pytest

from perfwright.analysis.plans.judge import FAMILIES, MAX_HITS, MAX_HITS_PER_STATEMENT, judge_plans
from perfwright.models.database import DatabaseFacts
from perfwright.models.query_performance import ExplainOutcome
from perfwright.models.query_steps import RULE_FAMILIES, PlanSet, RuleFamily, StatementPlans, TakenPlan
from perfwright.models.statement import Statement, StatementTable
from tests.perfwright.analysis.plans.planted import PLANTED
from tests.perfwright.analysis.plans.recorded_plans import VERSIONS, recorded_catalog, recorded_plan

DATABASE = DatabaseFacts(system="postgresql", version="15.18", version_number=150018, database="planted")
SCAN = "planted.missing_index"


def plans(*statements: tuple[str, list[object]], execution_ms: float | None = 20.0) -> PlanSet:
    """`(fingerprint, [recorded name or document, ...])`."""
    return PlanSet(
        database=DATABASE,
        statements=tuple(
            StatementPlans(
                fingerprint=fingerprint,
                outcome=ExplainOutcome(fingerprint=fingerprint, mode="analyzed", plans=len(taken)),
                plans=tuple(
                    TakenPlan(mode="analyzed", plan=recorded_plan(15, one) if isinstance(one, str) else one, execution_ms=execution_ms)  # type: ignore[arg-type]
                    for one in taken
                ),
            )
            for fingerprint, taken in statements
        ),
    )


def table(**total_ms: float) -> StatementTable:
    statements = tuple(
        Statement(fingerprint=one, text="select", calls=10, total_ms=total, mean_ms=total / 10) for one, total in total_ms.items()
    )
    return StatementTable(statements=statements, total_ms=sum(total_ms.values()), seconds=60)


def test_costliest_come_first() -> None:
    """Hits are ordered by what the statement takes in the window, not by how bad its plan looks."""
    found = judge_plans(
        plans(("a" * 16, [SCAN]), ("b" * 16, ["planted.missing_index_in_list"])),
        table(**{"a" * 16: 10.0, "b" * 16: 9_000.0}),
        recorded_catalog(15),
        "scans",
    )
    assert [(hit.fingerprint[0], hit.rule) for hit in found.hits] == [("b", "R01"), ("a", "R01")]
    assert found.examined_nodes == 1 + 2


def test_samples_of_a_statement_are_merged() -> None:
    """The same problem in three samples is one hit, the worst one, that says how many samples show it."""
    cheap = recorded_plan(15, SCAN)
    for name in ("Actual Total Time", "Actual Startup Time"):
        cheap["Plan"][name] /= 2
    found = judge_plans(plans(("a" * 16, [cheap, SCAN, "healthy.primary_key"])), table(), recorded_catalog(15), "scans")
    (hit,) = found.hits
    assert hit.sample == 1 and (hit.numbers["samples"], hit.numbers["of_samples"]) == (2, 3)


def test_planning_counts_when_every_execution_shows_it() -> None:
    """A first planning fills the session's caches: a second sample that plans quickly clears it."""
    slow = recorded_plan(15, "planted.planning_dominates")
    quick = recorded_plan(15, "planted.planning_dominates") | {"Planning Time": 1.0}
    for taken, rules in (([slow, quick], []), ([slow, slow], ["R28"])):
        found = judge_plans(plans(("a" * 16, taken), execution_ms=None), table(), None, "overhead")
        assert [hit.rule for hit in found.hits] == rules


def test_bounds_hold() -> None:
    """At most 8 hits of a statement and 300 in all, small enough for a workflow's history."""
    many = plans(*((f"{number:016x}", ["planted.missing_index_in_union", "planted.no_partition_pruned"]) for number in range(200)))
    found = judge_plans(many, table(), recorded_catalog(15), "scans")
    assert len(found.hits) == MAX_HITS
    assert len(found.model_dump_json().encode()) < 256 * 1024
    branch = recorded_plan(15, SCAN)["Plan"]
    branches = [branch | {"Relation Name": f"t{number}", "Alias": f"t{number}", "Actual Total Time": 14.0} for number in range(9)]
    union = {"Node Type": "Append", "Actual Loops": 1, "Actual Rows": 1, "Actual Total Time": 127.0, "Plans": branches}
    scans = judge_plans(plans(("a" * 16, [{"Plan": union, "Execution Time": 128.0}])), table(), None, "scans")
    assert len(scans.hits) == MAX_HITS_PER_STATEMENT


def test_documents_without_a_plan_are_passed_over() -> None:
    """A broken plan of one statement does not lose the others."""
    found = judge_plans(plans(("a" * 16, [{}, {"Plan": 3}]), ("b" * 16, [SCAN])), table(), None, "scans")
    assert [hit.fingerprint for hit in found.hits] == ["b" * 16]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_family_has_its_rules(version: int) -> None:
    """The six families together find what is planted, and each rule belongs to one family."""
    owners: dict[str, set[RuleFamily]] = {}
    for family in RULE_FAMILIES:
        for case in PLANTED:
            if version in case.versions:
                taken = TakenPlan(mode="analyzed", plan=recorded_plan(version, f"planted.{case.name}"), execution_ms=10.0)
                outcome = ExplainOutcome(fingerprint="a" * 16, mode="analyzed", plans=1)
                one = PlanSet(database=DATABASE, statements=(StatementPlans(fingerprint="a" * 16, outcome=outcome, plans=(taken,)),))
                for hit in judge_plans(one, table(), recorded_catalog(version), family).hits:
                    owners.setdefault(hit.rule, set()).add(family)
    assert {rule: len(families) for rule, families in owners.items() if len(families) > 1} == {}
    assert set(FAMILIES) == set(RULE_FAMILIES)
    assert set(owners) >= {case.rule for case in PLANTED if version in case.versions}


def test_hits_are_equal_for_equal_plans() -> None:
    """Judging twice gives the same answer, byte for byte."""
    taken = plans(("a" * 16, ["planted.correlated_columns", SCAN]), ("b" * 16, ["planted.no_partition_pruned"]))
    answers = {judge_plans(taken, table(), recorded_catalog(15), family).model_dump_json() for family in ("scans",) for _ in range(2)}
    assert len(answers) == 1 and json.loads(answers.pop())["hits"]
