"""Our reader against py-spy, against the clock of the program itself, and against memory that makes no sense."""

import ast
import inspect
import json
import os
import subprocess
import sys
import threading
import types
import typing
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activities.cpython.codes import Codes, line_starts
from activities.cpython.elf import ElfFile
from activities.cpython.layout import Layout, layout_of
from activities.cpython.memory import MOST_BYTES, ProcessMemory, Unreadable
from activities.cpython.objects import Objects
from activities.cpython.process import ASKED_BY_LOT, NotPython, PythonProcess, PyThread
from activities.cpython.stacks import Gone, Stack, ThreadStack
from activities.cpython.threads import OsThread
from activities.subprocesses import bundled
from lab.starting import ROOT
from tests.activities.cpython.interpreters import interpreters
from tests.activities.recordings import READER, pattern, program, until
from tests.needs import needs

pytestmark = needs("ptrace")

FOLDER = Path(__file__).parent
STANDING_STILL = str(FOLDER / "programs_standing_still.py")
CHANGING = str(ROOT / "benchmarks" / "samples" / "changing_stacks.py")
Frames = list[tuple[str, str, int]]


def named(process: PythonProcess, stack: Stack) -> Frames:
    """From the leaf to the root."""
    codes = zip(map(process.codes.at, stack[::2]), stack[1::2], strict=True)
    return [(code.function, code.file, code.line(instruction)) for code, instruction in codes]


def as_py_spy_sees(pid: int) -> dict[int, tuple[str, Frames]]:
    """Thread id -> name and frames."""
    command = [bundled("py-spy"), "dump", "--pid", str(pid), "--json", "--full-filenames"]
    threads = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)
    return {
        thread["os_thread_id"]: (thread["thread_name"] or "", [(one["name"], one["filename"], one["line"]) for one in thread["frames"]])
        for thread in threads
    }


class Sampler:
    """The program, as the worker talks to it."""

    def __init__(self, pid: int, folder: Path) -> None:
        command = [sys.executable, "-S", "-P", "-m", READER, str(pid)]
        environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self._path = folder / "slice"
        self.said = self._answer()

    def take(self, kind: str = "on_cpu", seconds: float = 1.0, rate_hz: float = 99, *, below: bool = False) -> tuple[dict[str, Any], Any]:
        """What it answers, and what it wrote."""
        order = {"kind": kind, "seconds": seconds, "rate_hz": rate_hz, "below": below, "path": str(self._path)}
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._answer(), json.loads(self._path.read_text())

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        said: dict[str, Any] = json.loads(self._process.stdout.readline())
        return said

    def __enter__(self) -> "Sampler":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=30)
        assert self._process.returncode == 0


def stacks_in(written: Any) -> Iterator[tuple[str, list[str]]]:
    """Thread and functions of every sample, from the root to the leaf."""
    frames = [frame["name"] for frame in written["shared"]["frames"]]
    for profile in written["profiles"]:
        for sample in profile["samples"]:
            yield profile["name"], [frames[number] for number in sample]


@pytest.mark.parametrize("python", interpreters())
async def test_every_kind_of_stack_is_read_as_py_spy_reads_it(python: str) -> None:
    """Thousands of levels, generators, coroutines, calls from C, comprehensions, code from text: the same threads, functions, files, lines."""
    with program(python, STANDING_STILL, stdin=subprocess.PIPE) as target:
        await until(lambda: Path(f"/proc/{target.pid}/syscall").read_text().split()[1:2] == ["0x0"])  # it reads file 0
        process = PythonProcess(target.pid, Random(1))
        ours = {thread.os_thread.tid: (thread.name, named(process, process.stack(thread))) for thread in process.threads()}
        theirs = as_py_spy_sees(target.pid)
    assert len(ours) == 9
    assert ours == theirs


def test_greenlets_are_read_as_py_spy_reads_them() -> None:
    """Stacks that a C library switches: the greenlet that runs, down to its own first function."""
    pytest.importorskip("greenlet")
    code = "import greenlet, time\ndef f(): g()\ndef g(): print('ready', flush=True); time.sleep(300)\ngreenlet.greenlet(f).switch()"
    with program(sys.executable, "-c", code) as target:
        process = PythonProcess(target.pid, Random(1))
        [thread] = process.threads()
        ours = named(process, process.stack(thread))
        [(_, theirs)] = as_py_spy_sees(target.pid).values()
    assert [one[0] for one in ours[:2]] == ["g", "f"]
    assert ours == theirs


