"""Walks over libpg_query's parse tree as pgparse gives it: nested dicts, whose keys are node types (`SelectStmt`) or fields (`larg`)."""

from typing import Any, NamedTuple

Tree = dict[str, Any]

MAX_DEPTH = 900
"""Levels of dicts and lists. Python's JSON reader gives up near 1,000 anyway; a chain of 400 `||` is still within."""
_NAMES = frozenset({"String", "A_Star"})
_LEAVES = frozenset({"ColumnRef", "ParamRef", "A_Const", "SQLValueFunction"})
"""Half of all nodes; there is nothing in them but names and values."""


class TooDeep(ValueError):
    """A tree nested beyond `MAX_DEPTH`."""


class Place(NamedTuple):
    """One node of the tree."""

    key: str
    """Its type; the field (or list) it stands in where the tree leaves the type out."""
    value: Tree
    ctes: frozenset[str]
    """Names that WITH defines where it stands: an unqualified table of that name is none."""


def places(tree: Any, key: str = "stmt") -> list[Place]:
    """Every node of the tree in preorder, as the text reads; lists of names (`words` reads them) are not gone into. Raises TooDeep.

    A query in WITH sees the names before it, and with RECURSIVE all of them, its own too (postgresql.org/docs/current/queries-with.html).
    """
    found: list[Place] = []
    waiting: list[tuple[str, Any, frozenset[str], int]] = [(key, tree, frozenset(), 0)]
    take, make = waiting.pop, tuple.__new__
    while waiting:
        name, value, ctes, depth = take()
        if depth > MAX_DEPTH:
            raise TooDeep(f"nested more than {MAX_DEPTH} levels")
        depth += 1
        if type(value) is list:
            waiting += [(name, one, ctes, depth) for one in reversed(value) if one]  # an empty one stands for nothing
            continue
        if len(value) == 1:
            (only,) = value
            if only < "a" and type(value[only]) is dict:  # the name of a type begins with a capital letter
                name, value, depth = only, value[only], depth + 1
        found.append(make(Place, (name, value, ctes)))
        if name in _LEAVES:
            continue
        clause = value.get("withClause")
        queries: list[tuple[str, Any, frozenset[str], int]] = []
        if clause:
            queries, ctes = _queries(clause, ctes, depth)
        inner: list[tuple[str, Any, frozenset[str], int]] = []
        for field, child in value.items():
            if type(child) is dict:
                if field != "withClause":
                    inner.append((field, child, ctes, depth))
            elif type(child) is list and child and not ("String" in child[0] and all(one.keys() <= _NAMES for one in child)):
                inner.append((field, child, ctes, depth))
        inner.reverse()
        waiting += inner
        waiting += queries
    return found


def _queries(clause: Tree, ctes: frozenset[str], depth: int) -> tuple[list[tuple[str, Any, frozenset[str], int]], frozenset[str]]:
    """The queries of a WITH, last one first, each with the names it sees; and the names that what follows sees."""
    queries = clause.get("ctes", [])
    names = [str(one.get("CommonTableExpr", {}).get("ctename", "")) for one in queries]
    visible = ctes.union(names)
    seen = [visible if clause.get("recursive") else ctes.union(names[:number]) for number in range(len(names))]
    return [("ctes", one, scope, depth + 2) for one, scope in zip(reversed(queries), reversed(seen), strict=True)], visible


def words(names: Any) -> tuple[str, ...]:
    """The parts of a name: `[{"String": {"sval": "public"}}, {"String": {"sval": "f"}}]` -> `("public", "f")`; `*` for a star."""
    parts = []
    for one in names or ():
        if "String" in one:
            parts.append(str(one["String"].get("sval", "")))
        elif "A_Star" in one:
            parts.append("*")
    return tuple(parts)


def only_key(node: Any) -> str:
    """The type of a wrapped node: `{"ParamRef": {...}}` -> `ParamRef`; empty for anything else."""
    if isinstance(node, dict) and len(node) == 1:
        (key,) = node
        return str(key) if key[:1].isupper() else ""
    return ""
