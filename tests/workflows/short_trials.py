"""Trials whose A against A is short, for tests about something else: it has tests of its own, and takes as long as A against B.

As a program it is `worker.py` with such trials, for tests that kill it; PERFWRIGHT_TEST_INSTRUCTIONS_S allows it to count instructions.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

import worker
from perfwright.analysis.trials import course
from perfwright.analysis.trials.boundaries import LOOKS
from perfwright.models.trial import NoiseJudgement
from perfwright.models.trial_run import TrialRequest

SHORT_WORKER = Path(__file__)
LARGE = 10.0
"""An effect that a trial shows on a busy machine as well."""


def _for_a_large_effect(request: TrialRequest, *rest: Any) -> NoiseJudgement:
    return course.judge_aa(request.model_copy(update={"wanted_effect": LARGE}), *rest)


@contextmanager
def short_trials(instructions_s: float = 0.0) -> Iterator[None]:
    """A against A is judged by the fewest rounds that can be, and need not show a small effect. Instructions are counted where that takes no
    longer, with one hash seed, and allocations are not."""
    with ExitStack() as stack:
        stack.enter_context(patch("activities.trial_measuring.phases.NOISE_ROUNDS", LOOKS[0]))
        stack.enter_context(patch("activities.trial_measuring.phases.judge_aa", _for_a_large_effect))
        stack.enter_context(patch("activities.trial_measuring.valgrind.LIMIT_S", instructions_s))
        stack.enter_context(patch("activities.trial_measuring.valgrind.SEEDS", (0,)))
        stack.enter_context(patch("activities.trial_measuring.valgrind.MEMCHECK_SLOWDOWN", float("inf")))
        yield


@pytest.fixture
def quick_trials() -> Iterator[None]:
    with short_trials():
        yield


@pytest.fixture
def fewest_noise_rounds() -> Iterator[None]:
    """A against A is judged by the fewest rounds that can be."""
    with patch("activities.trial_measuring.phases.NOISE_ROUNDS", LOOKS[0]):
        yield


@pytest.fixture
def no_instructions() -> Iterator[None]:
    """None are counted beside the time."""
    with patch("activities.trial_measuring.valgrind.LIMIT_S", 0.0):
        yield


if __name__ == "__main__":
    with short_trials(float(os.environ.get("PERFWRIGHT_TEST_INSTRUCTIONS_S", "0"))):
        worker.main()
