"""What CpuOptimizationImplementation adds to the report: each candidate, how it was checked and what it won, and what was left alone."""

from collections.abc import Sequence

from perfwright.analysis.optimization_results import clock_of
from perfwright.models.cpu_optimization import CandidateResult, CpuOptimizationDetails, LeftAlone
from perfwright.models.report import Column, Fact, Figure, PictureFigure, ReportExtras, TableFigure
from perfwright.models.trial import GuardJudgement
from perfwright.report.words import seconds, share

LEFT_SHOWN = 20


def report_extras(details: CpuOptimizationDetails) -> ReportExtras:
    """What was tried, round by round where it was measured, then what was not."""
    figures: list[Figure] = []
    if details.candidates:
        figures.append(_candidates(details.candidates))
        figures += [
            PictureFigure(title=f"Rounds of: {one.candidate.title}", data=one.trial.evidence.picture)
            for one in details.candidates
            if one.trial and one.trial.evidence and one.trial.evidence.picture
        ]
        figures.append(_checks(details.candidates))
    measured = details.workers.trial.evidence if details.workers and details.workers.trial else None
    if details.workers and measured and measured.picture:
        figures.append(PictureFigure(title=f"Rounds of: {details.workers.candidate.title}", data=measured.picture))
    if details.left_alone:
        figures.append(_left_alone(details.left_alone))
    return ReportExtras(figures=tuple(figures), facts=tuple(_facts(details)), warnings=details.warnings)


def _candidates(results: Sequence[CandidateResult]) -> TableFigure:
    return TableFigure(
        title="Candidates",
        caption="Each was measured on top of those kept before it. Time of the benchmark against the same without it, by the clock that "
        "its noise called for; 99 % intervals.",
        columns=(
            Column(title="Change"),
            Column(title="Where"),
            Column(title="At most, by the profile", numeric=True),
            Column(title="Time won", numeric=True),
            Column(title="Interval", numeric=True),
            Column(title="Clock"),
            Column(title="Instructions", numeric=True),
            Column(title="Allocations", numeric=True),
            Column(title="Peak memory", numeric=True),
            Column(title="End"),
            Column(title="Why"),
        ),
        rows=tuple(
            (
                one.candidate.title,
                f"{one.candidate.path}:{one.candidate.line} {one.candidate.function}",
                share(one.candidate.gain_share),
                "-" if one.gain_share is None else share(one.gain_share),
                "-" if one.gain_low is None or one.gain_high is None else f"{share(one.gain_low)} to {share(one.gain_high)}",
                "-" if one.gain_share is None else clock_of(one.gain_metric),
                counted(one, "instructions"),
                counted(one, "allocations"),
                memory(one),
                one.end,
                one.reason[:400],
            )
            for one in results
        ),
    )


def _checks(results: Sequence[CandidateResult]) -> TableFigure:
    return TableFigure(
        title="Checks",
        caption="Calls: made again in the old and the new code with arguments recorded in the real run, and varied from those.",
        columns=(
            Column(title="Change"),
            Column(title="Tests"),
            Column(title="Calls recorded", numeric=True),
            Column(title="Calls varied", numeric=True),
            Column(title="Of them exceptions", numeric=True),
            Column(title="Answered differently", numeric=True),
            Column(title="First difference"),
            Column(title="Not called again"),
            Column(title="Guards"),
        ),
        rows=tuple(_check_row(one) for one in results),
    )


def _check_row(one: CandidateResult) -> tuple[str, ...]:
    tests = one.checked.tests if one.checked else None
    calls = one.checked.differential if one.checked else None
    first = calls.first[0] if calls and calls.first else None
    guards = one.trial.evidence.guards if one.trial and one.trial.evidence else ()
    return (
        one.candidate.title,
        "-" if tests is None else f"pass in {seconds(tests.seconds)}" if tests.passed else "do not pass",
        *(("-",) * 4 if calls is None else (f"{calls.recorded}", f"{calls.varied}", f"{calls.raised}", f"{calls.differences}")),
        f"{first.call}: {first.new} where it gave {first.old}"[:300] if first else "",
        "; ".join(calls.not_called)[:400] if calls else "",
        "; ".join(map(_guard, guards)),
    )


def _guard(one: GuardJudgement) -> str:
    return f"{one.metric} {one.verdict}"


def _left_alone(left: Sequence[LeftAlone]) -> TableFigure:
    return TableFigure(
        title="Seen, and left alone",
        caption="A change is proposed only where results and exceptions are shown to stay equal, and where the profile promises enough.",
        columns=(Column(title="Change"), Column(title="Where"), Column(title="Why not")),
        rows=tuple((one.codemod, f"{one.path}:{one.line} {one.function}", one.why) for one in left[:LEFT_SHOWN]),
    )


def counted(one: CandidateResult, unit: str) -> str:
    """Instructions or allocations of the whole run against what they were; `-` where they were not counted."""
    found = next((c for c in (one.trial.evidence.companions if one.trial and one.trial.evidence else ()) if c.unit == unit), None)
    return "-" if found is None or found.ratio is None else f"{100 * (found.ratio - 1):+.1f} %"


def memory(one: CandidateResult) -> str:
    """Peak resident memory against what it was."""
    medians = one.trial.evidence.medians.get("rss_bytes") if one.trial and one.trial.evidence else None
    return f"{100 * (medians[1] / medians[0] - 1):+.1f} %" if medians and medians[0] else "-"


def _facts(details: CpuOptimizationDetails) -> list[Fact]:
    facts = [Fact(label="Commit", value=details.commit)]
    if details.profile_of:
        facts.append(Fact(label="Profile", value=details.profile_of))
    if details.base_tests:
        told = f"pass in {seconds(details.base_tests.seconds)}" if details.base_tests.passed else details.base_tests.told
        facts.append(Fact(label="Tests of the commit itself", value=told))
    if details.workers:
        facts.append(Fact(label=details.workers.candidate.title, value=f"{details.workers.end}: {details.workers.reason}"))
    if details.workers_left:
        facts.append(Fact(label="More workers", value=f"not tried: {details.workers_left}"))
    if details.branch:
        facts.append(Fact(label="Branch", value=f"{details.branch}, at {details.tip[:12]}: one commit for each change that was kept"))
    facts += [
        Fact(label=f"Hot: {one.function}", value=f"{share(one.share)} of CPU time, {one.path}:{one.line}")
        for one in details.hot_functions[:10]
    ]
    return facts
