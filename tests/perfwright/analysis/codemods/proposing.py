"""A function as a profile would tell it, changed by one codemod, and both versions loaded."""

import ast
from collections.abc import Callable
from functools import cache
from typing import Any

from perfwright.analysis.codemods.code_reading import Edited, HotCode, Left
from perfwright.analysis.codemods.proposals import find_proposals


def hot(source: str, name: str, **seen: Any) -> HotCode:
    """Every line of it hot; by default called often, mostly with arguments seen before."""
    node = next(one for one in ast.walk(ast.parse(source)) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef) and one.name == name)
    lines = dict.fromkeys(range(node.lineno, (node.end_lineno or node.lineno) + 1), 0.5)
    return HotCode(name, node.lineno, share=0.8, lines=lines, **({"calls": 1_000, "repeated_share": 0.9, "distinct": 67} | seen))


def proposed(source: str, name: str, codemod: str, spoken: frozenset[str] = frozenset(), **seen: Any) -> Edited | Left | None:
    """What the codemod says of the function."""
    found = find_proposals(source, [hot(source, name, **seen)], spoken, only=codemod)
    return found[0].outcome if found else None


@cache
def edited(source: str, name: str, codemod: str, **seen: Any) -> Edited:
    """Made once for all that is tried on it."""
    outcome = proposed(source, name, codemod, **seen)
    assert isinstance(outcome, Edited), outcome
    return outcome


def loaded(source: str, name: str) -> Callable[..., Any]:
    """The function, of a module with that source."""
    names: dict[str, Any] = {"__name__": "changed"}
    exec(compile(source, "changed", "exec"), names)
    return names[name]  # type: ignore[no-any-return]


def outcome_of(function: Callable[..., Any], *arguments: Any) -> tuple[Any, ...]:
    """What it gives or raises, and what it leaves of its arguments."""
    try:
        result = function(*arguments)
    except Exception as trouble:
        return ("raised", type(trouble), str(trouble), repr(arguments))
    return ("gave", repr(result), repr(arguments))
