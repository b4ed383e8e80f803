"""Heavy analysis in its own process, so that it neither blocks the worker's event loop nor takes the worker's memory.

    ranking = await in_own_process(rank_findings, profile_path, thresholds, heartbeat=activity.heartbeat)

The function is a plain one at the top of a module; it, its arguments and its result are pickled. Pass paths of large data rather than the
data. A process costs about 100 ms and the imports of the function's module: it is for work of a second or more.
"""

import asyncio
import os
import pickle
import sys
import tempfile
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple, cast

from temporalio.exceptions import ApplicationError

from activities.compute_runner import Outcome
from activities.errors import refuse
from activities.subprocesses import Heartbeat, Tool, ToolRun, run
from perfwright.models.errors import ErrorType

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")

MEMORY_BYTES = 2 << 30
LIMIT_S = 900.0
RESULT_LIMIT_BYTES = 256 << 20
LESS_DATA = "Record for a shorter time or at a lower rate, so that there is less to analyse"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""The cores belong to what is measured."""


class TracebackThere(Exception):
    """The cause of an exception that was carried over: its text is the traceback in the other process."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


async def in_own_process(
    function: Callable[[*Arguments], Result],
    *arguments: *Arguments,
    heartbeat: Heartbeat | None = None,
    memory_bytes: int = MEMORY_BYTES,
    limit_s: float = LIMIT_S,
    result_limit_bytes: int = RESULT_LIMIT_BYTES,
) -> Result:
    """Call the function there and return what it returns, or raise what it raises (same type, traceback as the cause).

    Raises ToolFailed when it needs more than `memory_bytes` or dies, ToolTimeout after `limit_s`, OutputTooLarge for a larger result, and
    an ApplicationError of the exception's type name if the exception itself cannot be pickled. Hash order is the same in every call.
    """
    if function.__module__ == "__main__" or not function.__qualname__.isidentifier():
        raise TypeError(f"{function.__qualname__} is not at the top of an importable module, the other process cannot find it")
    title = f"analysis {function.__name__}"
    with tempfile.TemporaryFile() as order, tempfile.TemporaryFile() as answer:
        await asyncio.to_thread(pickle.dump, (function, arguments), order, pickle.HIGHEST_PROTOCOL)
        order.seek(0)
        tool = Tool(
            [sys.executable, "-P", "-m", "activities.compute_runner", str(memory_bytes)],
            title=title,
            limit_s=limit_s,
            way_out="Install Perfwright again: its own interpreter is gone",
            environment={"PYTHONPATH": os.pathsep.join(path or "." for path in sys.path), "PYTHONHASHSEED": "0"} | ONE_THREAD,
            stdin=order,
            stdout_file=answer,
            output_limit_bytes=result_limit_bytes,
            stop_grace_s=0,  # it has nothing to tidy up
        )
        ended = await run(tool, heartbeat=heartbeat)
        ended.require_success(way_out=LESS_DATA)
        answer.seek(0)
        outcome = await asyncio.to_thread(pickle.load, answer)
    return cast(Result, unpacked(outcome, ended, memory_bytes))


def unpacked(outcome: Outcome, ended: ToolRun, memory_bytes: int) -> object:
    if outcome.out_of_memory:
        raise refuse(ErrorType.TOOL_FAILED, f"{ended.name} needs more than {memory_bytes / (1 << 30):.1f} GiB of memory", way_out=LESS_DATA)
    if not outcome.error_type:
        return outcome.result
    there = TracebackThere(outcome.traceback)
    if outcome.exception:
        raise pickle.loads(outcome.exception) from there  # noqa: S301  # from our own child
    raise ApplicationError(outcome.error_message, type=outcome.error_type, non_retryable=True) from there
