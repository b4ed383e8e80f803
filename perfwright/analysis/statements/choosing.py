"""Which statements are examined, and how they are told in a result."""

from dataclasses import dataclass

from perfwright.models.query_performance import QueryPerformanceRequest, StatementSummary
from perfwright.models.statement import Statement, StatementTable

MOST_CHOSEN = 500
SUMMARY_CHARACTERS = 1_500
REASON_CHARACTERS = 300


@dataclass(frozen=True)
class Choice:
    """What would be examined."""

    fingerprints: tuple[str, ...]
    """By share of time."""
    unknown: tuple[str, ...] = ()
    """Asked for by `add_fingerprints` and not seen."""
    share: float = 0.0
    """Of all time, 0 to 1."""


def choose(table: StatementTable, request: QueryPerformanceRequest) -> Choice:
    """The first `top` statements with at least `min_share` of the time, what `add_fingerprints` asks for, and all given SQL, without what
    `drop_fingerprints` names.

    Statements that have no plan (BEGIN, SET) take no place among the first: they are examined only when they were given or asked for.
    At most MOST_CHOSEN: given ones first, then those asked for, then by time.
    """
    everything = {one.fingerprint: one for one in (*table.statements, *table.unreadable)}
    dropped = set(request.drop_fingerprints)
    wanted: dict[str, None] = {name: None for name, one in everything.items() if "given" in one.sources}
    wanted |= {name: None for name in request.add_fingerprints if name in everything}
    first = [one for one in table.statements if one.share >= request.min_share and one.share > 0 and one.kind != "utility"]
    wanted |= {one.fingerprint: None for one in first[: request.top]}
    kept = [name for name in wanted if name not in dropped][:MOST_CHOSEN]
    ordered = sorted(kept, key=lambda name: (-everything[name].share, -everything[name].total_ms, name))
    return Choice(
        fingerprints=tuple(ordered),
        unknown=tuple(name for name in request.add_fingerprints if name not in everything),
        share=min(1.0, sum(everything[name].share for name in ordered)),
    )


def summary_of(statement: Statement, *, characters: int = SUMMARY_CHARACTERS) -> StatementSummary:
    """As a result carries it: texts shortened."""
    return StatementSummary(
        fingerprint=statement.fingerprint,
        text=_shortened(statement.text, characters),
        kind=statement.kind,
        safety=statement.safety,
        calls=statement.calls,
        total_ms=statement.total_ms,
        mean_ms=statement.mean_ms,
        p99_ms=statement.p99_ms,
        rows=statement.rows,
        blocks=statement.shared_hit_blocks + statement.shared_read_blocks,
        temp_written_blocks=statement.temp_written_blocks,
        share=statement.share,
        sources=statement.sources,
        not_explainable=_shortened(statement.not_explainable, REASON_CHARACTERS),
    )


def summaries(table: StatementTable, *, most: int, most_bytes: int) -> tuple[StatementSummary, ...]:
    """Of the first `most` statements, the unreadable ones among them, in at most `most_bytes` of JSON: the longest texts give way."""
    costliest = sorted((*table.statements, *table.unreadable), key=lambda one: (-one.share, -one.total_ms, one.fingerprint))[:most]
    characters = SUMMARY_CHARACTERS
    while True:
        found = tuple(summary_of(one, characters=characters) for one in costliest)
        if characters <= 1 or sum(len(one.model_dump_json().encode()) for one in found) <= most_bytes:
            return found
        characters //= 2


def _shortened(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[: max(characters - 1, 0)]}…"
