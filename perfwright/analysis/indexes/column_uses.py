"""How a query uses the columns of each table it names: what an index could find, join, order or spare it reading.

Columns are resolved against the catalog by sqlglot's `qualify`, which knows the scopes of subqueries and WITH. A table that is named twice
is used twice: an index serves one use at a time. `EXISTS (SELECT *)` needs no column, so its star is replaced before stars are expanded.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from perfwright.analysis.query_advice.expression_keys import indexable_expression, trigram_pattern
from perfwright.analysis.query_advice.operands import operand
from perfwright.analysis.query_advice.plan_view import Tables
from perfwright.analysis.query_advice.sql_reading import named_values
from perfwright.models.database import Catalog, TableFacts

if TYPE_CHECKING:
    from sqlglot import exp
    from sqlglot.optimizer.scope import Scope

MAX_CHARACTERS = 100_000
"""Of a statement whose columns are resolved; sqlglot reads a megabyte a second."""


class Unresolved(ValueError):
    """Columns of this text cannot be told; the message says why and has none of the text."""


@dataclass
class TableUse:
    """One occurrence of a table in a query. Columns are in order of appearance, each once per list."""

    table: TableFacts
    equal: list[str] = field(default_factory=list)
    """Compared for equality with something that is no column."""
    listed: list[str] = field(default_factory=list)
    """Compared with a list, or for equality in a branch of an OR: they find rows, but in no order."""
    joined: list[str] = field(default_factory=list)
    """Compared for equality with a column of another occurrence."""
    ranges: list[str] = field(default_factory=list)
    grouped: list[str] = field(default_factory=list)
    """GROUP BY or DISTINCT over columns of this table alone; empty otherwise."""
    ordered: list[tuple[str, bool]] = field(default_factory=list)
    """ORDER BY over columns of this table alone, with whether it runs down."""
    needed: list[str] = field(default_factory=list)
    """All that the query reads of it."""
    expressions: list[str] = field(default_factory=list)
    """Immutable expressions that are compared, in parentheses, as they stand in an index."""
    conditions: list[str] = field(default_factory=list)
    """Conditions without values of any kind: `l_commitdate < l_receiptdate`, `deleted_at IS NULL`, `NOT done`."""
    patterns: list[str] = field(default_factory=list)
    """Columns searched for a piece of text that three-letter pieces can find."""

    @property
    def useful(self) -> frozenset[str]:
        """Columns that an index on this use may begin with."""
        ordered = [name for name, _ in self.ordered]
        return frozenset((*self.equal, *self.listed, *self.joined, *self.ranges, *self.grouped[:1], *ordered[:1]))


def column_uses(text: str, catalog: Catalog) -> tuple[TableUse, ...]:
    """One per occurrence of a table that the catalog lists. Raises Unresolved."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import traverse_scope

    if len(text) > MAX_CHARACTERS or "$$" in text:
        raise Unresolved("it is too long or has dollar-quoted text")
    tables = Tables(catalog)
    try:
        tree = sqlglot.parse_one(named_values(text.strip().rstrip(";")), read="postgres")
        named = [found for one in tree.find_all(exp.Table) if (found := tables.find(one.name, None, one.db))]
        for star in [one.this for one in tree.find_all(exp.Exists) if isinstance(one.this, exp.Select)]:
            star.set("expressions", [exp.Literal.number(1)])
        schema: dict[str, object] = {one.name: {column.name: column.type for column in one.columns} for one in named}
        tree = qualify(tree, schema=schema, dialect="postgres", validate_qualify_columns=False, quote_identifiers=False, identify=False)
        scopes = traverse_scope(tree)
    except (SqlglotError, RecursionError) as trouble:
        raise Unresolved(f"it cannot be read: {type(trouble).__name__}") from None
    return _Uses(tables, scopes).found()


