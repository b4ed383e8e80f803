"""From observed statements to texts that can be run as they stand, and to what share of the work each is."""

from collections.abc import Sequence
from dataclasses import dataclass

from perfwright.analysis.explaining.samples import calls_of, median_index
from perfwright.analysis.explaining.sql_texts import UnsendableText, placeholders_in, quoted_literal
from perfwright.analysis.statements.parsing import Unreadable, syntax_tree
from perfwright.analysis.statements.tree import TooDeep, places
from perfwright.models.statement import Statement

READ, WRITTEN = ("reads only", "locks"), ("writes",)


@dataclass(frozen=True)
class RunnableStatement:
    """One statement of the workload, with values in it."""

    fingerprint: str
    shown: str
    """Normalized: without values."""
    text: str
    weight: float
    """What it takes in the window."""
    calls: int
    writes: bool


def runnable(statements: Sequence[Statement]) -> tuple[tuple[RunnableStatement, ...], tuple[tuple[str, str], ...]]:
    """Those that can be run on a clone, with the median of their sampled calls; and fingerprint and reason of the others.

    A statement weighs what it takes in the window. One that was only given weighs like the mean of those that were seen.
    """
    found: list[RunnableStatement] = []
    others: list[tuple[str, str]] = []
    seen = [one.total_ms for one in statements if one.total_ms > 0]
    usual = sum(seen) / len(seen) if seen else 1.0
    for one in statements:
        if one.safety not in (*READ, *WRITTEN):
            others.append((one.fingerprint, one.safety_reason or f"it is not run: {one.safety}"))
        elif (text := _text(one)) is None:
            others.append((one.fingerprint, one.not_explainable or "no call with its values is known"))
        else:
            found.append(RunnableStatement(one.fingerprint, one.title, text, one.total_ms or usual, one.calls or 1, one.safety in WRITTEN))
    return tuple(found), tuple(others)


def _text(statement: Statement) -> str | None:
    calls = [call for call in calls_of(statement) if call.same_shape]
    if not calls:
        return None
    call = calls[median_index(len(calls))]
    try:
        return call.text if call.parameters is None else with_parameters(call.text, call.parameters)
    except (Unreadable, TooDeep, UnsendableText, IndexError):
        return None


def with_parameters(text: str, parameters: Sequence[str | None]) -> str:
    """The text with its `$n` written as literals, whose types the server finds as it would find those of the parameters.

    Raises Unreadable, TooDeep, UnsendableText, and IndexError where there are fewer parameters than placeholders.
    """
    if not placeholders_in(text):
        return text
    written = text.encode()
    found = sorted(
        (
            (int(one.value.get("location", 0)), int(one.value.get("number", 0)))
            for one in places(syntax_tree(text))
            if one.key == "ParamRef"
        ),
        reverse=True,
    )
    for at, number in dict(found).items():
        end = at + len(f"${number}")
        written = written[:at] + quoted_literal(parameters[number - 1]).encode() + written[end:]
    return written.decode()


def busiest_role(statements: Sequence[Statement]) -> str:
    """Whose sessions they are for the most time, as far as the server tells; empty where it does not."""
    spent: dict[str, float] = {}
    for one in statements:
        for role in one.roles:
            spent[role] = spent.get(role, 0.0) + one.total_ms / len(one.roles)
    return max(spent, key=lambda role: (spent[role], role), default="")
