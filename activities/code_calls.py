"""Calls of hot functions, recorded in the real run: how often, how often with the same arguments, and the arguments themselves.

The benchmark is run once in the laid-out commit with a recorder on its PYTHONPATH (`call_injection/sitecustomize.py`); the repository and
the target's own process are not touched. The arguments stay on this host, in the worker's folder: they may hold anything.
"""

import asyncio
import json
import os
import pickle
import shutil
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from temporalio import activity

from activities.code_trees import inherited, inside
from activities.subprocesses import Tool, run
from perfwright.models.cpu_optimization import CallsOfFunction, CallsRecorded, CallsToRecord
from perfwright.models.secrets import without_secrets

INJECTED = Path(__file__).parent / "call_injection"
ORDER_VARIABLE = "PERFWRIGHT_CALLS"
KEPT_CALLS = 40
KEPT_BYTES = 64 << 20
DISTINCT = 20_000
SPEND_S = 10.0
"""Seconds of pickling in all."""
SLOWED = 6.0
"""How many times longer the run may take: a recorder looks at every call of any function."""
FILES_READ = 64
"""Processes of the benchmark that are read."""


class CodeCalls:
    """Records calls of functions."""

    def __init__(self, state_folder: Path, environ: Mapping[str, str]) -> None:
        self._state_folder, self._environ = state_folder, environ

    @activity.defn
    async def record_calls(self, order: CallsToRecord) -> CallsRecorded:
        """Run the benchmark once and tell what was called. Errors: ToolMissing, ToolFailed (the benchmark itself fails), ToolTimeout."""
        code = order.code
        folder = Path(f"{code.tree}.calls")
        await asyncio.to_thread(_empty, folder)
        wanted = {
            "functions": [{"path": one.path, "function": one.function, "line": one.line} for one in order.functions],
            "folder": str(folder),
            "keep": KEPT_CALLS,
            "bytes": KEPT_BYTES,
            "distinct": DISTINCT,
            "spend_s": SPEND_S,
        }
        order_file = folder / "order"
        await asyncio.to_thread(order_file.write_text, json.dumps(wanted), encoding="utf-8")
        given = inherited(code.target, self._environ)
        search = os.pathsep.join(one for one in (str(INJECTED), given.get("PYTHONPATH", "")) if one)
        ended = await run(
            Tool(
                code.benchmark,
                limit_s=SLOWED * code.benchmark_limit_s,
                way_out="Name a program that exists on the target's host",
                environment=given
                | {"PYTHONPATH": search, ORDER_VARIABLE: str(order_file), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"},
                directory=inside(Path(code.tree), code.working_directory),
                keep_bytes=64 * 1024,
                output_files=(folder,),
                title="the benchmark",
            ),
            heartbeat=lambda elapsed_s, _: activity.heartbeat({"recording_s": round(elapsed_s, 1)}),
        )
        ended.require_success(way_out="Run the benchmark by hand in a checkout of the commit: it has to end with exit code 0")
        return await asyncio.to_thread(merged, folder, order)


def merged(folder: Path, order: CallsToRecord) -> CallsRecorded:
    """What all processes of the benchmark saw, as one; the arguments in one file beside it."""
    seen: dict[int, dict[str, Any]] = {}
    cases: dict[int, list[bytes]] = defaultdict(list)
    sys_path: list[str] = []
    for file in sorted(folder.glob("*.json"))[:FILES_READ]:
        summary = json.loads(file.read_text(encoding="utf-8"))
        with file.with_suffix(".pickle").open("rb") as kept:
            arguments = pickle.load(kept)  # noqa: S301  # a list of bytes that our own recorder wrote; what is in them is not read here
        sys_path = sys_path or [path for path in summary["sys_path"] if path != str(INJECTED)]
        for number, one in enumerate(summary["functions"]):
            known = seen.setdefault(number, one | {"calls": 0, "plain_calls": 0, "repeated": 0, "distinct": 0})
            for name in ("calls", "plain_calls", "repeated", "distinct"):
                known[name] += one[name]
            known["module"], known["main"] = known["module"] or one["module"], known["main"] or one["main"]
            cases[number] += arguments[number][: KEPT_CALLS - len(cases[number])]
    if not any(one["calls"] for one in seen.values()):
        return CallsRecorded(functions=(), note="the benchmark called none of them in a Python that a recorder can be put into")
    for number, one in seen.items():
        place = f"{one['path']}:{one['line']}"
        (folder / file_of(place)).write_bytes(pickle.dumps(cases[number]))
        (folder / f"{file_of(place)}.where").write_text(
            json.dumps({"module": one["module"], "main": one["main"], "sys_path": sys_path}), encoding="utf-8"
        )
    return CallsRecorded(
        functions=tuple(
            CallsOfFunction(
                path=one["path"],
                function=one["function"],
                line=one["line"],
                calls=one["calls"],
                plain_calls=one["plain_calls"],
                repeated=one["repeated"],
                distinct=one["distinct"],
                kept=len(cases[number]),
                not_kept=without_secrets(one["not_kept"])[:200],
            )
            for number, one in sorted(seen.items())
        ),
        file=str(folder),
    )


def file_of(place: str) -> str:
    """Of the arguments of the function at `path:line`."""
    return "".join(c if c.isalnum() else "-" for c in place)[-180:] + ".cases"


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
