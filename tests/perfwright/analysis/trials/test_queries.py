"""Several queries judged together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfwright.analysis.trials.queries import holm, judge_queries

PROBABILITIES = st.lists(st.floats(0, 1), max_size=12)


def test_holm_by_hand() -> None:
    """Holm's own example of the steps: 0.01 x 4, 0.02 x 3, then never less than the one before (0.03 x 2, 0.04 x 1)."""
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx((0.06, 0.04, 0.06, 0.06))


@settings(deadline=None)
@given(PROBABILITIES)
def test_holm_lies_between_none_and_bonferroni(given_: list[float]) -> None:
    """Never below the probability itself, never above that times their number, and in the same order."""
    adjusted = holm(given_)
    for one, before in zip(adjusted, given_, strict=True):
        assert before <= one <= min(1.0, len(given_) * before) + 1e-12
    assert [x for _, x in sorted(zip(given_, adjusted, strict=True))] == sorted(adjusted)


def test_each_query_by_itself() -> None:
    """A faster, a slower, an equal, an unclear, a short and an unseen query in one trial: each gets its own verdict."""
    chance = np.random.default_rng(1)
    data = {
        "faster": chance.normal(-0.2, 0.03, 40),
        "slower": chance.normal(0.2, 0.03, 40),
        "equal": chance.normal(0.0, 0.003, 40),
        "unclear": chance.normal(0.0, 0.2, 40),
        "short": np.full(11, 0.5),
        "unseen": np.array([]),
    }
    judged = judge_queries({query: values.tolist() for query, values in data.items()})
    assert {one.query: one.verdict for one in judged} == {
        "faster": "better",
        "slower": "worse",
        "equal": "equivalent",
        "unclear": "inconclusive",
        "short": "inconclusive",
        "unseen": "unseen",
    }
    turned = judge_queries({query: values.tolist() for query, values in data.items()}, higher_is_better=True)
    assert [one.verdict for one in turned[:3]] == ["worse", "better", "equivalent"]


def test_many_equal_queries_are_not_called_different() -> None:
    """Of 120 trials of 20 queries each, all at the margin, at most 1 % call any of them different (three standard errors: 3.7 %);
    without the correction every tenth or more does."""
    chance = np.random.default_rng(2)
    wrong, uncorrected = 0, 0
    for _ in range(120):
        judged = judge_queries({str(n): (0.01 + chance.normal(0, 0.03, 16)).tolist() for n in range(20)})
        wrong += any(one.verdict in ("better", "worse") for one in judged)
        smallest = min(one.difference_p for one in judged if one.difference_p is not None)
        uncorrected += smallest / 20 <= 0.01
    assert wrong / 120 < 0.037
    assert uncorrected / 120 > 0.05


def test_no_queries() -> None:
    """Nothing is judged of nothing, and what is not a number is refused."""
    assert judge_queries({}) == ()
    with pytest.raises(ValueError, match="finite"):
        judge_queries({"one": [float("inf")] * 12})
