"""All codemods over one module: what can be changed in its hot functions, as patches, and what is left alone and why.

Pure: text in, text out. A new codemod is one module with `NAME` and `propose`, and one line here.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import libcst as cst

from perfwright.analysis.codemods import deques, first_match, invariants, joining, membership, memoise, patterns
from perfwright.analysis.codemods.code_reading import Code, Edited, HotCode, Left, dotted, walk

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
    """`spoken`: words that occur anywhere in the repository and forbid something (`setlocale`). `only`: one codemod.

    Raises SyntaxError.
    """
    code = Code(source)
    found = []
    for one in hot:
        function = code.function(one.function, one.line)
        if function is None:
            continue
        for name, propose in CODEMODS.items():
            if only in ("", name) and (outcome := propose(code, function, one, spoken)) is not None:
                found.append(Proposal(name, code.qualified(function), outcome, touches_world(code, function)))
    return found


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
    compared = difflib.unified_diff(old.splitlines(keepends=True), new.splitlines(keepends=True), f"a/{path}", f"b/{path}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in compared)
