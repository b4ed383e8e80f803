"""`make demo`: bring everything up, investigate the lab's programs, say what was found where, and stop everything again.

python -m starter.demo [--keep]        --keep leaves it running until Ctrl-C
"""

import argparse
import asyncio
import contextlib
import shutil
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temporalio.client import Client

from lab.planted import LARGEST_FACTOR, Planted, agrees, planted
from perfwright.models.finding import Finding
from perfwright.models.query_performance import QueryPerformanceDetails, plan_anchor
from perfwright.models.result import ProcessResult
from starter.catalogue import find_process
from starter.client import Perfwright
from starter.connection import connect
from starter.dev_server import DEFAULT_PORT, DEFAULT_UI_PORT, NAMESPACE
from starter.failures import CANNOT_BE_CARRIED_OUT, CannotStart
from starter.ports import holder, is_free
from starter.process_exit import exit_at_once
from starter.refusals import AlreadyRunning, NotCarriedOut, NoWorkerAnswers, ProcessFailed, Refused
from starter.run import Run
from starter.up import Stack, interrupt_at_signals, say_on_stderr, started
from workflows.cpu.cpu_profiling_investigation import CpuProfilingInvestigation
from workflows.database.query_performance_analysis import QueryPerformanceAnalysis
from workflows.plugin.plugin import PerfwrightPlugin

LAB = ("--load", "--duration", "600")
TOP = 8
PLACE_CHARACTERS = 90
"""A statement is a place, too, and may be long."""
SAY_EVERY_S = 2.0


@dataclass(frozen=True)
class Act:
    """One process on one of the lab's targets."""

    process: type
    target: str
    request: Mapping[str, Any]
    needs: tuple[str, ...] = ()
    """Programs without which the target cannot run."""


ACTS = (
    Act(CpuProfilingInvestigation, "shop", {"duration_s": 32.0}),
    Act(CpuProfilingInvestigation, "jvm", {"duration_s": 12.0}, needs=("java", "javac")),
    Act(CpuProfilingInvestigation, "node", {"duration_s": 8.0}, needs=("node",)),
    Act(CpuProfilingInvestigation, "native", {"duration_s": 8.0}, needs=("gcc", "perf")),
    Act(QueryPerformanceAnalysis, "shop-db", {"window_s": 15.0}),
)
"""The shop long enough, and looked at often enough, to tell five shares of a sixth to a fifth surely; the others have one hot spot each,
the JVM a start to get over; its database long enough for every statement of its traffic."""


def main(argv: Sequence[str]) -> int:
    """Exit code 0 when every planted problem was named with the share it has, 1 when not, 5 when it could not be carried out."""
    parser = argparse.ArgumentParser(prog="python -m starter.demo", description="Investigate the lab with a server of its own.")
    parser.add_argument("--keep", action="store_true", help="leave everything running until Ctrl-C")
    options = parser.parse_args(argv)
    interrupt_at_signals()
    try:
        return demonstrate(keep=options.keep)
    except KeyboardInterrupt:
        say_on_stderr("stopped")
        return 130
    except (CannotStart, NotCarriedOut, Refused) as error:
        say_on_stderr(f"error: {error}")
        return CANNOT_BE_CARRIED_OUT


def demonstrate(*, keep: bool) -> int:
    began = time.monotonic()
    with started(lab=True, port=_free_or_other(DEFAULT_PORT), ui_port=_free_or_other(DEFAULT_UI_PORT), lab_options=LAB) as stack:
        print(f"up after {time.monotonic() - began:.0f} s; the Temporal UI is on {stack.server.ui_url}", flush=True)
        code = asyncio.run(_investigate(stack))
        print(_by_hand(stack))
        if keep:
            print("everything goes on running; Ctrl-C stops it", flush=True)
            try:
                print(stack.ended.get().epitaph())
                return CANNOT_BE_CARRIED_OUT
            except KeyboardInterrupt:
                pass
    print(f"done after {time.monotonic() - began:.0f} s; reports and runs are kept in .perfwright", flush=True)
    return code


def _free_or_other(port: int) -> int:
    """The usual port, or 0 for a free one where it is taken: a demonstration should not fail for that."""
    if is_free(port):
        return port
    say_on_stderr(f"port {port} is in use by {holder(port)}: taking another")
    return 0


async def _investigate(stack: Stack) -> int:
    """Run the acts one after the other (they would measure each other); return the exit code."""
    client: Client = await connect(plugins=[PerfwrightPlugin()], config={"target_host": stack.server.address, "namespace": NAMESPACE})
    assert stack.config is not None
    known = tomllib.loads(stack.config.read_text())["targets"]
    code = 0
    async with Perfwright.connect(client, config=stack.config) as perf:
        for act in ACTS:
            lacking = [name for name in act.needs if shutil.which(name) is None]
            if lacking or act.target not in known:
                print(f"\n{act.target}: skipped, {', '.join(lacking) or 'its program'} is not here", flush=True)
                continue
            print(f"\n{act.target}: {act.process.__name__} for {next(iter(act.request.values())):g} s", flush=True)
            try:
                result = await _followed(await begin(perf, act))
            except ProcessFailed as failed:
                print(f"  not carried out: {failed}", flush=True)
                code = CANNOT_BE_CARRIED_OUT
                continue
            print("\n".join(_told(stack, result)))
            for problem in (one for one in planted(act.target) if one.process == result.process):
                if act.process is QueryPerformanceAnalysis:
                    told, right = beside_statement(problem, result)
                else:
                    told, right = beside(problem, naming(problem, result.findings))
                code = code or int(not right)
                print(told, flush=True)
    return code


