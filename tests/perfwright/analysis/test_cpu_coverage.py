"""Shares are of all CPU time of the process tree, and what nobody has samples of is told."""

import pytest

from perfwright.analysis.cpu_findings import analyse_findings
from perfwright.analysis.hot_paths import find_hot_paths, on_cpu
from perfwright.analysis.tree_weights import CallTree
from perfwright.analysis.unseen_cpu import coverage_sentence, enough_is_known, limit_of
from perfwright.analysis.utilisation import describe_utilisation
from perfwright.models.cpu_coverage import CpuCoverage, ProcessCpu
from perfwright.models.cpu_profiling import ProcessUse, Runtime
from tests.drawn_profiles import drawn, seen, tid_of, use

HOT = "main app.py:1 > hot app.py:7 400"
"""A fifth of a core: 400 of 2,000 ticks."""


def tree_of(threads: dict[str, float], *others: ProcessCpu, ended: float = 0.0, ended_threads: float = 0.0) -> ProcessUse:
    """Process 1 with these threads, which `drawn` samples, and what else its tree used."""
    usage = use(threads)
    own = ProcessCpu(pid=1, program="python3", cpu_share=usage.user_share + ended_threads, ended_threads_share=ended_threads)
    cores = own.cpu_share + sum(one.cpu_share for one in others) + ended
    return usage.model_copy(update={"user_share": cores, "processes": (own, *others), "ended_children_share": ended})


def share_of(name: str, usage: ProcessUse, text: str = HOT, runtime: Runtime = "python") -> float:
    told = on_cpu(CallTree(drawn(text, seconds=20)), usage, runtime=runtime)
    return next(one.self_share for one in find_hot_paths(told, top=9).functions if one.function == name)


@pytest.mark.parametrize(
    ("usage", "share", "what"),
    [
        (tree_of({"MainThread": 0.2}), 1.0, ""),
        (tree_of({"MainThread": 0.2, "codec-1": 0.15, "codec-2": 0.15}), 0.4, "threads codec-# 60%"),
        (tree_of({"MainThread": 0.2}, ProcessCpu(pid=9, program="gzip", cpu_share=0.6)), 0.25, "process 9 (gzip) 75%"),
        (tree_of({"MainThread": 0.2}, ended=0.3), 0.4, "child processes that ended 60%"),
        (use({"MainThread": 0.2, "codec": 0.3}), 0.4, "threads codec 60%"),
    ],
)
def test_a_share_is_of_all_cpu_time(usage: ProcessUse, share: float, what: str) -> None:
    """A function that is all of the samples has no CPU time of compiled threads, of other programs or of children that ended.

    kernel     hot 0.20   others 0.30, or 0.60          samples    hot 400
    """
    told = seen(HOT, usage, seconds=20)
    assert share_of("hot", usage) == pytest.approx(share)
    assert told.coverage.seen_share == pytest.approx(share)
    assert what in told.note and bool(what) == ("used by threads without samples" in told.note)


def test_a_program_of_short_lived_threads_is_covered() -> None:
    """Threads that ended before anybody read their counters were sampled all the same: their process counts them."""
    text = "main app.py:1 > accept app.py:3 100\n" + "\n".join(f"@request-{number} serve app.py:9 3" for number in range(100))
    usage = tree_of({"MainThread": 0.05}, ended_threads=0.15)
    told = seen(text, usage, seconds=20)
    assert told.coverage.seen_share == pytest.approx(1.0) and share_of("serve", usage, text) == pytest.approx(0.75)
    never_sampled = tree_of({"MainThread": 0.05}, ended_threads=0.15)
    assert seen("main app.py:1 > accept app.py:3 100", never_sampled, seconds=20).coverage.seen_share == pytest.approx(0.25)


def test_children_that_ended_and_were_sampled_are_covered() -> None:
    """perf follows what a program starts: samples of a process that is gone stand for the time that its parent inherited."""
    usage = tree_of({"MainThread": 0.2}, ended=0.3).model_copy(
        update={"threads": tuple(one.model_copy(update={"pid": 7}) for one in use({"MainThread": 0.2}).threads)}
    )
    usage = usage.model_copy(update={"processes": (ProcessCpu(pid=7, program="make", cpu_share=0.2),)})
    told = seen("main app.py:1 > hot app.py:7 600", usage, seconds=20)
    assert told.coverage.seen_share == pytest.approx(0.3 / 0.5)
    assert told.coverage.share_of("process") == pytest.approx(0.2 / 0.5)


