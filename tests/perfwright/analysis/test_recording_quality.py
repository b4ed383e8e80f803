from perfwright.analysis.hot_paths import find_hot_paths
from perfwright.analysis.recording_quality import quality_gates
from perfwright.models.artifact import ArtifactRef
from perfwright.models.cpu_profiling import CpuProfilingRequest, Overhead, RecordedPass, StackProfile
from tests.drawn_profiles import seen, use

REQUEST = CpuProfilingRequest(target="shop", duration_s=30.0)


def stacks(
    samples: int = 2_000, failed: int = 0, seconds: float = 30.0, paused: float | None = 0.01, end: str = "complete"
) -> StackProfile:
    return StackProfile.model_validate(
        {
            "profile": ArtifactRef(uri="x", sha256="0" * 64, size_bytes=1, media_type="x"),
            "tool": "py-spy 0.4.3",
            "passes": (RecordedPass(kind="on_cpu", rate_hz=99, seconds=seconds, samples=samples, failed_samples=failed),),
            "overhead": Overhead(paused_share=paused, profiler_cpu_share=0.05),
            "end": end,
        }
    )


def outcomes(profile: StackProfile, cores: float = 0.8) -> dict[str, str]:
    return {gate.name: gate.outcome for gate in quality_gates(profile, REQUEST, usage=use({"MainThread": cores}))}


def test_a_good_recording_passes() -> None:
    """Enough samples, none failed, cheap and complete: every gate passes, the hottest function's certainty included."""
    hot_paths = find_hot_paths(seen("main app.py:1 > hot app.py:5 900\nmain app.py:2 300"), top=5)
    gates = quality_gates(stacks(), REQUEST, hot_paths=hot_paths)
    assert len(gates) == 5 and {gate.outcome for gate in gates} == {"passed"}


def test_each_weakness_fails_its_own_gate() -> None:
    """Too few samples, failed samples, a disturbed target, half a recording: each is told by the gate of its name."""
    weak = {
        "enough samples": stacks(samples=50),
        "few failed samples": stacks(failed=900),
        "overhead within budget": stacks(paused=0.2),
        "recorded as long as asked": stacks(seconds=10.0, end="target exited"),
    }
    for name, profile in weak.items():
        assert {gate for gate, outcome in outcomes(profile).items() if outcome == "failed"} == {name}


def test_no_data_is_never_a_pass() -> None:
    """A recording without a sample, or of unknown overhead, passes nothing that it cannot show."""
    empty = stacks(samples=0).model_copy(update={"overhead": Overhead()})
    told = outcomes(empty)
    assert told["enough samples"] == told["few failed samples"] == told["overhead within budget"] == "no data"


def test_an_idle_target_is_told_why_there_are_few_samples() -> None:
    """Few samples of a program that hardly runs: the note says to load it, and how long would be enough."""
    gate = quality_gates(stacks(samples=50), REQUEST, usage=use({"MainThread": 0.02}))[0]
    assert "idle" in gate.note and "120 s" in gate.note
