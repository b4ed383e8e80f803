"""Names in DDL are quoted where needed, at most 63 bytes long, and never the same twice."""

import pgparse
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfwright.analysis.query_advice.identifiers import NAME_BYTES, literal, object_name, qualified, quoted

NAMES = st.text(alphabet=st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), min_size=1, max_size=70)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("orders", "orders"),
        ("Order", '"Order"'),
        ('a"b', '"a""b"'),
        ("select", '"select"'),
        ("1st", '"1st"'),
        ("größe", '"größe"'),
        ("a b", '"a b"'),
        ("user", '"user"'),
    ],
)
def test_a_name_is_quoted_where_the_server_needs_it(name: str, written: str) -> None:
    """Plain lower case words stay readable."""
    assert quoted(name) == written


@given(NAMES)
def test_any_name_comes_back_from_the_servers_own_grammar(name: str) -> None:
    """Whatever it holds, it names the same column, and nothing else is executed."""
    tree = pgparse.parse(f"SELECT {quoted(name)} FROM {quoted(name)}")
    assert len(tree) == 1
    select = tree[0]["stmt"]["SelectStmt"]
    kept = name.encode()[:NAME_BYTES].decode(errors="ignore")  # the grammar cuts long names, as the server does
    assert select["fromClause"][0]["RangeVar"]["relname"] == kept


@given(st.text(max_size=40).filter(lambda text: "\0" not in text))
def test_a_literal_ends_where_it_should(text: str) -> None:
    """Quotes and backslashes cannot end it, whatever standard_conforming_strings is."""
    if any(0xD800 <= ord(one) <= 0xDFFF for one in text):
        return
    written = literal(text)
    (statement,) = pgparse.parse(f"SELECT {written}")
    constant = statement["stmt"]["SelectStmt"]["targetList"][0]["ResTarget"]["val"]["A_Const"]
    assert constant["sval"].get("sval", "") == text


@given(st.lists(st.lists(NAMES, min_size=1, max_size=4), min_size=1, max_size=6))
def test_names_of_objects_are_short_and_distinct(objects: list[list[str]]) -> None:
    """At most 63 bytes, whole characters, never one that is taken."""
    taken = {"orders_idx"}
    names = [object_name(words, "idx", taken) for words in objects]
    assert len({"orders_idx", *names}) == len(names) + 1
    assert all(len(name.encode()) <= NAME_BYTES and name.endswith("_idx") for name in names)


def test_a_name_is_the_same_in_the_next_run() -> None:
    """Names follow from what they name, also where they had to be cut."""
    words = ["a" * 50, "b" * 50]
    assert object_name(words, "idx", set()) == object_name(words, "idx", set())


def test_a_table_is_named_with_its_schema() -> None:
    """Whoever runs the DDL may have another search_path."""
    assert qualified("My shop", "Order") == '"My shop"."Order"'
