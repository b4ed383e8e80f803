import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfwright.analysis.plans.conditions import Column, bare_column, read_columns, read_condition


@pytest.mark.parametrize(
    ("text", "comparison", "operand", "column", "wrapping"),
    [
        ("(customer_id = 42)", "equality", "column", "customer_id", ""),
        ("(42 = o.customer_id)", "equality", "column", "customer_id", ""),
        ("(a = ANY ('{1,2}'::integer[]))", "equality", "column", "a", ""),
        ("(a <> ALL ('{1,2}'::integer[]))", "inequality", "column", "a", ""),
        ("(placed_at >= '2024-01-01 00:00:00+00'::timestamp with time zone)", "range", "column", "placed_at", ""),
        ("(lower((email)::text) = 'x'::text)", "equality", "function", "email", "lower(email::text)"),
        ("(EXTRACT(year FROM ts) = '2024'::numeric)", "equality", "function", "ts", "extract('year', ts)"),
        ("(COALESCE(x, 0) = 5)", "equality", "function", "x", "coalesce(x, 0)"),
        ("((id)::numeric = 5.0)", "equality", "cast", "id", "numeric"),
        ("((ts)::date = '2024-01-01'::date)", "equality", "cast", "ts", "date"),
        ("((data ->> 'k'::text) = 'v'::text)", "equality", "expression", "data", "data ->> 'k'"),
        ("((a % 10) = 3)", "equality", "expression", "a", "a % 10"),
        ("(tags @> '{a}'::text[])", "containment", "column", "tags", ""),
        ("(coupon IS NOT NULL)", "null test", "column", "coupon", ""),
        ("(NOT deleted)", "boolean", "column", "deleted", ""),
        ("starts_with(name, 'x'::text)", "call", "function", "name", "starts_with(name, 'x')"),
        ("(name !~~ '%x'::text)", "not pattern", "column", "name", ""),
    ],
)
def test_what_a_condition_compares(text: str, comparison: str, operand: str, column: str, wrapping: str) -> None:
    """A condition is read as the server deparses it, with the column and what is around it."""
    (part,) = read_condition(text)
    assert (part.comparison, part.operand, part.column and part.column.name, part.wrapping) == (comparison, operand, column, wrapping)


@pytest.mark.parametrize(
    ("text", "leading"),
    [
        ("(name ~~ '%abc'::text)", True),
        ("(name ~~ '_abc'::text)", True),
        ("(name ~~ 'abc%'::text)", False),
        ("(name ~~* 'abc%'::text)", True),
        ("(name ~~* '12%'::text)", False),
        ("(name ~ 'abc'::text)", True),
        ("(name ~ '^abc'::text)", False),
        ("(name ~* '^abc'::text)", True),
        ("(name ~~ ('%'::text || $1))", True),
        ("(name ~~ $1)", False),
        ("(('%'::text || b.word) ~~ a.name)", False),
    ],
)
def test_patterns_without_a_beginning(text: str, leading: bool) -> None:
    """Only a pattern whose constant beginning is known to be missing is called one without a beginning."""
    assert read_condition(text)[0].leading_wildcard is leading


def test_conditions_are_taken_apart_at_and() -> None:
    """Parts joined by AND stand alone; an OR keeps its branches."""
    first, second = read_condition("((a = 1) AND ((b = 2) OR ((c > 3) AND (d < 4))))")
    assert first.comparison == "equality" and second.comparison == "or"
    assert [[one.column and one.column.name for one in branch] for branch in second.branches] == [["b"], ["c", "d"]]


@pytest.mark.parametrize(
    "text",
    [
        "(NOT (hashed SubPlan 1))",
        "(NOT (ANY (a = (hashed SubPlan 1).col1)))",
        "EXISTS(SubPlan 2)",
        "(total > (SubPlan 1))",
        "(alternatives: SubPlan 1 or hashed SubPlan 2)",
    ],
)
def test_subplans_of_all_versions_are_seen(text: str) -> None:
    """What compares with a subplan is known to, however the version writes it."""
    assert read_condition(text)[0].subplan


@pytest.mark.parametrize(
    ("text", "wrapping"), [("(NOT (t.a IS DISTINCT FROM 7))", "a IS NOT DISTINCT FROM"), ("('x'::text = ANY (t.a))", "ANY (a)")]
)
def test_what_no_index_on_the_column_finds_is_an_expression(text: str, wrapping: str) -> None:
    """IS NOT DISTINCT FROM and an element of an array column look like equality and are none to a btree."""
    (part,) = read_condition(text)
    assert (part.comparison, part.operand, part.wrapping, part.column) == ("equality", "expression", wrapping, Column("a", "t"))


@pytest.mark.parametrize(
    ("text", "unanchored"),
    [("(a ~ '^?'::text)", False), ("(a ~ '?'::text)", True), ("(a ~~ '?'::text)", False), ("(a ~~* '?'::text)", True)],
)
def test_masked_patterns_keep_how_they_begin(text: str, unanchored: bool) -> None:
    """What an index can do with a pattern is the same whether its letters are masked or not."""
    assert read_condition(text)[0].leading_wildcard is unanchored


@pytest.mark.parametrize("text", ["(a > $0)", "(a > (InitPlan 1).col1)"])
def test_values_of_init_plans_are_unknown(text: str) -> None:
    """A value that is computed at run time is no constant."""
    (part,) = read_condition(text)
    assert part.unknown_value and not part.subplan and part.columns == (Column("a"),)


def test_keys_are_read() -> None:
    """Sort and group keys give their columns; only a bare column is one."""
    assert read_columns("lower((c.name)::text) DESC NULLS LAST") == (Column("name", "c"),)
    assert bare_column("c.id DESC NULLS FIRST") == Column("id", "c")
    assert bare_column('"Order Id"') == Column("Order Id")
    assert bare_column("lower(name)") is None and bare_column('name COLLATE "C"') is None


WORDS = [*"ab()=<>'\"%~ 1.,:|$", "AND ", "OR ", "(SubPlan 1)", "::text", "ANY (", "(InitPlan 2).col1", "NOT "]


@given(st.lists(st.sampled_from(WORDS), max_size=40).map("".join) | st.text(max_size=20))
def test_any_text_is_read_or_is_silent(text: str) -> None:
    """A condition that is no SQL has no parts."""
    read_condition(text)
    read_columns(text)
    bare_column(text)


def test_huge_conditions_are_passed_over() -> None:
    """Hostile nesting and length cost nothing."""
    assert read_condition("(" * 5_000 + "a = 1" + ")" * 5_000) == ()
    assert read_condition(f"(a = ANY ('{{{','.join(map(str, range(20_000)))}}}'::integer[]))") == ()
    assert read_condition("(a" + " + a" * 9_000 + " = 1)") == ()
