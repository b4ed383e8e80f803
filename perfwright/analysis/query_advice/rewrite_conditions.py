"""Rewrites of conditions so that an ordinary index serves: the column stands alone. And WITH queries that are planned with the rest."""

import re
from typing import TYPE_CHECKING

from perfwright.analysis.query_advice.sql_reading import Scopes, write_sql
from perfwright.analysis.statements.parsing import parse_statement
from perfwright.analysis.statements.server_names import HARMLESS_FUNCTIONS
from perfwright.models.database import Catalog

if TYPE_CHECKING:
    from sqlglot import exp

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}(?: 00:00(?::00)?)?")
_MONTH = re.compile(r"\d{4}-\d{2}-01(?: 00:00(?::00)?)?")
_YEAR = re.compile(r"\d{4}-01-01(?: 00:00(?::00)?)?")
_INTEGER = re.compile(r"0|-?[1-9]\d{0,17}")
_BOUNDARIES = {"DAY": (_DAY, "1 day"), "MONTH": (_MONTH, "1 month"), "YEAR": (_YEAR, "1 year")}
_INTEGERS = ("smallint", "integer", "bigint")


def half_open_ranges(tree: "exp.Select", scopes: Scopes) -> str:
    """`date(c) = x`, `c::date = x`, `date_trunc('month', c) = x`, `extract(year from c) = 2024` become `c >= ... AND c < ...`.

    A date's instants are those from its midnight to the next one's, in the session's time zone on both sides, so the range has the same
    rows; NULL stays NULL. `date_trunc` only where x is the beginning of such a unit: otherwise it is never equal and a range would be.
    """
    from sqlglot import exp

    done: list[str] = []
    for one in list(tree.find_all(exp.EQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between)):
        changed = _range(one, scopes)
        if changed is not None:
            done.append(one.sql(dialect="postgres"))
            one.replace(exp.Paren(this=changed) if isinstance(changed, exp.And) and isinstance(one.parent, exp.Not | exp.Or) else changed)
    return f"a range of the column itself instead of {', '.join(done)}"[:160] if done else ""


def column_alone(tree: "exp.Select", scopes: Scopes) -> str:
    """`id::text = '42'` and `id = 42.0` become `id = 42`, for integer columns and values that are whole numbers as they are written."""
    from sqlglot import exp

    done: list[str] = []
    for one in list(tree.find_all(exp.EQ)):
        for side, other in ((one.this, one.expression), (one.expression, one.this)):
            column = side.this if isinstance(side, exp.Cast) else side
            if not isinstance(column, exp.Column) or not isinstance(other, exp.Literal):
                continue
            owner = scopes.owner(column)
            if owner is None or owner.column is None or owner.column.type not in _INTEGERS:
                continue
            value = _whole(other, isinstance(side, exp.Cast) and side.to.is_type("text", "varchar"), side is column)
            if value is not None:
                done.append(one.sql(dialect="postgres"))
                one.replace(exp.EQ(this=column.copy(), expression=exp.Literal.number(value)))
                break
    return f"the column itself instead of {', '.join(done)}"[:160] if done else ""


def inlined_ctes(tree: "exp.Select", catalog: Catalog) -> str:
    """Queries in WITH are planned with the rest (NOT MATERIALIZED), so that conditions reach into them.

    Not where they are recursive, write, or call a function that is not known to be stable: those must run once.
    """
    from sqlglot import exp

    clause = tree.args.get("with_")
    if clause is None or clause.args.get("recursive"):
        return ""
    stable = HARMLESS_FUNCTIONS | {one.name for one in catalog.functions if not one.volatile}
    done: list[str] = []
    for one in clause.expressions:
        uses = sum(table.name == one.alias and not table.db for table in tree.find_all(exp.Table))
        inlined_already = one.args.get("materialized") is False or (one.args.get("materialized") is None and uses <= 1)
        if inlined_already or not isinstance(one.this, exp.Select) or one.this.args.get("locks") or not _called(one.this) <= stable:
            continue
        one.set("materialized", False)
        done.append(one.alias)
    return f"plan {', '.join(done)} with the rest (NOT MATERIALIZED)" if done else ""


def _called(query: "exp.Expr") -> set[str]:
    """Functions by the names that the server knows, without schema."""
    return {name.rpartition(".")[2].lower() for name in parse_statement(write_sql(query)).functions}


def _range(one: "exp.Expr", scopes: Scopes) -> "exp.Expr | None":
    from sqlglot import exp

    if isinstance(one, exp.Between):
        column = _dated(one.this, scopes)
        if column is None or one.args.get("symmetric") or not _date_value(one.args["low"]) or not _date_value(one.args["high"]):
            return None
        return exp.and_(_from(column, one.args["low"]), _until(column, one.args["high"]), copy=False)
    mirrored = {"GT": "LT", "LT": "GT", "GTE": "LTE", "LTE": "GTE"}
    kind = type(one).__name__
    for side, other, how in ((one.this, one.expression, kind), (one.expression, one.this, mirrored.get(kind, kind))):
        if (column := _dated(side, scopes)) is not None and _date_value(other):
            if how == "EQ":
                return exp.and_(_from(column, other), _until(column, other), copy=False)
            return {"GTE": _from, "LT": _before, "LTE": _until, "GT": _behind}[how](column, other)
        if how == "EQ" and (changed := _unit(side, other, scopes)) is not None:
            return changed
    return None


