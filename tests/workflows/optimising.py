"""Runs of CpuOptimizationImplementation on repositories of a test's own."""

import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from temporalio.client import Client, RPCError, WorkflowHandle

from lab.starting import ROOT
from perfwright.models.cpu_optimization import CpuOptimizationDetails
from perfwright.models.result import ProcessResult
from tests.activities.code_projects import git
from tests.workflows.investigating import workers
from tests.workflows.watching_runs import Handle, open_gate, until
from workflows.cpu.cpu_optimization_implementation import CpuOptimizationImplementation

OptimizationResult = ProcessResult[CpuOptimizationDetails]
PYTHON = sys.executable
LAB_CHECK = '''"""The slow and the sound version of everything answer alike."""

import copy

from lab.shop import deliveries, pictures, pricing, reports, stock
from lab.shop.catalogue import DEPARTMENTS, Catalogue

catalogue = Catalogue.seeded(3)
campaigns = pricing.Campaigns.seeded(catalogue, 3)
products = catalogue.page(1, 60)
lines = [pricing.Line(one.sku, 3, one.price_cents) for one in products]
assert pricing.qualifying_by_campaign(campaigns, lines) == pricing.qualifying_by_article(campaigns, lines)
ordered = [one.sku for one in products]
note = "\\n".join(f"{number:4d}. {sku}/M (sand) x {number}" for number, sku in enumerate(ordered[5:], start=1))
assert deliveries.pieces_by_article(note, ordered) == deliveries.pieces_by_entry(note, ordered) != {}
assert reports.read_day("14 Mar 2024").isoformat() == "2024-03-14"
counts = stock.Stock.seeded(catalogue, 3).of(DEPARTMENTS[0])
assert stock.merge_into_list(copy.deepcopy(counts)) == stock.merge_by_article(counts)
assert pictures.crc_by_table(b"perfwright") == pictures.crc_by_library(b"perfwright")
'''


def lab_repository(folder: Path) -> Path:
    """The lab's shop with its benchmark as a repository of its own."""
    shutil.copytree(ROOT / "lab" / "shop", folder / "lab" / "shop", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__init__", "benchmark", "mix", "problems"):
        shutil.copy(ROOT / "lab" / f"{name}.py", folder / "lab" / f"{name}.py")
    (folder / "check.py").write_text(LAB_CHECK)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "the shop")
    return folder


ENVIRONMENTS = '[environments.trusting]\nreview = "auto"\nchange = "auto"\nkeep = "auto"\n\n[environments.reviewing]\nreview = "auto"\n\n'
"""In `trusting` nobody is asked, in `reviewing` only whether something is changed and kept."""


def target(name: str, host: str, repository: Path, environment: str, variables: tuple[str, ...] = (), more: str = "") -> str:
    """A registry entry with its environments."""
    return ENVIRONMENTS + entry(name, host, repository, environment, variables, more)


def entry(name: str, host: str, repository: Path, environment: str, variables: tuple[str, ...] = (), more: str = "") -> str:
    """A registry entry alone."""
    process = f"process = {{ command = [{PYTHON!r}], environment_names = {[*variables]!r} }}\n".replace("'", '"') if variables else ""
    where = (
        f'kind = "repository"\nurl = "file://{repository}"\nenvironment = "{environment}"\nhost = "{host}"\nrepository = "{repository}"\n'
    )
    return f"[targets.{name}]\n{where}{more}{process}"


async def answer(handle: Handle, gate: str, action: str = "approve", revision: int = 1, **more: Any) -> None:
    """Decide at a gate, once it is open."""
    opened = await open_gate(handle, gate, revision)
    decision = {"action": action, "gate": gate, "by": "ada", "digest": opened.digest, "comment": "looked at it"}
    await handle.execute_update("decide", decision | more)


async def child_of(handle: Handle, kind: str, number: str = "") -> Handle:
    """Its profile (`profile`) or its n-th trial (`trial`, `/1`), once that has been started."""
    run = (await handle.describe()).run_id

    async def child() -> Handle | None:
        found = handle._client.get_workflow_handle(f"{handle.id}/{kind}/{run}{number}")
        with suppress(RPCError):
            await found.describe()
            return found
        return None

    found: Handle = await until(child, f"a {kind}")
    return found


@asynccontextmanager
async def optimising(
    client: Client,
    task_queue: str,
    host: str,
    folder: Path,
    repository: Path,
    *,
    environment: str = "trusting",
    environ: Mapping[str, str] | None = None,
    more: str = "",
    **request: Any,
) -> AsyncIterator[WorkflowHandle[Any, OptimizationResult]]:
    """Workers, and a run that has been started; the target has a name of the test's own."""
    name = f"optimised-{task_queue[-12:]}"
    registered = target(name, host, repository, environment, tuple(environ or ()), more)
    async with workers(client, task_queue, host, folder, registered, environ=environ):
        yield await client.start_workflow(
            CpuOptimizationImplementation.__name__,
            {"target": name} | request,
            id=f"cpu-optimization-implementation/{name}",
            task_queue=task_queue,
            result_type=OptimizationResult,
        )
