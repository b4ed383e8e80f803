"""Carries changes out, or undoes them, each in a process that can be killed: `tests.activities.changes.changing_worker FOLDER` of preloaded.py.

Everything is imported once; for each line `DOING ORDER_FILE` on stdin a process is forked. It says `pid N` and begins; at its end `done`,
or `error ...`; then `ended STATUS` is said of it. Connection strings are in the environment.
"""

import asyncio
import os
import sys
from pathlib import Path

from temporalio.exceptions import ApplicationError

from activities.changes.carrying_out import CarryingOut
from activities.changes.kind import Site
from activities.history import History
from activities.undo_records import UndoRecords
from perfwright.models.undo import ChangeOrder


async def carry_out(doing: str, folder: Path, file: Path) -> str:
    order = ChangeOrder.model_validate_json(file.read_text())
    history = await History.open(f"sqlite+aiosqlite:///{folder}/history.db")
    work = CarryingOut(UndoRecords(history), Site(os.environ, folder / "state"))
    try:
        await (work.apply(order) if doing == "apply" else work.revert(order.change_id))
    except ApplicationError as error:
        return f"error {error.type} {error.message}"
    await history.close()
    return "done"


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def main() -> None:
    folder = Path(sys.argv[1])
    for line in sys.stdin:
        doing, file = line.split()
        if not (pid := os.fork()):
            say(f"pid {os.getpid()}")
            say(asyncio.run(carry_out(doing, folder, Path(file))))
            os._exit(0)
        say(f"ended {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}")


if __name__ == "__main__":
    main()
