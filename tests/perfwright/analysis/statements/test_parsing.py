"""What a text says: fingerprint, kind, tables and functions; what cannot be read is refused with a reason and without its values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfwright.analysis.masking.sql_values import masked
from perfwright.analysis.statements.parsing import (
    MAX_CHARACTERS,
    Unreadable,
    fingerprint_of,
    first_word_kind,
    normalized_text,
    parse_statement,
    syntax_tree,
)
from perfwright.analysis.statements.tree import MAX_DEPTH, TooDeep, places


def test_texts_that_differ_in_values_are_one_statement() -> None:
    """Values, layout, output names and lengths of IN lists do not matter; the columns and tables do."""
    one = parse_statement("SELECT name AS n FROM orders WHERE id = 5 AND state IN ('a', 'b')")
    other = parse_statement("select name from orders\nwhere id = $1 and state in ($2 /*, ... */)")
    assert one.fingerprint == other.fingerprint
    assert one.text == "SELECT name AS n FROM orders WHERE id = $1 AND state IN ($2, $3)"
    assert one.fingerprint != parse_statement("SELECT name FROM customers WHERE id = 5 AND state IN ('a')").fingerprint


@pytest.mark.parametrize(
    ("text", "kind", "tables", "functions"),
    [
        (
            "SELECT count(*), shop.f(1) FROM a JOIN s.b USING (id), LATERAL (SELECT * FROM c) x",
            "select",
            ("a", "s.b", "c"),
            ("count", "shop.f"),
        ),
        ("WITH orders AS (SELECT * FROM orders) SELECT * FROM orders", "select", ("orders",), ()),
        ("WITH a AS (SELECT 1), b AS (SELECT * FROM a) SELECT * FROM a, b", "select", (), ()),
        ("WITH a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM b", "select", ("b",), ()),
        ("WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT n FROM r) SELECT * FROM r", "select", (), ()),
        ("SELECT (WITH w AS (SELECT 1) SELECT * FROM w), w.x FROM w", "select", ("w",), ()),
        ('SELECT * FROM "Order Lines" WHERE "Id" = 1', "select", ("Order Lines",), ()),
        ("INSERT INTO a SELECT * FROM b ON CONFLICT DO NOTHING", "insert", ("a", "b"), ()),
        ("UPDATE a SET x = lower('A') FROM b WHERE a.id = b.id", "update", ("a", "b"), ("lower",)),
        ("DELETE FROM a USING b WHERE a.id = b.id", "delete", ("a", "b"), ()),
        ("MERGE INTO a USING b ON a.id = b.id WHEN MATCHED THEN DELETE", "merge", ("a", "b"), ()),
        ("VALUES (1), (2)", "select", (), ()),
        ("TABLE a", "select", ("a",), ()),
        ("BEGIN", "utility", (), ()),
        ("VACUUM a", "utility", ("a",), ()),
    ],
)
def test_what_it_says(text: str, kind: str, tables: tuple[str, ...], functions: tuple[str, ...]) -> None:
    """Kind, tables as written without names that WITH defines where they are visible, and functions called by name."""
    parsed = parse_statement(text)
    assert (parsed.kind, parsed.tables, set(parsed.functions)) == (kind, tables, set(functions))


def test_writes_and_locks_are_seen_anywhere() -> None:
    """FOR UPDATE in a subquery and DELETE in WITH do not hide."""
    assert parse_statement("SELECT * FROM (SELECT 1 FROM a FOR SHARE) x").locks
    writing = parse_statement("WITH d AS (DELETE FROM a RETURNING *) SELECT * FROM d")
    assert writing.writing_with
    assert writing.tables == ("a",)
    assert parse_statement("SELECT 1; DELETE FROM a").multiple
    assert not parse_statement("SELECT 1;").multiple


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no statement"),
        (" ; -- nothing", "no statement"),
        ("SELECT a FROM t WHERE x = 'secret", "unterminated quoted string (the text seems to be cut off)"),
        ("SELECT a FROM t WHERE x =", "cut off"),
        ("SELECT a FROM t WHERE x = ? AND y = 1", "syntax error"),
        ("SELEC 'secret' FROM t", "syntax error at character 1"),
        ("SELECT 1\0; DROP TABLE t", "NUL"),
        ("SELECT '\ud800'", "not Unicode"),
        ("SELECT '" + "x" * MAX_CHARACTERS + "'", "more than 100,000 characters"),
        ("SELECT " + "1+" * 40_000 + "1", "more than 20,000 operators"),
        ("SELECT " + "(" * 20_000 + "1" + ")" * 20_000, "memory exhausted"),
    ],
)
def test_what_cannot_be_read_says_why(text: str, reason: str) -> None:
    """Cut, broken, foreign, endless and malicious texts are refused with the reason, which has nothing of the text."""
    with pytest.raises(Unreadable) as error:
        parse_statement(text)
    assert reason in str(error.value)
    assert "secret" not in str(error.value)


def test_deep_texts_are_told_as_such() -> None:
    """A chain of thousands of operators ends no process: it has its fingerprint, and no tree."""
    parsed = parse_statement("SELECT " + "secret || " * 9_000 + "'hidden'")
    assert parsed.too_deep
    assert parsed.kind == "select"
    assert "hidden" not in parsed.text
    assert not parse_statement("SELECT " + "a || " * 300 + "b").too_deep
    with pytest.raises(Unreadable, match="nested too deeply"):
        syntax_tree("SELECT " + "a || " * 9_000 + "b")
    with pytest.raises(TooDeep):
        nested: dict[str, object] = {}
        for _ in range(MAX_DEPTH + 1):
            nested = {"arg": nested, "more": 1}
        places(nested)


def test_normalizing_without_parsing() -> None:
    """The quick way gives the same text; where it might end the process it gives none."""
    text = "SELECT a FROM t WHERE b = 'x' AND c = 2.5"
    assert normalized_text(text) == parse_statement(text).text
    assert normalized_text("SELECT 'x") == ""
    assert normalized_text("SELECT " + "1+" * 40_000 + "1") == ""
    assert fingerprint_of(text) == parse_statement(text).fingerprint


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("/* a */ -- b\n ( select 1", "select"),
        ("WITH x AS (", "select"),
        ("Insert INTO", "insert"),
        ("create table", "utility"),
        ("", "unknown"),
        ("'", "unknown"),
    ],
)
def test_kind_of_what_cannot_be_read(text: str, kind: str) -> None:
    """The first word tells what a broken text was meant to be."""
    assert first_word_kind(text) == kind


def test_masking() -> None:
    """Of a text that cannot be read no value is shown."""
    assert masked("select * from t1 where a = 'it''s' and b = 17.5 and c = $1 and d = $x$secret$x$ and e = 'cut") == (
        "select * from t1 where a = ? and b = ? and c = $1 and d = ? and e = ?"
    )


@given(st.text(max_size=300))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text raises anything but Unreadable, and a normalized text keeps its fingerprint."""
    try:
        parsed = parse_statement(text)
    except Unreadable:
        return
    if parsed.kind != "utility":
        assert fingerprint_of(parsed.text) == parsed.fingerprint


WORDS = [
    "SELECT",
    "FROM",
    "t",
    "WHERE",
    "a",
    "=",
    "1",
    "AND",
    "(",
    ")",
    ",",
    "'x'",
    "$1",
    "IN",
    "NOT",
    "NULL",
    "WITH",
    "w",
    "AS",
    "UPDATE",
    "SET",
    ";",
    "--",
    "/*",
    "*/",
    "::",
    "int",
    "interval",
    "extract",
    "JOIN",
    "ON",
    "ORDER",
    "BY",
    "lower",
]


@given(st.lists(st.sampled_from(WORDS), max_size=25))
def test_any_words_are_read_or_refused(words: list[str]) -> None:
    """The same of random statements."""
    try:
        parse_statement(" ".join(words))
    except Unreadable:
        return
