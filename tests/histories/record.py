"""Records the histories that test_replay.py replays: `python -m tests.histories.record [TYPE]...`.

Every branch of every workflow type is run on a real server, with a real program and real profilers, and its history is kept under
`tests/histories/<type>/<branch>.json.gz`. Record again after a change that is meant to change histories, and look at what changed:
runs that were started before such a change cannot go on after it (see the heading "Replay compatibility" of the changelog).
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.worker import Replayer

from perfwright.models.lease import LeaseSettings, lease_workflow_id
from perfwright.models.progress import Progress
from perfwright.models.queues import CENTRAL_QUEUE
from perfwright.models.target import LOCAL_HOST
from starter.dev_server import start_dev_server
from starter.search_attributes import ensure_search_attributes
from tests.conftest import run_worker
from tests.histories import stored
from tests.histories.gc_branches import GC_BRANCHES, collecting
from tests.histories.index_branches import INDEX_BRANCHES, indexing
from tests.histories.janitor_branches import JANITOR_BRANCHES, cleaning
from tests.histories.optimization_branches import OPTIMIZATION_BRANCHES, optimizing
from tests.histories.query_branches import QUERY_BRANCHES, querying
from tests.histories.trial_branches import TRIAL_BRANCHES, changing
from tests.needs import temporal_cli
from tests.workflows.investigating import target, workers
from tests.workflows.lease_processes import Hold, Measuring
from tests.workflows.lease_worker import QUICK, lease_activities
from tests.workflows.watching_runs import Handle, lease_of, open_gate, recording, task_failures, until
from workflows.plugin.plugin import PerfwrightPlugin
from workflows.registry import WORKFLOWS
from workflows.shared.target_lease import TargetLease

PROGRAM = """
import json
import threading

ARTICLES = [{"name": f"article {number}", "price": number % 97} for number in range(400)]


def total():
    return sum(json.loads(json.dumps(article))["price"] for article in ARTICLES)


def sell():
    while True:
        total()


threading.Thread(target=sell, name="selling").start()
"""
SHORT: dict[str, Any] = {
    "duration_s": 2,
    "slice_s": 1,
    "passes": ["on_cpu"],
    "rate_hz": 50,
    "min_samples": 10,
    "overhead_budget_share": 0.5,
    "top": 5,
}
Branch = Callable[["Stage"], Awaitable[Handle]]


class Stage:
    """Server, workers and targets, while branches are recorded."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def start(self, name: str, **request: Any) -> Handle:
        return await self.client.start_workflow(
            "CpuProfilingInvestigation",
            {"target": name} | SHORT | request,
            id=f"cpu-profiling-investigation/{name}",
            task_queue=CENTRAL_QUEUE,
        )

    async def hold(self, number: int, resource: str, **order: Any) -> Handle:
        return await self.client.start_workflow(
            Measuring.run, Hold(resources=(resource,), **order), id=f"measuring-{resource}-{number}", task_queue=CENTRAL_QUEUE
        )

    async def lease(self, resource: str) -> Handle:
        """The last run of the lease, once it is closed."""
        handle = self.client.get_workflow_handle(lease_workflow_id(resource))

        async def closed() -> bool:
            return (await handle.describe()).status != WorkflowExecutionStatus.RUNNING

        await until(closed, f"the end of the lease of {resource}")
        return self.client.get_workflow_handle(handle.id, run_id=(await handle.describe()).run_id)


async def ended(handle: Handle) -> Handle:
    """However it ends."""
    with suppress(WorkflowFailureError):
        await handle.result()
    return handle


async def answer(handle: Handle, gate: str, how: str, revision: int = 1, **decision: Any) -> None:
    opened = await open_gate(handle, gate, revision)
    digest = {"digest": opened.digest} if gate in ("profile_review", "open_inspector") else {}
    await handle.signal(how, {"gate": gate, "by": "ada"} | digest | decision)


async def approved(stage: Stage) -> Handle:
    handle = await stage.start("shop", compare_with="none")
    await answer(handle, "profile_review", "approve")
    await open_gate(handle, "findings_review")
    await handle.execute_update("decide", {"action": "approve", "gate": "findings_review", "by": "grace", "comment": "clear"})
    return await ended(handle)


async def rejected(stage: Stage) -> Handle:
    handle = await stage.start("shop")
    await answer(handle, "profile_review", "reject", comment="the backup was running")
    return await ended(handle)


async def rejected_findings(stage: Stage) -> Handle:
    handle = await stage.start("shop")
    await answer(handle, "profile_review", "approve")
    await answer(handle, "findings_review", "reject", comment="that loop is the product")
    return await ended(handle)


