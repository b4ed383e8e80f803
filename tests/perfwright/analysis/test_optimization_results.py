"""What the trials of an optimisation come to, in numbers and words."""

import math

import pytest

from perfwright.analysis.optimization_brief import brief_of
from perfwright.analysis.optimization_results import (
    advice_left,
    chosen,
    findings_of,
    memory_guard,
    quality_of,
    summary_of,
    together_won,
    tried,
    usable_noise,
    verdict_of,
    wanted_effect,
)
from perfwright.models.cpu_optimization import (
    Candidate,
    CandidateResult,
    Checked,
    CpuOptimizationDetails,
    CpuOptimizationRequest,
    Differential,
    HotFunction,
    HotLine,
    LeftAlone,
    ProjectTests,
)
from perfwright.models.finding import Finding, Location, Recommendation
from perfwright.models.measurement import Estimate, Interval
from perfwright.models.report import TableFigure
from perfwright.models.trial import GuardJudgement, Judgement, NoiseJudgement, TrialVerdict
from perfwright.models.trial_run import Companion, TrialEnd, TrialEvidence, TrialResult
from perfwright.report.cpu_optimization import report_extras
from perfwright.report.pull_request import pull_request_text

CALLS = Differential(recorded=12, varied=300, raised=40, functions=("read",), not_called=("keys: it is a generator",))
RIGHT = Checked(tests=ProjectTests(passed=True, seconds=2.0), differential=CALLS)


def candidate(number: int = 1, gain: float = 0.2) -> Candidate:
    return Candidate(
        id=f"memoise:shop/dates.py:read_{number}",
        codemod="memoise",
        path="shop/dates.py",
        function=f"read_{number}",
        line=10 * number,
        title=f"Remember the results of `read_{number}`",
        reasoning="it is pure",
        gain_share=gain,
        patch="+ a line\n",
    )


def trial(ratio: float, verdict: TrialVerdict = "better", end: TrialEnd = "kept", metric: str = "cpu_s") -> TrialResult:
    """Of the other time it measures half the gain (as logarithms), by its guard."""
    harm = math.log(ratio) / 2
    guard = GuardJudgement(
        metric={"cpu_s": "wall_s", "wall_s": "cpu_s"}[metric], verdict="held", rounds=16, harm=harm, harm_low=harm, harm_high=harm
    )
    judgement = Judgement(
        verdict=verdict, rounds=16, ratio=Estimate(value=ratio, unit="ratio", interval=Interval(low=ratio - 0.05, high=ratio + 0.05))
    )
    evidence = TrialEvidence(
        phase="trial",
        metric=metric,
        judgement=judgement,
        guards=(guard,),
        companions=(
            Companion(name="instructions", unit="instructions", a=100.0, b=70.0),
            Companion(name="allocations", unit="allocations", a=200.0, b=210.0),
        ),
        medians={"rss_bytes": (100.0, 103.0)},
    )
    noise = TrialEvidence(phase="noise", noise=NoiseJudgement(verdict="usable", reason="", rounds=12))
    return TrialResult(title="t", end=end, reason="measured", evidence=evidence, noise=noise)


def result(number: int, ratio: float, verdict: TrialVerdict = "better", end: TrialEnd = "kept", metric: str = "cpu_s") -> CandidateResult:
    return tried(candidate(number), RIGHT, trial(ratio, verdict, end, metric), f"{number}" * 40)


def details(*results: CandidateResult) -> CpuOptimizationDetails:
    won = together_won(results)
    function = HotFunction(path="shop/dates.py", function="read_1", line=10, share=0.4)
    return CpuOptimizationDetails(
        commit="c" * 40,
        candidates=results,
        hot_functions=(function,),
        base_tests=ProjectTests(passed=True, seconds=2.0),
        gain_share=won.share if won else None,
        gain_low=won.low if won else None,
        gain_high=won.high if won else None,
        gain_metric=won.metric if won else "",
        branch="perfwright/1234",
    )


def request(**more: object) -> CpuOptimizationRequest:
    return CpuOptimizationRequest.model_validate_json('{"target": "shop", "benchmark": ["python", "x.py"], "tests": ["true"]}').model_copy(
        update=more
    )


