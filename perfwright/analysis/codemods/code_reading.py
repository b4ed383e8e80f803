"""A module's source as a tree in which functions, loops, names and calls are found, and in which nodes are replaced by others.

libcst keeps every space and comment, so that what is not replaced stays byte for byte as it was.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import libcst as cst
from libcst.metadata import MetadataWrapper, ParentNodeProvider, PositionProvider

Scope = cst.FunctionDef | cst.Lambda | cst.ClassDef
Loop = cst.For | cst.While
_Statement = cst.SimpleStatementLine | cst.BaseCompoundStatement
Replacements = Mapping[cst.CSTNode, cst.CSTNode | cst.FlattenSentinel[cst.BaseStatement]]


@dataclass(frozen=True)
class HotCode:
    """What a profile and a recording of calls say about a function."""

    function: str
    """Name, as the profiler tells it."""
    line: int
    """A line inside it, from 1."""
    share: float = 0.0
    """Of CPU time, with all it calls, 0 to 1."""
    lines: Mapping[int, float] = field(default_factory=dict)
    """Hot line -> its share of CPU time, with what it calls."""
    calls: int = 0
    """How often it was called while its arguments were recorded; 0: not recorded."""
    repeated_share: float = 0.0
    """Of the calls, those with arguments seen before, 0 to 1; only calls with plain arguments count as such."""
    distinct: int = 0
    """Different arguments that were seen."""

    def share_of(self, first: int, last: int) -> float:
        """Share of the hottest line from `first` to `last`."""
        return max((share for line, share in self.lines.items() if first <= line <= last), default=0.0)

    def is_cold(self, first: int, last: int) -> bool:
        """Whether the profile has other lines of the function, and none from `first` to `last`: nothing is won by changing them."""
        return bool(self.lines) and self.share_of(first, last) <= 0.0


@dataclass(frozen=True)
class Edited:
    """A codemod's proposal: the whole module with the change in it."""

    source: str
    title: str
    reasoning: str
    """Why results and exceptions stay equal."""
    line: int
    gain_share: float
    """Most of the CPU time that it can win, 0 to 1: what the profile charges to the lines it touches."""


@dataclass(frozen=True)
class Left:
    """An opportunity that is left alone, and why."""

    line: int
    why: str


