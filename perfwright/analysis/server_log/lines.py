"""Whole lines out of pieces that were cut anywhere."""

from collections.abc import Iterator

import msgspec

from perfwright.analysis.server_log.entries import LINE_LIMIT_BYTES


class LineCutter(msgspec.Struct):
    """Keeps the unfinished last line until the rest of it comes."""

    rest: bytes = b""
    dropping: bool = False
    """The line is longer than LINE_LIMIT_BYTES: nothing of it is kept."""

    def cut(self, data: bytes) -> Iterator[bytes | None]:
        """Blocks of whole lines in order, each line with its newline; None stands for one line that was too long.

        `data` has at most LINE_LIMIT_BYTES.
        """
        first = data.find(b"\n") + 1
        if not first:
            if not self.dropping:
                self.rest += data
                if len(self.rest) > LINE_LIMIT_BYTES:
                    self.rest, self.dropping = b"", True
            return
        if self.dropping or len(self.rest) + first - 1 > LINE_LIMIT_BYTES:
            self.rest, self.dropping = b"", False
            yield None
            data = data[first:]
        elif self.rest:
            data = self.rest + data
        end = data.rfind(b"\n") + 1
        self.rest = data[end:]
        if end:
            yield data[:end]

    def take_rest(self) -> bytes:
        """The unfinished line, when nothing more will come."""
        rest, self.rest = self.rest, b""
        return rest
