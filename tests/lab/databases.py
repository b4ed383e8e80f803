"""The lab's database as tests start it, and its plans."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy.dialects.postgresql import asyncpg as dialect

from lab.database.statements import Query
from lab.starting import ROOT
from tests.lab.processes import ended

Node = dict[str, Any]


def start(*options: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lab.database", *options]
    own = {name: value for name, value in os.environ.items() if name not in ("SHOP_DB_DSN", "LAB_PROBLEMS")}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, text=True, env={**own, **(environment or {})}, **pipes)


def ready(process: subprocess.Popen[str]) -> dict[str, Any]:
    line = process.stdout.readline()
    assert line, process.communicate()
    return json.loads(line)


@contextmanager
def database(*options: str, environment: Mapping[str, str] | None = None) -> Iterator[dict[str, Any]]:
    """What the database told when it was ready; it ends with the block."""
    with running(start(*options, environment=environment)) as told:
        yield told


@contextmanager
def running(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """The same for one that was started before; its input is closed at the end, and nothing of it may be left then."""
    told: dict[str, Any] = {}
    try:
        told = ready(process)
        yield told
    finally:
        _, said = process.communicate(timeout=30)
        assert process.returncode == 0, said
        assert not told.get("log") or not Path(told["log"]).parent.exists()
        assert ended(told["pids"]["keeper"])


def sql(statement: Query) -> str:
    """With its values written in."""
    return str(statement.compile(dialect=dialect.dialect(), compile_kwargs={"literal_binds": True}))


async def plan(connection: asyncpg.Connection, statement: str, *values: Any) -> dict[str, Any]:
    """The executed plan, as EXPLAIN returns it."""
    return json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", *values))[0]


def nodes(tree: Node) -> Iterator[Node]:
    yield tree
    for child in tree.get("Plans", ()):
        yield from nodes(child)


def limit_children(root: Node) -> Iterator[tuple[Node, Node]]:
    return ((node, node["Plans"][0]) for node in nodes(root) if node["Node Type"] == "Limit")


def removed_share(node: Node) -> float:
    """Of the rows that a scan read, those that its filter threw away."""
    removed = node.get("Rows Removed by Filter", 0)
    return removed / max(1, removed + node["Actual Rows"])


def on_disk(node: Node) -> bool:
    return any(one.get("Sort Space Type") == "Disk" for one in (node, *node.get("Workers", ())))


def off_by(node: Node) -> float:
    """How many times the rows differ from what was planned; below 1 counts as one row."""
    planned, actual = max(1, node["Plan Rows"]), max(1, node["Actual Rows"])
    return max(planned / actual, actual / planned)
