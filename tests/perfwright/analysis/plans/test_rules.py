"""What decides within the rules, on drawn plans and on recorded ones that were changed in one thing."""

import copy
from typing import Any

import pytest

from perfwright.analysis.plans.called_functions import called_functions
from perfwright.analysis.plans.examined import BY_ESTIMATE, ExaminedPlan
from perfwright.analysis.plans.judge import judge_plan
from perfwright.analysis.plans.node_times import measure
from perfwright.analysis.plans.plan_tree import parse_plan
from perfwright.models.database import Catalog, ColumnFacts, ForeignKeyFacts, FunctionFacts, IndexFacts, TableFacts
from perfwright.models.query_performance import PlanHit
from tests.perfwright.analysis.plans.healthy import HEALTHY
from tests.perfwright.analysis.plans.planted import PLANTED
from tests.perfwright.analysis.plans.record_plans import HEALTHY_KEPT
from tests.perfwright.analysis.plans.recorded_plans import VERSIONS, recorded_catalog, recorded_plan

ONLY_EXECUTED = (
    "Actual ",
    "Rows Removed",
    "Shared ",
    "Local ",
    "Temp ",
    "Heap Fetches",
    "Sort ",
    "Hash B",
    "HashAgg",
    "Peak",
    "Disk",
    "Cache ",
    "Workers L",
)


def judged(
    document: dict[str, Any], catalog: Catalog | None = None, execution_ms: float | None = 50.0, mean_ms: float | None = None
) -> list[PlanHit]:
    tree = parse_plan(document)
    return judge_plan(ExaminedPlan(tree, measure(tree), catalog=catalog, execution_ms=execution_ms, mean_ms=mean_ms))


def rules(*args: Any, **named: Any) -> list[str]:
    return sorted(hit.rule for hit in judged(*args, **named))


