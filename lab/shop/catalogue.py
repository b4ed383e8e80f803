"""The products of the shop and their pictures, held in memory and made from a seed."""

import random
from dataclasses import dataclass
from typing import Any

DEPARTMENTS = ("clothing", "garden", "kitchen", "stationery")
PRODUCTS_PER_DEPARTMENT = 450
PICTURES = 16
PICTURES_PER_PRODUCT = 4
PICTURE_BYTES = 80_000
_ADJECTIVES = ("classic", "compact", "folding", "heavy", "light", "plain", "recycled", "striped")
_NOUNS = ("bag", "basket", "bottle", "brush", "cup", "hook", "lamp", "notebook", "pot", "shirt", "tray")


@dataclass(frozen=True, slots=True)
class Product:
    sku: str
    name: str
    department: str
    price_cents: int
    pictures: tuple[int, ...]

    def as_json(self) -> dict[str, Any]:
        return {"sku": self.sku, "name": self.name, "department": self.department, "price_cents": self.price_cents}


class Catalogue:
    def __init__(self, products: list[Product], pictures: list[bytes]) -> None:
        self._products = products
        self._by_sku = {product.sku: product for product in products}
        self._pictures = pictures

    @classmethod
    def seeded(cls, seed: int) -> "Catalogue":
        chance = random.Random(f"catalogue-{seed}")
        products = []
        for department in DEPARTMENTS:
            for number in range(PRODUCTS_PER_DEPARTMENT):
                products.append(
                    Product(
                        sku=f"{department[:3].upper()}-{number:05d}",
                        name=f"{chance.choice(_ADJECTIVES)} {chance.choice(_NOUNS)}",
                        department=department,
                        price_cents=chance.randrange(199, 19_999),
                        pictures=tuple(chance.sample(range(PICTURES), PICTURES_PER_PRODUCT)),
                    )
                )
        return cls(products, [chance.randbytes(PICTURE_BYTES) for _ in range(PICTURES)])

    def page(self, number: int, size: int) -> list[Product]:
        """Page `number`, counted from 1, of `size` products; empty past the end."""
        return self._products[(number - 1) * size : number * size]

    def get(self, sku: str) -> Product | None:
        return self._by_sku.get(sku)

    def in_department(self, department: str) -> list[Product]:
        return [product for product in self._products if product.department == department]

    def pictures_of(self, product: Product) -> list[bytes]:
        return [self._pictures[number] for number in product.pictures]

    def __len__(self) -> int:
        return len(self._products)
