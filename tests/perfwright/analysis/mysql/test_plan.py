"""Plans of both servers, as documents."""

import copy
import random
from typing import Any

import pytest

from perfwright.analysis.mysql.conditions import conditions_on, read_statement, sort_columns
from perfwright.analysis.mysql.judge import judge_mysql_plans, mysql_picture
from perfwright.analysis.mysql.plan import MAX_NODES, NotAPlan, parse_plan
from perfwright.models.database import DatabaseFacts
from perfwright.models.query_performance import ExplainOutcome
from perfwright.models.query_steps import RULE_FAMILIES, PlanSet, StatementPlans, TakenPlan
from perfwright.models.statement import Statement, StatementSample, StatementTable

MYSQL_8: dict[str, Any] = {
    "query_block": {
        "select_id": 1,
        "cost_info": {"query_cost": "6052.25"},
        "ordering_operation": {
            "using_filesort": True,
            "table": {
                "table_name": "orders",
                "access_type": "ALL",
                "rows_examined_per_scan": 60000,
                "rows_produced_per_join": 600,
                "filtered": "1.00",
                "cost_info": {"read_cost": "5992.25", "eval_cost": "60.00", "prefix_cost": "6052.25", "data_read_per_join": "70K"},
                "used_columns": ["id", "total"],
                "attached_condition": "(`shop`.`orders`.`total` = 5.00)",
            },
        },
    }
}
MARIADB: dict[str, Any] = {
    "query_block": {
        "select_id": 1,
        "r_loops": 1,
        "r_total_time_ms": 10.0,
        "nested_loop": [
            {
                "table": {
                    "table_name": "c",
                    "access_type": "range",
                    "key": "PRIMARY",
                    "r_loops": 1,
                    "rows": 9,
                    "r_rows": 9,
                    "r_table_time_ms": 1.0,
                }
            },
            {
                "block-nl-join": {
                    "table": {"table_name": "o", "access_type": "ALL", "r_loops": 1, "rows": 60, "r_rows": 60, "r_table_time_ms": 4.0},
                    "attached_condition": "o.customer_id = c.id",
                    "r_loops": 9,
                    "r_unpack_time_ms": 2.0,
                    "r_other_time_ms": 1.0,
                }
            },
        ],
    }
}


def judged(document: dict[str, Any], text: str) -> list[str]:
    sample = StatementSample(text=text, source="given")
    mode = "planned"
    plans = PlanSet(
        database=DatabaseFacts(system="mysql", version="8.4.0", version_number=80_400, database="shop"),
        statements=(
            StatementPlans(
                fingerprint="a" * 16,
                outcome=ExplainOutcome(fingerprint="a" * 16, mode=mode),
                plans=(TakenPlan(sample=sample, mode=mode, plan=document),),
            ),
        ),
    )
    statement = Statement(fingerprint="a" * 16, text=text, calls=10, mean_ms=50.0, total_ms=500.0)
    table = StatementTable(statements=(statement,), total_ms=500.0, seconds=1.0)
    return [hit.rule for family in RULE_FAMILIES for hit in judge_mysql_plans(plans, table, None, family).hits]


def test_a_plan_of_mysql_is_read() -> None:
    """Rows, percentages and costs that MySQL writes as text are numbers; nothing was executed."""
    plan = parse_plan(MYSQL_8)
    assert [node.title for node in plan.nodes] == ["query block", "filesort", "ALL on orders"]
    assert (plan.analyzed, plan.cost, plan.nodes[2].rows, plan.nodes[2].filtered) == (False, 6052.25, 60_000, 1.0)
    assert judged(MYSQL_8, "SELECT id FROM orders WHERE total = 5 ORDER BY id") == ["R01"]


def test_times_are_own_and_with_what_is_below() -> None:
    """block 10 ms = 2 own + c 1 + (join buffer 3 own + o 4)."""
    plan = parse_plan(MARIADB)
    assert [(node.title, node.own_ms, node.total_ms) for node in plan.nodes] == [
        ("query block", 2.0, 10.0),
        ("range PRIMARY on c", 1.0, 1.0),
        ("join buffer", 3.0, 7.0),
        ("ALL on o", 4.0, 4.0),
    ]
    assert plan.share(plan.nodes[2]) == pytest.approx(0.7)
    assert mysql_picture(plan).nodes[3].hot


