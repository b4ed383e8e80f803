"""`perfwright --help` beyond a bare interpreter: what a person waits for before the first word."""

import subprocess
import sys
import time

from benchmarks.measured import Measured, quartiles
from benchmarks.running import ROOT, environment

LIMIT_S = 0.3
RUNS = 15


def run(command: list[str]) -> None:
    subprocess.run([sys.executable, *command], cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, check=True, timeout=60)


async def measure() -> list[Measured]:
    help_s: list[float] = []
    bare_s: list[float] = []
    commands = [(["-m", "starter.cli.main", "--help"], help_s), (["-c", "pass"], bare_s)]
    for number in range(RUNS + 1):
        for command, seconds in commands if number % 2 else commands[::-1]:
            began = time.perf_counter()
            run(command)
            if number:  # the first compiles
                seconds.append(time.perf_counter() - began)
    beyond = sorted(help_ - bare for help_, bare in zip(help_s, bare_s, strict=True))
    low, high = quartiles(beyond)
    note = f"interpreter alone {sorted(bare_s)[RUNS // 2]:.3f} s; half of {RUNS} runs in {low:.3f} to {high:.3f} s"
    return [Measured("perfwright --help, beyond an interpreter", beyond[RUNS // 2], "s", LIMIT_S, note=note)]
