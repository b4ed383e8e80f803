"""An OR over different columns as one scan per branch, so that each can use its own index.

`A OR B` is `A` UNION ALL `B AND (A) IS NOT TRUE`: every row for which the OR is true is in exactly one part, so the bag of rows is the same
whatever is NULL, and whether rows are distinct or not; a plain UNION would drop duplicates.
"""

from typing import TYPE_CHECKING

from perfwright.analysis.query_advice.sql_reading import Scopes, only_inner_joins, require, sources, where_of

if TYPE_CHECKING:
    from sqlglot import exp

MAX_BRANCHES = 4
"""An OR of more branches reads the table as often; a list of values is an IN list and has no need of this."""


def union_instead_of_or(tree: "exp.Select", scopes: Scopes) -> str:
    """Over columns of one table: the table is replaced by the union of its branches under its own name, so everything else stays. Over
    columns of several: the whole SELECT is written once per branch, where it has no groups. Changes the tree; returns what was done.
    """
    from sqlglot import exp

    if tree.args.get("locks") or not only_inner_joins(tree):
        return ""
    for condition in where_of(tree):
        either = condition.unnest()
        if not isinstance(either, exp.Or) or either.find(exp.Select) is not None:
            continue
        branches = _branches(either)
        owners = [scopes.owner(column) for column in either.find_all(exp.Column)]
        names = {(owner.source, column.name) for owner, column in zip(owners, either.find_all(exp.Column), strict=True) if owner}
        if len(branches) > MAX_BRANCHES or any(owner is None or owner.select is not tree for owner in owners) or len(names) < 2:
            continue
        rest = [one for one in where_of(tree) if one is not condition]
        if len({source for source, _ in names}) > 1:
            if _simple(tree):
                _once_per_branch(tree, branches, rest)
                return "the whole query once per branch of the OR (UNION ALL without what the branches before found)"
            continue
        source = next((one for one in sources(tree) if owners[0] and one.alias_or_name == owners[0].source), None)
        if source is not None and scopes.table(source) is not None and not source.args.get("sample"):
            _replace_by_union(source, branches)
            tree.set("where", None)
            require(tree, *rest)
            return "one scan per branch of the OR (UNION ALL without what the branches before found)"
    return ""


def _branches(either: "exp.Expr") -> "list[exp.Expr]":
    from sqlglot import exp

    inner = either.unnest()
    return [*_branches(inner.this), *_branches(inner.expression)] if isinstance(inner, exp.Or) else [either]


def _only(branches: "list[exp.Expr]", number: int) -> "list[exp.Expr]":
    """The conditions of one part: its branch, and none of those before."""
    from sqlglot import exp

    if not number:
        return [branches[0].copy()]
    before: exp.Expr = branches[0].copy()
    for one in branches[1:number]:
        before = exp.Or(this=before, expression=one.copy())
    return [branches[number].copy(), exp.Not(this=exp.Is(this=exp.Paren(this=before), expression=exp.true()))]


def _united(parts: "list[exp.Select]") -> "exp.Expr":
    from sqlglot import exp

    union: exp.Expr = parts[0]
    for part in parts[1:]:
        union = exp.Union(this=union, expression=part, distinct=False)
    return union


def _replace_by_union(source: "exp.Expr", branches: "list[exp.Expr]") -> None:
    from sqlglot import exp

    parts = []
    for number, _ in enumerate(branches):
        part = exp.select("*").from_(source.copy())
        require(part, *_only(branches, number))
        parts.append(part)
    alias = source.args.get("alias")
    named = alias.this.copy() if alias is not None else source.this.copy()
    source.replace(exp.Subquery(this=_united(parts), alias=exp.TableAlias(this=named)))


def _simple(tree: "exp.Select") -> bool:
    """Rows of the joined tables one by one; an order only by what is shown."""
    from sqlglot import exp

    if any(tree.args.get(one) for one in ("group", "having", "distinct", "windows", "with_", "qualify")):
        return False
    if any(one.is_star or one.find(exp.AggFunc, exp.Window) for one in tree.expressions):
        return False
    shown = tree.named_selects
    order = tree.args.get("order")
    for key in order.expressions if order is not None else ():
        column = key.this
        if not isinstance(column, exp.Column) or shown.count(column.name) != 1 or tree.expressions[shown.index(column.name)] != column:
            return False
    return True


def _once_per_branch(tree: "exp.Select", branches: "list[exp.Expr]", rest: "list[exp.Expr]") -> None:
    from sqlglot import exp

    parts = []
    for number, _ in enumerate(branches):
        part = tree.copy()
        for clause in ("order", "limit", "offset", "where"):
            part.set(clause, None)
        require(part, *(one.copy() for one in rest), *_only(branches, number))
        parts.append(part)
    union = exp.Subquery(this=_united(parts), alias=exp.TableAlias(this=exp.to_identifier("either")))
    for key in list(tree.find_all(exp.Ordered)):
        if key.parent is tree.args.get("order"):
            key.set("this", exp.Column(this=key.this.this.copy()))
    tree.set("expressions", [exp.Star()])
    tree.set("from_", exp.From(this=union))
    for clause in ("joins", "where"):
        tree.set(clause, None)
