"""Both sides of a command: where and how it is run as it is, and as it is changed.

    patch     the trees of the base commit and of that of the change, laid out beside each other under paths of the same length
    command   the same folder, with the flags and variables that stand without the change, and with it

The repository is not touched: the files are written from git's store of objects. Nor is the worktree of the change, which is for people:
what they put there is told from what running the code leaves behind.
"""

import asyncio
import hashlib
import os
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from activities.changes.git_command import git
from activities.changes.kind import NotAllowed, Site, refused
from activities.changes.launches import changed_by, launched_as
from activities.changes.patches import FOLDER, base_of
from activities.errors import refuse
from perfwright.models.change import LaunchSpec, PatchSpec
from perfwright.models.errors import ErrorType
from perfwright.models.target import Target
from perfwright.models.trial import Side
from perfwright.models.trial_run import MeasuringOrder
from perfwright.models.undo import ChangeOrder, UndoRecord
from perfwright.models.undo_data import LaunchUndo, PatchUndo

ABANDONED_AFTER_S = 86_400.0
TOUCHED_EVERY_S = 3_600.0


@dataclass(frozen=True)
class CommandSide:
    """One side's command."""

    argv: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str]


Sides = dict[Side, CommandSide]


@asynccontextmanager
async def opened_sides(
    order: MeasuringOrder, record: UndoRecord | None, site: Site, command: tuple[str, ...], working_directory: str
) -> AsyncIterator[Sides]:
    """Both sides for a block; without a record both are as it is. Raises TargetRefused where this kind of change has no two sides."""
    spec, target = order.request.change, order.request.target
    environment = _inherited(target, site)
    if isinstance(spec, PatchSpec):
        undo = record.undo if record is not None and isinstance(record.undo, PatchUndo) else None
        repository, base = (Path(undo.repository), undo.base) if undo is not None else await _base(target, spec, site)
        async with AsyncExitStack() as laid_out:
            a = b = await laid_out.enter_async_context(_tree(order, repository, base, "side-a", site))
            if undo is not None:
                b = await laid_out.enter_async_context(_tree(order, repository, undo.commit, "side-b", site))
            side = CommandSide(command, _inside(a, working_directory), environment)
            yield {"A": side, "B": replace(side, directory=_inside(b, working_directory))}
    elif isinstance(spec, LaunchSpec):
        folder = Path(working_directory or (target.process.working_directory if target.process else None) or ".")
        if record is not None and isinstance(record.undo, LaunchUndo):
            before = changed_by(record.undo.before, target.name, command, environment)
            after = changed_by(record.undo.after, target.name, command, environment)
        else:
            before = after = launched_as(site.state_folder, target.name, command, environment)
        yield {"A": CommandSide(before[0], folder, before[1]), "B": CommandSide(after[0], folder, after[1])}
    else:
        raise refused(
            target,
            f'a change of kind "{spec.kind}" has no two sides that are started beside each other',
            way_out='Measure it as "switched", "service" or "queries"',
        )


async def _base(target: Target, spec: PatchSpec, site: Site) -> tuple[Path, str]:
    """The repository, and the commit that the change is on top of."""
    try:
        return await base_of(ChangeOrder(change_id="trial", target=target, spec=spec), site)
    except NotAllowed as problem:
        raise refused(target, problem.check.told) from None


@asynccontextmanager
async def _tree(order: MeasuringOrder, repository: Path, commit: str, name: str, site: Site) -> AsyncIterator[Path]:
    """The files of a commit, in a folder of their own for the block."""
    root = site.state_folder.absolute() / FOLDER
    mark = hashlib.sha256(f"{order.request.artifact_prefix} {order.phase} {order.change_id} {commit}".encode()).hexdigest()[:16]
    folder, index = root / f"{name}-{mark}", root / f"index-{mark}"
    await asyncio.to_thread(_clear, root, folder, index)
    try:
        own_index = {"GIT_INDEX_FILE": str(index)}
        await git(site, repository, "read-tree", commit, environment=own_index)
        await git(site, repository, "checkout-index", "--all", "--force", f"--prefix={folder}/", environment=own_index)
        async with _in_use(folder):
            yield folder
    finally:
        await asyncio.to_thread(_clear, root, folder, index)


@asynccontextmanager
async def _in_use(folder: Path) -> AsyncIterator[None]:
    """A watch takes weeks: the folder stays young meanwhile, so that no other trial clears it away."""

    async def touch() -> None:
        while True:
            await asyncio.sleep(TOUCHED_EVERY_S)
            with suppress(OSError):
                await asyncio.to_thread(os.utime, folder)

    touching = asyncio.create_task(touch())
    try:
        yield
    finally:
        touching.cancel()


def _clear(root: Path, folder: Path, index: Path) -> None:
    """Also what killed workers left here more than a day ago."""
    root.mkdir(parents=True, exist_ok=True)
    for one in (folder, index, *(old for kind in ("side-*", "index-*") for old in root.glob(kind) if _is_old(old))):
        if one.is_dir():
            shutil.rmtree(one, ignore_errors=True)
        else:
            one.unlink(missing_ok=True)


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > ABANDONED_AFTER_S
    except FileNotFoundError:
        return False


def _inside(folder: Path, below: str) -> Path:
    inner = folder / below
    if not inner.resolve().is_relative_to(folder.resolve()):
        raise refuse(ErrorType.INVALID_INPUT, f"working_directory: {below[:200]!r} leads out of the worktree")
    return inner


def _inherited(target: Target, site: Site) -> dict[str, str]:
    """Variables of the worker's environment that the target's command is given."""
    names = target.process.environment_names if target.process else ()
    if missing := [name for name in names if name not in site.environ]:
        raise refuse(
            ErrorType.INVALID_INPUT,
            f"environment_names: not set in the worker's environment: {', '.join(missing)}",
            way_out="Set them where the host worker is started",
        )
    return {name: site.environ[name] for name in names}
