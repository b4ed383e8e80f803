"""ruff, asked for the fixes it knows of one file; nothing is written."""

import json
from typing import Any

from activities.changes.kind import Site
from activities.subprocesses import Tool, bundled, run
from perfwright.analysis.codemods.linter_edits import RULES, LinterEdit, Span

LIMIT_S = 60.0
MOST = 500


async def ruff_edits(site: Site, path: str, source: str) -> tuple[LinterEdit, ...]:
    """Every fix for a rule about performance in the file, with how far ruff itself trusts it.

    Raises ToolMissing, ToolFailed, ToolTimeout.
    """
    words = [
        "check",
        "--isolated",
        "--no-cache",
        "--quiet",
        "--output-format",
        "json",
        "--select",
        ",".join(RULES),
        "--stdin-filename",
        path,
        "-",
    ]
    ended = await run(
        Tool(
            [bundled("ruff"), *words],
            limit_s=LIMIT_S,
            way_out="pip install ruff",
            stdin=source.encode(),
            keep_bytes=8 << 20,
        ),
        heartbeat=lambda elapsed_s, _: site.heartbeat({"ruff_s": elapsed_s}),
    )
    ended.require_success(codes=(0, 1))
    if ended.stdout_dropped_bytes:
        return ()
    diagnostics = json.loads(ended.stdout or "[]")
    return tuple(_edit(one) for one in diagnostics[:MOST] if one.get("fix") and one.get("code"))


def _edit(one: dict[str, Any]) -> LinterEdit:
    return LinterEdit(
        rule=str(one["code"]),
        told=str(one["message"])[:200],
        line=one["location"]["row"],
        last_line=one["end_location"]["row"],
        spans=tuple(
            Span(_place(edit["location"]), _place(edit["end_location"]), str(edit["content"] or "")) for edit in one["fix"]["edits"]
        ),
        applicability=str(one["fix"].get("applicability")),
    )


def _place(at: dict[str, int]) -> tuple[int, int]:
    return at["row"], at["column"]
