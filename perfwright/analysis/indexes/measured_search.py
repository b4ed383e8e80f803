"""Which of the sets that the planner finds good *is* good? By running the queries, on a clone where all indexes are there but hidden.

The planner's cost ranks, time decides: sets are compared by measured times, and the best of them is improved step by step (drop what is
not missed, add or exchange what the planner ranks next). A plan is measured once, whatever set it came from, because its shape tells how
long it takes. A query that becomes slower counts three times.

As in `selection`, nothing is done here: `search_measured` yields questions and is sent answers. Whoever answers throws `OutOfTime` into it
when the time for measuring is used up; the best set so far is then the result.
"""

import math
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from perfwright.analysis.indexes.definitions import IndexDefinition
from perfwright.analysis.indexes.selection import NONE, Indexes, Problem, log_gain, with_index
from perfwright.analysis.indexes.write_costs import write_penalty

SLOWER = 1.05
"""Ratio of times above which a query counts as slower..."""
SLOWER_PENALTY = 3.0
"""...how much more its loss weighs than another's gain..."""
SLOWER_COST = 2.0
"""...and what it costs that there is one at all: a set that makes a query slower is not kept in the end."""
DROP_LOSS = 0.03
"""Sum of log times that an index may save and still be dropped: it costs upkeep and room."""
ADD_GAIN = 0.05
TRIED_ADDITIONS = 25
ROUNDS = 4
REPLACED = 6
"""Of a set that no single step makes better, the largest indexes, each of which is taken out for good to see what its room is good for."""


class OutOfTime(Exception):
    """Thrown into a search when measuring must end."""


@dataclass(frozen=True)
class ShapeQuestion:
    """What plan does this query get with exactly these indexes shown?"""

    query: int
    indexes: Indexes


@dataclass(frozen=True)
class TimeQuestion:
    """How long does it take with them, beside without any?"""

    query: int
    indexes: Indexes


@dataclass(frozen=True)
class Shape:
    """A plan."""

    shape: str
    cost: float
    used: Indexes


@dataclass(frozen=True)
class Timed:
    """Time with the indexes over time without, both from runs in turns; where the run without was cut off, an upper bound."""

    ratio: float


_T = TypeVar("_T")
Measuring = Generator[ShapeQuestion | TimeQuestion, Shape | Timed, _T]


@dataclass(frozen=True)
class Measured:
    """The best set by measured times."""

    indexes: Indexes
    value: float
    """Sum of weighted log time ratios with penalties; lower is better, 0 is no index."""
    ratios: tuple[float, ...]
    """Per query."""
    start_values: tuple[float, ...]
    """Of the sets that it began with, as far as there was time."""
    plans_timed: int
    finished: bool
    """It ended because nothing was left to try."""


class _Times:
    """Shapes and ratios, kept and used again."""

    def __init__(self, problem: Problem, relevant: Mapping[IndexDefinition, frozenset[int]]) -> None:
        self.problem, self._relevant = problem, relevant
        self._shapes: list[dict[Indexes, Shape]] = [{} for _ in problem.uses]
        self._ratios: dict[tuple[int, str], float] = {}

    @property
    def timed(self) -> int:
        return len(self._ratios)

    def shape(self, query: int, indexes: Indexes) -> Measuring[Shape]:
        asked, known = frozenset(one for one in indexes if query in self._relevant[one]), self._shapes[query]
        if asked in known:
            return known[asked]
        for whole, shape in known.items():
            if shape.used <= asked <= whole:  # as in `selection`: without what it does not read, the plan is the same
                known[asked] = shape
                return shape
        answer = yield ShapeQuestion(query, asked)
        assert isinstance(answer, Shape)
        known[asked] = answer
        return answer

    def ratio(self, query: int, indexes: Indexes) -> Measuring[float]:
        found, plain = (yield from self.shape(query, indexes)), (yield from self.shape(query, NONE))
        if found.shape == plain.shape:
            return 1.0
        if (query, found.shape) not in self._ratios:
            answer = yield TimeQuestion(query, found.used)
            assert isinstance(answer, Timed)
            self._ratios[query, found.shape] = answer.ratio
        return self._ratios[query, found.shape]

    def value(self, indexes: Indexes, bound: float = math.inf) -> Measuring[float]:
        """Of a set; some value above `bound` as soon as it cannot come below it any more."""
        total = write_penalty(self.problem.writes, indexes)
        hopes: dict[int, float] = {}
        for query, weight in enumerate(self.problem.weights):
            found, plain = (yield from self.shape(query, indexes)), (yield from self.shape(query, NONE))
            if found.shape == plain.shape or (query, found.shape) in self._ratios:
                total += weight * score((yield from self.ratio(query, indexes)))
            else:
                hopes[query] = weight * (HOPE + HOPE_PER_COST * max(0.0, log_gain(plain.cost, found.cost)))
        # What can decide most is measured first, and nothing where the planner leaves no hope.
        for query in sorted(hopes, key=lambda query: (-hopes[query], query)):
            if total - sum(hopes.values()) > bound:
                return total
            del hopes[query]
            total += self.problem.weights[query] * score((yield from self.ratio(query, indexes)))
        return total

    def expected_gain(self, index: IndexDefinition, beside: Indexes) -> Measuring[float]:
        """What is known of its gain: by times where both plans were measured, else what the planner expects."""
        total, after = 0.0, with_index(beside, index)
        for query in sorted(self._relevant[index]):
            now, then = (yield from self.shape(query, beside)), (yield from self.shape(query, after))
            if now.shape == then.shape:
                continue
            before, behind = (yield from self._timed_ratio(query, now)), (yield from self._timed_ratio(query, then))
            known = before is not None and behind is not None
            total += self.problem.weights[query] * (score(before or 1.0) - score(behind or 1.0) if known else log_gain(now.cost, then.cost))
        return total

    def _timed_ratio(self, query: int, found: Shape) -> Measuring[float | None]:
        plain = yield from self.shape(query, NONE)
        return 1.0 if found.shape == plain.shape else self._ratios.get((query, found.shape))

    def expected_loss(self, index: IndexDefinition, among: Indexes) -> Measuring[float]:
        return (yield from self.expected_gain(index, among - {index}))


