"""Samples of a collector: a freshly started server under the load, or a run of a command that ends by itself, each with its log."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from temporalio.exceptions import ApplicationError

from activities.collector_logs import Collected, read_logs
from activities.heartbeats import beating
from activities.process_memory import TreeMemory
from activities.processes_below import itself_and_below, program_named
from activities.recording_folder import RecordingFolder
from activities.service_runs import ServiceSample, logged, measured, p_ms, requests_of, send, started, told_without
from activities.subprocesses import running
from activities.trial_measuring.sides import CommandSide
from perfwright.analysis.gc.front import AS_IS
from perfwright.analysis.gc.pauses import pause_table
from perfwright.models.errors import ErrorType
from perfwright.models.gc_tuning import GarbageCollectionRequest, GcSample, PauseTable, ServiceLoad

SAMPLES_FILE = "samples.jsonl"
PAUSES_PER_SAMPLE = 5_000
"""Written down singly for a sample; the table is of all."""
LOOKED_EVERY_S = 0.05
TROUBLES = (ErrorType.TOOL_FAILED, ErrorType.TOOL_TIMEOUT)
"""Of one sample: the others go on."""


async def samples_of(sides: Mapping[str, CommandSide], request: GarbageCollectionRequest, folder: RecordingFolder) -> list[dict[str, Any]]:
    """One of each side in every round, in an order drawn for it; those of an earlier attempt are kept."""
    taken = list(folder.lines(SAMPLES_FILE))
    done = {(one["sample"]["candidate"], one["sample"]["round"]) for one in taken}
    doing = ""

    def progress() -> dict[str, Any]:
        return {"measuring": doing, "samples": len(taken), "of": request.rounds * len(sides)}

    async with beating(progress):
        for number in range(request.rounds):
            chance = Random(number)  # noqa: S311 an order, no secret
            drawn = {"PYTHONHASHSEED": str(chance.getrandbits(32))}
            for name in chance.sample(list(sides), len(sides)):
                if (name, number) in done:
                    continue
                doing = name or "as it is"
                began = time.monotonic()
                line = await _taken(name, number, sides[name], drawn, request)
                line["took_s"] = round(time.monotonic() - began, 3)
                folder.append(SAMPLES_FILE, line)
                taken.append(line)
    return taken


async def _taken(name: str, number: int, side: CommandSide, drawn: Mapping[str, str], request: GarbageCollectionRequest) -> dict[str, Any]:
    """One sample, as a line; where the program does not come up, fails or takes too long, with the reason."""
    title = f"{name or 'the command'} (round {number + 1})"
    try:
        if request.load is None:
            return await _ran(name, number, side, title, drawn, request.run_limit_s)
        return await _served(name, number, side, title, drawn, request.load)
    except ApplicationError as trouble:
        if trouble.type not in TROUBLES:
            raise
        return {"sample": _empty(name, number, trouble.message).model_dump()}


async def _served(name: str, number: int, side: CommandSide, title: str, drawn: Mapping[str, str], load: ServiceLoad) -> dict[str, Any]:
    async with started(side, title, drawn) as service:
        await service.ready(load.ready_path)
        warm_up = requests_of(load.paths, load.warm_up_requests)
        await send([service], [(0,)] * len(warm_up), warm_up, load.concurrency)
        paths = requests_of(load.paths, load.requests_per_round)
        (sample,) = await measured([service], [(0,)] * len(paths), paths, load.concurrency)
    if sample.table is None or sample.facts is None:
        return {"sample": _empty(name, number, "no collector wrote a log").model_dump()}
    collected = Collected(sample.facts, sample.pauses, sample.processes, sample.table.dropped)
    return _line(_of_service(name, number, sample, sample.table), collected, sample.seconds, sample.executable)


async def _ran(name: str, number: int, side: CommandSide, title: str, drawn: Mapping[str, str], limit_s: float) -> dict[str, Any]:
    """The command to its end. Raises ToolFailed where it ends with an error, ToolTimeout."""
    folder = Path(tempfile.mkdtemp(prefix="perfwright-run-"))
    tool = logged(side, side.argv, title, drawn, folder, limit_s=limit_s)
    try:
        async with running(tool) as child:
            memory, looking = TreeMemory(child.pid), asyncio.create_task(_java_below(child.pid))
            try:
                async with memory.watched():
                    ended = await child.wait()
            finally:
                looking.cancel()
        try:
            ended.require_success(way_out="Run the command by hand in the target's folder: it has to end with exit code 0")
        except ApplicationError as trouble:
            raise ApplicationError(told_without(trouble.message, side.environment), type=trouble.type, non_retryable=True) from None
        collected = await asyncio.to_thread(read_logs, folder)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    if collected is None:
        return {"sample": _empty(name, number, "no collector wrote a log").model_dump()}
    if (held := memory.peak_bytes(ended.peak_rss_bytes)) is None:
        return {"sample": _empty(name, number, "the memory of its processes may not be looked at").model_dump()}
    table = pause_table(collected.pauses, ended.wall_s, processes=collected.processes, dropped=collected.dropped)
    sample = GcSample(
        candidate=name,
        round=number,
        pause_p99_ms=table.p99_ms,
        pause_max_ms=table.max_ms,
        pause_share=table.share,
        throughput_hz=1.0 / ended.wall_s,
        p50_ms=1e3 * ended.wall_s,
        p99_ms=1e3 * ended.wall_s,
        cpu_s=ended.cpu_s,
        memory_bytes=held,
        errors_share=0.0,
    )
    return _line(sample, collected, ended.wall_s, looking.result() if looking.done() and not looking.cancelled() else "")


async def _java_below(pid: int) -> str:
    """The launcher of the JVM among its processes, as soon as there is one."""
    while True:
        if found := await asyncio.to_thread(lambda: program_named("java", itself_and_below(pid))):
            return found
        await asyncio.sleep(LOOKED_EVERY_S)


def _line(sample: GcSample, collected: Collected, seconds: float, executable: str) -> dict[str, Any]:
    kept = collected.pauses[:PAUSES_PER_SAMPLE] if sample.candidate == AS_IS else ()
    return {
        "sample": sample.model_dump(),
        "facts": collected.facts.model_dump(mode="json"),
        "pauses": [pause.model_dump(mode="json") for pause in kept],
        "seconds": seconds,
        "processes": collected.processes,
        "dropped": collected.dropped + max(0, len(collected.pauses) - PAUSES_PER_SAMPLE),
        "executable": executable,
    }


def _of_service(name: str, number: int, sample: ServiceSample, table: PauseTable) -> GcSample:
    return GcSample(
        candidate=name,
        round=number,
        pause_p99_ms=table.p99_ms,
        pause_max_ms=table.max_ms,
        pause_share=table.share,
        throughput_hz=sample.answers.throughput_hz,
        p50_ms=p_ms(sample.answers, 50),
        p99_ms=p_ms(sample.answers, 99),
        cpu_s=sample.cpu_s,
        memory_bytes=sample.memory_bytes,
        errors_share=sample.answers.errors_share,
    )


def _empty(name: str, number: int, trouble: str) -> GcSample:
    return GcSample(
        candidate=name,
        round=number,
        pause_p99_ms=0.0,
        pause_max_ms=0.0,
        pause_share=0.0,
        throughput_hz=0.0,
        p50_ms=0.0,
        p99_ms=0.0,
        cpu_s=0.0,
        memory_bytes=0.0,
        errors_share=1.0,
        trouble=trouble[:300],
    )
