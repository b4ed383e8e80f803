"""pg_dump into pg_restore: a database, or its schema alone, from one server into a database of ours on another."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from activities.subprocesses import Heartbeat, Tool, run
from perfwright.analysis.database.connection_string import ConnectionParameters

WAY_OUT = "apt install postgresql-client, of at least the server's version"
PROGRAM_FOLDER = Path("/usr/lib/postgresql")
"""Where Debian has programs of PostgreSQL, by version."""
_COMMON = ("--no-owner", "--no-privileges", "--no-publications", "--no-subscriptions")
_SCHEMA = ("--schema-only", "--no-tablespaces", "--lock-wait-timeout=10s")


@dataclass(frozen=True)
class Dump:
    """From where, into what, and within which bounds."""

    source: ConnectionParameters
    into: ConnectionParameters
    """Of the database that is to be filled; it is there, and empty."""
    major: int
    """Of the source's server."""
    file: Path
    """Where the dump is for a moment: it holds rows, or values in the schema; nobody else may read its folder."""
    limit_s: float
    """Of each half."""
    limit_bytes: int
    schema_only: bool = False
    restore_environment: dict[str, str] = field(default_factory=dict)


async def dump_and_restore(dump: Dump, heartbeat: Heartbeat | None = None) -> None:
    """Raises ToolMissing, ToolFailed, ToolTimeout, OutputTooLarge."""
    folder = dump.file.parent
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    alone = _SCHEMA if dump.schema_only else ()
    try:
        dumped = Tool(
            [program("pg_dump", dump.major), "--format=custom", *_COMMON, *alone, f"--file={dump.file}"],
            limit_s=dump.limit_s,
            way_out=WAY_OUT,
            environment=surroundings(dump.source),
            output_files=(dump.file,),
            output_limit_bytes=dump.limit_bytes,
        )
        (await run(dumped, heartbeat=heartbeat)).require_success()
        restore = Tool(
            [
                *(program("pg_restore", dump.major), *_COMMON, *alone[1:2]),
                *("--no-password", f"--dbname={dump.into.database}", str(dump.file)),
            ],
            limit_s=dump.limit_s,
            way_out=WAY_OUT,
            environment=surroundings(dump.into) | dump.restore_environment,
        )
        restored = await run(restore, heartbeat=heartbeat)
        if restored.returncode != 1:  # which is: done, but for objects that this server does not know, such as an extension
            restored.require_success()
    finally:
        dump.file.unlink(missing_ok=True)


def program(name: str, major: int) -> str:
    """Of the server's version, or the next later one that is installed."""
    found: dict[int, str] = {}
    for place in PROGRAM_FOLDER.glob(f"*/bin/{name}"):
        if (version := place.parent.parent.name).isdigit():
            found[int(version)] = str(place)
    later = [found[one] for one in sorted(found) if one >= major]
    return later[0] if later else shutil.which(name) or name


def surroundings(parameters: ConnectionParameters) -> dict[str, str]:
    """Of a client program: its arguments could be seen by everybody on the machine."""
    found = {
        "PGHOST": ",".join(parameters.hosts),
        "PGPORT": ",".join(str(one) for one in parameters.ports),
        "PGUSER": parameters.user,
        "PGPASSWORD": parameters.password,
        "PGDATABASE": parameters.database,
    } | {f"PG{name.upper()}": value for name, value in parameters.driver.items() if name.startswith("ssl")}
    return {name: value for name, value in found.items() if value}


def connection_text(parameters: ConnectionParameters, database: str) -> str:
    """The same server and role, and this database, as a connection string."""
    found = {
        "host": ",".join(parameters.hosts),
        "port": ",".join(str(one) for one in parameters.ports),
        "user": parameters.user,
        "password": parameters.password,
        "dbname": database,
    } | parameters.driver
    return " ".join(f"{name}='{_escaped(value)}'" for name, value in found.items() if value)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")
