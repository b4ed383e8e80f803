"""What a condition of a plan compares: columns, how they are wrapped, and with what.

PostgreSQL prints conditions as SQL with every operator in parentheses (`((lower(email) = 'x'::text) AND (age > 30))`), which libpg_query
reads once the names of subplans, that are no SQL, are replaced. A text that it cannot read has no parts: rules then stay silent.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

from perfwright.analysis.plans.expression_texts import operator_of, type_name, written

MAX_CONDITION = 50_000
"""Characters; longer conditions (lists of ten thousand values) are not read."""
UNKNOWN, ANCHORED_UNKNOWN = "?", "^?"
"""Patterns whose letters were masked (analysis/masking): what is left is how they begin."""
MAX_NESTING = 100
"""Parentheses within parentheses; the parser recurses."""

Comparison = Literal[
    "equality", "range", "inequality", "pattern", "regex", "not pattern", "containment", "null test", "boolean", "call", "or", "other"
]
"""`containment`: operators that GIN and GiST serve (@>, &&, << of ranges). `call`: a function's result is the condition itself."""
Operand = Literal["column", "function", "cast", "expression"]
"""How the column stands in it: bare, inside a function, cast to another type, or inside an operator (`a + 1`, `data ->> 'k'`)."""

_OPERATORS: dict[str, Comparison] = {
    "=": "equality",
    "<": "range",
    "<=": "range",
    ">": "range",
    ">=": "range",
    "~<~": "range",
    "~<=~": "range",
    "~>~": "range",
    "~>=~": "range",
    "<>": "inequality",
    "~~": "pattern",
    "~~*": "pattern",
    "!~~": "not pattern",
    "!~~*": "not pattern",
    "~": "regex",
    "~*": "regex",
    "!~": "not pattern",
    "!~*": "not pattern",
    "^@": "pattern",
    "@>": "containment",
    "<@": "containment",
    "&&": "containment",
    "?": "containment",
    "?|": "containment",
    "?&": "containment",
    "@@": "containment",
    "@?": "containment",
    "<<": "containment",
    ">>": "containment",
    "<<=": "containment",
    ">>=": "containment",
    "-|-": "containment",
}
_NAMES_OF_SUBPLANS = (
    (re.compile(r"\b(?:EXISTS|ARRAY)\((SubPlan|InitPlan) (\d+)\)"), r"(\1_\2)"),
    (re.compile(r"\(alternatives: SubPlan (\d+) or hashed SubPlan \d+\)"), r"(SubPlan_\1)"),
    (re.compile(r"\((?:hashed |rescan )?(SubPlan|InitPlan) (\d+)\)(?:\.col\d+)?"), r"(\1_\2)"),
    (re.compile(r"\((?:ANY|ALL) (?=\()"), "("),
)
_SUBPLAN = re.compile(r"(sub|init)plan_\d+", re.IGNORECASE)


@dataclass(frozen=True)
class Column:
    """A column as a condition writes it."""

    name: str
    qualifier: str = ""
    """The alias of its table; empty where the statement reads one table only."""

    def of(self, alias: str) -> bool:
        return self.qualifier in ("", alias)


@dataclass(frozen=True)
class Part:
    """One part of a condition whose parts are joined by AND."""

    comparison: Comparison
    operand: Operand = "column"
    column: Column | None = None
    """The (first) column that is compared; None where no column is."""
    wrapping: str = ""
    """`lower(email)`, the type of a cast, or the operator of an expression."""
    columns: tuple[Column, ...] = ()
    """All columns in it, the compared one first; of a comparison of rows (`(a, b) > (1, 2)`) all that are compared, in their order."""
    others: tuple[Column, ...] = ()
    """Columns on the other side."""
    pattern: str | None = None
    """The constant pattern of LIKE, ILIKE or a regular expression (its constant beginning)."""
    ignores_case: bool = False
    subplan: bool = False
    """Compares with the result of a SubPlan."""
    unknown_value: bool = False
    """Compares with a parameter, or with what an InitPlan returns: nothing the planner could look up in statistics."""
    constant: str = ""
    """The other side where it is one constant or parameter, as text: two equal ones compare with the same value. Of a null test
    `NOT NULL`, or empty."""
    branches: tuple[tuple["Part", ...], ...] = ()
    """Of an OR."""

    @property
    def leading_wildcard(self) -> bool:
        """No btree index can find it: the pattern has no constant beginning, or case is ignored."""
        if self.pattern is None:
            return False
        if self.comparison == "regex":
            return self.ignores_case or (re.match(r"(\^|\\A)[\w\s@/-]", self.pattern) is None and self.pattern != ANCHORED_UNKNOWN)
        begins = self.pattern[:1]
        return begins in ("%", "_") or (self.ignores_case and (begins.isalpha() or self.pattern == UNKNOWN))


def columns_in(parts: tuple[Part, ...]) -> Iterator[Column]:
    """All columns, those of OR branches too."""
    for part in parts:
        yield from part.columns
        yield from part.others
        for branch in part.branches:
            yield from columns_in(branch)


