"""Rewrites of subqueries: once per group instead of once per row, and existence instead of counting.

Each keeps NULL semantics, for the reasons given at each; they are the unnestings of W. Kim, "On optimizing an SQL-like nested query" (TODS
1982), with the corrections for empty groups by Ganski and Wong (SIGMOD 1987).
"""

from typing import TYPE_CHECKING

from perfwright.analysis.query_advice.sql_reading import Owner, Scopes, conjuncts, only_inner_joins, require, sources, where_of

if TYPE_CHECKING:
    from sqlglot import exp


def aggregate_once(tree: "exp.Select", scopes: Scopes) -> str:
    """Correlated scalar aggregates become joins to a grouped subquery. Changes the tree; returns what was done, empty when nothing was.

    In WHERE: `x < (SELECT 0.2 * avg(y) FROM t WHERE t.k = o.k)`. Without a row in t the aggregate is NULL and the comparison not true, as
    with an inner join that finds nothing; with rows there is one group per key. In the SELECT list: a LEFT JOIN, whose NULL is that of the
    empty aggregate; count gets its 0 back. Only aggregates that are NULL over nothing (or count alone), only equalities as correlation.
    """
    from sqlglot import exp

    keys: list[str] = []
    number = 0
    for subquery in [one for one in tree.find_all(exp.Subquery) if isinstance(one.this, exp.Select)]:
        outer = subquery.parent_select
        if not isinstance(outer, exp.Select) or (subquery.find_ancestor(exp.Subquery) is not None and _inside(subquery, exp.From, outer)):
            continue
        parts = _grouped(subquery.this, outer, scopes)
        if parts is None:
            continue
        in_where = _compared_in_where(subquery, outer)
        in_list = isinstance(subquery.parent, exp.Alias) and subquery.parent.parent is outer and _joins_only(outer)
        counts = isinstance(subquery.this.expressions[0], exp.Count)
        if not (in_where and not counts) and not in_list:
            continue
        if not _expand_star(outer):
            continue
        number += 1
        alias = f"grouped_{number}"
        derived, on = _derived(subquery.this, parts, alias)
        value: exp.Expr = exp.column("grouped_value", table=alias)
        if counts:
            value = exp.Coalesce(this=value, expressions=[exp.Literal.number(0)])
        subquery.replace(value)
        if in_where:
            outer.append("joins", exp.Join(this=derived))
            require(outer, *conjuncts(on))
        else:
            outer.append("joins", exp.Join(this=derived, side="LEFT", on=on))
        keys += [name.sql(dialect="postgres") for name, _ in parts[1]]
    return f"compute the aggregate once per {', '.join(dict.fromkeys(keys))} instead of once per row" if number else ""


def exists_instead_of_count(tree: "exp.Select", scopes: Scopes) -> str:
    """`(SELECT count(*) ...) > 0` becomes EXISTS: a count is never NULL, and the first row decides."""
    from sqlglot import exp

    done = False
    for subquery in [one for one in tree.find_all(exp.Subquery) if isinstance(one.this, exp.Select)]:
        inner, comparison = subquery.this, subquery.parent
        if not _plain(inner) or not isinstance(inner.expressions[0], exp.Count) or not _counts_rows(inner.expressions[0], scopes):
            continue
        there = _asks_existence(comparison, subquery)
        if there is None or comparison is None:
            continue
        query = inner.copy()
        query.set("expressions", [exp.Literal.number(1)])
        exists = exp.Exists(this=query)
        comparison.replace(exists if there else exp.Not(this=exists))
        done = True
    return "stop at the first row (EXISTS) instead of counting all" if done else ""


