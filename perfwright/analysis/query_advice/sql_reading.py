"""SQL as a tree that can be changed and written again, only where writing it gives back the very same statement.

sqlglot reads PostgreSQL's SQL nearly always and writes it nearly right: of TPC-DS it drops a `NULLS FIRST` here and there. So a text is
taken only if what sqlglot makes of it has the same libpg_query parse tree as the text itself. Values `$1` are named while sqlglot reads:
its tokenizer takes `$1 ... $2` for a dollar-quoted string.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perfwright.analysis.query_advice.operands import scan
from perfwright.analysis.query_advice.plan_view import Tables
from perfwright.analysis.statements.parsing import Unreadable, syntax_tree
from perfwright.models.database import ColumnFacts, TableFacts

if TYPE_CHECKING:
    from sqlglot import exp

MAX_CHARACTERS = 20_000
"""Longer statements are read by the planner, not by people: no rewrite is offered."""
_VALUE = "pw_value_"
_POSITIONS = frozenset({"location", "stmt_len", "funcformat", "list_start", "list_end", "rexpr_list_start", "rexpr_list_end"})


class NotRewritable(ValueError):
    """The statement cannot be written again faithfully."""


def read_sql(text: str) -> "exp.Select":
    """The SELECT as sqlglot's tree. Raises NotRewritable."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    plain = text.strip().rstrip(";").rstrip()
    if len(plain) > MAX_CHARACTERS or "$$" in plain:
        raise NotRewritable("it is too long or has dollar-quoted text")
    try:
        tree = sqlglot.parse_one(named_values(plain), read="postgres")
        if not isinstance(tree, exp.Select) or tree.args.get("into"):
            raise NotRewritable("it is no plain SELECT")
        if canonical(syntax_tree(plain)) != canonical(syntax_tree(write_sql(tree))):
            raise NotRewritable("its spelling would not survive")
    except (SqlglotError, Unreadable, RecursionError) as trouble:
        raise NotRewritable(f"it cannot be read: {type(trouble).__name__}") from None
    return tree


def write_sql(tree: "exp.Expr") -> str:
    """The text, on several lines where it is long, with `$n` where they were."""
    from sqlglot import exp

    def value(node: "exp.Expr") -> "exp.Expr":
        if isinstance(node, exp.Placeholder) and str(node.this or "").startswith(_VALUE):
            return exp.Parameter(this=exp.Literal.number(str(node.this).removeprefix(_VALUE)))
        return node

    return str(tree.copy().transform(value).sql(dialect="postgres", pretty=True))


def canonical(tree: Any) -> Any:
    """A parse tree without positions, and with the spellings of the same thing that sqlglot exchanges: `now()` is CURRENT_TIMESTAMP,
    `substr` is SUBSTRING, units of intervals and of date_trunc are of either case. Where a name becomes that of a result column, it
    counts."""
    if isinstance(tree, list):
        return [canonical(one) for one in tree]
    if not isinstance(tree, dict):
        return tree
    if "ResTarget" in tree and isinstance(target := tree["ResTarget"], dict) and "name" not in target:
        function = target.get("val", {}).get("FuncCall", {}).get("funcname")
        value = target.get("val", {}).get("SQLValueFunction", {}).get("op")
        return {"ResTarget": {name: canonical(one) for name, one in target.items() if name not in _POSITIONS}, "column": [function, value]}
    if (call := tree.get("FuncCall")) and isinstance(call, dict):
        names = [one.get("String", {}).get("sval") for one in call.get("funcname", [])]
        if names == ["now"]:
            return {"SQLValueFunction": {"op": "SVFOP_CURRENT_TIMESTAMP", "typmod": -1}}
        if names[-1:] == ["date_trunc"]:
            return _lowered(call)
        if names in (["substr"], ["pg_catalog", "substring"]):
            return {"substring": canonical(call.get("args", []))}
    if (cast := tree.get("TypeCast")) and isinstance(cast, dict):
        named = [one.get("String", {}).get("sval") for one in cast.get("typeName", {}).get("names", [])]
        if named[-1:] == ["interval"]:
            return _lowered(cast)
    return {name: canonical(one) for name, one in tree.items() if name not in _POSITIONS}


def _lowered(tree: Any) -> Any:
    if isinstance(tree, list):
        return [_lowered(one) for one in tree]
    if isinstance(tree, dict):
        return {
            name: str(one).lower() if name == "sval" and isinstance(one, str) and "String" not in tree else _lowered(one)
            for name, one in tree.items()
            if name not in _POSITIONS
        }
    return tree


