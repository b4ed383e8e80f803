"""No value of a statement is shown, however it is written, cut or quoted; names are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfwright.analysis.masking.sql_values import Dialect, masked
from perfwright.analysis.masking.statement_texts import shown_statement

CANARY = "qzqz"
INSIDE = st.text(alphabet="ab'\"\\$%_ \n;-/*#`(){}é0", max_size=12).map(lambda text: f"{text}{CANARY}{text[::-1]}")


def plain(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def escaped(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def doubled(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def dollar(value: str) -> str:
    return f"$t${value.replace('$', '')}$t$"


NAMES = st.sampled_from(
    ["SELECT", "orders", "o.total", "customer_id", "FROM", "WHERE", "=", "(", ")", ",", "AND", "IN", "||", "::text", "$1"]
)
COMMENTS = INSIDE.map(lambda text: f"-- {text}".replace("\n", " ") + "\n") | INSIDE.map(lambda text: f"/* {text.replace('*', '')} */")
NUMBERS = st.sampled_from(["91827", "-91827", "9182.7", "91827e-3", ".91827", "0x91827", "91_827", "91827e5"])
BOTH = NAMES | COMMENTS | NUMBERS
POSTGRESQL_PARTS = (
    BOTH
    | INSIDE.map(plain)
    | INSIDE.map(lambda value: f"E{escaped(value)}")
    | INSIDE.map(lambda value: f"N{plain(value)}")
    | INSIDE.map(lambda value: f"U&{plain(value.replace(chr(92), chr(92) * 2))}")
    | INSIDE.map(dollar)
    | st.sampled_from(["B'91827'", "x'91827'", '"Order"'])
)
MYSQL_PARTS = BOTH | INSIDE.map(doubled) | INSIDE.map(escaped) | st.sampled_from(["`Order`", "b'91827'", "X'91827'", f"# {CANARY}\n"])
MYSQL_WITHOUT_ESCAPES = BOTH | INSIDE.map(plain) | INSIDE.map(lambda value: '"' + value.replace('"', '""') + '"')


def check(text: str, dialect: Dialect) -> None:
    shown = masked(text, dialect)
    assert CANARY not in shown and "918" not in shown and "827" not in shown, shown


@given(st.lists(POSTGRESQL_PARTS, max_size=12).map(" ".join), st.integers(0, 400))
def test_postgresql(text: str, cut: int) -> None:
    """Every way to write a value, in any order, whole or cut anywhere."""
    check(text, "postgresql")
    check(text[:cut], "postgresql")
    assert CANARY not in shown_statement(text, "postgresql")


@given(st.lists(POSTGRESQL_PARTS, max_size=6).map("".join))
def test_postgresql_without_spaces(text: str) -> None:
    """Nothing between the parts: `$t$..$t$'..'` still ends where it ends. A letter before a quote may be part of a name."""
    shown = masked(text)
    assert "'" not in shown


@given(st.lists(MYSQL_PARTS, max_size=12).map(" ".join), st.integers(0, 400))
def test_mysql(text: str, cut: int) -> None:
    """Either quotes, with backslashes, both kinds of comments."""
    check(text, "mysql")
    check(text[:cut], "mysql")
    assert CANARY not in shown_statement(text, "mysql")


@given(st.lists(MYSQL_WITHOUT_ESCAPES, max_size=12).map(" ".join), st.integers(0, 400))
def test_mysql_without_backslash_escapes(text: str, cut: int) -> None:
    """Under NO_BACKSLASH_ESCAPES a backslash ends nothing and hides nothing."""
    check(text, "mysql")
    check(text[:cut], "mysql")


@given(st.text(max_size=200), st.sampled_from(["postgresql", "mysql"]))
def test_any_text(text: str, dialect: Dialect) -> None:
    """Nothing raises, and nothing that is shown is in quotes."""
    shown = masked(text.replace("`", ""), dialect, quoted_names=False)
    assert "'" not in shown and '"' not in shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"SELECT a FROM t WHERE b = E'it\'s secret' AND c = 5", "SELECT a FROM t WHERE b = ? AND c = ?"),
        (r"SELECT a FROM t WHERE b = 'C:\' AND c = 'secret'", "SELECT a FROM t WHERE b = ?"),
        (
            "SELECT a$1, x1 FROM t1 WHERE b = $1 AND c = $q$it's$q$ AND d < 1.5e-3",
            "SELECT a$1, x1 FROM t1 WHERE b = $1 AND c = ? AND d < ?",
        ),
        ("SELECT \"It's\" FROM \"T\" /* a /* 'b' */ c */ WHERE d = 'cut", 'SELECT "It\'s" FROM "T"   WHERE d = ?'),
        ('SELECT a FROM t WHERE b = "cut', "SELECT a FROM t WHERE b = ?"),
    ],
)
def test_what_is_left(text: str, expected: str) -> None:
    """Names and parameters are."""
    assert masked(text) == expected


def test_quoted_names_of_unreadable_texts() -> None:
    """Of a text that PostgreSQL cannot read, what stands in double quotes may be a value."""
    assert masked('SELECT FROM FROM t WHERE a = "secret"', quoted_names=False) == "SELECT FROM FROM t WHERE a = ?"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT a::varchar(20) FROM t WHERE b = 'x' AND c > -5 ORDER BY 1 LIMIT 3 -- 'secret'", "SELECT a::varchar(20) FROM t WHERE b = $1 AND c > $2 ORDER BY 1 LIMIT $3  "),
        ("SET x = 'secret'", "SET x = $1"),
        ("EXECUTE p('secret', 5)", "EXECUTE p(?, ?)"),
        ("CREATE INDEX ON t (a) WHERE b = 'secret'", "CREATE INDEX ON t (a) WHERE b = ?"),
        ("SELECT 'secret' FROM FROM t", "SELECT ? FROM FROM t"),
    ],
)  # fmt: skip
def test_statements_stay_readable_where_they_were(text: str, expected: str) -> None:
    """What PostgreSQL's parser can read has `$n` for its values and can be planned; positions and lengths of types stay."""
    assert shown_statement(text, "postgresql") == expected.rstrip() or shown_statement(text, "postgresql") == expected