def not_exists_instead_of_not_in(tree: "exp.Select", scopes: Scopes) -> str:
    """`x NOT IN (SELECT y ...)` becomes NOT EXISTS (... WHERE y = x), which can be an anti-join.

    Only where neither x nor y can be NULL: with a NULL among y, NOT IN is never true.
    """
    from sqlglot import exp

    done = False
    for negation in list(tree.find_all(exp.Not)):
        listed = negation.this
        query = listed.args.get("query") if isinstance(listed, exp.In) else None
        inner = query.this if isinstance(query, exp.Subquery) else None
        if not isinstance(inner, exp.Select) or not _plain(inner) or not isinstance(listed.this, exp.Column):
            continue
        column, wanted = inner.expressions[0], listed.this
        if not isinstance(column, exp.Column) or column.is_star:
            continue
        ours, theirs = scopes.owner(wanted), scopes.owner(column)
        outer = negation.parent_select
        if ours is None or theirs is None or theirs.select is not inner or ours.select is not outer or not isinstance(outer, exp.Select):
            continue
        if not _never_null(ours) or not _never_null(theirs) or not only_inner_joins(inner) or not only_inner_joins(outer):
            continue
        if ours.source in {one.alias_or_name for one in sources(inner)}:
            continue
        changed = inner.copy()
        changed.set("expressions", [exp.Literal.number(1)])
        same = exp.EQ(
            this=exp.column(column.this.copy(), table=theirs.source), expression=exp.column(wanted.this.copy(), table=ours.source)
        )
        require(changed, same)
        changed.set("distinct", None)
        negation.replace(exp.Not(this=exp.Exists(this=changed)))
        done = True
    return "anti-join (NOT EXISTS) instead of NOT IN" if done else ""


Grouped = tuple[list["exp.Expr"], list[tuple["exp.Expr", "exp.Expr"]]]
"""Conditions that stay inside, and the pairs (inside, outside) that correlate."""


def _grouped(inner: "exp.Select", outer: "exp.Select", scopes: Scopes) -> Grouped | None:
    from sqlglot import exp

    if not _plain(inner) or not _aggregate(inner.expressions[0]):
        return None
    stay: list[exp.Expr] = []
    pairs: list[tuple[exp.Expr, exp.Expr]] = []
    conditions = where_of(inner)
    for condition in conditions:
        outside = _outside(condition, inner, outer, scopes)
        if outside is None:
            return None
        if not outside:
            stay.append(condition)
            continue
        if not isinstance(condition, exp.EQ) or condition.find(exp.Select) is not None:
            return None
        left, right = (_outside(side, inner, outer, scopes) for side in (condition.this, condition.expression))
        sides = (condition.expression, condition.this) if left else (condition.this, condition.expression)
        inside_columns, outside_columns = (list(side.find_all(exp.Column)) for side in sides)
        if bool(left) == bool(right) or not inside_columns or len(left or right or ()) != len(outside_columns):
            return None
        pairs.append(sides)
    seen = {id(column) for condition in conditions for column in condition.find_all(exp.Column)}
    rest = [column for column in inner.find_all(exp.Column) if id(column) not in seen]
    if not pairs or any((owner := scopes.owner(column)) is None or not _within(owner, inner) for column in rest):
        return None
    return stay, pairs


def _outside(part: "exp.Expr", inner: "exp.Select", outer: "exp.Select", scopes: Scopes) -> "list[exp.Column] | None":
    """Columns of `part` that belong to `outer`; None when one belongs further out, or cannot be told."""
    from sqlglot import exp

    found = []
    for column in part.find_all(exp.Column):
        owner = scopes.owner(column)
        if owner is None:
            return None
        if owner.select is outer:
            found.append(column)
        elif not _within(owner, inner):
            return None
    return found


def _within(owner: Owner, inner: "exp.Select") -> bool:
    select: exp.Expr | None = owner.select
    while select is not None:
        if select is inner:
            return True
        select = select.parent
    return False


def _derived(inner: "exp.Select", parts: Grouped, alias: str) -> "tuple[exp.Expr, exp.Expr]":
    """The grouped subquery under its alias, and the condition that joins it."""
    from sqlglot import exp

    stay, pairs = parts
    query = inner.copy()
    names = [f"grouped_key_{number}" for number, _ in enumerate(pairs, 1)]
    keys = [exp.alias_(inside.copy(), name) for (inside, _), name in zip(pairs, names, strict=True)]
    query.set("expressions", [*keys, exp.alias_(inner.expressions[0].copy(), "grouped_value")])
    query.set("where", None)
    require(query, *stay)
    query.set("group", exp.Group(expressions=[inside.copy() for inside, _ in pairs]))
    on = exp.and_(
        *(exp.EQ(this=exp.column(name, table=alias), expression=outside.copy()) for (_, outside), name in zip(pairs, names, strict=True)),
        copy=False,
    )
    return exp.Subquery(this=query, alias=exp.TableAlias(this=exp.to_identifier(alias))), on


def _plain(inner: "exp.Select") -> bool:
    """One result, and nothing that changes which rows there are after WHERE."""
    banned = (
        "with_",
        "group",
        "having",
        "qualify",
        "windows",
        "limit",
        "offset",
        "distinct",
        "order",
        "locks",
        "into",
        "laterals",
        "sample",
    )
    return (
        isinstance(inner.args.get("expressions"), list) and len(inner.expressions) == 1 and not any(inner.args.get(one) for one in banned)
    )


