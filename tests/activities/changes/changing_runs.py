"""Changes on real targets: carried out in this process, or in a child that is killed at an instant that a seed decides."""

import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from activities.changes.carrying_out import CarryingOut
from activities.changes.kind import Site
from activities.history import History
from activities.undo_records import UndoRecords
from lab.starting import ROOT
from perfwright.models.change import ChangeSpec
from perfwright.models.target import Target
from perfwright.models.undo import ChangeOrder, UndoRecord
from tests import preloaded

KILLS = int(os.environ.get("PERFWRIGHT_TEST_KILLS", "10"))
"""For each kind: half of them while it is applied, half while it is undone. 30 and more for a thorough look."""
SEED = int(os.environ.get("PERFWRIGHT_TEST_SEED", "11"))


class Worker:
    """What carries orders out in processes of its own (`changing_worker.py`)."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        assert sys.__stderr__
        reads, writes = os.pipe()
        self.orders = os.fdopen(writes, "w")
        module = "tests.activities.changes.changing_worker"
        with os.fdopen(reads, "rb") as orders:
            self.process = preloaded.start(module, [str(folder)], os.environ | environ, ROOT, stdin=orders, stderr=sys.__stderr__.buffer)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.orders.close()


class Bench:
    """One target, its records, and what carries changes out."""

    def __init__(self, folder: Path, target: Target, history: History, environ: dict[str, str]) -> None:
        self.folder, self.target, self.environ = folder, target, environ
        self.worker: Worker | None = None
        self.records = UndoRecords(history)
        self.site = Site(environ, folder / "state")
        self.work = CarryingOut(self.records, self.site)

    def order(self, spec: ChangeSpec, change_id: str = "") -> ChangeOrder:
        return ChangeOrder(change_id=change_id or f"run-{uuid4().hex[:8]}/1", target=self.target, spec=spec)

    async def record(self, order: ChangeOrder) -> UndoRecord | None:
        return await self.records.find(order.change_id)

    def start(self, doing: str, order: ChangeOrder) -> int:
        """A process that begins with it; its pid."""
        file = self.folder / "order.json"
        file.write_text(order.model_dump_json())
        if self.worker is None:
            self.worker = Worker(self.folder, self.environ)
        self.worker.orders.write(f"{doing} {file}\n")
        self.worker.orders.flush()
        return int(self.heard().removeprefix("pid "))

    def heard(self) -> str:
        assert self.worker is not None
        line = self.worker.process.stdout.readline().strip()
        assert line, "the worker has ended"
        return line

    def carried_out(self, doing: str, order: ChangeOrder) -> float:
        """To its end, in a process of its own; how long it took, in seconds."""
        self.start(doing, order)
        began = time.monotonic()
        assert (told := self.heard()) == "done", told
        assert self.heard() == "ended 0"
        return time.monotonic() - began

    def killed(self, doing: str, order: ChangeOrder, after_s: float) -> bool:
        """Killed after so long; whether it had come to its end before."""
        pid = self.start(doing, order)
        time.sleep(after_s)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        told = self.heard()
        if ended := not told.startswith("ended"):
            self.heard()
        return ended

    def close(self) -> None:
        if self.worker is not None:
            self.worker.close()


@asynccontextmanager
async def bench(folder: Path, target: Target, environ: dict[str, str] | None = None) -> AsyncIterator[Bench]:
    history = await History.open(f"sqlite+aiosqlite:///{folder}/history.db")
    opened = Bench(folder, target, history, environ or {})
    try:
        yield opened
    finally:
        opened.close()
        await history.close()


async def killed_at_random(bench: Bench, spec: ChangeSpec, read: Callable[[], Awaitable[Any]], kills: int = KILLS) -> None:
    """Kill the child at instants all over an attempt; the undo then leads back to what `read` reads of the target itself, every time.

    Every second killed `apply` is tried again first, and leads to applied-and-known.
    """
    chance = random.Random(SEED)
    before = await read()
    trial = bench.order(spec)
    lasts_s = {"apply": bench.carried_out("apply", trial)}
    assert await read() != before
    lasts_s["revert"] = bench.carried_out("revert", trial)
    assert await read() == before
    cut_short = 0
    for number in range(kills):
        doing = ("apply", "revert")[number % 2]
        order = bench.order(spec)
        if doing == "revert":
            await bench.work.apply(order)
            assert await read() != before
        cut_short += not bench.killed(doing, order, chance.uniform(0, 1.05 * lasts_s[doing]))
        record = await bench.record(order)
        if doing == "apply" and number % 4 == 2:
            outcome = await bench.work.apply(order)
            assert outcome.state == "applied" and await read() != before
            record = await bench.record(order)
        if record is None:
            assert doing == "apply" and await read() == before, "without a record nothing was done"
            continue
        outcome = await bench.work.revert(order.change_id)
        assert outcome.state == "reverted", outcome
        assert await read() == before, f"kill {number} of {doing}"
    assert cut_short, "no kill came in time"
