"""Passwords in statements."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfwright.analysis.database.passwords import without_passwords


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ALTER ROLE app PASSWORD 'geheim'", "ALTER ROLE app PASSWORD '***'"),
        ("create user app with encrypted password E'ge\\'heim' login", "create user app with encrypted password '***' login"),
        ("ALTER ROLE app PASSWORD 'geh", "ALTER ROLE app PASSWORD '***'"),
        ("CREATE USER MAPPING FOR a SERVER s OPTIONS (user 'u', password 'geheim')", "CREATE USER MAPPING FOR a SERVER s OPTIONS (user 'u', password '***')"),
        ("CREATE SUBSCRIPTION s CONNECTION 'host=h password=geheim' PUBLICATION p", "CREATE SUBSCRIPTION s CONNECTION '***' PUBLICATION p"),
        ("SELECT 1 FROM users WHERE password = 'geheim' AND a = 'b'", "SELECT 1 FROM users WHERE password = '***' AND a = 'b'"),
        ("ALTER ROLE app PASSWORD $x$ge'heim$x$ LOGIN", "ALTER ROLE app PASSWORD '***' LOGIN"),
        ("SELECT password, name FROM users WHERE name = 'x'", "SELECT password, name FROM users WHERE name = 'x'"),
        ("ALTER ROLE app PASSWORD NULL", "ALTER ROLE app PASSWORD NULL"),
    ],
)  # fmt: skip
def test_passwords_are_taken_out_and_nothing_else(text: str, expected: str) -> None:
    """Whoever reads an artifact learns no password from it."""
    assert without_passwords(text) == expected


@given(
    st.text(st.characters(categories=["L", "N"]), min_size=8), st.sampled_from(["PASSWORD", "password =", "IDENTIFIED BY", "sslpassword="])
)
def test_no_part_of_a_password_is_left(secret: str, word: str) -> None:
    """Also with quotes of its own in it."""
    assert secret not in without_passwords(f"ALTER x {word} '{secret}''{secret}' y")
