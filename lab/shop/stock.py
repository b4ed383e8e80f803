"""Stock counts of several warehouses, brought together for a department."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from lab.problems import version
from lab.shop.catalogue import DEPARTMENTS, Catalogue

WAREHOUSES = ("north", "south", "harbour")


@dataclass(slots=True)
class Count:
    sku: str
    pieces: int


class Stock:
    """What each warehouse counted last; every warehouse walks its shelves in its own order."""

    def __init__(self, counts: dict[str, list[list[Count]]]) -> None:
        self._counts = counts

    @classmethod
    def seeded(cls, catalogue: Catalogue, seed: int) -> "Stock":
        chance = random.Random(f"stock-{seed}")
        counts: dict[str, list[list[Count]]] = {}
        for department in DEPARTMENTS:
            skus = [product.sku for product in catalogue.in_department(department)]
            counts[department] = [[Count(sku, chance.randint(0, 60)) for sku in chance.sample(skus, len(skus))] for _ in WAREHOUSES]
        return cls(counts)

    def of(self, department: str) -> list[list[Count]]:
        """One list of counts per warehouse; empty for an unknown department."""
        return self._counts.get(department, [])


def merge_into_list(lists: Sequence[Sequence[Count]]) -> list[Count]:
    """One count per article with the pieces of all lists, in the order in which articles first appear."""
    merged: list[Count] = []
    for counts in lists:
        for count in counts:
            for known in merged:
                if known.sku == count.sku:  # planted: stock-merge
                    known.pieces += count.pieces
                    break
            else:
                merged.append(Count(count.sku, count.pieces))
    return merged


def merge_by_article(lists: Sequence[Sequence[Count]]) -> list[Count]:
    """One count per article with the pieces of all lists, in the order in which articles first appear."""
    pieces: dict[str, int] = {}
    for counts in lists:
        for count in counts:
            pieces[count.sku] = pieces.get(count.sku, 0) + count.pieces
    return [Count(sku, total) for sku, total in pieces.items()]


merge_counts = version("stock-merge", planted=merge_into_list, sound=merge_by_article)
