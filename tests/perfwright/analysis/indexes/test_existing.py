"""Existing indexes: what nobody scanned is only told where it was there all the time, and where no foreign key leans on it."""

from datetime import datetime, timedelta

import pytest

from perfwright.analysis.indexes.existing import existing_indexes
from perfwright.analysis.indexes.foreign_keys import foreign_keys_without_index, serves_key
from perfwright.analysis.indexes.redundancy import BUSINESS_CYCLE, IndexKey, IndexRow, ServerScans
from perfwright.analysis.indexes.sightings import Look
from perfwright.models.database import Catalog, ForeignKeyFacts, IndexFacts, TableFacts

NOW = "2026-11-26T12:00:00+00:00"
KEY = ForeignKeyFacts(name="k", columns=("coupon_id",), references_schema="public", references_table="coupons", references_columns=("id",))


def ago(span: timedelta) -> str:
    return (datetime.fromisoformat(NOW) - span).isoformat()


LONG_AGO, LATELY = ago(BUSINESS_CYCLE + timedelta(hours=1)), ago(BUSINESS_CYCLE - timedelta(hours=1))


def row(name: str, *keys: str, there_since: str = LONG_AGO, **more: object) -> IndexRow:
    found = tuple(IndexKey(expression=key, operator_class="int4_ops") for key in keys)
    given = {"schema_name": "public", "table": "orders", "definition": f"CREATE INDEX {name}", "method": "btree", "oid": 7}
    return IndexRow.model_validate({"name": name, "keys": found, "there_since": there_since} | given | more)


def catalog(*keys: ForeignKeyFacts, oid: int = 7) -> Catalog:
    indexes = (IndexFacts(name="idle", definition="", keys=("total",), oid=oid),)
    return Catalog(database="shop", tables=(TableFacts(schema_name="public", name="orders", foreign_keys=keys, indexes=indexes),))


def idle(*rows: IndexRow, keys: tuple[ForeignKeyFacts, ...] = (), earlier: Look | None = None) -> tuple[list[str], tuple[str, ...]]:
    """Names of those that are said to be unused; and those of unknown age."""
    scans = ServerScans(server="one", counted_since=LONG_AGO, scans={one.title: 0 for one in rows})
    found = existing_indexes(rows, (scans,), 0, NOW, catalog(*keys), earlier)
    return [one.name for one in found.noted if one.kind == "unused"], found.of_unknown_age


@pytest.mark.parametrize(("there_since", "unused"), [(LONG_AGO, True), (LATELY, False), ("", False)])
def test_what_may_have_been_made_since_is_not_called_unused(there_since: str, unused: bool) -> None:
    """A server that counts for 36 days says nothing of an index that was made an hour ago: its age has to be known."""
    assert idle(row("idle", "total", there_since=there_since)) == ((["public.idle"], ()) if unused else ([], ("public.idle",)))


@pytest.mark.parametrize(
    ("at", "oid", "database", "unused"),
    [(LONG_AGO, 7, "shop", True), (LATELY, 7, "shop", False), (LONG_AGO, 8, "shop", False), (LONG_AGO, 7, "till", False)],
)
def test_an_earlier_run_knows_that_it_was_there(at: str, oid: int, database: str, unused: bool) -> None:
    """The same one of the same database: one that was dropped and made again since has another oid, and counts from then on."""
    look = Look(at, catalog(oid=oid).model_copy(update={"database": database}))
    assert (idle(row("idle", "total", there_since=""), earlier=look)[0] == ["public.idle"]) is unused
    assert idle(row("idle", "total", there_since=LONG_AGO), earlier=look)[0] == ["public.idle"], "what is known already stays"


def test_what_a_foreign_key_leans_on_stays() -> None:
    """Parents may be deleted once a quarter: of the indexes that would serve, the smallest stays; where another one is scanned, none has to."""
    first, second = row("first", "coupon_id", bytes=10), row("second", "coupon_id", "total", predicate="(coupon_id IS NOT NULL)", bytes=20)
    assert idle(first, second) == (["public.first", "public.second"], ())
    assert idle(first, second, keys=(KEY,)) == (["public.second"], ())
    assert idle(first, second.model_copy(update={"unique": True}), keys=(KEY,))[0] == ["public.first"]
    assert idle(row("other", "total"), keys=(KEY,))[0] == ["public.other"]


@pytest.mark.parametrize(
    ("columns", "keys", "predicate", "serves"),
    [
        (("a",), ("a", "b"), "", True),
        (("a", "b"), ("b", "a"), "", True),
        (("a",), ("b", "a"), "", False),
        (("a",), ("a",), "(a IS NOT NULL)", True),
        (("a", "b"), ("a", "b"), "((a IS NOT NULL) AND (b IS NOT NULL))", True),
        (("a", "b"), ("a", "b"), "(b IS NOT NULL)", True),
        (("a",), ("a",), "((a IS NOT NULL) AND (b IS NOT NULL))", False),
        (("a",), ("a",), "(a > 5)", False),
        (("a",), ("a",), "((a IS NOT NULL) OR (a IS NULL))", False),
        (("A",), ('"A"',), '("A" IS NOT NULL)', True),
    ],
)
def test_which_indexes_serve_a_foreign_key(columns: tuple[str, ...], keys: tuple[str, ...], predicate: str, serves: bool) -> None:
    """Its columns come first, and no row that may refer is left out: those with a NULL refer to nothing."""
    index, key = row("one", *keys, predicate=predicate), ("public", "orders", columns)
    assert serves_key(index, key) is serves
    assert bool(foreign_keys_without_index((index,), (key,))) is not serves
    assert not serves_key(index.model_copy(update={"valid": False}), key) and not serves_key(index, ("public", "lines", columns))
