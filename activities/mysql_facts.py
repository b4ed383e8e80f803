"""What a MySQL or MariaDB server is, has and lets us see."""

import asyncio
import os
import re
from pathlib import Path

from activities.errors import refuse
from activities.mysql_connection import MysqlSession, places
from activities.mysql_window import digests_unseen
from perfwright.models.database import DatabaseFacts, NotSeen, Setting
from perfwright.models.errors import ErrorType
from perfwright.models.target import Target

OLDEST = {"mariadb": 100_300, "mysql": 50_700}
"""ANALYZE FORMAT=JSON and EXPLAIN FORMAT=JSON as they are read here."""
SETTINGS = [
    "big_tables",
    "eq_range_index_dive_limit",
    "innodb_buffer_pool_size",
    "innodb_flush_log_at_trx_commit",
    "innodb_io_capacity",
    "innodb_stats_persistent",
    "innodb_stats_auto_recalc",
    "join_buffer_size",
    "join_cache_level",
    "log_output",
    "log_queries_not_using_indexes",
    "log_slow_rate_limit",
    "log_slow_verbosity",
    "long_query_time",
    "lower_case_table_names",
    "max_connections",
    "max_heap_table_size",
    "min_examined_row_limit",
    "optimizer_switch",
    "optimizer_use_condition_selectivity",
    "performance_schema",
    "performance_schema_digests_size",
    "query_cache_type",
    "read_buffer_size",
    "read_rnd_buffer_size",
    "slow_query_log",
    "sort_buffer_size",
    "sql_mode",
    "table_open_cache",
    "tmp_table_size",
    "transaction_isolation",
    "tx_isolation",
    "use_stat_tables",
]
"""What decides plans, memory and logging; each version has some of them."""
_LOCATION = ("datadir", "slow_query_log_file", "read_only", "version", "version_comment")
LOG_FORMAT = "slow log"
SLOW_LOG = "slow log"
HOW_TO_LOG = "SET GLOBAL slow_query_log = ON, long_query_time = 0 (for a time), and on MariaDB log_slow_verbosity = 'query_plan,explain'"


async def read_facts(session: MysqlSession, target: Target, database: str) -> DatabaseFacts:
    """Refuses what is no MySQL or MariaDB that is old enough to be read."""
    wanted = (*SETTINGS, *_LOCATION)
    rows = await session.fetch(f"SHOW GLOBAL VARIABLES WHERE variable_name IN {places(wanted)}", wanted)
    values = {str(name).lower(): str(value) for name, value in rows}
    system = "mariadb" if "mariadb" in f"{values.get('version', '')} {values.get('version_comment', '')}".lower() else "mysql"
    version, number = _version(values.get("version", ""))
    if number < OLDEST[system]:
        raise refuse(
            ErrorType.TARGET_REFUSED, f"{target.title} is {system} {version}: too old", way_out="MariaDB from 10.3 on, MySQL from 5.7 on"
        )
    [(user,)] = await session.fetch("SELECT current_user()")
    name, _, host = str(user).rpartition("@")
    # Who may read the system tables is shown the rights of all.
    granted = await session.fetch(
        "SELECT privilege_type FROM information_schema.user_privileges WHERE grantee = %s", (f"'{name}'@'{host}'",)
    )
    privileges = {str(row[0]) for row in granted}
    [(size,)] = await session.fetch(
        "SELECT sum(data_length + index_length) FROM information_schema.tables WHERE table_schema = %s", (database,)
    )
    standby = await _standby(session)
    log = _slow_log(values)
    not_seen = [
        unseen
        for unseen in (
            await digests_unseen(session),
            None if "PROCESS" in privileges else _processes(),
            await asyncio.to_thread(_log_unseen, values, log),
        )
        if unseen
    ]
    return DatabaseFacts(
        system="mariadb" if system == "mariadb" else "mysql",
        version=version,
        version_number=number,
        database=database,
        # Without the host part: that names machines.
        role=name,
        standby=standby,
        superuser="SUPER" in privileges,
        reads_all_stats="PROCESS" in privileges,
        settings=tuple(Setting(name=name, value=values[name]) for name in SETTINGS if name in values),
        size_bytes=int(size or 0),
        log_folder=log,
        log_format=LOG_FORMAT if log else "",
        not_seen=tuple(not_seen),
    )


def _version(text: str) -> tuple[str, int]:
    found = re.match(r"(?:5\.5\.5-)?(\d+)\.(\d+)\.(\d+)", text)
    if found is None:
        return text[:30], 0
    major, minor, patch = (int(part) for part in found.groups())
    return f"{major}.{minor}.{patch}", major * 10_000 + minor * 100 + patch


async def _standby(session: MysqlSession) -> bool:
    """A replica that is set so that nobody writes to it but replication."""
    [(read_only,)] = await session.fetch("SELECT @@global.read_only")
    return str(read_only).upper() in ("1", "ON")


def _slow_log(values: dict[str, str]) -> str:
    """The file that the server writes; empty: it writes none."""
    if values.get("slow_query_log") != "ON" or "FILE" not in values.get("log_output", ""):
        return ""
    name = values.get("slow_query_log_file", "")
    return name if name.startswith("/") or not name else str(Path(values.get("datadir", "/")) / name)


def _processes() -> NotSeen:
    return NotSeen(
        what="sessions of other users",
        reason="our user may not see them",
        way_out="GRANT PROCESS ON *.* to the user, which also shows open transactions and lock waits",
    )


def _log_unseen(values: dict[str, str], log: str) -> NotSeen | None:
    """Why the slow log cannot be read from here, or has little. Looks at this machine's files."""
    if not log:
        on = values.get("slow_query_log") == "ON"
        reason = "it is written to a table (log_output)" if on else "slow_query_log is off"
        return NotSeen(what=SLOW_LOG, reason=reason, way_out="Set log_output = FILE" if on else f"{HOW_TO_LOG}, or give log_files")
    if not os.access(log, os.R_OK):
        return NotSeen(
            what=SLOW_LOG,
            reason="its file is not on this worker's machine, or this worker may not read it",
            way_out="Start a host worker on the database's machine, as a user who may read the file, or give log_files",
        )
    if float(values.get("long_query_time", "0") or 0) >= 1:
        reason = f"the server logs only statements that take {float(values['long_query_time']):g} s or more"
        return NotSeen(what="calls of fast statements", reason=reason, way_out="SET GLOBAL long_query_time = 0 for a time")
    return None
