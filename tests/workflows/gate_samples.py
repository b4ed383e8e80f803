"""Processes that ask, for tests; in a file of their own, because the sandbox imports it again for every run."""

import asyncio
from typing import Any

from temporalio import workflow

from perfwright.models.gate import Decision, GateKind, GateQuestion, GateState
from perfwright.models.result import Step
from perfwright.models.target import Target
from perfwright.models.vocabulary import Model
from workflows.shared.human_gates import HumanGates
from workflows.shared.leasing import LeaseHolder


class Asking(Model):
    """How the sample asks."""

    gate: str = "findings_review"
    kind: GateKind = "review"
    environment: str = "lab"
    deadline_s: float = 60.0
    max_revisions: int = 3
    exact_change: str = ""
    quality_passed: bool | None = None
    wait_before_apply: bool = False
    wait_at_end: bool = False
    gates: int = 1
    carried: GateState | None = None


class Asked(Model):
    """What came of it."""

    decisions: tuple[Decision, ...] = ()
    objections: tuple[Decision, ...] = ()
    applied: Decision | None = None
    steps: tuple[Step, ...] = ()
    durations_s: tuple[float, ...] = ()


def problems_with(overrides: dict[str, Any]) -> list[str]:
    value = overrides.get("duration_s")
    return [] if isinstance(value, int | float) and value > 0 else ["duration_s: must be a positive number"]


@workflow.defn
class AskingSample(HumanGates, LeaseHolder):
    """Works, asks, works again when changes are requested, applies."""

    gate_names = ("findings_review", "later_review")

    def __init__(self) -> None:
        super().__init__()
        self._goes = 0

    @workflow.signal
    def go(self, _: Any = None) -> None:
        self._goes += 1

    @workflow.run
    async def run(self, asking: Asking) -> Asked:
        if asking.carried is not None:
            self.resume_gates(asking.carried)
        self.about(Target(name="shop", kind="process", environment=asking.environment), "Working")
        duration_s, durations_s, decisions = 30.0, [], []
        for number in range(asking.gates):
            name = asking.gate if asking.gates == 1 else f"{asking.gate}_{number}"
            while True:
                with self.step("Measure", "profiling") as step:
                    step.note = f"for {duration_s:g} s"
                    durations_s.append(duration_s)
                    self.say(f"measured for {duration_s:g} s")
                question = GateQuestion(
                    name=name,
                    kind=asking.kind,
                    question="Is this measurement good enough?",
                    consequence="The findings are believed.",
                    evidence=(f"recorded for **{duration_s:g} s**",),
                    exact_change=asking.exact_change,
                    quality_passed=asking.quality_passed,
                    overrides={"duration_s": "seconds to record"},
                )
                decision = await self.ask(question, asking.deadline_s, asking.max_revisions, validate_overrides=problems_with)
                decisions.append(decision)
                if not decision.wants_changes:
                    break
                duration_s = float(decision.overrides.get("duration_s", duration_s))
        applied, waits = None, 0
        if asking.wait_before_apply:
            waits += 1
            await workflow.wait_condition(lambda: self._goes >= waits, timeout=60)
        if asking.kind == "change":
            applied = self.begin_apply(asking.gate)
        if asking.wait_at_end:
            waits += 1
            await workflow.wait_condition(lambda: self._goes >= waits, timeout=60)
        self.conclude("passed")
        objections = await self.finish()
        return Asked(decisions=tuple(decisions), objections=objections, applied=applied, steps=self.steps, durations_s=tuple(durations_s))


@workflow.defn
class ContinuingSample(HumanGates):
    """Continues as new while its gate is open, as a process does that goes on for days."""

    def __init__(self) -> None:
        super().__init__()
        self._continue = False

    @workflow.signal
    def continue_now(self, _: Any = None) -> None:
        self._continue = True

    @workflow.run
    async def run(self, asking: Asking) -> Decision:
        if asking.carried is not None:
            self.resume_gates(asking.carried)
        question = GateQuestion(name="keep_it", kind="keep", question="Keep it?", consequence="It stays.")
        answer = asyncio.create_task(self.ask(question, asking.deadline_s))
        await workflow.wait_condition(lambda: self._continue or answer.done(), timeout=60)
        if not answer.done():
            workflow.continue_as_new(asking.model_copy(update={"carried": self.gate_state}))
        return await answer
