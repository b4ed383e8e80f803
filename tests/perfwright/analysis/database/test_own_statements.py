"""Statements of ours, and everybody else's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfwright.analysis.database.own_statements import counted_text, is_own, marked, named


def test_the_mark_is_in_front_and_survives_a_server_that_cuts_comments_in_front() -> None:
    """PostgreSQL 18 shows our statements without their first comment, and they are still known as ours."""
    text = marked("\n  SELECT 1")
    assert text == "/* perfwright */ SELECT /* perfwright */ 1"
    assert is_own(text)
    assert is_own(text.removeprefix("/* perfwright */ "))


@pytest.mark.parametrize("text", ["BEGIN READ ONLY;", "COMMIT;", "rollback", "SET LOCAL jit = off", "SAVEPOINT a"])
def test_what_shares_an_entry_with_the_application_is_not_marked(text: str) -> None:
    """The application's own commits are never taken for ours."""
    assert marked(text) == text


def test_a_query_of_ours_is_named_in_its_tree() -> None:
    """Comments may go: it is known as ours still, and nobody else's has its query id."""
    text = named("\n  SELECT 1")
    assert text == "/* perfwright */ WITH perfwright_own AS (SELECT) SELECT 1"
    assert is_own(text.removeprefix("/* perfwright */ "))
    assert not is_own("SELECT 1 FROM perfwright_own")
    assert named("FETCH 10 FROM rows") == marked("FETCH 10 FROM rows")


@pytest.mark.parametrize(
    "prepare",
    [
        "PREPARE p AS ",
        'prepare "a ""b"" AS c" (text, numeric(10, 2)) as\n',
        '/* perfwright */ PREPARE /* perfwright */ "perfwright_1f" AS ',
        "  /* a * b **/ PREPARE p(int[]) AS ",
    ],
)
def test_what_was_prepared_is_what_is_counted(prepare: str) -> None:
    """The statement itself, whoever prepared it; other texts are as they were."""
    assert counted_text(f"{prepare}SELECT a AS prepare FROM t") == "SELECT a AS prepare FROM t"
    assert is_own(counted_text(f"{prepare}{named('SELECT 1')}"))
    for other in ("SELECT 'PREPARE p AS SELECT 1'", "PREPARE TRANSACTION 'x'", "PREPARE p", "/* PREPARE p AS */ SELECT 1", "/*" * 10_000):
        assert counted_text(other) == other


@given(st.text())
def test_others_are_not_ours(text: str) -> None:
    """Only the mark at the beginning counts."""
    assert is_own(text) == ("/* perfwright */" in text[:64])
    assert counted_text(text) == text or text.upper().lstrip().startswith(("PREPARE", "/*"))
