"""A command of the team's own that makes a change: a code-mod tool, a coding agent. It gets a brief and a worktree, and leaves commits.

The repository's checkout, index and branches are left alone: the worktree is detached, and removed when the command has ended. Its
commits stay in git's store of objects, where the trial finds them. What the command does besides is its own affair: it runs with the
worker's rights, and has the variables that the registry names.
"""

import asyncio
import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.changes.git_command import git, said
from activities.changes.kind import Site
from activities.changes.patches import FOLDER
from activities.errors import refuse
from activities.heartbeats import beating
from activities.subprocesses import Tool, run
from perfwright.models.change import PatchSpec
from perfwright.models.errors import ErrorType
from perfwright.models.secrets import without_secrets
from perfwright.models.submission import BRIEF_CHARACTERS, ChangeCommandOrder, ProducedChange

SHORTEST_SECRET = 4
TAIL_CHARACTERS = 2_000
WORKTREE_BYTES = 4 << 30
MOST_COMMITS = 100


class ChangeCommands:
    """Runs `change_command` of a target on its host."""

    def __init__(self, environ: Mapping[str, str], state_folder: Path) -> None:
        self._environ, self._state_folder = environ, state_folder

    @activity.defn
    async def produce_change(self, order: ChangeCommandOrder) -> ProducedChange:
        """What the command committed. Begun anew when it was interrupted.

        Raises InvalidInput (no command, no clone, a brief that is too long, a variable that is not set), ToolMissing, ToolFailed (it ended
        with an error, left nothing, or left what is not committed), ToolTimeout, OutputTooLarge.
        """
        brief = order.brief.model_dump_json()
        if len(brief) > BRIEF_CHARACTERS:
            raise refuse(ErrorType.INVALID_INPUT, f"the brief has {len(brief):,} characters; {BRIEF_CHARACTERS:,} are allowed")
        inherited = self._inherited(order)
        site = Site(self._environ, self._state_folder)
        repository = await _repository(order, site)
        base = await _commit(order, site, repository)
        info = activity.info()
        mark = hashlib.sha256(f"{info.workflow_run_id} {info.activity_id}".encode()).hexdigest()[:16]
        worktree = self._state_folder.absolute() / FOLDER / f"making-{mark}"
        async with beating(lambda: {"doing": "the change command"}):
            await _remove(site, repository, worktree)
            try:
                await asyncio.to_thread(worktree.parent.mkdir, parents=True, exist_ok=True)
                await git(site, repository, "worktree", "add", "--quiet", "--detach", str(worktree), base)
                return await self._made(order, site, worktree, base, brief, inherited)
            finally:
                await _remove(site, repository, worktree)

    async def _made(
        self, order: ChangeCommandOrder, site: Site, worktree: Path, base: str, brief: str, inherited: Mapping[str, str]
    ) -> ProducedChange:
        assert order.target.change_command is not None, "checked before"
        tool = Tool(
            order.target.change_command,
            limit_s=order.limit_s,
            way_out=f'name a program that exists on host {order.target.host}: change_command of [targets."{order.target.name}"]',
            environment=inherited,
            directory=worktree,
            stdin=brief.encode(),
            keep_bytes=64 * 1024,
            output_files=(worktree,),
            output_limit_bytes=WORKTREE_BYTES,
            title="the change command",
        )
        try:
            ended = (await run(tool)).require_success(way_out="Run it by hand in a clone, with a brief on its standard input")
        except ApplicationError as trouble:
            raise ApplicationError(_shown(trouble.message, inherited), type=trouble.type, non_retryable=trouble.non_retryable) from None
        tip = await said(site, worktree, "rev-parse", "HEAD")
        tail = _shown((ended.stdout.strip() or ended.stderr.strip())[-TAIL_CHARACTERS:], inherited)
        if tip == base:
            left = await said(site, worktree, "status", "--porcelain")
            told = "left changes that are not committed" if left else "left nothing"
            raise refuse(ErrorType.TOOL_FAILED, f"the change command {told}: {tail[-300:]}", way_out="It commits what it wants to be tried")
        if (await git(site, worktree, "merge-base", "--is-ancestor", base, tip, codes=(0, 1))).returncode:
            raise refuse(ErrorType.TOOL_FAILED, f"the change command left {tip[:12]}, which does not follow {base[:12]}")
        commits = int(await said(site, worktree, "rev-list", "--count", f"{base}..{tip}"))
        if commits > MOST_COMMITS:
            raise refuse(ErrorType.OUTPUT_TOO_LARGE, f"the change command left {commits} commits; {MOST_COMMITS} are taken")
        return ProducedChange(spec=PatchSpec(ref=tip, base=base), commits=commits, seconds=ended.wall_s, output_tail=tail)

    def _inherited(self, order: ChangeCommandOrder) -> dict[str, str]:
        target = order.target
        if target.change_command is None:
            raise refuse(
                ErrorType.INVALID_INPUT,
                f"{target.name} has no command that makes changes",
                way_out=f'Give change_command = [...] in [targets."{target.name}"], or submit a change with `perfwright submit`',
            )
        if missing := [name for name in target.change_environment_names if name not in self._environ]:
            told = f"change_environment_names: not set in the worker's environment: {', '.join(missing)}"
            raise refuse(ErrorType.INVALID_INPUT, told, way_out="Set them where the host worker is started")
        return {name: self._environ[name] for name in target.change_environment_names}


async def _repository(order: ChangeCommandOrder, site: Site) -> Path:
    named = order.target.repository
    if named is None or "://" in named or not await asyncio.to_thread(Path(named).is_dir):
        told = f'{order.target.name}: name the folder of its clone on this host: repository = "/..." in [targets."{order.target.name}"]'
        raise refuse(ErrorType.INVALID_INPUT, told)
    return Path(await said(site, Path(named), "rev-parse", "--show-toplevel"))


async def _commit(order: ChangeCommandOrder, site: Site, repository: Path) -> str:
    try:
        return await said(site, repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{order.base}^{{commit}}")
    except ApplicationError:
        raise refuse(ErrorType.INVALID_INPUT, f"base: there is no commit {order.base!r} in {repository}") from None


async def _remove(site: Site, repository: Path, worktree: Path) -> None:
    """With git's notes of it; also of an attempt that was killed."""
    if await asyncio.to_thread(worktree.exists):
        await git(site, repository, "worktree", "remove", "--force", "--force", str(worktree), codes=(0, 128))
        await asyncio.to_thread(shutil.rmtree, worktree, ignore_errors=True)
        await git(site, repository, "worktree", "prune")


def _shown(text: str, inherited: Mapping[str, str]) -> str:
    """Without the values that it inherited and without passwords in URLs: it is kept in the run's history."""
    for value in sorted(inherited.values(), key=len, reverse=True):
        if len(value) >= SHORTEST_SECRET:
            text = text.replace(value, "***")
    return without_secrets(text)
