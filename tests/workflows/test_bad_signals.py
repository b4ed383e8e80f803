"""What people may send to a run of any workflow type, and that nothing of it wedges the run.

A bad signal is listed; a bad update is refused; and the run stays answerable. Some are sent through the real CLI.
"""

import asyncio
import json
from itertools import cycle

import pytest

from tests.workflows.bad_messages import (
    ALL_TYPES,
    GOOD,
    UNREADABLE,
    WRONG_VALUES,
    Bad,
    Stage,
    assert_no_task_failed,
    cli,
    filled,
    payload,
    stage,
)

__all__ = ["stage"]

pytestmark = pytest.mark.asyncio(loop_scope="module")


def signal_of(type_name: str) -> str:
    return "approve" if hasattr(ALL_TYPES[type_name], "approve") else "no_such_signal"


SIGNALS = [pytest.param(name, bad, id=f"{name}: {bad.name}") for name in ALL_TYPES for bad in UNREADABLE + WRONG_VALUES]


@pytest.mark.parametrize(("type_name", "bad"), SIGNALS)
async def test_a_bad_signal_is_listed(stage: Stage, type_name: str, bad: Bad) -> None:
    """A signal that cannot be taken is listed with the reason, and the run stays answerable."""
    handle = await stage.open_run(type_name)
    before = stage.listed[handle.id]
    name = signal_of(type_name)
    await stage.signal(handle, name, filled(bad, type_name))
    refused = await stage.refused(handle)
    assert len(refused) == before + 1
    assert refused[-1]["message"] == name
    assert refused[-1]["reason"]
    if name == "approve":
        assert bad.says in refused[-1]["reason"]
    assert len(json.dumps(refused[-1])) < 4_000


@pytest.mark.parametrize("type_name", ALL_TYPES)
@pytest.mark.parametrize("name", ["no_such_signal", "Approve", "x" * 500, "naïve 🐍", " "])
async def test_an_unknown_signal_is_listed(stage: Stage, type_name: str, name: str) -> None:
    """A signal that the process does not have is listed under its name."""
    handle = await stage.open_run(type_name)
    before = stage.listed[handle.id]
    await stage.signal(handle, name, [payload('{"by": "me"}')])
    refused = await stage.refused(handle)
    assert len(refused) == before + 1
    assert refused[-1]["message"][:90] == name[:90]
    assert "no such signal" in refused[-1]["reason"]


UPDATES = [
    pytest.param(name, update, bad, id=f"{name}.{update}: {bad.name}")
    for name, workflow in ALL_TYPES.items()
    for update in ("decide", "unvalidated", "acquire", "release", "no_such_update")
    if hasattr(workflow, update) or update == "no_such_update"
    for bad in (UNREADABLE + WRONG_VALUES if update != "no_such_update" else UNREADABLE[:3])
]


@pytest.mark.parametrize(("type_name", "update", "bad"), UPDATES)
async def test_a_bad_update_is_refused(stage: Stage, type_name: str, update: str, bad: Bad) -> None:
    """Who sends an update that cannot be taken is told why, and the run stays answerable."""
    handle = await stage.open_run(type_name)
    told = await asyncio.wait_for(stage.update(handle, update, filled(bad, type_name)), 15)
    if update != "no_such_update":
        assert bad.says in told
    assert told
    await stage.refused(handle)


async def test_a_handler_that_fails_wedges_nothing(stage: Stage) -> None:
    """A mistake in a handler is told and listed; neither the run nor its workflow task fails."""
    handle = await stage.open_run("SampleProcess")
    await stage.signal(handle, "broken", [payload("{}")])
    assert "could not be handled (KeyError" in (await stage.refused(handle))[-1]["reason"]
    told = await stage.update(handle, "unvalidated", [payload('{"gate": "sample", "by": "me"}')])
    assert told == "KeyError: 'me'"
    with pytest.raises(Exception, match="json/plain is"):
        await stage.query(handle, "approved_by", [payload(b"\x00", "binary/plain")])
    await stage.refused(handle)


async def test_a_flood_of_refused_signals_is_bounded(stage: Stage) -> None:
    """Two hundred refused messages are kept, the others are counted."""
    handle = await stage.start("SampleProcess", [payload(json.dumps(GOOD["SampleProcess"]))])
    await asyncio.gather(*(stage.signal(handle, f"unknown_{i}", []) for i in range(230)))
    refused = await stage.refused(handle)
    assert len(refused) == 201
    assert "30 more" in refused[-1]["reason"]
    await assert_no_task_failed(handle)
    await handle.terminate()


CLI_SIGNALS = [[], ["--input", "{}", "--input", "{}"], ["--input", "x", "--input-meta", "encoding=binary/plain"]]
"""In turns, as the starts by the CLI are."""


@pytest.mark.parametrize(("type_name", "options"), [*zip(ALL_TYPES, cycle(CLI_SIGNALS), strict=False)])
async def test_a_bad_signal_of_the_cli_is_listed(stage: Stage, type_name: str, options: list[str]) -> None:
    """`temporal workflow signal` with a bad payload leaves a trace that the sender can find."""
    handle = await stage.open_run(type_name)
    before = stage.listed[handle.id]
    done = await asyncio.to_thread(cli, stage, "workflow", "signal", "--workflow-id", handle.id, "--name", signal_of(type_name), *options)
    assert done.returncode == 0, done.stderr
    assert len(await stage.refused(handle)) == before + 1
