"""From text to shape: as libpg_query has it, with and without what was seen before."""

import pgparse
import pytest

from perfwright.analysis.server_log import fingerprints as module
from perfwright.analysis.server_log.fingerprints import Fingerprints, Recent
from perfwright.analysis.server_log.shapes import ShapeTable


def test_shapes_are_those_of_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand statements with different values are parsed a few times, and each has the parser's fingerprint."""
    texts = [f"SELECT * FROM t{n % 5} WHERE a = {n} AND b = 'x{n}' LIMIT {n % 7}" for n in range(10_000)]
    parsed = []
    real = module.fingerprint_of
    monkeypatch.setattr(module, "fingerprint_of", lambda text: parsed.append(text) or real(text))
    fingerprints = Fingerprints(ShapeTable())
    found = [fingerprints.shape_of(text).fingerprint for text in texts]
    assert found[::97] == [pgparse.fingerprint(text) for text in texts[::97]]
    assert len(parsed) == 5


def test_broken_texts_are_listed() -> None:
    """A text that the parser refuses, or that was cut, has a shape by its letters."""
    fingerprints = Fingerprints(ShapeTable())
    one, same, other = (fingerprints.shape_of(text) for text in ("SELEC 'a' FROM t", "SELEC 'b' FROM t", "SELECT a FROM (SELECT"))
    assert one is same is not other
    assert len(one.fingerprint) == len(other.fingerprint) == 16
    assert other.text == "SELECT a FROM (SELECT"


def test_texts_that_would_overflow_the_parser() -> None:
    """A text of half a million set operations ends no process, nor do deeply nested ones."""
    fingerprints = Fingerprints(ShapeTable())
    for text in (
        " union ".join(["select 1"] * 500_000),
        "select " + "(" * 100_000,
        "select a" + "+a" * 500_000,
        "select " + "not " * 200_000,
    ):
        assert len(fingerprints.shape_of(text).fingerprint) == 16


def test_memory_of_what_was_seen_is_bounded() -> None:
    """Two generations: what was asked for recently stays, the rest is forgotten."""
    recent: Recent[int, int] = Recent(limit_bytes=1000)
    for n in range(10_000):
        recent.put(n, n, 10)
        assert recent.get(0, 10) == 0
    assert len(recent.young) + len(recent.old) <= 202
    assert recent.get(5, 10) is None
