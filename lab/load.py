"""The shop's own load: requests at a fixed rate whatever the shop answers (open model), on this machine only.

    python -m lab.load --url http://127.0.0.1:8700 --rate 120 --duration 30

Latency counts from the moment at which a request was due, so a slow shop cannot hide the requests that it holds up
(coordinated omission). Bounded in time, requests, connections and backlog. Prints one JSON line at the end.
"""

import argparse
import asyncio
import ipaddress
import json
import random
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from lab.mix import Request, requests

RATE_PER_S = 120.0
LARGEST_RATE_PER_S = 2_000.0
LARGEST_DURATION_S = 3_600.0
LARGEST_CONCURRENCY = 64
REPLY_TIMEOUT_S = 30.0
LARGEST_REPLY_BYTES = 4_000_000
_PAGE = 500
_MOST_PAGES = 20


class NotLoopback(ValueError):
    """The address is not one of this machine's loopback addresses."""


@dataclass(frozen=True, slots=True)
class Address:
    ip: str
    port: int
    host: str


def loopback(url: str) -> Address:
    """The address behind `url`; NotLoopback when it, or anything its name resolves to, is not loopback."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/"):
        raise NotLoopback(f"--url: {url} is not of the form http://127.0.0.1:PORT")
    port = parts.port or 80
    ips = sorted({str(found[4][0]) for found in socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)})
    if strange := [ip for ip in ips if not ipaddress.ip_address(ip).is_loopback]:
        raise NotLoopback(f"--url: {parts.hostname} is {', '.join(strange)}; only loopback addresses (127.0.0.0/8, ::1) are loaded")
    return Address(ips[0], port, parts.netloc)


@dataclass
class Tally:
    sent: int = 0
    ok: int = 0
    dropped: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)

    def summary(self, rate_per_s: float, duration_s: float) -> dict[str, Any]:
        ordered = sorted(self.latencies_ms)
        return {
            "sent": self.sent,
            "ok": self.ok,
            "errors": sum(self.errors.values()),
            "error_kinds": dict(self.errors),
            "dropped": self.dropped,
            "p50_ms": _quantile(ordered, 0.50),
            "p99_ms": _quantile(ordered, 0.99),
            "scheduled_rate_per_s": rate_per_s,
            "achieved_rate_per_s": round(self.ok / duration_s, 2) if duration_s else 0.0,
            "duration_s": round(duration_s, 2),
        }


def _quantile(ordered: list[float], share: float) -> float | None:
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2) if ordered else None


class Connection:
    """One HTTP/1.1 connection that stays open; opened again after an error."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, request: Request) -> tuple[int, bytes]:
        """Status and body of the reply; OSError, EOFError or TimeoutError when there is none."""
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                if self._streams is None:
                    self._streams = await asyncio.open_connection(self._address.ip, self._address.port)
                return await self._exchange(request, *self._streams)
        except BaseException:
            self.close()
            raise

    async def _exchange(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, bytes]:
        writer.write(request.encoded(self._address.host))
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]) if b"content-length:" in head else 0
        if length > LARGEST_REPLY_BYTES:
            raise OSError(f"reply of {length} bytes is over {LARGEST_REPLY_BYTES}")
        body = await reader.readexactly(length)
        if b"connection: close" in head:
            self.close()
        return int(head.split(b" ", 2)[1]), body

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def find_products(address: Address) -> tuple[list[str], list[str]]:
    """The shop's article numbers and departments, read page by page."""
    connection = Connection(address)
    products: list[dict[str, Any]] = []
    try:
        for page in range(1, _MOST_PAGES + 1):
            status, body = await connection.send(Request("catalogue", "GET", f"/products?page={page}&size={_PAGE}"))
            if status != 200:
                raise OSError(f"{address.host} answered {status} to the list of products: is it the shop?")
            found = json.loads(body)["products"]
            products += found
            if len(found) < _PAGE:
                break
    finally:
        connection.close()
    return [product["sku"] for product in products], sorted({product["department"] for product in products})


async def make_load(
    address: Address,
    series: Iterator[Request],
    *,
    rate_per_s: float,
    duration_s: float,
    most_requests: int,
    concurrency: int,
    seed: int = 1,
) -> dict[str, Any]:
    """Sends `series` at `rate_per_s` and returns the summary. What finds the backlog full is dropped and counted.

    Each request is due at a random moment of its own slot of 1 / rate seconds: customers do not keep step with each other, nor with
    anything that looks at the shop at fixed intervals.
    """
    chance = random.Random(f"arrivals-{seed}")
    backlog: asyncio.Queue[tuple[float, Request] | None] = asyncio.Queue(maxsize=4 * concurrency)
    tally = Tally()
    workers = [asyncio.create_task(_work(Connection(address), backlog, tally)) for _ in range(concurrency)]
    start = time.perf_counter()
    try:
        for number in range(min(most_requests, int(rate_per_s * duration_s))):
            due = start + (number + chance.random()) / rate_per_s
            if (early_s := due - time.perf_counter()) > 0:
                await asyncio.sleep(early_s)
            try:
                backlog.put_nowait((due, next(series)))
            except asyncio.QueueFull:
                tally.dropped += 1
        for _ in workers:
            await backlog.put(None)
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
    return tally.summary(rate_per_s, time.perf_counter() - start)


async def _work(connection: Connection, backlog: asyncio.Queue[tuple[float, Request] | None], tally: Tally) -> None:
    try:
        while (item := await backlog.get()) is not None:
            due, request = item
            tally.sent += 1
            try:
                status, _ = await connection.send(request)
            except (OSError, EOFError, ValueError) as error:
                tally.errors[type(error).__name__] += 1
                continue
            if status < 400:
                tally.ok += 1
                tally.latencies_ms.append((time.perf_counter() - due) * 1_000)
            else:
                tally.errors[f"{request.kind}: {status}"] += 1
    finally:
        connection.close()


async def _run(options: argparse.Namespace, address: Address) -> dict[str, Any]:
    skus, departments = await find_products(address)
    return await make_load(
        address,
        requests(skus, departments, options.seed),
        rate_per_s=options.rate,
        duration_s=options.duration,
        most_requests=options.requests,
        concurrency=options.concurrency,
        seed=options.seed,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="lab.load", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="http://127.0.0.1:PORT; loopback only")
    parser.add_argument("--rate", type=float, default=RATE_PER_S, help="requests per second (default %(default)s)")
    parser.add_argument("--duration", type=float, default=30.0, help="seconds (default %(default)s)")
    parser.add_argument("--requests", type=int, default=1_000_000, help="at most so many requests")
    parser.add_argument("--concurrency", type=int, default=16, help="connections (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for name, value, largest in (
        ("rate", options.rate, LARGEST_RATE_PER_S),
        ("duration", options.duration, LARGEST_DURATION_S),
        ("requests", options.requests, 10_000_000),
        ("concurrency", options.concurrency, LARGEST_CONCURRENCY),
    ):
        if not 0 < value <= largest:
            parser.error(f"--{name}: more than 0 and at most {largest:g} is allowed, {value:g} given")
    try:
        summary = asyncio.run(_run(options, loopback(options.url)))
    except NotLoopback as error:
        parser.error(str(error))
    except (OSError, EOFError) as error:
        sys.exit(f"lab.load: no load was made: {error}")
    print(json.dumps(summary), flush=True)


if __name__ == "__main__":
    main()
