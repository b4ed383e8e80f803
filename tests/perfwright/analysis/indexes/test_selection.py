"""The search over planner costs, answered from golden tables instead of a server."""

import math
from collections.abc import Generator
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfwright.analysis.indexes import selection
from perfwright.analysis.indexes.candidates import candidates
from perfwright.analysis.indexes.column_uses import column_uses
from perfwright.analysis.indexes.definitions import IndexDefinition, merged
from perfwright.analysis.indexes.measured_search import OutOfTime, Shape, ShapeQuestion, Timed, TimeQuestion, score, search_measured
from perfwright.analysis.indexes.selection import NONE, Found, Indexes, PlanAnswer, PlanQuestion, Problem, select
from perfwright.analysis.indexes.write_costs import WriteStatement, wal_bytes, write_statement
from tests.perfwright.analysis.query_advice.drawn import ORDERS, SHOP

QUERIES = (
    "SELECT total FROM orders WHERE customer_id = 5",
    "SELECT id FROM orders WHERE status = 'open' AND created_at > '2026-01-01'",
    "SELECT note FROM orders WHERE total > 9000",
)
USES = tuple(column_uses(text, SHOP) for text in QUERIES)
CANDIDATES = candidates(use for uses in USES for use in uses)
MB = 1_000_000


def of(*keys: str, include: tuple[str, ...] = ()) -> IndexDefinition:
    return IndexDefinition("public", "orders", keys, include)


class Planner:
    """Costs 1000 a query, divided by what the best index shown is worth to it."""

    def __init__(self, worth: dict[int, dict[IndexDefinition, float]]) -> None:
        self.worth, self.questions = worth, 0

    def answer(self, question: PlanQuestion) -> PlanAnswer:
        self.questions += 1
        known = {one: factor for one, factor in self.worth.get(question.query, {}).items() if one in question.indexes}
        best = max(known, key=lambda one: (known[one], one.title), default=None)
        return PlanAnswer(1000 / known[best], frozenset((best,))) if best else PlanAnswer(1000, NONE)

    def run(self, asking: Generator[PlanQuestion, PlanAnswer, Any]) -> Any:
        try:
            question = next(asking)
            while True:
                question = asking.send(self.answer(question))
        except StopIteration as done:
            return done.value


def problem(budget: int = 10**9, sizes: dict[IndexDefinition, int] | None = None, writes: tuple[WriteStatement, ...] = ()) -> Problem:
    return Problem(USES, (1.0,) * len(USES), writes, budget, lambda one: (sizes or {}).get(one, 10 * MB))


WORTH = {0: {of("customer_id"): 50.0, of("customer_id", include=("total",)): 80.0}, 1: {of("status", "created_at"): 4.0}, 2: {}}


def test_the_best_set_within_the_budget_is_found() -> None:
    """Both queries get theirs; with room for one, the one that gains more."""
    found: Found = Planner(WORTH).run(select(problem(), CANDIDATES))
    assert found.selections[0].indexes == {of("customer_id", include=("total",)), of("status", "created_at")}
    small: Found = Planner(WORTH).run(select(problem(budget=12 * MB), CANDIDATES))
    assert small.selections[0].indexes == {of("customer_id", include=("total",))}


def test_nothing_that_helps_gives_nothing() -> None:
    """A workload that no index helps is asked about once with everything shown, and gets the empty set."""
    planner = Planner({})
    found: Found = planner.run(select(problem(), CANDIDATES))
    assert found.selections[0].indexes == NONE and found.pool == () and planner.questions == 2 * len(QUERIES)


def test_questions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """With few left, the search ends with what is known, and claims no gain that it did not see."""
    monkeypatch.setattr(selection, "MOST_ASKED", 8)
    planner = Planner(WORTH)
    found: Found = planner.run(select(problem(), CANDIDATES))
    assert planner.questions <= 8 + len(QUERIES)
    assert all(one.gain >= 0 for one in found.selections)


