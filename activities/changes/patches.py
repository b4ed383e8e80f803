"""A git patch or ref on a branch and in a worktree of its own. The repository's checkout, index and other refs are left alone.

The commit is made before anything can be seen of it: its author, dates and content follow from the base and the patch, so the record
names it, and branch and worktree are set and removed by comparing with it.
"""

import asyncio
import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

from temporalio.exceptions import ApplicationError

from activities.changes.git_command import git, said
from activities.changes.kind import NotAllowed, Prepared, Site, only, passed
from activities.errors import refuse
from perfwright.analysis.changes.file_edits import patch_looks_secret
from perfwright.analysis.changes.tree_changes import parse_raw, refusal
from perfwright.models.change import Change, PatchSpec
from perfwright.models.errors import ErrorType
from perfwright.models.target import Operation
from perfwright.models.undo import UNDO_BEGUN, ChangeCheck, ChangeDescription, ChangeOrder, Standing, UndoRecord
from perfwright.models.undo_data import PatchUndo

FOLDER, BRANCHES = "worktrees", "perfwright"
SHOWN_CHARACTERS = 30_000
NOTHING = "0" * 40
_MADE_BY_TOOLS = [
    f"--exclude={name}" for name in ("__pycache__/", "*.pyc", ".pytest_cache/", ".mypy_cache/", ".ruff_cache/", ".hypothesis/")
]
"""What running the code leaves behind and nobody misses."""


@dataclass(frozen=True)
class _Made:
    repository: Path
    base: str
    commit: str
    tree: str
    paths: tuple[str, ...]


