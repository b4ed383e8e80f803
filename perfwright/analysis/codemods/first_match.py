"""A search through a list for the first element with a given key, made for every key again: by a dictionary of first positions.

    for known in merged:                     known = firsts.first(merged[0].sku, count.sku) if merged else None
        if known.sku == count.sku:           if known is not None:
            BODY                                 BODY
            break                            else:
    else:                                        REST
        REST

Kept equal: the dictionary holds only plain keys of elements of the list, which only grows; a key that is not plain, and a list one of whose
elements has a key that is not plain, is searched as before. The list is made in the function and handed to nobody before it returns, and
no statement of the function assigns the attribute that is the key.
"""

import libcst as cst

from perfwright.analysis.codemods.code_reading import Code, Edited, HotCode, Left, bound_names, dotted, walk
from perfwright.analysis.codemods.effects import (
    PURE_BUILTINS,
    is_assigned,
    is_asynchronous,
    is_list,
    only_reads,
    own_containers,
    sources,
    why_it_may_change,
)

NAME = "first match by dictionary"
GAIN = 0.95

HELPER = '''
class {name}:
    """The first element of a growing list whose `{key}` is the one asked for; as a search through the list would find it."""

    __slots__ = ("_known", "_listed", "_seen")
    PLAIN = frozenset((str, bytes, int, bool, type(None)))

    def __init__(self, listed):
        self._listed = listed
        self._known = {{}}
        self._seen = 0

    def first(self, {parameters}):
        listed = self._listed
        if self._seen >= 0 and type(wanted) in self.PLAIN:
            if wanted in self._known:
                return self._known[wanted]
            while self._seen < len(listed):
                element = listed[self._seen]
                key = element.{key}
                if type(key) not in self.PLAIN or isinstance(getattr(type(element), "{key}", None), property):
                    self._seen = -1
                    break
                self._seen += 1
                self._known.setdefault(key, element)
                if key == wanted:
                    return element
            else:
                return None
        for element in listed:
            if {same}:
                return element
        return None
'''


def propose(code: Code, function: cst.FunctionDef, hot: HotCode) -> Edited | Left | None:
    """The first such search of the function that runs in a loop. None: there is none."""
    for node in walk(function.body):
        if isinstance(node, cst.For) and (found := _searched(node)) is not None:
            outer = [one for one in code.loops(node, function) if isinstance(one, cst.For | cst.While)]
            if outer and code.enclosing_function(node) is function:
                return _propose(code, function, hot, node, outer[-1], *found)
    return None


def _searched(loop: cst.For) -> tuple[str, str, cst.BaseExpression, cst.If, bool] | None:
    """List, key, what is wanted, the `if`, and whether the key stands first in it; None: it is another kind of loop."""
    listed = loop.iter.value if isinstance(loop.iter, cst.Name) else None
    if listed is None or not isinstance(loop.target, cst.Name) or loop.asynchronous or len(loop.body.body) != 1:
        return None
    test = loop.body.body[0]
    if not isinstance(test, cst.If) or test.orelse is not None or not isinstance(test.body, cst.IndentedBlock) or not test.body.body:
        return None
    last, compared = test.body.body[-1], test.test
    if not isinstance(last, cst.SimpleStatementLine) or not isinstance(last.body[-1], cst.Break) or len(last.body) != 1:
        return None
    if not isinstance(compared, cst.Comparison) or len(compared.comparisons) != 1:
        return None
    right = compared.comparisons[0]
    if not isinstance(right.operator, cst.Equal):
        return None
    for key, wanted in ((compared.left, right.comparator), (right.comparator, compared.left)):
        if isinstance(key, cst.Attribute) and isinstance(key.value, cst.Name) and key.value.value == loop.target.value:
            name = dotted(wanted)
            if name is not None and name.partition(".")[0] != loop.target.value:
                return listed, key.attr.value, wanted, test, key is compared.left
    return None