def planned(document: dict[str, Any]) -> dict[str, Any]:
    """The plan as EXPLAIN without ANALYZE gives it."""

    def without(node: dict[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in node.items() if not name.startswith(ONLY_EXECUTED) or name == "Sort Key"}
        return kept | ({"Plans": [without(one) for one in node["Plans"]]} if "Plans" in node else {})

    return {"Plan": without(document["Plan"])}


def scan(condition: str, *, kept: int = 10, removed: int = 50_000, node: str = "Seq Scan", **fields: Any) -> dict[str, Any]:
    """A scan of `t` that takes all of 40 ms."""
    named = {name.replace("_", " "): value for name, value in fields.items()}
    return {
        "Plan": {
            "Node Type": node,
            "Relation Name": "t",
            "Alias": "t",
            "Filter": condition,
            "Plan Rows": kept,
            "Total Cost": 5_000.0,
            "Actual Rows": kept,
            "Actual Loops": 1,
            "Actual Total Time": 40.0,
            "Rows Removed by Filter": removed,
        }
        | named,
        "Execution Time": 41.0,
    }


def table(
    *columns: tuple[str, str], keys: tuple[str, ...] = (), distinct: float = -1.0, method: str = "btree", definition: str = ""
) -> Catalog:
    """A table `t` with an index for each key."""
    return Catalog(
        database="d",
        tables=(
            TableFacts(
                schema_name="public",
                name="t",
                rows=50_010,
                pages=600,
                columns=tuple(ColumnFacts(name=name, type=kind, distinct=distinct, average_width_bytes=40) for name, kind in columns),
                indexes=tuple(IndexFacts(name=f"i{key}", definition=definition, keys=(key,), method=method) for key in keys),
            ),
        ),
    )


@pytest.mark.parametrize(
    ("kind", "target", "harmful"),
    [
        ("character varying(20)", "text", False),
        ("text", "character varying", False),
        ("name", "text", False),
        ("character(2)", "text", True),
        ("integer", "numeric", True),
        ("bigint", "double precision", True),
        ("timestamp with time zone", "date", True),
        ("timestamp(3) without time zone", "date", True),
        ("numeric(10,2)", "text", True),
        ("uuid", "text", True),
        ("email_address", "text", False),
    ],
)
def test_a_cast_is_judged_by_the_column_type(kind: str, target: str, harmful: bool) -> None:
    """A cast between text types leaves the index usable; a conversion does not; of a domain nothing is said."""
    catalog = table(("c", kind), keys=("c",))
    assert ("R13" in rules(scan(f"((c)::{target} = 'x'::{target})"), catalog)) is harmful


def test_a_missing_index_is_not_missing_when_it_is_there() -> None:
    """A full scan although an index begins with the column is not for lack of one."""
    assert rules(scan("(c = 5)"), table(("c", "integer"))) == ["R01"]
    assert rules(scan("(c = 5)"), table(("c", "integer"), keys=("c",))) == []
    assert rules(scan("(c ~~ 'abc%'::text)"), table(("c", "text"), keys=("c",))) == ["R01"]
    assert rules(scan("(c ~~ 'abc%'::text)"), table(("c", "text"), keys=("c",), definition="USING btree (c text_pattern_ops)")) == []


def test_stale_statistics_are_told_from_a_missing_index() -> None:
    """Rows were expected ten times off and an index is there: the statistics are to blame, not the index."""
    stale = scan("(c = 5)", Plan_Rows=20_000)
    assert rules(stale, table(("c", "integer"), keys=("c",))) == ["R09"]
    assert rules(stale, table(("c", "integer"))) == ["R01", "R09"]


def test_a_common_value_beside_a_hidden_column() -> None:
    """`deleted = false and lower(email) = 'x'`: statistics say that the first keeps most rows, so the function is to blame."""
    condition = "((NOT deleted) AND (lower(email) = 'x'::text))"
    assert rules(scan(condition), table(("deleted", "boolean"), ("email", "text"))) == ["R12"]
    condition = "((owner = 5) AND (lower(email) = 'x'::text))"
    assert rules(scan(condition), table(("owner", "integer"), ("email", "text"))) == ["R01"]


def test_an_index_on_the_expression_serves() -> None:
    """A function on a column is fine where the index has the function."""
    condition = "(lower((c)::text) = 'x'::text)"
    assert rules(scan(condition), table(("c", "character varying(9)"))) == ["R12"]
    assert rules(scan(condition), table(("c", "character varying(9)"), keys=("lower(c::text)",))) == []


def test_trigrams_serve_patterns() -> None:
    """A pattern without a beginning is fine where trigrams are indexed."""
    condition = "(c ~~ '%word%'::text)"
    assert rules(scan(condition), table(("c", "text"))) == ["R14"]
    assert rules(scan(condition), table(("c", "text"), keys=("c",), method="gin", definition="USING gin (c gin_trgm_ops)")) == []


@pytest.mark.parametrize(
    ("kept", "removed", "found"), [(10, 50_000, True), (10, 999, False), (6_000, 50_000, False), (5_000, 50_000, True), (0, 1_000, True)]
)
def test_thresholds_of_a_full_scan(kept: int, removed: int, found: bool) -> None:
    """At least 1,000 rows and nine of ten are discarded."""
    assert (rules(scan("(c = 5)", kept=kept, removed=removed)) == ["R01"]) is found


def test_what_takes_little_of_the_statement_is_silent() -> None:
    """A scan of 4 ms in a statement of 100."""
    document = scan("(c = 5)", Actual_Total_Time=4.0)
    document["Execution Time"] = 100.0
    assert rules(document) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_statements_that_take_nothing_are_silent(version: int) -> None:
    """Below a millisecond nothing is said, whatever the plan; planning that takes longer still is."""
    for case in PLANTED:
        if version in case.versions:
            found = rules(recorded_plan(version, f"planted.{case.name}"), recorded_catalog(version), execution_ms=0.9)
            assert set(found) <= {"R28"}, case.name


@pytest.mark.parametrize("version", VERSIONS)
def test_planned_statements_are_judged_by_estimates(version: int) -> None:
    """Without an execution, what can be judged by estimates is found and says so; the rules that need actuals are silent."""
    by_estimate = {"R01", "R02", "R12", "R13", "R14", "R15", "R16", "R25"}
    for name, rule in {
        "missing_index": "R01",
        "scan_per_row": "R02",
        "arithmetic_on_column": "R12",
        "cast_to_numeric": "R13",
        "or_over_columns": "R15",
        "offset_paging": "R16",
        "forgotten_join": "R25",
    }.items():
        hits = judged(planned(recorded_plan(version, f"planted.{name}")), recorded_catalog(version), execution_ms=None)
        assert [hit.rule for hit in hits] == [rule] and hits[0].statement.endswith(BY_ESTIMATE), name
    pattern = judged(planned(recorded_plan(version, "planted.leading_wildcard")), recorded_catalog(version), None, mean_ms=12.0)
    assert [hit.rule for hit in pattern] == ["R14"]
    for case in PLANTED:
        if version in case.versions:
            document = planned(recorded_plan(version, f"planted.{case.name}"))
            assert set(rules(document, recorded_catalog(version), None, mean_ms=50.0)) <= by_estimate, case.name


@pytest.mark.parametrize("version", VERSIONS)
def test_planned_healthy_statements_are_silent(version: int) -> None:
    """By estimates, too, nothing is said of a healthy statement."""
    for case in HEALTHY[:HEALTHY_KEPT]:
        assert not rules(planned(recorded_plan(version, f"healthy.{case.name}")), recorded_catalog(version), None), case.name


def test_a_statement_that_is_fast_in_the_window_is_left_alone() -> None:
    """A planned statement whose calls took half a millisecond has nothing to win."""
    document = planned(recorded_plan(15, "planted.missing_index"))
    assert rules(document, recorded_catalog(15), None, mean_ms=0.5) == []
    assert rules(document, recorded_catalog(15), None, mean_ms=5.0) == ["R01"]


def test_cold_reads_are_time_on_the_clock() -> None:
    """R21, on a recorded plan with the read times of a disk: workers read beside each other, so a third of their sum counts."""
    document = copy.deepcopy(recorded_plan(15, "healthy.whole_table_in_parallel"))
    nodes = [document["Plan"]]
    for node in nodes:
        nodes.extend(node.get("Plans", []))
        node |= {"Shared Read Blocks": 5_000, "I/O Read Time": document["Execution Time"] * 3 * 0.8}
    (hit,) = [hit for hit in judged(document, recorded_catalog(15)) if hit.rule == "R21"]
    assert hit.node_title == "Parallel Seq Scan on orders" and 0.7 < hit.share < 0.9
    for node in nodes:
        node["I/O Read Time"] *= 0.5
    assert "R21" not in rules(document, recorded_catalog(15))


def test_compiling_beside_each_other_is_divided() -> None:
    """R26: 60 ms of just-in-time compiling in three processes are 20 ms on the clock."""
    gather = {"Node Type": "Gather", "Workers Launched": 2, "Actual Loops": 1, "Actual Total Time": 90.0, "Actual Rows": 1}
    gather["Plans"] = [
        {"Node Type": "Seq Scan", "Parent Relationship": "Outer", "Actual Loops": 3, "Actual Total Time": 80.0, "Actual Rows": 1}
    ]
    document = {"Plan": gather, "Execution Time": 100.0, "JIT": {"Functions": 9, "Timing": {"Total": 60.0}}}
    assert rules(document) == []
    document["JIT"] = {"Functions": 9, "Timing": {"Total": 120.0}}
    assert rules(document) == ["R26"]


def delete(name: str, *, calls: int, time_ms: float) -> dict[str, Any]:
    node = {"Node Type": "ModifyTable", "Operation": "Delete", "Relation Name": "p", "Alias": "p"}
    node |= {"Actual Loops": 1, "Actual Rows": 0, "Actual Total Time": 1.0}
    trigger = {"Trigger Name": name, "Constraint Name": "t_p_fkey", "Relation": "p", "Time": time_ms, "Calls": calls}
    return {"Plan": node, "Execution Time": time_ms + 2.0, "Triggers": [trigger]}


def test_a_foreign_key_is_judged_by_its_index() -> None:
    """R27: the action on the referenced table needs an index on the referencing columns; with it, the time it takes is its work."""
    document = delete("RI_ConstraintTrigger_a_9", calls=400, time_ms=20.0)
    bare, indexed = table(("p_id", "integer")), table(("p_id", "integer"), keys=("p_id",))
    key = ForeignKeyFacts(name="t_p_fkey", columns=("p_id",), references_schema="public", references_table="p", references_columns=("id",))
    catalogs = [one.model_copy(update={"tables": (one.tables[0].model_copy(update={"foreign_keys": (key,)}),)}) for one in (bare, indexed)]
    (hit,) = judged(document, catalogs[0])
    assert (hit.rule, hit.relation, hit.columns, hit.node) == ("R27", "t", ("p_id",), 0)
    assert rules(document, catalogs[1]) == []
    assert rules(document) == [], "without a catalog 0.05 ms a call is what an index takes"
    assert rules(delete("RI_ConstraintTrigger_a_9", calls=5, time_ms=20.0)) == ["R27"]
    assert rules(delete("RI_ConstraintTrigger_c_9", calls=400, time_ms=2_000.0), catalogs[0]) == [], "a check looks up a primary key"


def test_a_union_is_not_a_partitioned_table() -> None:
    """R22: empty branches of a UNION ALL over different tables are no partitions."""
    parts = [scan("(c = 5)", kept=0, removed=500, Relation_Name=f"t{one}", Alias=f"t{one}")["Plan"] for one in range(6)]
    union = {
        "Plan": {"Node Type": "Append", "Actual Loops": 1, "Actual Total Time": 241.0, "Actual Rows": 0, "Plans": parts},
        "Execution Time": 241.0,
    }
    assert "R22" not in rules(union)
    for number, one in enumerate(parts):
        one["Alias"] = f"orders_{number + 1}"
    assert "R22" in rules(union)


def test_the_tables_of_the_server_are_left_alone() -> None:
    """Nobody can give pg_attribute an index."""
    assert rules(scan("(c = 5)", Relation_Name="pg_attribute")) == []


def test_sizes_of_values_out_of_line_are_no_bloat() -> None:
    """R20: a filter that reads large documents reads many blocks, but not of the table's own: its planned cost knows its pages."""
    wide = scan("(length(c) > 1)", kept=500, removed=0, Shared_Hit_Blocks=9_000, Total_Cost=80.0)
    assert rules(wide) == []
    assert rules(scan("(c > 1)", kept=500, removed=0, Shared_Hit_Blocks=9_000, Total_Cost=9_020.0)) == ["R20"]
    assert rules(scan("(f(c) > 1)", kept=500, removed=0, Shared_Hit_Blocks=9_000, Total_Cost=9_020.0)) == [], "blocks that f reads"


def test_a_value_that_nobody_could_have_estimated_is_no_misestimate() -> None:
    """R09: what a subquery returns is in no statistics."""
    assert rules(scan("(c > $0)", kept=40_000, removed=10_000, Plan_Rows=100)) == []
    assert rules(scan("(c > 7)", kept=40_000, removed=10_000, Plan_Rows=100)) == ["R09"]


def test_a_brin_index_is_no_bitmap_without_memory() -> None:
    """R04: BRIN finds pages, so all of its blocks are lossy with any memory; a bitmap that ran out of it keeps some exact."""
    bitmap = scan("", kept=4_000, removed=0, node="Bitmap Heap Scan", Rows_Removed_by_Index_Recheck=5_000, Lossy_Heap_Blocks=256)
    assert rules(bitmap) == []
    bitmap["Plan"]["Exact Heap Blocks"] = 50
    assert rules(bitmap) == ["R04"]


def test_expressions_of_several_columns_and_volatile_functions() -> None:
    """R12: an index can have coalesce(a, b), but not a function that may give something else each time."""
    assert rules(scan("(COALESCE(a, b) = 5)"), table(("a", "integer"), ("b", "integer"))) == ["R12"]
    volatile = FunctionFacts(name="score_of", volatile=True, schema_name="public")
    catalog = table(("a", "integer"))
    assert rules(scan("(score_of(a) = 5)"), catalog) == ["R12"]
    assert rules(scan("(score_of(a) = 5)"), catalog.model_copy(update={"functions": (volatile,)})) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_no_sentence_holds_a_value(version: int) -> None:
    """Values that statements compare with may be somebody's: no sentence repeats them."""
    values = {
        "function_on_column": "user77",
        "leading_wildcard": "abc12",
        "cast_to_numeric": "104729",
        "missing_index_null": "COUPON3",
        "or_over_columns": "104729",
        "stale_statistics": "lost",
    }
    for name, value in values.items():
        hits = judged(recorded_plan(version, f"planted.{name}"), recorded_catalog(version))
        assert hits and all(value not in hit.statement for hit in hits), name


CALLS = "SELECT name, total_of(id) FROM t WHERE id <= 40"


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        # 40 rows found by an index, and a full scan of another table for each: no bloat of this one
        (scan("", kept=40, removed=0, node="Index Scan", Shared_Hit_Blocks=39_381, Index_Cond="(id <= 40)", Index_Name="iid"), ["R11"]),
        # called for what a full scan kept, beside what it read itself
        (scan("(b ~~* '%x%'::text)", kept=100, removed=19_900, Shared_Hit_Blocks=98_661), ["R11", "R14"]),
        # rows that the filter threw away were looked up; that is not the function's doing
        (
            scan("(c < 5)", kept=40, removed=9_000, node="Index Scan", Shared_Hit_Blocks=39_381, Index_Cond="(id <= 40)", Index_Name="iid"),
            [],
        ),
    ],
)
def test_what_a_called_function_reads_is_told_as_its_doing(document: dict[str, Any], expected: list[str]) -> None:
    """R11: the blocks stand at the node that calls it. Without a function of the users' own in the statement nothing is said of one."""
    catalog = table(("id", "integer"), ("b", "text"), ("c", "integer"), keys=("id",))
    with_it = catalog.model_copy(update={"functions": (FunctionFacts(name="total_of", volatile=False, schema_name="public"),)})
    tree = parse_plan(document)
    assert called_functions("SELECT 'total_of' || lower(name) FROM t", with_it) == ()

    def found(known: Catalog) -> list[str]:
        functions = called_functions(CALLS, known)
        plan = ExaminedPlan(tree, measure(tree), catalog=known, execution_ms=50.0, functions=functions)
        return [hit.rule for hit in judge_plan(plan) if hit.rule in ("R11", "R14", "R20")]

    assert sorted(found(with_it)) == expected
    assert "R11" not in found(catalog)


