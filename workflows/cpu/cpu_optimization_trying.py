"""How CpuOptimizationImplementation tries one candidate: on top of what was kept, checked, then a Trial of its own."""

from temporalio import workflow
from temporalio.workflow import ParentClosePolicy

from activities.calls_again import CALLS_LIMIT_S
from activities.code_calls import SLOWED
from activities.code_candidates import CodeCandidates
from activities.code_checks import CodeChecks
from activities.cpu_optimizing import CpuOptimizing
from perfwright.analysis.differential import told_calls
from perfwright.analysis.optimization_results import TIMES, checked_out, expected, memory_guard, not_tried, tried, wanted_effect
from perfwright.models.change import PatchSpec
from perfwright.models.cpu_optimization import (
    CallsRecorded,
    Candidate,
    CandidateResult,
    Checked,
    CheckOrder,
    CodeBase,
    CpuOptimizationRequest,
    HotFunction,
    KeptCommit,
    Stacked,
    StackOrder,
)
from perfwright.models.cpu_profiling import CpuProfilingDetails
from perfwright.models.lease import summary_of
from perfwright.models.queues import host_queue
from perfwright.models.trial_run import BenchmarkMeasurement, TrialEvidence, TrialRequest, TrialResult
from perfwright.models.worker_proposals import WorkersProposed, WorkersQuery
from workflows.changes.trial import Trial
from workflows.shared.human_gates import HumanGates
from workflows.shared.leasing import LeaseHolder, target_lease
from workflows.shared.options import CHANGE, COMPUTE, READ, ActivityOptions, computing, measuring, outlasting
from workflows.shared.waiting import stop_if_cancelled


class Optimising(HumanGates, LeaseHolder):
    """A process that tells its story and holds leases."""


def on_host(code: CodeBase) -> ActivityOptions:
    """Analysis that reads the repository, which is on the target's host."""
    return computing(on=code.target.host)


def changing_on(host: str) -> ActivityOptions:
    """What lays files out on a host, or removes them."""
    return {**CHANGE, "task_queue": host_queue(host)}


def recording_s(code: CodeBase) -> float:
    return SLOWED * code.benchmark_limit_s


async def stacked(code: CodeBase, tip: str, candidate: Candidate, function: HotFunction | None, calls: CallsRecorded) -> Stacked:
    """Its patch for the tip: as it was found, or made again where something was kept meanwhile."""
    if function is None or tip == code.commit:
        return Stacked(patch=candidate.patch)
    made: Stacked = await workflow.execute_activity_method(
        CodeCandidates.stack_candidate,
        StackOrder(code=code, tip=tip, candidate=candidate.model_copy(update={"patch": ""}), function=function, calls=calls),
        summary=summary_of(f"Make {candidate.title} again on {tip[:12]}"),
        **on_host(code),
    )
    return made


async def checked_code(process: LeaseHolder, code: CodeBase, order: CheckOrder) -> Checked:
    """Syntax, tests, calls made again; nobody measures the target meanwhile."""
    what = order.candidate.title if order.candidate else f"commit {code.commit[:12]} itself"
    async with target_lease(process, code.target.resources):
        checked: Checked = await workflow.execute_activity_method(
            CodeChecks.check_code,
            order,
            summary=summary_of(f"Check {what}"),
            **measuring(code.tests_limit_s + CALLS_LIMIT_S, on=code.target.host),
        )
    return checked


async def trial_of(
    code: CodeBase,
    request: CpuOptimizationRequest,
    tip: str,
    candidate: Candidate,
    patch: str,
    number: int,
    noise: TrialEvidence | None,
    calls: str,
) -> TrialResult:
    """The trial. The diff was approved at `approach` or given by a person: applying it makes a branch and a worktree, nothing else.

    `noise`: of an earlier trial of this run, which measured the same benchmark. `calls`: what was called again, in words.
    """
    asked = TrialRequest(
        target=code.target,
        title=candidate.title,
        change=PatchSpec(ref=candidate.ref, base=tip)
        if candidate.ref
        else PatchSpec(patch=patch, base=tip, message=f"{candidate.title}\n\n{candidate.reasoning[:1_500]}"),
        measurement=BenchmarkMeasurement(
            command=code.benchmark,
            working_directory=code.working_directory,
            run_limit_s=code.benchmark_limit_s,
        ),
        guards=(memory_guard(request), *TIMES),
        budget_s=request.trial_s,
        wanted_effect=wanted_effect(candidate, request),
        expected=expected(candidate) if candidate.gain_share else "",
        checked=f"syntax and tests; {calls}"[:1_000],
        ask_change=False,
        noise=noise,
        deadline_s=request.review_deadline_s,
        seed=number,
    )
    return await trial_run(asked, str(number))


