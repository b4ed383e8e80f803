"""Regular expressions compiled once: a constant one at the top of the module, one that is made per call in a memory larger than `re`'s own.

`re` keeps 512 compiled patterns and drops the oldest when more are used: a loop over more than that compiles every one again.

Kept equal: `re.search(p, text, flags)` is `re.compile(p, flags).search(text)` with the same results, exceptions and order of evaluation; a
constant pattern is compiled here first, to see that it can be.
"""

import functools
import operator
import re
import warnings

import libcst as cst

from perfwright.analysis.codemods.code_reading import Code, Edited, HotCode, Left, walk, words

NAME = "compile patterns once"
GAIN = 0.9
CACHE = "functools.lru_cache"
SIZE = 4_096
"""Compiled patterns that are kept, a few kB each."""
TAKES = {
    **dict.fromkeys(("search", "match", "fullmatch", "findall", "finditer"), ("pattern", "string", "flags")),
    "split": ("pattern", "string", "maxsplit", "flags"),
    **dict.fromkeys(("sub", "subn"), ("pattern", "repl", "string", "count", "flags")),
    "compile": ("pattern", "flags"),
}
"""Parameters of the functions of `re`, in their order."""

HELPER = '''
@lru_cache(maxsize={size:_}, typed=True)
def {name}(pattern, flags=0):
    """The compiled pattern; more of them are kept than `re` itself keeps."""
    return re.compile(pattern, flags)
'''


def propose(code: Code, function: cst.FunctionDef, hot: HotCode) -> Edited | Left | None:
    """Every call of `re` in the function that brings its pattern along. None: there is none."""
    if code.imports.get("re") != "re" or code.imports_all:
        return None
    replacements: dict[cst.CSTNode, cst.CSTNode] = {}
    top: list[str] = []
    left: Left | None = None
    line, gain, dynamic = 0, 0.0, False
    names: dict[str, str] = {}
    helper = code.unused("_compiled")
    stem = f"_{function.name.value.strip('_').upper() or 'ONE'}_PATTERN"  # of a method `_` no `__PATTERN`, which its class would rename
    for node in walk(function.body):
        if not isinstance(node, cst.Call):
            continue
        method = code.full_name(node.func).removeprefix("re.")
        if method not in TAKES or not code.full_name(node.func).startswith("re."):
            continue
        first, last = code.lines(node)
        if hot.is_cold(first, last):
            continue
        arguments = _by_name(node, TAKES[method])
        if arguments is None:
            left = left or Left(first, f"the arguments of `re.{method}` cannot be told apart")
            continue
        pattern, flags = arguments.get("pattern"), arguments.get("flags")
        written = code.module.code_for_node(flags.value) if flags else ""
        if pattern is None or (written and not set(written.replace(" ", "").split("|")) <= _FLAGS):
            left = left or Left(first, f"`re.{method}` has no pattern, or flags that may depend on more than it (DEBUG, LOCALE)")
            continue
        if code.at_the_top.get("re") != "re":
            left = left or Left(first, "`re` is not imported at the top of the module")
            continue
        if _is_constant(pattern.value):
            if trouble := _trouble(pattern.value, written):
                left = left or Left(first, trouble)
                continue
            made = f"re.compile({code.module.code_for_node(pattern.value)}{f', {written}' if written else ''})"
            if made not in names:
                names[made] = code.unused(stem + (f"_{len(names) + 1}" if names else ""))
                top.append(f"{names[made]} = {made}\n")
            compiled: cst.BaseExpression = cst.Name(names[made])
        elif not _in_order(arguments):
            left = left or Left(first, f"`re.{method}` gets its flags before its text is worked out")
            continue
        else:
            given = [
                cst.Arg(pattern.value, comma=_COMMA if flags else cst.MaybeSentinel.DEFAULT),
                *([cst.Arg(flags.value)] if flags else []),
            ]
            compiled, dynamic = cst.Call(cst.Name(helper), given), True
        replacements[node] = compiled if method == "compile" else _call(compiled, method, node, arguments)
        share = hot.share_of(first, last)
        line, gain = (first, share) if share >= gain else (line, gain)
    if not replacements:
        return left
    if dynamic:
        if not code.is_free(CACHE):
            return Left(line, "the module uses the name lru_cache for something else")
        top = [HELPER.format(name=helper, size=SIZE), *top]
    return Edited(
        source=code.edited(replacements, {}, top, [CACHE] if dynamic else []),
        title=f"Compile the patterns of `{function.name.value}` once",
        reasoning="a compiled pattern gives the same matches and exceptions"
        + (f"; patterns made per call are kept, {SIZE:,} at most, where `re` keeps 512" if dynamic else ""),
        line=line or code.lines(next(iter(replacements)))[0],
        gain_share=GAIN * gain,
    )


_FLAGS = frozenset(f"re.{one}" for one in words("A ASCII I IGNORECASE M MULTILINE S DOTALL X VERBOSE U UNICODE"))
_COMMA = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))


def _by_name(call: cst.Call, parameters: tuple[str, ...]) -> dict[str, cst.Arg] | None:
    found: dict[str, cst.Arg] = {}
    for number, arg in enumerate(call.args):
        if arg.star or (arg.keyword is None and number >= len(parameters)):
            return None
        name = arg.keyword.value if arg.keyword is not None else parameters[number]
        if name not in parameters or name in found:
            return None
        found[name] = arg
    return found


def _in_order(arguments: dict[str, cst.Arg]) -> bool:
    """Whether it does not matter that pattern and flags are used before the other arguments are worked out: those are mere names, whose
    evaluation does nothing."""
    others = [arg.value for name, arg in arguments.items() if name not in ("pattern", "flags")]
    return all(isinstance(one, cst.Name | cst.SimpleString | cst.Integer) for one in others)


def _is_constant(node: cst.BaseExpression) -> bool:
    if isinstance(node, cst.ConcatenatedString):
        return _is_constant(node.left) and _is_constant(node.right)
    return isinstance(node, cst.SimpleString)


def _trouble(node: cst.BaseExpression, flags: str) -> str:
    assert isinstance(node, cst.SimpleString | cst.ConcatenatedString), "the caller has looked"
    value = node.evaluated_value
    given = functools.reduce(operator.or_, (re.RegexFlag[one.strip().removeprefix("re.")] for one in flags.split("|") if flags), re.NOFLAG)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            re.compile(value or "", given)
    except (re.error, ValueError, OverflowError, RecursionError, Warning) as wrong:
        return f"the pattern is wrong, which is only to be told when it is used: {wrong}"
    return ""


def _call(compiled: cst.BaseExpression, method: str, node: cst.Call, arguments: dict[str, cst.Arg]) -> cst.Call:
    kept = [arg for name, arg in arguments.items() if name not in ("pattern", "flags")]
    kept = [arg.with_changes(comma=_COMMA if number + 1 < len(kept) else cst.MaybeSentinel.DEFAULT) for number, arg in enumerate(kept)]
    return node.with_changes(func=cst.Attribute(compiled, cst.Name(method)), args=kept)
