"""The shop's database, up for as long as its standard input stays open.

    python -m lab.database [--orders 20000] [--problems all] [--load] [--dsn postgresql://...] [--server debian|wheel]

A given server (`--dsn` or SHOP_DB_DSN) gets a database of its own name, dropped at the end; otherwise a server of our own runs in a
temporary folder. Prints one JSON line when everything is ready and nothing else on standard output: it holds the connection string.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
from typing import Any

from lab import problems
from lab.database.dsn import VARIABLE
from lab.database.programs import KINDS
from lab.starting import NotStarted, Program, stop_by_signal, until_over

FEWEST_ORDERS, MOST_ORDERS = 1_000, 5_000_000
LONGEST_S = 3_600.0


def main() -> int:
    options = _options()
    os.environ[problems.VARIABLE] = options.problems  # read where versions are picked: when the modules below are imported
    stop_by_signal()
    from lab.database.programs import find_programs
    from lab.database.seeding import forget_statements, seed_shop
    from lab.database.server import start_given, start_own

    with contextlib.ExitStack() as running:
        if options.dsn:
            place = start_given(options.dsn, options.orders)
        else:
            place = start_own(find_programs(options.server), options.orders, options.port)
        running.callback(place.stop)
        asyncio.run(seed_shop(place.dsn, options.orders, options.seed))
        asyncio.run(forget_statements(place.administrator_dsn))
        told: dict[str, Any] = {
            "ready": True,
            "dsn": place.dsn,
            "port": place.port,
            "source": place.source,
            "log": place.log_folder,
            "missing_extensions": place.missing_extensions,
            "environment": {VARIABLE: place.dsn},
            "pids": {"keeper": place.keeper.pid},
        }
        if options.load:
            numbers = ["--rate", str(options.rate), "--duration", str(options.duration), "--seed", str(options.seed)]
            maker = Program([sys.executable, "-m", "lab.database.traffic", *numbers], {VARIABLE: place.dsn})
            running.callback(maker.stop)
            told["pids"]["load"] = maker.pid
        print(json.dumps(told), flush=True)
        return until_over([place])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lab.database", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsn", default=os.environ.get(VARIABLE, ""), help=f"a server to use instead of our own (default: {VARIABLE})")
    parser.add_argument("--server", choices=KINDS, help="whose programs to run (default: Debian's, else the wheel's)")
    parser.add_argument("--port", type=int, default=0, help="of our own server; 0 takes a free one")
    parser.add_argument("--orders", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--problems", default=os.environ.get(problems.VARIABLE, "all"), help="all, none, or names with commas")
    parser.add_argument("--load", action="store_true", help="make the shop's calls")
    parser.add_argument("--rate", type=float, default=80.0, help="calls per second (default %(default)s)")
    parser.add_argument("--duration", type=float, default=600.0, help="seconds that the load runs (default %(default)s)")
    options = parser.parse_args()
    if not FEWEST_ORDERS <= options.orders <= MOST_ORDERS:
        parser.error(f"--orders: {FEWEST_ORDERS} to {MOST_ORDERS} are allowed")
    if not 0 < options.duration <= LONGEST_S:
        parser.error(f"--duration: more than 0 and at most {LONGEST_S:g} is allowed")
    try:
        problems.chosen(options.problems)
    except ValueError as error:
        parser.error(str(error))
    return options


if __name__ == "__main__":
    try:
        sys.exit(main())
    except NotStarted as error:
        sys.exit(f"lab.database: {error}")
