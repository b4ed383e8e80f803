"""A PostgreSQL server as its data directory tells of it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Postmaster:
    """What holds the directory, or did when it was killed: the pid may be another program's by now."""

    pid: int
    """Negative for a server in single-user mode."""
    ready: bool
    """It takes connections."""


def postmaster_of(data: Path) -> Postmaster | None:
    """None where no server holds it, or it cannot be read. Documentation, 73.1: the first line of postmaster.pid is the process, the eighth
    its state."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        return Postmaster(int(lines[0]), ready=len(lines) >= 8 and lines[7].strip() == "ready")
    except (OSError, ValueError, IndexError):
        return None
