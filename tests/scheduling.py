"""Which tests start first where several processes share them: the longest, so that no process waits at the end for the one that has it.

Most of a long test is waiting (for a dead worker's heartbeat, for a window), so they are mixed with the many that compute: neither are the
cores idle while only the long ones run, nor are they crowded afterwards.
"""

from collections.abc import Sequence

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling

LONG: dict[str, float] = {
    "tests/workflows/test_cpu_optimization_implementation.py::test_what_is_planted_in_the_shop_is_mended": 154,
    "tests/workflows/test_query_performance_faults.py::test_worker_and_database_are_killed_after_every_step": 100,
    "tests/workflows/test_cpu_profiling_faults.py::test_a_worker_that_is_killed_after_every_step": 80,
    "tests/workflows/test_cpu_optimization_implementation_faults.py::test_a_worker_that_is_killed_after_every_step": 90,
    "tests/workflows/test_garbage_collection_batch.py::test_a_worker_that_is_killed_in_mid_run": 70,
    "tests/workflows/test_trial_faults.py::test_a_worker_that_is_killed_after_every_step": 65,
    "tests/workflows/test_index_strategy_faults.py::test_a_killed_worker_leaves_nothing": 80,
    "tests/workflows/test_cpu_profiling_tool_faults.py::test_a_worker_that_is_killed_in_the_middle": 55,
    "tests/workflows/test_undo_kills.py::test_every_kind_ends_as_it_was_or_kept": 30,
    "tests/workflows/test_index_strategy_optimization.py::test_refused_at_either_gate_the_catalog_is_as_it_was": 42,
    "tests/workflows/test_trial_faults.py::test_a_worker_that_is_killed_at_any_instant": 50,
    "tests/workflows/test_cpu_optimization_implementation_faults.py::test_ended_by_people_nothing_is_left": 60,
    "tests/workflows/test_garbage_collection_gates.py::test_a_trial_that_is_refused_is_undone": 15,
    "tests/workflows/test_cpu_optimization_implementation.py::test_a_change_that_is_wrong_or_takes_memory_is_not_kept": 20,
    "tests/workflows/test_cpu_optimization_implementation.py::test_nothing_is_changed_in_the_sound_shop": 20,
    "tests/workflows/test_cpu_profiling_investigation.py::test_other_runtimes_are_served": 18,
    "tests/workflows/test_cpu_profiling_faults.py::test_a_recording_that_is_disturbed_again_and_again": 45,
    "tests/activities/test_trial_measuring.py::test_both_sides_are_alike_in_all_but_the_change": 40,
    "tests/activities/test_trial_measuring.py::test_a_patch_is_measured_beside_its_base": 40,
    "tests/workflows/test_index_strategy_optimization.py::test_a_missing_index_is_made_and_kept": 30,
    "tests/workflows/test_index_advice.py::test_a_killed_worker_leaves_no_server_and_no_statistics": 20,
    "tests/workflows/test_index_advice.py::test_without_rows_a_missing_index_is_named_and_nothing_is_changed": 18,
    "tests/workflows/test_cpu_optimization_implementation.py::test_refused_at_a_gate_nothing_is_changed": 18,
    "tests/workflows/test_bad_starts_cpu.py::test_a_host_without_a_worker": 30,
    "tests/starter/test_first_look.py::test_a_first_look_at_a_process": 30,
    "tests/workflows/test_query_performance_faults.py::test_a_worker_that_is_killed_in_the_middle_of_an_explain": 30,
    "tests/workflows/test_query_performance_faults.py::test_cancel_and_terminate_in_the_middle_of_an_explain": 28,
    "tests/workflows/test_query_performance_faults.py::test_a_temporal_server_that_is_killed_in_the_middle_of_an_explain": 28,
    "tests/workflows/test_index_strategy_optimization.py::test_what_is_redundant_or_invalid_goes": 28,
    "tests/workflows/test_cpu_profiling_faults.py::test_terminate_while_it_holds_the_lease": 26,
    "tests/workflows/test_cpu_profiling_tool_faults.py::test_cancelled_and_disturbed": 22,
    "tests/workflows/test_cpu_profiling_branches.py::test_cancelled_at_a_gate_while_recording_and_in_the_analysis": 22,
    "tests/activities/changes/test_interpreters.py::test_kills_at_any_instant": 20,
    "tests/workflows/test_cpu_profiling_faults.py::test_cancel_at_every_step": 20,
    "tests/workflows/test_cpu_profiling_faults.py::test_a_server_that_is_killed_and_a_worker_that_is_asked_to_end": 16,
    "tests/workflows/test_target_lease.py::test_sixty_contended_leases": 15,
}
"""Test, without its parameters -> about how many seconds it takes. A wrong number costs time and nothing else."""
LONG_FILES: dict[str, float] = {
    "tests/workflows/test_cpu_profiling_branches.py": 110,
    "tests/workflows/test_index_strategy_lab.py": 82,
    "tests/workflows/test_trial_gates.py": 75,
    "tests/workflows/test_garbage_collection_live.py": 70,
    "tests/workflows/test_garbage_collection_gates.py": 90,
    "tests/workflows/test_trial.py": 90,
    "tests/starter/test_cli.py": 15,
    "tests/activities/test_pyspy.py": 72,
    "tests/workflows/test_query_performance_branches.py": 70,
    "tests/workflows/test_query_performance_masking.py": 50,
    "tests/workflows/test_query_performance_analysis.py": 30,
    "tests/activities/changes/test_patches.py": 40,
    "tests/workflows/test_bad_signals.py": 25,
    "tests/workflows/test_bad_input.py": 25,
    "tests/workflows/test_cpu_profiling_injection.py": 20,
    "tests/workflows/test_replay.py": 12,
    "tests/activities/test_node_inspector.py": 38,
    "tests/workflows/test_undo_janitor.py": 30,
    "tests/activities/changes/test_interpreters.py": 30,
    "tests/activities/test_code_checks.py": 28,
    "tests/workflows/test_waiting.py": 27,
    "tests/activities/cpython/test_reader.py": 24,
    "tests/activities/test_database_clones.py": 22,
    "tests/activities/changes/test_settings.py": 21,
    "tests/activities/test_jfr.py": 20,
    "tests/starter/test_up.py": 20,
}
"""The rest of a file, in the same sense."""
OTHER_FILE = 3.0
LONG_BEGUN_AT = 0.5
"""Share of the files' time at which the last long test begins."""


