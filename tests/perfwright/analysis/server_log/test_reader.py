"""From log lines to statements with their calls, times, samples and plans, in all three formats."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfwright.analysis.server_log import reader as reader_module
from perfwright.analysis.server_log.entries import LINE_LIMIT_BYTES, LogFormat, format_of
from perfwright.analysis.server_log.reader import LogReader
from perfwright.models.statement import LogDigest
from tests.perfwright.analysis.server_log.written import (
    WRITERS,
    Line,
    calls,
    csvlog,
    jsonlog,
    plan_message,
    read,
    read_lines,
    statement,
    stderr,
)

SELECT = "SELECT name FROM customers WHERE id = $1 AND city <> $2"
STORY = (
    Line("connection authorized: user=app database=shop application_name=web"),
    Line("duration: 1.500 ms  statement: SELECT * FROM orders WHERE note = 'Grüße,\n\"x\";\n2024-05-17' LIMIT 3"),
    Line("duration: 0.100 ms  parse S_1: " + SELECT),
    Line("duration: 0.200 ms  bind S_1: " + SELECT, detail="parameters: $1 = '5', $2 = 'it''s'"),
    Line("duration: 4.000 ms  execute S_1: " + SELECT, detail="parameters: $1 = '5', $2 = 'it''s'"),
    Line("duration: 2.000 ms  execute <unnamed>: " + SELECT, detail="Parameters: $1 = '6', $2 = NULL"),
    Line("duration: 0.500 ms  execute fetch from S_1/C_2: " + SELECT),
    Line("duration: 9.000 ms  execute S_2/C_9: " + SELECT, detail="parameters: $1 = '7', $2 = 'b\nc'"),
    Line("division by zero", severity="ERROR", statement="SELECT 1/0"),
    Line('temporary file: path "base/pgsql_tmp/pgsql_tmp32025.1", size 974848', statement="SELECT 1"),
    Line(
        "process 12 still waiting for ShareLock on transaction 5 after 1000.123 ms",
        detail="Process holding the lock: 1.",
        statement="UPDATE t",
    ),
    Line("process 12 acquired ShareLock on transaction 5 after 1400.123 ms"),
    Line("checkpoint complete: wrote 207 buffers (1.3%)", database="", session="1.2", application=""),
    Line("duration: 7.000 ms  statement: SELECT 1", database="other"),
    Line("duration: 8.000 ms  statement: SELECT count(*) FROM pg_class", application="perfwright"),
    Line("duration: 8.000 ms  statement: /* perfwright */ SELECT /* perfwright */ count(*) FROM pg_class", application="pooler"),
)


@pytest.mark.parametrize("log_format", ["jsonlog", "csvlog"])
def test_every_form_of_message_is_understood(log_format: LogFormat) -> None:
    """Executions are counted, planning and fetches are not; samples have their parameters; other databases and our sessions are left out."""
    data = WRITERS[log_format](*STORY)
    assert format_of(data) == log_format
    digest = read(data, log_format)
    assert (digest.broken_lines, digest.temp_file_bytes, digest.lock_waits, digest.checkpoints, digest.gaps) == (0, 974848, 1, 1, ())
    assert (digest.first_at, digest.last_at) == ("2024-05-17 10:00:00.000 UTC", "2024-05-17 10:00:00.000 UTC")
    assert sorted(one.text[:12] for one in digest.statements) == ["SELECT * FRO", "SELECT 1/0", "SELECT name "]
    prepared = statement(digest, "SELECT name")
    assert (prepared.calls, prepared.total_ms, prepared.durations_ms) == (3, 15.5, (2.0, 4.0, 9.0))
    assert [(one.parameters, one.duration_ms) for one in prepared.samples] == [
        (("6", None), 2.0),
        (("5", "it's"), 4.0),
        (("7", "b\nc"), 9.0),
    ]
    assert [one.note for one in prepared.samples] == ["cheapest of 3 calls", "near the median of 3 calls", "costliest of 3 calls"]
    simple = statement(digest, "SELECT * FROM orders")
    assert simple.samples[0].text == simple.text == "SELECT * FROM orders WHERE note = 'Grüße,\n\"x\";\n2024-05-17' LIMIT 3"
    assert (statement(digest, "SELECT 1/0").errors, statement(digest, "SELECT 1/0").calls) == (1, 0)


@pytest.mark.parametrize(
    "prefix",
    [
        "{at} UTC [{pid}] app@{database} {application} ",
        "{at} UTC:10.0.0.1(5432):app@{database}:[{pid}]:",
        "{at} [{pid}]: [3-1] user=app,db={database},app={application},client=[local] ",
        "{at} UTC {session} db={database} ",
    ],
)
def test_the_plain_log_tells_as_much_as_its_prefix(prefix: str) -> None:
    """With database and process in log_line_prefix the plain log gives the same statements as the others."""
    data = stderr(*STORY[:-2], STORY[-1], prefix=prefix)
    assert format_of(data) == "stderr"
    digest, other = read(data, "stderr"), read(jsonlog(*STORY[:-2], STORY[-1]))
    assert digest.statements == other.statements
    assert (digest.temp_file_bytes, digest.lock_waits, digest.checkpoints) == (974848, 1, 1)


def test_a_prefix_without_database_is_told() -> None:
    """Where the prefix does not tell the database all statements are taken, and the digest says so."""
    digest = read(stderr(*STORY, prefix="{at} UTC [{pid}] "), "stderr")
    assert calls(digest)["SELECT 1"] == 1
    assert any("do not tell their database" in gap for gap in digest.gaps)


def test_version_13_has_fewer_columns() -> None:
    """csvlog of version 13, with 24 columns, is read as that of later ones."""
    assert read(csvlog(*STORY, columns=24), "csvlog").statements == read(csvlog(*STORY), "csvlog").statements


@pytest.mark.parametrize("log_format", ["jsonlog", "csvlog", "stderr"])
def test_log_statement_with_log_duration(log_format: LogFormat) -> None:
    """A duration without text belongs to the statement that its session logged before; those of planning and of errors belong to none."""
    lines = (
        Line("statement: SELECT 'a' FROM one"),
        Line("statement: SELECT 'b' FROM two", session="6b.1"),
        Line("duration: 5.000 ms", session="6b.1"),
        Line("duration: 3.000 ms"),
        Line("duration: 0.100 ms"),
        Line("execute S_1: SELECT * FROM three WHERE a = $1", detail="parameters: $1 = '8'"),
        Line("duration: 4.000 ms"),
        Line("statement: SELECT broken FROM four"),
        Line("no such column", severity="ERROR", statement="SELECT broken FROM four"),
        Line("duration: 0.300 ms"),
    )
    digest = read(WRITERS[log_format](*lines), log_format)
    found = {one.text: (one.calls, one.total_ms, one.errors) for one in digest.statements}
    assert found == {
        "SELECT 'a' FROM one": (1, 3.0, 0),
        "SELECT 'b' FROM two": (1, 5.0, 0),
        "SELECT * FROM three WHERE a = $1": (1, 4.0, 0),
        "SELECT broken FROM four": (0, 0.0, 1),
    }
    assert statement(digest, "SELECT * FROM three").samples[0].parameters == ("8",)


def test_durations_alone_are_told() -> None:
    """log_duration without statements, and statements without durations, give no statement but a reason."""
    assert "log_min_duration_statement" in read_lines(Line("duration: 3.000 ms")).gaps[0]
    assert "log_min_duration_statement" in read_lines(Line("statement: SELECT 1")).gaps[0]


def test_other_languages_are_told() -> None:
    """A server that writes its messages in German is not taken for an idle one."""
    digest = read_lines(Line("Dauer: 12.345 ms  Anweisung: SELECT 1"))
    assert digest.statements == () and "lc_messages" in digest.gaps[0]


def test_the_wrong_database_is_told() -> None:
    """A database name that fits nothing (a pooler's alias) is told with the names that are there."""
    [gap] = read_lines(STORY[1], database="alias").gaps
    assert "alias" in gap and "shop" in gap


class TestPlans:
    """auto_explain beside, or instead of, durations."""

    def test_plan_before_its_duration(self) -> None:
        """Simple protocol: the plan's line and the duration's are one call."""
        text = "SELECT * FROM orders WHERE a = 3"
        digest = read_lines(Line(plan_message(text, 20)), Line(f"duration: 20.500 ms  statement: {text}"))
        one = statement(digest, text)
        assert (one.calls, one.total_ms) == (1, 20.5)
        assert one.plans[0]["Plan"] == {"Node Type": "Seq Scan", "Total Cost": 4.0}

    def test_plan_after_its_duration(self) -> None:
        """Extended protocol: the plan comes when the portal is closed, and is the same call."""
        text = "SELECT * FROM orders WHERE a = $1"
        execute = Line(f"duration: 20.500 ms  execute <unnamed>: {text}", detail="parameters: $1 = '3'")
        digest = read_lines(execute, Line(plan_message(text, 20)), execute, Line(plan_message(text, 19)))
        assert (statement(digest, text).calls, statement(digest, text).total_ms) == (2, 41.0)

    def test_plans_alone(self) -> None:
        """Without durations every plan is a call, with a sample (version 16 writes its parameters)."""
        lines = [Line(plan_message("SELECT * FROM orders WHERE a = $1", 20 + n, parameters=f"$1 = '{n}'")) for n in range(5)]
        one = read_lines(*lines).statements[0]
        assert (one.calls, one.total_ms) == (5, 110.0)
        assert [sample.parameters for sample in one.samples] == [("0",), ("4",)]
        assert {sample.source for sample in one.samples} == {"auto_explain"}

    def test_plans_at_a_lower_threshold(self) -> None:
        """A call that was too quick for a duration's line, but not for a plan's, counts."""
        quick, slow = "SELECT * FROM orders WHERE a = 3", "SELECT * FROM orders, items"
        digest = read_lines(
            Line(plan_message(quick, 200), at="10:00:01.000"),
            Line(plan_message(slow, 3000), at="10:00:05.000"),
            Line(f"duration: 3000.500 ms  statement: {slow}", at="10:00:05.000"),
        )
        assert calls(digest) == {quick: 1, slow: 1}

    def test_statements_inside_functions(self) -> None:
        """Nested statements keep their plans; their time is that of the statement that called the function."""
        inner, outer = "SELECT count(*) FROM items WHERE a < i", "SELECT f(10)"
        context = 'SQL statement "..."\nPL/pgSQL function f(integer) line 1 at SQL statement'
        nested = [Line(plan_message(inner, 5), at=f"10:00:01.{10 + 5 * n:03}", context=context) for n in range(100)]
        digest = read_lines(
            *nested, Line(plan_message(outer, 600), at="10:00:01.600"), Line(f"duration: 601.000 ms  statement: {outer}", at="10:00:01.600")
        )
        assert calls(digest)[outer] == 1
        assert statement(digest, outer).total_ms == 601.0
        assert len(statement(digest, inner).plans) == 3 and statement(digest, inner).samples == ()

    def test_several_statements_in_one_text(self) -> None:
        """Two plans of one simple query string and its duration are one call."""
        text = "SELECT 1; SELECT 2"
        digest = read_lines(Line(plan_message(text, 1)), Line(plan_message(text, 1)), Line(f"duration: 2.500 ms  statement: {text}"))
        assert calls(digest) == {text: 1}

    def test_text_plans(self) -> None:
        """Plans in text form cannot be read: the call and its sample are kept, and the digest says what to change."""
        body = "Query Text: SELECT count(*)\nFROM items WHERE a = $1\nQuery Parameters: $1 = '3'\nAggregate  (cost=4.38..4.39 rows=1 width=8)\n  ->  x"
        digest = read_lines(Line(f"duration: 5.000 ms  plan:\n{body}"))
        one = digest.statements[0]
        assert (one.text, one.calls, one.plans) == ("SELECT count(*)\nFROM items WHERE a = $1", 1, ())
        assert one.samples[0].parameters == ("3",)
        assert "auto_explain.log_format = json" in digest.gaps[0]

    def test_the_slowest_are_kept(self) -> None:
        """Of many plans of a statement the three slowest are kept, slowest first."""
        durations = [3, 9, 1, 7, 8, 2]
        lines = [Line(plan_message("SELECT * FROM a", ms, node=f"Node {ms}"), at=f"10:00:{ms:02}.000") for ms in durations]
        assert [plan["Plan"]["Node Type"] for plan in read_lines(*lines).statements[0].plans] == ["Node 9", "Node 8", "Node 7"]  # type: ignore[index]


class TestTrouble:
    """What is broken is counted, and nothing else is lost."""

    @pytest.mark.parametrize("log_format", ["jsonlog", "csvlog"])
    def test_a_torn_record_in_the_middle(self, log_format: LogFormat) -> None:
        """A record that was cut within a line costs itself; the one after it is read."""
        first, second, third = (WRITERS[log_format](Line(f"duration: 1.000 ms  statement: SELECT a\nFROM t{n}")) for n in range(3))
        digest = read(first + second[: len(second) - 30] + b"\n" + third, log_format)
        assert set(calls(digest)) == {"SELECT a\nFROM t0", "SELECT a\nFROM t2"}
        assert digest.broken_lines == 1

    @pytest.mark.parametrize("log_format", ["jsonlog", "csvlog"])
    def test_a_torn_record_at_the_end(self, log_format: LogFormat) -> None:
        """The last record of a file that was cut is broken; one that only lacks its newline is whole."""
        whole = WRITERS[log_format](Line("duration: 1.000 ms  statement: SELECT a\nFROM t"))
        assert read(whole + whole[:-50], log_format).broken_lines == 1
        assert calls(read(whole + whole[:-1], log_format)) == {"SELECT a\nFROM t": 2}

    def test_beginning_in_the_middle_of_a_record(self) -> None:
        """A csvlog that is followed from within a record begins with the next one, and a copy of a record inside a text is not one."""
        inside = csvlog(Line("duration: 9.000 ms  statement: SELECT 'no'")).decode()
        record = csvlog(
            Line(f"duration: 1.000 ms  statement: SELECT '\n{inside}\n' FROM t"), Line("duration: 2.000 ms  statement: SELECT b FROM u")
        )
        reader = LogReader()
        reader.begin_file("log", "csvlog", in_middle=True)
        reader.feed("log", record[60:])
        reader.end_file("log")
        assert calls(reader.digest()) == {"SELECT b FROM u": 1}
        assert set(calls(read(record, "csvlog"))) == {f"SELECT '\n{inside}\n' FROM t", "SELECT b FROM u"}

    def test_a_line_that_is_too_long(self) -> None:
        """A line over the limit is counted as broken, wherever it is cut, and the next one is read."""
        long = jsonlog(Line("duration: 1.000 ms  statement: INSERT INTO t VALUES ('" + "x" * LINE_LIMIT_BYTES + "')"))
        data = long + jsonlog(STORY[1])
        digest = read(data)
        assert (digest.lines, digest.broken_lines, len(digest.statements)) == (2, 1, 1)
        in_pieces = LogReader("shop", "perfwright")
        in_pieces.begin_file("log", "jsonlog")
        for at in range(0, len(data), 333_333):
            in_pieces.feed("log", data[at : at + 333_333])
        in_pieces.end_file("log")
        assert in_pieces.digest() == digest

    def test_bytes_of_another_encoding(self) -> None:
        """A text in another encoding loses its letters, not its call."""
        data = jsonlog(STORY[1]).replace("Grüße".encode(), "Grüße".encode("latin-1"))
        assert read(data).statements[0].calls == 1
        assert read(csvlog(STORY[1]).replace("Grüße".encode(), "Grüße".encode("latin-1")), "csvlog").statements[0].calls == 1

    def test_garbage(self) -> None:
        """Bytes that are no log are counted as broken lines and nothing else."""
        data = bytes(range(256)) * 50
        assert format_of(data) is None
        assert read(data).statements == read(data, "csvlog").statements == read(data, "stderr").statements == ()
        assert read(b'{"message": 5}\n[1]\n7\n{}\n"x"\n').broken_lines == 4

    @pytest.mark.parametrize("duration", ["nan", "inf", "-1.0", "1e300", "x"])
    def test_absurd_durations(self, duration: str) -> None:
        """What is no duration is not counted."""
        assert read_lines(Line(f"duration: {duration} ms  statement: SELECT 1")).statements == ()


def fed(data: bytes, log_format: LogFormat, cuts: list[int], stored: set[int]) -> LogDigest:
    """Cut at these places; stored and restored at some of them."""
    reader = LogReader("shop", "perfwright")
    reader.begin_file("log", log_format)
    before = 0
    for number, cut in enumerate([*sorted(cuts), len(data)]):
        reader.feed("log", data[before:cut])
        before = cut
        if number in stored:
            reader = LogReader.restore(reader.state())
    reader.end_file("log")
    return reader.digest()


LONG_STORY = (
    *STORY,
    Line(plan_message("SELECT * FROM orders WHERE a = 3", 20)),
    Line("duration: 20.500 ms  statement: SELECT * FROM orders WHERE a = 3"),
    *(Line(f"duration: {n % 7}.000 ms  statement: SELECT {n} FROM t{n % 3}", at=f"10:00:01.{n:03}") for n in range(150)),
    Line("statement: SELECT x FROM y"),
    Line("duration: 1.000 ms"),
    Line(plan_message("SELECT * FROM alone", 20)),
)


@pytest.mark.parametrize("log_format", ["jsonlog", "csvlog", "stderr"])
def test_any_cut_gives_the_same_digest(log_format: LogFormat) -> None:
    """However the bytes are cut, within lines and letters, and wherever the reading was stored and restored: the digest is the same."""
    data = WRITERS[log_format](*LONG_STORY)
    whole = read(data, log_format)

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.integers(0, len(data)), max_size=40), st.sets(st.integers(0, 40), max_size=8))
    def check(cuts: list[int], stored: set[int]) -> None:
        assert fed(data, log_format, cuts, stored) == whole

    check()
    if log_format == "jsonlog":
        assert fed(data, log_format, list(range(len(data))), set()) == whole