def test_what_an_index_costs_writes_is_weighed_against_its_gain() -> None:
    """A gain of a fifth is not worth losing HOT for updates that come ten times as often."""
    worth = {1: {of("status"): 1.2}}
    update = write_statement("UPDATE orders SET status = 'done' WHERE id = 3", SHOP, weight=10.0)
    assert update is not None and update.columns == {"status"}
    without: Found = Planner(worth).run(select(problem(), CANDIDATES))
    weighed: Found = Planner(worth).run(select(problem(writes=(update,)), CANDIDATES))
    assert without.selections[0].indexes == {of("status")} and weighed.selections[0].indexes == NONE


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_greedy_is_near_the_best_of_all_sets(data: st.DataObject) -> None:
    """Against the slow twin that looks at every set: with one index per query in its plan, at least 63 % of the best gain (1 - 1/e,
    Nemhauser, Wolsey, Fisher 1978), and never over the budget."""
    some = data.draw(st.lists(st.sampled_from(CANDIDATES), min_size=1, max_size=5, unique=True))
    worth = {
        query: {one: data.draw(st.floats(1.5, 100)) for one in some if any(one.keys[0] in use.useful for use in USES[query])}
        for query in range(len(QUERIES))
    }
    sizes = {one: data.draw(st.integers(1, 40)) * MB for one in some}
    budget = data.draw(st.integers(5, 80)) * MB
    one_problem = problem(budget, sizes)
    planner = Planner(worth)
    found: Found = planner.run(select(one_problem, some))

    def gain(indexes: Indexes) -> float:
        from perfwright.analysis.indexes.selection import PlanCosts

        return float(planner.run(PlanCosts(one_problem).gain(indexes)))

    fitting = [frozenset(c) for n in range(len(some) + 1) for c in combinations(some, n) if sum(sizes[one] for one in c) <= budget]
    best = max(gain(one) for one in fitting)
    assert sum(one_problem.size(one) for one in found.selections[0].indexes) <= budget
    assert found.selections[0].gain == pytest.approx(gain(found.selections[0].indexes))
    assert found.selections[0].gain >= (1 - 1 / 2.72) * best / 2 - 1e-9


def test_merged_indexes_serve_both() -> None:
    """Same first key: the longer keys, and everything that either carries."""
    both = merged(of("status", include=("total",)), of("status", "created_at"), 6)
    assert both == of("status", "created_at", include=("total",)) and both.begins(of("status"))
    assert merged(of("status"), of("total"), 6) is None and merged(of("status", "id"), of("status", include=("note", "total")), 3) is None


class Clone:
    """Times by set of used indexes; the planner uses all that are shown."""

    def __init__(self, ratios: dict[int, dict[IndexDefinition, float]], lasts: int = 10**6) -> None:
        self.ratios, self.lasts, self.timed = ratios, lasts, 0

    def run(self, search: Generator[ShapeQuestion | TimeQuestion, Shape | Timed, Any]) -> Any:
        try:
            question = next(search)
            while True:
                if isinstance(question, TimeQuestion) and self.timed >= self.lasts:
                    question = search.throw(OutOfTime())
                    continue
                question = search.send(self.answer(question))
        except StopIteration as done:
            return done.value

    def answer(self, question: ShapeQuestion | TimeQuestion) -> Shape | Timed:
        known = self.ratios.get(question.query, {})
        used = frozenset(one for one in question.indexes if one in known)
        if isinstance(question, TimeQuestion):
            self.timed += 1
            return Timed(min((known[one] for one in used), default=1.0))
        return Shape(" ".join(sorted(one.title for one in used)), 1000 / (1 + len(used)), used)


A, B, C = of("customer_id"), of("status", "created_at"), of("total")
RELEVANT = {A: frozenset((0,)), B: frozenset((1,)), C: frozenset((2,))}


def test_what_the_planner_likes_and_time_does_not_goes() -> None:
    """A halves its query; B makes its own slower although it is cheaper by cost; C changes nothing that is worth its upkeep."""
    clone = Clone({0: {A: 0.5}, 1: {B: 1.4}, 2: {C: 0.99}})
    found = clone.run(search_measured(problem(), [frozenset((A, B, C))], (A, B, C), RELEVANT))
    assert found.indexes == {A} and found.ratios == (0.5, 1.0, 1.0) and found.finished


