"""What a CPU recording says: judged, drawn, ranked. Heavy parts run in a process of their own, from the profile artifact.

What only they need is imported there: NumPy takes a twentieth of a worker's start, and of its memory.
"""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from temporalio import activity

from activities.artifacts import ArtifactStore
from activities.compute import in_own_process
from perfwright.analysis.interpreters import Interpreter, interpreter_in
from perfwright.analysis.profile_review import judge
from perfwright.analysis.recording_quality import NO_CPU_FREE
from perfwright.analysis.unseen_cpu import limit_of
from perfwright.models.artifact import ArtifactRef
from perfwright.models.cpu_coverage import CpuCoverage
from perfwright.models.cpu_profiling import PROCESS, FlameGraph, HotPaths, ProcessUse, Runtime, Utilisation
from perfwright.models.cpu_steps import (
    FindingsToRank,
    FlameGraphs,
    FlameGraphsToDraw,
    ProfileJudgement,
    ProfileToJudge,
    ProfileToRead,
    RankedFindings,
)
from perfwright.models.finding import Finding, Recommendation
from perfwright.models.measurement import Interval
from perfwright.models.profile import PassKind
from perfwright.report.repeating import start_again

if TYPE_CHECKING:
    from perfwright.analysis.flame_graphs import Drawing
    from perfwright.analysis.hot_paths import OnCpu
    from perfwright.analysis.tree_weights import CallTree

Read = TypeVar("Read")
GRAPH_MEDIA_TYPE = "application/json"
UNSURE = (0.03, 0.5)
"""A share whose interval reaches from below the first to above the second is not known."""
TITLES: dict[PassKind, str] = {
    "on_cpu": "On-CPU flame graph",
    "off_cpu": "Off-CPU flame graph",
    "gil": "Who holds the interpreter lock",
    "native": "On-CPU with compiled frames",
}