async def trial_run(asked: TrialRequest, name: str) -> TrialResult:
    """A trial of this run; `name` tells it from its others."""
    info = workflow.info()
    result: TrialResult = await workflow.execute_child_workflow(
        Trial.run,
        asked,
        id=f"{info.workflow_id}/trial/{info.run_id}/{name}",
        parent_close_policy=ParentClosePolicy.REQUEST_CANCEL,
        static_summary=summary_of(asked.title),
    )
    stop_if_cancelled()
    return result


async def tried_workers(
    process: Optimising, code: CodeBase, request: CpuOptimizationRequest, seen: CpuProfilingDetails | None
) -> tuple[CandidateResult | None, str]:
    """Another count of workers in a trial of its own, with its gates `change` and `keep`; none, and why."""
    assert request.workers is not None, "the caller has looked"
    with process.step("Look for cores that more workers could use", "analysis") as step:
        proposed: WorkersProposed = await workflow.execute_activity_method(
            CpuOptimizing.propose_worker_count,
            WorkersQuery(
                code=code, workers=request.workers, usage=seen.usage if seen else None, utilisation=seen.utilisation if seen else None
            ),
            summary=f"Would {code.target.title} be quicker with more workers?",
            **COMPUTE,
        )
        step.note = (proposed.candidate.title if proposed.candidate else proposed.why)[:400]
    candidate = proposed.candidate
    if candidate is None or proposed.launch is None:
        return None, proposed.why
    with process.step(f"Trial of {candidate.id}"[:120], "benchmarking") as step:
        asked = TrialRequest(
            target=code.target,
            title=candidate.title,
            change=proposed.launch,
            measurement=BenchmarkMeasurement(command=code.benchmark, run_limit_s=code.benchmark_limit_s, one_core=False),
            metric="wall_s",
            guards=(memory_guard(request, proposed.memory_times),),
            budget_s=request.trial_s,
            wanted_effect=wanted_effect(candidate, request),
            expected=f"at most {candidate.gain_share:.1%} of the wall-clock time: {candidate.reasoning}"[:4_000],
            deadline_s=request.review_deadline_s,
        )
        result = await trial_run(asked, "workers")
        step.note = f"{result.end}: {result.reason}"[:400]
    process.say(f"{candidate.title}: {step.note}"[:300])
    return tried(candidate, Checked(), result), ""


async def tried_candidate(
    process: Optimising,
    code: CodeBase,
    request: CpuOptimizationRequest,
    tip: str,
    candidate: Candidate,
    function: HotFunction | None,
    calls: CallsRecorded,
    line: int,
    number: int,
    noise: TrialEvidence | None,
) -> tuple[CandidateResult, KeptCommit]:
    """What became of it, and where it is if it was kept."""
    with process.step(f"Check {candidate.id}"[:120], "validation") as step:
        on_top = await stacked(code, tip, candidate, function, calls)
        if not on_top.patch:
            step.note = f"not tried: {on_top.why}"
            return not_tried(candidate, f"on top of what was kept: {on_top.why}"), KeptCommit()
        order = CheckOrder(code=code, tip=tip, patch=on_top.patch, candidate=candidate, line=line, calls=calls)
        checked = await checked_code(process, code, order)
        step.note = (checked.problem or f"syntax and tests are right; {told_calls(checked.differential)}")[:400]
    if checked.problem:
        process.say(f"{candidate.title}: {checked.problem}"[:300])
        return checked_out(candidate, checked), KeptCommit()
    with process.step(f"Trial of {candidate.id}"[:120], "benchmarking") as step:
        result = await trial_of(code, request, tip, candidate, on_top.patch, number, noise, told_calls(checked.differential))
        step.note = f"{result.end}: {result.reason}"[:400]
    process.say(f"{candidate.title}: {step.note}"[:300])
    place = KeptCommit()
    if result.kept:
        place = await workflow.execute_activity_method(
            CpuOptimizing.find_kept_commit, result.change_id, summary="Which commit is it?", **outlasting(READ)
        )
    return tried(candidate, checked, result, place.commit), place