def _dated(side: "exp.Expr", scopes: Scopes) -> "exp.Column | None":
    """The timestamp column below `date(c)` or `c::date`."""
    from sqlglot import exp

    dated = (isinstance(side, exp.Date) and not side.args.get("expressions")) or (isinstance(side, exp.Cast) and side.to.is_type("date"))
    column = side.this if dated else None
    return column if isinstance(column, exp.Column) and _timestamp(column, scopes) else None


def _timestamp(column: "exp.Column", scopes: Scopes) -> bool:
    owner = scopes.owner(column)
    return owner is not None and owner.column is not None and owner.column.type.startswith("timestamp")


def _date_value(value: "exp.Expr") -> bool:
    """What PostgreSQL takes as a date here: a literal or value without a type, something cast to date, today."""
    from sqlglot import exp

    if isinstance(value, exp.Literal):
        return bool(value.is_string and _DAY.fullmatch(value.name))
    if isinstance(value, exp.Cast):
        return value.to.is_type("date") and isinstance(value.this, exp.Literal | exp.Placeholder)
    return isinstance(value, exp.Placeholder | exp.CurrentDate)


def _date(value: "exp.Expr") -> "exp.Expr":
    from sqlglot import exp

    return value.copy() if isinstance(value, exp.Cast | exp.CurrentDate) else exp.cast(value.copy(), "date")


def _next_day(value: "exp.Expr") -> "exp.Expr":
    from sqlglot import exp

    return exp.Paren(this=exp.Add(this=_date(value), expression=exp.Literal.number(1)))


def _from(column: "exp.Expr", value: "exp.Expr") -> "exp.Expr":
    from sqlglot import exp

    return exp.GTE(this=column.copy(), expression=_date(value))


def _before(column: "exp.Expr", value: "exp.Expr") -> "exp.Expr":
    from sqlglot import exp

    return exp.LT(this=column.copy(), expression=_date(value))


def _until(column: "exp.Expr", value: "exp.Expr") -> "exp.Expr":
    from sqlglot import exp

    return exp.LT(this=column.copy(), expression=_next_day(value))


def _behind(column: "exp.Expr", value: "exp.Expr") -> "exp.Expr":
    from sqlglot import exp

    return exp.GTE(this=column.copy(), expression=_next_day(value))


def _unit(side: "exp.Expr", other: "exp.Expr", scopes: Scopes) -> "exp.Expr | None":
    """`date_trunc('month', c) = '2024-03-01'` and `extract(year from c) = 2024`."""
    from sqlglot import exp

    if isinstance(side, exp.TimestampTrunc | exp.DateTrunc) and isinstance(side.this, exp.Column) and not side.args.get("zone"):
        boundary = _BOUNDARIES.get(str(side.args["unit"].name).upper())
        value = other.this if isinstance(other, exp.Cast) and other.to.is_type("date", "timestamp", "timestamptz") else other
        if boundary is None or not isinstance(value, exp.Literal) or not value.is_string or not boundary[0].fullmatch(value.name):
            return None
        if not _timestamp(side.this, scopes):
            return None
        begin, step = exp.cast(value.copy(), "date"), exp.Interval(this=exp.Literal.string(boundary[1]))
        end: exp.Expr = exp.Paren(this=exp.Add(this=begin.copy(), expression=step))
    elif isinstance(side, exp.Extract) and isinstance(side.expression, exp.Column) and str(side.this.name).upper() == "YEAR":
        owner = scopes.owner(side.expression)
        dated = owner is not None and owner.column is not None and owner.column.type.startswith(("timestamp", "date"))
        if not dated or not isinstance(other, exp.Literal) or other.is_string or not re.fullmatch(r"[1-9]\d{3}", other.name):
            return None
        begin = exp.cast(exp.Literal.string(f"{other.name}-01-01"), "date")
        end = exp.cast(exp.Literal.string(f"{int(other.name) + 1}-01-01"), "date")
    else:
        return None
    column = side.expression if isinstance(side, exp.Extract) else side.this
    return exp.and_(exp.GTE(this=column.copy(), expression=begin), exp.LT(this=column.copy(), expression=end), copy=False)


def _whole(value: "exp.Expr", as_text: bool, bare: bool) -> str | None:
    """The integer that the literal is; None when it would not be equal to exactly one."""
    if as_text and value.is_string:
        return value.name if _INTEGER.fullmatch(value.name) else None
    if bare and not value.is_string and "." in value.name:
        whole, _, fraction = value.name.partition(".")
        return whole if _INTEGER.fullmatch(whole) and not fraction.strip("0") else None
    return None
