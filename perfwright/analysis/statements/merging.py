"""One statement while its entries from all sources are put together."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from perfwright.analysis.statements.durations import quantile_of
from perfwright.analysis.statements.parsing import ParsedStatement
from perfwright.analysis.statements.safety import Judgement
from perfwright.models.statement import LoggedStatement, ServerCounters, Statement, StatementSample, StatementSource

COVERED = 0.9
"""Share of the counted calls that the log must have before its quantiles are taken for those of all calls: one that only has slow
statements (log_min_duration_statement) would give their median as the median."""
MOST_TABLES = 50
MOST_LISTED = 20
"""Roles and query ids told of one statement."""


@dataclass
class Merged:
    """Everything that was seen of one fingerprint."""

    fingerprint: str
    parsed: ParsedStatement | None = None
    """Of the costliest entry; None when no text could be read."""
    text: str = ""
    unreadable: str = ""
    """Why no text could be read."""
    utility: str = ""
    """First word of a text that could not be read and has no plan anyway."""
    tables: dict[str, None] = field(default_factory=dict)
    """Of all entries: names that differ in digits only (partitions) have one fingerprint."""
    counters: list[ServerCounters] = field(default_factory=list)
    logged: list[LoggedStatement] = field(default_factory=list)
    samples: list[StatementSample] = field(default_factory=list)
    sources: dict[StatementSource, None] = field(default_factory=dict)
    judged: dict[str, Judgement] = field(default_factory=dict)
    """Each text that was read, without its values -> what executing it may do. A sample of the same text needs no other look."""

    @property
    def total_ms(self) -> float:
        """Execution time: counters win, since the log has the same calls again, or only slow ones."""
        return sum(one.total_ms for one in (self.counters or self.logged))

    @property
    def top_level_ms(self) -> float:
        """Without what ran inside functions: that time is in the statement that called them, too."""
        return sum(one.total_ms for one in self.counters if one.top_level) if self.counters else self.total_ms

    def saw(self, parsed: ParsedStatement, judgement: Judgement) -> None:
        """Note what a text says; the first one (of the costliest entry) is the one that is shown."""
        if self.parsed is None:
            self.parsed, self.text = parsed, parsed.text
        self.judged[parsed.text] = judgement
        for name in parsed.tables:
            if len(self.tables) < MOST_TABLES:
                self.tables[name] = None

    def statement(self, share: float) -> Statement:
        """Without safety and samples, which come later."""
        counted, logged = self.counters, self.logged
        calls = sum(one.calls for one in (counted or logged))
        logged_calls = sum(one.calls for one in logged)
        complete = bool(logged) and logged_calls >= COVERED * calls
        worst = max((one.durations_ms[-1] for one in logged if one.durations_ms), default=None)
        slowest = [one for one in (*(each.max_ms for each in counted), worst) if one is not None]
        return Statement(
            fingerprint=self.fingerprint,
            text=self.text,
            kind=self.parsed.kind if self.parsed else "unknown",
            tables=tuple(self.tables),
            calls=calls,
            total_ms=self.total_ms,
            mean_ms=self.total_ms / calls if calls else 0.0,
            max_ms=max(slowest, default=None),
            p50_ms=quantile_of(logged, 0.5) if complete else None,
            p99_ms=quantile_of(logged, 0.99) if complete else None,
            rows=sum(one.rows for one in counted),
            shared_hit_blocks=sum(one.shared_hit_blocks for one in counted),
            shared_read_blocks=sum(one.shared_read_blocks for one in counted),
            temp_written_blocks=sum(one.temp_written_blocks for one in counted),
            wal_bytes=sum(one.wal_bytes for one in counted),
            planning_ms=sum(one.planning_ms or 0.0 for one in counted),
            share=share,
            sources=tuple(self.sources),
            roles=_listed(one.role for one in counted),
            query_ids=_listed(one.query_id for one in counted),
        )


def _listed(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in values if value))[:MOST_LISTED]
