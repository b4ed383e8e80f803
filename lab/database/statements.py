"""What the shop asks its database, as SQLAlchemy statements."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, literal, select, tuple_
from sqlalchemy.orm import aliased, joinedload

from lab.database.models import Customer, Order, OrderLine, Payment, Product, Review, Shipment
from lab.problems import version

Query = Select[*tuple[Any, ...]]
"""Rows of any columns."""
PAGE = 20
FEED_PAGE = 100
PAUSES = 10


def product_by_sku(sku: str) -> Select[Product]:
    return select(Product).where(Product.sku == sku)


def department_page(department: str, after_sku: str) -> Query:
    columns = (Product.sku, Product.name, Product.brand, Product.price_cents)
    return select(*columns).where(Product.department == department, Product.sku > after_sku).order_by(Product.sku).limit(PAGE)


def brand_page(brand: str) -> Query:
    return select(Product.sku, Product.name, Product.price_cents).where(Product.brand == brand).order_by(Product.sku).limit(PAGE)


def products_like(part: str) -> Query:
    """Products whose description has `part` somewhere."""
    columns = (Product.sku, Product.name, Product.price_cents)
    return select(*columns).where(Product.description.ilike(f"%{part}%")).order_by(Product.name, Product.sku).limit(PAGE)


def dearer_than_brand_one_by_one(department: str) -> Query:
    """Products of a department that cost more than the average of their brand, the dearest first."""
    other = aliased(Product)
    average = select(func.avg(other.price_cents)).where(other.brand == Product.brand).scalar_subquery()  # planted: price-comparison
    return _dearest(select(*_COMPARED).where(Product.department == department, Product.price_cents > average))


def dearer_than_brand_averages(department: str) -> Query:
    """Products of a department that cost more than the average of their brand, the dearest first."""
    brands = select(Product.brand, func.avg(Product.price_cents).label("average")).group_by(Product.brand).subquery()
    joined = select(*_COMPARED).join(brands, brands.c.brand == Product.brand)
    return _dearest(joined.where(Product.department == department, Product.price_cents > brands.c.average))


_COMPARED = (Product.sku, Product.brand, Product.price_cents)


def _dearest(products: Query) -> Query:
    return products.order_by(Product.price_cents.desc(), Product.sku).limit(PAGE)


dearer_than_brand = version("price-comparison", planted=dearer_than_brand_one_by_one, sound=dearer_than_brand_averages)


def reviews_of(product_id: int) -> Query:
    newest = select(Review.rating, Review.written_at, Review.body).where(Review.product_id == product_id)
    return newest.order_by(Review.written_at.desc()).limit(10)


def reviews_by(customer_id: int) -> Query:
    return select(Review.product_id, Review.rating, Review.body).where(Review.customer_id == customer_id).limit(50)


def customer_by_email(typed: str) -> Select[Customer]:
    """Whoever has that address, in whatever case it is typed."""
    return select(Customer).where(func.lower(Customer.email) == typed.lower())


def orders_of(customer_id: int) -> Query:
    columns = (Order.id, Order.placed_at, Order.status, Order.total_cents)
    return select(*columns).where(Order.customer_id == customer_id).order_by(Order.placed_at.desc()).limit(PAGE)


def order_with_payment(order_id: int) -> Select[Order]:
    return select(Order).where(Order.id == order_id).options(joinedload(Order.customer), joinedload(Order.payment))


def lines_of(order_id: int) -> Query:
    columns = (OrderLine.id, Product.sku, Product.name, OrderLine.quantity, OrderLine.unit_price_cents)
    return select(*columns).join(OrderLine.product).where(OrderLine.order_id == order_id).order_by(OrderLine.id)


def sold_of(product_id: int) -> Query:
    return select(func.count(), func.sum(OrderLine.quantity)).where(OrderLine.product_id == product_id)


def newest_orders_alone() -> Select[Order]:
    return select(Order).order_by(Order.placed_at.desc(), Order.id.desc()).limit(PAGE)  # planted: order-list


def newest_orders_joined() -> Select[Order]:
    return newest_orders_alone().options(joinedload(Order.customer))


order_list = version("order-list", planted=newest_orders_alone, sound=newest_orders_joined)


@dataclass(frozen=True)
class FeedPlace:
    """How far the accounts' feed of orders has come."""

    pages: int
    placed_at: datetime
    id: int


def feed_page_by_number(place: FeedPlace) -> Query:
    """The next orders of the feed, oldest first."""
    return _feed().limit(FEED_PAGE).offset(place.pages * FEED_PAGE)  # planted: order-feed


def feed_page_by_key(place: FeedPlace) -> Query:
    """The next orders of the feed, oldest first."""
    key = tuple_(Order.placed_at, Order.id)
    reached = tuple_(literal(place.placed_at, Order.placed_at.type), literal(place.id, Order.id.type))
    return _feed().where(key > reached).limit(FEED_PAGE)


def _feed() -> Query:
    return select(Order.id, Order.placed_at, Order.status, Order.total_cents).order_by(Order.placed_at, Order.id)


feed_page = version("order-feed", planted=feed_page_by_number, sound=feed_page_by_key)


def shipments_of(carrier: str) -> Query:
    newest = select(Shipment.id, Shipment.order_id, Shipment.depot, Shipment.shipped_at).where(Shipment.carrier == carrier)
    return newest.order_by(Shipment.shipped_at.desc()).limit(PAGE)


def turnover_by_city(carrier: str) -> Query:
    """Orders and turnover by city, of what a carrier delivered."""
    columns = (Customer.city, func.count().label("orders"), func.sum(Order.total_cents).label("turnover"))
    joined = select(*columns).select_from(Shipment).join(Shipment.order).join(Order.customer)
    return joined.where(Shipment.carrier == carrier).group_by(Customer.city).order_by(Customer.city)


def payment_pauses() -> Query:
    """The payments before which none was booked for longest, with the provider's reply."""
    since_last = Payment.booked_at - func.lag(Payment.booked_at).over(order_by=(Payment.booked_at, Payment.id))
    booked = select(Payment.id, Payment.booked_at, Payment.provider_reply, since_last.label("pause")).subquery()
    return select(booked).order_by(booked.c.pause.desc().nulls_last(), booked.c.id).limit(PAUSES)
