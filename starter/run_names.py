"""Which run is meant: `cpu-profiling-investigation/shop`, `shop`, `shop#12`, or a run id.

Each process counts its runs of a target by itself: where several go by `shop#12`, as a run does and the profile that it had taken, each is
named by its process as well: `cpu-profiling-investigation/shop#12`.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

from temporalio.client import Client, WorkflowExecution, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from perfwright.models.history import RunQuery, RunSummary
from starter.catalogue import PROCESSES, ProcessEntry
from starter.here import Here
from starter.refusals import Refused, UnknownRun, nearest

_NUMBERED = re.compile(r"(?:(?P<slug>[a-z0-9-]+)/)?(?P<target>[A-Za-z0-9][A-Za-z0-9._-]{0,62})#(?P<number>[0-9]{1,9})")
_RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MAX_CHARACTERS = 1_000
KNOWN_RUNS = 200
"""How many runs are looked at for the nearest name."""


@dataclass(frozen=True)
class FoundRun:
    """Where it is. `recorded` is what the history keeps of it, where it was found there."""

    workflow_id: str
    run_id: str
    recorded: RunSummary | None = None


async def find_run(client: Client, here: Here, name: str) -> FoundRun:
    """The run of that name, the newest where several have it; raises UnknownRun with the nearest names."""
    if not name or len(name) > MAX_CHARACTERS:
        raise UnknownRun("a run is named by its workflow id, its target, target#number, or its run id")
    if (numbered := run_query(name)) is not None:
        return await _by_number(here, name, numbered)
    if _RUN_ID.fullmatch(name):
        return await _by_run_id(client, name)
    if (exact := await described(client, name)) is not None:
        return FoundRun(exact.id, exact.run_id)
    if "/" not in name and (found := await _by_target(client, name)) is not None:
        return found
    raise UnknownRun(f'no run "{name[:100]}"{await _nearest(client, name)}', way_out="`perfwright list` shows the runs")


async def described(client: Client, workflow_id: str, run_id: str | None = None) -> WorkflowExecutionDescription | None:
    """The run as the server knows it; None if there is none."""
    try:
        return await client.get_workflow_handle(workflow_id, run_id=run_id).describe()
    except RPCError as error:
        if error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
            return None
        raise


async def _by_target(client: Client, target: str) -> FoundRun | None:
    """The runs that processes have for this target, by their ids: those are there at once, search attributes a little later."""
    ids = [f"{process.slug}/{target}" for process in PROCESSES]
    found = [one for one in await asyncio.gather(*(described(client, workflow_id) for workflow_id in ids)) if one is not None]
    still_open = [one for one in found if one.status == WorkflowExecutionStatus.RUNNING]
    if len(found) > 1 and len(still_open) != 1:
        raise UnknownRun(f'several runs go by "{target}": {", ".join(one.id for one in found)}', way_out="Name one of them")
    return next((FoundRun(one.id, one.run_id) for one in (*still_open, *found)), None)


def run_query(name: str) -> RunQuery | None:
    """What `shop#12` and `cpu-profiling-investigation/shop#12` ask for; None of other names. Raises UnknownRun for an unknown process."""
    numbered = _NUMBERED.fullmatch(name)
    if numbered is None:
        return None
    slug = numbered["slug"] or ""
    process = next((entry.name for entry in PROCESSES if entry.slug == slug), None)
    if slug and process is None:
        raise UnknownRun(f'no process "{slug}"{nearest(slug, [entry.slug for entry in PROCESSES])}')
    return RunQuery(process=process, target=numbered["target"], number=int(numbered["number"]))


def several(name: str, runs: Sequence[RunSummary]) -> UnknownRun:
    """Each by a name that is its own."""
    names = ", ".join(_own_name(one) for one in runs)
    return UnknownRun(f'several runs go by "{name}", for each process counts its own: {names}', way_out="Name one of them")


def _own_name(run: RunSummary) -> str:
    return next((f"{entry.slug}/{run.name}" for entry in PROCESSES if entry.name == run.process), run.run_id)


async def _by_number(here: Here, name: str, wanted: RunQuery) -> FoundRun:
    async with here.history() as history:
        found = await history.list_runs(wanted)
        others = [] if found else await history.list_runs(wanted.model_copy(update={"number": None, "limit": 10}))
    if len(found) > 1:
        raise several(name, found)
    if not found:
        known = ", ".join(dict.fromkeys(one.name for one in others)) or "none"
        raise UnknownRun(f'the history has no run "{name}" (of this target: {known})', way_out="`perfwright list` shows the runs")
    return FoundRun(found[0].workflow_id, found[0].run_id, found[0])


async def _by_run_id(client: Client, run_id: str) -> FoundRun:
    async for one in client.list_workflows(f"RunId = '{run_id}'", limit=1):
        return FoundRun(one.id, one.run_id)
    raise UnknownRun(f'no run "{run_id}"', way_out="`perfwright list` shows the runs")


async def _nearest(client: Client, name: str) -> str:
    try:
        known = [one.id async for one in client.list_workflows(of_our_processes(), limit=KNOWN_RUNS)]
    except RPCError:
        return ""
    targets = [workflow_id.partition("/")[2] for workflow_id in known]
    return nearest(name, dict.fromkeys(known if "/" in name else targets))


def of_our_processes(process: ProcessEntry | None = None) -> str:
    """The part of a visibility query that says: a process, and no lease."""
    names = [process.name] if process else [entry.name for entry in PROCESSES]
    return f"WorkflowType IN ({', '.join(quoted(name) for name in names)})"


def quoted(text: str) -> str:
    """A word in a visibility query; raises Refused for what could end it."""
    if not re.fullmatch(r"[A-Za-z0-9._/ #@-]{1,255}", text):
        raise Refused(f"{text[:60]!r} is no name")
    return f"'{text}'"


def attribute(execution: WorkflowExecution, name: str) -> str:
    """A keyword search attribute of a run; empty when it has none."""
    values = execution.search_attributes.get(name, [])
    return str(values[0]) if values else ""


def pending_gates(execution: WorkflowExecution) -> list[str]:
    return [str(value) for value in execution.search_attributes.get("PerfPendingGates", [])]