def test_gains_on_top_of_each_other_multiply() -> None:
    """20 % of the time, then 50 % of what is left: 60 %. What was not kept counts nothing."""
    won = together_won([result(1, 0.8), result(2, 0.5), result(3, 0.1, end="undone")])
    assert won is not None and won.metric == "cpu_s"
    assert (won.share, won.low, won.high) == (pytest.approx(0.6), pytest.approx(1 - 0.85 * 0.55), pytest.approx(1 - 0.75 * 0.45))
    assert together_won([result(1, 0.8, end="undone")]) is None


def test_gains_of_two_clocks_are_kept_apart() -> None:
    """A trial judged by wall-clock time is told so, everywhere; two that were judged by different clocks multiply what both measured of one;
    a goal in CPU time is reached by CPU time alone."""
    wall = result(1, 0.64, metric="wall_s")
    known = details(wall)
    told = [summary_of("shop", known), findings_of(known, ())[0].title, pull_request_text("shop", known)]
    told += [gate.metric for gate in quality_of(known, request()) if "won" in gate.metric]
    assert len(told) == 4 and all("wall-clock time" in one and "CPU time" not in one for one in told), told
    [table] = [one for one in report_extras(known).figures if one.title == "Candidates" and isinstance(one, TableFigure)]
    assert "wall-clock time" in table.rows[0]
    both = together_won([wall, result(2, 0.5)])
    assert both is not None and both.metric == "cpu_s" and both.share == pytest.approx(1 - 0.8 * 0.5)
    goal = quality_of(known, request(goal_share=0.3))[-1]
    assert (goal.outcome, goal.observed) == ("failed", pytest.approx(0.2))
    assert wall.trial is not None and wall.trial.evidence is not None
    blind = wall.model_copy(
        update={"trial": wall.trial.model_copy(update={"evidence": wall.trial.evidence.model_copy(update={"guards": ()})})}
    )
    assert together_won([blind, result(2, 0.5).model_copy(update={"trial": None})]) is None
    assert quality_of(details(blind), request(goal_share=0.3))[-1].outcome == "no data"


def test_a_result_fits_into_a_payload() -> None:
    """The diff is in the branch and at the gate, not in every result."""
    one = result(1, 0.8)
    assert one.candidate.patch == "" and one.trial is not None and one.trial.description is None
    assert (one.gain_share, one.gain_low, one.gain_high) == (pytest.approx(0.2), pytest.approx(0.15), pytest.approx(0.25))


@pytest.mark.parametrize(
    ("results", "goal", "verdict"),
    [
        ((), None, "passed"),
        ((), 0.1, "failed"),
        ((result(1, 0.8),), None, "passed"),
        ((result(1, 0.8),), 0.1, "passed"),
        ((result(1, 0.8),), 0.3, "failed"),
        ((result(1, 1.0, "equivalent", "undone"),), None, "passed"),
        ((result(1, 1.0, "inconclusive", "undone"),), None, "inconclusive"),
        ((result(1, 1.0, "inconclusive", "undone"), result(2, 0.8)), None, "passed"),
        ((result(1, 1.1),), None, "failed"),
    ],
)
def test_verdicts(results: tuple[CandidateResult, ...], goal: float | None, verdict: str) -> None:
    """Nothing to change is a pass unless a goal was set; nothing but noise is inconclusive; a kept loss is a failure."""
    known = details(*results)
    assert verdict_of(known, quality_of(known, request(goal_share=goal))) == verdict
    assert summary_of("shop", known)


def test_no_data_is_no_pass() -> None:
    """Of a kept change without calls made again its quality gate says that it has no data."""
    bare = result(1, 0.8).model_copy(update={"checked": Checked(tests=ProjectTests(passed=True, seconds=1.0))})
    known = details(bare)
    assert [gate.outcome for gate in quality_of(known, request())] == ["passed", "no data", "passed"]


def test_what_is_tried_and_what_is_wanted() -> None:
    found = [candidate(number, 0.4 / number) for number in (1, 2, 3, 4)]
    ids = [one.id for one in chosen(found, request(leave_out=(found[1].id,), candidates_at_most=2))]
    assert ids == [found[0].id, found[2].id]
    assert wanted_effect(found[0], request()) == 0.2 and wanted_effect(candidate(gain=0.0), request()) == 0.05
    assert memory_guard(request(memory_margin_share=0.1)).margin == pytest.approx(0.0953, abs=1e-4)
    assert memory_guard(request(), 4.0).margin == pytest.approx(1.3863, abs=1e-4), "a person allowed four times as much"
    assert memory_guard(request(), 1.02) == memory_guard(request())
    noise = usable_noise([result(1, 0.8)])
    assert noise is not None and noise.phase == "noise" and usable_noise([]) is None


