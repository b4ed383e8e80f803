"""Sentences that name code, in Markdown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from perfwright.analysis.markdown_text import as_markdown


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("Spent in search (re/__init__.py) 19%", r"Spent in search (re/\_\_init\_\_.py) 19%"),
        ("merge_into_list takes 17%", "merge_into_list takes 17%"),
        ("<module> calls _parse, count(*)", r"\<module> calls \_parse, count(\*)"),
        ("use `__slots__` in __init__", r"use `__slots__` in \_\_init\_\_"),
    ],
)
def test_names_of_code_are_no_markup(text: str, markdown: str) -> None:
    """What looks like emphasis or HTML is escaped, what needs no escape stays readable, code spans are left alone."""
    assert as_markdown(text) == markdown


@given(st.text(alphabet="ab _*<>/.()[]\\9", max_size=30).map(lambda text: f"x{text}x"))
def test_a_reader_sees_the_names_as_they_are(text: str) -> None:
    """Rendered, the text is the text again."""
    tokens = MarkdownIt("commonmark").parseInline(as_markdown(text))[0].children or []
    assert [token.type for token in tokens if token.type not in ("text", "text_special")] == []
    assert "".join(token.content for token in tokens) == text
