"""`sorted(x)`, `set(x)` and the like inside a loop that does not change `x`: made once, and again for another `x` or a grown one.

Kept equal: it is made where it was made, when it was made first, so that nothing is worked out that was not before and every exception
comes where it came; what was made is used again only for the same container with as many, and only plain, elements. What would hand the
made list or set on to somebody who could change it is left alone.
"""

import libcst as cst

from perfwright.analysis.codemods.code_reading import Code, Edited, HotCode, Left, dotted, walk
from perfwright.analysis.codemods.effects import PURE_BUILTINS, hands_on, is_assigned, steady_loop

NAME = "hoisted invariant"
GAIN = 0.9
MAKERS = frozenset({"sorted", "set", "frozenset", "tuple", "list", "dict", "sum", "max", "min"})

HELPER = '''
class {name}:
    """What `make` made of a container, kept while the same one is given and has not grown; only of plain elements."""

    __slots__ = ("_count", "_given", "_made", "_make")
    PLAIN = frozenset((str, bytes, int, bool, float, type(None)))

    def __init__(self, make):
        self._make = make
        self._given = None
        self._count = -1
        self._made = None

    def of(self, given):
        if self._count >= 0 and given is self._given and len(given) == self._count:
            return self._made
        self._count = -1
        made = self._make(given)
        if type(given) in (list, tuple) and self.PLAIN.issuperset(map(type, given)):
            self._given, self._count, self._made = given, len(given), made
        return made
'''


def propose(code: Code, function: cst.FunctionDef, hot: HotCode) -> Edited | Left | None:
    """Every such call of the function. None: there is none."""
    replacements: dict[cst.CSTNode, cst.CSTNode] = {}
    before: dict[cst.CSTNode, list[str]] = {}
    left: Left | None = None
    helper, line, gain = code.unused("_Made"), 0, 0.0
    for node in walk(function.body):
        if not isinstance(node, cst.Call) or not isinstance(node.func, cst.Name) or node.func.value not in MAKERS:
            continue
        if len(node.args) != 1 or node.args[0].star or node.args[0].keyword is not None or not code.is_builtin(node.func.value):
            continue
        container = dotted(node.args[0].value)
        loops = code.loops(node, function)
        if container is None or not loops or code.enclosing_function(node) is not function:
            continue
        first, last = code.lines(node)
        if hot.is_cold(first, last):
            continue
        if node.func.value not in ("frozenset", "tuple", "sum", "max", "min") and not _stays_here(code, node):
            left = left or Left(first, f"what `{node.func.value}()` makes is handed on, and may be changed there")
            continue
        found = steady_loop(code, function, loops, container)
        if isinstance(found, str):
            left = left or Left(first, f"`{container}`: {found}")
            continue
        name = code.unused(f"{container.rpartition('.')[2]}_{node.func.value}")
        before.setdefault(code.statement(found), []).append(f"{name} = {helper}({node.func.value})\n")
        replacements[node] = node.with_changes(func=cst.Attribute(cst.Name(name), cst.Name("of")))
        share = hot.share_of(first, last)
        line, gain = (first, share) if share >= gain else (line, gain)
    if not replacements:
        return left
    return Edited(
        source=code.edited(replacements, before, [HELPER.format(name=helper)]),
        title=f"Make what does not change in the loops of `{function.name.value}` once",
        reasoning="nothing in the loop changes the container but at its end; it is made where it was made before, and for another one, "
        "for one that has grown, and for elements that are not plain",
        line=line or code.lines(next(iter(replacements)))[0],
        gain_share=GAIN * gain,
    )


def _stays_here(code: Code, node: cst.Call) -> bool:
    """Whether it is only looked into, iterated over, or read from."""
    above = code.parent(node)
    if isinstance(above, cst.ComparisonTarget):
        return isinstance(above.operator, cst.In | cst.NotIn)
    if isinstance(above, cst.For | cst.CompFor):
        return above.iter is node
    if isinstance(above, cst.Subscript) and above.value is node:
        return not is_assigned(code, above)
    if isinstance(above, cst.Arg):
        call = code.parent(above)
        return (
            isinstance(call, cst.Call)
            and isinstance(call.func, cst.Name)
            and call.func.value in PURE_BUILTINS - {"reversed", "enumerate", "zip"}
            and code.is_builtin(call.func.value)
            and not hands_on(call, above)
        )
    return False