@pytest.mark.paired
@pytest.mark.parametrize("python", interpreters())
def test_shares_are_those_that_the_program_has(python: str, tmp_path: Path) -> None:
    """Stacks that change every few hundred nanoseconds, deep and shallow: each kind of work has its share of CPU time, within a few points."""
    with program(python, CHANGING, "5") as target, Sampler(target.pid, tmp_path) as sampler:
        said, written = sampler.take(seconds=4, rate_hz=397)
        assert target.stdout
        truth = json.loads(target.stdout.readline())
    seen = Counter(function for _, stack in stacks_in(written) for function in set(stack))
    shares = {name: seen[name] / said["sampled"] for name in truth}
    assert said["failed"] <= 0.02 * said["sampled"]
    assert shares == pytest.approx(truth, abs=0.06), truth


@pytest.mark.parametrize("python", interpreters())
def test_the_holder_of_the_gil_is_told(python: str, tmp_path: Path) -> None:
    """Four threads calculate and take turns: nearly always one holds the GIL, and never two."""
    with program(python, "lab/patterns.py", "gil", "--seconds", "60") as target, Sampler(target.pid, tmp_path) as sampler:
        said, written = sampler.take("gil", 2)
    assert 0.7 * said["ticks"] < said["sampled"] <= said["ticks"]
    assert len(written["profiles"]) == 4


def test_hundreds_of_threads_are_asked_by_lot(tmp_path: Path) -> None:
    """Of 500 threads one calculates: it has nearly all samples, about one each time, and the program takes little for it."""
    with pattern("threads", "--threads", "500") as target, Sampler(target.pid, tmp_path) as sampler:
        before = psutil.Process(target.pid).cpu_times()
        said, written = sampler.take(seconds=3)
        after = psutil.Process(target.pid).cpu_times()
    threads = Counter(thread for thread, _ in stacks_in(written))
    [(busiest, most)] = threads.most_common(1)
    assert f"Thread {target.pid} " in busiest
    assert most > 0.9 * said["sampled"]
    had_cpu = min(1.0, (after.user + after.system - before.user - before.system) / 3)  # beside other tests it waits for one
    assert 0.75 * had_cpu * said["ticks"] < said["sampled"] < 1.25 * said["ticks"]


