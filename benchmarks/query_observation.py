"""What a PostgreSQL server pays for being observed by QueryPerformanceAnalysis, apart from EXPLAIN ANALYZE.

The collection runs in a process of its own, as in a host worker on the server's machine: counters at both ends of the window, sessions
once a second, the log as it grows, the catalog. pgbench loads the server without a pause, and the collection is held (SIGSTOP) and let go
in turns of a few seconds:

    without | with | with | without || with | without | without | with || ...

Every transaction is in pgbench's log with its end, so that each turn has its own; each four turns give one ratio, in which what drifts
cancels out. What the collection does once per window (start, both readings, the end) is in no turn: that is counted instead, in a whole
window of the default length, by the CPU time of its processes and of the server's processes that serve it.
"""

import asyncio
import json
import math
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from temporalio.testing import ActivityEnvironment

from activities.artifacts import ArtifactStore
from activities.postgres import Postgres
from activities.postgres_log import PostgresLog
from benchmarks.measured import Measured
from benchmarks.turns import ends_of, kept, throughputs
from lab.starting import Program
from perfwright.models.database import DatabaseFacts
from perfwright.models.query_performance import QueryPerformanceRequest
from perfwright.models.query_steps import InspectDatabase, ObserveStatements, ReadCatalog, ReadLog, SampleActivity
from perfwright.models.target import Target
from tests.postgres import OBSERVED, PASSWORD, PostgresServer, server_programs, start_postgres

LIMIT = 0.01
"""Of the throughput, and of the machine."""
SCALE = 5
CLIENTS = 2
STATEMENTS = 3_000
"""Other statements in pg_stat_statements, whose counters are read as well: a server that runs for a while has thousands."""
TURN_S = 2.0
FOURS = int(os.environ.get("PERFWRIGHT_OBSERVATION_FOURS", "14"))
"""Ratios per mix."""
WARM_UP_S = 3.0
BUSY_LOG_S = 15.0
READY_S = 60.0
DSN = "PERFWRIGHT_BENCHMARK_DSN"
OBSERVER = "observer"
DATABASE = "bench"
MIXES = {"reads only (pgbench -S)": ("-S",), "single updates (pgbench -N)": ("-N",), "TPC-B-like (pgbench)": ()}
ONE_MIX = os.environ.get("PERFWRIGHT_OBSERVATION_MIX", "")
"""Part of a name: then nothing else is measured."""
SETTINGS = OBSERVED | {
    "logging_collector": "on",
    "log_destination": "jsonlog",
    "log_min_duration_statement": "100",
    "track_io_timing": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "1h",
    "autovacuum": "off",
}
"""As our own advice has it; the same on both sides."""


async def measure() -> list[Measured]:
    programs = server_programs()
    pgbench = shutil.which("pgbench", path=str(programs)) if programs else None
    if programs is None or pgbench is None:
        return [Measured("observation", None, "", note="PostgreSQL with pgbench is not installed (Debian: postgresql)")]
    with tempfile.TemporaryDirectory(prefix="perfwright-") as name, start_postgres(programs, SETTINGS) as server:
        bench = Bench(server, pgbench, Path(name))
        await bench.prepare()
        found = [] if ONE_MIX else [*await bench.one_window(), await bench.busy_log()]
        return found + [await bench.throughput(mix, options) for mix, options in MIXES.items() if ONE_MIX in mix]


