"""From statements to a strategy: texts that run, indexes that people write, existing ones, guards of trials, verdicts."""

import math

import pytest

from perfwright.analysis.explaining.sql_texts import shape_of
from perfwright.analysis.indexes.existing import existing_indexes
from perfwright.analysis.indexes.given import NotTaken, read_definition
from perfwright.analysis.indexes.proposals import dropped, estimated_growth, measured_growth, write_effects
from perfwright.analysis.indexes.redundancy import IndexKey, IndexRow, ServerScans
from perfwright.analysis.indexes.statement_texts import RunnableStatement, busiest_role, runnable, with_parameters
from perfwright.analysis.indexes.strategy_findings import findings, recommendations
from perfwright.analysis.indexes.strategy_results import quality_gates, strategy_question, summary_of, trial_of, verdict_of
from perfwright.models.change import Change
from perfwright.models.database import Catalog, ColumnFacts, IndexFacts, TableFacts
from perfwright.models.index_strategy import (
    ExistingIndex,
    ExistingIndexes,
    IndexProposal,
    IndexStrategy,
    IndexStrategyRequest,
    IndexUse,
    QueryEffect,
    SearchFacts,
    TriedIndex,
    WriteEffect,
)
from perfwright.models.statement import Statement, StatementSample
from perfwright.models.target import Target
from perfwright.models.trial_run import QueriesMeasurement
from perfwright.models.undo import ChangeDescription

ORDERS = TableFacts(
    schema_name="public",
    name="orders",
    rows=100_000,
    inserted_rows=1_000,
    updated_rows=500,
    hot_updated_rows=500,
    columns=tuple(ColumnFacts(name=name, type="integer", average_width_bytes=4, distinct=-1) for name in ("id", "customer", "total")),
    indexes=(IndexFacts(name="orders_pkey", definition="", keys=("id",), bytes=60_000_000),),
)
CATALOG = Catalog(database="shop", tables=(ORDERS,))
TARGET = Target(name="shop-db", kind="postgresql", environment="lab", dsn_env="X")
REQUEST = IndexStrategyRequest(target="shop-db", write_growth_most=0.2)
CREATE = IndexProposal(
    title="orders(customer)",
    action="create",
    name="public.i",
    ddl="CREATE INDEX CONCURRENTLY i ON public.orders (customer)",
    bytes=2_000_000,
    helps=("a",),
)
DROP = IndexProposal(title="drop public.j", action="drop", name="public.j", ddl="DROP INDEX CONCURRENTLY public.j")
STRATEGY = IndexStrategy(
    proposals=(CREATE,),
    effects=(QueryEffect(fingerprint="a", text="q", ratio=0.1), QueryEffect(fingerprint="b", text="q", ratio=1.01)),
    writes=(
        WriteEffect(fingerprint="w", text="u", bytes_before=200, bytes_after=220),
        WriteEffect(fingerprint="x", text="u", bytes_before=0, bytes_after=0, note="refused"),
    ),
    write_growth=0.1,
    write_growth_source="measured",
    queries=3,
    kept_in="here",
    calls={"a": 10, "b": 1, "w": 5},
    readers={"public.orders": ("a", "c")},
)
KEPT = TriedIndex(proposal=CREATE, end="kept", ratio=0.1, reason="better")


def described(proposal: IndexProposal) -> ChangeDescription:
    change = Change(kind="sql", title=proposal.title, apply=proposal.ddl, undo="", risk="observe")
    return ChangeDescription(change=change, blast_radius="", cost="", survives_restart=True)


@pytest.mark.parametrize(
    ("text", "values", "written"),
    [
        ("SELECT 1", (), "SELECT 1"),
        ("SELECT * FROM t WHERE a = $1 AND b = $2 AND c = $1", ("7", "it's"), "SELECT * FROM t WHERE a = '7' AND b = 'it''s' AND c = '7'"),
        ("SELECT '$1', $1::int", ("3",), "SELECT '$1', '3'::int"),
        ("SELECT 'ä', $1, $10", (*"123456789", None), "SELECT 'ä', '1', NULL"),
    ],
)
def test_parameters_are_written_where_they_stand(text: str, values: tuple[str | None, ...], written: str) -> None:
    """By the parser's places, so that what only looks like a placeholder is left alone."""
    assert with_parameters(text, values) == written


