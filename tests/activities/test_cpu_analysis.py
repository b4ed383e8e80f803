"""Pictures and briefs of a CPU recording, from real profile files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from activities.cpu_analysis import draw_all, review_of, summary_of
from perfwright.analysis.call_tree import encode_profile
from perfwright.models.cpu_coverage import CpuCoverage, UnseenCpu, UnseenKind
from perfwright.models.cpu_profiling import HotPaths, HotSpot, ProcessUse, Utilisation
from perfwright.models.finding import Finding, Recommendation
from perfwright.models.measurement import Estimate, Interval
from tests.drawn_profiles import drawn, use

SHOP = "main app.py:1 > page app.py:5 600\nmain app.py:1 > cart app.py:7 200\n@pool-1 crc pictures.py:29 200"
USED = use({"MainThread": 0.2, "pool-1": 0.2})


def stored(folder: Path, name: str, text: str, kind: str = "on_cpu") -> str:
    path = folder / name
    path.write_bytes(encode_profile(drawn({kind: text})))  # type: ignore[dict-item]
    return str(path)


def boxes(root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield root
    for child in root.get("children", ()):
        yield from boxes(child)


def change(paths: list[str], used: list[ProcessUse | None]) -> dict[str, Any] | None:
    return next((drawing.root for kind, drawing in draw_all(paths, "python", used) if kind == "diff"), None)


@pytest.mark.parametrize("used", [[USED, USED], [USED, None], [None, None]])
def test_a_recording_has_not_changed_since_itself(tmp_path: Path, used: list[ProcessUse | None]) -> None:
    """Compared with itself a recording shows no change anywhere, also where what its threads used was not kept then."""
    path = stored(tmp_path, "now", SHOP)
    drawing = change([path, path], used)
    assert drawing is not None
    assert {box["name"]: box["delta"] for box in boxes(drawing) if box["delta"]} == {}
    assert {"page", "cart", "crc"} <= {box["name"] for box in boxes(drawing)}


def test_a_change_is_of_cpu_time(tmp_path: Path) -> None:
    """The same samples, of a pool that used much more CPU time than before, are a change.

    crc had 0.1 of 0.3 cores, and has 0.2 of 0.4
    """
    path = stored(tmp_path, "now", SHOP)
    drawing = change([path, path], [USED, use({"MainThread": 0.2, "pool-1": 0.1})])
    assert drawing is not None
    deltas = {box["name"]: box["delta"] for box in boxes(drawing)}
    assert deltas["crc"] == pytest.approx(100_000 * (1 / 2 - 1 / 3), abs=1) and deltas["page"] < 0 and deltas["cart"] < 0


def test_other_passes_are_not_compared(tmp_path: Path) -> None:
    """A recording of who holds the interpreter lock is no baseline for one of who is on the CPU: no change is drawn."""
    assert change([stored(tmp_path, "now", SHOP), stored(tmp_path, "earlier", SHOP, "gil")], [USED, USED]) is None


def test_idle_threads_are_no_samples(tmp_path: Path) -> None:
    """A profile whose samples are of threads that hardly ran does not count as rich in samples, nor does one that was weighed up."""
    idle = stored(tmp_path, "idle", "main app.py:1 > tick app.py:5 900")
    assert review_of(idle, use({"MainThread": 0.01}), "python", None)[0] == pytest.approx(20, abs=1)
    assert review_of(idle, use({"MainThread": 1.0}), "python", None)[0] == 900


@pytest.mark.parametrize(("low", "high", "told"), [(0.01, 0.96, "31% [1% to 96%]"), (0.2, 0.4, "nothing in it costs enough")])
def test_a_program_in_phases_is_not_called_healthy(low: float, high: float, told: str) -> None:
    """Where few blocks of a program's phases were recorded, the summary says that its hottest function's share is not known."""
    share = Interval(low=low, high=high, method="few blocks")
    hot = HotSpot(
        function="resolve",
        file="app/resolver.py",
        origin="user",
        self_share=0.31,
        self_interval=share,
        total_share=0.31,
        total_interval=share,
        samples=150,
    )
    paths = HotPaths(samples=500, functions=(hot,), lines=(), cpu_cores=0.8)
    utilisation = Utilisation(patterns=())
    assert told in summary_of("shop", (), (), paths, utilisation, USED)


def test_a_target_that_was_kept_from_running_is_not_called_healthy() -> None:
    """On a machine that other programs used up, the summary says that little use of CPU tells little."""
    paths, crowded = HotPaths(samples=500, functions=(), lines=(), cpu_cores=0.2), USED.model_copy(update={"machine_busy_share": 0.99})
    assert "99% busy with other programs" in summary_of("shop", (), (), paths, Utilisation(patterns=()), crowded)
    assert "busy" not in summary_of("shop", (), (), paths, Utilisation(patterns=()), USED)


@pytest.mark.parametrize(("kind", "told"), [("process", True), ("garbage collection", False)])
def test_cpu_time_without_samples_is_told_at_once(kind: UnseenKind, told: bool) -> None:
    """Where a third of the CPU time is another program's, the summary says so; what a collector is for is known."""
    unseen = CpuCoverage(seen_share=0.67, unseen=(UnseenCpu(what="process 9 (gzip)", kind=kind, share=0.33, pid=9),))
    paths = HotPaths(samples=500, functions=(), lines=(), cpu_cores=0.9, coverage=unseen)
    summary = summary_of("shop", (), (), paths, Utilisation(patterns=()), USED)
    assert ("33% of its CPU time has no samples: process 9 (gzip) 33%. Profile" in summary) == told


def test_what_cannot_be_seen_is_not_called_healthy() -> None:
    """Where most of the CPU time is in code without names, the summary says so, and what comes first."""
    share = Estimate(value=0.98, unit="share of CPU time")
    hidden = Finding(
        id="no-symbols:liblzma.so.5", title="liblzma.so.5 has no symbols: 98% of CPU time", severity="information", summary="", cost=share
    )
    names = Recommendation(
        id="fix:no-symbols:liblzma.so.5",
        title="Get the function names of liblzma.so.5",
        finding_ids=(hidden.id,),
        expected_gain=share,
        derivation="",
        effort="hours",
    )
    paths = HotPaths(samples=500, functions=(), lines=(), cpu_cores=0.9)
    told = summary_of("packer", (hidden,), (names,), paths, Utilisation(patterns=()), USED)
    assert "98% of CPU time, so that what costs there is not known. First: Get the function names of liblzma.so.5." in told
    assert "nothing in it costs enough" in summary_of("packer", (hidden,), (), paths, Utilisation(patterns=()), USED)
