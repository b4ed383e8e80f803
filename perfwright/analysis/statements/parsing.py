"""SQL of PostgreSQL as libpg_query reads it, through pgparse: what a statement is, which tables it names and functions it calls.

libpg_query is the server's own grammar of PostgreSQL 17, with `$n` allowed where pg_stat_statements puts it (`interval $1`). What pgparse
1.0.3 does with bad input was found by trying: everything behind a NUL character is ignored in silence, so such texts are refused;
`normalize` overflows an 8 MB stack at 15,000 nested operators and `parse` at 65,000, which ends the process, so the length and number of
operators are bounded and `normalize` is only asked about what `parse` could read; trees deeper than Python's recursion limit cannot be
read. It keeps the interpreter lock, so threads neither hurt nor help.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from perfwright.analysis.masking.sql_values import MAX_CHARACTERS, masked
from perfwright.analysis.statements.server_names import name_set
from perfwright.analysis.statements.tree import Place, TooDeep, Tree, places, words
from perfwright.models.statement import StatementKind

MAX_OPERATORS = 20_000
"""Each may nest the tree by one; a third of what overflows a stack of 8 MB."""
MAX_OPERATORS_UNPARSED = 5_000
"""For `normalize` without `parse` before it: a third of what overflows a stack of 8 MB."""
MAX_NAMES = 200
"""Tables and functions told of one statement."""
_NESTS = re.compile(
    r"[-+*/<>=~!@#%^&|`?]+|::|\b(?:union|intersect|except|join|collate|isnull|notnull|is|at|like|ilike|similar|in|between|and|or|not)\b",
    re.IGNORECASE,
)
WRITING_NODES = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})
_RELATIONS = frozenset({"RangeVar", "relation"})
_KINDS: dict[str, StatementKind] = {
    "SelectStmt": "select",
    "InsertStmt": "insert",
    "UpdateStmt": "update",
    "DeleteStmt": "delete",
    "MergeStmt": "merge",
}
_FIRST_WORDS: dict[str, StatementKind] = {
    "select": "select",
    "values": "select",
    "table": "select",
    "with": "select",
    "insert": "insert",
    "replace": "insert",
    "update": "update",
    "delete": "delete",
    "merge": "merge",
}
_UTILITIES = name_set(
    """
    abort alter analyze begin call checkpoint close cluster comment commit copy create deallocate declare discard do drop end execute
    explain fetch grant import listen load lock move notify prepare reassign refresh reindex release reset revoke rollback savepoint
    security set show start truncate unlisten vacuum
    """
)
"""First words of statements that have no plan."""
_BEFORE_FIRST_WORD = re.compile(r"(?:\s|\(|--[^\n]*(?:\n|\Z)|/\*.*?\*/)*", re.DOTALL)
_WORD = re.compile(r"[A-Za-z]+")


class Unreadable(ValueError):
    """A text that the parser refuses; the message says why, and has none of the text."""


@dataclass(frozen=True)
class ParsedStatement:
    """What a text says."""

    fingerprint: str
    """libpg_query's, sixteen hex digits: the same for texts that differ in values, aliases and layout."""
    text: str
    """Normalized: constants are `$n`; comments stay."""
    kind: StatementKind
    tables: tuple[str, ...]
    """As written, with schema where it was; names that WITH defines left out."""
    functions: tuple[str, ...]
    """Called by name, with schema where it was written."""
    locks: bool
    """FOR UPDATE or FOR SHARE anywhere in it."""
    writes: bool
    """INSERT, UPDATE, DELETE or MERGE anywhere in it."""
    statements: int
    """More than one: separated by semicolons."""
    node: str = ""
    """Type of the first statement's node: `SelectStmt`, `VacuumStmt`."""
    places: tuple[Place, ...] = field(default=(), repr=False, compare=False)
    """All nodes of the tree; none where it is too deep, and `without_tree`."""
    too_deep: bool = False
    """Nested too deeply for its tree to be read."""
    backslashes: bool = False
    """In the text as it was given: without standard_conforming_strings the server reads it differently."""

    @property
    def multiple(self) -> bool:
        return self.statements > 1

    def without_tree(self) -> "ParsedStatement":
        """The rest of it: a tree takes a hundred times the memory of its text."""
        return replace(self, places=())

    @property
    def writing_with(self) -> bool:
        """A SELECT with a data-modifying query in WITH."""
        return self.writes and self.kind == "select"


def parse_statement(text: str) -> ParsedStatement:
    """Read one text. Raises Unreadable: broken or cut SQL, another dialect, too long, NUL, nothing but comments."""
    import pgparse

    _check(text)
    try:
        fingerprint = str(pgparse.fingerprint(text))
        statements = pgparse.parse(text)
    except pgparse.PGQueryError as trouble:
        raise Unreadable(_reason(trouble, text)) from None
    except RecursionError:
        return _too_deep(text, fingerprint)
    except UnicodeEncodeError:
        raise Unreadable("it has characters that are not Unicode") from None
    statements = [one for one in statements if one.get("stmt")]
    if not statements:
        raise Unreadable("it has no statement")
    try:
        found = tuple(places([one["stmt"] for one in statements]))
    except TooDeep:
        return _too_deep(text, fingerprint)
    node, shape = next(iter(statements[0]["stmt"])), _shape(found)
    return ParsedStatement(
        fingerprint=fingerprint,
        text=str(pgparse.normalize(text)),
        kind=_KINDS.get(node, "utility"),
        tables=shape.tables,
        functions=shape.functions,
        locks=shape.locks,
        writes=shape.writes,
        statements=len(statements),
        node=node,
        places=found,
        backslashes="\\" in text,
    )


