"""One table from counters, log and given SQL: nothing counted twice, nothing dropped."""

import pytest

from perfwright.analysis.server_log.reader import LogReader
from perfwright.analysis.statements.grouping import HIDDEN_TEXT, group_statements, letters_fingerprint
from perfwright.analysis.statements.parsing import fingerprint_of
from perfwright.models.database import Catalog, ColumnFacts, DatabaseFacts, FunctionFacts, Setting, TableFacts
from perfwright.models.statement import (
    STATEMENT_CHARACTERS,
    LogDigest,
    LoggedStatement,
    ObservedWindow,
    ServerCounters,
    Statement,
    StatementSample,
    StatementTable,
)

FACTS = DatabaseFacts(system="postgresql", version="15.1", version_number=150001, database="shop")
CATALOG = Catalog(
    database="shop",
    tables=tuple(
        TableFacts(schema_name="public", name=name, columns=tuple(ColumnFacts(name=column, type=kind) for column, kind in columns.items()))
        for name, columns in {
            "orders": {"id": "integer", "state": "text", "placed": "date"},
            "events_2024_01": {"id": "integer"},
            "events_2024_02": {"id": "integer"},
        }.items()
    ),
    functions=(FunctionFacts(name="evil", volatile=True, schema_name="public"),),
)
BY_STATE = "SELECT * FROM orders WHERE state = $1"


def counted(text: str, total_ms: float, calls: int = 1, **fields: object) -> ServerCounters:
    return ServerCounters.model_validate(
        {"query_id": str(abs(hash(text)) % 1000), "database": "shop", "text": text, "calls": calls, "total_ms": total_ms} | fields
    )


def window(*statements: ServerCounters, **fields: object) -> ObservedWindow:
    return ObservedWindow.model_validate(
        {"seconds": 60.0, "started_at": "", "source": "pg_stat_statements", "statements": statements} | fields
    )


def logged(text: str, *durations_ms: float, samples: tuple[StatementSample, ...] = (), **fields: object) -> LoggedStatement:
    known = {"fingerprint": letters_fingerprint(text), "text": text, "calls": len(durations_ms), "total_ms": sum(durations_ms)}
    return LoggedStatement.model_validate(known | {"durations_ms": tuple(sorted(durations_ms)), "samples": samples} | fields)


def call(text: str, duration_ms: float | None = None, *parameters: str | None) -> StatementSample:
    return StatementSample(text=text, duration_ms=duration_ms, parameters=parameters, source="log")


def grouped(
    seen: ObservedWindow | None = None,
    log: LogDigest | None = None,
    *given: str,
    catalog: Catalog | None = CATALOG,
    facts: DatabaseFacts = FACTS,
) -> StatementTable:
    return group_statements(seen, log, given, catalog, database=facts)


def only(table: StatementTable) -> Statement:
    (found,) = (*table.statements, *table.unreadable)
    return found


def test_entries_of_one_shape_become_one_statement() -> None:
    """Roles, query ids and lengths of IN lists are put together; times and rows are added up."""
    table = grouped(
        window(
            counted(
                "SELECT id FROM orders WHERE id IN ($1, $2)", 30.0, 3, role="app", rows=6, shared_hit_blocks=1, max_ms=20.0, query_id="1"
            ),
            counted(
                "SELECT id FROM orders WHERE id IN ($1, $2, $3)",
                10.0,
                1,
                role="job",
                rows=1,
                shared_read_blocks=2,
                wal_bytes=3,
                query_id="2",
            ),
            counted("SELECT id FROM orders WHERE id IN ($1)", 60.0, 6, role="app", planning_ms=1.5, temp_written_blocks=4, query_id="3"),
        )
    )
    found = only(table)
    assert (found.calls, found.total_ms, found.mean_ms, found.rows, found.max_ms) == (10, 100.0, 10.0, 7, 20.0)
    assert (found.shared_hit_blocks, found.shared_read_blocks, found.temp_written_blocks, found.wal_bytes, found.planning_ms) == (
        1,
        2,
        4,
        3,
        1.5,
    )
    assert (found.roles, found.query_ids, found.share) == (("app", "job"), ("3", "1", "2"), 1.0)
    assert found.text == "SELECT id FROM orders WHERE id IN ($1)"
    assert (table.total_ms, table.seconds, table.sources) == (100.0, 60.0, ("pg_stat_statements",))


