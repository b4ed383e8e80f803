"""Reasons from what the server says."""

import pytest

from perfwright.analysis.explaining.server_errors import Attempt, ServerError, ends_connection, reason_of

SECRET = "4111-secret"
TRIED = Attempt(
    elapsed_s=0.2, statement_timeout_s=5.0, lock_timeout_s=0.5, text="SELECT a FROM t", sent_before=10, search_path='"$user", public'
)


@pytest.mark.parametrize(
    "state",
    ["22P02", "22012", "23505", "42804", "42725", "P0001", "XX000", "53200", "0A000", "42601", "25006", "08006", "ZZ999", "42P18", "57014"],
)
def test_no_value_gets_into_a_reason(state: str) -> None:
    """Servers repeat values in their messages: none of those messages is told."""
    reason = reason_of(ServerError(state, f'invalid input: "{SECRET}"', 3), TRIED)
    assert reason and SECRET not in reason


@pytest.mark.parametrize(
    "state, message, reason",
    [
        ("42501", "permission denied for table orders", "permission denied: permission denied for table orders"),
        ("42P01", 'relation "o" does not exist', 'missing relation: relation "o" does not exist (search_path "$user", public)'),
        ("42703", 'column "x" does not exist', 'missing column: column "x" does not exist'),
        ("55P03", "whatever", "lock_timeout of 0.5 s hit: another session holds a lock that it needs (55P03)"),
        ("40P01", "deadlock detected", "it was chosen as the victim of a deadlock with another session (40P01)"),
        ("23505", "doppelter Schlüsselwert", "it breaks a constraint with these values (23505)"),
        ("53300", "too many", "the server lacks resources (53300)"),
        ("ZZ999", "?", "the server refused it (ZZ999)"),
    ],
)
def test_reasons(state: str, message: str, reason: str) -> None:
    """By SQLSTATE, whatever language the server speaks; names of objects are told, with where they were looked for."""
    assert reason_of(ServerError(state, message), TRIED) == reason


@pytest.mark.parametrize(
    "elapsed_s, reason", [(4.9, "statement_timeout of 5 s hit"), (1.0, "cancelled by another session or the server after 1.0 s")]
)
def test_a_timeout_is_told_from_a_cancellation(elapsed_s: float, reason: str) -> None:
    """Both have the same SQLSTATE: the time tells."""
    tried = Attempt(elapsed_s=elapsed_s, statement_timeout_s=5.0, lock_timeout_s=1.0, text="")
    assert reason_of(ServerError("57014", "canceling statement due to statement timeout"), tried) == reason


@pytest.mark.parametrize(
    "text, position, reason",
    [
        ("SELECT FROM WHERE", 23, "syntax error at character 13"),
        ("SELECT a FROM t WHERE ", 33, "its text is cut: the server keeps track_activity_query_size bytes of it"),
        ("SELECT 'abc", 18, "its text is cut: the server keeps track_activity_query_size bytes of it"),
        ("SELECT 'abc' 'd' x y", 30, "syntax error at character 20"),
        ("SELECT a", None, "syntax error"),
    ],
)
def test_cut_texts_are_told_from_wrong_ones(text: str, position: int | None, reason: str) -> None:
    """A text that ends too early, or within quotes, was cut."""
    tried = Attempt(elapsed_s=0.1, statement_timeout_s=5.0, lock_timeout_s=1.0, text=text, sent_before=10)
    assert reason_of(ServerError("42601", "syntax error", position), tried) == reason


def test_errors_that_end_the_connection() -> None:
    """A shutdown or an administrator's kick is about the session, not about the statement."""
    assert all(ends_connection(state) for state in ("57P01", "57P02", "08006", "08P01", "25P03"))
    assert not any(ends_connection(state) for state in ("57014", "55P03", "25006", "53200", "XX000"))
