"""The plan of a run that is not started: its input checked, its target resolved, its workers looked for.

All of it is found out from here. Where the target is on this machine it is looked up as the worker would look it up; on another host
only the presence of a worker is known, and the plan says so.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from temporalio.client import WorkflowExecutionStatus

from perfwright.models.queues import host_queue
from perfwright.models.registry import Registry
from perfwright.models.target import INLINE_ENVIRONMENT, LOCAL_HOST, InlineDatabase, InlineTarget, Target
from starter.catalogue import ProcessEntry
from starter.client import Perfwright, target_of
from starter.following import no_worker_on
from starter.inputs import build_request
from starter.pollers import pollers_of
from starter.reachable import reach
from starter.run_names import described


@dataclass(frozen=True)
class Check:
    """One thing that a run needs. `passed` None: it could not be told from here."""

    name: str
    passed: bool | None
    told: str


@dataclass(frozen=True)
class Plan:
    """What would run, and whether it could."""

    process: str
    target: str
    workflow_id: str
    request: dict[str, Any]
    checks: tuple[Check, ...]
    policies: dict[str, str]
    """Gate -> how it would be answered, and why."""

    @property
    def ready(self) -> bool:
        return all(check.passed is not False for check in self.checks)


async def plan(perf: Perfwright, entry: ProcessEntry, given: Mapping[str, Any], mistakes: Sequence[str] = ()) -> Plan:
    """Raises InvalidRequest as a start would; everything else is a check of the plan."""
    registry = perf.here.registry()
    request = build_request(entry, given, registry=registry, mistakes=mistakes)
    workflow_id = entry.workflow_id(request)
    name, environment = target_of(request, registry)
    target = _resolved(request, registry)
    checks = [Check("input", True, "accepted"), _known(name, target, perf)]
    checks += await asyncio.gather(
        _polled(perf, perf.task_queue, "worker for the process", workflows=True),
        _polled(perf, host_queue(target.host if target else LOCAL_HOST), "worker on the target's host", workflows=False),
        _free(perf, workflow_id),
    )
    if target is not None:
        if entry.operation != "profile" and not target.inline:
            checks.append(_allowed(entry.operation, target))
        reached = await reach(target)
        checks.append(Check("target answers", reached.answers, reached.told or "seen from this machine"))
    return Plan(
        process=entry.name,
        target=name,
        workflow_id=workflow_id,
        request=request.model_dump(mode="json", exclude_none=True),
        checks=tuple(checks),
        policies=_policies(entry, registry, environment),
    )


def _resolved(request: Any, registry: Registry | None) -> Target | None:
    if isinstance(request.target, InlineDatabase):
        inline = request.target
        return Target(name=inline.slug, kind=inline.kind, environment=INLINE_ENVIRONMENT, dsn_env=inline.dsn_env, inline=True)
    if isinstance(request.target, InlineTarget):
        return Target(name=request.target.slug, kind="process", environment=INLINE_ENVIRONMENT, process=request.target.process, inline=True)
    return registry.target(request.target) if registry else None


def _known(name: str, target: Target | None, perf: Perfwright) -> Check:
    if target is None:
        return Check("target", None, "no registry on this machine: the worker looks it up")
    if target.inline:
        return Check("target", None, "given in the input: only a worker that allows it takes it (`perfwright up` does)")
    return Check("target", True, f"{name} in {perf.here.path}, environment {target.environment}, host {target.host}")


def _allowed(operation: str, target: Target) -> Check:
    if operation in target.allow:
        return Check("operation", True, f"targets.{target.name}.allow names {operation}")
    return Check("operation", False, f'targets.{target.name}.allow: add "{operation}"; without it the process ends in its preflight')


async def _polled(perf: Perfwright, queue: str, name: str, *, workflows: bool) -> Check:
    pollers = await pollers_of(perf.client, queue, workflows=workflows)
    if not pollers.present:
        return Check(name, False, no_worker_on(queue))
    return Check(name, True, f"{', '.join(pollers.identities)} polls {queue}")


async def _free(perf: Perfwright, workflow_id: str) -> Check:
    found = await described(perf.client, workflow_id)
    if found is not None and found.status == WorkflowExecutionStatus.RUNNING:
        return Check("no other run", False, f"{workflow_id} is running: one per target at a time")
    return Check("no other run", True, f"{workflow_id} is free")


def _policies(entry: ProcessEntry, registry: Registry | None, environment: str) -> dict[str, str]:
    if registry is None or not environment:
        return {gate.name: "as the worker's registry says" for gate in entry.gates}
    told = {}
    for gate in entry.gates:
        policy = registry.gate_policy(environment, gate.kind, "observe")
        told[gate.name] = f"{policy.policy} ({policy.reason})"
    return told
