"""The files of a commit, with a patch on it where one is given, laid out in a folder of the worker's.

They are written from git's store of objects by an index of their own: the repository's checkout, index, refs and worktrees are not touched,
so that nothing has to be put back, whatever happens.
"""

import asyncio
import hashlib
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from temporalio.exceptions import ApplicationError

from activities.changes.git_command import git, said
from activities.changes.kind import Site, refused
from activities.errors import refuse
from perfwright.models.errors import ErrorType
from perfwright.models.target import Target

FOLDER = "trees"
ABANDONED_AFTER_S = 86_400.0
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
    await asyncio.to_thread(_clear, folder, index)
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


def _clear(folder: Path, index: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    index.unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)
    for other in folder.parent.iterdir():
        try:
            abandoned = time.time() - other.stat().st_mtime > ABANDONED_AFTER_S
        except FileNotFoundError:
            continue
        if abandoned and other.is_dir():
            shutil.rmtree(other, ignore_errors=True)
        elif abandoned:
            other.unlink(missing_ok=True)
