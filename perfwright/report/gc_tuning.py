"""What GarbageCollectionTuning adds to the report: pauses by cause, the front of candidates, what the trial saw, before and after."""

from perfwright.models.gc_tuning import GcDetails, GcObservation, GcScore, GcSweep, TriedCandidate
from perfwright.models.report import Column, Fact, Figure, PictureFigure, ReportExtras, TableFigure
from perfwright.models.trial_run import TrialResult
from perfwright.report.words import share, size


def report_extras(details: GcDetails) -> ReportExtras:
    """Figures in the order a reader asks for them."""
    figures: list[Figure] = []
    if details.before:
        figures.append(_pause_table("Pauses by cause, as it is", details.before))
    if details.sweep:
        if details.sweep.picture:
            caption = "Orange: chosen. Blue: on the front. Grey: dominated, or dearer than allowed. Large: more throughput."
            figures.append(PictureFigure(title="Candidates: p99 pause, memory, throughput", caption=caption, data=details.sweep.picture))
        figures.append(_candidates(details, details.sweep))
    if len(details.tried) > 1:
        figures.append(_tried_table(details.tried))
    if details.trial and details.trial.evidence and details.trial.evidence.medians:
        figures.append(_trial_table(details.trial))
    if details.after:
        figures.append(_pause_table("Pauses by cause, after", details.after))
    return ReportExtras(figures=tuple(figures), facts=tuple(_facts(details)), warnings=details.warnings)


def _pause_table(title: str, seen: GcObservation) -> TableFigure:
    return TableFigure(
        title=title,
        caption=f"{seen.table.count:,} pauses in {seen.table.seconds:.1f} s; percentiles are of pauses of a millisecond and longer, "
        "or of all where a cause has none.",
        columns=(
            Column(title="Cause"),
            Column(title="Pauses", numeric=True),
            Column(title="p50 ms", numeric=True),
            Column(title="p99 ms", numeric=True),
            Column(title="Longest ms", numeric=True),
            Column(title="Of the time", bar=True),
        ),
        rows=tuple(
            (line.cause, f"{line.count:,}", f"{line.p50_ms:.2f}", f"{line.p99_ms:.2f}", f"{line.max_ms:.2f}", line.share)
            for line in seen.table.lines
        ),
    )


def _candidates(details: GcDetails, sweep: GcSweep) -> TableFigure:
    return TableFigure(
        title="Candidates",
        caption="Medians over fresh starts; memory and throughput to as it is, within the same round.",
        columns=(
            Column(title="Settings"),
            Column(title="p99 pause ms", numeric=True),
            Column(title="Longest ms", numeric=True),
            Column(title="Of the time", bar=True),
            Column(title="Memory", numeric=True),
            Column(title="Throughput", numeric=True),
            Column(title="p99 ms", numeric=True),
            Column(title="CPU s", numeric=True),
            Column(title="Told"),
        ),
        rows=tuple(_row(score, sweep.chosen) for score in sweep.scores),
    )


def _row(score: GcScore, chosen: str) -> tuple[str | float, ...]:
    told = "chosen" if chosen and score.candidate == chosen else score.note or ("on the front" if score.on_front else "")
    if not score.throughput_ratio:
        return (score.candidate or "as it is", "", "", 0.0, "", "", "", "", told)
    return (
        score.candidate or "as it is",
        f"{score.pause_p99_ms:.2f}",
        f"{score.pause_max_ms:.2f}",
        score.pause_share,
        f"{size(score.memory_bytes)} (x{score.memory_ratio:.2f})",
        f"{score.throughput_hz:,.0f}/s (x{score.throughput_ratio:.2f})",
        f"{score.p99_ms:.1f}",
        f"{score.cpu_s:.2f}",
        told,
    )


def _tried_table(tried: tuple[TriedCandidate, ...]) -> TableFigure:
    return TableFigure(
        title="Tried on the running process, in this order",
        caption="Each was taken off again before the next.",
        columns=(Column(title="Settings"), Column(title="End"), Column(title="Why")),
        rows=tuple((one.candidate, one.end, one.reason) for one in tried),
    )


def _trial_table(trial: TrialResult) -> TableFigure:
    assert trial.evidence is not None, "only a trial that measured is shown"
    guards = {guard.metric: guard.verdict for guard in trial.evidence.guards}
    return TableFigure(
        title="The trial: as it is (A) against with it (B)",
        caption=f"{trial.evidence.rounds} rounds, medians. {trial.end.capitalize()}: {trial.reason}.",
        columns=(
            Column(title="Metric"),
            Column(title="A", numeric=True),
            Column(title="B", numeric=True),
            Column(title="B / A", numeric=True),
            Column(title="Guard"),
        ),
        rows=tuple(
            (metric, f"{a:,.4g}", f"{b:,.4g}", f"{b / a:.3f}" if a else "", guards.get(metric, ""))
            for metric, (a, b) in trial.evidence.medians.items()
        ),
    )


def _facts(details: GcDetails) -> list[Fact]:
    facts: list[Fact] = []
    if seen := details.before:
        runtime = seen.facts
        told = [runtime.version, runtime.collector]
        told += [f"thresholds {', '.join(map(str, runtime.thresholds))}"] if runtime.thresholds else []
        told += [f"heap at most {size(runtime.heap_max_bytes)}"] if runtime.heap_max_bytes else []
        told += [f"regions of {size(runtime.region_bytes)}"] if runtime.region_bytes else []
        facts.append(Fact(label="Collector", value=", ".join(word for word in told if word)))
        if runtime.full_share is not None:
            oldest = "oldest generation" if runtime.runtime == "python" else "full collections"
            facts.append(Fact(label=f"Pause time in the {oldest}", value=share(runtime.full_share)))
        runs = "runs to the end" if seen.batch else "freshly started servers under the load"
        how = f"{len(seen.samples)} {runs}"
        if seen.live:
            how = "a log of the running JVM, switched on and off" if runtime.runtime == "jvm" else "callbacks in the running process"
        facts.append(Fact(label="Observed", value=how))
        if details.collectors:
            absent = f"; not present: {', '.join(details.absent)}" if details.absent else ""
            facts.append(Fact(label="Collectors of this java", value=f"{', '.join(details.collectors)}{absent}"))
        if runtime.settable:
            facts.append(Fact(label="Settable while it runs", value=", ".join(runtime.settable)))
        if seen.table.dropped:
            facts.append(Fact(label="Not written down singly", value=f"{seen.table.dropped:,} collections: the log is bounded"))
    if details.sweep:
        facts.append(Fact(label="Choice", value=details.sweep.reason))
    if details.undo:
        facts.append(Fact(label="Undo", value=details.undo))
    if details.configuration:
        facts.append(Fact(label="Configuration document", value=details.configuration.uri))
    return facts
