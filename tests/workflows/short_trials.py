"""Trials whose A against A is short, for tests about something else: it has tests of its own, and takes as long as A against B.

Of sound sides, too, one set in seventy comes out uneven by chance; a busy machine makes it more.
As a program it is `worker.py` whose sides are even, for tests that kill it.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

import worker
from perfwright.analysis.trials.boundaries import LOOKS
from perfwright.models.trial import NoiseJudgement

EVEN_WORKER = Path(__file__)
TIMED = 2
"""Rounds from which the duration of one is known."""


def _even(_request: Any, rounds: list[Any], _metric: str, _round_s: float) -> NoiseJudgement:
    return NoiseJudgement(verdict="usable", reason="both sides are taken to be even", rounds=len(rounds), sigma=0.02)


@contextmanager
def sides_are_even() -> Iterator[None]:
    """A against A tells how long a round takes, and is not judged. No instructions are counted."""
    with ExitStack() as stack:
        stack.enter_context(patch("activities.trial_measuring.phases.NOISE_ROUNDS", TIMED))
        stack.enter_context(patch("activities.trial_measuring.phases.judge_aa", _even))
        stack.enter_context(patch("activities.trial_measuring.cachegrind.LIMIT_S", 0.0))
        yield


@pytest.fixture
def even_sides() -> Iterator[None]:
    with sides_are_even():
        yield


@pytest.fixture
def fewest_noise_rounds() -> Iterator[None]:
    """A against A is judged by the fewest rounds that can be."""
    with patch("activities.trial_measuring.phases.NOISE_ROUNDS", LOOKS[0]):
        yield


@pytest.fixture
def no_instructions() -> Iterator[None]:
    """None are counted beside the time."""
    with patch("activities.trial_measuring.cachegrind.LIMIT_S", 0.0):
        yield


if __name__ == "__main__":
    with sides_are_even():
        worker.main()
