"""What is judged of rounds in each phase, and what follows from it."""

import math
from typing import Any

import pytest

from perfwright.analysis.trials.course import (
    clock_of,
    datum,
    does_not_work,
    guard_data,
    judge_aa,
    judge_guards,
    judge_parts,
    judge_rounds,
    medians,
    metric_data,
    parts_decided,
    plan_trial,
)
from perfwright.analysis.trials.verdicts import change_question, evidence_problem, keep_question, noise_problem, unwatched, watch_problem
from perfwright.models.change import Change, LaunchSpec
from perfwright.models.measurement import Estimate, Interval
from perfwright.models.target import Target
from perfwright.models.trial import Guard, GuardJudgement, Judgement, NoiseJudgement, QueryJudgement
from perfwright.models.trial_run import BenchmarkMeasurement, QueriesMeasurement, TakenRound, TrialEvidence, TrialRequest
from perfwright.models.undo import ChangeCheck, ChangeChecked, ChangeDescription

RSS = Guard(metric="rss_bytes", margin=0.1)
ERRORS = Guard(metric="errors_share", margin=0.001, scale="difference")


def request(**more: Any) -> TrialRequest:
    given: dict[str, Any] = {
        "target": Target(name="shop", kind="process", environment="lab"),
        "title": "a try",
        "change": LaunchSpec(append=("--fast",)),
        "measurement": BenchmarkMeasurement(command=("shop",)),
    }
    return TrialRequest(**given | more)


def rounds(pairs: list[tuple[float, float]], metric: str = "cpu_s", **more: tuple[float, float]) -> list[TakenRound]:
    return [TakenRound(number=number, values={metric: pair, **more}, wall_s=0.5) for number, pair in enumerate(pairs)]


def test_the_clock_is_that_of_the_quietest_round() -> None:
    """CPU time where a round shows that the program hardly waits; wall time for what never gets near a whole core, or was not measured."""
    busy = [TakenRound(number=0, values={"cpu_s": (0.2, 0.2), "wall_s": (0.9, 0.9)})]
    quiet = [TakenRound(number=1, values={"cpu_s": (0.2, 0.2), "wall_s": (0.21, 0.21)})]
    assert clock_of(busy + quiet) == "cpu"
    assert clock_of(busy) == "wall" and clock_of([]) == "wall"
    assert clock_of([*busy, quiet[0].model_copy(update={"void": "disturbed"})]) == "wall"


def test_a_datum_is_the_rounds_own_or_the_ratio() -> None:
    """What the round says itself comes first; what is missing, zero or infinite is no datum."""
    assert datum(TakenRound(number=0, values={"cpu_s": (1, 2)}, data={"cpu_s": 0.5}), "cpu_s", {}) == 0.5
    assert datum(TakenRound(number=0, values={"cpu_s": (1, 2)}), "cpu_s", {}) == pytest.approx(math.log(2))
    for pair in ((0, 1), (1, 0), (math.inf, 1), (1, math.nan)):
        assert datum(TakenRound(number=0, values={"cpu_s": pair}), "cpu_s", {}) is None
    assert datum(TakenRound(number=0), "cpu_s", {}) is None


def test_parts_make_a_whole_by_their_weights() -> None:
    """`wall_s` of queries is the ratio of weighted sums, not the mean of their ratios."""
    one = TakenRound(number=0, values={"wall_s/a": (1.0, 2.0), "wall_s/b": (10.0, 10.0), "blocks/a": (5, 5)})
    assert datum(one, "wall_s", {"a": 3.0}) == pytest.approx(math.log(16 / 13))
    assert datum(one, "wall_s", {}) == pytest.approx(math.log(12 / 11))
    given = request(measurement=QueriesMeasurement(weights={"a": 3.0}))
    judged = judge_parts(given, [one] * 14, "wall_s")
    assert [(part.query, part.verdict) for part in judged] == [("a", "worse"), ("b", "equivalent")]