def test_the_log_is_not_counted_again() -> None:
    """Where both have a statement the counters tell its time, and the log its quantiles and calls."""
    text = "SELECT * FROM orders WHERE state = 'open'"
    calls = tuple(call(f"SELECT * FROM orders WHERE state = '{number}'", float(number)) for number in range(10))
    log = LogDigest(statements=(logged(text, *map(float, range(1, 11)), samples=calls),))
    found = only(grouped(window(counted(BY_STATE, 70.0, 10)), log))
    assert (found.calls, found.total_ms, found.share, found.p50_ms, found.p99_ms) == (10, 70.0, 1.0, 5.0, 10.0)
    assert [one.duration_ms for one in found.samples] == [0.0, 4.0, 9.0]
    assert found.sources == ("pg_stat_statements", "log")
    assert found.safety == "reads only"


def test_quantiles_of_slow_calls_only_are_not_those_of_all() -> None:
    """A log that has a small part of the calls gives samples, and no quantiles."""
    log = LogDigest(statements=(logged("SELECT * FROM orders WHERE state = 'open'", 900.0, 950.0),))
    found = only(grouped(window(counted(BY_STATE, 3_000.0, 1_000)), log))
    assert (found.p50_ms, found.p99_ms, found.max_ms) == (None, None, 950.0)
    alone = only(grouped(None, log))
    assert (alone.calls, alone.total_ms, alone.p99_ms, alone.sources) == (2, 1_850.0, 950.0, ("log",))


def test_a_log_of_another_time_is_weighed_by_its_length() -> None:
    """An hour's log beside a minute's window: shares are of time per second."""
    log = LogDigest(
        statements=(logged("DELETE FROM orders WHERE id = 5", 60_000.0),),
        first_at="2026-03-01 10:00:00.000 UTC",
        last_at="2026-03-01 11:00:00.000 UTC",
    )
    table = grouped(window(counted(BY_STATE, 3_000.0)), log)
    assert [(one.total_ms, round(one.share, 3)) for one in table.statements] == [(3_000.0, 0.75), (60_000.0, 0.25)]


def test_nested_statements_do_not_count_twice() -> None:
    """What ran inside a function has its own total, but the whole has it once: in the statement that called."""
    table = grouped(
        window(
            counted("SELECT evil($1)", 100.0, top_level=True),
            counted("UPDATE orders SET state = $1", 90.0, top_level=False),
        )
    )
    assert [(one.kind, round(one.share, 9)) for one in table.statements] == [("select", 1.0), ("update", 0.9)]
    assert table.total_ms == 100.0
    assert only(grouped(window(counted(BY_STATE, 90.0, top_level=False)))).share == 1.0


def test_time_of_statements_that_are_not_listed_counts() -> None:
    """The window's whole may be more than that of its listed statements: their share is of the whole."""
    assert only(grouped(window(counted(BY_STATE, 30.0), total_ms=300.0))).share == pytest.approx(0.1)


def test_other_databases_and_our_own_are_left_out() -> None:
    """Only the target's database counts, without what we asked it ourselves."""
    table = grouped(
        window(
            counted(BY_STATE, 10.0),
            counted("SELECT 1 FROM other", 900.0, database="other"),
            counted("/* perfwright */ SELECT /* perfwright */ * FROM pg_class", 500.0),
        ),
        LogDigest(statements=(logged("/* perfwright */ SELECT /* perfwright */ 1", 800.0),)),
    )
    assert [one.text for one in table.statements] == [BY_STATE]
    assert (table.total_ms, table.statements[0].share) == (10.0, 1.0)


