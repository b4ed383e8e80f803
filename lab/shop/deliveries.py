"""Delivery notes: the text that suppliers send is compared with what was ordered from them.

A note has one line per article, among addresses and greetings: `  12. GAR-00417/XL (dark green) x 24`.
"""

import re

from lab.problems import version

_ENTRY = (
    r"^[ \t]*(?:\d{{1,4}}\.[ \t]+)?{article}(?:/(?:XS|S|M|L|XL|XXL))?(?:[ \t]+\([^()\n]*\))?[ \t]+[x*][ \t]*(?P<pieces>\d{{1,6}})[ \t]*$"
)
_ANY_ENTRY = re.compile(_ENTRY.format(article=r"(?P<article>[A-Z]{3}-[0-9]{5})"), re.MULTILINE)


def pieces_by_article(note: str, ordered: list[str]) -> dict[str, int]:
    """Pieces delivered of each article (`ABC-12345`) of `ordered` that the note has; its first entry counts."""
    delivered = {}
    for article in ordered:
        entry = re.search(_ENTRY.format(article=re.escape(article)), note, re.MULTILINE)  # planted: delivery-notes
        if entry:
            delivered[article] = int(entry["pieces"])
    return delivered


def pieces_by_entry(note: str, ordered: list[str]) -> dict[str, int]:
    """Pieces delivered of each article (`ABC-12345`) of `ordered` that the note has; its first entry counts."""
    entries: dict[str, int] = {}
    for entry in _ANY_ENTRY.finditer(note):
        entries.setdefault(entry["article"], int(entry["pieces"]))
    return {article: entries[article] for article in ordered if article in entries}


delivered_pieces = version("delivery-notes", planted=pieces_by_article, sound=pieces_by_entry)
