"""Sizes of indexes follow from rows, widths and distinct values (against real ones: test_on_postgres.py)."""

from hypothesis import given
from hypothesis import strategies as st

from perfwright.analysis.query_advice.index_sizes import PAGE_BYTES, btree_bytes
from tests.perfwright.analysis.query_advice.drawn import ORDERS, column, table

MB = 1 << 20


def test_repeated_keys_are_stored_once() -> None:
    """A million rows: 4 statuses take the room of row pointers; unique numbers three times as much."""
    assert 6 * MB < btree_bytes(ORDERS, ["status"]) < 7.5 * MB
    assert 20 * MB < btree_bytes(ORDERS, ["id"]) < 23 * MB


def test_without_rows_there_is_no_estimate() -> None:
    """Never analyzed: 0, which is told as unknown."""
    assert btree_bytes(table("new", column("a"), rows=-1), ["a"]) == 0


@given(st.integers(1, 10**8), st.floats(1, 10**7), st.integers(1, 500))
def test_a_further_column_never_makes_it_smaller(rows: int, distinct: float, width: int) -> None:
    """And whole pages are counted."""
    facts = table("t", column("a", "text", distinct=distinct, width=width), column("b", distinct=3.0), rows=rows)
    one, two = btree_bytes(facts, ["a"]), btree_bytes(facts, ["a", "b"])
    assert 0 < one <= two * 1.01 and one % PAGE_BYTES == 0
