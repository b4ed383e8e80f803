"""Adds up stock by article, and ends: `python -m lab.gc.stocktaking`. Standard library alone."""

from array import array
from collections.abc import Iterator

from lab import problems

MOVEMENTS = 100_000
ARTICLES = 5_000


def movements() -> Iterator[tuple[int, int]]:
    """Article and pieces."""
    for number in range(MOVEMENTS):
        yield number * 7_919 % ARTICLES, number % 23 - 9


def keep_as_objects() -> dict[int, int]:
    """Every movement is an object with parts of its own until the end."""
    kept = [{"article": article, "pieces": [pieces], "tags": [[article]]} for article, pieces in movements()]  # planted: stocktaking
    stock: dict[int, int] = {}
    for one in kept:
        stock[one["article"]] = stock.get(one["article"], 0) + one["pieces"][0]  # type: ignore[index,call-overload]
    return stock


def keep_as_numbers() -> dict[int, int]:
    """Two arrays, which no collector has to look at."""
    articles, pieces = array("q"), array("q")
    for article, count in movements():
        articles.append(article)
        pieces.append(count)
    stock: dict[int, int] = {}
    for article, count in zip(articles, pieces, strict=True):
        stock[article] = stock.get(article, 0) + count
    return stock


def main() -> None:
    stock = problems.version("stocktaking", planted=keep_as_objects, sound=keep_as_numbers)()
    print(sum(article * pieces for article, pieces in stock.items()))


if __name__ == "__main__":
    main()
