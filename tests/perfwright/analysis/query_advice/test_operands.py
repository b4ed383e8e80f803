"""Conditions of plans are taken apart into operands with their exact text, whatever stands in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfwright.analysis.query_advice.operands import Combination, Comparison, comparisons, conjuncts, operand, scan

GOLDEN = [
    # condition as the server writes it              left            cast     operator   right          any
    ("(customer_id = 5)", ("customer_id", "", "=", "5", False)),
    ("((p_type)::text ~~ '%BRASS'::text)", ("p_type", "text", "~~", "'%BRASS'::text", False)),
    ("(o.id = ANY ('{1,2}'::bigint[]))", ("id", "", "=", "'{1,2}'::bigint[]", True)),
    ("((created_at)::date >= '2024-01-01'::date)", ("created_at", "date", ">=", "'2024-01-01'::date", False)),
    ("(\"We\"\"ird AND col\" < 3)", ('We"ird AND col', "", "<", "3", False)),
    ("(total > (InitPlan 1).col1)", ("total", "", ">", "(InitPlan 1).col1", False)),
    ("((note)::text = 'a'' OR (b'::text)", ("note", "text", "=", "'a'' OR (b'::text", False)),
    ("((at)::timestamp(3) without time zone > now())", ("at", "timestamp ( 3 ) without time zone", ">", "now()", False)),
    ("(tags @> '{a}'::text[])", ("tags", "", "@>", "'{a}'::text[]", False)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), GOLDEN)
def test_a_comparison_is_read_as_the_server_writes_it(text: str, expected: tuple[str, str, str, str, bool]) -> None:
    """Column, cast, operator and the other side's exact text."""
    (one,) = comparisons(text)
    assert one.left.column is not None and one.right is not None
    assert (one.left.column.name, one.left.cast, one.operator, one.right.text, one.any_array) == expected


def test_and_is_split_and_or_is_kept_together() -> None:
    """(a AND (b OR c) AND NOT d): two comparisons that must hold are not mixed with those that may."""
    parts = conjuncts("((a = 1) AND ((b = 2) OR (c = 3)) AND (NOT (d = 4)))")
    assert [type(one) for one in parts] == [Comparison, Combination, Combination]
    either = parts[1]
    assert isinstance(either, Combination) and either.how == "or" and len(either.parts) == 2
    assert [one.left.text for one in comparisons("((a = 1) AND ((b = 2) OR (c = 3)))")] == ["a"]


def test_an_expression_keeps_its_letters() -> None:
    """An index on a respelled expression would not be recognised."""
    (one,) = comparisons("(date_trunc('day'::text, created_at) = '2024-01-01 00:00:00'::timestamp without time zone)")
    assert one.left.text == "date_trunc('day'::text, created_at)"
    assert one.left.function == "date_trunc" and one.left.column is None
    assert [use.name for use in one.left.columns] == ["created_at"]


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("EXTRACT(year FROM created_at)", ["created_at"]),
        ('(name COLLATE "C")', ["name"]),
        ("CASE WHEN (a AND b) THEN c ELSE 'x'::text END", ["a", "b", "c"]),
        ("((data ->> 'k'::text))::integer", ["data"]),
        ("lower((o.email)::text)", ["email"]),
        ("(SubPlan 1)", []),
        ("$0", []),
        ("CURRENT_DATE", []),
        ("(hashed SubPlan 3)", []),
        ("(alternatives: SubPlan 1 or hashed SubPlan 2)", []),
        ("(seen_at AT TIME ZONE 'utc'::text)", ["seen_at"]),
        ("(at + zone)", ["at", "zone"]),
        ("(a OPERATOR(pg_catalog.+) b)", ["a", "b"]),
    ],
)
def test_columns_are_told_from_other_words(text: str, columns: list[str]) -> None:
    """Types, fields, collations, keywords and subplans are no columns."""
    assert [use.name for use in operand(text).columns] == columns


def test_a_subplan_is_no_constant() -> None:
    """Its value changes from row to row; an InitPlan's does not."""
    assert not operand("(SubPlan 1)").constant
    assert operand("(InitPlan 1).col1").constant and operand("$0").constant and operand("now()").constant


def test_sides_are_exchanged_only_where_that_means_the_same() -> None:
    """`5 < x` is `x > 5`; a pattern and an IN list have a direction."""
    (one,) = comparisons("(5 < x)")
    assert one.flipped is not None and (one.flipped.left.text, one.flipped.operator) == ("x", ">")
    for text in ("(x ~~ 'a%'::text)", "(x = ANY ('{1}'::integer[]))", "(x IS NULL)"):
        assert comparisons(text)[0].flipped is None


@given(st.text(alphabet="abAND OR='\"()[]:.,$1<>~%_é\\E", max_size=60))
def test_no_text_is_too_odd(text: str) -> None:
    """A condition that is cut or hostile gives fewer comparisons, never an error, and scanning loses no character."""
    for one in conjuncts(text):
        assert one.text in text
    assert "".join(token.text for token in scan(text)) == "".join(text.split()) or " " in text


@given(st.lists(st.sampled_from(["(a = 1)", "(b.c < 2)", "((d)::text = 'x) AND (y'::text)", "(e IS NULL)"]), min_size=2, max_size=8))
def test_every_part_of_an_and_is_found(parts: list[str]) -> None:
    """However many, in their order, whatever is quoted in them."""
    assert [f"({one.text})" for one in comparisons(f"({' AND '.join(parts)})")] == parts


def test_a_condition_that_is_huge_or_deep_is_left_alone() -> None:
    """An IN list of a hundred thousand values, a thousand parentheses: no comparison, no harm."""
    assert conjuncts("(a = " + "1" * 200_000 + ")") == ()
    assert isinstance(conjuncts("(" * 1_000 + "a" + ")" * 1_000), tuple)
    assert isinstance(conjuncts("(NOT " * 500 + "a" + ")" * 500), tuple)
