"""The slow query log of MySQL and MariaDB: lines in, a digest of its statements out.

An entry is some lines that begin with `#`, `use` where the database changes, `SET timestamp`, and the statement
(MariaDB documentation "Slow Query Log Overview", MySQL 8.4 reference manual, 7.4.5 "The Slow Query Log").
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from perfwright.analysis.database.own_statements import is_own
from perfwright.analysis.mysql.shapes import fingerprint, masked
from perfwright.analysis.server_log.sketch import Sketch
from perfwright.analysis.server_log.withheld import holds_secret, shown_utility
from perfwright.analysis.statements.mysql_digests import kind_of
from perfwright.models.statement import LogDigest, LoggedStatement, StatementSample

STATEMENTS_MOST = 5_000
"""Shapes that are kept apart; beyond them only those that are known already are counted on."""
ENTRY_CHARACTERS = 100_000
SAMPLE_CHARACTERS = 20_000
_BEGINS = re.compile(r"# (?:Time: |User@Host: )")
_FIGURES = re.compile(r"(\w+): ([\d.]+)")
_SCHEMA = re.compile(r"\bSchema: (\S*)")
_USE = re.compile(r"use `?((?:[^`;]|``)+)`?;", re.IGNORECASE)
_TIMESTAMP = re.compile(r"SET timestamp=(\d+)(?:\.\d+)?;", re.IGNORECASE)
_SERVER = re.compile(r".*, Version: .* started with:|Tcp port: |Time\s+Id Command\s+Argument")
LOOKS_LIKE = re.compile(r"^# (?:User@Host|Query_time): |, Version: .* started with:", re.MULTILINE)
"""Of a file's first lines."""


@dataclass
class _Shape:
    text: str
    durations: Sketch = field(default_factory=Sketch)
    total_ms: float = 0.0
    fastest: tuple[float, str] | None = None
    slowest: tuple[float, str] | None = None
    middling: tuple[float, str] | None = None
    """Of those seen since, the one nearest to the mean so far."""

    def add(self, duration_ms: float, text: str) -> None:
        self.durations.add(duration_ms)
        self.total_ms += duration_ms
        if not text:
            return
        one = (duration_ms, text)
        self.fastest = one if self.fastest is None or duration_ms < self.fastest[0] else self.fastest
        self.slowest = one if self.slowest is None or duration_ms > self.slowest[0] else self.slowest
        mean = self.total_ms / self.durations.count
        if self.middling is None or abs(duration_ms - mean) < abs(self.middling[0] - mean):
            self.middling = one

    @property
    def samples(self) -> tuple[StatementSample, ...]:
        kept = dict.fromkeys(one for one in (self.fastest, self.middling, self.slowest) if one)
        return tuple(StatementSample(text=text, duration_ms=round(ms, 3), source="slow log") for ms, text in sorted(kept))


class SlowLogReader:
    """One log, in one or several files that follow each other. `database`: statements of others, and our own, are left out."""

    def __init__(self, database: str = "") -> None:
        self._database = database
        self._shapes: dict[str, _Shape] = {}
        self._left_out: set[str] = set()
        self._entry: list[str] = []
        self._entry_characters = 0
        self._head: list[str] = []
        self._used = ""
        self._first_s: float | None = None
        self._last_s: float | None = None
        self.lines = self.read_bytes = self.broken = self.calls = 0
        self.files: list[str] = []
        self.gaps: list[str] = []

    def feed(self, lines: Iterable[str]) -> None:
        """Whole lines, with or without their ends."""
        for raw in lines:
            self.lines += 1
            line = raw.rstrip("\r\n")
            if _BEGINS.match(line):
                if self._entry or not (self._head and self._head[-1].startswith("# Time: ")):
                    self.end_entry()
                self._head.append(line)
            elif line.startswith("#") and not self._entry:
                if self._head:
                    self._head.append(line)
            elif _SERVER.match(line):
                self.end_entry()
            elif self._head:
                self._entry_characters += len(line)
                if self._entry_characters <= ENTRY_CHARACTERS:
                    self._entry.append(line)
            elif line.strip():
                # The rest of an entry that began before we did.
                self.broken += not self.calls

    def end_entry(self) -> None:
        """What was read of an entry is all of it."""
        head, entry, cut = self._head, self._entry, self._entry_characters > ENTRY_CHARACTERS
        self._head, self._entry, self._entry_characters = [], [], 0
        while entry and (found := _USE.fullmatch(entry[0].strip()) or _TIMESTAMP.fullmatch(entry[0].strip())):
            if found.re is _USE:
                self._used = found[1].replace("``", "`")
            else:
                self._last_s = float(found[1])
                self._first_s = self._last_s if self._first_s is None else min(self._first_s, self._last_s)
            entry = entry[1:]
        figures = dict(pair for line in head for pair in _FIGURES.findall(line))
        text = "\n".join(entry).strip().rstrip(";").strip()
        if not head or not text or "Query_time" not in figures:
            self.broken += bool(entry and text)
            return
        named = next((found[1] for line in head if (found := _SCHEMA.search(line))), None)
        schema = self._used if named is None else named
        if (self._database and schema != self._database) or is_own(text):
            return
        try:
            duration_ms = float(figures["Query_time"]) * 1_000
        except ValueError:
            self.broken += 1
            return
        self.calls += 1
        self._count(text, duration_ms, cut=cut)

    def digest(self) -> LogDigest:
        """What was read; the end of the reading."""
        self.end_entry()
        ordered = sorted(self._shapes.items(), key=lambda one: (-one[1].total_ms, one[0]))
        return LogDigest(
            files=tuple(self.files),
            read_bytes=self.read_bytes,
            lines=self.lines,
            broken_lines=self.broken,
            first_at=_iso(self._first_s),
            last_at=_iso(self._last_s),
            statements=tuple(
                LoggedStatement(
                    fingerprint=name,
                    text=one.text,
                    calls=one.durations.count,
                    total_ms=one.total_ms,
                    durations_ms=one.durations.points(),
                    samples=one.samples,
                )
                for name, one in ordered
            ),
            left_out=len(self._left_out),
            gaps=tuple(self.gaps),
        )

    def _count(self, text: str, duration_ms: float, *, cut: bool) -> None:
        name = fingerprint(text)
        if name not in self._shapes:
            if len(self._shapes) >= STATEMENTS_MOST:
                if len(self._left_out) < STATEMENTS_MOST:
                    self._left_out.add(name)
                return
            plain = masked(text)
            self._shapes[name] = _Shape(shown_utility(plain) if kind_of(text) in ("utility", "unknown") else plain)
        usable = not cut and len(text) <= SAMPLE_CHARACTERS and kind_of(text) not in ("utility", "unknown") and not holds_secret(text)
        self._shapes[name].add(duration_ms, text if usable else "")


def _iso(seconds: float | None) -> str:
    try:
        return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
    except (OverflowError, ValueError, OSError):
        return ""
