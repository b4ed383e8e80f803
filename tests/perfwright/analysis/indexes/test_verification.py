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
    without_use,
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


def read(factors: tuple[float, ...], blocks: tuple[int, int]) -> VerifiedQuery:
    return verified_query([100.0] * len(factors), [100.0 * one for one in factors], plan_changed=True, blocks=blocks)


@pytest.mark.parametrize(
    ("factors", "blocks", "helped"),
    [
        ((1.2, 0.9, 1.02), (228, 284), False),  # time undecided
        ((0.9, 0.9, 0.9), (228, 284), False),  # three pairs of equal ones look like this once in eight times
        ((0.9,) * 6 + (1.1,), (228, 284), True),
        ((0.9,) * 5 + (1.1, 1.1), (228, 284), False),
        ((0.5, 0.6, 0.5), (228, 284), True),
        ((1.2, 0.9, 1.02), (228, 57), True),
        ((1.2, 1.2, 1.2), (228, 57), False),
        ((1.0, 1.0, 1.0), (228, 228), False),
        ((1.0, 1.0, 1.0), (0, 0), False),
    ],
)
def test_more_blocks_need_a_time_that_speaks_for_them(factors: tuple[float, ...], blocks: tuple[int, int], helped: bool) -> None:
    """Fewer blocks speak for an index by themselves, unless the query seems to be slower."""
    found = read(factors, blocks)
    assert found.helped is helped and found.decided <= helped


def test_what_nobody_notices_is_no_gain() -> None:
    """A narrower index that saves a block and some microseconds of a call is not worth its upkeep, however sure that is."""
    found = verified_query([0.05] * 9, [0.03] * 9, plan_changed=True, blocks=(4, 3))
    assert not found.helped and not found.fewer_blocks and found.ratio == pytest.approx(0.6)


def test_a_query_that_was_as_quick_once_is_not_slower() -> None:
    """Most of its pairs were disturbed; the quickest runs of both sides are alike. One that is slower is so at its best, too."""
    disturbed = verified_query([100.0] * 9, [101.0, *[130.0] * 8], plan_changed=True)
    assert disturbed.ratio > 1.2 and not disturbed.suspicious
    assert verified_query([100.0] * 9, [108.0, *[130.0] * 8], plan_changed=True).suspicious


def test_an_index_that_helps_nobody_is_told() -> None:
    """B is read by a query that needs more blocks in about the same time, and by none else; A is read by another that gains too."""
    queries = {0: read((1.2, 0.9, 1.02), (228, 284)), 1: read((0.2, 0.2, 0.2), (100, 10))}
    used = {0: frozenset((A, B)), 1: frozenset((A,))}
    assert without_use(frozenset((A, B)), queries, used, (1.0, 1.0)) == B
    assert without_use(frozenset((A,)), queries, used, (1.0, 1.0)) is None
    assert without_use(frozenset((LONG, A)), queries, used, (1.0, 1.0)) == LONG, "no plan reads it"
