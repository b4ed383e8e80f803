"""Where the order of rows decides what a query returns: it must be the same in a rewrite, and total wherever rows are cut off.

With LIMIT, OFFSET or DISTINCT ON, rows that the order does not tell apart are the server's choice: two right answers may differ, and equal
ones prove nothing. An order is total if its keys hold a unique key of every table in FROM (each row of a join has its own combination), or
all of GROUP BY. Which columns are unique keys only the server knows: `KeyClaim` says what to ask.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from perfwright.analysis.statements.parsing import Unreadable, syntax_tree
from perfwright.analysis.statements.tree import TooDeep, Tree, places, words

MAX_TABLES = 20
_POSITIONS = frozenset({"location"})


@dataclass(frozen=True)
class KeyClaim:
    """The order is total if these columns hold a unique key of the table, none of whose columns may be NULL."""

    schema: str
    table: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class _Cut:
    """A SELECT that cuts rows off."""

    select: Tree
    how: str


def order_claims(text: str) -> tuple[KeyClaim, ...]:
    """What must hold for a statement to have one answer. Raises Unreadable, with the reason, where that cannot hold or not be told."""
    claims: dict[KeyClaim, None] = {}
    for cut in _cuts(syntax_tree(text)):
        for claim in _claims(cut):
            claims[claim] = None
    return tuple(claims)


def other_order(original: str, rewritten: str) -> str:
    """Why the rewrite's rows may come in another order than the original's; empty: they come in the same, or the original has none."""
    before, after = _sort_keys(_query(syntax_tree(original))), _sort_keys(_query(syntax_tree(rewritten)))
    return "" if after[: len(before)] == before else "its rows would come in another order: ORDER BY differs"


def _query(tree: Tree) -> Tree:
    select = tree.get("SelectStmt")
    if not isinstance(select, dict):
        raise Unreadable("it is no query")
    return select


def _cuts(tree: Tree) -> Iterator[_Cut]:
    """Every SELECT in which the order decides which rows there are; below EXISTS it does not."""
    harmless: set[int] = set()
    try:
        for place in places(tree):
            value = place.value
            if value.get("subLinkType") == "EXISTS_SUBLINK":
                inner = value.get("subselect", {})
                harmless.add(id(inner.get("SelectStmt", inner)))
            if id(value) in harmless:
                continue
            if "limitCount" in value or "limitOffset" in value:
                yield _Cut(value, "LIMIT")
            elif any(value.get("distinctClause", ())):  # of a plain DISTINCT: [{}]
                yield _Cut(value, "DISTINCT ON")
    except TooDeep:
        raise Unreadable("it is nested too deeply") from None


def _claims(cut: _Cut) -> Iterator[KeyClaim]:
    select = cut.select
    keys = [key for _, key in _resolved_keys(select)]
    columns = [name for key in keys if (name := _column(key))]
    if not keys:
        raise Unreadable(f"{cut.how} without ORDER BY returns any rows")
    if select.get("op", "SETOP_NONE") != "SETOP_NONE":
        raise Unreadable(f"whether ORDER BY before {cut.how} is total cannot be told of a UNION")
    if groups := select.get("groupClause"):
        grouped = [_column(_target(select, group)) for group in groups]
        if not all(group and any(_same_column(group, column) for column in columns) for group in grouped):
            raise Unreadable(f"ORDER BY before {cut.how} does not hold all of GROUP BY: which rows are returned is the server's choice")
        return
    tables = list(_tables(select.get("fromClause", ()), cut.how))
    if len(tables) > MAX_TABLES:
        raise Unreadable(f"it has more than {MAX_TABLES} tables")
    for schema, table, alias in tables:
        held = tuple(dict.fromkeys(name for qualifier, name in columns if qualifier in ("", alias)))
        if not held:
            raise Unreadable(f"ORDER BY before {cut.how} holds no key of {table}: which rows are returned is the server's choice")
        yield KeyClaim(schema, table, held)


def _tables(items: Any, how: str) -> Iterator[tuple[str, str, str]]:
    """Schema, name and alias of the tables in FROM."""
    waiting = list(items)
    while waiting:
        item = waiting.pop()
        if join := item.get("JoinExpr"):
            waiting += [join["larg"], join["rarg"]]
        elif table := item.get("RangeVar"):
            name = str(table["relname"])
            yield str(table.get("schemaname", "")), name, str(table.get("alias", {}).get("aliasname", name))
        else:
            raise Unreadable(f"whether ORDER BY before {how} is total cannot be told of a subquery or function in FROM")


def _sort_keys(select: Tree) -> list[tuple[Any, ...]]:
    """Each with direction, NULLS and operator; names without their table, because a rewrite may qualify them."""
    return [
        (sort.get("sortby_dir"), sort.get("sortby_nulls"), words(sort.get("useOp")), _plain(key)) for sort, key in _resolved_keys(select)
    ]


def _resolved_keys(select: Tree) -> list[tuple[Tree, Any]]:
    sorts = [one.get("SortBy", {}) for one in select.get("sortClause", ())]
    return [(sort, _target(select, sort.get("node"))) for sort in sorts]


def _target(select: Tree, node: Any) -> Any:
    """What `ORDER BY 2` and `ORDER BY alias` stand for (of a UNION: themselves)."""
    targets = [one.get("ResTarget", {}) for one in select.get("targetList", ())]
    constant = node.get("A_Const", {}).get("ival") if isinstance(node, dict) else None
    if isinstance(constant, dict) and 1 <= (number := int(constant.get("ival", 0))) <= len(targets):
        return targets[number - 1].get("val")
    column = _column(node)
    if column and not column[0]:
        return next((target.get("val") for target in targets if target.get("name") == column[1]), node)
    return node


def _column(node: Any) -> tuple[str, str] | None:
    """Qualifier (empty where there is none) and name."""
    reference = node.get("ColumnRef") if isinstance(node, dict) else None
    names = words(reference.get("fields")) if isinstance(reference, dict) else ()
    return (names[-2] if len(names) > 1 else "", names[-1]) if names and names[-1] != "*" else None


def _same_column(one: tuple[str, str], other: tuple[str, str]) -> bool:
    return one[1] == other[1] and (one[0] == other[0] or not (one[0] and other[0]))


def _plain(node: Any) -> Any:
    if isinstance(node, list):
        return [_plain(one) for one in node]
    if not isinstance(node, dict):
        return node
    if column := _column(node):
        return {"ColumnRef": column[1]}
    return {name: _plain(value) for name, value in node.items() if name not in _POSITIONS}
