"""What is judged of the rounds taken so far, in each phase of a trial, and when there is enough of them.

A against A takes thirty rounds at most: more would only tell its noise more exactly. A against B goes on until the metric and every guard
are decided, at the looks that were fixed before the first datum; one that is shown to be worse ends it at once.
"""

import math
import statistics
from collections.abc import Sequence

from perfwright.analysis.trials.aa import judge_noise
from perfwright.analysis.trials.boundaries import LEVEL, LOOKS
from perfwright.analysis.trials.guards import guard_datum, judge_guard
from perfwright.analysis.trials.queries import judge_queries
from perfwright.analysis.trials.rounds import CPU_BOUND
from perfwright.analysis.trials.sequential import MARGIN, affordable_rounds, design, judge
from perfwright.analysis.trials.services import P99_FEWEST_ROUNDS, P99_MARGIN
from perfwright.analysis.trials.statements import BLOCKS, TIME, fewest_rounds_for, judge_statements
from perfwright.models.trial import Clock, Guard, GuardJudgement, Judgement, NoiseJudgement, QueryJudgement, TrialDesign
from perfwright.models.trial_run import TakenRound, TrialRequest

NOISE_ROUNDS = 30
MOST_VOID = 5
"""So many rounds that do not count, and no fewer than count, end a phase: a side does not work."""
PART = "/"
"""`wall_s/orders_by_day` is one query's part of `wall_s`."""
MEDIANS = 500
DEFAULT_METRICS = {"service": "p50_ms", "queries": "wall_s", "switched": "value"}
"""By kind of measurement, where the request names none. A benchmark's is the clock that A's noise chooses."""


def clock_of(rounds: Sequence[TakenRound]) -> Clock:
    """What to judge a program by, from A alone: CPU time where it hardly waits, as it is then the less noisy measure of the same.

    Of the round in which it got most of a core: on a busy machine it waits for the others in all the rest.
    """
    pairs = [(sum(one.values["cpu_s"]), sum(one.values["wall_s"])) for one in counted(rounds) if {"cpu_s", "wall_s"} <= one.values.keys()]
    return "cpu" if max((cpu / wall for cpu, wall in pairs if wall > 0), default=0.0) >= CPU_BOUND else "wall"


def is_tail(metric: str) -> bool:
    """A percentile or maximum of a round's requests or pauses, which is noisier than a mean."""
    return "p99" in metric or "_max" in metric


def margin_of(request: TrialRequest, metric: str) -> float:
    """The request's, or what the metric calls for."""
    return request.margin if request.margin is not None else P99_MARGIN if is_tail(metric) else MARGIN


def fewest_rounds(metric: str) -> int:
    return P99_FEWEST_ROUNDS if is_tail(metric) else LOOKS[0]


def counted(rounds: Sequence[TakenRound]) -> list[TakenRound]:
    return [one for one in rounds if not one.void]


def datum(one: TakenRound, metric: str, weights: dict[str, float]) -> float | None:
    """Log B / A of a round; of a metric that is only measured in parts, of the weighted sums. None where it was not measured."""
    if metric in one.data:
        return one.data[metric]
    pair = one.values.get(metric) or _whole(one, metric, weights)
    if pair is None or not all(0 < cost < math.inf for cost in pair):
        return None
    return math.log(pair[1] / pair[0])


def metric_data(rounds: Sequence[TakenRound], metric: str, weights: dict[str, float]) -> list[float]:
    """One datum per round that counts and has it."""
    found = (datum(one, metric, weights) for one in counted(rounds))
    return [one for one in found if one is not None and math.isfinite(one)]


def plan_trial(request: TrialRequest, metric: str, seconds: float, round_s: float) -> TrialDesign | None:
    """Looks and boundary; None where the budget does not afford the fewest rounds."""
    return design(
        affordable_rounds(seconds, round_s),
        margin=margin_of(request, metric),
        higher_is_better=request.higher_is_better,
        fewest=fewest_rounds(metric),
    )


def judge_rounds(request: TrialRequest, rounds: Sequence[TakenRound], metric: str, plan: TrialDesign, *, ended: bool) -> Judgement:
    return judge(metric_data(rounds, metric, weights_of(request)), plan, ended=ended)


def judge_aa(request: TrialRequest, rounds: Sequence[TakenRound], metric: str, round_s: float) -> NoiseJudgement:
    """Whether equal sides come out equal, and whether the budget shows what is wanted."""
    values = metric_data(rounds, metric, weights_of(request))
    if not values and counted(rounds):
        measured = ", ".join(sorted({name for one in counted(rounds) for name in one.values})[:20])
        return NoiseJudgement(verdict="too few", reason=f"{metric} is not measured here; measured: {measured or 'nothing'}", rounds=0)
    if len(values) < LOOKS[0]:
        fewest, needed_s = fewest_rounds(metric), least_s(metric, round_s)
        told = f"{len(values)} rounds of {round_s:.1f} s each; a verdict takes {fewest}: allow a budget of {needed_s:.0f} s at least"
        return NoiseJudgement(verdict="too few", reason=told, rounds=len(values), seconds_needed=needed_s)
    return judge_noise(
        values,
        effect=request.wanted_effect,
        budget_s=request.budget_s,
        round_s=round_s,
        margin=margin_of(request, metric),
        fewest=fewest_rounds(metric),
    )


