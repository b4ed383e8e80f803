"""What a command that is to make a change is told: what is hot, what of it is open, how that was measured, how it will be judged."""

from perfwright.models.cpu_optimization import CpuOptimizationDetails, CpuOptimizationRequest, HotFunction
from perfwright.models.submission import BriefLocation, ChangeBrief

FUNCTIONS_TOLD = 20
"""By what they take with all that they call, so that those at the top of the program come first, and what they lead to behind them."""
WHY_CHARACTERS = 300


def brief_of(request: CpuOptimizationRequest, details: CpuOptimizationDetails) -> ChangeBrief:
    """Hot functions with their shares of CPU time, 0 to 1, what is known about each, and what was tried already."""
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
            BriefLocation(file=one.path, line=one.line, function=one.function, share=round(one.share, 4), told=_told(one, details))
            for one in details.hot_functions[:FUNCTIONS_TOLD]
        ),
    )


def _told(hot: HotFunction, details: CpuOptimizationDetails) -> str:
    """Its hottest line, and whether it is mended, was tried, was left alone, or is open to anybody who knows another algorithm."""
    words = []
    if hot.lines:
        line = max(hot.lines, key=lambda one: one.share)
        words.append(f"line {line.line} takes {line.share:.0%} of the CPU time.")
    mine = [one for one in details.candidates if _is(hot, one.candidate.path, one.candidate.function)]
    words += [f"{one.candidate.title}: {one.end}, {one.reason[:WHY_CHARACTERS]}." for one in mine]
    words += [f"{one.codemod} is left alone: {one.why[:WHY_CHARACTERS]}." for one in details.left_alone if _is(hot, one.path, one.function)]
    if not any(one.end == "kept" for one in mine):
        words.append("Open: no codemod mends it; another algorithm, a library or another data structure may.")
    return " ".join(words)


def _is(hot: HotFunction, path: str, function: str) -> bool:
    return (hot.path, hot.function) == (path, function.rpartition(".")[2])
