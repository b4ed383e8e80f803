"""What counts as a regression, and which index goes for it."""

import pytest

from perfwright.analysis.indexes.definitions import IndexDefinition
from perfwright.analysis.indexes.verification import (
    VerifiedQuery,
    geometric_mean_gain,
    least_missed,
    shorter,
    value,
    verified_query,
    ways_out,
)

BEFORE = (100.0, 101.0, 99.0, 100.0, 102.0, 98.0, 100.0)
A, B = IndexDefinition("public", "t", ("a",)), IndexDefinition("public", "t", ("b",))
LONG = IndexDefinition("public", "t", ("a", "c"), ("d",))


def times(factor: float) -> VerifiedQuery:
    return verified_query(BEFORE, [one * factor for one in BEFORE], plan_changed=True)


@pytest.mark.parametrize(
    ("factor", "changed", "regressed"), [(1.3, True, True), (1.3, False, False), (1.08, True, False), (0.5, True, False)]
)
def test_a_regression_is_slower_and_has_another_plan(factor: float, changed: bool, regressed: bool) -> None:
    """The same plan is never one, whatever the machine did."""
    found = verified_query(BEFORE, [one * factor for one in BEFORE], plan_changed=changed)
    assert found.regressed is regressed and found.ratio == pytest.approx(factor)


def test_most_pairs_must_agree() -> None:
    """Two slow outliers of seven are the machine's."""
    after = [90.0, 300.0, 90.0, 400.0, 91.0, 92.0, 90.0]
    assert not verified_query(BEFORE, after, plan_changed=True).regressed


def test_the_geometric_mean_treats_twice_and_half_alike() -> None:
    """Twice as fast and twice as slow cancel out."""
    assert geometric_mean_gain([times(0.5), times(2.0)]) == pytest.approx(1.0)
    assert geometric_mean_gain([times(0.25), times(1.0)]) == pytest.approx(2.0) and geometric_mean_gain([]) == 1.0


def test_the_ways_out_of_a_slower_query() -> None:
    """Without an index that its plan reads, or with another one that begins alike; none where no query is slower."""
    queries = {0: times(1.2), 1: times(0.2)}
    used = {0: frozenset((LONG,)), 1: frozenset((B,))}
    assert set(ways_out(frozenset((LONG, B)), queries, used, (LONG, A, B))) == {frozenset((B,)), frozenset((A, B))}
    assert ways_out(frozenset((LONG, B)), {1: times(0.2)}, used, (LONG, A, B)) == ()


def test_the_index_that_others_miss_least_goes() -> None:
    """Query 0 is slower by A and B; query 1 lives on A."""
    assert least_missed({0: times(1.2), 1: times(0.2)}, {0: frozenset((A, B)), 1: frozenset((A,))}) == B


def test_no_gain_pays_for_a_slower_query() -> None:
    """A hundred times faster elsewhere, and a tenth slower here, is worse than nothing."""
    assert value({0: times(1.1), 1: times(0.01)}, (1.0, 1.0)) > 0 > value({0: times(1.02), 1: times(0.9)}, (1.0, 1.0))


def test_shorter_forms_are_keys_alone_and_the_first_key() -> None:
    """Each once, without those that are there."""
    assert shorter((LONG, B)) == (IndexDefinition("public", "t", ("a", "c")), A)