def test_what_has_no_plan_stays_listed() -> None:
    """Transaction control, DDL and several statements in one text are told with the reason."""
    table = grouped(
        window(
            counted("BEGIN", 5.0),
            counted("SET search_path = $1", 4.0),
            counted("DEALLOCATE $1", 3.0),
            counted("VACUUM orders", 2.0),
            counted("SELECT $1; SELECT $2", 1.0),
        )
    )
    assert [one.not_explainable for one in table.statements] == [
        "BEGIN, COMMIT or ROLLBACK has no plan",
        "SET has no plan",
        "DEALLOCATE has no plan",
        "VACUUM has no plan",
        "2 statements in one text: EXPLAIN takes one",
    ]
    assert [one.kind for one in table.statements] == ["utility"] * 4 + ["select"]
    assert table.unreadable == ()
    assert {one.safety for one in (*table.statements, *table.unreadable)} == {"never"}


def test_texts_that_cannot_be_read_are_listed() -> None:
    """Cut, hidden and empty texts are statements with their cost and the reason, and without their values."""
    table = grouped(
        window(
            counted("SELECT * FROM orders WHERE state = 'secr", 30.0),
            counted(HIDDEN_TEXT, 20.0, query_id="7"),
            counted(HIDDEN_TEXT, 10.0, query_id="8"),
            counted("", 5.0, query_id="9"),
        ),
        LogDigest(statements=(logged("SELECT * FROM orders WHERE state = 'secr", 30.0),)),
    )
    assert table.statements == ()
    assert [(one.total_ms, one.share) for one in table.unreadable] == [(30.0, 30 / 65), (20.0, 20 / 65), (10.0, 10 / 65), (5.0, 5 / 65)]
    cut, hidden, _, empty = table.unreadable
    assert (cut.text, cut.kind, cut.sources) == ("SELECT * FROM orders WHERE state = ?", "select", ("pg_stat_statements", "log"))
    assert "cut off" in cut.not_explainable
    assert "pg_read_all_stats" in hidden.not_explainable
    assert empty.not_explainable == "its text is not known"
    assert len({one.fingerprint for one in table.unreadable}) == 4


def test_given_sql() -> None:
    """Given SQL is split, joins what was observed, and is a sample where it is complete."""
    table = grouped(
        window(counted(BY_STATE, 10.0)),
        None,
        "SELECT * FROM orders WHERE state = 'open';\nSELECT count(*) FROM orders; -- end",
        "SELECT * FROM orders WHERE id = $1",
        "SELEC nonsense",
    )
    with_placeholder, observed, counting = sorted(table.statements, key=lambda one: one.text)
    assert (observed.text, observed.sources, observed.total_ms) == (BY_STATE, ("pg_stat_statements", "given"), 10.0)
    assert [one.text for one in observed.samples] == ["SELECT * FROM orders WHERE state = 'open'"]
    assert (counting.samples, counting.not_explainable) == (
        (StatementSample(text="SELECT count(*) FROM orders", source="given"),),
        "",
    )
    assert (with_placeholder.text, with_placeholder.samples, with_placeholder.calls) == ("SELECT * FROM orders WHERE id = $1", (), 0)
    assert [one.sources for one in table.unreadable] == [("given",)]


def test_samples_that_do_not_fit_are_left_out() -> None:
    """A call that is cut, of another statement, or without its parameters is no sample."""
    calls = (
        call(BY_STATE, 1.0, "open"),
        call(BY_STATE, 2.0),
        call(BY_STATE, 3.0, "open", "left over"),
        call("SELECT * FROM orders WHERE state = 'cut", 4.0),
        call("DELETE FROM orders", 5.0),
        call("SELECT * FROM orders WHERE state = 'x'; DELETE FROM orders", 6.0),
    )
    found = only(grouped(None, LogDigest(statements=(logged(BY_STATE, 1.0, samples=calls),))))
    assert found.samples == (calls[0],)


def test_a_text_without_values_is_its_own_sample() -> None:
    """Without placeholders nothing is missing: the text itself can be run."""
    found = only(grouped(window(counted("SELECT count(*) FROM orders", 1.0))))
    assert [(one.text, one.source) for one in found.samples] == [("SELECT count(*) FROM orders", "pg_stat_statements")]


