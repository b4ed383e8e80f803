"""The shop's rows, made from a seed: the same for the same seed and number of orders, in pieces, so that a million fits in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 730
PIECE = 20_000
DEPARTMENTS = ("clothing", "garden", "kitchen", "stationery")
CITIES = ("Aarhus", "Bergen", "Cork", "Dundee", "Espoo", "Florence", "Ghent", "Haarlem")
METHODS = ("card", "invoice", "transfer")
DEPOTS = ("north", "south", "harbour")
ARCHIVE_CARRIERS = ("post", "courier", "cargo bike")
IMPORTED_CARRIER = "harbour express"
"""The carrier of the shop that was taken over; all of its shipments came in one import."""
IMPORTED_OF_FIVE = 3
OUTAGES = 12
OUTAGE_HOURS = 14
_SYLLABLES = (
    "bra",
    "cor",
    "del",
    "fen",
    "gol",
    "hur",
    "jas",
    "kel",
    "lom",
    "mir",
    "nov",
    "pra",
    "quin",
    "ros",
    "sul",
    "tav",
    "vel",
    "wex",
    "yar",
)
_COMMON = (
    "sturdy",
    "light",
    "washable",
    "made",
    "for",
    "every",
    "day",
    "with",
    "a",
    "year",
    "of",
    "guarantee",
    "and",
    "easy",
    "to",
    "store",
)

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Sizes:
    """How many of everything a shop with so many orders has."""

    orders: int

    @property
    def customers(self) -> int:
        return self.orders

    @property
    def products(self) -> int:
        return min(20_000, max(1_800, self.orders // 4))

    @property
    def brands(self) -> int:
        return self.products // 125

    @property
    def reviews(self) -> int:
        return self.orders // 2

    @property
    def words(self) -> int:
        """As many as keep each word of the descriptions rare: some 25 products have it."""
        return self.products // 2


def word(number: int) -> str:
    """A word of the descriptions, its own for each number, of four syllables."""
    base = len(_SYLLABLES)
    # Spread over the whole range, so that neighbours do not share their beginning.
    number = number * 7_919 % base**4
    return "".join(_SYLLABLES[number // base**place % base] for place in range(4))


def sku(product: int) -> str:
    return f"{DEPARTMENTS[product % 4][:3].upper()}-{product:06d}"


def brand(number: int) -> str:
    return f"{word(number).capitalize()} {number}"


def email(customer: int) -> str:
    """As the customer typed it: some begin with a capital letter."""
    name = word(customer % 9_973)
    return f"{name.capitalize() if customer % 3 == 0 else name}.{customer}@example.org"


def placed_at(order: int, orders: int) -> datetime:
    """Orders come one after the other, at uneven times."""
    step = DAYS * 86_400 // orders
    return FIRST_DAY + timedelta(seconds=(order - 1) * step + order * 2_654_435_761 % max(1, step - 1))


def booked_at(placed: datetime) -> datetime:
    """A minute later; what falls into an outage of the payment provider is booked at its end."""
    at = placed + timedelta(minutes=1)
    since, every = at - FIRST_DAY, timedelta(days=DAYS) / OUTAGES
    into = since % every
    return at - into + timedelta(hours=OUTAGE_HOURS) if into < timedelta(hours=OUTAGE_HOURS) else at


def customers(sizes: Sizes, seed: int) -> Iterator[Row]:
    chance = _chance("customers", seed)
    cities, days = chance.integers(0, len(CITIES), sizes.customers).tolist(), chance.integers(0, DAYS, sizes.customers).tolist()
    for number, (city, day) in enumerate(zip(cities, days, strict=True), start=1):
        joined = date(2022, 1, 1) + timedelta(days=day)
        yield number, email(number), f"{word(number % 997).capitalize()} {word(number % 1_409).capitalize()}", CITIES[city], joined


def products(sizes: Sizes, seed: int) -> Iterator[Row]:
    chance = _chance("products", seed)
    prices = _prices(sizes, seed)
    for number in range(1, sizes.products + 1):
        rare = [word(one) for one in chance.integers(0, sizes.words, 12).tolist()]
        text = " ".join(text for pair in zip(rare, _COMMON, strict=False) for text in pair) + " " + " ".join(_COMMON)
        yield (
            number,
            sku(number),
            f"{rare[0]} {rare[1]}",
            brand(number % sizes.brands),
            DEPARTMENTS[number % 4],
            int(prices[number]),
            text,
        )


@dataclass(frozen=True)
class OrderPiece:
    """Orders that follow each other, with their lines and payments."""

    orders: Sequence[Row]
    lines: Sequence[Row]
    payments: Sequence[Row]


def orders(sizes: Sizes, seed: int) -> Iterator[OrderPiece]:
    chance = _chance("orders", seed)
    prices = _prices(sizes, seed)
    next_line = 1
    for first in range(1, sizes.orders + 1, PIECE):
        numbers = np.arange(first, min(first + PIECE, sizes.orders + 1))
        buyers = chance.integers(1, sizes.customers + 1, len(numbers)).tolist()
        counts = chance.integers(1, 6, len(numbers))
        # Some products sell much better than others.
        sold = 1 + (chance.random(int(counts.sum())) ** 2 * sizes.products).astype(np.int64)
        quantities = chance.integers(1, 5, len(sold))
        totals = np.add.reduceat(prices[sold] * quantities, np.cumsum(counts) - counts).tolist()
        of_order = np.repeat(numbers, counts).tolist()
        line_ids = range(next_line, next_line + len(sold))
        next_line += len(sold)
        lines = list(zip(line_ids, of_order, sold.tolist(), quantities.tolist(), prices[sold].tolist(), strict=True))
        made, paid = [], []
        for number, buyer, total in zip(numbers.tolist(), buyers, totals, strict=True):
            placed = placed_at(number, sizes.orders)
            made.append((number, buyer, placed, "open" if number > sizes.orders - 50 else "done", total))
            paid.append((number, number, METHODS[number % 3], booked_at(placed), total, _reply(number, total)))
        yield OrderPiece(made, lines, paid)


def shipments(sizes: Sizes, *, imported: bool) -> Iterator[Row]:
    """Of the archive, or those that came with the import; both over the whole time."""
    archive = sizes.orders // 5 * (5 - IMPORTED_OF_FIVE) + max(0, sizes.orders % 5 + 1 - IMPORTED_OF_FIVE)
    number = archive if imported else 0
    for order in range(1, sizes.orders + 1):
        if (order % 5 < IMPORTED_OF_FIVE) is imported:
            number += 1
            carrier = IMPORTED_CARRIER if imported else ARCHIVE_CARRIERS[order % 7 % 3]
            yield number, order, carrier, DEPOTS[order % 3], placed_at(order, sizes.orders) + timedelta(days=1)


def reviews(sizes: Sizes, seed: int) -> Iterator[Row]:
    chance = _chance("reviews", seed)
    reviewed = 1 + (chance.random(sizes.reviews) ** 2 * sizes.products).astype(np.int64)
    columns = (reviewed, chance.integers(1, sizes.customers + 1, sizes.reviews), chance.integers(1, 6, sizes.reviews))
    for number, (product, customer, rating) in enumerate(zip(*(column.tolist() for column in columns), strict=True), start=1):
        written = placed_at(1 + number * 2 % sizes.orders, sizes.orders) + timedelta(days=9)
        yield number, product, customer, rating, written, f"{word(number % 3_001)} as described, {' '.join(_COMMON[: 4 + number % 9])}"


def _prices(sizes: Sizes, seed: int) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """By product number, from 1."""
    return _chance("prices", seed).integers(199, 19_999, sizes.products + 1)


def _reply(order: int, cents: int) -> str:
    """What the payment provider answers: long, and the same length for all."""
    reference = f"{order * 0x9E3779B97F4A7C15 % 2**64:016x}"
    steps = ",".join(
        f'{{"step":"{step}","state":"passed","by":"northpay-eu-1","rule":"2023-11","trace":"{reference}{place:02d}"}}'
        for place, step in enumerate(_STEPS)
    )
    return f'{{"provider":"northpay","api":"2023-11","reference":"{reference}","amount":{cents:010d},"currency":"EUR","steps":[{steps}]}}'


_STEPS = ("received", "parsed", "signature", "merchant", "limits", "sanctions", "risk", "issuer", "authorised", "captured", "settled")


def _chance(what: str, seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, *what.encode()]))