async def revised(stage: Stage) -> Handle:
    """Also with messages that are refused."""
    handle = await stage.start("shop")
    await handle.signal("approve", "yes")
    await handle.signal("go_on", {"gate": "profile_review"})
    await answer(handle, "profile_review", "request_changes", comment="more", overrides={"rate_hz": 1_000_000})
    await answer(handle, "profile_review", "request_changes", comment="waits", overrides={"passes": ["on_cpu", "wall"]})
    await answer(handle, "profile_review", "approve", revision=2)
    await answer(handle, "findings_review", "approve")
    return await ended(handle)


async def timed_out(stage: Stage) -> Handle:
    return await ended(await stage.start("shop", review_deadline_s=1))


async def compared(stage: Stage) -> Handle:
    """With the run before."""
    await ended(await stage.start("stock"))
    return await ended(await stage.start("stock"))


async def objected(stage: Stage) -> Handle:
    handle = await stage.start("stock")

    async def noted() -> bool:
        return bool((await handle.query("progress", result_type=Progress)).noted_gates)

    await until(noted, "a noted review")
    await handle.signal("reject", {"gate": "profile_review", "by": "ada", "comment": "wrong machine"})
    return await ended(handle)


async def cancelled(stage: Stage) -> Handle:
    handle = await stage.start("shop")
    await open_gate(handle, "profile_review")
    await handle.cancel()
    return await ended(handle)


async def cancelled_while_recording(stage: Stage) -> Handle:
    handle = await stage.start("shop", duration_s=60)
    await recording(stage.client, handle)
    await handle.cancel()
    return await ended(handle)


async def launched(stage: Stage) -> Handle:
    workload = {"command": ["sleep", "600"], "warm_up_s": 1}
    return await ended(await stage.start("job", workload=workload))


async def inspector_refused(stage: Stage) -> Handle:
    """In production the inspector of a Node.js program is a change."""
    handle = await stage.start("page")
    await answer(handle, "open_inspector", "reject", by="grace", comment="not today")
    return await ended(handle)


async def inspector_opened(stage: Stage) -> Handle:
    handle = await stage.start("page")
    await answer(handle, "open_inspector", "approve", by="grace")
    await answer(handle, "profile_review", "reject", by="grace", comment="seen enough")
    return await ended(handle)


async def waited(stage: Stage) -> Handle:
    """For the host, which another run holds."""
    holder = await stage.start("stock", duration_s=60)
    await recording(stage.client, holder)
    handle = await stage.start("job")

    async def waits() -> bool:
        return bool((await handle.query("progress", result_type=Progress)).waiting_for)

    await until(waits, "waiting for the host")
    await holder.cancel()
    await ended(holder)
    return await ended(handle)


async def lease_lost(stage: Stage) -> Handle:
    handle = await stage.start("stock", duration_s=4)
    await recording(stage.client, handle)
    await stage.client.get_workflow_handle(lease_workflow_id("target/stock")).terminate()
    return await ended(handle)


async def refused(stage: Stage) -> Handle:
    return await ended(await stage.start("shopp"))


async def uncontended(stage: Stage) -> Handle:
    await ended(await stage.hold(1, "target/quiet", hold_s=0))
    return await stage.lease("target/quiet")


async def waiting(stage: Stage, resource: str, count: int) -> list[Handle]:
    """So many processes, the first of which holds it while the others wait."""
    handles = []
    for number in range(count):
        handles.append(await stage.hold(number, resource))

        async def in_line(number: int = number) -> bool:
            view = await lease_of(stage.client, resource)
            return view.holder is not None and len(view.waiters) == number

        await until(in_line, f"{number} in line")
    return handles


async def finish(*handles: Handle) -> None:
    for handle in handles:
        await handle.signal(Measuring.finish)
        await ended(handle)


async def contended(stage: Stage) -> Handle:
    await finish(*await waiting(stage, "target/busy", 3))
    return await stage.lease("target/busy")


async def cancelled_waiter(stage: Stage) -> Handle:
    first, second, third = await waiting(stage, "target/left", 3)
    await second.cancel()
    await ended(second)
    await finish(first, third)
    return await stage.lease("target/left")


async def terminated_holder(stage: Stage) -> Handle:
    first, second = await waiting(stage, "target/abandoned", 2)
    await first.terminate()
    await finish(second)
    return await stage.lease("target/abandoned")


async def continued(stage: Stage) -> Handle:
    """The first run, which continues as new."""
    await finish(*await waiting(stage, "target/long", 3))
    last = await stage.lease("target/long")
    first_run_id = (await last.describe()).raw_description.workflow_execution_info.first_run_id
    return stage.client.get_workflow_handle(last.id, run_id=first_run_id)


async def carried(stage: Stage) -> Handle:
    """The second run, which begins with what the first one knew."""
    first = await continued(stage)
    events = [event async for event in first.fetch_history_events()]
    next_run_id = events[-1].workflow_execution_continued_as_new_event_attributes.new_execution_run_id
    return stage.client.get_workflow_handle(first.id, run_id=next_run_id)


