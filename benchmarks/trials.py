"""Real trials, by the steps that a worker runs: `python -m benchmarks.trials [--equal N] [--each N] [--budget S]`.

Equal programs against each other, and programs that do 3, 5 and 8 % more work (their instructions are counted by cachegrind), each trial
with a budget of a minute. Beside it, on the rounds of the same trials, the naive ways: Student's t after every round, Student's t after
twenty rounds; and one long pair of processes, whose slices are taken for independent. Trials drawn from the noise of the equal ones show
how rare false alarms are beyond what thirty can.
"""

import argparse
import asyncio
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from temporalio.testing import ActivityEnvironment

from activities.artifacts import ArtifactStore
from activities.changes.carrying_out import CarryingOut
from activities.changes.kind import Site
from activities.history import History
from activities.subprocesses import Tool
from activities.trial_measuring.measuring import TrialMeasuring
from activities.trial_measuring.valgrind import NotCounted, count_instructions
from activities.trial_rounds import run_round
from activities.undo_records import UndoRecords
from benchmarks.measured import Measured
from benchmarks.running import ROOT
from benchmarks.trial_power import TRIALS, Draws, judged, t_at_every_round
from perfwright.analysis.statistics import student_quantile
from perfwright.analysis.trials.boundaries import LEVEL, LOOKS
from perfwright.analysis.trials.rounds import MOST_QUADS, plan_round
from perfwright.analysis.trials.sequential import design
from perfwright.models.artifact import ArtifactRef
from perfwright.models.change import LaunchSpec
from perfwright.models.target import ProcessSelector, Target
from perfwright.models.trial import Side
from perfwright.models.trial_run import BenchmarkMeasurement, MeasuringOrder, TakenRound, TrialEvidence, TrialRequest
from perfwright.models.undo import ChangeOrder

EQUAL, EACH, BUDGET_S = 30, 20, 60.0
EFFECTS = {"+3 %": ("0.03", 17), "+5 %": ("0.05", 19), "+8 %": ("0.08", 19)}
"""Share more of the same work, and in how many of twenty trials it has to be found."""
SAME = "0.00"
SIDE = (sys.executable, str(ROOT / "benchmarks" / "samples" / "trial_side.py"))
TWENTY = 20
LONG_ITERATIONS = 40
COUNTED_ITERATIONS = (20, 120)
"""Two lengths of a run: their difference is the work without the start."""
METRIC = "cpu_s"


@dataclass(frozen=True)
class Ended:
    """A trial, and the data of its rounds."""

    verdict: str
    seconds: float
    data: tuple[float, ...]


async def measure(equal: int = EQUAL, each: int = EACH, budget_s: float = BUDGET_S) -> list[Measured]:
    with tempfile.TemporaryDirectory(prefix="perfwright-trials-") as folder:
        history = await History.open("sqlite+aiosqlite:///history.db", folder_of_relative=Path(folder))
        try:
            bench = _Bench(Path(folder), history, budget_s)
            return [
                *await _equal_sides(bench, equal),
                *[one for name, (share, needed) in EFFECTS.items() for one in await _slower(bench, name, share, needed, each)],
            ]
        finally:
            await history.close()


