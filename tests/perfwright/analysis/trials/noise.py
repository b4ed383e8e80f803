"""Data of equal sides, a row per trial, as they were seen on real machines; robust standard deviation about `sigma` in each."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Draws = npt.NDArray[np.float64]
Noise = Callable[[np.random.Generator, int, int, float], Draws]


def gauss(chance: np.random.Generator, trials: int, rounds: int, sigma: float) -> Draws:
    return chance.normal(0.0, sigma, (trials, rounds))


def heavy_tails(chance: np.random.Generator, trials: int, rounds: int, sigma: float) -> Draws:
    """Student's t with three degrees of freedom; its quartiles lie at 0.765."""
    return chance.standard_t(3, (trials, rounds)) * sigma * 0.6745 / 0.765


def drifting(chance: np.random.Generator, trials: int, rounds: int, sigma: float) -> Draws:
    """The machine grows noisier and calmer by a factor of four while it is measured, and some rounds are disturbed ten times as much."""
    phase = chance.uniform(0, 2 * np.pi, (trials, 1)) + np.linspace(0, 4 * np.pi, rounds)
    disturbed = np.where(chance.random((trials, rounds)) < 0.05, 10.0, 1.0)
    return chance.normal(0.0, sigma, (trials, rounds)) * 2 ** np.sin(phase) * disturbed


NOISES: dict[str, Noise] = {"gauss": gauss, "t3": heavy_tails, "drifting": drifting}
