"""Both operands of every comparison in a plan's condition, with their exact text: what DDL is made of.

    ((p_size = 15) AND ((p_type)::text ~~ '%BRASS'::text))

The rules ask what kind of comparison it is (plans/conditions.py); an index needs more: which side is the relation's own column, and an
expression letter by letter as the server writes it, because an index on a respelled expression is not recognised. The server's text
(ruleutils.c) is regular: every AND, OR and comparison stands in its own parentheses, BETWEEN and IN are written as `>=`, `<=` and `= ANY`,
constants carry a cast. So a scanner and a splitter at depth 0 read it, whatever stands inside of an operand (`(SubPlan 1)`, `$0`,
`(InitPlan 1).col1`). What is not understood is an operand without columns, never an error.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

MAX_CHARACTERS = 100_000
"""A longer condition (an IN list of ten thousand values) is not read."""
MAX_DEPTH = 60
HARMLESS_CASTS = frozenset({"text", "character varying", "varchar", "bpchar", "character", "citext"})
"""`(varchar)::text` relabels and keeps an index on the column usable; whether the column is such a string, its type tells."""
_TOKEN = re.compile(
    r"""(?P<string>(?:[EeBbXx]|U&)?'(?:[^']|'')*')
    |(?P<quoted>"(?:[^"]|"")+")
    |(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    |(?P<param>\$\d+)
    |(?P<word>[^\W\d][\w$]*)
    |(?P<cast>::)
    |(?P<operator>[-+*/<>=~!@\#%^&|`?]+)
    |(?P<mark>[()\[\],.:])
    |(?P<space>\s+)
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(r"[Ee]'(?:[^'\\]|\\.|'')*'", re.DOTALL)
_KEYWORDS = """and or not is null true false in any all some case when then else end distinct from between like row array collate time
    current_date current_time current_timestamp localtime localtimestamp current_user session_user user interval similar exists select
    for both leading trailing"""
_NO_COLUMNS = frozenset(_KEYWORDS.split())
"""Reserved in some way: a column of such a name stands in quotes. `at`, `zone` and `escape` do not."""
CONTAINMENTS = frozenset({"@>", "<@", "&&", "@@", "@?", "?", "?|", "?&", "<<", ">>", "<<=", ">>=", "-|-"})
COMPARISONS = frozenset({"=", "<>", "<", "<=", ">", ">=", "~~", "~~*", "!~~", "!~~*", "~", "~*", "!~", "!~*"}) | CONTAINMENTS
RANGES = frozenset({"<", "<=", ">", ">="})
PATTERNS = frozenset({"~~", "~~*", "~", "~*"})


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ColumnUse:
    """A column in a condition; `alias` is empty where the server left it out (the scanned relation)."""

    alias: str
    name: str


@dataclass(frozen=True)
class Operand:
    """One side of a comparison."""

    text: str
    """As written, without outer parentheses."""
    column: ColumnUse | None
    """The bare column, if it is one (also below a cast)."""
    cast: str = ""
    """Type that the bare column is cast to; several are joined by a space-free `>`: innermost first."""
    function: str = ""
    """Outermost function, lower case, if the operand is a call."""
    columns: tuple[ColumnUse, ...] = ()
    """All columns that it mentions."""
    subplan: bool = False
    """Mentions a SubPlan: its value changes from row to row."""

    @property
    def plain(self) -> bool:
        """The column itself: an ordinary index on it serves."""
        return self.column is not None and not self.function and all(cast in HARMLESS_CASTS for cast in self.casts)

    @property
    def casts(self) -> tuple[str, ...]:
        return tuple(self.cast.split(">")) if self.cast else ()

    @property
    def constant(self) -> bool:
        """The same for every row of every relation here: a literal, a parameter, a function of those, an InitPlan's result."""
        return not self.columns and not self.subplan


@dataclass(frozen=True)
class Comparison:
    """`left operator right`; `is null` has no right side."""

    left: Operand
    operator: str
    right: Operand | None
    text: str
    any_array: bool = False
    """`= ANY (...)`: an IN list."""

    @cached_property
    def flipped(self) -> "Comparison | None":
        """With the sides exchanged, where that means the same."""
        mirrored = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
        if self.right is None or self.any_array or self.operator not in mirrored:
            return None
        return Comparison(self.right, mirrored[self.operator], self.left, self.text)


Combined = Literal["or", "not"]


@dataclass(frozen=True)
class Combination:
    """Parts that are OR-ed, or one part that is negated: each a list of AND-ed conditions."""

    how: Combined
    parts: tuple[tuple["Condition", ...], ...]
    text: str


Condition = Comparison | Combination


def conjuncts(text: str) -> tuple[Condition, ...]:
    """The AND-ed conditions of a plan's text; empty when it is too long or not balanced."""
    if not text or len(text) > MAX_CHARACTERS:
        return ()
    tokens = tuple(scan(text))
    return tuple(_conditions(tokens, text, 0)) if _balanced(tokens) else ()


def comparisons(text: str) -> tuple[Comparison, ...]:
    """Only the comparisons that must all hold."""
    return tuple(one for one in conjuncts(text) if isinstance(one, Comparison))


def operand(text: str) -> Operand:
    """An expression on its own: a sort key, a group key, an index key."""
    tokens = _bare(tuple(scan(text[:MAX_CHARACTERS])))
    return _operand(tokens, text)


def scan(text: str) -> Iterator[Token]:
    """Tokens without white space. A quote that is not closed gives single characters: nothing is lost, nothing fails."""
    place = 0
    while place < len(text):
        found = _ESCAPED.match(text, place) or _TOKEN.match(text, place)
        assert found is not None, "the last alternative takes any character"
        kind = found.lastgroup or "string"
        if kind != "space":
            yield Token(kind, found.group(), place, found.end())
        place = found.end()


def unquoted(token: Token) -> str:
    return token.text[1:-1].replace('""', '"') if token.kind == "quoted" else token.text


def _conditions(tokens: tuple[Token, ...], text: str, depth: int) -> Iterator[Condition]:
    tokens = _bare(tokens)
    if not tokens or depth > MAX_DEPTH:
        return
    parts = _split(tokens, "OR")
    if len(parts) > 1:
        yield Combination("or", tuple(tuple(_conditions(part, text, depth + 1)) for part in parts), _text(tokens, text))
        return
    parts = _split(tokens, "AND")
    if len(parts) > 1:
        for part in parts:
            yield from _conditions(part, text, depth + 1)
        return
    if tokens[0].text.upper() == "NOT" and tokens[0].kind == "word":
        yield Combination("not", (tuple(_conditions(tokens[1:], text, depth + 1)),), _text(tokens, text))
        return
    yield _comparison(tokens, text)


def _comparison(tokens: tuple[Token, ...], text: str) -> Comparison:
    whole = _text(tokens, text)
    for place, token in _at_top(tokens):
        if token.kind == "operator" and token.text in COMPARISONS and place > 0:
            right = tokens[place + 1 :]
            listed = bool(right) and right[0].kind == "word" and right[0].text.upper() in ("ANY", "ALL")
            return Comparison(
                _operand(_bare(tokens[:place]), text),
                token.text if not listed or right[0].text.upper() == "ANY" else f"{token.text} all",
                _operand(_bare(right[1:] if listed else right), text),
                whole,
                any_array=listed,
            )
        if token.kind == "word" and token.text.upper() == "IS" and place > 0:
            words = " ".join(one.text.lower() for one in tokens[place:])
            return Comparison(_operand(_bare(tokens[:place]), text), words, None, whole)
    return Comparison(_operand(tokens, text), "true", None, whole)


def _operand(tokens: tuple[Token, ...], text: str) -> Operand:
    whole = _text(tokens, text)
    columns = tuple(dict.fromkeys(_columns(tokens)))
    subplan = any(one.text == "SubPlan" and after.kind == "number" for one, after in pairwise(tokens))
    inner, casts = tokens, []
    while (cast := _last_cast(inner)) is not None:
        casts.append(" ".join(token.text for token in inner[cast + 1 :]).lower())
        inner = _bare(inner[:cast])
    column = _whole_column(inner)
    function = ""
    if len(inner) > 2 and inner[0].kind in ("word", "quoted") and column is None:
        function = _call(inner)
    return Operand(whole, column, ">".join(reversed(casts)) if column else "", function, columns, subplan)


def _call(tokens: tuple[Token, ...]) -> str:
    """Name of the function if the tokens are one call and nothing else."""
    names, place = [unquoted(tokens[0])], 1
    while place + 1 < len(tokens) and tokens[place].text == "." and tokens[place + 1].kind in ("word", "quoted"):
        names.append(unquoted(tokens[place + 1]))
        place += 2
    if place < len(tokens) and tokens[place].text == "(" and _closing(tokens, place) == len(tokens) - 1:
        return names[-1].lower() if names[-1].lower() not in _NO_COLUMNS else ""
    return ""


def _whole_column(tokens: tuple[Token, ...]) -> ColumnUse | None:
    found = tuple(_columns(tokens))
    if len(found) != 1:
        return None
    return found[0] if len(tokens) == (3 if found[0].alias else 1) else None


def _columns(tokens: tuple[Token, ...]) -> Iterator[ColumnUse]:
    place = 0
    while place < len(tokens):
        token = tokens[place]
        if token.kind == "cast":
            place = _after_type(tokens, place + 1)
            continue
        if token.kind == "word" and token.text.upper() == "COLLATE":
            place += 2
            continue
        if token.kind not in ("word", "quoted") or (token.kind == "word" and token.text.lower() in _NO_COLUMNS):
            place += 1
            continue
        if (skipped := _phrase(tokens, place)) > 0:
            place += skipped
            continue
        names, after = [unquoted(token)], place + 1
        while after + 1 < len(tokens) and tokens[after].text == "." and tokens[after + 1].kind in ("word", "quoted"):
            names.append(unquoted(tokens[after + 1]))
            after += 2
        called = after < len(tokens) and tokens[after].text == "("
        field_of_plan = place > 0 and tokens[place - 1].text == "."  # (InitPlan 1).col1
        if not called and not field_of_plan:
            yield ColumnUse(names[-2] if len(names) > 1 else "", names[-1])
        place = after + 2 if called and names[-1].lower() == "extract" else after  # EXTRACT(year FROM ...): a field, no column


def _phrase(tokens: tuple[Token, ...], place: int) -> int:
    """How many tokens here are words of the plan, not names: `SubPlan 1`, `hashed SubPlan 1`, `AT TIME ZONE`, `pg_catalog.=`."""
    texts = [token.text for token in tokens[place : place + 3]] + ["", ""]
    follows = tokens[place + 1].kind if place + 1 < len(tokens) else ""
    if texts[0] in ("SubPlan", "InitPlan") and follows == "number":
        return 2
    if (texts[0] in ("hashed", "rescan") and texts[1] == "SubPlan") or (
        texts[0] in ("alternatives", "returns") and texts[1][:1] in (":", "$")
    ):
        return 1
    if texts[:3] == ["AT", "TIME", "ZONE"]:
        return 3
    return 2 if texts[1] == "." and place + 2 < len(tokens) and tokens[place + 2].kind == "operator" else 0


def _after_type(tokens: tuple[Token, ...], place: int) -> int:
    """Behind a type name: `timestamp(3) without time zone`, `character varying[]`, `"Mood"`, `other.kind`."""
    while place < len(tokens):
        token = tokens[place]
        if token.kind in ("word", "quoted") and token.text.upper() not in (
            "AND",
            "OR",
            "IS",
            "COLLATE",
            "AT",
            "THEN",
            "ELSE",
            "END",
            "WHEN",
        ):
            place += 1
        elif token.text == "." and place + 1 < len(tokens):
            place += 2
        elif token.text in ("(", "[") and (closing := _closing(tokens, place)) is not None and _only_numbers(tokens[place + 1 : closing]):
            place = closing + 1
        else:
            break
    return place


def _only_numbers(tokens: tuple[Token, ...]) -> bool:
    return all(token.kind == "number" or token.text == "," for token in tokens)


def _last_cast(tokens: tuple[Token, ...]) -> int | None:
    """Where the outermost cast is, if the tokens end with one."""
    found = None
    for place, token in _at_top(tokens):
        if token.kind == "cast":
            found = place
        elif token.kind == "operator":
            return None
    return found if found is not None and found > 0 and _after_type(tokens, found + 1) == len(tokens) else None


def _bare(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """Without parentheses around the whole."""
    while len(tokens) > 2 and tokens[0].text == "(" and _closing(tokens, 0) == len(tokens) - 1:
        tokens = tokens[1:-1]
    return tokens


def _closing(tokens: tuple[Token, ...], opening: int) -> int | None:
    depth = 0
    for place in range(opening, len(tokens)):
        if tokens[place].kind == "mark":
            depth += (tokens[place].text in "([") - (tokens[place].text in ")]")
            if depth == 0:
                return place
    return None


def _at_top(tokens: tuple[Token, ...]) -> Iterator[tuple[int, Token]]:
    """Tokens outside of all parentheses and of CASE ... END."""
    depth = 0
    for place, token in enumerate(tokens):
        if token.kind == "mark" and token.text in "()[]":
            depth += 1 if token.text in "([" else -1
        elif token.kind == "word" and token.text.upper() in ("CASE", "END"):
            depth += 1 if token.text.upper() == "CASE" else -1
        elif depth == 0:
            yield place, token


def _split(tokens: tuple[Token, ...], word: str) -> list[tuple[Token, ...]]:
    cuts = [place for place, token in _at_top(tokens) if token.kind == "word" and token.text == word]
    edges = [-1, *cuts, len(tokens)]
    return [tokens[begin + 1 : end] for begin, end in pairwise(edges)]


def _balanced(tokens: tuple[Token, ...]) -> bool:
    depth = 0
    for token in tokens:
        if token.kind == "mark" and token.text in "()[]":
            depth += 1 if token.text in "([" else -1
            if depth < 0:
                return False
    return depth == 0


def _text(tokens: tuple[Token, ...], text: str) -> str:
    return text[tokens[0].start : tokens[-1].end] if tokens else ""
