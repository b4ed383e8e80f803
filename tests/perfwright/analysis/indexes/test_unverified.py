"""What is said where nothing can be measured: by costs alone, within the same bounds, and in words that say so."""

import math
from typing import TypeVar

import pytest

from activities.index_findings import IndexFindings
from perfwright.analysis.indexes.btree_tops import META_AT, PAGE_BYTES, btree_height, with_height
from perfwright.analysis.indexes.given import read_definition
from perfwright.analysis.indexes.selection import Asking, Indexes, PlanAnswer
from perfwright.analysis.indexes.statement_texts import RunnableStatement
from perfwright.analysis.indexes.unverified import Bounds, WriteVolumes, estimate, unverified
from perfwright.analysis.indexes.workload import read_workload
from perfwright.models.database import Catalog, ColumnFacts, TableFacts
from perfwright.models.index_steps import ConcludeIndexStrategy
from perfwright.models.index_strategy import ExistingIndex, ExistingIndexes, IndexStrategyDetails, IndexStrategyRequest

T = TypeVar("T")
ORDERS = TableFacts(
    schema_name="public",
    name="orders",
    rows=100_000,
    columns=tuple(ColumnFacts(name=name, type="integer", average_width_bytes=4, distinct=-1) for name in ("id", "customer", "total")),
)
CATALOG = Catalog(database="shop", tables=(ORDERS,))
TEXTS = (
    "SELECT sum(total) FROM orders WHERE customer = 7",
    "SELECT id FROM orders WHERE total = 3",
    "UPDATE orders SET total = 4 WHERE id = 5",
)
STATEMENTS = tuple(RunnableStatement(f"f{number}", text, text, 1.0, 1, text.startswith("UPDATE")) for number, text in enumerate(TEXTS))
WORKLOAD = read_workload(TEXTS, (2.0, 1.0, 1.0), CATALOG, 10**9)
CUSTOMER, TOTAL = (read_definition(f"CREATE INDEX ON orders ({name})", CATALOG) for name in ("customer", "total"))
COSTS = {0: (CUSTOMER, 1_000.0, 10.0), 1: (TOTAL, 500.0, 400.0)}
"""Query -> the index that helps it, its cost without, and with."""


def answered(asking: Asking[T]) -> T:
    """By the table of costs above."""

    def cost(query: int, indexes: Indexes) -> PlanAnswer:
        index, before, after = COSTS.get(query, (CUSTOMER, 8.0, 8.0))
        used = index in indexes and after < before
        return PlanAnswer(after if used else before, frozenset((index,)) if used else frozenset())

    try:
        question = next(asking)
        while True:
            question = asking.send(cost(question.query, question.indexes))
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]


