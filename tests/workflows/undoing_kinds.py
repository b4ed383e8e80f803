"""One target for each kind of change, on hosts of their own so that their trials run at the same time; each is read itself, not its record."""

import asyncio
import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from activities.changes.launches import launched_as
from tests.postgres import PASSWORD, USER, PostgresServer
from tests.workflows.trying import CONFIGURATION, EASY_NOISE, FAST, PROGRAM, SLOW, SOURCE, furnish

DSN_ENV = "UNDONE_DB_DSN"
HISTORY_ENV = "UNDONE_HISTORY_URL"
REGISTRY = """
[store]
artifacts = "s3://bucket/perfwright"
history_env = "{history_env}"

[environments.unattended]
change = "auto"
keep = "auto"

[targets.file]
kind = "process"
environment = "unattended"
host = "for-file"
files_root = "{folder}/etc"
reload_command = ["cp", "{folder}/etc/app.conf", "{folder}/in-force.conf"]
process = {{ command = ["{python}", "{folder}/program.py"] }}

[targets.launch]
kind = "process"
environment = "unattended"
host = "for-launch"
process = {{ command = ["{python}", "{folder}/program.py"] }}

[targets.patch]
kind = "process"
environment = "unattended"
host = "for-patch"
repository = "{folder}/repository"
process = {{ command = ["{python}", "{folder}/program.py"] }}

[targets.interpreter]
kind = "process"
environment = "unattended"
host = "for-interpreter"
process = {{ pid = {pid} }}
allow = ["inject"]

[targets.sql]
kind = "postgresql"
environment = "unattended"
host = "for-sql"
dsn_env = "{dsn_env}"
allow = ["ddl"]

[targets.settings]
kind = "postgresql"
environment = "unattended"
host = "for-settings"
dsn_env = "{dsn_env}"
allow = ["settings"]
"""
TABLES = ("CREATE TABLE orders (id int PRIMARY KEY, customer int)", "INSERT INTO orders SELECT n, n % 500 FROM generate_series(1, 20000) n")
RUNNING = """
import gc, json, socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
print("ready", flush=True)
while True:
    asker, _ = server.accept()
    with asker:
        asker.sendall(json.dumps([gc.get_threshold(), gc.isenabled(), gc.get_freeze_count() > 0]).encode())
"""
"""A program whose collector is changed; whoever connects is told what is set."""
PROBE_FILE = """
import pathlib, random, sys
print(float(pathlib.Path(sys.argv[1]).read_text().split()[-1]) * random.uniform(0.99, 1.01))
"""
PROBE_COLLECTOR = """
import json, random, socket, sys
asked = socket.socket(socket.AF_UNIX)
asked.connect(sys.argv[1])
print((10 if json.loads(asked.makefile().read())[0][0] > 10_000 else 20) * random.uniform(0.99, 1.01))
"""
COST_OF_INDEX = """
SELECT (CASE WHEN EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relname = 'by_customer' AND i.indisvalid)
        THEN 10 ELSE 20 END) * (0.99 + 0.02 * random())
"""
COST_OF_SETTING = "SELECT (CASE current_setting('work_mem') WHEN '9MB' THEN 10 ELSE 20 END) * (0.99 + 0.02 * random())"
INDEXES = """
SELECT c.relname, pg_get_indexdef(c.oid), i.indisvalid, i.indisready FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public' ORDER BY 1
"""
DATABASES = "SELECT datname FROM pg_database ORDER BY 1"
SETTINGS = """
SELECT 'file', name, setting FROM pg_file_settings WHERE sourcefile ~ 'auto.conf'
UNION ALL SELECT 'in force', name, setting FROM pg_settings WHERE source = 'configuration file' AND name NOT IN ('port')
UNION ALL SELECT 'entry', setrole::text || '/' || setdatabase::text, setconfig::text FROM pg_db_role_setting ORDER BY 1, 2
"""
QUICK: dict[str, Any] = {"budget_s": 240.0, "guards": []}
SWITCHED_NOISE = EASY_NOISE | {"metric": "value", "clock": None, "round_s": 6.0}
"""So long a round is said to be that the budget has a first look at which a clear effect is seen."""


