"""What the shop does with its database: one session and one transaction per call, as its routes would."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from lab.database import statements
from lab.database.dsn import for_sqlalchemy
from lab.database.models import Customer, Order, OrderLine, Payment, Product
from lab.database.statements import FeedPlace, Query

CONNECTIONS = 4

Rows = Sequence[Sequence[Any]]


class ShopDatabase:
    """The shop's calls, on a pool of connections."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        self._sessions = sessions

    async def rows(self, statement: Query) -> Rows:
        """What a single statement returns."""
        async with self._sessions() as session:
            return [tuple(row) for row in await session.execute(statement)]

    async def product(self, sku: str) -> Product | None:
        async with self._sessions() as session:
            found: Product | None = await session.scalar(statements.product_by_sku(sku))
            return found

    async def customer(self, email: str) -> Customer | None:
        async with self._sessions() as session:
            found: Customer | None = await session.scalar(statements.customer_by_email(email))
            return found

    async def order(self, number: int) -> tuple[Order, Rows] | None:
        """An order with customer and payment, and its lines."""
        async with self._sessions() as session:
            order = await session.scalar(statements.order_with_payment(number))
            if order is None:
                return None
            return order, [tuple(row) for row in await session.execute(statements.lines_of(number))]

    async def newest_orders(self) -> list[tuple[int, str, int]]:
        """Number, customer's name and total of the newest orders."""
        async with self._sessions() as session:
            orders = await session.scalars(statements.order_list())
            return [(order.id, (await order.awaitable_attrs.customer).name, order.total_cents) for order in orders]

    async def feed(self, place: FeedPlace) -> tuple[Rows, FeedPlace]:
        """The next page of the accounts' feed, and how far that is."""
        page = await self.rows(statements.feed_page(place))
        if not page:
            return page, place
        number, placed_at = page[-1][:2]
        return page, replace(place, pages=place.pages + 1, placed_at=placed_at, id=number)

    async def place_order(self, customer_id: int, wanted: Sequence[tuple[int, int]]) -> int:
        """A new order of `wanted` (product, quantity), booked a minute after the newest; its number."""
        async with self._sessions.begin() as session:
            newest = (
                await session.execute(select(Order.placed_at).order_by(Order.placed_at.desc(), Order.id.desc()).limit(1))
            ).scalar_one()
            placed_at = newest + timedelta(minutes=1)
            lines = []
            for product_id, quantity in sorted(wanted):
                product = await session.get_one(Product, product_id)
                lines.append(OrderLine(product_id=product_id, quantity=quantity, unit_price_cents=product.price_cents))
            total = sum(line.quantity * line.unit_price_cents for line in lines)
            payment = Payment(method="card", booked_at=placed_at, amount_cents=total, provider_reply='{"provider":"northpay"}')
            order = Order(customer_id=customer_id, placed_at=placed_at, status="open", total_cents=total, lines=lines, payment=payment)
            session.add(order)
            await session.flush()
            return order.id

    async def close_order(self, number: int) -> None:
        async with self._sessions.begin() as session:
            await session.execute(update(Order).where(Order.id == number, Order.status == "open").values(status="done"))

    async def newest_numbers(self) -> tuple[int, int, int]:
        """The highest customer, product and order."""
        async with self._sessions() as session:
            customer, product, order = [await session.scalar(select(func.max(table.id))) for table in (Customer, Product, Order)]
            if None in (customer, product, order):
                raise ValueError("the database has no shop in it")
            return int(customer or 0), int(product or 0), int(order or 0)


def sessions_of(dsn: str) -> async_sessionmaker[AsyncSession]:
    """Sessions on a pool of connections to the database of `dsn`; connects when first used."""
    settings = {"server_settings": {"application_name": "shop"}}
    engine = create_async_engine(for_sqlalchemy(dsn), pool_size=CONNECTIONS, max_overflow=0, connect_args=settings)
    return async_sessionmaker(engine, expire_on_commit=False)


@asynccontextmanager
async def shop_database(dsn: str) -> AsyncIterator[ShopDatabase]:
    """The shop's calls on the database of `dsn`; its connections are closed at the end."""
    sessions = sessions_of(dsn)
    try:
        yield ShopDatabase(sessions)
    finally:
        await sessions.kw["bind"].dispose()