def _propose(
    code: Code,
    function: cst.FunctionDef,
    hot: HotCode,
    loop: cst.For,
    outer: cst.For | cst.While,
    listed: str,
    key: str,
    wanted: cst.BaseExpression,
    test: cst.If,
    key_first: bool,
) -> Edited | Left:
    assert isinstance(loop.target, cst.Name) and isinstance(test.body, cst.IndentedBlock), "the caller has looked"
    first, last = code.lines(loop)
    element = loop.target.value
    if why := _why_not(code, function, loop, outer, listed, key):
        return Left(first, f"`{listed}`: {why}")
    helper, firsts = code.unused("_Firsts"), code.unused(f"{listed}_firsts")
    body = test.body.with_changes(body=test.body.body[:-1] or [cst.SimpleStatementLine([cst.Pass()])])
    rest = loop.orelse
    given = [cst.Arg(wanted)]
    if key_first:  # of the first element the search works the key out before what is wanted
        its_key = cst.Attribute(cst.Subscript(cst.Name(listed), [cst.SubscriptElement(cst.Index(cst.Integer("0")))]), cst.Name(key))
        given = [cst.Arg(its_key, comma=cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))), *given]
    asked = cst.Assign(
        [cst.AssignTarget(cst.Name(element))],
        cst.IfExp(  # what is wanted is not worked out for an empty list
            cst.Name(listed), cst.Call(cst.Attribute(cst.Name(firsts), cst.Name("first")), given), cst.Name("None")
        ),
    )
    found = cst.If(
        cst.Comparison(cst.Name(element), [cst.ComparisonTarget(cst.IsNot(), cst.Name("None"))]),
        _with_remark(body, test),
        orelse=rest,
    )
    line = cst.SimpleStatementLine([asked], leading_lines=loop.leading_lines)
    return Edited(
        source=code.edited(
            {loop: cst.FlattenSentinel([line, found])},
            {code.statement(outer): [f"{firsts} = {helper}({listed})\n"]},
            [
                HELPER.format(
                    name=helper,
                    key=key,
                    parameters="_key_of_first, wanted" if key_first else "wanted",
                    same=f"element.{key} == wanted" if key_first else f"wanted == element.{key}",
                )
            ],
        ),
        title=f"Find elements of `{listed}` by their `{key}` in a dictionary",
        reasoning=f"`{listed}` is made in `{function.name.value}`, only grows, and is handed to nobody before it returns; nothing assigns "
        f"`.{key}`; keys that are not plain are searched for as before",
        line=max(hot.lines, key=lambda one: hot.lines[one] if first <= one <= last else -1.0, default=first),
        gain_share=GAIN * min(hot.share or 1.0, sum(share for one, share in hot.lines.items() if first <= one <= last)),
    )


def _with_remark(body: cst.IndentedBlock, test: cst.If) -> cst.IndentedBlock:
    """A comment behind the `if` stays."""
    assert isinstance(test.body, cst.IndentedBlock), "the caller has looked"
    return body.with_changes(header=test.body.header)


def _why_not(code: Code, function: cst.FunctionDef, loop: cst.For, outer: cst.For | cst.While, listed: str, key: str) -> str:
    if listed not in own_containers(code, function):
        return "others may change it, or it is more than a list made here"
    if not _is_made_before(code, code.statement(outer), listed):
        return "it may be made later, or not at all"
    if not is_list(code, function, listed):
        return "it is another container than a list"
    if why := why_it_may_change(code, function, [outer], listed):
        return why
    if key.startswith("__") and not key.endswith("__"):
        return f"`{key}` is named otherwise outside of its class"
    if why := _why_keys_may_change(code, function, outer, listed, key):
        return why
    assert isinstance(loop.target, cst.Name), "the caller has looked"
    element = loop.target.value
    inside = set(walk(loop))
    for node in walk(function):
        if isinstance(node, cst.Name) and node.value == element and node not in inside:
            return f"`{element}` is used outside of the search"
        if isinstance(node, cst.Attribute) and node.attr.value == key and is_assigned(code, node):
            return f"`.{key}` is assigned"
    if loop.orelse is not None and element in {name.value for name in walk(loop.orelse) if isinstance(name, cst.Name)}:
        return f"`{element}` is used where nothing was found"
    for node in walk(loop.body):
        if isinstance(node, cst.Call):
            return "a function is called on what is found, which may change its key"
        if isinstance(node, cst.Break | cst.Continue | cst.Return | cst.Yield | cst.Await) and not _is_last(loop, node):
            return "the search is left in more than one way"
    if {element, listed} & bound_names(loop.body):
        return f"`{element}` is bound again"
    return ""


