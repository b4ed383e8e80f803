"""The inputs of a process as rows for people: name, what is allowed, default, meaning; made from its JSON Schema."""

import json
from dataclasses import dataclass
from typing import Any

from starter.catalogue import ProcessEntry

UNITS = {"_s": "seconds", "_ms": "milliseconds", "_hz": "per second", "_bytes": "bytes", "_share": "fraction of one"}


@dataclass(frozen=True)
class InputRow:
    """One field of a request."""

    name: str
    allowed: str
    default: str
    """As JSON; `needed` where there is none."""
    unit: str
    meaning: str
    inner: tuple["InputRow", ...] = ()
    """The fields of an object."""


def input_rows(process: ProcessEntry) -> list[InputRow]:
    """The fields of the request, in their order."""
    schema = process.request.model_json_schema()
    return list(_rows(schema, schema.get("$defs", {}), depth=2))


def example(process: ProcessEntry) -> dict[str, Any]:
    """An input that is accepted where a target has that name: every field that has a default, with it; needed ones with their example."""
    properties = process.request.model_json_schema()["properties"]
    given = {name: field["default"] for name, field in properties.items() if field.get("default") is not None}
    needed = {name: field["examples"][0] for name, field in properties.items() if field.get("examples")}
    return {"target": "shop"} | needed | given


def _rows(schema: dict[str, Any], definitions: dict[str, Any], depth: int) -> tuple[InputRow, ...]:
    needed = schema.get("required", [])
    return tuple(_row(name, field, definitions, name in needed, depth) for name, field in schema.get("properties", {}).items())


def _row(name: str, field: dict[str, Any], definitions: dict[str, Any], needed: bool, depth: int) -> InputRow:
    default = "needed" if needed else json.dumps(field["default"]) if field.get("default") is not None else "-"
    inner: tuple[InputRow, ...] = ()
    for option in field.get("anyOf", [field]):
        target = definitions.get(option.get("$ref", "").rpartition("/")[2])
        if target is not None and "properties" in target and depth > 1:
            inner = _rows(target, definitions, depth - 1)
    unit = next((told for ending, told in UNITS.items() if name.endswith(ending)), "")
    return InputRow(name, _allowed(field, definitions), default, unit, field.get("description", "").replace("\n", " "), inner)


def _allowed(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "anyOf" in field:
        options = [_allowed(option, definitions) for option in field["anyOf"] if option.get("type") != "null"]
        return " or ".join(dict.fromkeys(options))
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        target = definitions.get(name, {})
        if "properties" not in target:
            return _allowed(target, definitions)
        keys = target["properties"]
        return f"object ({', '.join(keys)})"
    if "enum" in field:
        return "one of " + ", ".join(str(word) for word in field["enum"])
    if "const" in field:
        return json.dumps(field["const"])
    kind = field.get("type", "anything")
    if kind in ("number", "integer"):
        return _range("whole number" if kind == "integer" else "number", field)
    if kind == "array":
        of = _allowed(field["items"], definitions) if isinstance(field.get("items"), dict) else "values"
        return f"list: {of}"
    if kind == "string" and (limit := field.get("maxLength")):
        return f"text, at most {limit:,} characters"
    return {"boolean": "true or false", "string": "text", "object": "object"}.get(kind, str(kind))


def _range(kind: str, field: dict[str, Any]) -> str:
    low, high = field.get("minimum", field.get("exclusiveMinimum")), field.get("maximum", field.get("exclusiveMaximum"))
    if low is None and high is None:
        return kind
    if high is None:
        return f"{kind}, at least {low:,g}"
    if low is None:
        return f"{kind}, at most {high:,g}"
    return f"{kind}, {low:,g} to {high:,g}" if high < 1e6 else f"{kind}, {low:,g} to {high:,.0f}"
