"""SQL statements as they were observed: grouped by fingerprint, with what they cost and values to explain them with."""

from typing import Literal

from perfwright.models.vocabulary import Model

STATEMENT_CHARACTERS = 10_000
"""Longer texts are cut in tables and results; the artifact keeps up to 100,000 characters of them."""
HIDDEN_TEXT = "<insufficient privilege>"
"""What PostgreSQL shows for the statements of others to a role that may not read them."""
SAMPLES_KEPT = 3
"""Cheap, median and worst of those seen."""

StatementKind = Literal["select", "insert", "update", "delete", "merge", "utility", "unknown"]
StatementSource = Literal["pg_stat_statements", "log", "auto_explain", "activity", "given", "performance_schema", "slow log"]
Safety = Literal["reads only", "locks", "writes", "volatile", "never"]
"""What executing it may do. `reads only`: a SELECT of vetted functions. `locks`: FOR UPDATE or SHARE. `writes`: INSERT, UPDATE,
DELETE, MERGE, or a SELECT with such a part. `volatile`: calls functions that may have side effects. `never`: DDL, COPY, utility, several
statements."""


class ServerCounters(Model):
    """What the server counted for one statement, in total since its counters began (or, as a difference, within a window)."""

    query_id: str
    """`queryid` of pg_stat_statements, or digest of performance_schema."""
    role: str = ""
    database: str = ""
    top_level: bool = True
    text: str
    """As the server normalized it (`$1`, `?`)."""
    calls: int
    total_ms: float
    min_ms: float | None = None
    max_ms: float | None = None
    stddev_ms: float | None = None
    planning_ms: float | None = None
    rows: int = 0
    shared_hit_blocks: int = 0
    shared_read_blocks: int = 0
    temp_written_blocks: int = 0
    block_read_ms: float | None = None
    wal_bytes: int = 0


class ObservedWindow(Model):
    """Counters of all statements over a window. Kept as an artifact (JSON, gzipped): a server may have thousands."""

    seconds: float
    started_at: str
    source: StatementSource
    statements: tuple[ServerCounters, ...]
    """Differences over the window; only those with calls."""
    evicted: int = 0
    """Entries that the server dropped meanwhile (`pg_stat_statements_info.dealloc`): rare statements may be missing."""
    reset: bool = False
    """Counters were reset, or the server restarted, within the window: it begins there."""
    total_ms: float = 0.0
    """Execution time of all statements in the window, ours left out."""
    complete: bool = True
    note: str = ""


class LoggedStatement(Model):
    """One shape of statement in the server's log."""

    fingerprint: str
    text: str
    """With literals or `$1`, as the first was written."""
    calls: int
    total_ms: float
    durations_ms: tuple[float, ...] = ()
    """A bounded sketch: sorted quantile points (0, 0.01, ... 0.99, 0.999, 1) or, of few calls, all of them."""
    samples: tuple["StatementSample", ...] = ()
    plans: tuple[dict[str, object], ...] = ()
    """Of auto_explain: the slowest plans seen, at most SAMPLES_KEPT."""
    errors: int = 0


class LogDigest(Model):
    """What was read of a server log. Kept as an artifact."""

    files: tuple[str, ...] = ()
    read_bytes: int = 0
    lines: int = 0
    broken_lines: int = 0
    first_at: str = ""
    last_at: str = ""
    statements: tuple[LoggedStatement, ...] = ()
    left_out: int = 0
    """Shapes beyond the bound, the cheapest."""
    temp_file_bytes: int = 0
    lock_waits: int = 0
    checkpoints: int = 0
    gaps: tuple[str, ...] = ()
    """What could not be read: rotated away, truncated, resumed after a crash."""


class StatementSample(Model):
    """One real call: what can be explained."""

    text: str
    """Runnable: literals, or `$n` with `parameters`."""
    parameters: tuple[str | None, ...] = ()
    """As text, in order; the server casts them."""
    duration_ms: float | None = None
    source: StatementSource
    note: str = ""
    """`values taken from pg_stats`, `worst of 214 calls`."""
    kept_as: str = ""
    """Literals are masked: the call with its values is kept on the target's host, under this name."""


class Statement(Model):
    """One shape of statement, whatever wrote it, with its share of the load."""

    fingerprint: str
    """libpg_query's, sixteen hex digits; of MySQL the digest's first sixteen."""
    text: str
    """Normalized: values are `$n` (or `?`); cut at STATEMENT_CHARACTERS."""
    kind: StatementKind = "unknown"
    tables: tuple[str, ...] = ()
    """As written in the statement, schema included where it was."""
    safety: Safety = "never"
    safety_reason: str = ""
    calls: int = 0
    total_ms: float = 0.0
    mean_ms: float = 0.0
    max_ms: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    """Where the log has single durations."""
    rows: int = 0
    shared_hit_blocks: int = 0
    shared_read_blocks: int = 0
    temp_written_blocks: int = 0
    wal_bytes: int = 0
    planning_ms: float = 0.0
    share: float = 0.0
    """Of the execution time of all statements that were seen."""
    sources: tuple[StatementSource, ...] = ()
    roles: tuple[str, ...] = ()
    query_ids: tuple[str, ...] = ()
    samples: tuple[StatementSample, ...] = ()
    """At most SAMPLES_KEPT, cheapest first."""
    not_explainable: str = ""
    """Why no plan can be asked for; empty: it can."""

    @property
    def title(self) -> str:
        """The first 90 characters on one line."""
        text = " ".join(self.text.split())
        return text if len(text) <= 90 else f"{text[:89]}…"


class StatementTable(Model):
    """All statements, by total time. Kept as an artifact; results carry the first ones."""

    statements: tuple[Statement, ...]
    total_ms: float
    seconds: float
    sources: tuple[StatementSource, ...] = ()
    unreadable: tuple[Statement, ...] = ()
    """Texts that the parser refused (cut by the server, foreign syntax): listed, never dropped."""


LoggedStatement.model_rebuild()
