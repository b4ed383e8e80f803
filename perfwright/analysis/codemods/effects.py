"""What a piece of code may do to a value that somebody else holds: whether a list may change while a loop runs.

Python proves little, so the answer is no unless every call, assignment and pause in the piece is one that is known not to.
"""

from collections.abc import Sequence

import libcst as cst

from perfwright.analysis.codemods.code_reading import Code, Loop, bound_names, dotted, names_bound_by, names_in_target, walk, words

PURE_BUILTINS = words(
    "abs all any ascii bin bool bytes chr dict divmod enumerate float format frozenset hash hex id int isinstance len list max min oct ord"
    " pow range repr reversed round set sorted str sum tuple type zip"
)
"""None of them keeps or changes what it is given. They call methods of it (`__len__`, `__eq__`), which change nothing in sane classes."""
READING_METHODS = words(
    "capitalize casefold center count decode encode endswith expandtabs find format get index isalnum isalpha isdigit isidentifier islower"
    " isnumeric isspace istitle isupper items join keys ljust lower lstrip partition removeprefix removesuffix replace rfind rindex rjust"
    " rpartition rsplit rstrip split splitlines startswith strip title translate upper values zfill"
)
"""Methods of str, bytes, dict, list and tuple that only read."""
_READING_FUNCTIONS = frozenset({"os.path.join", "os.path.split", "posixpath.join", "re.split", "shlex.join", "shlex.split"})
"""Functions of modules that are called like these."""
_HANDING_ON = frozenset({"dict", "max", "min", "sum"})
"""With several arguments, or one by its name."""
GROWING_METHODS = frozenset({"append", "extend"})
_KEYED = frozenset(
    {"dict", "set", "frozenset", "defaultdict", "Counter", "OrderedDict", "Mapping", "Set", "Dict", "MutableMapping", "AbstractSet"}
)
_NEW_CONTAINERS = frozenset({"list", "dict", "set", "sorted", "deque", "defaultdict"})


def own_containers(code: Code, function: cst.FunctionDef) -> set[str]:
    """Local names that only ever hold a container made right here, which nobody else has got: nothing but this function changes it
    before it is returned."""
    parameters = {one.name.value for one in walk(function.params) if isinstance(one, cst.Param)}
    made: dict[str, bool] = {}
    for node in walk(function.body):
        if isinstance(node, cst.FunctionDef | cst.Lambda | cst.ClassDef | cst.Global | cst.Nonlocal):
            return set()  # an inner function may do anything with any of them, at any time
        if isinstance(node, cst.Assign):
            simple = len(node.targets) == 1 and isinstance(node.targets[0].target, cst.Name)
            for name in bound_names(node):
                made[name] = made.get(name, True) and simple and _is_new(code, node.value)
        elif isinstance(node, cst.AnnAssign) and isinstance(node.target, cst.Name):
            made[node.target.value] = made.get(node.target.value, True) and node.value is not None and _is_new(code, node.value)
        elif not isinstance(node, cst.AssignTarget):
            made.update(dict.fromkeys(names_bound_by(node), False))
    return {name for name, new in made.items() if new and name not in parameters and not _escapes(code, function, name)}


def is_list(code: Code, function: cst.FunctionDef, name: str) -> bool:
    """Whether everything that is assigned to the name is made right there as a list."""
    values = [one.value for one in walk(function.body) if isinstance(one, cst.Assign | cst.AnnAssign) and name in bound_names(one)]
    return bool(values) and all(
        isinstance(value, cst.List | cst.ListComp) or (isinstance(value, cst.Call) and dotted(value.func) in ("list", "sorted"))
        for value in values
    )


def _is_new(code: Code, value: cst.BaseExpression) -> bool:
    if isinstance(value, cst.List | cst.Dict | cst.Set | cst.ListComp | cst.SetComp | cst.DictComp):
        return True
    return (
        isinstance(value, cst.Call)
        and isinstance(value.func, cst.Name)
        and value.func.value in _NEW_CONTAINERS
        and _is_known(code, value.func)
    )


def is_keyed(code: Code, function: cst.FunctionDef, name: str) -> bool:
    """Whether it is a set or dictionary, made here or annotated as one: membership is quick in it already."""
    for node in walk(function):
        if isinstance(node, cst.Assign) and name in bound_names(node):
            value = node.value
            called = dotted(value.func) if isinstance(value, cst.Call) else ""
            if isinstance(value, cst.Dict | cst.Set | cst.DictComp | cst.SetComp) or called in _KEYED:
                return True
        if isinstance(node, cst.AnnAssign | cst.Param) and node.annotation is not None:
            target = node.target if isinstance(node, cst.AnnAssign) else node.name
            written = code.module.code_for_node(node.annotation.annotation)
            if dotted(target) == name and written.partition("[")[0].rpartition(".")[2] in _KEYED:
                return True
    return False


