"""Analysis in its own process: same results and errors as a direct call, bounded, cancelled, out of the way."""

import asyncio
import math
import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from temporalio.exceptions import ApplicationError

from activities.compute import in_own_process
from perfwright.models.errors import ErrorType


class Unpicklable(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def describe(*words: str) -> tuple[int, str]:
    print("printed, and not in the way")
    return os.getpid(), " ".join(words)


def fail(message: str) -> None:
    raise LookupError(message)


def fail_unpicklable() -> None:
    raise Unpicklable("this", "that")


def take_memory(count: int) -> int:
    return len(bytearray(count))


def die(number: int) -> None:
    os.kill(os.getpid(), number)


def sleep_noting_pid(path: Path) -> None:
    path.write_text(str(os.getpid()))
    time.sleep(600)


def zeros(count: int) -> bytes:
    return bytes(count)


def hash_order() -> list[str]:
    return list({f"frame {number}" for number in range(200)})


async def test_result_comes_from_another_process() -> None:
    """The function runs elsewhere and its result is what a direct call would return."""
    pid, words = await in_own_process(describe, "one", "two")
    assert words == "one two"
    assert pid != os.getpid()
    assert await in_own_process(math.factorial, 500) == math.factorial(500)


async def test_large_arguments_and_results() -> None:
    """Megabytes of arguments and result pass."""
    assert await in_own_process(len, b"x" * 20_000_000) == 20_000_000
    assert await in_own_process(zeros, 20_000_000) == bytes(20_000_000)


async def test_exceptions_are_those_of_a_direct_call() -> None:
    """An exception keeps its type and message, and its cause holds the traceback of the other process."""
    with pytest.raises(LookupError, match="no samples") as error:
        await in_own_process(fail, "no samples")
    assert "in fail" in str(error.value.__cause__)


async def test_exceptions_that_cannot_be_pickled() -> None:
    """An exception that cannot be carried over is told by its type name and message."""
    with pytest.raises(ApplicationError, match="this and that") as error:
        await in_own_process(fail_unpicklable)
    assert error.value.type == "Unpicklable" and error.value.non_retryable, "it would fail again"


async def test_memory_is_bounded() -> None:
    """Analysis that wants more memory than it may have is refused with a way out, and the worker is not touched."""
    with pytest.raises(ApplicationError, match=r"needs more than 0\.2 GiB of memory\. Record for a shorter time") as error:
        await in_own_process(take_memory, 1 << 30, memory_bytes=200 << 20)
    assert error.value.type == ErrorType.TOOL_FAILED
    assert await in_own_process(take_memory, 50 << 20, memory_bytes=200 << 20) == 50 << 20


async def test_time_is_bounded() -> None:
    """Analysis that takes too long is ended."""
    with pytest.raises(ApplicationError) as error:
        await in_own_process(time.sleep, 600, limit_s=0.5)
    assert error.value.type == ErrorType.TOOL_TIMEOUT


async def test_result_is_bounded() -> None:
    """A result that is too large is refused before it reaches the worker's memory."""
    with pytest.raises(ApplicationError) as error:
        await in_own_process(zeros, 1_000_000, result_limit_bytes=100_000)
    assert error.value.type == ErrorType.OUTPUT_TOO_LARGE


async def test_death_is_told() -> None:
    """A process that is killed in the middle, as by the out-of-memory killer, is told as such."""
    with pytest.raises(ApplicationError, match="analysis die ended with signal 9") as error:
        await in_own_process(die, signal.SIGKILL)
    assert error.value.type == ErrorType.TOOL_FAILED


async def test_cancel_ends_it(tmp_path: Path) -> None:
    """A cancelled analysis is gone when the cancellation is raised."""
    noted = tmp_path / "pid"
    task = asyncio.create_task(in_own_process(sleep_noting_pid, noted))
    async with asyncio.timeout(30):
        while not (noted.exists() and noted.read_text()):
            await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not psutil.pid_exists(int(noted.read_text()))


async def test_event_loop_stays_free() -> None:
    """While it computes, the worker's event loop goes on and heartbeats are sent."""
    beats: list[float] = []
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.01)

    turning = asyncio.create_task(turn())
    await in_own_process(time.sleep, 1.2, heartbeat=lambda elapsed_s, _: beats.append(elapsed_s))
    turning.cancel()
    assert len(beats) >= 2
    assert turns > 10


async def test_same_hash_order_every_time() -> None:
    """Analysis that depends on the order of a set gives the same answer twice."""
    assert await in_own_process(hash_order) == await in_own_process(hash_order)


@pytest.mark.parametrize("function", [lambda: 1, Path.cwd])
async def test_functions_that_cannot_be_found_there(function: object) -> None:
    """Lambdas and methods are refused at once."""
    with pytest.raises(TypeError, match="top of an importable module"):
        await in_own_process(function)  # type: ignore[arg-type]
