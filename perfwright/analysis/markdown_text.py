"""Sentences that name code, put into Markdown: `re/__init__.py` is not bold, `<module>` no HTML, `count(*)` no emphasis."""

import re

_CODE_SPAN = re.compile(r"(`[^`]*`)")
_MARKUP = re.compile(r"[*<\[\\]|(?<![A-Za-z0-9])_+|_+(?![A-Za-z0-9])")


def as_markdown(text: str) -> str:
    """The text with what Markdown would take for markup escaped; code spans, and underscores within a word, stay as they are."""
    parts = _CODE_SPAN.split(text)
    parts[::2] = [_MARKUP.sub(lambda found: "".join(f"\\{c}" for c in found[0]), part) for part in parts[::2]]
    return "".join(parts)