def test_what_saves_too_little_or_costs_writers_too_much_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The share of the time that an index would save is 0.495 and 0.05 here, if costs were times; and the one on what the write changes
    would end HOT."""
    writes = WriteVolumes(STATEMENTS, CATALOG)
    both = frozenset((CUSTOMER, TOTAL))
    assert answered(estimate(WORKLOAD, both, writes, Bounds(0.01, math.inf))).indexes == both
    assert answered(estimate(WORKLOAD, both, writes, Bounds(0.06, math.inf))).indexes == {CUSTOMER}
    assert answered(estimate(WORKLOAD, both, writes, Bounds(0.06, math.inf, asked=frozenset((TOTAL,))))).indexes == both
    monkeypatch.setitem(COSTS, 1, (TOTAL, 20.0, 5.0))  # a look-up that costs three pages less: what one B-tree is charged beside another
    assert answered(estimate(WORKLOAD, both, writes, Bounds(0.01, math.inf))).indexes == {CUSTOMER}
    monkeypatch.undo()
    dear = answered(estimate(WORKLOAD, both, writes, Bounds(0.01, 0.25)))
    assert dear.indexes == {CUSTOMER} and "WAL" in dear.dropped[TOTAL] and writes.growth((CUSTOMER,)) == (0.0, "estimated")


async def test_nothing_that_is_told_sounds_measured() -> None:
    """Every candidate is called unverified, with its statement, its size, what writers would pay, and how it can be verified; what is
    redundant is advice as well, and nothing is proposed."""
    writes = WriteVolumes(STATEMENTS, CATALOG)
    judged = answered(estimate(WORKLOAD, frozenset((CUSTOMER, TOTAL)), writes, Bounds(0.01, math.inf)))
    told = unverified(judged, WORKLOAD, STATEMENTS, (), writes).model_copy(update={"why": "it has 400,000 MB", "way_out": "Copy less"})
    assert [one.title for one in told.indexes] == ["orders(customer)", "orders(total)"] and told.indexes[0].bytes > 1_000_000
    assert told.indexes[0].effects[0].ratio == pytest.approx(0.01)
    # An entry of 64 bytes more beside the other, which ends HOT: 72 bytes become 324, with that one alone 260.
    assert [one.write_growth for one in told.indexes] == [round(64 / 72, 4), round(252 / 72, 4)] and told.cost_gain == pytest.approx(
        (100**2 * 1.25) ** (1 / 4), rel=1e-3
    )
    prefix = ExistingIndex(name="public.i", table="public.orders", kind="prefix", reason="it begins j", undo=("CREATE INDEX i",))
    details = IndexStrategyDetails(unverified=told, existing=ExistingIndexes(noted=(prefix,)))
    asked = ConcludeIndexStrategy(request=IndexStrategyRequest(target="shop-db", write_growth_most=10.0), title="shop-db", details=details)
    said = await IndexFindings().conclude_index_strategy(asked)
    assert said.verdict == "inconclusive" and "Nothing was measured" in said.summary and "400,000 MB" in said.summary
    assert [one.id for one in said.findings][:2] == ["index:unverified:orders(customer)", "index:unverified:orders(total)"]
    missing, advice = said.findings[0], said.recommendations[0]
    assert "not verified" in missing.title and "Nothing was measured" in missing.summary and missing.confidence == "low"
    assert "CREATE INDEX CONCURRENTLY orders_customer_idx" in advice.brief and "clone_dsn_env" in advice.brief and advice.change is None
    assert any("DROP INDEX CONCURRENTLY public.i" in one.title and "not measured" in one.brief for one in said.recommendations)
    assert {one.name: one.outcome for one in said.quality_gates}["no query slower"] == "no data"
    none = told.model_copy(update={"indexes": ()})
    asked = asked.model_copy(update={"details": details.model_copy(update={"unverified": none})})
    assert (await IndexFindings().conclude_index_strategy(asked)).verdict == "passed"


@pytest.mark.parametrize(
    ("pages", "width", "height"),
    # Pages and bt_metap of pageinspect, PostgreSQL 15: integers, and texts of 33 bytes; where rows were inserted and by CREATE INDEX.
    [(2, 4, 0), (276, 4, 1), (330, 4, 1), (442, 4, 2), (2_745, 4, 2), (189, 33, 2), (291, 33, 2), (3_787, 33, 2), (7_210, 33, 2)],
)
def test_heights_of_b_trees(pages: int, width: int, height: int) -> None:
    """From pages and the width of the key alone."""
    assert btree_height(pages, width) == height


def test_statistics_leave_a_server_in_production_only_where_somebody_says_so() -> None:
    """They hold values of rows. Elsewhere they are copied where a clone with rows cannot be made."""
    asked = IndexStrategyRequest(target="shop-db")
    assert (asked.decided("production").statistics_clone, asked.decided("lab").statistics_clone) == ("never", "where needed")
    wanted = asked.model_copy(update={"statistics_clone": "where needed"})
    assert wanted.decided("production").statistics_clone == "where needed"


def test_only_the_metapage_of_an_empty_index_is_changed() -> None:
    """Whatever else is there is left alone."""
    meta = bytes(META_AT) + (0x053162).to_bytes(4, "little") + (4).to_bytes(4, "little") + bytes(PAGE_BYTES - META_AT - 8)
    pages = with_height(meta, 2)
    assert pages and len(pages) == 3 * PAGE_BYTES and pages[:META_AT] == meta[:META_AT]
    assert with_height(pages[:PAGE_BYTES], 2) is None and with_height(bytes(PAGE_BYTES), 2) is None and with_height(meta, 0) is None
