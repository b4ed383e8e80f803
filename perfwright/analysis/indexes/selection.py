"""Which of many candidates together? By the planner's costs, under a budget of bytes and with the price that writes pay.

After Extend (Schlosser, Kossmann, Boissier, "Efficient Scalable Multi-Attribute Index Selection Using Recursive Strategies", ICDE 2019):
greedy by gain per byte, but over candidates that are wide from the start, and by the sum of log(cost / cost without): a query that takes
milliseconds counts as much as one that takes minutes, as far as its weight says so. Gains are taken lazily: an index whose last known gain
is below the best fresh one is not asked about again.

Nothing is asked here. `select` is a generator: it yields questions about plans and is sent answers, so that it is the same function over a
server and over a table of golden costs. A cost is used again for S' wherever an index set S with its used indexes U satisfies U <= S' <= S:
the planner would take the same plan (Papadomanolakis, Dash, Ailamaki, "Efficient Use of the Query Optimizer for Automated Physical
Design", VLDB 2007).
"""

import math
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TypeVar

from perfwright.analysis.indexes.candidates import candidates as of_uses
from perfwright.analysis.indexes.candidates import relevant
from perfwright.analysis.indexes.column_uses import TableUse
from perfwright.analysis.indexes.definitions import IndexDefinition, merged, unique
from perfwright.analysis.indexes.write_costs import WriteStatement, write_penalty

Indexes = frozenset[IndexDefinition]
NONE: Indexes = frozenset()
LEAST_HOPE = 0.03
"""Log gain of a query with all candidates there at once; below it, no single one is asked about."""
BEST_OF_QUERY = 6
MAX_MERGES = 40
MAX_COLUMNS = 6
"""Of a merged index."""
MOST_ASKED = 20_000
"""Plans asked about, a minute where each takes the planner 3 ms: beyond, what is not known counts as no better than without, and the
search soon ends. Thirty queries of TPC-DS take 11,000; cut at 8,000, the way that was the best of all was not gone to its end."""
STOP_GAIN = 0.02
"""Log gain per mean query weight below which no further index is worth its upkeep."""
PRUNE_LOSS = 0.005
MB = 1_000_000
NEXT_TO_NOTHING = 0.003
SIZE_POWERS = (0.0, 0.5, 1.0)
"""Gain per MB to this power: 0 takes the best, 1 the best per byte."""


@dataclass(frozen=True)
class PlanQuestion:
    """What would this query's plan be with exactly these indexes beside the existing ones?"""

    query: int
    indexes: Indexes


@dataclass(frozen=True)
class PlanAnswer:
    """The planner's cost, and which of the asked indexes its plan reads."""

    cost: float
    used: Indexes


_T = TypeVar("_T")
Asking = Generator[PlanQuestion, PlanAnswer, _T]
"""Asks about plans, and comes to a result."""


@dataclass(frozen=True)
class Problem:
    """What to choose from, for whom, and within which bounds."""

    uses: tuple[tuple[TableUse, ...], ...]
    """Of each query."""
    weights: tuple[float, ...]
    """Of each query; their mean should be 1."""
    writes: tuple[WriteStatement, ...]
    budget_bytes: int
    size: Callable[[IndexDefinition], int]


@dataclass(frozen=True)
class Selection:
    """A set of indexes, and what the planner promises of it."""

    indexes: Indexes
    gain: float
    """Sum of weighted log gains, the price of writes taken off."""
    bytes: int
    how: str


@dataclass(frozen=True)
class Found:
    """All that a search came to."""

    selections: tuple[Selection, ...]
    """Best first."""
    pool: tuple[IndexDefinition, ...]
    """Everything that was worth choosing from."""
    asked: int
    """Plans asked about."""
    gains: Mapping[IndexDefinition, float]
    """Log gain of each index of the pool alone."""


