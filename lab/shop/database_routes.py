"""The shop's routes that use its database; there when the shop is started with one."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from lab.database import statements
from lab.database.models import Customer
from lab.database.shop import ShopDatabase


class DatabaseRoutes:
    def __init__(self, database: ShopDatabase) -> None:
        self._database = database

    async def search(self, request: Request) -> JSONResponse:
        found = await self._database.rows(statements.products_like(_text(request, "text")))
        return JSONResponse({"products": [{"sku": sku, "name": name, "price_cents": cents} for sku, name, cents in found]})

    async def account(self, request: Request) -> JSONResponse:
        customer = await self._database.customer(_text(request, "email"))
        if customer is None:
            raise HTTPException(404, "no such customer")
        orders = await self._database.rows(statements.orders_of(customer.id))
        return JSONResponse({**_customer(customer), "orders": [_order(*order) for order in orders]})

    async def order(self, request: Request) -> JSONResponse:
        found = await self._database.order(request.path_params["number"])
        if found is None:
            raise HTTPException(404, "no such order")
        order, lines = found
        sold = [{"sku": sku, "name": name, "quantity": quantity, "unit_price_cents": cents} for _, sku, name, quantity, cents in lines]
        told = _order(order.id, order.placed_at, order.status, order.total_cents)
        return JSONResponse({**told, "customer": _customer(order.customer), "lines": sold})

    async def newest(self, request: Request) -> JSONResponse:
        orders = await self._database.newest_orders()
        return JSONResponse({"orders": [{"number": number, "customer": name, "total_cents": cents} for number, name, cents in orders]})

    async def turnover(self, request: Request) -> JSONResponse:
        cities = await self._database.rows(statements.turnover_by_city(_text(request, "carrier")))
        return JSONResponse({"cities": [{"city": city, "orders": orders, "turnover_cents": cents} for city, orders, cents in cities]})

    def routes(self) -> list[Route]:
        return [
            Route("/search", self.search),
            Route("/account", self.account),
            Route("/account/orders/newest", self.newest),
            Route("/account/orders/{number:int}", self.order),
            Route("/reports/turnover", self.turnover),
        ]


def _text(request: Request, name: str) -> str:
    text = request.query_params.get(name, "")
    if not 3 <= len(text) <= 200:
        raise HTTPException(400, f"{name} has 3 to 200 characters")
    return text


def _customer(customer: Customer) -> dict[str, object]:
    return {"customer": customer.id, "name": customer.name, "email": customer.email}


def _order(number: int, placed_at: object, status: str, cents: int) -> dict[str, object]:
    return {"number": number, "placed_at": str(placed_at), "status": status, "total_cents": cents}
