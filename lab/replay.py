"""Answers the first requests of the mix in this process, without sockets: what `lab.count` counts.

    LAB_PROBLEMS=all python -m lab.replay --requests 40

The bytes of each request go through uvicorn's HTTP protocol, Starlette and the shop, one after the other; only system calls of the
network are missing. With the same requests, seed, problems and PYTHONHASHSEED it does the same work every time.
"""

import argparse
import asyncio
import itertools
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from lab.mix import Request, requests
from lab.shop.app import Stores, shop_app
from lab.shop.catalogue import DEPARTMENTS


class _Wire(asyncio.Transport):
    """The far end of a connection, in memory: collects what the server writes until a reply is complete."""

    def __init__(self) -> None:
        super().__init__()
        self._reply = b""
        self._answered = asyncio.Event()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"sockname": ("127.0.0.1", 80), "peername": ("127.0.0.1", 50_000)}.get(name, default)

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._reply += data
        head, found, body = self._reply.partition(b"\r\n\r\n")
        if found and len(body) >= int(head.lower().split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0]):
            self._answered.set()

    async def reply(self) -> bytes:
        await self._answered.wait()
        await asyncio.sleep(0)
        complete, self._reply = self._reply, b""
        self._answered.clear()
        return complete


async def replay(stores: Stores, series: list[Request]) -> list[bytes]:
    """The replies of a shop with `stores` to `series`."""
    config = uvicorn.Config(shop_app(stores), http="h11", ws="none", lifespan="off", log_level="warning", access_log=False)
    config.load()
    protocol = H11Protocol(config, ServerState(), {})
    wire = _Wire()
    protocol.connection_made(wire)
    replies = []
    for request in series:
        protocol.data_received(request.encoded("127.0.0.1"))
        replies.append(await wire.reply())
    return replies


def main() -> None:
    parser = argparse.ArgumentParser(prog="lab.replay", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--orders", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    stores = Stores.seeded(options.orders, options.seed)
    skus = [product.sku for product in stores.catalogue.page(1, len(stores.catalogue))]
    series = list(itertools.islice(requests(skus, list(DEPARTMENTS), options.seed), options.requests))
    replies = asyncio.run(replay(stores, series))
    if refused := [reply for reply in replies if not reply.startswith(b"HTTP/1.1 20")]:
        raise SystemExit(f"{len(refused)} of {len(replies)} requests failed, the first with {refused[0][:200]!r}")


if __name__ == "__main__":
    main()