def test_what_is_mended_is_found_no_more() -> None:
    """The profile's finding on a kept function goes, and so does its advice; the rest stays work for people."""
    found = tuple(
        Finding(id=name, title=name, severity="high", summary="", locations=(Location(file="dates.py", function=name, line=1),))
        for name in ("read_1", "read_2")
    )
    known = details(result(1, 0.8), result(2, 1.0, "equivalent", "undone"))
    left = findings_of(known, found)
    assert [one.id for one in left] == ["read_2", "won:memoise:shop/dates.py:read_1"]
    gain = Estimate(value=0.1, unit="share")
    advice = [
        Recommendation(id=name, title=name, finding_ids=(name,), expected_gain=gain, derivation="", effort="hours")
        for name in ("read_1", "read_2")
    ]
    assert [one.id for one in advice_left(advice, left)] == ["read_2"]


def test_the_pull_request_says_what_was_measured() -> None:
    """Every number of it is one of the evidence."""
    text = pull_request_text("shop", details(result(1, 0.8), result(2, 1.0, "equivalent", "undone")))
    assert text.startswith("# Make shop cheaper: 20.0 % (15.0 % to 25.0 %) of its CPU time\n") or "20" in text.splitlines()[0]
    assert "| 111111111111 | Remember the results of `read_1` |" in text and "| -30.0 % | +5.0 % | +3.0 % |" in text
    assert "12 calls recorded" in text and "40 equal exceptions" in text and "Not called again: keys: it is a generator." in text
    assert "## Tried, and not in here" in text and "read_2" in text.rpartition("## Tried")[2]


def test_the_report_shows_every_candidate_and_its_checks() -> None:
    extras = report_extras(details(result(1, 0.8), result(2, 1.0, "equivalent", "undone")))
    tables = {figure.title: figure for figure in extras.figures}
    assert len(tables["Candidates"].rows) == len(tables["Checks"].rows) == 2  # type: ignore[union-attr]
    assert "keys: it is a generator" in tables["Checks"].rows[0]  # type: ignore[union-attr]
    assert any(fact.label == "Branch" and "perfwright/1234" in fact.value for fact in extras.facts)


def test_the_brief_says_what_is_open() -> None:
    """A hot function that is mended says so; one that no codemod mends is open to whoever knows another algorithm, with why."""
    loop = HotFunction(
        path="shop/sums.py", function="crc", line=7, share=0.3, lines=(HotLine(line=9, share=0.25), HotLine(line=8, share=0.1))
    )
    left = LeftAlone(codemod="memoise", path="shop/sums.py", function="Sums.crc", line=7, why="it assigns to an element")
    seen = details(result(1, 0.8))
    seen = seen.model_copy(update={"hot_functions": (*seen.hot_functions, loop), "left_alone": (left,)})
    mended, opened = brief_of(request(), seen).locations
    assert "kept, measured" in mended.told and "Open" not in mended.told
    assert opened.told.startswith("line 9 takes 25% of the CPU time. memoise is left alone: it assigns to an element. Open: no codemod")


def test_workers_are_told_beside_the_code() -> None:
    """Their gain is one of wall-clock time, and counts to no gain of the code; undecided, they make the run inconclusive."""
    workers = tried(candidate(9), Checked(), trial(0.6))
    seen = details(result(1, 0.8)).model_copy(update={"workers": workers})
    assert "20.0% (15.0% to 25.0%) less CPU time" in summary_of("shop", seen)
    assert summary_of("shop", seen).endswith(": kept: 40.0% less wall-clock time.")
    undecided = details().model_copy(update={"workers": tried(candidate(9), Checked(), trial(1.0, "inconclusive", "undone"))})
    assert verdict_of(undecided, quality_of(undecided, request())) == "inconclusive"
    shown = report_extras(seen.model_copy(update={"workers_left": "because"}))
    assert {"Remember the results of `read_9`", "More workers"} <= {fact.label for fact in shown.facts}