def test_what_time_likes_is_added() -> None:
    """Also where the start did not have it; and a start over the real budget is cut to it."""
    clone = Clone({0: {A: 0.5}, 1: {B: 0.3}})
    assert clone.run(search_measured(problem(), [frozenset((A,))], (A, B, C), RELEVANT)).indexes == {A, B}
    cut = Clone({0: {A: 0.5}, 1: {B: 0.3}}).run(search_measured(problem(15 * MB), [frozenset((A, B, C))], (A, B, C), RELEVANT))
    assert len(cut.indexes) == 1


def test_a_wide_index_makes_room_for_several() -> None:
    """It is worth more than any other, and less than the three that its room is enough for; exchanging one for one never gets there."""
    wide = of("customer_id", include=("note", "total"))
    sizes = {wide: 40 * MB, A: 14 * MB, B: 14 * MB, C: 14 * MB}
    times = {0: {wide: 0.4, A: 0.6}, 1: {B: 0.5}, 2: {C: 0.6}}
    relevant = RELEVANT | {wide: frozenset((0,))}
    found = Clone(times).run(search_measured(problem(44 * MB, sizes), [frozenset((wide,))], (A, B, C, wide), relevant))
    assert found.indexes == {A, B, C} and found.finished


def test_for_a_little_room_no_large_index_goes() -> None:
    """Per byte the wide one gains least, but four megabytes are wanted, and a small one that is missed less makes them too."""
    wide = of("customer_id", include=("note", "total"))
    times, relevant = {0: {wide: 0.05}, 1: {B: 0.6}, 2: {C: 0.5}}, RELEVANT | {wide: frozenset((0,))}
    starts = [frozenset((wide, B)), frozenset((wide, B, C))]
    sizes = {wide: 40 * MB, B: 6 * MB, C: 6 * MB}
    found = Clone(times).run(search_measured(problem(48 * MB, sizes), starts, (B, C, wide), relevant))
    assert found.start_values[1] == pytest.approx(math.log(0.05) + math.log(0.5)) and found.indexes == {wide, C}


def test_a_plan_is_timed_once() -> None:
    """Whatever set it came from."""
    clone = Clone({0: {A: 0.5}, 1: {B: 0.6}, 2: {C: 0.7}})
    clone.run(search_measured(problem(), [frozenset((A, B)), frozenset((A, C)), frozenset((B, C))], (A, B, C), RELEVANT))
    assert clone.timed == 3


def test_without_time_nothing_is_claimed() -> None:
    """The search ends with the first start and no claim about it, or with what was measured."""
    starts = [frozenset((A, B))]
    hasty = Clone({0: {A: 0.5}}, lasts=0).run(search_measured(problem(), starts, (A, B, C), RELEVANT))
    assert hasty.indexes == {A, B} and set(hasty.ratios) == {1.0} and hasty.value == 0.0 and not hasty.finished
    found = Clone({0: {A: 0.5}, 1: {B: 0.6}, 2: {C: 0.1}}, lasts=2).run(search_measured(problem(), starts, (A, B, C), RELEVANT))
    assert found.indexes == {A, B} and not found.finished


def test_a_slower_query_weighs_three_times() -> None:
    """A tenth slower is not paid for by a tenth faster."""
    assert score(1.2) + score(1 / 1.2) > 0.3 and score(1.04) == pytest.approx(0.0392, abs=1e-4)


def test_wal_follows_what_was_measured() -> None:
    """64 bytes per index for an insert; an update pays nothing while it stays HOT, and for every index once it does not."""
    insert, update = WriteStatement(ORDERS, "insert"), WriteStatement(ORDERS, "update", frozenset(("total",)))
    assert wal_bytes(insert, (A, B)) - wal_bytes(insert, ()) == 128
    assert wal_bytes(update, (A, B)) == wal_bytes(update, ())
    assert wal_bytes(update, (A, C)) - wal_bytes(update, ()) == 124 + 3 * 64  # the primary key counts too
    assert wal_bytes(update, (of("status", include=("total",)),)) > wal_bytes(update, ())
    partial = IndexDefinition("public", "orders", ("status",), predicate="total IS NULL")
    assert wal_bytes(update, (partial,)) > wal_bytes(update, ())
