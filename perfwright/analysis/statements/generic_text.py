"""Makes a normalized text one that the server takes with `$n` in it, so that its generic plan can be asked for.

pg_stat_statements puts `$n` where constants stood, also where the grammar only takes a constant (`interval $1`, `date $1`,
`extract($1 from x)`) or where the constant told its type. The words are rewritten to what they mean (`$1::interval`), the types are told by
`parameter_types`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from perfwright.analysis.statements.parameter_types import needed_casts
from perfwright.analysis.statements.parsing import Unreadable, syntax_tree
from perfwright.analysis.statements.tree import Place, TooDeep, Tree, only_key, places, words
from perfwright.models.database import Catalog

EXTRACT_IS_A_FUNCTION_SINCE = 140_000
"""`extract` can be called by name; before, the grammar made it `date_part` (postgresql.org/docs/release/14.0)."""
_PARAMETER = re.compile(rb"\$\d+")
_EXTRACT = re.compile(rb"extract\s*\(\s*(\$\d+)\s+from\b", re.IGNORECASE)
_FIELDS = re.compile(
    rb"\s+(?:year|month|day|hour|minute|second)\b(?:\s*\(\s*\d\s*\))?(?:\s+to\s+(?:month|hour|minute|second)\b(?:\s*\(\s*\d\s*\))?)?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class _Edit:
    start: int
    end: int
    text: bytes


def generic_text(text: str, catalog: Catalog | None = None, *, version_number: int = 0) -> str:
    """The text, rewritten where it must be; the same text when nothing needs it.

    `version_number` of the server (0: a current one); the catalog tells the types of columns. Raises Unreadable.
    """
    if "$" not in text:
        return text
    try:
        found = places(syntax_tree(text))
    except TooDeep:
        raise Unreadable("it is nested too deeply") from None
    raw = text.encode()
    edits = {edit.start: edit for edit in _word_edits(found, raw, version_number)}
    inside = [(edit.start, edit.end) for edit in edits.values()]
    for place, type_name in needed_casts(found, catalog).items():
        written = _PARAMETER.match(raw, place)
        if written and not any(start <= place < end for start, end in inside):
            edits[place] = _Edit(place, written.end(), written.group() + f"::{type_name}".encode())
    for edit in sorted(edits.values(), key=lambda edit: edit.start, reverse=True):
        raw = raw[: edit.start] + edit.text + raw[edit.end :]
    return raw.decode()


def _word_edits(found: Iterable[Place], raw: bytes, version_number: int) -> list[_Edit]:
    edits = []
    for place in found:
        if place.key == "TypeCast" and place.value.get("location", 0) == -1 and only_key(place.value.get("arg")) == "ParamRef":
            if edit := _typed_constant(place.value, raw):
                edits.append(edit)
        elif place.key == "FuncCall" and words(place.value.get("funcname"))[-1:] == ("extract",):
            start = int(place.value.get("location", 0))
            if call := _EXTRACT.match(raw, start):
                callable_name = b"date_part" if 0 < version_number < EXTRACT_IS_A_FUNCTION_SINCE else b"extract"
                edits.append(_Edit(start, call.end(), b"pg_catalog." + callable_name + b"(" + call.group(1) + b"::text,"))
    return edits


def _typed_constant(cast: Tree, raw: bytes) -> _Edit | None:
    """`interval $1 day` -> `$1::interval day`."""
    type_name = cast["typeName"]
    start, place = int(type_name.get("location", 0)), int(cast["arg"]["ParamRef"].get("location", 0))
    found = _PARAMETER.match(raw, place)
    written = raw[start:place].strip()
    if found is None or start >= place or not written or b"--" in written or b"/*" in written:
        return None
    end, fields = found.end(), b""
    if words(type_name.get("names"))[-1:] == ("interval",) and "typmods" in type_name and (after := _FIELDS.match(raw, end)):
        fields, end = b" " + after.group().strip(), after.end()
    return _Edit(start, end, found.group() + b"::" + written + fields)
