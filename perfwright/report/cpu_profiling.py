"""What CpuProfilingInvestigation adds to the report: flame graphs, hot functions and lines, threads, and how it was recorded."""

from collections.abc import Sequence

from perfwright.analysis.frames import is_nameless
from perfwright.models.cpu_profiling import CpuProfilingDetails, HotSpot, ProcessUse, StackProfile
from perfwright.models.measurement import EnvironmentFingerprint
from perfwright.models.report import Column, Fact, Figure, FlameGraphFigure, Mark, ReportExtras, SeriesFigure, TableFigure
from perfwright.report.words import seconds, share, size

THREADS_SHOWN = 20
CAPTIONS = {
    "on_cpu": "Width is the share of samples in which threads ran; callers above, callees below.",
    "wall": "Every thread at every sample, waiting ones too.",
    "off_cpu": "Only threads that waited, by where they waited: time, not CPU.",
    "gil": "Threads that held the interpreter lock.",
    "native": "Running threads with their compiled frames.",
    "diff": "Red grew and blue shrank since the earlier run, as shares of all samples.",
}


def report_extras(details: CpuProfilingDetails) -> ReportExtras:
    """Figures in the order a reader asks for them: where, which line, since when, who ran, when."""
    figures: list[Figure] = [
        FlameGraphFigure(
            title=graph.title,
            caption=CAPTIONS[graph.kind] + (f" Compared with {graph.compared_with}." if graph.compared_with else ""),
            data=graph.data,
            diff=graph.kind == "diff",
        )
        for graph in details.flame_graphs
    ]
    if details.hot_paths:
        figures.append(_hot_table("Hot functions", details.hot_paths.functions, by_line=False))
        figures.append(_hot_table("Hot lines", details.hot_paths.lines, by_line=True))
    if details.utilisation and details.utilisation.waiting:
        figures.append(_waiting_table(details.utilisation.waiting))
    if details.usage:
        figures.append(_thread_table(details.usage))
        if details.usage.series:
            figures.append(
                SeriesFigure(
                    title="CPU use while recording",
                    data=details.usage.series,
                    marks=_marks(details.stacks),
                    caption="Cores; grey: not measured.",
                )
            )
    return ReportExtras(figures=tuple(figures), facts=tuple(_facts(details)), warnings=details.warnings)


def _hot_table(title: str, spots: Sequence[HotSpot], *, by_line: bool) -> TableFigure:
    return TableFigure(
        title=title,
        caption="Self: CPU time that ends here. Total: with it anywhere on the stack, recursion counted once. Of all CPU time of the "
        "process and its children; 95 % intervals.",
        columns=(
            Column(title="Line" if by_line else "Function"),
            Column(title="Self", bar=True),
            Column(title="95 %", numeric=True),
            Column(title="Total", bar=True),
            Column(title="95 %", numeric=True),
            Column(title="Called from"),
        ),
        rows=tuple(
            (
                f"{spot.function} {_place(spot)}".strip(),
                spot.self_share,
                f"{100 * spot.self_interval.low:.1f} to {100 * spot.self_interval.high:.1f}",
                spot.total_share,
                f"{100 * spot.total_interval.low:.1f} to {100 * spot.total_interval.high:.1f}",
                "; ".join(spot.callers[:2]),
            )
            for spot in spots
        ),
    )


def _waiting_table(spots: Sequence[HotSpot]) -> TableFigure:
    return TableFigure(
        title="Where threads wait",
        caption="Share of the time that threads waited for something else than work.",
        columns=(Column(title="Where"), Column(title="Share", bar=True), Column(title="Called from")),
        rows=tuple((f"{spot.function} {_place(spot)}".strip(), spot.total_share, "; ".join(spot.callers[:2])) for spot in spots),
    )


