"""What a trial survives: kills of its worker at any instant, cancel, terminate. The target ends as it was, or kept and recorded."""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from temporalio.client import Client

from perfwright.models.trial_run import TrialResult
from perfwright.models.undo import JanitorReport
from tests.needs import needs
from tests.workflows.killed_steps import WITHOUT_CACHE, kill_after_every_step
from tests.workflows.sites import Site, running_site, stores_in
from tests.workflows.trying import CONFIGURATION, Lab, furnish, registry, result_of, trying
from tests.workflows.watching_runs import (
    Handle,
    assert_cancelled,
    assert_free,
    heartbeat,
    open_gate,
    running_with,
    task_failures,
    until,
)

pytestmark = [needs("temporal"), pytest.mark.timeout(1_200)]

UNATTENDED = """
[environments.unattended]
change = "auto"
keep = "auto"
"""
EVERY_STEP = (
    "describe_change",
    "check_change",
    "acquire_leases",
    "measure_trial",
    "release_leases",
    "read_gate_policy",
    "apply_change",
    "annotate_change",
    "verify_change",
    "keep_change",
    "deliver_change",
)
INSTANTS = int(os.environ.get("PERFWRIGHT_TEST_KILLS", "3"))
"""30 and more for a thorough look."""


@pytest.fixture
async def lab(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> AsyncIterator[Lab]:
    async with trying(client, task_queue, host_name, f"shop-{host_name[-8:]}", tmp_path) as opened:
        yield opened


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with running_site(tmp_path) as site:
        yield site


@asynccontextmanager
async def unattended(site: Site, name: str) -> AsyncIterator[Lab]:
    """The site's target, whose gates answer by themselves."""
    furnish(site.folder)
    (site.folder / "perfwright.toml").write_text(registry(name, "local", site.folder, "unattended", UNATTENDED))
    async with stores_in(site.folder) as context:
        yield Lab(await site.client(), "perfwright", name, context, site.folder)


async def measuring(lab: Lab, handle: Handle, rounds: int = 2) -> None:
    """Return in the middle of A against B."""

    async def under_way() -> bool:
        progress = await heartbeat(lab.client, handle, "measure_trial")
        return progress.get("phase") == "trial" and progress["rounds"] >= rounds

    await until(under_way, "rounds of the trial")


async def assert_consistent(lab: Lab, handle: Handle, after: str) -> TrialResult:
    """The target is as the result and the record say; nothing of it is in between."""
    result: TrialResult = await handle.result()
    assert not await task_failures(handle)
    states = [one.state for one in await lab.records_of(handle)]
    if result.kept:
        assert states == ["kept"] and lab.file.read_text() == after
        lab.file.write_text(CONFIGURATION)
        await lab.work.leave((await lab.records_of(handle))[0].change_id, "the test")
    else:
        assert states in ([], ["reverted"]) and lab.file.read_text() == CONFIGURATION, (states, result.reason)
    return result


async def test_cancelled_while_it_measures(lab: Lab) -> None:
    """Both probe and switching end, the target is byte-identical, the lease is free."""
    before = lab.state()
    handle = await lab.start(lab.edit(20.2, ask_change=False))
    await measuring(lab, handle)
    await handle.cancel()
    await assert_cancelled(handle)
    assert lab.state() == before and not running_with(str(lab.folder / "probe.py"))
    await assert_free(lab.client, *lab.target.resources)


@pytest.mark.parametrize("moment", ["measuring", "keep"])
async def test_terminated_and_then_the_janitor(lab: Lab, moment: str) -> None:
    """A trial that is gone without a word: the janitor finds its record and undoes it, and a late switch does not bring it back."""
    handle = await lab.start(lab.edit(10 if moment == "keep" else 20.2, ask_change=False))
    if moment == "keep":
        await open_gate(handle, "keep")
        assert lab.file.read_text() != CONFIGURATION
    else:
        await measuring(lab, handle)
    await handle.terminate("test")
    janitor = await lab.client.start_workflow(
        "UndoJanitor", {"settle_s": 0.0, "target": lab.name}, id=f"janitor-{lab.name}", task_queue=lab.queue
    )
    report = JanitorReport.model_validate(await janitor.result())
    assert [one.state for one in report.outcomes] == ["reverted"] and not report.failed

    async def quiet() -> bool:
        return not running_with(str(lab.folder / "probe.py"))

    await until(quiet, "the end of the terminated trial's probe")
    assert lab.file.read_text() == CONFIGURATION
    assert [one.state for one in await lab.records_of(handle)] == ["reverted"]


async def test_a_side_that_does_not_work(lab: Lab) -> None:
    """A change that breaks the program is undone, and the reason says how it ended."""
    before = lab.state()
    result = await lab.ended(lab.patch(after="WORK = 1 / 0"))
    assert result.end == "undone" and "ZeroDivisionError" in result.reason
    assert lab.state() == before


async def test_a_worker_that_is_killed_after_every_step(site: Site) -> None:
    """kill -9 right after each kind of step has completed: with the next worker every trial ends as it should, kept."""
    async with unattended(site, "shop") as lab:
        site.environment = WITHOUT_CACHE
        await site.start_worker()

        async def start_next() -> Handle:
            lab.file.write_text(CONFIGURATION)
            return await lab.start(lab.edit(10))

        for handle in await kill_after_every_step(site, EVERY_STEP, start_next, 1):
            assert (await result_of(handle)).kept
            assert [one.state for one in await lab.records_of(handle)] == ["kept"]
        assert lab.file.read_text() == "cost = 10\n"
        await assert_free(lab.client, *lab.target.resources)


async def test_a_worker_that_is_killed_at_any_instant(site: Site) -> None:
    """kill -9 somewhere between the start and after `keep`: the target always ends as it was, or kept and recorded."""
    async with unattended(site, "shop") as lab:
        chance = random.Random(5)
        await site.start_worker()
        ends, began = [], time.monotonic()
        await assert_consistent(lab, await lab.start(lab.edit(10)), "cost = 10\n")
        undisturbed_s = time.monotonic() - began
        for _ in range(INSTANTS):
            handle = await lab.start(lab.edit(10))
            await asyncio.sleep(chance.uniform(0.0, undisturbed_s))
            await site.signal_worker(signal.SIGKILL)
            await site.start_worker()
            ends.append((await assert_consistent(lab, handle, "cost = 10\n")).end)
        assert set(ends) == {"kept"}, "a kill alone loses no trial"
        assert not running_with(str(lab.folder / "probe.py"))
