"""Artifacts between the steps of a query analysis come back as they were, or are refused with a reason."""

import gzip

import pytest

from perfwright.analysis.statements import stored
from perfwright.analysis.statements.stored import DocumentTooLarge, decode, encode
from perfwright.models.database import Catalog, ColumnFacts, DatabaseFacts, TableFacts
from perfwright.models.query_performance import ExplainOutcome
from perfwright.models.query_steps import PlanSet, StatementPlans, TakenPlan
from perfwright.models.statement import (
    LogDigest,
    LoggedStatement,
    ObservedWindow,
    ServerCounters,
    Statement,
    StatementSample,
    StatementTable,
)
from perfwright.models.vocabulary import Model

SAMPLE = StatementSample(text="SELECT 'ü', $1", parameters=(None, "a\nb"), duration_ms=1.5, source="log")
MODELS: list[Model] = [
    ObservedWindow(
        seconds=60,
        started_at="2026-03-01T10:00:00+00:00",
        source="pg_stat_statements",
        statements=(ServerCounters(query_id="-7", text="SELECT $1", calls=2, total_ms=0.25),),
    ),
    LogDigest(
        statements=(
            LoggedStatement(
                fingerprint="a" * 16, text="SELECT 1", calls=1, total_ms=1.0, samples=(SAMPLE,), plans=({"Plan": {"Rows": 1.5}},)
            ),
        )
    ),
    Catalog(
        database="shop",
        tables=(TableFacts(schema_name="public", name="t", columns=(ColumnFacts(name="c", type="integer"),)),),
        views={"public.v": "SELECT 1;"},
    ),
    StatementTable(statements=(Statement(fingerprint="a" * 16, text="SELECT $1", samples=(SAMPLE,)),), total_ms=1.0, seconds=60.0),
    PlanSet(
        database=DatabaseFacts(system="postgresql", version="15.1", version_number=150001, database="shop"),
        statements=(
            StatementPlans(
                fingerprint="a" * 16,
                outcome=ExplainOutcome(fingerprint="a" * 16, mode="analyzed"),
                plans=(TakenPlan(sample=SAMPLE, mode="analyzed", plan={"Plan": {"Node Type": "Result", "Plans": [{}]}}),),
            ),
        ),
    ),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_comes_back_as_it_was(model: Model) -> None:
    """What is stored reads back equal, and equal models give equal bytes."""
    assert decode(type(model), encode(model)) == model
    assert encode(model) == encode(model.model_copy())


@pytest.mark.parametrize(
    "data",
    [b"", b"no gzip", gzip.compress(b"{}"), gzip.compress(b"[1"), encode(MODELS[3])[:-9], encode(MODELS[3])[:30]],
    ids=["nothing", "no gzip", "another document", "no JSON", "no end", "cut off"],
)
def test_what_is_none_is_refused(data: bytes) -> None:
    """Bytes that are no such document raise ValueError that names the model, not another error."""
    with pytest.raises(ValueError, match="StatementTable"):
        decode(StatementTable, data)


def test_size_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A document that would not fit into memory is refused before it is unpacked, and not written either."""
    bomb = gzip.compress(b" " * 2_000_000)
    monkeypatch.setattr(stored, "MAX_DECODED_BYTES", 1_000_000)
    with pytest.raises(DocumentTooLarge):
        decode(StatementTable, bomb)
    with pytest.raises(DocumentTooLarge):
        encode(StatementTable(statements=(Statement(fingerprint="a" * 16, text="x" * 1_100_000),), total_ms=0, seconds=0))
