"""A file with several statements is cut at its semicolons and nowhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfwright.analysis.statements.splitting import MAX_STATEMENTS, split_statements


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("SELECT 1", ("SELECT 1",)),
        ("SELECT 1;\n\nSELECT 'a;b' ;", ("SELECT 1", "SELECT 'a;b'")),
        ("-- first; one\nSELECT 1; /* no; /* nested; */ */ SELECT 2;", ("-- first; one\nSELECT 1", "/* no; /* nested; */ */ SELECT 2")),
        ("DO $$ BEGIN PERFORM 1; END $$; SELECT $a$;$$;$a$", ("DO $$ BEGIN PERFORM 1; END $$", "SELECT $a$;$$;$a$")),
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END; SELECT 3",
            ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END", "SELECT 3"),
        ),
        ("SELECT 'é;ü'; SELECT \"a;b\"", ("SELECT 'é;ü'", 'SELECT "a;b"')),
        ("  ;; -- nothing\n /* nothing */", ()),
        ("broken ( ; SELECT E'it\\'s; one'; SELECT 'open; to the end", ("broken (", "SELECT E'it\\'s; one'", "SELECT 'open; to the end")),
        ("SELECT a$b$c FROM t; SELECT $1; broken (", ("SELECT a$b$c FROM t", "SELECT $1", "broken (")),
    ],
)
def test_where_statements_end(text: str, statements: tuple[str, ...]) -> None:
    """Semicolons in strings, names, comments and function bodies are none; one broken statement does not spoil the others."""
    assert split_statements(text) == statements


def test_number_is_bounded() -> None:
    """A file of thousands of statements gives as many as may be examined."""
    assert len(split_statements("SELECT 1;" * 3_000)) == MAX_STATEMENTS


@given(st.text(alphabet="ab'\"$;-/*\n\\E ", max_size=80))
def test_nothing_is_lost(text: str) -> None:
    """Whatever is written comes back, cut into pieces, but for semicolons, comments and the space around."""
    pieces = split_statements(text)
    at = 0
    for piece in pieces:
        found = text.find(piece, at)
        assert found >= 0
        at = found + len(piece)
