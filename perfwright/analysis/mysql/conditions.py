"""Conditions as plans of MySQL and MariaDB write them, and the statement around them, read for what an index could find."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from perfwright.analysis.mysql.reads import PARSED_CHARACTERS

_MARKER = re.compile(r"<(/?\w+)>")
"""`<cache>(...)`, `<in_optimizer>(...)`, `<expr_cache><...>`: notes of the server, no SQL."""
_HOUSEHOLD = re.compile(r"\b(?:trigcond|_cache|_if)\(", re.IGNORECASE)


@dataclass
class Conditions:
    """Columns of one table by how they are compared; each list in the order of the text, without repetitions."""

    equalities: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    wrapped: list[str] = field(default_factory=list)
    """Within a function or arithmetic."""
    unanchored: list[str] = field(default_factory=list)
    """LIKE with a pattern that begins with a wildcard."""
    numbers: list[str] = field(default_factory=list)
    """Compared with a number."""
    alternatives: list[str] = field(default_factory=list)
    """Under an OR over several columns."""


@dataclass
class StatementView:
    """What the statement's text says, and its plan does not."""

    aliases: dict[str, str] = field(default_factory=dict)
    """Name in the plan -> table; left out where one name stands for two tables."""
    limit: float | None = None
    offset: float = 0.0
    group_columns: tuple[str, ...] = ()
    """Of a GROUP BY over bare columns."""


def conditions_on(text: str, table: str) -> Conditions:
    """The parts of an attached condition that are about `table` (as the plan calls it). What cannot be read has none."""
    from sqlglot import exp, parse_one
    from sqlglot.errors import SqlglotError

    found = Conditions()
    if not text or len(text) > PARSED_CHARACTERS:
        return found
    try:
        tree: Any = parse_one(_HOUSEHOLD.sub("(", _MARKER.sub(r"_\1", text)), dialect="mysql")
        for part in _conjuncts(tree, exp):
            _classify(part, table, found, exp)
    except (SqlglotError, RecursionError, ValueError):
        return Conditions()
    return found


def read_statement(text: str) -> StatementView:
    """Empty where it cannot be parsed."""
    from sqlglot import exp, parse_one
    from sqlglot.errors import SqlglotError

    view = StatementView()
    if not text or len(text) > PARSED_CHARACTERS:
        return view
    try:
        tree: Any = parse_one(text, dialect="mysql")
        twice: set[str] = set()
        for one in tree.find_all(exp.Table):
            name = one.alias_or_name
            if view.aliases.setdefault(name, one.name) != one.name:
                twice.add(name)
        for name in twice:
            del view.aliases[name]
        view.limit = _literal(tree.args.get("limit"), exp)
        view.offset = _literal(tree.args.get("offset"), exp) or 0.0
        if (group := tree.args.get("group")) and all(isinstance(one, exp.Column) for one in group.expressions):
            view.group_columns = tuple(one.name for one in group.expressions)
    except (SqlglotError, RecursionError, ValueError, AttributeError):
        return StatementView()
    return view


def sort_columns(sort_key: str, table: str) -> tuple[str, ...]:
    """Bare columns of a sort key that are all of one table and of one direction; empty where an index has no such order."""
    parts = [part.strip() for part in sort_key.split(",")]
    directions = {part.lower().endswith(" desc") for part in parts}
    names = [re.sub(r"\s+desc$", "", part, flags=re.IGNORECASE).replace("`", "").split(".") for part in parts]
    if len(directions) != 1 or any(len(name) < 2 or name[-2] != table or not re.fullmatch(r"[\w$]+", name[-1]) for name in names):
        return ()
    return tuple(name[-1] for name in names)


def _conjuncts(tree: Any, exp: Any) -> Iterator[Any]:
    waiting = [tree]
    while waiting:
        one = waiting.pop()
        if isinstance(one, exp.Paren):
            waiting.append(one.this)
        elif isinstance(one, exp.And):
            waiting += [one.expression, one.this]
        else:
            yield one


def _classify(part: Any, table: str, found: Conditions, exp: Any) -> None:
    mine = [column for column in part.find_all(exp.Column) if column.table == table]
    if not mine or isinstance(part, exp.Not | exp.NEQ):
        return
    if isinstance(part, exp.Or):
        if len({column.name for column in mine}) > 1:
            _note(found.alternatives, *(column.name for column in mine))
        return
    sides = [_bare(side, exp) for side in (part.this, part.args.get("expression")) if side is not None]
    columns = [side for side in sides if isinstance(side, exp.Column) and side.table == table]
    others = [side for side in sides if side not in columns]
    if len(columns) > 1:
        return
    if columns and any(column.table == table for side in others for column in side.find_all(exp.Column)):
        return
    if not columns:
        if isinstance(part, exp.EQ | exp.GT | exp.GTE | exp.LT | exp.LTE | exp.Between | exp.In | exp.Like):
            _note(found.wrapped, *(column.name for column in mine))
        return
    name = columns[0].name
    if isinstance(part, exp.Like):
        pattern = others[0] if others else None
        if not isinstance(pattern, exp.Literal):
            return
        _note(found.unanchored if str(pattern.this)[:1] in ("%", "_") else found.ranges, name)
    elif isinstance(part, exp.EQ | exp.NullSafeEQ | exp.Is | exp.In):
        if isinstance(part, exp.In) and part.args.get("query"):
            return
        if any(isinstance(side, exp.Literal) and not side.is_string for side in others):
            _note(found.numbers, name)
        _note(found.equalities, name)
    elif isinstance(part, exp.GT | exp.GTE | exp.LT | exp.LTE | exp.Between):
        _note(found.ranges, name)


def _bare(side: Any, exp: Any) -> Any:
    while isinstance(side, exp.Paren):
        side = side.this
    return side


def _note(names: list[str], *found: str) -> None:
    names.extend(name for name in dict.fromkeys(found) if name not in names)


def _literal(clause: Any, exp: Any) -> float | None:
    value = clause.expression if clause is not None else None
    return float(value.this) if isinstance(value, exp.Literal) and not value.is_string else None
