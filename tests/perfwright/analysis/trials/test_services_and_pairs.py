"""Services, and sides that are switched rather than restarted."""

import math

import numpy as np
import pytest

from perfwright.analysis.trials.pairs import pair_data, pair_orders
from perfwright.analysis.trials.services import p50_datum, p99_datum, request_orders, service_designs
from perfwright.models.trial import Block


def test_p50_compares_each_request_with_itself() -> None:
    """Requests between 1 ms and 1 s, each 3 % slower at B: 3 %, although the medians of the sides drown in the mix."""
    a = {str(n): 0.001 * 1.07**n for n in range(100)}
    assert p50_datum(a, {request: 1.03 * seconds for request, seconds in a.items()}) == pytest.approx(math.log(1.03))
    with pytest.raises(ValueError, match="1 of 101 requests"):
        p50_datum(a, a | {"more": 1.0})
    with pytest.raises(ValueError, match="takes time"):
        p50_datum({"one": 0.0}, {"one": 1.0})


def test_p99_is_that_of_the_round() -> None:
    """The 99th of a hundred sorted requests, not the slowest; fewer have none."""
    a, b = [float(n) for n in range(1, 101)], [float(n) for n in range(1, 99)] + [198.0, 1e6]
    assert p99_datum(a, b) == pytest.approx(math.log(2.0))
    with pytest.raises(ValueError, match="needs 100"):
        p99_datum(a, b[:99])


def test_two_metrics_share_the_level() -> None:
    """Each has half of it; p99 has a wider margin and is first looked at after 22 rounds."""
    p50, p99 = service_designs(60)
    assert p50 is not None and p99 is not None
    assert (p50.margin, p50.level, p50.looks[0], p50.boundary) == (0.01, 0.0025, 12, 3.14)
    assert (p99.margin, p99.level, p99.looks[0], p99.boundary) == (0.03, 0.0025, 22, 3.14)
    assert service_designs(20)[1] is None


def test_orders_are_drawn() -> None:
    """Each side is first about as often, in no pattern, and the same seed draws the same."""
    for draw in (request_orders, pair_orders):
        orders = draw(np.random.default_rng(1), 1_000)
        assert orders == draw(np.random.default_rng(1), 1_000)
        assert 0.45 < np.mean([first == "A" for first, _ in orders]) < 0.55
        assert all({*order} == {"A", "B"} for order in orders)


def block(side: str, value: float, *, state: str = "build 1", cold: float = 9.0) -> Block:
    """Ten seconds; the first three are cold."""
    return Block(side=side, after_switch_s=tuple(range(10)), values=(cold,) * 3 + (value,) * 7, state=state)


def test_pairs_after_the_burn_in() -> None:
    """Whatever the order within a pair, and whatever came before the burn-in was over."""
    found = pair_data([block("A", 1.0), block("B", 2.0), block("B", 4.0, cold=99.0), block("A", 2.0)], burn_in_s=3)
    assert found.data == pytest.approx((math.log(2), math.log(2)))
    assert found.void == ()


def test_void_pairs() -> None:
    """Another build within the pair, the same side twice, a block that ended early, nothing left: told, and not counted."""
    found = pair_data(
        [
            *(block("A", 1.0), block("B", 2.0, state="build 2")),
            *(block("A", 1.0), block("A", 1.0)),
            *(block("B", 1.0), block("A", 0.0)),
            block("A", 1.0),
        ],
        burn_in_s=3,
    )
    assert found.data == ()
    assert [reason.split(": ")[1][:14] for reason in found.void] == ["build, setting", "only one side ", "nothing was me", "only one side "]
    assert pair_data([block("A", 1.0), block("B", 1.0)], burn_in_s=60).data == ()
