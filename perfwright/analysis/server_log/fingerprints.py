"""From the text of a statement to its shape, mostly without parsing it.

    exact text --(recently seen)--> shape
    literal key --(recently seen)--> shape
    libpg_query's fingerprint ------> shape, or a new one

Both memories are bounded. A text that the parser refuses has the fingerprint of its letters: it is listed, never dropped.
"""

import re
from hashlib import blake2b
from typing import Generic, TypeVar

import pgparse

from perfwright.analysis.server_log.literals import can_stand_for, key_size, literal_key, without_strings
from perfwright.analysis.server_log.shapes import TEXT_CHARACTERS, Shape, ShapeTable
from perfwright.analysis.server_log.withheld import holds_secret, shown_utility
from perfwright.analysis.statements.parsing import first_word_kind

TEXTS_BYTES, KEYS_BYTES = 4 << 20, 8 << 20
"""Of each generation of the two memories."""
MOST_REMEMBERED = 10_000
MOST_SET_OPERATIONS = 10_000
"""libpg_query walks them recursively: 160,000 overflow a stack of 8 MB and end the process. All else that nests it refuses, or walks in
a loop."""
_SET_OPERATION = re.compile(r"\b(?:union|intersect|except)\b", re.IGNORECASE)

Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """What was asked for recently: two generations, the older one is forgotten when the younger is full."""

    def __init__(self, limit_bytes: int) -> None:
        self.young: dict[Key, Value] = {}
        self.old: dict[Key, Value] = {}
        self._limit_bytes, self._bytes = limit_bytes, 0

    def get(self, key: Key, size: int) -> Value | None:
        """What is known; `size` is its own, for the generation it moves to."""
        found = self.young.get(key)
        if found is None and (found := self.old.get(key)) is not None:
            self.put(key, found, size)
        return found

    def put(self, key: Key, value: Value, size: int) -> None:
        self._bytes += size
        if self._bytes > self._limit_bytes or len(self.young) >= MOST_REMEMBERED:
            self.old, self.young, self._bytes = self.young, {}, size
        self.young[key] = value

    def clear(self) -> None:
        self.young, self.old, self._bytes = {}, {}, 0


class Fingerprints:
    """Finds (and makes) shapes in a table. The memories are no part of any state: they only save time."""

    def __init__(self, table: ShapeTable) -> None:
        self._table = table
        self._texts: Recent[str, Shape] = Recent(TEXTS_BYTES)
        self._keys: Recent[tuple[str | None, ...], Shape] = Recent(KEYS_BYTES)

    def shape_of(self, text: str) -> Shape:
        """The shape of a statement; it is in the table."""
        if (shape := self._texts.young.get(text)) is not None:
            return shape
        size = 100 + len(text)
        if (shape := self._texts.get(text, size)) is not None:
            return shape
        key = literal_key(text)
        if key is None:
            shape = self._parsed(text)
        else:
            found = self._keys.get(key, key_size(key) + len(text))
            shape = self._parsed(text) if found is None else found
            if found is None and can_stand_for(key):
                self._keys.put(key, shape, key_size(key) + len(text))
        if len(text) <= TEXT_CHARACTERS:
            self._texts.put(text, shape, size)
        return shape

    def make_room(self) -> None:
        """Drop the cheapest shapes when there are too many: whoever holds one asks for it again."""
        if self._table.is_full():
            self._table.shed()
            self._texts.clear()
            self._keys.clear()

    def _parsed(self, text: str) -> Shape:
        fingerprint = fingerprint_of(text)
        shape = self._table.shapes.get(fingerprint)
        if shape is None:
            self.make_room()
            shape = new_shape(fingerprint, text)
            self._table.add(shape)
        return shape


def fingerprint_of(text: str) -> str:
    """libpg_query's, of texts of any length; of what it refuses a hash of the letters outside of strings. Both have 16 hex digits."""
    # Of what is short there cannot be so many.
    if len(text) < MOST_SET_OPERATIONS or sum(1 for _ in _SET_OPERATION.finditer(text)) <= MOST_SET_OPERATIONS:
        try:
            return str(pgparse.fingerprint(text))
        except (pgparse.PGQueryError, ValueError):
            pass
    return blake2b(without_strings(text).encode("utf-8", "replace"), digest_size=8).hexdigest()


def new_shape(fingerprint: str, text: str) -> Shape:
    """With as much of the text as may be kept."""
    text = text[:TEXT_CHARACTERS]
    if first_word_kind(text) in ("utility", "unknown"):
        return Shape(fingerprint, shown_utility(text), sampled=False)
    if holds_secret(text):
        return Shape(fingerprint, without_strings(text), sampled=False)
    return Shape(fingerprint, text)
