"""What an ELF file tells of its code when its symbols are gone: where functions begin, its build id, and whether Go built it.

`strip` takes the symbol table and leaves what the program needs to run: the segments, the notes, and the table of unwinding
(`.eh_frame_hdr`) with the first address of every function, sorted. Formats: elf(5);
Linux Standard Base Core 5.0, 10.6.2 (Exception Frame Header).
"""

import struct
import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

_LOADED, _NOTES, _UNWINDING = 1, 4, 0x6474E550
_SYMBOL_TABLE = 2
_SORTED_FROM_HERE = 0x3B
"""Encoding of the table's entries: signed 32-bit, from the table's own begin. Linkers write no other."""
_COUNT_ENCODING = 0x03
MOST_FUNCTIONS = 4_000_000
MOST_NOTE_BYTES = 64 * 1024
_GNU_BUILD_ID, _GO_BUILD_ID = (b"GNU", 3), (b"Go", 4)


@dataclass(frozen=True)
class Segment:
    """A loaded piece of the file."""

    offset: int
    size: int
    address: int
    """Where the linker put it."""


@dataclass(frozen=True)
class ElfFile:
    """What is read of one file; nothing is known of one that is no 64-bit little-endian ELF file, or that cannot be read."""

    segments: tuple[Segment, ...] = ()
    build_id: str = ""
    """Hexadecimal; empty where the linker wrote none."""
    has_symbols: bool = False
    """A symbol table of all functions, not only of those that other files may call."""
    is_go: bool = False
    starts: Sequence[int] = ()
    """First addresses of functions, ascending; empty where the file has no table of them (Go writes none)."""

    def linked_at(self, offset: int) -> int:
        """The address that the linker gave to what stands at this offset of the file."""
        for one in self.segments:
            if one.offset <= offset < one.offset + one.size:
                return offset - one.offset + one.address
        return offset

    def function_at(self, offset: int) -> int | None:
        """Where the function around this offset of the file begins, as an address of the linker; None where that is not known."""
        number = bisect_right(self.starts, self.linked_at(offset)) - 1
        return self.starts[number] if number >= 0 else None


@lru_cache(maxsize=256)
def read_elf(path: Path) -> ElfFile:
    """Read once per process: programs do not change while their profile is put together."""
    try:
        with path.open("rb") as file:
            return _read(file)
    except (OSError, struct.error, ValueError):
        return ElfFile()


def _read(file: BinaryIO) -> ElfFile:
    head = file.read(64)
    if len(head) < 64 or head[:6] != b"\x7fELF\x02\x01" or sys.byteorder != "little":
        return ElfFile()
    [table] = struct.unpack_from("<Q", head, 32)
    entry_size, count = struct.unpack_from("<HH", head, 54)
    file.seek(table)
    entries = file.read(entry_size * count)
    segments, build_id, is_go = list[Segment](), "", False
    starts: Sequence[int] = ()
    for at in range(0, len(entries) - 55, max(56, entry_size)):
        kind, _flags, offset, address, _physical, size = struct.unpack_from("<IIQQQQ", entries, at)
        if kind == _LOADED:
            segments.append(Segment(offset, size, address))
        elif kind == _NOTES:
            file.seek(offset)
            for owner, number, told in _notes(file.read(min(size, MOST_NOTE_BYTES))):
                build_id = told.hex() if (owner, number) == _GNU_BUILD_ID else build_id
                is_go = is_go or (owner, number) == _GO_BUILD_ID
        elif kind == _UNWINDING:
            file.seek(offset)
            starts = _function_starts(file, address)
    return ElfFile(tuple(segments), build_id, _has_symbols(file, head), is_go, starts)


def _has_symbols(file: BinaryIO, head: bytes) -> bool:
    [table] = struct.unpack_from("<Q", head, 40)
    entry_size, count = struct.unpack_from("<HH", head, 58)
    file.seek(table)
    sections = file.read(entry_size * count)
    return any(struct.unpack_from("<I", sections, at + 4) == (_SYMBOL_TABLE,) for at in range(0, len(sections) - 7, max(64, entry_size)))


def _notes(data: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """Owner, type and content of each note; names and contents are padded to four bytes."""
    at = 0
    while at + 12 <= len(data):
        name_size, size, number = struct.unpack_from("<III", data, at)
        begin = at + 12 + (name_size + 3 & ~3)
        yield data[at + 12 : at + 12 + name_size].rstrip(b"\0"), number, data[begin : begin + size]
        at = begin + (size + 3 & ~3)


def _function_starts(file: BinaryIO, address: int) -> Sequence[int]:
    """The table's first column: pairs of (function, its unwinding), each from the table's begin."""
    version, _frame_encoding, count_encoding, encoding, _frame, count = struct.unpack("<BBBBiI", file.read(12))
    if (version, count_encoding, encoding) != (1, _COUNT_ENCODING, _SORTED_FROM_HERE):
        return ()
    pairs = array("i")
    pairs.frombytes(file.read(8 * min(count, MOST_FUNCTIONS)))
    return array("q", [address + start for start in pairs[::2]])
