"""A against A, before B is judged."""

import numpy as np
import pytest

from perfwright.analysis.trials.aa import judge_noise, lag_one_correlation
from perfwright.models.trial import NoiseJudgement
from tests.perfwright.analysis.trials.noise import NOISES, gauss


def judged(data: np.ndarray, *, effect: float = 0.05, budget_s: float = 60.0, round_s: float = 1.0) -> NoiseJudgement:
    return judge_noise(data.tolist(), effect=effect, budget_s=budget_s, round_s=round_s, margin=0.01)


def drawn(sigma: float, rounds: int = 40, seed: int = 1) -> np.ndarray:
    return gauss(np.random.default_rng(seed), 1, rounds, sigma)[0]


def test_a_calm_set_up_is_usable() -> None:
    """A datum that varies by 3 %: 60 rounds show 5 % with room to spare, and it says how many would have done."""
    found = judged(drawn(0.03))
    assert found.verdict == "usable"
    assert found.rounds_needed is not None and 12 <= found.rounds_needed < 40
    assert found.seconds_needed == found.rounds_needed
    assert found.smallest_effect is not None and found.smallest_effect < 0.05


@pytest.mark.parametrize(
    ("sigma", "budget_s", "verdict", "told"),
    [
        (0.03, 20, "too noisy", "rounds would do"),
        (0.03, 11, "too few", "rounds would do"),
        (0.5, 60, "too noisy", "no trial of up to 1000"),
    ],
)
def test_it_says_how_long_would_do(sigma: float, budget_s: float, verdict: str, told: str) -> None:
    """A budget too short for the noise, or for any verdict at all; and noise that no trial gets over."""
    found = judged(drawn(sigma), effect=0.03, budget_s=budget_s)
    assert found.verdict == verdict
    assert told in found.reason


def test_a_favoured_side_is_seen() -> None:
    """Where the same program is always 2 % slower as B, the set-up is not fair, whatever the margin."""
    assert judged(0.02 + drawn(0.02)).verdict == "biased"
    assert "A comes out faster" in judged(0.02 + drawn(0.02)).reason
    assert "B comes out faster" in judged(-0.02 - drawn(0.02)).reason


def test_rounds_that_hang_together_are_seen() -> None:
    """A slow wave through the rounds, up and down: something outlives the restart.

    .*''*.   .*''*.   .*''*.
          '.'      '.'
    """
    assert judged(0.05 * np.sin(np.arange(40) / 3)).verdict == "dependent"


@pytest.mark.parametrize("noise", NOISES)
def test_fair_set_ups_are_let_through(noise: str) -> None:
    """Of 300 fair, independent set-ups at most 1.5 % are turned away as biased or dependent (three standard errors: 3.6 %)."""
    data = NOISES[noise](np.random.default_rng(6), 300, 22, 0.03)
    turned_away = [judged(row).verdict in ("biased", "dependent") for row in data]
    assert np.mean(turned_away) < 0.036


def test_too_little_says_nothing() -> None:
    """Eleven rounds are no A/A; equal ones have no correlation; budgets are times; data are numbers."""
    assert judged(drawn(0.01, rounds=11)).verdict == "too few"
    assert lag_one_correlation(np.zeros(12)) == 0.0
    assert judged(np.zeros(12)).verdict == "usable"
    with pytest.raises(ValueError, match="times above zero"):
        judged(drawn(0.01), budget_s=0)
    with pytest.raises(ValueError, match="finite"):
        judged(np.full(12, np.nan))
