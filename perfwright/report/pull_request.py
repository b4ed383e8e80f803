"""The text of a pull request: what was changed, what was measured, and how it was checked. All numbers are measured ones."""

from perfwright.analysis.optimization_results import clock_of
from perfwright.models.cpu_optimization import CandidateResult, CpuOptimizationDetails
from perfwright.report.cpu_optimization import counted, memory
from perfwright.report.words import share


def pull_request_text(target: str, details: CpuOptimizationDetails) -> str:
    """Markdown: a title, a table with a line for each commit, how it was checked, what was tried and not kept."""
    kept = [one for one in details.candidates if one.end == "kept"]
    won = f"{_gain(details.gain_share, details.gain_low, details.gain_high)} of its {clock_of(details.gain_metric)}"
    title = f"Make {target} {'quicker' if details.gain_metric == 'wall_s' else 'cheaper'}: {won}"
    lines = [f"# {title}", "", f"Branch `{details.branch}`, on {details.commit[:12]}, one commit for each change.", ""]
    lines += ["| Commit | Change | Time won | Instructions | Allocations | Peak memory |", "|---|---|---:|---:|---:|---:|"]
    lines += [_row(one) for one in kept]
    lines += ["", "## How it was checked", ""]
    for one in kept:
        lines += [f"- **{one.candidate.title}** (`{one.candidate.path}:{one.candidate.line}`): {one.candidate.reasoning}. {_checked(one)}"]
    others = [one for one in details.candidates if one.end != "kept"]
    if others:
        lines += ["", "## Tried, and not in here", ""]
        lines += [f"- {one.candidate.title} (`{one.candidate.path}`): {one.reason}" for one in others]
    return "\n".join(lines) + "\n"


def _row(one: CandidateResult) -> str:
    gain = f"{_gain(one.gain_share, one.gain_low, one.gain_high)} of {clock_of(one.gain_metric)}"
    counts = f"{counted(one, 'instructions')} | {counted(one, 'allocations')}"
    return f"| {one.commit[:12]} | {one.candidate.title.replace('|', '/')} | {gain} | {counts} | {memory(one)} |"


def _gain(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "nothing"
    return share(value) + (f" ({share(low)} to {share(high)})" if low is not None and high is not None else "")


def _checked(one: CandidateResult) -> str:
    calls = one.checked.differential if one.checked else None
    told = "The project's tests pass."
    if calls:
        told += (
            f" {calls.recorded} calls recorded in the real run and {calls.varied} varied from them gave equal results in the old and the"
        )
        told += f" new code, among them {calls.raised} equal exceptions."
        if calls.not_called:
            told += f" Not called again: {'; '.join(calls.not_called)}."
    return told
