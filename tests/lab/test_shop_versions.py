"""The planted and the sound version of each function give equal results."""

import binascii
from copy import deepcopy

from hypothesis import given, settings
from hypothesis import strategies as st

from lab.shop.deliveries import pieces_by_article, pieces_by_entry
from lab.shop.pictures import crc_by_library, crc_by_table
from lab.shop.pricing import Campaign, Campaigns, Line, qualifying_by_article, qualifying_by_campaign
from lab.shop.reports import read_day, read_day_once
from lab.shop.stock import Count, merge_by_article, merge_into_list

FEW = settings(max_examples=60, deadline=None)
SKUS = st.sampled_from([f"GAR-{number:05d}" for number in range(8)] + ["KIT-00001", "CLO-00001"])


@FEW
@given(
    campaigns=st.lists(
        st.builds(
            Campaign, title=st.text(max_size=3), articles=st.lists(SKUS, max_size=8), minimum=st.integers(1, 4), percent=st.integers(1, 50)
        ),
        max_size=8,
    ),
    lines=st.lists(st.builds(Line, sku=SKUS, quantity=st.integers(1, 5), unit_price_cents=st.integers(1, 500)), max_size=8),
)
def test_discount_rules(campaigns: list[Campaign], lines: list[Line]) -> None:
    """The same campaigns qualify, in the same order, articles and lines named twice included."""
    known = Campaigns(campaigns)
    assert qualifying_by_campaign(known, lines) == qualifying_by_article(known, lines)


ENTRY = st.builds(
    "{}{}{}{}{}x{}{}{}".format,
    st.sampled_from(["", "  ", "\t"]),
    st.sampled_from(["", "1. ", "12345. ", "7."]),
    SKUS,
    st.sampled_from(["", "/XL", "/XXXL", " (red)", "/S (dark (green)", "/M (sand)"]),
    st.sampled_from([" ", "", "\t"]),
    st.sampled_from(["", " ", "\n"]),
    st.integers(0, 9_999_999),
    st.sampled_from(["", "  ", " pieces", " GAR-00001 x 3"]),
)


@FEW
@given(
    lines=st.lists(ENTRY | SKUS | st.text(alphabet="GAR-0123456789x* \t()/.\n\r", max_size=30), max_size=12),
    between=st.sampled_from(["\n", "\n\n", "\r\n", "\n ", "\x0b"]),
    ordered=st.lists(SKUS, max_size=10),
)
def test_delivery_notes(lines: list[str], between: str, ordered: list[str]) -> None:
    """The same pieces are read from any text, articles that come twice or are ordered twice included."""
    note = between.join(lines)
    by_article, by_entry = pieces_by_article(note, ordered), pieces_by_entry(note, ordered)
    assert by_article == by_entry
    assert list(by_article) == list(by_entry)


def test_a_delivery_note_is_read() -> None:
    """Entries count with number, size and colour; the first of an article wins; other text does not matter."""
    note = "Dear shop,\n  1. GAR-00001/XL (dark green) x 24\nGAR-00002 x3\n 3. GAR-00001 x 99\nGAR-00003: none\nfor GAR-00004 x 1\n"
    ordered = ["GAR-00003", "GAR-00002", "GAR-00001", "GAR-00004"]
    assert pieces_by_article(note, ordered) == {"GAR-00002": 3, "GAR-00001": 24}


@FEW
@given(st.dates().filter(lambda day: day.year >= 1_000))
def test_report_dates(day) -> None:
    """Both read the same day, the first time and every other."""
    text = day.strftime("%d %b %Y")
    assert read_day(text) == read_day_once(text) == read_day_once(text) == day


@FEW
@given(st.lists(st.lists(st.builds(Count, sku=SKUS, pieces=st.integers(0, 50)), max_size=12), max_size=4))
def test_stock_merge(lists: list[list[Count]]) -> None:
    """The same counts come out in the same order, and the lists that went in are left alone."""
    before = deepcopy(lists)
    assert merge_into_list(lists) == merge_by_article(lists)
    assert lists == before


@FEW
@given(st.binary(max_size=200))
def test_picture_checksums(picture: bytes) -> None:
    """Both give the same checksum."""
    assert crc_by_table(picture) == crc_by_library(picture)


def test_the_checksum_is_the_published_one() -> None:
    """The check value of CRC-16/IBM-3740 (Cook's catalogue of parametrised CRC algorithms) comes out."""
    assert crc_by_table(b"123456789") == 0x29B1 == binascii.crc_hqx(b"123456789", 0xFFFF)
