"""What a command that is to make a change is told: what is hot, how that was measured, how it will be judged."""

from perfwright.models.cpu_optimization import CpuOptimizationDetails, CpuOptimizationRequest
from perfwright.models.submission import BriefLocation, ChangeBrief

FUNCTIONS_TOLD = 10


def brief_of(request: CpuOptimizationRequest, details: CpuOptimizationDetails) -> ChangeBrief:
    """Hot functions with their shares of CPU time, 0 to 1, and what was tried already."""
    tried = "; ".join(f"{one.candidate.title} ({one.candidate.path}): {one.end}, {one.reason[:200]}" for one in details.candidates)
    return ChangeBrief(
        title=f"Make the benchmark of {request.target} take less CPU time",
        goal=(
            "CPU time of the benchmark, in interleaved fresh processes, is lower beyond noise."
            " Recorded calls of hot functions are made again and must be answered alike;"
            f" peak memory may grow by {request.memory_margin_share:.0%}. Benchmark: {' '.join(request.benchmark)}."
        ),
        evidence=(f"tried already: {tried}",) if tried else (),
        tests=request.tests,
        locations=tuple(
            BriefLocation(file=one.path, line=one.line, function=one.function, share=round(one.share, 4))
            for one in details.hot_functions[:FUNCTIONS_TOLD]
        ),
    )