def _is_known(code: Code, name: cst.Name) -> bool:
    return code.is_builtin(name.value) or code.imports.get(name.value, "").startswith("collections.")


def _escapes(code: Code, function: cst.FunctionDef, name: str) -> bool:
    """Whether anybody else may get hold of it before the function has returned."""
    for node in walk(function.body):
        if not isinstance(node, cst.Name) or node.value != name:
            continue
        above = code.parent(node)
        if isinstance(above, cst.Attribute):
            call = code.parent(above)
            if above.attr is node:
                continue
            if isinstance(call, cst.Call) and call.func is above:
                continue
        if isinstance(above, cst.Subscript) and above.value is node:
            continue
        if isinstance(above, cst.ComparisonTarget | cst.Comparison | cst.Return | cst.AssignTarget | cst.AnnAssign):
            continue
        if isinstance(above, cst.For | cst.CompFor) and above.iter is node:
            continue
        if isinstance(above, cst.If | cst.While | cst.IfExp | cst.UnaryOperation) and not (
            isinstance(above, cst.IfExp) and above.test is not node
        ):
            continue
        if isinstance(above, cst.Arg):
            call = code.parent(above)
            if (
                isinstance(call, cst.Call)
                and isinstance(call.func, cst.Name)
                and call.func.value in PURE_BUILTINS
                and code.is_builtin(call.func.value)
                and not hands_on(call, above)
            ):
                continue
        return True
    return False


def hands_on(call: cst.Call, given: cst.Arg) -> bool:
    """Whether what a builtin of `PURE_BUILTINS` gives may be, or hold, the very thing it is given: `max(a, seen)`, `sum(parts, seen)`,
    `dict(known=seen)`."""
    positional = sum(one.keyword is None for one in call.args)
    return isinstance(call.func, cst.Name) and call.func.value in _HANDING_ON and (given.keyword is not None or positional > 1)


def why_it_may_change(code: Code, function: cst.FunctionDef, pieces: Sequence[cst.CSTNode], container: str) -> str:
    """Why the list `container` (`seen`, `campaign.articles`) may be another one, or hold others, while `pieces` run again and again; empty:
    it may only grow at its end."""
    root, _, attributes = container.partition(".")
    last = attributes.rpartition(".")[2]
    own = own_containers(code, function)
    for piece in pieces:
        if root in bound_names(piece):
            return f"`{root}` is bound again"
        for node in walk(piece):
            if why := _why_this_one(code, node, container, last, own):
                return why
        if why := _why_waiting(code, function, _asked(piece), container):
            return why
    return ""


def _why_this_one(code: Code, node: cst.CSTNode, container: str, last: str, own: set[str]) -> str:
    alone = container in own
    if isinstance(node, cst.AssignTarget | cst.AnnAssign | cst.AugAssign | cst.Del | cst.For | cst.CompFor | cst.AsName):
        targets = [
            one
            for one in walk(node.name if isinstance(node, cst.AsName) else node.target)
            if isinstance(one, cst.Attribute | cst.Subscript)
        ]
        for target in targets:
            name = dotted(target.value)
            if isinstance(target, cst.Attribute) and last and target.attr.value == last:
                return f"`.{last}` is assigned"
            if isinstance(target, cst.Subscript) and (name == container or (not alone and name not in own)):
                return "elements of something that may be it are assigned"
        if isinstance(node, cst.AugAssign) and isinstance(node.target, cst.Name) and not alone and not _counts(code, node):
            return f"`{node.target.value}` may be it and is extended in place"
        if isinstance(node, cst.AugAssign) and isinstance(node.operator, cst.MultiplyAssign) and targets and not alone:
            return "something that may be it is multiplied in place"
    if not alone and (isinstance(node, cst.Yield | cst.Await) or is_asynchronous(node)):
        return "other code runs in between (yield or await)"
    if not alone and isinstance(node, cst.With):
        return "other code runs where `with` is entered and left"
    if isinstance(node, cst.Call):
        return _why_this_call(code, node, container, own)
    return ""


def is_asynchronous(node: cst.CSTNode) -> bool:
    """`async for`, `async with`, or a comprehension with `async for`."""
    return isinstance(node, cst.For | cst.With | cst.CompFor) and node.asynchronous is not None


