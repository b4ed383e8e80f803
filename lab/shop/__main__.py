"""Serves the shop on this machine: `python -m lab.shop [--port 0] [--orders 20000] [--seed 1]`.

Prints one JSON line with the address once it takes connections.
"""

import argparse
import json
import os
import socket

import uvicorn

from lab.shop.app import Stores, shop_app


def main() -> None:
    parser = argparse.ArgumentParser(prog="lab.shop", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--orders", type=int, default=20_000, help="orders that the shop starts with, 2000 to 1000000")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if not 2_000 <= options.orders <= 1_000_000:
        parser.error("--orders: 2000 to 1000000 are allowed")

    app = shop_app(Stores.seeded(options.orders, options.seed))
    with socket.create_server(("127.0.0.1", options.port)) as listening:
        port = listening.getsockname()[1]
        print(json.dumps({"ready": True, "url": f"http://127.0.0.1:{port}", "port": port, "pid": os.getpid()}), flush=True)
        config = uvicorn.Config(app, http="h11", loop="asyncio", ws="none", lifespan="off", log_level="warning", access_log=False)
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