def test_gains_are_of_the_cores_that_a_place_has() -> None:
    """Half of two cores is another program's: the finding has one core, and what a fix wins is of that."""
    usage = tree_of({"MainThread": 1.0}, ProcessCpu(pid=9, program="cc1", cpu_share=1.0))
    told = seen("main app.py:1 > hot app.py:7 1900\nmain app.py:1 > cold app.py:9 100", usage)
    hot_paths = find_hot_paths(told, top=5, cpu_cores=2.0)
    findings, (fix, *_) = analyse_findings(told, hot_paths, describe_utilisation(told, usage), usage)
    one = next(finding for finding in findings if finding.id == "hot-line:app.py:hot")
    assert one.cost and one.cost.value == pytest.approx(0.475) and "0.95 of 2.00 cores" in one.summary
    assert one.cost.interval and one.cost.interval.high < 0.5
    assert 0.2 < fix.expected_gain.value < 0.3
    assert any("50% of the CPU time was used by threads without samples: process 9 (cc1) 50%" in told.statement for told in one.evidence)


JVM = {"main": 0.4, "GC Thread#0": 0.3, "GC Thread#1": 0.2, "G1 Conc#0": 0.05, "C2 CompilerThre": 0.05}


def test_a_jvm_that_collects_garbage_is_told_so() -> None:
    """Its one hot method has what its thread used, and the collector's threads are a finding of their own, with what to do."""
    usage = use(JVM)
    told = on_cpu(CallTree(drawn("@main hot app.py:7 800", seconds=20)), usage, runtime="jvm")
    findings, recommendations = analyse_findings(told, find_hot_paths(told, top=5, cpu_cores=1.0), describe_utilisation(told, usage), usage)
    collector = next(one for one in findings if one.id == "pattern:garbage-collection")
    assert (collector.title, collector.severity) == ("Garbage collection takes 55% of CPU time", "high")
    assert "GC Thread#, G1 Conc#" in collector.summary
    assert any("GarbageCollectionTuning" in one.brief for one in recommendations)
    assert share_of("hot", usage, "@main hot app.py:7 800", "jvm") == pytest.approx(0.4)
    assert enough_is_known(told.coverage, 1.0) and limit_of(told.coverage, 1.0) == "", "what the rest is for is known"


@pytest.mark.parametrize(
    ("threads", "collects", "compiles"),
    [
        ({"main": 0.9, "GC Thread#0": 0.08, "C2 CompilerThre": 0.02}, 0.08, 0.02),
        ({"main": 0.5, "VM Thread": 0.5}, 0.5, 0.0),
        ({"main": 0.5, "VM Thread": 0.1, "ZWorker#0": 0.4}, 0.4, 0.0),
    ],
)
def test_threads_of_the_jvm_itself(threads: dict[str, float], collects: float, compiles: float) -> None:
    """Collectors and compilers are known by their threads' names; the serial collector works in the VM's own thread."""
    told = on_cpu(CallTree(drawn("@main hot app.py:7 1000", seconds=20)), use(threads), runtime="jvm")
    assert told.coverage.share_of("garbage collection") == pytest.approx(collects)
    assert told.coverage.share_of("compiler") == pytest.approx(compiles)


def test_a_healthy_jvm_is_silent() -> None:
    """A collector that takes a twelfth is information."""
    usage = use({"main": 0.9, "GC Thread#0": 0.08})
    text = "\n".join(f"@main part{number} app.py:{number} 60" for number in range(30))
    told = on_cpu(CallTree(drawn(text)), usage, runtime="jvm")
    findings, recommendations = analyse_findings(told, find_hot_paths(told, top=5, cpu_cores=1.0), describe_utilisation(told, usage), usage)
    assert not [one.id for one in findings if one.severity != "information"] and not recommendations


def test_a_profile_of_a_small_part_is_not_one_of_the_program() -> None:
    """Where most of the CPU time has no samples the reader is told first, with how to see it; of an idle program nothing is said."""
    usage = tree_of({"MainThread": 0.2}, ProcessCpu(pid=9, program="gzip", cpu_share=0.5), ended=0.3)
    coverage = seen(HOT, usage, seconds=20).coverage
    assert coverage.unknown_share == pytest.approx(0.8) and not enough_is_known(coverage, 1.0)
    limit = limit_of(coverage, 1.0)
    assert "80% of its CPU time has no samples: process 9 (gzip) 50%, child processes that ended 30%" in limit
    assert "`perfwright cpu --pid 9`" in limit and "`perfwright cpu -- COMMAND`" in limit
    assert enough_is_known(coverage, 0.05) and limit_of(coverage, 0.05) == ""
    assert coverage_sentence(CpuCoverage(seen_share=0.97)) == ""


def test_an_unknown_tree_counts_as_seen() -> None:
    """Without counters, or of a recording that kept no processes, shares are of the samples."""
    assert seen(HOT, None).coverage == CpuCoverage()
    assert tid_of("MainThread") == 1 and seen(HOT, use({"MainThread": 0.2}), seconds=20).coverage.seen_share == pytest.approx(1.0)