def test_an_or_of_expressions_has_no_statistics_to_be_wrong() -> None:
    """R09: what the planner guesses of members of documents is no reason to gather statistics."""
    members = "(((meta -> 'tags'::text) ? 'u1'::text) OR ((meta -> 'tags'::text) ? 'u2'::text))"
    assert rules(scan(members, kept=40_000, removed=20_000, Plan_Rows=1_194), table(("meta", "jsonb"))) == []
    assert rules(scan("((a = 5) OR (a = 7))", kept=40_000, removed=20_000, Plan_Rows=1_194), table(("a", "integer"))) == ["R09"]


@pytest.mark.parametrize(
    ("condition", "rule", "columns"),
    [
        ("((a < 2) OR (a > 998))", "R01", ("a",)),
        ("(((b IS NULL) OR (b = 'x'::text)) AND (a < 2))", "R01", ("b", "a")),
        ("((a < 2) OR (c > 998))", "R15", ("a", "c")),
        ("(ROW(a, c) > ROW(5, 7))", "R01", ("a", "c")),
        ("((b ~~ 'x%'::text) OR (b ~~ 'y%'::text))", "R01", ("b",)),
        ("((b ~~* '%xyz%'::text) OR (d ~~* '%xyz%'::text))", "R14", ("b", "d")),
        ("(b ^@ 'x'::text)", "R12", ("b",)),
        ("((b)::character varying(5) = 'abcde'::text)", "R13", ("b",)),
        ("(b = 'x'::text)", "R01", ("b",)),
    ],
)
def test_ors_rows_and_patterns_go_to_the_rule_that_helps(condition: str, rule: str, columns: tuple[str, ...]) -> None:
    """One index for ranges of one column and for rows, one for each column of a search; where the only index has another collation it is
    none."""
    catalog = table(("a", "integer"), ("b", "text"), ("c", "integer"), ("d", "text"), keys=("b",), definition='USING btree (b COLLATE "C")')
    assert [(hit.rule, hit.columns) for hit in judged(scan(condition), catalog)] == [(rule, columns)]
