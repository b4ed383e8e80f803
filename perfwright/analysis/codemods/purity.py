"""Whether a function gives the same result for the same plain arguments, changes nothing, and returns something nobody can change.

Plain are str, bytes, int, bool and None, exactly (no subclass): every operation between them is pure. A body may use its parameters, its
own names, constants of its module, and the calls listed here; anything else is not proven, and the reason says what.
"""

import re
from dataclasses import dataclass, field

import libcst as cst

from perfwright.analysis.codemods.code_reading import Code, bound_names, dotted, names_bound_by, names_in_target, walk, words

PURE_CALLS = frozenset(
    {
        *("datetime.datetime.strptime", "datetime.datetime.fromisoformat", "datetime.date.fromisoformat", "datetime.time.fromisoformat"),
        *("datetime.date", "datetime.datetime", "datetime.timedelta", "datetime.time", "datetime.datetime.combine"),
        *("decimal.Decimal", "fractions.Fraction", "uuid.UUID", "ipaddress.ip_address", "ipaddress.ip_network"),
        *("re.escape", "html.escape", "html.unescape", "unicodedata.normalize", "fnmatch.translate", "binascii.crc32", "zlib.crc32"),
        *("binascii.crc_hqx", "binascii.hexlify", "binascii.unhexlify", "base64.b64encode", "base64.b64decode"),
        *("urllib.parse.quote", "urllib.parse.unquote", "urllib.parse.quote_plus", "urllib.parse.unquote_plus", "urllib.parse.urlsplit"),
        *("math.sqrt", "math.floor", "math.ceil", "math.log", "math.log2", "math.log10", "math.exp", "math.gcd", "math.isqrt", "math.comb"),
        *(
            "math.sin",
            "math.cos",
            "math.tan",
            "math.atan2",
            "math.factorial",
            "math.hypot",
            "math.pow",
            "posixpath.join",
            "posixpath.basename",
        ),
    }
)
"""By full name. Each returns something that cannot be changed; `Decimal` as well: its arithmetic has a context, see DECIMAL_CONTEXT."""
PURE_BUILTINS = words(
    "abs ascii bin bool bytes chr divmod float format frozenset hex int len max min oct ord pow range repr round str sum tuple"
)
EXCEPTIONS = frozenset(
    {"ArithmeticError", "IndexError", "KeyError", "LookupError", "OverflowError", "TypeError", "ValueError", "ZeroDivisionError"}
)
PURE_VALUES = frozenset({"math.pi", "math.e", "math.inf", "math.nan", "math.tau", "datetime.UTC", "datetime.timezone.utc"})
_FLAG = re.compile(r"re\.[A-Z]+")
PURE_METHODS = words(
    "capitalize casefold center count decode encode endswith expandtabs find format hex index isalnum isalpha isdigit isidentifier islower"
    " isnumeric isspace istitle isupper join ljust lower lstrip partition removeprefix removesuffix replace rfind rindex rjust rpartition"
    " rstrip startswith strip swapcase title translate upper zfill date time isoformat isocalendar toordinal weekday isoweekday timetuple"
    " total_seconds bit_length group start end span"
)
"""Of str, bytes, int, dates and matches; each returns something that cannot be changed."""
LISTING_METHODS = frozenset({"split", "rsplit", "splitlines", "groups"})
_HANDING_ON = frozenset({"max", "min", "sum", "tuple"})
"""Builtins that give what is in their arguments, or one of these."""
PATTERN_METHODS = frozenset({"match", "fullmatch", "search"})
FOLLOWS_LOCALE = "setlocale"
"""Where a program calls it, `%b`, `{:n}` and the like mean different things at different times."""
_NUMBER_OF_LOCALE = re.compile(r":[^{}]*n")
_PATTERN_OF_LOCALE = re.compile(r"\bL(OCALE)?\b|\(\?[a-zA-Z]*L")
DECIMAL_CONTEXT = ("getcontext", "setcontext", "localcontext", "DefaultContext")
"""Where a program speaks of these, arithmetic of decimals may round in one way now and in another way later."""
_HARMLESS = (
    *(cst.Name, cst.Attribute, cst.Integer, cst.Float, cst.SimpleString, cst.ConcatenatedString, cst.FormattedString),
    *(cst.FormattedStringExpression, cst.FormattedStringText, cst.BinaryOperation, cst.BooleanOperation, cst.Comparison),
    *(cst.UnaryOperation, cst.IfExp, cst.Tuple, cst.Subscript, cst.Call, cst.NamedExpr),
)


