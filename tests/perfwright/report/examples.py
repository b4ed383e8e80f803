"""A result with one of everything that a report shows."""

import json
from typing import Any

from perfwright.models.artifact import ArtifactRef
from perfwright.models.cpu_profiling import (
    CpuProfilingDetails,
    FlameGraph,
    Gap,
    HotPaths,
    HotSpot,
    Overhead,
    ProcessUse,
    ProfilerChoice,
    RecordedPass,
    StackProfile,
    TargetProcess,
    ThreadUse,
    Utilisation,
)
from perfwright.models.finding import Evidence, Finding, Location, Recommendation
from perfwright.models.gate import Decision, RefusedDecision
from perfwright.models.measurement import EnvironmentFingerprint, Estimate, Interval
from perfwright.models.quality import QualityGate
from perfwright.models.result import ProcessResult, Step

CpuResult = ProcessResult[CpuProfilingDetails]
HOSTILE = "</script><script>document.title='owned'</script>"


def ref(uri: str) -> ArtifactRef:
    return ArtifactRef(uri=uri, sha256="0" * 64, size_bytes=10, media_type="application/json")


def around(value: float) -> Interval:
    return Interval(low=0.9 * value, high=min(1.0, 1.1 * value), method="block bootstrap")


def spot(function: str, line: int, own: float, total: float) -> HotSpot:
    return HotSpot(
        function=function,
        file="srv/shop/pricing.py",
        line=line,
        origin="user",
        self_share=own,
        self_interval=around(own),
        total_share=total,
        total_interval=around(total),
        samples=400,
        callers=("price_cart (srv/shop/app.py:88)",),
    )


def example() -> CpuResult:
    """Verdict passed, one finding, one recommendation, hostile words wherever people or programs choose them."""
    details = CpuProfilingDetails(
        process=TargetProcess(
            pid=4711, create_time_s=1.0, program="python", runtime="python", runtime_version="CPython 3.11", thread_count=7, child_count=2
        ),
        choice=ProfilerChoice(tool="py-spy", reason="CPython 3.11", passes=("on_cpu", "wall"), rejected={"perf": "sees only C frames"}),
        environment=EnvironmentFingerprint(host="box", kernel="6.1", cpu_model="CPU", cpu_count=2, memory_bytes=24 << 30),
        stacks=StackProfile(
            profile=ref("stacks"),
            tool="py-spy 0.4.3",
            passes=(RecordedPass(kind="on_cpu", rate_hz=99, seconds=15, samples=1_300, slices=3, blocks=15),),
            overhead=Overhead(paused_share=0.012, profiler_cpu_share=0.05, probe_note="99 Hz kept."),
            gaps=(Gap(at_s=12, missing_s=5.5, reason="the worker was restarted"),),
        ),
        usage=ProcessUse(
            series=ref("use"),
            seconds=30,
            samples=60,
            cpu_count=2,
            user_share=0.9,
            system_share=0.05,
            iowait_share=0.01,
            machine_busy_share=0.6,
            voluntary_switches_hz=120,
            involuntary_switches_hz=11,
            rss_bytes=90 << 20,
            thread_count=7,
            threads=(
                ThreadUse(
                    pid=4711, tid=4712, name=HOSTILE, user_share=0.8, system_share=0.02, voluntary_switches_hz=20, involuntary_switches_hz=3
                ),
            ),
        ),
        hot_paths=HotPaths(
            samples=1_300,
            functions=(spot("match_rules", 41, 0.31, 0.42), spot(HOSTILE, 7, 0.1, 0.2)),
            lines=(spot("match_rules", 41, 0.28, 0.3),),
        ),
        utilisation=Utilisation(patterns=(), waiting=(spot("wait", 320, 0.5, 0.5),)),
        flame_graphs=(
            FlameGraph(title="On-CPU flame graph", kind="on_cpu", data=ref("graph"), samples=1_300),
            FlameGraph(title="Change since shop#3", kind="diff", data=ref("graph"), samples=1_300, compared_with="shop#3"),
        ),
        warnings=("The worker was restarted while recording.",),
    )
    return CpuResult(
        process="CpuProfilingInvestigation",
        target="shop",
        environment="lab",
        workflow_id="cpu-profiling-investigation/shop",
        run_id="run",
        verdict="passed",
        summary="31 % of the CPU time goes into match_rules.",
        started_at="2025-03-01T12:00:00+00:00",
        duration_s=43,
        findings=(
            Finding(
                id="hot-line:pricing.py:match_rules",
                title="match_rules takes 31 % of CPU time",
                severity="high",
                summary="A nested scan.",
                cost=Estimate(value=0.31, unit="share of CPU seconds", interval=around(0.31)),
                locations=(Location(file="srv/shop/pricing.py", line=41, function="match_rules"),),
                evidence=(Evidence(statement="410 of 1,300 on-CPU samples", artifact=ref("stacks")),),
                confidence="high",
            ),
        ),
        recommendations=(
            Recommendation(
                id="fix:match_rules",
                title=f"Index the rules once {HOSTILE}",
                finding_ids=("hot-line:pricing.py:match_rules",),
                expected_gain=Estimate(value=0.25, unit="share of CPU seconds", interval=around(0.25)),
                derivation="Amdahl",
                effort="hours",
                brief=f"## Where\n`pricing.py:41`\n\n{HOSTILE}",
            ),
        ),
        quality_gates=(
            QualityGate(
                name="enough samples", metric="samples", comparison=">=", threshold=200, observed=1_300, unit="samples", outcome="passed"
            ),
            QualityGate(name="few failed", metric="failed", comparison="<=", threshold=0.1, observed=None, unit="share", outcome="no data"),
        ),
        decisions=(
            Decision(
                gate="profile_review",
                revision=1,
                digest="abcdef01",
                outcome="approved",
                by="ana",
                source="signal",
                at="2025-03-01T12:01:00+00:00",
                comment=HOSTILE,
            ),
        ),
        refused_decisions=(RefusedDecision(message="approve", reason="not open", by=HOSTILE),),
        steps=(
            Step(name="Preflight", task="validation", outcome="done", duration_s=0.4),
            Step(name="Compare", task="analysis", outcome="skipped", note="no earlier run"),
        ),
        request={"target": "shop", "duration_s": 30},
        details=details,
    )


def tree(depth: int, value: float, number: int = 0) -> dict[str, Any]:
    children = [] if depth == 0 else [tree(depth - 1, value * part, i) for i, part in enumerate((0.5, 0.3, 0.15))]
    name = HOSTILE if depth == 1 else f"function_{depth}_{number}"
    return {
        "name": name,
        "value": value,
        "children": children,
        "f": "srv/shop/pricing.py",
        "l": 40,
        "o": "user",
        "delta": (number - 1) * value * 0.3,
    }


def figure_data() -> dict[str, bytes]:
    series = [{"label": "user", "unit": "cores", "values": [0.8, 0.9, 0.7, None]}]
    return {"graph": json.dumps(tree(5, 1_300.0)).encode(), "use": json.dumps({"t_s": [0.5, 1.0, 1.5, 2.0], "series": series}).encode()}
