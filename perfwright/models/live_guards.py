"""What a live PostgreSQL server does while a change stands on it that was measured elsewhere: readings of its counters."""

from pydantic import Field

from perfwright.models.change import ChangeSpec
from perfwright.models.target import Target
from perfwright.models.trial import Guard
from perfwright.models.vocabulary import Model


class LiveStatement(Model):
    """Of one entry of pg_stat_statements, since its counters began."""

    calls: int
    total_ms: float
    blocks: int
    """Shared blocks, hit and read."""


class LiveReading(Model):
    """Of one database."""

    taken_s: float = 0.0
    """By the server's clock, in seconds since 1970."""
    since: str = ""
    """Changes when the server starts again or its counters are reset: what was read before is then not to be compared with."""
    statements: dict[str, LiveStatement] = {}
    """By `ROLE/QUERY/NESTED OR NOT`."""
    commits: int = 0
    rollbacks: int = 0
    not_seen: str = ""
    """Why nothing is read, with the way out."""


class ReadLive(Model):
    """One reading of the statements that a change may concern."""

    target: Target
    change: ChangeSpec
    """Of an index those statements count whose text names its table; of all else the costliest."""
    again: tuple[str, ...] = ()
    """These statements, as an earlier reading chose them."""


class WatchLive(Model):
    """Reading after reading, until a guard is breached or the time is over."""

    target: Target
    change: ChangeSpec
    guards: tuple[Guard, ...]
    before: tuple[LiveReading, LiveReading]
    """What calls cost between these two is what they are compared with."""
    seconds: float = Field(gt=0.0)
