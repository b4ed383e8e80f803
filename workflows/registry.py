"""Every workflow type there is. A test holds it against the files on disk."""

from workflows.changes.undo_janitor import UndoJanitor
from workflows.cpu.cpu_profiling_investigation import CpuProfilingInvestigation
from workflows.database.query_performance_analysis import QueryPerformanceAnalysis
from workflows.shared.target_lease import TargetLease

WORKFLOWS: tuple[type, ...] = (CpuProfilingInvestigation, QueryPerformanceAnalysis, TargetLease, UndoJanitor)
