"""Which values a statement is explained with: the median sample, or all of them where values seem to make a difference."""

from collections.abc import Sequence
from dataclasses import dataclass

from perfwright.analysis.explaining.sql_texts import placeholders_in, shape_of
from perfwright.models.statement import STATEMENT_CHARACTERS, Statement, StatementSample

SKEW_FACTOR = 4.0
"""Durations or planned costs of samples that differ by this much are looked at one by one. Twice the 2 that a busy server's own noise
reaches (identical work drifted by up to a half either way), far below the 10 from which estimates are called wrong."""


@dataclass(frozen=True)
class Call:
    """What is sent: a complete text, or one with `$n` and their values."""

    text: str
    parameters: tuple[str | None, ...] | None = None
    """None: the text is complete."""
    sample: StatementSample | None = None
    """None: the normalized text, without values."""
    same_shape: bool = True
    """The text is of the statement's fingerprint: what is known of the statement's safety holds for it."""


def calls_of(statement: Statement, *, standard_strings: bool = True) -> tuple[Call, ...]:
    """What can be sent with values, cheapest first; empty where only the normalized text is known.

    A normalized text without `$n` is complete: it had no values. Samples whose placeholders have no values are left out.
    `standard_strings`: the session's standard_conforming_strings; off, a backslash in quotes hides what follows from our parser.
    """
    calls = []
    for sample in statement.samples:
        wanted = placeholders_in(sample.text)
        if wanted <= len(sample.parameters):
            calls.append(_call(statement, sample, sample.parameters if wanted else None, standard_strings))
    if not calls and len(statement.text) < STATEMENT_CHARACTERS and not placeholders_in(statement.text):
        source = statement.sources[0] if statement.sources else "given"
        sample = StatementSample(text=statement.text, source=source, note="the statement has no values")
        calls.append(_call(statement, sample, None, standard_strings))
    return tuple(calls)


def _call(statement: Statement, sample: StatementSample, parameters: tuple[str | None, ...] | None, standard_strings: bool) -> Call:
    same_shape = shape_of(sample.text) == statement.fingerprint and (standard_strings or "\\" not in sample.text)
    return Call(sample.text, parameters, sample, same_shape)


def median_index(count: int) -> int:
    """Of `count` samples, cheapest first: the middle one, of two the worse."""
    return count // 2


def skewed(durations_ms: Sequence[float | None], costs: Sequence[float]) -> bool:
    """Whether the samples' durations, or the costs of their plans, differ by SKEW_FACTOR or more; unknown and zero values tell nothing."""
    return any(known and max(known) >= SKEW_FACTOR * min(known) for known in ([v for v in values if v] for values in (durations_ms, costs)))


def chosen(count: int, parameter_sets: int, *, skew: bool) -> tuple[int, ...]:
    """Which of `count` samples (cheapest first) are examined: the median; with skew the worst as well, then the cheapest, in order."""
    if not count:
        return ()
    wanted = dict.fromkeys((median_index(count), count - 1, 0))
    return tuple(sorted(list(wanted)[: parameter_sets if skew else 1]))