class Bench:
    """A server with pgbench's tables, and a folder for what comes of it."""

    def __init__(self, server: PostgresServer, pgbench: str, folder: Path) -> None:
        self._server, self._pgbench, self._folder = server, pgbench, folder
        self._number = 0

    async def prepare(self) -> None:
        await self._execute("postgres", f"CREATE DATABASE {DATABASE}")
        making = [self._pgbench, "-i", "-q", "-s", str(SCALE), self._server.dsn(DATABASE)]
        await asyncio.to_thread(subprocess.run, making, check=True, capture_output=True, timeout=120)
        await self._execute(DATABASE, "CREATE EXTENSION pg_stat_statements", f"CREATE ROLE {OBSERVER} LOGIN PASSWORD '{PASSWORD}'")
        await self._execute(DATABASE, f"GRANT pg_monitor TO {OBSERVER}", *(distinct(number) for number in range(STATEMENTS)))

    async def one_window(self) -> list[Measured]:
        """A collection of the default length under the TPC-B-like load, whole: what it costs, counted."""
        window_s = QueryPerformanceRequest(target="benchmark").window_s
        with self._load((), window_s + 30), self._collection(window_s) as collection:
            began = time.monotonic()
            backends = asyncio.create_task(self._backends_cpu_s())
            told = await asyncio.to_thread(collection.end, window_s + READY_S)
            seconds = time.monotonic() - began
            backends_s = await stopped(backends)
        calls, ms = await self._observers_statements()
        capacity_s = seconds * (psutil.cpu_count() or 1)
        ours_s = float(told["cpu_s"])
        samples = f"{told['looks']} looks, {told['statements']} statements counted"
        return [
            Measured(
                "CPU of a whole window",
                (ours_s + backends_s) / capacity_s,
                "of the machine",
                LIMIT,
                note=f"{window_s:g} s window: collector {ours_s:.2f} s, its sessions on the server {backends_s:.2f} s; {samples}",
            ),
            Measured("statements of ours in it", calls, "", note=f"{ms:.0f} ms in the server, {ms / 1000 / seconds:.3%} of one core"),
        ]

    async def _observers_statements(self) -> tuple[int, float]:
        """How many, and their milliseconds."""
        connection = await self._server.connect(DATABASE)
        try:
            row = await connection.fetchrow(
                "SELECT sum(calls)::int8, sum(total_exec_time + total_plan_time) FROM pg_stat_statements"
                f" WHERE userid = (SELECT oid FROM pg_roles WHERE rolname = '{OBSERVER}')"
            )
        finally:
            await connection.close()
        assert row is not None, "an aggregate has one row"
        return int(row[0]), float(row[1])

    async def busy_log(self) -> Measured:
        """The same where every statement is logged, which is the user's own choice: told, not limited."""
        await self._execute(DATABASE, "ALTER SYSTEM SET log_min_duration_statement = 0", "SELECT pg_reload_conf()")
        with self._load(MIXES["reads only (pgbench -S)"], BUSY_LOG_S + 30), self._collection(BUSY_LOG_S) as collection:
            told = await asyncio.to_thread(collection.end, BUSY_LOG_S + READY_S)
        await self._execute(DATABASE, "ALTER SYSTEM RESET log_min_duration_statement", "SELECT pg_reload_conf()")
        share = float(told["cpu_s"]) / BUSY_LOG_S / (psutil.cpu_count() or 1)
        rate = f"{told['log_bytes'] / 1e6 / BUSY_LOG_S:.1f} MB/s, {told['log_lines'] / BUSY_LOG_S:,.0f} lines/s"
        return Measured("every statement logged: CPU", share, "of the machine", note=f"{rate} read; set log_statement_sample_rate")

    async def throughput(self, mix: str, options: Sequence[str]) -> Measured:
        """pgbench with the collection let go and held in turns."""
        turns: list[tuple[float, float, bool]] = []
        total_s = WARM_UP_S + 4 * FOURS * TURN_S
        with self._load(options, total_s + 60) as log, self._collection(total_s + 60) as collection:
            await asyncio.sleep(WARM_UP_S)
            for four in range(FOURS):
                for observed in (False, True, True, False) if four % 2 == 0 else (True, False, False, True):
                    collection.let_go() if observed else collection.hold()
                    began = time.time()
                    await asyncio.sleep(TURN_S)
                    turns.append((began, time.time(), observed))
            collection.let_go()
            await asyncio.sleep(1)
        rates = throughputs(ends_of(log), turns)
        found = kept(rates, LIMIT)
        per_s = statistics.median(lacking for _, lacking in rates)
        return found.measured(f"throughput kept, {mix}", f"{len(rates)} ratios of {4 * TURN_S:g} s; {per_s:,.0f} transactions/s without")

    @contextmanager
    def _load(self, options: Sequence[str], seconds: float) -> Iterator[Path]:
        """pgbench, for the time of the block; yields the folder with its logs of transactions."""
        self._number += 1
        log = self._folder / f"load-{self._number}"
        log.mkdir()
        command = [self._pgbench, "-n", *options, "-c", str(CLIENTS), "-j", str(CLIENTS), "-T", str(math.ceil(seconds)), "-l"]
        with (log / "told").open("wb") as told:
            load = subprocess.Popen(
                [*command, f"--log-prefix={log}/transactions", self._server.dsn(DATABASE)],
                stdout=told,
                stderr=told,
                stdin=subprocess.DEVNULL,
            )
        try:
            time.sleep(1)
            if load.poll() is not None:
                raise RuntimeError(f"pgbench ended: {(log / 'told').read_text()[-500:]}")
            yield log
        finally:
            load.terminate()
            load.wait(30)

    @contextmanager
    def _collection(self, seconds: float) -> Iterator["Collection"]:
        self._number += 1
        folder = self._folder / f"collection-{self._number}"
        folder.mkdir()
        collection = Collection(self._server.dsn(DATABASE, user=OBSERVER), seconds, folder)
        try:
            collection.begin()
            yield collection
        finally:
            collection.stop()

    async def _backends_cpu_s(self) -> float:
        """CPU time of the server's processes that serve us, looked at until it is cancelled: short ones as they were seen last."""
        served = ServedBy(self._server.folder / "data" / "postmaster.pid")
        try:
            while True:
                served.look()
                await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            return sum(served.used_s.values())

    async def _execute(self, database: str, *statements: str) -> None:
        connection = await self._server.connect(database)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()


