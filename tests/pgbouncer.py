"""A private pgbouncer in front of a test's PostgreSQL: its own folder, a free port, stopped by its pid when the block ends."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.needs import require
from tests.postgres import PASSWORD, USER, PostgresServer, free_port, server_folder, system_user


@contextmanager
def start_pgbouncer(server: PostgresServer, mode: str = "transaction", *, pool_size: int = 3) -> Iterator[PostgresServer]:
    """The pooler, as a server at another port; `mode` is `transaction`, `session` or `statement`."""
    require("pgbouncer")
    program = shutil.which("pgbouncer")
    assert program
    with server_folder() as folder:
        port = free_port()
        (folder / "users").write_text(f'"{USER}" "{PASSWORD}"\n')
        (folder / "pgbouncer.ini").write_text(
            f"""
[databases]
* = host=127.0.0.1 port={server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users
pool_mode = {mode}
default_pool_size = {pool_size}
max_client_conn = 50
query_wait_timeout = 2
server_login_retry = 1
"""
        )
        if user := system_user():
            for file in folder.iterdir():
                shutil.chown(file, user)
        with (folder / "log").open("wb") as log:
            pooler = subprocess.Popen(
                [program, folder / "pgbouncer.ini"], user=user, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            deadline = time.monotonic() + 20
            while not _listens(port):
                if pooler.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"pgbouncer did not start: {(folder / 'log').read_text()[-2000:]}")
                time.sleep(0.02)
            yield PostgresServer(port, folder, server.programs)
        finally:
            pooler.terminate()
            pooler.wait(20)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
