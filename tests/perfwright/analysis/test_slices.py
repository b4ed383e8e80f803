"""Passes alternate in whole seconds and fill the recording."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfwright.analysis.slices import affordable_passes, plan_slices, slice_for_attaching
from perfwright.models.profile import PassKind

PASSES = st.lists(st.sampled_from(["on_cpu", "wall", "gil", "native"]), min_size=1, max_size=4, unique=True)


@given(PASSES, st.floats(2, 3600), st.floats(1, 60))
def test_slices_fill_the_recording(passes: list, duration_s: float, slice_s: float) -> None:
    """Whatever was asked, slices add up to the duration, none is shorter than a second, and the first pass gets at least its share."""
    slices = plan_slices(tuple(passes), duration_s, slice_s)
    assert sum(one.seconds for one in slices) == round(duration_s)
    assert all(one.seconds >= 1 for one in slices)
    assert [one.index for one in slices] == list(range(len(slices)))
    recorded = {kind: sum(one.seconds for one in slices if one.kind == kind) for kind in passes}
    assert recorded[passes[0]] == max(recorded.values()) or recorded[passes[0]] >= duration_s / 2 - slice_s


@given(PASSES, st.integers(8, 600))
def test_no_pass_is_forgotten(passes: list, duration_s: int) -> None:
    """From eight seconds on, every pass that was asked for is recorded."""
    assert {one.kind for one in plan_slices(tuple(passes), duration_s, 5.0)} == set(passes)


def test_a_slow_recording_has_one_pass() -> None:
    """At 99 Hz half a minute is enough for all passes; at 5 Hz only for the first, and that is said; one pass is never left out."""
    passes: tuple[PassKind, ...] = ("on_cpu", "wall", "gil")
    assert affordable_passes(passes, 99, 30, 5, 100) == (passes, "")
    assert affordable_passes(passes, 5, 30, 5, 100) == (
        ("on_cpu",),
        "At 5 Hz there is time for the on-cpu pass only; not recorded: wall, gil.",
    )
    assert affordable_passes(("wall",), 1, 30, 5, 100) == (("wall",), "")
    assert affordable_passes(passes, 1, 30, 5, 0) == (passes, "")


def test_slices_are_as_long_as_attaching_is_dear() -> None:
    """Attaching that costs nothing leaves slices short; dear attaching makes them long, and every pass still gets two."""
    assert slice_for_attaching(1.0, 0.0, 0.02, 30.0, 3) == 1.0
    assert slice_for_attaching(1.0, 0.01, 0.02, 30.0, 3) == pytest.approx(2.0)
    assert slice_for_attaching(1.0, 3.0, 0.02, 30.0, 3) == 5.0
    assert slice_for_attaching(30.0, 3.0, 0.02, 30.0, 3) == 30.0
