"""How often a trial is wrong, and how often it sees what is there: 2,000 drawn trials per number, seeds fixed.

A share p of 2,000 has the standard error sqrt(p (1 - p) / 2000): 0.16 % at 0.5 %, 0.7 % at 90 %. Bounds stand three of these off.
"""

import math

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.trial_power import judged, t_at_every_round
from perfwright.analysis.trials.boundaries import LEVEL
from perfwright.analysis.trials.estimates import ratio_estimate, rounds_needed, smallest_effect
from perfwright.analysis.trials.sequential import design, judge
from perfwright.models.trial import TrialDesign
from tests.perfwright.analysis.trials.noise import NOISES, Draws, gauss

TRIALS = 2_000
CALM, NOISY = 0.033, 0.044
"""Robust standard deviations of a datum on a calm and on a busy machine of two cores."""
ERROR = math.sqrt(LEVEL * (1 - LEVEL) / TRIALS)


def planned(most: int, margin: float = 0.01) -> TrialDesign:
    plan = design(most, margin=margin)
    assert plan is not None
    return plan


def verdicts(data: Draws, plan: TrialDesign) -> npt.NDArray[np.str_]:
    """`judge`, for a row per trial at once."""
    return judged(data, plan)[0]


def share(found: npt.NDArray[np.str_], *wanted: str) -> float:
    return float(np.isin(found, wanted).mean())


@pytest.mark.parametrize("noise", NOISES)
def test_the_table_of_trials_is_judged_as_each_alone(noise: str) -> None:
    """The rule for many rows, used below, is the rule that trials are judged by."""
    data = NOISES[noise](np.random.default_rng(5), 30, 40, CALM) + np.linspace(-0.05, 0.05, 30)[:, None]
    plan = planned(40)
    alone = [judge(row.tolist(), plan) for row in data]
    together, rounds = judged(data, plan)
    assert [one.verdict for one in alone] == together.tolist()
    assert [one.rounds for one in alone] == rounds.tolist()


@pytest.mark.parametrize("noise", NOISES)
def test_equal_sides_are_hardly_ever_called_different(noise: str) -> None:
    """A against A is better or worse in less than 1 % of trials: also with heavy tails, and where the noise comes and goes."""
    found = verdicts(NOISES[noise](np.random.default_rng(1), TRIALS, 98, NOISY), planned(98))
    assert share(found, "better", "worse") < 0.01


@pytest.mark.parametrize("noise", NOISES)
def test_the_margin_itself_is_called_worse_at_the_level(noise: str) -> None:
    """The worst B that counts as equal, just at the margin, is called worse in 0.5 % of trials; the t test at every round says so in far
    more of the same, although its level is the same on paper."""
    data = 0.01 + NOISES[noise](np.random.default_rng(2), TRIALS, 98, NOISY)
    ours = share(verdicts(data, planned(98)), "worse")
    naive = float(t_at_every_round(data - 0.01).mean())
    assert ours < LEVEL + 3 * ERROR
    assert naive > 2 * ours and naive > LEVEL + 3 * ERROR


def test_a_small_slowdown_is_hardly_ever_called_equivalent() -> None:
    """Just at the margin, and both sides of it: 0.5 % of trials."""
    for shift in (0.01, -0.01):
        found = verdicts(shift + gauss(np.random.default_rng(3), TRIALS, 98, 0.015), planned(98))
        assert share(found, "equivalent") < LEVEL + 3 * ERROR


@pytest.mark.parametrize(
    ("effect", "sigma", "rounds"),
    [(0.03, CALM, 54), (0.05, CALM, 22), (0.08, CALM, 22), (0.03, NOISY, 98), (0.05, NOISY, 54), (0.08, NOISY, 22)],
)
def test_power(effect: float, sigma: float, rounds: int) -> None:
    """+3 % is seen in 54 calm or 98 noisy rounds, +5 % in 22 or 54, +8 % in 22: in nine trials of ten, and never as better."""
    found = verdicts(math.log1p(effect) + gauss(np.random.default_rng(4), TRIALS, rounds, sigma), planned(rounds))
    assert share(found, "worse") > 0.9 - 3 * math.sqrt(0.09 / TRIALS)
    assert share(found, "better") == 0.0


def test_equivalence_is_seen_on_a_calm_machine() -> None:
    """A datum that varies by 1 % shows equal sides to be equal within 240 rounds, nearly always."""
    found = verdicts(gauss(np.random.default_rng(6), TRIALS, 240, 0.01), planned(240))
    assert share(found, "equivalent") > 0.98


@pytest.mark.parametrize("rounds", [12, 22, 73])
def test_the_smallest_effect_is_seen_nine_times_of_ten(rounds: int) -> None:
    """A difference as large as the promised smallest one is seen in about 90 % of trials; half as far beyond the margin it is not."""
    plan = planned(rounds)
    effect = smallest_effect(CALM, rounds, margin=plan.margin, boundary=plan.boundary)
    assert effect is not None
    noise = gauss(np.random.default_rng(7), TRIALS, rounds, CALM)
    assert 0.87 < share(verdicts(effect + noise, plan), "worse") < 0.96
    assert share(verdicts((effect + plan.margin) / 2 + noise, plan), "worse") < 0.4


def test_rounds_needed_keeps_its_word() -> None:
    """A trial as long as it was said to need sees the effect in about 90 %; a datum ten times as noisy is told to be hopeless."""
    needed = rounds_needed(0.05, NOISY, margin=0.01)
    assert needed is not None and 12 < needed < 54
    found = verdicts(math.log1p(0.05) + gauss(np.random.default_rng(8), TRIALS, needed, NOISY), planned(needed))
    assert 0.87 < share(found, "worse") < 0.97
    assert rounds_needed(0.05, 10 * NOISY, margin=0.01) is None
    assert rounds_needed(0.009, 1e-6, margin=0.01) is None
    with pytest.raises(ValueError, match="above zero"):
        rounds_needed(0.0, NOISY, margin=0.01)


def test_the_interval_holds_at_all_looks() -> None:
    """The true ratio lies in the intervals of all looks at once in 99 % of trials, so that they may be read at any."""
    plan, trials = planned(54), 300
    missed = 0
    for row in 0.02 + NOISES["t3"](np.random.default_rng(9), trials, 54, CALM):
        intervals = [ratio_estimate(row[:look], plan.boundary, level=1 - 2 * plan.level).interval for look in plan.looks]
        missed += any(one is None or not one.low < math.exp(0.02) < one.high for one in intervals)
    assert missed / trials < 2 * LEVEL + 3 * math.sqrt(2 * LEVEL / trials)