@dataclass
class _Reading:
    code: Code
    own: set[str]
    """Names that the function or a comprehension in it binds."""
    function_wide: set[str]
    """Those of them that are not only a comprehension's."""
    spoken: frozenset[str]
    """Words that occur anywhere in the repository."""
    seen: set[str] = field(default_factory=set)
    fixed: set[str] = field(default_factory=set)
    """Own names that only hold what cannot be changed."""
    listing: set[str] = field(default_factory=set)
    """Own names that only hold what has elements that cannot be changed."""


def _parameters(function: cst.FunctionDef) -> list[cst.Param]:
    return [*function.params.posonly_params, *function.params.params, *function.params.kwonly_params]


def why_not_pure(code: Code, function: cst.FunctionDef, words_of_repository: frozenset[str] = frozenset()) -> str:
    """The first thing that is not proven; empty: it is pure for plain arguments."""
    return _why(code, function, words_of_repository, set())


def _why(code: Code, function: cst.FunctionDef, spoken: frozenset[str], seen: set[str]) -> str:
    if function.asynchronous is not None:
        return "it is a coroutine"
    if function.params.star_kwarg is not None or isinstance(function.params.star_arg, cst.Param) or function.params.kwonly_params:
        return "it takes any number of arguments, or some by name only"
    for node in walk(function.body):
        if isinstance(node, cst.FunctionDef | cst.Lambda | cst.ClassDef):
            return "it defines another function"
        if isinstance(
            node,
            cst.Global | cst.Nonlocal | cst.Yield | cst.Await | cst.Import | cst.ImportFrom | cst.Del | cst.With | cst.Try | cst.TryStar,
        ):
            return f"`{type(node).__name__.lower()}` in it"
        if isinstance(node, cst.Comparison) and _asks_identity(node):
            return "`is` tells arguments apart that are equal"
        if isinstance(node, cst.GeneratorExp) and not _is_worked_out(code, node):
            return "what a generator looks like as a text is another text each time"
        if FOLLOWS_LOCALE in spoken and _follows_locale(code, node):
            return "numbers are written as the locale has them, and the program changes its locale"
        if isinstance(node, cst.Assign | cst.AnnAssign | cst.AugAssign):
            targets = [one.target for one in node.targets] if isinstance(node, cst.Assign) else [node.target]
            if any(isinstance(below, cst.Attribute | cst.Subscript) for target in targets for below in walk(target)):
                return "it assigns to an attribute or element"
    given = {one.name.value for one in walk(function.params) if isinstance(one, cst.Param)}
    own, function_wide = given | bound_names(function.body), given | bound_names(function.body, in_comprehensions=False)
    reading = _Reading(code, own, function_wide, spoken, seen | {function.name.value})
    _find_fixed(reading, function)
    for node in walk(function.body):
        if isinstance(node, cst.Name) and (why := _why_name(reading, node)):
            return why
        if isinstance(node, cst.Call) and (why := _why_call(reading, node)):
            return why
        if isinstance(node, cst.Return) and node.value is not None and not _cannot_change(reading, node.value):
            return f"what it returns may be changed by its caller: `{code.module.code_for_node(node.value)[:80]}`"
    return ""


def _asks_identity(node: cst.Comparison) -> bool:
    """`a is b`, unless one of them is None, True or False."""
    sides = [node.left, *(one.comparator for one in node.comparisons)]
    single = [isinstance(side, cst.Name) and side.value in ("None", "True", "False") for side in sides]
    return any(
        isinstance(one.operator, cst.Is | cst.IsNot) and not any(single[number : number + 2]) for number, one in enumerate(node.comparisons)
    )


def _is_worked_out(code: Code, generator: cst.GeneratorExp) -> bool:
    """Whether it is given to what asks it for all it has."""
    call = code.parent(above) if isinstance(above := code.parent(generator), cst.Arg) else None
    if not isinstance(call, cst.Call):
        return False
    name = call.func.attr.value if isinstance(call.func, cst.Attribute) else dotted(call.func)
    return name in ("bytes", "frozenset", "join", "max", "min", "sum", "tuple")


def _follows_locale(code: Code, node: cst.CSTNode) -> bool:
    """A number may be written as `n`: in an f-string, by `format()` or by `.format()`."""
    if isinstance(node, cst.FormattedStringExpression):
        return any("n" in code.module.code_for_node(one) for one in node.format_spec or ())
    if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute) and node.func.attr.value == "format":
        text = node.func.value
        return not isinstance(text, cst.SimpleString) or _NUMBER_OF_LOCALE.search(text.value) is not None
    return isinstance(node, cst.Call) and dotted(node.func) == "format" and len(node.args) > 1


