"""Which functions of a repository a profile means, and which lines of them."""

import ast
import difflib
from collections.abc import Mapping
from functools import cache

from perfwright.models.cpu_optimization import CallsRecorded, HotCodeFound, HotFunction, HotLine
from perfwright.models.cpu_profiling import HotPaths

HOT_SHARE = 0.01
"""Of CPU time, with what it calls: below, nothing can be won that a trial would see."""
LINE_OFF_BY = 1
"""Profilers may be a line off (benfred/py-spy#549)."""
FUNCTIONS_AT_MOST = 30


def located(hot_paths: HotPaths, sources: Mapping[str, str]) -> HotCodeFound:
    """`sources`: Python files of the repository by path. Hottest first; a function that stands in two files alike is left out.

    `elsewhere_share` is the largest self time of a function that is not among them.
    """
    found: list[HotFunction] = []
    elsewhere = 0.0
    for spot in hot_paths.functions:
        if spot.total_share < HOT_SHARE:
            continue
        name = spot.function.rpartition(".")[2]
        places = [
            (path, first, last)
            for path in sources
            if _same_file(spot.file, path)
            for defined, first, last in _functions(sources[path])
            if defined == name and first - LINE_OFF_BY <= spot.line <= last + LINE_OFF_BY
        ]
        if not places or len({path for path, _, _ in places}) > 1:
            elsewhere = max(elsewhere, spot.self_share)
            continue
        path, first, last = max(places, key=lambda place: place[1])
        lines = [
            HotLine(line=line.line, share=line.total_share)
            for line in hot_paths.lines
            if _same_file(line.file, path) and first <= line.line <= last and line.total_share >= HOT_SHARE
        ]
        found.append(HotFunction(path=path, function=name, line=first, share=spot.total_share, lines=tuple(lines)))
    unique = {(one.path, one.line): one for one in reversed(found)}
    best = sorted(unique.values(), key=lambda one: -one.share)[:FUNCTIONS_AT_MOST]
    return HotCodeFound(functions=tuple(best), elsewhere_share=elsewhere)


def moved(function: HotFunction, calls: CallsRecorded, old: str, new: str) -> tuple[HotFunction, CallsRecorded]:
    """The function and its calls as they are found in a later text of its file: by the new numbers of the lines that are still there."""
    blocks = difflib.SequenceMatcher(None, old.split("\n"), new.split("\n")).get_matching_blocks()
    places = {at.a + number + 1: at.b + number + 1 for at in blocks for number in range(at.size)}
    first = places.get(function.line, function.line)
    lines = tuple(one.model_copy(update={"line": places[one.line]}) for one in function.lines if one.line in places)
    seen = tuple(
        one.model_copy(update={"line": first}) if (one.path, one.line) == (function.path, function.line) else one for one in calls.functions
    )
    return function.model_copy(update={"line": first, "lines": lines}), calls.model_copy(update={"functions": seen})


def function_text(source: str, name: str) -> str:
    """All functions of that name in the source, as the syntax tree has them; empty where there is none."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ""
    return "\n".join(
        ast.dump(node) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name
    )


def _same_file(shown: str, path: str) -> bool:
    """A profile shows a path shortened at its front, or whole."""
    return shown == path or path.endswith(f"/{shown}") or shown.endswith(f"/{path}")


@cache
def _functions(source: str) -> tuple[tuple[str, int, int], ...]:
    """Name, first line (of its code object: that of the first decorator) and last line of each function."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ()
    return tuple(
        (node.name, min([node.lineno, *(one.lineno for one in node.decorator_list)]), node.end_lineno or node.lineno)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
