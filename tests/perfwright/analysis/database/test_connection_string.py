"""Connection strings of PostgreSQL, in both of libpq's forms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfwright.analysis.database.connection_string import ConnectionParameters, ConnectionStringInvalid, parse_connection_string


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "postgresql://ann:p%40ss%2Fw@db.example:6432/shop?sslmode=require",
            ConnectionParameters(("db.example",), (6432,), "ann", "p@ss/w", "shop", driver={"sslmode": "require"}),
        ),
        ("postgres://ann@db/shop", ConnectionParameters(("db",), (5432,), "ann", "", "shop")),
        ("postgresql+asyncpg://ann:p@db:1/shop", ConnectionParameters(("db",), (1,), "ann", "p", "shop")),
        ("postgresql://ann:p@ss@db:1/shop", ConnectionParameters(("db",), (1,), "ann", "p@ss", "shop")),
        ("postgresql://ann:p@[::1]:5433,other/shop", ConnectionParameters(("::1", "other"), (5433, 5432), "ann", "p", "shop")),
        ("postgresql:///shop?host=/run/postgresql&user=ann", ConnectionParameters(("/run/postgresql",), (), "ann", "", "shop")),
        ("postgresql://%2Frun%2Fpg/shop", ConnectionParameters(("/run/pg",), (5432,), "", "", "shop")),
        (
            r"host = db port=6432 user='ann' password='it\'s \\ here' dbname=shop",
            ConnectionParameters(("db",), (6432,), "ann", r"it's \ here", "shop"),
        ),
        ("host=a,b port=1,2 dbname=shop", ConnectionParameters(("a", "b"), (1, 2), "", "", "shop")),
        ("host=db hostaddr=10.0.0.1 dbname=shop", ConnectionParameters(("10.0.0.1",), (), "", "", "shop")),
        (
            "host=db hostaddr=10.0.0.1 sslmode=verify-full",
            ConnectionParameters(("db",), (), driver={"sslmode": "verify-full"}),
        ),
        (
            "host=db options='-c search_path=app' connect_timeout=3 keepalives=1 application_name=shop pgbouncer=true",
            ConnectionParameters(("db",), (), server={"options": "-c search_path=app"}, connect_timeout_s=3.0),
        ),
        ("postgresql://db/shop?ssl=true", ConnectionParameters(("db",), (5432,), database="shop", driver={"sslmode": "require"})),
    ],
)
def test_both_forms_are_read(text: str, expected: ConnectionParameters) -> None:
    """Whatever libpq and SQLAlchemy take is understood; what only other drivers know is left out."""
    assert parse_connection_string(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "shop", "http://ann:geheim@db/shop", "postgresql://ann:geheim@db:port/shop", "host=db port=geheim", "host=db 'geheim", "port=99999",
     "host=a,b,c port=1,2 password=geheim", "postgresql://ann:geheim@[::1/shop"],
)  # fmt: skip
def test_what_is_none_is_refused_without_its_text(text: str) -> None:
    """The message never repeats a part of the text: it may be the password."""
    with pytest.raises(ConnectionStringInvalid) as trouble:
        parse_connection_string(text)
    assert "geheim" not in str(trouble.value)
    assert trouble.value.__cause__ is None


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes the parser fail in another way."""
    try:
        parse_connection_string(text)
    except ConnectionStringInvalid as invalid:
        assert len(text) < 12 or text not in str(invalid)


@given(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1),
)
def test_quoted_values_come_back(user: str, password: str) -> None:
    """Any user and password can be given when quotes and backslashes are escaped."""
    quoted = {name: value.replace("\\", "\\\\").replace("'", "\\'") for name, value in (("user", user), ("password", password))}
    read = parse_connection_string(f"user='{quoted['user']}' password='{quoted['password']}'")
    assert (read.user, read.password) == (user, password)


def test_the_password_is_not_shown() -> None:
    """Parameters in a traceback or log tell no password."""
    assert "geheim" not in repr(parse_connection_string("postgresql://ann:geheim@db/shop"))
