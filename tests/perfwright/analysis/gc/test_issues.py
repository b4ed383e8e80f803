"""Which pauses are worth tuning, and what is tried for them."""

import pytest

from perfwright.analysis.gc.candidates import jvm_candidates, python_candidates
from perfwright.analysis.gc.issues import issues_of, live_set_growth, summary_sentence
from perfwright.analysis.gc.trying import metric_of
from perfwright.models.gc_tuning import Collector
from tests.perfwright.analysis.gc.tuning_samples import CPYTHON, G1, sample, seen

ALL: tuple[Collector, ...] = ("Serial", "Parallel", "G1", "ZGC", "Shenandoah")


def test_long_pauses_are_an_issue_of_their_cause() -> None:
    """Five full collections of 120 ms beside young ones of half a millisecond."""
    (issue,) = issues_of(seen(full_generation=[120.0] * 5, young=[0.5] * 500), 10.0, 0.5)
    assert (issue.cause, issue.over) == ("full generation", "pause")
    assert metric_of([issue]) == "gc_pause_p99_ms"


def test_many_short_pauses_are_one_as_well() -> None:
    """3,000 ms of 10 s in pauses of 5 ms: below the target for pauses, above the one for their share."""
    found = issues_of(seen(G1, humongous_allocation=[5.0] * 560, young=[5.0] * 40), 10.0, 0.05)
    assert [(issue.cause, issue.over) for issue in found] == [("humongous allocation", "share")]
    assert metric_of(found) == "gc_share" and "regions are 1 MiB" in found[0].statement


def test_within_both_targets_there_is_none() -> None:
    """And the sentence says so."""
    healthy = seen(young=[3.0] * 20)
    assert issues_of(healthy, 10.0, 0.05) == ()
    assert summary_sentence(healthy, (), 10.0, 0.05).startswith("No pause worth tuning")


def test_one_held_up_collection_is_no_issue() -> None:
    """Of five rounds one had a pause of 80 ms: the median of the rounds decides."""
    samples = tuple(sample("", number, p99=80.0 if number == 3 else 1.5, share=0.01) for number in range(5))
    assert issues_of(seen(young=[80.0, 1.5, 1.5]).model_copy(update={"samples": samples}), 10.0, 0.05) == ()


def test_one_or_two_long_pauses_are_none() -> None:
    """Of the start, or somebody's own call: no percentile is known of them. Three are."""
    for count, issues in ((1, 0), (2, 0), (3, 1)):
        observed = seen(full_generation=[60.0] * count, young=[0.5] * 500)
        found = issues_of(observed, 10.0, 0.05)
        assert len(found) == issues
        assert issues or summary_sentence(observed, found, 10.0, 0.05).startswith("Too few long pauses to judge by")


def test_a_heap_that_does_not_fit_is_not_proposed() -> None:
    """Twice 64 MiB on a machine of 160."""
    issues = issues_of(seen(G1, humongous_allocation=[5.0] * 600), 10.0, 0.05)
    for machine_mib, proposed in ((160, False), (256, True)):
        found = jvm_candidates(("java", "-Xmx64m", "App"), "", G1, (), issues, 10.0, machine_mib << 20)
        assert any(one.name == "heap of 128 MiB" for one in found) is proposed


@pytest.mark.parametrize(("live", "growth"), [([10] * 9, 0.0), ([10, 10, 10, 12, 14, 16, 20, 20, 20], 1.0), ([1, 2, 3], None)])
def test_growth_of_the_live_set(live: list[int], growth: float | None) -> None:
    """From the first third to the last, by medians."""
    assert live_set_growth(live) == growth


def test_python_candidates() -> None:
    """Launched: by the environment; running: by injection; what is set already is left out."""
    launched = python_candidates(CPYTHON, live=False, python_path="/agent:/app")
    assert [one.name for one in launched] == [
        "thresholds 10000, 10, 10",
        "thresholds 50000, 20, 20",
        "thresholds 700, 10, 100",
        "freeze",
        "freeze, thresholds 10000, 10, 10",
    ]
    assert launched[0].launch and launched[0].launch.environment == {"PYTHONPATH": "/agent:/app", "PERFWRIGHT_GC_SETTINGS": "10000,10,10"}
    running = python_candidates(CPYTHON.model_copy(update={"thresholds": (10_000, 10, 10)}), live=True, python_path="")
    assert running[0].name == "thresholds 50000, 20, 20"
    assert running[0].interpreter and running[0].interpreter.gc_thresholds == (50_000, 20, 20) and running[0].launch is None
    assert "gc.freeze()" in running[-1].for_people


def test_jvm_candidates() -> None:
    """Larger regions where arrays are humongous, and every other collector; the command's own words for it are replaced."""
    issues = issues_of(seen(G1, humongous_allocation=[5.0] * 600), 10.0, 0.05)
    found = {one.name: one for one in jvm_candidates(("java", "-XX:+UseG1GC", "-Xmx64m", "App"), "", G1, ALL, issues, 10.0, 16 << 30)}
    assert list(found) == ["G1 regions of 4 MiB", "G1 regions of 8 MiB", "heap of 128 MiB", "Serial", "Parallel", "ZGC", "Shenandoah"]
    regions, heap, serial = (found[name].launch for name in ("G1 regions of 4 MiB", "heap of 128 MiB", "Serial"))
    assert regions and regions.after_program == ("-XX:G1HeapRegionSize=4m",) and not regions.without
    assert heap and (heap.after_program, heap.without) == (("-Xmx128m",), ("-Xmx64m",))
    assert serial and (serial.after_program, serial.without) == (("-XX:+UseSerialGC",), ("-XX:+UseG1GC",))


def test_behind_a_script_flags_come_by_the_environment() -> None:
    """What stands there already is kept, but for the words that are replaced."""
    issues = issues_of(seen(G1, young=[50.0] * 60), 10.0, 0.05)
    found = {one.name: one for one in jvm_candidates(("./run.sh",), "-Dx=1 -XX:+UseG1GC", G1, ("ZGC",), issues, 10.0, 16 << 30)}
    zgc = found["ZGC"].launch
    assert zgc and zgc.environment == {"JAVA_TOOL_OPTIONS": "-Dx=1 -XX:+UseZGC"}
    assert "G1 aiming at 10 ms" in found
