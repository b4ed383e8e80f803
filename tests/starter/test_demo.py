"""What the demonstration says of each planted problem, and what makes it fail."""

import pytest

from lab.planted import agrees, planted
from perfwright.models.finding import Finding, Location, Severity
from perfwright.models.measurement import Estimate, Interval
from starter.demo import beside, naming

PROBLEM = next(problem for problem in planted("shop") if problem.name == "stock-merge")


def a_finding(value: float, low: float, high: float, *, severity: Severity = "low", function: str = PROBLEM.function) -> Finding:
    return Finding(
        id="f",
        title="f",
        severity=severity,
        summary="s",
        cost=Estimate(value=value, unit="share of CPU time", interval=Interval(low=low, high=high)),
        locations=(Location(file="shop/stock.py", line=PROBLEM.line, function=function),),
    )


def test_a_problem_is_named_by_what_is_told() -> None:
    """The planted function names a problem where its finding is above information, and no other function does."""
    named, quiet, other = (
        a_finding(0.16, 0.1, 0.2),
        a_finding(0.16, 0.1, 0.2, severity="information"),
        a_finding(0.16, 0.1, 0.2, function="x"),
    )
    assert naming(PROBLEM, [other, quiet, named]) is named
    assert naming(PROBLEM, [other, quiet]) is None


def test_a_missed_problem_and_a_wrong_share_are_told() -> None:
    """Missed, far from the share that was timed, or so uncertain that any share would do: each is said and is not right."""
    told, right = beside(PROBLEM, a_finding(PROBLEM.share, PROBLEM.share - 0.03, PROBLEM.share + 0.03))
    assert right and told.startswith("  planted: stock-merge at lab/shop/stock.py") and "timed without a profiler" in told
    assert beside(PROBLEM, None)[1] is False and beside(PROBLEM, None)[0].startswith("  missed:")
    told, right = beside(PROBLEM, a_finding(0.5, 0.45, 0.55))
    assert not right and told.startswith("  differs:")


@pytest.mark.parametrize(
    ("value", "low", "high", "right"),
    [
        (0.20, 0.16, 0.24, True),
        (0.16, 0.13, 0.19, True),
        (0.28, 0.22, 0.34, True),
        (0.30, 0.28, 0.32, False),
        (0.33, 0.1, 0.6, False),
        (0.12, 0.0, 0.4, False),
    ],
)
def test_shares_agree_within_what_sampling_explains(value: float, low: float, high: float, right: bool) -> None:
    """A share of a fifth agrees with recordings whose stretched interval reaches it, as long as they are within a factor of 1.6."""
    assert agrees(0.2, value, low, high) is right


def test_instructions_are_a_second_witness() -> None:
    """Half as many instructions as time are no other share; a sixth of them are, whatever a clock once said."""
    assert agrees(0.2, 0.2, 0.18, 0.22, counted=0.14) and not agrees(0.2, 0.2, 0.18, 0.22, counted=0.05)
    assert not agrees(0.2, 0.2, 0.18, 0.22, counted=0.6)
