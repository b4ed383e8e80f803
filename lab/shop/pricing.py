"""Prices of carts: campaigns give the customer the best discount that each line of the cart qualifies for."""

import random
from dataclasses import dataclass

from lab.problems import version
from lab.shop.catalogue import Catalogue

CAMPAIGNS = 300
ARTICLES_PER_CAMPAIGN = 130


@dataclass(frozen=True, slots=True)
class Line:
    sku: str
    quantity: int
    unit_price_cents: int


@dataclass(frozen=True, slots=True)
class Campaign:
    """`percent` off each of the `articles`, from `minimum` pieces in one line."""

    title: str
    articles: list[str]
    minimum: int
    percent: int


class Campaigns:
    def __init__(self, campaigns: list[Campaign]) -> None:
        self.all = campaigns
        self.by_article: dict[str, list[int]] = {}
        for position, campaign in enumerate(campaigns):
            for sku in dict.fromkeys(campaign.articles):
                self.by_article.setdefault(sku, []).append(position)

    @classmethod
    def seeded(cls, catalogue: Catalogue, seed: int) -> "Campaigns":
        chance = random.Random(f"campaigns-{seed}")
        skus = [product.sku for product in catalogue.page(1, len(catalogue))]
        return cls(
            [
                Campaign(f"campaign {number}", chance.sample(skus, ARTICLES_PER_CAMPAIGN), chance.randint(1, 5), chance.randint(3, 30))
                for number in range(CAMPAIGNS)
            ]
        )


def qualifying_by_campaign(campaigns: Campaigns, lines: list[Line]) -> list[tuple[Campaign, Line]]:
    """Each campaign with each line that it applies to, in the order of the campaigns, then of the lines."""
    qualifying = []
    for campaign in campaigns.all:
        for line in lines:
            if line.sku in campaign.articles and line.quantity >= campaign.minimum:  # planted: discount-rules
                qualifying.append((campaign, line))
    return qualifying


def qualifying_by_article(campaigns: Campaigns, lines: list[Line]) -> list[tuple[Campaign, Line]]:
    """Each campaign with each line that it applies to, in the order of the campaigns, then of the lines."""
    qualifying = []
    for number, line in enumerate(lines):
        for position in campaigns.by_article.get(line.sku, ()):
            if line.quantity >= campaigns.all[position].minimum:
                qualifying.append((position, number))
    return [(campaigns.all[position], lines[number]) for position, number in sorted(qualifying)]


qualifying_campaigns = version("discount-rules", planted=qualifying_by_campaign, sound=qualifying_by_article)


def price_cart(campaigns: Campaigns, lines: list[Line]) -> tuple[int, int]:
    """What the cart costs and how much of it was taken off, in cents; one discount per article, the best."""
    best: dict[str, int] = {}
    for campaign, line in qualifying_campaigns(campaigns, lines):
        best[line.sku] = max(best.get(line.sku, 0), campaign.percent)
    full = sum(line.quantity * line.unit_price_cents for line in lines)
    saved = sum(line.quantity * line.unit_price_cents * best.get(line.sku, 0) // 100 for line in lines)
    return full - saved, saved