def test_what_can_be_run_and_what_cannot() -> None:
    """Reads and writes with their values; functions with side effects and statements without values are told with the reason."""
    texts = {
        "SELECT 1 FROM t": Statement(fingerprint="", text="", kind="select", safety="reads only", total_ms=30, calls=3),
        "UPDATE t SET a = 1": Statement(fingerprint="", text="", kind="update", safety="writes", total_ms=10, calls=2),
        "SELECT nextval('s')": Statement(fingerprint="", text="", kind="select", safety="volatile", safety_reason="it calls nextval"),
        "SELECT 1 FROM t WHERE a = $1": Statement(fingerprint="", text="", kind="select", safety="reads only"),
        "SELECT 2 FROM u": Statement(fingerprint="", text="", kind="select", safety="reads only"),
    }
    statements = [one.model_copy(update={"text": text, "fingerprint": shape_of(text)}) for text, one in texts.items()]
    found, others = runnable(statements)
    assert [(one.text, one.weight, one.calls, one.writes) for one in found] == [
        ("SELECT 1 FROM t", 30, 3, False),
        ("UPDATE t SET a = 1", 10, 2, True),
        ("SELECT 2 FROM u", 20, 1, False),
    ]
    assert [reason for _, reason in others] == ["it calls nextval", "no call with its values is known"]


def test_values_of_a_sample_are_used() -> None:
    """Of a statement with placeholders, the call that was seen."""
    text = "SELECT 1 FROM t WHERE a = $1"
    sample = StatementSample(text=text, parameters=("7",), source="log")
    one = Statement(fingerprint=shape_of(text), text=text, kind="select", safety="reads only", samples=(sample,))
    assert runnable((one,))[0][0].text == "SELECT 1 FROM t WHERE a = '7'"


def test_clones_plan_like_the_role_that_spends_the_most_time() -> None:
    """Statements of several roles count for each of them in part; where the server names none, none is taken."""
    spent = ((("till",), 5.0), (("web", "till"), 3.0), (("web",), 5.5), ((), 90.0))
    statements = [Statement(fingerprint=str(at), text="", roles=roles, total_ms=ms) for at, (roles, ms) in enumerate(spent)]
    assert busiest_role(statements) == "web" and busiest_role(statements[:2]) == "till" and busiest_role(statements[3:]) == ""


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("CREATE INDEX ON orders (customer, total DESC) INCLUDE (id)", "orders(customer, total DESC) INCLUDE (id)"),
        ("create index concurrently foo on public.orders using btree (customer);", "orders(customer)"),
    ],
)
def test_an_index_that_a_person_writes(text: str, title: str) -> None:
    """As CREATE INDEX."""
    assert read_definition(text, CATALOG).title == title


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("DROP TABLE orders", "exactly one CREATE INDEX"),
        ("CREATE INDEX ON nowhere (a)", "no table nowhere"),
        ("CREATE INDEX ON orders (missing)", "no column missing"),
        ("CREATE INDEX ON orders (lower(customer))", "columns are tried only"),
        ("CREATE UNIQUE INDEX ON orders (customer)", "plain B-trees"),
        ("CREATE INDEX ON orders USING hash (customer)", "plain B-trees"),
        ("CREATE INDEX ON orders (customer) WHERE id > 3", "plain B-trees"),
    ],
)
def test_what_is_not_taken(text: str, reason: str) -> None:
    """With the reason, for the one who wrote it."""
    with pytest.raises(NotTaken, match=reason):
        read_definition(text, CATALOG)


def row(name: str, *keys: str, **more: object) -> IndexRow:
    definition = f"CREATE INDEX {name} ON public.orders USING btree ({', '.join(keys)})"
    found = tuple(IndexKey(expression=key, operator_class="int4_ops") for key in keys)
    return IndexRow(
        schema_name="public", table="orders", name=name, definition=definition, method="btree", keys=found, bytes=1_000, scans=0
    ).model_copy(update=more)


