import pytest

from perfwright.analysis.plans.judge import FAMILIES
from tests.perfwright.analysis.plans.healthy import HEALTHY, Healthy
from tests.perfwright.analysis.plans.planted import PLANTED
from tests.perfwright.analysis.plans.planted_case import Planted
from tests.perfwright.analysis.plans.record_plans import HEALTHY_KEPT
from tests.perfwright.analysis.plans.recorded_plans import VERSIONS, recorded_catalog, recorded_plan
from tests.perfwright.analysis.plans.running_plans import judged, what_is_wrong

PLANTED_BY_VERSION = [pytest.param(version, case, id=f"{version}-{case.name}") for case in PLANTED for version in case.versions]


@pytest.mark.parametrize(("version", "case"), PLANTED_BY_VERSION)
def test_a_planted_problem_is_found(version: int, case: Planted) -> None:
    """The planted problem is found at its node, once, with the table and columns that are to blame, and nothing wrong beside it."""
    assert not what_is_wrong(case, judged(recorded_plan(version, f"planted.{case.name}"), recorded_catalog(version)))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", HEALTHY[:HEALTHY_KEPT], ids=lambda case: case.name)
def test_nothing_is_said_of_a_healthy_statement(version: int, case: Healthy) -> None:
    """A healthy statement yields no hit, even if it took long."""
    assert not [(hit.rule, hit.statement) for hit in judged(recorded_plan(version, f"healthy.{case.name}"), recorded_catalog(version))]


def test_every_rule_is_planted() -> None:
    """All thirty rules have a planted problem; reads from a disk (R21) are in test_rules.py: no test can make a disk slow."""
    assert {case.rule for case in PLANTED} == {f"R{number:02}" for number in range(1, 31)} - {"R21"}
    assert len(PLANTED) >= 28 and len(HEALTHY) >= 14 and len(FAMILIES) == 6
