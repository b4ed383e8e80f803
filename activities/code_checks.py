"""Is a changed tree still right? Its syntax, the project's own tests, and recorded calls made again in the old and the new code."""

import ast
import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

from temporalio import activity

from activities.calls_again import TOLD_CHARACTERS, call_again
from activities.changes.kind import Site
from activities.code_candidates import activity_heartbeat
from activities.code_trees import inherited, inside, laid_out
from activities.subprocesses import Tool, run
from perfwright.analysis.differential import check_problem
from perfwright.models.cpu_optimization import Checked, CheckOrder, CodeBase, ProjectTests
from perfwright.models.secrets import without_secrets


class CodeChecks:
    """Checks of a tree; the repository is not touched."""

    def __init__(self, state_folder: Path, environ: Mapping[str, str]) -> None:
        self._site = Site(environ, state_folder, activity_heartbeat)

    @activity.defn
    async def check_code(self, order: CheckOrder) -> Checked:
        """Lay the tip out with the patch on it, and check it: the cheapest check first, up to the first that does not pass.

        Errors: ToolMissing, ToolFailed (a patch that does not apply).
        """
        code = order.code
        async with laid_out(self._site, Path(code.repository), order.tip, order.patch, f"{code.prefix} check") as tree:
            if (
                order.candidate is not None
                and order.candidate.path.endswith(".py")
                and (wrong := await asyncio.to_thread(_syntax, tree / order.candidate.path))
            ):
                return Checked(syntax=False, problem=wrong)
            tests = await self._run_tests(code, tree)
            checked = Checked(tests=tests)
            if tests.passed and order.candidate is not None:
                checked = Checked(tests=tests, differential=await call_again(self._site, order, tree))
            return checked.model_copy(update={"problem": check_problem(checked, candidate=order.candidate is not None)})

    async def _run_tests(self, code: CodeBase, tree: Path) -> ProjectTests:
        began = time.monotonic()
        ended = await run(
            Tool(
                code.tests,
                limit_s=code.tests_limit_s,
                way_out="Name a program that exists on the target's host",
                environment=inherited(code.target, self._site.environ) | {"PYTHONDONTWRITEBYTECODE": "1"},
                directory=inside(tree, code.working_directory),
                keep_bytes=64 * 1024,
                title="the tests",
            ),
            heartbeat=lambda elapsed_s, _: activity.heartbeat({"tests_s": round(elapsed_s, 1)}),
        )
        passed = ended.returncode == 0 and not ended.timed_out
        said = ended.stdout.strip()[-TOLD_CHARACTERS:] or ended.stderr.strip()[-TOLD_CHARACTERS:]
        told = "they were stopped at their limit" if ended.timed_out else f"exit code {ended.returncode}: {without_secrets(said)}"
        return ProjectTests(passed=passed, seconds=round(time.monotonic() - began, 2), told="" if passed else told)


def _syntax(file: Path) -> str:
    try:
        ast.parse(file.read_bytes(), str(file.name))
    except (SyntaxError, ValueError, OSError) as wrong:
        return f"{file.name} cannot be compiled: {wrong}"
    return ""