def test_existing_indexes_by_gravity() -> None:
    """Invalid, prefix, bloated; unused ones are not told while counters are young."""
    rows = (row("a", "customer"), row("b", "customer", "total"), row("broken", "total", valid=False))
    young = (ServerScans(server="one", counted_since="2026-01-30T00:00:00+00:00"),)
    found = existing_indexes(rows, young, 0, "2026-02-01T00:00:00+00:00", CATALOG)
    assert [(one.kind, one.name) for one in found.noted] == [
        ("invalid", "public.broken"),
        ("prefix", "public.a"),
        ("bloated", "public.orders_pkey"),
    ]
    assert "2 days only" in found.not_judged and found.indexes == 3
    proposed = dropped(found, REQUEST)
    assert [(one.action, one.name) for one in proposed] == [("remove invalid", "public.broken"), ("drop", "public.a")]
    assert proposed[1].keeper == "public.b" and "CREATE INDEX CONCURRENTLY" in proposed[1].undo
    assert not dropped(found, REQUEST.model_copy(update={"drop_redundant": False, "drop_invalid": False}))
    assert [one.name for one in dropped(found, REQUEST.model_copy(update={"leave_out": ("drop public.a",)}))] == ["public.broken"]


def test_what_does_the_work_of_a_redundant_one_is_not_unused() -> None:
    """The planner took the smaller of both until now."""
    there = {"there_since": "2025-11-30T00:00:00+00:00"}
    rows = (row("a", "customer", scans=1_000_000, **there), row("b", "customer", "total", **there), row("idle", "total", **there))
    scans = {"public.a": 1_000_000, "public.b": 0, "public.idle": 0}
    old = (ServerScans(server="one", counted_since="2025-11-30T00:00:00+00:00", scans=scans),)
    found = existing_indexes(rows, old, 0, "2026-02-01T00:00:00+00:00", CATALOG)
    assert [(one.kind, one.name) for one in found.noted if one.kind != "bloated"] == [("prefix", "public.a"), ("unused", "public.idle")]


class Wal:
    def __init__(self, size: int) -> None:
        self.records, self.bytes, self.updated, self.hot = 1, size, 1, 1


def test_what_writers_pay_is_weighed_by_calls() -> None:
    """Nine calls of one that pays nothing, one of another that pays double."""
    statements = [RunnableStatement(name, name, "", 1.0, calls, writes=True) for name, calls in (("a", 9), ("b", 1), ("c", 5))]
    effects = write_effects(statements, {"a": Wal(100), "b": Wal(100), "c": "refused"}, {"a": Wal(100), "b": Wal(200), "c": Wal(1)})
    assert measured_growth(statements, effects) == pytest.approx(0.1) and effects[2].note == "refused"
    assert measured_growth(statements[:0], ()) is None


def test_without_writes_of_known_values_the_counters_tell() -> None:
    """Inserts write an entry more each; heap-only updates do not."""
    growth, source = estimated_growth(CATALOG, [read_definition("CREATE INDEX ON orders (customer)", CATALOG)])
    assert source == "estimated" and growth == pytest.approx(64 / (60 + 12 + 64))
    assert estimated_growth(Catalog(database="x"), ()) == (0.0, "no writes")


def test_the_trial_of_a_create() -> None:
    """Its own queries and all whose plan changes, with the WAL of writes as a guard; approved by the digest of what was on show."""
    asked = trial_of(CREATE, described(CREATE), STRATEGY, REQUEST, TARGET, "p", "")
    assert isinstance(asked.measurement, QueriesMeasurement) and asked.measurement.weights == {"a": 10, "b": 0, "w": 5}
    assert [(one.metric, round(one.margin, 6)) for one in asked.guards] == [("wal_bytes", round(math.log(1.2), 6))]
    assert asked.metric == "wall_s" and asked.approved_digest == described(CREATE).digest and asked.wanted_effect == pytest.approx(0.45)
    assert [one.metric for one in asked.live_guards] == ["live_blocks", "live_ms", "live_rollbacks"] and asked.watch_s == min(
        REQUEST.watch_s, 600
    )


