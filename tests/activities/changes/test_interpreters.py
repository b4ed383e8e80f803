"""The collector of real Python processes, busy and idle, set by injection; what is set is read by the programs themselves."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from activities.changes import interpreters
from activities.changes.injection import injected
from perfwright.models.change import InterpreterSpec
from perfwright.models.target import ProcessSelector, Target
from tests.activities.changes.changing_runs import KILLS, Bench, bench, killed_at_random
from tests.needs import needs

pytestmark = needs("gdb", "ptrace")

BUSY = """
import gc, json, sys, threading
kept = [{"n": n} for n in range(2000)]
def told():
    for line in sys.stdin:
        if line.startswith("set"):
            gc.set_threshold(*map(int, line.split()[1:]))
        print(json.dumps([gc.get_threshold(), gc.isenabled(), gc.get_freeze_count() > 0, sorted(vars(sys.modules["__main__"]))]), flush=True)
threading.Thread(target=told, daemon=True).start()
print("ready", flush=True)
while True:
    WORK
"""
WORK = {"busy": "sum(len(str(n)) for n in range(5000))", "idle": "import select; select.select([], [], [], 3600)"}
QUIETER = InterpreterSpec(gc_thresholds=(50_000, 20, 30))


class Program:
    """A program that tells its collector's settings itself, from a thread of its own."""

    def __init__(self, kind: str, python: str = sys.executable) -> None:
        self.process = subprocess.Popen(
            [python, "-u", "-c", BUSY.replace("WORK", WORK[kind])], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._line() == "ready\n"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def tells(self, order: str = "tell") -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()
        return json.loads(self._line())

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(params=["busy", "idle"])
def program(request: pytest.FixtureRequest):
    opened = Program(request.param)
    yield opened
    opened.end()


def target_of(program: Program, *allow: str) -> Target:
    return Target(
        name=f"gc-{program.process.pid}",
        kind="process",
        environment="lab",
        process=ProcessSelector(pid=program.process.pid),
        allow=allow or ("inject",),
    )


@pytest.fixture
async def shop(program: Program, tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path, target_of(program)) as opened:
        yield opened


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (QUIETER, [[50_000, 20, 30], True, False]),
        (InterpreterSpec(gc_enabled=False, gc_freeze=True), [[700, 10, 10], False, True]),
    ],
)
async def test_settings_come_and_go(shop: Bench, program: Program, spec: InterpreterSpec, expected: list[object]) -> None:
    """Thresholds, switch and freeze are set in a running program, busy or waiting, and are as before after the undo; nothing else is left."""
    before = program.tells()
    order = shop.order(spec)
    shown = await shop.work.describe(order)
    assert "gc." in shown.change.apply and not shown.survives_restart
    assert program.tells() == before
    for _ in range(2):
        assert (await shop.work.apply(order)).state == "applied"
        assert program.tells() == [*expected, before[3]]  # no name of ours in the program
    assert (await shop.work.look(order.change_id)).standing.word == "changed"
    for _ in range(2):
        assert (await shop.work.revert(order.change_id)).state == "reverted"
        assert program.tells() == before


BESIDE = [path for path in Path(sys.base_prefix).parent.glob("3.*/bin/python3") if int(path.parts[-3].split(".")[1]) >= 8]
OTHERS = [str(path) for path in (Path("/usr/bin/python3"), *sorted(BESIDE)) if path.exists()]
"""The system's, and those that a version manager keeps beside ours."""


@pytest.mark.parametrize("python", OTHERS, ids=lambda path: path.split("/")[-3])
@pytest.mark.parametrize("kind", ["busy", "idle"])
async def test_interpreters_of_other_versions(tmp_path: Path, python: str, kind: str) -> None:
    """Whatever CPython a program runs on, and whoever built it, its thresholds come and go."""
    program = Program(kind, python)
    try:
        async with bench(tmp_path, target_of(program)) as shop:
            before, order = program.tells(), shop.order(QUIETER)
            await shop.work.apply(order)
            assert program.tells() != before
            await shop.work.revert(order.change_id)
            assert program.tells() == before
    finally:
        program.end()


