"""Small projects in a git repository, for tests of what is done to code."""

import subprocess
from pathlib import Path

from perfwright.models.cpu_optimization import CodeBase, CpuOptimizationRequest, HotFunction, HotLine, PrepareCode
from perfwright.models.target import Target

PYTHON = __import__("sys").executable

DEDUPE = '''"""Keeps the first of each."""


def distinct(values):
    found = []
    for value in values:
        if value not in found:
            found.append(value)
    return found
'''
BENCHMARK = """from shop.dedupe import distinct

for turn in range(20):
    distinct([f"{number % 400}" for number in range(1_000 + turn)])
"""
TESTS = """from shop.dedupe import distinct

assert distinct([1, 2, 1]) == [1, 2]
assert distinct([[1], [1], [2]]) == [[1], [2]]
"""


def git(folder: Path, *words: str) -> str:
    """What git says."""
    identity = ["-c", "user.name=grace", "-c", "user.email=grace@example.com", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def project(folder: Path, files: dict[str, str] | None = None) -> Path:
    """A repository with one commit; `files` beside, or instead of, those of the duplicates project."""
    given = {"shop/__init__.py": "", "shop/dedupe.py": DEDUPE, "bench.py": BENCHMARK, "check.py": TESTS} | (files or {})
    for name, text in given.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def snapshot(folder: Path) -> tuple[str, str, dict[str, bytes]]:
    """What must not change: status, refs (with worktrees), and every file outside of git's own store."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts}
    refs = git(folder, "for-each-ref") + git(folder, "worktree", "list", "--porcelain") + git(folder, "stash", "list")
    return git(folder, "status", "--porcelain", "--ignored"), refs, files


def target_of(folder: Path, host: str = "local") -> Target:
    return Target(name="shop", kind="repository", environment="lab", host=host, repository=str(folder))


def prepared(folder: Path, benchmark: tuple[str, ...] = (PYTHON, "bench.py"), tests: tuple[str, ...] = (PYTHON, "check.py")) -> PrepareCode:
    request = CpuOptimizationRequest(target="shop", benchmark=benchmark, tests=tests)
    return PrepareCode(target=target_of(folder), request=request, prefix="cpu-optimization-implementation/shop/run")


def hot(path: str, source: str, name: str) -> HotFunction:
    """The function as a profile would tell it, every line of it hot."""
    import ast

    node = next(one for one in ast.walk(ast.parse(source)) if isinstance(one, ast.FunctionDef) and one.name == name)
    lines = tuple(HotLine(line=line, share=0.5) for line in range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return HotFunction(path=path, function=name, line=node.lineno, share=0.8, lines=lines)


def tree_of(code: CodeBase) -> Path:
    return Path(code.tree)