def test_the_formats_agree() -> None:
    """One log in three formats has the same statements."""
    digests = {
        name: read(write(*(line for line in LONG_STORY if line.application != "perfwright")), name) for name, write in WRITERS.items()
    }  # type: ignore[arg-type]
    assert digests["jsonlog"].statements == digests["csvlog"].statements == digests["stderr"].statements


def test_several_files_in_turns() -> None:
    """Files that are read in turns, as around a rotation, give together what they hold."""
    reader = LogReader("shop")
    for name in ("a", "b"):
        reader.begin_file(name, "jsonlog")
    one, two = (
        jsonlog(Line("duration: 1.000 ms  statement: SELECT 1", at="09:00:00.000")),
        jsonlog(Line("duration: 1.000 ms  statement: SELECT 2")),
    )
    reader.feed("b", two[:40])
    reader.feed("a", one)
    reader.feed("b", two[40:])
    reader.end_file("b")
    reader.end_file("a")
    digest = reader.digest()
    assert digest.files == ("a", "b")
    assert (digest.first_at, digest.last_at) == ("2024-05-17 09:00:00.000 UTC", "2024-05-17 10:00:00.000 UTC")
    assert digest.statements[0].calls == 2


def test_a_state_that_is_none() -> None:
    """Anything else than a stored state is refused."""
    for state in (b"", b"{}", b"[1]", b"\xff", json.dumps({"database": 1}).encode()):
        with pytest.raises(ValueError, match="not the state"):
            LogReader.restore(state)


def test_gaps_are_bounded() -> None:
    """However often something cannot be read, the list of gaps stays short."""
    reader = LogReader()
    for number in range(1000):
        reader.note_gap(f"gap {number}")
        reader.note_gap("again and again")
    assert len(reader.digest().gaps) == reader_module.MOST_GAPS