def test_every_text_of_a_statement_is_judged() -> None:
    """Fingerprints leave out digits in names and what stands very deep: the most dangerous text decides, and all tables are told."""
    partitions = only(grouped(window(counted("SELECT id FROM events_2024_01", 2.0), counted("SELECT id FROM events_2024_02", 1.0))))
    assert partitions.tables == ("events_2024_01", "events_2024_02")
    assert partitions.safety == "reads only"
    unknown = only(grouped(window(counted("SELECT id FROM events_2024_01", 2.0), counted("SELECT id FROM events_2024_99", 1.0))))
    assert (unknown.safety, "events_2024_99" in unknown.safety_reason) == ("volatile", True)
    deep, evil = (f"SELECT {'(SELECT ' * 60}{inner}{')' * 60}" for inner in ("lower('a')", "evil('a')"))
    assert fingerprint_of(deep) == fingerprint_of(evil), "the parser's fingerprint ends at some depth"
    log = LogDigest(statements=(logged(deep, 1.0, samples=(call(deep, 1.0), call(evil, 2.0))),))
    assert only(grouped(None, log)).safety == "volatile"


def test_types_come_from_the_catalog() -> None:
    """Where only a column tells the type of a placeholder, the text has it; texts that need no such help stay as the server has them."""
    assert (
        only(grouped(window(counted("SELECT id FROM orders WHERE placed + $1 > $2", 1.0)))).text
        == "SELECT id FROM orders WHERE placed + $1::integer > $2"
    )
    assert only(grouped(window(counted(BY_STATE, 1.0)))).text == BY_STATE


def test_long_texts() -> None:
    """A text whose samples have it whole is cut; one that a generic plan needs is not."""
    columns = ", ".join(f"id AS column_{number}" for number in range(1_000))
    long = f"SELECT {columns} FROM orders WHERE id = $1"
    assert only(grouped(window(counted(long, 1.0)))).text == long
    sampled = only(grouped(window(counted(long, 1.0)), None, long.replace("$1", "5")))
    assert len(sampled.text) == STATEMENT_CHARACTERS
    assert len(sampled.samples[0].text) > STATEMENT_CHARACTERS


def test_server_settings_count() -> None:
    """With standard_conforming_strings off, texts with backslashes are never executed."""
    off = FACTS.model_copy(update={"settings": (Setting(name="standard_conforming_strings", value="off"),)})
    text = r"SELECT * FROM orders WHERE state = 'a\b'"
    assert only(grouped(None, None, text)).safety == "reads only"
    assert only(grouped(None, None, text, facts=off)).safety == "never"


def test_what_the_log_reader_makes() -> None:
    """A digest as the reader of server logs makes it joins the counters, and parameters become samples."""
    lines = [
        '{"timestamp":"2026-03-01 10:00:00.000 UTC","session_id":"a","dbname":"shop","error_severity":"LOG","message":"duration: 12.000 ms  execute <unnamed>: SELECT * FROM orders WHERE state = $1","detail":"Parameters: $1 = \'open\'"}',
        '{"timestamp":"2026-03-01 10:00:01.000 UTC","session_id":"a","dbname":"shop","error_severity":"LOG","message":"duration: 3.000 ms  statement: SELECT * FROM orders WHERE state = \'paid\'"}',
    ]
    reader = LogReader("shop")
    reader.begin_file("log", "jsonlog")
    reader.feed("log", ("\n".join(lines) + "\n").encode())
    reader.end_file("log")
    found = only(grouped(window(counted(BY_STATE, 15.0, 2)), reader.digest()))
    assert (found.total_ms, found.p99_ms) == (15.0, 12.0)
    assert [(one.text, one.parameters) for one in found.samples] == [
        ("SELECT * FROM orders WHERE state = 'paid'", ()),
        (BY_STATE, ("open",)),
    ]


def test_nothing_at_all() -> None:
    """Without any source the table is empty."""
    assert grouped() == StatementTable(statements=(), total_ms=0.0, seconds=0.0)