HOPE, HOPE_PER_COST = 0.3, 1.5
"""A plan that was not measured yet may gain so much, and so much times the log gain of its cost, when it is decided whether measuring it
can still change anything."""


def score(ratio: float) -> float:
    """Log of the time ratio, with what a slower query costs beyond."""
    return math.log(ratio) + (SLOWER_COST + SLOWER_PENALTY * math.log(ratio / SLOWER) if ratio > SLOWER else 0.0)


def search_measured(
    problem: Problem, starts: Sequence[Indexes], built: Collection[IndexDefinition], relevant: Mapping[IndexDefinition, frozenset[int]]
) -> Measuring[Measured]:
    """The best of the starts, improved within `built`; then the others as well, while there is time: they lead elsewhere, and most of their
    plans are timed already. `relevant`: the queries that each index may help; sizes and the budget are the problem's. Where there was no
    time to measure even the first start, that is the result, with no ratio known: it must be verified."""
    times = _Times(problem, relevant)
    values: list[float] = []
    trails: list[_Trail] = [[(NONE, 0.0)]]
    finished, unmeasured = False, NONE
    offered = sorted(built, key=lambda one: one.title)
    trimmed: list[Indexes] = []
    try:
        for number, given in enumerate(starts):
            trimmed.append((yield from _fitting(times, given)))
            if number == 0:
                unmeasured = trimmed[0]
            values.append((yield from times.value(trimmed[-1], trails[0][-1][1])))
            if values[-1] < trails[0][-1][1]:
                trails[0].append((trimmed[-1], values[-1]))
            if number == 0:
                unmeasured = NONE
                while (better := (yield from _drop(times, trails[0][-1], ()))) is not None:
                    trails[0].append(better)
        yield from _improve(times, offered, trails[0])
        for start in trimmed:
            trails.append([(start, (yield from times.value(start)))])
            yield from _improve(times, offered, trails[-1])
        while (yield from _replaced(times, offered, trails)):
            pass
        finished = True
    except OutOfTime:
        pass
    if unmeasured:
        return Measured(unmeasured, 0.0, (1.0,) * len(problem.uses), (), times.timed, finished=False)
    best = _best(trails)
    ratios = tuple(_known(times, query, best[0]) for query in range(len(problem.uses)))
    return Measured(best[0], best[1], ratios, tuple(values), times.timed, finished)


_Trail = list[tuple[Indexes, float]]
"""Sets with their values, one after the other from a start: each was preferred to the one before it."""


def _improve(times: _Times, built: Sequence[IndexDefinition], trail: _Trail) -> Measuring[None]:
    """On from the trail's end, until no step is better; time may be up at any moment."""
    for _ in range(ROUNDS):
        before = trail[-1][0]
        for step in (_drop, _add):
            while (better := (yield from step(times, trail[-1], built))) is not None:
                trail.append(better)
        if trail[-1][0] == before:
            return


