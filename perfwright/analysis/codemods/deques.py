"""A list that is used as a queue (`pop(0)`, `insert(0, x)`): a deque, from which the first is taken without moving all others.

Kept equal: the list is made in the function and seen by nobody else, it is used as a queue only (no index, no slice, no loop over it), and
it is taken from only as the first thing in `while queue:`, so that taking from an empty one, whose message differs, cannot happen.
"""

import libcst as cst

from perfwright.analysis.codemods.code_reading import Code, Edited, HotCode, Left, says_type, walk
from perfwright.analysis.codemods.effects import own_containers

NAME = "deque for a queue"
GAIN = 0.9
DEQUE = "collections.deque"


def propose(code: Code, function: cst.FunctionDef, hot: HotCode) -> Edited | Left | None:
    """The first such queue of the function. None: there is none."""
    for node in walk(function.body):
        if not isinstance(node, cst.Call) or not isinstance(node.func, cst.Attribute) or not isinstance(node.func.value, cst.Name):
            continue
        if _takes_first(node) and code.enclosing_function(node) is function:
            return _propose(code, function, hot, node.func.value.value)
    return None


def _propose(code: Code, function: cst.FunctionDef, hot: HotCode, name: str) -> Edited | Left:
    line = code.lines(function)[0]
    if name not in own_containers(code, function):
        return Left(line, f"`{name}` is not a list made here that nobody else sees")
    if not code.is_free(DEQUE):
        return Left(line, "the module uses the name deque for something else")
    replacements: dict[cst.CSTNode, cst.CSTNode | cst.FlattenSentinel[cst.BaseStatement]] = {}
    share, taken = 0.0, line
    for node in walk(function.body):
        if not isinstance(node, cst.Name) or node.value != name:
            continue
        above = code.parent(node)
        if isinstance(above, cst.AssignTarget | cst.AnnAssign):
            made = code.parent(above) if isinstance(above, cst.AssignTarget) else above
            if not isinstance(made, cst.Assign) or not isinstance(made.value, cst.List | cst.ListComp):
                return Left(code.lines(node)[0], f"`{name}` is made in another way than as a list")
            if says_type(code.statement(made)):
                return Left(code.lines(node)[0], f"a comment says what type `{name}` has")
            replacements[made.value] = cst.Call(cst.Name("deque"), [cst.Arg(made.value)] if not _is_empty(made.value) else [])
            continue
        if isinstance(above, cst.While) and above.test is node:
            continue
        call = code.parent(above) if isinstance(above, cst.Attribute) and above.value is node else None
        if isinstance(above, cst.Arg):
            outer = code.parent(above)
            if isinstance(outer, cst.Call) and isinstance(outer.func, cst.Name) and outer.func.value == "len" and code.is_builtin("len"):
                continue
        if not isinstance(call, cst.Call) or not isinstance(above, cst.Attribute) or call.func is not above:
            return Left(code.lines(node)[0], f"`{name}` is used as more than a queue")
        method = above.attr.value
        if method == "pop" and _takes_first(call):
            if not _is_not_empty(code, function, call, name):
                return Left(code.lines(call)[0], f"`{name}` may be empty when it is taken from")
            replacements[call] = call.with_changes(func=above.with_changes(attr=cst.Name("popleft")), args=[])
            share, taken = max(share, hot.share_of(*code.lines(call))), code.lines(call)[0]
        elif method == "insert" and len(call.args) == 2 and _is_zero(call.args[0].value) and call.args[1].keyword is None:
            replacements[call] = call.with_changes(func=above.with_changes(attr=cst.Name("appendleft")), args=[call.args[1]])
        elif method not in ("append", "extend"):
            return Left(code.lines(call)[0], f"`.{method}()` is called on it")
    return Edited(
        source=code.edited(replacements, {}, imports=[DEQUE]),
        title=f"Make `{name}` a deque",
        reasoning=f"`{name}` is made in `{function.name.value}`, seen by nobody else, a queue only, never taken from while empty",
        line=taken,
        gain_share=GAIN * share,
    )


def _takes_first(call: cst.Call) -> bool:
    assert isinstance(call.func, cst.Attribute), "the caller has looked"
    return call.func.attr.value == "pop" and len(call.args) == 1 and call.args[0].keyword is None and _is_zero(call.args[0].value)


def _is_not_empty(code: Code, function: cst.FunctionDef, call: cst.Call, name: str) -> bool:
    """Whether it is in the first statement of `while name:`, and the only thing there that takes from it."""
    statement = code.statement(call)
    block = code.parent(statement)
    loop = code.parent(block) if block is not None else None
    if (
        not isinstance(loop, cst.While)
        or not isinstance(loop.test, cst.Name)
        or loop.test.value != name
        or loop.body.body[0] is not statement
    ):
        return False
    if not isinstance(statement, cst.SimpleStatementLine) or code.loops(call, function)[0] is not loop:
        return False
    return sum(1 for one in walk(statement) if isinstance(one, cst.Name) and one.value == name) == 1


def _is_zero(node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.Integer) and node.evaluated_value == 0


def _is_empty(value: cst.BaseExpression) -> bool:
    return isinstance(value, cst.List) and not value.elements