@dataclass(frozen=True)
class Kind:
    """A target, what is tried on it, and how it is read."""

    name: str
    change: dict[str, Any]
    measurement: dict[str, Any]
    noise: dict[str, Any]
    read: Callable[[], Awaitable[Any]]

    @property
    def host(self) -> str:
        return f"for-{self.name}"

    @property
    def request(self) -> dict[str, Any]:
        return {"change": self.change, "measurement": self.measurement, "noise": self.noise} | QUICK


@asynccontextmanager
async def all_kinds(folder: Path, server: PostgresServer) -> AsyncIterator[tuple[dict[str, Kind], dict[str, str]]]:
    """The kinds by name, and the environment of what works on them. The registry stands in `folder`."""
    furnish(folder)
    shutil.copy(folder / "etc" / "app.conf", folder / "in-force.conf")
    database = (await server.new_database()).rpartition("/")[2]
    connection = await server.connect(database)
    running = subprocess.Popen([sys.executable, "-c", RUNNING, str(folder / "gc")], stdout=subprocess.PIPE, text=True)
    try:
        for statement in TABLES:
            await connection.execute(statement)
        assert running.stdout is not None and await asyncio.to_thread(running.stdout.readline) == "ready\n"
        registry = REGISTRY.format(folder=folder, python=sys.executable, pid=running.pid, dsn_env=DSN_ENV, history_env=HISTORY_ENV)
        (folder / "perfwright.toml").write_text(registry)
        (folder / "programs").mkdir()
        for program in Path("/usr/bin").iterdir():
            if program.name != "valgrind":  # whose counts take longer than all the rest
                (folder / "programs" / program.name).symlink_to(program)
        made = _kinds(folder, server, database, connection)
        yield (
            {kind.name: kind for kind in made},
            {DSN_ENV: server.dsn(database), HISTORY_ENV: await server.new_database(), "PATH": str(folder / "programs")},
        )
    finally:
        running.kill()
        await asyncio.to_thread(running.communicate)
        await connection.execute("ALTER SYSTEM RESET ALL")
        await connection.fetchval("SELECT pg_reload_conf()")
        await connection.close()


def _kinds(folder: Path, server: PostgresServer, database: str, connection: asyncpg.Connection) -> tuple[Kind, ...]:
    (folder / "pgpass").write_text(f"127.0.0.1:{server.port}:*:{USER}:{PASSWORD}\n")
    (folder / "pgpass").chmod(0o600)
    psql = ["env", f"PGPASSFILE={folder}/pgpass", str(server.programs / "psql"), "-h", "127.0.0.1", "-p", str(server.port), "-U", USER]
    psql += ["-d", database, "-XAtc"]
    python = [sys.executable, "-I", "-S", "-c"]
    patch = f"--- a/work.py\n+++ b/work.py\n@@ -1,3 +1,3 @@\n \n-{SLOW}\n+{FAST}\n total = 0\n"
    assert SLOW in SOURCE and PROGRAM
    return (
        _switched(
            "file",
            {"kind": "file", "path": "app.conf", "replacements": [{"find": "cost = 20", "replace": "cost = 10"}]},
            [*python, PROBE_FILE, str(folder / "in-force.conf")],
            lambda: asyncio.to_thread(_files, folder),
        ),
        _benchmark(
            "launch",
            {"kind": "command", "environment": {"WORK": "150_000"}},
            [sys.executable, str(folder / "program.py")],
            lambda: asyncio.to_thread(_launched, folder),
        ),
        _benchmark("patch", {"kind": "patch", "patch": patch}, [sys.executable, "work.py"], lambda: asyncio.to_thread(_repository, folder)),
        _switched(
            "interpreter",
            {"kind": "interpreter", "gc_thresholds": [50_000, 20, 30]},
            [*python, PROBE_COLLECTOR, str(folder / "gc")],
            lambda: asyncio.to_thread(_collector, folder),
        ),
        _switched(
            "sql",
            {"kind": "sql", "create": "CREATE INDEX CONCURRENTLY by_customer ON orders (customer)", "lock_timeout_s": 5.0},
            [*psql, COST_OF_INDEX],
            lambda: _rows(connection, INDEXES, DATABASES),
        ),
        _switched(
            "settings",
            {"kind": "settings", "name": "work_mem", "value": "9MB"},
            [*psql, COST_OF_SETTING],
            lambda: _rows(connection, SETTINGS),
        ),
    )


