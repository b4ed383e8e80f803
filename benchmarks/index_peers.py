"""How others choose indexes, each over the same planner, so that only the method differs.

Written from their documentation and source, not imported: supabase/index_advisor 0.2.0 (SQL), ankane/dexter 0.6.3 (Ruby), and Extend
(Schlosser, Kossmann, Boissier, ICDE 2019) with candidates grown by one column a step.
"""

from collections.abc import Sequence

from perfwright.analysis.indexes.column_uses import TableUse
from perfwright.analysis.indexes.definitions import IndexDefinition, unique
from perfwright.analysis.indexes.selection import MB, NONE, STOP_GAIN, Asking, Indexes, PlanCosts, PlanQuestion, Problem

LEAST_SAVING = 0.5
"""dexter's --min-cost-savings-pct 50."""
LEAST_COST = 100.0
"""dexter's --min-cost: cheaper queries are not looked at."""
COLUMNS_PER_TABLE = 8
"""dexter makes all pairs; this bounds them."""


def index_advisor(uses: Sequence[Sequence[TableUse]]) -> Asking[Indexes]:
    """Every column of a query's tables gets a hypothetical index; those that its plan reads are advised. One query at a time."""
    advised: set[IndexDefinition] = set()
    for query, of_query in enumerate(uses):
        singles = frozenset(_index(use, name) for use in of_query for name in use.needed)
        advised |= (yield PlanQuestion(query, singles)).used
    return frozenset(advised)


def predicate_columns(uses: Sequence[Sequence[TableUse]]) -> Asking[Indexes]:
    """An index per column that some query looks up: what is done by hand."""
    return frozenset(
        _index(use, name)
        for of_query in uses
        for use in of_query
        for name in use.useful
        if not any(index.keys[:1] == (name,) for index in use.table.indexes)
    )
    yield  # a generator, as the others are


def dexter(uses: Sequence[Sequence[TableUse]]) -> Asking[Indexes]:
    """All columns and then all pairs at once; per query the one index that saves half of the cost, if any does."""
    advised: set[IndexDefinition] = set()
    for query, of_query in enumerate(uses):
        before = (yield PlanQuestion(query, NONE)).cost
        if before < LEAST_COST:
            continue
        columns = {id(use): sorted(use.useful)[:COLUMNS_PER_TABLE] for use in of_query}
        singles = frozenset(_index(use, name) for use in of_query for name in columns[id(use)])
        pairs = frozenset(
            _index(use, one, other) for use in of_query for one in columns[id(use)] for other in columns[id(use)] if one != other
        )
        first = yield PlanQuestion(query, singles)
        second = yield PlanQuestion(query, singles | pairs)
        best = second if second.cost < first.cost * LEAST_SAVING else first
        alone: dict[IndexDefinition, float] = {}
        for one in sorted(best.used, key=lambda one: one.title):
            alone[one] = (yield PlanQuestion(query, frozenset((one,)))).cost
        if alone and min(alone.values()) < before * LEAST_SAVING:
            advised.add(min(alone, key=lambda one: alone[one]))
    return frozenset(advised)


def narrow_extend(problem: Problem) -> Asking[Indexes]:
    """Best gain per byte, one step at a time: a new index of one column, or one more column behind the keys of a chosen one."""
    costs = PlanCosts(problem)
    singles = unique(_index(use, name) for of_query in problem.uses for use in of_query for name in sorted(use.useful))
    columns: dict[tuple[str, str], list[str]] = {(one.schema_name, one.table_name): [] for one in singles}
    for one in singles:
        columns[one.schema_name, one.table_name].append(one.keys[0])
    taken, left = NONE, problem.budget_bytes
    while True:
        steps = [(one, taken | {one}) for one in singles if one not in taken]
        for one in taken:
            for name in columns[one.schema_name, one.table_name]:
                if name not in one.keys and len(one.keys) < 4:
                    longer = IndexDefinition(one.schema_name, one.table_name, (*one.keys, name))
                    steps.append((longer, (taken - {one}) | {longer}))
        now = yield from costs.gain(taken)
        best, best_score = None, 0.0
        for _, after in steps:
            size = sum(problem.size(one) for one in after)
            if size > left:
                continue
            gain = (yield from costs.gain(after)) - now
            score = gain / (max(size - sum(problem.size(one) for one in taken), MB / 10) / MB)
            if gain >= STOP_GAIN and score > best_score:
                best, best_score = after, score
        if best is None:
            return taken
        taken = best


def _index(use: TableUse, *columns: str) -> IndexDefinition:
    return IndexDefinition(use.table.schema_name, use.table.name, columns)
