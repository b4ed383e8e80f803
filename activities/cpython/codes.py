"""Code objects by their address: whose function a frame runs, in which file, and which line an instruction belongs to.

They are read once. Addresses are used again after a code object is freed: what came from a file is looked at again every second
(`forget_changed`), what was compiled from text (`exec`, `eval`, templates) each time that it is seen.
"""

import struct
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from activities.cpython.layout import CODE_BYTES, Layout
from activities.cpython.memory import MOST_PIECES, ProcessMemory, Unreadable
from activities.cpython.objects import Objects

MOST_CODES = 200_000
_BODY = CODE_BYTES - 8
"""A code object without its reference count."""
LARGEST_LINE_TABLE, MOST_INSTRUCTIONS = 1 << 20, 1 << 24


@dataclass(frozen=True, slots=True)
class Code:
    """A function, and where its instructions lie."""

    function: str
    file: str
    begin: int
    end: int
    """Addresses of its instructions; one before `begin` it has not started yet."""
    starts: list[int]
    lines: list[int]
    """Line from this offset of the instructions on."""
    mark: bytes
    """What shows that the same code object is still there."""
    fleeting: bool

    def line(self, instruction: int) -> int:
        """Its line; that of the definition before the first instruction."""
        at = bisect_right(self.starts, instruction - self.begin) - 1
        return self.lines[max(0, at)]


class Codes:
    """`known`: those read so far, by address."""

    def __init__(self, memory: ProcessMemory, layout: Layout) -> None:
        self._memory, self._layout = memory, layout
        self._objects = Objects(memory, layout)
        self.known: dict[int, Code] = {}
        self.fleeting: set[int] = set()
        """Those whose address may soon hold another."""
        self.generation = 0
        """Another one once a known address holds another code object."""
        self._type = 0

    def at(self, address: int) -> Code:
        """Raises Unreadable where there is none."""
        code = self.known.get(address)
        if code is None:
            if len(self.known) >= MOST_CODES:
                self.known.clear()
                self.fleeting.clear()
                self.generation += 1
            code = self.known[address] = self._read(address)
            if code.fleeting:
                self.fleeting.add(address)
        return code

    def forget_changed(self, addresses: Iterable[int] | None = None) -> bool:
        """Look again at these, or at all; whether some are no longer what they were."""
        wanted = list(self.known if addresses is None else addresses)
        before = self.generation
        for start in range(0, len(wanted), MOST_PIECES):
            part = wanted[start : start + MOST_PIECES]
            copied = self._memory.gather([word for address in part for word in (address + 8, _BODY)])
            for index, address in enumerate(part):
                end = (index + 1) * _BODY
                if end > copied or self._mark(bytes(self._memory.bytes[end - _BODY : end])) != self.known[address].mark:
                    del self.known[address]
                    self.fleeting.discard(address)
                    self.generation += 1
        return self.generation != before

    def _mark(self, body: bytes) -> bytes:
        """Type, size, names and line table, out of the object without its reference count."""
        layout = self._layout
        first = layout.code_firstlineno - 8
        return body[:16] + body[first : first + 4] + body[layout.code_filename - 8 : layout.code_linetable]

    def _read(self, address: int) -> Code:
        layout = self._layout
        if address & 7:
            raise Unreadable(f"no code at {address:#x}")
        body = self._memory.read(address + 8, _BODY)
        kind, count = struct.unpack_from("<Qq", body)
        if not 0 < count <= MOST_INSTRUCTIONS or (self._type and kind != self._type):
            raise Unreadable(f"no code at {address:#x}")
        if not self._type:
            if self._memory.read(self._memory.word(kind + 24), 5) != b"code\0":
                raise Unreadable(f"no code at {address:#x}")
            self._type = kind
        (first,) = struct.unpack_from("<i", body, layout.code_firstlineno - 8)
        file, function, table = (
            int.from_bytes(body[at - 8 : at], "little") for at in (layout.code_filename, layout.code_qualname, layout.code_linetable)
        )
        (size,) = struct.unpack("<q", self._memory.read(table + 16, 8))
        if not 0 <= size <= LARGEST_LINE_TABLE:
            raise Unreadable(f"no line table at {table:#x}")
        starts, lines = line_starts(self._memory.read(table + 32, size), first)
        begin = address + layout.code_instructions
        path = self._objects.text(file)
        fleeting = path.startswith("<") and not path.startswith("<frozen")
        return Code(self._objects.text(function), path, begin, begin + 2 * count, starts, lines, self._mark(body), fleeting)


def line_starts(table: bytes, first_line: int) -> tuple[list[int], list[int]]:
    """Offsets at which a line begins, and these lines. What has no line of its own goes to the one before.

    Format: Objects/locations.md in CPython's source (3.11 and later). A table that breaks off is read as far as it goes.
    """
    starts, lines = [-1], [first_line]
    at, line, offset = 0, first_line, 0
    while at < len(table):
        head = table[at]
        at += 1
        code, length = head >> 3 & 15, ((head & 7) + 1) * 2
        if code == 14:
            delta, at = _signed(table, at)
            line += delta
            for _ in range(3):
                _, at = _number(table, at)
        elif code == 13:
            delta, at = _signed(table, at)
            line += delta
        elif code < 10:
            at += 1
        elif code < 13:
            line += code - 10
            at += 2
        if code != 15 and line != lines[-1]:
            starts.append(offset)
            lines.append(line)
        offset += length
    return starts, lines


def _number(table: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while at < len(table) and shift < 36:
        byte = table[at]
        at += 1
        value |= (byte & 63) << shift
        shift += 6
        if not byte & 64:
            break
    return value, at


def _signed(table: bytes, at: int) -> tuple[int, int]:
    value, at = _number(table, at)
    return (-(value >> 1) if value & 1 else value >> 1), at
