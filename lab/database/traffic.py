"""The shop's calls of its database at a fixed rate, whatever the database answers (open model); seeded, bounded.

    SHOP_DB_DSN=postgresql://... python -m lab.database.traffic --rate 80 --duration 20

Every 200 calls in a row that start at a multiple of 200 hold each kind exactly as often as `DECK` says, in shuffled order. Prints one
JSON line at the end.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from functools import partial
from typing import Any

import asyncpg
from sqlalchemy.exc import SQLAlchemyError

from lab.database import data, statements
from lab.database.dsn import VARIABLE
from lab.database.shop import CONNECTIONS, ShopDatabase, shop_database
from lab.database.statements import FeedPlace
from lab.load import LARGEST_DURATION_S, Tally
from lab.starting import stop_by_signal

RATE_PER_S = 80.0
LARGEST_RATE_PER_S = 500.0
BACKLOG = 64
CALL_TIMEOUT_S = 60.0
DECK = {
    "product": 20,
    "department page": 8,
    "brand page": 4,
    "reviews": 8,
    "search": 9,
    "price comparison": 1,
    "customer by email": 24,
    "customer's orders": 11,
    "customer's reviews": 2,
    "order": 29,
    "order list": 6,
    "place order": 6,
    "close order": 3,
    "sold": 3,
    "order feed": 61,
    "shipments": 2,
    "turnover": 2,
    "payment pauses": 1,
}

Call = Callable[[], Awaitable[object]]


class Customers:
    """Everyone who uses the shop: what they ask for, endlessly."""

    def __init__(self, shop: ShopDatabase, sizes: tuple[int, int, int], seed: int) -> None:
        self._shop = shop
        self._customers, self._products, self._orders = sizes
        self._sizes = data.Sizes(self._customers)
        self._chance = random.Random(f"database-{seed}")
        self._place = self._start = FeedPlace(0, data.FIRST_DAY, 0)
        self._feeding = asyncio.Lock()

    def calls(self) -> Iterator[tuple[str, Call]]:
        deck = [kind for kind, count in DECK.items() for _ in range(count)]
        while True:
            self._chance.shuffle(deck)
            for kind in deck:
                yield kind, self._call(kind)

    def _call(self, kind: str) -> Call:
        shop, chance = self._shop, self._chance
        customer, product, order = (chance.randint(1, most) for most in (self._customers, self._products, self._orders))
        department = chance.choice(data.DEPARTMENTS)
        carrier = chance.choice((data.IMPORTED_CARRIER,) * 3 + data.ARCHIVE_CARRIERS[:1])
        match kind:
            case "product":
                return partial(shop.product, data.sku(product))
            case "department page":
                return partial(shop.rows, statements.department_page(department, f"{department[:3].upper()}-{product:06d}"))
            case "brand page":
                return partial(shop.rows, statements.brand_page(data.brand(chance.randrange(self._sizes.brands))))
            case "reviews":
                return partial(shop.rows, statements.reviews_of(product))
            case "search":
                return partial(shop.rows, statements.products_like(data.word(chance.randrange(self._sizes.words))[1:-1]))
            case "price comparison":
                return partial(shop.rows, statements.dearer_than_brand(department))
            case "customer by email":
                return partial(shop.customer, data.email(customer).upper())
            case "customer's orders":
                return partial(shop.rows, statements.orders_of(customer))
            case "customer's reviews":
                return partial(shop.rows, statements.reviews_by(customer))
            case "order":
                return partial(shop.order, order)
            case "order list":
                return shop.newest_orders
            case "place order":
                wanted = [(one, chance.randint(1, 4)) for one in chance.sample(range(1, self._products + 1), 3)]
                return partial(shop.place_order, customer, wanted)
            case "close order":
                return partial(shop.close_order, self._orders - chance.randrange(50))
            case "sold":
                return partial(shop.rows, statements.sold_of(product))
            case "order feed":
                return self._feed
            case "shipments":
                return partial(shop.rows, statements.shipments_of(carrier))
            case "turnover":
                return partial(shop.rows, statements.turnover_by_city(carrier))
            case "payment pauses":
                return partial(shop.rows, statements.payment_pauses())
        raise ValueError(f"unknown kind of call {kind}")

    async def _feed(self) -> None:
        """The accounts read all orders, page by page, and begin again."""
        async with self._feeding:
            page, self._place = await self._shop.feed(self._place)
            if len(page) < statements.FEED_PAGE:
                self._place = self._start


async def make_traffic(dsn: str, *, rate_per_s: float, duration_s: float, most_calls: int, seed: int) -> dict[str, object]:
    """Makes the calls and returns the summary. What finds the backlog full is dropped and counted."""
    tally = Tally()
    backlog: asyncio.Queue[tuple[float, str, Call] | None] = asyncio.Queue(BACKLOG)
    async with shop_database(dsn) as shop:
        calls = Customers(shop, await shop.newest_numbers(), seed).calls()
        async with asyncio.TaskGroup() as workers:
            for _ in range(CONNECTIONS):
                workers.create_task(_work(backlog, tally))
            start = time.perf_counter()
            for number in range(min(most_calls, int(rate_per_s * duration_s))):
                due = start + number / rate_per_s
                if (early_s := due - time.perf_counter()) > 0:
                    await asyncio.sleep(early_s)
                try:
                    backlog.put_nowait((due, *next(calls)))
                except asyncio.QueueFull:
                    tally.dropped += 1
            for _ in range(CONNECTIONS):
                await backlog.put(None)
    return tally.summary(rate_per_s, time.perf_counter() - start)


async def _until_stopped(traffic: Coroutine[Any, Any, dict[str, object]]) -> dict[str, object] | None:
    """The summary; None when a signal ended it, which cancels between two steps: SystemExit in the middle of one leaves a session open."""
    making = asyncio.create_task(traffic)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, making.cancel)
    await asyncio.wait([making])
    return None if making.cancelled() else making.result()


async def _work(backlog: asyncio.Queue[tuple[float, str, Call] | None], tally: Tally) -> None:
    while (item := await backlog.get()) is not None:
        due, kind, call = item
        tally.sent += 1
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await call()
        except (OSError, SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
            tally.errors[f"{kind}: {type(error).__name__}"] += 1
            continue
        tally.ok += 1
        tally.latencies_ms.append((time.perf_counter() - due) * 1_000)


def main() -> None:
    parser = argparse.ArgumentParser(prog="lab.database.traffic", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=RATE_PER_S, help="calls per second (default %(default)s)")
    parser.add_argument("--duration", type=float, default=20.0, help="seconds (default %(default)s)")
    parser.add_argument("--calls", type=int, default=1_000_000, help="at most so many calls")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for name, value, largest in (
        ("rate", options.rate, LARGEST_RATE_PER_S),
        ("duration", options.duration, LARGEST_DURATION_S),
        ("calls", options.calls, 10_000_000),
    ):
        if not 0 < value <= largest:
            parser.error(f"--{name}: more than 0 and at most {largest:g} is allowed, {value:g} given")
    if not (dsn := os.environ.get(VARIABLE)):
        parser.error(f"{VARIABLE} is not set: the connection string of the shop's database")
    stop_by_signal()
    try:
        made = make_traffic(dsn, rate_per_s=options.rate, duration_s=options.duration, most_calls=options.calls, seed=options.seed)
        if (summary := asyncio.run(_until_stopped(made))) is not None:
            print(json.dumps(summary), flush=True)
    except (OSError, ValueError, SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        sys.exit(f"lab.database.traffic: no traffic was made: {type(error).__name__}")


if __name__ == "__main__":
    main()
