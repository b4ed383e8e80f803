"""Only what is known to leave no trace counts as `reads only`: it may be executed on a server that others depend on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfwright.analysis.statements.parsing import Unreadable, parse_statement
from perfwright.analysis.statements.safety import Judgement, SafetyJudge, worst
from perfwright.models.database import Catalog, ColumnFacts, FunctionFacts, TableFacts


def table(name: str, schema: str = "public", kind: str = "table", columns: str = "id a b x") -> TableFacts:
    return TableFacts(
        schema_name=schema,
        name=name,
        kind=kind,
        columns=tuple(ColumnFacts(name=one, type="integer") for one in columns.split()),  # type: ignore[arg-type]
    )


CATALOG = Catalog(
    database="shop",
    tables=(table("t"), table("s"), table("o", "shop"), table("Mixed"), table("mv", kind="materialized view")),
    views={
        "public.v": " SELECT t.id FROM t;",
        "public.v2": " SELECT v.id FROM v JOIN s ON s.id = v.id;",
        "public.bad": " SELECT evil(t.id) AS e FROM t;",
        "public.bad2": " SELECT v.id FROM v, LATERAL (SELECT * FROM bad) q;",
        "public.locking": " SELECT t.id FROM t FOR UPDATE;",
        "public.writing": " WITH w AS (INSERT INTO t VALUES (1) RETURNING id) SELECT * FROM w;",
        "public.cut": " SELECT t.id FROM t",
        "public.broken": " SELECT FROM WHERE;",
        "public.round": " SELECT * FROM round2;",
        "public.round2": " SELECT * FROM round;",
        "public.with.dot": " SELECT evil(1);",
    },
    functions=(
        FunctionFacts(name="evil", volatile=True, schema_name="public"),
        FunctionFacts(name="nice", volatile=False, schema_name="public"),
        FunctionFacts(name="lower", volatile=True, schema_name="shop"),
        FunctionFacts(name="random", volatile=True, schema_name="pg_catalog", known_harmless=True),
        FunctionFacts(name="nextval", volatile=True, schema_name="pg_catalog"),
        FunctionFacts(name="crosstab", volatile=False, schema_name="public"),
        FunctionFacts(name="pg_sleep", volatile=True, schema_name="pg_catalog", known_harmless=True),
    ),
)


def judged(text: str, catalog: Catalog | None = CATALOG) -> Judgement:
    return SafetyJudge(catalog).judge(parse_statement(text))


@pytest.mark.parametrize(
    "text",
    [
        "SELECT id, a + b AS c, count(*) FROM t WHERE a = 1 AND b IN (1, 2) OR NOT x BETWEEN 1 AND 2 GROUP BY 1, 2 HAVING sum(a) > 1 ORDER BY 1 LIMIT 5",
        "SELECT * FROM t JOIN shop.o USING (id) LEFT JOIN s ON s.id = t.id AND s.a IS NOT NULL",
        "SELECT * FROM v2 JOIN mv USING (id)",
        'SELECT * FROM "Mixed"',
        "SELECT nice(id), public.nice(id), pg_catalog.lower('A'), pg_catalog.random(), random() FROM t",
        "WITH a AS MATERIALIZED (SELECT * FROM t), b AS (SELECT * FROM a) SELECT * FROM b UNION ALL SELECT * FROM s EXCEPT TABLE t",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 9) SELECT * FROM r",
        "SELECT a::bigint, CAST(b AS numeric(10, 2)), x::pg_catalog.text, '{1}'::int[], interval '1 day', date '2026-01-01' FROM t",
        "SELECT CASE WHEN a > 1 THEN b ELSE coalesce(x, 0) END, nullif(a, b), greatest(a, b), ARRAY[a, b], ROW(a, b), (ARRAY[1, 2])[1] FROM t",
        "SELECT sum(a) FILTER (WHERE b > 1) OVER (PARTITION BY x ORDER BY b ROWS 1 PRECEDING), rank() OVER w FROM t WINDOW w AS (ORDER BY a DESC NULLS LAST)",
        "SELECT * FROM t WHERE EXISTS (SELECT 1 FROM s WHERE s.id = t.id) AND a > ALL (SELECT b FROM s) AND (a, b) = (1, 2)",
        "SELECT * FROM generate_series(1, 10) AS g(n), unnest(ARRAY[1]) WITH ORDINALITY",
        "SELECT extract(year FROM now()), position('a' IN 'b'), substring('abc' FROM 1 FOR 2), trim(BOTH 'x' FROM 'y'), current_date, current_user",
        "SELECT '{}'::jsonb -> 'a' ->> 'b', '{}'::jsonb @> '{}', 'a' || 'b', 'a' ~* 'b', 'a' LIKE 'b', 'a' SIMILAR TO 'b' COLLATE \"C\"",
        "SELECT * FROM jsonb_to_recordset('[]') AS x(a int, b text), json_table('{}'::jsonb, '$' COLUMNS (a int)) j",
        "SELECT xmlelement(NAME a, 1), json_object('a': 1), '{}' IS JSON, grouping(a) FROM t GROUP BY GROUPING SETS ((a), ())",
        "SELECT * FROM pg_stat_activity, pg_catalog.pg_class, information_schema.tables",
        "SELECT * FROM t TABLESAMPLE SYSTEM (1) REPEATABLE (2)",
        "SELECT /* evil(1); DROP TABLE t */ 'evil(1)' -- nextval('s')",
        "SELECT 'it''s ; DELETE FROM t'",
        "VALUES (1, 'a'), (2, 'b')",
        "SELECT $1::int, a FROM t WHERE b = $2 AND x = ANY($3) LIMIT $4",
    ],
)
def test_what_only_reads(text: str) -> None:
    """Ordinary queries of all kinds may be executed."""
    assert judged(text) == Judgement("reads only")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("SELECT evil(1)", "evil, which is volatile"),
        ("SELECT public.evil(1)", "public.evil, which is volatile"),
        ('SELECT "evil"(1)', "volatile"),
        ('SELECT "EVIL"(1)', "volatile"),
        ('SELECT U&"ev\\0069l"(1)', "volatile"),
        ("SELECT (SELECT (SELECT max(q) FROM (SELECT evil(1) AS q) z))", "volatile"),
        ("SELECT * FROM t ORDER BY (CASE WHEN a = 1 THEN evil(1) END)", "volatile"),
        ("SELECT * FROM t LIMIT evil(1)", "volatile"),
        ("SELECT * FROM t JOIN s ON evil(1) = 1", "volatile"),
        ("SELECT * FROM evil(1)", "volatile"),
        ("SELECT * FROM ROWS FROM (generate_series(1, 2), evil(1)) AS z(a, b)", "volatile"),
        ("SELECT count(*) FILTER (WHERE evil(1) = 1) FROM t", "volatile"),
        ("SELECT sum(a) OVER (ORDER BY evil(1)) FROM t", "volatile"),
        ("SELECT * FROM t TABLESAMPLE SYSTEM (evil(1))", "volatile"),
        ("SELECT 1 GROUP BY GROUPING SETS ((evil(1)))", "volatile"),
        ("WITH w AS NOT MATERIALIZED (SELECT evil(1)) SELECT 1", "volatile"),
        ("VALUES (evil(1))", "volatile"),
        ("SELECT ARRAY[evil(1)]", "volatile"),
        ("SELECT (ARRAY[1])[evil(1)]", "volatile"),
        ("SELECT xmlelement(NAME a, evil(1))", "volatile"),
        ("SELECT json_object('a': evil(1))", "volatile"),
        ("SELECT * FROM json_table('{}'::jsonb, '$' PASSING evil(1) AS x COLUMNS (a int))", "volatile"),
        ("SELECT * FROM xmltable('/a' PASSING evil(1) COLUMNS a int DEFAULT 1)", "volatile"),
        ("SELECT nice(a => evil(1))", "volatile"),
        ("SELECT t.evil FROM t", "may be a call of the volatile function"),
        ("SELECT (t).evil FROM t", "may be a call of the volatile function"),
        ("SELECT (t.*).evil FROM t", "may be a call of the volatile function"),
        ("SELECT lower('A')", "lower, which is volatile"),
        ("SELECT shop.lower('A')", "volatile"),
        ("SELECT shop.upper('A')", "shop.upper, which is not known"),
        ("SELECT public.count(1)", "not known"),
        ('SELECT "Lower"(1)', "volatile"),
        ('SELECT "Upper"(1)', "not known"),
        ("SELECT nextval('s')", "side effects"),
        ("SELECT pg_catalog.nextval('s')", "side effects"),
        ("SELECT \"nextval\"('s')", "side effects"),
        ("SELECT \"Nextval\"('s')", "side effects"),
        ("SELECT setval('s', 1)", "side effects"),
        ("SELECT pg_advisory_lock(1)", "side effects"),
        ("SELECT pg_try_advisory_xact_lock(1)", "side effects"),
        ("SELECT pg_sleep(1)", "side effects"),
        ("SELECT pg_terminate_backend(pid) FROM pg_stat_activity", "side effects"),
        ("SELECT pg_read_file('/etc/passwd')", "side effects"),
        ("SELECT pg_ls_dir('/')", "side effects"),
        ("SELECT lo_import('/etc/passwd')", "side effects"),
        ("SELECT set_config('work_mem', '1GB', false)", "side effects"),
        ("SELECT * FROM dblink('host=x', 'DELETE FROM t') AS z(a int)", "side effects"),
        ("SELECT * FROM crosstab('SELECT evil(1)') AS z(a int)", "side effects"),
        ("SELECT query_to_xml('DELETE FROM t', true, true, '')", "side effects"),
        ("SELECT ts_stat('SELECT evil(1)')", "side effects"),
        ("SELECT pg_notify('a', 'b')", "side effects"),
        ("SELECT pg_stat_reset()", "side effects"),
        ("SELECT pg_reload_conf(), pg_switch_wal()", "side effects"),
        ("SELECT txid_current()", "side effects"),
        ("SELECT no_such_function(1)", "not known"),
        ("SELECT a::mood FROM t", "domain"),
        ("SELECT a::public.int4 FROM t", "domain"),
        ("SELECT CAST(a AS shop.percent[]) FROM t", "domain"),
        ("SELECT * FROM jsonb_to_record('{}') AS z(a percent)", "domain"),
        ("SELECT percent '1'", "domain"),
        ("SELECT a OPERATOR(public.+) b FROM t", "operator public.+"),
        ("SELECT a === b FROM t", "operator ==="),
        ("SELECT a = ANY (SELECT 1) OR a OPERATOR(shop.=) ANY (SELECT 1) FROM t", "operator shop.="),
        ("SELECT * FROM t ORDER BY a USING OPERATOR(shop.<)", "operator shop.<"),
        ("SELECT * FROM nowhere", "not in the catalog"),
        ("SELECT * FROM shop.t", "not in the catalog"),
        ("SELECT * FROM bad", "view public.bad: calls evil"),
        ("SELECT * FROM bad2", "view public.bad2: view public.bad: calls evil"),
        ("SELECT * FROM locking", "does more than reading"),
        ("SELECT * FROM writing", "does more than reading"),
        ("SELECT * FROM cut", "not known to its end"),
        ("SELECT * FROM broken", "cannot be read"),
        ('SELECT * FROM "with.dot"', "evil"),
        ("WITH bad AS (SELECT 1) SELECT * FROM bad", "view public.bad"),
        ("SELECT * FROM (WITH nowhere AS (SELECT 1) SELECT * FROM nowhere) x, nowhere", "not in the catalog"),
        ("SELECT * FROM t TABLESAMPLE evil_method (1)", "sampling method"),
        ("INSERT INTO t SELECT evil(1)", "volatile"),
        ("UPDATE t SET a = nextval('s')", "side effects"),
        ("UPDATE pg_settings SET setting = '1' WHERE name = 'work_mem'", "the server's own"),
        ("DELETE FROM pg_catalog.pg_class", "the server's own"),
        ("INSERT INTO nowhere VALUES (1)", "not in the catalog"),
    ],
)
def test_what_may_have_side_effects(text: str, reason: str) -> None:
    """Volatile and unknown names are found wherever they stand and however they are written."""
    found = judged(text)
    assert found.safety == "volatile"
    assert reason in found.reason


@pytest.mark.parametrize(
    ("text", "safety"),
    [
        ("SELECT * FROM t FOR UPDATE", "locks"),
        ("SELECT * FROM (SELECT * FROM t FOR NO KEY UPDATE SKIP LOCKED) x", "locks"),
        ("WITH w AS (SELECT * FROM t FOR KEY SHARE) SELECT * FROM w", "locks"),
        ("SELECT * FROM t WHERE a IN (SELECT id FROM s FOR SHARE)", "locks"),
        ("INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET a = excluded.a RETURNING *", "writes"),
        ("UPDATE t SET a = DEFAULT, (b, x) = (SELECT 1, 2) WHERE id = 1", "writes"),
        ("DELETE FROM t USING s WHERE t.id = s.id", "writes"),
        ("MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN UPDATE SET a = 1 WHEN NOT MATCHED THEN INSERT VALUES (1)", "writes"),
        ("WITH w AS (SELECT 1), d AS (DELETE FROM t RETURNING *) SELECT * FROM d", "writes"),
        ("WITH a AS (WITH b AS (UPDATE t SET a = 1 RETURNING *) SELECT * FROM b) SELECT * FROM a FOR UPDATE", "writes"),
        ("SELECT 1 INTO new_table", "never"),
        ("SELECT * INTO TEMP x FROM t", "never"),
        ("CREATE TABLE x AS SELECT 1", "never"),
        ("EXPLAIN ANALYZE DELETE FROM t", "never"),
        ("COPY t FROM PROGRAM 'rm -rf /'", "never"),
        ("COPY (SELECT 1) TO '/tmp/x'", "never"),
        ("DO $$ BEGIN DELETE FROM t; END $$", "never"),
        ("CALL p()", "never"),
        ("PREPARE p AS DELETE FROM t", "never"),
        ("EXECUTE p", "never"),
        ("DECLARE c CURSOR FOR SELECT 1", "never"),
        ("LOCK TABLE t", "never"),
        ("LISTEN x", "never"),
        ("NOTIFY x", "never"),
        ("SET work_mem = '1GB'", "never"),
        ("BEGIN", "never"),
        ("TRUNCATE t", "never"),
        ("DROP TABLE t", "never"),
        ("VACUUM", "never"),
        ("REFRESH MATERIALIZED VIEW mv", "never"),
        ("ALTER SYSTEM SET work_mem = '1GB'", "never"),
        ("SELECT 1; DELETE FROM t", "never"),
        ("SELECT 1; SELECT 2", "never"),
        ("SELECT " + "1 + " * 9_000 + "1", "never"),
    ],
)
def test_what_locks_writes_or_is_no_query(text: str, safety: str) -> None:
    """The worst that a statement does decides, wherever it stands."""
    found = judged(text)
    assert found.safety == safety
    assert found.reason


def test_texts_that_cannot_be_read_are_never_executed() -> None:
    """A sample is judged by itself: what cannot be read, or hides something behind a NUL character, is not run."""
    judge = SafetyJudge(CATALOG)
    for text in ("SELECT 1\0; DELETE FROM t", "SELECT FROM WHERE", "", "SELECT 1; SELECT 2", "SELECT 'cut"):
        assert judge.judge_text(text).safety == "never"
    assert judge.judge_text("SELECT a FROM t WHERE b = 'x'").safety == "reads only"


def test_without_a_catalog_nothing_is_vetted() -> None:
    """Functions may be shadowed and tables may be views: without the catalog only constants are left."""
    assert judged("SELECT 1 + 1", None).safety == "reads only"
    assert judged("SELECT * FROM t", None).safety == "volatile"
    assert judged("SELECT lower('A')", None).safety == "volatile"


def test_backslashes_where_strings_are_not_standard() -> None:
    """With standard_conforming_strings off a backslash hides what follows from the parser: nothing with one is executed."""
    text = r"SELECT '\' , evil(1), '' "
    assert SafetyJudge(CATALOG, standard_strings=False).judge(parse_statement(r"SELECT '\', '; DELETE FROM t; --'")).safety == "never"
    assert SafetyJudge(CATALOG, standard_strings=False).judge_text(text).safety == "never"
    assert SafetyJudge(CATALOG, standard_strings=False).judge_text("SELECT a FROM t").safety == "reads only"
    assert SafetyJudge(CATALOG).judge_text(r"SELECT a FROM t WHERE b::text LIKE 'a\_b'").safety == "reads only"


def test_foreign_tables() -> None:
    """A foreign table, and a table that one may be a part of, do something elsewhere that nobody here knows."""
    catalog = Catalog(
        database="shop",
        tables=(table("far", kind="foreign table", columns="id a z"), table("parent", columns="id a"), table("other", columns="id b")),
    )
    assert "foreign table" in judged("SELECT * FROM far", catalog).reason
    assert "a foreign table may be a part" in judged("SELECT * FROM parent", catalog).reason
    assert judged("SELECT * FROM other", catalog).safety == "reads only"


def test_extensions() -> None:
    """Operators and types of installed extensions are known; those of extensions that are not there are not."""
    text = "SELECT '[1]'::vector <=> '[2]', 'a' %> 'b'"
    assert SafetyJudge(CATALOG, extensions=("vector", "pg_trgm")).judge_text(text).safety == "reads only"
    assert SafetyJudge(CATALOG).judge_text(text).safety == "volatile"


def test_worst() -> None:
    """Of several texts of one statement the most dangerous one counts."""
    assert worst([Judgement("reads only"), Judgement("locks", "x"), Judgement("writes", "y")]) == Judgement("writes", "y")
    assert worst([]).safety == "never"


PIECES = [
    "SELECT ",
    "evil(1)",
    " FROM t",
    " WHERE ",
    "(",
    ")",
    "a = 1",
    " AND ",
    " UNION ALL SELECT ",
    ", ",
    "1",
    " FOR UPDATE",
    ";",
    "'x'",
    " INTO n",
    "::int",
]


@given(st.lists(st.sampled_from(PIECES), max_size=14))
def test_no_mixture_hides_a_call(pieces: list[str]) -> None:
    """However pieces are put together, a text that calls the function, writes, locks or has two statements is not `reads only`."""
    text = "".join(pieces)
    try:
        parsed = parse_statement(text)
    except Unreadable:
        return
    if SafetyJudge(CATALOG).judge(parsed).safety == "reads only":
        assert "evil" not in parsed.functions
        assert not parsed.locks
        assert not parsed.multiple
        assert " INTO " not in text