def normalized_text(text: str) -> str:
    """The text with `$n` for its constants; empty where it cannot be told without parsing it first, or cannot be read.

    Texts that are equal then have equal trees but for their constants.
    """
    import pgparse

    if len(text) > MAX_CHARACTERS or "\0" in text or _operators_over(text, MAX_OPERATORS_UNPARSED):
        return ""
    try:
        return str(pgparse.normalize(text))
    except (pgparse.PGQueryError, UnicodeEncodeError):
        return ""


def fingerprint_of(text: str) -> str:
    """libpg_query's fingerprint of the text. Raises Unreadable."""
    import pgparse

    _check(text)
    try:
        return str(pgparse.fingerprint(text))
    except pgparse.PGQueryError as trouble:
        raise Unreadable(_reason(trouble, text)) from None
    except UnicodeEncodeError:
        raise Unreadable("it has characters that are not Unicode") from None


def syntax_tree(text: str) -> Tree:
    """The tree of the one statement in the text. Raises Unreadable, also where there are more or it is nested too deeply."""
    import pgparse

    _check(text)
    try:
        statements = [one for one in pgparse.parse(text) if one.get("stmt")]
    except pgparse.PGQueryError as trouble:
        raise Unreadable(_reason(trouble, text)) from None
    except RecursionError:
        raise Unreadable("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise Unreadable("it has characters that are not Unicode") from None
    if len(statements) != 1:
        raise Unreadable("it has no statement" if not statements else "it has several statements")
    tree: Tree = statements[0]["stmt"]
    return tree


def first_word_kind(text: str) -> StatementKind:
    """What a text that cannot be read most likely is, from its first word. Only to be told: never a reason to execute it."""
    word = _first_word(text)
    return _FIRST_WORDS.get(word, "utility" if word else "unknown")


def utility_word(text: str) -> str:
    """`DEALLOCATE` of a text that begins so, whether it can be read or not: servers since 17 write `DEALLOCATE $1`. Empty for others."""
    word = _first_word(text)
    return word.upper() if word in _UTILITIES else ""


def _first_word(text: str) -> str:
    begin = _BEFORE_FIRST_WORD.match(text[:MAX_CHARACTERS])
    word = _WORD.match(text, begin.end() if begin else 0)
    return word.group().lower() if word else ""


@dataclass(frozen=True)
class _Shape:
    tables: tuple[str, ...]
    functions: tuple[str, ...]
    locks: bool
    writes: bool


def _shape(found: Iterable[Place]) -> _Shape:
    tables: dict[str, None] = {}
    functions: dict[str, None] = {}
    locks = writes = False
    for key, value, ctes in found:
        if key in _RELATIONS and isinstance(relation := value.get("relname"), str):
            schema = value.get("schemaname", "")
            if (schema or relation not in ctes) and len(tables) < MAX_NAMES:
                tables[".".join(part for part in (value.get("catalogname", ""), schema, relation) if part)] = None
        elif key == "FuncCall" and len(functions) < MAX_NAMES:
            functions[".".join(words(value.get("funcname")))] = None
        elif key == "LockingClause":
            locks = True
        elif key in WRITING_NODES:
            writes = True
    return _Shape(tuple(tables), tuple(functions), locks, writes)


def _too_deep(text: str, fingerprint: str) -> ParsedStatement:
    """Its values cannot be taken out by the parser, so the text is masked as one that cannot be read."""
    return ParsedStatement(fingerprint, masked(text), first_word_kind(text), (), (), False, False, 1, too_deep=True)


def _check(text: str) -> None:
    if len(text) > MAX_CHARACTERS:
        raise Unreadable(f"it has more than {MAX_CHARACTERS:,} characters")
    if "\0" in text:
        raise Unreadable("it has a NUL character")
    if _operators_over(text, MAX_OPERATORS):
        raise Unreadable(f"it has more than {MAX_OPERATORS:,} operators")


def _operators_over(text: str, most: int) -> bool:
    # Each needs an operand, so a short text need not be looked at.
    return len(text) > 2 * most and len(_NESTS.findall(text)) > most


def _reason(trouble: Any, text: str) -> str:
    """libpg_query's message without the piece of the text that it quotes: that may be a value."""
    message = re.sub(r'(?:\s+at or near "(?:.|\n)*")?\s+at position \d+$', "", str(trouble))
    place = getattr(trouble, "position", 0) or 0
    at_end = "end of input" in message or "unterminated" in message or place >= len(text.encode(errors="replace").rstrip())
    return f"{message} (the text seems to be cut off)" if at_end else f"{message} at character {place}"