def _is_its_comprehensions(code: Code, node: cst.Name) -> bool:
    """Whether a comprehension around it binds the name; what its first `for` goes over stands outside of it."""
    below: cst.CSTNode = node
    outside: cst.CSTNode | None = None
    for above in code.parents(node):
        if isinstance(above, cst.CompFor) and above.iter is below:
            outside = code.parent(above)
        elif isinstance(above, cst.BaseComp) and above is not outside and node.value in _targets(above):
            return True
        below = above
    return False


def _targets(comprehension: cst.BaseComp) -> set[str]:
    found: set[str] = set()
    loop: cst.CompFor | None = comprehension.for_in
    while loop is not None:
        found |= names_in_target(loop.target)
        loop = loop.inner_for_in
    return found


def _why_name(reading: _Reading, node: cst.Name) -> str:
    code, above = reading.code, reading.code.parent(node)
    if isinstance(above, cst.Attribute) and above.attr is node:
        return ""
    if isinstance(above, cst.Arg) and above.keyword is node:
        return ""
    name = node.value
    if name in reading.function_wide or _is_its_comprehensions(code, node) or name in ("True", "False", "None"):
        return ""
    if name in PURE_BUILTINS | EXCEPTIONS and code.is_builtin(name):
        return ""
    if name in code.imports:
        if code.imports_all:
            return f"it reads `{name}`, which `import *` may have replaced"
        chain: cst.CSTNode = node
        while isinstance(code.parent(chain), cst.Attribute):
            chain = code.parent(chain) or chain
        call = code.parent(chain)
        if isinstance(call, cst.Call) and call.func is chain:
            return ""  # `_why_call` looks at it
        full = code.full_name(chain)
        return "" if full in PURE_VALUES or _FLAG.fullmatch(full) else f"it reads `{full}`, which may change"
    if f".{name}" in reading.spoken:
        return f"it reads `{name}`, which other code assigns"
    if _is_constant(code, name):
        return ""
    if isinstance(above, cst.Call) and above.func is node:
        return ""  # `_why_call` looks at it
    return f"it reads `{name}`, which may change"


def _is_constant(code: Code, name: str) -> bool:
    """Bound once, at the top of the module, to something that cannot be changed."""
    found = [
        statement.value
        for line in code.module.body
        if isinstance(line, cst.SimpleStatementLine)
        for statement in line.body
        if isinstance(statement, cst.Assign | cst.AnnAssign) and name in bound_names(statement)
    ]
    return len(found) == 1 == _times_bound(code, name) and found[0] is not None and _is_literal(code, found[0])


def _times_bound(code: Code, name: str) -> int:
    """Where in the module anything but a parameter is bound to the name, in whatever scope."""
    if "globals" in code.words or code.imports_all:
        return 2  # by whatever text it is asked
    return sum(1 for node in walk(code.module) if not isinstance(node, cst.Param) and name in names_bound_by(node))


def _is_literal(code: Code, value: cst.BaseExpression) -> bool:
    if isinstance(value, cst.Integer | cst.Float | cst.SimpleString | cst.ConcatenatedString):
        return True
    if isinstance(value, cst.Tuple):
        return all(_is_literal(code, element.value) for element in value.elements)
    if not isinstance(value, cst.Call) or code.full_name(value.func) != "re.compile":
        return False
    return _PATTERN_OF_LOCALE.search(code.module.code_for_node(value)) is None


def _why_call(reading: _Reading, call: cst.Call) -> str:
    code, name = reading.code, dotted(call.func) or ""
    if any(arg.star for arg in call.args):
        return "it passes arguments on by `*`"
    full = code.full_name(call.func)
    if full in PURE_CALLS:
        if full.endswith(".strptime") and FOLLOWS_LOCALE in reading.spoken:
            return "dates are read as the locale has them, and the program changes its locale"
        if full == "decimal.Decimal" and not reading.spoken.isdisjoint(DECIMAL_CONTEXT):
            return "decimals follow a context, and the program changes it"
        return ""
    if isinstance(call.func, cst.Attribute) and not full:
        if call.func.attr.value in PURE_METHODS | LISTING_METHODS | PATTERN_METHODS:
            return ""
        return f"`.{call.func.attr.value}()` is not known to be pure"
    if name in PURE_BUILTINS | EXCEPTIONS and code.is_builtin(name):
        return ""
    others = [one for one in code.module.body if isinstance(one, cst.FunctionDef) and one.name.value == name]
    if len(others) == 1 == _times_bound(code, name) and name not in reading.seen and not others[0].decorators:
        if not all(_cannot_change(reading, arg.value) for arg in call.args):
            return f"`{name}` is given something that can be changed"
        if any(one.default is not None and not _is_literal(code, one.default) for one in _parameters(others[0])):
            return f"`{name}` has a default that is not plain"
        why = _why(code, others[0], reading.spoken, reading.seen)
        return f"`{name}`: {why}" if why else ""
    return f"`{full or name or '...'}()` is not known to be pure"


