"""Keys that save parsing: texts that share one have one fingerprint, whatever is in them."""

import re

import pgparse
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from perfwright.analysis.server_log.literals import can_stand_for, literal_key, without_strings

PARTS = 6
"""A key is a piece of text, then for each token what the five groups hold, and so on."""
FRAGMENTS = (
    *(
        "select ",
        "insert into t values ",
        "with x as (",
        "update t set a = ",
        " from t ",
        " where ",
        " and ",
        " in (",
        ", ",
        ")",
        "(",
        " limit ",
    ),
    *("a", "t1", "t.a", '"q 1"', '"its"', '"a""b"', "a$1", "é", "$1", "$2", " interval ", " date ", "::int", "::numeric(3,2)", " as x "),
    *(
        "1",
        "-1",
        " - 1",
        "1.5",
        "1.",
        ".5",
        "1e5",
        "1e-5",
        "0x1F",
        "1_000",
        "1a",
        "12 ",
        "e5",
        "''",
        "'a'",
        "'it''s'",
        "'\\'",
        "E'a\\'b'",
        "e''",
    ),
    *(
        " E'\\\\' ",
        "N'x'",
        "B'1'",
        "x'1f'",
        "U&'d\\0061'",
        'U&"d"',
        "$$a$$",
        "$q$'$q$",
        "--c\n",
        "--'\n",
        "/*c*/",
        "/*'*/",
        "/* /* */ */",
        "/*",
        "*/",
    ),
    *(
        "'",
        '"',
        "\\",
        "$",
        "/",
        "*",
        "-",
        "+",
        "=",
        "<>",
        "@",
        ";",
        "\n",
        "\r",
        "\t",
        " ",
        " union select ",
        " is null ",
        " between ",
        " ? ",
        "[1]",
    ),
)
LITERALS = ("'x'", "'it''s'", "''", "'2024-01-01'", "'--'", "'/*'", "'\"'", "'\\'", "'$$'", "'?'", "'1'")
NUMBERS = ("0", "7", "123456", "1.5", "2.", "1e5", "3.25E-7")


def outcome(text: str) -> str:
    try:
        return str(pgparse.fingerprint(text))
    except pgparse.PGQueryError:
        return "refused"


def other_literals(text: str, draw: "st.DataObject") -> str:
    """The same statement with other values, told by the key itself: what it takes for a literal is replaced."""
    from perfwright.analysis.server_log.literals import _TOKENS

    def other(found: re.Match[str]) -> str:
        escaped, string, identifier, comment, line = found.groups()
        if escaped is not None or identifier is not None:
            return found[0]
        if comment is not None:
            return draw.draw(st.sampled_from(("/**/", "/* it's */", '/* " */', "/* 1 */")))
        if line is not None:
            return draw.draw(st.sampled_from(("--", "-- it's", '-- "', "-- /*")))
        return draw.draw(st.sampled_from(NUMBERS if string is None else LITERALS))

    return _TOKENS.sub(other, text)


texts = st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=14).map(lambda parts: "select " + "".join(parts))


@settings(max_examples=1500, deadline=None)
@given(texts, st.data())
@example("select 'a'\n'b'", None)
def test_equal_keys_have_equal_fingerprints(text: str, data: st.DataObject | None) -> None:
    """Whatever literals and comments a text has, texts with its key have its fingerprint, or are refused like it."""
    key = literal_key(text)
    if key is None or data is None or not can_stand_for(key):
        return
    other = other_literals(text, data)
    if literal_key(other) == key:
        assert outcome(other) == outcome(text), (text, other)


@settings(max_examples=800, deadline=None)
@given(texts, texts)
def test_different_statements_have_different_keys(one: str, two: str) -> None:
    """Two texts that differ in more than literals do not meet: the key never joins what the parser tells apart."""
    keys = literal_key(one), literal_key(two)
    if keys[0] is not None and keys[0] == keys[1] and can_stand_for(keys[0]):
        assert outcome(one) == outcome(two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("select * from t where a = 1", "select * from t where a = 20345"),
        ("select * from t where a = 'x'", "select * from t where a = 'it''s \" -- /* 5'"),
        ("select a - 1 from t", "select a - 23.5e-7 from t"),
        ("select * from t where a in (1, 2, 3)", "select * from t where a in (7, 8, 9)"),
        ("select /* trace 1 */ a from t", "select /* trace 'two' */ a from t"),
        ("select a from t -- by me\n where b = 1", "select a from t -- it's\n where b = 2"),
        ("select * from t where d > date '2024-01-01' - interval '3 days'", "select * from t where d > date '2025-02-02' - interval '1 h'"),
        ('select "t"."a 1" from "t" where "t"."b" = 5', 'select "t"."a 1" from "t" where "t"."b" = 6'),
        ("insert into t values (1, 'a', NULL, '{\"k\": 1}')", "insert into t values (2, 'b', NULL, '{}')"),
    ],
)
def test_literals_make_no_difference(one: str, two: str) -> None:
    """Statements that differ in values or comments only share their key, so that one of them is parsed."""
    assert literal_key(one) == literal_key(two) is not None
    assert can_stand_for(literal_key(one) or ())
    assert outcome(one) == outcome(two) != "refused"


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("select * from t1", "select * from t2"),
        ('select "a 1" from t', 'select "a 2" from t'),
        ("select f(1)", "select f()"),
        ("select f(1)", "select f(/* 1 */)"),
        ("select a from t where b = 1", "select a from t where b = '1'"),
        ("select a from t where b in (1, 2)", "select a from t where b in (1, 2, 3)"),
        ("select a, 'b'", "select a 'b'"),
        ("select $1", "select $2"),
        ("select a1e5", "select a1e6"),
    ],
)
def test_everything_else_does(one: str, two: str) -> None:
    """Names, kinds of tokens and their number are told apart."""
    assert literal_key(one) != literal_key(two)


@pytest.mark.parametrize(
    "text", ["select $$it's$$", "select U&\"d!0061\" uescape '!'", "select /* /* 1 */ ' */ 2", f"select '{'x' * 70_000}'"]
)
def test_what_cannot_be_cut_reliably_has_no_key(text: str) -> None:
    """Dollar quotes, U& quoting, nested comments and very long texts are parsed every time."""
    assert literal_key(text) is None


@pytest.mark.parametrize(
    "text", ["fetch 2 from c", "set x = 1", "select 1; fetch 3 from c", "prepare transaction 'x'", "/* select */ fetch 1 from c"]
)
def test_some_numbers_are_more_than_values(text: str) -> None:
    """Only single statements on data, without sizes of types, have keys that stand for a fingerprint."""
    assert not can_stand_for(literal_key(text) or ())


def test_utility_numbers_matter() -> None:
    """The reason for it: these two have different fingerprints and equal keys."""
    assert outcome("fetch 1 from c") != outcome("fetch 2 from c")
    assert literal_key("fetch 1 from c") == literal_key("fetch 2 from c")


def test_strings_are_taken_out() -> None:
    """A shown text has the content of no string, however it is quoted, also when it was cut."""
    text = "create x 'se''cret' E'it\\'s' $$body$$ $q$other$q$ 'unfinished"
    shown = without_strings(text)
    assert shown == "create x '…' '…' '…' '…' '…'"


def test_a_hostile_text_takes_no_time() -> None:
    """Texts made to be slow for a regular expression are cut in time that grows with their length only."""
    for text in (
        "'" * 60_001,
        '"' * 60_001,
        "/*" * 30_000,
        "select " + "1." * 30_000,
        "select " + "$1 " * 20_000,
        "E'\\" * 20_000,
        "-" * 60_001,
    ):
        literal_key(text)
