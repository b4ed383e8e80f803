"""What a live target does while a change stands on it: readings of a PostgreSQL server's counters, or of processes from outside."""

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
    sessions: int = 0
    """Of those whom a setting of a role or a database concerns; our own are not counted."""
    old_sessions: int = 0
    """Of these, open since before the change: they go on without it."""
    not_seen: str = ""
    """Why nothing is read, with the way out."""


class ReadLive(Model):
    """One reading of the statements that a change may concern."""

    target: Target
    change: ChangeSpec
    """Of an index those statements count whose text names its table; of a role's setting those of the role; of all else the costliest."""
    again: tuple[str, ...] = ()
    """These statements, as an earlier reading chose them."""
    opened_before_s: float = 0.0
    """By the server's clock: sessions that are older count as old; 0: none are counted."""


class WatchLive(Model):
    """Reading after reading, until a guard is breached or the time is over."""

    target: Target
    change: ChangeSpec
    guards: tuple[Guard, ...]
    before: tuple[LiveReading, LiveReading]
    """What calls cost between these two is what they are compared with."""
    seconds: float = Field(gt=0.0)


class ProcessReading(Model):
    """Of a process and all below it, from outside: nothing of it is stopped or written to."""

    taken_s: float = 0.0
    """By the host's clock, in seconds since 1970."""
    pid: int = 0
    create_time_s: float = 0.0
    """Both tell whether it is still the same."""
    processes: int = 0
    pss_bytes: float = 0.0
    """Of all of them, a page that several share counted once (proc_pid_smaps(5))."""
    most_bytes: float = 0.0
    """And what each has given back since its own peak, which the kernel keeps (VmHWM, proc_pid_status(5)): the most they may have held."""
    cpu_s: float = 0.0
    """Of all, and of those that they have started and seen end."""
    threads: int = 0
    open_files: int | None = None
    """None where they may not be counted."""
    not_seen: str = ""
    """Why nothing is read."""


class ReadProcess(Model):
    """One reading of the target's running process."""

    target: Target


class WatchProcess(Model):
    """Reading after reading, until a guard is breached or the time is over."""

    target: Target
    guards: tuple[Guard, ...]
    before: tuple[ProcessReading, ProcessReading]
    """Before the change; the more that it held is what it is compared with."""
    seconds: float = Field(gt=0.0)