class Patches:
    """Commits a patch aside."""

    spec: ClassVar = PatchSpec
    operation: ClassVar[Operation | None] = None  # nothing of the repository's own state changes
    looks_itself: ClassVar[bool] = False

    async def describe(self, order: ChangeOrder, site: Site) -> ChangeDescription:
        made = await _made(order, site)
        diff = await said(site, made.repository, "diff", "--no-ext-diff", "--no-textconv", made.base, made.commit)
        if len(diff) > SHOWN_CHARACTERS:
            diff = f"{diff[:SHOWN_CHARACTERS]}\n... ({len(diff):,} characters in all; `git show {made.commit}`)"
        branch, worktree = _places(order.change_id, site)
        return ChangeDescription(
            change=Change(
                kind="patch",
                title=f"Change {', '.join(made.paths[:3])}" + (f" and {len(made.paths) - 3} more" if len(made.paths) > 3 else ""),
                apply=f"commit {made.commit} on {made.base[:12]}:\n{diff}",
                undo=f"its worktree removed if nobody put anything there, its branch deleted if that is still at {made.commit[:12]}",
                risk="observe",
                undo_cost="seconds",
                spec=only(order.spec, PatchSpec),
            ),
            blast_radius=f"a branch {branch} and a worktree {worktree} of their own; the checkout in {made.repository} is left alone",
            cost="disk for one checkout",
            survives_restart=True,
        )

    async def check(self, order: ChangeOrder, site: Site) -> tuple[ChangeCheck, ...]:
        made = await _made(order, site)
        return (passed("patch", f"{len(made.paths)} files"),)

    async def prepare(self, order: ChangeOrder, site: Site) -> Prepared:
        made = await _made(order, site)
        branch, worktree = _places(order.change_id, site)
        undo = PatchUndo(
            repository=str(made.repository), base=made.base, commit=made.commit, tree=made.tree, branch=branch, worktree=str(worktree)
        )
        return Prepared(f"branch {branch}", f"Change {', '.join(made.paths[:3])}", undo)

    async def apply(self, record: UndoRecord, site: Site) -> None:
        undo = only(record.undo, PatchUndo)
        repository, worktree = Path(undo.repository), Path(undo.worktree)
        if await _tip(undo, site) == "":
            await git(site, repository, "update-ref", f"refs/heads/{undo.branch}", undo.commit, NOTHING)
        if await self._is_whole(undo, site):
            return
        await self._remove_worktree(undo, site)
        await asyncio.to_thread(worktree.parent.mkdir, parents=True, exist_ok=True)
        await git(site, repository, "worktree", "add", "--quiet", str(worktree), undo.branch)

    async def look(self, record: UndoRecord, site: Site) -> Standing:
        undo = only(record.undo, PatchUndo)
        try:
            tip = await _tip(undo, site)
        except ApplicationError as trouble:
            if _is_there(undo.repository):
                raise
            if not _is_there(Path(undo.repository).parent):  # a volume that is not mounted just now, or another machine: not the end of it
                told = f"neither {undo.repository} nor the folder that it was in is there"
                raise refuse(ErrorType.TOOL_FAILED, told, way_out="Mount it; `--leave` gives the change up", retryable=True) from None
            return Standing(word="gone", told=f"the repository {undo.repository} is not there: {trouble.message[:200]}")
        if tip not in ("", undo.commit):
            return Standing(word="foreign", told=f"branch {undo.branch} was moved to {tip[:12]}: somebody committed on it")
        was_kept = record.state == "kept" or record.note == UNDO_BEGUN
        if was_kept and (where := await _contained_in(record, site)):
            return Standing(word="foreign", told=f"its commit {undo.commit[:12]} is in {where}: revert it there")
        admin = await self._admin_folders(undo, site)
        if not admin and not _is_there(undo.worktree) and not _is_there(_aside(undo)):
            if tip and (folder := await _checked_out(undo, site)):
                return Standing(word="foreign", told=f"branch {undo.branch} is checked out in {folder}: somebody works on it")
            if tip and record.state == "kept":
                return Standing(word="changed", told=f"branch {undo.branch} is at {tip[:12]}")
            return Standing(word="partial" if tip else "before")
        if await self._is_whole(undo, site):
            worktree = Path(undo.worktree)
            if changed := await said(site, worktree, "status", "--porcelain", "--untracked-files=no"):
                return Standing(word="foreign", told=f"files were edited in {worktree}: {' '.join(changed.split())[:200]}")
            if new := await said(site, worktree, "ls-files", "--others", "--exclude-standard", *_MADE_BY_TOOLS):
                return Standing(word="foreign", told=f"files were put into {worktree}: {' '.join(new.splitlines())[:200]}")
            head = await said(site, worktree, "rev-parse", "HEAD")
            if head != undo.commit:
                return Standing(word="foreign", told=f"{worktree} was moved to {head[:12]}")
            return Standing(word="changed" if tip else "partial", told=f"{undo.commit[:12]} in {worktree}")
        return Standing(word="partial", told="a worktree that is not complete")

    async def revert(self, record: UndoRecord, site: Site) -> None:
        undo = only(record.undo, PatchUndo)
        await self._remove_worktree(undo, site)
        if await _tip(undo, site):
            await git(site, Path(undo.repository), "update-ref", "-d", f"refs/heads/{undo.branch}", undo.commit)

    async def tidy_kept(self, record: UndoRecord, site: Site) -> None:
        """The branch is what is kept. Its worktree takes the room of a checkout, and keeps people from checking the branch out."""
        await self._remove_worktree(only(record.undo, PatchUndo), site)

    async def _is_whole(self, undo: PatchUndo, site: Site) -> bool:
        """git marks a worktree as locked (`initializing`) until all is checked out."""
        folders = await self._admin_folders(undo, site)
        if not _is_there(f"{undo.worktree}/.git") or len(folders) != 1:
            return False
        [folder] = folders
        return _is_there(folder / "index") and not _is_there(folder / "locked") and not _is_there(folder / "index.lock")

    async def _remove_worktree(self, undo: PatchUndo, site: Site) -> None:
        """First aside, by one rename, so that a half removed one is not taken for an edited one."""
        folders = await self._admin_folders(undo, site)
        await asyncio.to_thread(_remove, Path(undo.worktree), _aside(undo), folders)

    async def _admin_folders(self, undo: PatchUndo, site: Site) -> list[Path]:
        """Where git keeps what it knows of our worktree: its name is ours alone."""
        common = await said(site, Path(undo.repository), "rev-parse", "--path-format=absolute", "--git-common-dir")
        name = Path(undo.worktree).name
        return [one for one in _inside(Path(common, "worktrees")) if re.fullmatch(rf"{re.escape(name)}\d*", one.name)]


async def base_of(order: ChangeOrder, site: Site) -> tuple[Path, str]:
    """The repository, and the commit that the change is on top of. Raises NotAllowed."""
    made = await _made(order, site)
    return made.repository, made.base


async def _made(order: ChangeOrder, site: Site) -> _Made:
    """The commit, in the repository's store of objects and nowhere else. Raises NotAllowed."""
    spec = only(order.spec, PatchSpec)
    repository = await _repository(order, site)
    base = await _commit(site, repository, spec.base, "base")
    if spec.ref is not None:
        commit = await _commit(site, repository, spec.ref, "ref")
        merge = await git(site, repository, "merge-base", base, commit, codes=(0, 1))
        base = merge.stdout.strip()
        if not base:
            raise NotAllowed("patch", f"{spec.ref} has no history in common with {spec.base}")
    else:
        if patch_looks_secret(spec.patch):
            raise NotAllowed("patch", "a line that changes looks like it holds a password or token, and changes are recorded: give a ref")
        commit = await _committed(site, repository, base, spec)
    tree = await said(site, repository, "rev-parse", f"{commit}^{{tree}}")
    listed = await git(site, repository, "diff-tree", "-r", "--raw", "-z", "--no-renames", base, commit)
    if listed.stdout_dropped_bytes:
        raise NotAllowed("patch", "it changes too many files")
    changed = parse_raw(listed.stdout)
    if reason := refusal(changed):
        raise NotAllowed("patch", reason)
    return _Made(repository, base, commit, tree, tuple(one.path for one in changed))


