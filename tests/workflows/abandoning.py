"""Changes of runs that are gone, on files of a test's own, and workers whose janitor finds them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from temporalio.api.workflowservice.v1 import GetClusterInfoRequest
from temporalio.client import Client

from activities.abandoned_changes import AbandonedChangeFinder
from activities.changes.carrying_out import CarryingOut
from activities.changes.kind import Site
from activities.context import WorkerContext
from activities.leases import Leases
from activities.registry import build_activities
from activities.undo_records import UndoRecords
from perfwright.models.change import FileSpec, Replacement
from perfwright.models.queues import host_queue
from perfwright.models.target import Target
from perfwright.models.undo import ChangeOrder, ChangeOwner
from tests.conftest import run_worker
from tests.workflows.lease_processes import Hold, Measuring
from tests.workflows.lease_worker import lease_activities
from tests.workflows.watching_runs import Handle
from workflows.registry import WORKFLOWS

BEFORE = "workers = 2\n"
REGISTRY = """
[environments.production]
approvers = ["ada"]
[targets.{name}]
kind = "http"
environment = "{environment}"
host = "{host}"
url = "http://localhost:1"
files_root = "{root}"
"""


class Abandoned:
    """A target with a file, and what is done to it."""

    def __init__(self, client: Client, queue: str, name: str, context: WorkerContext, root: Path) -> None:
        self.client, self.queue, self.name, self.root = client, queue, name, root
        self.records, self.finder = UndoRecords(context.history), AbandonedChangeFinder(context.history)
        self.work = CarryingOut(self.records, Site({}, context.state_folder))
        target = context.registry_file.read().target(name)
        assert target is not None
        self.target = target

    @property
    def file(self) -> Path:
        return self.root / "app.conf"

    async def owner(self, number: int) -> Handle:
        """A run that goes on until it is terminated."""
        return await self.client.start_workflow(
            Measuring.run, Hold(resources=(f"target/other-{self.name}-{number}",)), id=f"trial/{self.name}-{number}", task_queue=self.queue
        )

    async def changed_by(
        self, handle: Handle, change_id: str, find: str, replace: str, server: str | None = None, target: Target | None = None
    ) -> None:
        """A change that this run is responsible for."""
        about = await handle.describe()
        owner = ChangeOwner(
            workflow_id=handle.id,
            first_run_id=about.raw_description.workflow_execution_info.first_run_id,
            run_id=about.run_id,
            server=await server_of(self.client) if server is None else server,
        )
        spec = FileSpec(path="app.conf", replacements=(Replacement(find=find, replace=replace),))
        await self.work.apply(ChangeOrder(change_id=change_id, target=target or self.target, spec=spec, owner=owner))

    async def janitor(self, **request: Any) -> Handle:
        return await self.client.start_workflow(
            "UndoJanitor", {"settle_s": 0.0} | request, id=f"janitor-of-{self.queue}-{self.name}", task_queue=self.queue
        )


async def server_of(client: Client) -> str:
    answer = await client.workflow_service.get_cluster_info(GetClusterInfoRequest())
    return f"{answer.cluster_id}/{client.namespace}"


@asynccontextmanager
async def abandoning(
    client: Client, queue: str, host: str, name: str, environment: str, folder: Path, more: str = ""
) -> AsyncIterator[Abandoned]:
    """Workers with everything, impatient leases, and one target."""
    root = folder / "etc"
    root.mkdir()
    (root / "app.conf").write_text(BEFORE)
    (folder / "perfwright.toml").write_text(REGISTRY.format(name=name, environment=environment, host=host, root=root) + more)
    context = await WorkerContext.open(folder / "perfwright.toml", host, environ={}, working_directory=folder)
    activities = build_activities(context)
    central = [one for one in activities.central if not isinstance(one.__self__, Leases)]  # type: ignore[attr-defined]
    central += lease_activities(abandoned=AbandonedChangeFinder(context.history))
    try:
        async with AsyncExitStack() as running:
            await running.enter_async_context(run_worker(client, queue, workflows=[*WORKFLOWS, Measuring], activities=central))
            await running.enter_async_context(run_worker(client, host_queue(host), activities=activities.host))
            yield Abandoned(client, queue, name, context, root)
    finally:
        await context.close()
