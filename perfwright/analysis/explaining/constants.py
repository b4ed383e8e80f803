"""Texts without values, with the values of a real call in them again: on the host where those are kept."""

import re

from perfwright.analysis.explaining.sql_texts import UnsendableText, quoted_literal
from perfwright.analysis.masking.statement_texts import shown_statement
from perfwright.analysis.statements.parsing import Unreadable, normalized_text, syntax_tree
from perfwright.analysis.statements.tree import TooDeep, places
from perfwright.models.query_advice import RewriteCandidate
from perfwright.models.statement import StatementSample

_PLACEHOLDER = re.compile(rb"\$(\d{1,5})\b")


def with_values(candidate: RewriteCandidate, sample: StatementSample) -> RewriteCandidate | None:
    """Original and rewrite as they would be written with the constants and parameters of the sample; None where those cannot be told."""
    if shown_statement(sample.text, "postgresql") != candidate.original:
        return None
    try:
        written = _written(sample)
    except (Unreadable, TooDeep, UnsendableText, IndexError):
        return None
    if written is None:
        return None
    texts = {field: _filled(getattr(candidate, field), written) for field in ("original", "rewritten")}
    if None in texts.values():
        return None
    return candidate.model_copy(update=texts | {"sample": sample.model_copy(update={"text": texts["original"], "parameters": ()})})


def _written(sample: StatementSample) -> dict[int, bytes] | None:
    """`$n` of the normalized text -> what the sample has there: what is between two of them is in both, and ends before a constant."""
    text, normal = sample.text.encode(), normalized_text(sample.text).encode()
    found = {int(one.value.get("location", 0)): one for one in places(syntax_tree(sample.text)) if one.key in ("A_Const", "ParamRef")}
    parts = _PLACEHOLDER.split(normal)
    between, numbers = parts[::2], [int(number) for number in parts[1::2]]
    if not normal or not text.startswith(between[0]) or not text.endswith(between[-1]):
        return None
    at = len(between[0])
    written: dict[int, bytes] = {}
    for number, behind in zip(numbers, between[1:-1] + [None], strict=True):
        if at not in found:
            return None
        if behind is None:
            end = following = len(text) - len(between[-1])
        else:
            ends = (place - len(behind) for place in sorted(found) if place - len(behind) > at)
            end = next((one for one in ends if text[one : one + len(behind)] == behind), -1)
            following = end + len(behind)
        if end <= at:
            return None
        if found[at].key == "ParamRef":
            written[number] = quoted_literal(sample.parameters[int(found[at].value.get("number", 0)) - 1]).encode()
        else:
            written[number] = text[at:end]
        at = following
    return written


def _filled(text: str, written: dict[int, bytes]) -> str | None:
    """A text without values has no quotes in which `$1` could stand for something else."""
    if "'" in text or any(int(number) not in written for number in _PLACEHOLDER.findall(text.encode())):
        return None
    return _PLACEHOLDER.sub(lambda found: written[int(found[1])], text.encode()).decode()
