"""Which `$n` of a normalized text need a cast, because the constant that stood there told its type and `$n` does not.

In the original a constant was a number, a boolean, or a string of type unknown. Where the server resolves a string it resolves `$n` the
same way (postgresql.org/docs/current/typeconv.html); where it cannot, the constant must have been a number. So the rules look for the
places where an unknown type fails: arithmetic between two constants, `date + $1`, aggregates and roundings of constants, CASE and
COALESCE whose branches are all constants (they become text) in a place for numbers, arrays compared with a number, and `$n` that nothing
gives a type (`$1 IS NULL`, `count($1)`). Integer is the cast: the server widens it to every other type of number.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from perfwright.analysis.statements.server_names import name_set
from perfwright.analysis.statements.tree import Place, Tree, only_key, words
from perfwright.models.database import Catalog

Category = Literal["number", "text", "date", "timestamp", "interval", "boolean", "unknown", "other"]
"""`unknown`: as the server calls the type of a bare constant. `other`: we cannot tell."""

MAX_LEVELS = 100
"""Of nested expressions that a type is followed through."""

_BY_TYPE: dict[str, Category] = {
    **dict.fromkeys(name_set("int2 int4 int8 numeric float4 float8 smallint integer bigint decimal real double money oid"), "number"),
    **dict.fromkeys(name_set("text varchar bpchar char name character citext"), "text"),
    "date": "date",
    **dict.fromkeys(name_set("timestamp timestamptz"), "timestamp"),
    "interval": "interval",
    **dict.fromkeys(name_set("bool boolean"), "boolean"),
}
_ARITHMETIC = frozenset("+-*/%^")
_COMPARISONS = frozenset(["=", "<>", "!=", "<", ">", "<=", ">="])
_NUMBERS_ONLY = name_set(
    """
    sum avg stddev stddev_pop stddev_samp variance var_pop var_samp abs ceil ceiling floor round trunc sqrt sign mod power exp ln log
    generate_series
    """
)
"""Not unique, or missing, for a constant of unknown type or for text."""
_ANY_TYPE = name_set(
    """
    count concat concat_ws format json_build_array json_build_object jsonb_build_array jsonb_build_object json_object_agg jsonb_object_agg
    num_nulls num_nonnulls to_json to_jsonb json_agg jsonb_agg array_agg pg_typeof
    """
)
"""Take any type, so they give none to a constant."""
_FIRST_ARGUMENT = name_set("max min lag lead first_value last_value nth_value any_value")
_NUMBER_RESULTS = name_set(
    """
    count length char_length octet_length position strpos extract date_part row_number rank dense_rank ntile percent_rank cume_dist random
    cardinality array_length width_bucket
    """
)
_TEXT_RESULTS = name_set(
    "lower upper concat concat_ws substring substr trim btrim ltrim rtrim to_char replace left right lpad rpad md5 format string_agg"
)
_TIMESTAMP_RESULTS = name_set("now date_trunc to_timestamp make_timestamp make_timestamptz timezone clock_timestamp")
_DATE_RESULTS = name_set("to_date make_date")
_INTERVAL_RESULTS = name_set("age make_interval justify_days justify_hours justify_interval")


@dataclass(frozen=True)
class Typed:
    """What is known of an expression; `unknown` ones have the places of the `$n` that a cast would have to stand at."""

    category: Category
    parameters: tuple[int, ...] = ()
    """Byte offsets into the text."""


_OTHER = Typed("other")


def category_of(type_name: str) -> Category:
    """Of a type as `format_type` or a parse tree writes it: `character varying(20)` -> text."""
    name = type_name.lower().split("(")[0].split("[")[0].strip()
    if type_name.rstrip().endswith("]"):
        return "other"
    return _BY_TYPE.get(name.split(" ")[0] if name.startswith(("timestamp", "double", "character")) else name, "other")


def needed_casts(found: Sequence[Place], catalog: Catalog | None) -> dict[int, str]:
    """Byte offset of a `$n` -> type to cast it to, of the `places` of a tree."""
    inference = _Inference(found, catalog)
    for place in found:
        inference.look_at(place.key, place.value)
    return inference.casts


class _Inference:
    def __init__(self, found: Sequence[Place], catalog: Catalog | None) -> None:
        self.casts: dict[int, str] = {}
        self._seen: dict[int, Typed] = {}
        self._aliases: dict[str, list[Any]] = defaultdict(list)
        relations = set()
        for place in found:
            if place.key == "ResTarget" and place.value.get("name") and place.value.get("val"):
                self._aliases[place.value["name"]].append(place.value["val"])
            if isinstance(place.value.get("relname"), str):
                relations.add((place.value["relname"], place.value.get("schemaname", "")))
        self._columns: dict[str, set[Category]] = defaultdict(set)
        for name, schema in sorted(relations):
            table = catalog.table(name, schema) if catalog else None
            for column in table.columns if table else ():
                self._columns[column.name].add(category_of(column.type))

    def look_at(self, key: str, node: Tree) -> None:
        """Note the casts that this node asks for."""
        match key:
            case "A_Expr":
                self._look_at_operator(node)
            case "FuncCall":
                self._look_at_call(node)
            case "CaseExpr" | "CoalesceExpr" | "MinMaxExpr":
                branches = list(_branches(key, node))
                if any(self._of(one).category == "number" for one in branches):
                    self._numbers(one for one in branches if only_key(one) != "ParamRef")
            case "NullTest" | "BooleanTest":
                if only_key(node.get("arg")) == "ParamRef":
                    self._cast(self._of(node["arg"]), "text" if key == "NullTest" else "boolean")

    def _look_at_operator(self, node: Tree) -> None:
        name, kind = (words(node.get("name")) or ("",))[-1], node.get("kind")
        left, right = node.get("lexpr"), node.get("rexpr") or {}
        if kind == "AEXPR_OP" and name in _ARITHMETIC:
            self._look_at_arithmetic(name, left, right)
        elif kind in ("AEXPR_OP_ANY", "AEXPR_OP_ALL") and only_key(right) == "A_ArrayExpr":
            if self._of(left).category == "number":
                self._numbers(right["A_ArrayExpr"].get("elements", ()))
        elif kind in ("AEXPR_IN", "AEXPR_BETWEEN", "AEXPR_NOT_BETWEEN", "AEXPR_OP") and (name in _COMPARISONS or kind != "AEXPR_OP"):
            both = [left, *(right["List"].get("items", ()) if only_key(right) == "List" else [right])]
            if any(self._of(one).category == "number" for one in both):
                # A bare `$n` takes the type of the other side; one inside CASE has become text.
                self._numbers(one for one in both if only_key(one) != "ParamRef")

    def _look_at_arithmetic(self, name: str, left: Any, right: Any) -> None:
        types = self._of(left), self._of(right)
        both_unknown = left is None or all(one.category == "unknown" for one in types)
        if both_unknown or (name in "+-" and any(one.category == "date" for one in types)):
            self._numbers([left, right])
        elif any(one.category == "number" for one in types):
            self._numbers(one for one in (left, right) if only_key(one) != "ParamRef")

    def _look_at_call(self, node: Tree) -> None:
        name, arguments = (words(node.get("funcname")) or ("",))[-1], node.get("args", ())
        if name in _NUMBERS_ONLY:
            # `generate_series` and the like of a date and a constant get their type from the date.
            if all(self._of(one).category in ("unknown", "number") for one in arguments):
                self._numbers(arguments)
        elif name in _ANY_TYPE:
            for one in arguments:
                if only_key(one) == "ParamRef":
                    self._cast(self._of(one), "text")

    def _numbers(self, nodes: Iterable[Any]) -> None:
        for node in nodes:
            self._cast(self._of(node), "integer")

    def _cast(self, typed: Typed, type_name: str) -> None:
        if typed.category == "unknown":
            for parameter in typed.parameters:
                self.casts.setdefault(parameter, type_name)

    def _of(self, node: Any, level: int = 0) -> Typed:
        if not isinstance(node, dict) or level > MAX_LEVELS:
            return _OTHER
        known = self._seen.get(id(node))
        if known is None:
            self._seen[id(node)] = _OTHER  # while it is looked at: an alias may lead back to itself
            known = self._seen[id(node)] = self._look_up(only_key(node), node, level + 1)
        return known

    def _look_up(self, key: str, wrapped: Tree, level: int) -> Typed:
        node = wrapped.get(key, {})
        match key:
            case "ParamRef":
                return Typed("unknown", (int(node.get("location", 0)),))
            case "A_Const":
                return Typed("number" if "ival" in node or "fval" in node else "boolean" if "boolval" in node else "unknown")
            case "TypeCast":
                type_name = node.get("typeName", {})
                return _OTHER if type_name.get("arrayBounds") else Typed(category_of((words(type_name.get("names")) or ("",))[-1]))
            case "SQLValueFunction":
                kind = str(node.get("op", ""))
                return Typed("date" if "DATE" in kind else "timestamp" if "TIMESTAMP" in kind else "other")
            case "ColumnRef":
                return self._of_column((words(node.get("fields")) or ("*",))[-1], level)
            case "CaseExpr" | "CoalesceExpr" | "MinMaxExpr":
                return self._of_branches(_branches(key, node), level)
            case "SubLink" if node.get("subLinkType") == "EXPR_SUBLINK":
                targets = node.get("subselect", {}).get("SelectStmt", {}).get("targetList", ())
                return self._of(targets[0].get("ResTarget", {}).get("val"), level) if targets else _OTHER
            case "A_Expr":
                return self._of_operator(node, level)
            case "FuncCall":
                return self._of_call(node, level)
        return _OTHER

    def _of_column(self, name: str, level: int) -> Typed:
        if categories := self._columns.get(name):
            return Typed(next(iter(categories))) if len(categories) == 1 else _OTHER
        return self._of_branches(self._aliases.get(name, ()), level)

    def _of_branches(self, branches: Iterable[Any], level: int) -> Typed:
        """As UNION, CASE and COALESCE resolve: the type of those that have one; of constants alone unknown."""
        types = [self._of(one, level) for one in branches]
        known = {one.category for one in types if one.category != "unknown"}
        if types and not known:
            return Typed("unknown", tuple(place for one in types for place in one.parameters))
        return Typed(known.pop()) if len(known) == 1 else _OTHER

    def _of_operator(self, node: Tree, level: int) -> Typed:
        name, kind = (words(node.get("name")) or ("",))[-1], node.get("kind")
        if kind == "AEXPR_NULLIF":
            return self._of(node.get("lexpr"), level)
        if kind != "AEXPR_OP" or name in _COMPARISONS:
            return Typed("boolean")
        if name == "||":
            return Typed("text")
        if name not in _ARITHMETIC:
            return _OTHER
        left, right = (self._of(node.get(side), level).category for side in ("lexpr", "rexpr"))
        pair = {left, right} - {"unknown"}
        if "other" in pair and node.get("lexpr") is not None:
            return _OTHER
        if not pair or pair == {"number"} or pair == {"number", "other"}:
            return Typed("number")
        if "timestamp" in pair:
            return Typed("interval" if name == "-" and left == right else "timestamp")
        if "date" in pair:
            return Typed("timestamp" if "interval" in pair else "number" if name == "-" and left == right else "date")
        return Typed("interval") if "interval" in pair else _OTHER

    def _of_call(self, node: Tree, level: int) -> Typed:
        name, arguments = (words(node.get("funcname")) or ("",))[-1], node.get("args", ())
        if name in _FIRST_ARGUMENT:
            return self._of(arguments[0], level) if arguments else _OTHER
        if name in _NUMBERS_ONLY:
            inner = self._of(arguments[0], level).category if arguments else "other"
            return Typed("number" if inner in ("number", "unknown") else inner)
        results: tuple[tuple[frozenset[str], Category], ...] = (
            (_NUMBER_RESULTS, "number"),
            (_TEXT_RESULTS, "text"),
            (_TIMESTAMP_RESULTS, "timestamp"),
            (_DATE_RESULTS, "date"),
            (_INTERVAL_RESULTS, "interval"),
        )
        return next((Typed(category) for names, category in results if name in names), _OTHER)


def _branches(key: str, node: Tree) -> Iterable[Any]:
    if key != "CaseExpr":
        return list(node.get("args", ()))
    results = [one.get("CaseWhen", {}).get("result") for one in node.get("args", ())]
    return [*results, node["defresult"]] if "defresult" in node else results
