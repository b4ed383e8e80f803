"""Which PostgreSQL settings may be changed, and which values a machine can bear: judged before anything is done.

ALTER SYSTEM takes `shared_buffers = '900GB'` on any machine, and the server no longer starts. So what is reserved at the start is
added up and compared with the machine's memory. Source of the sizes: PostgreSQL 17 documentation, 19.4 (resource consumption), 18.4.5.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

RESERVED_SHARE = 0.75
"""Of the machine's memory, for what the server reserves at its start: beyond it neither its own sessions nor the page cache have room."""
CONNECTION_BYTES = 64 * 1024
"""Shared memory for each connection, rounded up (proc array, backend status, notify, semaphores)."""
LOCK_BYTES = 270
"""For each lock that can be held (documentation of max_locks_per_transaction, rounded up)."""
_UNITS = {"B": 1, "kB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}
_NUMBER = r"0[xX][0-9a-fA-F]+|\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?"
_AMOUNT = re.compile(rf"\s*(?P<number>{_NUMBER})\s*(?P<unit>B|kB|MB|GB|TB)?\s*")
_BASE = re.compile(r"(?P<number>\d*)(?P<unit>B|kB|MB|GB|TB)")
MEMORY_OF_ONE = frozenset(
    {"work_mem", "maintenance_work_mem", "autovacuum_work_mem", "logical_decoding_work_mem", "temp_buffers", "wal_buffers"}
)
"""What one session, or one worker, may use: more than all memory is a mistake of the unit."""
DURABILITY = frozenset({"fsync", "full_page_writes", "ignore_checksum_failure", "zero_damaged_pages", "ignore_invalid_pages"})
WAYS_IN = frozenset(
    {"port", "listen_addresses", "unix_socket_directories", "unix_socket_permissions", "unix_socket_group", "data_directory", "hba_file"}
    | {"ident_file", "config_file", "external_pid_file", "ssl", "ssl_ca_file", "ssl_cert_file", "ssl_key_file", "krb_server_keyfile"}
    | {"idle_session_timeout", "idle_in_transaction_session_timeout", "transaction_timeout", "pre_auth_delay", "post_auth_delay"}
    | {"authentication_timeout", "db_user_namespace", "password_encryption", "superuser_reserved_connections", "reserved_connections"}
)
"""With a wrong value nobody gets in any more, the undo included."""
COMMANDS = re.compile(r"(_command|_library|_libraries|conninfo|passphrase|_file|_directory|_directories)$|^dynamic_library_path$")
"""What names programs or holds secrets; lists of preloaded libraries are checked by themselves."""
PRELOADED = frozenset({"shared_preload_libraries", "session_preload_libraries", "local_preload_libraries"})


@dataclass(frozen=True)
class KnownSetting:
    """A row of pg_settings."""

    name: str
    value: str
    unit: str
    context: str
    """`internal`, `postmaster`, `sighup`, `superuser-backend`, `backend`, `superuser`, `user`."""
    type: str
    """`bool`, `enum`, `integer`, `real`, `string`."""
    source: str


def refusal(setting: KnownSetting, parts: tuple[str, ...], *, listed: bool, system: bool) -> str:
    """Why this setting is never changed here, or not in this form; empty: it may be."""
    name = setting.name.lower()
    if setting.context == "internal":
        return "it is fixed when the server is built or its data is made"
    if name in DURABILITY:
        return "it protects the data from crashes: no gain is worth it"
    if name in WAYS_IN:
        return "with a wrong value nobody could connect any more, not even to undo it"
    if name not in PRELOADED and COMMANDS.search(name):
        return "it names programs, files or secrets: change it by hand"
    if not system and setting.context in ("postmaster", "sighup"):
        return "it is one of the whole server: leave role and database out"
    if listed and len(parts) == 1 and "," in parts[0]:
        return f"its value is a list of names: give the parts, as {[part.strip() for part in parts[0].split(',')]}, or it would be one name"
    if not listed and len(parts) != 1:
        return "its value is one text, not a list of names"
    if any(len(part) >= 64 for part in parts) and listed:
        return "a name is longer than 63 characters"
    if system and setting.source in ("command line", "environment variable"):
        return f"the server was started with it by {setting.source}, which goes before what ALTER SYSTEM sets"
    return ""


def amount_bytes(text: str, unit: str) -> int | None:
    """`900GB` in bytes; without a unit of its own in the setting's (`8kB`, `kB`, `MB`). None: it is no amount of memory."""
    base = _BASE.fullmatch(unit)
    amount = _AMOUNT.fullmatch(text)
    if base is None or amount is None:
        return None
    factor = _UNITS[amount["unit"]] if amount["unit"] else int(base["number"] or 1) * _UNITS[base["unit"]]
    return round(_number(amount["number"]) * factor)


def _number(text: str) -> float:
    """As the server reads it (guc.c, `parse_int`): hexadecimal, octal behind a zero, or decimal, also with an exponent."""
    if text[:2] in ("0x", "0X"):
        return int(text, 16)
    return int(text, 8) if re.fullmatch(r"0[0-7]+", text) else float(text)


def memory_trouble(setting: KnownSetting, value: str, now: Mapping[str, KnownSetting], memory_bytes: int) -> str:
    """Why the machine cannot bear it; empty: it can, as far as memory goes."""
    wanted = amount_bytes(value, setting.unit)
    counts = setting.type == "integer" and (setting.name in RESERVING or setting.name in MEMORY_OF_ONE)
    if counts and value.strip() != "-1" and not re.fullmatch(rf"\s*(?:{_NUMBER})\s*(?:B|kB|MB|GB|TB)?\s*", value):
        return f"{value.strip()!r} is no amount that is known here: write it as 512MB, or as a whole number"
    if setting.name in MEMORY_OF_ONE and wanted is not None and wanted > memory_bytes:
        return f"{value.strip()} for each session is more than the machine's memory, {_told(memory_bytes)}"
    changed = dict(now) | {setting.name: KnownSetting(setting.name, value, setting.unit, setting.context, setting.type, setting.source)}
    reserved, before = reserved_bytes(changed), reserved_bytes(now)
    if reserved > RESERVED_SHARE * memory_bytes and reserved > before:
        return (
            f"the server would reserve {_told(reserved)} at its start, of {_told(memory_bytes)} that the machine has "
            f"(at most {RESERVED_SHARE:.0%} is allowed): it would not start, or be ended"
        )
    return ""


def reserved_bytes(settings: Mapping[str, KnownSetting]) -> int:
    """About what the server reserves when it starts: buffers, connections, locks."""

    def amount(name: str) -> int:
        found = settings.get(name)
        if found is None or found.value.startswith("-"):
            return 0
        if found.unit:
            return amount_bytes(found.value, found.unit) or 0
        return round(_number(found.value.strip())) if re.fullmatch(_NUMBER, found.value.strip()) else 0

    sessions = amount("max_connections") + amount("max_worker_processes") + amount("autovacuum_max_workers") + amount("max_wal_senders")
    holders = amount("max_connections") + amount("max_prepared_transactions")
    locks = holders * amount("max_locks_per_transaction") * LOCK_BYTES + holders * amount("max_pred_locks_per_transaction") * LOCK_BYTES
    return amount("shared_buffers") + amount("wal_buffers") + sessions * CONNECTION_BYTES + locks


RESERVING = (
    "shared_buffers",
    "wal_buffers",
    "max_connections",
    "max_worker_processes",
    "autovacuum_max_workers",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
    "max_pred_locks_per_transaction",
)
"""What `reserved_bytes` reads."""


def _told(size: int) -> str:
    return f"{size / 1024**3:.1f} GB" if size >= 1024**3 else f"{size / 1024**2:.0f} MB"
