"""Which planted problems are on: `LAB_PROBLEMS=all|none|name,name`; all when it is not set.

Read once, when the module that holds the two versions is imported: nothing is decided per call, so the choice costs nothing.
"""

import os
from typing import TypeVar

VARIABLE = "LAB_PROBLEMS"
SHOP = ("discount-rules", "delivery-notes", "report-dates", "stock-merge", "picture-checksums")
PROGRAMS = ("jvm-articles", "node-prices", "native-bookings")
QUERIES = ("order-lines", "email-lookup", "product-search", "carrier-turnover", "payment-pauses", "order-feed", "price-comparison")
DATABASE = (*QUERIES, "order-list", "customer-orders-index", "server-settings")
COLLECTED = ("recommender-visits", "price-lists", "stocktaking")
NAMES = SHOP + PROGRAMS + DATABASE + COLLECTED

Version = TypeVar("Version")


def chosen(wanted: str) -> frozenset[str]:
    """The problems that `wanted` (`all`, `none` or names with commas) switches on; ValueError names what is unknown and what is allowed."""
    names = {part.strip() for part in wanted.split(",")}
    if names == {"all"}:
        return frozenset(NAMES)
    if names == {"none"}:
        return frozenset()
    if unknown := sorted(names.difference(NAMES)):
        raise ValueError(f"{VARIABLE}: unknown {', '.join(map(repr, unknown))}; allowed are all, none, or any of {', '.join(NAMES)}")
    return frozenset(names)


def version(problem: str, *, planted: Version, sound: Version) -> Version:
    """`planted` where the environment switches `problem` on, otherwise `sound`; both give equal results."""
    return planted if problem in chosen(os.environ.get(VARIABLE, "all")) else sound
