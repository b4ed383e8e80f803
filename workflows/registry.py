"""Every workflow type there is. A test holds it against the files on disk."""

from workflows.changes.trial import Trial
from workflows.changes.undo_janitor import UndoJanitor
from workflows.cpu.cpu_optimization_implementation import CpuOptimizationImplementation
from workflows.cpu.cpu_profiling_investigation import CpuProfilingInvestigation
from workflows.database.index_strategy_optimization import IndexStrategyOptimization
from workflows.database.query_performance_analysis import QueryPerformanceAnalysis
from workflows.memory.garbage_collection_tuning import GarbageCollectionTuning
from workflows.shared.target_lease import TargetLease

WORKFLOWS: tuple[type, ...] = (
    CpuOptimizationImplementation,
    CpuProfilingInvestigation,
    GarbageCollectionTuning,
    IndexStrategyOptimization,
    QueryPerformanceAnalysis,
    TargetLease,
    Trial,
    UndoJanitor,
)
