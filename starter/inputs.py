"""From what a person wrote to a checked request: `--set field=value`, a JSON object, keyword arguments.

Every mistake is told at once, in the words that a worker would use for the same input.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from perfwright.models.registry import Registry
from starter.catalogue import ProcessEntry
from starter.refusals import InvalidRequest, nearest
from workflows.plugin.mistakes import describe_mistakes

MAX_CHARACTERS = 200_000
"""Of an input: it is kept in the run's history, whose payloads are bounded."""
MAX_DEPTH = 8


def read_assignments(words: Sequence[str], mistakes: list[str]) -> dict[str, Any]:
    """`["duration_s=10", "workload.command=[\\"make\\"]"]` as an object; a value is JSON where it parses as such, else text."""
    given: dict[str, Any] = {}
    for word in words:
        path, equals, text = word.partition("=")
        parts = path.strip().split(".")
        if not equals or not all(parts) or len(parts) > MAX_DEPTH:
            mistakes.append(f"--set {word[:60]}: field=value is needed, such as duration_s=10")
            continue
        place = given
        for part in parts[:-1]:
            inner = place.setdefault(part, {})
            if not isinstance(inner, dict):
                mistakes.append(f"--set {word[:60]}: {part} is set to a value already")
                break
            place = inner
        else:
            if parts[-1] in place:
                mistakes.append(f"{path}: set twice")
            place[parts[-1]] = _value(text)
    return given


def read_object(text: str, source: str) -> dict[str, Any]:
    """A JSON object; raises InvalidRequest."""
    if len(text) > MAX_CHARACTERS:
        raise InvalidRequest(source, [f"at most {MAX_CHARACTERS:,} characters are allowed (got {len(text):,})"])
    try:
        given = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InvalidRequest(source, [f"not JSON: {error}"]) from None
    if not isinstance(given, dict):
        raise InvalidRequest(source, ["a JSON object is needed"])
    return given


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`, objects field by field."""
    out = dict(below)
    for name, value in above.items():
        lower = out.get(name)
        out[name] = merged(lower, value) if isinstance(lower, dict) and isinstance(value, dict) else value
    return out


def build_request(
    process: ProcessEntry, given: Mapping[str, Any], *, registry: Registry | None = None, mistakes: Sequence[str] = ()
) -> BaseModel:
    """The request, checked by its model and, where a registry is at hand, its target by name; raises InvalidRequest."""
    told = list(mistakes)
    request = None
    try:
        request = process.request.model_validate_json(json.dumps(dict(given), default=_plain))
    except ValidationError as error:
        told += describe_mistakes(error, process.request)
    except (TypeError, ValueError, RecursionError) as error:
        told.append(f"input: cannot be written as JSON: {str(error)[:200]}")
    target = given.get("target")
    if (
        registry is not None
        and isinstance(target, str)
        and target not in registry.targets
        and not any(m.startswith("target:") for m in told)
    ):
        told.append(f'target: the registry here names no "{target[:63]}"{nearest(target, registry.targets)}')
    if told or request is None:
        raise InvalidRequest(process.name, told, way_out=f"`perfwright describe {process.name}` shows its inputs")
    return request


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return text


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} is no JSON value")