class _Bench:
    def __init__(self, folder: Path, history: History, budget_s: float) -> None:
        self.folder, self.history, self.budget_s = folder, history, budget_s
        self.artifacts = ArtifactStore(f"file://{folder}/artifacts")
        self.work = CarryingOut(UndoRecords(history), Site({}, folder / "state"))
        self.done = 0

    async def trial(self, share: str) -> Ended:
        """`share`: of more work on side B; both command lines are equally long."""
        self.done += 1
        number = self.done
        command = (*SIDE, SAME)
        target = Target(name=f"side-{number}", kind="process", environment="lab", process=ProcessSelector(command=command))
        spec = LaunchSpec(without=(SAME,), append=(share,))
        await self.work.apply(ChangeOrder(change_id=f"bench/{number}", target=target, spec=spec))
        request = TrialRequest(
            target=target,
            title=f"{share} more work",
            change=spec,
            measurement=BenchmarkMeasurement(command=command, protocol="slices"),
            metric=METRIC,
            budget_s=self.budget_s,
            seed=number,
            artifact_prefix=f"trial-{number}",
        )
        step = TrialMeasuring(self.artifacts, self.history, {}, self.folder / f"state-{number}")
        order = MeasuringOrder(request=request, phase="trial", change_id=f"bench/{number}", metric=METRIC, seconds=self.budget_s)
        evidence: TrialEvidence = await ActivityEnvironment().run(step.measure_trial, order)
        rounds = [TakenRound.model_validate(json.loads(line)) for line in (await self.artifacts.get(_required(evidence))).splitlines()]
        data = tuple(one.data[METRIC] for one in rounds if not one.void and METRIC in one.data)
        verdict = evidence.judgement.verdict if evidence.judgement else "inconclusive"
        print(f"  {share} more work, trial {number}: {verdict} after {evidence.seconds:.0f} s", file=sys.stderr, flush=True)
        return Ended(verdict, evidence.seconds, data)

    async def long_pair(self, share: str) -> str:
        """One pair of processes, each with its own hash seed; every slice is taken for a datum of its own."""
        number = self.done
        plan = plan_round(np.random.default_rng((7, number)), sorted(os.sched_getaffinity(0)), quads=MOST_QUADS)
        sides: Mapping[Side, tuple[str, int]] = {"A": (SAME, 2 * number), "B": (share, 2 * number + 1)}
        tools = {
            side: Tool([sys.executable, "-c", _RESEEDED, str(seed), *SIDE[1:], given], limit_s=120, way_out="")
            for side, (given, seed) in sides.items()
        }
        ran = await run_round(plan, tools, iterations=LONG_ITERATIONS, slice_limit_s=60)
        a, b = ([math.log(one.cpu_s) for one in ran.slices if one.side == side] for side in ("A", "B"))
        return _welch(a, b)


_RESEEDED = """
import os, sys
seed, *words = sys.argv[1:]
os.execve(sys.executable, [sys.executable, *words], {**os.environ, "PYTHONHASHSEED": seed})
"""


def _required(evidence: TrialEvidence) -> ArtifactRef:
    assert evidence.data is not None, "a phase keeps its rounds"
    return evidence.data


async def _equal_sides(bench: _Bench, count: int) -> list[Measured]:
    ended = [await bench.trial(SAME) for _ in range(count)]
    long = [await bench.long_pair(SAME) for _ in range(count)]
    false = sum(one.verdict in ("better", "worse") for one in ended)
    equivalent = sum(one.verdict == "equivalent" for one in ended)
    found = [
        Measured("equal sides called better or worse", false, f"of {count}", 0, note=f"{equivalent} called equivalent, {_seconds(ended)}"),
        Measured(
            "the same by t after every round",
            _often([one.data for one in ended], _t_always),
            f"of {count}",
            note=f"nominal {LEVEL:.1%} a side",
        ),
        Measured("the same by t after 20 rounds", _often([one.data for one in ended], _t_twenty), f"of {count}"),
        Measured("the same by slices of one long pair", sum(one != "" for one in long), f"of {count}"),
    ]
    noise = np.array([one for trial in ended for one in trial.data])
    plan = design(LOOKS[-1])
    if len(noise) and plan is not None:
        drawn = np.random.default_rng(3).choice(noise, (TRIALS, plan.rounds_at_most))
        verdicts, _ = judged(drawn, plan)
        share = float(np.isin(verdicts, ("better", "worse")).mean()) * 100
        naive: Draws = drawn - np.median(noise)
        by_t = float((t_at_every_round(naive) | t_at_every_round(-naive)).mean()) * 100
        told = f"{TRIALS} trials drawn from {len(noise)} rounds of equal sides; by t after every round {by_t:.1f} %"
        found.append(Measured("the same, drawn from that noise", share, "%", 1.0, note=told))
    return found


