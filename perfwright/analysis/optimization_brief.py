"""What a command that is to make a change is told: what is hot, how that was measured, how it will be judged."""

from typing import Any

from perfwright.models.cpu_optimization import CpuOptimizationDetails, CpuOptimizationRequest

FUNCTIONS_TOLD = 10


def brief_of(request: CpuOptimizationRequest, details: CpuOptimizationDetails) -> dict[str, Any]:
    """JSON data; shares are of CPU time, 0 to 1."""
    return {
        "task": "Make the benchmark take less CPU time. Results and exceptions must stay equal. Commit what is to be tried.",
        "target": request.target,
        "benchmark": list(request.benchmark),
        "tests": list(request.tests),
        "working_directory": request.working_directory,
        "commit": details.tip or details.commit,
        "hot_functions": [
            {
                "path": one.path,
                "function": one.function,
                "line": one.line,
                "cpu_share": round(one.share, 4),
                "lines": {str(line.line): round(line.share, 4) for line in one.lines},
            }
            for one in details.hot_functions[:FUNCTIONS_TOLD]
        ],
        "tried": [
            {
                "title": one.candidate.title,
                "path": one.candidate.path,
                "function": one.candidate.function,
                "end": one.end,
                "reason": one.reason[:300],
            }
            for one in details.candidates
        ],
        "judged_by": [
            "the project's tests pass",
            "calls of hot functions recorded in the benchmark give equal results",
            "CPU time of the benchmark, measured in interleaved fresh processes, is lower beyond noise",
            f"peak memory grows by no more than {request.memory_margin_share:.0%}",
        ],
    }
