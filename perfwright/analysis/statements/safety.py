"""What executing a statement may do: decides what is run on a server that others depend on, so it lists what is allowed, not what is not.

`reads only` needs every part of the parse tree to be known: node types, functions, operators, types and relations. Functions are the
server's own that are immutable, stable or vetted by name, or the database's own that are not volatile in any overload; relations are
tables of the catalog, or views whose definition is judged the same way. Whatever is not on a list is `volatile`, with the reason.

    never         DDL, COPY, DO, CALL, SET, LOCK, PREPARE, EXPLAIN, SELECT INTO, several statements, what cannot be read
    volatile      functions, types, operators, relations or syntax that may have side effects or are not known
    writes        INSERT, UPDATE, DELETE, MERGE (their triggers, rules and defaults run), also in WITH
    locks         FOR UPDATE, FOR SHARE anywhere
    reads only    the rest

What the catalog does not hold cannot be judged here: policies of row security, transition functions of a database's own aggregates, and
operators and implicit casts that a database defines under the server's own names. They are the reason to run even `reads only` in a READ
ONLY transaction that is rolled back.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from perfwright.analysis.statements.known_names import KnownNames, Relation
from perfwright.analysis.statements.parsing import WRITING_NODES, ParsedStatement, Unreadable, syntax_tree
from perfwright.analysis.statements.server_names import name_set
from perfwright.analysis.statements.tree import Place, TooDeep, places, words
from perfwright.models.database import Catalog
from perfwright.models.statement import Safety

MAX_VIEW_DEPTH = 16
"""Views of views of views: deeper ones are not followed."""
MAX_VIEWS = 200
"""Definitions that one statement may lead to."""

_PLAIN_NODES = name_set(
    """
    SelectStmt larg rarg ResTarget A_Star A_Const ParamRef String Integer Float Boolean BitString ival fval boolval sval bsval BoolExpr
    NullTest BooleanTest TypeCast CollateClause collClause CaseExpr CaseWhen CoalesceExpr MinMaxExpr A_ArrayExpr A_Indices RowExpr
    GroupingFunc GroupingSet WindowDef over RangeSubselect RangeFunction Alias alias JoinExpr join_using_alias CommonTableExpr
    search_clause cycle_clause CTESearchClause CTECycleClause List SQLValueFunction NamedArgExpr ColumnDef XmlExpr XmlSerialize
    RangeTableFunc RangeTableFuncCol JsonFuncExpr JsonValueExpr context_item format JsonFormat output JsonOutput returning JsonReturning
    JsonBehavior on_empty on_error JsonArgument JsonIsPredicate JsonParseExpr expr JsonScalarExpr JsonSerializeExpr
    JsonObjectConstructor JsonArrayConstructor JsonArrayQueryConstructor JsonKeyValue JsonObjectAgg JsonArrayAgg constructor arg value
    JsonTable JsonTableColumn JsonTablePathSpec val pathspec LockingClause InsertStmt UpdateStmt DeleteStmt MergeStmt OnConflictClause
    onConflictClause InferClause infer IndexElem MultiAssignRef MergeWhenClause SetToDefault MergeSupportFunc CurrentOfExpr
    """
)
"""Node types, and fields that hold a node without naming its type, that do nothing by themselves. What is in them is looked at too."""
_SAMPLING_METHODS = frozenset(["bernoulli", "system"])
_LEADING = WRITING_NODES | {"SelectStmt"}


@dataclass(frozen=True)
class Judgement:
    """What executing it may do, and why it is not `reads only`."""

    safety: Safety
    reason: str = ""


_ORDER: tuple[Safety, ...] = ("reads only", "locks", "writes", "volatile", "never")


def worst(judgements: Iterable[Judgement]) -> Judgement:
    """The most dangerous of them; `never` of none."""
    ranked = sorted(judgements, key=lambda one: _ORDER.index(one.safety), reverse=True)
    return ranked[0] if ranked else Judgement("never", "nothing is known of it")


class SafetyJudge:
    """Judges statements of one database.

    `extensions`: installed ones, whose operators and types are known by name. `standard_strings`: the server's
    standard_conforming_strings; off, a backslash in a quoted value hides what follows from our parser, so texts that have one are refused.
    Without a catalog nothing that reads a table or calls a function is vetted.
    """

    def __init__(self, catalog: Catalog | None, *, extensions: Iterable[str] = (), standard_strings: bool = True) -> None:
        self._names = KnownNames(catalog, extensions)
        self._standard_strings = standard_strings
        self._views: dict[str, str] = {}
        """Definition -> why it is not vetted; empty: it is."""

    def judge(self, parsed: ParsedStatement) -> Judgement:
        """Of a text that was read."""
        if parsed.multiple:
            return Judgement("never", f"{parsed.statements} statements in one text")
        if parsed.node and parsed.node not in _LEADING:
            return Judgement("never", f"{utility_name(parsed.node)} is no query")
        if parsed.too_deep:
            return Judgement("never", "it is nested too deeply to be looked at")
        if not self._standard_strings and parsed.backslashes:
            return Judgement("never", "standard_conforming_strings is off: a backslash may hide a part of it")
        return self._judge_places(parsed.places)

    def judge_text(self, text: str) -> Judgement:
        """Of a text that is about to be executed: a sample with its values."""
        if not self._standard_strings and "\\" in text:
            return Judgement("never", "standard_conforming_strings is off: a backslash may hide a part of it")
        try:
            tree = syntax_tree(text)
            node = next(iter(tree), "")
            return self._judge_places(places(tree)) if node in _LEADING else Judgement("never", f"{utility_name(node)} is no query")
        except Unreadable as trouble:
            return Judgement("never", f"it cannot be read: {trouble}")
        except TooDeep:
            return Judgement("never", "it is nested too deeply to be looked at")

    def _judge_places(self, found: Sequence[Place]) -> Judgement:
        locks = writes = unsure = ""
        for place in found:
            key = place.key
            if key == "intoClause":
                return Judgement("never", "SELECT INTO makes a table")
            if key in WRITING_NODES:
                writes = writes or f"{key.removesuffix('Stmt').upper()}: triggers, rules and defaults of the table run"
            elif key == "LockingClause":
                locks = locks or "it locks rows"
            unsure = unsure or self._doubt(place, depth=0, seen=set())
        if unsure:
            return Judgement("volatile", unsure)
        if writes:
            return Judgement("writes", writes)
        return Judgement("locks", locks) if locks else Judgement("reads only")

    def _doubt(self, place: Place, *, depth: int, seen: set[str]) -> str:
        """Why this place is not known to be harmless; empty: it is."""
        key, value = place.key, place.value
        if key in _PLAIN_NODES:
            return ""
        match key:
            case "FuncCall":
                return self._names.function_doubt(words(value.get("funcname")))
            case "TypeName" | "typeName":
                return self._names.type_doubt(words(value.get("names")), percent_type=bool(value.get("pct_type")))
            case "A_Expr":
                return self._names.operator_doubt(words(value.get("name")))
            case "SubLink" | "SortBy":
                return self._names.operator_doubt(words(value.get("operName") or value.get("useOp")))
            case "RangeTableSample":
                method = words(value.get("method"))
                known = method[-1:] and method[-1] in _SAMPLING_METHODS
                return "" if known else f"sampling method {'.'.join(method)} is not known"
            case "ColumnRef":
                fields = words(value.get("fields"))
                return self._names.field_doubt(fields[-1]) if len(fields) > 1 else ""
            case "A_Indirection":
                return next((doubt for name in words(value.get("indirection")) if (doubt := self._names.field_doubt(name))), "")
            case "RangeVar" | "relation":
                return self._relation_doubt(place, depth=depth, seen=seen)
        return f"syntax that is not known here ({key})"

    def _relation_doubt(self, place: Place, *, depth: int, seen: set[str]) -> str:
        name, schema = place.value["relname"], place.value.get("schemaname", "")
        known = self._names.relations(name, schema)
        if not schema and name in place.ctes:
            # The name in WITH hides the relation; one that the catalog knows is vetted all the same.
            known = [one for one in known if one.definition or one.doubt]
        elif place.key == "relation" and self._names.of_server(name, schema):
            return f"it writes to {name}, which is the server's own"
        elif not known:
            return f"{'.'.join(part for part in (schema, name) if part)} is not in the catalog: what reading it does is not known"
        return next((doubt for one in known if (doubt := self._one_relation_doubt(one, depth=depth, seen=seen))), "")

    def _one_relation_doubt(self, relation: Relation, *, depth: int, seen: set[str]) -> str:
        if relation.doubt or not relation.definition:
            return relation.doubt
        definition = relation.definition
        if definition in self._views:
            return self._views[definition]
        if definition in seen:
            return ""
        if depth >= MAX_VIEW_DEPTH or len(seen) >= MAX_VIEWS:
            return f"view {relation.title} leads through too many views"
        seen.add(definition)
        doubt = ""
        try:
            tree = syntax_tree(definition)
            if "SelectStmt" not in tree:
                doubt = f"the definition of view {relation.title} is no query"
            for place in places(tree):
                if place.key == "LockingClause" or place.key in WRITING_NODES or place.key == "intoClause":
                    doubt = doubt or f"view {relation.title} does more than reading"
                elif not doubt and (inner := self._doubt(place, depth=depth + 1, seen=seen)):
                    doubt = f"view {relation.title}: {inner}"
        except (Unreadable, TooDeep) as trouble:
            doubt = f"the definition of view {relation.title} cannot be read: {trouble}"
        if depth == 0:
            # Only here: deeper in, a view that is being looked at already counts as harmless for the moment.
            self._views[definition] = doubt
        return doubt


def utility_name(node: str) -> str:
    """`VariableSetStmt` as people call it: SET."""
    return _UTILITY_NAMES.get(node, node.removesuffix("Stmt").upper() or "nothing")


_UTILITY_NAMES = {
    "VariableSetStmt": "SET",
    "VariableShowStmt": "SHOW",
    "TransactionStmt": "BEGIN, COMMIT or ROLLBACK",
    "CreateTableAsStmt": "CREATE TABLE AS",
    "DeallocateStmt": "DEALLOCATE",
    "DeclareCursorStmt": "DECLARE CURSOR",
    "FetchStmt": "FETCH",
    "ClosePortalStmt": "CLOSE",
    "IndexStmt": "CREATE INDEX",
    "CreateStmt": "CREATE TABLE",
    "ViewStmt": "CREATE VIEW",
    "RefreshMatViewStmt": "REFRESH MATERIALIZED VIEW",
    "CheckPointStmt": "CHECKPOINT",
    "AlterTableStmt": "ALTER TABLE",
    "CreateFunctionStmt": "CREATE FUNCTION",
}
