"""Private MariaDB servers for tests: their own folder, a free port, stopped by their pid when the block or session ends."""

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.made_once import made_once
from tests.needs import in_ci
from tests.postgres import PASSWORD, free_port

DATABASE, USER, POOR_USER = "shop", "perfwright", "poor"
READY_S = 60.0
INSTALLING = Path(tempfile.gettempdir()) / "perfwright-mysql-installing"
SERVER = "/usr/sbin/mariadbd"
BASIC = {
    "innodb-buffer-pool-size": "32M",
    "innodb-flush-log-at-trx-commit": "0",
    "innodb-log-file-size": "16M",
    "slow-query-log": "ON",
    "slow-query-log-file": "slow.log",
    "long-query-time": "0",
    "log-slow-verbosity": "query_plan,explain",
}
SHOP = (
    "CREATE TABLE customers (id INT PRIMARY KEY, name VARCHAR(40) NOT NULL, email VARCHAR(60) NOT NULL, country CHAR(2), created DATETIME,"
    " KEY by_name (name), KEY by_created (created), KEY by_country (country) IGNORED)",
    "INSERT INTO customers SELECT seq, CONCAT('name', seq), CONCAT('user', seq, '@example.com'), ELT(1 + seq % 5, 'de', 'fr', 'it', 'es', 'pl'),"
    " '2024-01-01' + INTERVAL seq MINUTE FROM seq_1_to_20000",
    "CREATE TABLE orders (id INT PRIMARY KEY, customer_id INT NOT NULL, status TINYINT, total DECIMAL(10, 2), note VARCHAR(100),"
    " created DATETIME, KEY by_status_total (status, total))",
    "INSERT INTO orders SELECT seq, 1 + seq % 20000, IF(seq % 30 = 0, 7, seq % 3), seq % 977, CONCAT('note ', seq % 1009), '2024-01-01' + INTERVAL seq MINUTE"
    " FROM seq_1_to_60000",
    "CREATE TABLE payments (id INT PRIMARY KEY, order_id INT, FOREIGN KEY of_order (order_id) REFERENCES orders (id))",
    "CREATE VIEW big_orders AS SELECT * FROM orders WHERE total > 900",
    "ANALYZE TABLE customers, orders",
)
_SHARED: dict[tuple[tuple[str, str], ...], "MysqlServer"] = {}
"""Settings -> server."""


@dataclass(frozen=True)
class MysqlServer:
    """A server that runs, with the database `shop`, a user who may see everything and one who may only read the tables."""

    port: int
    folder: Path
    process: "subprocess.Popen[bytes]"

    def dsn(self, *, user: str = USER, password: str = PASSWORD, database: str = DATABASE) -> str:
        return f"mysql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def run(self, *statements: str, database: str | None = DATABASE) -> list[tuple[Any, ...]]:
        """As root; the rows of the last statement."""
        rows: list[tuple[Any, ...]] = []
        connection = pymysql.connect(unix_socket=str(self.folder / "socket"), user="root", database=database, autocommit=True)
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                    rows = list(cursor.fetchall())
        finally:
            connection.close()
        return rows

    def sessions_of(self, user: str = USER) -> list[tuple[Any, ...]]:
        return self.run(f"SELECT id, command, info FROM information_schema.processlist WHERE user = '{user}'", database=None)


@contextmanager
def start_mysql(settings: Mapping[str, str]) -> Iterator[MysqlServer]:
    """A fresh MariaDB for the time of the block; skipped (in CI: failed) where it is not installed."""
    if not Path(SERVER).exists() or shutil.which("mariadb-install-db") is None:
        (pytest.fail if in_ci() else pytest.skip)("MariaDB is not installed (Debian: mariadb-server)")
    folder = Path(tempfile.mkdtemp(prefix="perfwright-mysql-"))
    user = "nobody" if os.geteuid() == 0 else ""
    if user:
        shutil.chown(folder, user)
    folder.chmod(0o755)
    as_user = [f"--user={user}"] if user else []
    try:
        made = made_once("mysql", Path(tempfile.gettempdir()), lambda place: _install(place, as_user))
        subprocess.run(["cp", "-a", made / "data", folder / "data"], check=True, capture_output=True, timeout=READY_S)
        port = free_port()
        places = {
            "datadir": folder / "data",
            "socket": folder / "socket",
            "pid-file": folder / "pid",
            "bind-address": "127.0.0.1",
            "port": port,
        }
        options = [f"--{name}={value}" for name, value in (BASIC | dict(settings) | places).items()]
        dying = [program, "--pdeathsig", "TERM"] if (program := shutil.which("setpriv")) else []
        with (folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [*dying, SERVER, "--no-defaults", *as_user, *options], cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        server = MysqlServer(port, folder, process)
        try:
            _wait_until_ready(server)
            _prepare(server)
            yield server
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(READY_S)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _install(folder: Path, as_user: list[str]) -> None:
    """A data folder as mariadb-install-db makes it, for servers to start on copies of it."""
    if as_user:
        shutil.chown(folder, as_user[0].partition("=")[2])
    folder.chmod(0o755)
    places = [f"--datadir={folder / 'data'}", "--auth-root-authentication-method=normal", "--skip-test-db"]
    with INSTALLING.open("a") as turn:  # two at a time fail, of other test runs as well
        fcntl.flock(turn, fcntl.LOCK_EX)
        subprocess.run(["mariadb-install-db", "--no-defaults", *as_user, *places], check=True, capture_output=True, timeout=READY_S)


def _wait_until_ready(server: MysqlServer) -> None:
    deadline = time.monotonic() + READY_S
    # Its own words: pymysql leaves sockets open where it cannot connect.
    while "ready for connections" not in (written := (server.folder / "log").read_text()):
        if server.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"MariaDB did not start: {written[-2000:]}")
        time.sleep(0.02)


def _prepare(server: MysqlServer) -> None:
    server.run(f"CREATE DATABASE {DATABASE}", database=None)
    server.run(
        *SHOP,
        f"CREATE USER {USER}@localhost IDENTIFIED BY '{PASSWORD}'",
        f"GRANT SELECT, INSERT, UPDATE, DELETE, SHOW VIEW, PROCESS ON *.* TO {USER}@localhost",
        f"CREATE USER {POOR_USER}@localhost IDENTIFIED BY '{PASSWORD}'",
        f"GRANT SELECT ON {DATABASE}.* TO {POOR_USER}@localhost",
    )


def _shared(session: pytest.Session, settings: Mapping[str, str]) -> MysqlServer:
    """One server per test process, whichever modules import the fixtures."""
    key = tuple(sorted(settings.items()))
    if key not in _SHARED:
        running = ExitStack()
        _SHARED[key] = running.enter_context(start_mysql(settings))
        session.addfinalizer(running.close)
    return _SHARED[key]


@pytest.fixture(scope="session")
def mariadb(request: pytest.FixtureRequest) -> MysqlServer:
    """MariaDB with performance_schema."""
    consumers = {f"performance-schema-consumer-events-statements-{name}": "ON" for name in ("current", "history")}
    return _shared(request.session, {"performance-schema": "ON"} | consumers)


@pytest.fixture(scope="session")
def plain_mariadb(request: pytest.FixtureRequest) -> MysqlServer:
    """MariaDB as it comes: performance_schema is off; and no slow log."""
    return _shared(request.session, {"slow-query-log": "OFF"})