def test_the_lot_is_fair(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of quiet threads a part is asked; what runs counts for those that were not, so that on average all that run are counted."""
    with pattern("threads", "--threads", "120") as target:
        process = PythonProcess(target.pid, Random(1))
        process.look_again()
        running = {thread.os_thread.tid for thread in process.threads()[:30]}
        asked: list[int] = []

        def runs(thread: OsThread) -> bool:
            asked.append(thread.tid)
            return thread.tid in running

        monkeypatch.setattr(OsThread, "runs", runs)
        rounds = 400
        counted = sum(weight for _ in range(rounds) for _, weight in process.running())
    assert counted / rounds == pytest.approx(30, rel=0.1)
    assert len(asked) < rounds * (ASKED_BY_LOT + 20)


def test_a_child_that_starts_meanwhile_is_seen(tmp_path: Path) -> None:
    """Python processes below the target are found while it is recorded, forked or started anew; others are passed over."""
    code = (
        "import os, subprocess, sys, time\nprint('ready', flush=True)\ntime.sleep(0.5)\n"
        "subprocess.Popen(['sleep', '60'])\nsubprocess.Popen([sys.executable, '-c', 'while True: pass'])\n"
        "if not os.fork():\n    while True: pass\ntime.sleep(60)"
    )
    with program(sys.executable, "-c", code) as target, Sampler(target.pid, tmp_path) as sampler:
        said, written = sampler.take(seconds=4, below=True)
    roots = {tuple(stack[:2]) for _, stack in stacks_in(written)}
    assert {root[0].split(":")[0] for root in roots} == {f"process {target.pid}"}
    assert len({root[1] for root in roots if root[1].startswith("process")}) == 2
    assert said["unread"] == []


def test_threads_that_live_for_a_moment_are_seen(tmp_path: Path) -> None:
    """A program that starts a thread for every piece of work: their samples are its samples, and no thread that ended is read."""
    code = (
        "import threading\nprint('ready', flush=True)\n"
        "def piece(): sum(range(200_000))\n"
        "while True:\n    one = threading.Thread(target=piece)\n    one.start()\n    one.join()"
    )
    with program(sys.executable, "-c", code) as target, Sampler(target.pid, tmp_path) as sampler:
        said, written = sampler.take(seconds=2)
    begun = [(thread, stack) for thread, stack in stacks_in(written) if f"Thread {target.pid} " not in thread]
    assert len({thread for thread, _ in begun}) > 20
    assert sum("piece" in stack for _, stack in begun) > 0.8 * len(begun) > 0.2 * said["ticks"]  # the main thread only waits for a CPU
    assert said["failed"] < 0.05 * said["sampled"]


def test_code_from_text_at_a_used_address_is_not_mixed_up(tmp_path: Path) -> None:
    """Functions that are compiled, run and thrown away, at the same address again and again, keep their own names."""
    code = (
        "print('ready', flush=True)\nnumber = 0\nwhile True:\n"
        "    names = {}\n    exec(f'def made_{number % 2}():\\n' + '    for _ in range(20_000 + 40_000 * %d): pass' % (number % 2), names)\n"
        "    names[f'made_{number % 2}']()\n    number += 1"
    )
    with program(sys.executable, "-c", code) as target, Sampler(target.pid, tmp_path) as sampler:
        said, written = sampler.take(seconds=3, rate_hz=199)
    seen = Counter(stack[-1] for _, stack in stacks_in(written))
    assert seen["made_1"] / (seen["made_0"] + seen["made_1"]) == pytest.approx(0.75, abs=0.1)
    assert said["failed"] < 0.1 * said["sampled"]


def test_what_is_no_python_is_told() -> None:
    """A C program has no interpreter; a process that is gone neither."""
    with program("sleep", "60", ready=None) as target, pytest.raises(NotPython):
        PythonProcess(target.pid, Random(1))
    with pytest.raises(NotPython):
        PythonProcess(target.pid, Random(1))


async def test_it_ends_with_its_input(tmp_path: Path) -> None:
    """A worker that dies leaves no sampler, not even in the middle of a slice."""
    with pattern("one-thread") as target:
        sampler = Sampler(target.pid, tmp_path)
        taking = threading.Thread(target=lambda: sampler.take(seconds=600))
        taking.start()
        process = sampler._process
        assert process.stdin
        process.stdin.close()
        await until(lambda: process.poll() is not None, 10)
        taking.join(10)
    assert process.returncode == 0
    assert process.stdout
    process.stdout.close()


def codes_of(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes_of(constant)


@pytest.mark.parametrize("module", [ast, inspect, typing, threading])
def test_line_tables_are_read_as_the_interpreter_reads_them(module: types.ModuleType) -> None:
    """Every instruction of a large module; what has no line goes to the one before."""
    for code in codes_of(compile(Path(str(module.__file__)).read_text(), "module.py", "exec")):
        starts, lines = line_starts(code.co_linetable, code.co_firstlineno)
        assert starts == sorted(starts)
        expected = code.co_firstlineno
        for begin, end, line in code.co_lines():
            expected = expected if line is None else line
            for offset in range(begin, end, 2):
                found = max(index for index, start in enumerate(starts) if start <= offset)
                assert lines[found] == expected, (code.co_qualname, offset)


@given(st.binary(max_size=200), st.integers(0, 10_000))
def test_a_garbled_line_table_is_read_as_far_as_it_goes(table: bytes, first: int) -> None:
    """No table makes it fail, or loop."""
    starts, lines = line_starts(table, first)
    assert len(starts) == len(lines) >= 1
    assert all(one < other for one, other in pairwise(starts))


@given(st.data())
@settings(max_examples=60)
def test_a_garbled_program_file_is_refused_or_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A cut or changed ELF file has the symbol or has not; it never makes the reader fail otherwise."""
    whole = data.draw(st.sampled_from([small_elf(), b"\x7fELF\x02\x01" + bytes(200)]))
    changed = bytearray(whole[: data.draw(st.integers(1, len(whole)))])
    for at in data.draw(st.lists(st.integers(0, len(changed) - 1), max_size=20)):
        changed[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("elf") / "program"
    path.write_bytes(changed)
    try:
        elf = ElfFile(path)
        elf.symbols("_PyRuntime", "main")
        elf.section(".PyRuntime")
        elf.bias(0x1000, 0)
    except ValueError:
        return


def test_offsets_beyond_all_files_are_refused(tmp_path: Path) -> None:
    """Segments that stand at 2**63 and more, which no index of Python's can say."""
    garbled = bytearray(small_elf())
    garbled[39] = 128
    (tmp_path / "program").write_bytes(garbled)
    with pytest.raises(ValueError, match="cut off"):
        ElfFile(tmp_path / "program")


def small_elf() -> bytes:
    """Something that the loader has loaded: the smallest library of the interpreter's."""
    import _bisect

    return Path(_bisect.__file__).read_bytes()[:40_000]


class OldMemory(ProcessMemory):
    """What was once read from a process, changed here and there: pieces that were not read are not there."""

    def __init__(self, pieces: dict[int, bytes], chance: Random, changes: int) -> None:
        super().__init__(1)
        self._pieces, self._chance, self._changes = pieces, chance, changes
        self._addresses = list(pieces)

    def gather(self, pieces: Any, at: int = 0) -> int:
        copied = at
        for address, size in zip(pieces[::2], pieces[1::2], strict=True):
            piece = next((held for start, held in self._pieces.items() if start == address and len(held) >= size), None)
            if piece is None:
                piece = self._chance.randbytes(size) if self._chance.random() < 0.5 and size < 10_000 else None
            if piece is None or copied + size > MOST_BYTES:
                break
            self.bytes[copied : copied + size] = piece[:size]
            copied += size
        for _ in range(self._changes if copied - at >= 8 else 0):
            word = self._chance.randrange(at >> 3, copied >> 3) if copied >> 3 > at >> 3 else at >> 3
            kind = self._chance.random()
            self.words[word] = (
                self._chance.choice(self._addresses) if kind < 0.4 else self._chance.getrandbits(64) if kind < 0.7 else self.words[word - 1]
            )
        return copied - at


class NotingMemory(ProcessMemory):
    """Notes what is read."""

    def __init__(self, pid: int) -> None:
        super().__init__(pid)
        self.pieces: dict[int, bytes] = {}

    def gather(self, pieces: Any, at: int = 0) -> int:
        copied, place = super().gather(pieces, at), at
        for address, size in zip(pieces[::2], pieces[1::2], strict=True):
            if place + size <= at + copied:
                self.pieces[address] = max(bytes(self.bytes[place : place + size]), self.pieces.get(address, b""), key=len)
            place += size
        return copied


@pytest.mark.parametrize("python", interpreters())
def test_memory_that_makes_no_sense_is_unreadable(python: str) -> None:
    """Whatever stands where stacks should be: an answer, or an honest failure; never a crash, never an endless walk."""
    ends: Counter[str] = Counter()
    with program(python, STANDING_STILL, stdin=subprocess.PIPE) as target:
        process = PythonProcess(target.pid, Random(1))
        memory = NotingMemory(target.pid)
        threads: list[PyThread] = process.threads()
        for thread in threads:
            codes = Codes(memory, process.layout)
            stack = ThreadStack(memory, process.layout, codes, thread.stack.address, thread.stack.native_id)
            for _ in range(2):
                named(process, stack.read())
    for seed in range(400):
        chance = Random(seed)
        thread = threads[seed % len(threads)]
        garbled = OldMemory(memory.pieces, chance, changes=seed % 7)
        codes = Codes(OldMemory(memory.pieces, chance, changes=seed % 3), process.layout)
        stack = ThreadStack(garbled, process.layout, codes, thread.stack.address, thread.stack.native_id)
        for _ in range(3):
            try:
                read = stack.read()
                for address, instruction in zip(read[::2], read[1::2], strict=True):
                    codes.at(address).line(instruction)
                ends["read"] += 1
            except (Unreadable, Gone) as told:
                ends[type(told).__name__] += 1
    assert ends["read"] and ends["Unreadable"] and ends["Gone"], ends


@pytest.mark.parametrize("layout", [layout_of(0x030B07F0, ProcessMemory(1), 0), layout_of(0x030C01F0, ProcessMemory(1), 0)])
def test_objects_that_make_no_sense_are_unreadable(layout: Layout) -> None:
    """Texts, dictionaries, attributes and numbers out of random memory: an answer or Unreadable, whatever sizes and addresses it tells."""
    ends: Counter[str] = Counter()
    for seed in range(300):
        chance = Random(seed)
        objects = Objects(OldMemory({0x1000: chance.randbytes(4_096)}, chance, changes=seed % 3), layout)
        reads: list[Any] = [objects.text, objects.entries, objects.integer, lambda at, of=objects: of.attribute(at, "_name")]
        for read in reads:
            try:
                read(chance.choice((0x1000, 8, chance.getrandbits(64))))
                ends["read"] += 1
            except Unreadable:
                ends["unreadable"] += 1
    assert ends["read"] and ends["unreadable"]


@pytest.mark.parametrize("version", [0x030A0DF0, 0x030E00F0, 0x030C00A1, 0xFFFFFFFF])
def test_releases_that_are_not_known_are_refused(version: int) -> None:
    """An older, a newer, a trial release: never guessed at."""
    with pytest.raises(Unreadable):
        layout_of(version, ProcessMemory(1), 0)