class Code:
    """One module. Raises SyntaxError where the source cannot be read."""

    def __init__(self, source: str) -> None:
        try:
            self._wrapper = MetadataWrapper(cst.parse_module(source))
        except cst.ParserSyntaxError as wrong:
            raise SyntaxError(str(wrong)) from None
        self.module = self._wrapper.module
        self.taken: set[str] = set()
        """Names that were given out by `unused`."""
        self._positions = self._wrapper.resolve(PositionProvider)
        self._parents = self._wrapper.resolve(ParentNodeProvider)

    def lines(self, node: cst.CSTNode) -> tuple[int, int]:
        """First and last line, from 1."""
        place = self._positions[node]
        return place.start.line, place.end.line

    def parent(self, node: cst.CSTNode) -> cst.CSTNode | None:
        return self._parents.get(node)

    def parents(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        """From the nearest outwards."""
        above = self._parents.get(node)
        while above is not None:
            yield above
            above = self._parents.get(above)

    def function(self, name: str, line: int) -> cst.FunctionDef | None:
        """The innermost function of that name (or qualified name) around the line; None where there is none, or it is ambiguous."""
        short = name.rpartition(".")[2]
        named = [one for one in walk(self.module) if isinstance(one, cst.FunctionDef) and one.name.value == short]
        around = [one for one in named if min(self.lines(two)[0] for two in (one, *one.decorators)) <= line <= self.lines(one)[1]]
        found = around or (named if len(named) == 1 else [])
        return max(found, key=lambda one: self.lines(one)[0]) if found else None

    def qualified(self, function: cst.FunctionDef) -> str:
        """`Class.method`; `<locals>` where it is inside another function."""
        words = [function.name.value]
        for above in self.parents(function):
            if isinstance(above, cst.ClassDef):
                words.append(above.name.value)
            elif isinstance(above, cst.FunctionDef):
                words += ["<locals>", above.name.value]
        return ".".join(reversed(words))

    def enclosing_function(self, node: cst.CSTNode) -> cst.CSTNode | None:
        return next((above for above in self.parents(node) if isinstance(above, cst.FunctionDef | cst.Lambda)), None)

    def loops(self, node: cst.CSTNode, within: cst.FunctionDef) -> list[Loop | cst.CompFor]:
        """The loops whose repeated part holds the node, innermost first."""
        found: list[Loop | cst.CompFor] = []
        below = node
        for above in self.parents(node):
            if above is within:
                break
            if (isinstance(above, cst.For | cst.While) and below is above.body) or (isinstance(above, cst.While) and below is above.test):
                found.append(above)
            elif isinstance(above, cst.BaseComp) and below is not above.for_in:
                found.append(above.for_in)
            elif isinstance(above, cst.CompFor) and below in (*above.ifs, above.inner_for_in):
                found.append(above)
            below = above
        return found

    def statement(self, node: cst.CSTNode) -> cst.CSTNode:
        """The statement of a block that holds the node: what something can be put before."""
        for one in (node, *self.parents(node)):
            if isinstance(self._parents.get(one), cst.IndentedBlock | cst.Module):
                return one
        raise AssertionError("every node stands in a statement")

    @cached_property
    def imports(self) -> dict[str, str]:
        """Name in this module -> what it is: `re` -> `re`, `datetime` -> `datetime.datetime`. Only names that are bound once."""
        found: dict[str, set[str]] = {}
        for name, full in _imported(walk(self.module)):
            found.setdefault(name, set()).add(full)
        # one name for two things (`try: import re2 as re`) is known as neither
        return {name: min(full) if len(full) == 1 else "" for name, full in found.items() if name not in self.bound}

    @cached_property
    def at_the_top(self) -> dict[str, str]:
        """The same of the imports that stand before everything that is put at the top of the module."""
        known = dict(_imported(one for line in self.module.body[: _top_end(self.module.body)] if _is_import(line) for one in walk(line)))
        return {name: full for name, full in known.items() if self.imports.get(name) == full}

    @cached_property
    def bound(self) -> set[str]:
        """Every name that anything in the module binds, imports aside."""
        return bound_names(self.module)

    @cached_property
    def modules(self) -> frozenset[str]:
        """Names that `import x` binds somewhere: modules, whatever `from x import y` brings."""
        return frozenset(name for name, _ in _imported(one for one in walk(self.module) if isinstance(one, cst.Import)))

    @cached_property
    def methods(self) -> frozenset[str]:
        """Names of functions that stand in classes of the module: what they do is not what a list's or dictionary's method does."""
        return frozenset(
            one.name.value
            for one in walk(self.module)
            if isinstance(one, cst.FunctionDef) and any(isinstance(above, cst.ClassDef) for above in self.parents(one))
        )

    @cached_property
    def words(self) -> frozenset[str]:
        """Every name that occurs."""
        return frozenset(node.value for node in walk(self.module) if isinstance(node, cst.Name))

    def unused(self, wanted: str) -> str:
        """`wanted`, or with a number behind it where that occurs already, or was taken from here."""
        new = next(name for name in (wanted, *(f"{wanted}_{number}" for number in range(2, 1_000))) if name not in self.words | self.taken)
        self.taken.add(new)
        return new

    def full_name(self, node: cst.CSTNode) -> str:
        """`datetime.datetime.strptime` for `datetime.strptime` below `from datetime import datetime`; empty: no import is behind it."""
        name = dotted(node)
        if name is None:
            return ""
        root, dot, rest = name.partition(".")
        return f"{self.imports[root]}{dot}{rest}" if root in self.imports and not self.imports_all else ""

    def is_builtin(self, name: str) -> bool:
        """Whether the module leaves this builtin alone."""
        return name not in self.bound and name not in self.imports and not self.imports_all

    @cached_property
    def imports_all(self) -> bool:
        """Whether `from x import *` may bind any name."""
        return any(isinstance(node, cst.ImportStar) for node in walk(self.module))

    def is_free(self, full: str) -> bool:
        """Whether the last part of `functools.wraps` is bound to nothing else here."""
        name = full.rpartition(".")[2]
        return name not in self.bound and self.imports.get(name, full) == full and not self.imports_all

    def edited(
        self,
        replacements: Replacements,
        before: Mapping[cst.CSTNode, Sequence[str]],
        top: Sequence[str] = (),
        imports: Sequence[str] = (),
    ) -> str:
        """The module's source with nodes replaced, statements put before others, statements put behind the imports at its top, and names
        imported (`functools.wraps`) that are not yet."""
        module = self.module.visit(_Editing(replacements, before, self.module))
        assert isinstance(module, cst.Module), "a module stays one"
        module = _with_top(module, top)
        new: dict[str, list[str]] = {}
        for full in imports:
            source, _, name = full.rpartition(".")
            if self.at_the_top.get(name) != full:
                new.setdefault(source, []).append(name)
        return _with_imports(module, [f"from {source} import {', '.join(names)}\n" for source, names in new.items()]).code


class _Editing(cst.CSTTransformer):
    def __init__(self, replacements: Replacements, before: Mapping[cst.CSTNode, Sequence[str]], module: cst.Module) -> None:
        super().__init__()
        self._replacements, self._before, self._module = replacements, before, module

    def on_leave(self, original_node: cst.CSTNode, updated_node: cst.CSTNode) -> "cst.CSTNode | cst.FlattenSentinel[cst.CSTNode]":  # type: ignore[override]
        new = self._replacements.get(original_node)
        if isinstance(new, cst.FlattenSentinel):
            return cst.FlattenSentinel(new.nodes)
        if new is not None:
            updated_node = new
        if lines := self._before.get(original_node):
            return cst.FlattenSentinel([*(cst.parse_statement(line, self._module.config_for_parsing) for line in lines), updated_node])
        return updated_node


def _with_top(module: cst.Module, texts: Sequence[str]) -> cst.Module:
    body = list(module.body)
    last = max((number for number, one in enumerate(body[: _top_end(body)]) if _is_import_or_docstring(one, number)), default=-1)
    new: list[_Statement] = []
    for text in texts:
        new += cst.parse_module(text, module.config_for_parsing).body
    new = [_apart(one) if isinstance(one, cst.BaseCompoundStatement) else one for one in new]
    if new and isinstance(new[-1], cst.BaseCompoundStatement) and body[last + 1 :]:
        body[last + 1] = _apart(body[last + 1])
    elif new and isinstance(new[0], cst.SimpleStatementLine):
        new[0] = new[0].with_changes(leading_lines=[cst.EmptyLine(indent=False)])
    body[last + 1 : last + 1] = new
    return module.with_changes(body=body)


def _with_imports(module: cst.Module, texts: Sequence[str]) -> cst.Module:
    """At the end of the first block of imports."""
    body = list(module.body)
    front = body[: _top_end(body)]
    place = next((number for number, one in enumerate(front) if _is_import(one) and not _is_future(one)), None)
    if place is None:
        place = sum(1 for number, one in enumerate(front) if _is_import_or_docstring(one, number))
    else:
        place += 1
        while place < len(body) and _is_import(body[place]) and not body[place].leading_lines:
            place += 1
    body[place:place] = [one for text in texts for one in cst.parse_module(text, module.config_for_parsing).body]
    return module.with_changes(body=body)


def _top_end(body: Sequence[cst.CSTNode]) -> int:
    """How many statements come before the first function or class: what is to be known to these has to stand there."""
    return next((number for number, one in enumerate(body) if isinstance(one, cst.FunctionDef | cst.ClassDef)), len(body))


def _imported(nodes: Iterable[cst.CSTNode]) -> Iterator[tuple[str, str]]:
    """Name and what it is; `.x` for what comes from the package itself."""
    for node in nodes:
        if isinstance(node, cst.Import):
            for alias in node.names:
                full = dotted(alias.name) or ""
                first = full.partition(".")[0]
                yield alias.evaluated_alias or first, full if alias.asname else first
        elif isinstance(node, cst.ImportFrom) and not isinstance(node.names, cst.ImportStar):
            source = "." * len(node.relative) + ((dotted(node.module) or "") if node.module is not None else "")
            for alias in node.names:
                yield alias.evaluated_alias or alias.evaluated_name, f"{source}.{alias.evaluated_name}"


def _apart(one: _Statement) -> _Statement:
    """With two empty lines before it and before its comments."""
    lines = list(one.leading_lines)
    while lines and lines[0].comment is None:
        lines.pop(0)
    return one.with_changes(leading_lines=[cst.EmptyLine(indent=False), cst.EmptyLine(indent=False), *lines])


def _is_import_or_docstring(one: cst.CSTNode, number: int) -> bool:
    if not isinstance(one, cst.SimpleStatementLine):
        return False
    if _is_import(one):
        return True
    return number == 0 and isinstance(one.body[0], cst.Expr) and isinstance(one.body[0].value, cst.SimpleString | cst.ConcatenatedString)


def _is_import(one: cst.CSTNode) -> bool:
    return isinstance(one, cst.SimpleStatementLine) and all(isinstance(small, cst.Import | cst.ImportFrom) for small in one.body)


def _is_future(one: cst.CSTNode) -> bool:
    return isinstance(one, cst.SimpleStatementLine) and any(
        isinstance(small, cst.ImportFrom) and small.module is not None and dotted(small.module) == "__future__" for small in one.body
    )


def words(text: str) -> frozenset[str]:
    """The words of a list that is easier to read without quotes."""
    return frozenset(text.split())


def walk(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """The node and all below it."""
    todo = [node]
    while todo:
        one = todo.pop()
        yield one
        todo.extend(reversed(one.children))


def dotted(node: cst.CSTNode) -> str | None:
    """`a.b.c` for names and attributes; None for anything else."""
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute) and (front := dotted(node.value)) is not None:
        return f"{front}.{node.attr.value}"
    return None


_BINDING = cst.AssignTarget | cst.CompFor | cst.For | cst.AnnAssign | cst.AugAssign | cst.NamedExpr | cst.Del


def bound_names(node: cst.CSTNode, *, in_comprehensions: bool = True) -> set[str]:
    """Names that are assigned, deleted, looped over, caught, defined or declared global anywhere below; imports are not counted.

    Without `in_comprehensions` those are left out that a comprehension has for itself.
    """
    found: set[str] = set()
    imported: list[cst.CSTNode | None] = []
    for one in walk(node):
        if isinstance(one, cst.ImportAlias):
            imported.append(one.asname)
        elif isinstance(one, cst.AsName) and any(one is known for known in imported):
            continue
        elif in_comprehensions or not isinstance(one, cst.CompFor):
            found |= names_bound_by(one)
    return found


def names_bound_by(node: cst.CSTNode) -> set[str]:
    """Names that the node itself binds, what is below it aside."""
    if isinstance(node, cst.ImportAlias):
        return {node.evaluated_alias or node.evaluated_name.partition(".")[0]}
    if isinstance(node, cst.AsName):
        return names_in_target(node.name)
    if isinstance(node, _BINDING):
        return names_in_target(node.target)
    if isinstance(node, cst.FunctionDef | cst.ClassDef | cst.Param | cst.NameItem):
        return {node.name.value}
    if isinstance(node, cst.MatchAs | cst.MatchStar):
        return {node.name.value} if node.name is not None else set()
    return {node.rest.value} if isinstance(node, cst.MatchMapping) and node.rest is not None else set()


def says_type(line: cst.CSTNode) -> bool:
    """Whether a comment behind the statement says what type something has: `# type: list[int]`."""
    comment = line.trailing_whitespace.comment if isinstance(line, cst.SimpleStatementLine) else None
    return comment is not None and "type:" in comment.value


def names_in_target(target: cst.CSTNode) -> set[str]:
    """Names that an assignment to it binds; an attribute or element binds none."""
    if isinstance(target, cst.Name):
        return {target.value}
    if isinstance(target, cst.Tuple | cst.List):
        return {name for element in target.elements for name in names_in_target(element.value)}
    if isinstance(target, cst.StarredElement):
        return names_in_target(target.value)
    return set()
