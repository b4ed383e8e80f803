"""Recorded calls made again in the old tree and in a changed one, in fresh interpreters of their own; what they answer is compared.

Of a generated change its own function is called. A change that was given may reach any function, by a constant, by what is called, by
another module: all functions of which calls were recorded are called, those of changed files first.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.changes.kind import Site
from activities.code_calls import file_of
from activities.code_trees import inherited, inside, laid_out, own_tree
from activities.subprocesses import Tool, run
from perfwright.analysis.differential import compare_answers, first_difference, is_steady, steady, together
from perfwright.analysis.hot_code import function_text
from perfwright.models.cpu_optimization import GIVEN, CallsOfFunction, CheckOrder, CodeBase, Differential
from perfwright.models.errors import ErrorType
from perfwright.models.secrets import without_secrets

CALL_AGAIN = Path(__file__).parent / "call_injection" / "call_again.py"
VARIED = 300
CALL_LIMIT_S = 3.0
"""Of the old code; the new one has ten times as long: a call that it does not answer then is its own fault, not that of a busy machine."""
AGAIN_S = 20.0
"""For the calls of the old code; at least a few are made."""
ELSEWHERE_S = 5.0
"""Likewise, of a function in a file that a given change leaves as it is."""
AGAIN_LIMIT_S = 600.0
"""Of one function in one tree."""
CALLS_LIMIT_S = 5 * AGAIN_LIMIT_S
"""Of all functions: each takes four runs at most, and is begun within the time of one, or left out."""
MOST_CALLS = 1_000
TOLD_CHARACTERS = 1_500

Answers = list[list[object]]


@dataclass(frozen=True)
class Function:
    """A recorded function as it is called again."""

    seen: CallsOfFunction
    name: str
    """With its class: `Cart.total`."""
    varied: int
    """Calls with arguments that nobody gave it."""
    spend_s: float


async def call_again(site: Site, order: CheckOrder, tree: Path) -> Differential:
    """Old code is that of the tip, new code that in `tree`. Raises what says nothing about the code."""
    calls, code = order.calls, order.code
    if calls is None or not calls.functions:
        return Differential(why_none="it was not called while calls were recorded")
    await own_tree(site, code)
    functions, left = await asyncio.to_thread(_functions, order, tree)
    found: list[tuple[str, Differential]] = []
    until = time.monotonic() + AGAIN_LIMIT_S
    if functions:
        async with laid_out(site, Path(code.repository), order.tip, "", f"{code.prefix} before") as old_tree:
            for one in functions:
                if time.monotonic() > until:
                    left.append(f"{one.name}: there was no time for it")
                else:
                    found.append((one.name, await _compared(site, order, one, old_tree, tree)))
    return together(found, left)


def _functions(order: CheckOrder, tree: Path) -> tuple[list[Function], list[str]]:
    """What is called again, and what is not, with the reason."""
    candidate, calls, old = order.candidate, order.calls, Path(order.code.tree)
    assert candidate is not None and calls is not None, "the caller has looked"
    if candidate.codemod != GIVEN:
        short = candidate.function.rpartition(".")[2]
        seen = next(
            (one for one in calls.functions if (one.path, one.function) == (candidate.path, short) and order.line in (0, one.line)), None
        )
        if seen is None:
            return [], ["it was not called while calls were recorded"]
        if why := _why_not(seen, candidate.function, calls.file):
            return [], [why]
        return [Function(seen, candidate.function, VARIED if candidate.mutable else 0, AGAIN_S)], []
    paths = set(paths_of(order.patch))
    functions, left = [], []
    for seen in sorted(calls.functions, key=lambda one: one.path not in paths):
        name, mutable = known_of(seen, (old, tree))
        if function_text(source_in(old, seen.path), seen.function) and not function_text(source_in(tree, seen.path), seen.function):
            left.append(f"{name}: it is not there any more")
        elif why := _why_not(seen, name, calls.file):
            left.append(f"{name}: {why}")
        else:
            functions.append(Function(seen, name, VARIED if mutable else 0, AGAIN_S if seen.path in paths else ELSEWHERE_S))
    return functions, left


def _why_not(seen: CallsOfFunction, name: str, folder: str) -> str:
    """Why its calls cannot be made again; empty: they can."""
    if not seen.calls:
        return "it was not called while calls were recorded"
    if not seen.kept:
        return seen.not_kept or "its arguments could not be kept"
    if "<locals>" in name:
        return "it stands inside another function, and cannot be called by itself"
    if not _cases(seen, folder).is_file():
        return "the arguments that were recorded are not on this host any more"
    return ""


async def _compared(site: Site, order: CheckOrder, one: Function, old_tree: Path, tree: Path) -> Differential:
    code, calls = order.code, order.calls
    assert calls is not None, "the caller has looked"
    order_of = partial(_order, _cases(one.seen, calls.file), code, one)
    asked = partial(order_of, spend_s=one.spend_s, most=MOST_CALLS, call_limit_s=CALL_LIMIT_S)
    try:
        old = await _answers(site, code, old_tree, asked(old_tree, Path(calls.file, "old")))
    except ApplicationError as trouble:
        return Differential(why_none=f"it cannot be called: {_what_failed(trouble)}")
    try:
        # the new code makes as many calls as the old one had time for
        wanted = order_of(tree, Path(calls.file, "new"), spend_s=AGAIN_LIMIT_S, most=len(old), call_limit_s=10 * CALL_LIMIT_S)
        new = await _answers(site, code, tree, wanted)
    except ApplicationError as trouble:
        return Differential(differences=1, why_none=f"the changed code cannot be called: {_what_failed(trouble)}")
    found = compare_answers(old, new)
    if not found.differences or len(old) != len(new):
        return found
    # Is it the change? The old code is called once more: up to the first difference, which tells it mostly, and wholly where that was none
    # of the change's.
    last = first_difference(old, new)
    again = await _once_more(site, order, order_of, last + 1)
    if again and not is_steady(old, again, last):
        again = await _once_more(site, order, order_of, len(old))
        return compare_answers(steady(old, again), new) if again else found
    return found


async def _once_more(site: Site, order: CheckOrder, order_of: Callable[..., Path], most: int) -> Answers:
    """In a tree that no call has written into; none where it fails now."""
    code, calls = order.code, order.calls
    assert calls is not None, "the caller has looked"
    async with laid_out(site, Path(code.repository), order.tip, "", f"{code.prefix} before, again") as fresh:
        wanted = order_of(fresh, Path(calls.file, "again"), spend_s=AGAIN_LIMIT_S, most=most, call_limit_s=10 * CALL_LIMIT_S)
        try:
            return await _answers(site, code, fresh, wanted)
        except ApplicationError as trouble:
            _what_failed(trouble)
            return []


async def _answers(site: Site, code: CodeBase, tree: Path, wanted: Path) -> Answers:
    tool = Tool(
        [code.benchmark[0], str(CALL_AGAIN), str(wanted)],
        limit_s=AGAIN_LIMIT_S,
        way_out="The benchmark's program has to be a Python interpreter for its functions to be called",
        environment=inherited(code.target, site.environ) | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"},
        directory=inside(tree, code.working_directory),
        keep_bytes=64 * 1024,
        title="calls made again",
    )
    ended = await run(tool, heartbeat=lambda elapsed_s, _: activity.heartbeat({"calling_s": round(elapsed_s, 1)}))
    ended.require_success()
    found: Answers = json.loads(await asyncio.to_thread(wanted.with_suffix(".answers").read_text, encoding="utf-8"))
    return found


def _what_failed(trouble: ApplicationError) -> str:
    """Of a program that ended with an error or at its limit; anything else is raised again: it says nothing about the code."""
    if trouble.type not in (ErrorType.TOOL_FAILED, ErrorType.TOOL_TIMEOUT):
        raise trouble
    return without_secrets(trouble.message)[-TOLD_CHARACTERS:]


def _cases(seen: CallsOfFunction, folder: str) -> Path:
    return Path(folder) / file_of(f"{seen.path}:{seen.line}")


def _order(cases: Path, code: CodeBase, one: Function, tree: Path, name: Path, *, spend_s: float, most: int, call_limit_s: float) -> Path:
    """Write the order for one tree: where the recorded run found its modules, moved there. `name`: of order and answers."""
    where = json.loads(cases.with_name(f"{cases.name}.where").read_text(encoding="utf-8"))
    answers = name.with_suffix(".answers")
    answers.unlink(missing_ok=True)
    order = {
        "module": where["module"],
        "main": _moved(where["main"], code.tree, tree),
        "path": str(tree / one.seen.path),
        "function": one.name,
        "sys_path": [_moved(path or code.tree, code.tree, tree) for path in where["sys_path"]],
        "cases": str(cases),
        "varied": one.varied,
        "most": most,
        "spend_s": spend_s,
        "call_limit_s": call_limit_s,
        "answers": str(answers),
    }
    file = name.with_suffix(".order")
    file.write_text(json.dumps(order), encoding="utf-8")
    return file


def _moved(path: str, old: str, new: Path) -> str:
    return f"{new}{path.removeprefix(old)}" if path == old or path.startswith(f"{old}/") else path


def paths_of(patch: str) -> list[str]:
    """Files that a patch leaves changed."""
    return re.findall(r"^\+\+\+ b/(.+?)\t?$", patch, re.MULTILINE)


def source_in(tree: Path, path: str) -> str:
    """Empty where there is no such text."""
    try:
        return (tree / path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def known_of(one: CallsOfFunction, trees: Sequence[Path]) -> tuple[str, bool]:
    """Its name with its class (`Cart.total`) as the first tree has it, and whether its arguments may be varied: not where the code of any
    tree touches the world; what cannot be read does."""
    # Here: libcst would take a tenth of a worker's start.
    from perfwright.analysis.codemods.code_reading import Code
    from perfwright.analysis.codemods.proposals import touches_world

    name, touches = "", False
    for tree in trees:
        try:
            code = Code(source_in(tree, one.path))
        except SyntaxError:
            return name or one.function, False
        function = code.function(one.function, one.line)
        if function is None:
            return name or one.function, False
        name, touches = name or code.qualified(function), touches or touches_world(code, function)
    return name, not touches
