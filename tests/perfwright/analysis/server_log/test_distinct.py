"""Counting what is different without keeping it."""

from hashlib import blake2b

import pytest

from perfwright.analysis.server_log.distinct import DistinctCount


@pytest.mark.parametrize("number", [0, 1, 50, 20_000])
def test_repeated_ones_count_once(number: int) -> None:
    """Thousands are counted to a few of a thousand, however often they come."""
    counted = DistinctCount()
    fingerprints = [blake2b(str(n).encode(), digest_size=8).hexdigest() for n in range(number)]
    for one in fingerprints * 2:
        counted.add(one)
    assert abs(counted.estimate() - number) <= number * 0.003
    assert counted.with_others(fingerprints).estimate() == counted.estimate()
