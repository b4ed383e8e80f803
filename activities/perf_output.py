"""`perf script` text: samples with their stacks, and the source lines of their addresses.

Inlined functions are put back by addr2line, asked once per shared object for all addresses: perf alone charges them to the function that
they were inlined into. perf tells where in the *file* an address is, addr2line asks for where the linker put it: the ELF program headers
turn one into the other (elf(5), PT_LOAD).
"""

import json
import re
import struct
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from activities.taken_slices import SliceCount, TakenSlice
from perfwright.analysis.call_tree import ProfileBuilder
from perfwright.analysis.frames import CodeFacts, frame_origin

MOST_ADDRESSES = 20_000
"""Addresses looked up per shared object; further ones keep their symbol without a line."""
LOOKUP_LIMIT_S = 60.0
SHORT_STACKS_SHARE = 0.5
"""More stacks than this that end nowhere near the start of a thread: the code has no frame pointers to follow."""
_THREAD_STARTS = re.compile(r"^(_start|main|_?_libc_start.*|_?_clone3?|clone3?|start_thread|thread_start|ret_from_fork.*|_dl_start.*)$")
_HEAD = re.compile(r"^\s*(?P<pid>\d+)/(?P<tid>\d+)\s+(?P<time>\d+\.\d+):")
_FRAME = re.compile(r"^\s+(?P<ip>[0-9a-f]+)\s+(?P<symbol>.*?)\s+\((?P<object>[^()]*(?: \(deleted\))?)\)\s*$")
_DELETED = " (deleted)"

Line = tuple[str, str, int]
"""Function, file, line."""


@dataclass(frozen=True)
class RawFrame:
    address: int
    symbol: str
    object: str

    @property
    def kernel(self) -> bool:
        return self.object.startswith("[") and not self.object.startswith(("[vdso", "[vsyscall", "[unknown", "[heap", "[stack", "[anon"))


@dataclass
class RawSample:
    pid: int
    tid: int
    time_s: float
    stack: list[RawFrame] = field(default_factory=list)
    """Leaf first, as perf writes it."""


def read_perf_script(builder: ProfileBuilder, taken: TakenSlice, path: Path) -> SliceCount:
    """Add one slice: `<path>.txt` is perf's text, `<path>.summary` what is known of the program."""
    facts = json.loads(path.with_suffix(".summary").read_text())
    samples = list(read_samples(path.with_suffix(".txt")))
    lines = _source_lines(samples)
    code = CodeFacts(executable=facts["executable"] if facts["runtime"] == "native" else "")
    builder.begin(taken.kind, taken.rate_hz)
    blocks = [builder.add_block(taken.kind, taken.seconds / taken.blocks) for _ in range(taken.blocks)]
    began = min((sample.time_s for sample in samples), default=0.0)
    for sample in samples:
        position = min(len(blocks) - 1, int((sample.time_s - began) / taken.seconds * len(blocks)))
        thread = builder.thread(sample.pid, sample.tid, facts["threads"].get(str(sample.tid), ""))
        stack = [
            builder.frame(function, file, line, frame_origin("native", function, raw.object, code))
            for raw in reversed(sample.stack)
            for function, file, line in lines.get((raw.object, raw.address), [(raw.symbol, raw.object, 0)])
        ]
        if stack:
            builder.add(taken.kind, stack, thread, blocks[position])
    return SliceCount(samples=sum(1 for sample in samples if sample.stack), warning=_frame_pointer_warning(samples))


def read_samples(text: Path) -> Iterator[RawSample]:
    """The samples of a `perf script --fields pid,tid,time,ip,sym,dso` text."""
    sample: RawSample | None = None
    with text.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if head := _HEAD.match(line):
                if sample:
                    yield sample
                sample = RawSample(int(head["pid"]), int(head["tid"]), float(head["time"]))
            elif sample and (frame := _FRAME.match(line)):
                sample.stack.append(RawFrame(int(frame["ip"], 16), frame["symbol"], frame["object"].removesuffix(_DELETED)))
    if sample:
        yield sample


def _frame_pointer_warning(samples: list[RawSample]) -> str:
    seen = [stack for sample in samples if (stack := [frame for frame in sample.stack if not frame.kernel])]
    short = sum(len(stack) < 3 and not _THREAD_STARTS.match(stack[-1].symbol) for stack in seen)
    if len(seen) < 10 or short <= SHORT_STACKS_SHARE * len(seen):
        return ""
    return (
        f"{short / len(seen):.0%} of the stacks break off after one or two frames: the program was compiled without frame pointers "
        "(-fno-omit-frame-pointer), so hot functions are right and their callers are missing."
    )


def _source_lines(samples: list[RawSample]) -> dict[tuple[str, int], list[Line]]:
    """(object, address) -> the functions there, outermost first. A caller's address is where it goes on: the call is one byte before."""
    wanted: dict[str, dict[int, int]] = defaultdict(dict)
    for sample in samples:
        for depth, raw in enumerate(sample.stack):
            if raw.object.startswith("/") and len(wanted[raw.object]) < MOST_ADDRESSES:
                wanted[raw.object].setdefault(raw.address, raw.address - (depth > 0))
    found: dict[tuple[str, int], list[Line]] = {}
    for name, addresses in wanted.items():
        segments = _segments(Path(name))
        asked = [_linked_at(offset, segments) for offset in addresses.values()]
        for address, lines in zip(addresses, _addr2line(name, asked), strict=False):
            if lines and lines[0][1]:
                found[(name, address)] = lines
    return found


def _segments(program: Path) -> list[tuple[int, int, int]]:
    """(offset in the file, size, address) of the loaded segments; none where the file is no 64-bit little-endian ELF file."""
    try:
        with program.open("rb") as file:
            head = file.read(64)
            if len(head) < 64 or head[:6] != b"\x7fELF\x02\x01":
                return []
            [table] = struct.unpack_from("<Q", head, 32)
            entry_size, count = struct.unpack_from("<HH", head, 54)
            file.seek(table)
            entries = file.read(entry_size * count)
    except OSError:
        return []
    found = []
    for at in range(0, len(entries) - 55, entry_size):
        kind, _flags, offset, address, _physical, size = struct.unpack_from("<IIQQQQ", entries, at)
        if kind == 1:
            found.append((offset, size, address))
    return found


def _linked_at(offset: int, segments: list[tuple[int, int, int]]) -> int:
    for start, size, address in segments:
        if start <= offset < start + size:
            return offset - start + address
    return offset


def _addr2line(name: str, addresses: list[int]) -> Iterator[list[Line]]:
    """Runs inside the analysis process, which the kit bounds and reaps: a missing addr2line only costs lines."""
    asked = "\n".join(f"{address:#x}" for address in addresses)
    try:
        told = subprocess.run(
            ["addr2line", "-e", name, "-a", "-f", "-C", "-i"],
            input=asked,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LOOKUP_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return
    yield from read_addr2line(told.stdout.splitlines())


def read_addr2line(told: list[str]) -> Iterator[list[Line]]:
    """One list per address, outermost function first, of `addr2line -a -f -i`: an address, then pairs of function and file:line."""
    current: list[Line] | None = None
    function = ""
    for line in told:
        if re.match(r"^0x[0-9a-f]+$", line):
            if current is not None:
                yield current[::-1]
            current, function = [], ""
        elif current is not None and not function:
            function = line
        elif current is not None:
            file, _, number = line.partition(" ")[0].rpartition(":")
            current.append((function, "" if file.startswith("??") else file, int(number) if number.isdigit() else 0))
            function = ""
    if current is not None:
        yield current[::-1]
