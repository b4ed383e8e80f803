"""The shop with its database, brought up together."""

import json
import os
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.database import data
from lab.starting import ROOT
from perfwright.models.registry import parse_registry
from tests.lab.processes import ended, until
from tests.postgres import server_programs

pytestmark = pytest.mark.skipif(server_programs() is None, reason="PostgreSQL is not installed")
OPTIONS = ("--orders", "2000", "--database", "--load", "--rate", "5", "--duration", "60")


@pytest.fixture
def up(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    command = [sys.executable, "-m", "lab.up", *OPTIONS, "--registry", str(tmp_path / "perfwright.toml")]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        yield process, json.loads(process.stdout.readline())
        process.kill()


def _asked(told: dict[str, Any], path: str, **query: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{told['url']}{path}?{urllib.parse.urlencode(query)}", timeout=10) as reply:
        return json.load(reply)


def test_the_shop_uses_its_database_and_both_end_with_their_starter(up, tmp_path: Path) -> None:
    """The registry names the database as the shop's, the shop answers from it, and SIGKILL of the starter leaves nothing."""
    process, told = up
    assert set(told["environment"]) == {"SHOP_DB_DSN"}
    registry = parse_registry((tmp_path / "perfwright.toml").read_text())
    shop, database = registry.target("shop"), registry.target("shop-db")
    assert (database.kind, database.dsn_env, database.environment, database.allow) == ("postgresql", "SHOP_DB_DSN", "lab", ("analyze",))
    assert shop.database == "shop-db" and "target/shop-db" in shop.resources
    assert told["environment"]["SHOP_DB_DSN"] not in (tmp_path / "perfwright.toml").read_text()

    account = _asked(told, "/account", email=data.email(7).upper())
    assert account["email"] == data.email(7)
    assert len(_asked(told, "/account/orders/newest")["orders"]) == 20
    order = _asked(told, "/account/orders/77")
    assert order["total_cents"] == sum(line["quantity"] * line["unit_price_cents"] for line in order["lines"])
    assert sum(city["orders"] for city in _asked(told, "/reports/turnover", carrier=data.IMPORTED_CARRIER)["cities"]) == 1_200
    assert _asked(told, "/search", text=data.word(7)[1:-1])["products"]

    pids = [told["pid"], *told["pids"].values()]
    assert set(told["pids"]) == {"database", "database-keeper", "database-load", "load"}
    assert not any(ended(pid) for pid in pids)
    process.send_signal(signal.SIGKILL)
    assert until(lambda: all(ended(pid) for pid in pids))
    assert until(lambda: not Path(told["database"]["log"]).parent.exists())


def test_a_database_that_ends_ends_the_lab(up) -> None:
    """When the database dies, so does the rest, with a status that says so."""
    process, told = up
    os.kill(told["pids"]["database-keeper"], signal.SIGKILL)
    assert process.wait(20) == 1
    assert until(lambda: ended(told["pid"]) and ended(told["pids"]["database"]))