class PlanCosts:
    """Answers, kept and used again."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._known: list[dict[Indexes, PlanAnswer]] = [{} for _ in problem.uses]
        self._relevant: list[dict[IndexDefinition, bool]] = [{} for _ in problem.uses]
        self.asked = 0

    def relevant(self, query: int, indexes: Iterable[IndexDefinition]) -> Indexes:
        """Those that the query may profit from."""
        known, uses = self._relevant[query], self._problem.uses[query]
        found = []
        for one in indexes:
            if one not in known:
                known[one] = relevant(one, uses)
            if known[one]:
                found.append(one)
        return frozenset(found)

    def plan(self, query: int, indexes: Collection[IndexDefinition]) -> Asking[PlanAnswer]:
        asked, known = self.relevant(query, indexes), self._known[query]
        if (answer := known.get(asked)) is not None:
            return answer
        for whole, answer in known.items():
            if answer.used <= asked <= whole:
                known[asked] = answer
                return answer
        if self.asked >= MOST_ASKED and NONE in known:
            return known[NONE]
        self.asked += 1
        known[asked] = answer = yield PlanQuestion(query, asked)
        return answer

    def gain(self, indexes: Collection[IndexDefinition]) -> Asking[float]:
        """Weighted sum of log(cost without / cost with), less the price of writes."""
        total = -write_penalty(self._problem.writes, indexes)
        for query, weight in enumerate(self._problem.weights):
            before, after = (yield from self.plan(query, NONE)), (yield from self.plan(query, indexes))
            total += weight * _log_gain(before, after)
        return total

    def added_gain(self, index: IndexDefinition, beside: Indexes) -> Asking[float]:
        """What the index adds to `beside`, in whose place it comes for those that it serves as well."""
        after = with_index(beside, index)
        total = write_penalty(self._problem.writes, beside) - write_penalty(self._problem.writes, after)
        for query, weight in enumerate(self._problem.weights):
            if weight and self.relevant(query, after ^ beside):
                before, now = (yield from self.plan(query, beside)), (yield from self.plan(query, after))
                total += weight * _log_gain(before, now)
        return total


def with_index(beside: Indexes, index: IndexDefinition) -> Indexes:
    """The set with the index, without those that it makes superfluous."""
    return frozenset(one for one in beside if not index.begins(one)) | {index}


def select(problem: Problem, candidates: Sequence[IndexDefinition], starts: Collection[Indexes] = ()) -> Asking[Found]:
    """The best sets within the budget, by several ways of weighing gain against size. `starts`: sets to be looked at as well."""
    costs = PlanCosts(problem)
    pool, singles, hopes = yield from _pool(problem, costs, candidates)
    found: dict[Indexes, Selection] = {}
    for power in SIZE_POWERS:
        yield from _keep(found, problem, costs, (yield from _greedy(problem, costs, pool, hopes, power)), f"gain per MB^{power:g}")
    bare = tuple(one for one in pool if not one.include)
    yield from _keep(found, problem, costs, (yield from _greedy(problem, costs, bare, hopes, 0.5)), "without INCLUDE")
    for start in starts:
        yield from _keep(found, problem, costs, start, "given")
    ordered = sorted(found.values(), key=lambda one: (-one.gain, one.bytes, one.how))
    return Found(tuple(ordered), pool, costs.asked, singles)


def _keep(found: dict[Indexes, Selection], problem: Problem, costs: PlanCosts, indexes: Indexes, how: str) -> Asking[None]:
    size = sum(problem.size(one) for one in indexes)
    if indexes not in found and size <= problem.budget_bytes:
        found[indexes] = Selection(indexes, (yield from costs.gain(indexes)), size, how)


_Pool = tuple[tuple[IndexDefinition, ...], dict[IndexDefinition, float], dict[IndexDefinition, dict[int, float]]]


def _pool(problem: Problem, costs: PlanCosts, candidates: Sequence[IndexDefinition]) -> Asking[_Pool]:
    """The best candidates of each query by gain and by gain per byte, what its plan with all of them reads, and merges of these. With the
    gain of each alone over all queries, and, for what a plan with all candidates reads, the cost of that plan by query."""
    plain = [one for one in candidates if one.plain and problem.size(one) <= problem.budget_bytes]
    chosen: list[IndexDefinition] = []
    hopes: dict[IndexDefinition, dict[int, float]] = {}
    for query, weight in enumerate(problem.weights):
        fitting = costs.relevant(query, plain)
        if not weight or not fitting:
            continue
        before, best = (yield from costs.plan(query, NONE)), (yield from costs.plan(query, fitting))
        if _log_gain(before, best) < LEAST_HOPE:
            continue
        for one in best.used:
            hopes.setdefault(one, {})[query] = best.cost
        gains: dict[IndexDefinition, float] = {}
        # What another query's uses gave rise to is asked about for that query; here only where the best plan reads it.
        own = fitting & {*of_uses(problem.uses[query]), *best.used}
        for one in sorted(own, key=lambda one: one.title):
            answer = yield from costs.plan(query, (one,))
            if (gain := _log_gain(before, answer)) > 0:
                gains[one] = gain
        by_gain = sorted(gains, key=lambda one: (-gains[one], one.title))
        by_density = sorted(gains, key=lambda one: (-gains[one] / max(1, problem.size(one)), one.title))
        chosen += [*by_gain[:BEST_OF_QUERY], *by_density[:BEST_OF_QUERY], *sorted(best.used, key=lambda one: one.title)]
    firsts = unique(chosen)
    singles = {}
    for one in firsts:
        singles[one] = yield from costs.added_gain(one, NONE)
    merges = _merges(problem, singles)
    for one in merges:
        singles[one] = yield from costs.added_gain(one, NONE)
    return unique([*firsts, *merges]), singles, hopes


def _merges(problem: Problem, singles: Mapping[IndexDefinition, float]) -> list[IndexDefinition]:
    """Those of whose two halves the most may be expected."""
    found: dict[IndexDefinition, float] = {}
    for one, other in permutations(singles, 2):
        if (both := merged(one, other, MAX_COLUMNS)) and both not in singles and problem.size(both) <= problem.budget_bytes:
            expected = (singles[one] + singles[other]) / max(problem.size(both), MB / 10) ** 0.5
            found[both] = max(found.get(both, 0.0), expected)
    return sorted(found, key=lambda one: (-found[one], one.title))[:MAX_MERGES]


def _greedy(
    problem: Problem, costs: PlanCosts, pool: Sequence[IndexDefinition], hopes: Mapping[IndexDefinition, Mapping[int, float]], power: float
) -> Asking[Indexes]:
    """One index after the other, the best first, as long as it is worth it; then those that later ones made superfluous go."""
    taken, left = NONE, problem.budget_bytes
    last: dict[IndexDefinition, float] = {}
    while True:
        now: dict[int, float] = {}
        for query in range(len(problem.uses)):
            now[query] = (yield from costs.plan(query, taken)).cost

        def bound(one: IndexDefinition, now: Mapping[int, float] = now) -> float:
            hope = sum(
                problem.weights[query] * max(0.0, math.log(now[query] / cost)) for query, cost in hopes.get(one, {}).items() if cost > 0
            )
            return max(last.get(one, math.inf), hope)

        def score(one: IndexDefinition, gain: float) -> float:
            return gain / float((max(problem.size(one), MB / 10) / MB) ** power)

        waiting = sorted((one for one in pool if one not in taken), key=lambda one: (-score(one, bound(one)), one.title))
        best, best_score = None, 0.0
        for one in waiting:
            if score(one, bound(one)) <= best_score:
                break
            freed = sum(problem.size(other) for other in taken if one.begins(other))
            if problem.size(one) - freed > left:
                continue
            last[one] = gain = yield from costs.added_gain(one, taken)
            if gain >= STOP_GAIN and score(one, gain) > best_score:
                best, best_score = one, score(one, gain)
        if best is None:
            return (yield from _pruned(problem, costs, taken))
        taken = with_index(taken, best)
        left = problem.budget_bytes - sum(problem.size(one) for one in taken)


def _pruned(problem: Problem, costs: PlanCosts, taken: Indexes) -> Asking[Indexes]:
    """Without what is not missed, the largest first."""
    for one in sorted(taken, key=lambda one: (-problem.size(one), one.title)):
        lost = yield from costs.added_gain(one, taken - {one})
        if lost <= PRUNE_LOSS:
            taken = taken - {one}
    return taken


def _log_gain(before: PlanAnswer, after: PlanAnswer) -> float:
    return log_gain(before.cost, after.cost)


def log_gain(before: float, after: float) -> float:
    """Log of the ratio of two costs, flattened where the second is next to nothing: whether a query became 300 or 30,000 times cheaper
    must not decide about the indexes of others."""
    floor = NEXT_TO_NOTHING * max(before, after, 1e-3)
    return math.log((before + floor) / (after + floor))
