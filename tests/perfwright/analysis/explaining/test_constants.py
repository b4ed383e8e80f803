"""Texts without values get those of a real call again."""

import pytest

from perfwright.analysis.explaining.constants import with_values
from perfwright.analysis.masking.statement_texts import shown_statement
from perfwright.models.query_advice import RewriteCandidate
from perfwright.models.statement import StatementSample

TEXT = (
    "SELECT a, 'é, b', E'x\\'y' FROM t WHERE b = 0 AND d > -3.5 AND f = true AND h = NULL AND k = $1 AND x IN (1, 2, 3)"
    " AND m = interval '1 day' ORDER BY 1 LIMIT 10 OFFSET 5"
)


def candidate(sample: StatementSample, rewritten: str) -> RewriteCandidate:
    shown = shown_statement(sample.text, "postgresql")
    masked = sample.model_copy(update={"text": shown, "parameters": ()})
    return RewriteCandidate(fingerprint="0" * 16, title="another way", original=shown, rewritten=rewritten, sample=masked)


def test_every_value_is_where_it_was() -> None:
    """Strings, numbers, truth values, NULL, parameters: the original is the call again, and the rewrite has its values."""
    sample = StatementSample(text=TEXT, parameters=("it's",), source="log")
    one = candidate(sample, shown_statement(TEXT, "postgresql").replace("AND m", "AND true AND m"))
    assert "é" not in one.original and "3.5" not in one.original
    filled = with_values(one, sample)
    assert filled is not None
    assert filled.original == TEXT.replace("$1", "'it''s'")
    assert filled.rewritten == filled.original.replace("AND m", "AND true AND m")
    assert filled.sample.text == filled.original and not filled.sample.parameters


@pytest.mark.parametrize(
    ("text", "rewritten"),
    [
        ("SELECT a FROM t WHERE b = 1", "SELECT a FROM t WHERE b = $2"),
        ("SELECT a FROM t WHERE b = 1", "SELECT a FROM t WHERE b = '$1'"),
        ("SELECT a FROM t WHERE b = $1", "SELECT a FROM t WHERE b = $1"),
    ],
)
def test_what_is_not_known_is_not_guessed(text: str, rewritten: str) -> None:
    """A placeholder that the original does not have, one in quotes, a parameter that was not logged."""
    sample = StatementSample(text=text, source="log")
    assert with_values(candidate(sample, rewritten), sample) is None


def test_values_of_another_text_are_not_taken() -> None:
    """The same shape with a longer list is another text."""
    one = candidate(StatementSample(text="SELECT a FROM t WHERE b IN (1, 2)", source="log"), "SELECT a FROM t WHERE b = $1")
    assert with_values(one, StatementSample(text="SELECT a FROM t WHERE b IN (1, 2, 3)", source="log")) is None