class _Uses:
    """The uses of one query, collected scope by scope."""

    def __init__(self, tables: Tables, scopes: "list[Scope]") -> None:
        self._tables, self._scopes = tables, scopes
        self._by_place: dict[tuple[int, str], TableUse] = {}

    def found(self) -> tuple[TableUse, ...]:
        from sqlglot import exp

        for scope in self._scopes:
            for alias, source in scope.sources.items():
                if isinstance(source, exp.Table) and alias in scope.selected_sources and (id(scope), alias) not in self._by_place:
                    table = self._tables.find(source.name, None, source.db)
                    if table is not None:
                        self._by_place[id(scope), alias] = TableUse(table)
        for scope in self._scopes:
            for column in scope.columns:
                if (use := self._use(column, scope)) is not None:
                    _add(use.needed, column.name)
            select = scope.expression
            if isinstance(select, exp.Select):
                self._conditions(select, scope)
                self._orders(select, scope)
        return tuple(self._by_place.values())

    def _use(self, column: "exp.Expr", scope: "Scope | None") -> TableUse | None:
        """The occurrence that a column belongs to, looked up outwards as SQL does."""
        from sqlglot import exp

        if not isinstance(column, exp.Column):
            return None
        while scope is not None:
            if column.table in scope.sources:
                use = self._by_place.get((id(scope), column.table))
                return use if use is not None and use.table.column(column.name) is not None else None
            scope = scope.parent
        return None

    def _conditions(self, select: "exp.Select", scope: "Scope") -> None:
        from sqlglot import exp

        clauses: list[exp.Expr] = []
        if (where := select.args.get("where")) is not None:
            clauses.append(where.this)
        clauses += [join.args["on"] for join in select.args.get("joins") or () if join.args.get("on") is not None]
        for clause in clauses:
            for condition, alternative in _parts(clause):
                self._condition(condition, scope, alternative=alternative)

    def _condition(self, condition: "exp.Expr", scope: "Scope", *, alternative: bool) -> None:
        from sqlglot import exp

        if not alternative:
            self._without_values(condition, scope)
        if condition.args.get("negate"):
            return  # NOT LIKE, NOT IN, IS NOT NULL: what is left is nearly all
        match condition:
            case exp.EQ():
                self._equality(condition.this, condition.expression, scope, alternative=alternative)
                self._equality(condition.expression, condition.this, scope, alternative=alternative)
            case exp.In():
                use = self._use(condition.this, scope)
                if use is not None:
                    _add(use.joined if condition.args.get("query") is not None else use.listed, condition.this.name)
                self._joined_in(condition, scope)
            case exp.Is() if isinstance(condition.expression, exp.Null):
                if (use := self._use(condition.this, scope)) is not None:
                    _add(use.listed if alternative else use.equal, condition.this.name)
            case exp.GT() | exp.GTE() | exp.LT() | exp.LTE():
                for one, other in ((condition.this, condition.expression), (condition.expression, condition.this)):
                    if (use := self._use(one, scope)) is not None and not self._own(other, use, scope):
                        _add(use.ranges, one.name)
                    else:
                        self._expression(one, other, scope)
            case exp.Between():
                if (use := self._use(condition.this, scope)) is not None:
                    _add(use.ranges, condition.this.name)
                else:
                    self._expression(condition.this, condition.args["low"], scope)
            case exp.Like() | exp.ILike() | exp.RegexpLike() | exp.RegexpILike():
                if (use := self._use(condition.this, scope)) is not None and not alternative:
                    regular = isinstance(condition, exp.RegexpLike | exp.RegexpILike)
                    if trigram_pattern(condition.expression.sql(dialect="postgres"), regular=regular):
                        _add(use.patterns, condition.this.name)
            case exp.Column() if (use := self._use(condition, scope)) is not None and not alternative:
                _add(use.equal, condition.name)

    def _equality(self, side: "exp.Expr", other: "exp.Expr", scope: "Scope", *, alternative: bool) -> None:
        use = self._use(side, scope)
        if use is None:
            self._expression(side, other, scope)
            return
        if self._own(other, use, scope):
            return
        if any(True for _ in _columns(other)):
            _add(use.joined, side.name)
        else:
            _add(use.listed if alternative else use.equal, side.name)

    def _joined_in(self, condition: "exp.Expr", scope: "Scope") -> None:
        """`x IN (SELECT y ...)` is a semi-join: y may be looked up for each x."""
        from sqlglot import exp

        query = condition.args.get("query")
        select = query.this if isinstance(query, exp.Subquery) else query
        if not isinstance(select, exp.Select) or len(select.expressions) != 1:
            return
        inner = next((one for one in self._scopes if one.expression is select), None)
        column = select.expressions[0].unalias()
        if inner is not None and (use := self._use(column, inner)) is not None:
            _add(use.joined, column.name)

    def _own(self, other: "exp.Expr", use: TableUse, scope: "Scope") -> bool:
        """Whether it has columns of the same occurrence: no index finds rows by comparing their columns with one another."""
        return any(self._use(column, scope) is use for column in _columns(other))

    def _expression(self, side: "exp.Expr", other: "exp.Expr", scope: "Scope") -> None:
        from sqlglot import exp

        if isinstance(side, exp.Column | exp.Literal) or any(True for _ in _columns(other)) or side.find(exp.Subquery, exp.AggFunc):
            return
        uses = {id(use): use for column in _columns(side) if (use := self._use(column, scope)) is not None}
        if len(uses) != 1:
            return
        (use,) = uses.values()
        if key := indexable_expression(operand(_unqualified(side)), use.table):
            _add(use.expressions, key)

    def _without_values(self, condition: "exp.Expr", scope: "Scope") -> None:
        """A condition over columns of one occurrence alone, without any value: a partial index on it serves every call."""
        from sqlglot import exp

        bare = condition.unnest() if isinstance(condition, exp.Paren) else condition
        if not isinstance(bare, exp.EQ | exp.NEQ | exp.GT | exp.GTE | exp.LT | exp.LTE | exp.Is | exp.Not | exp.Column):
            return
        parts = [one for one in bare.walk() if one is not bare]
        if not all(isinstance(one, exp.Column | exp.Identifier | exp.Null | exp.Is) for one in parts):
            return
        columns = list(_columns(bare))
        uses = [self._use(column, scope) for column in columns]
        if uses and uses[0] is not None and all(one is uses[0] for one in uses):
            # `a < b` and `b > a` are one condition; the server proves either from the other.
            turned = exp.LT if isinstance(bare, exp.GT) else exp.LTE if isinstance(bare, exp.GTE) else None
            _add(uses[0].conditions, _unqualified(turned(this=bare.expression, expression=bare.this) if turned else bare))

    def _orders(self, select: "exp.Select", scope: "Scope") -> None:

        group = select.args.get("group")
        if group is not None and (use := self._only_use(group.expressions, scope)) is not None and not use.grouped:
            use.grouped += dict.fromkeys(one.name for one in group.expressions)
        order = select.args.get("order")
        keys = [_behind_alias(one.this, select) for one in order.expressions] if order is not None else []
        if keys and (use := self._only_use(keys, scope)) is not None and not use.ordered:
            down = [bool(one.args.get("desc")) for one in order.expressions] if order is not None else []
            use.ordered += [(key.name, desc) for key, desc in zip(keys, down, strict=True)]

    def _only_use(self, keys: "list[exp.Expr]", scope: "Scope") -> TableUse | None:
        uses = [self._use(key, scope) for key in keys]
        return uses[0] if uses and uses[0] is not None and all(one is uses[0] for one in uses) else None


