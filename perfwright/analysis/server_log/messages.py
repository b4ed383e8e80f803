"""What the messages of the log say: parameters, plans, and times of the day.

Forms: src/backend/tcop/postgres.c (`check_log_duration`, `errdetail_params`), contrib/auto_explain/auto_explain.c.
"""

import re
from dataclasses import dataclass

import msgspec

PARAMETERS = "parameters: "
"""Of the detail; version 16 and later write it with a capital."""
_PARAMETER = re.compile(r"\$(\d+) = (?:NULL|'((?:[^']|'')*)')(?:, |$)")
_CUT = "..."
"""log_parameter_max_length cuts values and ends them with this."""
_TEXT_PLAN = re.compile(r"^\S.*  \(cost=\d+\.\d+\.\.\d+\.\d+ rows=\d+ width=\d+\)", re.MULTILINE)
_QUERY_TEXT, _QUERY_PARAMETERS = "Query Text: ", "\nQuery Parameters: "
_FOREIGN_DURATION = re.compile(r"[^\W\d][^:\d\n]{1,30}: \d+[.,]\d{3} ms\b")


class _PlanDocument(msgspec.Struct):
    """auto_explain's JSON. The plan itself is looked at only by those who keep it."""

    text: str = msgspec.field(name="Query Text", default="")
    parameters: str = msgspec.field(name="Query Parameters", default="")
    plan: msgspec.Raw = msgspec.field(name="Plan", default=msgspec.Raw(b""))


_PLAN_DOCUMENT = msgspec.json.Decoder(_PlanDocument)


@dataclass(frozen=True, slots=True)
class LoggedPlan:
    """A message of auto_explain."""

    text: str
    parameters: str = ""
    """As in a detail, without the word before."""
    document: str = ""
    """The JSON; empty where the plan is in another format."""


def plan_of(body: str) -> LoggedPlan | None:
    """What stands after `plan:`; None when it cannot be read at all."""
    if body.startswith("{"):
        try:
            document = _PLAN_DOCUMENT.decode(body.encode())
        except (msgspec.DecodeError, UnicodeEncodeError):
            return None
        if not document.text or not bytes(document.plan).startswith(b"{"):
            return None
        return LoggedPlan(document.text, document.parameters, body)
    if body.startswith(_QUERY_TEXT) and (plan := _TEXT_PLAN.search(body)):
        text, _, parameters = body[len(_QUERY_TEXT) : plan.start()].rstrip("\n").partition(_QUERY_PARAMETERS)
        return LoggedPlan(text, parameters)
    return None


def parameters_in_detail(detail: str) -> str:
    """`$1 = '5', $2 = NULL` of the detail of an execute; empty when it has none."""
    return detail[len(PARAMETERS) :] if detail[:1] in ("p", "P") and detail[1:].startswith(PARAMETERS[1:]) else ""


def parameter_values(told: str) -> tuple[str | None, ...] | None:
    """Values in order, None for NULL. None instead of a tuple when they are not all there: cut, or not from $1 on."""
    values: list[str | None] = []
    at = 0
    while at < len(told):
        found = _PARAMETER.match(told, at)
        if found is None or int(found[1]) != len(values) + 1:
            return None
        value = found[2]
        if value is not None:
            if value.endswith(_CUT):
                return None
            value = value.replace("''", "'")
        values.append(value)
        at = found.end()
    return tuple(values)


def millisecond_of_day(timestamp: str) -> float | None:
    """Of `2024-05-17 10:00:00.123 UTC`; None where the log tells no time."""
    try:
        return int(timestamp[11:13]) * 3_600_000 + int(timestamp[14:16]) * 60_000 + float(timestamp[17:23]) * 1_000
    except ValueError:
        return None


def in_other_language(message: str) -> bool:
    """Whether it looks like a duration in another language than English (`Dauer: 1,234 ms`)."""
    return _FOREIGN_DURATION.match(message) is not None