BRANCHES: dict[str, dict[str, Callable[[Any], Awaitable[Handle]]]] = {
    "CpuProfilingInvestigation": {
        branch.__name__: branch
        for branch in (
            approved,
            rejected,
            rejected_findings,
            revised,
            timed_out,
            compared,
            objected,
            cancelled,
            cancelled_while_recording,
            launched,
            inspector_refused,
            inspector_opened,
            waited,
            lease_lost,
            refused,
        )
    },
    "CpuOptimizationImplementation": OPTIMIZATION_BRANCHES,
    "GarbageCollectionTuning": GC_BRANCHES,
    "IndexStrategyOptimization": INDEX_BRANCHES,
    "QueryPerformanceAnalysis": QUERY_BRANCHES,
    "TargetLease": {
        branch.__name__: branch for branch in (uncontended, contended, cancelled_waiter, terminated_holder, continued, carried)
    },
    "Trial": TRIAL_BRANCHES,
    "UndoJanitor": JANITOR_BRANCHES,
}
"""What must be recorded, and how; test_replay.py holds the files against it."""
CONTINUING: tuple[Branch, ...] = (continued, carried)
INSPECTED: tuple[Branch, ...] = (inspector_refused, inspector_opened)
PAGE = "setInterval(() => { let x = 0; for (let i = 0; i < 8e5; i++) x += i % 7; }, 5); console.log('ready')"


@asynccontextmanager
async def investigating(client: Client, site: Path, branch: Branch) -> AsyncIterator[Stage]:
    """Workers for investigations of a busy program, of one in an environment that only notes reviews, and of a command."""
    script = site / "shop.py"
    script.write_text(PROGRAM)
    program = await asyncio.create_subprocess_exec(sys.executable, str(script))
    page = None
    if branch in INSPECTED:
        page = await asyncio.create_subprocess_exec("node", "--inspect-port=0", "-e", PAGE, stdout=asyncio.subprocess.PIPE)
        assert page.stdout is not None and await page.stdout.readline()
    try:
        targets = (
            target("shop", LOCAL_HOST, f"pid = {program.pid}", "asking"),
            target("stock", LOCAL_HOST, f"pid = {program.pid}"),
            target("job", LOCAL_HOST, f"command = ['{sys.executable}', '{script}']"),
            *((target("page", LOCAL_HOST, f"pid = {page.pid}", "production", allow="inject"),) if page else ()),
        )
        async with workers(client, CENTRAL_QUEUE, LOCAL_HOST, site, *targets):
            yield Stage(client)
    finally:
        for one in filter(None, (program, page)):
            one.kill()
            await one.wait()


@asynccontextmanager
async def leasing(client: Client, site: Path, branch: Branch) -> AsyncIterator[Stage]:
    """Workers for processes that only hold leases; the lease continues as new after each grant where that is what is recorded."""
    settings: LeaseSettings = QUICK.model_copy(update={"max_grants": 1}) if branch in CONTINUING else QUICK
    async with run_worker(client, CENTRAL_QUEUE, workflows=[TargetLease, Measuring], activities=lease_activities(settings)):
        yield Stage(client)


STAGES: dict[str, Any] = {
    "CpuOptimizationImplementation": optimizing,
    "CpuProfilingInvestigation": investigating,
    "GarbageCollectionTuning": collecting,
    "IndexStrategyOptimization": indexing,
    "QueryPerformanceAnalysis": querying,
    "TargetLease": leasing,
    "Trial": changing,
    "UndoJanitor": cleaning,
}


async def record(type_name: str, name: str) -> Path:
    """One branch, on a server of its own."""
    branch = BRANCHES[type_name][name]
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder)
        with await asyncio.to_thread(start_dev_server, temporal_cli(), db=None, port=None, ui=False) as server:
            client = await Client.connect(server.address, plugins=[PerfwrightPlugin()], identity="worker")
            await ensure_search_attributes(client)
            async with STAGES[type_name](client, site, branch) as stage:
                handle = await branch(stage)
                if problems := await task_failures(handle):
                    raise RuntimeError(f"{type_name}/{name}: {problems}")
                history = await handle.fetch_history()
        file = stored.save(history, type_name, name, stored.of_this_machine(site))
    await Replayer(workflows=WORKFLOWS, plugins=[PerfwrightPlugin()]).replay_workflow(stored.load(file))
    return file


async def main(types: list[str]) -> None:
    if unknown := sorted(set(types) - set(BRANCHES)):
        sys.exit(f"no such workflow type: {', '.join(unknown)}; allowed: {', '.join(BRANCHES)}")
    for type_name in types or BRANCHES:
        for name in BRANCHES[type_name]:
            file = await record(type_name, name)
            print(f"{file.relative_to(stored.ROOT)}: {file.stat().st_size:,} bytes", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