def _parts(clause: "exp.Expr") -> "Iterator[tuple[exp.Expr, bool]]":
    """Conditions of a clause with whether they stand in a branch of an OR."""
    from sqlglot import exp

    waiting = [(clause, False)]
    while waiting:
        one, alternative = waiting.pop(0)
        if isinstance(one, exp.Paren):
            waiting.append((one.this, alternative))
        elif isinstance(one, exp.And | exp.Or):
            either = alternative or isinstance(one, exp.Or)
            waiting += [(one.this, either), (one.expression, either)]
        else:
            yield one, alternative


def _columns(tree: "exp.Expr") -> "Iterator[exp.Expr]":
    """Columns in it; those inside subqueries too."""
    from sqlglot import exp

    return tree.find_all(exp.Column)


def _behind_alias(key: "exp.Expr", select: "exp.Select") -> "exp.Expr":
    """What an ORDER BY names: a column, or the result column of that name or number."""
    from sqlglot import exp

    if isinstance(key, exp.Literal) and not key.is_string and 0 < int(key.this) <= len(select.expressions):
        named: exp.Expr = select.expressions[int(key.this) - 1].unalias()
        return named
    if isinstance(key, exp.Column) and not key.table:
        return next((one.unalias() for one in select.expressions if one.alias == key.name), key)
    return key


def _unqualified(tree: "exp.Expr") -> str:
    """Its SQL with bare column names, as it stands in the DDL of an index."""
    from sqlglot import exp

    def bare(node: "exp.Expr") -> "exp.Expr":
        return exp.column(node.this.copy()) if isinstance(node, exp.Column) else node

    return str(tree.copy().transform(bare).sql(dialect="postgres"))


def _add(names: list[str], name: str) -> None:
    if name not in names:
        names.append(name)
