"""Text that is put together by `+=` in a loop: parts in a list, joined once behind it.

Kept equal: only parts that are texts beyond doubt (f-strings, literals, what `str.join` and formatting give), so that no exception could
come from `+=`; the text is not looked at in the loop, and nothing outside sees it before the loop has ended.
"""

import libcst as cst

from perfwright.analysis.codemods.code_reading import Code, Edited, HotCode, Left, says_type, walk

NAME = "join instead of +="
GAIN = 0.3
"""CPython extends a text in place where nobody else holds it: what is left to win is little, and the trial decides."""


def propose(code: Code, function: cst.FunctionDef, hot: HotCode) -> Edited | Left | None:
    """The first such text of the function. None: there is none."""
    for node in walk(function.body):
        if isinstance(node, cst.AugAssign) and isinstance(node.operator, cst.AddAssign) and isinstance(node.target, cst.Name):
            loops = [one for one in code.loops(node, function) if isinstance(one, cst.For | cst.While)]
            if loops and code.enclosing_function(node) is function and _begins_empty(code, loops[-1], node.target.value) is not None:
                return _propose(code, function, hot, loops[-1], node.target.value)
    return None


def _begins_empty(code: Code, loop: cst.For | cst.While, name: str) -> cst.SimpleStatementLine | None:
    """`name = ""` before the loop, in the same block."""
    block = code.parent(loop)
    if not isinstance(block, cst.IndentedBlock):
        return None
    for line in reversed(block.body[: list(block.body).index(loop)]):
        if isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1:
            small = line.body[0]
            if isinstance(small, cst.Assign) and len(small.targets) == 1 and _is(small.targets[0].target, name):
                empty = isinstance(small.value, cst.SimpleString) and small.value.evaluated_value == ""
                return line if empty else None
        if any(_is(one, name) for one in walk(line)):
            return None
    return None


def _propose(code: Code, function: cst.FunctionDef, hot: HotCode, loop: cst.For | cst.While, name: str) -> Edited | Left:
    first, last = code.lines(loop)
    begin = _begins_empty(code, loop, name)
    assert begin is not None, "the caller has looked"
    added: list[cst.AugAssign] = [
        node
        for node in walk(loop)
        if isinstance(node, cst.AugAssign) and _is(node.target, name) and isinstance(node.operator, cst.AddAssign)
    ]
    mentioned = sum(1 for node in walk(loop) if _is(node, name))
    if mentioned != len(added):
        return Left(first, f"`{name}` is looked at in the loop")
    if any(isinstance(one, cst.FunctionDef | cst.Lambda | cst.ClassDef | cst.Global | cst.Nonlocal) for one in walk(function.body)):
        return Left(first, "another function may look at it meanwhile")
    if any(isinstance(one, cst.Try | cst.TryStar | cst.With) for one in code.parents(loop)):
        return Left(first, "it may be looked at after an exception")
    if any(isinstance(one, cst.Yield | cst.Await) for one in walk(loop)) or {"locals", "vars", "eval", "exec"} & code.words:
        return Left(first, "it may be looked at from outside")
    if says_type(begin):
        return Left(code.lines(begin)[0], f"a comment says what type `{name}` has")
    for node in added:
        if not _is_text(node.value):
            return Left(code.lines(node)[0], f"`{code.module.code_for_node(node.value)[:60]}` may be no text")
    parts = code.unused(f"{name}_parts")
    small = begin.body[0]
    assert isinstance(small, cst.Assign), "the caller has looked"
    replacements: dict[cst.CSTNode, cst.CSTNode | cst.FlattenSentinel[cst.BaseStatement]] = {
        small: small.with_changes(targets=[cst.AssignTarget(cst.Name(parts))], value=cst.List([])),
        **{node: cst.Expr(cst.Call(cst.Attribute(cst.Name(parts), cst.Name("append")), [cst.Arg(node.value)])) for node in added},
    }
    behind = _behind(code, loop)
    if behind is None:
        return Left(first, "nothing follows the loop")
    return Edited(
        source=code.edited(replacements, {behind: [f'{name} = "".join({parts})\n']}),
        title=f"Join the parts of `{name}` once",
        reasoning=f"every part is a text beyond doubt, and `{name}` is not looked at before the loop has ended",
        line=code.lines(added[0])[0],
        gain_share=GAIN * hot.share_of(first, last),
    )


def _behind(code: Code, loop: cst.For | cst.While) -> cst.CSTNode | None:
    """The statement that follows the loop in its block."""
    block = code.parent(loop)
    assert isinstance(block, cst.IndentedBlock), "the caller has looked"
    body = list(block.body)
    place = body.index(loop) + 1
    return body[place] if place < len(body) else None


def _is(node: cst.CSTNode, name: str) -> bool:
    return isinstance(node, cst.Name) and node.value == name


def _is_text(node: cst.BaseExpression) -> bool:
    if isinstance(node, cst.FormattedString):
        return True
    if isinstance(node, cst.SimpleString):
        return isinstance(node.evaluated_value, str)
    if isinstance(node, cst.ConcatenatedString):
        return _is_text(node.left) and _is_text(node.right)
    if isinstance(node, cst.BinaryOperation):
        text = _is_text(node.left)
        return text and (isinstance(node.operator, cst.Modulo) or (isinstance(node.operator, cst.Add) and _is_text(node.right)))
    if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute):
        return node.func.attr.value in ("join", "format") and _is_text(node.func.value)
    return False
