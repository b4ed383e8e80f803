"""One round of a trial, with real processes."""

import asyncio
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from temporalio.exceptions import ApplicationError

from activities.tool import Tool
from activities.trial_rounds import run_round
from perfwright.analysis.trials.rounds import plan_round, round_datum
from perfwright.models.trial import RoundPlan, Side

SIDE = """
import os, sys, time
for order in sys.stdin:
    {then}
    print("chatter", os.environ["PYTHONHASHSEED"], len(os.environ["PERFWRIGHT_TRIAL_PADDING"]), *os.sched_getaffinity(0), file=sys.stderr)
    with open({log!r}, "a") as log:
        print({name!r}, order.strip(), os.environ["PYTHONHASHSEED"], *os.sched_getaffinity(0), os.getpid(), file=log)
    print("slice", int(order) * {seconds}, int(order) * {seconds}, {seconds}, {seconds}, flush=True)
"""


def planned() -> RoundPlan:
    return plan_round(np.random.default_rng(4), sorted(os.sched_getaffinity(0)))


def side(tmp_path: Path, name: str, seconds: float, then: str = "pass") -> Tool:
    """One that says how long it took rather than taking so long, and writes down what it was asked."""
    code = SIDE.format(name=name, seconds=seconds, then=then, log=str(tmp_path / "log"))
    return Tool([sys.executable, "-c", code], limit_s=60, way_out="")


def sides(tmp_path: Path, then: str = "pass") -> dict[Side, Tool]:
    return {"A": side(tmp_path, "A", 0.01), "B": side(tmp_path, "B", 0.0105, then)}


async def test_a_round_is_run_as_it_was_planned(tmp_path: Path) -> None:
    """Both warm up, then take turns in the drawn order, with the same hash seed, on the same core; and are gone afterwards."""
    plan = planned()
    ran = await run_round(plan, sides(tmp_path), iterations=7, slice_limit_s=30)
    asked = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert "".join(name for name, iterations, *_ in asked if iterations == "7") == plan.order
    assert asked[0][:2] == [plan.first, "5"] and asked[1][1] == "5"
    assert {tuple(line[2:4]) for line in asked} == {(str(plan.hash_seed), str(plan.core))}
    assert round_datum(ran.slices, plan, "cpu") == pytest.approx(np.log(1.05))
    assert not [pid for *_, pid in asked if Path("/proc", pid).exists()]


@pytest.mark.parametrize(
    ("then", "told"),
    [("sys.exit(3)", "exit code 3"), ("sys.exit(0)", "ended before the round did"), ("print('slice much', flush=True)", "answered")],
)
async def test_a_side_that_fails_makes_the_round_void(tmp_path: Path, then: str, told: str) -> None:
    """It ends, with an error or without, or answers nonsense: said at once, with the side."""
    with pytest.raises(ApplicationError, match=told):
        await run_round(planned(), sides(tmp_path, then), iterations=7, slice_limit_s=30)


async def test_a_side_that_hangs_is_given_up(tmp_path: Path) -> None:
    """No answer within the limit ends the round and both sides."""
    async with asyncio.timeout(60):
        with pytest.raises(ApplicationError, match="side B did not answer"):
            await run_round(planned(), sides(tmp_path, "time.sleep(600)"), iterations=7, slice_limit_s=2)
