"""Plans with many hypothetical indexes at once (HypoPG): answers the questions of an index search on one direct session.

The session keeps what was made hypothetical from question to question and changes only the difference. All of it is forgotten at the end.
"""

import json
import time
from collections.abc import Collection, Sequence
from typing import Any, TypeVar

from activities.index_clone import IndexClone
from activities.postgres_explain_session import PlanSession, Refused
from activities.postgres_explain_what_ifs import HypotheticalIndexes
from activities.slice_recorder import carried_out
from perfwright.analysis.explaining.plan_answers import Plan, index_names, total_cost
from perfwright.analysis.explaining.sql_texts import sendable
from perfwright.analysis.indexes.definitions import IndexDefinition
from perfwright.analysis.indexes.selection import Asking, Indexes, PlanAnswer, PlanQuestion

T = TypeVar("T")
QUESTIONS_PER_TRANSACTION = 200
"""A transaction holds what vacuum may clean up and locks against DDL: none lasts for the whole search."""


BUILDING_S = 120.0
"""For building what is asked about, where nothing can be hypothetical; what does not exist by then helps no query."""


async def answer_by_hidden_indexes(asking: Asking[T], clone: IndexClone, taken: Collection[str]) -> T:
    """Where HypoPG is not there: everything that is asked about is built on the clone once, hidden, and shown for its questions."""
    began = time.monotonic()
    try:
        question = next(asking)
        while True:
            wanted = sorted(question.indexes, key=lambda one: one.title)
            await clone.build(wanted, taken, lambda: time.monotonic() - began < BUILDING_S)
            there = frozenset(one for one in wanted if one in clone.built)
            plan = await clone.plan(question.query, there)
            read = index_names(plan)
            question = asking.send(PlanAnswer(total_cost(plan), frozenset(one for one in there if clone.built[one].name in read)))
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]


class IndexWhatIfs:
    """What the planner would do. One at a time per session."""

    def __init__(self, session: PlanSession, hypothetical: HypotheticalIndexes, texts: Sequence[str]) -> None:
        self._session, self._hypothetical, self._texts = session, hypothetical, [sendable(text) for text in texts]
        self._made: dict[IndexDefinition, tuple[int, str]] = {}

    @classmethod
    async def find(cls, session: PlanSession, texts: Sequence[str]) -> "IndexWhatIfs":
        """Raises Refused where HypoPG is not there, or a text names a view (which may end the server: HypoPG#116)."""
        hypothetical = await HypotheticalIndexes.find(session)
        for text in texts:
            await hypothetical.refuse_views(text)
        return cls(session, hypothetical, texts)

    async def answer(self, asking: Asking[T]) -> T:
        """Run the search to its end. Raises Refused (a query that cannot be explained), ServerLost."""
        try:
            question = next(asking)
            while True:
                async with self._session.transaction():
                    for _ in range(QUESTIONS_PER_TRANSACTION):
                        question = asking.send(await self._answered(question))
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        finally:
            await carried_out(self._hypothetical.forget())
            self._made.clear()

    async def _answered(self, question: PlanQuestion) -> PlanAnswer:
        await self._show(question.indexes)
        rows = await self._session.fetch(f"EXPLAIN (FORMAT JSON) {self._texts[question.query]}")
        plan: Plan = json.loads(rows[0][0])[0]
        read = index_names(plan)
        return PlanAnswer(total_cost(plan), frozenset(one for one in question.indexes if self._made[one][1] in read))

    async def _show(self, wanted: Indexes) -> None:
        gone = [one for one in self._made if one not in wanted]
        if gone:
            await self._hypothetical.drop([self._made.pop(one)[0] for one in gone])
        new = sorted(wanted - self._made.keys(), key=lambda one: one.title)
        if new:
            made: list[Any] = await self._hypothetical.create([one.ddl("") for one in new])
            if len(made) != len(new):
                raise Refused("HypoPG made another number of indexes than it was asked for")
            self._made |= {one: (int(row[0]), str(row[1])) for one, row in zip(new, made, strict=True)}
