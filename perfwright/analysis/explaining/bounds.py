"""Bounds of what is handed back: a result crosses the workflow boundary, so it stays small however many statements there are."""

from perfwright.models.query_advice import TriedAdvice
from perfwright.models.query_performance import ExplainOutcome, VerifiedRewrite
from perfwright.models.query_steps import CostlyStatement, ExplainedStatements

REASON_CHARACTERS = 300
SHORTER = ((60, 200, 50), (20, 60, 10), (8, 20, 5))
"""Characters of reasons and of costly texts, and warnings told: where there are very many. Whole reasons are in the plan set."""
COSTLY_AT_MOST = 100
COSTLY_CHARACTERS = 200
WARNINGS_AT_MOST = 50
REJECTED_TEXT_CHARACTERS = 1_000
"""Of rewrites that are not offered."""
WHAT_IFS_AT_MOST = 300
EXPLAINED_BYTES = 128 * 1024
"""Of 256 KiB that the project allows itself for one payload (Temporal refuses 2 MiB): the next steps get it beside their own input."""
RESULT_BYTES = 192 * 1024
"""Of what became of advice, as an artifact."""


def shortened(text: str, characters: int = REASON_CHARACTERS) -> str:
    """On one line, at most so long."""
    line = " ".join(text.split())
    return line if len(line) <= characters else f"{line[: characters - 1]}…"


def bounded(result: ExplainedStatements) -> ExplainedStatements:
    """The same, with no outcome lost: reasons and texts are shortened, and of very many costly statements the costliest are listed."""
    costly = sorted(result.costly, key=lambda one: -one.cost)
    warnings = [shortened(text) for text in dict.fromkeys(result.warnings)]
    if len(costly) > COSTLY_AT_MOST:
        warnings.insert(0, f"{len(costly)} statements are over the cost ceiling; the {COSTLY_AT_MOST} costliest are listed")
    if len(warnings) > WARNINGS_AT_MOST:
        warnings = [*warnings[: WARNINGS_AT_MOST - 1], f"and {len(warnings) - WARNINGS_AT_MOST + 1} more warnings"]
    kept = result.model_copy(
        update={
            "outcomes": _with_reasons(result.outcomes, REASON_CHARACTERS),
            "costly": tuple(_with_text(one, COSTLY_CHARACTERS) for one in costly[:COSTLY_AT_MOST]),
            "warnings": tuple(warnings),
        }
    )
    for reasons, texts, told in SHORTER:
        if len(kept.model_dump_json().encode()) > EXPLAINED_BYTES:
            kept = kept.model_copy(
                update={
                    "outcomes": _with_reasons(kept.outcomes, reasons),
                    "costly": tuple(_with_text(one, texts) for one in kept.costly),
                    "warnings": kept.warnings[:told],
                }
            )
    return kept


def bounded_advice(tried: TriedAdvice) -> TriedAdvice:
    """The same: texts of rewrites that are not offered are shortened, and of offered ones as many are whole as fit, the fastest first."""
    warnings = [shortened(text) for text in dict.fromkeys(tried.warnings)]
    what_ifs = tried.what_ifs[:WHAT_IFS_AT_MOST]
    if len(tried.what_ifs) > WHAT_IFS_AT_MOST:
        warnings.append(f"{len(tried.what_ifs) - WHAT_IFS_AT_MOST} more what-if plans are not listed")
    room = RESULT_BYTES - len(TriedAdvice(what_ifs=what_ifs, warnings=tuple(warnings)).model_dump_json().encode())
    rewrites: dict[int, VerifiedRewrite] = {}
    for number in sorted(range(len(tried.rewrites)), key=lambda number: _rank(tried.rewrites[number])):
        one = tried.rewrites[number]
        if one.outcome != "faster":
            one = _with_short_texts(one)
        if len(one.model_dump_json().encode()) > room:
            one = _with_short_texts(one)
        rewrites[number] = one
        room -= len(one.model_dump_json().encode())
    return TriedAdvice(
        what_ifs=what_ifs, rewrites=tuple(rewrites[number] for number in sorted(rewrites)), warnings=tuple(warnings[:WARNINGS_AT_MOST])
    )


def _rank(rewrite: VerifiedRewrite) -> tuple[bool, float]:
    return rewrite.outcome != "faster", rewrite.ratio or 1.0


def _with_short_texts(rewrite: VerifiedRewrite) -> VerifiedRewrite:
    texts = {field: shortened(getattr(rewrite, field), REJECTED_TEXT_CHARACTERS) for field in ("original", "rewritten")}
    return rewrite.model_copy(update=texts | {"reason": shortened(rewrite.reason)})


def _with_reasons(outcomes: tuple[ExplainOutcome, ...], characters: int) -> tuple[ExplainOutcome, ...]:
    return tuple(one.model_copy(update={"reason": shortened(one.reason, characters)}) for one in outcomes)


def _with_text(costly: CostlyStatement, characters: int) -> CostlyStatement:
    return costly.model_copy(update={"text": shortened(costly.text, characters)})
