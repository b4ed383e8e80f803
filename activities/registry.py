"""Every class of activities there is, and which queue serves it. A test holds the list against the files on disk.

Central activities need no particular host; host activities run where the target is; the probe has a small queue of its own, so that
busy slots cannot look like absence.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from activities.abandoned_changes import AbandonedChangeFinder
from activities.annotations import Annotations
from activities.change_commands import ChangeCommands
from activities.changing import Changing
from activities.code_calls import CodeCalls
from activities.code_candidates import CodeCandidates
from activities.code_checks import CodeChecks
from activities.collectors import Collectors
from activities.commands import Commands
from activities.context import WorkerContext
from activities.cpu_analysis import CpuAnalysis
from activities.cpu_optimizing import CpuOptimizing
from activities.delivery import Delivery
from activities.gates import Gates
from activities.history import History
from activities.hosts import Hosts
from activities.index_findings import IndexFindings
from activities.index_search import IndexSearch
from activities.index_upkeep import IndexUpkeep
from activities.jfr import Jfr
from activities.leases import Leases
from activities.live_guards import LiveGuards
from activities.live_processes import LiveProcesses
from activities.mysql import Mysql
from activities.mysql_log import MysqlLog
from activities.node_inspector import NodeInspector
from activities.perf import Perf
from activities.postgres import Postgres
from activities.postgres_explain import PostgresExplain
from activities.postgres_log import PostgresLog
from activities.postgres_trying import PostgresTrying
from activities.processes import Processes
from activities.pyspy import PySpy
from activities.query_analysis import QueryAnalysis
from activities.queues import Queues
from activities.reports import Reports
from activities.sql_files import SqlFiles
from activities.statement_grouping import StatementGrouping
from activities.targets import Targets
from activities.trial_measuring.measuring import TrialMeasuring

ACTIVITY_CLASSES: tuple[type, ...] = (
    AbandonedChangeFinder,
    Annotations,
    ChangeCommands,
    Changing,
    Collectors,
    CodeCalls,
    CodeCandidates,
    CodeChecks,
    Commands,
    CpuAnalysis,
    CpuOptimizing,
    Delivery,
    Gates,
    History,
    Hosts,
    IndexFindings,
    IndexSearch,
    IndexUpkeep,
    Jfr,
    Leases,
    LiveGuards,
    LiveProcesses,
    Mysql,
    MysqlLog,
    NodeInspector,
    Perf,
    Postgres,
    PostgresExplain,
    PostgresLog,
    PostgresTrying,
    Processes,
    PySpy,
    QueryAnalysis,
    Queues,
    Reports,
    SqlFiles,
    StatementGrouping,
    Targets,
    TrialMeasuring,
)

Activity = Callable[..., Any]


@dataclass(frozen=True)
class ActivitySets:
    """Activities by the queue that serves them."""

    central: tuple[Activity, ...]
    host: tuple[Activity, ...]
    probe: tuple[Activity, ...]


def build_activities(context: WorkerContext) -> ActivitySets:
    """All activities, each built with what it needs."""
    artifacts, folder, environ = context.artifacts, context.state_folder, context.environ
    abandoned = AbandonedChangeFinder(context.history)
    return ActivitySets(
        central=_methods(
            (
                abandoned,
                Annotations(context.registry_file, environ),
                CpuAnalysis(artifacts),
                CpuOptimizing(artifacts, context.history),
                Delivery(artifacts, context.history),
                Gates(context.registry_file),
                context.history,
                IndexFindings(),
                Leases(abandoned=abandoned),
                QueryAnalysis(artifacts),
                Queues(),
                Reports(artifacts),
                StatementGrouping(artifacts),
                Targets(context.registry_file),
            )
        ),
        host=_methods(
            (
                ChangeCommands(environ, folder),
                Changing(context.history, environ, folder, context.registry_file.registered),
                Collectors(artifacts, environ, folder),
                CodeCalls(folder, environ),
                CodeCandidates(folder, environ),
                CodeChecks(folder, environ),
                Commands(folder),
                IndexSearch(artifacts, environ, folder),
                IndexUpkeep(artifacts, context.history, environ, folder),
                Jfr(artifacts, folder),
                LiveGuards(environ),
                LiveProcesses(),
                Mysql(artifacts, environ, folder),
                MysqlLog(artifacts, folder, environ),
                NodeInspector(artifacts, folder),
                Perf(artifacts, folder),
                Postgres(artifacts, environ, folder),
                PostgresExplain(artifacts, environ, folder),
                PostgresLog(artifacts, folder, environ),
                PostgresTrying(artifacts, environ, folder),
                Processes(artifacts, folder),
                PySpy(artifacts, folder),
                SqlFiles(folder),
                TrialMeasuring(artifacts, context.history, environ, folder, context.registry_file.registered),
            )
        ),
        probe=_methods((Hosts(context.host),)),
    )


def _methods(owners: Iterable[object]) -> tuple[Activity, ...]:
    return tuple(
        getattr(owner, name)
        for owner in owners
        for name in sorted(vars(type(owner)))
        if hasattr(getattr(owner, name), "__temporal_activity_definition")
    )
