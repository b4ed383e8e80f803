"""How activities are called, named by behaviour: `**READ`, `**COMPUTE`, `**CHANGE`, `**measuring(seconds, on=host)`,
`**changing(seconds, on=host)`, `**computing(on=host)`, `**asking(on=host)`, `**probing(host)`, `**outlasting(...)`.

Decided in this order: where it runs, how long it may take, how its worker's death is noticed, whether it may be repeated, what a
cancel does. Central steps name no task queue: they run on the one of their workflow. Measuring steps are resumed from their
checkpoint and never silently repeated; attempts are unlimited, because a worker's shutdown burns one, and bounded by the time
they may take in all. What comes after the measuring may take a day in all: what was measured for hours, and approved, is not lost because
a store is full or away meanwhile.
"""

from datetime import timedelta
from typing import TypedDict

from temporalio.common import Priority, RetryPolicy
from temporalio.workflow import ActivityCancellationType

from perfwright.models.queues import host_queue, probe_queue

TOOL_HEARTBEAT_S = 15.0
"""Tools stop slowly and may hold the interpreter for seconds; a killed worker is noticed after this time (temporal.md)."""
COMPUTE_HEARTBEAT_S = 30.0
COMPUTE_S = 1_000.0
"""More than `activities/compute.py` gives an analysis: one that takes too long says so there, and is then not repeated."""
COMPUTE_ON_HOST_S = 3_600.0
"""In all, where the analysis runs on one host: that may be gone for good."""
OUTAGE_S = 86_400.0
"""How long a store may be away, or full, before a run ends for it: somebody is woken, and has a working day."""
CHANGE_S = 600.0
CHANGE_MARGIN_S = 300.0
"""Turns of other attempts, looks before and after: beyond the seconds that a change itself may take."""
MEASURING_MARGIN_S = 180.0
"""Starting and stopping tools, reading and storing what they wrote: beyond the seconds measured."""
RETURN_OF_A_HOST_S = 900.0
"""How long a measurement waits for a host that restarts, or for a free slot on it."""
ASKING_S = 120.0
PROBE_WAIT_S = 30.0


class ActivityOptions(TypedDict, total=False):
    """What `workflow.execute_activity_method` takes besides method, argument and summary."""

    task_queue: str
    schedule_to_close_timeout: timedelta
    schedule_to_start_timeout: timedelta
    start_to_close_timeout: timedelta
    heartbeat_timeout: timedelta
    retry_policy: RetryPolicy
    cancellation_type: ActivityCancellationType
    priority: Priority


def _seconds(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


_PATIENT = RetryPolicy(initial_interval=_seconds(0.5), backoff_coefficient=2.0, maximum_interval=_seconds(10))
_OUTLASTING = RetryPolicy(initial_interval=_seconds(1), backoff_coefficient=2.0, maximum_interval=_seconds(30))

READ: ActivityOptions = {
    "start_to_close_timeout": _seconds(30),
    "schedule_to_close_timeout": _seconds(300),
    "retry_policy": _PATIENT,
}
"""Short, changes nothing, repeated for up to five minutes: the registry, the history, a small file."""

COMPUTE: ActivityOptions = {
    "start_to_close_timeout": _seconds(COMPUTE_S),
    "schedule_to_close_timeout": _seconds(OUTAGE_S),
    "heartbeat_timeout": _seconds(COMPUTE_HEARTBEAT_S),
    "retry_policy": _OUTLASTING,
    "cancellation_type": ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    "priority": Priority(priority_key=4),
}
"""Heavy analysis over artifacts, and reports, with heartbeats. Repeated for a day: what exhausts memory or time, or is a mistake of ours,
says so and is not repeated (`activities/compute.py`); what fails again and again is a store."""

CHANGE: ActivityOptions = {
    "start_to_close_timeout": _seconds(CHANGE_S),
    "schedule_to_close_timeout": _seconds(3 * CHANGE_S),
    "heartbeat_timeout": _seconds(TOOL_HEARTBEAT_S),
    "retry_policy": _PATIENT,
    "cancellation_type": ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    "priority": Priority(priority_key=1),
}
"""Applies, releases or undoes something; idempotent, with heartbeats, and awaited to its end when cancelled."""


def changing(seconds: float, *, on: str) -> ActivityOptions:
    """`CHANGE` on host `on`, of something that may take `seconds` by its own limits, as the build of an index does: every attempt has them,
    and there is time for a second one, because a worker's death burns one."""
    attempt_s = max(CHANGE_S, seconds + CHANGE_MARGIN_S)
    return {
        **CHANGE,
        "task_queue": host_queue(on),
        "start_to_close_timeout": _seconds(attempt_s),
        "schedule_to_close_timeout": _seconds(2 * attempt_s + CHANGE_S),
    }


def outlasting(options: ActivityOptions) -> ActivityOptions:
    """A short step after the measuring: as `options` say, but repeated for a day."""
    return {**options, "schedule_to_close_timeout": _seconds(OUTAGE_S), "retry_policy": _OUTLASTING}


def computing(*, on: str) -> ActivityOptions:
    """Heavy analysis of what only host `on` has."""
    return {**COMPUTE, "task_queue": host_queue(on), "schedule_to_close_timeout": _seconds(COMPUTE_ON_HOST_S)}


def measuring(seconds: float, *, on: str) -> ActivityOptions:
    """A step of `seconds` that measures on host `on`: heartbeats progress, resumes after a crash, is awaited when cancelled."""
    attempt_s = seconds + MEASURING_MARGIN_S
    return {
        "task_queue": host_queue(on),
        "start_to_close_timeout": _seconds(attempt_s),
        "schedule_to_close_timeout": _seconds(2 * attempt_s + RETURN_OF_A_HOST_S),
        "heartbeat_timeout": _seconds(TOOL_HEARTBEAT_S),
        "retry_policy": RetryPolicy(initial_interval=_seconds(1), maximum_interval=_seconds(10)),
        "cancellation_type": ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        "priority": Priority(priority_key=3),
    }


def asking(*, on: str) -> ActivityOptions:
    """A short look at something on host `on`, repeated for two minutes: what is starting comes up, what is away is told."""
    return {
        "task_queue": host_queue(on),
        "start_to_close_timeout": _seconds(60),
        "schedule_to_close_timeout": _seconds(ASKING_S),
        "heartbeat_timeout": _seconds(TOOL_HEARTBEAT_S),
        "retry_policy": _PATIENT,
        "cancellation_type": ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        "priority": Priority(priority_key=3),
    }


def probing(host: str, *, wait_s: float = PROBE_WAIT_S) -> ActivityOptions:
    """Is there a worker on `host`? The only call with a limit on waiting for one: on a long step it would end it on a reboot."""
    return {
        "task_queue": probe_queue(host),
        "schedule_to_start_timeout": _seconds(wait_s),
        "start_to_close_timeout": _seconds(15),
        "schedule_to_close_timeout": _seconds(wait_s + 20),
        "retry_policy": RetryPolicy(initial_interval=_seconds(0.5), maximum_attempts=3),
        "priority": Priority(priority_key=2),
    }
