"""Serves the shop on this machine: `python -m lab.shop [--port 0] [--orders 20000] [--seed 1] [--database]`.

With `--database` it has the routes of `lab.shop.database_routes` besides, on the database that SHOP_DB_DSN names (see `lab.database`).
Prints one JSON line with the address once it takes connections.
"""

import argparse
import json
import os
import socket

import uvicorn
from starlette.routing import Route

from lab.shop.app import Stores, shop_app


def main() -> None:
    parser = argparse.ArgumentParser(prog="lab.shop", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--orders", type=int, default=20_000, help="orders that the shop starts with, 2000 to 1000000")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", action="store_true", help="also the routes that use the database of SHOP_DB_DSN")
    options = parser.parse_args()
    if not 2_000 <= options.orders <= 1_000_000:
        parser.error("--orders: 2000 to 1000000 are allowed")

    more: list[Route] = []
    if options.database:
        from lab.database.dsn import VARIABLE
        from lab.database.shop import ShopDatabase, sessions_of
        from lab.shop.database_routes import DatabaseRoutes

        if not (dsn := os.environ.get(VARIABLE)):
            parser.error(f"--database: {VARIABLE} is not set")
        more = DatabaseRoutes(ShopDatabase(sessions_of(dsn))).routes()

    app = shop_app(Stores.seeded(options.orders, options.seed), more)
    with socket.create_server(("127.0.0.1", options.port)) as listening:
        # asyncio does so only for sockets that name their protocol; without it, replies of two writes wait 40 ms for an acknowledgement
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        port = listening.getsockname()[1]
        print(json.dumps({"ready": True, "url": f"http://127.0.0.1:{port}", "port": port, "pid": os.getpid()}), flush=True)
        config = uvicorn.Config(app, http="h11", loop="asyncio", ws="none", lifespan="off", log_level="warning", access_log=False)
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
