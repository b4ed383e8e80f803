import ast

import pytest

from lab.planted import Planted, planted
from lab.problems import NAMES, SHOP
from lab.starting import ROOT

PLANTED = planted()
FOUND_BY_TIME = ("CpuProfilingInvestigation", "QueryPerformanceAnalysis")
"""What other processes find, they find by other means than its share of the time."""
EACH = pytest.mark.parametrize("problem", PLANTED, ids=lambda problem: problem.name)


def test_every_problem_is_written_down() -> None:
    """Every problem that can be switched on is in planted.toml, once, and none besides."""
    assert sorted(problem.name for problem in PLANTED) == sorted(NAMES)
    assert [problem.name for problem in planted("shop")] == list(SHOP)


@EACH
def test_the_marker_is_at_the_line(problem: Planted) -> None:
    """The marker comment is once in the file, at the end of a line of code."""
    line = (ROOT / problem.file).read_text().splitlines()[problem.line - 1]
    assert line.split(problem.marker.split()[0])[0].strip()


@EACH
def test_functions_are_the_ones_named(problem: Planted) -> None:
    """The planted line is inside the function that planted.toml names, and the sound version is in the same file."""
    source = (ROOT / problem.file).read_text()
    if problem.file.endswith(".py"):
        functions = {node.name: node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)}
        found = functions[problem.function]
        assert found.lineno < problem.line <= (found.end_lineno or 0)
    else:
        before = source.splitlines()[: problem.line - 1]
        assert any(f"{problem.function.split('.')[-1]}(" in line for line in before[-12:])
    assert problem.sound.split(".")[-1] in source


@EACH
def test_what_is_said_is_complete(problem: Planted) -> None:
    """Each says what a correct finding says, how large the effect is and how that was measured."""
    assert problem.says and problem.effect and problem.share_from
    assert problem.found_at in ("self", "total")
    if problem.process in FOUND_BY_TIME:
        assert 0.08 < problem.share < 0.95
    else:
        assert 0.0 <= problem.share < 0.08


def test_shares_of_the_shop_leave_room_for_the_rest() -> None:
    """The shop's problems together are most of its work, and less than all of it."""
    assert 0.5 < sum(problem.share for problem in planted("shop")) < 1.0