@lru_cache(maxsize=4_096)
def read_condition(text: str) -> tuple[Part, ...]:
    """The parts joined by AND; empty for an empty or unreadable condition."""
    if not text or len(text) > MAX_CONDITION or _nesting(text) > MAX_NESTING:
        return ()
    tree = _where(text)
    return tuple(_parts(tree)) if tree is not None else ()


@lru_cache(maxsize=4_096)
def read_columns(text: str) -> tuple[Column, ...]:
    """The columns of a sort key, group key or hash key: `lower((c.name)::text) DESC NULLS LAST`."""
    plain = re.sub(r"\s+(USING \S+|DESC|ASC|NULLS FIRST|NULLS LAST)\b", "", text[:MAX_CONDITION])
    if not plain or _nesting(plain) > MAX_NESTING:
        return ()
    tree = _where(plain)
    return tuple(dict.fromkeys(_columns(tree))) if tree is not None else ()


@lru_cache(maxsize=4_096)
def bare_column(text: str) -> Column | None:
    """The column that a sort or group key is, where it is nothing but one; `name COLLATE "C" DESC` is not."""
    plain = re.sub(r"\s+(DESC|ASC|NULLS FIRST|NULLS LAST)\b", "", text)
    match = re.fullmatch(r'(?:(\w+|"[^"]+")\.)?(\w+|"[^"]+")', plain.strip().removeprefix("(").removesuffix(")"))
    return Column(match[2].strip('"'), (match[1] or "").strip('"')) if match else None


def _nesting(text: str) -> int:
    depth = deepest = 0
    for character in text:
        if character == "(":
            depth += 1
            deepest = max(deepest, depth)
        elif character == ")":
            depth -= 1
    return deepest


def _where(text: str) -> Mapping[str, Any] | None:
    import pgparse

    for pattern, instead in _NAMES_OF_SUBPLANS:
        text = pattern.sub(instead, text)
    try:
        statements = pgparse.parse(f"SELECT 1 WHERE {text}")
    except (pgparse.PGQueryError, UnicodeEncodeError, ValueError, RecursionError):
        return None
    tree = statements[0]["stmt"].get("SelectStmt", {}).get("whereClause") if len(statements) == 1 else None
    return tree if isinstance(tree, Mapping) else None


def _parts(tree: Mapping[str, Any]) -> Iterator[Part]:
    boolean = tree.get("BoolExpr")
    if boolean and boolean["boolop"] == "AND_EXPR":
        for argument in boolean["args"]:
            yield from _parts(argument)
    else:
        part = _part(tree)
        yield replace(part, subplan=_has_subplan(tree), unknown_value=_has_unknown_value(tree))


def _part(tree: Mapping[str, Any]) -> Part:
    columns = tuple(dict.fromkeys(_columns(tree)))
    first = columns[0] if columns else None
    boolean = tree.get("BoolExpr")
    if boolean and boolean["boolop"] == "OR_EXPR":
        return Part("or", columns=columns, branches=tuple(tuple(_parts(argument)) for argument in boolean["args"]))
    if compared := tree.get("A_Expr"):
        return _comparison(compared, columns)
    if (compared := _negated_distinct(tree)) is not None:
        same = _comparison(compared, columns)
        # No operator class has IS NOT DISTINCT FROM: an index on the column cannot be used (documentation, 11.2 "Index Types").
        if same.operand != "column" or same.column is None:
            return same
        return replace(same, comparison="equality", operand="expression", wrapping=f"{same.column.name} IS NOT DISTINCT FROM")
    if test := tree.get("NullTest"):
        operand, wrapping = _operand(test["arg"])
        return Part("null test", operand, first, wrapping, columns, constant="" if test.get("nulltesttype") == "IS_NULL" else "NOT NULL")
    if "ColumnRef" in tree or "BooleanTest" in tree or _negated_column(tree):
        return Part("boolean", "column", first, columns=columns)
    if "FuncCall" in tree:
        return Part("call", "function", first, written(tree), columns)
    return Part("other", "expression", first, columns=columns)


