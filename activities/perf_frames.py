"""Frames of perf's stacks, and the source lines of their addresses.

Inlined functions are put back by addr2line, asked once per shared object for all addresses: perf alone charges them to the function that
they were inlined into. perf tells where in the *file* an address is, addr2line asks for where the linker put it (elf_files.py).
"""

import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from activities.elf_files import read_elf

MOST_ADDRESSES = 20_000
"""Addresses looked up per shared object; further ones keep their symbol without a line."""
LOOKUP_LIMIT_S = 60.0
UNKNOWN = "[unknown]"
"""What perf calls a function without a symbol, and an address that no file is mapped at."""
KERNEL_OBJECT = "[kernel.kallsyms]"
FIRST_KERNEL_ADDRESS, LAST_KERNEL_ADDRESS = 0xFFFF_8000_0000_0000, 0xFFFF_FFFF_FFFF_F000
"""The upper half of the address space belongs to the kernel, on x86-64 and on AArch64; its last page to error numbers."""
_FRAME = re.compile(r"^\s+(?P<ip>[0-9a-f]+)\s+(?P<symbol>.*?)\s+\((?P<object>[^()]*(?: \(deleted\))?)\)\s*$")
_DELETED = " (deleted)"
_NOT_THE_KERNEL = ("[vdso", "[vsyscall", UNKNOWN, "[heap", "[stack", "[anon", "[JIT")

Line = tuple[str, str, int]
"""Function, file, line."""


@dataclass(frozen=True)
class RawFrame:
    address: int
    symbol: str
    object: str
    deleted: bool = False
    """The file that it is mapped from is no longer at its path; another may stand there."""

    @property
    def kernel(self) -> bool:
        """Where the kernel hides its addresses, perf knows neither symbol nor object of them."""
        if self.object == UNKNOWN:
            return self.symbol == UNKNOWN and FIRST_KERNEL_ADDRESS <= self.address < LAST_KERNEL_ADDRESS
        return self.object.startswith("[") and not self.object.startswith(_NOT_THE_KERNEL)

    @property
    def named(self) -> bool:
        return self.symbol != UNKNOWN


def read_frame(line: str) -> RawFrame | None:
    """A frame of `perf script`; None for any other line."""
    frame = _FRAME.match(line)
    if not frame:
        return None
    return RawFrame(int(frame["ip"], 16), frame["symbol"], frame["object"].removesuffix(_DELETED), frame["object"].endswith(_DELETED))


@dataclass(frozen=True)
class MappedFiles:
    """Where the files behind mapped objects can be read."""

    root: str = ""
    """Of the target's file system, where it is not ours: `/proc/4711/root`."""
    replaced: Mapping[str, str] = field(default_factory=dict)
    """Objects that are no longer at their path -> where the kernel still shows what is mapped: `/proc/4711/exe`."""

    def path_of(self, frame: RawFrame) -> Path | None:
        """None for what is no file, and for a file that is gone: what stands at its path now is another."""
        if not frame.object.startswith("/"):
            return None
        if frame.deleted:
            return Path(self.replaced[frame.object]) if frame.object in self.replaced else None
        return Path(f"{self.root}{frame.object}")


def source_lines(stacks: Iterable[Sequence[RawFrame]], files: MappedFiles) -> dict[tuple[Path, int], list[Line]]:
    """(file, address) -> the functions there, outermost first. A caller's address is where it goes on: the call is one byte before.

    A function's file is empty and its line 0 where the program has symbols, but no debug information. Without either, addr2line would name
    the nearest exported function, which is another.
    """
    wanted: dict[Path, dict[int, int]] = defaultdict(dict)
    for stack in stacks:
        for depth, raw in enumerate(stack):
            path = files.path_of(raw)
            if path is not None and len(wanted[path]) < MOST_ADDRESSES:
                wanted[path].setdefault(raw.address, raw.address - (depth > 0))
    found: dict[tuple[Path, int], list[Line]] = {}
    for path, addresses in wanted.items():
        elf = read_elf(path)
        asked = [elf.linked_at(offset) for offset in addresses.values()]
        for address, lines in zip(addresses, _addr2line(str(path), asked), strict=False):
            if lines and (lines[0][1] or (elf.has_symbols and not lines[0][0].startswith("??"))):
                found[(path, address)] = lines
    return found


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
