"""All codemods over one module: what can be changed in its hot functions, as patches, and what is left alone and why.

Pure: text in, text out. A new codemod is one module with `NAME` and `propose`, and one line here.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import libcst as cst

from perfwright.analysis.codemods import deques, first_match, invariants, joining, membership, memoise, patterns
from perfwright.analysis.codemods.code_reading import Code, Edited, HotCode, Left, dotted, names_bound_by, walk, words

Codemod = Callable[[Code, cst.FunctionDef, HotCode, frozenset[str]], Edited | Left | None]

CODEMODS: Mapping[str, Codemod] = {
    membership.NAME: lambda code, function, hot, spoken: membership.propose(code, function, hot),
    first_match.NAME: lambda code, function, hot, spoken: first_match.propose(code, function, hot),
    memoise.NAME: memoise.propose,
    patterns.NAME: lambda code, function, hot, spoken: patterns.propose(code, function, hot),
    invariants.NAME: lambda code, function, hot, spoken: invariants.propose(code, function, hot),
    joining.NAME: lambda code, function, hot, spoken: joining.propose(code, function, hot),
    deques.NAME: lambda code, function, hot, spoken: deques.propose(code, function, hot),
}
_WORLD = frozenset(
    {
        "os",
        "shutil",
        "subprocess",
        "socket",
        "pathlib",
        "tempfile",
        "http",
        "urllib.request",
        "requests",
        "httpx",
        "ftplib",
        "smtplib",
        "sqlite3",
    }
    | {"sqlalchemy", "asyncpg", "psycopg", "pymysql", "redis", "boto3", "signal", "ctypes", "multiprocessing"}
)
_WRITING = frozenset(
    {"open", "write", "writelines", "unlink", "rename", "rmdir", "mkdir", "execute", "send", "sendall", "commit", "exec", "eval", "input"}
)


@dataclass(frozen=True)
class Proposal:
    """What one codemod says of one function."""

    codemod: str
    function: str
    """Qualified name."""
    outcome: Edited | Left
    touches_world: bool


def find_proposals(source: str, hot: Sequence[HotCode], spoken: frozenset[str] = frozenset(), only: str = "") -> list[Proposal]:
    """`spoken`: words that occur anywhere in the repository and forbid something (`setlocale`; `.RATE`, where that is assigned to).
    `only`: one codemod.

    Raises SyntaxError.
    """
    code = Code(source)
    found = []
    renamed = _why_helpers_fail(code)
    for one in hot:
        function = code.function(one.function, one.line)
        if function is None:
            continue
        unreadable = renamed or why_unreadable(code, function)
        for name, propose in CODEMODS.items():
            code.taken.clear()
            if only in ("", name) and (outcome := propose(code, function, one, spoken)) is not None:
                if unreadable and isinstance(outcome, Edited):
                    outcome = Left(outcome.line, unreadable)
                found.append(Proposal(name, code.qualified(function), outcome, touches_world(code, function)))
    return found


_OF_HELPERS = words("ArithmeticError all bool bytes float frozenset getattr int isinstance len list map property set str tuple type")


def _why_helpers_fail(code: Code) -> str:
    """A builtin that helpers use, where the module itself has something else of that name, or may have."""
    if code.imports_all:
        return "`import *` may have replaced builtins, which helpers use"
    found: set[str] = set()
    todo: list[cst.CSTNode] = [*code.module.body]
    while todo:
        one = todo.pop()
        found |= names_bound_by(one)
        if not isinstance(one, cst.FunctionDef | cst.ClassDef | cst.Lambda):
            todo += one.children
    found |= {one.name.value for one in walk(code.module) if isinstance(one, cst.NameItem)}
    other = sorted(found & _OF_HELPERS)
    return f"the module has a `{other[0]}` of its own, and helpers use the builtin" if other else ""


_LOOKING = frozenset({"locals", "vars", "eval", "exec", "_getframe", "currentframe", "getsource", "settrace"})
_COMPILING = frozenset({"numba", "jax", "torch", "tensorflow", "cython", "taichi", "triton", "pythran", "cupy", "warp"})


def why_unreadable(code: Code, function: cst.FunctionDef) -> str:
    """Why the function's text says less than is needed: it looks at its own names, or something else than Python runs it."""
    for node in walk(function):
        if isinstance(node, cst.Name) and node.value in _LOOKING:
            return f"it looks at itself (`{node.value}`)"
        if isinstance(node, cst.Call) and dotted(node.func) == "dir" and not node.args:
            return "it looks at itself (`dir`)"
        if isinstance(node, cst.FormattedStringExpression) and node.equal is not None:
            return "a text in it shows its own source (`{x=}`)"
    for one in (function, *code.parents(function)):
        for decorator in one.decorators if isinstance(one, cst.FunctionDef | cst.ClassDef) else ():
            called = decorator.decorator.func if isinstance(decorator.decorator, cst.Call) else decorator.decorator
            if code.full_name(called).partition(".")[0] in _COMPILING:
                return f"`{dotted(called)}` compiles its source"
    return ""


def touches_world(code: Code, function: cst.FunctionDef) -> bool:
    """Whether it may write files, send, start programs: then it is not called with arguments that nobody gave it."""
    for node in walk(function):
        if isinstance(node, cst.Name) and code.imports.get(node.value, "").partition(".")[0] in _WORLD:
            return True
        if isinstance(node, cst.Call):
            name = (dotted(node.func) or "").rpartition(".")[2] or (node.func.attr.value if isinstance(node.func, cst.Attribute) else "")
            if name in _WRITING:
                return True
    return False


def unified_patch(path: str, old: str, new: str) -> str:
    """As `git apply` takes it; empty where nothing differs."""
    compared = difflib.unified_diff(_lines(old), _lines(new), f"a/{path}", f"b/{path}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in compared)


def _lines(text: str) -> list[str]:
    """As git counts them: a form feed or a separator of paragraphs ends none."""
    return [line + "\n" for line in text.split("\n")[:-1]] + ([last] if (last := text.rpartition("\n")[2]) else [])
