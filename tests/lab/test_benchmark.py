"""The shop's benchmark does the same work for the same seed, with its problems and without."""

import os
import subprocess
import sys

from lab.starting import ROOT


def digest(problems: str, seed: str = "1") -> str:
    ended = subprocess.run(
        [sys.executable, "-m", "lab.benchmark", "--decks", "2", "--seed", seed],
        cwd=ROOT,
        env={**os.environ, "LAB_PROBLEMS": problems},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return ended.stdout.strip()


def test_results_are_the_same_with_and_without_problems() -> None:
    """A change of the slow code may be compared with the sound code by its results."""
    assert digest("all") == digest("none") != digest("none", seed="2")