def unit_of(nodeid: str) -> str:
    """What goes to one process as a whole: a long test by itself; else a file, whose fixtures then are made once."""
    return nodeid if nodeid.partition("[")[0] in LONG else nodeid.partition("::")[0]


def in_good_order(nodeids: Sequence[str]) -> list[int]:
    """Indices: units of both kinds from the longest to the shortest, mixed so that all long tests have begun when most files are still to come.

    What is not known to be long stays in its order.
    """
    units: dict[str, list[int]] = {}
    for index, nodeid in enumerate(nodeids):
        units.setdefault(unit_of(nodeid), []).append(index)
    tests = {unit: LONG[unit.partition("[")[0]] for unit in units if "::" in unit}
    files = {unit: LONG_FILES.get(unit, OTHER_FILE) for unit in units if "::" not in unit}
    begins: dict[str, float] = {}
    for seconds, share in ((tests, LONG_BEGUN_AT), (files, 1.0)):
        before, whole = 0.0, sum(seconds.values())
        for unit in sorted(seconds, key=lambda unit: -seconds[unit]):
            begins[unit] = share * before / whole
            before += seconds[unit]
    return [index for unit in sorted(begins, key=lambda unit: begins[unit]) for index in units[unit]]


class UnitsInOrder(LoadScopeScheduling):
    """Gives units to processes in the order of collection, which `in_good_order` has made; the next whenever one runs out."""

    def __init__(self, config: pytest.Config, log: object = None) -> None:
        super().__init__(config, log)  # type: ignore[arg-type]
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)
