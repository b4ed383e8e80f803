"""Statements of ours, and everybody else's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfwright.analysis.database.own_statements import is_own, marked


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


@given(st.text())
def test_others_are_not_ours(text: str) -> None:
    """Only the mark at the beginning counts."""
    assert is_own(text) == ("/* perfwright */" in text[:64])