def test_the_trial_of_a_drop() -> None:
    """Bytes are its gain; the queries of the table have to be shown unharmed, all of them: the trial runs those that it concerns."""
    many = STRATEGY.model_copy(update={"readers": {"public.orders": tuple(f"q{number}" for number in range(120))}, "role": "till"})
    for strategy, readers in ((STRATEGY, {"a", "c"}), (many, set(many.readers["public.orders"]))):
        asked = trial_of(DROP, described(DROP), strategy, REQUEST, TARGET, "p", "public.orders")
        assert isinstance(asked.measurement, QueriesMeasurement) and set(asked.measurement.weights) == readers | {"w"}
        assert asked.metric == "bytes" and [one.metric for one in asked.guards] == ["wall_s"] and asked.measurement.role == strategy.role


def test_the_verdict() -> None:
    """Nothing to do is a pass; proposals of which none is kept decide nothing; a kept index that nobody uses fails."""
    good = quality_gates(REQUEST, STRATEGY, (KEPT,), (IndexUse(name="public.i", scans=3),))
    idle = quality_gates(REQUEST, STRATEGY, (KEPT,), (IndexUse(name="public.i", scans=0, watched_s=7_200),))
    undone = KEPT.model_copy(update={"end": "undone"})
    assert verdict_of(good, 1, (KEPT,)) == "passed" and verdict_of(idle, 1, (KEPT,)) == "failed"
    assert verdict_of(quality_gates(REQUEST, STRATEGY, (undone,), ()), 1, (undone,)) == "inconclusive"
    assert verdict_of(quality_gates(REQUEST, IndexStrategy(queries=3), (), ()), 0, ()) == "passed"
    dear = STRATEGY.model_copy(update={"write_growth": 0.3})
    assert verdict_of(quality_gates(REQUEST, dear, (KEPT,), ()), 1, (KEPT,)) == "failed"
    assert "No change" in summary_of("shop", IndexStrategy(queries=3), (), ()) and "None of 1" in summary_of(
        "shop", STRATEGY, (CREATE,), (undone,)
    )


def test_findings_and_advice() -> None:
    """A missing index that is there now, one that nobody used, and unused ones to be dropped by hand."""
    unused = ExistingIndex(
        name="public.u", table="public.orders", kind="unused", reason="not scanned", bytes=5_000_000, undo=("CREATE INDEX u",)
    )
    existing = ExistingIndexes(noted=(unused,), foreign_keys_without_index=("public.orders(customer)",))
    use = (IndexUse(name="public.i", scans=0, watched_s=7_200),)
    found = findings(STRATEGY, existing, (KEPT,), use)
    assert [one.severity for one in found] == ["high", "low", "low", "information"]
    advice = recommendations(existing, use, found)
    assert [one.title for one in advice] == ["DROP INDEX CONCURRENTLY public.u", "DROP INDEX CONCURRENTLY public.i"]
    assert "CREATE INDEX u" in advice[0].brief


def test_the_question_shows_exactly_what_would_be_done() -> None:
    """Every statement, in order; and whether the quality gates behind it passed."""
    question = strategy_question(TARGET, REQUEST, STRATEGY, (CREATE, DROP), SearchFacts(), ())
    assert question.exact_change.splitlines() == [f"{CREATE.ddl};", f"{DROP.ddl};"] and question.quality_passed
    risky = STRATEGY.model_copy(update={"warnings": ("orders(note): later values may be refused",)})
    told = strategy_question(TARGET, REQUEST, risky, (CREATE,), SearchFacts(), ()).evidence
    assert any("orders(note): later values may be refused" in one for one in told)
    refused = TriedIndex(proposal=DROP, end="not applied", reason="the table is clustered by it")
    told = strategy_question(TARGET, REQUEST, STRATEGY, (CREATE,), SearchFacts(), (), impossible=(refused,)).evidence
    assert f"cannot be done: `{DROP.title}`: the table is clustered by it" in told
    slower = STRATEGY.model_copy(update={"effects": (STRATEGY.effects[0].model_copy(update={"suspicious": True}),)})
    assert not strategy_question(TARGET, REQUEST, slower, (CREATE,), SearchFacts(), ()).quality_passed
