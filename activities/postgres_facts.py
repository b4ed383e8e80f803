"""What a PostgreSQL server is, has and lets us see; read in one short transaction."""

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from activities.errors import refuse
from activities.postgres_connection import LOCAL_SETTINGS
from activities.postgres_counters import find_counters
from perfwright.models.database import DatabaseFacts, NotSeen, Setting
from perfwright.models.errors import ErrorType
from perfwright.models.target import Target

if TYPE_CHECKING:
    import asyncpg

OLDEST = 130_000
EXTENSIONS_MOST = 500
_SETTINGS_READ = """
autovacuum autovacuum_analyze_scale_factor autovacuum_analyze_threshold autovacuum_vacuum_scale_factor block_size
compute_query_id constraint_exclusion cpu_index_tuple_cost cpu_operator_cost cpu_tuple_cost cursor_tuple_fraction data_directory
default_statistics_target effective_cache_size effective_io_concurrency from_collapse_limit geqo geqo_threshold hash_mem_multiplier
huge_pages idle_in_transaction_session_timeout jit jit_above_cost join_collapse_limit lock_timeout log_destination log_directory
log_duration log_filename log_lock_waits log_min_duration_sample log_min_duration_statement log_parameter_max_length log_statement
log_statement_sample_rate log_temp_files logging_collector maintenance_work_mem max_connections max_parallel_workers
max_parallel_workers_per_gather max_worker_processes min_parallel_index_scan_size min_parallel_table_scan_size parallel_setup_cost
parallel_tuple_cost plan_cache_mode random_page_cost search_path seq_page_cost shared_buffers shared_preload_libraries
statement_timeout temp_buffers temp_file_limit track_activities track_activity_query_size track_counts track_functions
track_io_timing track_wal_io_timing work_mem
"""
"""What decides plans, memory and logging, besides `enable_*` where they are not as they come, and the two extensions' own."""
_EXTENSIONS_OWN = ("auto_explain.%", "pg_stat_statements.%")
_NOT_SHOWN = frozenset({"data_directory", "log_directory", "shared_preload_libraries"})
"""Told in fields of their own."""


async def read_facts(connection: "asyncpg.Connection", target: Target, pooler: str) -> DatabaseFacts:
    """In the caller's `reading` transaction. Refuses what is no PostgreSQL of 13 or later."""
    who = await connection.fetchrow(
        """
        SELECT version() AS product, current_setting('server_version') AS version,
               current_setting('server_version_num')::int AS version_number, current_database() AS database, current_user AS role,
               pg_is_in_recovery() AS standby, pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS reads_all_stats,
               coalesce((SELECT rolsuper FROM pg_roles WHERE rolname = current_user), false) AS superuser,
               has_function_privilege('pg_current_logfile()', 'EXECUTE') AS knows_log
        """
    )
    assert who is not None, "a SELECT without FROM has one row"
    if not str(who["product"]).startswith("PostgreSQL") or who["version_number"] < OLDEST:
        raise refuse(
            ErrorType.TARGET_REFUSED,
            f"{target.title} is {str(who['product'])[:60]}, not a PostgreSQL of 13 or later",
            way_out="Name another target",
        )
    settings = await _settings(connection)
    installed = await connection.fetch("SELECT extname, extversion FROM pg_extension ORDER BY 1 LIMIT $1", EXTENSIONS_MOST)
    available = await connection.fetch("SELECT name FROM pg_available_extensions ORDER BY 1 LIMIT $1", EXTENSIONS_MOST)
    size = await connection.fetchval("SELECT pg_database_size(current_database())") if await _may_connect(connection) else 0
    log = await _log(connection, settings, knows_log=who["knows_log"])
    # Last: where the extension is not loaded, this breaks the transaction.
    statements = await find_counters(connection)
    facts = DatabaseFacts(
        system="postgresql",
        version=who["version"].split()[0],
        version_number=who["version_number"],
        database=who["database"],
        role=who["role"],
        standby=who["standby"],
        superuser=who["superuser"],
        reads_all_stats=who["reads_all_stats"],
        pooler=pooler,
        extensions={row[0]: row[1] for row in installed},
        available_extensions=tuple(row[0] for row in available),
        preloaded=_words(settings, "shared_preload_libraries"),
        settings=tuple(setting for name, setting in settings.items() if name not in _NOT_SHOWN),
        size_bytes=size or 0,
        log_folder=log["folder"],
        log_format=log["format"],
    )
    not_seen = [statements] if isinstance(statements, NotSeen) else []
    not_seen += _rights(facts) + await asyncio.to_thread(_log_not_seen, facts, settings, log["file"]) + _timing(facts)
    return facts.model_copy(update={"not_seen": tuple(not_seen)})


async def _settings(connection: "asyncpg.Connection") -> dict[str, Setting]:
    """As they are in force for the session: our own SET LOCALs are not told. Without the right those of the superuser are missing."""
    rows = await connection.fetch(
        """
        SELECT name, CASE WHEN name = ANY($2::text[]) THEN reset_val ELSE setting END AS value, coalesce(unit, '') AS unit,
               CASE WHEN name <> ALL($2::text[]) THEN source WHEN reset_val = boot_val THEN 'default' ELSE 'configured' END AS source
          FROM pg_settings
         WHERE name = ANY($1::text[]) OR name LIKE ANY($3::text[]) OR (name LIKE 'enable\\_%' AND setting <> boot_val)
         ORDER BY name
        """,
        _SETTINGS_READ.split(),
        list(LOCAL_SETTINGS),
        list(_EXTENSIONS_OWN),
    )
    return {row["name"]: Setting(name=row["name"], value=row["value"] or "", unit=row["unit"], source=row["source"]) for row in rows}


