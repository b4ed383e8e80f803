"""The server's configuration: what the lab needs of it, and what a team would set for its machine and data."""

from collections.abc import Mapping

from lab.problems import version

Settings = dict[str, str]
FIRST_WITH_JSON_LOG = 15
LOGGED_PLAN_MS = 10


def settings_as_installed(orders: int) -> Settings:
    """What the packages set is known to work."""
    return {}  # planted: server-settings


def settings_for_data(orders: int) -> Settings:
    """Memory for sorts and hashes of the reports, costs for a disk without a moving head."""
    return {
        "work_mem": f"{4 + orders // 12_500}MB",
        "maintenance_work_mem": "128MB",
        "effective_cache_size": "2GB",
        "random_page_cost": "1.1",
        "effective_io_concurrency": "200",
    }


tuning = version("server-settings", planted=settings_as_installed, sound=settings_for_data)
"""Settings that a database may have of its own (`ALTER DATABASE ... SET`), so also on a server that is not the lab's."""

SERVER_TUNING = version("server-settings", planted={}, sound={"shared_buffers": "256MB", "max_wal_size": "2GB"})
"""Settings that take a restart or are the whole server's."""


def configuration(*, major: int, port: int, log_folder: str, own: Mapping[str, str]) -> str:
    """The text of a `postgresql.conf` for a server of the lab with the settings `own` besides.

    Every statement is logged with its values. Log files are named after ten minutes of the hour and written anew an hour later, so that
    they stay bounded however long the lab is up.
    """
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": "40",
        "timezone": "UTC",
        "lc_messages": "C",
        "shared_preload_libraries": "pg_stat_statements,auto_explain",
        "track_io_timing": "on",
        "logging_collector": "on",
        "log_destination": "jsonlog" if major >= FIRST_WITH_JSON_LOG else "csvlog",
        "log_directory": log_folder,
        "log_filename": "shop-%M.log",
        "log_file_mode": "0644",
        "log_rotation_age": "10min",
        "log_rotation_size": "0",
        "log_truncate_on_rotation": "on",
        "log_min_duration_statement": "0",
        "log_temp_files": "0",
        "log_lock_waits": "on",
        "auto_explain.log_format": "json",
        "auto_explain.log_min_duration": f"{LOGGED_PLAN_MS}ms",
        "auto_explain.log_analyze": "on",
        "auto_explain.log_buffers": "on",
        "auto_explain.log_timing": "off",
        **own,
    }
    return "".join(f"{name} = {_quoted(value)}\n" for name, value in settings.items())


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