@pytest.mark.parametrize("document", [None, [], "x", {}, {"query_block": 1}, {"query_plan": {"inputs": []}}])
def test_other_documents_are_no_plans(document: object) -> None:
    """What has no query block is refused, not guessed at."""
    with pytest.raises(NotAPlan):
        parse_plan(document)


def test_broken_documents_are_read_or_refused() -> None:
    """Whatever stands in a document: a plan with a whole tree, or NotAPlan; rules and pictures take every plan."""
    random_values = random.Random(7)
    values: list[Any] = [None, -1, 1e300, "", "x" * 50, [], {}, True, [[{}]], {"table": 3}, "NaN", "1e999", [None]]
    for _ in range(600):
        document = copy.deepcopy(random_values.choice([MYSQL_8, MARIADB]))
        for _ in range(random_values.randint(1, 4)):
            place: Any = document
            while True:
                keys = list(place) if isinstance(place, dict) else list(range(len(place)))
                if not keys:
                    break
                key = random_values.choice(keys)
                if isinstance(place[key], dict | list) and place[key] and random_values.random() < 0.8:
                    place = place[key]
                    continue
                place[key] = copy.deepcopy(random_values.choice([*values, MARIADB["query_block"]]))
                break
        try:
            plan = parse_plan(document)
        except NotAPlan:
            continue
        assert all(node.parent < node.id for node in plan.nodes)
        assert mysql_picture(plan).nodes
        judged(document, "SELECT c.id FROM customers c JOIN orders o ON o.customer_id = c.id")


def test_very_large_documents_are_bounded() -> None:
    """Depth and number of nodes are cut, and counted."""
    wide = {"query_block": {"nested_loop": [{"table": {"table_name": str(number)}} for number in range(MAX_NODES + 10)]}}
    assert (len(parse_plan(wide).nodes), parse_plan(wide).left_out) == (MAX_NODES, 11)
    deep: dict[str, Any] = {"table": {"table_name": "t"}}
    for _ in range(2_000):
        deep = {"materialized": {"query_block": deep}}
    assert parse_plan({"query_block": deep}).left_out == 1


def test_conditions_are_read_for_what_an_index_finds() -> None:
    """Equalities, ranges, functions and wildcards of one table; the server's own notes are no obstacle."""
    found = conditions_on(
        "o.a = 5 and o.b > <cache>(3) and trigcond(o.c = c.id) and year(o.d) = 1 and o.e like '%x' and o.f like 'x%' and c.g = 1 and o.h in ('1','2')",
        "o",
    )
    assert (found.equalities, found.ranges, found.wrapped, found.unanchored) == (["a", "c", "h"], ["b", "f"], ["d"], ["e"])
    assert found.numbers == ["a"]
    assert conditions_on("o.a = 1 or o.b = 2", "o").alternatives == ["a", "b"]
    assert conditions_on("o.a = o.b", "o") == conditions_on("((", "o") == conditions_on("", "o")


def test_the_statement_tells_what_the_plan_does_not() -> None:
    """Aliases, OFFSET in both spellings, bare columns of GROUP BY, sort keys of one table."""
    view = read_statement("SELECT o.a, count(*) FROM orders AS o JOIN t ON t.x = o.x GROUP BY o.a LIMIT 40, 10")
    assert (view.aliases, view.limit, view.offset, view.group_columns) == ({"o": "orders", "t": "t"}, 10.0, 40.0, ("a",))
    assert read_statement("SELECT 1 FROM a x WHERE EXISTS (SELECT 1 FROM b x)").aliases == {}
    assert sort_columns("o.`a` desc, o.b desc", "o") == ("a", "b")
    assert sort_columns("o.a, o.b desc", "o") == sort_columns("o.a, t.b", "o") == sort_columns("sum(o.a)", "o") == ()
