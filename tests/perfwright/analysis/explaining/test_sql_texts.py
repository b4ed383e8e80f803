"""SQL that is sent: values stay values, statements stay one statement."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfwright.analysis.explaining.sql_texts import (
    Execution,
    UnsendableText,
    begin_sql,
    execute_sql,
    explain_prefix,
    placeholders_in,
    prepare_sql,
    quoted_identifier,
    quoted_literal,
    sendable,
    shape_of,
    with_types,
    without_semicolon,
)
from perfwright.analysis.statements.parsing import Unreadable, syntax_tree

SENDABLE = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))


@given(SENDABLE)
def test_a_value_is_one_constant(value: str) -> None:
    """Whatever a value holds, the server's grammar reads one constant of exactly this text, and nothing beside it."""
    tree = syntax_tree(f"SELECT {quoted_literal(value)}")
    [target] = tree["SelectStmt"]["targetList"]
    assert set(tree["SelectStmt"]) == {"targetList", "limitOption", "op"}
    assert target["ResTarget"]["val"]["A_Const"].get("sval", {}).get("sval", "") == value


@given(st.text(st.sampled_from("'\\;-/*E$ \n\"")))
def test_a_value_ends_where_it_should_without_standard_strings(value: str) -> None:
    """Where the server takes backslashes for escapes in plain quotes too, no value holds one outside of an escape string."""
    quoted = quoted_literal(value)
    assert "\\" not in quoted or quoted.startswith("E'")
    body = quoted.removeprefix("E")[1:-1]
    assert body.replace("\\\\", "").replace("''", "").find("'") == -1
    assert "\\" not in body.replace("\\\\", "")


@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=15))  # 63 bytes are kept of a name
def test_a_name_is_one_name(name: str) -> None:
    """A schema's name cannot end its quotes."""
    tree = syntax_tree(f"SELECT {quoted_identifier(name)}.f()")
    [function, _] = tree["SelectStmt"]["targetList"][0]["ResTarget"]["val"]["FuncCall"]["funcname"]
    assert function["String"]["sval"] == name


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_what_no_server_takes_is_refused(text: str) -> None:
    """NUL would hide the rest of a text from the parser, half a surrogate cannot be encoded."""
    for make in (quoted_literal, quoted_identifier, sendable):
        with pytest.raises(UnsendableText):
            make(text)
    with pytest.raises(UnsendableText):
        prepare_sql("x", f"SELECT 1{text}")
    assert shape_of(f"SELECT 1{text}") == ""


def test_null_and_calls() -> None:
    """NULL is no text; a statement without values is executed without parentheses."""
    assert quoted_literal(None) == "NULL"
    assert execute_sql("p", ("1", None, "it's")) == "EXECUTE \"p\"('1', NULL, 'it''s')"
    assert execute_sql("p", ()) == 'EXECUTE "p"'


@pytest.mark.parametrize(
    "version, execution, options",
    [
        (130000, None, "FORMAT JSON, SETTINGS"),
        (150000, Execution(), "FORMAT JSON, SETTINGS, ANALYZE, BUFFERS, TIMING ON"),
        (150000, Execution(timing=False), "FORMAT JSON, SETTINGS, ANALYZE, BUFFERS, TIMING OFF"),
        (160000, Execution(writes=True), "FORMAT JSON, SETTINGS, ANALYZE, BUFFERS, TIMING ON, WAL"),
        (180000, Execution(), "FORMAT JSON, SETTINGS, ANALYZE, BUFFERS, TIMING ON, SERIALIZE TEXT"),
        (180000, None, "FORMAT JSON, SETTINGS"),
    ],
)
def test_options_of_explain(version: int, execution: Execution | None, options: str) -> None:
    """Each version gets the options it knows; without an execution nothing is executed."""
    assert explain_prefix(version, execution) == f"EXPLAIN ({options}) "


def test_transactions_are_bounded_and_local() -> None:
    """A transaction may write only when asked for, and everything set in it ends with it."""
    assert begin_sql(writes=False, statement_timeout_ms=1500, lock_timeout_ms=200) == (
        "BEGIN READ ONLY; SET LOCAL statement_timeout = 1500; SET LOCAL lock_timeout = 200; "
        "SET LOCAL idle_in_transaction_session_timeout = 60000"
    )
    written = begin_sql(
        writes=True,
        statement_timeout_ms=1,
        lock_timeout_ms=1,
        plan_cache_mode="force_custom_plan",
        one_snapshot=True,
        checks_connection=True,
    )
    assert written.startswith("BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE; ")
    assert written.endswith("SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL client_connection_check_interval = 500")
    assert all(part.startswith("SET LOCAL ") for part in written.split("; ")[1:])


@pytest.mark.parametrize(
    "text, count",
    [
        ("SELECT 1", 0),
        ("SELECT $1, $3", 3),
        ("SELECT '$9', $2 -- $7", 2),
        ("SELECT interval $1", 1),
        ("SELECT $$ $4 $$", 0),
        ("SELECT broken FROM WHERE a = $2 AND b = '$5'", 5),
    ],
)
def test_placeholders_are_read(text: str, count: int) -> None:
    """Text in quotes and comments that looks like a placeholder is none, as far as the text can be read."""
    assert placeholders_in(text) == count


@pytest.mark.parametrize(
    "text, inner",
    [
        ("SELECT 1", "SELECT 1"),
        ("SELECT 1 ; ", "SELECT 1 "),
        ("SELECT ';' ;;", "SELECT ';' "),
        ("SELECT '\u20ac;' -- c;\n; -- d", "SELECT '\u20ac;' -- c;\n"),
        (" ; SELECT 1;", " SELECT 1"),
    ],
)
def test_semicolons_are_taken_off(text: str, inner: str) -> None:
    """What is left can stand in parentheses on lines of its own."""
    assert without_semicolon(text) == inner
    syntax_tree(f"SELECT * FROM ({inner}\n) q")


@pytest.mark.parametrize("text", ["SELECT 1; SELECT 2", "SELECT 1) q; DROP TABLE x; --", "", ";", "nonsense", "SELECT 1\0"])
def test_what_is_not_one_statement_stands_in_no_parentheses(text: str) -> None:
    """Several statements, or none, are refused."""
    with pytest.raises(Unreadable):
        without_semicolon(text)


def test_types_are_added_where_needed() -> None:
    """`interval $1` is what only the server's own normalization writes; other texts stay as they are."""
    assert with_types("SELECT now() - interval $1", 150000) == "SELECT now() - $1::interval"
    assert with_types("SELECT a FROM t WHERE b = $1", 150000) == "SELECT a FROM t WHERE b = $1"
    assert with_types("SELECT FROM WHERE $1", 150000) == "SELECT FROM WHERE $1"


def test_shapes_are_the_same_for_other_values_only() -> None:
    """The shape tells functions, tables and operators apart, not values."""
    assert shape_of("SELECT f(1) FROM t WHERE a = 'x'") == shape_of("select f($1) from t where a = $2")
    assert shape_of("SELECT f(1) FROM t") != shape_of("SELECT g(1) FROM t")
    assert shape_of("not SQL") == ""
