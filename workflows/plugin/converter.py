"""The payload converter: pydantic's, guarded against what people send.

The SDK drops a signal whose payload a converter refuses, and fails the workflow task of a start for ever (temporal.md, 6). So inside
workflow code, for what comes from outside, a payload that cannot be read becomes an `Unreadable` instead of an exception; the
interceptors find it and answer. What our own activities and children return is not guarded: there an exception is right, the
workflow task is retried and heals with the worker that understands the older or newer shape.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import pydantic_core
from pydantic import BaseModel, ValidationError
from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter, PydanticPayloadConverter
from temporalio.converter import DataConverter, SerializationContext, WorkflowSerializationContext

from workflows.plugin.mistakes import cut, describe_mistakes, one_line

JSON_ENCODING = b"json/plain"
NULL_ENCODING = b"binary/null"
_JSON_NULL = Payload(metadata={"encoding": JSON_ENCODING}, data=b"null")


@dataclasses.dataclass(frozen=True)
class Unreadable:
    """Stands where a payload from outside could not be read, and says why."""

    mistakes: tuple[str, ...]


class UnreadablePayload(ValueError):
    """A payload that is not what was asked for: one line per mistake, without the values pydantic would print."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__(one_line(mistakes))
        self.mistakes = tuple(mistakes)


class ModelJsonConverter(PydanticJSONPlainPayloadConverter):
    """JSON for pydantic models, with their own validators: no `TypeAdapter` is built per run, which the SDK's converter does."""

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        try:
            if type_hint is None or type_hint is Any:
                return pydantic_core.from_json(payload.data)
            if isinstance(type_hint, type) and issubclass(type_hint, BaseModel):
                return type_hint.model_validate_json(payload.data)
            return super().from_payload(payload, type_hint)
        except ValidationError as e:
            raise UnreadablePayload(describe_mistakes(e, type_hint)) from None


class GuardedConverter(PydanticPayloadConverter):
    """Pydantic's payload converter with `ModelJsonConverter`; guards what comes to a workflow from outside."""

    def __init__(self) -> None:
        super().__init__()
        self._set_converters(*(ModelJsonConverter() if c.encoding == "json/plain" else c for c in self.converters.values()))
        self._guards = True
        self._other: GuardedConverter | None = None

    def with_context(self, context: SerializationContext) -> "GuardedConverter":
        """Guarded for the workflow's own messages; not for activities and, inside a running workflow, not for other workflows."""
        if isinstance(context, WorkflowSerializationContext) and not workflow.in_workflow():
            return self
        if self._other is None:
            self._other = GuardedConverter.__new__(GuardedConverter)
            self._other.converters = self.converters
            self._other._guards = False
            self._other._other = self._other
        return self._other

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        if not self._guards or not workflow.unsafe.in_sandbox():
            return super().from_payloads(payloads, type_hints)
        hints: Sequence[Any] = type_hints if type_hints and len(type_hints) == len(payloads) else [None] * len(payloads)
        return [self._guarded(payload, hint) for payload, hint in zip(payloads, hints, strict=True)]

    def _guarded(self, payload: Payload, hint: Any) -> Any:
        if hint is RawValue:
            return RawValue(payload)
        encoding = payload.metadata.get("encoding", b"")
        if encoding == NULL_ENCODING:
            payload = _JSON_NULL
        elif encoding != JSON_ENCODING:
            told = cut(encoding.decode("utf-8", "replace"), 60) or "none"
            return Unreadable((f"payload encoding {told} is not accepted; json/plain is",))
        try:
            return self.converters[JSON_ENCODING].from_payload(payload, hint)
        except UnreadablePayload as e:
            return Unreadable(e.mistakes)
        except Exception as e:  # whatever a payload provokes, it must not fail the workflow task
            return Unreadable((f"not readable as JSON ({cut(str(e), 200)})",))


def guarded_data_converter(existing: DataConverter | None) -> DataConverter:
    """The data converter with the guarded payload converter in it; a codec that encrypts payloads is kept."""
    if existing is None:
        return DataConverter(payload_converter_class=GuardedConverter)
    if existing.payload_converter_class is GuardedConverter:
        return existing
    return dataclasses.replace(existing, payload_converter_class=GuardedConverter)