async def _repository(order: ChangeOrder, site: Site) -> Path:
    named = order.target.repository
    if named is None or "://" in named or not Path(named).is_absolute():
        raise NotAllowed("repository", f'name the folder of its clone on this host: repository = "/..." in [targets."{order.target.name}"]')
    if not _is_there(named):
        raise NotAllowed("repository", f"{named} is no folder on this host")
    try:
        top = await said(site, Path(named), "rev-parse", "--show-toplevel")
    except ApplicationError as trouble:
        raise NotAllowed("repository", f"{named} cannot be used: {trouble.message[:400]}") from None
    return Path(top)


async def _commit(site: Site, repository: Path, revision: str, field: str) -> str:
    try:
        return await said(site, repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except ApplicationError:
        raise NotAllowed("patch", f"{field}: there is no commit {revision!r} in {repository}") from None


async def _committed(site: Site, repository: Path, base: str, spec: PatchSpec) -> str:
    """The patch as a commit, by way of an index of its own."""
    when = await said(site, repository, "show", "--no-patch", "--format=%ct +0000", base)
    site.state_folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=site.state_folder, prefix="index-") as folder:
        index = {"GIT_INDEX_FILE": f"{folder}/index"}
        await git(site, repository, "read-tree", base, environment=index)
        patch = spec.patch if spec.patch.endswith("\n") else f"{spec.patch}\n"
        try:
            await git(site, repository, "apply", "--cached", "--whitespace=nowarn", "-", environment=index, stdin=patch.encode())
        except ApplicationError as trouble:
            raise NotAllowed("patch", f"it does not apply to {base[:12]}: {trouble.message[:600]}") from None
        tree = await said(site, repository, "write-tree", environment=index)
    who = {f"GIT_{role}_{field}": value for role in ("AUTHOR", "COMMITTER") for field, value in _identity(when).items()}
    message = spec.message.strip() or "Perfwright: a change to be measured"
    return await said(site, repository, "commit-tree", "--no-gpg-sign", tree, "-p", base, environment=who, stdin=message.encode())


def _identity(when: str) -> dict[str, str]:
    return {"NAME": "Perfwright", "EMAIL": "perfwright@localhost", "DATE": when}


async def _tip(undo: PatchUndo, site: Site) -> str:
    """Where the branch is; empty: there is none."""
    words = ("rev-parse", "--verify", "--quiet", f"refs/heads/{undo.branch}")
    return (await git(site, Path(undo.repository), *words, codes=(0, 1))).stdout.strip()


async def _contained_in(record: UndoRecord, site: Site) -> str:
    """A branch that somebody merged the commit into; empty: none of this clone. Its submitter's own branch has it anyway."""
    undo, ref = only(record.undo, PatchUndo), only(record.spec, PatchSpec).ref
    words = ("for-each-ref", "--count=20", "--format=%(refname:short)", f"--contains={undo.commit}", "refs/heads", "refs/remotes")
    names = (await git(site, Path(undo.repository), *words, codes=(0, 129))).stdout.split()
    others = [name for name in names if f"{BRANCHES}/" not in name]
    return next((name for name in others if ref is None or (name != ref and not name.endswith(f"/{ref}"))), "")


async def _checked_out(undo: PatchUndo, site: Site) -> str:
    """The folder where somebody has the branch checked out; empty: none."""
    folder = ""
    for line in (await said(site, Path(undo.repository), "worktree", "list", "--porcelain")).splitlines():
        key, _, value = line.partition(" ")
        if key == "worktree":
            folder = value
        elif key == "branch" and value == f"refs/heads/{undo.branch}":
            return folder
    return ""


def _places(change_id: str, site: Site) -> tuple[str, Path]:
    mark = hashlib.sha256(change_id.encode()).hexdigest()[:16]
    return f"{BRANCHES}/{mark}", site.state_folder.absolute() / FOLDER / f"change-{mark}"


def _inside(folder: Path) -> list[Path]:
    return [*folder.iterdir()] if folder.is_dir() else []


def _is_there(path: str | Path) -> bool:
    return Path(path).exists()


def _remove(worktree: Path, aside: Path, admin_folders: list[Path]) -> None:
    shutil.rmtree(aside, ignore_errors=True)
    if worktree.exists():
        worktree.rename(aside)
    for folder in admin_folders:
        shutil.rmtree(folder)
        if not any(folder.parent.iterdir()):
            folder.parent.rmdir()
    if aside.exists():
        shutil.rmtree(aside)


def _aside(undo: PatchUndo) -> Path:
    return Path(f"{undo.worktree}.removed")
