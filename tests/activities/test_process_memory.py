"""The memory of processes together, with those that have ended or may not be looked at; and of a program with all that it started."""

import asyncio
import os
import subprocess
import sys

import psutil
import pytest

from activities.process_memory import TreeMemory, pss_bytes
from activities.subprocesses import Tool, running
from activities.tool import ToolRun
from tests.activities.tool_programs import soon

HOLDS_50_MB = "held = b'x' * 50_000_000; print('ready', flush=True); input()"
FAMILY = """
import os, sys
shared = b"s" * 20_000_000
for name in sys.argv[1:]:
    if not os.fork():
        if name == "left" and os.fork():
            os._exit(0)  # what it has started loses its parent
        own = b"o" * 30_000_000
        os.write(1, b"ready\\n")
        sys.stdin.read()
        os._exit(0)
    elif name == "left":
        os.wait()
sys.stdin.read()
"""


def test_what_processes_hold_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that hold 50 MB each hold 100; when one has ended, what the other holds; with one that may not be looked at, nothing is known."""
    programs = [
        subprocess.Popen([sys.executable, "-S", "-c", HOLDS_50_MB], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)
    ]
    try:
        for program in programs:
            assert program.stdout and program.stdout.readline() == b"ready\n"
        both = [psutil.Process(program.pid) for program in programs]
        assert 100e6 < pss_bytes(both) < 150e6
        programs[0].communicate()
        assert 50e6 < pss_bytes(both) < 75e6 and pss_bytes(both[:1]) == 0.0
        with monkeypatch.context() as patched:
            patched.setattr(both[0], "memory_full_info", lambda: (_ for _ in ()).throw(psutil.AccessDenied()))
            assert pss_bytes(both) == 0.0
    finally:
        for program in programs:
            program.communicate()


async def family(*children: str, looks: int = 0) -> tuple[TreeMemory, ToolRun]:
    """A program with these children, looked at so often, or else until they are counted; and how it ended."""
    reading, writing = os.pipe()
    ready: list[str] = []
    with os.fdopen(reading, "rb") as source, os.fdopen(writing, "wb") as orders:
        tool = Tool([sys.executable, "-S", "-c", FAMILY, *children], limit_s=60, way_out="", stdin=source)
        async with running(tool, on_line=lambda _, line: ready.append(line)) as child:
            await soon(lambda: len(ready) == len(children))
            memory = TreeMemory(child.pid)
            for _ in range(looks):
                await memory.look()
            async with memory.watched():
                while not looks and memory.looks.processes <= len(children):
                    await asyncio.sleep(0.02)
            orders.close()
            return memory, await child.wait()


@pytest.mark.parametrize("child", ["stays", "left"])
async def test_a_program_with_children(child: str) -> None:
    """Two children with 30 MB each of their own beside 20 MB that all three share: 80 MB, of which no process has more than 50."""
    memory, ended = await family(child, child)
    largest, held = ended.peak_rss_bytes, memory.peak_bytes(ended.peak_rss_bytes)
    assert 50e6 < largest < 75e6 and held is not None and 80e6 < held < 105e6
    assert memory.looks.processes == 3 and memory.looks.cost_s > 0


async def test_a_child_is_counted_when_it_has_been_there_a_while() -> None:
    """One that was just started may still have its parent's memory, and would double it."""
    memory, _ = await family("stays", looks=1)
    assert memory.looks.processes == 1 and memory.peak_bytes(7.0) == 7.0


async def test_a_program_by_itself_is_told_by_the_kernel() -> None:
    """Its own peak, as it always was."""
    memory, ended = await family(looks=2)
    assert memory.looks.count == 2 and memory.looks.processes == 1
    assert memory.peak_bytes(ended.peak_rss_bytes) == ended.peak_rss_bytes


async def test_where_one_may_not_be_looked_at_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others' memory is not told as if it were all."""

    def refused(_: psutil.Process) -> None:
        raise psutil.AccessDenied()

    monkeypatch.setattr(psutil.Process, "memory_full_info", refused)
    memory, ended = await family("stays")
    assert memory.peak_bytes(ended.peak_rss_bytes) is None
