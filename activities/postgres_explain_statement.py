"""One statement: planned with its values, executed where that is allowed and not too costly, and nothing of it ever dropped in silence."""

from collections.abc import Callable
from dataclasses import dataclass, field

from activities.postgres_explain_session import PlanSession, Refused
from perfwright.analysis.explaining.bounds import COSTLY_CHARACTERS, shortened
from perfwright.analysis.explaining.permission import Permission
from perfwright.analysis.explaining.plan_answers import Plan, execution_ms, planning_ms, total_cost
from perfwright.analysis.explaining.samples import Call, calls_of, chosen, median_index, skewed
from perfwright.analysis.explaining.sql_texts import Execution, placeholders_in
from perfwright.models.query_performance import ExplainMode, ExplainOutcome
from perfwright.models.query_steps import CostlyStatement, StatementPlans, TakenPlan
from perfwright.models.statement import STATEMENT_CHARACTERS, Statement

SECOND_RUN_AT_MOST_MS = 10_000.0
"""A statement that took longer is not executed once more without node timing: the clock's share of it is small, the load of it is not."""
MODES: tuple[ExplainMode, ...] = ("analyzed", "planned", "generic plan")
"""The outcome is called by the first of these that any of its plans has."""


@dataclass(frozen=True)
class Conditions:
    """What the request says about every statement."""

    cost_ceiling: float
    parameter_sets: int
    approved: frozenset[str] = frozenset()
    """Fingerprints that may be executed over the ceiling."""


@dataclass
class _Notes:
    """Reasons, each told once, in order."""

    told: dict[str, None] = field(default_factory=dict)

    def add(self, reason: str) -> None:
        if reason:
            self.told.setdefault(reason)

    @property
    def text(self) -> str:
        return "; ".join(self.told)


@dataclass
class Explained:
    """What became of a statement."""

    plans: StatementPlans
    costly: CostlyStatement | None = None


def not_explained(fingerprint: str, reason: str) -> Explained:
    return Explained(
        StatementPlans(fingerprint=fingerprint, outcome=ExplainOutcome(fingerprint=fingerprint, mode="not explained", reason=reason))
    )


async def explain_statement(
    session: PlanSession, statement: Statement, allowed: Permission, conditions: Conditions, executing: Callable[[], None]
) -> Explained:
    """All plans of one statement. `executing` is called before it is executed for the first time. Raises ServerLost."""
    if allowed.allowed == "nothing":
        return not_explained(statement.fingerprint, allowed.reason)
    return await _Explaining(session, statement, allowed, conditions, executing).explained()


class _Explaining:
    def __init__(
        self, session: PlanSession, statement: Statement, allowed: Permission, conditions: Conditions, executing: Callable[[], None]
    ) -> None:
        self._session, self._statement, self._allowed = session, statement, allowed
        self._conditions, self._executing = conditions, executing
        self._notes = _Notes()
        self._costly: float | None = None
        self._too_slow = False

    async def explained(self) -> Explained:
        planned = await self._planned()
        if not planned:
            return await self._generic()
        durations = [call.sample.duration_ms if call.sample else None for call, _ in planned]
        skew = skewed(durations, [total_cost(plan) for _, plan in planned])
        taken = {number: await self._taken(*planned[number]) for number in chosen(len(planned), self._conditions.parameter_sets, skew=skew)}
        return self._outcome(tuple(taken.values()), taken[median_index(len(planned))])

    async def _planned(self) -> list[tuple[Call, Plan]]:
        """Every sample that the server makes a plan for, cheapest first."""
        planned = []
        for call in calls_of(self._statement, standard_strings=self._session.standard_strings):
            try:
                planned.append(await self._plan(call))
            except Refused as refused:
                told = "" if call.text == self._statement.text and call.parameters is None else "not planned with sampled values: "
                self._notes.add(told + refused.reason)
        return planned

    async def _plan(self, call: Call, *, generic: bool = False) -> tuple[Call, Plan]:
        planned, plan = await self._session.plan(call, generic=generic)
        self._notes.add("" if planned is call else "types were added to its placeholders")
        return planned, plan

    async def _generic(self) -> Explained:
        """Without values: a generic plan, where the text has placeholders for them."""
        text = self._statement.text
        mode: ExplainMode = "generic plan" if placeholders_in(text) else "planned"
        try:
            _, plan = await self._plan(Call(text), generic=mode == "generic plan")
        except Refused as refused:
            cut = refused.sqlstate == "42601" and len(text) >= STATEMENT_CHARACTERS
            self._notes.add("its text is cut: it is too long to be kept whole" if cut else refused.reason)
            return not_explained(self._statement.fingerprint, self._notes.text)
        self._notes.add("planned without values, which are not known; not executed" if mode == "generic plan" else "planned only")
        taken = TakenPlan(mode=mode, plan=plan)
        return self._outcome((taken,), taken)

    async def _taken(self, call: Call, plan: Plan) -> TakenPlan:
        """The sample's plan: executed where that is allowed, else as it was planned."""
        planned = TakenPlan(sample=call.sample, mode="planned", plan=plan)
        cost = total_cost(plan)
        if self._allowed.allowed != "execute":
            self._notes.add(self._allowed.reason)
        elif not call.same_shape:
            self._notes.add("planned only: the sampled text is not of the statement's shape, so what it does is not known")
        elif cost > self._conditions.cost_ceiling and self._statement.fingerprint not in self._conditions.approved:
            self._costly = max(cost, self._costly or 0.0)
            self._notes.add(f"planned only: its cost of {cost:,.0f} is over the ceiling of {self._conditions.cost_ceiling:,.0f}")
        elif not self._too_slow:
            return await self._executed(call) or planned
        return planned

    async def _executed(self, call: Call) -> TakenPlan | None:
        self._executing()
        writes = self._allowed.writes
        try:
            plan = await self._session.explain(call, execution=Execution(timing=True, writes=writes))
        except Refused as refused:
            self._too_slow = refused.timed_out  # the other samples are no faster
            self._notes.add(f"planned only, executing it failed: {refused.reason}")
            return None
        took_ms = execution_ms(plan)
        if writes:
            self._notes.add("executed once and rolled back; its time includes the timing of single nodes")
        elif took_ms is not None and took_ms > SECOND_RUN_AT_MOST_MS:
            self._notes.add(f"executed once, because it took {took_ms / 1000:.0f} s; its time includes the timing of single nodes")
        else:
            try:
                took_ms = execution_ms(await self._session.explain(call, execution=Execution(timing=False)))
            except Refused as refused:
                self._notes.add(f"its time includes the timing of single nodes, because a second execution failed: {refused.reason}")
        return TakenPlan(sample=call.sample, mode="analyzed", plan=plan, execution_ms=took_ms)

    def _outcome(self, plans: tuple[TakenPlan, ...], shown: TakenPlan) -> Explained:
        modes = {taken.mode for taken in plans}
        took_ms, prepared_ms = shown.execution_ms, planning_ms(shown.plan)
        outcome = ExplainOutcome(
            fingerprint=self._statement.fingerprint,
            mode=next(mode for mode in MODES if mode in modes),
            reason=self._notes.text,
            plans=len(plans),
            execution_ms=None if took_ms is None else round(took_ms, 3),
            planning_ms=None if prepared_ms is None else round(prepared_ms, 3),
        )
        costly = None
        if self._costly is not None:
            text = shortened(self._statement.text, COSTLY_CHARACTERS)
            costly = CostlyStatement(fingerprint=self._statement.fingerprint, text=text, cost=self._costly)
        return Explained(StatementPlans(fingerprint=self._statement.fingerprint, outcome=outcome, plans=plans), costly)