async def begin(perf: Perfwright, act: Act) -> Run:
    """Start it; a run that an interrupted demonstration left open is cancelled first, because its target is gone."""
    try:
        return await perf.start(act.process, target=act.target, **act.request)
    except AlreadyRunning:
        print("  the run of an earlier, interrupted demonstration is still open: cancelling it", flush=True)
        left_open = await perf.run(f"{find_process(act.process.__name__).slug}/{act.target}")
        await left_open.cancel()
        with contextlib.suppress(ProcessFailed):
            await left_open.result()
        return await perf.start(act.process, target=act.target, **act.request)


async def _followed(run: Run) -> ProcessResult[Any]:
    """The result; meanwhile one line for each new phase or step."""
    result = asyncio.create_task(run.result())
    last = ""
    while not (await asyncio.wait([result], timeout=SAY_EVERY_S))[0]:
        try:
            progress = await run.progress()
        except NoWorkerAnswers:
            continue
        now = progress.step or progress.phase
        if now and now != last:
            print(f"  {progress.elapsed_s:3.0f} s  {now}", flush=True)
            last = now
    return result.result()


def _told(stack: Stack, result: ProcessResult[Any]) -> list[str]:
    lines = [f"  {result.verdict}: {result.summary}"]
    for finding in result.findings[:TOP]:
        where = finding.locations[0].title if finding.locations else ""
        shown = where if len(where) <= PLACE_CHARACTERS else where[: PLACE_CHARACTERS - 1] + "…"
        lines.append(f"    {finding.severity:<11}  {finding.title}" + (f"  [{shown}]" if where and where not in finding.title else ""))
    if result.report.html is not None:
        lines.append(f"  report: {_path_of(stack, result.report.html.uri)}")
    lines.append(
        f"  UI:     {stack.server.ui_url}/namespaces/{NAMESPACE}/workflows/{result.workflow_id.replace('/', '%2F')}/{result.run_id}"
    )
    return lines


def _path_of(stack: Stack, uri: str) -> Path | str:
    assert stack.config is not None
    file = stack.config.parent / "artifacts" / uri
    return _from_here(file) if file.is_file() else uri


def _from_here(file: Path) -> Path:
    """As it is written in this folder: what is printed can be pasted."""
    return file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file


def naming(problem: Planted, findings: Sequence[Finding]) -> Finding | None:
    """The finding above information that names the planted function, in its file; JFR tells classes instead of files."""
    names_file = problem.program != "jvm"
    return next(
        (
            finding
            for finding in findings[:TOP]
            if finding.severity != "information"
            for where in finding.locations
            if (where.function or "").endswith(problem.function)
            and (not names_file or (where.file or "").endswith(Path(problem.file).name))
        ),
        None,
    )


def beside(problem: Planted, finding: Finding | None) -> tuple[str, bool]:
    """What was recorded beside what was timed without a profiler, and whether the two agree."""
    where = f"{problem.file}:{problem.line}"
    if finding is None or finding.cost is None or finding.cost.interval is None:
        return f"  missed:  {problem.name} ({where} {problem.function}), {problem.share:.0%} of CPU time", False
    value, interval = finding.cost.value, finding.cost.interval
    right = agrees(problem.share, value, interval.low, interval.high, problem.counted)
    told = f"{problem.name} at {where}: {value:.0%} of CPU time [{interval.low:.0%} to {interval.high:.0%}]"
    known = f"{problem.share:.0%} timed without a profiler" + (f", {problem.counted:.0%} of instructions" if problem.counted else "")
    if right:
        return f"  planted: {told}; {known}", True
    return f"  differs: {told}; {known}: more than sampling explains, or than a factor of {LARGEST_FACTOR:g}", False


def beside_statement(problem: Planted, result: ProcessResult[QueryPerformanceDetails]) -> tuple[str, bool]:
    """The finding above information about the planted statement, by one of the rules that hold in its plan."""
    where = f"{problem.file}:{problem.line}"
    for one in result.details.examined:
        if problem.statement.partition("$")[0].strip() not in " ".join(one.statement.text.replace('"', "").split()):
            continue
        rules = sorted({hit.rule for hit in one.hits} & set(problem.rules))
        plan = plan_anchor(one.statement.fingerprint)
        about = [f for f in result.findings if f.severity != "information" and any(w.anchor.startswith(plan) for w in f.locations)]
        if rules and about:
            shares = f"{one.statement.share:.0%} of the time; {problem.share:.0%} when it was planted"
            return f"  planted: {problem.name} at {where}: {', '.join(rules)}, {shares}: {about[0].title}", True
    return f"  missed:  {problem.name} ({where}), {problem.share:.0%} of the database's time", False


def _by_hand(stack: Stack) -> str:
    ours = _from_here(Path(sys.prefix, "bin", "perfwright"))
    temporal = "temporal" if shutil.which("temporal") else stack.temporal_cli
    return f"""
Here the lab's policy let the review gates pass. To answer one by hand, give an environment of perfwright.toml `review = "ask"`; a run
then waits at its gate, and any of these answers it:
  {ours} gates
  {ours} approve cpu-profiling-investigation/shop profile_review --comment "looks right"
  {temporal} workflow signal --address {stack.server.address} --workflow-id cpu-profiling-investigation/shop \\
    --name approve --input '{{"gate": "profile_review", "by": "you"}}'
  or the signal button of the UI, with the text that the run's current details show
`make demo KEEP=1` leaves everything running; `{ours} up` shows these runs again."""


if __name__ == "__main__":
    exit_at_once(main(sys.argv[1:]))