def is_assigned(code: Code, node: cst.CSTNode) -> bool:
    """Whether it is a target, or part of one, of an assignment, a loop, `with` or `del`."""
    below = node
    for above in code.parents(node):
        if isinstance(above, cst.AssignTarget | cst.Del | cst.AsName):
            return True
        if isinstance(above, cst.AugAssign | cst.AnnAssign | cst.For | cst.CompFor):
            return above.target is below
        if not isinstance(above, cst.Element | cst.StarredElement | cst.Tuple | cst.List | cst.Subscript | cst.Attribute):
            return False
        if isinstance(above, cst.Subscript | cst.Attribute) and above.value is not below:
            return False
        below = above
    return False


def _why_this_call(code: Code, call: cst.Call, container: str, own: set[str]) -> str:
    if isinstance(call.func, cst.Attribute):
        receiver, method = dotted(call.func.value), call.func.attr.value
        if receiver == container:
            return "" if method in GROWING_METHODS | READING_METHODS else f"`.{method}()` is called on it"
        if container in own or receiver in own or (only_reads(code, call) and not container.startswith(f"{receiver}.")):
            return ""  # what a class calls `get` may do anything to its own lists
        return f"`{receiver or '...'}.{method}()` may change it"
    if container in own:
        return ""
    name = call.func.value if isinstance(call.func, cst.Name) else "..."
    if name not in PURE_BUILTINS or not code.is_builtin(name):
        return f"`{name}()` may change it"
    if any(arg.keyword is not None and arg.keyword.value == "key" and not _is_reading(code, arg.value) for arg in call.args):
        return f"the key function of `{name}()` may change it"
    return ""


def only_reads(code: Code, call: cst.Call) -> bool:
    """By its name a method of str, dict and the like: not one of the module's own classes, nor a function of a module, nor what waits for
    other threads (`queue.get()`, `thread.join()`)."""
    if not isinstance(call.func, cst.Attribute) or call.func.attr.value not in READING_METHODS - code.methods:
        return False
    if (dotted(call.func) or "").partition(".")[0] in code.modules:
        return code.full_name(call.func) in _READING_FUNCTIONS
    return call.func.attr.value not in ("get", "join") or (bool(call.args) and all(one.keyword is None for one in call.args))


def _is_reading(code: Code, function: cst.BaseExpression) -> bool:
    """A lambda, whose body is looked at by itself, or a builtin that only reads."""
    if isinstance(function, cst.Name):
        return function.value in PURE_BUILTINS and code.is_builtin(function.value)
    return isinstance(function, cst.Lambda) or dotted(function) in ("str.lower", "str.upper", "str.casefold")


def _why_its_source(code: Code, function: cst.FunctionDef, loop: cst.For | cst.CompFor, container: str, own: set[str]) -> str:
    """What a loop goes over is worked out between its turns where it is an iterator over the list: `iter(seen.pop, None)`."""
    root = container.partition(".")[0]
    for node in walk(loop.iter):
        if isinstance(node, cst.Call) and any(isinstance(one, cst.Name) and one.value == root for one in walk(node)):
            name = node.func.value if isinstance(node.func, cst.Name) else ""
            if name not in PURE_BUILTINS and (why := _why_this_call(code, node, container, own - {container})):
                return why
    for piece in sources(function, [loop.iter]):
        for node in walk(piece):
            if not isinstance(node, cst.Call) or not _names(node, container):
                continue
            immediate = isinstance(node.func, cst.Attribute) and dotted(node.func.value) == container  # a list's method waits for nothing
            if not immediate and _why_this_call(code, node, container, own - {container}):
                return "what the loop goes over was made from it, and may be worked out between its turns"
    return _why_waiting(code, function, [loop.iter], container)


def _why_waiting(code: Code, function: cst.FunctionDef, asked: Sequence[cst.CSTNode], container: str) -> str:
    """A generator or a function of the function's own that waits to be asked, and changes the list then."""
    last = container.partition(".")[2].rpartition(".")[2]
    for piece in sources(function, asked):
        for node in walk(piece):
            waits = isinstance(node, cst.FunctionDef | cst.Lambda | cst.GeneratorExp) and _names(node, container)
            if waits and any(_why_this_one(code, one, container, last, set()) for one in walk(node)):
                return "something that was made before may change it when it is asked"
    return ""


def _names(node: cst.CSTNode, container: str) -> bool:
    return any(dotted(one) == container for one in walk(node))


def _asked(piece: cst.CSTNode) -> list[cst.CSTNode]:
    """What may be an iterator that goes on there: it is looped over, handed on, spread, or looked into."""
    found: list[cst.CSTNode] = []
    for node in walk(piece):
        if isinstance(node, cst.For | cst.CompFor):
            found.append(node.iter)
        elif isinstance(node, cst.Arg | cst.StarredElement):
            found.append(node.value)
        elif isinstance(node, cst.ComparisonTarget) and isinstance(node.operator, cst.In | cst.NotIn):
            found.append(node.comparator)
        elif isinstance(node, cst.Assign) and isinstance(node.targets[0].target, cst.Tuple | cst.List):
            found.append(node.value)
    return found


