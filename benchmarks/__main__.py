"""`python -m benchmarks [NAME...]`: run all benchmarks or those named, print their numbers against the limits, keep them as JSON.

Exit code 1 when a limit is missed or a benchmark gave no number. Each runs in a process of its own, bounded in time.
"""

import argparse
import asyncio
import dataclasses
import importlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.measured import Measured

RESULTS = Path(".perfwright/benchmarks")
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Benchmark:
    """A module with `async def measure() -> list[Measured]`."""

    module: str
    limit_s: float
    about: str


BENCHMARKS = (
    Benchmark("cli_help", 120, "`perfwright --help` beyond a bare interpreter"),
    Benchmark("worker_start", 300, "worker start to first poll, against the SDK alone"),
    Benchmark("process", 600, "ten steps and a gate, against the SDK alone"),
    Benchmark("throughput", 600, "200 processes of one step, against the SDK alone"),
    Benchmark("waiting_gates", 600, "1,000 processes at a gate"),
    Benchmark("leases", 1_200, "3,000 leases of one target, taken in turn by 30 processes"),
    Benchmark("report", 300, "analysis and report of 2 million samples"),
    Benchmark("collectors", 3_600, "what the target pays for being measured"),
    Benchmark("python_stacks", 300, "shares of a Python program whose stacks change quickly, against its own clock"),
    Benchmark("log_reading", 300, "a 300 MB jsonlog of 5,000 statements: MB/s of one core, memory"),
    Benchmark("query_observation", 900, "what a database server pays for being observed, under pgbench"),
    Benchmark("query_tpch", 900, "query analysis of TPC-H and TPC-DS: Q17 and Q20 with the advised index"),
    Benchmark("index_advice", 1_800, "index advice on TPC-H, TPC-DS and OLTP beside how others choose"),
    Benchmark("statistics_clone", 900, "a clone of statistics beside its database: plans, costs, and the indexes they speak for"),
    Benchmark("trials", 5_400, "real trials: equal programs, and programs that do 3, 5 and 8 % more work"),
    Benchmark("trial_power", 480, "false alarms and power of a trial of 60 s, with this machine's noise"),
)


def main() -> int:
    names = [one.module for one in BENCHMARKS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Speed and size, as ratios within one run.",
        epilog="\n".join(f"{one.module:15}{one.about}" for one in BENCHMARKS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="*", metavar="NAME", help=f"one of: {', '.join(names)} (default: all)")
    parser.add_argument("--measure", metavar="NAME", choices=names, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if unknown := [name for name in given.name if name not in names]:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are: {', '.join(names)}")
    if given.measure:
        return tell(given.measure)
    return run_all([one for one in BENCHMARKS if not given.name or one.module in given.name])


def tell(module: str) -> int:
    """In the benchmark's own process: measure, and write the numbers to stdout as JSON."""
    found: list[Measured] = asyncio.run(importlib.import_module(f"benchmarks.{module}").measure())
    print(json.dumps([dataclasses.asdict(one) for one in found]), flush=True)
    os._exit(0)  # the SDK's threads may abort an interpreter that is being torn down


def run_all(benchmarks: list[Benchmark]) -> int:
    began = datetime.now(UTC)
    results: list[dict[str, Any]] = []
    print(machine(), flush=True)
    for benchmark in benchmarks:
        load, started = os.getloadavg()[0], time.perf_counter()
        found = run_one(benchmark)
        seconds, load_after = time.perf_counter() - started, os.getloadavg()[0]
        print(f"{benchmark.module}: {benchmark.about} ({seconds:.0f} s, load {load:.1f} to {load_after:.1f})")
        for one in found:
            print(f"  {line(one)}", flush=True)
        results.append(
            {
                "benchmark": benchmark.module,
                "seconds": round(seconds, 1),
                "load_before": load,
                "load_after": load_after,
                "measured": [dataclasses.asdict(one) | {"verdict": one.verdict} for one in found],
            }
        )
    failed = [one["name"] for result in results for one in result["measured"] if one["verdict"] in ("MISSED", "no data")]
    path = keep(began, results)
    print(f"\n{len(failed)} of {sum(len(result['measured']) for result in results)} numbers miss their limit; kept in {path}")
    return 1 if failed else 0


def run_one(benchmark: Benchmark) -> list[Measured]:
    command = [sys.executable, "-m", "benchmarks", "--measure", benchmark.module]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            told, _ = process.communicate(timeout=benchmark.limit_s)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as ended:
            os.killpg(process.pid, signal.SIGKILL)  # servers and workers below it end when their pipe to it closes
            if isinstance(ended, KeyboardInterrupt):
                raise
            return [Measured(benchmark.module, None, "", note=f"not done within {benchmark.limit_s:g} s")]
    if process.returncode:
        return [Measured(benchmark.module, None, "", note=f"ended with exit code {process.returncode}; see above")]
    return [Measured(**one) for one in json.loads(told.splitlines()[-1])]


def line(one: Measured) -> str:
    value = "-" if one.value is None else f"{one.value:,.3g} {one.unit}" if abs(one.value) < 100 else f"{one.value:,.0f} {one.unit}"
    limit = "" if one.limit is None else f"{'>=' if one.at_least else '<='} {one.limit:,.4g}"
    return f"{one.name:42}{value.strip():>16}  {limit:10}{one.verdict:8}{one.note}".rstrip()


def machine() -> str:
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, Python {platform.python_version()}, {os.cpu_count()} cores, load average {load}\n"


def keep(began: datetime, results: list[dict[str, Any]]) -> Path:
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{began:%Y%m%dT%H%M%SZ}.json"
    facts = {"at": began.isoformat(timespec="seconds"), "python": platform.python_version(), "cores": os.cpu_count(), "results": results}
    path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    sys.exit(main())
