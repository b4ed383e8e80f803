"""Sales reports over the newest orders."""

from collections.abc import Callable
from datetime import date, datetime
from functools import lru_cache

from lab.problems import version
from lab.shop.orders import Order


def read_day(text: str) -> date:
    """The day of an order: `14 Mar 2024`."""
    return datetime.strptime(text, "%d %b %Y").date()  # planted: report-dates


read_day_once: Callable[[str], date] = lru_cache(maxsize=4_096)(read_day)

day_of = version("report-dates", planted=read_day, sound=read_day_once)


def sales_by_week(orders: list[Order]) -> list[dict[str, str | int]]:
    """Orders and turnover of each ISO week that has orders, oldest first."""
    orders_on: dict[date, int] = {}
    turnover_on: dict[date, int] = {}
    for order in orders:
        day = day_of(order.placed_on)
        orders_on[day] = orders_on.get(day, 0) + 1
        turnover_on[day] = turnover_on.get(day, 0) + order.total_cents
    weeks: dict[str, tuple[int, int]] = {}
    for day in sorted(orders_on):
        year, week, _ = day.isocalendar()
        count, cents = weeks.get(f"{year}-W{week:02d}", (0, 0))
        weeks[f"{year}-W{week:02d}"] = (count + orders_on[day], cents + turnover_on[day])
    return [{"week": week, "orders": count, "turnover_cents": cents} for week, (count, cents) in weeks.items()]
