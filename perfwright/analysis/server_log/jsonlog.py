"""jsonlog (PostgreSQL 15 and later): one JSON object per line."""

from collections.abc import Iterator

import msgspec

from perfwright.analysis.server_log.entries import Entry
from perfwright.analysis.server_log.lines import LineCutter

_DECODER = msgspec.json.Decoder(Entry)


class JsonLog(msgspec.Struct, tag="jsonlog"):
    """Entries out of bytes that were cut anywhere."""

    cutter: LineCutter = msgspec.field(default_factory=LineCutter)
    lines: int = 0
    broken: int = 0

    def feed(self, data: bytes) -> list[Entry]:
        """The entries that are complete now."""
        entries: list[Entry] = []
        for block in self.cutter.cut(data):
            if block is None:
                self.lines += 1
                self.broken += 1
                continue
            self.lines += block.count(b"\n")
            try:
                entries += _DECODER.decode_lines(block)
            except (msgspec.DecodeError, UnicodeDecodeError):
                entries += self._one_by_one(block)
        return entries

    def forget_rest(self) -> None:
        """The last line is not whole yet."""
        self.cutter.take_rest()

    def finish(self) -> list[Entry]:
        """What a last line without its newline holds; nothing more will come."""
        self.cutter.dropping = False
        rest = self.cutter.take_rest()
        if not rest.strip():
            return []
        self.lines += 1
        return list(self._one_by_one(rest))

    def _one_by_one(self, block: bytes) -> Iterator[Entry]:
        for line in block.split(b"\n"):
            if not line.strip():
                continue
            try:
                yield _DECODER.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                try:
                    # Databases of other encodings write their bytes as they are: only their letters are lost.
                    yield _DECODER.decode(line.decode("utf-8", "replace").encode())
                except msgspec.DecodeError:
                    self.broken += 1