def named_values(text: str) -> str:
    """The text with `:pw_value_n` for `$n`, as sqlglot can read it."""
    parts, place = [], 0
    for token in scan(text):
        if token.kind == "param":
            parts += [text[place : token.start], f":{_VALUE}{token.text[1:]}"]
            place = token.end
    return "".join([*parts, text[place:]])


@dataclass(frozen=True)
class Owner:
    """Whose a column is."""

    select: "exp.Select"
    source: str
    """Alias within that SELECT."""
    table: TableFacts | None
    """None: a subquery's or a CTE's column."""
    column: ColumnFacts | None = None


class Scopes:
    """Whose each column is, by the catalog: from its own SELECT outwards, as SQL looks names up."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def owner(self, column: "exp.Column") -> Owner | None:
        """None where it cannot be told."""
        select = column.parent_select
        while select is not None:
            known, unknown = self._lookup(select, column.name, column.table)
            if known:
                return known[0] if len(known) == 1 else None
            if unknown:
                return None
            select = select.parent_select
        return None

    def _lookup(self, select: "exp.Expr", name: str, qualifier: str) -> tuple[list[Owner], bool]:
        from sqlglot import exp

        known: list[Owner] = []
        unknown = False
        if not isinstance(select, exp.Select):
            return known, True
        for source in sources(select):
            if qualifier and source.alias_or_name != qualifier:
                continue
            columns, table = self._columns(source)
            if name in columns:
                known.append(Owner(select, source.alias_or_name, table, table.column(name) if table else None))
            elif not columns:
                unknown = True
        return known, unknown

    def table(self, source: "exp.Expr") -> TableFacts | None:
        """The catalog's table, if the source is one and no CTE hides it."""
        from sqlglot import exp

        if not isinstance(source, exp.Table) or not isinstance(source.this, exp.Identifier) or (not source.db and _cte(source) is not None):
            return None
        return self._tables.find(source.name, None, source.db)

    def _columns(self, source: "exp.Expr") -> tuple[frozenset[str], TableFacts | None]:
        """Names of its columns (empty: unknown)."""
        from sqlglot import exp

        if (table := self.table(source)) is not None:
            return frozenset(one.name for one in table.columns), table
        query = _cte(source) if isinstance(source, exp.Table) else source.this if isinstance(source, exp.Subquery) else None
        if isinstance(query, exp.Select) and not any(isinstance(one, exp.Star) or one.is_star for one in query.expressions):
            return frozenset(query.named_selects), None
        return frozenset(), None


def sources(select: "exp.Select") -> Iterator["exp.Expr"]:
    """What stands in FROM, in order."""
    begin = select.args.get("from_")
    if begin is not None:
        yield begin.this
    for join in select.args.get("joins") or ():
        yield join.this


def _cte(table: "exp.Expr") -> "exp.Expr | None":
    """The query of the WITH whose name the table is."""
    above = table.parent
    while above is not None:
        clause = above.args.get("with_")
        for one in clause.expressions if clause is not None else ():
            if one.alias == table.name:
                return one.this  # type: ignore[no-any-return]
        above = above.parent
    return None


def conjuncts(condition: "exp.Expr | None") -> list["exp.Expr"]:
    """AND-ed parts of a WHERE, without parentheses around AND."""
    from sqlglot import exp

    if condition is None:
        return []
    found: list[exp.Expr] = []
    waiting = [condition]
    while waiting:
        one = waiting.pop()
        inner = one.unnest() if isinstance(one, exp.Paren) else one
        if isinstance(inner, exp.And):
            waiting += [inner.expression, inner.this]
        else:
            found.append(one)
    return found


def where_of(select: "exp.Select") -> list["exp.Expr"]:
    clause = select.args.get("where")
    return conjuncts(clause.this if clause is not None else None)


def require(select: "exp.Select", *more: "exp.Expr") -> None:
    """Add conditions to its WHERE, as further AND-ed parts."""
    from sqlglot import exp

    whole: exp.Expr | None = None
    for part in (*where_of(select), *more):
        single = exp.Paren(this=part.copy()) if isinstance(part, exp.Or) else part.copy()
        whole = single if whole is None else exp.And(this=whole, expression=single)
    select.set("where", exp.Where(this=whole) if whole is not None else None)


def only_inner_joins(select: "exp.Select") -> bool:
    """No source of it can be filled with NULLs, and columns are not merged by USING or NATURAL."""
    return not any(
        join.side or join.method or join.args.get("using") or join.kind not in ("", "INNER", "CROSS")
        for join in select.args.get("joins") or ()
    ) and not select.args.get("laterals")