async def _may_connect(connection: "asyncpg.Connection") -> bool:
    """pg_database_size asks for CONNECT or pg_read_all_stats, also of who is connected (by a right that was taken back)."""
    return bool(await connection.fetchval("SELECT has_database_privilege(current_database(), 'CONNECT')"))


async def _log(connection: "asyncpg.Connection", settings: dict[str, Setting], *, knows_log: bool) -> dict[str, str]:
    """Folder, format and the file that is written now, as far as the server tells them."""
    collecting = _value(settings, "logging_collector") == "on"
    kinds = _words(settings, "log_destination")
    kind = next((kind for kind in ("jsonlog", "csvlog", "stderr") if kind in kinds), "")
    folder, data, file = _value(settings, "log_directory"), _value(settings, "data_directory"), ""
    if folder and not folder.startswith("/"):
        folder = f"{data}/{folder}" if data else ""
    if knows_log and collecting and kind:
        written = await connection.fetchval("SELECT pg_current_logfile($1)", kind)
        file = f"{data}/{written}" if written and not written.startswith("/") and data else written or ""
    if not collecting:
        # What the server writes goes where whoever started it put it.
        return {"folder": "", "format": "stderr" if "stderr" in kinds else "", "file": ""}
    return {"folder": str(Path(file).parent) if file else folder, "format": kind, "file": file}


def _rights(facts: DatabaseFacts) -> list[NotSeen]:
    if facts.reads_all_stats or facts.superuser:
        return []
    return [
        NotSeen(
            what="statements and sessions of other roles",
            reason=f"our role {facts.role} may not see them",
            way_out=f"GRANT pg_monitor TO {facts.role}, which also lets it see settings and where the log is",
        )
    ]


def _log_not_seen(facts: DatabaseFacts, settings: dict[str, Setting], file: str) -> list[NotSeen]:
    """Why the server's own log cannot be read from here, or has nothing that we need. Looks at this machine's files."""
    given = "or give log files in log_files"
    wanted = "jsonlog" if facts.version_number >= 150_000 else "csvlog"
    if _value(settings, "logging_collector") != "on":
        return [
            NotSeen(
                what="server log",
                reason="the server does not write log files itself (logging_collector is off)",
                way_out=f"Set logging_collector = on and log_destination = {wanted} (needs a restart), {given}",
            )
        ]
    found = []
    if not facts.log_folder:
        found.append(
            NotSeen(what="server log", reason="our role may not see where it is", way_out=f"GRANT pg_monitor to the role, {given}")
        )
    elif trouble := _unreadable(facts.log_folder, file):
        found.append(
            NotSeen(
                what="server log",
                reason=trouble,
                way_out="Start a host worker on the database's machine, as a user who may read the folder "
                f"(log_file_mode = 0640 and the server's group), {given}",
            )
        )
    elif facts.log_format not in ("jsonlog", "csvlog"):
        found.append(
            NotSeen(
                what="server log",
                reason="it is written as plain text",
                way_out=f"Set log_destination = {wanted} (a reload suffices), {given}",
            )
        )
    if not _logs_durations(settings):
        found.append(
            NotSeen(
                what="durations and values of single statements",
                reason="the server logs no durations",
                way_out="Set log_min_duration_statement = 100 (milliseconds; a reload suffices), or load auto_explain",
            )
        )
    return found


def _unreadable(folder: str, file: str) -> str:
    place = Path(folder)
    try:
        if not place.is_dir():
            return "its folder is not on this worker's machine"
    except PermissionError:
        return "this worker may not read its folder"
    if not os.access(place, os.R_OK | os.X_OK):
        return "this worker may not read its folder"
    if file and not Path(file).exists():
        return "a folder of that name is on this worker's machine, but not with the file that the server writes"
    if file and not os.access(file, os.R_OK):
        return "this worker may not read its files"
    return ""


def _logs_durations(settings: dict[str, Setting]) -> bool:
    thresholds = ("log_min_duration_statement", "log_min_duration_sample", "auto_explain.log_min_duration")
    return _value(settings, "log_duration") == "on" or any(_value(settings, name) not in ("", "-1") for name in thresholds)


def _timing(facts: DatabaseFacts) -> list[NotSeen]:
    found = []
    if facts.setting("track_io_timing") == "off":
        found.append(
            NotSeen(
                what="time that reads from disk take",
                reason="track_io_timing is off",
                way_out="Set track_io_timing = on (a reload suffices; pg_test_timing tells what it costs)",
            )
        )
    if facts.setting("track_activities") == "off":
        found.append(
            NotSeen(what="what sessions do", reason="track_activities is off", way_out="Set track_activities = on (a reload suffices)")
        )
    return found


def _value(settings: dict[str, Setting], name: str) -> str:
    return settings[name].value if name in settings else ""


def _words(settings: dict[str, Any], name: str) -> tuple[str, ...]:
    return tuple(word.strip().strip('"') for word in _value(settings, name).split(",") if word.strip())
