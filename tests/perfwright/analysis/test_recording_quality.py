import pytest

from perfwright.analysis.profile_review import judge
from perfwright.analysis.recording_quality import quality_gates
from perfwright.models.artifact import ArtifactRef
from perfwright.models.cpu_coverage import CpuCoverage, UnseenCpu
from perfwright.models.cpu_profiling import (
    CpuProfilingRequest,
    Overhead,
    ProfilerChoice,
    RecordedPass,
    Recording,
    StackProfile,
    TargetProcess,
)
from tests.drawn_profiles import use

REQUEST = CpuProfilingRequest(target="shop", duration_s=30.0)


def stacks(
    samples: int = 2_000, failed: int = 0, seconds: float = 30.0, paused: float | None = 0.008, end: str = "complete"
) -> StackProfile:
    return StackProfile.model_validate(
        {
            "profile": ArtifactRef(uri="x", sha256="0" * 64, size_bytes=1, media_type="x"),
            "tool": "py-spy 0.4.3",
            "passes": (RecordedPass(kind="on_cpu", rate_hz=99, seconds=seconds, samples=samples, failed_samples=failed),),
            "overhead": Overhead(paused_share=paused, profiler_cpu_share=0.05, readings=1_500),
            "end": end,
        }
    )


def outcomes(profile: StackProfile, cores: float = 0.8) -> dict[str, str]:
    running = sum(one.samples for one in profile.passes)
    return {gate.name: gate.outcome for gate in quality_gates(profile, REQUEST, use({"MainThread": cores}), running)}


def test_a_good_recording_passes() -> None:
    """Enough samples, none failed, cheap and complete: every gate passes."""
    assert set(outcomes(stacks()).values()) == {"passed"}
    assert len(outcomes(stacks())) == 4


def test_idle_threads_are_no_samples_of_cpu() -> None:
    """Two thousand samples of a pool that waits are not enough: those that ran are counted."""
    gate = quality_gates(stacks(samples=2_000), REQUEST, use({"MainThread": 0.8}), 20)[0]
    assert (gate.observed, gate.outcome) == (20, "failed")


def test_what_collectors_take_counts_as_far_as_the_machine_is_busy() -> None:
    """JFR and perf only take CPU: five hundredths of a core, and the sampler's, count as their share of a machine that has none left."""
    usage = use({"MainThread": 0.8}).model_copy(update={"machine_busy_share": 0.9, "sampler_cpu_share": 0.01, "cpu_count": 4})
    gates = {gate.name: gate for gate in quality_gates(stacks(paused=None), REQUEST, usage, 2_000)}
    assert gates["overhead within budget"].observed == pytest.approx(0.6 * 0.06 / 4)
    busy = usage.model_copy(update={"machine_busy_share": 1.0})
    gates = {gate.name: gate for gate in quality_gates(stacks(paused=0.01), REQUEST, busy, 2_000)}
    assert gates["overhead within budget"].observed == pytest.approx(2 * 0.01 + 0.05 / 4)


def test_a_held_share_is_an_estimate() -> None:
    """Slightly above the budget in few readings is not surely above it, and the gate says so; the same in many readings is."""
    few, many = (
        stacks(paused=0.012).model_copy(update={"overhead": Overhead(paused_share=0.012, readings=readings)}) for readings in (500, 50_000)
    )
    gates = [quality_gates(one, REQUEST, use({"MainThread": 0.8}), 2_000)[2] for one in (few, many)]
    assert [gate.outcome for gate in gates] == ["passed", "failed"]
    assert "not surely above" in gates[0].note


def test_an_unknown_cost_is_no_pass() -> None:
    """Where neither pauses nor CPU could be read, the gate has no data, and the profile is not believed."""
    unknown = stacks().model_copy(update={"overhead": Overhead()})
    assert outcomes(unknown)["overhead within budget"] == "no data"


def test_each_weakness_fails_its_own_gate() -> None:
    """Too few samples, failed samples, a disturbed target, half a recording: each is told by the gate of its name."""
    weak = {
        "enough samples": stacks(samples=25),
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
    gate = quality_gates(stacks(samples=25), REQUEST, use({"MainThread": 0.02}), 25)[0]
    assert "idle" in gate.note and "60 s" in gate.note


def test_a_starved_target_is_not_called_idle() -> None:
    """Few samples because others had the CPUs, and a profiler that was dear for the same reason: both are told as that."""
    busy = {"machine_busy_share": 1.0, "involuntary_switches_hz": 400.0, "voluntary_switches_hz": 0.0, "cpu_count": 1}
    usage = use({"MainThread": 0.02}).model_copy(update=busy)
    few, _, overhead, _ = quality_gates(stacks(samples=25, paused=None), REQUEST, usage, 25)
    assert "none free" in few.note and "idle" not in few.note
    sleeps = usage.model_copy(update={"involuntary_switches_hz": 0.5})
    assert "idle" in quality_gates(stacks(samples=25, paused=None), REQUEST, sleeps, 25)[0].note
    hardly = use({"MainThread": 0.004}).model_copy(update=busy)
    assert "idle" in quality_gates(stacks(samples=25, paused=None), REQUEST, hardly, 25)[0].note, "what starts is preempted as well"
    assert overhead.outcome == "failed" and "5.0% of a core" in overhead.note


@pytest.mark.parametrize(("share", "believable"), [(0.3, True), (0.7, False)])
def test_a_profile_of_a_small_part_is_inconclusive(share: float, believable: bool) -> None:
    """Where most of the CPU time is another program's, nothing is concluded from the stacks of the rest, and the way to see it is told."""
    process = TargetProcess(pid=1, create_time_s=0.0, program="python3", runtime="python")
    choice = ProfilerChoice(tool="py-spy", reason="", passes=("on_cpu",))
    recording = Recording(stacks=stacks(), usage=use({"MainThread": 0.8}), process=process, choice=choice)
    unseen = CpuCoverage(seen_share=1 - share, unseen=(UnseenCpu(what="process 9 (gzip)", kind="process", share=share, pid=9),))
    judged = judge(recording, REQUEST, 2_000, None, unseen)
    assert judged.believable == believable and ("perfwright cpu --pid 9" in judged.problem) == (not believable)
    assert any("process 9 (gzip)" in statement for statement in judged.statements)
