import itertools
import json
from collections.abc import Iterator

import pytest

from lab.mix import DECK, requests
from lab.replay import replay
from lab.shop.app import Stores
from lab.shop.catalogue import DEPARTMENTS


@pytest.fixture
def stores() -> Iterator[Stores]:
    seeded = Stores.seeded(orders=2_000, seed=1)
    yield seeded
    seeded.checksums.close()


def _series(stores: Stores, count: int):
    skus = [product.sku for product in stores.catalogue.page(1, len(stores.catalogue))]
    return list(itertools.islice(requests(skus, list(DEPARTMENTS), 1), count))


async def test_every_request_of_the_mix_is_answered(stores: Stores) -> None:
    """The shop answers every kind of request of its load."""
    series = _series(stores, sum(DECK.values()))
    for request, reply in zip(series, await replay(stores, series), strict=True):
        status = b"201 Created" if request.kind == "place order" else b"200 OK"
        assert reply.startswith(b"HTTP/1.1 " + status), request.kind
        body = json.loads(reply.partition(b"\r\n\r\n")[2])
        match request.kind:
            case "price cart":
                assert body["total_cents"] > 0 and body["saved_cents"] > 0
            case "delivery":
                assert body["articles"] > 40
            case "sales report":
                assert sum(week["orders"] for week in body["weeks"]) == 2_000
            case "low stock":
                assert body["low"]
            case "picture checksums":
                assert len(body["checksums"]) == 4


async def test_planted_and_sound_shops_answer_the_same(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a seed, the replies do not depend on which problems are on."""
    from lab.shop import app, deliveries, pictures, pricing, reports, stock

    series = _series(stores, sum(DECK.values()))
    answers = []
    for planted in (True, False):
        monkeypatch.setattr(pricing, "qualifying_campaigns", pricing.qualifying_by_campaign if planted else pricing.qualifying_by_article)
        monkeypatch.setattr(app, "delivered_pieces", deliveries.pieces_by_article if planted else deliveries.pieces_by_entry)
        monkeypatch.setattr(reports, "day_of", reports.read_day if planted else reports.read_day_once)
        monkeypatch.setattr(app, "merge_counts", stock.merge_into_list if planted else stock.merge_by_article)
        monkeypatch.setattr(pictures, "checksum", pictures.crc_by_table if planted else pictures.crc_by_library)
        fresh = Stores.seeded(orders=2_000, seed=1)
        replies = await replay(fresh, series)
        fresh.checksums.close()
        answers.append([reply.partition(b"\r\n\r\n")[2] for reply in replies])
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/products/GAR-99999", b"", b"404"),
        ("GET", "/products?page=0", b"", b"400"),
        ("GET", "/products?page=x", b"", b"400"),
        ("GET", "/products?size=100000", b"", b"400"),
        ("GET", "/orders/2001", b"", b"404"),
        ("GET", "/stock/attic/low", b"", b"404"),
        ("POST", "/cart/price", b"{", b"422"),
        ("POST", "/cart/price", b'{"lines": []}', b"422"),
        ("POST", "/cart/price", b'{"lines": [{"sku": "GAR-99999", "quantity": 1}]}', b"404"),
        ("POST", "/orders", b'{"lines": [{"sku": "GAR-00001", "quantity": -1}]}', b"422"),
        ("DELETE", "/orders", b"", b"405"),
    ],
)
async def test_bad_requests_are_refused(stores: Stores, method: str, path: str, body: bytes, status: bytes) -> None:
    """What the shop does not have or understand is refused with the status that says so."""
    from lab.mix import Request

    (reply,) = await replay(stores, [Request("bad", method, path, body)])
    assert reply.startswith(b"HTTP/1.1 " + status)


def test_a_seed_makes_the_same_shop() -> None:
    """The data depends on the seed and the number of orders alone."""
    one, same, other = Stores.seeded(2_000, 1), Stores.seeded(2_000, 1), Stores.seeded(2_000, 2)
    assert one.orders.newest(10) == same.orders.newest(10) != other.orders.newest(10)
    assert one.campaigns.all == same.campaigns.all != other.campaigns.all