def _negated_distinct(tree: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The comparison in `NOT (a IS DISTINCT FROM b)`, which is how the server writes IS NOT DISTINCT FROM."""
    match tree:
        case {"BoolExpr": {"boolop": "NOT_EXPR", "args": [{"A_Expr": {"kind": "AEXPR_DISTINCT"}}]}}:
            compared: Mapping[str, Any] = tree["BoolExpr"]["args"][0]["A_Expr"]
            return compared
        case _:
            return None


def _negated_column(tree: Mapping[str, Any]) -> bool:
    match tree:
        case {"BoolExpr": {"boolop": "NOT_EXPR", "args": [{"ColumnRef": _}]}}:
            return True
        case _:
            return False


def _comparison(compared: Mapping[str, Any], columns: tuple[Column, ...]) -> Part:
    operator = operator_of(compared)
    kind = compared.get("kind", "AEXPR_OP")
    comparison = _OPERATORS.get(operator, "other")
    if kind in ("AEXPR_DISTINCT", "AEXPR_OP_ALL") and comparison == "equality":
        comparison = "inequality"
    if kind in ("AEXPR_BETWEEN", "AEXPR_BETWEEN_SYM"):
        comparison = "range"
    left, right = compared.get("lexpr"), compared.get("rexpr")
    ours, theirs = tuple(_columns(left)), tuple(_columns(right))
    in_elements = kind == "AEXPR_OP_ANY" and bool(theirs)
    if not ours and theirs and comparison not in ("pattern", "regex", "not pattern"):
        left, right, ours, theirs = right, left, theirs, ours
    if not ours:
        return Part("other", "expression", columns[0] if columns else None, columns=columns)
    operand, wrapping = _operand(left)
    if in_elements:
        # `'x' = ANY (tags)`: GIN finds elements by @> and && only (documentation, 70.1 "Built-in Operator Classes" of GIN).
        operand, wrapping = "expression", f"ANY ({wrapping or (theirs or ours)[0].name})"
    if operator == "^@" and operand == "column":
        # A btree of the column's own collation finds it from version 15 on and only where that is C; LIKE has its operator class.
        operand, wrapping = "expression", f"{ours[0].name} ^@"
    pattern = _constant_text(right) if comparison in ("pattern", "regex") else None
    if kind == "AEXPR_OP_ANY":
        pattern = None
    if operator == "^@":
        pattern = None
    return Part(
        comparison,
        operand,
        ours[0],
        wrapping,
        tuple(dict.fromkeys(ours)),
        tuple(dict.fromkeys(theirs)),
        pattern,
        operator.endswith("~*"),
        constant=_value(right),
    )


def _operand(tree: Any) -> tuple[Operand, str]:
    """How the column is wrapped; of several wrappings the outermost that is not a change of collation or a harmless type name."""
    match tree:
        case {"ColumnRef": _}:
            return "column", ""
        case {"CollateClause": {"arg": inner}}:
            return _operand(inner)
        case {"RowExpr": {"args": [*fields]}} if all("ColumnRef" in one for one in fields):
            return "column", ""
        case {"TypeCast": {"arg": inner, "typeName": named}}:
            operand, wrapping = _operand(inner)
            # `note::varchar(5)` cuts the text.
            length = "(n)" if named.get("typmods") else ""
            return ("cast", type_name(named) + length) if operand == "column" else (operand, wrapping)
        case {"FuncCall": _} | {"CoalesceExpr": _} | {"MinMaxExpr": _}:
            return "function", written(tree)
        case {"A_Expr": inner}:
            return "expression", written(tree) or operator_of(inner)
        case _:
            return "expression", written(tree)


def _columns(tree: Any) -> Iterator[Column]:
    """Column references from left to right, without the names that stand for subplans."""
    waiting = [tree]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            reference = one.get("ColumnRef")
            if isinstance(reference, Mapping):
                names = [field["String"]["sval"] for field in reference.get("fields", []) if "String" in field]
                if names and not _SUBPLAN.fullmatch(names[-1]) and not _SUBPLAN.fullmatch(names[0]):
                    yield Column(str(names[-1]), str(names[-2]) if len(names) > 1 else "")
            else:
                waiting.extend(reversed(list(one.values())))
        elif isinstance(one, list):
            waiting.extend(reversed(one))


def _has_subplan(tree: Any) -> bool:
    return any(name.lower().startswith("subplan_") for name in _stand_ins(tree))


def _has_unknown_value(tree: Any) -> bool:
    """A parameter `$1` (of a generic plan, or how version 16 and earlier write an InitPlan's value), or an InitPlan's value since 17."""
    return any(not name.lower().startswith("subplan_") for name in _stand_ins(tree))


def _stand_ins(tree: Any) -> Iterator[str]:
    waiting = [tree]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            if "ParamRef" in one:
                yield "$"
            names = [field.get("String", {}).get("sval", "") for field in one.get("fields", []) if isinstance(field, Mapping)]
            yield from (str(name) for name in names if _SUBPLAN.fullmatch(name))
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def _constant_text(tree: Any) -> str | None:
    """The constant a pattern is, or begins with: `'%abc'::text`, `('%'::text || $1)`."""
    match tree:
        case {"A_Const": {"sval": {"sval": text}}}:
            return str(text)
        case {"A_Const": {"sval": {}}}:
            return ""
        case {"TypeCast": {"arg": inner}} | {"CollateClause": {"arg": inner}}:
            return _constant_text(inner)
        case {"A_Expr": {"name": [{"String": {"sval": "||"}}], "lexpr": left}}:
            return _constant_text(left)
        case _:
            return None


def _value(tree: Any) -> str:
    match tree:
        case {"A_Const": constant}:
            return repr({name: value for name, value in constant.items() if name != "location"})
        case {"ParamRef": reference}:
            return f"${reference.get('number', 0)}"
        case {"TypeCast": {"arg": inner}} | {"CollateClause": {"arg": inner}}:
            return _value(inner)
        case _:
            return ""