def _thread_table(use: ProcessUse) -> TableFigure:
    return TableFigure(
        title="Threads",
        caption=f"CPU of one core; the busiest {min(THREADS_SHOWN, len(use.threads))} of {use.thread_count}.",
        columns=(
            Column(title="Thread"),
            Column(title="User", bar=True),
            Column(title="System", bar=True),
            Column(title="Busy p95", numeric=True),
            Column(title="Voluntary switches/s", numeric=True),
            Column(title="Involuntary/s", numeric=True),
        ),
        rows=tuple(
            (
                f"{thread.name or 'thread'} ({thread.pid}/{thread.tid})",
                thread.user_share,
                thread.system_share,
                share(thread.busy_share_p95),
                f"{thread.voluntary_switches_hz:.1f}",
                f"{thread.involuntary_switches_hz:.1f}",
            )
            for thread in use.threads[:THREADS_SHOWN]
        ),
    )


def _marks(stacks: StackProfile | None) -> tuple[Mark, ...]:
    return tuple(Mark(at_s=gap.at_s, label=f"{gap.missing_s:.0f} s not measured", gap=True) for gap in stacks.gaps) if stacks else ()


def _place(spot: HotSpot) -> str:
    if is_nameless(spot.function, spot.file):
        return ""
    return f"({spot.file}:{spot.line})" if spot.file and spot.line else f"({spot.file})" if spot.file else ""


def _facts(details: CpuProfilingDetails) -> list[Fact]:
    facts: list[Fact] = []
    if process := details.process:
        text = f"pid {process.pid}, {process.program}, {process.runtime_version or process.runtime}, {process.thread_count} threads"
        facts.append(Fact(label="Process", value=text + (f", {process.child_count} child processes" if process.child_count else "")))
    if choice := details.choice:
        facts.append(Fact(label="Profiler", value=f"{details.stacks.tool if details.stacks else choice.tool}: {choice.reason}"))
        facts += [Fact(label=f"Not {tool}", value=why) for tool, why in choice.rejected.items()]
        facts += [Fact(label="Caveat", value=caveat) for caveat in choice.caveats]
    if stacks := details.stacks:
        for one in stacks.passes:
            text = f"{one.samples:,} samples at {one.rate_hz:g} Hz in {seconds(one.seconds)}, {one.slices} slices, {one.blocks} blocks"
            facts.append(Fact(label=f"Pass {one.kind.replace('_', ' ')}", value=f"{text}, {one.failed_samples} failed"))
        if details.hot_paths and details.hot_paths.note:
            facts.append(Fact(label="Samples", value=details.hot_paths.note))
        if details.hot_paths and details.hot_paths.coverage.unseen:
            coverage = details.hot_paths.coverage
            listed = "; ".join(f"{one.what} {share(one.share)}" for one in coverage.unseen)
            facts.append(Fact(label="CPU time with samples", value=f"{share(coverage.seen_share)}; without: {listed}"))
        cost = stacks.overhead
        parts = []
        if cost.paused_share is not None:
            parts.append(f"target paused {share(cost.paused_share)} of the time")
        if cost.profiler_cpu_share is not None:
            parts.append(f"profiler used {share(cost.profiler_cpu_share)} of a core")
        else:
            parts.append("CPU of the profiler unknown")
        if cost.nonblocking:
            parts.append("sampled without pausing the target")
        if details.usage:
            parts.append(f"counters took {share(details.usage.sampler_cpu_share)} of a core")
        facts.append(Fact(label="Overhead, measured", value="; ".join(parts) or "not measured"))
        if cost.probe_note:
            facts.append(Fact(label="Rate", value=cost.probe_note))
        facts.append(Fact(label="Recording", value="; ".join([stacks.end, *(gap.title for gap in stacks.gaps)])))
    if use := details.usage:
        facts.append(
            Fact(
                label="CPU use",
                value=f"{use.user_share:.2f} cores user, {use.system_share:.2f} system; machine busy {share(use.machine_busy_share)}, "
                f"waiting for I/O {share(use.iowait_share)}; {size(use.rss_bytes)} resident",
            )
        )
    if details.environment:
        facts += _machine(details.environment)
    return facts


def _machine(environment: EnvironmentFingerprint) -> list[Fact]:
    cpus = f"{environment.cpu_count} x {environment.cpu_model}"
    return [Fact(label="Machine", value=f"{environment.host}: {cpus}, {size(environment.memory_bytes)}, kernel {environment.kernel}")]
