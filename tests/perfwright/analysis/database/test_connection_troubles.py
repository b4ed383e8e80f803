"""Errors of servers and poolers, as causes with a way out."""

import pytest

from perfwright.analysis.database.connection_troubles import trouble_of


@pytest.mark.parametrize(
    ("sqlstate", "message", "kind", "passes", "words"),
    [
        ("28P01", 'password authentication failed for user "ann"', "refused", False, "password"),
        ("28000", 'no pg_hba.conf entry for host "10.0.0.7", user "ann"', "refused", False, "pg_hba.conf"),
        ("3D000", 'database "shop" does not exist', "refused", False, "no such database"),
        ("53300", "sorry, too many clients already", "unreachable", True, "max_connections"),
        ("57P01", "terminating connection due to administrator command", "unreachable", True, "ended the session"),
        ("57P03", "the database system is starting up", "unreachable", True, "starts"),
        ("08P01", "no such database: shop", "refused", False, "no such database"),
        ("08P01", 'database "shop" does not exist', "refused", False, "no such database"),
        ("08P01", "sorry, too many clients already", "unreachable", True, "max_connections"),
        ("08P01", "password authentication failed", "refused", False, "password"),
        ("08P01", "unsupported startup parameter: options", "refused", False, "ignore_startup_parameters"),
        ("08P01", "query_wait_timeout", "unreachable", True, "default_pool_size"),
        ("08P01", "transaction blocks not allowed in statement pooling mode", "refused", False, "statement mode"),
        ("08P01", "server conn crashed?", "unreachable", True, "closed"),
        ("08006", "whatever", "unreachable", True, "closed"),
        ("53200", "out of memory", "unreachable", True, "out of memory"),
        ("42P01", 'relation "secret" does not exist', "failed", False, "42P01"),
    ],
)  # fmt: skip
def test_every_error_has_a_cause_and_says_whether_it_passes(sqlstate: str, message: str, kind: str, passes: bool, words: str) -> None:
    """What a person must repair is not tried again; what passes by itself is. Names and hosts are not repeated."""
    trouble = trouble_of(sqlstate, message)
    assert (trouble.kind, trouble.passes) == (kind, passes)
    assert words in f"{trouble.cause}. {trouble.way_out}"
    assert not any(word in trouble.cause + trouble.way_out for word in ("ann", "10.0.0.7", "secret", "shop"))
    assert trouble.way_out