def _find_fixed(reading: _Reading, function: cst.FunctionDef) -> None:
    """Parameters are plain; a name of its own is fixed where everything it is given is. `listing`: names whose elements are."""
    reading.fixed, reading.listing = set(reading.own), set(reading.own)
    for _ in range(2 * len(reading.own) + 1):
        before = len(reading.fixed) + len(reading.listing)
        for node in walk(function.body):
            if isinstance(node, cst.Assign | cst.AnnAssign | cst.AugAssign | cst.NamedExpr) and node.value is not None:
                names = bound_names(node)
                targets = [one.target for one in node.targets] if isinstance(node, cst.Assign) else [node.target]
                given = node.value
                if not all(isinstance(one, cst.Name) for one in targets):
                    reading.fixed -= _starred(node)  # `a, *rest = x` makes a list
                    if not _elements_fixed(reading, given):
                        reading.fixed -= names
                        reading.listing -= names
                    continue
                if not _cannot_change(reading, given):
                    reading.fixed -= names
                if not _elements_fixed(reading, given):
                    reading.listing -= names
            elif isinstance(node, cst.For | cst.CompFor):
                names = names_in_target(node.target)
                reading.fixed -= _starred(node.target)
                if not _elements_fixed(reading, node.iter):
                    reading.fixed -= names
                    reading.listing -= names
            elif isinstance(node, cst.MatchAs | cst.MatchStar | cst.MatchMapping):
                reading.fixed -= bound_names(node)
                reading.listing -= bound_names(node)
        if len(reading.fixed) + len(reading.listing) == before:
            return


def _starred(node: cst.CSTNode) -> set[str]:
    return {name for one in walk(node) if isinstance(one, cst.StarredElement) for name in names_in_target(one.value)}


def _elements_fixed(reading: _Reading, value: cst.BaseExpression) -> bool:
    """Whether it can be changed, but nothing that is in it can."""
    if isinstance(value, cst.List | cst.Set | cst.Tuple):
        return all(not isinstance(one, cst.StarredElement) and _cannot_change(reading, one.value) for one in value.elements)
    if isinstance(value, cst.ListComp | cst.SetComp | cst.GeneratorExp):
        return _cannot_change(reading, value.elt)
    if isinstance(value, cst.Name) and value.value in reading.listing:
        return True
    if isinstance(value, cst.Call) and isinstance(value.func, cst.Attribute) and value.func.attr.value in LISTING_METHODS:
        return True
    if isinstance(value, cst.Subscript):
        return _elements_fixed(reading, value.value)
    return _cannot_change(reading, value)


def _cannot_change(reading: _Reading, value: cst.BaseExpression) -> bool:
    if isinstance(value, cst.Call):
        if isinstance(value.func, cst.Attribute) and not reading.code.full_name(value.func):
            return value.func.attr.value in PURE_METHODS
        if isinstance(value.func, cst.Name) and value.func.value in _HANDING_ON and reading.code.is_builtin(value.func.value):
            many = len([one for one in value.args if one.keyword is None]) > 1
            return all(
                (_cannot_change if many else _elements_fixed)(reading, one.value)
                for one in value.args
                if one.keyword is None or one.keyword.value != "key"
            )
        # an exception takes on the traceback of everybody who raises it; else it is a builtin, of the list above, or was looked at
        return not (isinstance(value.func, cst.Name) and value.func.value in EXCEPTIONS)
    if isinstance(value, cst.Name):
        return value.value in reading.fixed or value.value not in reading.own
    if isinstance(value, cst.Tuple):
        return all(_cannot_change(reading, element.value) for element in value.elements)
    if isinstance(value, cst.IfExp):
        return _cannot_change(reading, value.body) and _cannot_change(reading, value.orelse)
    if isinstance(value, cst.BooleanOperation | cst.BinaryOperation):
        return _cannot_change(reading, value.left) and _cannot_change(reading, value.right)
    if isinstance(value, cst.Subscript):
        whole = any(isinstance(one.slice, cst.Slice) for one in value.slice)
        return _cannot_change(reading, value.value) or (not whole and _elements_fixed(reading, value.value))
    if isinstance(value, cst.NamedExpr):
        return _cannot_change(reading, value.value)
    return isinstance(value, _HARMLESS)
