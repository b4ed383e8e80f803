"""Where a program file keeps a symbol or section: as much of ELF (64 bit, little endian) as finding CPython's state takes.

Format: elf(5). Files are read, never executed; every offset is checked by the slices that it cuts.
"""

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_LOAD, _SYMTAB, _DYNSYM = 1, 2, 11
MOST_SYMBOLS = 2_000_000


@dataclass(frozen=True, slots=True)
class Section:
    name: str
    kind: int
    address: int
    offset: int
    size: int
    link: int


class ElfFile:
    """Raises ValueError where it is none; OSError where it cannot be read."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            ident, _, _, _, _, segments, sections, _, _, segment_size, segment_count, section_size, section_count, names = (
                _HEADER.unpack_from(self._data)
            )
            if ident[:6] != b"\x7fELF\x02\x01" or (segment_count and segment_size != _SEGMENT.size):
                raise ValueError(f"{path} is no 64-bit ELF file")
            self.loads: list[tuple[int, int]] = [
                (file_offset, address)
                for kind, _, file_offset, address, _, size, *_ in (
                    _SEGMENT.unpack_from(self._data, segments + index * segment_size) for index in range(segment_count)
                )
                if kind == _LOAD and size
            ]
            self.sections = self._sections(sections, section_count if section_size == _SECTION.size else 0, names)
        except (struct.error, OverflowError) as broken:
            raise ValueError(f"{path} is cut off") from broken

    def _sections(self, start: int, count: int, names: int) -> list[Section]:
        rows = [_SECTION.unpack_from(self._data, start + index * _SECTION.size) for index in range(count)]
        if names >= len(rows):
            return []
        at = rows[names][4]
        return [Section(self._text(at + row[0]), row[1], row[3], row[4], row[5], row[6]) for row in rows]

    def _text(self, offset: int) -> str:
        end = self._data.find(b"\0", offset, offset + 256)
        return self._data[offset:end].decode("ascii", "replace") if end >= 0 else ""

    def symbols(self, *names: str) -> dict[str, int]:
        """Names -> addresses in the file's own numbering, of those that are defined in it; exported or not."""
        found: dict[str, int] = {}
        for section in self.sections:
            if section.kind in (_DYNSYM, _SYMTAB) and section.link < len(self.sections) and len(found) < len(names):
                found = self._symbols_in(section, self.sections[section.link], names) | found
        return found

    def _symbols_in(self, table: Section, texts: Section, names: tuple[str, ...]) -> dict[str, int]:
        rows = self._data[table.offset : table.offset + min(table.size // _SYMBOL.size, MOST_SYMBOLS) * _SYMBOL.size]
        strings = self._data[texts.offset : texts.offset + texts.size]
        wanted = {}
        for name in names:
            at = -1
            while (at := strings.find(name.encode() + b"\0", at + 1)) >= 0:
                wanted[at] = name
        return {
            wanted[text]: value
            for text, _, _, index, value, _ in _SYMBOL.iter_unpack(rows[: len(rows) // _SYMBOL.size * _SYMBOL.size])
            if text in wanted and index
        }

    def section(self, name: str) -> int | None:
        """Its address in the file's own numbering."""
        return next((one.address for one in self.sections if one.name == name and one.address), None)

    def bias(self, mapped: int, offset: int, page: int = mmap.PAGESIZE) -> int | None:
        """What to add to addresses of the file when its byte `offset` is mapped at `mapped`; None where no segment begins there."""
        for file_offset, address in self.loads:
            if file_offset // page == offset // page:
                return mapped - (address - address % page)
        return None
