"""What a trial of a minute reaches on this machine, with its own noise: `python -m benchmarks.trial_power [--minutes M]`.

Real rounds of A against A are recorded (two fresh Python processes on one core), trials are drawn from them, 2,000 per number, and judged
as they would be in 60 s. Beside it, on the same draws, Student's t after every round at the same nominal level. Only as honest as the
noise: what takes turns over longer than the recording is not in it.
"""

import argparse
import asyncio
import math
import os
import sys
import time

import numpy as np
import numpy.typing as npt

from activities.tool import Tool
from activities.trial_measuring.benchmark import SLICE_S
from activities.trial_rounds import run_round
from benchmarks.measured import Measured
from benchmarks.running import ROOT
from perfwright.analysis.statistics import student_quantile
from perfwright.analysis.trials.aa import lag_one_correlation
from perfwright.analysis.trials.boundaries import LEVEL, LOOKS
from perfwright.analysis.trials.estimates import robust_sigma
from perfwright.analysis.trials.rounds import choose_clock, plan_round, round_datum
from perfwright.analysis.trials.sequential import affordable_rounds, design
from perfwright.analysis.trials.signed_ranks import signed_rank_z
from perfwright.models.trial import Clock, RoundPlan, Side, Slice, TrialDesign

MINUTES = 3.0
BUDGET_S = 60.0
TRIALS = 2_000
EFFECTS = (0.03, 0.05, 0.08)
CALIBRATION = 50
FEWEST_RECORDED = 40
MOST_FALSE = 1.0
"""Per cent of trials of equal sides that are better or worse."""
Draws = npt.NDArray[np.float64]


async def measure(minutes: float = MINUTES) -> list[Measured]:
    recorded, round_s, clock = await record(minutes * 60)
    if len(recorded) < FEWEST_RECORDED:
        return [Measured("rounds of A against A", None, "", note=f"{len(recorded)} in {minutes:g} min; {FEWEST_RECORDED} are the fewest")]
    plan = design(affordable_rounds(BUDGET_S, round_s))
    if plan is None:
        return [Measured("a verdict in 60 s", None, "", note=f"a round takes {round_s:.1f} s, twelve are the fewest")]
    return reached(
        recorded, round_s, plan, f"{clock} time, {len(recorded)} rounds of {round_s:.2f} s, at most {plan.rounds_at_most} a trial"
    )


async def record(seconds: float) -> tuple[Draws, float, Clock]:
    """Data of rounds of A against A, the median duration of one, and the clock."""
    tool = Tool([sys.executable, str(ROOT / "benchmarks" / "samples" / "trial_side.py")], limit_s=120, way_out="")
    sides: dict[Side, Tool] = {"A": tool, "B": tool}
    cores = sorted(os.sched_getaffinity(0))

    async def one(number: int, iterations: int) -> tuple[RoundPlan, tuple[Slice, ...], float]:
        plan = plan_round(np.random.default_rng([1, number]), cores)
        ran = await run_round(plan, sides, iterations=iterations, slice_limit_s=30)
        return plan, ran.slices, ran.wall_s

    _, first, _ = await one(0, CALIBRATION)
    clock = choose_clock(
        [max(first, key=lambda part: part.cpu_s / part.wall_s)]
    )  # of a busy machine the least disturbed slice is the idlest
    iterations = max(2, round(SLICE_S / (min(part.cpu_s for part in first) / CALIBRATION)))
    data: list[float] = []
    durations: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        plan, slices, took_s = await one(len(data) + 1, iterations)
        data.append(round_datum(slices, plan, clock))
        durations.append(took_s)
    return np.array(data), float(np.median(durations)), clock


def reached(recorded: Draws, round_s: float, plan: TrialDesign, note: str) -> list[Measured]:
    """The table: false alarms, power with the time it takes, equivalence; ours and the naive way."""
    drawn = np.random.default_rng(2).choice(recorded, (TRIALS, plan.rounds_at_most))
    verdicts, rounds = judged(drawn, plan)
    false = float(np.isin(verdicts, ("better", "worse")).mean()) * 100
    naive = drawn - np.median(recorded)
    found = [
        Measured("sigma of a datum", robust_sigma(recorded) * 100, "%", note=f"{note}; lag-one {lag_one_correlation(recorded):+.2f}"),
        Measured("equal sides called better or worse", false, "%", MOST_FALSE, note=f"{TRIALS} trials of {BUDGET_S:g} s"),
        Measured(
            "the same by t at every round",
            float((t_at_every_round(naive) | t_at_every_round(-naive)).mean()) * 100,
            "%",
            note=f"nominal {2 * LEVEL:.1%}, no margin",
        ),
        Measured("the same by ranks at the looks", no_margin_alarms(naive, plan), "%", note="no margin either"),
        Measured("equal sides called equivalent", float((verdicts == "equivalent").mean()) * 100, "%"),
    ]
    for effect in EFFECTS:
        verdicts, rounds = judged(drawn + math.log1p(effect), plan)
        seen = verdicts == "worse"
        after = f"after {np.median(rounds[seen]) * round_s:.0f} s" if seen.any() else ""
        found.append(Measured(f"{effect:+.0%} called worse", float(seen.mean()) * 100, "%", note=after))
    return found


def judged(data: Draws, plan: TrialDesign) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.int64]]:
    """Verdict and rounds of each row; the rule of `perfwright.analysis.trials.sequential`, for all rows at once."""
    verdicts = np.full(len(data), "inconclusive", dtype="<U12")
    rounds = np.full(len(data), plan.rounds_at_most)
    for look in plan.looks:
        above, below = (signed_rank_z(data[:, :look] + shift) for shift in (-plan.margin, plan.margin))
        for verdict, shown in (
            ("worse", above >= plan.boundary),
            ("better", below <= -plan.boundary),
            ("equivalent", (above <= -plan.boundary) & (below >= plan.boundary)),
        ):
            now = shown & (verdicts == "inconclusive")
            verdicts[now], rounds[now] = verdict, look
    return verdicts, rounds


def no_margin_alarms(data: Draws, plan: TrialDesign) -> float:
    """Per cent of rows whose Z reaches the boundary at a look, either way, with no margin to help."""
    alarms = [np.abs(signed_rank_z(data[:, :look])) >= plan.boundary for look in plan.looks]
    return float(np.any(alarms, axis=0).mean()) * 100


def t_at_every_round(data: Draws) -> npt.NDArray[np.bool_]:
    """The naive way: rows that Student's t calls above zero, at the nominal level, after any round from the twelfth on."""
    counts = np.arange(1, data.shape[1] + 1)
    means = np.cumsum(data, axis=1) / counts
    variances = (np.cumsum(data**2, axis=1) - counts * means**2) / np.maximum(counts - 1, 1)
    quantiles = np.array([student_quantile(1 - LEVEL, max(1, count - 1)) for count in counts])
    alarms = means > quantiles * np.sqrt(np.maximum(variances, 0) / counts)
    return np.asarray(alarms[:, LOOKS[0] - 1 :].any(axis=1), dtype=np.bool_)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trial_power", description="What a trial of a minute reaches here.")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="how long to record noise (default: %(default)g)")
    for one in asyncio.run(measure(parser.parse_args().minutes)):
        print(f"{one.name:40}{'-' if one.value is None else f'{one.value:.1f} {one.unit}':>10}  {one.note}")


if __name__ == "__main__":
    main()