def _aggregate(result: "exp.Expr") -> bool:
    """Arithmetic around aggregates that are NULL over no row at all; or one count alone."""
    from sqlglot import exp

    if isinstance(result, exp.Count):
        return not result.find(exp.Select, exp.Distinct)
    strict = (exp.Sum, exp.Avg, exp.Min, exp.Max)
    around = (exp.Mul, exp.Add, exp.Sub, exp.Div, exp.Paren, exp.Neg, exp.Cast, exp.Literal, exp.DataType, exp.Placeholder)
    waiting, found = [result], 0
    while waiting:
        one = waiting.pop()
        if isinstance(one, strict):
            found += 1
            if not isinstance(one.this, exp.Expr) or one.this.find(exp.Select) or one.args.get("expressions"):
                return False
        elif isinstance(one, around):
            waiting += [child for child in one.iter_expressions() if not isinstance(child, exp.DataTypeParam)]
        else:
            return False
    return found > 0


def _compared_in_where(subquery: "exp.Expr", outer: "exp.Select") -> bool:
    from sqlglot import exp

    comparison = subquery.parent
    while isinstance(comparison, exp.Paren):
        comparison = comparison.parent
    kinds = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE)
    return isinstance(comparison, kinds) and any(part.unnest() is comparison for part in where_of(outer))


def _inside(node: "exp.Expr", kind: type, outer: "exp.Expr") -> bool:
    """Whether the node stands within a clause of that kind of `outer`."""
    above = node.parent
    while above is not None and above is not outer:
        if isinstance(above, kind):
            return True
        above = above.parent
    return False


def _joins_only(outer: "exp.Select") -> bool:
    """Written with JOIN alone, without groups: a LEFT JOIN at the end sees every source and changes no number of rows."""
    from sqlglot import exp

    joins = outer.args.get("joins") or ()
    commas = any(not (one.kind or one.side or one.method or one.args.get("on") or one.args.get("using")) for one in joins)
    grouped = any(outer.args.get(one) for one in ("group", "having", "distinct", "locks", "laterals", "windows"))
    aggregates = any(one.find(exp.AggFunc) for one in outer.expressions if one.find(exp.Select) is None)
    return bool(outer.args.get("from_")) and not commas and not grouped and not aggregates


def _expand_star(outer: "exp.Select") -> bool:
    """`SELECT *` would also show the joined subquery: it becomes `SELECT a.*, b.*`; False where that means something else."""
    from sqlglot import exp

    if not any(isinstance(one, exp.Star) for one in outer.expressions):
        return True
    if any(join.method or join.args.get("using") for join in outer.args.get("joins") or ()) or outer.args.get("laterals"):
        return False
    stars = [exp.Column(this=exp.Star(), table=exp.to_identifier(one.alias_or_name)) for one in sources(outer)]
    changed: list[exp.Expr] = []
    for one in outer.expressions:
        changed += stars if isinstance(one, exp.Star) else [one]
    outer.set("expressions", changed)
    return True


def _counts_rows(count: "exp.Expr", scopes: Scopes) -> bool:
    from sqlglot import exp

    if count.this is None or isinstance(count.this, exp.Star | exp.Literal):
        return True
    owner = scopes.owner(count.this) if isinstance(count.this, exp.Column) else None
    return owner is not None and _never_null(owner) and only_inner_joins(owner.select)


def _never_null(owner: Owner) -> bool:
    return owner.column is not None and owner.column.not_null


def _asks_existence(comparison: "exp.Expr | None", subquery: "exp.Expr") -> bool | None:
    """True: some row; False: none; None: something else."""
    from sqlglot import exp

    if not isinstance(comparison, exp.Binary):
        return None
    left = comparison.this is subquery
    other = comparison.expression if left else comparison.this
    if not isinstance(other, exp.Literal) or other.is_string or other.name not in ("0", "1"):
        return None
    mirrored = {"GT": "LT", "LT": "GT", "GTE": "LTE", "LTE": "GTE"}
    kind = type(comparison).__name__
    asked = (kind if left else mirrored.get(kind, kind), other.name)
    some, none = {("GT", "0"), ("GTE", "1"), ("NEQ", "0")}, {("EQ", "0"), ("LT", "1"), ("LTE", "0")}
    return True if asked in some else False if asked in none else None