async def _slower(bench: _Bench, name: str, share: str, needed: int, count: int) -> list[Measured]:
    ended = [await bench.trial(share) for _ in range(count)]
    long = [await bench.long_pair(share) for _ in range(count)]
    seen = sum(one.verdict == "worse" for one in ended)
    by_t = sum(len(one.data) >= TWENTY and _t_twenty(one.data) == "worse" for one in ended)
    by_long = sum(one == "worse" for one in long)
    note = f"{_seconds(ended)}; by t after 20 rounds {by_t}, by slices of one long pair {by_long}; {await _instructions(share)}"
    return [Measured(f"{name} work found worse", seen, f"of {count}", math.floor(needed * count / EACH), at_least=True, note=note)]


async def _instructions(share: str) -> str:
    """How much more work it really is."""
    per_run: dict[tuple[int, str], float] = {}
    for iterations in COUNTED_ITERATIONS:
        sides: Mapping[Side, str] = {"A": SAME, "B": share}
        tools = {
            side: Tool([*SIDE, given], limit_s=120, way_out="", stdin=f"{iterations}\n".encode(), title=f"side {side}")
            for side, given in sides.items()
        }
        try:
            [counted] = await count_instructions(tools, 0.0)
        except NotCounted as reason:
            return f"not counted: {reason}"
        per_run[iterations, "A"], per_run[iterations, "B"] = counted.a, counted.b
    few, many = COUNTED_ITERATIONS
    more = (per_run[many, "B"] - per_run[few, "B"]) / (per_run[many, "A"] - per_run[few, "A"]) - 1
    return f"{more:+.2%} instructions"


def _often(trials: Sequence[tuple[float, ...]], rule: Callable[[tuple[float, ...]], str]) -> int:
    return sum(rule(one) != "" for one in trials)


def _t_always(data: tuple[float, ...]) -> str:
    """What Student's t calls it after any round from the twelfth on, with no margin."""
    for count in range(LOOKS[0], len(data) + 1):
        if word := _t(data[:count]):
            return word
    return ""


def _t_twenty(data: tuple[float, ...]) -> str:
    return _t(data[:TWENTY]) if len(data) >= LOOKS[0] else ""


def _t(data: Sequence[float]) -> str:
    error = statistics.stdev(data) / math.sqrt(len(data))
    reach = student_quantile(1 - LEVEL, len(data) - 1) * error
    mean = statistics.fmean(data)
    return "worse" if mean > reach else "better" if mean < -reach else ""


def _welch(a: Sequence[float], b: Sequence[float]) -> str:
    error = math.sqrt(statistics.variance(a) / len(a) + statistics.variance(b) / len(b))
    difference, reach = statistics.fmean(b) - statistics.fmean(a), student_quantile(1 - LEVEL, len(a) + len(b) - 2) * error
    return "worse" if difference > reach else "better" if difference < -reach else ""


def _seconds(ended: Sequence[Ended]) -> str:
    if not ended:
        return "none tried"
    seconds = sorted(one.seconds for one in ended)
    return f"after {statistics.median(seconds):.0f} s (at most {seconds[-1]:.0f} s)"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trials", description="Real trials of equal and of slower programs.")
    parser.add_argument("--equal", type=int, default=EQUAL, help="trials of equal programs (default: %(default)d)")
    parser.add_argument("--each", type=int, default=EACH, help="trials of each slower program (default: %(default)d)")
    parser.add_argument("--budget", type=float, default=BUDGET_S, help="seconds of a trial (default: %(default)g)")
    given = parser.parse_args()
    began = time.perf_counter()
    for one in asyncio.run(measure(given.equal, given.each, given.budget)):
        print(f"{one.name:40}{'-' if one.value is None else f'{one.value:g} {one.unit}':>12}  {one.verdict:8}{one.note}")
    print(f"{time.perf_counter() - began:.0f} s, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
