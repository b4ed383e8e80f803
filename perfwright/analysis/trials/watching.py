"""What of a live target is watched while a change stands on it, by which guards, and what people are told of that.

Who measures a change on a clone, or on programs of his own, has not seen what it does to the live target.
"""

import math
from collections.abc import Sequence
from typing import Literal

from perfwright.models.change import ChangeSpec, FileSpec, IndexSpec, InterpreterSpec, LaunchSpec, PatchSpec, SettingSpec
from perfwright.models.target import Target
from perfwright.models.trial import Guard
from perfwright.models.trial_run import TrialEvidence, TrialRequest

WatchKind = Literal["counters", "process", "nothing"]

BLOCKS, TIME, ROLLBACKS = "live_blocks", "live_ms", "live_rollbacks"
MEMORY, RESTARTS = "live_rss_bytes", "live_restarts"
CPU, THREADS, FILES = "live_cpu_cores", "live_threads", "live_open_files"
LIVE_GUARDS = (
    Guard(metric=BLOCKS, margin=math.log(3)),
    Guard(metric=TIME, margin=math.log(2)),
    Guard(metric=ROLLBACKS, margin=0.05, scale="difference"),
)
"""Of a PostgreSQL server. Coarse, because on a live server much else changes as well; what a change costs is measured where it is quiet. An
insert may well touch twice the blocks with one index more; a plan that has lost its index touches them by the hundred."""
PROCESS_GUARDS = (Guard(metric=MEMORY, margin=math.log(2)), Guard(metric=RESTARTS, margin=math.log(2)))
"""Of running processes: twice as much as they ever held, restarts more than twice as often. Threads, open files and CPU time follow the
load, and nobody counts that from outside: they are told, and judged only where a request has a guard of its own for them."""


def watched_by(change: ChangeSpec, target: Target) -> WatchKind:
    """What reads the live target without disturbing it; `nothing` where it does not have the change, or nothing of it can be read."""
    if isinstance(change, IndexSpec | SettingSpec) or (isinstance(change, FileSpec) and target.kind == "postgresql"):
        return "counters"
    if isinstance(change, FileSpec | InterpreterSpec) and target.process is not None and target.process.command is None:
        return "process"
    return "nothing"


def live_guards_of(request: TrialRequest) -> tuple[Guard, ...]:
    """Those that the request has; where it says nothing of them, the kind's own."""
    if request.live_guards is not None:
        return request.live_guards
    kind = watched_by(request.change, request.target)
    if kind == "process":
        return PROCESS_GUARDS
    if kind == "nothing":
        return ()
    # Transactions are counted by database alone: of one role's setting they would tell what all others do.
    one_role = isinstance(request.change, SettingSpec) and request.change.role is not None
    return tuple(guard for guard in LIVE_GUARDS if not (one_role and guard.metric == ROLLBACKS))


def is_probed(request: TrialRequest) -> bool:
    """Whether the guards of the trial itself are watched by its probe, which disturbs nothing; starting both sides would."""
    return request.measurement.kind == "switched" and bool(request.guards)


def told_watch(request: TrialRequest, *, live: bool) -> tuple[str, ...]:
    """For the gate `keep`: what is watched until it is answered, and why nothing is. `live`: whether the live target could be read."""
    guards, kind = request.live_guards or (), watched_by(request.change, request.target)
    where = "on the live server" if kind == "counters" else "on the live processes, from outside"
    told = [f"**Watched** by the probe until this is answered: {_names(request.guards)}"] if is_probed(request) else []
    if live and guards:
        told.append(f"**Watched** {where} until this is answered: {_names(guards)}")
        if isinstance(request.change, SettingSpec) and (request.change.role or request.change.database):
            told.append("Sessions that were open before go on without it until they connect again; what is watched is the sum of both")
    elif guards:
        told.append("**Not watched** on the live target: it could not be read before the change; see the notes")
    elif not told:
        told.append(f"**Not watched** until this is answered: {_why_nothing(request, kind)}")
    return tuple(told)


def is_watched_after(request: TrialRequest, *, live: bool) -> bool:
    """Whether anything is watched for `watch_s` once it is kept: where the live target was to be read and is not, only a probe helps."""
    if not request.watch_s:
        return False
    return live or is_probed(request) or (bool(request.guards) and not request.live_guards)


def joined_watches(watches: Sequence[TrialEvidence]) -> TrialEvidence:
    """Of the same time, side by side: the first one's, with guards, medians and warnings of all."""
    if len(watches) == 1:
        return watches[0]
    return watches[0].model_copy(
        update={
            "guards": tuple(guard for one in watches for guard in one.guards),
            "medians": {name: pair for one in watches for name, pair in one.medians.items()},
            "warnings": tuple(warning for one in watches for warning in one.warnings),
        }
    )


def _why_nothing(request: TrialRequest, kind: WatchKind) -> str:
    change, title = request.change, request.target.title
    if isinstance(change, PatchSpec):
        return f"nothing that runs has this change until somebody deploys the branch; watch {title} then"
    if isinstance(change, LaunchSpec):
        return f"what runs of {title} already was started without it; every launch by Perfwright has it from now on, until it is undone"
    if kind == "nothing":
        return f"the registry names no running process of {title} (pid, port, name or pid_file) that could be read"
    return "the request has no guard for it"


def _names(guards: Sequence[Guard]) -> str:
    return ", ".join(guard.metric for guard in guards)