async def test_what_the_program_sets_itself_is_a_conflict(shop: Bench, program: Program) -> None:
    """Thresholds that the program set meanwhile are its own: told, and left."""
    order = shop.order(QUIETER)
    await shop.work.apply(order)
    theirs = program.tells("set 1 2 3")
    outcome = await shop.work.revert(order.change_id)
    assert outcome.state == "conflict" and "1, 2, 3" in outcome.note
    assert program.tells() == theirs


@pytest.mark.parametrize("program", ["idle"], indirect=True)
async def test_a_switch_enters_the_program_once(shop: Bench, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is measured every entry disturbs it; what it set itself meanwhile is told all the same, and left."""
    entered = []

    async def counted(*given: Any) -> Any:
        entered.append(given)
        return await injected(*given)

    order = shop.order(QUIETER)
    await shop.work.apply(order)
    monkeypatch.setattr(interpreters, "injected", counted)
    for on, thresholds in ((False, [700, 10, 10]), (True, [50_000, 20, 30]), (True, [50_000, 20, 30])):
        await shop.work.switch(order.change_id, on=on)
        assert program.tells()[0] == thresholds
    assert len(entered) == 3
    theirs = program.tells("set 1 2 3")
    with pytest.raises(ApplicationError, match="set by the program itself meanwhile: thresholds 1, 2, 3"):
        await shop.work.switch(order.change_id, on=False)
    assert program.tells() == theirs


async def test_a_program_that_ended_needs_no_undo(shop: Bench, program: Program) -> None:
    """With the process its settings are gone: the record is closed, and says so."""
    order = shop.order(QUIETER)
    await shop.work.apply(order)
    program.end()
    outcome = await shop.work.revert(order.change_id)
    assert (outcome.state, outcome.standing.word) == ("reverted", "gone") and "ended" in outcome.note


async def test_what_may_not_be_touched_is_refused(tmp_path: Path) -> None:
    """No injection where the registry does not allow it, into a stopped process, or into what runs no Python."""
    program = Program("busy")
    try:
        async with bench(tmp_path, target_of(program, "analyze")) as shop:
            with pytest.raises(ApplicationError, match='"inject"'):
                await shop.work.apply(shop.order(QUIETER))
            shop.target = target_of(program)
            program.process.send_signal(signal.SIGSTOP)
            with pytest.raises(ApplicationError, match="is stopped") as refused:
                await shop.work.apply(shop.order(QUIETER))
            assert refused.value.type == "TargetStopped"
            program.process.send_signal(signal.SIGCONT)
            with pytest.raises(ApplicationError, match="already: thresholds"):
                await shop.work.describe(shop.order(InterpreterSpec(gc_thresholds=(700, 10, 10))))
            sleeping = subprocess.Popen(["sleep", "60"])
            try:
                shop.target = shop.target.model_copy(update={"process": ProcessSelector(pid=sleeping.pid)})
                with pytest.raises(ApplicationError, match="runs no CPython"):
                    await shop.work.apply(shop.order(QUIETER))
            finally:
                sleeping.kill()
                sleeping.wait()
        assert program.process.poll() is None
    finally:
        program.end()


@needs("unshare")
async def test_another_namespace_is_refused(tmp_path: Path) -> None:
    """Code is never injected into a process of another container."""
    if os.geteuid():
        pytest.skip("namespaces need root")
    inside = subprocess.Popen(
        ["unshare", "--mount", sys.executable, "-c", "print('in', flush=True)\nwhile True: sum(range(1000))"], stdout=subprocess.PIPE
    )
    try:
        assert inside.stdout is not None and inside.stdout.readline() == b"in\n"
        target = Target(name="gc-apart", kind="process", environment="lab", process=ProcessSelector(pid=inside.pid), allow=("inject",))
        async with bench(tmp_path, target) as shop:
            with pytest.raises(ApplicationError, match="another container") as refused:
                await shop.work.apply(shop.order(QUIETER))
            assert refused.value.type == "NotPermitted"
    finally:
        inside.kill()
        inside.communicate()


async def test_kills_at_any_instant(shop: Bench, program: Program) -> None:
    """kill -9 of the worker while it injects: the program lives on, and its collector is as it was."""

    async def read() -> object:
        return program.tells()

    await killed_at_random(shop, QUIETER, read, kills=KILLS // 2)  # busy and idle
    assert program.process.poll() is None
