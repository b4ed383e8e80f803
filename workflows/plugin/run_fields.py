"""Structured log fields: every line written in a run or its activities names the run, target and step, whatever logger wrote it.

logging.getLogger().handlers[0].addFilter(RunFields())
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from temporalio import workflow
from temporalio.activity import Info

_FIELDS: ContextVar[Mapping[str, str]] = ContextVar("perfwright_run_fields", default={})  # noqa: B039  # read only

NAMES = ("workflow_id", "run_id", "workflow_type", "target", "step", "attempt")


def target_in(args: Sequence[Any]) -> str:
    """The target's name, when the first argument is a target, has one, or is a name."""
    if not args:
        return ""
    target = getattr(args[0], "target", args[0])
    name = getattr(target, "name", target)
    return name[:63] if isinstance(name, str) else ""


@contextmanager
def activity_fields(info: Info, args: Sequence[Any]) -> Iterator[None]:
    """For the time of an activity."""
    token = _FIELDS.set(
        {
            "workflow_id": info.workflow_id or "",
            "run_id": info.workflow_run_id or "",
            "workflow_type": info.workflow_type or "",
            "target": target_in(args),
            "step": info.activity_type,
            "attempt": str(info.attempt),
        }
    )
    try:
        yield
    finally:
        _FIELDS.reset(token)


class RunFields(logging.Filter):
    """Puts `workflow_id`, `run_id`, `workflow_type`, `target`, `step` and `attempt` on every record; empty outside of a run."""

    def filter(self, record: logging.LogRecord) -> bool:
        fields = _FIELDS.get()
        if not fields and workflow.in_workflow():
            fields = _fields_in_workflow()
        for name in NAMES:
            if not hasattr(record, name):
                setattr(record, name, fields.get(name, ""))
        return True


def _fields_in_workflow() -> Mapping[str, str]:
    info, process = workflow.info(), workflow.instance()
    fields = {"workflow_id": info.workflow_id, "run_id": info.run_id, "workflow_type": info.workflow_type}
    # What has no story (a lease, a run in its first moment) has neither.
    return fields | {"target": getattr(process, "target_name", ""), "step": getattr(process, "step_name", "")}
