"""The web shop: products, carts, orders, deliveries, stock, reports."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, Field, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from lab.shop.catalogue import Catalogue, Product
from lab.shop.deliveries import delivered_pieces
from lab.shop.orders import OrderStore
from lab.shop.pictures import PictureChecksums
from lab.shop.pricing import Campaigns, Line, price_cart
from lab.shop.reports import sales_by_week
from lab.shop.stock import Stock, merge_counts

PAGE_SIZE = 20
LARGEST_PAGE = 500
REPORTED_ORDERS = 2_000
LOW_STOCK = 30


Body = TypeVar("Body", bound=BaseModel)


class CartLine(BaseModel):
    sku: str
    quantity: int = Field(ge=1, le=10_000)


class Cart(BaseModel):
    lines: list[CartLine] = Field(min_length=1, max_length=200)


class Delivery(BaseModel):
    ordered: list[str] = Field(max_length=500)
    note: str = Field(max_length=100_000)


@dataclass(frozen=True)
class Stores:
    """Where the shop's data is; PostgreSQL stores take the same places."""

    catalogue: Catalogue
    orders: OrderStore
    campaigns: Campaigns
    stock: Stock
    checksums: PictureChecksums

    @classmethod
    def seeded(cls, orders: int, seed: int) -> "Stores":
        catalogue = Catalogue.seeded(seed)
        return cls(
            catalogue=catalogue,
            orders=OrderStore.seeded(catalogue, orders, seed),
            campaigns=Campaigns.seeded(catalogue, seed),
            stock=Stock.seeded(catalogue, seed),
            checksums=PictureChecksums(),
        )


class Shop:
    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    async def health(self, request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def products(self, request: Request) -> JSONResponse:
        number = _number(request, "page", 1, 100_000)
        size = _number(request, "size", PAGE_SIZE, LARGEST_PAGE)
        return JSONResponse({"products": [product.as_json() for product in self._stores.catalogue.page(number, size)]})

    async def product(self, request: Request) -> JSONResponse:
        return JSONResponse(self._product(request.path_params["sku"]).as_json())

    async def pictures(self, request: Request) -> JSONResponse:
        product = self._product(request.path_params["sku"])
        checksums = await self._stores.checksums.of(self._stores.catalogue.pictures_of(product))
        return JSONResponse({"sku": product.sku, "checksums": [f"{checksum:04x}" for checksum in checksums]})

    async def price(self, request: Request) -> JSONResponse:
        total_cents, saved_cents = price_cart(self._stores.campaigns, self._lines(await _body(request, Cart)))
        return JSONResponse({"total_cents": total_cents, "saved_cents": saved_cents})

    async def order(self, request: Request) -> JSONResponse:
        order = self._stores.orders.get(request.path_params["number"])
        if order is None:
            raise HTTPException(404, "no such order")
        return JSONResponse(order.as_json())

    async def place_order(self, request: Request) -> JSONResponse:
        lines = self._lines(await _body(request, Cart))
        order = self._stores.orders.place(
            placed_on=self._stores.orders.last_day,
            lines=tuple((line.sku, line.quantity) for line in lines),
            total_cents=sum(line.unit_price_cents * line.quantity for line in lines),
        )
        return JSONResponse(order.as_json(), 201)

    async def check_delivery(self, request: Request) -> JSONResponse:
        delivery = await _body(request, Delivery)
        delivered = delivered_pieces(delivery.note, delivery.ordered)
        return JSONResponse({"articles": len(delivered), "pieces": sum(delivered.values())})

    async def sales(self, request: Request) -> JSONResponse:
        return JSONResponse({"weeks": sales_by_week(self._stores.orders.newest(REPORTED_ORDERS))})

    async def low_stock(self, request: Request) -> JSONResponse:
        counts = merge_counts(self._stores.stock.of(request.path_params["department"]))
        if not counts:
            raise HTTPException(404, "no such department")
        return JSONResponse({"low": [{"sku": count.sku, "pieces": count.pieces} for count in counts if count.pieces <= LOW_STOCK]})

    def routes(self) -> list[Route]:
        return [
            Route("/health", self.health),
            Route("/products", self.products),
            Route("/products/{sku}", self.product),
            Route("/products/{sku}/pictures", self.pictures),
            Route("/cart/price", self.price, methods=["POST"]),
            Route("/orders", self.place_order, methods=["POST"]),
            Route("/orders/{number:int}", self.order),
            Route("/deliveries", self.check_delivery, methods=["POST"]),
            Route("/reports/sales", self.sales),
            Route("/stock/{department}/low", self.low_stock),
        ]

    def _product(self, sku: str) -> Product:
        product = self._stores.catalogue.get(sku)
        if product is None:
            raise HTTPException(404, f"no product {sku}")
        return product

    def _lines(self, cart: Cart) -> list[Line]:
        return [Line(line.sku, line.quantity, self._product(line.sku).price_cents) for line in cart.lines]


def shop_app(stores: Stores, more: Sequence[Route] = ()) -> Starlette:
    """The shop over `stores`, with the routes `more` besides."""
    return Starlette(
        routes=[*Shop(stores).routes(), *more],
        exception_handlers={HTTPException: lambda request, error: JSONResponse({"error": error.detail}, error.status_code)},
    )


def _number(request: Request, name: str, default: int, largest: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and 1 <= int(text) <= largest):
        raise HTTPException(400, f"{name} is a number from 1 to {largest}")
    return int(text)


async def _body(request: Request, model: type[Body]) -> Body:
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as error:
        raise HTTPException(422, f"{error.error_count()} mistakes in the body") from error
