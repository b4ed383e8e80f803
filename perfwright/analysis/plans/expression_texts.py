"""Expressions of libpg_query's tree in short, for sentences: `lower(email)`, `data ->> 'k'`."""

from collections.abc import Mapping
from typing import Any

_SQL_NAMES = {
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "float4": "real",
    "float8": "double precision",
    "bool": "boolean",
    "bpchar": "character",
    "varchar": "character varying",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
    "time": "time without time zone",
    "timetz": "time with time zone",
}
"""Types as `format_type` writes them, by the names of the parser."""


def operator_of(compared: Mapping[str, Any]) -> str:
    names = compared.get("name") or [{}]
    return str(names[-1].get("String", {}).get("sval", "")) if isinstance(names[-1], Mapping) else ""


def type_name(named: Mapping[str, Any]) -> str:
    names = [one["String"]["sval"] for one in named.get("names", []) if "String" in one]
    return _SQL_NAMES.get(names[-1], str(names[-1])) + ("[]" if named.get("arrayBounds") else "") if names else ""


def written(tree: Any, depth: int = 0) -> str:
    """An expression in short, for a sentence: `lower(email)`, `date_part('year', created_at)`, `data ->> 'k'`."""
    if depth > 5:
        return "…"
    match tree:
        case {"ColumnRef": {"fields": fields}}:
            return str(fields[-1].get("String", {}).get("sval", "*"))
        case {"A_Const": constant}:
            return _written_constant(constant)
        case {"TypeCast": {"arg": inner, "typeName": named}}:
            text = written(inner, depth + 1)
            return text if "A_Const" in inner else f"{text}::{type_name(named)}"
        case {"FuncCall": call}:
            name = call["funcname"][-1].get("String", {}).get("sval", "")
            return f"{name}({', '.join(written(one, depth + 1) for one in call.get('args', [])[:6])})"
        case {"CoalesceExpr": {"args": arguments}}:
            return f"coalesce({', '.join(written(one, depth + 1) for one in arguments[:6])})"
        case {"MinMaxExpr": {"op": kind, "args": arguments}}:
            name = "greatest" if kind == "IS_GREATEST" else "least"
            return f"{name}({', '.join(written(one, depth + 1) for one in arguments[:6])})"
        case {"A_Expr": {"lexpr": left, "rexpr": right} as compared}:
            return f"{written(left, depth + 1)} {operator_of(compared)} {written(right, depth + 1)}"
        case {"A_Expr": {"rexpr": right} as compared}:
            return f"{operator_of(compared)}{written(right, depth + 1)}"
        case {"A_Indirection": {"arg": inner, "indirection": [{"A_Indices": {"uidx": place}}]}}:
            return f"{written(inner, depth + 1)}[{written(place, depth + 1)}]"
        case {"CaseExpr": _}:
            return "CASE …"
        case _:
            return "…"


def _written_constant(constant: Mapping[str, Any]) -> str:
    for kind in ("sval", "fval", "ival"):
        if kind in constant:
            value = constant[kind].get(kind, 0 if kind == "ival" else "")
            return f"'{str(value)[:20]}'" if kind == "sval" else str(value)
    return "…"
