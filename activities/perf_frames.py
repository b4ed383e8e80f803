"""Frames of perf's stacks, and the source lines of their addresses.

Inlined functions are put back by addr2line, asked once per shared object for all addresses: perf alone charges them to the function that
they were inlined into. perf tells where in the *file* an address is, addr2line asks for where the linker put it: the ELF program headers
turn one into the other (elf(5), PT_LOAD).
"""

import re
import struct
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

MOST_ADDRESSES = 20_000
"""Addresses looked up per shared object; further ones keep their symbol without a line."""
LOOKUP_LIMIT_S = 60.0
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


def read_frame(line: str) -> RawFrame | None:
    """A frame of `perf script`; None for any other line."""
    frame = _FRAME.match(line)
    return RawFrame(int(frame["ip"], 16), frame["symbol"], frame["object"].removesuffix(_DELETED)) if frame else None


def source_lines(stacks: Iterable[Sequence[RawFrame]]) -> dict[tuple[str, int], list[Line]]:
    """(object, address) -> the functions there, outermost first. A caller's address is where it goes on: the call is one byte before."""
    wanted: dict[str, dict[int, int]] = defaultdict(dict)
    for stack in stacks:
        for depth, raw in enumerate(stack):
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
