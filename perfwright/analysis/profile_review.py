"""What a reviewer is shown of a recording before anything is concluded from it."""

from perfwright.analysis.interpreters import interpreter_in
from perfwright.analysis.markdown_text import as_markdown
from perfwright.analysis.recording_quality import quality_gates
from perfwright.analysis.unseen_cpu import BELIEVED, MATTERS_CORES, coverage_sentence, enough_is_known, limit_of
from perfwright.models.cpu_coverage import CpuCoverage
from perfwright.models.cpu_profiling import CpuProfilingRequest, Recording
from perfwright.models.cpu_steps import ProfileJudgement
from perfwright.models.quality import QualityGate, QualityOutcome

MOST_INSIDE = 0.5
"""Share of the CPU time that an interpreter may spend on its own work: above it most of the profile says nothing about the program."""


def judge(
    recording: Recording,
    request: CpuProfilingRequest,
    running_samples: int,
    inside_share: float | None = None,
    coverage: CpuCoverage | None = None,
) -> ProfileJudgement:
    """Quality gates, whether the profile is believable, and the statements for the gate (Markdown, one line each).

    `inside_share`: of a program whose interpreter was recorded (interpreters.py), how much of the CPU time is the interpreter's own work.
    `coverage`: what of the CPU time the samples stand for.
    """
    coverage = coverage or CpuCoverage()
    gates = (
        *quality_gates(recording.stacks, request, recording.usage, running_samples),
        _held_alone(recording),
        _cpu_time_seen(recording, coverage),
        *_own_code_seen(recording, inside_share),
    )
    missed = [gate for gate in gates if gate.outcome != "passed"]
    believable = not missed
    problem = "; ".join(f"{gate.name}: {gate.note or 'no data'}".rstrip(".") for gate in missed)
    return ProfileJudgement(
        quality_gates=gates,
        believable=believable,
        statements=(*_statements(recording), *filter(None, [as_markdown(coverage_sentence(coverage))]))
        + tuple(f"**{gate.name}: {gate.outcome}.** {gate.note}" for gate in missed),
        problem="" if believable else f"The profile is not enough to conclude from ({problem}).",
    )


def _held_alone(recording: Recording) -> QualityGate:
    """Two processes that measure one target at a time measure each other."""
    return QualityGate(
        name="target measured by nobody else",
        metric="leases lost",
        comparison="<=",
        threshold=0,
        observed=1 if recording.disturbed else 0,
        unit="leases",
        outcome="failed" if recording.disturbed else "passed",
        note=recording.disturbed,
    )


def _cpu_time_seen(recording: Recording, coverage: CpuCoverage) -> QualityGate:
    """Stacks of a small part of what a program does are not a profile of it."""
    cores = recording.usage.user_share + recording.usage.system_share
    observed, note = 1 - coverage.unknown_share, limit_of(coverage, cores)
    return QualityGate(
        name="CPU time seen",
        metric="CPU time with samples, or of threads whose purpose is known",
        comparison=">=",
        threshold=BELIEVED,
        observed=observed,
        unit="share",
        outcome="passed" if enough_is_known(coverage, cores) else "failed",
        note=note or (f"What was not seen used less than {MATTERS_CORES:g} cores." if observed < BELIEVED else ""),
    )


def _own_code_seen(recording: Recording, inside_share: float | None) -> tuple[QualityGate, ...]:
    """Only of programs in languages that nothing here reads: a profile of their interpreter is not one of them."""
    interpreter = interpreter_in(recording.process)
    if interpreter is None:
        return ()
    outcome: QualityOutcome = "no data" if inside_share is None else "passed" if inside_share <= MOST_INSIDE else "failed"
    return (
        QualityGate(
            name="the program's own code seen",
            metric="CPU time inside the interpreter",
            comparison="<=",
            threshold=MOST_INSIDE,
            observed=inside_share,
            unit="share",
            outcome=outcome,
            note=""
            if inside_share is None
            else f"{inside_share:.0%} of the CPU time is {interpreter.name}'s own work. {interpreter.caveat}",
        ),
    )


def _statements(recording: Recording) -> list[str]:
    stacks, usage = recording.stacks, recording.usage
    lines = [f"{stacks.tool}: {recording.choice.reason}"]
    for one in stacks.passes:
        failed = f", {one.failed_samples} failed" if one.failed_samples else ""
        lines.append(f"{one.kind.replace('_', '-')}: {one.samples:,} samples at {one.rate_hz:g} Hz in {one.seconds:.0f} s{failed}")
    lines.append(
        f"The target used {usage.user_share:.2f} cores user and {usage.system_share:.2f} system with {usage.thread_count} threads; "
        f"the machine was {usage.machine_busy_share:.0%} busy"
    )
    if stacks.overhead.paused_share is not None:
        lines.append(f"The profiler held the target {stacks.overhead.paused_share:.1%} of the time")
    if stacks.end != "complete":
        lines.append(f"The recording ended early: {stacks.end}")
    return lines + [gap.title for gap in stacks.gaps] + list(stacks.warnings)