def _switched(name: str, change: dict[str, Any], probe: list[str], read: Callable[[], Awaitable[Any]]) -> Kind:
    """Each round applies and undoes it again, so that kills fall into that too."""
    return Kind(name, change, {"kind": "switched", "probe": probe, "burn_in_s": 0.0, "probes_per_block": 1}, SWITCHED_NOISE, read)


def _benchmark(name: str, change: dict[str, Any], command: list[str], read: Callable[[], Awaitable[Any]]) -> Kind:
    return Kind(name, change, {"kind": "benchmark", "command": command}, EASY_NOISE | {"round_s": 6.0}, read)


def _files(folder: Path) -> Any:
    """Every file of the folder with bytes, mode and owner, and what was reloaded."""
    found = {one.name: (one.read_bytes(), one.stat().st_mode, one.stat().st_uid) for one in sorted((folder / "etc").iterdir())}
    assert CONFIGURATION
    return found, (folder / "in-force.conf").read_bytes()


def _launched(folder: Path) -> Any:
    """What the target's command has in its environment when it is launched now, told by the kernel."""
    command, environment = launched_as(
        folder / ".perfwright", "launch", (sys.executable, str(folder / "program.py")), {"PATH": "/usr/bin:/bin", "HELD_MB": "1"}
    )
    while True:
        started = subprocess.Popen([*command], env=environment, stdout=subprocess.DEVNULL)
        try:
            text, words = Path(f"/proc/{started.pid}/environ").read_bytes(), Path(f"/proc/{started.pid}/cmdline").read_bytes()
        finally:
            started.kill()
            started.wait()
        if text and words:  # else it had ended before it was looked at
            return sorted(text.split(b"\0")), words


def _repository(folder: Path) -> Any:
    """Refs, checkout, index, worktrees. A branch's and a worktree's mark differ from change to change."""

    def git(*words: str) -> str:
        told = subprocess.run(["git", *words], cwd=folder / "repository", check=True, capture_output=True, text=True).stdout
        return re.sub(r"(perfwright/|change-)[0-9a-f]{16}", r"\1MARK", told)

    root = folder / ".perfwright" / "worktrees"
    aside = sorted(re.sub(r"change-[0-9a-f]{16}", "MARK", one.name) for one in root.iterdir()) if root.is_dir() else []
    states = (git("for-each-ref"), git("rev-parse", "HEAD"), git("status", "--porcelain"), git("worktree", "list", "--porcelain"))
    return states, (folder / "repository" / "work.py").read_bytes(), aside


def _collector(folder: Path) -> Any:
    """Told by the program itself."""
    with socket.socket(socket.AF_UNIX) as asked:
        asked.settimeout(60)
        asked.connect(str(folder / "gc"))
        with asked.makefile() as answer:
            return json.loads(answer.read())


_READING = asyncio.Lock()


async def _rows(connection: asyncpg.Connection, *queries: str) -> Any:
    async with _READING:  # one connection reads for two targets
        return [[tuple(row) for row in await connection.fetch(query)] for query in queries]
