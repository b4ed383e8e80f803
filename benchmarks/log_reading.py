"""Reading a PostgreSQL jsonlog: megabytes a second of one core, and the memory it takes.

The log is written by a seeded generator in the shape of real ones (PostgreSQL 15, log_min_duration_statement = 0): short statements with
literals, an ORM's with quoted names, prepared statements in three lines with parameters, some analytical ones with plans of auto_explain,
connections, errors, temporary files; 5,000 shapes, and every literal another. Read in a process of its own with what the activity does
besides: blocks from the file, checkpoints, the digest at the end.

    python -m benchmarks.log_reading --megabytes 2000        # and of another size
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measured import Measured
from benchmarks.running import ROOT, environment

MEGABYTES = 300
LIMIT_MB_PER_S = 60.0
LIMIT_BYTES = 500_000_000
TIMEOUT_S = 240
LETTERS = "abcdefghijklm"
TABLES = [f"{word}_{a}{b}" for word in ("orders", "items", "customers", "payments", "events") for a in LETTERS for b in LETTERS]
"""Told apart by letters: fingerprints leave numbers in names out."""
WORDS = ("blue", "it's", "Grüße", "x@example.com", "2024-05-17", "O'Brien", "large box", "north", "7f3a-11", "none")
READ_BYTES = 1 << 20
CHECKPOINT_EVERY_BYTES = 256 << 20


def quoted(chance: random.Random) -> str:
    return "'" + chance.choice(WORDS).replace("'", "''") + str(chance.randrange(100_000)) + "'"


def statements(chance: random.Random) -> Iterator[list[tuple[str, str]]]:
    """(message, detail) of the lines that one call writes."""
    while True:
        table, number, kind = chance.choice(TABLES), chance.randrange(10_000_000), chance.random()
        took = f"{chance.lognormvariate(-1, 1.5):.3f}"
        if kind < 0.20:
            text = (
                f'SELECT "{table}"."id", "{table}"."name", "{table}"."created_at", "{table}"."state" FROM "{table}" '
                f'WHERE ("{table}"."owner_id" = {number} AND "{table}"."name" = {quoted(chance)}) ORDER BY "{table}"."id" DESC LIMIT 21'
            )
            yield [(f"duration: {took} ms  statement: {text}", "")]
        elif kind < 0.35:
            yield [(f"duration: {took} ms  statement: UPDATE {table} SET total = total + -{number % 5000} WHERE id = {number};", "")]
        elif kind < 0.45:
            text = f"INSERT INTO {table} (a, b, c, d, at) VALUES ({number}, {quoted(chance)}, {quoted(chance)}, NULL, CURRENT_TIMESTAMP)"
            yield [(f"duration: {took} ms  statement: {text}", "")]
        elif kind < 0.55:
            ids = ", ".join(str(chance.randrange(1_000_000)) for _ in range(chance.randrange(2, 12)))
            yield [(f"duration: {took} ms  statement: SELECT id, name FROM {table} WHERE id IN ({ids}) AND state <> {quoted(chance)}", "")]
        elif kind < 0.95:
            text = f"SELECT t.id, t.total, c.name FROM {table} t JOIN customers c ON c.id = t.customer_id WHERE t.at > $1 AND c.email = $2"
            detail = f"parameters: $1 = '2024-05-{number % 28 + 1:02} 10:00:00+00', $2 = {quoted(chance)}"
            yield [
                (f"duration: 0.0{number % 90 + 10} ms  parse S_{number % 50}: {text}", ""),
                (f"duration: 0.0{number % 90 + 10} ms  bind S_{number % 50}: {text}", detail),
                (f"duration: {took} ms  execute S_{number % 50}: {text}", detail),
            ]
        elif kind < 0.97:
            text = (
                f"SELECT c.region, date_trunc('day', t.at) AS day, count(*), sum(t.total) FROM {table} t JOIN customers c "
                f"ON c.id = t.customer_id WHERE t.at BETWEEN {quoted(chance)} AND now() - interval '{number % 40} days' "
                f"AND t.total > {number / 100} GROUP BY 1, 2 HAVING count(*) > {number % 9} ORDER BY 4 DESC LIMIT {number % 100}"
            )
            yield [(f"duration: 12.345 ms  plan:\n{plan(text, table)}", ""), (f"duration: 12.567 ms  statement: {text}", "")]
        elif kind < 0.99:
            yield [("connection authorized: user=shop database=shop application_name=web", "")]
        else:
            yield [(f'temporary file: path "base/pgsql_tmp/pgsql_tmp{number}.0", size {number}', "")]


def plan(text: str, table: str) -> str:
    scan = {"Node Type": "Seq Scan", "Relation Name": table, "Startup Cost": 0.0, "Total Cost": 432.11, "Plan Rows": 106, "Plan Width": 36}
    join = {"Node Type": "Hash Join", "Join Type": "Inner", "Total Cost": 900.0, "Plans": [scan, scan | {"Relation Name": "customers"}]}
    return json.dumps({"Query Text": text, "Plan": {"Node Type": "Aggregate", "Strategy": "Hashed", "Plans": [join]}}, indent=2)


def write_log(path: Path, megabytes: int, seed: int = 7) -> None:
    """A jsonlog of about that size."""
    chance = random.Random(seed)
    written, number = 0, 0
    calls = statements(chance)
    with path.open("w", encoding="utf-8") as file:
        while written < megabytes * 1_000_000:
            session = f"6b074b5a.{chance.randrange(40):x}"
            lines = []
            for message, detail in next(calls):
                number += 1
                second = number // 2000
                at = f"2024-05-17 {second // 3600 % 24:02}:{second // 60 % 60:02}:{second % 60:02}.{number // 2 % 1000:03} UTC"
                told = f',"detail":{json.dumps(detail, ensure_ascii=False)}' if detail else ""
                lines.append(
                    f'{{"timestamp":"{at}","user":"shop","dbname":"shop","pid":32025,"remote_host":"10.1.2.3","remote_port":36544,'
                    f'"session_id":"{session}","line_num":{number},"ps":"SELECT","session_start":"2024-05-17 00:00:00 UTC",'
                    f'"vxid":"3/{number}","txid":0,"error_severity":"LOG","message":{json.dumps(message, ensure_ascii=False)}{told},'
                    f'"application_name":"web","backend_type":"client backend","query_id":0}}\n'
                )
            text = "".join(lines)
            written += len(text)
            file.write(text)


def read_log(path: Path) -> dict[str, float]:
    """In this process: read it all, and what it took."""
    from perfwright.analysis.server_log.entries import format_of
    from perfwright.analysis.server_log.reader import LogReader
    from perfwright.analysis.statements.stored import encode

    began, used = time.perf_counter(), cpu_s()
    reader = LogReader(database="shop", own_application="perfwright")
    checkpoint_bytes, due = 0, CHECKPOINT_EVERY_BYTES
    with path.open("rb", buffering=0) as file:
        reader.begin_file(path.name, format_of(file.read(10_000)) or "stderr")
        file.seek(0)
        while data := file.read(READ_BYTES):
            reader.feed(path.name, data)
            if reader.read_bytes >= due:
                due += CHECKPOINT_EVERY_BYTES
                checkpoint_bytes = len(reader.state())
    reader.end_file(path.name)
    read_s = cpu_s() - used
    digest = reader.digest()
    return {
        "bytes": reader.read_bytes,
        "lines": digest.lines,
        "calls": sum(one.calls for one in digest.statements),
        "shapes": len(digest.statements),
        "read_s": read_s,
        "wall_s": time.perf_counter() - began,
        "checkpoint_bytes": checkpoint_bytes,
        "digest_bytes": len(encode(digest)),
        "all_s": cpu_s() - used,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def measure() -> list[Measured]:
    return run(MEGABYTES)


def run(megabytes: int) -> list[Measured]:
    with tempfile.TemporaryDirectory(prefix="perfwright-") as folder:
        path = Path(folder, "postgresql.json")
        write_log(path, megabytes)
        command = [sys.executable, "-m", "benchmarks.log_reading", "--read", str(path)]
        ran = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=TIMEOUT_S)
    if ran.returncode:
        raise RuntimeError(f"reading the log ended with exit code {ran.returncode}: {ran.stderr[-500:]}")
    told = json.loads(ran.stdout.splitlines()[-1])
    speed = told["bytes"] / 1e6 / told["read_s"]
    size, calls = f"{told['bytes'] / 1e6:,.0f} MB, {told['lines']:,} lines", f"{told['calls']:,} calls of {told['shapes']:,} shapes"
    state, digest = f"state {told['checkpoint_bytes'] / 1e6:.1f} MB", f"digest {told['digest_bytes'] / 1e6:.1f} MB"
    return [
        Measured(
            "reading a jsonlog, of one core",
            speed,
            "MB/s",
            LIMIT_MB_PER_S,
            at_least=True,
            note=f"{size}, {calls}, {told['wall_s']:.1f} s in all",
        ),
        Measured("its peak memory", told["peak_bytes"] / 1e6, "MB", LIMIT_BYTES / 1e6, note=f"{state}, {digest}"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.log_reading", description="Speed and memory of reading a PostgreSQL jsonlog."
    )
    parser.add_argument("--megabytes", type=int, default=MEGABYTES, help=f"size of the log (default: {MEGABYTES})")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        print(json.dumps(read_log(given.read)), flush=True)
        return 0
    found = run(given.megabytes)
    for one in found:
        print(f"{one.name:34}{one.value:10.1f} {one.unit:5} {one.verdict:7} {one.note}")
    return 0 if all(one.passed for one in found) else 1


if __name__ == "__main__":
    os.environ.setdefault("PYTHONHASHSEED", "0")
    sys.exit(main())
