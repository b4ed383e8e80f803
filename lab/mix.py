"""What the shop's customers and staff ask for: an endless, seeded series of requests in fixed proportions.

Every 40 requests in a row that start at a multiple of 40 hold each kind exactly as often as `DECK` says, in shuffled order.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

CART_LINES = 16
NOTE_ENTRIES = 52
KNOWN_ORDERS = 1_000
DECK = {
    "product page": 8,
    "product": 6,
    "order": 1,
    "place order": 1,
    "price cart": 6,
    "delivery": 6,
    "sales report": 4,
    "low stock": 6,
    "picture checksums": 2,
}


@dataclass(frozen=True, slots=True)
class Request:
    kind: str
    method: str
    path: str
    body: bytes = b""

    def encoded(self, host: str) -> bytes:
        """The request as HTTP/1.1 on a connection that stays open."""
        head = [f"{self.method} {self.path} HTTP/1.1", f"Host: {host}"]
        if self.body:
            head += ["Content-Type: application/json", f"Content-Length: {len(self.body)}"]
        return "\r\n".join([*head, "", ""]).encode() + self.body


def requests(skus: list[str], departments: list[str], seed: int) -> Iterator[Request]:
    """Requests for a shop that has these products and departments; the same for the same arguments."""
    chance = random.Random(f"mix-{seed}")
    deck = [kind for kind, count in DECK.items() for _ in range(count)]
    while True:
        chance.shuffle(deck)
        for kind in deck:
            yield _request(kind, chance, skus, departments)


def _request(kind: str, chance: random.Random, skus: list[str], departments: list[str]) -> Request:
    match kind:
        case "product page":
            return Request(kind, "GET", f"/products?page={chance.randint(1, len(skus) // 20)}")
        case "product":
            return Request(kind, "GET", f"/products/{chance.choice(skus)}")
        case "order":
            return Request(kind, "GET", f"/orders/{chance.randint(1, KNOWN_ORDERS)}")
        case "place order":
            return Request(kind, "POST", "/orders", _cart(chance, skus, 3))
        case "price cart":
            return Request(kind, "POST", "/cart/price", _cart(chance, skus, CART_LINES))
        case "delivery":
            return Request(kind, "POST", "/deliveries", _delivery(chance, skus))
        case "sales report":
            return Request(kind, "GET", "/reports/sales")
        case "low stock":
            return Request(kind, "GET", f"/stock/{chance.choice(departments)}/low")
        case "picture checksums":
            return Request(kind, "GET", f"/products/{chance.choice(skus)}/pictures")
    raise ValueError(f"unknown kind of request {kind}")


def _cart(chance: random.Random, skus: list[str], lines: int) -> bytes:
    return json.dumps({"lines": [{"sku": sku, "quantity": chance.randint(1, 6)} for sku in chance.sample(skus, lines)]}).encode()


def _delivery(chance: random.Random, skus: list[str]) -> bytes:
    ordered = chance.sample(skus, NOTE_ENTRIES)
    note = ["Delivery note", "to: The Shop, Harbour Road 1", ""]
    for number, sku in enumerate(chance.sample(ordered, NOTE_ENTRIES - 2), start=1):
        size = chance.choice(("", "/S", "/M", "/XL"))
        note.append(f"{number:4d}. {sku}{size} ({chance.choice(('dark green', 'red', 'sand'))}) x {chance.randint(1, 40)}")
    note += ["", "Thank you for your order."]
    return json.dumps({"ordered": ordered, "note": "\n".join(note)}).encode()
