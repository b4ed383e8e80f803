"""Which values a statement is explained with."""

import pytest

from perfwright.analysis.explaining.samples import calls_of, chosen, median_index, skewed
from perfwright.analysis.statements.parsing import fingerprint_of
from perfwright.models.statement import Statement, StatementSample

TEXT = "SELECT a FROM t WHERE b = $1"


def statement(*samples: StatementSample, text: str = TEXT) -> Statement:
    return Statement(fingerprint=fingerprint_of(text), text=text, kind="select", safety="reads only", samples=samples, sources=("log",))


def sample(text: str, *parameters: str | None) -> StatementSample:
    return StatementSample(text=text, parameters=parameters, source="log")


def test_samples_with_values() -> None:
    """Complete texts are sent as they are, placeholders with their values; samples that lack values are left out."""
    whole, placed, lacking = sample("SELECT a FROM t WHERE b = 4"), sample(TEXT, "4"), sample(TEXT)
    calls = calls_of(statement(whole, placed, lacking))
    assert [(call.text, call.parameters, call.sample) for call in calls] == [(whole.text, None, whole), (TEXT, ("4",), placed)]
    assert all(call.same_shape for call in calls)


def test_a_text_that_had_no_values_is_complete() -> None:
    """It can be sent itself, unless it is so long that it may have been cut."""
    [call] = calls_of(statement(text="SELECT count(*) FROM t"))
    assert call.parameters is None and call.sample is not None and call.sample.note == "the statement has no values" and call.same_shape
    assert calls_of(statement()) == ()
    assert calls_of(statement(text="SELECT a FROM t WHERE b IN (" + "a," * 10_000 + "a)")) == ()


@pytest.mark.parametrize(
    "text", ["SELECT f(a) FROM t WHERE b = 4", "SELECT a FROM t WHERE b = 4; DROP TABLE t", "SELECT a FROM t WHERE b = 'x"]
)
def test_texts_of_another_shape_are_marked(text: str) -> None:
    """Safety was judged of the shape; another text is not what was judged."""
    [call] = calls_of(statement(sample(text)))
    assert not call.same_shape


def test_backslashes_hide_text_where_they_are_escapes() -> None:
    """With standard_conforming_strings off, the server may read another statement than our parser does."""
    hidden = sample("SELECT a FROM t WHERE b = 'x\\'' OR f() --'")
    assert calls_of(statement(hidden))[0].same_shape
    assert not calls_of(statement(hidden), standard_strings=False)[0].same_shape


def test_the_median_and_with_skew_all() -> None:
    """Of samples from cheap to worst: the middle one; with skew also the worst, then the cheapest."""
    assert [median_index(count) for count in (1, 2, 3)] == [0, 1, 1]
    assert chosen(3, 3, skew=False) == (1,)
    assert [chosen(3, sets, skew=True) for sets in (1, 2, 3)] == [(1,), (1, 2), (0, 1, 2)]
    assert [chosen(2, sets, skew=True) for sets in (1, 2, 3)] == [(1,), (0, 1), (0, 1)]
    assert chosen(1, 3, skew=True) == (0,) and chosen(0, 3, skew=True) == ()


@pytest.mark.parametrize(
    "durations, costs, expected",
    [
        ([1.0, 2.0, 3.9], [10.0, 10.0, 39.0], False),
        ([1.0, 2.0, 4.0], [10.0, 10.0, 10.0], True),
        ([None, None, None], [10.0, 20.0, 40.0], True),
        ([None, 5.0, None], [0.0, 20.0, 30.0], False),
        ([], [], False),
    ],
)
def test_skew(durations: list[float | None], costs: list[float], expected: bool) -> None:
    """Four times between the lowest and the highest that are known, of durations or of costs."""
    assert skewed(durations, costs) is expected
