"""The files of a commit, with a patch on it where one is given, laid out in a folder of the worker's.

They are written from git's store of objects by an index of their own: the repository's checkout, index, refs and worktrees are not touched,
so that nothing has to be put back, whatever happens.

A run's own tree stands beside its recorded calls (`NAME.calls`) and its owner (`NAME.owner`) for as long as the run goes on, which may be
weeks; it is looked after a day, and removed where its run is over. Other trees are those of a block, which ends sooner.
"""

import asyncio
import hashlib
import json
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from temporalio import activity
from temporalio.client import RPCError, WorkflowExecutionStatus
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCStatusCode

from activities.changes.git_command import git, said
from activities.changes.kind import Site, refused
from activities.errors import refuse
from perfwright.models.cpu_optimization import CodeBase
from perfwright.models.errors import ErrorType
from perfwright.models.target import Target

FOLDER = "trees"
ABANDONED_AFTER_S = 86_400.0
LOOK_WITHIN = timedelta(seconds=5)
LARGEST_SOURCE = 400_000
"""Characters of a file that is read."""


async def find_commit(target: Target, base: str, site: Site) -> tuple[Path, str]:
    """Top folder of the target's repository, and the commit that `base` names. Raises TargetRefused."""
    named = target.repository
    if named is None or "://" in named or not Path(named).is_absolute() or not await asyncio.to_thread(Path(named).is_dir):
        raise refused(
            target,
            "its code is needed",
            way_out=f'Name the folder of its clone on this host: repository = "/..." in [targets."{target.name}"]',
        )
    try:
        top = await said(site, Path(named), "rev-parse", "--show-toplevel")
        commit = await said(site, Path(top), "rev-parse", "--verify", "--quiet", "--end-of-options", f"{base}^{{commit}}")
    except ApplicationError as trouble:
        raise refused(target, f"no commit {base!r} can be read in {named}: {trouble.message[:300]}") from None
    return Path(top), commit


async def read_source(site: Site, repository: Path, commit: str, path: str) -> str:
    """A file of the commit as text; empty where it is too large or no text."""
    shown = await git(site, repository, "show", "--no-textconv", f"{commit}:{path}")
    return "" if shown.stdout_dropped_bytes or len(shown.stdout) > LARGEST_SOURCE or "\0" in shown.stdout else shown.stdout


async def lay_out(site: Site, repository: Path, commit: str, folder: Path, patch: str = "") -> None:
    """Write the files into `folder`, which is emptied first. Raises ToolFailed where the patch does not apply."""
    index = folder.with_name(f"{folder.name}.index")
    await asyncio.to_thread(_empty, folder, index)
    await _clear_abandoned(folder.parent)
    own = {"GIT_INDEX_FILE": str(index)}
    try:
        await git(site, repository, "read-tree", commit, environment=own)
        if patch:
            await git(site, repository, "apply", "--cached", "--whitespace=nowarn", "-", environment=own, stdin=patch.encode())
        await git(site, repository, "checkout-index", "--all", "--force", f"--prefix={folder}/", environment=own)
    finally:
        await asyncio.to_thread(index.unlink, missing_ok=True)


@asynccontextmanager
async def laid_out(site: Site, repository: Path, commit: str, patch: str, name: str) -> AsyncIterator[Path]:
    """The files for the time of a block."""
    folder = tree_folder(site, f"{name} {commit} {patch}")
    try:
        await lay_out(site, repository, commit, folder, patch)
        yield folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def tree_folder(site: Site, name: str) -> Path:
    """Where the files of that name are laid out; the same in every attempt."""
    return site.state_folder.absolute() / FOLDER / hashlib.sha256(name.encode()).hexdigest()[:16]


def inside(tree: Path, below: str) -> Path:
    """A folder of the tree. Raises InvalidInput where it leads out of it, or is not there."""
    folder = (tree / below).resolve()
    if not folder.is_relative_to(tree.resolve()) or not folder.is_dir():
        raise refuse(ErrorType.INVALID_INPUT, f"working_directory: {below[:200]!r} is no folder of the repository")
    return folder


def inherited(target: Target, environ: Mapping[str, str]) -> dict[str, str]:
    """Variables of the worker's environment that the registry lets the target's commands have."""
    names = target.process.environment_names if target.process else ()
    return {name: environ[name] for name in names if name in environ}


async def own_tree(site: Site, code: CodeBase) -> None:
    """The run's own tree: laid out again where somebody removed it."""
    tree = Path(code.tree)
    if not await asyncio.to_thread(tree.is_dir):
        await lay_out(site, Path(code.repository), code.commit, tree)


async def owned(tree: Path) -> None:
    """Write down which run the tree is laid out for."""
    info = activity.info()
    text = json.dumps({"workflow_id": info.workflow_id, "run_id": info.workflow_run_id})
    await asyncio.to_thread(_owner_of(tree).write_text, text, encoding="utf-8")


def release(tree: Path) -> None:
    """Remove the run's own tree with all that stands beside it."""
    for one in (tree, Path(f"{tree}.calls")):
        shutil.rmtree(one, ignore_errors=True)
    _owner_of(tree).unlink(missing_ok=True)


def _owner_of(tree: Path) -> Path:
    return Path(f"{tree}.owner")


def _empty(folder: Path, index: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    index.unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)


async def _clear_abandoned(root: Path) -> None:
    """Remove what killed workers and terminated runs left here more than a day ago."""
    for one in await asyncio.to_thread(_old, root):
        tree = root / one.name.partition(".")[0]
        if not await _goes_on(_owner_of(tree)):
            await asyncio.to_thread(_remove, one)


def _old(root: Path) -> list[Path]:
    """Owners last, by whom the rest is told."""
    found = []
    for one in root.iterdir():
        try:
            if time.time() - one.stat().st_mtime > ABANDONED_AFTER_S:
                found.append(one)
        except FileNotFoundError:
            continue
    return sorted(found, key=lambda one: one.suffix == ".owner")


async def _goes_on(owner: Path) -> bool:
    """Whether the run is open that the tree was laid out for; what cannot be told counts as open."""
    try:
        named = json.loads(await asyncio.to_thread(owner.read_text, encoding="utf-8"))
        handle = activity.client().get_workflow_handle(named["workflow_id"], run_id=named["run_id"])
    except FileNotFoundError:
        return False
    except RuntimeError:  # no worker runs this
        return True
    try:
        return (await handle.describe(rpc_timeout=LOOK_WITHIN)).status in (None, WorkflowExecutionStatus.RUNNING)
    except RPCError as trouble:
        return trouble.status != RPCStatusCode.NOT_FOUND


def _remove(one: Path) -> None:
    if one.is_dir():
        shutil.rmtree(one, ignore_errors=True)
    else:
        one.unlink(missing_ok=True)
