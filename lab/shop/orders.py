"""The orders of the shop, held in memory and made from a seed. Dates are text, as the old shop's export had them."""

import random
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from lab.shop.catalogue import Catalogue

ORDERS_PER_DAY = 30
_FIRST_DAY = date(2024, 1, 1)
_DAY_FORMAT = "%d %b %Y"


@dataclass(frozen=True, slots=True)
class Order:
    number: int
    placed_on: str
    lines: tuple[tuple[str, int], ...]
    total_cents: int

    def as_json(self) -> dict[str, Any]:
        lines = [{"sku": sku, "quantity": quantity} for sku, quantity in self.lines]
        return {"number": self.number, "placed_on": self.placed_on, "lines": lines, "total_cents": self.total_cents}


class OrderStore:
    """Orders by number (from 1) and by age, oldest first."""

    def __init__(self, orders: list[Order]) -> None:
        self._orders = orders

    @classmethod
    def seeded(cls, catalogue: Catalogue, count: int, seed: int) -> "OrderStore":
        chance = random.Random(f"orders-{seed}")
        products = catalogue.page(1, len(catalogue))
        store = cls([])
        for number in range(count):
            picked = [(chance.choice(products), chance.randint(1, 4)) for _ in range(chance.randint(1, 4))]
            store.place(
                placed_on=(_FIRST_DAY + timedelta(days=number // ORDERS_PER_DAY)).strftime(_DAY_FORMAT),
                lines=tuple((product.sku, quantity) for product, quantity in picked),
                total_cents=sum(product.price_cents * quantity for product, quantity in picked),
            )
        return store

    def place(self, placed_on: str, lines: tuple[tuple[str, int], ...], total_cents: int) -> Order:
        order = Order(len(self._orders) + 1, placed_on, lines, total_cents)
        self._orders.append(order)
        return order

    def get(self, number: int) -> Order | None:
        return self._orders[number - 1] if 1 <= number <= len(self._orders) else None

    def newest(self, count: int) -> list[Order]:
        return self._orders[-count:]

    @property
    def last_day(self) -> str:
        """The day of the newest order; new orders are booked on it, so that a shop with the same seed always answers the same."""
        return self._orders[-1].placed_on
