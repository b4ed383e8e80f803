"""Every class of activities there is, and which queue serves it. A test holds the list against the files on disk.

Central activities need no particular host; host activities run where the target is; the probe has a small queue of its own, so that
busy slots cannot look like absence.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from activities.commands import Commands
from activities.context import WorkerContext
from activities.cpu_analysis import CpuAnalysis
from activities.gates import Gates
from activities.history import History
from activities.hosts import Hosts
from activities.jfr import Jfr
from activities.leases import Leases
from activities.node_inspector import NodeInspector
from activities.perf import Perf
from activities.processes import Processes
from activities.pyspy import PySpy
from activities.queues import Queues
from activities.reports import Reports
from activities.targets import Targets

ACTIVITY_CLASSES: tuple[type, ...] = (
    Commands,
    CpuAnalysis,
    Gates,
    History,
    Hosts,
    Jfr,
    Leases,
    NodeInspector,
    Perf,
    Processes,
    PySpy,
    Queues,
    Reports,
    Targets,
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
    artifacts, folder = context.artifacts, context.state_folder
    return ActivitySets(
        central=_methods(
            (
                CpuAnalysis(artifacts),
                Gates(context.registry_file),
                context.history,
                Leases(),
                Queues(),
                Reports(artifacts),
                Targets(context.registry_file),
            )
        ),
        host=_methods(
            (
                Commands(folder),
                Jfr(artifacts, folder),
                NodeInspector(artifacts, folder),
                Perf(artifacts, folder),
                Processes(artifacts, folder),
                PySpy(artifacts, folder),
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