def sources(function: cst.FunctionDef, asked: Sequence[cst.CSTNode]) -> list[cst.CSTNode]:
    """All that is bound to names in what is asked, and to names in that; functions of the function too."""
    found: list[cst.CSTNode] = [*asked]
    names: set[str] = set()
    while new := {one.value for piece in found for one in walk(piece) if isinstance(one, cst.Name)} - names:
        names |= new
        for node in walk(function.body):
            if (
                isinstance(node, cst.Assign | cst.AnnAssign | cst.AugAssign | cst.NamedExpr)
                and node.value is not None
                and new & bound_names(node)
            ):
                found.append(node.value)
            elif isinstance(node, cst.For | cst.CompFor) and new & names_in_target(node.target):
                found.append(node.iter)
            elif isinstance(node, cst.WithItem) and new & bound_names(node):
                found.append(node.item)
            elif isinstance(node, cst.FunctionDef) and node.name.value in new:
                found.append(node)
    return found[len(asked) :]


def _is_used_at_once(code: Code, comprehension: cst.BaseComp) -> bool:
    """Whether nothing else runs while it does: a generator is worked out by whoever takes from it, and when."""
    if not isinstance(comprehension, cst.GeneratorExp):
        return True
    above = code.parent(comprehension)
    call = code.parent(above) if isinstance(above, cst.Arg) else None
    if not isinstance(call, cst.Call):
        return False
    if isinstance(call.func, cst.Attribute):
        return call.func.attr.value == "join"
    lazy = {"enumerate", "reversed", "zip"}
    if not isinstance(call.func, cst.Name) or call.func.value not in PURE_BUILTINS - lazy or not code.is_builtin(call.func.value):
        return False
    return not any(one.keyword is not None and one.keyword.value == "key" for one in call.args)  # `max` asks it in between


def _counts(code: Code, node: cst.AugAssign) -> bool:
    """Whether what is added to was a number or text from the start, so that nothing is extended in place."""
    function = code.enclosing_function(node)
    assert isinstance(node.target, cst.Name), "the caller has looked"
    name = node.target.value
    if not isinstance(function, cst.FunctionDef):
        return False
    others = [one for one in walk(function) if not isinstance(one, cst.AssignTarget | cst.AugAssign)]
    if any(name in names_bound_by(one) for one in others):
        return False
    values = [one.value for one in walk(function.body) if isinstance(one, cst.Assign) and name in bound_names(one)]
    return bool(values) and all(isinstance(one, cst.Integer | cst.Float | cst.SimpleString | cst.FormattedString) for one in values)


def steady_loop(code: Code, function: cst.FunctionDef, loops: list[Loop | cst.CompFor], container: str) -> Loop | cst.CompFor | str:
    """The outermost loop in which the list stays the same one, or why there is none."""
    if not isinstance(function.body, cst.IndentedBlock):
        return "its body stands on the line of its `def`: there is no place in it for what is made once a call"
    chosen: Loop | cst.CompFor | None = None
    why = ""
    root, own = container.partition(".")[0], own_containers(code, function)
    for loop in loops:
        pieces: list[cst.CSTNode] = [loop.body] if isinstance(loop, cst.For) else [loop]
        if isinstance(loop, cst.For | cst.CompFor) and root in names_in_target(loop.target):
            why = f"`{root}` is another one in each turn"
        elif isinstance(loop, cst.For | cst.CompFor) and (why := _why_its_source(code, function, loop, container, own)):
            pass
        elif isinstance(loop, cst.For) and is_asynchronous(loop) and container not in own:
            why = "other code runs in between (async for)"
        elif isinstance(loop, cst.CompFor):
            comprehension = next(one for one in code.parents(loop) if isinstance(one, cst.BaseComp))
            pieces = [comprehension]
            if root in bound_names(comprehension):
                why = f"`{root}` is another one in each turn"
            elif not _is_used_at_once(code, comprehension):
                return "it is looked into by a generator, whenever that is asked"
        if why := why or why_it_may_change(code, function, pieces, container):
            break
        chosen = loop
    if chosen is None:
        return why
    # what is made once is made before the statement of that loop, so that a loop of the same statement around it must not change it either
    outside = loops[loops.index(chosen) + 1 :]
    return why if outside and code.statement(outside[0]) is code.statement(chosen) else chosen
