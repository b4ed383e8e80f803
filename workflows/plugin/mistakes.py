"""Pydantic's errors, said in one line each: the field, what is allowed, what came.

    duration_s: Input should be greater than or equal to 2 (got -1)
    durration_s: no such field; did you mean duration_s? (allowed: target, duration_s, rate_hz)
    target: missing

What came is cut to 60 characters and never shown where it may be a secret: these lines end in workflow histories.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from perfwright.models.vocabulary import NAME_IN_WORDS, NAME_PATTERN

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

SHOWN_CHARACTERS = 60
LISTED_MISTAKES = 20
LISTED_FIELDS = 40

_SECRET_NAME = re.compile(r"passw|secret|token|credential|api_?key|private|dsn|authorization|cookie", re.IGNORECASE)
_CREDENTIALS_IN_URL = re.compile(r"(://)[^\s/@]*@")
_FIELD = re.compile(r"^[a-z_][a-z0-9_]*$")
_TYPE_TAGS = frozenset({"str", "int", "float", "bool", "none", "dict", "list", "tuple", "set", "model", "nullable", "chain", "url"})
"""Names that pydantic puts into a location for a branch of a union; they are no fields."""
_IN_WORDS = {
    "too_short": "at least {min_length} needed",
    "too_long": "at most {max_length} allowed",
    "tuple_type": "a list is needed",
    "list_type": "a list is needed",
}
"""Where pydantic speaks of Python's types, or of what stands "after validation"."""


def shown(value: object, name: str = "") -> str:
    """A value for a message: one line, at most 60 characters, nothing that may be a secret."""
    if _SECRET_NAME.search(name):
        return "(not shown)"
    if isinstance(value, (str, bytes)):
        value = value[: SHOWN_CHARACTERS * 4]
    elif isinstance(value, int) and abs(value) >= 10**SHOWN_CHARACTERS:
        return f"an integer of {value.bit_length()} bits"
    elif isinstance(value, (Mapping, Sequence, BaseModel)):
        size = f" of {len(value)}" if isinstance(value, (Mapping, Sequence)) else ""
        return f"{_json_type(value)}{size}"
    text = _CREDENTIALS_IN_URL.sub(r"\1…@", repr(value))
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def _json_type(value: object) -> str:
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if isinstance(value, Sequence) else f"a {type(value).__name__}"


def describe_mistakes(error: ValidationError, model: object = None) -> list[str]:
    """All mistakes, one line each, at most twenty; `model` is the type that was asked for, to name the fields it has."""
    lines: dict[str, None] = {}
    mistakes = error.errors(include_url=False, include_context=True)
    places = [_place(mistake["loc"]) for mistake in mistakes]
    for mistake, where in zip(mistakes, places, strict=True):
        if _only_follows(mistake, where, mistakes, places):
            continue
        name = where or (model.__name__ if isinstance(model, type) else "input")
        what = _IN_WORDS[mistake["type"]].format_map(mistake.get("ctx", {})) if mistake["type"] in _IN_WORDS else mistake["msg"]
        what = what.removeprefix("Value error, ").removeprefix("Assertion failed, ")[:300]
        if mistake["type"] == "missing":
            lines[f"{name}: missing"] = None
        elif mistake["type"] == "extra_forbidden":
            lines[f"{name}: {_no_such_field(str(mistake['loc'][-1]), mistake['loc'], model)}"] = None
        elif mistake["type"] == "string_pattern_mismatch" and mistake["ctx"]["pattern"] == NAME_PATTERN:
            lines[f"{name}: a name is needed: {NAME_IN_WORDS} (got {shown(mistake['input'], name)})"] = None
        elif mistake["type"] in ("value_error", "assertion_error"):
            lines[what if where and what.startswith(where) else f"{name}: {what}"] = None
        else:
            lines[f"{name}: {what} (got {shown(mistake['input'], name)})"] = None
    told = list(lines)
    if len(told) > LISTED_MISTAKES:
        told[LISTED_MISTAKES:] = [f"and {len(told) - LISTED_MISTAKES} more mistakes"]
    return told


def _only_follows(mistake: "ErrorDetails", where: str, mistakes: Sequence["ErrorDetails"], places: Sequence[str]) -> bool:
    """What no one need be told beside another line: that a text is no object where it is a text that is wrong, that an object is no text
    where a field of it is what is wrong, and that a list is too short where its items are what was refused."""
    if mistake["type"] in ("model_type", "model_attributes_type") and isinstance(mistake["input"], str):
        return any(there == where and other["type"].startswith("string_") for other, there in zip(mistakes, places, strict=True))
    if mistake["type"] == "string_type" and isinstance(mistake["input"], Mapping):
        return any(there.startswith(f"{where}.") for there in places)
    return mistake["type"] == "too_short" and any(there.startswith(f"{where}[") for there in places)


def _place(location: Sequence[str | int]) -> str:
    """`target.process.pid`, `passes[1]`: the location without the names of union branches and validators."""
    place = ""
    for part in location:
        if isinstance(part, int):
            place += f"[{part}]"
        elif (_FIELD.match(part) and part not in _TYPE_TAGS) or not _is_tag(part):
            place += f".{part[:SHOWN_CHARACTERS]}" if place else part[:SHOWN_CHARACTERS]
    return place


def _is_tag(part: str) -> bool:
    return part in _TYPE_TAGS or "[" in part or "-" in part or part[:1].isupper()


def _no_such_field(field: str, location: Sequence[str | int], model: object) -> str:
    allowed = list(_fields_at(model, location[:-1]))
    if not allowed:
        return "no such field"
    near = difflib.get_close_matches(field, allowed, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    more = ", …" if len(allowed) > LISTED_FIELDS else ""
    return f"no such field{hint} (allowed: {', '.join(allowed[:LISTED_FIELDS])}{more})"


def _fields_at(model: object, location: Sequence[str | int]) -> tuple[str, ...]:
    """The fields of the model that stands at a location; empty where it cannot be told."""
    candidates = _models_in(model)
    for part in location:
        if isinstance(part, int) or _is_tag(part):
            narrowed = [m for m in candidates if m.__name__ == part]
            candidates = narrowed or candidates
            continue
        candidates = [inner for m in candidates if part in m.model_fields for inner in _models_in(m.model_fields[part].annotation)]
    return tuple(candidates[0].model_fields) if candidates else ()


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]


def one_line(mistakes: Sequence[str], limit: int = 1_500) -> str:
    """The mistakes in one bounded message."""
    text = "; ".join(mistakes)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def cut(value: Any, limit: int) -> str:
    """Anything as bounded text, also what cannot be printed."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except Exception as e:  # a repr may fail: an integer of more than 4300 digits does
        text = f"(not printable: {type(e).__name__})"
    text = _CREDENTIALS_IN_URL.sub(r"\1…@", text[: limit * 2])
    return text if len(text) <= limit else text[: limit - 1] + "…"
