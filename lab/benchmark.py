"""The shop's work without its server: what is run to see whether a change of its code makes it cheaper.

    python -m lab.benchmark [--decks 4] [--seed 1]

A deck prices carts, reads delivery notes of one supplier, reports sales, merges stock counts and works checksums out, as often in relation
to each other as the shop's customers and staff ask for it. It is the same work for the same seed; the last line is a digest of all results.
"""

import argparse
import hashlib
import itertools
import json
import random

from lab.mix import CART_LINES, DECK, NOTE_ENTRIES
from lab.shop.catalogue import DEPARTMENTS, Catalogue
from lab.shop.deliveries import delivered_pieces
from lab.shop.orders import OrderStore
from lab.shop.pictures import checksum
from lab.shop.pricing import Campaigns, Line, price_cart
from lab.shop.reports import sales_by_week
from lab.shop.stock import Stock, merge_counts

ORDERS = 2_000
SUPPLIED = 560
"""Articles of the one supplier, who delivers them in turn."""
PICTURE_BYTES = 48_000


class Work:
    """Everything that a deck needs, made from a seed."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(f"benchmark-{seed}")
        self._catalogue = Catalogue.seeded(seed)
        self._products = self._catalogue.page(1, len(self._catalogue))
        self._campaigns = Campaigns.seeded(self._catalogue, seed)
        self._orders = OrderStore.seeded(self._catalogue, ORDERS, seed).newest(ORDERS)
        self._stock = Stock.seeded(self._catalogue, seed)
        self._supplied = itertools.cycle([product.sku for product in self._products[:SUPPLIED]])

    def deck(self) -> list[object]:
        """The results of one deck."""
        chance = self._chance
        results: list[object] = []
        for _ in range(DECK["price cart"]):
            products = chance.sample(self._products, CART_LINES)
            results.append(price_cart(self._campaigns, [Line(one.sku, chance.randint(1, 6), one.price_cents) for one in products]))
        for _ in range(DECK["delivery"]):
            ordered = list(itertools.islice(self._supplied, NOTE_ENTRIES))
            note = "\n".join(f"{number:4d}. {sku}/M (sand) x {chance.randint(1, 40)}" for number, sku in enumerate(ordered[2:], start=1))
            results.append(delivered_pieces(note, ordered))
        results += [sales_by_week(self._orders) for _ in range(DECK["sales report"])]
        for department in chance.choices(DEPARTMENTS, k=DECK["low stock"]):
            results.append([(count.sku, count.pieces) for count in merge_counts(self._stock.of(department))])
        results += [checksum(chance.randbytes(PICTURE_BYTES)) for _ in range(DECK["picture checksums"])]
        return results


def main() -> None:
    parser = argparse.ArgumentParser(prog="lab.benchmark", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decks", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    work = Work(options.seed)
    digest = hashlib.sha256()
    for _ in range(options.decks):
        digest.update(json.dumps(work.deck()).encode())
    print(digest.hexdigest()[:16])


if __name__ == "__main__":
    main()
