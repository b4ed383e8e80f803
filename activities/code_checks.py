"""Is a changed tree still right? Its syntax, the project's own tests, and recorded calls made again in the old and the new code."""

import ast
import asyncio
import json
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.changes.kind import Site
from activities.code_calls import file_of
from activities.code_candidates import activity_heartbeat
from activities.code_trees import inherited, inside, laid_out
from activities.subprocesses import Tool, run
from perfwright.analysis.differential import check_problem, compare_answers
from perfwright.models.cpu_optimization import CallsOfFunction, Candidate, Checked, CheckOrder, CodeBase, Differential, ProjectTests
from perfwright.models.errors import ErrorType
from perfwright.models.secrets import without_secrets

CALL_AGAIN = Path(__file__).parent / "call_injection" / "call_again.py"
VARIED = 300
CALL_LIMIT_S = 3.0
AGAIN_S = 20.0
"""For the calls of the old code; at least a few are made."""
AGAIN_LIMIT_S = 600.0
MOST_CALLS = 1_000
TOLD_CHARACTERS = 1_500


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
            if tests.passed and order.candidate is not None and order.candidate.function:
                checked = Checked(tests=tests, differential=await self._call_again(order, tree))
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

    async def _call_again(self, order: CheckOrder, tree: Path) -> Differential:
        """The function of the candidate, called in the tree of the tip and in the changed one."""
        candidate, calls, code = order.candidate, order.calls, order.code
        assert candidate is not None, "the caller has looked"
        seen = next((one for one in (calls.functions if calls else ()) if _is_of(one, candidate.path, candidate.function, order)), None)
        if calls is None or seen is None or not seen.kept:
            why = seen.not_kept if seen is not None else "it was not called while calls were recorded"
            return Differential(why_none=why or "its arguments could not be kept")
        if "<locals>" in candidate.function:
            return Differential(why_none="it stands inside another function, and cannot be called by itself")
        cases = Path(calls.file) / file_of(f"{seen.path}:{seen.line}")
        varied = VARIED if candidate.mutable else 0
        async with laid_out(self._site, Path(code.repository), order.tip, "", f"{code.prefix} before") as old_tree:
            order_of = partial(_again, cases, code, candidate, varied)
            try:
                old = await self._answers(code, old_tree, order_of(old_tree, Path(calls.file, "old"), spend_s=AGAIN_S, most=MOST_CALLS))
            except ApplicationError as trouble:
                return Differential(why_none=f"it cannot be called: {_what_failed(trouble)}")
            try:
                # the new code makes as many calls as the old one had time for
                new = await self._answers(code, tree, order_of(tree, Path(calls.file, "new"), spend_s=AGAIN_LIMIT_S, most=len(old)))
            except ApplicationError as trouble:
                return Differential(differences=1, why_none=f"the changed code cannot be called: {_what_failed(trouble)}")
        return compare_answers(old, new)

    async def _answers(self, code: CodeBase, tree: Path, wanted: Path) -> list[list[object]]:
        tool = Tool(
            [code.benchmark[0], str(CALL_AGAIN), str(wanted)],
            limit_s=AGAIN_LIMIT_S,
            way_out="The benchmark's program has to be a Python interpreter for its functions to be called",
            environment=inherited(code.target, self._site.environ) | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"},
            directory=inside(tree, code.working_directory),
            keep_bytes=64 * 1024,
            title="calls made again",
        )
        ended = await run(tool, heartbeat=lambda elapsed_s, _: activity.heartbeat({"calling_s": round(elapsed_s, 1)}))
        ended.require_success()
        found: list[list[object]] = json.loads(await asyncio.to_thread(wanted.with_suffix(".answers").read_text, encoding="utf-8"))
        return found


def _what_failed(trouble: ApplicationError) -> str:
    """Of a program that ended with an error or at its limit; anything else is raised again: it says nothing about the code."""
    if trouble.type not in (ErrorType.TOOL_FAILED, ErrorType.TOOL_TIMEOUT):
        raise trouble
    return without_secrets(trouble.message)[-TOLD_CHARACTERS:]


def _is_of(one: CallsOfFunction, path: str, function: str, order: CheckOrder) -> bool:
    assert order.candidate is not None, "the caller has looked"
    return one.path == path and one.function == function.rpartition(".")[2] and (order.line == 0 or one.line == order.line)


def _again(cases: Path, code: CodeBase, candidate: Candidate, varied: int, tree: Path, name: Path, *, spend_s: float, most: int) -> Path:
    """Write the order for one tree: where the recorded run found its modules, moved there. `name`: of order and answers."""
    where = json.loads(cases.with_name(f"{cases.name}.where").read_text(encoding="utf-8"))
    answers = name.with_suffix(".answers")
    answers.unlink(missing_ok=True)
    order = {
        "module": where["module"],
        "main": _moved(where["main"], code.tree, tree),
        "path": str(tree / candidate.path),
        "function": candidate.function,
        "sys_path": [_moved(one or code.tree, code.tree, tree) for one in where["sys_path"]],
        "cases": str(cases),
        "varied": varied,
        "most": most,
        "spend_s": spend_s,
        "call_limit_s": CALL_LIMIT_S,
        "answers": str(answers),
    }
    file = name.with_suffix(".order")
    file.write_text(json.dumps(order), encoding="utf-8")
    return file


def _moved(path: str, old: str, new: Path) -> str:
    return f"{new}{path.removeprefix(old)}" if path == old or path.startswith(f"{old}/") else path


def _syntax(file: Path) -> str:
    try:
        ast.parse(file.read_bytes(), str(file.name))
    except (SyntaxError, ValueError, OSError) as wrong:
        return f"{file.name} cannot be compiled: {wrong}"
    return ""