class CpuAnalysis:
    """Activities over the profile artifact of a recording."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts

    @activity.defn
    async def judge_profile(self, request: ProfileToJudge) -> ProfileJudgement:
        """Quality gates of the recording, and what a reviewer should see of it."""
        recording = request.recording
        interpreter, runtime = interpreter_in(recording.process), recording.process.runtime
        read = await self._read(ProfileToRead(recording=recording), review_of, recording.usage, runtime, interpreter)
        return judge(recording, request.request, *read)

    @activity.defn
    async def draw_flame_graphs(self, request: FlameGraphsToDraw) -> FlameGraphs:
        """On-CPU, off-CPU, GIL and compiled-frames graphs where recorded, and the change since an earlier run."""
        previous, note = request.previous, ""
        if previous and previous.runtime not in ("", request.runtime):
            note = f"{previous.run} is a profile of a {previous.runtime} program: no change is drawn"
            previous = None
        profile = await self._artifacts.get(request.profile)
        earlier = await self._artifacts.get(previous.profile) if previous else None
        with tempfile.TemporaryDirectory(prefix="perfwright-") as folder:
            paths = [_kept(folder, "now", profile)] + ([_kept(folder, "earlier", earlier)] if earlier else [])
            used = [request.usage, previous.usage if previous else None]
            drawn = await in_own_process(draw_all, paths, request.runtime, used, heartbeat=_beat("drawing"))
        graphs = []
        for kind, drawing in drawn:
            title = TITLES[kind] if kind != "diff" else f"Change since {previous.run}" if previous else "Change"
            data = json.dumps(drawing.root, separators=(",", ":")).encode()
            ref = await self._artifacts.put(f"{request.artifact_prefix}/flame-{kind}.json", data, GRAPH_MEDIA_TYPE, title)
            graphs.append(
                FlameGraph(
                    title=title,
                    kind=kind,
                    data=ref,
                    samples=drawing.samples,
                    pruned_share=drawing.pruned_share,
                    compared_with=previous.run if kind == "diff" and previous else "",
                )
            )
        if previous and not any(graph.kind == "diff" for graph in graphs):
            note = f"{previous.run} has no samples of the pass that is drawn: no change is drawn"
        return FlameGraphs(graphs=tuple(graphs), note=note)

    @activity.defn
    async def find_hot_paths(self, request: ProfileToRead) -> HotPaths:
        """Self and total time by function and line, with intervals."""
        usage = request.recording.usage
        cores = usage.user_share + usage.system_share
        return await self._read(request, hot_paths_of, usage, request.recording.process.runtime, request.top, cores)

    @activity.defn
    async def classify_utilisation(self, request: ProfileToRead) -> Utilisation:
        """Patterns of CPU use, and where threads wait."""
        return await self._read(request, utilisation_of, request.recording.usage, request.recording.process.runtime)

    @activity.defn
    async def rank_findings(self, request: FindingsToRank) -> RankedFindings:
        """Findings by cost, recommendations by gain over effort, and one sentence that sums them up."""
        recording, wanted = request.recording, request.request
        reproduce = start_again(PROCESS, wanted.model_dump(mode="json"))
        findings, recommendations = await self._read(
            ProfileToRead(recording=recording),
            findings_of,
            recording.usage,
            recording.process.runtime,
            request.hot_paths,
            request.utilisation,
            wanted.goal_share,
            recording.stacks.profile,
            reproduce,
            interpreter_in(recording.process),
        )
        return RankedFindings(
            findings=findings,
            recommendations=recommendations,
            summary=summary_of(wanted.target_name, findings, recommendations, request.hot_paths, request.utilisation, recording.usage),
            biggest_win=next((one.expected_gain for one in recommendations if one.score > 0), None),
        )

    async def _read(self, request: ProfileToRead, function: Callable[..., Read], *arguments: Any) -> Read:
        profile = await self._artifacts.get(request.recording.stacks.profile)
        with tempfile.TemporaryDirectory(prefix="perfwright-") as folder:
            return await in_own_process(function, _kept(folder, "profile", profile), *arguments, heartbeat=_beat(function.__name__))


def review_of(path: str, usage: ProcessUse, runtime: Runtime, interpreter: Interpreter | None) -> tuple[int, float | None, CpuCoverage]:
    """In a process of its own: samples that count as CPU time, the share of it that an interpreter by name spends on its own work, and what
    of the CPU time the samples stand for."""
    from perfwright.analysis.interpreter_costs import inside_share

    seen = _seen(path, usage, runtime)
    running = round(min(seen.rows.samples, seen.rows.worth))  # of idle threads only as much as they ran
    return running, inside_share(seen, interpreter) if interpreter else None, seen.coverage


def hot_paths_of(path: str, usage: ProcessUse, runtime: Runtime, top: int, cores: float) -> HotPaths:
    """In a process of its own: the hottest functions and lines."""
    from perfwright.analysis.hot_paths import find_hot_paths

    return find_hot_paths(_seen(path, usage, runtime), top=top, cpu_cores=cores)


def utilisation_of(path: str, usage: ProcessUse, runtime: Runtime) -> Utilisation:
    """In a process of its own: how the CPUs are used."""
    from perfwright.analysis.utilisation import describe_utilisation

    return describe_utilisation(_seen(path, usage, runtime), usage)


def findings_of(
    path: str,
    usage: ProcessUse,
    runtime: Runtime,
    hot_paths: HotPaths,
    utilisation: Utilisation,
    goal_share: float | None,
    profile: ArtifactRef,
    reproduce: str,
    interpreter: Interpreter | None = None,
) -> tuple[tuple[Finding, ...], tuple[Recommendation, ...]]:
    """In a process of its own: findings and recommendations."""
    from perfwright.analysis.cpu_findings import analyse_findings
    from perfwright.analysis.interpreter_costs import without_insides

    seen = _seen(path, usage, runtime)
    told = analyse_findings(seen, hot_paths, utilisation, usage, goal_share=goal_share, profile=profile, reproduce=reproduce)
    return without_insides(seen, *told, interpreter) if interpreter else told


def draw_all(paths: list[str], runtime: Runtime, used: list[ProcessUse | None]) -> "list[tuple[Any, Drawing]]":
    """In a process of its own: every graph that the recording gives, and the change since the earlier one.

    `used` goes with `paths`.
    """
    from perfwright.analysis.flame_graphs import draw_difference, draw_flame_graph
    from perfwright.analysis.hot_paths import on_cpu_alike
    from perfwright.analysis.waits import off_cpu

    seen = _seen(paths[0], used[0], runtime)
    drawn: list[tuple[Any, Drawing]] = [("on_cpu", draw_flame_graph(seen.tree, seen.rows, runtime=runtime))]
    waited = off_cpu(seen.tree, used[0])
    if waited is not None and waited.rows.samples > 0:
        drawn.append(("off_cpu", draw_flame_graph(seen.tree, waited.rows, runtime=runtime)))
    kinds: tuple[PassKind, ...] = ("gil", "native")
    for kind in kinds:
        rows = seen.tree.weights(kind)
        if rows is not None and rows.samples > 0 and kind != seen.rows.kind:
            drawn.append((kind, draw_flame_graph(seen.tree, rows, runtime=runtime)))
    if len(paths) > 1:
        later, earlier = on_cpu_alike([seen.tree, _tree(paths[1])], used, runtime=runtime)
        if later.rows.kind == earlier.rows.kind == seen.rows.kind:
            drawn.append(("diff", draw_difference((earlier.tree, earlier.rows), (later.tree, later.rows), runtime=runtime)))
    return drawn


def summary_of(
    target: str,
    findings: tuple[Finding, ...],
    recommendations: tuple[Recommendation, ...],
    hot_paths: HotPaths,
    utilisation: Utilisation,
    usage: ProcessUse,
) -> str:
    """What a reader who stops here takes away: one sentence, and what it leaves open where much has no samples."""
    told = _told_of(target, findings, recommendations, hot_paths, utilisation, usage)
    return f"{told} {limit_of(hot_paths.coverage, hot_paths.cpu_cores)}".strip()


def _told_of(
    target: str,
    findings: tuple[Finding, ...],
    recommendations: tuple[Recommendation, ...],
    hot_paths: HotPaths,
    utilisation: Utilisation,
    usage: ProcessUse,
) -> str:
    pattern = utilisation.patterns[0].name if utilisation.patterns else "unknown"
    loud = [finding for finding in findings if finding.severity != "information"]
    if not loud:
        if unsure := next((spot for spot in hot_paths.functions if _is_unsure(spot.self_interval)), None):
            within = f"{unsure.self_share:.0%} [{unsure.self_interval.low:.0%} to {unsure.self_interval.high:.0%}] of its CPU time"
            return (
                f"{target} used {hot_paths.cpu_cores:.2f} cores ({pattern}); nothing in it surely costs enough to act on, but it went "
                f"through phases: {unsure.function} ({unsure.file}) took {within}. A longer recording tells."
            )
        if recommendations:
            hidden = next(finding for finding in findings if finding.id in recommendations[0].finding_ids)
            unseen = f"{hidden.title}, so that what costs there is not known"
            return f"{target} used {hot_paths.cpu_cores:.2f} cores ({pattern}). {unseen}. First: {recommendations[0].title}."
        return f"{target} used {hot_paths.cpu_cores:.2f} cores ({pattern}); nothing in it costs enough to act on{_crowded(usage)}."
    advice = f" First: {recommendations[0].title}." if recommendations else ""
    more = f" and {len(loud) - 1} more" if len(loud) > 1 else ""
    return f"{loud[0].title}{more}; {target} used {hot_paths.cpu_cores:.2f} cores ({pattern}).{advice}"


def _crowded(usage: ProcessUse) -> str:
    """Other programs used the machine up: what the target would have used with a free CPU is not known."""
    used = usage.user_share + usage.system_share
    if usage.machine_busy_share < NO_CPU_FREE or used > usage.cpu_count / 2:
        return ""
    return f", as far as can be said on a machine that was {usage.machine_busy_share:.0%} busy with other programs"


def _is_unsure(share: Interval) -> bool:
    """It may be next to nothing, and it may be most: the program went through phases, and few blocks were recorded of each."""
    return share.low < UNSURE[0] and share.high > UNSURE[1]


def _seen(path: str, usage: ProcessUse | None, runtime: Runtime) -> "OnCpu":
    from perfwright.analysis.hot_paths import on_cpu

    return on_cpu(_tree(path), usage, runtime=runtime)


def _tree(path: str) -> "CallTree":
    from perfwright.analysis.call_tree import decode_profile
    from perfwright.analysis.tree_weights import CallTree

    return CallTree(decode_profile(Path(path).read_bytes()))


def _kept(folder: str, name: str, data: bytes) -> str:
    path = Path(folder) / name
    path.write_bytes(data)
    return str(path)


def _beat(what: str) -> Any:
    return lambda elapsed_s, _: activity.heartbeat({"doing": what.replace("_", " "), "elapsed_s": round(elapsed_s, 1)})
