"""The plain log (stderr), as far as log_line_prefix allows: time, process or session, database and application where it tells them.

An entry is `prefix SEVERITY:  text`; lines that go on begin with a tab; DETAIL, CONTEXT and STATEMENT follow as lines of their own.
"""

import re

import msgspec

from perfwright.analysis.server_log.entries import ATTACHED, LINE_LIMIT_BYTES, SEVERITIES, TIMESTAMP, Entry
from perfwright.analysis.server_log.lines import LineCutter

_WORD = re.compile(rf"(?<![A-Za-z0-9])({SEVERITIES}|{ATTACHED})\Z")
_LONGEST_PREFIX = 400
_TIME = re.compile(rf"{TIMESTAMP}(?:\.\d{{1,6}})?(?: [A-Z][A-Za-z]{{1,5}}\b| [+-]\d\d(?::?\d\d)?)?")
_SESSION = re.compile(r"\b[0-9a-f]{8,}\.[0-9a-f]+\b|\[(\d+)(?:-\d+)?\]|\b(?:pid|p)[=:](\d+)")
_DATABASE = re.compile(r"\b(?:db|database|d)=([^,\s\]:]*)|@([^\s:@,\[\]]+)", re.IGNORECASE)
_ATTACHED = frozenset(ATTACHED.split("|"))
_APPLICATION = re.compile(r"\b(?:app|application|a)=([^,\]]*)", re.IGNORECASE)


class StderrLog(msgspec.Struct, tag="stderr"):
    """Entries out of bytes that were cut anywhere."""

    cutter: LineCutter = msgspec.field(default_factory=LineCutter)
    lines: int = 0
    broken: int = 0
    prefix: str = ""
    severity: str = ""
    """Of the entry that is being read; empty: none is."""
    parts: dict[str, list[str]] = {}
    """Its texts, by what they are (MESSAGE, DETAIL, ...), as pieces of lines."""
    part: str = ""
    size: int = 0

    def feed(self, data: bytes) -> list[Entry]:
        """The entries that are complete now: the last one is when another begins."""
        entries: list[Entry] = []
        for block in self.cutter.cut(data):
            if block is None:
                self.lines += 1
                self.size = LINE_LIMIT_BYTES + 1
            else:
                self._read(block.decode("utf-8", "replace").split("\n")[:-1], entries)
        return entries

    def forget_rest(self) -> None:
        """The last line is not whole yet."""
        self.cutter.take_rest()

    def finish(self) -> list[Entry]:
        """The entry that was being read; nothing more will come."""
        self.cutter.dropping = False
        rest = self.cutter.take_rest()
        entries: list[Entry] = []
        if rest.strip():
            self._read([rest.decode("utf-8", "replace")], entries)
        self._end(entries)
        return entries

    def _read(self, lines: list[str], entries: list[Entry]) -> None:
        for line in lines:
            self.lines += 1
            line = line.removesuffix("\r")
            if line.startswith("\t") or not (header := _header(line)):
                self._add(line.removeprefix("\t"))
                continue
            prefix, word, text = header
            if word in _ATTACHED:
                self.part = word
                self.parts.setdefault(word, [])
            else:
                self._end(entries)
                self.prefix, self.severity, self.part = prefix, word, "MESSAGE"
                self.parts = {"MESSAGE": []}
            self._add(text)

    def _add(self, text: str) -> None:
        if self.severity and self.size <= LINE_LIMIT_BYTES:
            self.parts[self.part].append(text)
            self.size += len(text) + 1

    def _end(self, entries: list[Entry]) -> None:
        if self.size > LINE_LIMIT_BYTES:
            self.broken += 1
        elif self.severity:
            prefix, told = self.prefix, {name: "\n".join(lines) for name, lines in self.parts.items()}
            entries.append(
                Entry(
                    timestamp=_found(_TIME, prefix),
                    dbname=_found(_DATABASE, prefix) if "@" in prefix or "=" in prefix else "",
                    session_id=_found(_SESSION, prefix),
                    error_severity=self.severity,
                    message=told["MESSAGE"],
                    detail=told.get("DETAIL", ""),
                    context=told.get("CONTEXT", ""),
                    statement=told.get("STATEMENT", ""),
                    application_name=_found(_APPLICATION, prefix) if "=" in prefix else "",
                )
            )
        self.severity, self.parts, self.size = "", {}, 0


def _header(line: str) -> tuple[str, str, str] | None:
    """Prefix, word and text of a line that begins an entry or a part of it; None: it goes on with what was before."""
    at = line.find(":  ", 0, _LONGEST_PREFIX)
    while at > 0:
        if word := _WORD.search(line, max(0, at - 12), at):
            return line[: word.start()], word[1], line[at + 3 :]
        at = line.find(":  ", at + 1, _LONGEST_PREFIX)
    return None


def _found(pattern: re.Pattern[str], prefix: str) -> str:
    """The group that took part, or all of the match."""
    found = pattern.search(prefix)
    return "" if found is None else found.group(found.lastindex or 0)
