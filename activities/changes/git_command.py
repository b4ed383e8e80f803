"""git, asked so that it runs nothing of the repository's own: no hooks, no monitor, no prompt, no network."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from activities.changes.kind import Site
from activities.subprocesses import Tool, run
from activities.tool import ToolRun

LIMIT_S = 120.0
WAY_OUT = "Install git (Debian: git)"
LOCKED_TRIES = 20
"""A git that was stopped with a killed worker may hold a ref for moments."""
_SETTINGS = (
    *("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "gc.auto=0", "-c", "maintenance.auto=false"),
    *("-c", "protocol.allow=never", "-c", "submodule.recurse=false", "-c", "advice.detachedHead=false", "-c", "core.quotePath=true"),
)
_ENVIRONMENT = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", "GIT_NO_REPLACE_OBJECTS": "1"}


async def git(
    site: Site, folder: Path, *words: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None, codes: tuple[int, ...] = (0,)
) -> ToolRun:
    """Run it to its end in `folder`; raises ToolFailed with its words for any other exit code than `codes`."""
    tool = Tool(
        ["git", *_SETTINGS, *words],
        limit_s=LIMIT_S,
        way_out=WAY_OUT,
        environment=_ENVIRONMENT | dict(environment or {}),
        directory=folder,
        stdin=stdin,
        title=f"git {words[0]}",
    )
    for _ in range(LOCKED_TRIES):
        ended = await run(tool, heartbeat=lambda elapsed_s, _: site.heartbeat({"git_s": elapsed_s}))
        if ended.returncode in codes or "lock" not in ended.stderr:
            break
        await asyncio.sleep(0.1)
    return ended.require_success(codes=codes)


async def said(site: Site, folder: Path, *words: str, environment: Mapping[str, str] | None = None, stdin: bytes = b"") -> str:
    """What it prints, without the line's end."""
    return (await git(site, folder, *words, environment=environment, stdin=stdin)).stdout.strip()