def least_s(metric: str, round_s: float) -> float:
    """What the fewest rounds of a verdict take, rounded up."""
    return math.ceil(fewest_rounds(metric) * round_s * 1.1)


def judge_guards(request: TrialRequest, rounds: Sequence[TakenRound], plan: TrialDesign) -> tuple[GuardJudgement, ...]:
    """Each guard of the request; one that was not measured in a round that counts has no datum there."""
    return tuple(judge_guard(guard, guard_data(rounds, guard, weights_of(request)), plan) for guard in request.guards)


def guard_data(rounds: Sequence[TakenRound], guard: Guard, weights: dict[str, float]) -> list[float]:
    found: list[float] = []
    for one in counted(rounds):
        pair = one.values.get(guard.metric)
        if guard.scale == "difference" and pair is not None:
            found.append(guard_datum(guard, *pair))
        elif guard.scale == "ratio" and (value := datum(one, guard.metric, weights)) is not None:
            found.append(value)
    return [one for one in found if math.isfinite(one)]


def judge_parts(request: TrialRequest, rounds: Sequence[TakenRound], metric: str) -> tuple[QueryJudgement, ...]:
    """Each query by itself: statements on a clone whatever the metric is, else where the metric is measured in parts."""
    if _judges_statements(request, metric):
        return judge_statements(_data_of_parts(rounds, TIME), _data_of_parts(rounds, BLOCKS), margin=_statement_margin(request, metric))
    return judge_queries(
        _data_of_parts(rounds, metric), margin=margin_of(request, metric), higher_is_better=request.higher_is_better, level=LEVEL
    )


def parts_decided(request: TrialRequest, rounds: Sequence[TakenRound], metric: str) -> bool:
    """Whether the parts let a trial end before its last round, as far as can be told without a look at their times, which are judged once:
    there are rounds enough to show that a statement became worse; and of a change that is judged by something else none reads more blocks,
    or else times get all the rounds there are."""
    if not _judges_statements(request, metric):
        return True
    names = parts_of(rounds, TIME)
    if len(counted(rounds)) < fewest_rounds_for(len(names)):
        return False
    margin = _statement_margin(request, metric)
    as_many = [data for name in names if (data := metric_data(rounds, name.replace(TIME, BLOCKS, 1), {})) and max(data) <= margin]
    return metric == TIME or len(as_many) == len(names)


def _judges_statements(request: TrialRequest, metric: str) -> bool:
    return request.measurement.kind == "queries" and metric != BLOCKS


def _statement_margin(request: TrialRequest, metric: str) -> float:
    """Of one statement's time: the metric's; of a change that is judged by something else, what its guard on time puts up with."""
    if metric == TIME:
        return margin_of(request, metric)
    return next((guard.margin for guard in request.guards if guard.metric == TIME), MARGIN)


def _data_of_parts(rounds: Sequence[TakenRound], metric: str) -> dict[str, list[float]]:
    return {name.partition(PART)[2]: metric_data(rounds, name, {}) for name in parts_of(rounds, metric)}


def parts_of(rounds: Sequence[TakenRound], metric: str) -> list[str]:
    return list(dict.fromkeys(name for one in counted(rounds) for name in (*one.values, *one.data) if name.startswith(metric + PART)))


def weights_of(request: TrialRequest) -> dict[str, float]:
    return request.measurement.weights if request.measurement.kind == "queries" else {}


def medians(rounds: Sequence[TakenRound]) -> dict[str, tuple[float, float]]:
    """Metric -> median of A and of B."""
    names = list(dict.fromkeys(name for one in counted(rounds) for name in one.values))[:MEDIANS]
    pairs = {name: [one.values[name] for one in counted(rounds) if name in one.values] for name in names}
    return {name: (statistics.median(a for a, _ in found), statistics.median(b for _, b in found)) for name, found in pairs.items()}


def does_not_work(rounds: Sequence[TakenRound]) -> str:
    """The last reason why rounds do not count, where too many of them do not; else nothing."""
    void = [one for one in rounds if one.void]
    return void[-1].void if len(void) >= MOST_VOID and len(void) >= len(rounds) - len(void) else ""


def _whole(one: TakenRound, metric: str, weights: dict[str, float]) -> tuple[float, float] | None:
    parts = [(name.partition(PART)[2], pair) for name, pair in one.values.items() if name.startswith(metric + PART)]
    if not parts:
        return None
    return (
        math.fsum(weights.get(name, 1.0) * a for name, (a, _) in parts),
        math.fsum(weights.get(name, 1.0) * b for name, (_, b) in parts),
    )
