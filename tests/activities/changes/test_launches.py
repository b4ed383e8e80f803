"""Flags and environment of a launched command, read from /proc of what was really launched."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.commands import Commands
from perfwright.models.change import LaunchSpec
from perfwright.models.command import CommandRun
from perfwright.models.target import ProcessSelector, Target
from tests.activities.changes.changing_runs import Bench, bench, killed_at_random

COMMAND = ("sleep", "0600", "0")


@pytest.fixture
async def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setenv("SHOP_MODE", "quiet")
    selector = ProcessSelector(command=COMMAND, environment_names=("SHOP_MODE",))
    async with bench(tmp_path, Target(name="launched shop/ü", kind="process", environment="lab", process=selector)) as opened:
        yield opened


async def launched(shop: Bench) -> tuple[list[str], dict[str, str]]:
    """Launch it as a process does, and read what the kernel has of it."""
    commands = Commands(shop.site.state_folder)
    order = CommandRun(key="r/target", title="it", command=COMMAND, environment_names=("SHOP_MODE",), limit_s=60, target=shop.target.name)
    running = asyncio.ensure_future(ActivityEnvironment().run(commands.run_command, order))
    try:
        found = await ActivityEnvironment().run(commands.find_command, order)
        process = Path(f"/proc/{found.pid}")
        words = (process / "cmdline").read_text().split("\0")[:-1]
        entries = [entry.partition("=") for entry in (process / "environ").read_text().split("\0") if entry]
        return words, {name: value for name, _, value in entries if name.startswith("SHOP") or name == "MALLOC_ARENA_MAX"}
    finally:
        running.cancel()
        await asyncio.wait([running])


FLAGS = LaunchSpec(append=("0.5",), without=("0",), environment={"MALLOC_ARENA_MAX": "2", "SHOP_MODE": None})


async def test_flags_come_and_go(shop: Bench) -> None:
    """The next launch has the words and variables of the change; the one after the undo is as before."""
    before = await launched(shop)
    assert before == (list(COMMAND), {"SHOP_MODE": "quiet"})
    order = shop.order(FLAGS)
    shown = await shop.work.describe(order)
    assert shown.change.apply == "env MALLOC_ARENA_MAX=2 -u SHOP_MODE sleep 0600 0.5"
    for _ in range(2):
        assert (await shop.work.apply(order)).state == "applied"
        assert await launched(shop) == (["sleep", "0600", "0.5"], {"MALLOC_ARENA_MAX": "2"})
    for _ in range(2):
        assert (await shop.work.revert(order.change_id)).state == "reverted"
        assert await launched(shop) == before


async def test_changes_of_a_command_are_stacked(shop: Bench) -> None:
    """A second change adds to the first, and comes off first."""
    lower, upper = shop.order(FLAGS), shop.order(LaunchSpec(append=("0.25",)))
    await shop.work.apply(lower)
    await shop.work.keep(lower.change_id)
    await shop.work.apply(upper)
    assert (await launched(shop))[0] == ["sleep", "0600", "0.5", "0.25"]
    with pytest.raises(ApplicationError, match="lies under later changes"):
        await shop.work.revert(lower.change_id)
    await shop.work.revert(upper.change_id)
    assert (await launched(shop))[0] == ["sleep", "0600", "0.5"]
    await shop.work.revert(lower.change_id)


async def test_what_does_not_fit_is_refused(shop: Bench) -> None:
    """A word that is not there, a secret, and a target without a command of its own are refused."""
    with pytest.raises(ApplicationError, match='"7" is no argument'):
        await shop.work.apply(shop.order(LaunchSpec(without=("7",))))
    with pytest.raises(ValueError, match="looks like a secret"):
        LaunchSpec(environment={"DB_PASSWORD": "hunter22"})
    with pytest.raises(ValueError, match="looks like a secret"):
        LaunchSpec(append=("--token", "abcdef"))
    shop.target = shop.target.model_copy(update={"process": ProcessSelector(pid=1)})
    with pytest.raises(ApplicationError, match="has no command of its own"):
        await shop.work.apply(shop.order(FLAGS))


async def test_a_file_of_somebody_else_is_a_conflict(shop: Bench) -> None:
    """What was written over the launch file is told, and left."""
    order = shop.order(FLAGS)
    await shop.work.apply(order)
    [file] = (shop.site.state_folder / "launches").iterdir()
    file.write_text("[]")
    assert (await shop.work.revert(order.change_id)).state == "conflict"
    assert file.read_text() == "[]"


async def test_half_a_file_of_a_killed_attempt_goes_with_the_undo(shop: Bench) -> None:
    order = shop.order(FLAGS)
    await shop.work.apply(order)
    [file] = (shop.site.state_folder / "launches").iterdir()
    file.with_suffix(".new").write_text("[")
    await shop.work.revert(order.change_id)
    assert not list((shop.site.state_folder / "launches").iterdir())


async def test_kills_at_any_instant(shop: Bench) -> None:
    """kill -9 at any instant: the next launch is as before."""

    async def read() -> object:
        return await launched(shop), sorted(path.name for path in (shop.site.state_folder / "launches").glob("*"))

    await killed_at_random(shop, FLAGS, read)
