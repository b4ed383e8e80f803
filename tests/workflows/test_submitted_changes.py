"""Changes that people submit to a run: taken once each, refused with the reason, never failing the run."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client

from perfwright.models.submission import TakenSubmission
from starter.here import Here
from starter.refusals import DecisionRefused, InvalidRequest
from starter.run import Run
from starter.submitting import read_patch, submit_change
from tests.conftest import run_worker
from tests.needs import needs
from tests.workflows.sample_workflows import SampleProcess
from tests.workflows.submitting_samples import WaitingForChanges
from tests.workflows.watching_runs import Handle, task_failures, until

pytestmark = needs("temporal")

DIFF = "--- a/work.py\n+++ b/work.py\n@@ -1 +1 @@\n-a\n+b\n"
BAD = (
    None,
    7,
    "patch",
    {},
    {"ref": "main"},
    {"by": "ada", "patch": DIFF, "ref": "main"},
    {"by": "ada", "ref": "--upload-pack=evil"},
    {"by": "ada", "ref": "main", "spec": 1},
    {"by": "ada", "patch": "x" * 200_000},
)


@pytest.fixture
async def working(client: Client, task_queue: str) -> AsyncIterator[Client]:
    async with run_worker(client, task_queue, workflows=[WaitingForChanges, SampleProcess]):
        yield client


async def start(client: Client, queue: str, **request: object) -> Handle:
    return await client.start_workflow(WaitingForChanges.__name__, request, id=f"waiting-{queue}", task_queue=queue)


async def run_of(client: Client, handle: Handle) -> Run:
    return Run(client, Here(), handle.id, (await handle.describe()).run_id)


async def test_bad_submissions_are_listed(working: Client, task_queue: str) -> None:
    """Each is listed with its reason; the run goes on and takes a good one."""
    handle = await start(working, task_queue)
    for payload in BAD:
        await handle.signal("submit_change", payload)
    await handle.signal("submit_change", {"by": "ada", "ref": "main"})
    assert await handle.result() == ["ada: main"] and not await task_failures(handle)
    refused = await handle.query("rejected_decisions")
    assert [one["message"] for one in refused] == ["submit_change"] * len(BAD)
    assert all(one["reason"] and len(one["received"]) <= 320 for one in refused)


async def test_each_counts_once_and_goes_where_it_belongs(working: Client, task_queue: str) -> None:
    """Sent twice it is taken once; one for another work item is left for that."""
    handle = await start(working, task_queue, item="loop", changes=2)
    for _ in range(2):
        await handle.signal("submit_change", {"by": "ada", "ref": "one", "submission_id": "1"})
    await handle.signal("submit_change", {"by": "bob", "ref": "two", "item": "index"})
    await handle.signal("submit_change", {"by": "eve", "ref": "three", "item": "loop"})
    assert await handle.result() == ["ada: one", "eve: three"]
    listed = await handle.query("submissions", result_type=list[TakenSubmission])
    assert [(one.by, one.taken) for one in listed] == [("ada", True), ("bob", False), ("eve", True)]


async def test_a_flood_is_bounded(working: Client, task_queue: str) -> None:
    """Twenty wait at a time; more are refused with the reason."""
    handle = await start(working, task_queue, item="never")
    for number in range(23):
        await handle.signal("submit_change", {"by": "ada", "ref": f"r{number}", "item": "other"})

    async def heard() -> bool:
        return len(await handle.query("rejected_decisions")) == 3

    await until(heard, "three refused submissions")
    await handle.terminate()


async def test_nobody_submits(working: Client, task_queue: str) -> None:
    """After the deadline the process goes on without one."""
    assert await (await start(working, task_queue, deadline_s=0.2)).result() == ["nobody"]


async def test_who_submits_hears_whether_it_counts(working: Client, task_queue: str, tmp_path: Path) -> None:
    """Taken, not taken with the run's reason, or refused before it is sent, as a patch with a password is."""
    handle = await start(working, task_queue, changes=2)
    run = await run_of(working, handle)
    plain = {"patch": "", "ref": "", "base": "HEAD", "by": "ada", "comment": "", "item": ""}
    assert (await submit_change(run, **plain | {"ref": "main"})).taken
    with pytest.raises(InvalidRequest, match="exactly one"):
        await submit_change(run, **plain)
    with pytest.raises(InvalidRequest, match="password or token"):
        await submit_change(run, **plain | {"patch": DIFF.replace("+b", '+password = "hunter2-hunter2"')})
    (tmp_path / "empty.diff").write_text("\n")
    with pytest.raises(InvalidRequest, match="is empty"):
        read_patch(tmp_path / "empty.diff")
    (tmp_path / "good.diff").write_text(DIFF)
    await submit_change(run, **plain | {"patch": read_patch(tmp_path / "good.diff")})
    assert await handle.result() == ["ada: main", f"ada: {DIFF}"]
    with pytest.raises(DecisionRefused, match="is over"):
        await submit_change(run, **plain | {"ref": "main"})


async def test_a_run_that_takes_none(working: Client, task_queue: str) -> None:
    """A process that waits for no change says so."""
    handle = await working.start_workflow("SampleProcess", {"target": "shop"}, id=f"sample-{task_queue}", task_queue=task_queue)
    with pytest.raises(DecisionRefused, match=r"did not take it|takes no changes"):
        await submit_change(await run_of(working, handle), patch="", ref="main", base="HEAD", by="ada", comment="", item="")
    await handle.terminate()
