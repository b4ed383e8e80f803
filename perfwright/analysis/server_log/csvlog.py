"""csvlog (PostgreSQL 13 to 18): records whose quoted fields may hold newlines.

Columns as in the documentation, 20.8.4 Using CSV-Format Log Output: 24 in version 13, 26 since 14; the first 23 never changed.
"""

import csv
from collections.abc import Iterator

import msgspec

from perfwright.analysis.server_log.entries import CSV_START, LINE_LIMIT_BYTES, Entry
from perfwright.analysis.server_log.lines import LineCutter

FEWEST_COLUMNS = 23
TIME, DATABASE, SESSION, SEVERITY, MESSAGE, DETAIL, CONTEXT, QUERY, APPLICATION = 0, 2, 5, 11, 13, 14, 18, 19, 22


class CsvLog(msgspec.Struct, tag="csvlog"):
    """Entries out of bytes that were cut anywhere. A record that was torn is dropped where the next one begins."""

    cutter: LineCutter = msgspec.field(default_factory=LineCutter)
    lines: int = 0
    broken: int = 0
    record: list[bytes] = []
    """Lines of a record whose quotes are still open."""
    size: int = 0
    seeking: bool = False
    """What comes belongs to a record whose begin is not known."""

    def feed(self, data: bytes) -> list[Entry]:
        """The entries that are complete now."""
        entries: list[Entry] = []
        for block in self.cutter.cut(data):
            if block is None:
                self.lines += 1
                self._drop(seek=True)
            else:
                entries += self._entries(list(self._records(block.split(b"\n")[:-1])))
        return entries

    def forget_rest(self) -> None:
        """The last record is not whole yet."""
        self.cutter.take_rest()
        self.record = []

    def finish(self) -> list[Entry]:
        """What a last line without its newline holds; nothing more will come."""
        self.cutter.dropping = False
        rest = self.cutter.take_rest()
        entries = self._entries(list(self._records([rest]))) if rest.strip() else []
        if self.record:
            self._drop(seek=False)
        return entries

    def _records(self, lines: list[bytes]) -> Iterator[bytes]:
        for line in lines:
            self.lines += 1
            if self.seeking or self.record:
                if CSV_START.match(line):
                    if self.record:  # an earlier one was torn: its quotes are not closed
                        self._drop(seek=False)
                    self.seeking = False
                elif self.seeking:
                    continue
            quote_ends = not line.count(b'"') % 2
            if not self.record:
                if quote_ends:
                    yield line
                    continue
                self.size = 0
            self.record.append(line)
            self.size += len(line) + 1
            if self.size > LINE_LIMIT_BYTES:
                self._drop(seek=True)
            elif len(self.record) > 1 and not quote_ends:
                yield b"\n".join(self.record)
                self.record = []

    def _drop(self, *, seek: bool) -> None:
        self.broken += 1
        self.record = []
        self.seeking = seek

    def _entries(self, records: list[bytes]) -> list[Entry]:
        csv.field_size_limit(LINE_LIMIT_BYTES)
        try:
            return self._read(records)
        except (csv.Error, UnicodeDecodeError):
            return [entry for record in records for entry in self._read_one(record)]

    def _read_one(self, record: bytes) -> list[Entry]:
        try:
            return self._read([record], errors="replace")
        except csv.Error:
            self.broken += 1
            return []

    def _read(self, records: list[bytes], errors: str = "strict") -> list[Entry]:
        entries = []
        short = 0
        for row in csv.reader([record.decode("utf-8", errors) for record in records], strict=True):
            if len(row) < FEWEST_COLUMNS:
                short += bool(row)
                continue
            entries.append(
                Entry(
                    row[TIME],
                    row[DATABASE],
                    row[SESSION],
                    row[SEVERITY],
                    row[MESSAGE],
                    row[DETAIL],
                    row[CONTEXT],
                    row[QUERY],
                    row[APPLICATION],
                )
            )
        self.broken += short
        return entries