def _is_made_before(code: Code, statement: cst.CSTNode, name: str) -> bool:
    """Whether a statement of its own assigns the name before that one, in the same block or in one around it: then it is bound there."""
    below = statement
    for block in code.parents(statement):
        if isinstance(block, cst.FunctionDef):
            return False
        if isinstance(block, cst.IndentedBlock):
            for line in block.body[: list(block.body).index(below)]:  # type: ignore[arg-type]
                for small in line.body if isinstance(line, cst.SimpleStatementLine) else ():
                    if isinstance(small, cst.Assign | cst.AnnAssign) and small.value is not None and name in bound_names(small):
                        return True
        below = block
    return False


def _why_keys_may_change(code: Code, function: cst.FunctionDef, outer: cst.For | cst.While, listed: str, key: str) -> str:
    """What is in the list is known to others than this function: whatever runs in the loop may give it another key."""
    if any(isinstance(one, cst.FunctionDef | cst.ClassDef) and one.name.value == key for one in walk(code.module)):
        return f"`{key}` is a function here, which may give another key each time"
    made_of: list[cst.CSTNode] = []
    if isinstance(outer, cst.For) and not _holds_new_only(code, function, listed):
        made_of = [node for piece in sources(function, [outer.iter]) for node in walk(piece)]
    for node in (*walk(outer), *made_of):
        if isinstance(node, cst.Yield | cst.Await | cst.With) or is_asynchronous(node):
            return "other code runs in the loop, which may change keys"
        if not isinstance(node, cst.Call) or _only_reads(code, node, listed):
            continue
        appended = any(isinstance(above, cst.Call) and dotted(above.func) == f"{listed}.append" for above in code.parents(node))
        if not appended or not _makes_new(code, node):
            return f"`{code.module.code_for_node(node.func)[:60]}()` is called in the loop, which may change keys"
    return ""


def _holds_new_only(code: Code, function: cst.FunctionDef, listed: str) -> bool:
    """Whether what makes the loop's values has no hold of what is in the list: it begins empty, and what is appended was made for it."""
    for node in walk(function.body):
        if isinstance(node, cst.Assign | cst.AnnAssign) and listed in bound_names(node):
            if not isinstance(node.value, cst.List) or node.value.elements:
                return False
        elif isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute) and dotted(node.func.value) == listed:
            new = [isinstance(one.value, cst.Call) and _makes_new(code, one.value) for one in node.args]
            if node.func.attr.value != "append" or not all(new):
                return False
    return True


def _makes_new(code: Code, call: cst.Call) -> bool:
    """Whether it is the call of a class, by its name, or a copy: `Count(...)`, `stock.Count(...)`, `Count.of(...)`, `replace(...)`."""
    names = (dotted(call.func) or "").split(".")
    classes = {one.name.value for one in walk(code.module) if isinstance(one, cst.ClassDef)}
    of_class = any(name in classes or (name.lstrip("_")[:1].isupper() and not name.isupper()) for name in names)
    return of_class or code.full_name(call.func) in ("copy.copy", "copy.deepcopy", "dataclasses.replace")


def _only_reads(code: Code, call: cst.Call, listed: str) -> bool:
    if isinstance(call.func, cst.Attribute):
        return only_reads(code, call) or dotted(call.func.value) == listed
    return isinstance(call.func, cst.Name) and call.func.value in PURE_BUILTINS and code.is_builtin(call.func.value)


def _is_last(loop: cst.For, node: cst.CSTNode) -> bool:
    test = loop.body.body[0]
    assert isinstance(test, cst.If) and isinstance(test.body, cst.IndentedBlock), "the caller has looked"
    last = test.body.body[-1]
    return isinstance(last, cst.SimpleStatementLine) and last.body[-1] is node
