"""Which rewrites may be tried."""

import pytest

from perfwright.analysis.explaining.bags import Column, bag_sql
from perfwright.analysis.explaining.rewrites import calls, not_tried, values_of
from perfwright.analysis.statements.parsing import Unreadable, fingerprint_of, syntax_tree
from perfwright.models.query_advice import RewriteCandidate
from perfwright.models.statement import Statement, StatementSample

TEXT = "SELECT a FROM t WHERE b = $1 AND app.f(c) > $2"


def sample(*parameters: str, text: str = TEXT) -> StatementSample:
    return StatementSample(text=text, parameters=parameters, source="log")


def statement(*samples: StatementSample, text: str = TEXT) -> Statement:
    return Statement(fingerprint=fingerprint_of(text), text=text, kind="select", safety="reads only", samples=samples)


def candidate(rewritten: str, original: str = TEXT, given: StatementSample | None = None) -> RewriteCandidate:
    return RewriteCandidate(
        fingerprint=fingerprint_of(TEXT), title="t", original=original, rewritten=rewritten, sample=given or sample("1", "2")
    )


@pytest.mark.parametrize(
    "rewritten, reason",
    [
        ("SELECT t.a FROM t WHERE b = $1 AND app.f(c) > $2", ""),
        ("SELECT a FROM t WHERE b = $1 AND lower(a) = upper(a) AND app.f(c) > $2::int ORDER BY a", ""),
        ("SELECT a FROM t x WHERE b = ANY (ARRAY[$1]) AND EXISTS (SELECT FROM t WHERE app.f(c) > $2)", ""),
        ("SELECT a FROM t WHERE b = $1 AND g(c) > $2", "the function g"),
        ("SELECT a FROM t WHERE b = $1 AND other.lower(c) > $2", "the function other.lower"),
        ("SELECT nextval('s') FROM t WHERE b = $1 AND app.f(c) > $2", "the function nextval"),
        ("SELECT a FROM t, u WHERE b = $1 AND app.f(c) > $2", "the relation u"),
        ("SELECT a FROM t WHERE b === $1 AND app.f(c) > $2", "the operator ==="),
        ("SELECT a FROM t WHERE b = $1::mood AND app.f(c) > $2", "the type mood"),
        ("SELECT a FROM t WHERE b = $1 AND app.f(c) > $3", "placeholders"),
        ("DELETE FROM t WHERE b = $1 RETURNING a", "more than one query"),
        ("WITH x AS (DELETE FROM t RETURNING a) SELECT a FROM x", "more than one query"),
        ("SELECT a INTO z FROM t", "more than one query"),
        ("SELECT a FROM t FOR UPDATE", "more than one query"),
        ("SELECT a FROM t; SELECT a FROM t", "more than one query"),
        ("SELECT a FROM", "cannot be compared"),
        ("VACUUM t", "more than one query"),
    ],
)
def test_what_may_be_tried(rewritten: str, reason: str) -> None:
    """Only one query that reads, on the same relations, with the same functions or the server's own harmless ones."""
    told = not_tried(candidate(rewritten), statement())
    assert (reason in told) if reason else told == ""


def test_the_original_is_the_statement() -> None:
    """Safety was judged of the statement: another original is not tried."""
    assert not_tried(candidate("SELECT 1", original="SELECT g()"), statement()) == "the original is not the statement that was examined"


def test_values_to_compare_with() -> None:
    """The candidate's own first, then those of the other samples, each once; complete texts need none."""
    others = statement(sample("1", "2"), sample("3", "4"), sample("3"), sample("5", "6"), sample("7", "8"))
    assert values_of(candidate("SELECT 1"), others) == (("1", "2"), ("3", "4"), ("5", "6"))
    assert values_of(candidate("SELECT 1", given=sample(text="SELECT a FROM t")), statement()) == ()
    assert values_of(candidate("SELECT 1", original="SELECT a FROM t WHERE b = 1 AND app.f(c) > 2"), others) == (None,)


def test_calls_have_as_many_values_as_placeholders() -> None:
    """A rewrite may have lost the last placeholders, or all of them."""
    original, rewritten = calls(candidate("SELECT a FROM t WHERE b = $1"), ("1", "2"))
    assert (original.parameters, rewritten.parameters) == (("1", "2"), ("1",))
    assert calls(candidate("SELECT a FROM t"), ("1", "2"))[1].parameters is None


def test_rows_are_compared_in_one_query_that_reads() -> None:
    """The query stands inside unchanged, comments at its end notwithstanding, and its columns have names of ours."""
    sql = bag_sql("SELECT a, a, 1.5 FROM t -- all of them", [Column("a", "int4"), Column("a", "float8"), Column("?column?", "numeric")])
    assert set(syntax_tree(sql)) == {"SelectStmt"}
    assert "AS q (c1, c2, c3)" in sql and "trim_scale(c3)" in sql and "EEEE" in sql
    with pytest.raises(Unreadable, match="no columns"):
        bag_sql("SELECT FROM t", [])