class ServedBy:
    """The server's processes for the observer's sessions, and the CPU time that each had used when it was seen last."""

    def __init__(self, pid_file: Path) -> None:
        postmaster = pid_file.read_text().split()[0]
        self._children = Path(f"/proc/{postmaster}/task/{postmaster}/children")
        self._others: set[int] = set()
        self.used_s: dict[int, float] = {}

    def look(self) -> None:
        for pid in {int(word) for word in self._children.read_text().split()} - self._others:
            try:
                title = Path(f"/proc/{pid}/cmdline").read_bytes()
                if f" {OBSERVER} ".encode() in title:
                    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                    self.used_s[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
                elif title.startswith(b"postgres: "):
                    self._others.add(pid)  # a new one does not yet say whom it serves
            except (FileNotFoundError, ProcessLookupError):
                continue


async def stopped(task: "asyncio.Task[float]") -> float:
    task.cancel()
    return await task


def distinct(number: int) -> str:
    """A statement of a shape of its own, for numbers below 4096."""
    return "SELECT " + " + ".join("abs(1)" if number >> bit & 1 else "sign(1)" for bit in range(12))


class Collection:
    """The collecting process and what it started; it begins when it is told to, so that its imports are not counted."""

    def __init__(self, dsn: str, seconds: float, folder: Path) -> None:
        self._folder = folder
        self._program = Program([sys.executable, "-m", "benchmarks.query_observation", str(seconds), str(folder)], {DSN: dsn})

    def begin(self) -> None:
        """Returns once both the first reading is taken and the log is being followed."""
        self._program.first_line(READY_S)
        os.kill(self._program.pid, signal.SIGUSR1)
        deadline = time.monotonic() + READY_S
        while not (list(self._folder.glob("*/*/*-statements/start.jsonl")) and list(self._folder.glob("*/*/*-log/checkpoint.json"))):
            if time.monotonic() > deadline or self._program.returncode() is not None:
                raise RuntimeError("the collection did not begin")
            time.sleep(0.02)

    def end(self, timeout_s: float) -> dict[str, Any]:
        """Wait for it; what it tells of itself."""
        deadline = time.monotonic() + timeout_s
        while not (told := self._folder / "told.json").exists():
            if time.monotonic() > deadline or self._program.returncode() is not None:
                raise RuntimeError("the collection did not end")
            time.sleep(0.05)
        found: dict[str, Any] = json.loads(told.read_text())
        return found

    def hold(self) -> None:
        self._signal(signal.SIGSTOP)

    def let_go(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        self.let_go()
        self._program.stop()

    def _signal(self, number: signal.Signals) -> None:
        try:
            process = psutil.Process(self._program.pid)
            processes = [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for one in processes:
            try:
                one.send_signal(number)
            except psutil.NoSuchProcess:
                continue


async def collect(seconds: float, folder: Path) -> None:
    """What a run does between its preflight and its first gate, in this process."""
    target = Target(name="benchmark", kind="postgresql", environment="lab", dsn_env=DSN)
    store, state, run = ArtifactStore(f"file://{folder}/store"), folder / "state", ActivityEnvironment().run
    activities, reader = Postgres(store, os.environ, state), PostgresLog(store, state, os.environ)
    go = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, go.set)
    print("ready", flush=True)
    await go.wait()
    before = cpu_s()
    facts: DatabaseFacts = await run(activities.inspect_database, InspectDatabase(target=target))
    prefix = "benchmark/run/1"
    counted, sampled, logged, _ = await asyncio.gather(
        run(activities.observe_statements, ObserveStatements(target=target, duration_s=seconds, artifact_prefix=prefix)),
        run(activities.sample_activity, SampleActivity(target=target, duration_s=seconds, artifact_prefix=prefix)),
        run(
            reader.read_log,
            ReadLog(target=target, folder=facts.log_folder, log_format=facts.log_format, follow_s=seconds, artifact_prefix=prefix),
        ),
        run(activities.read_catalog, ReadCatalog(target=target, artifact_prefix=prefix)),
    )
    told = {
        "cpu_s": cpu_s() - before,
        "looks": sampled.samples,
        "statements": counted.statements,
        "log_bytes": logged.read_bytes,
        "log_lines": logged.lines,
    }
    part = folder / "told.part"
    part.write_text(json.dumps(told))
    part.rename(folder / "told.json")


def cpu_s() -> float:
    """Of this process and all that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    asyncio.run(collect(float(sys.argv[1]), Path(sys.argv[2])))
