"""`value in list` inside a loop, by a set that is made once.

Kept equal: the set is asked only for plain values (whose equality and hash go together), only while the same list is asked again, and
takes up what is appended meanwhile; what cannot be hashed, and any other kind of container, is looked up as before, so that its answer and
its exceptions are the same. What else may happen to the list while the loop runs is ruled out from the source.
"""

import libcst as cst

from perfwright.analysis.codemods.code_reading import Code, Edited, HotCode, Left, dotted, walk
from perfwright.analysis.codemods.effects import is_keyed, steady_loop

NAME = "list membership to set"
GAIN = 0.95
"""Of the time that its line takes; one look into a set is left."""

HELPER = '''
class {name}:
    """Answers `value in listed` from a set while the same list is asked again; the list may grow at its end meanwhile.

    Only plain values are in the set. All else, unhashable values too, is looked up in the list itself.
    """

    __slots__ = ("_known", "_listed", "_plain")
    PLAIN = frozenset((str, bytes, int, bool, float, type(None)))

    def __init__(self):
        self._listed = None
        self._known = set()
        self._plain = 0

    def have(self, value, listed):
        if listed is not self._listed:
            self._listed, self._known, self._plain = listed, set(), 0
            return value in listed
        if type(listed) not in (list, tuple) or type(value) not in self.PLAIN or not 0 <= self._plain <= len(listed):
            return value in listed
        if self._plain < len(listed):
            new = listed[self._plain :]
            if not self.PLAIN.issuperset(map(type, new)):
                self._plain = -1
                return value in listed
            self._known.update(new)
            self._plain = len(listed)
        return value in self._known
'''


def propose(code: Code, function: cst.FunctionDef, hot: HotCode) -> Edited | Left | None:
    """Every membership test of the function that runs in a loop over a list that only grows. None: there is none."""
    replacements: dict[cst.CSTNode, cst.CSTNode] = {}
    before: dict[cst.CSTNode, list[str]] = {}
    left: Left | None = None
    helper, line, gain = code.unused("_Members"), 0, 0.0
    lookups: dict[tuple[str, int], str] = {}
    for node in walk(function.body):
        if (
            not isinstance(node, cst.Comparison)
            or len(node.comparisons) != 1
            or not isinstance(node.comparisons[0].operator, cst.In | cst.NotIn)
        ):
            continue
        test = node.comparisons[0]
        container = dotted(test.comparator)
        if container is None or code.enclosing_function(node) is not function or not (loops := code.loops(node, function)):
            continue
        if hot.is_cold(*code.lines(node)):
            continue
        if is_keyed(code, function, container):
            continue
        found = steady_loop(code, function, loops, container)
        first, last = code.lines(node)
        if isinstance(found, str):
            left = left or Left(first, f"`{container}`: {found}")
            continue
        statement = code.statement(found)
        key = (container, id(statement))
        if key not in lookups:
            lookups[key] = code.unused(f"{container.rpartition('.')[2]}_members")
            before.setdefault(statement, []).append(f"{lookups[key]} = {helper}()\n")
        call = cst.Call(
            cst.Attribute(cst.Name(lookups[key]), cst.Name("have")),
            [cst.Arg(node.left, comma=cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))), cst.Arg(test.comparator)],
        )
        new = call if isinstance(test.operator, cst.In) else cst.UnaryOperation(cst.Not(), call)
        replacements[node] = new.with_changes(lpar=node.lpar, rpar=node.rpar)
        share = hot.share_of(first, last)
        line, gain = (first, share) if share >= gain else (line, gain)
    if not replacements:
        return left
    names = sorted({container for container, _ in lookups})
    return Edited(
        source=code.edited(replacements, before, [HELPER.format(name=helper)]),
        title=f"Look {' and '.join(f'`{name}`' for name in names)} up in a set, made once per list",
        reasoning="nothing in the loop changes the list but at its end; plain values are equal exactly when a set finds them; what is not "
        "plain or not hashable is looked up in the list as before",
        line=line or code.lines(next(iter(replacements)))[0],
        gain_share=GAIN * gain,
    )