def _rank(found: tuple[Indexes, float]) -> float:
    """Of a set with its value: the lower the better, with the price that each index has."""
    return found[1] + DROP_LOSS * len(found[0])


def _best(trails: Sequence[_Trail]) -> tuple[Indexes, float]:
    return min((trail[-1] for trail in trails), key=_rank)


def _replaced(times: _Times, offered: Sequence[IndexDefinition], trails: list[_Trail]) -> Measuring[bool]:
    """Whether the best set became better by doing without one of its largest indexes: where the budget is used up, a wide index keeps out
    several others, and no step that exchanges one for one leads there."""
    before = _best(trails)
    best = before[0]
    for one in sorted(best, key=lambda one: (-times.problem.size(one), one.title))[:REPLACED]:
        trails.append([(best - {one}, (yield from times.value(best - {one})))])
        yield from _improve(times, [other for other in offered if not other.begins(one)], trails[-1])
        if _rank(trails[-1][-1]) < _rank(before) - DROP_LOSS:
            return True
    return False


_Step = Measuring[tuple[Indexes, float] | None]


def _drop(times: _Times, best: tuple[Indexes, float], built: Sequence[IndexDefinition]) -> _Step:
    """An index that is hardly missed goes: first those that slower queries use, then the largest."""
    taken, value = best
    blamed: set[IndexDefinition] = set()
    for query in range(len(times.problem.uses)):
        if (yield from times.ratio(query, taken)) > SLOWER:
            blamed |= (yield from times.shape(query, taken)).used
    for one in sorted(taken, key=lambda one: (one not in blamed, -times.problem.size(one), one.title)):
        without = yield from times.value(taken - {one}, value + DROP_LOSS)
        if without <= value + DROP_LOSS:
            return taken - {one}, without
    return None


def _add(times: _Times, best: tuple[Indexes, float], built: Sequence[IndexDefinition]) -> _Step:
    """One more, or one instead of another where the budget is used up; what the planner expects most of is tried first."""
    taken, value = best
    expected = {}
    for one in built:
        if one not in taken and not any(other.begins(one) for other in taken):
            expected[one] = yield from times.expected_gain(one, taken)
    # One that takes the place of a larger one with the same keys frees room for others: tried even where the planner expects nothing.
    shorter = [one for one in expected if any(other.keys == one.keys and other.include and not one.include for other in taken)]
    ranked = sorted((one for one in expected if expected[one] > 0), key=lambda one: (-expected[one], one.title))[:TRIED_ADDITIONS]
    for one in dict.fromkeys((*ranked, *shorter)):
        after = with_index(taken, one)
        if one in shorter:
            after = frozenset(other for other in after if other.keys != one.keys or other == one)
        if _bytes(times, after) > times.problem.budget_bytes:
            after = yield from _fitting(times, after, frozenset((one,)))
            if _bytes(times, after) > times.problem.budget_bytes:
                continue
        wanted = value - (ADD_GAIN if _bytes(times, after) >= _bytes(times, taken) else -DROP_LOSS / 3)
        found = yield from times.value(after, wanted)
        if found < wanted:
            return after, found
    return None


def _fitting(times: _Times, indexes: Indexes, kept: Indexes = NONE) -> Measuring[Indexes]:
    """Within the budget by real sizes: without those that are missed least for the bytes that are wanted, where what is freed beyond counts
    for nothing; what fits again when larger ones went is put back. Only `kept` stays in any case."""
    budget, losses = times.problem.budget_bytes, dict[IndexDefinition, float]()
    if _bytes(times, indexes) <= budget:
        return indexes
    for one in sorted(indexes - kept, key=lambda one: one.title):
        losses[one] = max(0.0, (yield from times.expected_loss(one, indexes)))
    left = indexes
    while (excess := _bytes(times, left) - budget) > 0 and left - kept:
        least = min(left - kept, key=lambda one: ((losses[one] + DROP_LOSS) / max(1, min(times.problem.size(one), excess)), one.title))
        left = left - {least}
    for one in sorted(indexes - left, key=lambda one: (-losses[one], one.title)):
        if _bytes(times, left) + times.problem.size(one) <= budget:
            left = left | {one}
    return left


def _bytes(times: _Times, indexes: Indexes) -> int:
    return sum(times.problem.size(one) for one in indexes)


def _known(times: _Times, query: int, indexes: Indexes) -> float:
    """Without asking: 1 where it was not measured."""
    try:
        next(times.ratio(query, indexes))
    except StopIteration as done:
        return float(done.value)
    return 1.0