def test_void_rounds_do_not_count() -> None:
    """Not in data, medians or guards; too many of them end the phase with the last reason."""
    good = rounds([(1.0, 0.5)] * 3, rss_bytes=(10.0, 20.0))
    void = [TakenRound(number=9, void=f"exit code {code}", values={"cpu_s": (1.0, 9.0)}) for code in range(5)]
    assert metric_data(good + void, "cpu_s", {}) == [math.log(0.5)] * 3
    assert medians(good + void) == {"cpu_s": (1.0, 0.5), "rss_bytes": (10.0, 20.0)}
    assert guard_data(good + void, RSS, {}) == [math.log(2)] * 3
    assert does_not_work(good + void[:4]) == "" and does_not_work(good + void) == "exit code 4"
    assert does_not_work(good * 2 + void) == ""


def test_a_budget_that_is_too_small_says_what_would_do() -> None:
    """Of too few rounds, of a metric that is not measured, and of noise."""
    slow = judge_aa(request(budget_s=10), rounds([(1.0, 1.0)] * 2), "cpu_s", 5.0)
    assert slow.verdict == "too few" and slow.seconds_needed == 66 and "66 s" in slow.reason
    tail = judge_aa(request(budget_s=10), rounds([(1.0, 1.0)] * 2, "p99_ms"), "p99_ms", 5.0)
    assert tail.seconds_needed == 122, "a percentile takes 22 rounds"
    other = judge_aa(request(), rounds([(1.0, 1.0)] * 14), "p50_ms", 0.5)
    assert other.verdict == "too few" and "measured: cpu_s" in other.reason
    equal = judge_aa(request(), rounds([(1.0, 1.0 + 0.01 * (-1) ** (number // 2)) for number in range(30)]), "cpu_s", 0.5)
    assert equal.verdict == "usable"


def test_margins_follow_the_metric() -> None:
    """1 % for times, 3 % and more rounds for percentiles; the request's own comes first."""
    for metric, margin, fewest in (("cpu_s", 0.01, 12), ("p99_ms", 0.03, 22), ("gc_pause_max_ms", 0.03, 22)):
        plan = plan_trial(request(), metric, 60, 0.5)
        assert plan and plan.margin == margin and plan.looks[0] == fewest and plan.rounds_at_most == 120
    plan = plan_trial(request(margin=0.2), "p99_ms", 60, 0.5)
    assert plan and plan.margin == 0.2
    assert plan_trial(request(), "cpu_s", 5, 0.5) is None


def test_a_guard_decides_on_its_own() -> None:
    """Held, breached, or not shown: each by its own margin; differences for what may be zero."""
    given = request(guards=(RSS, ERRORS, Guard(metric="p99_ms", margin=0.1)))
    taken = rounds([(1.0, 0.5)] * 14, rss_bytes=(10.0, 20.0), errors_share=(0.0, 0.0))
    plan = plan_trial(given, "cpu_s", 60, 0.5)
    assert plan and judge_rounds(given, taken, "cpu_s", plan, ended=True).verdict == "better"
    assert [one.verdict for one in judge_guards(given, taken, plan)] == ["breached", "held", "unseen"]


BETTER = Judgement(
    verdict="better", rounds=16, ratio=Estimate(value=0.9, unit="ratio", interval=Interval(low=0.88, high=0.92, level=0.99, method="Walsh"))
)
HELD = GuardJudgement(metric="rss_bytes", verdict="held", rounds=16, harm=0.0, harm_low=-0.01, harm_high=0.01, smallest_harm=0.12)


def evidence(judged: Judgement | None = BETTER, **more: Any) -> TrialEvidence:
    return TrialEvidence(phase="trial", metric="cpu_s", judgement=judged, **more)


@pytest.mark.parametrize(
    ("given", "goal", "word"),
    [
        (evidence(), 0.05, ""),
        (evidence(guards=(HELD,)), 0.05, ""),
        (evidence(), 0.2, "the goal of 20.0% is not met"),
        (evidence(BETTER.model_copy(update={"verdict": "inconclusive"})), 0.0, "not better"),
        (evidence(guards=(HELD.model_copy(update={"verdict": "breached"}),)), 0.0, "a guard was breached"),
        (evidence(guards=(HELD.model_copy(update={"verdict": "unclear"}),)), 0.0, "a guard could not be shown to hold"),
        (evidence(guards=(HELD.model_copy(update={"verdict": "unseen"}),)), 0.0, "a guard could not be shown to hold"),
        (evidence(queries=(QueryJudgement(query="q7", verdict="worse", pairs=20),)), 0.0, "better as a whole, but 1 of 1"),
        (evidence(None, warnings=("the budget is too small",)), 0.0, "the budget is too small"),
    ],
)
def test_only_what_is_shown_is_worth_keeping(given: TrialEvidence, goal: float, word: str) -> None:
    """Better, by the goal, with every guard held and no query worse; anything else says why not."""
    problem = evidence_problem(request(goal_share=goal), given)
    assert problem.startswith(word) and bool(problem) == bool(word)


def statements(**parts: tuple[float, float]) -> list[TakenRound]:
    """Rounds of a drop: fewer bytes, and what statements cost, each with one per cent of noise."""
    values = {name.replace("_of_", "/"): pair for name, pair in parts.items()} | {"bytes": (2.0, 1.0)}
    return [
        TakenRound(
            number=number,
            values={name: (a, b * (1 + 0.01 * (-1) ** number)) if name.startswith("wall_s") else (a, b) for name, (a, b) in values.items()},
        )
        for number in range(16)
    ]


DROPPED = request(
    measurement=QueriesMeasurement(weights={"heavy": 1.0, "light": 1.0}),
    metric="bytes",
    margin=1e-4,
    guards=(Guard(metric="wall_s", margin=0.1),),
)


@pytest.mark.parametrize(
    ("light", "blocks", "verdict", "by"),
    [
        ((0.001, 0.010), (10.0, 10.0), "worse", "wall_s"),
        ((0.001, 0.00104), (10.0, 14.0), "equivalent", "wall_s"),
        ((0.001, 0.0011), (10.0, 16.0), "worse", "blocks"),
        ((0.001, 0.0011), (10.0, 14.0), "inconclusive", "wall_s"),
        ((0.001, 0.0002), (10.0, 40.0), "better", "wall_s"),
        ((0.001, 0.001), (0.0, 0.0), "equivalent", "wall_s"),
    ],
)
def test_statements_are_judged_whatever_the_metric_is(
    light: tuple[float, float], blocks: tuple[float, float], verdict: str, by: str
) -> None:
    """A drop that makes one query ten times slower is not kept, though that is a hundredth of all time and the guard on all of it holds. Each
    is judged by its time, within what the guard puts up with; where that cannot tell, by half as many blocks again; and more blocks of a
    quicker query are no harm."""
    rounds_taken = statements(wall_s_of_heavy=(10.0, 10.0), blocks_of_heavy=(500.0, 500.0), wall_s_of_light=light, blocks_of_light=blocks)
    plan = plan_trial(DROPPED, "bytes", 60, 1.0)
    assert plan and judge_rounds(DROPPED, rounds_taken, "bytes", plan, ended=True).verdict == "better"
    guards, judged = judge_guards(DROPPED, rounds_taken, plan), judge_parts(DROPPED, rounds_taken, "bytes")
    assert [one.verdict for one in guards] == ["held"]
    assert {one.query: (one.verdict, one.metric) for one in judged} == {"heavy": ("equivalent", "wall_s"), "light": (verdict, by)}
    given = evidence(judge_rounds(DROPPED, rounds_taken, "bytes", plan, ended=True), guards=guards, queries=judged)
    assert ("1 of 2 became worse: light" in evidence_problem(DROPPED, given)) is (verdict == "worse")


def test_a_trial_goes_on_until_a_statement_could_be_shown_to_be_worse() -> None:
    """Thirty of them take more than twelve rounds; those of a drop that read more blocks, or whose blocks nobody knows, all there are."""
    many = statements(**{f"wall_s_of_q{number}": (1.0, 1.0) for number in range(30)})
    created = request(measurement=QueriesMeasurement(), metric="wall_s")
    assert [parts_decided(created, many[:taken], "wall_s") for taken in (12, 13)] == [False, True]
    assert not parts_decided(DROPPED, many, "bytes"), "their blocks are not known"
    for after, decided in ((10.0, True), (11.0, True), (12.0, False)):
        taken = statements(wall_s_of_light=(1.0, 1.0), blocks_of_light=(10.0, after))
        assert parts_decided(DROPPED, taken, "bytes") is decided and not parts_decided(DROPPED, taken[:11], "bytes")
    assert parts_decided(request(), rounds([(1.0, 1.0)]), "cpu_s"), "a program has no parts"


def test_blocks_alone_tell_of_statements_that_were_not_run() -> None:
    """Counted once on either side, they are the same in every round."""
    taken = statements(wall_s_of_light=(1.0, 1.0), blocks_of_light=(10.0, 10.0), blocks_of_beyond=(10.0, 90.0))
    assert {one.query: one.verdict for one in judge_parts(DROPPED, taken, "bytes")} == {"light": "equivalent", "beyond": "worse"}


def test_more_is_better_where_that_is_asked_for() -> None:
    """A throughput of 1.1 times is 10 % better, and no 10 % worse."""
    more = evidence(BETTER.model_copy(update={"ratio": Estimate(value=1.1, unit="ratio")}))
    assert evidence_problem(request(higher_is_better=True, goal_share=0.09), more) == ""
    assert "goal" in evidence_problem(request(higher_is_better=True, goal_share=0.11), more)


def test_noise_and_watches_say_what_is_wrong() -> None:
    """A guard that is not measured stops the trial before anything is applied; a breach is told, silence of a guard too."""
    usable = TrialEvidence(
        phase="noise", noise=NoiseJudgement(verdict="usable", reason="", rounds=30), guards=(HELD,), medians={"cpu_s": (1, 1)}
    )
    assert noise_problem(usable, (RSS,)) == ""
    assert "p99_ms" in noise_problem(usable, (RSS, Guard(metric="p99_ms", margin=0.1)))
    noisy = usable.model_copy(update={"noise": NoiseJudgement(verdict="too noisy", reason="300 s would do", rounds=30)})
    assert "300 s would do" in noise_problem(noisy, ())
    watched = TrialEvidence(phase="watch", guards=(HELD.model_copy(update={"verdict": "breached"}),))
    assert "rss_bytes" in watch_problem(watched) and watch_problem(evidence(guards=(HELD,))) == ""
    assert unwatched(evidence(guards=(HELD.model_copy(update={"verdict": "unclear"}),))) and not unwatched(evidence(guards=(HELD,)))


def test_questions_show_all_that_is_decided_on() -> None:
    """The exact change, whom it concerns, what it costs and how it is undone; then the effect with its picture, guards and counts."""
    change = Change(
        kind="command", title="Launch shop with other flags", apply="shop --fast", undo="shop", risk="restart", undo_cost="a restart"
    )
    description = ChangeDescription(
        change=change, blast_radius="every launch", cost="none", survives_restart=True, warnings=("mind the sale",)
    )
    checked = ChangeChecked(checks=(ChangeCheck(name="command", passed=True, told="it fits"),))
    asked = change_question(request(expected="12 % by Amdahl"), description, checked, None)
    told = "\n".join(asked.evidence)
    assert asked.exact_change == "shop --fast" and asked.risk == "restart" and asked.quality_passed
    assert all(word in told for word in ("12 % by Amdahl", "every launch", "none", "a restart", "it fits", "mind the sale"))
    found = evidence(guards=(HELD,), strip="▁█│", medians={"cpu_s": (1.0, 0.9)})
    kept = keep_question(request(watch_s=60, guards=(RSS,)), description, found, live=False)
    told = "\n".join(kept.evidence)
    assert kept.kind == "keep" and "watched for 60 s" in kept.consequence and "every launch by Perfwright has it" in told
    assert all(word in told for word in ("cpu_s 0.900 (0.880 to 0.920)", "▁█│", "rss_bytes held", "0.12 would have been seen"))
