"""A stand-in for CpuProfilingInvestigation: same name, input, gates, stores and report, without a profiler.

In a file of its own, because the sandbox imports it again for every run.
"""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError

from activities.targets import TargetQuery, Targets
from perfwright.models.cpu_profiling import CpuProfilingDetails, CpuProfilingRequest, HotPaths, HotSpot
from perfwright.models.finding import Finding, Location
from perfwright.models.gate import GateQuestion
from perfwright.models.measurement import Estimate, Interval
from perfwright.models.result import ProcessResult, Verdict
from workflows.shared.closing import close, number_run, publish
from workflows.shared.human_gates import HumanGates
from workflows.shared.options import READ

VERDICTS: dict[int, Verdict] = {1: "failed", 2: "inconclusive"}
"""The input `top` says how the stand-in ends; 99: it fails."""
Result = ProcessResult[CpuProfilingDetails]


class SampleRecorder:
    """Records until `finish` is set."""

    def __init__(self) -> None:
        self.finish = asyncio.Event()
        self.finish.set()

    @activity.defn
    async def record_sample(self, duration_s: float) -> str:
        while True:
            activity.heartbeat({"pass": "on_cpu", "recorded_s": 1.5, "of_s": duration_s, "slices": 2})
            if self.finish.is_set():
                return f"recorded for {duration_s:g} s"
            await asyncio.sleep(0.05)


@workflow.defn(name="CpuProfilingInvestigation")
class StandIn(HumanGates):
    gate_names = ("profile_review", "findings_review")

    @workflow.run
    async def run(self, request: CpuProfilingRequest) -> Result:
        target = await workflow.execute_activity_method(
            Targets.resolve_target, TargetQuery(target=request.target), summary=f"Look up {request.target_name}", **READ
        )
        self.about(target, "Recording")
        run = await number_run(target, request)
        if request.top == 99:
            raise ApplicationError("process 4711 exited", type="TargetGone", non_retryable=True)
        await self._record(request)
        while True:
            question = GateQuestion(
                name="profile_review",
                kind="review",
                question=f"Is this profile of {request.target_name} usable?",
                consequence="Approval goes on to the analysis.",
                evidence=(f"recorded for **{request.duration_s:g} s**",),
                overrides={"duration_s": "seconds to record"},
                quality_passed=True,
            )
            decision = await self.ask(question, deadline_s=600, max_revisions=2)
            if not decision.wants_changes:
                break
            request = request.revised(decision.overrides)
            await self._record(request)
        verdict: Verdict = "rejected" if decision.refused else VERDICTS.get(request.top, "passed")
        result = await publish(self, self._result(request, target.environment, verdict), run)
        if not decision.refused:
            self.phase("Findings review")
            await self.ask(findings_review(result), deadline_s=600, max_revisions=0)
        return await close(self, result, run)

    async def _record(self, request: CpuProfilingRequest) -> None:
        with self.step("Record", "profiling") as step:
            step.note = await workflow.execute_activity_method(
                SampleRecorder.record_sample,
                request.duration_s,
                summary=f"Record stacks of {request.target_name} for {request.duration_s:g} s",
                start_to_close_timeout=timedelta(seconds=60),
                heartbeat_timeout=timedelta(seconds=10),
            )
        self.say(step.note)

    def _result(self, request: CpuProfilingRequest, environment: str, verdict: Verdict) -> Result:
        share = 0.3 if request.duration_s < 5 else 0.6
        interval = Interval(low=share - 0.05, high=share + 0.05)
        spot = HotSpot(
            function="match_rules",
            file="/srv/shop/pricing.py",
            line=41,
            origin="user",
            self_share=share,
            self_interval=interval,
            total_share=share,
            total_interval=interval,
            samples=300,
        )
        finding = Finding(
            id="hot-line:pricing.py:match_rules",
            title="pricing.py:41 match_rules takes most CPU time",
            severity="high",
            summary="It compares every rule with every article.",
            cost=Estimate(value=share, unit="share of CPU time", interval=interval),
            locations=(Location(file="pricing.py", line=41, function="match_rules"),),
        )
        info = workflow.info()
        return Result(
            process="CpuProfilingInvestigation",
            target=request.target_name,
            environment=environment,
            workflow_id=info.workflow_id,
            run_id=info.run_id,
            verdict=verdict,
            summary="match_rules takes most CPU time.",
            findings=(finding,),
            request=request.model_dump(mode="json"),
            started_at=info.start_time.isoformat(),
            details=CpuProfilingDetails(hot_paths=HotPaths(samples=1_000, functions=(spot,), lines=(spot,))),
        )


def findings_review(result: Result) -> GateQuestion:
    report = tuple(ref for ref in (result.report.html, result.report.markdown) if ref)
    return GateQuestion(
        name="findings_review",
        kind="review",
        question="Do the findings hold?",
        consequence="Approval ends the investigation.",
        evidence=(result.summary,),
        artifacts=report,
        quality_passed=True,
    )


@workflow.defn
class AsksForChange(HumanGates):
    """A child with a `change` gate."""

    @workflow.run
    async def run(self, _: Any = None) -> str:
        question = GateQuestion(
            name="apply_change",
            kind="change",
            question="Apply it?",
            consequence="The index is made.",
            exact_change="CREATE INDEX CONCURRENTLY by_day ON orders (day);",
            risk="reload",
        )
        decision = await self.ask(question, deadline_s=600)
        self.begin_apply("apply_change")
        await self.finish()
        return decision.outcome


@workflow.defn
class HasChild(HumanGates):
    """A parent that waits for its child."""

    @workflow.run
    async def run(self, _: Any = None) -> str:
        return await workflow.execute_child_workflow(AsksForChange.run, None, id=f"{workflow.info().workflow_id}/trial-1")
