"""Drops the lab's database on a server that is not the lab's, once the lab lets go or is gone, even by SIGKILL.

    SHOP_DB_DSN=postgresql://... python -m lab.database.dropper NAME

Waits for the end of its standard input, whose other end only the lab holds; in a session of its own.
"""

import asyncio
import os
import signal
import sys

from lab.database.dsn import VARIABLE, plain, quoted

PATIENCE_S = 30.0


async def drop(dsn: str, name: str) -> None:
    """Drops the database with everyone who is connected to it; nothing when it is not there."""
    import asyncpg

    connection = await asyncpg.connect(plain(dsn), timeout=PATIENCE_S)
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {quoted(name)} WITH (FORCE)", timeout=PATIENCE_S)
    finally:
        await connection.close()


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 4_096):
        pass
    asyncio.run(drop(os.environ[VARIABLE], sys.argv[1]))


if __name__ == "__main__":
    main()
